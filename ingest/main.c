/*
 * The ingest process: wires front, gate, flow, shards and hops on one loop, writes its endpoints, and stops in good
 * order: on SIGTERM everything new is told BUSY, what was taken in is answered, and answers have a moment to leave; when
 * the supervisor is gone it stops at once, for nothing that was acknowledged is here.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/child.h"
#include "core/clock.h"
#include "core/durable.h"
#include "core/fault.h"
#include "core/log.h"
#include "ingest/front.h"
#include "ingest/hop.h"
#include "muster/status.h"
#include "proto/node_id.h"

#define TICK_MS 100
#define FIRST_TICK_MS 20            /* the workers usually answer HELLO within this, and then the process is ready */
#define GAUGES_TICKS 10             /* once a second */
#define DRAIN_MS 5000               /* less than the supervisor waits */
#define LINGER_MS 500               /* for the last answers */
#define KEPT_BLOCK_BYTES (32 << 20) /* the most that glibc allows; larger than any frame */
#define WATCH_MS 10                 /* see on_watch */
#define READY_ANYWAY_MS 3000        /* a shard that is not there by then is waited for while serving */

struct process {
  uv_loop_t loop;
  struct child child;
  struct ingest_flow flow;
  struct ingest_gate gate;
  struct ingest_front front;
  struct ingest_hop *hop; /* one a shard */
  uint32_t hops;
  uv_timer_t tick, watch, deadline;
  int statm_fd; /* /proc/self/statm */
  uint64_t ticks;
  uint32_t index;
  struct failure failure; /* why it ends */
  bool is_ready, has_flow, has_gate;
  char endpoint_path[LIMIT_PATH_BYTES];
};

static const char doc[] =
    "Takes batches from submitters, hands their records to the workers, and answers. Started by `muster run'; by hand only to look "
    "into a fault."
    "\vExample: muster ingest --data /var/lib/muster --index 0";

/* ---- what the flow and the loop call ---- */

static int on_send_answer(void *context, enum ingest_origin origin, struct link_message *message)
{
  struct process *p = context;
  return ingest_front_send(&p->front, origin, message);
}

static int on_send_part(void *context, uint32_t shard, const struct hop_head *head, struct link_frame *records)
{
  struct process *p = context;
  return ingest_hop_send(&p->hop[shard], head, records);
}

static void on_drained(void *context)
{
  struct process *p = context;
  uv_stop(&p->loop);
}

static void on_deadline(uv_timer_t *timer)
{
  struct process *p = timer->data;
  log_event(LOG_WARN, "ingest.drain-cut", "batches=%" PRIu32, p->flow.gather.held);
  uv_stop(&p->loop);
}

static void on_drain(void *context)
{
  struct process *p = context;
  if (p->flow.draining)
    return;
  log_event(LOG_INFO, "ingest.draining", "batches=%" PRIu32, p->flow.gather.held);
  uv_timer_start(&p->deadline, on_deadline, DRAIN_MS, 0);
  (void)FAULT("ingest.draining");
  ingest_flow_drain(&p->flow);
}

static void on_reread(void *context)
{
  struct process *p = context;
  if (p->has_flow)
    ingest_flow_retune(&p->flow, &p->child.config);
}

static void on_orphan(void *context)
{
  struct process *p = context;
  uv_stop(&p->loop);
}

static int open_front(struct process *p);

/* Submitters are let in last, and the word goes out before any of them is heard: whatever they send then, this process could start. */
static void become_ready(struct process *p)
{
  if (p->is_ready || p->flow.draining || (p->flow.shards_serving < p->flow.shards && p->ticks * TICK_MS < READY_ANYWAY_MS))
    return;
  if (open_front(p) != MUSTER_OK) {
    uv_stop(&p->loop);
    return;
  }
  p->is_ready = true;
  (void)FAULT("ingest.before-ready");
  child_ready(&p->child);
  log_event(LOG_INFO, "ingest.ready", "shards_serving=%" PRIu32 " shards=%" PRIu32, p->flow.shards_serving, p->flow.shards);
}

/* ---- the bound of memory ---- */

/* The file is held open from the start: when descriptors are short, memory is watched all the same. */
static uint64_t resident_bytes(const struct process *p)
{
  char text[128];
  unsigned long pages = 0;
  ssize_t size = pread(p->statm_fd, text, sizeof text - 1, 0);
  text[size > 0 ? size : 0] = '\0';
  return sscanf(text, "%*u %lu", &pages) == 1 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* The budget covers what was admitted. In front of it libzmq holds, for each connection, a message that is not whole yet, and sets no bound to
 * its frames: a hostile peer can make it grow for ever. The end of that: the process starts again, every connection is let go, and submitters
 * send again what was not answered. Nothing that was acknowledged is here. It is looked at a hundred times a second, and acted upon while there
 * is room for what a sender at the speed of memory can put between two looks. A limit of the system (RLIMIT_DATA) would be no better: it counts
 * what is reserved as well, which a stranger's frame that only says that it is long is enough for, and where it refuses libzmq aborts. */
static void on_watch(uv_timer_t *timer)
{
  const struct process *p = timer->data;
  uint64_t bound = 2 * p->child.config.budget_bytes + LIMIT_INGEST_BESIDE_BYTES, resident = resident_bytes(p);
  if (resident <= bound - LIMIT_INGEST_WATCH_BYTES)
    return;
  log_event(LOG_ERROR, "ingest.memory",
            "resident_bytes=%" PRIu64 " bound_bytes=%" PRIu64 " cause=\"connections hold more than was admitted\" next=\"start again\"",
            resident, bound);
  _exit(EX_TEMPFAIL);
}

static void on_tick(uv_timer_t *timer)
{
  struct process *p = timer->data;
  uint64_t now_ns = clock_monotonic_ns();
  p->ticks++;
  for (uint32_t i = 0; i < p->hops; i++)
    ingest_hop_tick(&p->hop[i], now_ns);
  ingest_flow_tick(&p->flow, now_ns);
  if (p->is_ready)
    ingest_front_tick(&p->front);
  if (p->ticks % GAUGES_TICKS == 0)
    ingest_flow_gauges(&p->flow);
  become_ready(p);
}

/* ---- start ---- */

/* Frames come and go with every batch. Given back to the kernel, their pages would be faulted in anew each time, which costs four times what
 * splitting does; kept, they are bounded by what the budget lets in, and by on_watch. */
static void keep_memory(void)
{
  mallopt(M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
}

static int open_gate(struct process *p, struct failure *failure)
{
  uint8_t node_id[16];
  uint64_t session;
  int status = node_id_read(&p->child.data, node_id, failure);
  if (status != MUSTER_OK)
    return status;
  if (getrandom(&session, sizeof session, 0) != (ssize_t)sizeof session)
    return failure_set_errno(failure, MUSTER_ERR_IO, errno, "no random bytes for the number of this session");
  if (ingest_gate_init(&p->gate, &p->flow, node_id, session) != MUSTER_OK)
    return failure_set(failure, MUSTER_ERR_MEMORY, "no memory for the gate");
  p->has_gate = true;
  return MUSTER_OK;
}

static int open_flow(struct process *p, struct failure *failure)
{
  const struct config *config = &p->child.config;
  const struct ingest_flow_seam seam = {
      .send_answer = on_send_answer,
      .send_part = on_send_part,
      .on_drained = on_drained,
      .context = p,
  };
  if (config->workers == 0 || config->workers > LIMIT_SHARDS)
    return failure_set(failure, MUSTER_ERR_CONFIG, "run/node.conf does not say how many workers there are; it is written by `muster run'");
  if (p->index >= config->ingests)
    return failure_set(failure, MUSTER_ERR_CONFIG, "ingest %" PRIu32 " does not exist: the node has %" PRIu32, p->index, config->ingests);
  p->hop = calloc(config->workers, sizeof *p->hop);
  if (!p->hop || ingest_flow_init(&p->flow, config, &seam, p->child.counters, clock_monotonic_ns()) != MUSTER_OK)
    return failure_set(failure, MUSTER_ERR_MEMORY, "no memory for the table of batches");
  p->has_flow = true;
  return MUSTER_OK;
}

static int open_hops(struct process *p, struct failure *failure)
{
  int status = MUSTER_OK;
  for (uint32_t shard = 0; status == MUSTER_OK && shard < p->flow.shards; shard++) {
    char endpoint[LIMIT_PATH_BYTES];
    datadir_worker_endpoint(&p->child.data, endpoint, shard);
    status = ingest_hop_open(&p->hop[shard], &p->loop, &p->flow.shard[shard], endpoint, p->index, failure);
    p->hops++;
  }
  return status;
}

static int write_endpoints(struct process *p, struct failure *failure)
{
  char name[32], text[2 * LISTEN_ENDPOINT_BYTES + 3];
  snprintf(name, sizeof name, "run/endpoint-%" PRIu32, p->index);
  datadir_path(&p->child.data, p->endpoint_path, name);
  int size = snprintf(text, sizeof text, "%s\n%s%s", p->front.endpoint[INGEST_IPC], p->front.endpoint[INGEST_TCP],
                      p->front.endpoint[INGEST_TCP][0] ? "\n" : "");
  return durable_replace_file(p->endpoint_path, text, (uint64_t)size, 0600, failure);
}

static int open_front(struct process *p)
{
  int status = ingest_front_open(&p->front, &p->loop, &p->gate, &p->child.data, &p->child.config, p->index, p->child.counters, &p->failure);
  return status == MUSTER_OK ? write_endpoints(p, &p->failure) : status;
}

static void open_timers(struct process *p)
{
  uv_timer_init(&p->loop, &p->tick);
  uv_timer_init(&p->loop, &p->watch);
  uv_timer_init(&p->loop, &p->deadline);
  p->tick.data = p->watch.data = p->deadline.data = p;
  uv_timer_start(&p->tick, on_tick, FIRST_TICK_MS, TICK_MS);
  uv_timer_start(&p->watch, on_watch, WATCH_MS, WATCH_MS);
}

static int start(struct process *p, const struct child_place *a, struct failure *failure)
{
  char role[24];
  p->index = a->index;
  snprintf(role, sizeof role, "ingest-%" PRIu32, a->index);
  p->child.on_drain = on_drain;
  p->child.on_orphan = on_orphan;
  p->child.on_reread = on_reread;
  p->child.context = p;
  int status = child_init(&p->child, &p->loop, a->data, role, failure);
  if (status != MUSTER_OK)
    return status;
  open_timers(p);
  p->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (p->statm_fd < 0)
    status = failure_set_errno(failure, MUSTER_ERR_IO, errno, "/proc/self/statm cannot be read, and so memory not be bounded");
  if (status == MUSTER_OK)
    status = open_flow(p, failure);
  if (status == MUSTER_OK)
    status = open_gate(p, failure);
  if (status == MUSTER_OK)
    status = open_hops(p, failure);
  return status;
}

/* ---- end ---- */

static void stop(struct process *p)
{
  if (p->endpoint_path[0])
    unlink(p->endpoint_path);
  ingest_front_close(&p->front, LINGER_MS);
  for (uint32_t i = 0; i < p->hops; i++)
    ingest_hop_close(&p->hop[i]);
  if (p->tick.data) {
    uv_close((uv_handle_t *)&p->tick, NULL);
    uv_close((uv_handle_t *)&p->watch, NULL);
    uv_close((uv_handle_t *)&p->deadline, NULL);
    close(p->statm_fd);
    child_finish(&p->child);
  }
  uv_run(&p->loop, UV_RUN_DEFAULT);
  uv_loop_close(&p->loop);
  if (p->has_gate)
    ingest_gate_finish(&p->gate);
  if (p->has_flow)
    ingest_flow_finish(&p->flow);
  free(p->hop);
  link_context_finish();
}

int ingest_main(int argc, char **argv); /* for the table of commands, which stands above this room */
int ingest_main(int argc, char **argv)
{
  static struct process process;
  struct process *p = &process;
  const struct child_place place = child_options(argc, argv, doc, "an ingest", LIMIT_INGESTS);
  (void)FAULT("ingest.start");
  keep_memory();
  prctl(PR_SET_DUMPABLE, 0); /* ZeroMQ keeps the node's secret key as long as it serves: no core dump, and no debugger of the same user */
  if (uv_loop_init(&p->loop) != 0)
    return EX_OSERR;
  if (start(p, &place, &p->failure) == MUSTER_OK)
    uv_run(&p->loop, UV_RUN_DEFAULT);
  if (p->failure.status == MUSTER_OK) {
    log_event(LOG_INFO, "ingest.stopped", "batches_left=%" PRIu32, p->flow.gather.held);
  } else {
    char text[sizeof p->failure.text * 2];
    log_event(LOG_ERROR, "ingest.not-started", "cause=%s", log_quote(text, sizeof text, p->failure.text));
  }
  stop(p);
  return muster_status_exit_code(p->failure.status);
}
