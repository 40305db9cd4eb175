/* The quarantine: the same bytes are kept once and counted, a quota bounds each submitter, and what is kept comes back whole. */
#include "damage.h"
#include "proto/wire.pb-c.h"
#include "store/writer.h"

#define KILLED MUSTER__V1__REASON__REASON_KILLED_WORKER

static void refuse(struct store *s, const void *bytes, size_t size, uint32_t submitter, int64_t received_us, uint32_t reason)
{
  const struct store_receipt receipt = {.submitter = submitter, .received_us = received_us};
  store_quarantine(s, bytes, size, reason, reason + 1, &receipt);
}

static void commit(struct store *s)
{
  struct failure failure = FAILURE_NONE;
  assert_int_equal(store_commit(s, &failure), MUSTER_OK);
}

struct kept {
  uint64_t count, bytes, numbers;
  struct store_refused last;
  uint8_t first_byte;
};

static int gather(void *context, const struct store_refused *entry)
{
  struct kept *k = context;
  k->count++;
  k->bytes += entry->size;
  k->numbers ^= fixture_mix(entry->number);
  k->last = *entry;
  k->first_byte = entry->size ? entry->bytes[0] : 0;
  for (uint32_t i = 1; i < entry->size; i++)
    assert_true(entry->bytes[i] == k->first_byte || entry->size == 8);
  return 0;
}

static void list(const struct fixture *x, struct kept *k)
{
  struct store_reader *r;
  struct failure failure = FAILURE_NONE;
  memset(k, 0, sizeof *k);
  assert_int_equal(store_reader_open(&r, x->path, &failure), MUSTER_OK);
  assert_int_equal(store_reader_quarantine(r, gather, k, &failure), MUSTER_OK);
  struct store_facts facts;
  store_reader_facts(r, &facts);
  assert_int_equal(facts.quarantined, k->count);
  store_reader_close(r);
}

static void the_same_bytes_are_one_entry(void **state)
{
  struct fixture *x = *state;
  struct store_facts facts;
  struct kept k;
  struct store *s = fixture_open(x);
  for (int round = 0; round < 4; round++) {
    assert_int_equal(store_begin(s), MUSTER_OK);
    for (int i = 0; i < 5; i++)
      refuse(s, "zzzz", 4, 9, 1000 + round, 10 + (uint32_t)round);
    commit(s);
  }
  store_facts(s, &facts);
  assert_int_equal(facts.quarantined, 1);
  assert_int_equal(facts.records, 0);
  store_close(s);
  list(x, &k);
  assert_int_equal(k.count, 1);
  assert_int_equal(k.first_byte, 'z');
  assert_int_equal(k.last.number, 1);
  assert_int_equal(k.last.times, 20);
  assert_int_equal(k.last.submitter, 9);
  assert_int_equal(k.last.first_us, 1000);
  assert_int_equal(k.last.last_us, 1003);
  assert_int_equal(k.last.reason, 13);
  assert_int_equal(k.last.field, 14);
  fixture_verify_clean(x, 0);
}

static void submitters_have_entries_of_their_own(void **state)
{
  struct fixture *x = *state;
  struct kept k;
  struct store *s = fixture_open(x);
  assert_int_equal(store_begin(s), MUSTER_OK);
  for (uint32_t submitter = 0; submitter < 300; submitter++)
    refuse(s, "yy", 2, submitter, 5, 1);
  refuse(s, "", 0, 0, 5, 1);
  commit(s);
  store_close(s);
  list(x, &k);
  assert_int_equal(k.count, 301);
  fixture_verify_clean(x, 0);
}

static void a_quota_of_entries_bounds_a_submitter(void **state)
{
  struct fixture *x = *state;
  struct store_facts facts;
  struct kept k;
  x->options.quarantine_records = 50;
  struct store *s = fixture_open(x);
  for (uint64_t round = 0; round < 4; round++) {
    assert_int_equal(store_begin(s), MUSTER_OK);
    for (uint64_t i = 0; i < 20; i++)
      refuse(s, &(uint64_t){round * 20 + i}, 8, 3, 1, 1);
    refuse(s, &(uint64_t){round}, 8, 4, 1, 1);
    commit(s);
  }
  store_facts(s, &facts);
  assert_int_equal(facts.quarantined, 54);
  assert_int_equal(facts.quarantine_overflow, 30);
  /* What is kept goes on being counted past the quota. */
  assert_int_equal(store_begin(s), MUSTER_OK);
  refuse(s, &(uint64_t){0}, 8, 3, 77, 1);
  commit(s);
  store_close(s);
  list(x, &k);
  assert_int_equal(k.count, 54);
  fixture_verify_clean(x, 0);
  s = fixture_open(x);
  assert_int_equal(store_begin(s), MUSTER_OK);
  refuse(s, "not there yet", 8, 3, 77, 1);
  commit(s);
  store_facts(s, &facts);
  assert_int_equal(facts.quarantined, 54);
  assert_int_equal(facts.quarantine_overflow, 1);
  store_close(s);
}

static void a_quota_of_bytes_bounds_a_submitter(void **state)
{
  struct fixture *x = *state;
  struct store_facts facts;
  struct kept k;
  static uint8_t bytes[100000];
  x->options.quarantine_bytes = 350000;
  struct store *s = fixture_open(x);
  assert_int_equal(store_begin(s), MUSTER_OK);
  for (int i = 0; i < 6; i++) {
    memset(bytes, 'a' + i, sizeof bytes);
    refuse(s, bytes, sizeof bytes, 1, 1, 1);
  }
  memset(bytes, 'x', sizeof bytes);
  refuse(s, bytes, 50000, 1, 1, 1); /* just fits */
  refuse(s, bytes, 1, 1, 1, 1);
  commit(s);
  store_facts(s, &facts);
  assert_int_equal(facts.quarantined, 4);
  assert_int_equal(facts.quarantine_overflow, 4);
  store_close(s);
  list(x, &k);
  assert_int_equal(k.bytes, 350000);
  fixture_verify_clean(x, 0);
}

static void a_transaction_of_overflow_alone_writes_nothing(void **state)
{
  struct fixture *x = *state;
  MDB_envinfo before, after;
  x->options.quarantine_records = 0;
  struct store *s = fixture_open(x);
  assert_int_equal(mdb_env_info(s->env.lmdb, &before), 0);
  assert_int_equal(store_begin(s), MUSTER_OK);
  for (uint64_t i = 0; i < 100; i++)
    refuse(s, &i, 8, 3, 1, 1);
  commit(s);
  assert_int_equal(mdb_env_info(s->env.lmdb, &after), 0);
  assert_int_equal(before.me_last_txnid, after.me_last_txnid);
  store_close(s);
}

/* More than one slice of a reader, and more than one commit should ever have of them. */
static void ten_thousand_large_and_small_entries_come_back(void **state)
{
  struct fixture *x = *state;
  struct kept k;
  static uint8_t bytes[1 << 20];
  uint64_t numbers = 0;
  x->options.quarantine_records = 20000;
  x->options.quarantine_bytes = 64 << 20;
  struct store *s = fixture_open(x);
  assert_int_equal(store_begin(s), MUSTER_OK);
  for (uint64_t i = 0; i < 10000; i++)
    refuse(s, &i, 8, 1, 1, 1);
  for (int i = 0; i < 12; i++) {
    memset(bytes, 'a' + i, sizeof bytes);
    refuse(s, bytes, sizeof bytes, 2, 1, 5);
  }
  fixture_put(s, 0, NULL);
  commit(s);
  store_close(s);
  for (uint64_t number = 1; number <= 10012; number++)
    numbers ^= fixture_mix(number);
  list(x, &k);
  assert_int_equal(k.count, 10012);
  assert_int_equal(k.bytes, 80000 + (UINT64_C(12) << 20));
  assert_int_equal(k.numbers, numbers);
  fixture_verify_clean(x, 1);
}

static int refuses_and_ends(struct fixture *x)
{
  struct store *s = fixture_open(x);
  assert_int_equal(store_begin(s), MUSTER_OK);
  refuse(s, "aa", 2, 1, 1, 1);
  commit(s);
  assert_int_equal(store_begin(s), MUSTER_OK);
  refuse(s, "bb", 2, 1, 1, 1);
  return 7;
}

static void an_end_before_the_commit_keeps_the_former_entries(void **state)
{
  struct fixture *x = *state;
  struct kept k;
  assert_int_equal(fixture_child(x, refuses_and_ends), 7);
  list(x, &k);
  assert_int_equal(k.count, 1);
  assert_int_equal(k.first_byte, 'a');
  fixture_verify_clean(x, 0);
}

/* The header and the bytes: nothing of an entry changes unseen, and a damaged one is not counted on. */
static void a_flipped_byte_anywhere_in_an_entry_is_told(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  assert_int_equal(store_begin(s), MUSTER_OK);
  refuse(s, "zzzz", 4, 9, 1000, 10);
  commit(s);
  store_close(s);
  const size_t size = sizeof(struct store_refused_header) + 4;
  for (size_t byte = 0; byte < size; byte++) {
    struct fixture_faults faults;
    struct store_verify_result result;
    struct store_reader *r;
    struct kept k = {0};
    struct failure failure = FAILURE_NONE;
    damage_flip(x, DAMAGE_QUARANTINE, 0, byte, (uint8_t)(1u << byte % 8));
    fixture_verify(x, &faults, &result);
    assert_int_equal(faults.count, 1);
    assert_non_null(strstr(faults.first, "quarantine entry"));
    assert_int_equal(store_reader_open(&r, x->path, &failure), MUSTER_OK);
    assert_int_equal(store_reader_quarantine(r, gather, &k, &failure), MUSTER_ERR_CORRUPT);
    assert_int_equal(k.count, 0);
    store_reader_close(r);
    s = fixture_open(x);
    assert_int_equal(store_begin(s), MUSTER_OK);
    refuse(s, "zzzz", 4, 9, 2000, 11);
    assert_int_equal(store_commit(s, &failure), MUSTER_ERR_CORRUPT);
    store_close(s);
    damage_flip(x, DAMAGE_QUARANTINE, 0, byte, (uint8_t)(1u << byte % 8));
  }
  fixture_verify_clean(x, 0);
}

/* A quota that is full keeps no record; one that kills is kept all the same, up to a bound, or it would not be known after the next death. */
static void what_kills_is_kept_past_the_quota_and_known(void **state)
{
  struct fixture *x = *state;
  struct failure failure = FAILURE_NONE;
  struct store_facts facts;
  x->options.quarantine_records = 10;
  struct store *s = fixture_open(x);
  assert_int_equal(store_begin(s), MUSTER_OK);
  assert_false(store_is_deadly(s, (const uint8_t *)"dead0000", 8, 9));
  for (uint64_t i = 0; i < 12; i++)
    refuse(s, &i, 8, 9, 1, 1);
  for (uint64_t i = 100; i < 100 + STORE_QUOTA_DEADLY + 5; i++)
    refuse(s, &i, 8, 9, 1, KILLED);
  commit(s);
  store_facts(s, &facts);
  assert_int_equal(facts.quarantined, 10 + STORE_QUOTA_DEADLY);
  assert_int_equal(facts.quarantine_overflow, 2 + 5);
  for (unsigned life = 0; life < 3; life++) {
    for (uint64_t i = 0; i < 12; i++)
      assert_false(store_is_deadly(s, (uint8_t *)&i, 8, 9));
    uint32_t known = 0;
    for (uint64_t i = 100; i < 100 + STORE_QUOTA_DEADLY + 5; i++) {
      known += store_is_deadly(s, (uint8_t *)&i, 8, 9);
      assert_false(store_is_deadly(s, (uint8_t *)&i, 8, 8)); /* of another submitter */
      assert_false(store_is_deadly(s, (uint8_t *)&i, 7, 9));
    }
    assert_int_equal(known, life == 0 ? STORE_QUOTA_DEADLY + 5 : life == 1 ? STORE_QUOTA_DEADLY : 0);
    store_close(s);
    s = fixture_open(x);
    if (life == 0)
      assert_int_equal(store_recall_deadly(s, &failure), MUSTER_OK);
  }
  store_close(s);
  fixture_verify_clean(x, 0);
}

static void the_set_of_what_kills_is_bounded(void **state)
{
  struct fixture *x = *state;
  struct failure failure = FAILURE_NONE;
  x->options.quarantine_records = 3000;
  struct store *s = fixture_open(x);
  for (unsigned life = 0; life < 2; life++) {
    assert_int_equal(store_begin(s), MUSTER_OK);
    for (uint64_t i = 0; i < 2000; i++)
      refuse(s, &i, 8, 9, 1, KILLED);
    commit(s);
    uint32_t known = 0;
    for (uint64_t i = 0; i < 2000; i++)
      known += store_is_deadly(s, (uint8_t *)&i, 8, 9);
    assert_int_equal(known, STORE_DEADLY_MAX);
    store_close(s);
    s = fixture_open(x);
    assert_int_equal(store_recall_deadly(s, &failure), MUSTER_OK);
    assert_int_equal(s->deadly.count, STORE_DEADLY_MAX);
  }
  store_close(s);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(what_kills_is_kept_past_the_quota_and_known, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(the_set_of_what_kills_is_bounded, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(the_same_bytes_are_one_entry, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(submitters_have_entries_of_their_own, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_quota_of_entries_bounds_a_submitter, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_quota_of_bytes_bounds_a_submitter, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_transaction_of_overflow_alone_writes_nothing, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(ten_thousand_large_and_small_entries_come_back, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(an_end_before_the_commit_keeps_the_former_entries, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_flipped_byte_anywhere_in_an_entry_is_told, fixture_setup, fixture_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
