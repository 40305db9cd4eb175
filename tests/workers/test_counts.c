/* workers/counts.c: every kind of word lands in its counter, reasons only where a word has one, and nothing is left over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/scratch.h"
#include "proto/wire.pb-c.h"
#include "workers/counts.h"

static char directory[SCRATCH_BYTES];
static struct counters *counters;

static int setup(void **state)
{
  struct failure failure = FAILURE_NONE;
  (void)state;
  scratch_make(directory);
  return counters_create(&counters, directory, "worker-0", &failure);
}

static int teardown(void **state)
{
  (void)state;
  counters_destroy(counters);
  scratch_remove(directory);
  return 0;
}

static void expect(enum counter_id id, uint64_t value) { assert_int_equal(counters_get(counters, id), value); }

static void expect_once(const struct counters_snapshot *page, enum histogram_id id, uint64_t value)
{
  assert_int_equal(counters_histogram_count(&page->histogram[id]), 1);
  assert_int_equal(page->histogram[id].sum, value);
}

static void test_every_word_is_counted(void **state)
{
  struct counters_snapshot page;
  struct failure failure = FAILURE_NONE;
  uint64_t words[] = {
      verdict_durable(MUSTER__V1__VERDICT__VERDICT_ACCEPTED, 3, 10), /* its sequence is no reason */
      verdict_durable(MUSTER__V1__VERDICT__VERDICT_ACCEPTED, 3, 11),   verdict_durable(MUSTER__V1__VERDICT__VERDICT_DUPLICATE, 3, 10),
      verdict_durable(MUSTER__V1__VERDICT__VERDICT_CONFLICT, 3, 10),   verdict_refused(MUSTER__V1__VERDICT__VERDICT_INVALID, 3, 10, 1),
      verdict_refused(MUSTER__V1__VERDICT__VERDICT_INVALID, 3, 10, 2), verdict_refused(MUSTER__V1__VERDICT__VERDICT_INVALID, 3, 11, 2),
      verdict_refused(MUSTER__V1__VERDICT__VERDICT_BUSY, 3, 203, 0),   verdict_refused(MUSTER__V1__VERDICT__VERDICT_RETRY, 3, 250, 0),
  };
  struct group g = {.part_count = 2, .record_count = 9, .words = words};
  (void)state;
  const struct counts_commit commit = {.store_records = 9,
                                       .misrouted = 1,
                                       .file_bytes = 5,
                                       .disk_free_bytes = 6,
                                       .decode_ns = 11000,
                                       .dedup_ns = 22000,
                                       .commit_ns = 77000,
                                       .sync_ns = 33000};
  counts_taken(counters, 4, 100);
  counts_taken(counters, 5, 50);
  expect(COUNTER_records_in_flight, 9);
  expect(COUNTER_batches_in_flight, 2);
  expect(COUNTER_received_bytes, 150);
  assert_int_equal(counts_settled(counters, &g, &commit), 2);
  expect(COUNTER_records_received, 9);
  expect(COUNTER_records_accepted, 2);
  expect(COUNTER_records_duplicate, 1);
  expect(COUNTER_records_conflict, 1);
  expect(COUNTER_records_invalid, 3);
  expect(COUNTER_records_handed_back, 2);
  expect(COUNTER_records_in_flight, 0);
  expect(COUNTER_records_misrouted, 1);
  expect(COUNTER_batches_received, 2);
  expect(COUNTER_batches_answered, 2);
  expect(COUNTER_batches_in_flight, 0);
  expect(COUNTER_store_records, 11);
  expect(COUNTER_commits, 1);
  expect(COUNTER_store_bytes, 5);
  expect(COUNTER_disk_free_bytes, 6);
  expect(COUNTER_commit_records, 2);
  assert_int_equal(counters_read(directory, "worker-0", &page, &failure), MUSTER_OK);
  expect_once(&page, HISTOGRAM_group_decode, 11000);
  expect_once(&page, HISTOGRAM_group_dedup, 22000);
  expect_once(&page, HISTOGRAM_group_commit, 77000);
  expect_once(&page, HISTOGRAM_group_sync, 33000);
  expect_once(&page, HISTOGRAM_group_size, 2);
  for (uint32_t reason = 0; reason < COUNTER_REASONS; reason++)
    assert_int_equal(page.reason[COUNTER_RECORDS][reason], reason == 10 ? 2 : reason == 11 || reason == 203 || reason == 250 ? 1 : 0);
}

static void test_nothing_written_is_no_commit(void **state)
{
  uint64_t word = verdict_durable(MUSTER__V1__VERDICT__VERDICT_DUPLICATE, 0, 1);
  struct group g = {.part_count = 1, .record_count = 1, .words = &word};
  struct counters_snapshot page;
  (void)state;
  counts_taken(counters, 1, 1);
  counts_settled(counters, &g, &(struct counts_commit){.decode_ns = 5, .commit_ns = 77});
  expect(COUNTER_commits, 0);
  counts_taken(counters, 1, 1);
  counts_settled(counters, &g, &(struct counts_commit){0}); /* nor was this group looked at: the shard is blocked */
  assert_int_equal(counters_read(directory, "worker-0", &page, NULL), MUSTER_OK);
  expect_once(&page, HISTOGRAM_group_decode, 5);
  expect_once(&page, HISTOGRAM_group_dedup, 0);
  assert_int_equal(counters_histogram_count(&page.histogram[HISTOGRAM_group_commit]), 0);
  assert_int_equal(counters_histogram_count(&page.histogram[HISTOGRAM_group_size]), 0);
}

static void test_gauges_of_the_store(void **state)
{
  const struct store_facts facts = {.records = 1,
                                    .file_bytes = 2,
                                    .map_bytes = 3,
                                    .index_bytes = 4,
                                    .index_growths = 5,
                                    .fingerprint_hits = 6,
                                    .fingerprint_false = 7,
                                    .quarantined = 8,
                                    .quarantine_overflow = 9,
                                    .index_records_max = 12,
                                    .index_slots = 13};
  const struct watermark mark = {.reason = MUSTER__V1__REASON__REASON_BUSY_MEMORY, .free_bytes = 10, .reserve_bytes = 11};
  static const enum counter_id ids[] = {COUNTER_store_records,     COUNTER_store_bytes,        COUNTER_store_map_bytes,
                                        COUNTER_index_bytes,       COUNTER_index_growths,      COUNTER_fingerprint_hits,
                                        COUNTER_fingerprint_false, COUNTER_quarantine_records, COUNTER_quarantine_overflow,
                                        COUNTER_disk_free_bytes,   COUNTER_disk_reserve_bytes, COUNTER_index_records_max,
                                        COUNTER_index_slots,       COUNTER_store_free_bytes};
  (void)state;
  counts_store(counters, &facts, 14, &mark);
  for (uint64_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
    expect(ids[i], i + 1);
  expect(COUNTER_store_blocked, 1);
  expect(COUNTER_index_full, 1);
}

static void test_dropped_answers(void **state)
{
  (void)state;
  counts_answer_dropped(counters);
  counts_answer_dropped(counters);
  expect(COUNTER_answers_dropped, 2);
  counts_answer_dropped(NULL);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_every_word_is_counted, setup, teardown),
      cmocka_unit_test_setup_teardown(test_nothing_written_is_no_commit, setup, teardown),
      cmocka_unit_test_setup_teardown(test_gauges_of_the_store, setup, teardown),
      cmocka_unit_test_setup_teardown(test_dropped_answers, setup, teardown),
  };
  return cmocka_run_group_tests_name("counts", tests, NULL, NULL);
}
