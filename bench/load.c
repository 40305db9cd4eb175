#include "bench/load.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "core/clock.h"
#include "proto/batch.h"

#define SECOND_NS UINT64_C(1000000000)
#define MS_NS UINT64_C(1000000)
#define SLICE_MS 250u         /* so long a call of the library may take before the time-out is looked at */
#define TICK_NS MS_NS         /* the open loop looks at least so often whether something is due */
#define START_NS (50 * MS_NS) /* the first record of an open loop is due so long after the welcome */
#define GROUPS_MIN 64u

struct load {
  const struct load_options *o;
  struct load_result *r;
  struct supply supply;
  struct muster_client *client;
  uint32_t batch;
  uint64_t start_ns;
  double interval_ns; /* open loop, between two records */
  uint64_t *given_ns; /* closed loop: when a batch was handed over, by its number modulo groups */
  uint64_t groups;
  uint64_t answered, group;                                           /* group: of the last verdict, plus one */
  uint64_t heard_ns;                                                  /* when that was */
  uint64_t moved, moved_ns;                                           /* of the time-out */
  uint64_t accepted_from[LIMIT_SHARDS], duplicate_from[LIMIT_SHARDS]; /* the lowest sequences told, 0: none yet */
  uint64_t next_sample;
  uint32_t sample_room;
  struct histogram sample; /* since the last mark */
};

/* ---- what comes back ---- */

static void sample_take(struct load *l)
{
  struct load_result *r = l->r;
  if (r->sample_count == l->sample_room) {
    uint32_t room = l->sample_room ? 2 * l->sample_room : 64;
    struct load_sample *grown = realloc(r->samples, room * sizeof *grown);
    if (!grown)
      return; /* a picture with a gap is better than no figures */
    r->samples = grown;
    l->sample_room = room;
  }
  r->samples[r->sample_count++] = (struct load_sample){.records = l->answered,
                                                       .end_ns = l->heard_ns - l->start_ns,
                                                       .p50_ns = histogram_quantile(&l->sample, 0.5),
                                                       .p99_ns = histogram_quantile(&l->sample, 0.99),
                                                       .max_ns = l->sample.max};
  histogram_add(&r->latency, &l->sample);
  histogram_clear(&l->sample);
}

static uint64_t due_ns(const struct load *l, uint64_t place) { return l->start_ns + (uint64_t)((double)place * l->interval_ns); }

static bool sample_due(const struct load *l) { return l->o->rate > 0 ? l->heard_ns >= l->next_sample : l->answered >= l->next_sample; }

static void note_lowest(uint64_t from[LIMIT_SHARDS], const struct muster_verdict *v)
{
  if (v->shard < LIMIT_SHARDS && (!from[v->shard] || v->sequence < from[v->shard]))
    from[v->shard] = v->sequence;
}

/* Sequences of a shard rise with time. A record that was stored while its answer was lost, as when its worker died, is told DUPLICATE with a sequence of this
 * load; one that was there before has a lower one than all that this load has stored. */
static bool duplicates_are_own(const struct load *l)
{
  for (uint32_t i = 0; i < LIMIT_SHARDS; i++)
    if (l->duplicate_from[i] && (!l->accepted_from[i] || l->duplicate_from[i] < l->accepted_from[i]))
      return false;
  return true;
}

static void on_given_back(void *context, uint64_t tag, uint32_t reason)
{
  struct load *l = context;
  (void)tag, (void)reason;
  l->r->given_back++;
}

/* The verdicts of an answer come one after the other: one look at the clock is enough for them. */
static void on_verdict(void *context, const struct muster_verdict *v)
{
  struct load *l = context;
  if (v->verdict == MUSTER_ACCEPTED || v->verdict == MUSTER_DUPLICATE)
    note_lowest(v->verdict == MUSTER_ACCEPTED ? l->accepted_from : l->duplicate_from, v);
  uint64_t group = v->tag / l->batch + 1;
  if (group != l->group) {
    uint64_t now = clock_monotonic_ns();
    if (l->heard_ns && now - l->heard_ns > l->r->stall_ns)
      l->r->stall_ns = now - l->heard_ns;
    l->heard_ns = now;
    l->group = group;
  }
  uint64_t from = l->o->rate > 0 ? due_ns(l, v->tag) : l->given_ns[(group - 1) % l->groups];
  histogram_record(&l->sample, l->heard_ns > from ? l->heard_ns - from : 0);
  l->answered++;
  if (l->next_sample && sample_due(l)) {
    sample_take(l);
    l->next_sample += l->o->rate > 0 ? SECOND_NS : l->o->sample_records;
  }
}

/* Whether answers still come; also shows the progress. */
static bool moves(struct load *l)
{
  struct muster_counts counts;
  uint64_t now = clock_monotonic_ns();
  muster_client_counts(l->client, &counts);
  if (l->o->on_progress)
    l->o->on_progress(l->o->context, &counts);
  uint64_t heard = l->answered + counts.busy_answers;
  if (heard != l->moved || counts.in_flight == 0) {
    l->moved = heard;
    l->moved_ns = now;
  }
  return now - l->moved_ns < l->o->timeout_s * SECOND_NS && !l->r->given_back;
}

/* Time with nothing in flight is no stall. */
static void nothing_in_flight(struct load *l)
{
  l->heard_ns = 0;
  l->group = 0;
}

static int flush(struct load *l)
{
  int status;
  while ((status = muster_client_flush(l->client, SLICE_MS)) == MUSTER_ERR_TIMEOUT && moves(l))
    ;
  return status;
}

static void skip(const uint8_t **p, const uint8_t *end, uint64_t records)
{
  struct batch_record record;
  while (records-- > 0)
    batch_next(p, end, &record);
}

/* ---- closed ---- */

/* The records of count places, encoded before. */
static int give_stream(struct load *l, uint64_t place, uint32_t *count)
{
  size_t size;
  const uint8_t *p = supply_take(&l->supply, place, count, &size), *end = p + size;
  int status = MUSTER_OK;
  for (uint64_t at = place, taken; p < end && status == MUSTER_OK; at += taken) {
    status = muster_client_submit_stream(l->client, p, (size_t)(end - p), at, &taken);
    if (status == MUSTER_OK)
      break;
    if (status == MUSTER_ERR_TIMEOUT && moves(l))
      status = MUSTER_OK; /* the window was full all the while: once more */
    skip(&p, end, taken);
  }
  return status;
}

/* The same, by their fields. */
static int give_fields(struct load *l, uint64_t place, uint32_t count)
{
  struct muster_encounter e;
  int status = MUSTER_OK;
  for (uint32_t i = 0; i < count && status == MUSTER_OK; i++) {
    supply_encounter(&l->supply, place + i, &e);
    while ((status = muster_client_submit_encounter(l->client, &e, place + i)) == MUSTER_ERR_TIMEOUT && moves(l))
      ;
  }
  return status;
}

static int run_closed(struct load *l)
{
  const bool one_by_one = l->o->client.window_batches == 1;
  int status = MUSTER_OK;
  l->start_ns = clock_monotonic_ns();
  for (uint64_t place = 0; place < l->o->records && status == MUSTER_OK;) {
    uint32_t count = l->batch - (uint32_t)(place % l->batch);
    if (count > l->o->records - place)
      count = (uint32_t)(l->o->records - place);
    if (one_by_one)
      nothing_in_flight(l);
    l->given_ns[place / l->batch % l->groups] = clock_monotonic_ns();
    status = l->o->encode ? give_fields(l, place, count) : give_stream(l, place, &count);
    place += count;
    if (status == MUSTER_OK && one_by_one)
      status = flush(l);
    if (status == MUSTER_OK && place / l->batch % GROUPS_MIN == 0 && !moves(l))
      status = MUSTER_ERR_TIMEOUT;
  }
  return status == MUSTER_OK ? flush(l) : status;
}

/* ---- open ---- */

/* Offers what is due, a record at a time: the library's window bounds what is taken, the rest stays due. */
static int offer_due(struct load *l, uint64_t *place, uint64_t now)
{
  int status = MUSTER_OK;
  while (*place < l->o->records && status == MUSTER_OK) {
    uint64_t due = due_ns(l, *place);
    if (due > now)
      break;
    uint64_t until = (uint64_t)((double)(now - l->start_ns) / l->interval_ns) + 1; /* the first that is not due */
    if (until <= *place)
      until = *place + 1; /* due by the other rounding */
    uint64_t left = (until > l->o->records ? l->o->records : until) - *place;
    uint32_t count = l->batch - (uint32_t)(*place % l->batch);
    if (count > left)
      count = (uint32_t)left;
    size_t size;
    struct batch_record record;
    const uint8_t *p = supply_take(&l->supply, *place, &count, &size), *end = p + size;
    uint64_t offered = clock_monotonic_ns();
    while (status == MUSTER_OK && batch_next(&p, end, &record) == BATCH_RECORD) {
      status = muster_client_try_submit(l->client, record.bytes, record.size, *place);
      if (status == MUSTER_OK)
        histogram_record(&l->r->late, offered - due_ns(l, (*place)++));
    }
  }
  return status;
}

static int run_open(struct load *l)
{
  struct pollfd poll_one = {.fd = muster_client_fd(l->client), .events = POLLIN};
  uint64_t place = 0, looked_ns = 0;
  int status = MUSTER_OK;
  l->start_ns = clock_monotonic_ns() + START_NS;
  l->next_sample = l->start_ns + SECOND_NS;
  while (place < l->o->records && (status == MUSTER_OK || status == MUSTER_ERR_AGAIN)) {
    uint64_t now = clock_monotonic_ns();
    status = now >= l->start_ns ? offer_due(l, &place, now) : MUSTER_OK;
    int wait_ms = muster_client_process(l->client);
    if (wait_ms < 0 || (status != MUSTER_OK && status != MUSTER_ERR_AGAIN))
      return wait_ms < 0 ? wait_ms : status;
    if (now - looked_ns > SLICE_MS * MS_NS) {
      looked_ns = now;
      if (!moves(l))
        return MUSTER_ERR_TIMEOUT;
    }
    /* The next look: when the batch in hand is full, when the library wants it, but a tick from now at the latest. */
    uint64_t full = due_ns(l, place - place % l->batch + l->batch - 1), wait_ns = TICK_NS;
    now = clock_monotonic_ns();
    if (status == MUSTER_OK && full < now + wait_ns)
      wait_ns = full > now ? full - now : 0;
    if ((uint64_t)wait_ms * MS_NS < wait_ns)
      wait_ns = (uint64_t)wait_ms * MS_NS;
    struct timespec timeout = {.tv_nsec = (long)wait_ns};
    if (wait_ns)
      ppoll(&poll_one, 1, &timeout, NULL);
  }
  l->r->due_ns = due_ns(l, l->o->records - 1) - l->start_ns;
  return flush(l);
}

/* ---- whole ---- */

static double cpu_s(void)
{
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int load_connect(struct load *l, struct failure *failure)
{
  char error[MUSTER_ERROR_BYTES];
  struct muster_options o = l->o->client;
  struct muster_counts counts = {0};
  o.on_verdict = on_verdict;
  o.on_given_back = on_given_back;
  o.shard_patience_ms = l->o->timeout_s * 750; /* before the time-out is up: the cause is told, and not the silence that comes of it */
  o.context = l;
  int status = muster_client_create(&l->client, &o, error);
  if (status != MUSTER_OK)
    return failure_set(failure, status, "%s", error);
  muster_client_set_timeout(l->client, SLICE_MS);
  l->moved_ns = clock_monotonic_ns();
  for (status = MUSTER_OK; status >= 0 && !counts.connected;) {
    struct pollfd one = {.fd = muster_client_fd(l->client), .events = POLLIN};
    status = muster_client_process(l->client);
    muster_client_counts(l->client, &counts);
    if (status < 0 || counts.connected)
      break;
    if (clock_monotonic_ns() - l->moved_ns > l->o->timeout_s * SECOND_NS)
      return failure_set(failure, MUSTER_ERR_UNAVAILABLE, "no node answered within %u s at %s; nothing was sent", l->o->timeout_s,
                         muster_client_endpoint(l->client));
    poll(&one, 1, status);
  }
  return status < 0 ? failure_set(failure, status, "%s", muster_client_error(l->client)) : MUSTER_OK;
}

static int load_prepare(struct load *l, struct failure *failure)
{
  int status = supply_init(&l->supply, &l->o->supply);
  if (status == MUSTER_OK && l->o->encode)
    status = supply_fields(&l->supply);
  l->batch = l->o->client.batch_records;
  l->groups = 2 * (uint64_t)l->o->client.window_batches + GROUPS_MIN;
  l->given_ns = calloc(l->groups, sizeof *l->given_ns);
  l->interval_ns = l->o->rate > 0 ? 1e9 / l->o->rate : 0;
  l->next_sample = l->o->sample_records;
  if (status != MUSTER_OK || !l->given_ns)
    return failure_set(failure, MUSTER_ERR_MEMORY, "no memory for a set of %u records", SUPPLY_SET);
  return load_connect(l, failure);
}

int load_run(struct load_result *result, const struct load_options *options, struct failure *failure)
{
  memset(result, 0, sizeof *result);
  struct load *l = calloc(1, sizeof *l);
  if (!l)
    return failure_set(failure, MUSTER_ERR_MEMORY, "no memory for a load");
  l->o = options;
  l->r = result;
  int status = load_prepare(l, failure);
  if (status == MUSTER_OK) {
    double cpu_before = cpu_s();
    status = options->rate > 0 ? run_open(l) : run_closed(l);
    result->cpu_s = cpu_s() - cpu_before;
    result->elapsed_ns = clock_monotonic_ns() - l->start_ns;
    muster_client_counts(l->client, &result->counts);
    for (uint64_t place = 0; place < result->counts.submitted; place++)
      result->resends += supply_resend(&l->supply, place);
    if (l->sample.count)
      sample_take(l);
    result->own = duplicates_are_own(l);
    if (status == MUSTER_OK && result->given_back)
      status = MUSTER_ERR_TIMEOUT;
    if (result->given_back && status == MUSTER_ERR_TIMEOUT)
      failure_set(failure, status,
                  "a shard of the node stays down (BUSY_SHARD_DOWN); `muster status' there says why; %llu records have no verdict",
                  (unsigned long long)(result->counts.in_flight + result->given_back));
    else if (status == MUSTER_ERR_TIMEOUT)
      failure_set(failure, status, "no answer came for %u s; %llu records have no verdict", options->timeout_s,
                  (unsigned long long)result->counts.in_flight);
    else if (status != MUSTER_OK)
      failure_set(failure, status, "%s", muster_client_error(l->client));
  }
  muster_client_destroy(l->client);
  supply_finish(&l->supply);
  free(l->given_ns);
  free(l);
  return status;
}

void load_finish(struct load_result *result)
{
  free(result->samples);
  result->samples = NULL;
}
