#include "workers/worker.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "proto/digest.h"
#include "proto/wire.pb-c.h"
#include "workers/counts.h"
#include "workers/dedup.h"
#include "workers/group.h"
#include "workers/rules.h"

static_assert(GROUP_PARTS <= HAND_PARTS, "a group can be noted whole");

#define WORKER_RUN 64 /* records whose places in the index are fetched together; their views fit the first cache */

struct ingest_peer {
  uint8_t identity[LINK_IDENTITY_BYTES];
  uint32_t identity_size;
};

struct worker {
  struct store *store;
  uint32_t shard, shards;
  uint64_t epoch;
  struct counters *counters;
  struct hand *hand;
  int (*send)(void *context, struct link_message *message);
  void (*on_stop)(void *context);
  void *context;
  struct rules_context rules;
  struct watermark watermark;
  struct group group;
  struct dedup_candidate *run; /* WORKER_RUN of them */
  size_t run_count;
  struct ingest_peer peer[LIMIT_INGESTS]; /* who said HELLO, and is told BYE */
  uint32_t peer_count;
  bool left;                   /* BYE was said: nothing is taken any more */
  struct counts_commit commit; /* of the group in hand; store_records: durable in this shard before it */
  struct failure failure;
  struct log_gate gate_message, gate_part, gate_route, gate_answer;
  int drops_wait_for; /* errno that was told of requests to drop; 0: none wait */
};

/* ---- one group: decode, validate, dedup, commit ---- */

static bool worker_decode(struct encounter_view *view, const struct group_record *r, struct scan_fault *fault)
{
  (void)FAULT_TEXT("worker.before-decode", r->bytes, r->size);
  return scan_encounter(view, r->bytes, r->size, fault);
}

static void worker_refuse(struct worker *w, const struct group_record *r, uint32_t reason, uint32_t field)
{
  store_quarantine(w->store, r->bytes, r->size, reason, field, &r->part->receipt);
  *r->word = verdict_refused(MUSTER__V1__VERDICT__VERDICT_INVALID, w->shard, reason, field);
}

/* A record of another shard is never stored here: two shards would each hold a first copy. Its word stays RETRY. */
static bool worker_owns(struct worker *w, const uint8_t id[16])
{
  if (digest_shard(id, w->shards) == w->shard)
    return true;
  w->commit.misrouted++;
  return false;
}

/* The clock is read twice for a run, which is nothing beside its records; the rest of a group's time but the commit is decoding. */
static int worker_settle_run(struct worker *w)
{
  size_t count = w->run_count;
  if (count == 0)
    return MUSTER_OK;
  w->run_count = 0;
  const uint64_t start_ns = clock_monotonic_ns();
  const int status = dedup_settle(w->store, w->shard, w->run, count);
  w->commit.dedup_ns += clock_monotonic_ns() - start_ns;
  return status;
}

/* A record that killed a worker is not decoded again. Its id is found by the walk that ingest has routed it by, and the store is asked:
 * a worker may have died behind the commit of a record that is harmless. Whatever it is told, unless it is stored, it is kept as deadly. */
static int worker_judge_unread(struct worker *w, const struct group_record *r)
{
  uint64_t sequence = 0;
  const uint8_t *id = scan_encounter_id(r->bytes, r->size);
  int verdict = worker_settle_run(w);
  if (verdict < 0 || (id && !worker_owns(w, id)))
    return verdict;
  if (id)
    verdict = dedup_judge_unread(w->store, id, r->bytes, r->size, &sequence);
  if (verdict < 0)
    return verdict;
  if (verdict != MUSTER__V1__VERDICT__VERDICT_DUPLICATE)
    worker_refuse(w, r, MUSTER__V1__REASON__REASON_KILLED_WORKER, 0);
  if (verdict != MUSTER__V1__VERDICT__VERDICT_UNSPECIFIED)
    *r->word = verdict_durable((uint32_t)verdict, w->shard, sequence);
  return MUSTER_OK;
}

/* Gives every record of the group its verdict word, and makes true what the words say: when it returns MUSTER_OK, all of it is durable.
 * Records go in runs: each is decoded and digested, then all are looked up at once, in order. */
static int worker_commit_group(struct worker *w)
{
  struct group_cursor cursor;
  struct group_record r;
  struct scan_fault fault;
  const struct rule *broken;
  int status = store_begin(w->store);

  const uint64_t begin_ns = clock_monotonic_ns();
  w->rules.now_us = clock_wall_us();
  group_start(&cursor, &w->group);
  while (status == MUSTER_OK && group_next(&cursor, &r)) {
    struct dedup_candidate *c = &w->run[w->run_count];
    if (r.part->isolated || store_is_deadly(w->store, r.bytes, r.size, r.part->receipt.submitter))
      status = worker_judge_unread(w, &r);
    else if (!worker_decode(&c->view, &r, &fault))
      worker_refuse(w, &r, fault.reason, fault.field);
    else if ((broken = rules_first_broken(&c->view, &w->rules)) != NULL)
      worker_refuse(w, &r, broken->reason, broken->field);
    else if (worker_owns(w, c->view.field[FIELD_ENCOUNTER_ID].bytes)) {
      c->receipt = &r.part->receipt;
      c->word = r.word;
      dedup_prepare(w->store, c);
      if (++w->run_count == WORKER_RUN)
        status = worker_settle_run(w);
    }
  }
  if (status == MUSTER_OK)
    status = worker_settle_run(w);
  (void)FAULT("worker.after-dedup");

  const uint64_t start_ns = clock_monotonic_ns();
  w->commit.decode_ns = start_ns - begin_ns - w->commit.dedup_ns;
  int committed = store_commit(w->store, &w->failure); /* asked in any case: the store remembers the first error and has its sentence */
  w->commit.commit_ns = clock_monotonic_ns() - start_ns;
  w->commit.sync_ns = store_sync_ns(w->store);
  (void)FAULT("worker.after-commit");
  if (cursor.broken_parts)
    log_event_gated(&w->gate_part, LOG_ERROR, "worker.part_broken",
                    "parts=%" PRIu32 " told=RETRY cause=\"record count and stream disagree\"", cursor.broken_parts);
  return status != MUSTER_OK ? status : committed;
}

/* ---- messages out ---- */

/* A message to one ingest that begins with this worker's head; MUSTER_ERR_MEMORY. */
static int worker_message(struct worker *w, struct link_message *m, const uint8_t *identity, uint32_t identity_size, struct hop_head *head)
{
  head->version = HOP_VERSION;
  head->epoch = w->epoch;
  head->shard = w->shard;
  head->shards = w->shards;
  head->store_records = w->commit.store_records;
  head->blocked_reason = w->watermark.reason;
  link_message_init(m);
  memcpy(m->identity, identity, identity_size);
  m->identity_size = identity_size;
  m->frame_count = 1;
  int status = link_frame_init(&m->frame[0], HOP_HEAD_BYTES);
  if (status == MUSTER_OK)
    hop_head_write(link_frame_data(&m->frame[0]), head);
  return status;
}

/* An answer that cannot go out is dropped: its ingest is gone or does not read, and what it asks again is answered from what is durable. */
static void worker_send(struct worker *w, struct link_message *m, int status)
{
  if (status == MUSTER_OK)
    status = w->send(w->context, m);
  if (status != MUSTER_OK) {
    counts_answer_dropped(w->counters);
    log_event_gated(&w->gate_answer, LOG_WARN, "worker.answer_dropped", "status=%s", muster_status_name(status));
  }
  link_message_finish(m);
}

static void worker_answer(struct worker *w)
{
  for (uint32_t i = 0; i < w->group.part_count; i++) {
    const struct group_part *part = &w->group.parts[i];
    struct hop_head head = {.kind = HOP_WORDS, .part_id = part->part_id, .record_count = part->record_count};
    struct link_message m;
    int status = worker_message(w, &m, part->identity, part->identity_size, &head);
    if (status == MUSTER_OK)
      status = link_frame_init(&m.frame[1], part->record_count * sizeof *part->words);
    if (status == MUSTER_OK) {
      memcpy(link_frame_data(&m.frame[1]), part->words, part->record_count * sizeof *part->words);
      m.frame_count = 2;
    }
    worker_send(w, &m, status);
  }
}

static void worker_remember(struct worker *w, const struct link_message *hello)
{
  for (uint32_t i = 0; i < w->peer_count; i++)
    if (w->peer[i].identity_size == hello->identity_size && memcmp(w->peer[i].identity, hello->identity, hello->identity_size) == 0)
      return;
  if (w->peer_count == LIMIT_INGESTS)
    return; /* not told BYE; it sees the connection end */
  struct ingest_peer *peer = &w->peer[w->peer_count++];
  memcpy(peer->identity, hello->identity, hello->identity_size);
  peer->identity_size = hello->identity_size;
}

void worker_leave(struct worker *w)
{
  if (w->left)
    return;
  w->left = true;
  for (uint32_t i = 0; i < w->peer_count; i++) {
    struct hop_head head = {.kind = HOP_BYE};
    struct link_message m;
    if (worker_message(w, &m, w->peer[i].identity, w->peer[i].identity_size, &head) == MUSTER_OK)
      w->send(w->context, &m); /* one that is gone needs no BYE */
    link_message_finish(&m);
  }
}

static void worker_welcome(struct worker *w, const struct link_message *hello, const struct hop_head *asked)
{
  if (asked->shard != w->shard || asked->shards != w->shards) {
    log_event_gated(&w->gate_message, LOG_ERROR, "worker.hello_refused", "asked=%" PRIu32 "/%" PRIu32 " shard=%" PRIu32 "/%" PRIu32,
                    asked->shard, asked->shards, w->shard, w->shards);
    return;
  }
  worker_remember(w, hello);
  struct hop_head head = {.kind = HOP_WELCOME};
  struct link_message m;
  uint32_t count;
  const uint64_t *in_hand = hand_former(w->hand, &count);
  int status = worker_message(w, &m, hello->identity, hello->identity_size, &head);
  if (status == MUSTER_OK && count > 0)
    status = link_frame_init(&m.frame[1], count * sizeof *in_hand);
  if (status == MUSTER_OK && count > 0) {
    for (uint32_t i = 0; i < count; i++)
      store_u64(link_frame_data(&m.frame[1]) + i * sizeof *in_hand, in_hand[i]);
    m.frame_count = 2;
  }
  worker_send(w, &m, status);
}

/* ---- messages in ---- */

static void worker_gather(struct worker *w, const struct hop_head *head, struct link_message *message)
{
  size_t bytes = link_frame_size(&message->frame[1]);
  bool alone = head->kind != HOP_PART;
  if (alone || !group_fits(&w->group, head->record_count, bytes))
    worker_settle(w);
  if (w->left)
    return;
  group_add(&w->group, head, message,
            verdict_refused(MUSTER__V1__VERDICT__VERDICT_RETRY, w->shard, MUSTER__V1__REASON__REASON_RETRY_OUTCOME_UNKNOWN, 0));
  counts_taken(w->counters, head->record_count, bytes);
  if (alone)
    worker_settle(w);
}

void worker_take(struct worker *w, struct link_message *m)
{
  struct hop_head head;
  if (w->left)
    return;
  if (m->frame_count == 0 || !hop_head_read(&head, link_frame_data(&m->frame[0]), link_frame_size(&m->frame[0])))
    log_event_gated(&w->gate_message, LOG_ERROR, "worker.message_refused", "cause=\"no head of version %d\"", HOP_VERSION);
  else if (head.kind == HOP_HELLO && m->frame_count == 1)
    worker_welcome(w, m, &head);
  else if ((head.kind == HOP_PART || head.kind == HOP_SUSPECT || head.kind == HOP_ISOLATE) && m->frame_count == 2 &&
           group_part_allowed(head.record_count, link_frame_size(&m->frame[1])))
    worker_gather(w, &head, m);
  else
    log_event_gated(&w->gate_message, LOG_ERROR, "worker.message_refused", "kind=%" PRIu32 " frames=%" PRIu32 " records=%" PRIu32,
                    head.kind, m->frame_count, head.record_count);
}

/* ---- the turn ---- */

static void worker_stop(struct worker *w, int status)
{
  char sentence[sizeof w->failure.text + 64];
  failure_set(&w->failure, status, "shard %" PRIu32 ": %s", w->shard, muster_status_text(status));
  log_event(LOG_ERROR, "worker.storage_failed",
            "shard=%" PRIu32 " status=%s error=%s unanswered=%" PRIu32 " kept=\"all that was answered\"", w->shard,
            muster_status_name(status), log_quote(sentence, sizeof sentence, w->failure.text), w->group.record_count);
  worker_leave(w);
  if (w->on_stop)
    w->on_stop(w->context);
}

/* The Reason for which nothing may be written now, or 0. */
static uint32_t worker_blocked(struct worker *w)
{
  struct store_facts facts;
  store_facts(w->store, &facts);
  const uint32_t reason = watermark_judge(&w->watermark, &facts);
  w->commit.file_bytes = facts.file_bytes;
  w->commit.disk_free_bytes = w->watermark.free_bytes;
  return reason;
}

/* From here to hand_release a death is a death with these parts in hand. */
static void worker_hold(struct worker *w)
{
  for (uint32_t i = 0; i < w->group.part_count; i++)
    hand_put(w->hand, i, w->group.parts[i].part_id);
  hand_hold(w->hand, w->group.part_count);
}

void worker_settle(struct worker *w)
{
  if (w->group.part_count == 0 || w->left)
    return;
  w->commit.misrouted = w->commit.decode_ns = w->commit.dedup_ns = w->commit.commit_ns = w->commit.sync_ns = 0;
  const uint32_t blocked = worker_blocked(w);
  if (blocked) {
    for (uint32_t i = 0; i < w->group.record_count; i++)
      w->group.words[i] = verdict_refused(MUSTER__V1__VERDICT__VERDICT_BUSY, w->shard, blocked, 0);
  } else {
    worker_hold(w);
    int status = worker_commit_group(w);
    hand_release(w->hand);
    if (status != MUSTER_OK) {
      worker_stop(w, status);
      return;
    }
  }
  w->commit.store_records += counts_settled(w->counters, &w->group, &w->commit);
  if (w->commit.misrouted)
    log_event_gated(&w->gate_route, LOG_ERROR, "worker.misrouted", "shard=%" PRIu32 " shards=%" PRIu32 " records=%" PRIu64 " told=RETRY",
                    w->shard, w->shards, w->commit.misrouted);
  worker_answer(w);
  group_clear(&w->group);
}

/* Told once for each cause, and not each time that it is tried again. */
static void worker_tell_waiting(struct worker *w, const struct store_dropped *d)
{
  char sentence[128];
  counts_drops_waiting(w->counters, d->waiting);
  if (d->waits_for && d->waits_for != w->drops_wait_for)
    log_event(LOG_WARN, "worker.quarantine_drop_waits", "shard=%" PRIu32 " requests=%" PRIu32 " error=%s", w->shard, d->waiting,
              log_quote(sentence, sizeof sentence, strerror(d->waits_for)));
  w->drops_wait_for = d->waits_for;
}

/* What people have judged of the quarantine. Not while the disk is low: to drop takes room first. */
static void worker_drop(struct worker *w)
{
  struct store_dropped d;
  if (w->left || w->watermark.reason == MUSTER__V1__REASON__REASON_BUSY_DISK)
    return;
  const int status = store_drop_requested(w->store, &d, &w->failure);
  if (d.requests || d.damaged)
    log_event(LOG_INFO, "worker.quarantine_dropped",
              "shard=%" PRIu32 " requests=%" PRIu32 " entries=%" PRIu64 " stayed=%" PRIu64 " requests_damaged=%" PRIu32, w->shard,
              d.requests, d.dropped, d.stayed, d.damaged);
  worker_tell_waiting(w, &d);
  if (status != MUSTER_OK)
    worker_stop(w, status);
}

void worker_refresh(struct worker *w)
{
  struct store_facts facts;
  store_clear_readers(w->store);
  worker_drop(w);
  store_facts(w->store, &facts);
  watermark_judge(&w->watermark, &facts);
  counts_store(w->counters, &facts, store_free_bytes(w->store), &w->watermark);
}

const struct failure *worker_failure(const struct worker *w) { return &w->failure; }

int worker_create(struct worker **out, const struct worker_options *options, struct failure *failure)
{
  struct worker *w = *out = calloc(1, sizeof *w);
  if (!w)
    return failure_set(failure, MUSTER_ERR_MEMORY, "worker: no memory for its state");
  w->store = options->store;
  w->shard = options->shard;
  w->shards = options->shards;
  w->epoch = options->epoch;
  w->counters = options->counters;
  w->hand = options->hand;
  w->send = options->send;
  w->on_stop = options->on_stop;
  w->context = options->context;
  rules_context_init(&w->rules, options->config);
  watermark_init(&w->watermark, options->store_path, w->shard, options->config->disk_reserve_bytes, options->disk_free, options->context);
  w->run = calloc(WORKER_RUN, sizeof *w->run);
  if (!w->run || group_init(&w->group) != MUSTER_OK) {
    worker_destroy(w);
    *out = NULL;
    return failure_set(failure, MUSTER_ERR_MEMORY, "worker: no memory for a group of %u records", LIMIT_COMMIT_RECORDS);
  }
  struct store_facts facts;
  store_facts(w->store, &facts);
  w->commit.store_records = facts.records;
  return MUSTER_OK;
}

void worker_retune(struct worker *w, const struct config *config)
{
  rules_context_init(&w->rules, config);
  w->watermark.reserve_bytes = config->disk_reserve_bytes;
}

void worker_destroy(struct worker *w)
{
  if (!w)
    return;
  group_finish(&w->group);
  free(w->run);
  free(w);
}
