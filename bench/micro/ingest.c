/* Ingest's work on a batch: apart by shard, and the words together again, counted in a page as a node has one. Two shards, as it has by
 * default. */
#include "bench/micro/micro.h"

#include <string.h>

#include "ingest/gather.h"
#include "ingest/split.h"
#include "muster/status.h"
#include "proto/batch.h"
#include "proto/wire.pb-c.h"

#define SHARDS 2u
#define CREDIT 16u
#define DUPLICATE_EVERY 50u /* 2 % of the words say DUPLICATE, the others ACCEPTED */

static struct micro_set set;
static struct ingest_split split;
static struct ingest_gather gather;
static struct link_frame stream, part[SHARDS], words[SHARDS];
static uint32_t slot;
static bool held; /* the slot has a batch */
static struct counters *counters;

static void frames_finish(void)
{
  for (uint32_t shard = 0; shard < SHARDS; shard++) {
    link_frame_finish(&part[shard]);
    link_frame_finish(&words[shard]);
  }
}

static bool open_ingest(uint32_t count)
{
  link_frame_init_empty(&stream);
  for (uint32_t shard = 0; shard < SHARDS; shard++) {
    link_frame_init_empty(&part[shard]);
    link_frame_init_empty(&words[shard]);
  }
  if (!micro_set_make(&set, count))
    return false;
  counters = micro_page_open();
  if (!counters)
    return false;
  if (ingest_split_init(&split, SHARDS) != MUSTER_OK || ingest_gather_init(&gather, SHARDS, counters) != MUSTER_OK ||
      link_frame_init(&stream, set.stream_bytes) != MUSTER_OK)
    return micro_complain("there is no memory for ingest's tables");
  memcpy(link_frame_data(&stream), set.stream, set.stream_bytes);
  return true;
}

static void close_ingest(void)
{
  frames_finish();
  link_frame_finish(&stream);
  ingest_gather_finish(&gather);
  ingest_split_finish(&split);
  micro_page_close(counters);
  counters = NULL;
  micro_set_free(&set);
  held = false;
}

/* ---- scatter ---- */

static uint32_t run_scatter(void)
{
  struct ingest_split_fault fault;
  if (!ingest_split_walk(&split, link_frame_data(&stream), link_frame_size(&stream), set.count, &fault) ||
      ingest_split_scatter(&split, &stream, part) != MUSTER_OK)
    return 0;
  return split.part_records[0] + split.part_records[1];
}

/* ---- gather ---- */

static bool words_make(uint32_t shard)
{
  const uint32_t count = split.part_records[shard];
  if (link_frame_init(&words[shard], (size_t)count * 8) != MUSTER_OK)
    return false;
  for (uint32_t i = 0; i < count; i++) {
    const bool again = i % DUPLICATE_EVERY == DUPLICATE_EVERY - 1;
    const uint32_t verdict = again ? MUSTER__V1__VERDICT__VERDICT_DUPLICATE : MUSTER__V1__VERDICT__VERDICT_ACCEPTED;
    store_u64(link_frame_data(&words[shard]) + (size_t)i * 8, verdict_durable(verdict, shard, i + 1));
  }
  return true;
}

/* A batch whose parts are at the workers, and the words that will come for it. Where this fails the round has no batch and counts none. */
static void prepare_gather(void)
{
  const struct ingest_arrival arrival = {.batch_id = 1, .message_bytes = set.stream_bytes, .received_us = MICRO_NOW_US};
  struct ingest_split_fault fault;
  if (held)
    ingest_gather_close(&gather, slot);
  frames_finish();
  held = ingest_split_walk(&split, link_frame_data(&stream), link_frame_size(&stream), set.count, &fault) &&
         ingest_gather_open(&gather, &arrival, &split, &stream, &slot) == MUSTER_OK;
  if (held)
    gather.batch[slot].state = INGEST_BATCH_AT_WORKERS;
  for (uint32_t shard = 0; held && shard < SHARDS; shard++)
    held = words_make(shard);
}

static uint32_t run_gather(void)
{
  enum ingest_words result = INGEST_WORDS_LATE;
  for (uint32_t shard = 0; held && shard < SHARDS; shard++)
    result = ingest_gather_words(&gather, ingest_gather_part_id(&gather, slot, shard), 0, split.part_records[shard], &words[shard], &slot);
  if (result != INGEST_WORDS_BATCH_DONE || ingest_gather_answer(&gather, slot, CREDIT, 0, 0) != MUSTER_OK)
    return 0;
  return gather.batch[slot].record_count;
}

const struct micro_case micro_scatter = {.name = "scatter",
                                         .sentence = "a batch's walk for the shards, and its records copied into one frame a shard",
                                         .count = MICRO_BATCH,
                                         .count_max = MICRO_RECORDS_MAX,
                                         .open = open_ingest,
                                         .prepare = frames_finish,
                                         .run = run_scatter,
                                         .close = close_ingest};
const struct micro_case micro_gather = {.name = "gather",
                                        .sentence = "the words of all shards back into the order of the batch, with its header",
                                        .count = MICRO_BATCH,
                                        .count_max = MICRO_RECORDS_MAX,
                                        .open = open_ingest,
                                        .prepare = prepare_gather,
                                        .run = run_gather,
                                        .close = close_ingest};
