/* core/datadir_lock.c: one node at a time, and who it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/datadir_lock.h"
#include "core/scratch_place.h"

static int setup(void **state)
{
  (void)state;
  char made[SCRATCH_BYTES];
  scratch_make(made);
  snprintf(scratch, sizeof scratch, "%s", made);
  return 0;
}

static void test_lock(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES], pid_text[32];
  struct datadir d, second;
  struct failure f = FAILURE_NONE;
  below(path, "d");
  assert_int_equal(datadir_create(&d, path, NULL), MUSTER_OK);
  assert_int_equal(datadir_open(&second, path, NULL), MUSTER_OK);
  assert_int_equal(datadir_node_pid(&d), 0);
  assert_int_equal(datadir_lock(&d, NULL), MUSTER_OK);
  assert_true(d.lock_fd >= 0);
  assert_int_equal(fcntl(d.lock_fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  assert_int_equal(datadir_node_pid(&second), getpid());
  datadir_path(&d, path, "muster.lock");
  assert_int_equal(mode_of(path), 0600);
  assert_int_equal(datadir_lock(&second, &f), MUSTER_ERR_LOCKED);
  snprintf(pid_text, sizeof pid_text, "pid %ld;", (long)getpid());
  assert_non_null(strstr(f.text, pid_text));
  assert_int_equal(second.lock_fd, -1);
  datadir_close(&d);
  assert_int_equal(d.lock_fd, -1);
  assert_int_equal(datadir_node_pid(&second), 0); /* although the file still holds a living pid */
  assert_int_equal(datadir_lock(&second, NULL), MUSTER_OK);
  datadir_close(&second);
}

static void test_lock_ends_with_its_holder(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES], byte;
  struct datadir d;
  int ends[2];
  below(path, "d");
  assert_int_equal(datadir_create(&d, path, NULL), MUSTER_OK);
  assert_int_equal(pipe(ends), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    if (datadir_lock(&d, NULL) != MUSTER_OK || write(ends[1], "x", 1) != 1)
      _exit(1);
    for (;;)
      pause();
  }
  close(ends[1]);
  assert_int_equal(read(ends[0], &byte, 1), 1);
  close(ends[0]);
  assert_int_equal(datadir_node_pid(&d), pid);
  kill(pid, SIGKILL);
  assert_int_equal(waitpid(pid, NULL, 0), pid);
  assert_int_equal(datadir_node_pid(&d), 0);
  assert_int_equal(datadir_lock(&d, NULL), MUSTER_OK);
  datadir_close(&d);
}

/* Who asks for the node's pid holds the lock shared for a moment; a node that starts just then must not be refused. */
static void test_lock_outlasts_a_question(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES], byte;
  struct datadir d;
  int ends[2];
  below(path, "d");
  assert_int_equal(datadir_create(&d, path, NULL), MUSTER_OK);
  datadir_path(&d, path, "muster.lock");
  scratch_write(path, "");
  assert_int_equal(pipe(ends), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (flock(fd, LOCK_SH) != 0 || write(ends[1], "x", 1) != 1)
      _exit(1);
    usleep(50000);
    close(fd); /* and not when the process has ended, which takes valgrind a while */
    _exit(0);
  }
  close(ends[1]);
  assert_int_equal(read(ends[0], &byte, 1), 1);
  close(ends[0]);
  assert_int_equal(datadir_lock(&d, NULL), MUSTER_OK);
  assert_int_equal(waitpid(pid, NULL, 0), pid);
  datadir_close(&d);
}

int main(void)
{
#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
  const struct CMUnitTest tests[] = {
      EACH(test_lock),
      EACH(test_lock_ends_with_its_holder),
      EACH(test_lock_outlasts_a_question),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
