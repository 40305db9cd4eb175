/* The phases of a node: ready, drained in order, ended at once, and what is watched meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "core/clock.h"
#include "tests/ops/supervised.h"

static void ready_and_drained_in_order(void **state)
{
  (void)state;
  start(2, 2);
  wait_for("log", "muster: ready:");
  assert_non_null(strstr(text_of("log"),
                         "muster: ready: ipc:///x/submit-0.sock ipc:///x/submit-1.sock tcp://127.0.0.1:7000 tcp://127.0.0.1:7001 "
                         "\302\267 2 workers \302\267 2,001 records\n"));
  assert_string_equal(text_of("run/endpoints"),
                      "ipc:///x/submit-0.sock\nipc:///x/submit-1.sock\ntcp://127.0.0.1:7000\ntcp://127.0.0.1:7001\n");
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 0);
  assert_string_equal(last_line(), "muster: stopped: 2,001 records, all answered");
  assert_int_equal(count_of("log", "muster: ready:"), 1);
  assert_int_equal(count_of("trace", "started-wrongly"), 0);
  const char *lines = text_of("trace");
  assert_true(strstr(lines, "worker-1 started") < strstr(lines, "ingest-0 started"));
  assert_true(strstr(lines, "ingest-0 told") < strstr(lines, "worker-0 told"));
  assert_true(strstr(lines, "ingest-1 told") < strstr(lines, "worker-1 told"));
  assert_string_equal(text_of("run/endpoints"), "");
}

static void a_second_signal_ends_at_once(void **state)
{
  (void)state;
  tell("ingest-0", "deaf");
  start(1, 1);
  wait_for("log", "muster: ready:");
  kill(supervisor, SIGTERM);
  wait_for("log", "node.draining");
  uint64_t start_ns = clock_monotonic_ns();
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 75);
  assert_true(clock_monotonic_ns() - start_ns < 2000000000u);
  assert_non_null(strstr(last_line(), "muster: stopped: 1,000 records; some submitters had no answer yet"));
}

static void a_deaf_ingest_is_killed_when_its_time_is_up(void **state)
{
  (void)state;
  tell("ingest-0", "deaf");
  start(1, 1);
  wait_for("log", "muster: ready:");
  uint64_t start_ns = clock_monotonic_ns();
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 75);
  uint64_t took_ns = clock_monotonic_ns() - start_ns;
  assert_true(took_ns > 5000000000u && took_ns < 10000000000u);
  assert_int_equal(count_of("trace", "worker-0 told"), 1); /* the worker still closes in good order */
}

static void a_worker_that_dies_while_ingests_drain_comes_back(void **state)
{
  (void)state;
  tell("ingest-0", "deaf");
  start(1, 1);
  wait_for("log", "muster: ready:");
  kill(supervisor, SIGTERM);
  wait_for("log", "node.draining");
  kill(pid_of("worker-0"), SIGKILL);
  wait_for_lives("worker-0", 2);
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 75);
}

static void what_is_frozen_is_started_again(void **state)
{
  (void)state;
  start(2, 1);
  wait_for("log", "muster: ready:");
  kill(pid_of("worker-1"), SIGSTOP);
  wait_for("log", "event=child.frozen child=worker-1 ");
  wait_for_lives("worker-1", 2);
  assert_int_equal(count_of("trace", "worker-0 started"), 1); /* alive, and with nothing to do */
  assert_int_equal(count_of("trace", "ingest-0 started"), 1);
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 0);
}

/* Looks are a second apart; a time between two of them is not cut short. */
static void what_is_frozen_has_all_of_its_time(void **state)
{
  (void)state;
  struct timespec from, to;
  frozen_ms = 1990;
  start(1, 1);
  wait_for("log", "muster: ready:");
  clock_gettime(CLOCK_MONOTONIC, &from);
  kill(pid_of("worker-0"), SIGSTOP);
  wait_for("log", "event=child.frozen child=worker-0 ");
  clock_gettime(CLOCK_MONOTONIC, &to);
  assert_true((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 >= frozen_ms);
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 0);
}

/* The next one waits for what the dead one has left. */
static void two_families_never_meet(void **state)
{
  (void)state;
  make_shard(0);
  start(1, 1);
  wait_for("log", "muster: ready:");
  const pid_t worker = pid_of("worker-0");
  kill(worker, SIGSTOP);
  kill(supervisor, SIGKILL);
  assert_int_equal(waitpid(supervisor, NULL, 0), supervisor);
  start(1, 1);
  for (unsigned i = 0; i < 60; i++, nap()) /* longer than any start takes, and for that nothing is lost where it is not */
    assert_int_equal(count_of("trace", "worker-0 started"), 1);
  kill(worker, SIGCONT);
  for (unsigned i = 0; i < 1000 && count_of("log", "muster: ready:") < 2; i++)
    nap();
  const char *text = text_of("trace"), *orphaned = strstr(text, "worker-0 orphaned"),
             *second = strstr(strstr(text, "worker-0 started") + 1, "worker-0 started");
  assert_true(orphaned && second && orphaned < second);
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 0);
}

static void the_children_see_the_end_of_the_supervisor(void **state)
{
  (void)state;
  start(1, 1);
  wait_for("log", "muster: ready:");
  kill(supervisor, SIGHUP); /* read again what is the same, and go on */
  nap();
  kill(supervisor, SIGKILL);
  assert_int_equal(waitpid(supervisor, NULL, 0), supervisor);
  supervisor = 0;
  wait_for("trace", "worker-0 orphaned");
  wait_for("trace", "ingest-0 orphaned");
}

int main(int argc, char **argv)
{
  if (is_child(argc, argv))
    return behave(argv);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(ready_and_drained_in_order, begin, end),
      cmocka_unit_test_setup_teardown(a_second_signal_ends_at_once, begin, end),
      cmocka_unit_test_setup_teardown(a_deaf_ingest_is_killed_when_its_time_is_up, begin, end),
      cmocka_unit_test_setup_teardown(a_worker_that_dies_while_ingests_drain_comes_back, begin, end),
      cmocka_unit_test_setup_teardown(what_is_frozen_is_started_again, begin, end),
      cmocka_unit_test_setup_teardown(what_is_frozen_has_all_of_its_time, begin, end),
      cmocka_unit_test_setup_teardown(two_families_never_meet, begin, end),
      cmocka_unit_test_setup_teardown(the_children_see_the_end_of_the_supervisor, begin, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
