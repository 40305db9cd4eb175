#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/procstat.h"

static char state_of(pid_t pid)
{
  struct procstat stat;
  return procstat_read((uint32_t)pid, &stat) == PROCSTAT_TOLD ? stat.state : '?';
}

static void of_a_process_that_runs(void **state)
{
  (void)state;
  struct procstat own, same;
  assert_int_equal(procstat_read((uint32_t)getpid(), &own), PROCSTAT_TOLD);
  assert_int_equal(own.state, 'R');
  assert_true(own.start_ticks > 0);
  assert_int_equal(procstat_read((uint32_t)getpid(), &same), PROCSTAT_TOLD);
  assert_true(own.start_ticks == same.start_ticks);
  struct procstat first;
  assert_int_equal(procstat_read(1, &first), PROCSTAT_TOLD);
  assert_true(first.start_ticks <= own.start_ticks);
}

/* Its name looks like what follows the name. */
static void a_name_may_hold_anything(void **state)
{
  (void)state;
  struct procstat before, after;
  char kept[16];
  assert_int_equal(prctl(PR_GET_NAME, kept), 0);
  assert_int_equal(procstat_read((uint32_t)getpid(), &before), PROCSTAT_TOLD);
  assert_int_equal(prctl(PR_SET_NAME, "a) Z 1 (b) T 2"), 0);
  const enum procstat_told told = procstat_read((uint32_t)getpid(), &after);
  prctl(PR_SET_NAME, kept);
  assert_int_equal(told, PROCSTAT_TOLD);
  assert_int_equal(after.state, 'R');
  assert_true(after.start_ticks == before.start_ticks);
}

static void of_one_that_is_stopped_dead_and_gone(void **state)
{
  (void)state;
  struct procstat stat;
  siginfo_t info;
  const pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    raise(SIGSTOP);
    _exit(0);
  }
  assert_int_equal(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOWAIT), 0);
  assert_int_equal(state_of(pid), 'T');
  kill(pid, SIGKILL);
  assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
  assert_int_equal(state_of(pid), 'Z');
  assert_int_equal(waitpid(pid, NULL, 0), pid);
  assert_int_equal(procstat_read((uint32_t)pid, &stat), PROCSTAT_NONE);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(of_a_process_that_runs),
      cmocka_unit_test(a_name_may_hold_anything),
      cmocka_unit_test(of_one_that_is_stopped_dead_and_gone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
