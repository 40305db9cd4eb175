#include "ingest/flow.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"
#include "ingest/wait.h"
#include "muster/status.h"

#define MS UINT64_C(1000000)
#define ANSWER_COST 256u /* of memory beside the verdicts: ZeroMQ's three frames and the header */

/* ---- counters ---- */

static void flow_count(struct ingest_flow *f, enum counter_id id)
{
  counters_begin(f->counters);
  counters_add(f->counters, id, 1);
  counters_end(f->counters);
}

static void flow_gauge_held(struct ingest_flow *f)
{
  counters_begin(f->counters);
  counters_set(f->counters, COUNTER_budget_used_bytes, f->admit.used_bytes);
  counters_set(f->counters, COUNTER_credit, ingest_admit_credit(&f->admit, INGEST_NONE));
  counters_end(f->counters);
}

void ingest_flow_gauges(struct ingest_flow *f)
{
  flow_gauge_held(f);
  f->wall_offset_us = clock_wall_us() - (int64_t)(clock_monotonic_ns() / 1000);
  counters_begin(f->counters);
  counters_set(f->counters, COUNTER_budget_bytes, f->admit.budget_bytes);
  counters_set(f->counters, COUNTER_retry_after_ms,
               ingest_admit_retry_after_ms(&f->admit, INGEST_NONE, MUSTER__V1__REASON__REASON_BUSY_BUDGET));
  counters_set(f->counters, COUNTER_peers, f->admit.peers.open);
  counters_set(f->counters, COUNTER_shards_serving, f->shards_serving);
  counters_end(f->counters);
}

/* ---- the answer leaves ---- */

static void flow_release(struct ingest_flow *f, uint32_t slot)
{
  struct ingest_batch *b = &f->gather.batch[slot];
  ingest_admit_release(&f->admit, b->peer, b->cost_bytes);
  ingest_gather_close(&f->gather, slot);
  flow_gauge_held(f);
  if (f->draining && !f->drained && f->gather.held == 0) {
    f->drained = true;
    f->seam.on_drained(f->seam.context);
  }
}

static void flow_drop(struct ingest_flow *f, uint32_t slot, const char *cause)
{
  struct ingest_batch *b = &f->gather.batch[slot];
  flow_count(f, COUNTER_answers_dropped);
  log_event_gated(&f->gate, LOG_WARN, "ingest.answer-dropped", "submitter_number=%" PRIu32 " records=%" PRIu32 " cause=%s", b->submitter,
                  b->record_count, cause);
  flow_release(f, slot);
}

/* The kernel is asked whether it takes more for a peer (see link_send), which is a system call: not for each small answer. */
static bool flow_is_to_look(const struct ingest_peer *peer, uint32_t bytes)
{
  return !peer->gone && peer->unlooked_bytes + bytes > LIMIT_UNLOOKED_BYTES;
}

/* Hands a complete answer to the socket. MUSTER_ERR_AGAIN: it is still in its slot; else the slot is free. */
static int flow_send(struct ingest_flow *f, uint32_t slot)
{
  struct ingest_batch *b = &f->gather.batch[slot];
  struct ingest_peer *peer = &f->admit.peers.peer[b->peer];
  struct link_message m;
  uint32_t bytes = ANSWER_COST + (uint32_t)link_frame_size(&b->answer);
  bool look = flow_is_to_look(peer, bytes);
  link_message_init(&m);
  memcpy(m.identity, peer->identity, peer->identity_size);
  m.identity_size = peer->identity_size;
  m.connection = look ? peer->connection : 0;
  m.frame_count = 2;
  link_frame_move(&m.frame[0], &b->header);
  link_frame_move(&m.frame[1], &b->answer);
  int status = FAULT("ingest.before-answer") ? MUSTER_ERR_NOT_FOUND : f->seam.send_answer(f->seam.context, peer->origin, &m);
  if (status == MUSTER_ERR_AGAIN) {
    link_frame_move(&b->header, &m.frame[0]);
    link_frame_move(&b->answer, &m.frame[1]);
  } else if (status == MUSTER_OK) {
    peer->unlooked_bytes = look ? bytes : peer->unlooked_bytes + bytes;
    flow_release(f, slot);
  } else {
    ingest_peers_gone(&f->admit.peers, peer->origin, peer->identity, peer->identity_size);
    flow_drop(f, slot, "gone");
  }
  link_message_finish(&m);
  return status;
}

static void flow_answer(struct ingest_flow *f, uint32_t slot)
{
  struct ingest_batch *b = &f->gather.batch[slot];
  uint32_t peer = b->peer;
  uint64_t now_ns = clock_monotonic_ns();
  struct ingest_wait wait = ingest_wait_answer(f, slot, now_ns);
  if (ingest_gather_answer(&f->gather, slot, ingest_admit_credit(&f->admit, peer), &wait, now_ns) != MUSTER_OK)
    flow_drop(f, slot, "memory");
  else if (ingest_admit_unsent_first(&f->admit, peer) != INGEST_NONE || flow_send(f, slot) == MUSTER_ERR_AGAIN)
    ingest_admit_unsent_push(&f->admit, peer, slot);
}

void ingest_flow_gone(struct ingest_flow *f, int32_t connection) { ingest_peers_connection_gone(&f->admit.peers, connection); }

void ingest_flow_writable(struct ingest_flow *f, enum ingest_origin origin)
{
  for (uint32_t peer = 0; f->admit.unsent_batches > 0 && peer < f->admit.peers.used; peer++) {
    uint32_t slot;
    if (f->admit.peers.peer[peer].origin != origin)
      continue;
    while ((slot = ingest_admit_unsent_first(&f->admit, peer)) != INGEST_NONE) {
      if (flow_send(f, slot) == MUSTER_ERR_AGAIN)
        break;
      ingest_admit_unsent_pop(&f->admit, peer);
    }
  }
}

/* A peer that never reads would keep its batches for ever. */
static void flow_drop_unread(struct ingest_flow *f, uint64_t now_ns)
{
  for (uint32_t peer = 0; f->admit.unsent_batches > 0 && peer < f->admit.peers.used; peer++) {
    uint32_t slot;
    while ((slot = ingest_admit_unsent_first(&f->admit, peer)) != INGEST_NONE &&
           now_ns - f->gather.batch[slot].answered_ns >= f->answer_timeout_ms * MS) {
      ingest_admit_unsent_pop(&f->admit, peer);
      flow_drop(f, slot, "unread");
    }
  }
}

/* ---- at the shards ---- */

/* Whether some open part of the batch is at a shard that serves. */
static bool flow_is_served(struct ingest_flow *f, uint32_t slot)
{
  for (uint32_t shard = 0; shard < f->shards; shard++) {
    const struct ingest_part *part = ingest_gather_part(&f->gather, slot, shard);
    if (part->answered < part->record_count && f->shard[shard].serving)
      return true;
  }
  return false;
}

static void flow_leave_workers(struct ingest_flow *f, uint32_t slot)
{
  struct ingest_batch *b = &f->gather.batch[slot];
  if (!b->at_workers)
    return;
  b->at_workers = false;
  ingest_admit_returned(&f->admit, slot);
}

static void flow_dispatch_one(struct ingest_flow *f, uint32_t slot)
{
  struct ingest_batch *b = &f->gather.batch[slot];
  uint64_t now_ns = clock_monotonic_ns();
  b->state = INGEST_BATCH_AT_WORKERS;
  b->at_workers = true;
  b->dispatched_ns = now_ns;
  for (uint32_t shard = 0; shard < f->shards; shard++) {
    struct ingest_part *part = ingest_gather_part(&f->gather, slot, shard);
    if (part->record_count > 0 && ingest_shard_is_down(&f->shard[shard], now_ns))
      ingest_gather_refuse(&f->gather, slot, shard);
    else if (part->record_count > 0)
      ingest_shard_add(&f->shard[shard], ingest_gather_part_id(&f->gather, slot, shard), &part->records, part->record_count, b->submitter,
                       b->received_us, now_ns);
  }
  if (!flow_is_served(f, slot))
    flow_leave_workers(f, slot);
  if (b->parts_open == 0)
    flow_answer(f, slot);
}

static void flow_dispatch(struct ingest_flow *f)
{
  uint32_t slot;
  while ((slot = ingest_admit_turn(&f->admit)) != INGEST_NONE) {
    flow_dispatch_one(f, slot);
    (void)FAULT("ingest.after-dispatch");
  }
}

static int flow_on_send(void *context, uint32_t shard, const struct hop_head *head, struct link_frame *records)
{
  struct ingest_flow *f = context;
  return f->seam.send_part(f->seam.context, shard, head, records);
}

static bool flow_on_words(void *context, uint64_t part_id, uint32_t first_record, uint32_t record_count, struct link_frame *words)
{
  struct ingest_flow *f = context;
  uint32_t slot;
  enum ingest_words result = ingest_gather_words(&f->gather, part_id, first_record, record_count, words, &slot);
  if (result == INGEST_WORDS_NO_MEMORY)
    return false;
  if (result == INGEST_WORDS_BATCH_DONE || (result == INGEST_WORDS_PART_DONE && !flow_is_served(f, slot)))
    flow_leave_workers(f, slot);
  if (result == INGEST_WORDS_BATCH_DONE)
    flow_answer(f, slot);
  flow_dispatch(f);
  return true;
}

static void flow_on_serving(void *context, uint32_t shard, bool serving)
{
  struct ingest_flow *f = context;
  (void)shard;
  f->shards_serving += serving ? 1u : -1u;
  counters_begin(f->counters);
  counters_set(f->counters, COUNTER_shards_serving, f->shards_serving);
  counters_end(f->counters);
  if (serving)
    return;
  for (uint32_t slot = 0; slot < LIMIT_BATCHES_IN_FLIGHT; slot++)
    if (f->gather.batch[slot].state == INGEST_BATCH_AT_WORKERS && f->gather.batch[slot].at_workers && !flow_is_served(f, slot))
      flow_leave_workers(f, slot);
  flow_dispatch(f);
}

/* ---- taking in ---- */

static void flow_say_busy(struct ingest_flow *f, const struct ingest_submit *submit, uint32_t reason, uint64_t now_ns,
                          struct ingest_refusal *refusal)
{
  *refusal = (struct ingest_refusal){
      .verdict = MUSTER__V1__VERDICT__VERDICT_BUSY,
      .reason = reason,
      .retry_after_ms = ingest_wait_busy_ms(f, submit->peer, reason, now_ns),
  };
  counters_begin(f->counters);
  counters_add(f->counters, COUNTER_batches_busy, 1);
  counters_add_reason(f->counters, COUNTER_BATCHES, reason, 1);
  counters_row_add(f->counters, submit->row, SUBMITTER_batches_busy, 1);
  counters_set(f->counters, COUNTER_retry_after_ms, refusal->retry_after_ms);
  counters_end(f->counters);
}

void ingest_flow_count_refused(struct ingest_flow *f, uint32_t row, uint32_t reason)
{
  counters_begin(f->counters);
  counters_add(f->counters, COUNTER_batches_refused, 1);
  counters_add_reason(f->counters, COUNTER_BATCHES, reason, 1);
  counters_row_add(f->counters, row, SUBMITTER_batches_refused, 1);
  counters_end(f->counters);
}

static void flow_say_invalid(struct ingest_flow *f, uint32_t row, const struct ingest_split_fault *fault, struct ingest_refusal *refusal)
{
  *refusal = (struct ingest_refusal){
      .verdict = MUSTER__V1__VERDICT__VERDICT_INVALID,
      .reason = fault->reason,
      .error_record = fault->record,
      .error_byte = fault->byte,
  };
  ingest_flow_count_refused(f, row, fault->reason);
}

/* What can be said of a batch without a look into its stream; 0: nothing against it. */
static uint32_t flow_check_size(const struct ingest_submit *submit, size_t bytes)
{
  if (bytes > LIMIT_MESSAGE_BYTES)
    return MUSTER__V1__REASON__REASON_BATCH_TOO_MANY_BYTES;
  if (submit->record_count > LIMIT_BATCH_RECORDS)
    return MUSTER__V1__REASON__REASON_BATCH_TOO_MANY_RECORDS;
  return submit->record_count == 0 || bytes == 0 ? MUSTER__V1__REASON__REASON_BATCH_EMPTY : 0;
}

/* Nobody is there who could take any record of the batch that was walked. */
static bool flow_is_for_nobody(const struct ingest_flow *f, uint64_t now_ns)
{
  for (uint32_t shard = 0; shard < f->shards; shard++)
    if (f->split.part_records[shard] > 0 && !ingest_shard_is_down(&f->shard[shard], now_ns))
      return false;
  return true;
}

void ingest_flow_submit(struct ingest_flow *f, const struct ingest_submit *submit, struct link_frame *stream, uint64_t now_ns,
                        struct ingest_refusal *refusal)
{
  size_t bytes = link_frame_size(stream);
  uint64_t cost = ingest_admit_cost(bytes, submit->record_count);
  struct ingest_split_fault fault = {.reason = flow_check_size(submit, bytes)};
  *refusal = (struct ingest_refusal){0};
  if (fault.reason != 0) {
    flow_say_invalid(f, submit->row, &fault, refusal);
    return;
  }
  uint32_t busy = f->draining ? MUSTER__V1__REASON__REASON_BUSY_DRAINING : ingest_admit_check(&f->admit, submit->peer, cost);
  if (busy != 0) {
    flow_say_busy(f, submit, busy, now_ns, refusal);
    return;
  }
  if (!ingest_split_walk(&f->split, link_frame_data(stream), bytes, submit->record_count, &fault)) {
    flow_say_invalid(f, submit->row, &fault, refusal);
    return;
  }
  const struct ingest_arrival arrival = {
      .peer = submit->peer,
      .submitter = f->admit.peers.peer[submit->peer].submitter,
      .batch_id = submit->batch_id,
      .cost_bytes = cost,
      .message_bytes = bytes,
      .received_us = clock_wall_us(),
      .row = submit->row,
      .now_ns = now_ns,
  };
  uint32_t slot;
  if (flow_is_for_nobody(f, now_ns)) {
    flow_say_busy(f, submit, MUSTER__V1__REASON__REASON_BUSY_SHARD_DOWN, now_ns, refusal);
  } else if (ingest_gather_open(&f->gather, &arrival, &f->split, stream, &slot) != MUSTER_OK) {
    flow_say_busy(f, submit, MUSTER__V1__REASON__REASON_BUSY_BUDGET, now_ns, refusal);
  } else {
    ingest_admit_take(&f->admit, submit->peer, slot, cost);
    flow_gauge_held(f);
    flow_dispatch(f);
  }
}

/* ---- time, beginning and end ---- */

void ingest_flow_tick(struct ingest_flow *f, uint64_t now_ns)
{
  ingest_admit_tick(&f->admit, now_ns);
  for (uint32_t shard = 0; shard < f->shards; shard++)
    ingest_shard_tick(&f->shard[shard], now_ns);
  flow_drop_unread(f, now_ns);
}

void ingest_flow_drain(struct ingest_flow *f)
{
  if (f->draining)
    return;
  f->draining = true;
  if (f->gather.held == 0) {
    f->drained = true;
    f->seam.on_drained(f->seam.context);
  }
}

void ingest_flow_retune(struct ingest_flow *f, const struct config *config)
{
  f->answer_timeout_ms = config->answer_timeout_ms;
  f->admit.credit_max = config->credit;
  for (uint32_t shard = 0; shard < f->shards; shard++)
    f->shard[shard].timeout_ms = config->shard_timeout_ms;
}

int ingest_flow_init(struct ingest_flow *f, const struct config *config, const struct ingest_flow_seam *seam, struct counters *counters,
                     uint64_t now_ns)
{
  *f = (struct ingest_flow){
      .shards = config->workers,
      .answer_timeout_ms = config->answer_timeout_ms,
      .seam = *seam,
      .counters = counters,
      .shard = calloc(config->workers, sizeof *f->shard),
  };
  const struct ingest_shard_seam shard_seam = {
      .send = flow_on_send,
      .words = flow_on_words,
      .serving = flow_on_serving,
      .context = f,
  };
  int status = f->shard ? MUSTER_OK : MUSTER_ERR_MEMORY;
  if (status == MUSTER_OK)
    status = ingest_admit_init(&f->admit, config->budget_bytes, config->credit, config->dispatch_bytes, config->peers);
  if (status == MUSTER_OK)
    status = ingest_split_init(&f->split, f->shards);
  if (status == MUSTER_OK)
    status = ingest_gather_init(&f->gather, f->shards, counters);
  for (uint32_t shard = 0; status == MUSTER_OK && shard < f->shards; shard++)
    status = ingest_shard_init(&f->shard[shard], shard, f->shards, config->shard_timeout_ms, &shard_seam, counters, now_ns);
  if (status != MUSTER_OK)
    ingest_flow_finish(f);
  else
    ingest_flow_gauges(f);
  return status;
}

void ingest_flow_finish(struct ingest_flow *f)
{
  for (uint32_t shard = 0; f->shard && shard < f->shards; shard++)
    ingest_shard_finish(&f->shard[shard]);
  free(f->shard);
  f->shard = NULL;
  ingest_gather_finish(&f->gather);
  ingest_split_finish(&f->split);
  ingest_admit_finish(&f->admit);
}
