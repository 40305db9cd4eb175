#include "ops/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
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

uint64_t ops_view_reason(const struct ops_view *v, const char *kind, enum counter_per per, uint32_t reason)
{
  uint64_t sum = 0;
  for (size_t i = 0; i < v->count; i++)
    if (is_kind(&v->page[i], kind))
      sum += v->page[i].reason[per][reason];
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

uint64_t ops_view_unaccounted(const struct ops_view *v)
{
  uint64_t sum = 0;
  for (size_t i = 0; i < v->count; i++) {
    const int64_t missing = metrics_unaccounted(&v->page[i]);
    sum += missing < 0 ? 0 - (uint64_t)missing : (uint64_t)missing;
  }
  return sum;
}

bool ops_view_conserved(const struct ops_view *v)
{
  for (size_t i = 0; i < v->count; i++)
    for (uint32_t row = 0; row < v->page[i].rows; row++)
      if (metrics_unaccounted_row(&v->page[i].submitter[row]) != 0)
        return false;
  return ops_view_unaccounted(v) == 0;
}

/* ---- two moments ---- */

/* The page of that role a moment ago, where its totals are a part of these; else NULL. */
static const struct counters_snapshot *page_before(const struct ops_view *before, const struct counters_snapshot *now)
{
  const struct counters_snapshot *then = before ? ops_view_find(before, now->role) : NULL;
  return then && then->since_us == now->since_us ? then : NULL;
}

static uint64_t grown(uint64_t from, uint64_t to) { return to > from ? to - from : 0; }

double ops_view_rate(const struct ops_view *before, const struct ops_view *after, const char *kind, enum counter_id id)
{
  uint64_t sum = 0;
  if (after->taken_ns <= before->taken_ns)
    return 0;
  for (size_t i = 0; i < after->count; i++) {
    const struct counters_snapshot *now = &after->page[i];
    if (!is_kind(now, kind))
      continue;
    const struct counters_snapshot *then = page_before(before, now);
    sum += grown(then ? then->value[id] : 0, now->value[id]);
  }
  return (double)sum * 1e9 / (double)(after->taken_ns - before->taken_ns);
}

void ops_view_histogram(const struct ops_view *before, const struct ops_view *after, enum histogram_id id, struct counters_histogram *out)
{
  *out = (struct counters_histogram){0};
  for (size_t i = 0; i < after->count; i++) {
    const struct counters_histogram *now = &after->page[i].histogram[id];
    const struct counters_snapshot *then = page_before(before, &after->page[i]);
    out->sum += grown(then ? then->histogram[id].sum : 0, now->sum);
    for (uint32_t k = 0; k < COUNTER_BUCKETS; k++)
      out->bucket[k] += grown(then ? then->histogram[id].bucket[k] : 0, now->bucket[k]);
  }
}

/* ---- room ---- */

/* Growth within the window, of a gauge. */
static double grows_per_s(const struct ops_view *before, const struct ops_view *after, uint64_t from, uint64_t to)
{
  return (double)grown(from, to) * 1e9 / (double)(after->taken_ns - before->taken_ns);
}

static void room_consider(struct ops_view_room *out, uint32_t shard, enum ops_view_limit limit, uint64_t used, uint64_t bound, double per_s)
{
  if (per_s <= 0)
    return;
  const double seconds = (double)grown(used, bound) / per_s;
  if (seconds >= (double)out->seconds)
    return;
  *out = (struct ops_view_room){.seconds = (uint64_t)seconds, .shard = shard, .limit = limit};
}

static uint64_t percent(uint64_t value, uint64_t part) { return value / 100 * part; }

/* Past so many records workers/watermark.c says BUSY. */
static uint64_t index_bound(uint64_t most)
{
  const uint64_t part = percent(most, LIMIT_INDEX_PERCENT), with_commit = grown(LIMIT_COMMIT_RECORDS, most);
  return part < with_commit ? part : with_commit;
}

void ops_view_full_in(const struct ops_view *before, const struct ops_view *after, struct ops_view_room *out)
{
  *out = (struct ops_view_room){.seconds = UINT64_MAX};
  if (after->taken_ns <= before->taken_ns)
    return;
  for (size_t i = 0; i < after->count; i++) {
    const struct counters_snapshot *now = &after->page[i], *then = page_before(before, now);
    uint32_t shard;
    if (!then || sscanf(now->role, "worker-%" SCNu32, &shard) != 1)
      continue;
    const uint64_t *a = then->value, *b = now->value;
    if (a[COUNTER_store_map_bytes] == 0 || b[COUNTER_store_map_bytes] == 0) /* a process that had only begun: its gauges say nothing yet */
      continue;
    const double file = grows_per_s(before, after, a[COUNTER_store_bytes], b[COUNTER_store_bytes]);
    const double disk = grows_per_s(before, after, b[COUNTER_disk_free_bytes], a[COUNTER_disk_free_bytes]);
    const double records = grows_per_s(before, after, a[COUNTER_store_records], b[COUNTER_store_records]);
    room_consider(out, shard, VIEW_LIMIT_DISK, b[COUNTER_disk_reserve_bytes], b[COUNTER_disk_free_bytes], disk > file ? disk : file);
    room_consider(out, shard, VIEW_LIMIT_MAP, b[COUNTER_store_bytes], percent(b[COUNTER_store_map_bytes], LIMIT_MAP_PERCENT), file);
    if (b[COUNTER_index_records_max] > 0)
      room_consider(out, shard, VIEW_LIMIT_INDEX, b[COUNTER_store_records], index_bound(b[COUNTER_index_records_max]), records);
  }
}

const char *ops_view_limit_name(enum ops_view_limit limit)
{
  switch (limit) {
  case VIEW_LIMIT_DISK: return "disk";
  case VIEW_LIMIT_MAP: return "map";
  case VIEW_LIMIT_INDEX: return "index";
  case VIEW_LIMIT_NONE: break;
  }
  return "none";
}

/* ---- submitters ---- */

static void submitter_join(struct counters_submitter *sum, const struct counters_submitter *row)
{
  for (int i = 0; i < SUBMITTER_COUNT; i++) {
    const bool now = i == SUBMITTER_last_seen || i == SUBMITTER_credit; /* of any one connection: the newest, the largest */
    const uint64_t value = row->value[i];
    sum->value[i] = !now ? sum->value[i] + value : value > sum->value[i] ? value : sum->value[i];
  }
}

static int by_number(const void *left, const void *right)
{
  const uint32_t a = ((const struct counters_submitter *)left)->number, b = ((const struct counters_submitter *)right)->number;
  return (a > b) - (a < b);
}

uint32_t ops_view_submitters(const struct ops_view *v, struct counters_submitter out[VIEW_SUBMITTERS])
{
  uint32_t count = 0;
  for (size_t i = 0; i < v->count; i++)
    for (uint32_t row = 0; row < v->page[i].rows; row++) {
      const struct counters_submitter *s = &v->page[i].submitter[row];
      uint32_t at = 0;
      while (at < count && out[at].number != s->number)
        at++;
      if (at < count)
        submitter_join(&out[at], s);
      else if (count < VIEW_SUBMITTERS)
        out[count++] = *s;
    }
  qsort(out, count, sizeof out[0], by_number);
  return count;
}

/* ---- the node as metrics ---- */

double ops_view_node(const struct ops_view *before, const struct ops_view *after, enum metric_node id)
{
  struct ops_view_room room;
  switch (id) {
  case METRIC_build_info: return 1;
  case METRIC_node_records_unaccounted: return (double)ops_view_unaccounted(after);
  case METRIC_node_full_in: ops_view_full_in(before, after, &room); return (double)room.seconds;
  case METRIC_NODE_COUNT: break;
  }
  return 0;
}
