/* The supervisor with children that this very executable plays: they are started as `muster worker` and `muster ingest`, and a file named after their role tells
 * them how to behave. What they do is written to one trace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "core/clock.h"
#include "core/counters.h"
#include "core/scratch.h"
#include "ops/outage.h"
#include "ops/supervise.h"

#define RETRY_MS 200

/* ---- a child ---- */

static void trace(const char *root, const char *role, const char *word)
{
  char path[LIMIT_PATH_BYTES], line[64];
  snprintf(path, sizeof path, "%s/trace", root);
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  int size = snprintf(line, sizeof line, "%s %s\n", role, word);
  if (fd < 0 || write(fd, line, (size_t)size) != size)
    _exit(99);
  close(fd);
}

/* Which life of this role it is, from 1. */
static unsigned count_life(const char *root, const char *role)
{
  char path[LIMIT_PATH_BYTES];
  struct stat info;
  snprintf(path, sizeof path, "%s/lives-%s", root, role);
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0 || write(fd, "x", 1) != 1 || fstat(fd, &info) != 0)
    _exit(99);
  close(fd);
  return (unsigned)info.st_size;
}

static void publish(const char *root, const char *role, unsigned index)
{
  char path[LIMIT_PATH_BYTES], text[128];
  static struct counters *page; /* until the end of the process */
  struct failure failure = FAILURE_NONE;
  snprintf(path, sizeof path, "%s/run/counters", root);
  if (counters_create(&page, path, role, &failure) != MUSTER_OK)
    _exit(98);
  counters_begin(page);
  counters_set(page, COUNTER_store_records, strncmp(role, "worker", 6) == 0 ? 1000 + index : 0);
  counters_end(page);
  if (strncmp(role, "ingest", 6) == 0) {
    snprintf(path, sizeof path, "%s/run/endpoint-%u", root, index);
    snprintf(text, sizeof text, "ipc:///x/submit-%u.sock\ntcp://127.0.0.1:%u\n", index, 7000 + index);
    scratch_write(path, text);
  }
}

static volatile sig_atomic_t told;
static void on_term(int number) { told = number; }

/* Until SIGTERM or the end of the supervisor. */
static int serve(const char *root, const char *role)
{
  struct pollfd lifeline = {.fd = 3, .events = POLLIN};
  struct sigaction action = {.sa_handler = on_term};
  char byte;
  sigaction(SIGTERM, &action, NULL);
  signal(SIGINT, SIG_IGN);
  if (write(3, "ready\n", 6) != 6)
    return 97;
  while (!told) {
    if (poll(&lifeline, 1, 5) > 0 && read(3, &byte, 1) <= 0) {
      trace(root, role, "orphaned");
      return 0;
    }
  }
  trace(root, role, "told");
  return 0;
}

static int behave(char **argv)
{
  const char *root = argv[3];
  char role[24], path[LIMIT_PATH_BYTES], how[32] = "";
  unsigned index = (unsigned)atoi(argv[5]), number = 0;
  snprintf(role, sizeof role, "%s-%u", argv[1], index);
  snprintf(path, sizeof path, "%s/behave-%s", root, role);
  FILE *file = fopen(path, "re");
  if (file && fscanf(file, "%31s %u", how, &number) < 1)
    _exit(96);
  if (file)
    fclose(file);
  unsigned life = count_life(root, role);
  const char *said = getenv("MUSTER_LIFELINE");
  trace(root, role, getsid(0) == getpid() && said && strcmp(said, "1") == 0 ? "started" : "started-wrongly");
  if (strcmp(how, "exit") == 0)
    return (int)number;
  static const char last_words[] = "failed: cannot listen on the moon; come back in a year or two, with a longer ladder and a lamp\n";
  if (strcmp(how, "tell") == 0)
    return write(3, last_words, sizeof last_words - 1) == (ssize_t)sizeof last_words - 1 ? (int)number : 97;
  publish(root, role, index);
  if (strcmp(how, "die-ready") == 0 && life <= number) {
    if (write(3, "ready\n", 6) != 6)
      return 97;
    raise(SIGKILL);
  }
  if (strcmp(how, "deaf") == 0) {
    signal(SIGTERM, SIG_IGN);
    if (write(3, "ready\n", 6) != 6)
      return 97;
    for (;;)
      pause();
  }
  return serve(root, role);
}

/* ---- the supervisor, in a process of its own ---- */

static char root[SCRATCH_BYTES];
static struct datadir data;
static pid_t supervisor;

static int begin(void **state)
{
  (void)state;
  struct failure failure = FAILURE_NONE;
  scratch_make(root);
  supervisor = 0;
  return datadir_create(&data, root, &failure);
}

static int end(void **state)
{
  (void)state;
  if (supervisor > 0) {
    kill(supervisor, SIGKILL); /* a test has failed before its end */
    waitpid(supervisor, NULL, 0);
  }
  scratch_remove(root);
  return 0;
}

static void tell(const char *role, const char *how)
{
  char path[LIMIT_PATH_BYTES], name[64];
  snprintf(name, sizeof name, "behave-%s", role);
  datadir_path(&data, path, name);
  scratch_write(path, how);
}

static void start(uint32_t workers, uint32_t ingests)
{
  char path[LIMIT_PATH_BYTES], executable[LIMIT_PATH_BYTES];
  struct config config;
  ssize_t size = readlink("/proc/self/exe", executable, sizeof executable - 1); /* by its path, so that it works under valgrind, too */
  assert_true(size > 0);
  executable[size] = 0;
  config_defaults(&config);
  config.workers = workers;
  config.ingests = ingests;
  config.shard_retry_ms = RETRY_MS;
  config.frozen_ms = 1000;
  datadir_path(&data, path, "log");
  fflush(stdout);
  supervisor = fork();
  assert_true(supervisor >= 0);
  if (supervisor == 0) {
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, STDERR_FILENO);
    close(fd);
    _exit(ops_supervise_run(&data, &config, 0, executable));
  }
}

/* The whole of a file of the directory; static. */
static const char *text_of(const char *name)
{
  static char text[1 << 16];
  char path[LIMIT_PATH_BYTES];
  datadir_path(&data, path, name);
  FILE *file = fopen(path, "re");
  size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
  text[size] = '\0';
  if (file)
    fclose(file);
  return text;
}

static void nap(void) { nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL); }

static void wait_for(const char *name, const char *text)
{
  for (unsigned i = 0; i < 2000; i++, nap())
    if (strstr(text_of(name), text))
      return;
  fail_msg("no \"%s\" in %s:\n%s", text, name, text_of(name));
}

static int exit_code(void)
{
  int status;
  assert_int_equal(waitpid(supervisor, &status, 0), supervisor);
  supervisor = 0;
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static unsigned count_of(const char *name, const char *text)
{
  unsigned count = 0;
  for (const char *at = strstr(text_of(name), text); at; at = strstr(at + 1, text))
    count++;
  return count;
}

static const char *last_line(void)
{
  static char line[1024];
  char *text = strdup(text_of("log"));
  text[strlen(text) - 1] = '\0';
  const char *last = strrchr(text, '\n');
  snprintf(line, sizeof line, "%s", last ? last + 1 : text);
  free(text);
  return line;
}

/* ---- the tests ---- */

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

static void what_dies_is_started_again(void **state)
{
  (void)state;
  struct counters_snapshot page;
  struct failure failure = FAILURE_NONE;
  char path[LIMIT_PATH_BYTES];
  tell("worker-0", "die-ready 25");
  start(1, 1);
  for (unsigned i = 0; i < 2000 && count_of("trace", "worker-0 started") < 26; i++)
    nap();
  assert_int_equal(count_of("trace", "worker-0 started"), 26);
  wait_for("log", "muster: ready:");
  datadir_path(&data, path, "run/counters");
  assert_int_equal(counters_read(path, "run", &page, &failure), MUSTER_OK);
  assert_int_equal(page.value[COUNTER_restarts], 25);
  kill(supervisor, SIGINT);
  assert_int_equal(exit_code(), 0);
  assert_int_equal(count_of("log", "was_ready=1"), 25);
}

static void what_a_restart_cannot_mend_ends_the_node_at_once(void **state)
{
  (void)state;
  tell("worker-1", "exit 78");
  start(2, 1);
  assert_int_equal(exit_code(), 78);
  assert_int_equal(count_of("trace", "worker-1 started"), 1);
  assert_int_equal(count_of("trace", "ingest-0 started"), 0);
  assert_int_equal(count_of("log", "muster: ready:"), 0);
  assert_non_null(strstr(last_line(), "muster: worker-1 cannot run (exit status 78)"));
}

/* What a worker has left that was ready once: enough for the supervisor, which does not look inside. */
static void make_shard(uint32_t shard)
{
  char path[LIMIT_PATH_BYTES], file[LIMIT_PATH_BYTES + 16];
  datadir_shard_path(&data, path, shard);
  assert_int_equal(mkdir(path, 0700), 0);
  snprintf(file, sizeof file, "%s/created", path);
  scratch_write(file, "x");
  snprintf(file, sizeof file, "%s/data.mdb", path);
  scratch_write(file, "x");
}

/* How many the supervisor counts as down. */
static uint64_t shards_down(void)
{
  struct counters_snapshot page;
  struct failure failure = FAILURE_NONE;
  char path[LIMIT_PATH_BYTES];
  datadir_path(&data, path, "run/counters");
  assert_int_equal(counters_read(path, "run", &page, &failure), MUSTER_OK);
  return page.value[COUNTER_shards_down];
}

static void a_shard_that_cannot_start_leaves_the_others(void **state)
{
  (void)state;
  struct ops_outage outage;
  make_shard(0);
  make_shard(1);
  make_shard(2);
  tell("worker-1", "tell 65");
  start(3, 1);
  wait_for("log", "muster: ready:");
  assert_non_null(strstr(text_of("log"), " 2 of 3 workers \302\267 2,002 records \302\267 the other shards are down: muster status"));
  assert_int_equal(shards_down(), 1);
  assert_true(ops_outage_read(&data, 1, &outage));
  assert_string_equal(outage.cause, "cannot listen on the moon; come back in a year or two, with a longer ladder and a lamp");
  assert_int_equal(outage.retry_ms, RETRY_MS);
  assert_true(outage.since_us > 0);
  assert_false(ops_outage_read(&data, 0, &outage));
  wait_for("trace", "worker-1 started\nworker-1 started\nworker-1 started\n"); /* again and again */
  assert_int_equal(count_of("log", "event=shard.down"), 1);
  tell("worker-1", "serve");
  wait_for("log", "event=shard.up shard=1");
  assert_int_equal(shards_down(), 0);
  assert_false(ops_outage_read(&data, 1, &outage));
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 0);
  assert_int_equal(count_of("trace", "worker-1 told"), 1);
}

static void without_any_shard_the_node_ends(void **state)
{
  (void)state;
  make_shard(0);
  make_shard(1);
  tell("worker-0", "tell 65");
  tell("worker-1", "tell 76");
  start(2, 1);
  int code = exit_code();
  assert_true(code == 65 || code == 76); /* the last one's */
  assert_int_equal(count_of("trace", "ingest-0 started"), 0);
  assert_non_null(strstr(last_line(), " cannot run: cannot listen on the moon"));
}

/* Nothing was ever stored in it, so nobody waits for it; and what is in no shard's power concerns all. */
static void a_shard_that_cannot_be_made_and_wrong_settings_end_the_node(void **state)
{
  (void)state;
  make_shard(0);
  tell("worker-1", "exit 65");
  start(2, 1);
  assert_int_equal(exit_code(), 65);
  make_shard(1);
  tell("worker-1", "exit 78");
  start(2, 1);
  assert_int_equal(exit_code(), 78);
  assert_int_equal(count_of("log", "event=shard.down"), 0);
}

/* A worker would make a new, empty store there, and what was acknowledged would be forgotten. */
static void a_shard_whose_data_is_gone_is_not_begun_anew(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES + 16];
  struct ops_outage outage;
  make_shard(0);
  make_shard(1);
  datadir_shard_path(&data, path, 1);
  strcat(path, "/data.mdb");
  assert_int_equal(unlink(path), 0);
  start(2, 1);
  wait_for("log", "1 of 2 workers");
  assert_int_equal(count_of("trace", "worker-1 started"), 0);
  assert_true(ops_outage_read(&data, 1, &outage));
  assert_non_null(strstr(outage.cause, "shard 1 is missing"));
  scratch_write(path, "x");
  wait_for("log", "event=shard.up shard=1");
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 0);
}

/* A worker that crashes at each start, long after the node was ready. */
static void a_shard_that_is_lost_while_the_node_serves_leaves_the_others(void **state)
{
  (void)state;
  struct counters_snapshot page;
  struct failure failure = FAILURE_NONE;
  char path[LIMIT_PATH_BYTES];
  make_shard(0);
  make_shard(1);
  start(2, 1);
  wait_for("log", "muster: ready:");
  tell("worker-0", "exit 78");
  datadir_path(&data, path, "run/counters");
  assert_int_equal(counters_read(path, "worker-0", &page, &failure), MUSTER_OK);
  kill((pid_t)page.pid, SIGKILL);
  wait_for("log", "event=shard.down shard=0");
  assert_int_equal(count_of("trace", "worker-1 told") + count_of("trace", "ingest-0 told"), 0);
  tell("worker-0", "serve");
  wait_for("log", "event=shard.up shard=0");
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 0);
}

static void what_a_child_said_of_its_failure_is_the_last_word(void **state)
{
  (void)state;
  tell("ingest-0", "tell 73");
  start(1, 1);
  assert_int_equal(exit_code(), 73);
  assert_string_equal(last_line(),
                      "muster: ingest-0 cannot run: cannot listen on the moon; come back in a year or two, with a longer ladder "
                      "and a lamp; the node has ended; its data directory stays as it is");
}

static void a_child_that_never_starts_has_a_last_word(void **state)
{
  (void)state;
  tell("ingest-0", "exit 3");
  start(1, 1);
  assert_int_equal(exit_code(), 70);
  assert_int_equal(count_of("trace", "ingest-0 started"), 5);
  assert_int_equal(count_of("trace", "worker-0 told"), 1);
  assert_non_null(strstr(last_line(), "muster: ingest-0 died 5 times in a row before it was ready, last by exit status 3"));
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

static pid_t pid_of(const char *role)
{
  struct counters_snapshot page;
  struct failure failure = FAILURE_NONE;
  char path[LIMIT_PATH_BYTES];
  datadir_path(&data, path, "run/counters");
  assert_int_equal(counters_read(path, role, &page, &failure), MUSTER_OK);
  return (pid_t)page.pid;
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
  for (unsigned i = 0; i < 1000 && count_of("trace", "worker-0 started") < 2; i++)
    nap();
  assert_int_equal(count_of("trace", "worker-0 started"), 2);
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
  for (unsigned i = 0; i < 1000 && count_of("trace", "worker-1 started") < 2; i++)
    nap();
  assert_int_equal(count_of("trace", "worker-1 started"), 2);
  assert_int_equal(count_of("trace", "worker-0 started"), 1); /* alive, and with nothing to do */
  assert_int_equal(count_of("trace", "ingest-0 started"), 1);
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 0);
}

/* The next one waits for what the dead one has left. */
static void two_families_never_meet(void **state)
{
  (void)state;
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
  kill(supervisor, SIGHUP); /* ignored */
  nap();
  kill(supervisor, SIGKILL);
  assert_int_equal(waitpid(supervisor, NULL, 0), supervisor);
  supervisor = 0;
  wait_for("trace", "worker-0 orphaned");
  wait_for("trace", "ingest-0 orphaned");
}

int main(int argc, char **argv)
{
  if (argc == 6 && (strcmp(argv[1], "worker") == 0 || strcmp(argv[1], "ingest") == 0))
    return behave(argv);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(ready_and_drained_in_order, begin, end),
      cmocka_unit_test_setup_teardown(what_dies_is_started_again, begin, end),
      cmocka_unit_test_setup_teardown(what_a_restart_cannot_mend_ends_the_node_at_once, begin, end),
      cmocka_unit_test_setup_teardown(a_shard_that_cannot_start_leaves_the_others, begin, end),
      cmocka_unit_test_setup_teardown(without_any_shard_the_node_ends, begin, end),
      cmocka_unit_test_setup_teardown(a_shard_that_cannot_be_made_and_wrong_settings_end_the_node, begin, end),
      cmocka_unit_test_setup_teardown(a_shard_whose_data_is_gone_is_not_begun_anew, begin, end),
      cmocka_unit_test_setup_teardown(a_shard_that_is_lost_while_the_node_serves_leaves_the_others, begin, end),
      cmocka_unit_test_setup_teardown(what_a_child_said_of_its_failure_is_the_last_word, begin, end),
      cmocka_unit_test_setup_teardown(a_child_that_never_starts_has_a_last_word, begin, end),
      cmocka_unit_test_setup_teardown(a_second_signal_ends_at_once, begin, end),
      cmocka_unit_test_setup_teardown(a_deaf_ingest_is_killed_when_its_time_is_up, begin, end),
      cmocka_unit_test_setup_teardown(a_worker_that_dies_while_ingests_drain_comes_back, begin, end),
      cmocka_unit_test_setup_teardown(what_is_frozen_is_started_again, begin, end),
      cmocka_unit_test_setup_teardown(two_families_never_meet, begin, end),
      cmocka_unit_test_setup_teardown(the_children_see_the_end_of_the_supervisor, begin, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
