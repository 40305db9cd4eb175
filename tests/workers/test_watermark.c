/* workers/watermark.c: edges of disk and map, how often the disk is asked, and what happens where it cannot be asked. Time and disk are
 * scripted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "core/clock.h"
#include "workers/watermark.h"

#define RESERVE 1000u
#define MAP 10000u

static uint64_t now_ns;
static uint64_t disk_bytes;
static int disk_error;
static unsigned asked;

static uint64_t scripted_now(void *context) { return (void)context, now_ns; }
static int64_t scripted_wall(void *context) { return (void)context, 0; }
static const struct clock_source scripted = {.wall_us = scripted_wall, .monotonic_ns = scripted_now};

static int scripted_disk(void *context, const char *path, uint64_t *free_bytes)
{
  assert_ptr_equal(context, &disk_bytes);
  assert_string_equal(path, "/shard");
  asked++;
  *free_bytes = disk_bytes;
  return disk_error;
}

static int setup(void **state)
{
  static struct watermark w;
  now_ns = 1000000000;
  disk_bytes = RESERVE;
  disk_error = 0;
  asked = 0;
  clock_set_source(&scripted);
  watermark_init(&w, "/shard", 0, RESERVE, scripted_disk, &disk_bytes);
  *state = &w;
  return 0;
}

static int teardown(void **state)
{
  (void)state;
  clock_set_source(NULL);
  return 0;
}

static void test_disk_edge(void **state)
{
  struct watermark *w = *state;
  assert_false(w->blocked);
  assert_false(watermark_judge(w, 0, MAP));
  disk_bytes = RESERVE - 1;
  assert_true(watermark_judge(w, 0, MAP));
  assert_true(w->blocked);
  assert_int_equal(w->free_bytes, RESERVE - 1);
  disk_bytes = RESERVE;
  assert_false(watermark_judge(w, 0, MAP));
  assert_false(w->blocked);
}

static void test_map_edge(void **state)
{
  struct watermark *w = *state;
  assert_false(watermark_judge(w, MAP / 100 * 95, MAP));
  assert_true(watermark_judge(w, MAP / 100 * 95 + 1, MAP));
  assert_false(watermark_judge(w, MAP / 100 * 95, MAP));
}

static void test_asked_at_most_every_interval(void **state)
{
  struct watermark *w = *state;
  assert_true(watermark_due(w));
  watermark_judge(w, 0, MAP);
  assert_false(watermark_due(w));
  now_ns += WATERMARK_INTERVAL_NS - 1;
  assert_false(watermark_due(w));
  now_ns += 1;
  assert_true(watermark_due(w));
  assert_int_equal(asked, 1);
}

static void test_unknown_disk_keeps_what_was_known(void **state)
{
  struct watermark *w = *state;
  disk_error = EIO;
  disk_bytes = 0;
  assert_false(watermark_judge(w, 0, MAP));
  disk_error = 0;
  assert_true(watermark_judge(w, 0, MAP));
  disk_error = EIO;
  disk_bytes = RESERVE * 2;
  assert_true(watermark_judge(w, 0, MAP));
  assert_int_equal(w->free_bytes, 0);
}

/* Without a script it asks the real file system, which has some space and not all there is. */
static void test_real_disk(void **state)
{
  struct watermark real;
  (void)state;
  watermark_init(&real, "/", 0, 1, NULL, NULL);
  assert_false(watermark_judge(&real, 0, MAP));
  assert_in_range(real.free_bytes, 1, UINT64_MAX - 1);
  watermark_init(&real, "/", 0, UINT64_MAX, NULL, NULL);
  assert_true(watermark_judge(&real, 0, MAP));
  watermark_init(&real, "/no/such/place", 0, 1, NULL, NULL);
  assert_false(watermark_judge(&real, 0, MAP));
  assert_true(real.free_bytes == UINT64_MAX);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_disk_edge, setup, teardown),
      cmocka_unit_test_setup_teardown(test_map_edge, setup, teardown),
      cmocka_unit_test_setup_teardown(test_asked_at_most_every_interval, setup, teardown),
      cmocka_unit_test_setup_teardown(test_unknown_disk_keeps_what_was_known, setup, teardown),
      cmocka_unit_test_setup_teardown(test_real_disk, setup, teardown),
  };
  return cmocka_run_group_tests_name("watermark", tests, NULL, NULL);
}
