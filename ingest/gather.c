#include "ingest/gather.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/answer.h"
#include "muster/status.h"
#include "proto/batch.h"

#define PART_SHARD_BITS 8
#define PART_SLOT_BITS 16
static_assert(LIMIT_SHARDS <= 1u << PART_SHARD_BITS, "a part id has room for the shard");
static_assert(LIMIT_BATCHES_IN_FLIGHT <= 1u << PART_SLOT_BITS, "a part id has room for the slot");
static_assert(LIMIT_BATCHES_IN_FLIGHT - 1 <= UINT16_MAX, "the free slots are 16-bit numbers");

int ingest_gather_init(struct ingest_gather *g, uint32_t shards, struct counters *counters)
{
  *g = (struct ingest_gather){
      .shards = shards,
      .batch = calloc(LIMIT_BATCHES_IN_FLIGHT, sizeof(struct ingest_batch)),
      .part = calloc((size_t)LIMIT_BATCHES_IN_FLIGHT * shards, sizeof(struct ingest_part)),
      .free_slots = malloc(LIMIT_BATCHES_IN_FLIGHT * sizeof(uint16_t)),
      .counters = counters,
  };
  if (!g->batch || !g->part || !g->free_slots) {
    free(g->batch);
    free(g->part);
    free(g->free_slots);
    *g = (struct ingest_gather){0};
    return MUSTER_ERR_MEMORY;
  }
  for (uint32_t i = 0; i < LIMIT_BATCHES_IN_FLIGHT; i++) {
    link_frame_init_empty(&g->batch[i].header);
    link_frame_init_empty(&g->batch[i].answer);
    g->free_slots[i] = (uint16_t)(LIMIT_BATCHES_IN_FLIGHT - 1 - i);
  }
  for (uint32_t i = 0; i < LIMIT_BATCHES_IN_FLIGHT * shards; i++) {
    link_frame_init_empty(&g->part[i].records);
    link_frame_init_empty(&g->part[i].words);
  }
  return MUSTER_OK;
}

void ingest_gather_finish(struct ingest_gather *g)
{
  for (uint32_t i = 0; g->batch && i < LIMIT_BATCHES_IN_FLIGHT; i++)
    if (g->batch[i].state != INGEST_BATCH_FREE)
      ingest_gather_close(g, i);
  free(g->batch);
  free(g->part);
  free(g->free_slots);
  *g = (struct ingest_gather){0};
}

/* ---- taking in ---- */

/* The memory of the answer is there before the batch is. Until its words come, its end keeps the shard of each record. */
static int gather_reserve_answer(struct ingest_batch *b, const struct ingest_split *split)
{
  uint8_t *words;
  if (ingest_answer_words(&b->answer, split->record_count, &words) != MUSTER_OK)
    return MUSTER_ERR_MEMORY;
  memcpy(words + (size_t)split->record_count * 7, split->shard_of, split->record_count);
  return MUSTER_OK;
}

static void gather_count_received(struct ingest_gather *g, uint32_t row, uint32_t records, uint64_t bytes)
{
  counters_begin(g->counters);
  counters_add(g->counters, COUNTER_records_received, records);
  counters_add(g->counters, COUNTER_records_in_flight, records);
  counters_add(g->counters, COUNTER_batches_received, 1);
  counters_add(g->counters, COUNTER_batches_in_flight, 1);
  counters_add(g->counters, COUNTER_received_bytes, bytes);
  counters_row_add(g->counters, row, SUBMITTER_records_received, records);
  counters_row_add(g->counters, row, SUBMITTER_records_in_flight, records);
  counters_end(g->counters);
}

int ingest_gather_open(struct ingest_gather *g, const struct ingest_arrival *arrival, struct ingest_split *split, struct link_frame *stream,
                       uint32_t *slot_out)
{
  if (g->held == LIMIT_BATCHES_IN_FLIGHT)
    return MUSTER_ERR_FULL;
  uint32_t slot = g->free_slots[LIMIT_BATCHES_IN_FLIGHT - 1 - g->held];
  struct ingest_batch *b = &g->batch[slot];
  struct link_frame records[LIMIT_SHARDS];
  for (uint32_t shard = 0; shard < g->shards; shard++)
    link_frame_init_empty(&records[shard]);
  if (gather_reserve_answer(b, split) != MUSTER_OK || ingest_split_scatter(split, stream, records) != MUSTER_OK) {
    link_frame_finish(&b->answer);
    return MUSTER_ERR_MEMORY;
  }
  g->held++;
  b->state = INGEST_BATCH_WAITING;
  b->generation++;
  b->peer = arrival->peer;
  b->submitter = arrival->submitter;
  b->batch_id = arrival->batch_id;
  b->cost_bytes = arrival->cost_bytes;
  b->received_us = arrival->received_us;
  b->row = arrival->row;
  b->admitted_ns = b->dispatched_ns = arrival->now_ns;
  b->record_count = split->record_count;
  b->parts_open = 0;
  b->at_workers = false;
  for (uint32_t shard = 0; shard < g->shards; shard++) {
    struct ingest_part *part = ingest_gather_part(g, slot, shard);
    part->record_count = split->part_records[shard];
    part->answered = 0;
    part->refused = false;
    b->parts_open += part->record_count > 0;
    link_frame_move(&part->records, &records[shard]);
  }
  gather_count_received(g, b->row, b->record_count, arrival->message_bytes);
  *slot_out = slot;
  return MUSTER_OK;
}

uint64_t ingest_gather_part_id(const struct ingest_gather *g, uint32_t slot, uint32_t shard)
{
  return (uint64_t)g->batch[slot].generation << (PART_SLOT_BITS + PART_SHARD_BITS) | (uint64_t)slot << PART_SHARD_BITS | shard;
}

/* ---- words ---- */

/* A range of a part: the words of the others come later, so they are put together. */
static bool gather_join(struct ingest_part *part, uint32_t first, uint32_t count, struct link_frame *words)
{
  if (link_frame_size(&part->words) == 0 && link_frame_init(&part->words, (size_t)part->record_count * 8) != MUSTER_OK)
    return false;
  memcpy(link_frame_data(&part->words) + (size_t)first * 8, link_frame_data(words), (size_t)count * 8);
  return true;
}

enum ingest_words ingest_gather_words(struct ingest_gather *g, uint64_t part_id, uint32_t first_record, uint32_t record_count,
                                      struct link_frame *words, uint32_t *slot_out)
{
  uint32_t shard = (uint32_t)(part_id & ((1u << PART_SHARD_BITS) - 1));
  uint32_t slot = (uint32_t)(part_id >> PART_SHARD_BITS & ((1u << PART_SLOT_BITS) - 1));
  if (shard >= g->shards || slot >= LIMIT_BATCHES_IN_FLIGHT || ingest_gather_part_id(g, slot, shard) != part_id)
    return INGEST_WORDS_LATE;
  struct ingest_batch *b = &g->batch[slot];
  struct ingest_part *part = ingest_gather_part(g, slot, shard);
  uint64_t last = (uint64_t)first_record + record_count;
  if (b->state != INGEST_BATCH_AT_WORKERS || record_count == 0 || last > part->record_count ||
      part->answered + record_count > part->record_count || link_frame_size(words) != (size_t)record_count * 8)
    return INGEST_WORDS_LATE;
  if (record_count == part->record_count)
    link_frame_move(&part->words, words);
  else if (!gather_join(part, first_record, record_count, words))
    return INGEST_WORDS_NO_MEMORY;
  part->answered += record_count;
  *slot_out = slot;
  if (part->answered < part->record_count)
    return INGEST_WORDS_TAKEN;
  return --b->parts_open > 0 ? INGEST_WORDS_PART_DONE : INGEST_WORDS_BATCH_DONE;
}

enum ingest_words ingest_gather_refuse(struct ingest_gather *g, uint32_t slot, uint32_t shard)
{
  struct ingest_batch *b = &g->batch[slot];
  struct ingest_part *part = ingest_gather_part(g, slot, shard);
  assert(b->state == INGEST_BATCH_AT_WORKERS && part->record_count > 0 && part->answered == 0);
  link_frame_finish(&part->records);
  part->refused = true;
  part->answered = part->record_count;
  return --b->parts_open > 0 ? INGEST_WORDS_PART_DONE : INGEST_WORDS_BATCH_DONE;
}

/* ---- the answer ---- */

struct gather_tally {
  uint32_t verdict[16];
  uint32_t reason_kinds; /* distinct reasons met */
  uint16_t reason[COUNTER_REASONS];
  uint32_t reason_count[COUNTER_REASONS];
};

static void gather_tally_reason(struct gather_tally *t, uint32_t reason)
{
  uint32_t i = 0;
  while (i < t->reason_kinds && t->reason[i] != reason)
    i++;
  if (i == t->reason_kinds) {
    t->reason[i] = (uint16_t)reason;
    t->reason_count[i] = 0;
    t->reason_kinds++;
  }
  t->reason_count[i]++;
}

/* A word that says nothing this version knows is no promise: the record is to be sent again. */
static uint64_t gather_checked(uint64_t word)
{
  uint32_t kind = verdict_kind(word);
  bool known = kind >= MUSTER__V1__VERDICT__VERDICT_ACCEPTED && kind <= MUSTER__V1__VERDICT__VERDICT_RETRY;
  if (known && (kind < MUSTER__V1__VERDICT__VERDICT_INVALID || verdict_reason(word) < COUNTER_REASONS))
    return word;
  return verdict_refused(MUSTER__V1__VERDICT__VERDICT_RETRY, verdict_shard(word), MUSTER__V1__REASON__REASON_RETRY_OUTCOME_UNKNOWN, 0);
}

static void gather_interleave(struct ingest_gather *g, uint32_t slot, struct gather_tally *t)
{
  struct ingest_batch *b = &g->batch[slot];
  const uint8_t *from[LIMIT_SHARDS];
  uint8_t step[LIMIT_SHARDS], down[LIMIT_SHARDS][8]; /* of a part that was refused: one word for all its records */
  for (uint32_t shard = 0; shard < g->shards; shard++) {
    struct ingest_part *part = ingest_gather_part(g, slot, shard);
    store_u64(down[shard], verdict_refused(MUSTER__V1__VERDICT__VERDICT_BUSY, shard, MUSTER__V1__REASON__REASON_BUSY_SHARD_DOWN, 0));
    from[shard] = part->refused ? down[shard] : link_frame_data(&part->words);
    step[shard] = part->refused ? 0 : 8;
  }
  /* Word i covers bytes 8i to 8i+7, the shard of record j lies at 7n+j: no word covers the shard of a later record, as
   * 8i+7 < 7n+i+1 for every i < n. */
  uint8_t *out = link_frame_data(&b->answer) + link_frame_size(&b->answer) - (size_t)b->record_count * 8;
  const uint8_t *shard_of = out + (size_t)b->record_count * 7;
  for (uint32_t i = 0; i < b->record_count; i++) {
    uint32_t shard = shard_of[i];
    uint64_t word = gather_checked(load_u64(from[shard]));
    from[shard] += step[shard];
    store_u64(out + (size_t)i * 8, word);
    uint32_t kind = verdict_kind(word);
    t->verdict[kind]++;
    if (kind >= MUSTER__V1__VERDICT__VERDICT_INVALID)
      gather_tally_reason(t, verdict_reason(word));
  }
}

static void gather_count_row(struct counters *c, const struct ingest_batch *b, const struct gather_tally *t, uint32_t credit)
{
  counters_row_add(c, b->row, SUBMITTER_records_accepted, t->verdict[MUSTER__V1__VERDICT__VERDICT_ACCEPTED]);
  counters_row_add(c, b->row, SUBMITTER_records_duplicate, t->verdict[MUSTER__V1__VERDICT__VERDICT_DUPLICATE]);
  counters_row_add(c, b->row, SUBMITTER_records_conflict, t->verdict[MUSTER__V1__VERDICT__VERDICT_CONFLICT]);
  counters_row_add(c, b->row, SUBMITTER_records_invalid, t->verdict[MUSTER__V1__VERDICT__VERDICT_INVALID]);
  counters_row_add(c, b->row, SUBMITTER_records_handed_back,
                   t->verdict[MUSTER__V1__VERDICT__VERDICT_BUSY] + t->verdict[MUSTER__V1__VERDICT__VERDICT_RETRY]);
  counters_row_subtract(c, b->row, SUBMITTER_records_in_flight, b->record_count);
  counters_row_set(c, b->row, SUBMITTER_credit, credit);
}

static void gather_count_answered(struct ingest_gather *g, const struct ingest_batch *b, const struct gather_tally *t, uint32_t credit)
{
  struct counters *c = g->counters;
  counters_begin(c);
  counters_add(c, COUNTER_records_accepted, t->verdict[MUSTER__V1__VERDICT__VERDICT_ACCEPTED]);
  counters_add(c, COUNTER_records_duplicate, t->verdict[MUSTER__V1__VERDICT__VERDICT_DUPLICATE]);
  counters_add(c, COUNTER_records_conflict, t->verdict[MUSTER__V1__VERDICT__VERDICT_CONFLICT]);
  counters_add(c, COUNTER_records_invalid, t->verdict[MUSTER__V1__VERDICT__VERDICT_INVALID]);
  counters_add(c, COUNTER_records_handed_back,
               t->verdict[MUSTER__V1__VERDICT__VERDICT_BUSY] + t->verdict[MUSTER__V1__VERDICT__VERDICT_RETRY]);
  counters_subtract(c, COUNTER_records_in_flight, b->record_count);
  counters_add(c, COUNTER_batches_answered, 1);
  counters_subtract(c, COUNTER_batches_in_flight, 1);
  for (uint32_t i = 0; i < t->reason_kinds; i++)
    counters_add_reason(c, COUNTER_RECORDS, t->reason[i], t->reason_count[i]);
  gather_count_row(c, b, t, credit);
  counters_observe(c, HISTOGRAM_batch_queue, b->dispatched_ns - b->admitted_ns);
  counters_observe(c, HISTOGRAM_batch_shards, b->answered_ns - b->dispatched_ns);
  counters_observe(c, HISTOGRAM_batch_ack, b->answered_ns - b->admitted_ns);
  counters_end(c);
}

int ingest_gather_answer(struct ingest_gather *g, uint32_t slot, uint32_t credit, const struct ingest_wait *wait, uint64_t now_ns)
{
  struct ingest_batch *b = &g->batch[slot];
  struct gather_tally tally;
  memset(tally.verdict, 0, sizeof tally.verdict);
  tally.reason_kinds = 0;
  assert(b->state == INGEST_BATCH_AT_WORKERS && b->parts_open == 0);
  b->answered_ns = now_ns;
  gather_interleave(g, slot, &tally);
  gather_count_answered(g, b, &tally, credit);
  for (uint32_t shard = 0; shard < g->shards; shard++)
    link_frame_finish(&ingest_gather_part(g, slot, shard)->words);
  b->state = INGEST_BATCH_ANSWERED;
  uint32_t busy_ms = tally.verdict[MUSTER__V1__VERDICT__VERDICT_BUSY] > 0 ? wait->busy_ms : 0;
  uint32_t retry_ms = tally.verdict[MUSTER__V1__VERDICT__VERDICT_RETRY] > 0 ? wait->retry_ms : 0;
  return ingest_answer_header(&b->header, b->batch_id, b->record_count, credit, busy_ms > retry_ms ? busy_ms : retry_ms);
}

void ingest_gather_close(struct ingest_gather *g, uint32_t slot)
{
  struct ingest_batch *b = &g->batch[slot];
  for (uint32_t shard = 0; shard < g->shards; shard++) {
    struct ingest_part *part = ingest_gather_part(g, slot, shard);
    link_frame_finish(&part->records);
    link_frame_finish(&part->words);
  }
  link_frame_finish(&b->header);
  link_frame_finish(&b->answer);
  b->state = INGEST_BATCH_FREE;
  g->held--;
  g->free_slots[LIMIT_BATCHES_IN_FLIGHT - 1 - g->held] = (uint16_t)slot;
}
