/* Restores: points in time, and how one that was killed is gone on with. */
#include "copies.h"

static void a_point_in_time(void **state)
{
  struct world *w = *state;
  fill(w, 0, RECORDS, true);
  run_well(w, SMALL_SEGMENT);
  for (uint64_t records = 0; records <= RECORDS;
       records += records <= 2 * PER_COMMIT ? 1 : 5) /* every place of two blocks, some of the others */
    restore_prefix(w, records, records % 2);
  for (int64_t t = 0; t < 7; t++) { /* record n was received at 1000 + n / 10 */
    struct failure failure = FAILURE_NONE;
    const struct store_backup_until until = {.records = UINT64_MAX, .received_us = 1000 + t};
    uint64_t restored, expected = t * 10 + 10 < (int64_t)RECORDS ? (uint64_t)t * 10 + 10 : RECORDS;
    renew_target(w);
    assert_int_equal(restore(w, &until, &restored, &failure), MUSTER_OK);
    assert_int_equal(restored, expected);
    expect_same(w, expected, false);
  }
}

static void a_restore_is_gone_on_with(void **state)
{
  struct world *w = *state;
  struct failure failure = FAILURE_NONE;
  uint64_t restored;
  fill(w, 0, RECORDS, true);
  run_well(w, SMALL_SEGMENT);
  for (uint64_t first = 0; first <= 21; first += PER_COMMIT) { /* what a killed one has committed: whole blocks */
    restore_prefix(w, first, true);
    restore_well(w, RECORDS);
  }
  restore_prefix(w, 10, true); /* a block that was cut is of another restore */
  assert_int_equal(restore(w, &whole, &restored, &failure), MUSTER_ERR_CONFIG);
  const struct store_backup_until less = {.records = 5, .received_us = INT64_MAX};
  assert_int_equal(restore(w, &less, &restored, &failure), MUSTER_ERR_CONFIG);
  fixture_verify_clean(&w->to, 10);
  renew_target(w); /* and so is a store of other records */
  struct store *s = fixture_open(&w->to);
  store_close(s);
  assert_int_equal(restore(w, &whole, &restored, &failure), MUSTER_ERR_CONFIG);
  fixture_verify_clean(&w->to, 0);
  renew_target(w); /* even one of this node, and as long */
  w->to.options.node_id[0] = 7;
  s = fixture_open(&w->to);
  fixture_fill(s, 500, 500 + RECORDS, PER_COMMIT);
  store_close(s);
  assert_int_equal(restore(w, &whole, &restored, &failure), MUSTER_ERR_CONFIG);
  fixture_verify_clean(&w->to, RECORDS);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      WORLD_TEST(a_point_in_time),
      WORLD_TEST(a_restore_is_gone_on_with),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
