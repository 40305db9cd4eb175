/*
 * What the tests of ingest share: records that have an id and some bytes, delimited streams of them, a seeded
 * random source, a counter page in a directory of its own, and the check of the conservation rule. A test owns
 * what it makes here.
 */
#ifndef MUSTER_TESTS_INGEST_STAGE_H
#define MUSTER_TESTS_INGEST_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/counters.h"
#include "core/metrics.h"
#include "core/scratch.h"
#include "core/link.h"
#include "proto/batch.h"
#include "proto/wire.pb-c.h"

/* ---- randomness: xorshift, seeded from the environment or the clock, printed ---- */

static uint64_t stage_seed;

static inline uint64_t stage_random(void)
{
  stage_seed ^= stage_seed << 13;
  stage_seed ^= stage_seed >> 7;
  stage_seed ^= stage_seed << 17;
  return stage_seed;
}

static inline void stage_seed_init(void)
{
  const char *given = getenv("MUSTER_TEST_SEED");
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  stage_seed = given ? strtoull(given, NULL, 0) : (uint64_t)now.tv_nsec * 2654435761u + (uint64_t)now.tv_sec;
  stage_seed |= 1;
  printf("seed: MUSTER_TEST_SEED=%llu\n", (unsigned long long)stage_seed);
}

/* ---- streams ---- */

#define STAGE_RECORDS 10001u

struct stage_stream {
  uint8_t *bytes;
  size_t size, room;
  uint32_t count;
  uint32_t at[STAGE_RECORDS + 1]; /* where each record's length prefix begins */
};

static inline void stage_stream_init(struct stage_stream *s)
{
  s->room = 4096;
  s->bytes = malloc(s->room);
  s->size = s->count = s->at[0] = 0;
}
static inline void stage_stream_finish(struct stage_stream *s) { free(s->bytes); }

/* Makes room for so many bytes more. */
static inline void stage_room(struct stage_stream *s, size_t more)
{
  while (s->room < s->size + more)
    s->bytes = realloc(s->bytes, s->room *= 2);
}

/* Adds a record of an id and `filler` bytes of a field nobody knows; returns its size. */
static inline uint32_t stage_add(struct stage_stream *s, const uint8_t id[16], uint32_t filler)
{
  uint8_t record[70000], *p = record;
  *p++ = 1 << 3 | 2;
  *p++ = 16;
  memcpy(p, id, 16);
  p += 16;
  if (filler > 0) {
    p = varint_write(p, 100 << 3 | 2);
    p = varint_write(p, filler);
    memset(p, 'x', filler);
    p += filler;
  }
  uint32_t size = (uint32_t)(p - record);
  stage_room(s, size + 5);
  uint8_t *out = varint_write(s->bytes + s->size, size);
  memcpy(out, record, size);
  s->size = (size_t)(out + size - s->bytes);
  s->at[++s->count] = (uint32_t)s->size;
  return size;
}

static inline void stage_id(uint8_t id[16], uint64_t number)
{
  uint64_t mixed = (number + 1) * 0x9e3779b97f4a7c15u;
  memcpy(id, &number, 8);
  memcpy(id + 8, &mixed, 8);
}

/* A stream of count records with ids first, first + 1, ... */
static inline void stage_fill(struct stage_stream *s, uint32_t count, uint64_t first, uint32_t filler)
{
  uint8_t id[16];
  stage_stream_init(s);
  for (uint32_t i = 0; i < count; i++) {
    stage_id(id, first + i);
    stage_add(s, id, filler);
  }
}

static inline void stage_frame(struct link_frame *f, const void *bytes, size_t size)
{
  assert_int_equal(link_frame_init(f, size), MUSTER_OK);
  if (bytes != NULL)
    memcpy(link_frame_data(f), bytes, size);
}

/* The number that stage_id made the id of this record from. */
static inline uint64_t stage_number(const struct batch_record *record)
{
  uint64_t number;
  memcpy(&number, record->bytes + 2, 8);
  return number;
}

/* ---- counters ---- */

static char stage_directory[SCRATCH_BYTES];

static inline struct counters *stage_counters(void)
{
  struct failure failure = FAILURE_NONE;
  struct counters *c;
  scratch_make(stage_directory);
  assert_int_equal(counters_create(&c, stage_directory, "ingest-0", &failure), MUSTER_OK);
  return c;
}

static inline uint64_t stage_reasons(const struct counters_snapshot *page, enum counter_per per, uint32_t first, uint32_t last)
{
  uint64_t sum = 0;
  for (uint32_t reason = first; reason <= last; reason++)
    sum += page->reason[per][reason];
  return sum;
}

/* What is told apart adds up: by submitter, by reason, by cause; every answered batch has its times. */
static inline void stage_adds_up(void)
{
  static const enum counter_id totals[] = {COUNTER_records_received,  COUNTER_records_accepted, COUNTER_records_duplicate,
                                           COUNTER_records_conflict,  COUNTER_records_invalid,  COUNTER_records_handed_back,
                                           COUNTER_records_in_flight, COUNTER_batches_busy,     COUNTER_batches_refused};
  static const enum submitter_id columns[] = {SUBMITTER_records_received,  SUBMITTER_records_accepted, SUBMITTER_records_duplicate,
                                              SUBMITTER_records_conflict,  SUBMITTER_records_invalid,  SUBMITTER_records_handed_back,
                                              SUBMITTER_records_in_flight, SUBMITTER_batches_busy,     SUBMITTER_batches_refused};
  struct counters_snapshot *page = malloc(sizeof *page);
  assert_int_equal(counters_read(stage_directory, "ingest-0", page, NULL), MUSTER_OK);
  for (size_t i = 0; i < sizeof totals / sizeof totals[0]; i++) {
    uint64_t sum = 0;
    for (uint32_t row = 0; row < page->rows; row++)
      sum += page->submitter[row].value[columns[i]];
    assert_int_equal(sum, page->value[totals[i]]);
  }
  for (uint32_t row = 0; row < page->rows; row++)
    assert_int_equal(metrics_unaccounted_row(&page->submitter[row]), 0);
  assert_int_equal(stage_reasons(page, COUNTER_RECORDS, 1, 99), page->value[COUNTER_records_invalid]);
  assert_int_equal(stage_reasons(page, COUNTER_RECORDS, 200, 299), page->value[COUNTER_records_handed_back]);
  assert_int_equal(stage_reasons(page, COUNTER_BATCHES, 100, 199), page->value[COUNTER_batches_refused]);
  assert_int_equal(stage_reasons(page, COUNTER_BATCHES, 200, 249), page->value[COUNTER_batches_busy]);
  assert_int_equal(page->value[COUNTER_handshakes_refused_unknown] + page->value[COUNTER_handshakes_refused_revoked] +
                       page->value[COUNTER_handshakes_refused_mechanism],
                   page->value[COUNTER_handshakes_refused]);
  for (int id = HISTOGRAM_batch_ack; id <= HISTOGRAM_batch_shards; id++)
    assert_int_equal(counters_histogram_count(&page->histogram[id]), page->value[COUNTER_batches_answered]);
  free(page);
}

static inline void stage_counters_finish(struct counters *c)
{
  stage_adds_up();
  counters_destroy(c);
  scratch_remove(stage_directory);
}

/* Received = answered each way + in flight, for records and for batches. */
static inline void stage_conserved(const struct counters *c)
{
  uint64_t records = counters_get(c, COUNTER_records_accepted) + counters_get(c, COUNTER_records_duplicate) +
                     counters_get(c, COUNTER_records_conflict) + counters_get(c, COUNTER_records_invalid) +
                     counters_get(c, COUNTER_records_handed_back) + counters_get(c, COUNTER_records_in_flight);
  assert_int_equal(counters_get(c, COUNTER_records_received), records);
  assert_int_equal(counters_get(c, COUNTER_batches_received),
                   counters_get(c, COUNTER_batches_answered) + counters_get(c, COUNTER_batches_in_flight));
}

/* ---- answers ---- */

/* The words of an answer's second frame, as protobuf-c reads them; the caller frees with protobuf-c. */
static inline Muster__V1__Verdicts *stage_verdicts(struct link_frame *f)
{
  Muster__V1__Verdicts *v = muster__v1__verdicts__unpack(NULL, link_frame_size(f), link_frame_data(f));
  assert_non_null(v);
  return v;
}

static inline Muster__V1__AnswerHeader *stage_header(struct link_frame *f)
{
  Muster__V1__AnswerHeader *h = muster__v1__answer_header__unpack(NULL, link_frame_size(f), link_frame_data(f));
  assert_non_null(h);
  assert_true(h->has_kind && h->kind == MUSTER__V1__KIND__KIND_ANSWER && h->version_major == 1 && h->has_batch_id && h->has_credit);
  return h;
}

#endif
