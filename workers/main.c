/*
 * The worker's process: opens its shard, binds the socket that the ingests connect to, and feeds the worker from the
 * loop until the supervisor tells it to stop, the supervisor is gone, or the storage has failed. Everything here is of
 * the process; what a worker does with a part is in worker.c.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <time.h>

#include "core/child.h"
#include "core/clock.h"
#include "core/fault.h"
#include "core/hand.h"
#include "core/link.h"
#include "core/log.h"
#include "proto/node_id.h"
#include "store/store.h"
#include "workers/group.h"
#include "workers/worker.h"

#define QUEUE_MESSAGES (2 * LIMIT_BATCHES_IN_FLIGHT) /* an ingest never has more parts open here, so an answer always has room */
#define HANDSHAKE_MS 5000
#define OWNER_WAIT_MS 5000 /* a former worker that was killed lets go of the shard as soon as the kernel has cleared it away */
#define REFRESH_MS 500
#define LINGER_MS 1000
#define READ_NS UINT64_C(100000000) /* from BYE to the end of the connection */
#define DRAIN_TURNS 256             /* an ingest that still sends while its worker drains resends to the next one */

struct process {
  uv_loop_t loop;
  struct child child;
  struct store *store;
  struct hand *hand;
  struct worker *worker;
  struct link *link;
  uv_timer_t refresh;
  uint32_t shard, shards;
  char store_path[LIMIT_PATH_BYTES];
};

static const char doc[] =
    "Owns one shard of the store: decodes, validates, deduplicates and commits. Started by `muster run'; by hand only to look into "
    "a fault."
    "\vExample: muster worker --data /var/lib/muster --index 0";

/* ---- what the loop calls ---- */

static void on_message(void *context, struct link *link, struct link_message *message)
{
  struct process *p = context;
  (void)link;
  worker_take(p->worker, message);
}

static void on_turn_end(void *context, struct link *link)
{
  struct process *p = context;
  (void)link;
  worker_settle(p->worker);
}

static int on_send(void *context, struct link_message *message)
{
  struct process *p = context;
  return link_send(p->link, message);
}

static void on_storage_failed(void *context)
{
  struct process *p = context;
  link_pause(p->link, true);
  uv_stop(&p->loop);
}

static void on_refresh(uv_timer_t *timer)
{
  struct process *p = timer->data;
  worker_refresh(p->worker);
}

static void on_reread(void *context)
{
  struct process *p = context;
  const struct config *config = &p->child.config;
  if (!p->worker) /* still starting: it takes them then */
    return;
  worker_retune(p->worker, config);
  store_limit_quarantine(p->store, config->quarantine_records, config->quarantine_bytes);
}

/* The ingests have been drained before, so what is still there is little; all of it is committed and answered. */
static void on_drain(void *context)
{
  struct process *p = context;
  (void)FAULT("worker.draining");
  for (unsigned turn = 0; turn < DRAIN_TURNS && p->link && link_turn(p->link) > 0; turn++)
    ;
  worker_leave(p->worker);
  uv_stop(&p->loop);
}

/* ---- start ---- */

/* People who wait for a large shard see it come. */
static void on_rebuild(void *context, uint64_t placed, uint64_t records)
{
  struct process *p = context;
  child_opening(&p->child, "its index is being rebuilt, %" PRIu64 " of %" PRIu64 " records are in it", placed, records);
}

static int open_store(struct process *p, struct failure *failure)
{
  const struct config *config = &p->child.config;
  struct store_options o = {
      .path = p->store_path,
      .shard = p->shard,
      .shards = p->shards,
      .map_bytes = config->map_bytes,
      .index_bytes = p->shards ? config->index_bytes / p->shards : 0,
      .quarantine_records = config->quarantine_records,
      .quarantine_bytes = config->quarantine_bytes,
      .lock_wait_ms = OWNER_WAIT_MS,
      .on_rebuild = on_rebuild,
      .context = p,
  };
  if (p->shard >= p->shards)
    return failure_set(failure, MUSTER_ERR_CONFIG, "shard %" PRIu32 " does not exist: the node has %" PRIu32 " workers", p->shard,
                       p->shards);
  int status = node_id_read(&p->child.data, o.node_id, failure);
  return status == MUSTER_OK ? store_open(&p->store, &o, failure) : status;
}

/* Behind the store, whose owner lock says that no other worker writes there. What killed a worker before is known to its successors, and
 * tried again when the node was started anew. */
static int open_hand(struct process *p, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  hand_path(&p->child.data, path, p->shard);
  int status = hand_open(&p->hand, path, failure);
  return status == MUSTER_OK && hand_has_former(p->hand) ? store_recall_deadly(p->store, failure) : status;
}

static int open_worker(struct process *p, struct failure *failure)
{
  struct worker_options o = {
      .store = p->store,
      .store_path = p->store_path,
      .shard = p->shard,
      .shards = p->shards,
      .config = &p->child.config,
      .counters = p->child.counters,
      .hand = p->hand,
      .send = on_send,
      .on_stop = on_storage_failed,
      .context = p,
  };
  if (getrandom(&o.epoch, sizeof o.epoch, 0) != (ssize_t)sizeof o.epoch)
    return failure_set_errno(failure, MUSTER_ERR_IO, errno, "no random bytes for the worker's epoch");
  return worker_create(&p->worker, &o, failure);
}

static int open_link(struct process *p, struct failure *failure)
{
  char endpoint[LIMIT_PATH_BYTES];
  const struct link_options o = {
      .kind = LINK_ROUTER,
      .queue_messages = QUEUE_MESSAGES,
      .message_bytes_max = LIMIT_WIRE_BYTES,
      .handshake_ms = HANDSHAKE_MS,
      .turn_messages = GROUP_PARTS,
      .handover = true, /* an ingest that was killed comes back under its old routing id */
      .on_message = on_message,
      .on_turn_end = on_turn_end,
      .context = p,
  };
  datadir_worker_endpoint(&p->child.data, endpoint, p->shard);
  int status = link_open(&p->link, &p->loop, &o, failure);
  return status == MUSTER_OK ? link_bind(p->link, endpoint, NULL, 0, failure) : status;
}

static int process_start(struct process *p, struct failure *failure)
{
  p->shards = p->child.config.workers;
  datadir_shard_path(&p->child.data, p->store_path, p->shard);
  int status = open_store(p, failure);
  if (status == MUSTER_OK)
    status = open_hand(p, failure);
  if (status == MUSTER_OK)
    status = open_worker(p, failure);
  if (status == MUSTER_OK)
    status = open_link(p, failure);
  if (status != MUSTER_OK)
    return status;
  worker_refresh(p->worker);
  p->refresh.data = p;
  uv_timer_init(&p->loop, &p->refresh);
  uv_timer_start(&p->refresh, on_refresh, REFRESH_MS, REFRESH_MS);

  struct store_facts facts;
  store_facts(p->store, &facts);
  (void)FAULT("worker.before-ready");
  log_event(LOG_INFO, "worker.ready", "shard=%" PRIu32 " shards=%" PRIu32 " records=%" PRIu64 " index=%s", p->shard, p->shards,
            facts.records, facts.rebuilt ? "rebuilt" : "loaded");
  child_ready(&p->child);
  return MUSTER_OK;
}

/* ---- end ---- */

/* ZeroMQ throws away, at the other end, what is not read there when a connection ends: BYE and the last answers get the time to be read. */
static void wait_since(uint64_t start_ns, uint64_t at_least_ns)
{
  uint64_t passed_ns = clock_monotonic_ns() - start_ns;
  if (passed_ns < at_least_ns)
    nanosleep(&(struct timespec){.tv_nsec = (long)(at_least_ns - passed_ns)}, NULL);
}

/* The hint is written by the store where nothing has failed, and meanwhile the ingests read what they were told last. */
static void process_finish(struct process *p)
{
  uint64_t start_ns = clock_monotonic_ns();
  p->child.on_drain = p->child.on_orphan = p->child.on_reread = NULL; /* from here on a signal changes nothing */
  bool served = p->refresh.data != NULL;
  if (served)
    uv_close((uv_handle_t *)&p->refresh, NULL);
  worker_destroy(p->worker);
  hand_close(p->hand);
  store_close(p->store);
  (void)FAULT("worker.store-closed");
  if (served)
    wait_since(start_ns, READ_NS);
  link_close_lingering(p->link, LINGER_MS);
  child_finish(&p->child);
  uv_run(&p->loop, UV_RUN_DEFAULT);
  uv_loop_close(&p->loop);
  link_context_finish();
}

static int storage_exit_code(const struct failure *failure)
{
  return failure->status == MUSTER_OK ? EX_OK : failure->status == MUSTER_ERR_FULL ? EX_TEMPFAIL : EX_IOERR;
}

int worker_main(int argc, char **argv); /* for the table of commands, which stands above this room */
int worker_main(int argc, char **argv)
{
  static struct process process; /* too large for a stack, and there is one */
  struct process *p = &process;
  struct failure failure = FAILURE_NONE;
  char role[sizeof p->child.role], sentence[sizeof failure.text + 64];

  const struct child_place place = child_options(argc, argv, doc, "a shard", LIMIT_SHARDS);
  p->shard = place.index;
  p->child.on_drain = p->child.on_orphan = on_drain;
  p->child.on_reread = on_reread;
  p->child.context = p;
  snprintf(role, sizeof role, "worker-%" PRIu32, p->shard);
  (void)FAULT("worker.start");
  store_process_setup();
  uv_loop_init(&p->loop);
  int status = child_init(&p->child, &p->loop, place.data, role, &failure);
  if (status == MUSTER_OK) {
    status = process_start(p, &failure);
    if (status == MUSTER_OK)
      uv_run(&p->loop, UV_RUN_DEFAULT);
  }
  int code = muster_status_exit_code(status);
  if (status != MUSTER_OK)
    log_event(LOG_ERROR, "worker.not_started", "shard=%" PRIu32 " status=%s error=%s", p->shard, muster_status_name(status),
              log_quote(sentence, sizeof sentence, failure.text));
  else
    failure = *worker_failure(p->worker); /* whose sentence the supervisor is told */
  if (status == MUSTER_OK)
    code = storage_exit_code(&failure);
  if (p->child.counters)
    process_finish(p);
  log_event(LOG_INFO, "worker.stopped", "shard=%" PRIu32 " exit=%d", p->shard, code);
  return code;
}
