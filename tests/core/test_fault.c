/* core/fault.c: each form of MUSTER_FAULT, in a forked process of its own, since it is read once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "core/fault.h"
#include "core/scratch.h"

#ifdef MUSTER_FAULTS

/* What a process with this setting sees in count hits of a point with the text: bit i is the answer to hit i. Or its death. */
struct outcome {
  unsigned hits; /* bits */
  int error;     /* errno after the last true one */
  int signal;    /* 0: it ended by itself */
  int exit_code;
};

static struct outcome run(const char *setting, const char *once, const char *point, const char *text, unsigned count)
{
  struct outcome o = {0};
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  const pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    setenv("MUSTER_FAULT", setting, 1);
    if (once != NULL)
      setenv("MUSTER_FAULT_ONCE_DIR", once, 1);
    for (unsigned i = 0; i < count; i++) {
      errno = 0;
      const bool hit = text == NULL ? FAULT(point) : FAULT_TEXT(point, text, strlen(text));
      if (hit) {
        o.hits |= 1u << i;
        o.error = errno;
      }
    }
    _exit(write(ends[1], &o, sizeof o) == sizeof o ? 0 : 1);
  }
  close(ends[1]);
  int status;
  assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
  if (WIFSTOPPED(status)) {
    o.signal = WSTOPSIG(status);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
  } else if (WIFSIGNALED(status)) {
    o.signal = WTERMSIG(status);
  } else if (WEXITSTATUS(status) == 0) {
    assert_int_equal(read(ends[0], &o, sizeof o), sizeof o);
  } else {
    o.exit_code = WEXITSTATUS(status);
  }
  close(ends[0]);
  return o;
}

static void test_fail_and_full(void **state)
{
  (void)state;
  struct outcome o = run("a.point:fail", NULL, "a.point", NULL, 4);
  assert_int_equal(o.hits, 1);
  assert_int_equal(o.error, EIO);
  o = run("a.point:full:3", NULL, "a.point", NULL, 5);
  assert_int_equal(o.hits, 4);
  assert_int_equal(o.error, ENOSPC);
  assert_int_equal(run("a.point:fail:always", NULL, "a.point", NULL, 5).hits, 31);
  assert_int_equal(run("a.point:fail:2,other:kill,a.point:full:4", NULL, "a.point", NULL, 5).hits, 10);
  assert_int_equal(run("a.point:fail", NULL, "a.pointed", NULL, 3).hits, 0);
  assert_int_equal(run("", NULL, "a.point", NULL, 3).hits, 0);
}

static void test_kill_and_stop(void **state)
{
  (void)state;
  assert_int_equal(run("a.point:kill", NULL, "a.point", NULL, 1).signal, SIGKILL);
  assert_int_equal(run("a.point:stop:2", NULL, "a.point", NULL, 2).signal, SIGSTOP);
  assert_int_equal(run("a.point:kill:3", NULL, "a.point", NULL, 2).signal, 0);
}

static void test_text(void **state)
{
  (void)state;
  assert_int_equal(run("a.point=poison:fail:always", NULL, "a.point", "some poison here", 2).hits, 3);
  assert_int_equal(run("a.point=poison:fail:always", NULL, "a.point", "some poisom here", 2).hits, 0);
  assert_int_equal(run("a.point=poison:fail:always", NULL, "a.point", NULL, 2).hits, 0);
  assert_int_equal(run("a.point=poison:fail:2", NULL, "a.point", "poison", 3).hits, 2);
}

static void test_once_for_all_processes(void **state)
{
  (void)state;
  char directory[SCRATCH_BYTES];
  scratch_make(directory);
  assert_int_equal(run("a.point:kill:always", directory, "a.point", NULL, 1).signal, SIGKILL);
  assert_int_equal(run("a.point:kill:always", directory, "a.point", NULL, 3).signal, 0);
  assert_int_equal(run("b.point:stop", directory, "b.point", NULL, 1).signal, SIGSTOP);
  assert_int_equal(run("b.point:stop", directory, "b.point", NULL, 1).signal, 0);
  assert_int_equal(run("a.point:fail", directory, "a.point", NULL, 1).hits, 1);
  scratch_remove(directory);
}

static void test_mistyped_setting_ends_the_process(void **state)
{
  (void)state;
  static const char *const wrong[] = {"a.point",        "a.point:",       "a.point:explode", ":fail",
                                      "a.point:fail:0", "a.point:fail:x", "a.point:fail:1x", "b:fail,,"};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
    assert_int_equal(run(wrong[i], NULL, "a.point", NULL, 1).exit_code, 78);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_fail_and_full),
      cmocka_unit_test(test_kill_and_stop),
      cmocka_unit_test(test_text),
      cmocka_unit_test(test_once_for_all_processes),
      cmocka_unit_test(test_mistyped_setting_ends_the_process),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

/* Without the fault points they must be constants, whatever the environment says: an array's size shows it. */
static void test_points_are_nothing(void **state)
{
  (void)state;
  static const char none[1 + FAULT("a.point") + FAULT_TEXT("a.point", "x", 1)] = "";
  setenv("MUSTER_FAULT", "a.point:fail:always", 1);
  assert_int_equal(FAULT("a.point"), 0);
  assert_int_equal(sizeof none, 1);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_points_are_nothing)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
