/* workers/watermark.c: edges of disk, map and index, how often the disk is asked, and what happens where it cannot be asked. Time and disk are
 * scripted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "core/clock.h"
#include "core/limits.h"
#include "proto/wire.pb-c.h"
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

/* The store says so much of its map; its index has no bound. */
static uint32_t judge(struct watermark *w, uint64_t file_bytes)
{
  return watermark_judge(w, &(struct store_facts){.file_bytes = file_bytes, .map_bytes = MAP});
}

static void later(void) { now_ns += WATERMARK_INTERVAL_NS; }

static void test_disk_edge(void **state)
{
  struct watermark *w = *state;
  assert_false(w->reason);
  assert_false(judge(w, 0));
  disk_bytes = RESERVE - 1;
  later();
  assert_int_equal(judge(w, 0), MUSTER__V1__REASON__REASON_BUSY_DISK);
  assert_int_equal(w->reason, MUSTER__V1__REASON__REASON_BUSY_DISK);
  assert_int_equal(w->free_bytes, RESERVE - 1);
  disk_bytes = RESERVE;
  later();
  assert_false(judge(w, 0));
  assert_false(w->reason);
}

static void test_map_edge(void **state)
{
  struct watermark *w = *state;
  assert_false(judge(w, MAP / 100 * 95));
  assert_true(judge(w, MAP / 100 * 95 + 1));
  assert_false(judge(w, MAP / 100 * 95));
}

/* The memory of the index: asked each time, with room left for one more commit, and for the twentieth part of all. */
static void test_index_edge(void **state)
{
  struct watermark *w = *state;
  static const struct {
    uint64_t most, last; /* records with which the shard still takes more */
  } cases[] = {{183500, 183500 - LIMIT_COMMIT_RECORDS}, {100000000, 95000000}, {LIMIT_COMMIT_RECORDS, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct store_facts facts = {.map_bytes = MAP, .index_records_max = cases[i].most, .records = cases[i].last};
    assert_int_equal(watermark_judge(w, &facts), 0);
    facts.records++;
    assert_int_equal(watermark_judge(w, &facts), MUSTER__V1__REASON__REASON_BUSY_MEMORY);
    facts.file_bytes = MAP;
    assert_int_equal(watermark_judge(w, &facts), MUSTER__V1__REASON__REASON_BUSY_DISK);
    facts.index_records_max = facts.file_bytes = 0;
    assert_int_equal(watermark_judge(w, &facts), 0);
  }
}

static void test_asked_at_most_every_interval(void **state)
{
  struct watermark *w = *state;
  judge(w, 0);
  assert_int_equal(asked, 1);
  now_ns += WATERMARK_INTERVAL_NS - 1;
  judge(w, 0);
  assert_int_equal(asked, 1);
  now_ns += 1;
  judge(w, 0);
  assert_int_equal(asked, 2);
}

static void test_unknown_disk_keeps_what_was_known(void **state)
{
  struct watermark *w = *state;
  disk_error = EIO;
  disk_bytes = 0;
  assert_false(judge(w, 0));
  disk_error = 0;
  later();
  assert_true(judge(w, 0));
  disk_error = EIO;
  disk_bytes = RESERVE * 2;
  later();
  assert_true(judge(w, 0));
  assert_int_equal(w->free_bytes, 0);
}

/* Without a script it asks the real file system, which has some space and not all there is. */
static void test_real_disk(void **state)
{
  struct watermark real;
  (void)state;
  watermark_init(&real, "/", 0, 1, NULL, NULL);
  assert_false(judge(&real, 0));
  assert_in_range(real.free_bytes, 1, UINT64_MAX - 1);
  watermark_init(&real, "/", 0, UINT64_MAX, NULL, NULL);
  assert_true(judge(&real, 0));
  watermark_init(&real, "/no/such/place", 0, 1, NULL, NULL);
  assert_false(judge(&real, 0));
  assert_true(real.free_bytes == UINT64_MAX);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_disk_edge, setup, teardown),
      cmocka_unit_test_setup_teardown(test_map_edge, setup, teardown),
      cmocka_unit_test_setup_teardown(test_index_edge, setup, teardown),
      cmocka_unit_test_setup_teardown(test_asked_at_most_every_interval, setup, teardown),
      cmocka_unit_test_setup_teardown(test_unknown_disk_keeps_what_was_known, setup, teardown),
      cmocka_unit_test_setup_teardown(test_real_disk, setup, teardown),
  };
  return cmocka_run_group_tests_name("watermark", tests, NULL, NULL);
}
