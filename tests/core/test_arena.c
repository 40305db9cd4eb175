/* core/arena.c: alignment, bounds, reset. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/arena.h"
#include "muster/status.h"

static void test_takes_are_aligned_and_apart(void **state)
{
  (void)state;
  struct arena a;
  assert_int_equal(arena_init(&a, 100000), MUSTER_OK);
  const uint8_t *end = a.base;
  for (size_t alignment = 1; alignment <= 8192; alignment *= 2) {
    uint8_t *taken = arena_take(&a, 33, alignment);
    assert_non_null(taken);
    assert_int_equal((uintptr_t)taken % alignment, 0);
    assert_true(taken >= end);
    memset(taken, 0xa5, 33);
    end = taken + 33;
  }
  assert_true(end <= a.base + a.size_bytes);
  arena_finish(&a);
  assert_null(a.base);
  arena_finish(&a);
}

static void test_what_does_not_fit_changes_nothing(void **state)
{
  (void)state;
  struct arena a;
  assert_int_equal(arena_init(&a, 100), MUSTER_OK);
  assert_non_null(arena_take(&a, 60, 1));
  assert_null(arena_take(&a, 41, 1));
  assert_null(arena_take(&a, 40, 64)); /* fits without its padding only */
  assert_null(arena_take(&a, SIZE_MAX, 1));
  assert_null(arena_take(&a, SIZE_MAX - 3, 8));
  assert_int_equal(a.used_bytes, 60);
  assert_non_null(arena_take(&a, 40, 1));
  assert_null(arena_take(&a, 1, 1));
  arena_finish(&a);
}

static void test_reset_gives_all_back(void **state)
{
  (void)state;
  struct arena a;
  assert_int_equal(arena_init(&a, 4096), MUSTER_OK);
  void *first = arena_take(&a, 4096, 16);
  assert_null(arena_take(&a, 1, 1));
  arena_reset(&a);
  assert_ptr_equal(arena_take(&a, 4096, 16), first);
  arena_finish(&a);
}

static void test_empty_and_impossible(void **state)
{
  (void)state;
  struct arena a;
  assert_int_equal(arena_init(&a, 0), MUSTER_OK);
  assert_null(arena_take(&a, 1, 1));
  arena_finish(&a);
  assert_int_equal(arena_init(&a, SIZE_MAX - 1), MUSTER_ERR_MEMORY);
  assert_null(a.base);
}

static void test_pages_are_faulted_in(void **state)
{
  (void)state;
  struct arena a;
  const size_t pages = 2048, page_bytes = (size_t)sysconf(_SC_PAGESIZE);
  assert_int_equal(arena_init(&a, pages * page_bytes), MUSTER_OK);
  unsigned char there[2049];
  uint8_t *base = (uint8_t *)((uintptr_t)a.base / page_bytes * page_bytes);
  assert_int_equal(mincore(base, pages * page_bytes, there), 0);
  for (size_t i = 0; i < pages; i++)
    assert_int_equal(there[i] & 1, 1);
  arena_finish(&a);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_takes_are_aligned_and_apart), cmocka_unit_test(test_what_does_not_fit_changes_nothing),
      cmocka_unit_test(test_reset_gives_all_back),        cmocka_unit_test(test_empty_and_impossible),
      cmocka_unit_test(test_pages_are_faulted_in),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
