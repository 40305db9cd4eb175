#include "ops/view.h"

#include <string.h>

#include "core/clock.h"

static int add_page(void *context, const struct counters_snapshot *page)
{
  struct ops_view *v = context;
  if (page->state != 0 && v->count < VIEW_PAGES) /* 0: its writer died in the middle of an update, and nothing can be said of it */
    v->page[v->count++] = *page;
  return 0;
}

int ops_view_take(struct ops_view *v, const struct datadir *d, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  v->count = 0;
  v->taken_ns = clock_monotonic_ns();
  datadir_path(d, path, "run/counters");
  return counters_each(path, add_page, v, failure);
}

const struct counters_snapshot *ops_view_find(const struct ops_view *v, const char *role)
{
  for (size_t i = 0; i < v->count; i++)
    if (strcmp(v->page[i].role, role) == 0)
      return &v->page[i];
  return NULL;
}

static bool is_kind(const struct counters_snapshot *page, const char *kind) { return strncmp(page->role, kind, strlen(kind)) == 0; }

uint64_t ops_view_sum(const struct ops_view *v, const char *kind, enum counter_id id)
{
  uint64_t sum = 0;
  for (size_t i = 0; i < v->count; i++)
    if (is_kind(&v->page[i], kind))
      sum += v->page[i].value[id];
  return sum;
}

uint64_t ops_view_most(const struct ops_view *v, const char *kind, enum counter_id id)
{
  uint64_t most = 0;
  for (size_t i = 0; i < v->count; i++)
    if (is_kind(&v->page[i], kind) && v->page[i].value[id] > most)
      most = v->page[i].value[id];
  return most;
}

bool ops_view_page_conserved(const struct counters_snapshot *page)
{
  const uint64_t *value = page->value;
  return value[COUNTER_records_received] == value[COUNTER_records_accepted] + value[COUNTER_records_duplicate] +
                                                value[COUNTER_records_conflict] + value[COUNTER_records_invalid] +
                                                value[COUNTER_records_handed_back] + value[COUNTER_records_in_flight];
}

bool ops_view_conserved(const struct ops_view *v)
{
  for (size_t i = 0; i < v->count; i++)
    if (!ops_view_page_conserved(&v->page[i]))
      return false;
  return true;
}

double ops_view_rate(const struct ops_view *before, const struct ops_view *after, const char *kind, enum counter_id id)
{
  uint64_t grown = 0;
  if (after->taken_ns <= before->taken_ns)
    return 0;
  for (size_t i = 0; i < after->count; i++) {
    const struct counters_snapshot *now = &after->page[i];
    if (!is_kind(now, kind))
      continue;
    const struct counters_snapshot *then = ops_view_find(before, now->role);
    bool same = then && then->pid == now->pid && then->started_us == now->started_us;
    uint64_t from = same ? then->value[id] : 0;
    grown += now->value[id] > from ? now->value[id] - from : 0;
  }
  return (double)grown * 1e9 / (double)(after->taken_ns - before->taken_ns);
}

const char *ops_view_state(enum process_state state)
{
  switch (state) {
  case PROCESS_STARTING: return "starting";
  case PROCESS_SERVING: return "serving";
  case PROCESS_DRAINING: return "draining";
  case PROCESS_STOPPED: return "stopped";
  }
  return "unknown";
}
