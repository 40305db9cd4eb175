/* ingest/strangers.c: who has to make room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/limits.h"
#include "ingest/strangers.h"

#define MS UINT64_C(1000000)
#define MAX 100

static struct ingest_strangers s;

static int begin(void **state)
{
  (void)state;
  return ingest_strangers_init(&s, MAX);
}

static int end(void **state)
{
  (void)state;
  ingest_strangers_finish(&s);
  return 0;
}

static void the_oldest_makes_room_and_not_before_its_time(void **state)
{
  (void)state;
  const uint64_t begin_ns = 77 * MS, old = LIMIT_STRANGER_MS * MS;
  assert_int_equal(ingest_strangers_take(&s, begin_ns), 0);
  for (int32_t i = 0; i < 3; i++)
    ingest_strangers_come(&s, 30 - i, begin_ns + (uint64_t)i);
  assert_int_equal(s.count, 3);
  assert_int_equal(ingest_strangers_take(&s, begin_ns + old - 1), 0);
  assert_int_equal(ingest_strangers_take(&s, begin_ns + old), 30);
  assert_int_equal(ingest_strangers_take(&s, begin_ns + old), 0);
  assert_int_equal(ingest_strangers_take(&s, begin_ns + old + 2), 29);
  assert_int_equal(s.count, 1);
  assert_int_equal(s.leaving, 2);
}

static void one_that_has_spoken_is_no_stranger(void **state)
{
  (void)state;
  for (int32_t i = 1; i <= 5; i++)
    ingest_strangers_come(&s, i, 0);
  ingest_strangers_speak(&s, 1);
  ingest_strangers_speak(&s, 3);
  ingest_strangers_speak(&s, 3);
  ingest_strangers_gone(&s, 5);
  assert_int_equal(ingest_strangers_take(&s, 1000 * MS), 2);
  assert_int_equal(ingest_strangers_take(&s, 1000 * MS), 4);
  assert_int_equal(ingest_strangers_take(&s, 1000 * MS), 0);
  assert_int_equal(s.count, 0);
}

static void a_number_that_comes_back_is_another_stranger(void **state)
{
  (void)state;
  ingest_strangers_come(&s, 7, 0);
  assert_int_equal(ingest_strangers_take(&s, 1000 * MS), 7);
  ingest_strangers_speak(&s, 7); /* what was on the way still */
  assert_int_equal(s.leaving, 1);
  ingest_strangers_gone(&s, 7);
  assert_int_equal(s.leaving, 0);
  ingest_strangers_gone(&s, 7);
  ingest_strangers_come(&s, 7, 900 * MS);
  ingest_strangers_come(&s, 8, 900 * MS);
  ingest_strangers_come(&s, 7, 950 * MS); /* the end of the one before was not told */
  assert_int_equal(s.count, 2);
  assert_int_equal(ingest_strangers_take(&s, 5000 * MS), 8);
  assert_int_equal(ingest_strangers_take(&s, 5000 * MS), 7);
  ingest_strangers_come(&s, 7, 5000 * MS);
  assert_int_equal(s.leaving, 1);
}

static void numbers_beyond_the_table_are_left_alone(void **state)
{
  (void)state;
  const int32_t beyond[] = {0, -1, MAX, MAX + 1, INT32_MAX};
  for (unsigned i = 0; i < sizeof beyond / sizeof beyond[0]; i++) {
    ingest_strangers_come(&s, beyond[i], 0);
    ingest_strangers_speak(&s, beyond[i]);
    ingest_strangers_gone(&s, beyond[i]);
  }
  ingest_strangers_come(&s, MAX - 1, 0);
  assert_int_equal(s.count, 1);
  assert_int_equal(ingest_strangers_take(&s, 1000 * MS), MAX - 1);
  assert_int_equal(ingest_strangers_take(&s, 1000 * MS), 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(the_oldest_makes_room_and_not_before_its_time, begin, end),
      cmocka_unit_test_setup_teardown(one_that_has_spoken_is_no_stranger, begin, end),
      cmocka_unit_test_setup_teardown(a_number_that_comes_back_is_another_stranger, begin, end),
      cmocka_unit_test_setup_teardown(numbers_beyond_the_table_are_left_alone, begin, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
