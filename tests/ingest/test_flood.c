/* ingest/flood.c: who sends more than can be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ingest/flood.h"

static struct ingest_flood f;

static int begin(void **state)
{
  (void)state;
  f = (struct ingest_flood){0};
  return 0;
}

/* How many messages of the peer until its connection is to be ended; 0: not within the count. */
static uint32_t send(uint32_t peer, int32_t connection, uint64_t drains, uint32_t count)
{
  for (uint32_t i = 1; i <= count; i++)
    if (ingest_flood_excess(&f, peer, connection, drains))
      return i;
  return 0;
}

static void one_that_is_kept_up_with_is_only_refused(void **state)
{
  (void)state;
  for (uint64_t drains = 1; drains < 1000; drains++)
    assert_int_equal(send(7, 30, drains, INGEST_FLOOD_EXCESS - 1), 0);
  assert_false(ingest_flood_is_cut(&f, 7));
  assert_false(ingest_flood_is_high(&f, 999));
}

static void one_that_is_not_is_ended_once(void **state)
{
  (void)state;
  assert_int_equal(send(7, 30, 1, 2 * INGEST_FLOOD_EXCESS), INGEST_FLOOD_EXCESS);
  assert_true(ingest_flood_is_cut(&f, 7));
  assert_int_equal(send(7, 30, 1, 2 * INGEST_FLOOD_EXCESS), 0);
  assert_int_equal(send(7, 30, 2, 2 * INGEST_FLOOD_EXCESS), 0);
  assert_false(ingest_flood_is_cut(&f, 8));
  assert_false(ingest_flood_is_cut(&f, 7 + INGEST_FLOOD_ENTRIES));
}

/* What it sent may be heard after its connection has ended, and the number is another's by then. */
static void one_that_has_left_ends_nobody(void **state)
{
  (void)state;
  assert_int_equal(send(7, 30, 1, 100), 0);
  ingest_flood_gone(&f, 31);
  ingest_flood_gone(&f, 30);
  assert_int_equal(send(7, 30, 1, 2 * INGEST_FLOOD_EXCESS), 0);
  assert_true(ingest_flood_is_cut(&f, 7)); /* and is not worth a look */
}

static void many_that_are_not_kept_up_with_are_judged_strictly(void **state)
{
  (void)state;
  uint32_t peers = INGEST_FLOOD_TOTAL / 1024;
  for (uint32_t peer = 0; peer < peers; peer++)
    assert_int_equal(send(100 + peer, (int32_t)(10 + peer), 1, 1024), peer + 1 < peers ? 0 : 1024);
  assert_true(ingest_flood_is_high(&f, 1));
  assert_int_equal(send(500, 600, 1, 1000), INGEST_FLOOD_STRICT);
  assert_false(ingest_flood_is_high(&f, 2));
  assert_int_equal(send(501, 601, 2, 1000), 0);
}

static void identities_of_neighbours_do_not_meet(void **state)
{
  (void)state;
  uint8_t identity[5] = {0, 0x6b, 0x8b, 0x45, 0x00};
  uint32_t first = ingest_flood_peer(identity, 5);
  for (unsigned i = 1; i < 2048; i++) {
    identity[4] = (uint8_t)i;
    identity[3] = (uint8_t)(0x45 + (i >> 8));
    assert_int_not_equal(ingest_flood_peer(identity, 5) % INGEST_FLOOD_ENTRIES, first % INGEST_FLOOD_ENTRIES);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(one_that_is_kept_up_with_is_only_refused, begin),
      cmocka_unit_test_setup(one_that_is_not_is_ended_once, begin),
      cmocka_unit_test_setup(one_that_has_left_ends_nobody, begin),
      cmocka_unit_test_setup(many_that_are_not_kept_up_with_are_judged_strictly, begin),
      cmocka_unit_test_setup(identities_of_neighbours_do_not_meet, begin),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
