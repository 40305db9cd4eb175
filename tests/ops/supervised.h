/*
 * For the tests of the supervisor: it runs in a process of its own, with children that the test's executable plays. They are started as `muster worker` and
 * `muster ingest`, and a file named after their role tells them how to behave; what they do is written to one trace. Everything lies in a scratch
 * directory of the test, and end() ends what still runs.
 */
#ifndef MUSTER_TESTS_OPS_SUPERVISED_H
#define MUSTER_TESTS_OPS_SUPERVISED_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "core/counters.h"
#include "core/scratch.h"
#include "ops/family.h"
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
  static const char last_words[] = "failed -5: cannot listen on the moon; come back in a year or two, with a longer ladder and a lamp\n";
  if (strcmp(how, "tell") == 0)
    return write(3, last_words, sizeof last_words - 1) == (ssize_t)sizeof last_words - 1 ? (int)number : 97;
  publish(root, role, index);
  const bool loops = strcmp(how, "loop") == 0; /* as die-ready, and then as open */
  if ((loops || strcmp(how, "die-ready") == 0) && life <= number) {
    if (write(3, "ready\n", 6) != 6)
      return 97;
    raise(SIGKILL);
  }
  static const char opening[] = "opening: it counts the stars, 7 of 9\n";
  if (loops || strcmp(how, "open") == 0) { /* until it is told to go on */
    const char *gate = strcmp(role, "worker-0") == 0 ? "gate-0" : "gate-1";
    snprintf(path, sizeof path, "%s/%s", root, gate);
    if (!loops && number && write(3, opening, sizeof opening - 1) != (ssize_t)sizeof opening - 1)
      return 97;
    while (access(path, F_OK) != 0)
      poll(NULL, 0, 5);
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
static uint32_t frozen_ms, opening_ms, retry_ms;

static int begin(void **state)
{
  (void)state;
  struct failure failure = FAILURE_NONE;
  scratch_make(root);
  supervisor = 0;
  frozen_ms = 1000;
  opening_ms = 30000;
  retry_ms = RETRY_MS;
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
  config.shard_retry_ms = retry_ms;
  config.frozen_ms = frozen_ms;
  config.opening_ms = opening_ms;
  datadir_path(&data, path, "log");
  fflush(stdout);
  supervisor = fork();
  assert_true(supervisor >= 0);
  if (supervisor == 0) {
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, STDERR_FILENO);
    close(fd);
    int family_fd;
    struct failure failure = FAILURE_NONE;
    if (ops_family_claim(&data, FAMILY_ENDS_MS, &family_fd, &failure) != MUSTER_OK)
      _exit(95);
    static struct ops_settings settings;
    _exit(ops_supervise_run(&data, &config, &settings, 0, family_fd, executable));
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

static struct counters_snapshot page_of(const char *role)
{
  struct counters_snapshot page;
  struct failure failure = FAILURE_NONE;
  char path[LIMIT_PATH_BYTES];
  datadir_path(&data, path, "run/counters");
  assert_int_equal(counters_read(path, role, &page, &failure), MUSTER_OK);
  return page;
}

static inline pid_t pid_of(const char *role) { return (pid_t)page_of(role).pid; }

static inline void wait_for_lives(const char *role, unsigned lives)
{
  char line[64];
  snprintf(line, sizeof line, "%s started", role);
  for (unsigned i = 0; i < 2000 && count_of("trace", line) < lives; i++)
    nap();
  assert_int_equal(count_of("trace", line), lives);
}

/* What a worker has left that was ready once: enough for the supervisor, which does not look inside. */
static inline void make_shard(uint32_t shard)
{
  char path[LIMIT_PATH_BYTES], file[LIMIT_PATH_BYTES + 16];
  datadir_shard_path(&data, path, shard);
  assert_int_equal(mkdir(path, 0700), 0);
  snprintf(file, sizeof file, "%s/created", path);
  scratch_write(file, "x");
  snprintf(file, sizeof file, "%s/data.mdb", path);
  scratch_write(file, "x");
}

/* main() of such a test is to begin with this: whether it is a child that is to be played. */
static bool is_child(int argc, char **argv) { return argc == 6 && (strcmp(argv[1], "worker") == 0 || strcmp(argv[1], "ingest") == 0); }

#endif
