/*
 * The model that the script of fuzz_ingest.c is held against: every batch and record that peers sent, what a worker says of
 * a record, what was heard, and what holds after each step. It is of that one program, which includes it once.
 */
#ifndef MUSTER_TESTS_FUZZ_INGEST_MODEL_H
#define MUSTER_TESTS_FUZZ_INGEST_MODEL_H

#include "tests/fuzz/asserts.h"

#include "ingest/node.h"
#include "proto/digest.h"

enum {
  TAKEN,
  BUSY_CREDIT,
  BUSY_BUDGET,
  BUSY_DOWN,
  PART_DOWN,
  BUSY_DRAINING,
  REFUSED,
  WORDS,
  HANDED_BACK,
  DEATHS,
  ISOLATED,
  LOST_WORDS,
  DROPPED,
  UNREAD,
  LAST
};
static struct fuzz_outcome outcomes[] = {
    [TAKEN] = {"batches taken in", 0},
    [BUSY_CREDIT] = {"told BUSY_CREDIT", 0},
    [BUSY_BUDGET] = {"BUSY_BUDGET", 0},
    [BUSY_DOWN] = {"BUSY_SHARD_DOWN", 0},
    [PART_DOWN] = {"BUSY_SHARD_DOWN of a part", 0},
    [BUSY_DRAINING] = {"BUSY_DRAINING", 0},
    [REFUSED] = {"refused", 0},
    [WORDS] = {"words", 0},
    [HANDED_BACK] = {"handed back", 0},
    [DEATHS] = {"deaths", 0},
    [ISOLATED] = {"isolated", 0},
    [LOST_WORDS] = {"wrong words", 0},
    [DROPPED] = {"answers dropped", 0},
    [UNREAD] = {"answers not read at once", 0},
    [LAST] = {NULL, 0},
};

#define MS UINT64_C(1000000)
#define REASON(name) MUSTER__V1__REASON__REASON_##name
enum { SHARDS = 2, PEERS = 6, BATCHES = 400, STEPS = 300, DRAIN_AT = 40, IN_HAND = 8, FIRST_BATCH = 5000 };

static struct node *node;

/* ---- the model ---- */

static struct {
  uint64_t first; /* number of its first record */
  uint32_t count;
  uint8_t peer;
  bool taken, answered;
} batch[BATCHES];
static uint32_t batches, batches_taken, batches_answered;
static uint64_t next_record;
static bool down[SHARDS], bye[SHARDS];
static uint64_t epoch[SHARDS];
/* Ids of parts of late: sent and never answered, for what a dead worker had in hand; answered, for words that come twice. */
struct ring {
  uint64_t id[64];
  uint32_t count;
};
static struct ring in_hand[SHARDS], answered[SHARDS];

/* What a worker says of a record, always the same. */
static uint64_t word_of(uint64_t number, uint32_t shard)
{
  switch (number % 11) {
  case 3: return verdict_durable(MUSTER__V1__VERDICT__VERDICT_DUPLICATE, shard, number + 1);
  case 5: return verdict_durable(MUSTER__V1__VERDICT__VERDICT_CONFLICT, shard, number + 1);
  case 7: return verdict_refused(MUSTER__V1__VERDICT__VERDICT_INVALID, shard, REASON(CITIZENSHIP), 7);
  case 9: return verdict_refused(MUSTER__V1__VERDICT__VERDICT_BUSY, shard, REASON(BUSY_DISK), 0);
  default: return verdict_durable(MUSTER__V1__VERDICT__VERDICT_ACCEPTED, shard, number + 1);
  }
}

static uint32_t shard_of(uint64_t number)
{
  uint8_t id[16];
  stage_id(id, number);
  return digest_shard(id, SHARDS);
}

static uint32_t origin_of(uint32_t peer) { return peer % 2 ? INGEST_TCP : INGEST_IPC; }

/* ---- what leaves ---- */

static void hear_words(uint32_t at, Muster__V1__Verdicts *v)
{
  CHECK(v->n_word == batch[at].count, "%zu words for %u records", v->n_word, batch[at].count);
  for (uint32_t i = 0; i < v->n_word; i++) {
    const uint64_t number = batch[at].first + i;
    const uint32_t shard = shard_of(number);
    const bool retry = v->word[i] == verdict_refused(MUSTER__V1__VERDICT__VERDICT_RETRY, shard, REASON(RETRY_OUTCOME_UNKNOWN), 0);
    const bool away = v->word[i] == verdict_refused(MUSTER__V1__VERDICT__VERDICT_BUSY, shard, REASON(BUSY_SHARD_DOWN), 0);
    CHECK(retry || away || v->word[i] == word_of(number, shard), "word %llx for record %llu of batch %u", (unsigned long long)v->word[i],
          (unsigned long long)number, at);
    outcomes[retry ? HANDED_BACK : away ? PART_DOWN : WORDS].count++;
  }
}

static void hear_answer(uint32_t origin, struct link_message *m)
{
  Muster__V1__Header *kind = muster__v1__header__unpack(NULL, link_frame_size(&m->frame[0]), link_frame_data(&m->frame[0]));
  CHECK(kind && kind->has_kind, "a message that has no kind");
  const bool answer = kind->kind == MUSTER__V1__KIND__KIND_ANSWER;
  muster__v1__header__free_unpacked(kind, NULL);
  if (!answer)
    return;
  Muster__V1__AnswerHeader *h = stage_header(&m->frame[0]);
  CHECK(h->credit >= 1 && h->credit <= LIMIT_CREDIT, "credit %u", h->credit);
  const uint64_t at = h->batch_id - FIRST_BATCH;
  if (!h->has_batch_verdict) {
    CHECK(at < batches && batch[at].taken && !batch[at].answered, "an answer for batch %llu, which waits for none", (unsigned long long)at);
    CHECK(m->identity[0] == 'a' + batch[at].peer && origin == origin_of(batch[at].peer), "an answer for another peer");
    Muster__V1__Verdicts *v = stage_verdicts(&m->frame[1]);
    hear_words((uint32_t)at, v);
    muster__v1__verdicts__free_unpacked(v, NULL);
    batch[at].answered = true;
    batches_answered++;
  } else {
    outcomes[h->batch_reason == REASON(BUSY_CREDIT)       ? BUSY_CREDIT
             : h->batch_reason == REASON(BUSY_BUDGET)     ? BUSY_BUDGET
             : h->batch_reason == REASON(BUSY_SHARD_DOWN) ? BUSY_DOWN
             : h->batch_reason == REASON(BUSY_DRAINING)   ? BUSY_DRAINING
                                                          : REFUSED]
        .count++;
    CHECK(at >= batches || !batch[at].taken, "batch %llu was taken in, and is refused", (unsigned long long)at);
  }
  muster__v1__answer_header__free_unpacked(h, NULL);
}

static void hear_answers(void)
{
  for (; node->answer_first < node->answer_end; node->answer_first++) {
    hear_answer(node->answer_origin[node->answer_first], &node->answer[node->answer_first]);
    link_message_finish(&node->answer[node->answer_first]);
  }
  node->answer_first = node->answer_end = 0;
}

/* ---- what holds after each step ---- */

static uint64_t base[COUNTER_COUNT]; /* the page of counters is that of all inputs */
static uint64_t counted(enum counter_id id) { return counters_get(node->counters, id) - base[id]; }

static void check_held(void)
{
  const struct ingest_admit *a = &node->flow.admit;
  uint64_t bytes = 0, held = 0;
  for (uint32_t peer = 0; peer < a->peers.used; peer++) {
    const struct ingest_peer *p = &a->peers.peer[peer];
    CHECK(p->in_flight <= LIMIT_CREDIT && (a->credit_bytes > 0 || p->in_flight <= a->credit_max), "%u in flight, credit %u", p->in_flight,
          a->credit_max);
    bytes += p->held_bytes;
    held += p->in_flight;
  }
  CHECK(bytes == a->used_bytes && held == a->held_batches && held == node->flow.gather.held, "%llu bytes of %llu, %llu batches of %u",
        (unsigned long long)bytes, (unsigned long long)a->used_bytes, (unsigned long long)held, a->held_batches);
  CHECK(a->used_bytes <= a->budget_bytes, "%llu bytes of a budget of %llu", (unsigned long long)a->used_bytes,
        (unsigned long long)a->budget_bytes);
}

static void check_step(void)
{
  stage_conserved(node->counters);
  hear_answers();
  check_held();
  const uint64_t dropped = counted(COUNTER_answers_dropped);
  CHECK(counted(COUNTER_batches_received) == batches_taken, "%u batches were taken in", batches_taken);
  CHECK(batches_taken == batches_answered + dropped + node->flow.admit.held_batches, "%u taken in, %u answered, %llu dropped, %u held",
        batches_taken, batches_answered, (unsigned long long)dropped, node->flow.admit.held_batches);
}

#endif
