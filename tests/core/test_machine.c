/* core/machine.c: what the machine says of itself is believable, and what cannot be asked is an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "core/limits.h"
#include "core/machine.h"

static void test_disk(void **state)
{
  (void)state;
  uint64_t free_bytes = 7;
  assert_int_equal(machine_disk_free("/no/such/place", &free_bytes), ENOENT);
  assert_int_equal(free_bytes, 7);
  assert_int_equal(machine_disk_free("/", &free_bytes), 0);
  assert_in_range(free_bytes, 8, UINT64_MAX - 1);
}

static void test_memory(void **state)
{
  (void)state;
  const uint64_t all = machine_memory_bytes(), available = machine_memory_available_bytes();
  assert_in_range(all, 16 * LIMIT_MIB, UINT64_C(1) << 60);
  assert_in_range(available, 1, all);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_disk),
      cmocka_unit_test(test_memory),
  };
  return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
