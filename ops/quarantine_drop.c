#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/datadir_lock.h"
#include "core/file.h"
#include "core/key_list.h"
#include "ops/options.h"
#include "ops/quarantine.h"
#include "ops/receipt.h"
#include "ops/table.h"
#include "ops/view.h"

#define LOOK_AGAIN_MS 50

/* ---- names ---- */

int ops_quarantine_names_add(struct ops_quarantine_names *n, const struct store_refused *entry)
{
  const uint32_t s = entry->shard;
  if (n->count[s] == n->capacity[s]) {
    size_t capacity = n->capacity[s] ? n->capacity[s] * 2 : 256;
    struct store_refused_name *larger = reallocarray(n->name[s], capacity, sizeof *larger);
    if (!larger)
      return MUSTER_ERR_MEMORY;
    n->name[s] = larger;
    n->capacity[s] = capacity;
  }
  n->name[s][n->count[s]++] = entry->name;
  n->total++;
  return MUSTER_OK;
}

void ops_quarantine_names_finish(struct ops_quarantine_names *n)
{
  for (uint32_t s = 0; s < LIMIT_SHARDS; s++)
    free(n->name[s]);
}

static int by_number(const void *left, const void *right)
{
  const struct store_refused_name *a = left, *b = right;
  return (a->number > b->number) - (a->number < b->number);
}

/* ---- asking, and waiting until it is done ---- */

struct asked {
  char *path;
  uint32_t shard;
};

/* Requests that were left. A worker takes several at a time, so all are left before the first is waited for. */
struct asking {
  struct asked *request;
  size_t count, done; /* from the first on */
};

static int ask_shard(struct asking *a, const struct store_reader *r, const struct ops_quarantine_names *n, uint32_t s, enum store_drop what,
                     struct failure *failure)
{
  char request[LIMIT_PATH_BYTES];
  for (size_t at = 0; at < n->count[s]; at += STORE_DROP_ENTRIES_MAX) {
    const size_t left = n->count[s] - at;
    int status = store_reader_drop(r, what, n->name[s] + at, left < STORE_DROP_ENTRIES_MAX ? (uint32_t)left : STORE_DROP_ENTRIES_MAX,
                                   request, failure);
    if (status != MUSTER_OK)
      return status;
    struct asked *larger = reallocarray(a->request, a->count + 1, sizeof *larger);
    if (larger) {
      a->request = larger;
      larger[a->count] = (struct asked){.path = strdup(request), .shard = s};
    }
    if (!larger || !larger[a->count].path)
      return failure_set(failure, MUSTER_ERR_MEMORY, "not enough memory to wait; what was asked is done all the same");
    a->count++;
  }
  return MUSTER_OK;
}

/* Until all is done, the time is up, or there is no node that would do it. */
static void asking_wait(struct asking *a, const struct ops_shards *s, uint32_t timeout_ms)
{
  const uint64_t deadline_ns = clock_monotonic_ns() + timeout_ms * UINT64_C(1000000);
  while (a->done < a->count) {
    if (access(a->request[a->done].path, F_OK) != 0) {
      a->done++;
      continue;
    }
    if (!datadir_node_pid(&s->data) || clock_monotonic_ns() >= deadline_ns)
      return;
    nanosleep(&(struct timespec){.tv_nsec = LOOK_AGAIN_MS * 1000000L}, NULL);
  }
}

static void asking_finish(struct asking *a)
{
  for (size_t i = 0; i < a->count; i++)
    free(a->request[i].path);
  free(a->request);
}

struct remaining {
  const struct ops_quarantine_names *n;
  uint64_t count;
};

static int count_remaining(void *context, const struct store_refused *entry)
{
  struct remaining *r = context;
  const uint32_t s = entry->shard;
  r->count += r->n->count[s] && bsearch(&entry->name, r->n->name[s], r->n->count[s], sizeof entry->name, by_number) != NULL;
  return 0;
}

/* What holds up the first request that is still there, as far as this process can see it, and the worker's counters. */
static void tell_cause(const struct ops_shards *s, const struct asked *request, const char *left)
{
  static struct ops_view view; /* large, and there is one */
  struct failure failure = FAILURE_NONE, unread = FAILURE_NONE;
  char role[24];
  snprintf(role, sizeof role, "worker-%" PRIu32, request->shard);
  const struct counters_snapshot *page = ops_view_take(&view, &s->data, &failure) == MUSTER_OK ? ops_view_find(&view, role) : NULL;
  const int fd = file_open(FILE_OF_NODE, "the request", request->path, UINT64_MAX, &unread);
  if (fd >= 0)
    close(fd);
  const char *cause = "it has not come to it yet";
  if (!page || !page->alive || page->state != PROCESS_SERVING)
    cause = "it is down";
  else if (page->value[COUNTER_drops_waiting])
    cause = "it cannot read the request, and its log says why (worker.quarantine_drop_waits)";
  else if (page->value[COUNTER_store_blocked])
    cause = "it has no disk to write to";
  ops_complain("quarantine", "%s are still to be dropped: the worker of shard %" PRIu32 " is asked, and %s%s%s; it does so when it can",
               left, request->shard, cause, fd < 0 ? "; " : "", fd < 0 ? unread.text : "");
}

static int tell(struct ops_shards *s, const struct ops_quarantine_names *n, enum store_drop what, const struct asking *a)
{
  const bool done = a->done == a->count;
  struct failure failure = FAILURE_NONE;
  struct remaining remaining = {.n = n};
  struct ops_quarantine_damage damage = {.quiet = true}; /* what was named could be read */
  char total[TABLE_NUMBER], gone[TABLE_NUMBER], left[TABLE_NUMBER];
  ops_table_number(total, n->total);
  if (!done && !datadir_node_pid(&s->data)) {
    printf("to be dropped when the node starts: %s (no node is running)\n", total);
    return EX_OK;
  }
  if (ops_quarantine_each(s, count_remaining, &remaining, &damage, &failure) != MUSTER_OK)
    return ops_fail("quarantine", &failure);
  printf("dropped %s of %s\n", ops_table_number(gone, n->total - remaining.count), total);
  if (remaining.count == 0)
    return EX_OK;
  ops_table_number(left, remaining.count);
  if (done) {
    printf("%s stay: %s\n", left, what == STORE_DROP_STORED ? "their record is not in the store" : "run muster verify to see why");
    return EX_OK;
  }
  tell_cause(s, &a->request[a->done], left);
  return EX_TEMPFAIL;
}

int ops_quarantine_ask(struct ops_shards *s, struct ops_quarantine_names *n, enum store_drop what, uint32_t timeout_ms)
{
  struct failure failure = FAILURE_NONE;
  struct asking asking = {0};
  int status = MUSTER_OK;
  for (uint32_t shard = 0; shard < s->count && status == MUSTER_OK; shard++) {
    if (n->count[shard])
      qsort(n->name[shard], n->count[shard], sizeof *n->name[shard], by_number);
    status = ask_shard(&asking, s->reader[shard], n, shard, what, &failure);
  }
  if (status == MUSTER_OK)
    asking_wait(&asking, s, timeout_ms);
  const int code = status == MUSTER_OK ? tell(s, n, what, &asking) : ops_fail("quarantine", &failure);
  asking_finish(&asking);
  return code;
}

/* ---- drop ---- */

struct dropping {
  const struct ops_quarantine_options *o;
  bool any_submitter;
  uint32_t submitter;
  struct ops_quarantine_names names;
};

static int choose(void *context, const struct store_refused *entry)
{
  struct dropping *d = context;
  const struct ops_quarantine_options *o = d->o;
  if ((o->addressed && (entry->shard != o->shard || entry->number != o->number)) || (o->reason && entry->reason != o->reason) ||
      (!d->any_submitter && entry->submitter != d->submitter))
    return 0;
  return ops_quarantine_names_add(&d->names, entry);
}

static bool find_submitter(struct dropping *d, struct ops_shards *s)
{
  const char *word = d->o->submitter;
  uint64_t number = SUBMITTER_LOCAL;
  d->any_submitter = !word;
  if (!word || strcmp(word, "local") == 0 || ops_options_number(word, 0, UINT32_MAX, &number)) {
    d->submitter = (uint32_t)number;
    return true;
  }
  struct key_list *names = ops_receipt_names(&s->data);
  const struct key_entry *entry = names ? key_list_by_name(names, word) : NULL;
  if (entry)
    d->submitter = entry->number;
  key_list_close(names);
  return entry != NULL;
}

int ops_quarantine_drop(const struct ops_quarantine_options *o, struct ops_shards *s)
{
  struct dropping d = {.o = o};
  struct ops_quarantine_damage damage = {0};
  struct failure failure = FAILURE_NONE;
  int code;
  if (!find_submitter(&d, s)) {
    ops_complain("quarantine", "there is no submitter \"%.60s\"; `muster quarantine list --by submitter' names those that occur",
                 o->submitter);
    return EX_NOINPUT;
  }
  int status = ops_quarantine_each(s, choose, &d, &damage, &failure);
  if (status != MUSTER_OK) {
    failure_set(&failure, status, "the quarantine cannot be read: %s", muster_status_text(status));
    code = ops_fail("quarantine", &failure);
  } else if (d.names.total == 0) {
    const bool damaged = damage.entries + damage.shards;
    ops_complain("quarantine", "no entry%s is meant by that; `muster quarantine list' names those there are",
                 damaged ? " that can be read" : "");
    code = damaged ? EX_DATAERR : EX_NOINPUT;
  } else {
    code = ops_quarantine_ask(s, &d.names, o->stored ? STORE_DROP_STORED : STORE_DROP_ALWAYS, o->timeout_ms);
  }
  ops_quarantine_names_finish(&d.names);
  return ops_output_finish("quarantine", ops_quarantine_end(&damage, code));
}
