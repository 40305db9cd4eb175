#include "ops/supervise.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include <uv.h>

#include "core/datadir_note.h"
#include "core/fault.h"
#include "core/hand.h"
#include "ops/deaths.h"
#include "ops/endpoints.h"
#include "ops/node.h"
#include "ops/reread.h"
#include "ops/words.h"

#define DRAIN_INGESTS_MS 6000u /* until every batch in flight is answered */
#define DRAIN_WORKERS_MS 3000u /* until the stores are closed; together less than the 10 s that are promised */
#define BEAT_MS 1000u

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

/* Pages and endpoints that a former run with more ingests, or one that was killed, has left, what its workers had in hand, and the totals of its
 * processes. */
static void remove_leftovers(const struct node *n)
{
  char name[64], path[LIMIT_PATH_BYTES];
  ops_endpoints_remove(n->data, 1);
  ops_reread_forget(n->data);
  for (uint32_t i = 0; i < LIMIT_INGESTS; i++) {
    snprintf(name, sizeof name, "run/counters/ingest-%u", i);
    datadir_path(n->data, path, name);
    unlink(path);
  }
  for (uint32_t i = 0; i < LIMIT_SHARDS; i++) {
    hand_path(n->data, path, i);
    hand_forget(path);
    snprintf(name, sizeof name, "worker-%u", i);
    datadir_path(n->data, path, "run/counters");
    counters_forget(path, name);
  }
  counters_forget(path, "run");
}

/* ---- ready ---- */

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
  ops_words_ready(n, endpoints);
}

/* Some shard serves, and of each other one it is known that it is down. One that was never made is waited for, however long: noted as in use without it, the
 * node would look for its data ever after. */
static bool shards_settled(const struct node *n)
{
  bool some = false;
  for (uint32_t i = 0; i < n->workers; i++) {
    some |= n->worker[i].ready;
    if (!n->worker[i].ready && !((n->outages.down & n->made) >> i & 1))
      return false;
  }
  return some;
}

/* Before anything can be acknowledged: a store that is not there at the next start is missing, then. The one time that the loop waits for a
 * sync; elsewhere it asks a file system whether something is there, and keeps notes that are not synced: that waits only for one that hangs. */
static bool note_in_use(struct node *n)
{
  uint32_t noted = 0;
  struct failure failure = FAILURE_NONE;
  if (datadir_note_read(n->data, &noted, NULL) == MUSTER_OK && noted == n->workers)
    return true;
  if (datadir_note_write(n->data->root, n->workers, &failure) == MUSTER_OK)
    return true;
  n->exit_code = muster_status_exit_code(failure.status);
  snprintf(n->last_word, sizeof n->last_word, "the node cannot be noted as in use: %s; it has ended, nothing was acknowledged",
           failure.text);
  ops_supervise_drain(n);
  return false;
}

void ops_supervise_go_on_starting(struct node *n)
{
  if (n->phase == STARTING_WORKERS && shards_settled(n)) {
    if (!note_in_use(n))
      return;
    n->phase = STARTING_INGESTS;
    (void)FAULT("run.workers-ready");
    for (uint32_t i = 0; i < n->ingests; i++)
      ops_process_start(&n->ingest[i]);
  } else if (n->phase == STARTING_INGESTS && all_ready(n->ingest, n->ingests) && shards_settled(n)) {
    publish(n);
  }
}

static void on_ready(struct ops_process *p)
{
  struct node *n = p->context;
  log_event(LOG_INFO, "child.ready", "child=%s child_pid=%d", p->role, p->handle.pid);
  if (ops_node_is_worker(n, p))
    ops_deaths_worker_ready(n, p);
  if (n->phase == SERVING && !ops_node_is_worker(n, p))
    publish(n);
  else
    ops_supervise_go_on_starting(n);
}

/* ---- the end ---- */

/* From here on nothing is left that a signal could hasten; with its handler gone, one would end the process before it has told how it went. */
static void hold_signals(void)
{
  static const int heard[] = {SIGTERM, SIGINT, SIGHUP};
  sigset_t set;
  sigemptyset(&set);
  for (unsigned i = 0; i < sizeof heard / sizeof heard[0]; i++)
    sigaddset(&set, heard[i]);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void close_everything(struct node *n)
{
  n->phase = ENDED;
  hold_signals();
  for (uint32_t i = 0; i < n->workers; i++)
    ops_process_finish(&n->worker[i]);
  for (uint32_t i = 0; i < n->ingests; i++)
    ops_process_finish(&n->ingest[i]);
  uv_close((uv_handle_t *)&n->term, NULL);
  uv_close((uv_handle_t *)&n->interrupt, NULL);
  uv_close((uv_handle_t *)&n->hangup, NULL);
  uv_close((uv_handle_t *)&n->beat, NULL);
  uv_close((uv_handle_t *)&n->deadline, NULL);
  uv_close((uv_handle_t *)&n->reread, NULL);
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

void ops_supervise_go_on_draining(struct node *n)
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

void ops_supervise_drain(struct node *n)
{
  n->phase = DRAINING_INGESTS;
  counters_state(n->page, PROCESS_DRAINING);
  log_event(LOG_INFO, "node.draining", "limit_ms=%u", DRAIN_INGESTS_MS + DRAIN_WORKERS_MS);
  cancel_starts(n->ingest, n->ingests);
  signal_all(n->ingest, n->ingests, SIGTERM);
  (void)FAULT("run.draining");
  uv_timer_start(&n->deadline, on_drain_time_used_up, DRAIN_INGESTS_MS, 0);
  ops_supervise_go_on_draining(n);
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
  ops_supervise_go_on_draining(n);
}

static void on_reread(uv_timer_t *timer) { ops_reread(timer->data); }

static void on_signal(uv_signal_t *handle, int number)
{
  struct node *n = handle->data;
  if (number == SIGHUP) {
    uv_timer_start(&n->reread, on_reread, 0, 0); /* many at once are one, and what else happens is not kept waiting */
    return;
  }
  if (n->phase < DRAINING_INGESTS)
    ops_supervise_drain(n);
  else if (n->phase < KILLING)
    kill_all(n);
}

/* ---- the run ---- */

/* Submitters are told RETRY and BUSY for the shard of a worker that is frozen, and its connections hang where an ingest is; nothing else would end that.
 * Only a stopped process is meant: one that is slow, waits for its disk, or is new, is left alone however long that takes. Looks are counted and not time, so
 * that a machine which was suspended, this process with the others, is no reason. */
static void kill_frozen(const struct node *n, struct ops_process *p, uint32_t count)
{
  for (uint32_t i = 0; i < count; i++) {
    if (ops_process_look(&p[i]) <= (n->frozen_ms + BEAT_MS - 1) / BEAT_MS) /* two looks are one beat apart */
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
  kill_frozen(n, n->worker, n->workers); /* which looks at what they do */
  kill_frozen(n, n->ingest, n->ingests);
  ops_deaths_look(n);
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
    p[i].on_died = ops_deaths_died;
  }
}

static void init(struct node *n)
{
  init_signal(n, &n->term, SIGTERM);
  init_signal(n, &n->interrupt, SIGINT);
  init_signal(n, &n->hangup, SIGHUP);
  uv_timer_init(&n->loop, &n->beat);
  uv_timer_init(&n->loop, &n->deadline);
  uv_timer_init(&n->loop, &n->reread);
  n->beat.data = n->deadline.data = n->reread.data = n;
  uv_timer_start(&n->beat, on_beat, BEAT_MS, BEAT_MS);
  init_processes(n, n->worker, n->workers, "worker");
  init_processes(n, n->ingest, n->ingests, "ingest");
  for (uint32_t i = 0; i < n->ingests; i++)
    n->ingest[i].restart.exposed = true;
  setenv("MUSTER_LIFELINE", "1", 1); /* to the children: descriptor 3 is their lifeline */
}

static void finish(struct node *n)
{
  counters_destroy(n->page);
  uv_loop_close(&n->loop);
  free(n);
}

int ops_supervise_run(const struct datadir *data, const struct config *config, struct ops_settings *settings, uint64_t absent,
                      int family_fd, const char *executable)
{
  struct failure failure = FAILURE_NONE;
  char path[LIMIT_PATH_BYTES];
  struct node *n = calloc(1, sizeof *n);
  if (!n || uv_loop_init(&n->loop) != 0) {
    free(n);
    ops_words_say("muster run: not enough memory or descriptors for the supervisor\n");
    return EX_OSERR;
  }
  n->data = data;
  n->executable = executable;
  n->workers = config->workers;
  n->ingests = config->ingests;
  n->frozen_ms = config->frozen_ms;
  n->family_fd = family_fd;
  n->config = *config;
  n->settings = settings;
  (void)FAULT("run.start");
  datadir_path(data, path, "run/counters");
  remove_leftovers(n);
  if (counters_create(&n->page, path, "run", &failure) != MUSTER_OK) {
    ops_words_say("muster run: %s\n", failure.text);
    finish(n);
    return muster_status_exit_code(failure.status);
  }
  init(n);
  ops_deaths_init(n, absent, config);
  for (uint32_t i = 0; i < n->workers; i++)
    ops_deaths_start_worker(&n->worker[i]);
  uv_run(&n->loop, UV_RUN_DEFAULT);
  assert(n->phase == ENDED);
  ops_endpoints_remove(data, 1);
  datadir_remove_sockets(data);
  int code = ops_words_last(n);
  (void)FAULT("run.ended");
  finish(n);
  return code;
}
