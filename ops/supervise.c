#include "ops/supervise.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include <uv.h>

#include "core/counters.h"
#include "core/fault.h"
#include "core/hand.h"
#include "core/limits.h"
#include "core/log.h"
#include "ops/endpoints.h"
#include "ops/family.h"
#include "ops/outage.h"
#include "ops/process.h"
#include "ops/shards.h"
#include "ops/table.h"
#include "store/read.h"

#define DRAIN_INGESTS_MS 6000u /* until every batch in flight is answered */
#define DRAIN_WORKERS_MS 3000u /* until the stores are closed; together less than the 10 s that are promised */
#define BEAT_MS 1000u

/* Workers first: an ingest that finds every shard there never admits what a half-made store cannot hold. */
enum phase { STARTING_WORKERS, STARTING_INGESTS, SERVING, DRAINING_INGESTS, DRAINING_WORKERS, KILLING, ENDED };

struct node {
  uv_loop_t loop;
  const struct datadir *data;
  const char *executable;
  uint32_t workers, ingests, frozen_ms;
  int family_fd;
  struct ops_process worker[LIMIT_SHARDS], ingest[LIMIT_INGESTS];
  struct counters *page;
  struct ops_outages outages;
  uint64_t made;                   /* shards that were created, a bit for each: the node goes on without them */
  uint64_t lost;                   /* shards that would have ended the node if they were its only one; until they are ready again */
  uint64_t ready_ms[LIMIT_SHARDS]; /* when the worker became ready last */
  enum phase phase;
  uv_signal_t term, interrupt, hangup;
  uv_timer_t beat, deadline;
  bool cut; /* some ingest ended before it had answered everything */
  int exit_code;
  struct log_gate gate_wanting;
  char last_word[1024]; /* why the node gave up; "" where it was told to stop */
};

static void drain(struct node *n);

/* One write, so that it cannot mix with the lines of the children. */
static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
  static char line[ENDPOINTS_TEXT + 512];
  va_list list;
  va_start(list, format);
  vsnprintf(line, sizeof line, format, list);
  va_end(list);
  fputs(line, stderr);
}

static bool any_alive(const struct ops_process *p, uint32_t count)
{
  for (uint32_t i = 0; i < count; i++)
    if (p[i].alive)
      return true;
  return false;
}

static bool all_ready(const struct ops_process *p, uint32_t count)
{
  for (uint32_t i = 0; i < count; i++)
    if (!p[i].ready)
      return false;
  return true;
}

static void signal_all(struct ops_process *p, uint32_t count, int signal)
{
  for (uint32_t i = 0; i < count; i++)
    ops_process_signal(&p[i], signal);
}

/* ---- what the pages say ---- */

struct sums {
  uint64_t records, in_flight;
  bool disk, memory; /* some shard tells BUSY for it */
};

static int add_page(void *context, const struct counters_snapshot *page)
{
  struct sums *sums = context;
  if (strncmp(page->role, "worker-", 7) == 0) {
    const bool blocked = page->value[COUNTER_store_blocked], memory = page->value[COUNTER_index_full];
    sums->records += page->value[COUNTER_store_records];
    sums->memory |= memory;
    sums->disk |= blocked && !memory;
  }
  if (strncmp(page->role, "ingest-", 7) == 0)
    sums->in_flight += page->value[COUNTER_records_in_flight];
  return 0;
}

static struct sums read_pages(const struct node *n)
{
  struct sums sums = {0};
  struct failure ignored = FAILURE_NONE;
  char path[LIMIT_PATH_BYTES];
  datadir_path(n->data, path, "run/counters");
  counters_each(path, add_page, &sums, &ignored);
  return sums;
}

/* Pages and endpoints that a former run with more ingests, or one that was killed, has left, and what its workers had in hand. */
static void remove_leftovers(const struct node *n)
{
  char name[64], path[LIMIT_PATH_BYTES];
  ops_endpoints_remove(n->data, 1);
  for (uint32_t i = 0; i < LIMIT_INGESTS; i++) {
    snprintf(name, sizeof name, "run/counters/ingest-%u", i);
    datadir_path(n->data, path, name);
    unlink(path);
  }
  for (uint32_t i = 0; i < LIMIT_SHARDS; i++) {
    hand_path(n->data, path, i);
    hand_forget(path);
  }
}

/* ---- ready ---- */

static void say_ready(const struct node *n, char *endpoints)
{
  char records[TABLE_NUMBER];
  for (char *c = endpoints; *c; c++)
    if (*c == '\n')
      *c = ' ';
  const struct sums sums = read_pages(n);
  ops_table_number(records, sums.records);
  uint32_t serving = 0;
  char workers[48], down[64] = "";
  for (uint32_t i = 0; i < n->workers; i++)
    serving += n->worker[i].ready;
  if (serving < n->workers) {
    snprintf(workers, sizeof workers, "%u of %u", serving, n->workers);
    snprintf(down, sizeof down, " · the other shards are down: muster status says why");
  } else
    snprintf(workers, sizeof workers, "%u", n->workers);
  say("muster: ready: %s· %s worker%s · %s records%s%s\n", endpoints, workers, n->workers == 1 ? "" : "s", records, down,
      sums.disk ? " · but BUSY: less disk is free than disk_reserve_bytes in [store]; reading works, submitters wait until there is space"
      : sums.memory ? " · but BUSY: the index has used up index_bytes in [store]; reading works, submitters wait until a start with more"
                    : "");
}

/* Every time an ingest has become ready: after a restart its tcp port may be another. */
static void publish(struct node *n)
{
  static char endpoints[ENDPOINTS_TEXT];
  struct failure failure = FAILURE_NONE;
  unsigned count = ops_endpoints_gather(n->data, n->ingests, endpoints);
  if (ops_endpoints_publish(n->data, endpoints, &failure) != MUSTER_OK) {
    char quoted[512];
    log_event(LOG_ERROR, "endpoints.not-written", "error=%s", log_quote(quoted, sizeof quoted, failure.text));
  }
  if (n->phase == SERVING)
    return;
  (void)FAULT("run.before-ready");
  n->phase = SERVING;
  counters_state(n->page, PROCESS_SERVING);
  log_event(LOG_INFO, "node.ready", "workers=%u ingests=%u endpoints=%u", n->workers, n->ingests, count);
  say_ready(n, endpoints);
}

/* Some shard serves, and of each other one it is known that it is down. */
static bool shards_settled(const struct node *n)
{
  bool some = false;
  for (uint32_t i = 0; i < n->workers; i++) {
    some |= n->worker[i].ready;
    if (!n->worker[i].ready && !(n->outages.down >> i & 1))
      return false;
  }
  return some;
}

static void go_on_starting(struct node *n)
{
  if (n->phase == STARTING_WORKERS && shards_settled(n)) {
    n->phase = STARTING_INGESTS;
    (void)FAULT("run.workers-ready");
    for (uint32_t i = 0; i < n->ingests; i++)
      ops_process_start(&n->ingest[i]);
  } else if (n->phase == STARTING_INGESTS && all_ready(n->ingest, n->ingests) && shards_settled(n)) {
    publish(n);
  }
}

static bool is_worker(const struct node *n, const struct ops_process *p) { return p->kind == n->worker[0].kind; }

static bool was_made(const struct node *n, uint32_t shard)
{
  char path[LIMIT_PATH_BYTES];
  datadir_shard_path(n->data, path, shard);
  return store_was_created(path);
}

static void on_ready(struct ops_process *p)
{
  struct node *n = p->context;
  log_event(LOG_INFO, "child.ready", "child=%s child_pid=%d", p->role, p->handle.pid);
  if (is_worker(n, p)) {
    n->made |= (uint64_t)was_made(n, p->index) << p->index;
    n->lost &= ~(UINT64_C(1) << p->index);
    n->ready_ms[p->index] = uv_now(&n->loop);
    if (!p->restart.storage_row) /* else it has been ready before, and met the same again; see on_beat */
      ops_outages_end(&n->outages, p->index);
  }
  if (n->phase == SERVING && !is_worker(n, p))
    publish(n);
  else
    go_on_starting(n);
}

/* ---- the end ---- */

static void close_everything(struct node *n)
{
  n->phase = ENDED;
  for (uint32_t i = 0; i < n->workers; i++)
    ops_process_finish(&n->worker[i]);
  for (uint32_t i = 0; i < n->ingests; i++)
    ops_process_finish(&n->ingest[i]);
  uv_close((uv_handle_t *)&n->term, NULL);
  uv_close((uv_handle_t *)&n->interrupt, NULL);
  uv_close((uv_handle_t *)&n->hangup, NULL);
  uv_close((uv_handle_t *)&n->beat, NULL);
  uv_close((uv_handle_t *)&n->deadline, NULL);
}

static void on_drain_time_used_up(uv_timer_t *timer)
{
  struct node *n = timer->data;
  bool ingests = n->phase == DRAINING_INGESTS;
  log_event(LOG_WARN, "node.drain-cut", "waiting_for=%s killed=1", ingests ? "ingest" : "worker");
  if (ingests)
    signal_all(n->ingest, n->ingests, SIGKILL);
  else
    signal_all(n->worker, n->workers, SIGKILL);
}

static void cancel_starts(struct ops_process *p, uint32_t count)
{
  for (uint32_t i = 0; i < count; i++)
    if (p[i].waiting)
      ops_process_cancel(&p[i]);
}

/* Goes on with the drain as far as those still alive allow. */
static void advance(struct node *n)
{
  if (n->phase == DRAINING_INGESTS && !any_alive(n->ingest, n->ingests)) {
    n->phase = DRAINING_WORKERS;
    cancel_starts(n->worker, n->workers);
    signal_all(n->worker, n->workers, SIGTERM);
    (void)FAULT("run.draining-workers");
    uv_timer_start(&n->deadline, on_drain_time_used_up, DRAIN_WORKERS_MS, 0);
  }
  if ((n->phase == DRAINING_WORKERS || n->phase == KILLING) && !any_alive(n->worker, n->workers) && !any_alive(n->ingest, n->ingests))
    close_everything(n);
}

/* Ingests first, while the workers still serve them (and are still started again), then the workers. */
static void drain(struct node *n)
{
  n->phase = DRAINING_INGESTS;
  counters_state(n->page, PROCESS_DRAINING);
  log_event(LOG_INFO, "node.draining", "limit_ms=%u", DRAIN_INGESTS_MS + DRAIN_WORKERS_MS);
  cancel_starts(n->ingest, n->ingests);
  signal_all(n->ingest, n->ingests, SIGTERM);
  (void)FAULT("run.draining");
  uv_timer_start(&n->deadline, on_drain_time_used_up, DRAIN_INGESTS_MS, 0);
  advance(n);
}

static void kill_all(struct node *n)
{
  n->phase = KILLING;
  n->cut = true;
  log_event(LOG_WARN, "node.killed", "cause=\"second signal\"");
  cancel_starts(n->worker, n->workers);
  cancel_starts(n->ingest, n->ingests);
  signal_all(n->ingest, n->ingests, SIGKILL);
  signal_all(n->worker, n->workers, SIGKILL);
  advance(n);
}

static void on_signal(uv_signal_t *handle, int number)
{
  struct node *n = handle->data;
  if (number == SIGHUP)
    return;
  if (n->phase < DRAINING_INGESTS)
    drain(n);
  else if (n->phase < KILLING)
    kill_all(n);
}

/* ---- deaths ---- */

static const char *how_often(enum ops_restart_verdict verdict)
{
  switch (verdict) {
  case RESTART_STARTS_USED_UP: return "5 times in a row before it was ready";
  case RESTART_HOLDING_USED_UP: return "1,000 times within ten minutes with records in hand";
  default: return "100 times within a minute";
  }
}
static_assert(RESTART_STARTS == 5 && RESTART_DEATHS == 100 && RESTART_WINDOW_MS == 60000 && RESTART_HOLDING == 1000 &&
                  RESTART_HOLDING_MS == 600000,
              "the last word says these numbers");

static void give_up(struct node *n, const struct ops_process *p, struct ops_restart_decision decision)
{
  char death[128];
  ops_process_death(p, death, sizeof death);
  n->exit_code = decision.exit_code;
  if (decision.verdict == RESTART_FINAL && p->cause[0])
    snprintf(n->last_word, sizeof n->last_word, "%s cannot run: %s; the node has ended; its data directory stays as it is", p->role,
             p->cause);
  else if (decision.verdict == RESTART_FINAL)
    snprintf(n->last_word, sizeof n->last_word, "%s cannot run (%s): its line of role=%s above says why; the node has ended", p->role,
             death, p->role);
  else
    snprintf(n->last_word, sizeof n->last_word,
             "%s died %s, last by %s%s%s; the node has ended; what is acknowledged is on disk; look at the lines of role=%s above, and at "
             "`muster "
             "verify'",
             p->role, how_often(decision.verdict), death, p->cause[0] ? ": " : "", p->cause, p->role);
  log_event(LOG_ERROR, "node.gives-up", "child=%s deaths=%" PRIu64, p->role, p->restart.deaths);
  drain(n);
}

/* ---- a shard that is down ---- */

static void cause_of(const struct ops_process *p, enum ops_restart_verdict verdict, char out[OUTAGE_CAUSE_BYTES])
{
  char death[128];
  ops_process_death(p, death, sizeof death);
  if (p->cause[0])
    snprintf(out, OUTAGE_CAUSE_BYTES, "%s", p->cause);
  else if (verdict == RESTART_AGAIN || verdict == RESTART_FINAL)
    snprintf(out, OUTAGE_CAUSE_BYTES, "its worker ended with %s; the log's lines of role=%s say why", death, p->role);
  else
    snprintf(out, OUTAGE_CAUSE_BYTES, "its worker died %s, last by %s; look at the log's lines of role=%s", how_often(verdict), death,
             p->role);
}

/* Its worker cannot serve, and what that is of concerns no other shard. false: no shard is left. */
static bool lose(struct node *n, const struct ops_process *p)
{
  n->lost |= UINT64_C(1) << p->index;
  return n->lost != UINT64_MAX >> (64 - n->workers);
}

/* A shard that was made and has no data is not begun anew: a worker might take an empty directory for a new store. */
static void start_worker(struct ops_process *p)
{
  struct node *n = p->context;
  char path[LIMIT_PATH_BYTES];
  if (!(n->made >> p->index & 1) || !ops_shards_lacks_data(n->data, p->index)) {
    ops_process_start(p);
    return;
  }
  datadir_shard_path(n->data, path, p->index);
  snprintf(p->cause, sizeof p->cause,
           "shard %u is missing: %.300s holds no data, and this shard was in use; nothing was changed; put it back there", p->index, path);
  if (!lose(n, p)) {
    give_up(n, p, (struct ops_restart_decision){.verdict = RESTART_FINAL, .exit_code = EX_DATAERR});
    return;
  }
  ops_outages_note(&n->outages, p->index, p->restart.rarely_ms, p->cause);
  ops_process_start_after(p, p->restart.rarely_ms);
  go_on_starting(n);
}

static bool had_records_in_hand(const struct node *n, const struct ops_process *p)
{
  char path[LIMIT_PATH_BYTES];
  if (!is_worker(n, p))
    return false;
  hand_path(n->data, path, p->index);
  return hand_count(path) > 0;
}

/* Settings are all workers', and judged before the node serves. */
static bool is_contained(const struct node *n, const struct ops_process *p)
{
  const bool settings = p->signal == 0 && p->exit_status == EX_CONFIG && n->phase < SERVING;
  return is_worker(n, p) && (n->made >> p->index & 1 || p->restart.was_ready) && !settings;
}

static void on_death_unasked(struct node *n, struct ops_process *p)
{
  char death[128], quoted[160], cause[OUTAGE_CAUSE_BYTES];
  const struct ops_restart_death what = {.exit_status = p->exit_status, .signal = p->signal, .holding = had_records_in_hand(n, p)};
  struct ops_restart_decision decision = ops_restart_died(&p->restart, uv_now(&n->loop), what);
  if (decision.wanting)
    log_event_gated(&n->gate_wanting, LOG_WARN, "child.wanting",
                    "child=%s times=%" PRIu64 " cause=\"no room, or a lock that another process has: its own line says which\" "
                    "retry_ms=%u until=\"it can start\" kept=\"all that was answered\"",
                    p->role, p->restart.wanting, decision.delay_ms);
  else
    log_event(LOG_WARN, "child.died", "child=%s cause=%s was_ready=%d holding=%d deaths=%" PRIu64, p->role,
              log_quote(quoted, sizeof quoted, ops_process_death(p, death, sizeof death)), p->was_ready, what.holding,
              p->restart.deaths + p->restart.strikes);
  const bool over = decision.verdict != RESTART_AGAIN;
  if (over && n->phase >= DRAINING_INGESTS)
    return;
  if (over && (!is_contained(n, p) || !lose(n, p))) {
    give_up(n, p, decision);
    return;
  }
  counters_begin(n->page);
  counters_add(n->page, COUNTER_restarts, 1);
  counters_end(n->page);
  ops_process_start_after(p, decision.delay_ms);
  if (decision.down && is_worker(n, p)) {
    cause_of(p, decision.verdict, cause);
    ops_outages_note(&n->outages, p->index, decision.delay_ms, cause);
    go_on_starting(n);
  }
}

static void on_died(struct ops_process *p)
{
  struct node *n = p->context;
  bool is_ingest = !is_worker(n, p);
  bool asked = n->phase >= DRAINING_WORKERS || (n->phase == DRAINING_INGESTS && is_ingest);
  if (!asked) {
    on_death_unasked(n, p);
    return;
  }
  bool clean = p->exit_status == 0 && p->signal == 0;
  log_event(clean ? LOG_INFO : LOG_WARN, "child.stopped", "child=%s exit_status=%d signal=%d", p->role, p->exit_status, p->signal);
  if (is_ingest && !clean)
    n->cut = true;
  advance(n);
}

/* ---- the run ---- */

/* Submitters are told RETRY and BUSY for the shard of a worker that is frozen, and its connections hang where an ingest is; nothing else would end that.
 * Only a stopped process is meant: one that is slow, waits for its disk, or is new, is left alone however long that takes. Looks are counted and not time, so
 * that a machine which was suspended, this process with the others, is no reason. */
static void kill_frozen(const struct node *n, struct ops_process *p, uint32_t count)
{
  for (uint32_t i = 0; i < count; i++) {
    if (ops_process_look(&p[i]) <= n->frozen_ms / BEAT_MS) /* two looks are one beat apart */
      continue;
    log_event(LOG_WARN, "child.frozen", "child=%s child_pid=%d cause=\"stopped by a signal for %u ms\" killed=1", p[i].role,
              p[i].handle.pid, n->frozen_ms);
    ops_process_signal(&p[i], SIGKILL);
  }
}

static void on_beat(uv_timer_t *timer)
{
  struct node *n = timer->data;
  counters_beat(n->page);
  for (uint32_t i = 0; i < n->workers; i++)
    if (n->worker[i].ready && uv_now(&n->loop) - n->ready_ms[i] >= RESTART_QUIET_MS)
      ops_outages_end(&n->outages, i);
  kill_frozen(n, n->worker, n->workers);
  kill_frozen(n, n->ingest, n->ingests);
}

static void init_signal(struct node *n, uv_signal_t *handle, int number)
{
  uv_signal_init(&n->loop, handle);
  handle->data = n;
  uv_signal_start(handle, on_signal, number);
}

static void init_processes(struct node *n, struct ops_process *p, uint32_t count, const char *kind)
{
  for (uint32_t i = 0; i < count; i++) {
    ops_process_init(&p[i], &n->loop, kind, i, n->executable, n->data->root, n->family_fd);
    p[i].context = n;
    p[i].on_ready = on_ready;
    p[i].on_died = on_died;
  }
}

static void init_shards(struct node *n, uint64_t absent, uint32_t retry_ms)
{
  ops_outages_init(&n->outages, n->data, n->page);
  n->made = absent;
  for (uint32_t i = 0; i < n->workers; i++) {
    n->made |= (uint64_t)was_made(n, i) << i;
    n->worker[i].on_due = start_worker;
    n->worker[i].restart.rarely_ms = retry_ms;
  }
}

static void init(struct node *n)
{
  init_signal(n, &n->term, SIGTERM);
  init_signal(n, &n->interrupt, SIGINT);
  init_signal(n, &n->hangup, SIGHUP);
  uv_timer_init(&n->loop, &n->beat);
  uv_timer_init(&n->loop, &n->deadline);
  n->beat.data = n->deadline.data = n;
  uv_timer_start(&n->beat, on_beat, BEAT_MS, BEAT_MS);
  init_processes(n, n->worker, n->workers, "worker");
  init_processes(n, n->ingest, n->ingests, "ingest");
  for (uint32_t i = 0; i < n->ingests; i++)
    n->ingest[i].restart.exposed = true;
  setenv("MUSTER_LIFELINE", "1", 1); /* to the children: descriptor 3 is their lifeline */
}

static int last_word(const struct node *n)
{
  char records[TABLE_NUMBER];
  struct sums sums = read_pages(n);
  ops_table_number(records, sums.records);
  if (n->last_word[0]) {
    say("muster: %s\n", n->last_word);
    return n->exit_code;
  }
  if (n->cut || sums.in_flight) {
    say("muster: stopped: %s records; some submitters had no answer yet and will send again; nothing acknowledged is lost\n", records);
    return EX_TEMPFAIL;
  }
  say("muster: stopped: %s records, all answered\n", records);
  return EX_OK;
}

static void finish(struct node *n)
{
  counters_destroy(n->page);
  if (n->family_fd >= 0)
    close(n->family_fd);
  uv_loop_close(&n->loop);
  free(n);
}

int ops_supervise_run(const struct datadir *data, const struct config *config, uint64_t absent, const char *executable)
{
  struct failure failure = FAILURE_NONE;
  char path[LIMIT_PATH_BYTES];
  struct node *n = calloc(1, sizeof *n);
  if (!n || uv_loop_init(&n->loop) != 0) {
    free(n);
    say("muster run: not enough memory or descriptors for the supervisor\n");
    return EX_OSERR;
  }
  n->data = data;
  n->executable = executable;
  n->workers = config->workers;
  n->ingests = config->ingests;
  n->frozen_ms = config->frozen_ms;
  (void)FAULT("run.start");
  datadir_path(data, path, "run/counters");
  if (ops_family_claim(data, FAMILY_ENDS_MS, &n->family_fd, &failure) == MUSTER_OK) {
    remove_leftovers(n);
    counters_create(&n->page, path, "run", &failure);
  }
  if (failure.status != MUSTER_OK) {
    say("muster run: %s\n", failure.text);
    finish(n);
    return muster_status_exit_code(failure.status);
  }
  init(n);
  init_shards(n, absent, config->shard_retry_ms);
  for (uint32_t i = 0; i < n->workers; i++)
    start_worker(&n->worker[i]);
  uv_run(&n->loop, UV_RUN_DEFAULT);
  assert(n->phase == ENDED);
  ops_endpoints_remove(data, 1);
  datadir_remove_sockets(data);
  int code = last_word(n);
  (void)FAULT("run.ended");
  finish(n);
  return code;
}
