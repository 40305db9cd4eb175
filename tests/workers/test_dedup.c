/* workers/dedup.c on a real store: first, same again, and other content, within a run, within a transaction and across transactions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "core/scratch.h"
#include "proto/batch.h"
#include "proto/wire.pb-c.h"
#include "workers/dedup.h"
#include "workers/records.h"

#define SHARD 0u
#define ACCEPTED MUSTER__V1__VERDICT__VERDICT_ACCEPTED
#define DUPLICATE MUSTER__V1__VERDICT__VERDICT_DUPLICATE
#define CONFLICT MUSTER__V1__VERDICT__VERDICT_CONFLICT

static char directory[SCRATCH_BYTES];
static struct store *store;
static const struct store_receipt receipt = {.submitter = 5, .received_us = 1700000000000000};

static int open_with_mask(uint64_t fingerprint_mask)
{
  const struct store_options o = {
      .path = directory,
      .shard = SHARD,
      .shards = 1,
      .node_id = {1},
      .map_bytes = UINT64_C(1) << 30,
      .quarantine_records = 100,
      .quarantine_bytes = 1 << 20,
      .fingerprint_mask = fingerprint_mask,
  };
  struct failure failure = FAILURE_NONE;
  scratch_make(directory);
  int status = store_open(&store, &o, &failure);
  if (status != MUSTER_OK)
    print_error("%s\n", failure.text);
  return status;
}

static int setup(void **state) { return (void)state, open_with_mask(0); }
static int setup_colliding(void **state) { return (void)state, open_with_mask(1); }
static int teardown(void **state)
{
  (void)state;
  store_close(store);
  scratch_remove(directory);
  return 0;
}

struct expected {
  struct record record;
  uint32_t verdict;
  uint64_t sequence;
};

/* One transaction whose records are settled in runs of the given length. */
static void settle(const struct expected *expected, size_t count, size_t run_length)
{
  struct dedup_candidate run[8];
  uint64_t words[8] = {0};
  struct failure failure = FAILURE_NONE;
  assert_int_equal(store_begin(store), MUSTER_OK);
  for (size_t start = 0; start < count; start += run_length) {
    size_t n = count - start < run_length ? count - start : run_length;
    for (size_t i = 0; i < n; i++) {
      struct scan_fault fault;
      assert_true(scan_encounter(&run[i].view, expected[start + i].record.bytes, expected[start + i].record.size, &fault));
      run[i].receipt = &receipt;
      run[i].word = &words[start + i];
      dedup_prepare(store, &run[i]);
    }
    assert_int_equal(dedup_settle(store, SHARD, run, n), MUSTER_OK);
  }
  assert_int_equal(store_commit(store, &failure), MUSTER_OK);
  for (size_t i = 0; i < count; i++)
    if (words[i] != verdict_durable(expected[i].verdict, SHARD, expected[i].sequence))
      fail_msg("record %zu: verdict %u sequence %" PRIu64 ", not %u and %" PRIu64, i, verdict_kind(words[i]), verdict_sequence(words[i]),
               expected[i].verdict, expected[i].sequence);
}
#define SETTLE(run_length, ...)                                                                                                            \
  settle((const struct expected[]){__VA_ARGS__}, sizeof((const struct expected[]){__VA_ARGS__}) / sizeof(struct expected), run_length)

static void test_first_copies_count_up(void **state)
{
  (void)state;
  SETTLE(8, {record_make(1, 0), ACCEPTED, 1}, {record_make(2, 0), ACCEPTED, 2}, {record_make(3, 0), ACCEPTED, 3});
  SETTLE(8, {record_make(4, 0), ACCEPTED, 4});
}

static void test_same_again(void **state)
{
  (void)state;
  SETTLE(8, {record_make(1, 0), ACCEPTED, 1}, {record_make(2, 0), ACCEPTED, 2}, {record_make(1, 0), DUPLICATE, 1},
         {record_make(1, 0), DUPLICATE, 1});
  SETTLE(8, {record_make(2, 0), DUPLICATE, 2}, {record_make(3, 0), ACCEPTED, 3}, {record_make(2, 0), DUPLICATE, 2});
}

static void test_same_again_in_another_run(void **state)
{
  (void)state;
  SETTLE(1, {record_make(1, 0), ACCEPTED, 1}, {record_make(1, 0), DUPLICATE, 1}, {record_make(1, 1), CONFLICT, 1},
         {record_make(2, 0), ACCEPTED, 2});
}

static void test_same_content_in_other_encoding(void **state)
{
  (void)state;
  SETTLE(8, {record_make(1, 0), ACCEPTED, 1}, {record_turned(record_make(1, 0)), DUPLICATE, 1});
  SETTLE(8, {record_turned(record_make(1, 0)), DUPLICATE, 1}, {record_turned(record_make(2, 0)), ACCEPTED, 2},
         {record_make(2, 0), DUPLICATE, 2});
}

static int take_refused(void *context, const struct store_refused *entry)
{
  struct store_refused *out = context;
  *out = *entry;
  out->bytes = NULL;
  return 0;
}

/* The first copy stands, and what contradicts it is kept for people to judge. */
static void test_other_content(void **state)
{
  struct store_facts facts;
  struct store_reader *reader;
  struct store_refused refused = {.number = 0};
  struct failure failure = FAILURE_NONE;
  (void)state;
  SETTLE(8, {record_make(1, 0), ACCEPTED, 1}, {record_make(1, 9), CONFLICT, 1}, {record_make(1, 0), DUPLICATE, 1});
  SETTLE(8, {record_make(1, 9), CONFLICT, 1}, {record_make(1, 0), DUPLICATE, 1});
  store_facts(store, &facts);
  assert_int_equal(facts.records, 1);
  assert_int_equal(facts.quarantined, 1);
  store_close(store); /* a process has a shard open once */
  store = NULL;
  assert_int_equal(store_reader_open(&reader, directory, &failure), MUSTER_OK);
  assert_int_equal(store_reader_quarantine(reader, take_refused, &refused, &failure), MUSTER_OK);
  store_reader_close(reader);
  assert_int_equal(refused.reason, MUSTER__V1__REASON__REASON_CONFLICT);
  assert_int_equal(refused.submitter, receipt.submitter);
  assert_int_equal(refused.first_us, receipt.received_us);
  assert_int_equal(refused.size, record_make(1, 9).size);
  assert_int_equal(refused.times, 2);
}

/* With one bit of fingerprint every second id is a false hit; the full ids keep them apart. */
static void test_colliding_fingerprints(void **state)
{
  struct store_facts facts;
  (void)state;
  SETTLE(3, {record_make(1, 0), ACCEPTED, 1}, {record_make(2, 0), ACCEPTED, 2}, {record_make(3, 0), ACCEPTED, 3},
         {record_make(4, 0), ACCEPTED, 4}, {record_make(2, 0), DUPLICATE, 2});
  SETTLE(3, {record_make(4, 0), DUPLICATE, 4}, {record_make(3, 1), CONFLICT, 3}, {record_make(5, 0), ACCEPTED, 5});
  store_facts(store, &facts);
  assert_true(facts.fingerprint_false > 0);
}

/* A store that takes no more is an error of the transaction, never a verdict. */
static void test_full_block_is_an_error(void **state)
{
  uint64_t word = 0;
  (void)state;
  assert_int_equal(store_begin(store), MUSTER_OK);
  int status = MUSTER_OK;
  uint64_t accepted = 0;
  for (uint64_t number = 1; status == MUSTER_OK && number <= LIMIT_COMMIT_RECORDS + 1; number++) {
    struct record r = record_make(number, 0);
    struct dedup_candidate c = {.receipt = &receipt, .word = &word};
    struct scan_fault fault;
    assert_true(scan_encounter(&c.view, r.bytes, r.size, &fault));
    dedup_prepare(store, &c);
    word = 0;
    status = dedup_settle(store, SHARD, &c, 1);
    accepted += verdict_kind(word) == ACCEPTED;
  }
  assert_true(status < 0);
  assert_int_equal(word, 0);
  assert_int_equal(accepted, LIMIT_COMMIT_RECORDS);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_first_copies_count_up, setup, teardown),
      cmocka_unit_test_setup_teardown(test_same_again, setup, teardown),
      cmocka_unit_test_setup_teardown(test_same_again_in_another_run, setup, teardown),
      cmocka_unit_test_setup_teardown(test_same_content_in_other_encoding, setup, teardown),
      cmocka_unit_test_setup_teardown(test_other_content, setup, teardown),
      cmocka_unit_test_setup_teardown(test_colliding_fingerprints, setup_colliding, teardown),
      cmocka_unit_test_setup_teardown(test_full_block_is_an_error, setup, teardown),
  };
  return cmocka_run_group_tests_name("dedup", tests, NULL, NULL);
}
