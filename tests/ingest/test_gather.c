/* ingest/gather.c: the table of batches, words in any order, answers, and the conservation rule at each step. */
#include "ingest/stage.h"

#include "ingest/gather.h"

#define SHARDS 5u
#define ADMITTED_NS 1000000u

struct table {
  struct counters *counters;
  struct ingest_gather gather;
  struct ingest_split split;
};

static int setup(void **state)
{
  struct table *t = calloc(1, sizeof *t);
  t->counters = stage_counters();
  assert_int_equal(ingest_gather_init(&t->gather, SHARDS, t->counters), MUSTER_OK);
  assert_int_equal(ingest_split_init(&t->split, SHARDS), MUSTER_OK);
  *state = t;
  return 0;
}

static int teardown(void **state)
{
  struct table *t = *state;
  ingest_gather_finish(&t->gather);
  ingest_split_finish(&t->split);
  stage_counters_finish(t->counters);
  free(t);
  return 0;
}

/* Takes in a batch of records 0 to count - 1; *shard_of (may be NULL) has room for it. */
static uint32_t open_batch(struct table *t, uint32_t count, uint8_t *shard_of)
{
  struct stage_stream s;
  struct ingest_split_fault fault;
  struct link_frame f;
  uint32_t slot;
  stage_fill(&s, count, 0, 20);
  assert_true(ingest_split_walk(&t->split, s.bytes, s.size, count, &fault));
  if (shard_of)
    memcpy(shard_of, t->split.shard_of, count);
  stage_frame(&f, s.bytes, s.size);
  counters_begin(t->counters);
  const uint32_t row = counters_row(t->counters, 9, "nine");
  counters_end(t->counters);
  const struct ingest_arrival arrival = {
      .peer = 3, .submitter = 9, .batch_id = 77, .cost_bytes = 1, .message_bytes = s.size, .row = row, .now_ns = ADMITTED_NS};
  int status = ingest_gather_open(&t->gather, &arrival, &t->split, &f, &slot);
  link_frame_finish(&f);
  stage_stream_finish(&s);
  if (status != MUSTER_OK) {
    assert_int_equal(status, MUSTER_ERR_FULL);
    return UINT32_MAX;
  }
  stage_conserved(t->counters);
  t->gather.batch[slot].state = INGEST_BATCH_AT_WORKERS;
  return slot;
}

/* A word that tells whose it is: sequence number 1000 * shard + place in the part. */
static uint64_t word_of(uint32_t shard, uint32_t place)
{
  return verdict_durable(MUSTER__V1__VERDICT__VERDICT_ACCEPTED, shard, 1000u * shard + place);
}

static enum ingest_words give(struct table *t, uint64_t part_id, uint32_t shard, uint32_t first, uint32_t count, uint32_t *slot)
{
  struct link_frame f;
  stage_frame(&f, NULL, (size_t)count * 8);
  for (uint32_t i = 0; i < count; i++)
    store_u64(link_frame_data(&f) + i * 8, word_of(shard, first + i));
  enum ingest_words result = ingest_gather_words(&t->gather, part_id, first, count, &f, slot);
  link_frame_finish(&f);
  stage_conserved(t->counters);
  return result;
}

static void expect_in_order(struct table *t, uint32_t slot, const uint8_t *shard_of, uint32_t count)
{
  uint32_t place[SHARDS] = {0};
  Muster__V1__Verdicts *v = stage_verdicts(&t->gather.batch[slot].answer);
  assert_int_equal(v->n_word, count);
  for (uint32_t i = 0; i < count; i++) {
    assert_int_equal(v->word[i], word_of(shard_of[i], place[shard_of[i]]));
    place[shard_of[i]]++;
  }
  muster__v1__verdicts__free_unpacked(v, NULL);
}

static void shuffle(uint32_t *numbers, uint32_t count)
{
  for (uint32_t i = 0; i < count; i++)
    numbers[i] = i;
  for (uint32_t i = count; i > 1; i--) {
    uint32_t j = (uint32_t)(stage_random() % i), kept = numbers[i - 1];
    numbers[i - 1] = numbers[j];
    numbers[j] = kept;
  }
}

static void words_of_any_order_answer_in_the_records_order(void **state)
{
  struct table *t = *state;
  static uint8_t shard_of[LIMIT_BATCH_RECORDS];
  const uint32_t counts[] = {1, 2, 3, 15, 16, 17, 127, 1000, 2049, LIMIT_BATCH_RECORDS};
  for (unsigned n = 0; n < sizeof counts / sizeof counts[0]; n++) {
    uint32_t count = counts[n], order[SHARDS], found, done = 0;
    uint32_t slot = open_batch(t, count, shard_of);
    assert_int_equal(counters_get(t->counters, COUNTER_records_in_flight), count);
    shuffle(order, SHARDS);
    for (uint32_t i = 0; i < SHARDS; i++) {
      uint32_t records = ingest_gather_part(&t->gather, slot, order[i])->record_count;
      if (records == 0)
        continue;
      assert_int_equal(done, 0);
      enum ingest_words result = give(t, ingest_gather_part_id(&t->gather, slot, order[i]), order[i], 0, records, &found);
      assert_int_equal(found, slot);
      done = result == INGEST_WORDS_BATCH_DONE;
      assert_true(done || result == INGEST_WORDS_PART_DONE);
    }
    assert_true(done);
    assert_int_equal(ingest_gather_answer(&t->gather, slot, 7, &(struct ingest_wait){.busy_ms = 1000, .retry_ms = 700}, 1), MUSTER_OK);
    stage_conserved(t->counters);
    assert_int_equal(counters_get(t->counters, COUNTER_records_in_flight), 0);
    expect_in_order(t, slot, shard_of, count);
    Muster__V1__AnswerHeader *h = stage_header(&t->gather.batch[slot].header);
    assert_int_equal(h->batch_id, 77);
    assert_int_equal(h->record_count, count);
    assert_int_equal(h->credit, 7);
    assert_false(h->has_batch_verdict || h->has_retry_after_ms);
    muster__v1__answer_header__free_unpacked(h, NULL);
    ingest_gather_close(&t->gather, slot);
    stage_conserved(t->counters);
  }
  assert_int_equal(counters_get(t->counters, COUNTER_records_accepted), 1 + 2 + 3 + 15 + 16 + 17 + 127 + 1000 + 2049 + LIMIT_BATCH_RECORDS);
}

static void ranges_of_a_part_come_in_any_order(void **state)
{
  struct table *t = *state;
  static uint8_t shard_of[500];
  uint32_t slot = open_batch(t, 500, shard_of), found;
  for (uint32_t shard = 0; shard < SHARDS; shard++) {
    uint64_t id = ingest_gather_part_id(&t->gather, slot, shard);
    uint32_t records = ingest_gather_part(&t->gather, slot, shard)->record_count, third = records / 3;
    assert_true(third > 0);
    assert_int_equal(give(t, id, shard, 2 * third, records - 2 * third, &found), INGEST_WORDS_TAKEN);
    assert_int_equal(give(t, id, shard, 0, third, &found), INGEST_WORDS_TAKEN);
    assert_int_equal(give(t, id, shard, third, third, &found), shard + 1 < SHARDS ? INGEST_WORDS_PART_DONE : INGEST_WORDS_BATCH_DONE);
  }
  assert_int_equal(ingest_gather_answer(&t->gather, slot, 1, &(struct ingest_wait){.busy_ms = 1000, .retry_ms = 700}, 1), MUSTER_OK);
  expect_in_order(t, slot, shard_of, 500);
  ingest_gather_close(&t->gather, slot);
}

static void late_and_double_words_find_nobody(void **state)
{
  struct table *t = *state;
  static uint8_t shard_of[100];
  uint32_t slot = open_batch(t, 100, shard_of), found, records = ingest_gather_part(&t->gather, slot, 0)->record_count;
  uint64_t id = ingest_gather_part_id(&t->gather, slot, 0);
  t->gather.batch[slot].state = INGEST_BATCH_WAITING;
  assert_int_equal(give(t, id, 0, 0, records, &found), INGEST_WORDS_LATE); /* nobody was asked yet */
  t->gather.batch[slot].state = INGEST_BATCH_AT_WORKERS;
  assert_int_equal(give(t, id, 1, 0, records + 1, &found), INGEST_WORDS_LATE); /* more than the part has */
  assert_int_equal(give(t, id, 1, 1, records, &found), INGEST_WORDS_LATE);
  assert_int_equal(give(t, id | 0xff, 1, 0, 1, &found), INGEST_WORDS_LATE); /* no such shard */
  assert_int_equal(give(t, UINT64_MAX, 1, 0, 1, &found), INGEST_WORDS_LATE);
  assert_int_equal(give(t, id, 0, 0, records, &found), INGEST_WORDS_PART_DONE);
  assert_int_equal(give(t, id, 1, 0, records, &found), INGEST_WORDS_LATE); /* twice, and other words */
  for (uint32_t shard = 1; shard < SHARDS; shard++)
    give(t, ingest_gather_part_id(&t->gather, slot, shard), shard, 0, ingest_gather_part(&t->gather, slot, shard)->record_count, &found);
  assert_int_equal(ingest_gather_answer(&t->gather, slot, 1, &(struct ingest_wait){.busy_ms = 1000, .retry_ms = 700}, 1), MUSTER_OK);
  assert_int_equal(give(t, id, 1, 0, records, &found), INGEST_WORDS_LATE); /* answered, not sent yet */
  expect_in_order(t, slot, shard_of, 100);
  ingest_gather_close(&t->gather, slot);
  assert_int_equal(give(t, id, 1, 0, records, &found), INGEST_WORDS_LATE); /* gone */
  assert_int_equal(open_batch(t, 100, NULL), slot);
  assert_int_equal(give(t, id, 1, 0, records, &found), INGEST_WORDS_LATE); /* another batch lives there */
  assert_int_equal(counters_get(t->counters, COUNTER_records_accepted), 100);
  assert_int_equal(counters_get(t->counters, COUNTER_records_in_flight), 100);
}

static uint64_t mean_ns(const struct counters_snapshot *page, enum histogram_id id)
{
  assert_int_equal(counters_histogram_count(&page->histogram[id]), 1);
  return page->histogram[id].sum;
}

/* The time of a batch has two parts, which make the whole; its submitter's row has the credit that the answer tells. */
static void the_times_of_a_batch_are_counted(void **state)
{
  struct table *t = *state;
  struct counters_snapshot page;
  uint32_t slot = open_batch(t, 10, NULL);
  t->gather.batch[slot].dispatched_ns = ADMITTED_NS + 2000000;
  for (uint32_t shard = 0, found; shard < SHARDS; shard++)
    if (ingest_gather_part(&t->gather, slot, shard)->record_count > 0)
      give(t, ingest_gather_part_id(&t->gather, slot, shard), shard, 0, ingest_gather_part(&t->gather, slot, shard)->record_count, &found);
  assert_int_equal(ingest_gather_answer(&t->gather, slot, 5, NULL, ADMITTED_NS + 7000000), MUSTER_OK);
  assert_int_equal(counters_read(stage_directory, "ingest-0", &page, NULL), MUSTER_OK);
  assert_int_equal(mean_ns(&page, HISTOGRAM_batch_queue), 2000000);
  assert_int_equal(mean_ns(&page, HISTOGRAM_batch_shards), 5000000);
  assert_int_equal(mean_ns(&page, HISTOGRAM_batch_ack), 7000000);
  assert_int_equal(page.submitter[0].number, 9);
  assert_int_equal(page.submitter[0].value[SUBMITTER_credit], 5);
  ingest_gather_close(&t->gather, slot);
}

static void each_verdict_is_counted_as_what_it_is(void **state)
{
  struct table *t = *state;
  const uint64_t words[] = {
      verdict_durable(MUSTER__V1__VERDICT__VERDICT_ACCEPTED, 0, 1),
      verdict_durable(MUSTER__V1__VERDICT__VERDICT_DUPLICATE, 0, 2),
      verdict_durable(MUSTER__V1__VERDICT__VERDICT_CONFLICT, 0, 3),
      verdict_refused(MUSTER__V1__VERDICT__VERDICT_INVALID, 0, MUSTER__V1__REASON__REASON_CITIZENSHIP, 7),
      verdict_refused(MUSTER__V1__VERDICT__VERDICT_INVALID, 0, MUSTER__V1__REASON__REASON_CITIZENSHIP, 7),
      verdict_refused(MUSTER__V1__VERDICT__VERDICT_BUSY, 0, MUSTER__V1__REASON__REASON_BUSY_DISK, 0),
      verdict_refused(MUSTER__V1__VERDICT__VERDICT_RETRY, 0, MUSTER__V1__REASON__REASON_RETRY_OUTCOME_UNKNOWN, 0),
      0,                                                                            /* no verdict at all */
      9,                                                                            /* one that this version does not know */
      verdict_refused(MUSTER__V1__VERDICT__VERDICT_INVALID, 0, COUNTER_REASONS, 0), /* a reason out of all ranges */
  };
  const uint32_t count = sizeof words / sizeof words[0];
  uint32_t slot = open_batch(t, count, NULL), place = 0, found;
  for (uint32_t shard = 0; shard < SHARDS; shard++) {
    struct link_frame f;
    uint32_t records = ingest_gather_part(&t->gather, slot, shard)->record_count;
    if (records == 0)
      continue;
    stage_frame(&f, words + place, (size_t)records * 8);
    assert_int_not_equal(ingest_gather_words(&t->gather, ingest_gather_part_id(&t->gather, slot, shard), 0, records, &f, &found),
                         INGEST_WORDS_LATE);
    link_frame_finish(&f);
    place += records;
  }
  assert_int_equal(place, count);
  assert_int_equal(ingest_gather_answer(&t->gather, slot, 1, &(struct ingest_wait){.busy_ms = 1234, .retry_ms = 700}, 1), MUSTER_OK);
  stage_conserved(t->counters);
  assert_int_equal(counters_get(t->counters, COUNTER_records_accepted), 1);
  assert_int_equal(counters_get(t->counters, COUNTER_records_duplicate), 1);
  assert_int_equal(counters_get(t->counters, COUNTER_records_conflict), 1);
  assert_int_equal(counters_get(t->counters, COUNTER_records_invalid), 2);
  assert_int_equal(counters_get(t->counters, COUNTER_records_handed_back), 5);
  struct counters_snapshot page;
  assert_int_equal(counters_read(stage_directory, "ingest-0", &page, NULL), MUSTER_OK);
  assert_int_equal(page.reason[COUNTER_RECORDS][MUSTER__V1__REASON__REASON_CITIZENSHIP], 2);
  assert_int_equal(page.reason[COUNTER_RECORDS][MUSTER__V1__REASON__REASON_BUSY_DISK], 1);
  assert_int_equal(page.reason[COUNTER_RECORDS][MUSTER__V1__REASON__REASON_RETRY_OUTCOME_UNKNOWN], 4);
  Muster__V1__AnswerHeader *h = stage_header(&t->gather.batch[slot].header);
  assert_true(h->has_retry_after_ms && h->retry_after_ms == 1234);
  muster__v1__answer_header__free_unpacked(h, NULL);
  Muster__V1__Verdicts *v = stage_verdicts(&t->gather.batch[slot].answer);
  uint32_t retry = 0;
  for (uint32_t i = 0; i < count; i++)
    retry += verdict_kind(v->word[i]) == MUSTER__V1__VERDICT__VERDICT_RETRY &&
             verdict_reason(v->word[i]) == MUSTER__V1__REASON__REASON_RETRY_OUTCOME_UNKNOWN;
  assert_int_equal(retry, 4);
  muster__v1__verdicts__free_unpacked(v, NULL);
  ingest_gather_close(&t->gather, slot);
}

static void a_full_table_takes_no_more(void **state)
{
  struct table *t = *state;
  for (uint32_t i = 0; i < LIMIT_BATCHES_IN_FLIGHT; i++)
    assert_true(open_batch(t, 1, NULL) < LIMIT_BATCHES_IN_FLIGHT);
  assert_int_equal(open_batch(t, 1, NULL), UINT32_MAX);
  assert_int_equal(counters_get(t->counters, COUNTER_batches_in_flight), LIMIT_BATCHES_IN_FLIGHT);
  ingest_gather_close(&t->gather, 1234);
  assert_int_equal(open_batch(t, 1, NULL), 1234);
}

int main(void)
{
  stage_seed_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(words_of_any_order_answer_in_the_records_order, setup, teardown),
      cmocka_unit_test_setup_teardown(ranges_of_a_part_come_in_any_order, setup, teardown),
      cmocka_unit_test_setup_teardown(late_and_double_words_find_nobody, setup, teardown),
      cmocka_unit_test_setup_teardown(each_verdict_is_counted_as_what_it_is, setup, teardown),
      cmocka_unit_test_setup_teardown(the_times_of_a_batch_are_counted, setup, teardown),
      cmocka_unit_test_setup_teardown(a_full_table_takes_no_more, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
