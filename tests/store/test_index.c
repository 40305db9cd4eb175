/* The index against a plain reference: every entry is found, nothing else is, through growth, forced collisions and runs that pass a
 * table's end. */
#include "fixture.h"
#include "store/index.h"

#define SEED UINT64_C(20210304)

static struct store_index x; /* 32 KiB of table heads */

static int setup(void **state)
{
  (void)state;
  store_index_init(&x);
  return 0;
}

static int teardown(void **state)
{
  (void)state;
  store_index_finish(&x);
  return 0;
}

static void expect_only(uint64_t fingerprint, uint64_t sequence)
{
  struct store_index_probe p = store_index_probe(&x, fingerprint);
  assert_int_equal(store_index_next(&p), sequence);
  if (sequence)
    assert_int_equal(store_index_next(&p), 0);
}

static uint64_t used_total(void)
{
  uint64_t used = 0;
  for (unsigned i = 0; i < STORE_INDEX_TABLES; i++)
    used += x.table[i].used;
  return used;
}

/* What a search relies on: ascending fingerprints, no entry before its home, no gap between home and entry, the last slot empty. */
static void expect_order(const struct store_index_table *t)
{
  const struct store_index_slot *last = NULL;
  uint32_t gap = 0, used = 0;
  for (uint32_t i = 0; i < t->total; i++) {
    const struct store_index_slot *s = &t->slots[i];
    if (!s->sequence) {
      gap = i + 1;
      continue;
    }
    const uint32_t home = store_index_home(s->fingerprint, t->capacity);
    assert_true(home <= i && home >= gap);
    assert_true(!last || last->fingerprint <= s->fingerprint);
    last = s;
    used++;
  }
  assert_int_equal(used, t->used);
  assert_int_equal(t->slots[t->total - 1].sequence, 0);
}

static void an_empty_index_finds_nothing(void **state)
{
  (void)state;
  store_index_prefetch(&x, 0);
  expect_only(0, 0);
  expect_only(UINT64_MAX, 0);
  assert_int_equal(x.bytes, 0);
}

static void a_million_entries_are_each_found_once(void **state)
{
  (void)state;
  const uint64_t count = 1000000;
  print_message("seed %llu\n", (unsigned long long)SEED);
  for (uint64_t n = 0; n < count; n++)
    assert_int_equal(store_index_insert(&x, fixture_mix(SEED + n), n + 1), MUSTER_OK);
  for (uint64_t n = 0; n < count; n++)
    expect_only(fixture_mix(SEED + n), n + 1);
  for (uint64_t n = count; n < 2 * count; n++)
    expect_only(fixture_mix(SEED + n), 0);
  assert_int_equal(used_total(), count);
  assert_true(x.growths > STORE_INDEX_TABLES);
  for (unsigned i = 0; i < STORE_INDEX_TABLES; i++)
    expect_order(&x.table[i]);
}

/* Past a million entries no moment needs more than 32 bytes an entry; a table grows in its place, so there is no second copy to add. */
static void memory_stays_within_32_bytes_an_entry(void **state)
{
  (void)state;
  for (uint64_t n = 0; n < 3000000; n++) {
    assert_int_equal(store_index_insert(&x, fixture_mix(SEED + n), n + 1), MUSTER_OK);
    if (n >= 1000000)
      assert_true(x.bytes <= 32 * n);
  }
}

static void equal_fingerprints_are_all_yielded_in_their_order(void **state)
{
  (void)state;
  static const uint64_t masks[] = {0, UINT64_MAX, 3, UINT64_C(0xc000000000000000), UINT64_C(0x003f000000000000), 0xff};
  for (unsigned m = 0; m < sizeof masks / sizeof masks[0]; m++) {
    const uint64_t mask = masks[m], count = 2000;
    store_index_finish(&x);
    for (uint64_t n = 0; n < count; n++)
      assert_int_equal(store_index_insert(&x, fixture_mix(SEED + n) & mask, n + 1), MUSTER_OK);
    for (uint64_t n = 0; n < count; n++) {
      struct store_index_probe p = store_index_probe(&x, fixture_mix(SEED + n) & mask);
      for (uint64_t other = 0; other < count; other++)
        if ((fixture_mix(SEED + other) & mask) == (fixture_mix(SEED + n) & mask))
          assert_int_equal(store_index_next(&p), other + 1);
      assert_int_equal(store_index_next(&p), 0);
      n += mask == UINT64_MAX ? 0 : 37;
    }
    for (unsigned i = 0; i < STORE_INDEX_TABLES; i++)
      if (x.table[i].slots)
        expect_order(&x.table[i]);
  }
}

/* All homes at the very end of a table: entries stand behind it, and growing makes room for them. */
static void runs_may_pass_the_end_of_a_table(void **state)
{
  (void)state;
  const uint64_t count = 20000;
  for (uint64_t n = 0; n < count; n++)
    assert_int_equal(store_index_insert(&x, UINT64_MAX - n % 7, n + 1), MUSTER_OK);
  expect_order(&x.table[STORE_INDEX_TABLES - 1]);
  uint64_t found = 0;
  for (uint64_t k = 0; k < 7; k++) {
    struct store_index_probe p = store_index_probe(&x, UINT64_MAX - k);
    for (uint64_t sequence; (sequence = store_index_next(&p)); found++)
      assert_int_equal((sequence - 1) % 7, k);
  }
  assert_int_equal(found, count);
  expect_only(UINT64_MAX - 7, 0);
}

/* Tables fill evenly; were they of one size they would all grow in the same two hundredths. */
static void tables_do_not_grow_together(void **state)
{
  (void)state;
  uint64_t most = 0, growths = 0, n = 0;
  for (; n < 400000; n++)
    assert_int_equal(store_index_insert(&x, fixture_mix(SEED + n), n + 1), MUSTER_OK);
  for (uint64_t begin = x.growths, end; n < 600000; begin = x.growths) { /* more than one growth of each */
    for (end = n + 4000; n < end; n++)
      assert_int_equal(store_index_insert(&x, fixture_mix(SEED + n), n + 1), MUSTER_OK);
    most = x.growths - begin > most ? x.growths - begin : most;
    growths += x.growths - begin;
  }
  assert_in_range(growths, STORE_INDEX_TABLES * 9 / 10, STORE_INDEX_TABLES * 2);
  assert_in_range(most, 1, STORE_INDEX_TABLES / 10);
}

static void a_reserved_index_hardly_grows(void **state)
{
  (void)state;
  assert_int_equal(store_index_reserve(&x, 500000), MUSTER_OK);
  const uint64_t bytes = x.bytes;
  for (uint64_t n = 0; n < 500000; n++)
    assert_int_equal(store_index_insert(&x, fixture_mix(SEED + n), n + 1), MUSTER_OK);
  assert_true(x.growths < STORE_INDEX_TABLES / 20); /* the smallest of them, where more came than to others */
  assert_true(x.bytes < bytes + bytes / 50);
  assert_true(x.bytes < 500000 * STORE_VERIFY_RECORD_BYTES + STORE_INDEX_TABLES * UINT64_C(4096));
  for (uint64_t n = 0; n < 500000; n += 11)
    expect_only(fixture_mix(SEED + n), n + 1);
}

/* A bounded index takes as many entries as it said within its bytes; what comes after that costs a page a table at the most. */
static void a_bound_holds(void **state)
{
  (void)state;
  static const uint64_t bounds[] = {4 << 20, 5 << 20, 20 << 20, 48 << 20};
  for (unsigned b = 0; b < sizeof bounds / sizeof bounds[0]; b++) {
    store_index_finish(&x);
    store_index_init(&x);
    const uint64_t most = store_index_bound(&x, bounds[b]), floor = bounds[b] / (4 << 20) * (4 << 20);
    assert_true(most >= floor / 24 && most <= floor / 20);
    assert_true(store_index_bytes_needed(most) <= bounds[b]);
    assert_true(store_index_bytes_needed(most + most / 10) > floor);
    for (uint64_t n = 0; n < most; n++)
      assert_int_equal(store_index_insert(&x, fixture_mix(SEED + n), n + 1), MUSTER_OK);
    assert_true(x.bytes <= floor + floor / 8);
    for (uint64_t n = most; n < most + LIMIT_COMMIT_RECORDS; n++)
      assert_int_equal(store_index_insert(&x, fixture_mix(SEED + n), n + 1), MUSTER_OK);
    assert_true(x.bytes <= floor + STORE_INDEX_TABLES * UINT64_C(4096));
    for (uint64_t n = 0; n < most; n += 7)
      expect_only(fixture_mix(SEED + n), n + 1);
    for (unsigned i = 0; i < STORE_INDEX_TABLES; i++)
      expect_order(&x.table[i]);
    store_index_finish(&x);
    assert_int_equal(store_index_reserve(&x, most), MUSTER_OK); /* the bound stays */
    assert_true(x.bytes <= floor);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(an_empty_index_finds_nothing, setup, teardown),
      cmocka_unit_test_setup_teardown(a_million_entries_are_each_found_once, setup, teardown),
      cmocka_unit_test_setup_teardown(memory_stays_within_32_bytes_an_entry, setup, teardown),
      cmocka_unit_test_setup_teardown(equal_fingerprints_are_all_yielded_in_their_order, setup, teardown),
      cmocka_unit_test_setup_teardown(runs_may_pass_the_end_of_a_table, setup, teardown),
      cmocka_unit_test_setup_teardown(tables_do_not_grow_together, setup, teardown),
      cmocka_unit_test_setup_teardown(a_reserved_index_hardly_grows, setup, teardown),
      cmocka_unit_test_setup_teardown(a_bound_holds, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
