/* The lock of a family: the next supervisor waits for what a dead one has left, kills what does not end, and starts beside none of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "core/counters_page.h"
#include "ops/data_root.h"
#include "ops/family.h"

#define LONG_MS 10000u
#define SHORT_MS 50u
#define KILLED_MS 250u /* a killed process has as long as that to be gone */

static void nap_ms(long ms) { nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL); }

static bool in_bracket; /* the next one that is left behind is held up in an update of its page */

/* A child that holds the family's lock for so long, with a page of its own where it has a role; ready when it is there. */
static pid_t leave_behind(const char *role, long ms)
{
  int fd, ready[2];
  char byte;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(ops_family_claim(&data, SHORT_MS, &fd, &failure), MUSTER_OK);
  assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  assert_int_equal(pipe(ready), 0);
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    struct counters *page = NULL;
    char path[LIMIT_PATH_BYTES];
    datadir_path(&data, path, "run/counters");
    if (role && counters_create(&page, path, role, NULL) != MUSTER_OK)
      _exit(99);
    if (in_bracket)
      counters_begin(page);
    if (write(ready[1], "r", 1) != 1)
      _exit(98);
    nap_ms(ms);
    _exit(0);
  }
  close(fd);
  close(ready[1]);
  assert_int_equal(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  return child;
}

static int status_of(pid_t child)
{
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  return status;
}

static void what_ends_by_itself_is_waited_for(void **state)
{
  (void)state;
  int fd;
  struct failure failure = FAILURE_NONE;
  const pid_t child = leave_behind("ingest-0", 100);
  assert_int_equal(ops_family_claim(&data, LONG_MS, &fd, &failure), MUSTER_OK);
  assert_int_equal(status_of(child), 0); /* not killed */
  close(fd);
}

static void expect_killed(pid_t child)
{
  int fd;
  struct failure failure = FAILURE_NONE;
  kill(child, SIGSTOP);
  const int claimed = ops_family_claim(&data, KILLED_MS, &fd, &failure);
  kill(child, SIGCONT);
  if (claimed != MUSTER_OK)
    kill(child, SIGTERM);
  const int status = status_of(child);
  assert_int_equal(claimed, MUSTER_OK);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  close(fd);
}

static void what_is_frozen_is_killed(void **state)
{
  (void)state;
  expect_killed(leave_behind("worker-1", 3000));
}

/* Its page has no consistent moment then, and tells all the same whose it is. */
static void what_is_frozen_in_an_update_of_its_page_is_killed(void **state)
{
  (void)state;
  in_bracket = true;
  const pid_t child = leave_behind("worker-1", 3000);
  in_bracket = false;
  expect_killed(child);
}

/* The node was replaced by another build's, whose counters this one cannot read. */
static void what_another_build_left_is_killed(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES];
  const uint32_t version = PAGE_VERSION + 1;
  const uint64_t hash = 1;
  const pid_t child = leave_behind("ingest-0", 3000);
  datadir_path(&data, path, "run/counters/ingest-0");
  const int page = open(path, O_WRONLY | O_CLOEXEC);
  assert_true(page >= 0);
  assert_int_equal(pwrite(page, &version, sizeof version, offsetof(struct counters_page, version)), sizeof version);
  assert_int_equal(pwrite(page, &hash, sizeof hash, offsetof(struct counters_page, list_hash)), sizeof hash);
  assert_int_equal(ftruncate(page, sizeof(struct counters_page) + 4096), 0);
  close(page);
  expect_killed(child);
}

/* Nobody but a child is killed, and where nothing can be done the next node does not start beside what is there. */
static void what_cannot_be_ended_refuses_the_start(void **state)
{
  (void)state;
  int fd;
  char pid[32];
  struct failure failure = FAILURE_NONE;
  const pid_t child = leave_behind("run", 3000);
  assert_int_equal(ops_family_claim(&data, SHORT_MS, &fd, &failure), MUSTER_ERR_LOCKED);
  assert_int_equal(fd, -1);
  assert_non_null(strstr(failure.text, root));
  snprintf(pid, sizeof pid, "pid %d", (int)child);
  assert_null(strstr(failure.text, pid));
  assert_non_null(strstr(failure.text, "none of them was killed"));
  assert_non_null(strstr(failure.text, "/run/family.lock is held"));
  assert_non_null(strstr(failure.text, "try again")); /* the sentence is whole */
  assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
  kill(child, SIGKILL);
  status_of(child);
}

/* The system did not tell when a child has started, so the process with its pid may be anybody: it is let be, and named. */
static void what_cannot_be_told_from_a_stranger_is_not_killed(void **state)
{
  (void)state;
  int fd;
  char path[LIMIT_PATH_BYTES], pid[64];
  struct failure failure = FAILURE_NONE;
  const uint64_t unknown = UINT64_MAX;
  const pid_t child = leave_behind("worker-1", 3000);
  datadir_path(&data, path, "run/counters/worker-1");
  const int page = open(path, O_WRONLY | O_CLOEXEC);
  assert_true(page >= 0);
  assert_int_equal(pwrite(page, &unknown, sizeof unknown, offsetof(struct counters_page, start_ticks)), sizeof unknown);
  close(page);
  assert_int_equal(ops_family_claim(&data, SHORT_MS, &fd, &failure), MUSTER_ERR_LOCKED);
  snprintf(pid, sizeof pid, "worker-1 with pid %d,", (int)child);
  assert_non_null(strstr(failure.text, pid));
  assert_non_null(strstr(failure.text, "was not killed"));
  assert_non_null(strstr(failure.text, "try again"));
  assert_int_equal(waitpid(child, NULL, WNOHANG), 0);
  kill(child, SIGKILL);
  status_of(child);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(what_ends_by_itself_is_waited_for, begin, end),
      cmocka_unit_test_setup_teardown(what_is_frozen_is_killed, begin, end),
      cmocka_unit_test_setup_teardown(what_is_frozen_in_an_update_of_its_page_is_killed, begin, end),
      cmocka_unit_test_setup_teardown(what_another_build_left_is_killed, begin, end),
      cmocka_unit_test_setup_teardown(what_cannot_be_ended_refuses_the_start, begin, end),
      cmocka_unit_test_setup_teardown(what_cannot_be_told_from_a_stranger_is_not_killed, begin, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
