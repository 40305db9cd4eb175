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
  *page = (struct counters_snapshot){.pid = pid, .state = PROCESS_SERVING, .alive = true, .started_us = pid};
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
    assert_false(ops_view_page_conserved(page));
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

static void a_process_that_was_replaced_counts_from_zero(void **state)
{
  (void)state;
  page_of(&before, "ingest-0", 1)->value[COUNTER_records_received] = 100;
  page_of(&after, "ingest-0", 7)->value[COUNTER_records_received] = 30; /* another pid */
  page_of(&before, "ingest-2", 3)->value[COUNTER_records_received] = 100;
  page_of(&after, "ingest-2", 3)->value[COUNTER_records_received] = 150;
  after.page[1].started_us++; /* the same pid again, another process */
  page_of(&before, "ingest-3", 4)->value[COUNTER_records_received] = 100;
  page_of(&after, "ingest-3", 5)->value[COUNTER_records_received] = 50;
  after.page[2].started_us = 4; /* started in the same microsecond */
  page_of(&before, "ingest-4", 6)->value[COUNTER_records_received] = 10;
  page_of(&after, "ingest-4", 6)->value[COUNTER_records_received] = 5;  /* never negative */
  page_of(&after, "ingest-1", 8)->value[COUNTER_records_received] = 20; /* was not there before */
  assert_true(ops_view_rate(&before, &after, "ingest-", COUNTER_records_received) == 500.0);
  after.taken_ns = before.taken_ns;
  assert_true(ops_view_rate(&before, &after, "ingest-", COUNTER_records_received) == 0.0);
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
  assert_string_equal(ops_view_state(ops_view_find(&after, "run")->state), "starting");
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
      cmocka_unit_test_setup(a_process_that_was_replaced_counts_from_zero, begin),
      cmocka_unit_test_setup(pages_are_read_from_the_data_directory, begin),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
