/* ingest/strangers.c: who has to make room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/limits.h"
#include "ingest/strangers.h"

#define MS UINT64_C(1000000)
#define OLD_NS (LIMIT_STRANGER_MS * MS)

enum { MAX = 100, CROWD_MAX = 600, CROWD = 400, SEEDS = 400, SITE = 40 };
#define HERE UINT64_C(0x0100007f)

static struct ingest_strangers s;

static int begin(void **state)
{
  (void)state;
  return ingest_strangers_init(&s, MAX, 1);
}

static int end(void **state)
{
  (void)state;
  ingest_strangers_finish(&s);
  return 0;
}

static void nobody_makes_room_before_its_time(void **state)
{
  const uint64_t begin_ns = 5000 * MS;
  uint32_t seen = 0;
  (void)state;
  assert_int_equal(ingest_strangers_take(&s, begin_ns), 0);
  for (int32_t i = 0; i < 20; i++)
    ingest_strangers_come(&s, 30 - i, HERE, begin_ns + (uint64_t)i);
  assert_int_equal(s.count, 20);
  assert_int_equal(ingest_strangers_take(&s, begin_ns + OLD_NS - 1), 0);
  assert_int_equal(ingest_strangers_take(&s, begin_ns + OLD_NS + 8), 0); /* fewer than half of them have had it */
  for (int32_t one; (one = ingest_strangers_take(&s, begin_ns + OLD_NS + 9)) != 0;) {
    assert_in_range(one, 21, 30);
    assert_false(seen & 1u << one);
    seen |= 1u << one;
  }
  assert_int_equal(s.leaving, 5);
  assert_int_equal(s.count, 15);
}

/* However soon room is taken again. */
static void half_of_them_stay_for_another_while(void **state)
{
  (void)state;
  for (uint64_t now_ns = OLD_NS; now_ns < 20 * OLD_NS; now_ns += OLD_NS) {
    uint32_t took = 0;
    for (int32_t i = 1; i < MAX; i++)
      if (s.entry[i].state == 0)
        ingest_strangers_come(&s, i, HERE, now_ns - OLD_NS);
    for (uint64_t at_ns = now_ns; at_ns < now_ns + OLD_NS; at_ns += MS)
      for (int32_t one; (one = ingest_strangers_take(&s, at_ns)) != 0; took++) {
        ingest_strangers_gone(&s, one);
        ingest_strangers_come(&s, one, HERE, at_ns);
      }
    assert_int_equal(took, MAX / 2);
  }
}

/* What a round did not need is not kept for later, when most of those who are here have not had their time. */
static void a_round_ends_with_its_time(void **state)
{
  (void)state;
  for (int32_t i = 1; i <= 20; i++)
    ingest_strangers_come(&s, i, HERE, 0);
  assert_int_not_equal(ingest_strangers_take(&s, OLD_NS), 0); /* one of the ten that the round may take */
  for (int32_t i = 21; i <= 60; i++)
    ingest_strangers_come(&s, i, HERE, 2 * OLD_NS - 1);
  assert_int_not_equal(ingest_strangers_take(&s, 2 * OLD_NS - 1), 0); /* its time is not over */
  assert_int_equal(ingest_strangers_take(&s, 2 * OLD_NS), 0);
  assert_int_equal(ingest_strangers_take(&s, 3 * OLD_NS - 2), 0);
  assert_int_not_equal(ingest_strangers_take(&s, 3 * OLD_NS - 1), 0); /* everybody is old */
}

static void who_has_spoken_is_none_of_them(void **state)
{
  (void)state;
  for (int32_t i = 1; i <= 6; i++)
    ingest_strangers_come(&s, i, HERE, 0);
  ingest_strangers_speak(&s, 1);
  ingest_strangers_speak(&s, 3);
  ingest_strangers_speak(&s, 3);
  ingest_strangers_gone(&s, 5);
  int32_t one = ingest_strangers_take(&s, 1000 * MS); /* those that are left are among the old ones by now */
  assert_true(one == 2 || one == 4 || one == 6);
  ingest_strangers_speak(&s, one == 2 ? 4 : 2);
  int32_t other = ingest_strangers_take(&s, 2000 * MS);
  assert_int_equal(other, one == 6 ? 4 : 6);
  assert_int_equal(ingest_strangers_take(&s, 3000 * MS), 0);
  assert_int_equal(s.count, 0);
}

static void a_number_is_used_again(void **state)
{
  (void)state;
  ingest_strangers_come(&s, 7, HERE, 0);
  assert_int_equal(ingest_strangers_take(&s, 1000 * MS), 7);
  ingest_strangers_speak(&s, 7); /* what was on the way still */
  assert_int_equal(s.leaving, 1);
  ingest_strangers_gone(&s, 7);
  assert_int_equal(s.leaving, 0);
  ingest_strangers_gone(&s, 7);
  assert_int_equal(s.leaving, 0);
  ingest_strangers_come(&s, 7, HERE, 1900 * MS);
  ingest_strangers_come(&s, 8, HERE, 1900 * MS);
  ingest_strangers_come(&s, 7, HERE, 2000 * MS); /* the end of the one before was not told */
  assert_int_equal(s.count, 2);
  assert_int_equal(ingest_strangers_take(&s, 2000 * MS + OLD_NS - 1), 8);
  assert_int_equal(ingest_strangers_take(&s, 5000 * MS), 7);
  ingest_strangers_come(&s, 7, HERE, 5000 * MS);
  assert_int_equal(s.leaving, 1);
}

static void numbers_beyond_the_table_are_nobody(void **state)
{
  const int32_t beyond[] = {-1, 0, MAX, INT32_MAX};
  (void)state;
  for (unsigned i = 0; i < sizeof beyond / sizeof beyond[0]; i++) {
    ingest_strangers_come(&s, beyond[i], HERE, 0);
    ingest_strangers_speak(&s, beyond[i]);
    ingest_strangers_gone(&s, beyond[i]);
  }
  ingest_strangers_come(&s, MAX - 1, HERE, 0);
  assert_int_equal(s.count, 1);
  assert_int_equal(ingest_strangers_take(&s, 1000 * MS), MAX - 1);
  assert_int_equal(ingest_strangers_take(&s, 1000 * MS), 0);
}

static void nothing_is_left_of_whom_is_gone(void **state)
{
  (void)state;
  for (unsigned round = 0; round < 50; round++) {
    for (int32_t i = 1; i < MAX; i++)
      ingest_strangers_come(&s, i, (uint64_t)i % 7 + round, round * 1000 * MS);
    for (unsigned i = 0; i < MAX / 3; i++)
      assert_int_not_equal(ingest_strangers_take(&s, round * 1000 * MS + 2 * OLD_NS), 0);
    for (int32_t i = MAX - 1; i > 0; i--)
      i % 2 ? ingest_strangers_gone(&s, i) : ingest_strangers_speak(&s, i);
    for (int32_t i = 1; i < MAX; i++)
      ingest_strangers_gone(&s, i);
    assert_int_equal(s.count + s.leaving + s.old_count, 0);
    assert_int_equal(s.first | s.last, 0);
    for (uint32_t i = 0; i <= s.addresses_mask; i++)
      assert_int_equal(s.addresses[i], 0);
  }
}

/* A crowd of CROWD from so many addresses, all as old as those of one site, or older. Half of all leave; how many of that site did, for SEEDS seeds. */
static uint32_t leave_of_site(uint32_t addresses, uint32_t site)
{
  uint32_t left = 0;
  for (uint64_t seed = 1; seed <= SEEDS; seed++) {
    struct ingest_strangers crowd;
    assert_int_equal(ingest_strangers_init(&crowd, CROWD_MAX, seed), 0);
    for (uint32_t i = 0; i < site; i++)
      ingest_strangers_come(&crowd, (int32_t)(1 + i), HERE, 0);
    for (uint32_t i = 0; i < CROWD; i++)
      ingest_strangers_come(&crowd, (int32_t)(1 + site + i), 0xc0000000u + i % addresses, MS);
    for (uint32_t i = 0; i < (CROWD + site) / 2; i++) {
      int32_t one = ingest_strangers_take(&crowd, 1000 * MS);
      assert_true(one > 0);
      left += one <= (int32_t)site;
    }
    ingest_strangers_finish(&crowd);
  }
  return left;
}

/* It came first: whoever took the oldest would take it every time. */
static void one_alone_at_its_address_stays(void **state)
{
  (void)state;
  assert_in_range(leave_of_site(1, 1), 0, SEEDS / 20);
  assert_in_range(leave_of_site(20, 1), 0, SEEDS / 20);
}

static void one_among_as_many_addresses_stays_half_of_the_times(void **state)
{
  (void)state;
  assert_in_range(leave_of_site(CROWD, 1), SEEDS * 2 / 5, SEEDS * 3 / 5);
}

/* Half of all leave; of a site that has many, against a crowd in which nobody has more than one address, at most twice that rate, and a part of them stays. */
static void many_behind_one_address_keep_a_part(void **state)
{
  (void)state;
  assert_in_range(leave_of_site(CROWD, SITE), SITE * SEEDS * 5 / 10, SITE * SEEDS * 8 / 10);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(nobody_makes_room_before_its_time, begin, end),
      cmocka_unit_test_setup_teardown(half_of_them_stay_for_another_while, begin, end),
      cmocka_unit_test_setup_teardown(a_round_ends_with_its_time, begin, end),
      cmocka_unit_test_setup_teardown(who_has_spoken_is_none_of_them, begin, end),
      cmocka_unit_test_setup_teardown(a_number_is_used_again, begin, end),
      cmocka_unit_test_setup_teardown(numbers_beyond_the_table_are_nobody, begin, end),
      cmocka_unit_test_setup_teardown(nothing_is_left_of_whom_is_gone, begin, end),
      cmocka_unit_test(one_alone_at_its_address_stays),
      cmocka_unit_test(one_among_as_many_addresses_stays_half_of_the_times),
      cmocka_unit_test(many_behind_one_address_keep_a_part),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
