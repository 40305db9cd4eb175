/* core/child.c: a child as the supervisor has it, forked, with a lifeline on descriptor 3, and one by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/child.h"
#include "core/log.h"
#include "core/scratch.h"

#define ENDED_BY_DRAIN 10
#define ENDED_BY_ORPHAN 20
#define ENDED_BY_REREAD 40 /* and what was read is right */
#define ENDED_BY_STOP 30   /* the loop was stopped without a callback */
#define WAIT_MS 5000

static char directory[SCRATCH_BYTES], data[SCRATCH_BYTES + 8], pages[SCRATCH_BYTES + 32], settings[SCRATCH_BYTES + 32];

static int setup(void **state)
{
  (void)state;
  struct datadir d;
  scratch_make(directory);
  snprintf(data, sizeof data, "%s/d", directory);
  snprintf(pages, sizeof pages, "%s/run/counters", data);
  snprintf(settings, sizeof settings, "%s/run/node.conf", data);
  if (datadir_create(&d, data, NULL) != MUSTER_OK)
    return -1;
  scratch_write(settings, "[node]\nlog_level = error\n[ingest]\ncredit = 77\n");
  unsetenv("MUSTER_LIFELINE");
  return 0;
}

static int teardown(void **state)
{
  (void)state;
  scratch_remove(directory);
  return 0;
}

/* ---- the child's side ---- */

struct ending {
  const struct child *child;
  uv_loop_t *loop;
  int cause;
};

static void on_drain(void *context)
{
  struct ending *e = context;
  e->cause = ENDED_BY_DRAIN;
  uv_stop(e->loop);
}

static void on_orphan(void *context)
{
  struct ending *e = context;
  e->cause = ENDED_BY_ORPHAN;
  uv_stop(e->loop);
}

/* credit is taken over, peers is not, and a file with a mistake never comes so far. */
static void on_reread(void *context)
{
  struct ending *e = context;
  const struct config *c = &e->child->config;
  if (c->credit == 77)
    return; /* the same again */
  e->cause = c->credit == 78 && c->peers == 1024 && strcmp(c->log_level, "warn") == 0 ? ENDED_BY_REREAD : 8;
  uv_stop(e->loop);
}

static int play(bool callbacks)
{
  uv_loop_t loop;
  struct ending ending = {.loop = &loop, .cause = ENDED_BY_STOP};
  struct child c = {.context = &ending};
  struct failure f = FAILURE_NONE;
  ending.child = &c;
  if (callbacks) {
    c.on_reread = on_reread;
    c.on_drain = on_drain;
    c.on_orphan = on_orphan;
  }
  if (uv_loop_init(&loop) != 0)
    return 2;
  if (child_init(&c, &loop, data, "worker-0", &f) != MUSTER_OK)
    return 3;
  if (c.config.credit != 77 || strcmp(c.data.root, data) != 0)
    return 4;
  struct sigaction pipe_action;
  if (sigaction(SIGPIPE, NULL, &pipe_action) != 0 || pipe_action.sa_handler != SIG_IGN)
    return 5;
  child_ready(&c);
  uv_run(&loop, UV_RUN_DEFAULT);
  struct counters_snapshot page;
  if (ending.cause == ENDED_BY_STOP)
    failure_set(&f, MUSTER_ERR_CREATE, "what could not be had");
  if (ending.cause == ENDED_BY_DRAIN && (counters_read(pages, "worker-0", &page, NULL) != MUSTER_OK || page.state != PROCESS_DRAINING))
    return 6;
  child_finish(&c);
  return uv_loop_close(&loop) == 0 ? ending.cause : 7;
}

/* lifeline: the supervisor's end, or -1 for a child by hand whose descriptor 3 is something else. */
static pid_t start(int *lifeline, bool callbacks)
{
  int ends[2] = {-1, -1};
  if (lifeline != NULL)
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (lifeline != NULL) {
      const int high = fcntl(ends[1], F_DUPFD_CLOEXEC, 10);
      close(ends[0]); /* or it would hold itself alive */
      close(ends[1]);
      dup2(high, 3);
      close(high);
      setenv("MUSTER_LIFELINE", "1", 1);
    }
    log_init("worker-0", LOG_ERROR);
    _exit(play(callbacks));
  }
  if (lifeline != NULL) {
    close(ends[1]);
    *lifeline = ends[0];
  }
  return pid;
}

/* ---- the supervisor's side ---- */

static void await_word(int lifeline)
{
  char text[16] = "";
  struct pollfd waits = {.fd = lifeline, .events = POLLIN};
  assert_int_equal(poll(&waits, 1, WAIT_MS), 1);
  assert_int_equal(read(lifeline, text, sizeof text), 6);
  assert_string_equal(text, "ready\n");
}

static void await_state(enum process_state wanted, struct counters_snapshot *page)
{
  for (int i = 0; i < WAIT_MS; i++) {
    if (counters_read(pages, "worker-0", page, NULL) == MUSTER_OK && page->state == wanted)
      return;
    usleep(1000);
  }
  fail_msg("the state %d was not reached", (int)wanted);
}

static int await_end(pid_t pid)
{
  for (int i = 0; i < WAIT_MS; i++) {
    int status;
    if (waitpid(pid, &status, WNOHANG) == pid)
      return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    usleep(1000);
  }
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  return -1000;
}

static void test_ready_then_drained(void **state)
{
  (void)state;
  int lifeline;
  struct counters_snapshot page;
  const pid_t pid = start(&lifeline, true);
  await_word(lifeline);
  await_state(PROCESS_SERVING, &page);
  assert_int_equal(page.pid, pid);
  assert_int_equal(write(lifeline, "nothing of meaning", 18), 18);
  kill(pid, SIGINT);
  usleep(100000);
  assert_int_equal(waitpid(pid, NULL, WNOHANG), 0); /* the terminal's signal is the supervisor's business */
  kill(pid, SIGTERM);
  assert_int_equal(await_end(pid), ENDED_BY_DRAIN);
  assert_int_equal(counters_read(pages, "worker-0", &page, NULL), MUSTER_OK);
  assert_int_equal(page.state, PROCESS_STOPPED);
  char byte;
  assert_int_equal(read(lifeline, &byte, 1), 0); /* "ready" was said once */
  close(lifeline);
}

/* A file with a mistake changes nothing, and the process goes on; the next line finds it mended. */
static void test_reread(void **state)
{
  (void)state;
  int lifeline;
  struct counters_snapshot page;
  const pid_t pid = start(&lifeline, true);
  await_word(lifeline);
  scratch_write(settings, "[ingest]\ncredit = 78\npeers = x\n");
  assert_int_equal(write(lifeline, CHILD_REREAD, strlen(CHILD_REREAD)), strlen(CHILD_REREAD));
  assert_int_equal(counters_read(pages, "worker-0", &page, NULL), MUSTER_OK);
  const int64_t first_us = page.beat_us; /* a beat later the line has been read */
  for (int i = 0; i < WAIT_MS && page.beat_us == first_us; i++) {
    usleep(1000);
    assert_int_equal(counters_read(pages, "worker-0", &page, NULL), MUSTER_OK);
  }
  assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
  scratch_write(settings, "[node]\nlog_level = warn\n[ingest]\ncredit = 78\npeers = 5\n");
  assert_int_equal(write(lifeline, CHILD_REREAD CHILD_REREAD, 2 * strlen(CHILD_REREAD)), 2 * strlen(CHILD_REREAD));
  assert_int_equal(await_end(pid), ENDED_BY_REREAD);
  close(lifeline);
}

static void test_orphan(void **state)
{
  (void)state;
  int lifeline;
  const pid_t pid = start(&lifeline, true);
  await_word(lifeline);
  close(lifeline);
  assert_int_equal(await_end(pid), ENDED_BY_ORPHAN);
}

/* Gone before the child was ready: its word finds nobody, and it ends all the same. */
static void test_orphan_from_the_start(void **state)
{
  (void)state;
  int lifeline;
  const pid_t pid = start(&lifeline, true);
  close(lifeline);
  assert_int_equal(await_end(pid), ENDED_BY_ORPHAN);
}

static void test_without_callbacks_the_loop_stops(void **state)
{
  (void)state;
  int lifeline;
  char said[64] = "";
  pid_t pid = start(&lifeline, false);
  await_word(lifeline);
  kill(pid, SIGTERM);
  assert_int_equal(await_end(pid), ENDED_BY_STOP);
  assert_true(read(lifeline, said, sizeof said - 1) > 0);
  assert_string_equal(said, "failed -16: what could not be had\n");
  close(lifeline);
  pid = start(&lifeline, false);
  await_word(lifeline);
  close(lifeline);
  assert_int_equal(await_end(pid), ENDED_BY_STOP);
}

/* Descriptor 3 is a pipe at its end, but nobody said that it is the lifeline. */
static void test_by_hand(void **state)
{
  (void)state;
  int ends[2];
  struct counters_snapshot page;
  assert_int_equal(pipe(ends), 0);
  const int saved = fcntl(3, F_DUPFD_CLOEXEC, 20);
  const int other = fcntl(ends[0], F_DUPFD_CLOEXEC, 20);
  close(ends[0]);
  close(ends[1]);
  assert_int_equal(dup2(other, 3), 3);
  const pid_t pid = start(NULL, true);
  await_state(PROCESS_SERVING, &page);
  usleep(100000);
  assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
  kill(pid, SIGTERM);
  assert_int_equal(await_end(pid), ENDED_BY_DRAIN);
  close(other);
  close(3);
  if (saved >= 0) {
    dup2(saved, 3);
    close(saved);
  }
}

static void test_heart_beats(void **state)
{
  (void)state;
  int lifeline;
  struct counters_snapshot page;
  const pid_t pid = start(&lifeline, true);
  await_word(lifeline);
  await_state(PROCESS_SERVING, &page);
  const int64_t first_us = page.beat_us;
  for (int i = 0; i < WAIT_MS && page.beat_us < first_us + 1500000; i++) {
    usleep(1000);
    assert_int_equal(counters_read(pages, "worker-0", &page, NULL), MUSTER_OK);
  }
  assert_in_range(page.beat_us - first_us, 1500000, 4000000); /* the second of two */
  close(lifeline);
  assert_int_equal(await_end(pid), ENDED_BY_ORPHAN);
}

/* In this process, so that a leak shows. */
static void test_init_and_finish(void **state)
{
  (void)state;
  uv_loop_t loop;
  struct child c = {0};
  struct failure f = FAILURE_NONE;
  assert_int_equal(uv_loop_init(&loop), 0);
  for (int round = 0; round < 2; round++) {
    assert_int_equal(child_init(&c, &loop, data, "ingest-0", &f), MUSTER_OK);
    assert_string_equal(c.role, "ingest-0");
    assert_false(c.has_lifeline);
    child_ready(&c);
    child_finish(&c);
    child_finish(&c);
  }
  assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_init_fails_whole(void **state)
{
  (void)state;
  uv_loop_t loop;
  struct child c = {0};
  struct failure f = FAILURE_NONE;
  struct counters_snapshot page;
  assert_int_equal(uv_loop_init(&loop), 0);
  scratch_write(settings, "[node]\nworkers = 2\n[nod]\n");
  assert_int_equal(child_init(&c, &loop, data, "ingest-0", &f), MUSTER_ERR_CONFIG);
  assert_non_null(strstr(f.text, "node.conf:3:"));
  assert_int_equal(unlink(settings), 0);
  assert_int_equal(child_init(&c, &loop, data, "ingest-0", NULL), MUSTER_ERR_CONFIG);
  assert_int_equal(child_init(&c, &loop, pages, "ingest-0", NULL), MUSTER_ERR_CONFIG);
  assert_int_equal(child_init(&c, &loop, "/nonexistent", "ingest-0", NULL), MUSTER_ERR_NOT_FOUND);
  scratch_write(settings, "[node]\nworkers = 2\n");
  assert_int_equal(child_init(&c, &loop, data, "NO ROLE", NULL), MUSTER_ERR_USAGE);
  assert_int_equal(counters_read(pages, "ingest-0", &page, NULL), MUSTER_ERR_NOT_FOUND);
  assert_int_equal(uv_loop_close(&loop), 0);
}

/* A lifeline that cannot tell of its end is none: the child says so, and has closed what it opened. */
static int play_with_half_a_lifeline(void)
{
  int ends[2];
  uv_loop_t loop;
  struct child c = {0};
  struct counters_snapshot page;
  if (pipe(ends) != 0)
    return 1;
  const int high = fcntl(ends[1], F_DUPFD_CLOEXEC, 10);
  close(ends[0]);
  close(ends[1]);
  if (dup2(high, 3) != 3 || setenv("MUSTER_LIFELINE", "1", 1) != 0 || uv_loop_init(&loop) != 0)
    return 2;
  if (child_init(&c, &loop, data, "ingest-0", NULL) != MUSTER_ERR_IO)
    return 3;
  if (counters_read(pages, "ingest-0", &page, NULL) != MUSTER_OK || page.state != PROCESS_STOPPED)
    return 4;
  return uv_loop_close(&loop) == 0 ? 0 : 5;
}

static void test_half_a_lifeline(void **state)
{
  (void)state;
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    _exit(play_with_half_a_lifeline());
  }
  assert_int_equal(await_end(pid), 0);
}

int main(void)
{
#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
  const struct CMUnitTest tests[] = {
      EACH(test_ready_then_drained),
      EACH(test_reread),
      EACH(test_orphan),
      EACH(test_orphan_from_the_start),
      EACH(test_without_callbacks_the_loop_stops),
      EACH(test_by_hand),
      EACH(test_heart_beats),
      EACH(test_init_and_finish),
      EACH(test_init_fails_whole),
      EACH(test_half_a_lifeline),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
