#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <signal.h>

#include "ops/restart.h"

static struct ops_restart r;

static int begin(void **state)
{
  (void)state;
  ops_restart_init(&r);
  return 0;
}

static struct ops_restart_decision die_holding(uint64_t now_ms, bool ready)
{
  ops_restart_started(&r);
  if (ready)
    ops_restart_ready(&r, now_ms);
  return ops_restart_died(&r, now_ms, (struct ops_restart_death){.signal = SIGSEGV, .holding = true});
}

/* One that is ready dies at once. */
static struct ops_restart_decision live_and_die(uint64_t now_ms, bool ready, int exit_status, int signal)
{
  ops_restart_started(&r);
  if (ready)
    ops_restart_ready(&r, now_ms);
  return ops_restart_died(&r, now_ms, (struct ops_restart_death){.exit_status = exit_status, .signal = signal});
}

/* It takes so long to open, and serves for so long; *now_ms: of its start, then of its death. */
static struct ops_restart_decision serve_and_die(uint64_t *now_ms, uint64_t opens_ms, uint64_t serves_ms, int exit_status, int signal)
{
  ops_restart_started(&r);
  ops_restart_ready(&r, *now_ms += opens_ms);
  return ops_restart_died(&r, *now_ms += serves_ms, (struct ops_restart_death){.exit_status = exit_status, .signal = signal});
}

static void starts_that_fail_wait_twice_as_long_and_end_at_five(void **state)
{
  (void)state;
  static const uint32_t delays[] = {20, 40, 80, 160};
  for (unsigned i = 0; i < 4; i++) {
    struct ops_restart_decision d = live_and_die(i, false, 70, 0);
    assert_int_equal(d.verdict, RESTART_AGAIN);
    assert_int_equal(d.delay_ms, delays[i]);
  }
  struct ops_restart_decision d = live_and_die(5, false, 70, 0);
  assert_int_equal(d.verdict, RESTART_STARTS_USED_UP);
  assert_int_equal(d.exit_code, 70);
}

static void one_good_start_forgives_the_bad_ones(void **state)
{
  (void)state;
  for (unsigned round = 0; round < RESTART_LOOP - 1; round++) {
    for (unsigned i = 0; i < 4; i++)
      assert_int_equal(live_and_die(round * 100 + i, false, 1, 0).verdict, RESTART_AGAIN);
    struct ops_restart_decision d = live_and_die(round * 100 + 50, true, 0, SIGKILL);
    assert_int_equal(d.verdict, RESTART_AGAIN);
    assert_int_equal(d.delay_ms, RESTART_DELAY_MS);
  }
}

static void isolating_a_record_passes(void **state)
{
  (void)state;
  /* Fifty of them, one after the other, and nothing of it counts against a worker that dies with nothing in hand. */
  for (unsigned i = 0; i < 50 * 18; i++) {
    struct ops_restart_decision d = die_holding(i * 60, true);
    assert_int_equal(d.verdict, RESTART_AGAIN);
    assert_int_equal(d.delay_ms, RESTART_DELAY_MS);
  }
  for (unsigned i = 0; i < RESTART_LOOP - 1; i++)
    assert_false(live_and_die(54000 + i, true, 0, SIGSEGV).down);
  assert_true(live_and_die(55000, true, 0, SIGSEGV).looping);
  /* And while it loops, a record is found as quickly as ever. */
  assert_int_equal(die_holding(55001, true).delay_ms, RESTART_DELAY_MS);
}

static void deaths_with_records_in_hand_have_an_end(void **state)
{
  (void)state;
  for (unsigned i = 0; i < RESTART_HOLDING - 1; i++)
    assert_int_equal(die_holding(i * 600, true).verdict, RESTART_AGAIN);
  struct ops_restart_decision d = die_holding(RESTART_HOLDING_MS - 1, true);
  assert_int_equal(d.verdict, RESTART_HOLDING_USED_UP);
  assert_int_equal(d.exit_code, 70);
  ops_restart_init(&r);
  for (unsigned i = 0; i < 5000; i++)
    assert_int_equal(die_holding(i * 601, true).verdict, RESTART_AGAIN);
  /* What a worker that was never ready seems to have in hand is its former one's. */
  ops_restart_init(&r);
  for (unsigned i = 0; i < RESTART_STARTS - 1; i++)
    assert_int_equal(die_holding(i, false).verdict, RESTART_AGAIN);
  assert_int_equal(die_holding(10, false).verdict, RESTART_STARTS_USED_UP);
}

static void a_hundred_deaths_of_an_exposed_child_within_a_minute_are_too_many(void **state)
{
  (void)state;
  r.exposed = true;
  for (unsigned i = 0; i < 99; i++)
    assert_int_equal(live_and_die(i * 600, true, 70, 0).verdict, RESTART_AGAIN);
  struct ops_restart_decision d = live_and_die(RESTART_WINDOW_MS - 1, true, 70, 0);
  assert_int_equal(d.verdict, RESTART_DEATHS_USED_UP);
  assert_int_equal(d.exit_code, 70);
}

/* One that gets ready and dies: at first at once, then down, and started as rarely as one with a broken disk, until it has served for a good while. */
static void a_crash_loop_is_down_and_waits_longer_each_time(void **state)
{
  (void)state;
  static const uint32_t delays[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
  uint64_t now_ms = 0;
  for (unsigned i = 0; i < RESTART_LOOP - 1; i++) {
    struct ops_restart_decision d = serve_and_die(&now_ms, 0, 6000, i % 2 ? 70 : 0, i % 2 ? 0 : SIGSEGV);
    assert_false(d.down || d.looping);
    assert_int_equal(d.delay_ms, RESTART_DELAY_MS);
  }
  for (unsigned i = 0; i < 8; i++) {
    struct ops_restart_decision d = serve_and_die(&now_ms, 0, i ? RESTART_WINDOW_MS - 1 : 5000, 0, SIGSEGV);
    assert_int_equal(d.verdict, RESTART_AGAIN);
    assert_true(d.down && d.looping);
    assert_int_equal(d.delay_ms, delays[i]);
    now_ms += d.delay_ms;
  }
  /* Meanwhile it cannot even start: no quicker for that. */
  for (unsigned i = 0; i < RESTART_STARTS; i++)
    if (i == RESTART_STARTS - 1)
      assert_int_equal(live_and_die(now_ms, false, 70, 0).delay_ms, RESTART_RARELY_MS);
    else
      live_and_die(now_ms, false, 70, 0);
  struct ops_restart_decision d = serve_and_die(&now_ms, RESTART_RARELY_MS, RESTART_WINDOW_MS, 0, SIGSEGV);
  assert_false(d.down || d.looping);
  assert_int_equal(d.delay_ms, RESTART_DELAY_MS);
}

static void deaths_that_come_now_and_then_are_no_loop(void **state)
{
  (void)state;
  uint64_t now_ms = 0;
  /* The tenth comes a minute of service after the first. */
  for (unsigned i = 0; i < 100; i++)
    assert_false(serve_and_die(&now_ms, 0, 6667, 0, SIGSEGV).down);
}

/* Ten openings of a big shard take longer than the window, and each of them longer than what forgets a row: what is asked is how long it served. */
static void a_shard_that_opens_slowly_loops_like_any_other(void **state)
{
  (void)state;
  static const uint32_t delays[] = {1000, 2000, 4000, 8000};
  uint64_t now_ms = 0;
  for (unsigned i = 0; i < RESTART_LOOP - 1; i++)
    assert_false(serve_and_die(&now_ms, 10 * RESTART_WINDOW_MS, 6000, 0, SIGSEGV).down);
  for (unsigned i = 0; i < 4; i++) {
    struct ops_restart_decision d = serve_and_die(&now_ms, 10 * RESTART_WINDOW_MS, 6000, 0, SIGSEGV);
    assert_true(d.down && d.looping);
    assert_int_equal(d.delay_ms, delays[i]);
  }
  ops_restart_init(&r);
  for (unsigned i = 0; i < 4; i++) {
    struct ops_restart_decision d = serve_and_die(&now_ms, 10 * RESTART_WINDOW_MS, 6000, 74, 0);
    assert_int_equal(d.down, i + 1 >= RESTART_DOWN);
    assert_int_equal(d.delay_ms, delays[i]);
  }
}

/* What the node goes on without is tried again, rarely: a fault that may pass soon at first, one that only people can mend not so. */
static void what_the_node_goes_on_without_is_tried_again(void **state)
{
  (void)state;
  static const uint32_t delays[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
  for (unsigned i = 0; i < RESTART_STARTS - 1; i++)
    assert_false(live_and_die(i, false, 74, 0).down);
  for (unsigned i = 0; i < 8; i++) {
    struct ops_restart_decision d = live_and_die(100 + i, false, 74, 0);
    assert_int_equal(d.verdict, RESTART_STARTS_USED_UP);
    assert_true(d.down);
    assert_int_equal(d.delay_ms, delays[i]);
  }
  assert_false(live_and_die(200, true, 0, SIGKILL).down); /* it was ready: all begins anew */
  assert_int_equal(live_and_die(201, false, 65, 0).delay_ms, RESTART_RARELY_MS);
  r.rarely_ms = 3000;
  for (unsigned i = 0; i < 5; i++) {
    struct ops_restart_decision d = live_and_die(300 + i, false, 65, 0);
    assert_int_equal(d.verdict, RESTART_FINAL);
    assert_true(d.down);
    assert_int_equal(d.delay_ms, 3000);
  }
}

/* One error is an accident, several are an outage; a good while of service ends it. */
static void storage_errors_that_follow_one_another_wait_longer_each_time(void **state)
{
  (void)state;
  static const uint32_t delays[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
  uint64_t now_ms = 0;
  for (unsigned i = 0; i < 8; i++) {
    struct ops_restart_decision d = serve_and_die(&now_ms, 0, RESTART_WINDOW_MS - 1, 74, 0);
    assert_int_equal(d.verdict, RESTART_AGAIN);
    assert_int_equal(d.delay_ms, delays[i]);
    assert_int_equal(d.down, i + 1 >= RESTART_DOWN);
    now_ms += d.delay_ms;
  }
  struct ops_restart_decision d = serve_and_die(&now_ms, 0, RESTART_WINDOW_MS, 74, 0);
  assert_int_equal(d.delay_ms, RESTART_RARER_MS);
  assert_false(d.down);
}

/* A damaged block that is asked for again and again stops its own shard, never the node. */
static void storage_errors_of_one_that_was_ready_never_end_the_node(void **state)
{
  (void)state;
  uint64_t now_ms = 0;
  for (unsigned i = 0; i < 1000; i++) {
    struct ops_restart_decision d = live_and_die(now_ms, true, i % 2 ? 74 : 65, 0);
    assert_int_equal(d.verdict, RESTART_AGAIN);
    now_ms += d.delay_ms;
  }
}

static void a_hundred_deaths_within_more_than_a_minute_are_not(void **state)
{
  (void)state;
  r.exposed = true;
  /* 606 ms apart: the hundredth comes 59,994 ms after the first, one more millisecond apart is 60,093. */
  for (unsigned i = 0; i < 1000; i++)
    assert_int_equal(live_and_die(i * 607, true, 70, 0).verdict, RESTART_AGAIN);
  ops_restart_init(&r);
  r.exposed = true;
  for (unsigned i = 0; i < 99; i++)
    assert_int_equal(live_and_die(i * 606, true, 70, 0).verdict, RESTART_AGAIN);
  assert_int_equal(live_and_die(99 * 606, true, 70, 0).verdict, RESTART_DEATHS_USED_UP);
}

static void what_a_restart_cannot_mend_is_final_at_once(void **state)
{
  (void)state;
  static const int final[] = {65, 73, 76, 77, 78};
  for (unsigned i = 0; i < 4; i++) {
    ops_restart_init(&r);
    struct ops_restart_decision d = live_and_die(0, false, final[i], 0);
    assert_int_equal(d.verdict, RESTART_FINAL);
    assert_int_equal(d.exit_code, final[i]);
    ops_restart_init(&r);
    assert_int_equal(live_and_die(0, true, final[i], 0).verdict, RESTART_AGAIN); /* it could start; perhaps it can again */
    ops_restart_init(&r);
    assert_int_equal(live_and_die(0, false, final[i], SIGKILL).verdict, RESTART_AGAIN); /* a signal has no exit status */
  }
  ops_restart_init(&r);
  assert_int_equal(live_and_die(0, false, 74, 0).verdict, RESTART_AGAIN);
}

static void the_node_ends_with_the_childs_own_code_where_it_says_something(void **state)
{
  (void)state;
  static const struct {
    int status, signal, code;
  } cases[] = {{69, 0, 69}, {74, 0, 74}, {0, 0, 70}, {1, 0, 70}, {64, 0, 70}, {79, 0, 70}, {73, SIGSEGV, 70}};
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    ops_restart_init(&r);
    struct ops_restart_decision d = {0};
    for (unsigned n = 0; n < RESTART_STARTS; n++)
      d = live_and_die(n, false, cases[i].status, cases[i].signal);
    assert_int_equal(d.verdict, RESTART_STARTS_USED_UP);
    assert_int_equal(d.exit_code, cases[i].code);
  }
}

/* No room on the disk, or a lock that is still held: service goes on by itself once that has passed, however long it takes. */
static void what_comes_back_by_itself_is_waited_for_without_end(void **state)
{
  (void)state;
  for (unsigned i = 0; i < 5000; i++) {
    struct ops_restart_decision d = live_and_die(i, i % 3 == 0, 75, 0);
    assert_int_equal(d.verdict, RESTART_AGAIN);
    assert_int_equal(d.delay_ms, RESTART_WANTING_MS);
    assert_true(d.wanting);
    assert_int_equal(d.down, i + 1 >= RESTART_DOWN_WANTING); /* that it gets ready now and then serves nobody */
  }
  assert_int_equal(r.wanting, 5000);
  /* It used up nothing: the limits are as at the beginning, and a signal has no exit status. */
  for (unsigned i = 0; i < RESTART_STARTS - 1; i++) {
    struct ops_restart_decision d = live_and_die(5000, false, 75, SIGKILL);
    assert_int_equal(d.verdict, RESTART_AGAIN);
    assert_int_equal(d.delay_ms, RESTART_DELAY_MS << i);
    assert_false(d.wanting);
    assert_int_equal(live_and_die(5000, false, 75, 0).verdict, RESTART_AGAIN); /* nor does it forgive anything */
  }
  assert_int_equal(live_and_die(5000, false, 70, 0).verdict, RESTART_STARTS_USED_UP);
  ops_restart_init(&r);
  for (unsigned i = 1; i < 10; i++)
    assert_int_equal(live_and_die(i, false, 75, 0).down, i >= RESTART_DOWN_WANTING);
}

/* A quota that is used up while the disk shows room: it opens, and ends at the first commit. Only one that serves for a while has what it lacked. */
static void what_is_wanting_after_each_ready_is_told(void **state)
{
  (void)state;
  uint64_t now_ms = 0;
  for (unsigned i = 1; i < 10; i++)
    assert_int_equal(serve_and_die(&now_ms, RESTART_QUIET_MS, RESTART_QUIET_MS - 1, 75, 0).down, i >= RESTART_DOWN_WANTING);
  assert_false(serve_and_die(&now_ms, 0, RESTART_QUIET_MS, 75, 0).down);
  for (unsigned i = 2; i < RESTART_DOWN_WANTING; i++)
    assert_false(serve_and_die(&now_ms, 0, 0, 75, 0).down);
  assert_true(serve_and_die(&now_ms, 0, 0, 75, 0).down);
  serve_and_die(&now_ms, 0, RESTART_QUIET_MS, 0, SIGSEGV); /* another death ends such a row as well, if it served before it */
  assert_false(serve_and_die(&now_ms, 0, 0, 75, 0).down);
  r.rarely_ms = 3000;
  for (unsigned i = 0; i < 2 * RESTART_DOWN_WANTING; i++)
    assert_false(serve_and_die(&now_ms, 0, 3000, 75, 0).down);
}

/* Whoever may connect can perhaps make an ingest die as often as he likes. */
static void what_strikes_an_exposed_child_never_ends_the_node(void **state)
{
  (void)state;
  static const uint32_t delays[] = {20, 40, 80, 160, 320, 640, 1000, 1000};
  r.exposed = true;
  assert_int_equal(live_and_die(0, true, 0, SIGABRT).verdict, RESTART_AGAIN);
  for (unsigned i = 0; i < 1000; i++) {
    struct ops_restart_decision d = live_and_die(i, i % 3 == 0, 0, SIGABRT);
    assert_int_equal(d.verdict, RESTART_AGAIN);
    assert_int_equal(d.delay_ms, i + 1 < 8 ? delays[i + 1] : RESTART_DELAY_MAX_MS);
  }
  assert_int_equal(r.strikes, 1001);
  assert_int_equal(live_and_die(998 + RESTART_QUIET_MS, true, 0, SIGABRT).delay_ms, RESTART_DELAY_MAX_MS);
  assert_int_equal(live_and_die(999 + 3 * RESTART_QUIET_MS, true, 0, SIGABRT).delay_ms, RESTART_DELAY_MS);
}

static void an_exposed_child_that_cannot_start_ends_the_node_all_the_same(void **state)
{
  (void)state;
  r.exposed = true;
  for (unsigned i = 0; i < RESTART_STARTS - 1; i++)
    assert_int_equal(live_and_die(i, false, 0, SIGSEGV).verdict, RESTART_AGAIN);
  assert_int_equal(live_and_die(5, false, 0, SIGSEGV).verdict, RESTART_STARTS_USED_UP);
  ops_restart_init(&r);
  r.exposed = true;
  assert_int_equal(live_and_die(0, true, 0, SIGABRT).verdict, RESTART_AGAIN);
  assert_int_equal(live_and_die(1, false, 73, 0).verdict, RESTART_FINAL); /* its own message says why */
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(starts_that_fail_wait_twice_as_long_and_end_at_five, begin),
      cmocka_unit_test_setup(one_good_start_forgives_the_bad_ones, begin),
      cmocka_unit_test_setup(isolating_a_record_passes, begin),
      cmocka_unit_test_setup(deaths_with_records_in_hand_have_an_end, begin),
      cmocka_unit_test_setup(a_hundred_deaths_of_an_exposed_child_within_a_minute_are_too_many, begin),
      cmocka_unit_test_setup(a_crash_loop_is_down_and_waits_longer_each_time, begin),
      cmocka_unit_test_setup(deaths_that_come_now_and_then_are_no_loop, begin),
      cmocka_unit_test_setup(a_shard_that_opens_slowly_loops_like_any_other, begin),
      cmocka_unit_test_setup(storage_errors_of_one_that_was_ready_never_end_the_node, begin),
      cmocka_unit_test_setup(what_the_node_goes_on_without_is_tried_again, begin),
      cmocka_unit_test_setup(storage_errors_that_follow_one_another_wait_longer_each_time, begin),
      cmocka_unit_test_setup(a_hundred_deaths_within_more_than_a_minute_are_not, begin),
      cmocka_unit_test_setup(what_a_restart_cannot_mend_is_final_at_once, begin),
      cmocka_unit_test_setup(what_comes_back_by_itself_is_waited_for_without_end, begin),
      cmocka_unit_test_setup(what_is_wanting_after_each_ready_is_told, begin),
      cmocka_unit_test_setup(what_strikes_an_exposed_child_never_ends_the_node, begin),
      cmocka_unit_test_setup(an_exposed_child_that_cannot_start_ends_the_node_all_the_same, begin),
      cmocka_unit_test_setup(the_node_ends_with_the_childs_own_code_where_it_says_something, begin),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
