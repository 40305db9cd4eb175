#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "core/scratch.h"
#include "ops/view.h"

static struct ops_view before, after;

static struct counters_snapshot *page_of(struct ops_view *v, const char *role, uint32_t pid)
{
  struct counters_snapshot *page = &v->page[v->count++];
  *page = (struct counters_snapshot){.pid = pid, .state = PROCESS_SERVING, .alive = true, .started_us = pid, .since_us = 1};
  strcpy(page->role, role);
  return page;
}

static int begin(void **state)
{
  (void)state;
  before.count = after.count = 0;
  before.taken_ns = 1000000000;
  after.taken_ns = 1500000000;
  return 0;
}

static void sums_are_by_role(void **state)
{
  (void)state;
  page_of(&after, "ingest-0", 1)->value[COUNTER_records_accepted] = 5;
  page_of(&after, "ingest-1", 2)->value[COUNTER_records_accepted] = 7;
  page_of(&after, "worker-0", 3)->value[COUNTER_records_accepted] = 12;
  assert_int_equal(ops_view_sum(&after, "ingest-", COUNTER_records_accepted), 12);
  assert_int_equal(ops_view_most(&after, "ingest-", COUNTER_records_accepted), 7);
  assert_int_equal(ops_view_sum(&after, "worker-", COUNTER_records_accepted), 12);
  assert_int_equal(ops_view_find(&after, "ingest-1")->pid, 2);
  assert_null(ops_view_find(&after, "ingest-2"));
}

static void conservation_counts_every_verdict(void **state)
{
  (void)state;
  static const enum counter_id parts[] = {COUNTER_records_accepted, COUNTER_records_duplicate,   COUNTER_records_conflict,
                                          COUNTER_records_invalid,  COUNTER_records_handed_back, COUNTER_records_in_flight};
  struct counters_snapshot *page = page_of(&after, "ingest-0", 1);
  uint64_t sum = 0;
  for (unsigned i = 0; i < 6; i++)
    sum += page->value[parts[i]] = 10u << i;
  page->value[COUNTER_records_received] = sum;
  page_of(&after, "run", 2);
  assert_true(ops_view_conserved(&after));
  for (unsigned i = 0; i < 6; i++) {
    page->value[parts[i]]++;
    assert_false(ops_view_conserved(&after));
    page->value[parts[i]] -= 2;
    assert_int_equal(ops_view_unaccounted(&after), 1);
    page->value[parts[i]]++;
  }
  assert_true(ops_view_conserved(&after));
}

static void rates_are_per_second(void **state)
{
  (void)state;
  page_of(&before, "ingest-0", 1)->value[COUNTER_records_received] = 100;
  page_of(&after, "ingest-0", 1)->value[COUNTER_records_received] = 350;
  page_of(&after, "worker-0", 2)->value[COUNTER_records_received] = 9999;
  assert_true(ops_view_rate(&before, &after, "ingest-", COUNTER_records_received) == 500.0);
}

static void totals_outlive_processes_and_resets_are_marked(void **state)
{
  (void)state;
  page_of(&before, "ingest-0", 1)->value[COUNTER_records_received] = 100;
  page_of(&after, "ingest-0", 7)->value[COUNTER_records_received] = 130; /* another process, which went on */
  page_of(&before, "ingest-2", 3)->value[COUNTER_records_received] = 100;
  page_of(&after, "ingest-2", 3)->value[COUNTER_records_received] = 150;
  after.page[1].since_us++; /* the mark: begun anew */
  page_of(&before, "ingest-4", 6)->value[COUNTER_records_received] = 10;
  page_of(&after, "ingest-4", 6)->value[COUNTER_records_received] = 5;  /* never negative */
  page_of(&after, "ingest-1", 8)->value[COUNTER_records_received] = 70; /* was not there before */
  assert_true(ops_view_rate(&before, &after, "ingest-", COUNTER_records_received) == 500.0);
  after.taken_ns = before.taken_ns;
  assert_true(ops_view_rate(&before, &after, "ingest-", COUNTER_records_received) == 0.0);
}

/* Missing in one process and surplus in another are two faults and not none; a submitter's row counts as well. */
static void faults_do_not_hide_each_other(void **state)
{
  (void)state;
  page_of(&after, "ingest-0", 1)->value[COUNTER_records_received] = 3;
  page_of(&after, "worker-0", 2)->value[COUNTER_records_accepted] = 3;
  assert_int_equal(metrics_unaccounted(&after.page[0]), 3);
  assert_int_equal(metrics_unaccounted(&after.page[1]), -3);
  assert_int_equal(ops_view_unaccounted(&after), 6);
  assert_true(ops_view_node(&before, &after, METRIC_node_records_unaccounted) == 6.0);
  after.page[0].value[COUNTER_records_in_flight] = 3;
  after.page[1].value[COUNTER_records_received] = 3;
  assert_true(ops_view_conserved(&after));
  after.page[0].rows = 1;
  after.page[0].submitter[0].value[SUBMITTER_records_received] = 1;
  assert_false(ops_view_conserved(&after));
  assert_int_equal(ops_view_unaccounted(&after), 0);
}

static void times_are_of_the_window(void **state)
{
  (void)state;
  struct counters_histogram h;
  const enum histogram_id ack = HISTOGRAM_batch_ack;
  struct counters_histogram *a = &page_of(&before, "ingest-0", 1)->histogram[ack], *b = &page_of(&after, "ingest-0", 1)->histogram[ack];
  a->bucket[3] = 90;
  a->sum = 900;
  b->bucket[3] = 95;
  b->bucket[40] = 5;
  b->sum = 2000;
  page_of(&after, "ingest-1", 2)->histogram[ack].bucket[40] = 2; /* new: all of it */
  ops_view_histogram(&before, &after, ack, &h);
  assert_int_equal(h.bucket[3], 5);
  assert_int_equal(h.bucket[40], 7);
  assert_int_equal(h.sum, 1100);
  assert_int_equal(counters_histogram_quantile(ack, &h, 0.99), counters_histogram_edge(ack, 40));
  ops_view_histogram(NULL, &after, ack, &h);
  assert_int_equal(h.bucket[3], 95);
  assert_int_equal(h.bucket[40], 7);
}

static void submitters_are_joined(void **state)
{
  (void)state;
  static struct counters_submitter rows[VIEW_SUBMITTERS];
  static const struct {
    uint32_t number;
    uint64_t accepted, seen;
  } in[2][2] = {{{7, 10, 500}, {UINT32_MAX, 1, 0}}, {{3, 20, 100}, {7, 5, 900}}};
  for (int page = 0; page < 2; page++) {
    struct counters_snapshot *p = page_of(&after, page ? "ingest-1" : "ingest-0", 1);
    p->rows = 2;
    for (int row = 0; row < 2; row++) {
      p->submitter[row].number = in[page][row].number;
      p->submitter[row].value[SUBMITTER_records_accepted] = in[page][row].accepted;
      p->submitter[row].value[SUBMITTER_last_seen] = in[page][row].seen;
    }
  }
  assert_int_equal(ops_view_submitters(&after, rows), 3);
  assert_int_equal(rows[0].number, 3);
  assert_int_equal(rows[1].number, 7);
  assert_int_equal(rows[1].value[SUBMITTER_records_accepted], 15);
  assert_int_equal(rows[1].value[SUBMITTER_last_seen], 900);
  assert_int_equal(rows[2].number, UINT32_MAX);
}

/* ---- time until full: half a second between the two moments ---- */

static void shard_is(struct ops_view *v, const char *role, uint64_t file, uint64_t disk_free, uint64_t records)
{
  uint64_t *value = page_of(v, role, 1)->value;
  value[COUNTER_store_bytes] = file;
  value[COUNTER_store_map_bytes] = 100000;
  value[COUNTER_disk_free_bytes] = disk_free;
  value[COUNTER_disk_reserve_bytes] = 1000;
  value[COUNTER_store_records] = records;
  value[COUNTER_index_records_max] = 2000000;
}

static void expect_full(uint64_t seconds, uint32_t shard, enum ops_view_limit limit)
{
  struct ops_view_room room;
  ops_view_full_in(&before, &after, &room);
  assert_int_equal(room.seconds, seconds);
  assert_int_equal(room.limit, limit);
  if (limit != VIEW_LIMIT_NONE)
    assert_int_equal(room.shard, shard);
  assert_true(ops_view_node(&before, &after, METRIC_node_full_in) == (double)seconds);
}

static void the_disk_is_full_first(void **state)
{
  (void)state;
  shard_is(&before, "worker-0", 100, 10000, 10);
  shard_is(&after, "worker-0", 150, 9800, 11); /* 400 a second of the disk, 8,800 above the reserve */
  shard_is(&before, "worker-1", 100, 10000, 10);
  shard_is(&after, "worker-1", 100, 10000, 10); /* does not grow */
  expect_full(22, 0, VIEW_LIMIT_DISK);
}

static void a_file_that_grows_counts_where_the_disk_counts_late(void **state)
{
  (void)state;
  shard_is(&before, "worker-3", 100, 10000, 10);
  shard_is(&after, "worker-3", 600, 10000, 10);
  expect_full(9, 3, VIEW_LIMIT_DISK);
}

static void the_map_is_full_first(void **state)
{
  (void)state;
  shard_is(&before, "worker-0", 90000, 1000000, 10);
  shard_is(&after, "worker-0", 91000, 999000, 10); /* 2,000 a second, and 4,000 to 95 % */
  expect_full(2, 0, VIEW_LIMIT_MAP);
}

static void the_index_is_full_first(void **state)
{
  (void)state;
  shard_is(&before, "worker-0", 100, 1000000, 1800000);
  shard_is(&after, "worker-0", 150, 999950, 1801000); /* 2,000 records a second, 99,000 to 95 % */
  shard_is(&before, "worker-1", 100, 1000000, 1800000);
  shard_is(&after, "worker-1", 150, 999950, 1803000); /* 6,000 a second, 97,000 */
  expect_full(16, 1, VIEW_LIMIT_INDEX);
}

/* In a small index one commit is more than the last twentieth. */
static void the_index_keeps_room_for_a_commit(void **state)
{
  (void)state;
  shard_is(&before, "worker-0", 100, 1000000, 10000);
  shard_is(&after, "worker-0", 150, 999950, 11000); /* 2,000 records a second */
  after.page[0].value[COUNTER_index_records_max] = LIMIT_COMMIT_RECORDS + 21000;
  expect_full(5, 0, VIEW_LIMIT_INDEX);
  after.page[0].value[COUNTER_index_records_max] = LIMIT_COMMIT_RECORDS - 1;
  expect_full(0, 0, VIEW_LIMIT_INDEX);
}

static void nothing_grows_or_nothing_is_known(void **state)
{
  (void)state;
  expect_full(UINT64_MAX, 0, VIEW_LIMIT_NONE);
  shard_is(&before, "worker-0", 100, 10000, 10);
  shard_is(&after, "worker-0", 90, 12000, 9); /* people made room */
  expect_full(UINT64_MAX, 0, VIEW_LIMIT_NONE);
  shard_is(&after, "worker-1", 150, 5000, 9); /* was not there before */
  page_of(&before, "worker-2", 1);            /* had only begun */
  shard_is(&after, "worker-2", 150, 5000, 9);
  expect_full(UINT64_MAX, 0, VIEW_LIMIT_NONE);
  shard_is(&before, "worker-3", 100, 10000, 10); /* died, and its successor opens the store still: totals go on, gauges are 0 */
  page_of(&after, "worker-3", 2);
  expect_full(UINT64_MAX, 0, VIEW_LIMIT_NONE);
  after.taken_ns = before.taken_ns;
  after.page[0].value[COUNTER_store_bytes] = 5000;
  expect_full(UINT64_MAX, 0, VIEW_LIMIT_NONE);
}

static void pages_are_read_from_the_data_directory(void **state)
{
  (void)state;
  char root[SCRATCH_BYTES], path[LIMIT_PATH_BYTES];
  struct datadir data;
  struct failure failure = FAILURE_NONE;
  struct counters *run, *ingest;
  scratch_make(root);
  assert_int_equal(datadir_create(&data, root, &failure), MUSTER_OK);
  datadir_path(&data, path, "run/counters");
  assert_int_equal(counters_create(&run, path, "run", &failure), MUSTER_OK);
  assert_int_equal(counters_create(&ingest, path, "ingest-0", &failure), MUSTER_OK);
  counters_begin(ingest);
  counters_set(ingest, COUNTER_credit, 16);
  counters_end(ingest);
  assert_int_equal(ops_view_take(&after, &data, &failure), MUSTER_OK);
  assert_int_equal(after.count, 2);
  assert_true(after.taken_ns > 0);
  assert_int_equal(ops_view_most(&after, "ingest-", COUNTER_credit), 16);
  assert_true(ops_view_find(&after, "run")->alive);
  assert_string_equal(metrics_state_name(ops_view_find(&after, "run")->state), "starting");
  counters_destroy(run);
  counters_destroy(ingest);
  scratch_remove(root);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(sums_are_by_role, begin),
      cmocka_unit_test_setup(conservation_counts_every_verdict, begin),
      cmocka_unit_test_setup(rates_are_per_second, begin),
      cmocka_unit_test_setup(totals_outlive_processes_and_resets_are_marked, begin),
      cmocka_unit_test_setup(faults_do_not_hide_each_other, begin),
      cmocka_unit_test_setup(times_are_of_the_window, begin),
      cmocka_unit_test_setup(submitters_are_joined, begin),
      cmocka_unit_test_setup(the_disk_is_full_first, begin),
      cmocka_unit_test_setup(a_file_that_grows_counts_where_the_disk_counts_late, begin),
      cmocka_unit_test_setup(the_map_is_full_first, begin),
      cmocka_unit_test_setup(the_index_is_full_first, begin),
      cmocka_unit_test_setup(the_index_keeps_room_for_a_commit, begin),
      cmocka_unit_test_setup(nothing_grows_or_nothing_is_known, begin),
      cmocka_unit_test_setup(pages_are_read_from_the_data_directory, begin),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
