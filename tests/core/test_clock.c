/* core/clock.c: both clocks go forward in their units, and a script replaces them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <time.h>

#include "core/clock.h"

static int64_t scripted_wall(void *context) { return *(int64_t *)context; }
static uint64_t scripted_monotonic(void *context) { return *(uint64_t *)context + 1; }

static void test_real_clocks(void **state)
{
  (void)state;
  const int64_t before = (int64_t)time(NULL);
  const int64_t wall_us = clock_wall_us();
  assert_in_range((uint64_t)(wall_us / 1000000), (uint64_t)before, (uint64_t)before + 5);
  const uint64_t first_ns = clock_monotonic_ns();
  nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
  const uint64_t passed_ns = clock_monotonic_ns() - first_ns;
  assert_in_range(passed_ns, 20000000u, 5000000000u);
}

static void test_scripted_clocks(void **state)
{
  (void)state;
  int64_t now = 41;
  const struct clock_source source = {.wall_us = scripted_wall, .monotonic_ns = scripted_monotonic, .context = &now};
  clock_set_source(&source);
  assert_int_equal(clock_wall_us(), 41);
  assert_int_equal(clock_monotonic_ns(), 42);
  clock_set_source(NULL);
  assert_true(clock_wall_us() > 41);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_real_clocks), cmocka_unit_test(test_scripted_clocks)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
