/*
 * Fails every call that the store makes, one after the other, in one process and without a node, so that thousands are
 * affordable: for each scenario, class of calls and way to fail, N = 1, 2, ... until the scenario passes untouched. Each
 * run is a child on a fresh copy of what the scenario begins with. It must answer rightly or say what was wrong, and give
 * back every descriptor; a second child, to which nothing happens, then holds what is there against all that was
 * acknowledged, and goes on with it.
 *   drive_store SEED short|full [SCENARIO [CLASS HOW N]]
 * Prints TAP-like lines and last "N scenarios, M violations".
 */
#include "tests/faults/drive_store.h"

#include <dirent.h>
#include <errno.h>
#include <sys/sendfile.h>

#include "muster/status.h"
#include "tests/faults/fail.h"

#define SECONDS_MAX 60
/* Runs for each way to fail in the short form, beside those that find out how many calls there are. */
#define SHORT_RUNS 4u
#define SHORT_RUNS_HEAVY 1u
#define SHORT_WAYS 3u /* one way to fail in so many */
#define SHORT_WAYS_HEAVY 8u

struct outcome *outcome;

int violate(const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  if (!outcome->violation[0])
    vsnprintf(outcome->violation, sizeof outcome->violation, format, arguments);
  va_end(arguments);
  return -1;
}

int tell(const char *doing, int status, const struct failure *failure)
{
  if (status >= 0 || strcmp(muster_status_name(status), "unknown") == 0)
    return violate("%s: status %d is none", doing, status);
  if (strlen(failure->text) < 20)
    return violate("%s: %s without a word (\"%s\")", doing, muster_status_name(status), failure->text);
  if (status == MUSTER_ERR_CORRUPT)
    return violate("%s: a call that failed is told as damage: %s", doing, failure->text);
  outcome->told = true;
  return 1;
}

static const struct way {
  enum fail_class class;
  const char *how;
  int error;
  bool lasting;
} ways[] = {{FAIL_READ, "EIO", EIO, false},           {FAIL_READ, "EINTR", EINTR, false},   {FAIL_WRITE, "EIO", EIO, false},
            {FAIL_WRITE, "ENOSPC", ENOSPC, false},    {FAIL_WRITE, "EINTR", EINTR, false},  {FAIL_WRITE, "SHORT", 0, false},
            {FAIL_WRITE, "ENOSPC-on", ENOSPC, true},  {FAIL_SYNC, "EIO", EIO, false},       {FAIL_SYNC, "EIO-on", EIO, true},
            {FAIL_OPEN, "EMFILE", EMFILE, false},     {FAIL_OPEN, "EACCES", EACCES, false}, {FAIL_MAP, "ENOMEM", ENOMEM, false},
            {FAIL_FILE, "EIO", EIO, false},           {FAIL_FILE, "ENOSPC", ENOSPC, false}, {FAIL_MEMORY, "ENOMEM", ENOMEM, false},
            {FAIL_MEMORY, "ENOMEM-on", ENOMEM, true}, {FAIL_FILE, "EINTR", EINTR, false}};

/* ---- files ---- */

/* Whatever lies in a directory. */
static void empty(const char *path)
{
  DIR *directory = opendir(path);
  char file[900];
  for (struct dirent *entry; directory && (entry = readdir(directory));) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
      continue;
    snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
    if (entry->d_type == DT_DIR) {
      empty(file);
      rmdir(file);
    } else {
      unlink(file);
    }
  }
  if (directory)
    closedir(directory);
}

static void copy_file(const char *from, const char *to)
{
  struct stat st;
  const int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  assert_true(in >= 0 && out >= 0 && fstat(in, &st) == 0);
  for (off_t at = 0; at < st.st_size;)
    assert_true(sendfile(out, in, &at, (size_t)(st.st_size - at)) > 0);
  close(in);
  close(out);
}

static void copy(const char *from, const char *to)
{
  DIR *directory = opendir(from);
  char source[900], target[900];
  assert_non_null(directory);
  for (struct dirent *entry; (entry = readdir(directory));) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
      continue;
    snprintf(source, sizeof source, "%s/%s", from, entry->d_name);
    snprintf(target, sizeof target, "%s/%s", to, entry->d_name);
    if (entry->d_type == DT_DIR) {
      mkdir(target, 0700);
      copy(source, target);
    } else if (entry->d_type == DT_REG) {
      copy_file(source, target);
    }
  }
  closedir(directory);
}

/* How many this process has open. */
static unsigned descriptors(void)
{
  unsigned count = 0;
  DIR *directory = opendir("/proc/self/fd");
  while (directory && readdir(directory))
    count++;
  if (directory)
    closedir(directory);
  return count;
}

/* ---- running ---- */

/* A directory of its own, with that of a shard in it, empty. */
struct place {
  char root[256];
  struct fixture x;
};

static void place_make(struct place *p)
{
  fixture_make(&p->x);
  snprintf(p->root, sizeof p->root, "%s", p->x.path);
  snprintf(p->x.path + strlen(p->x.path), sizeof p->x.path - strlen(p->x.path), "/shard");
  assert_int_equal(mkdir(p->x.path, 0700), 0);
}

static void place_remove(const struct place *p)
{
  empty(p->root);
  rmdir(p->root);
}

/* Runs body in a child; false where a signal ended it, which is a violation. */
static bool in_child(const char *what, void (*body)(void *context), void *context)
{
  int status;
  fflush(NULL);
  const pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    alarm(SECONDS_MAX);
    body(context);
    _exit(0);
  }
  assert_int_equal(waitpid(pid, &status, 0), pid);
  if (WIFSIGNALED(status))
    violate("%s ended by signal %d%s", what, WTERMSIG(status), WTERMSIG(status) == SIGALRM ? ": it does not end by itself" : "");
  else if (WEXITSTATUS(status))
    violate("%s ended with %d", what, WEXITSTATUS(status));
  return !WIFSIGNALED(status);
}

struct run {
  const struct scenario *scenario;
  const char *root; /* of x */
  struct fixture *x;
  const struct way *way;
  unsigned long nth;
};

static void run_make(void *context)
{
  const struct run *run = context;
  run->scenario->make(run->x);
}

static void run_faulty(void *context)
{
  const struct run *run = context;
  const unsigned before = descriptors();
  const bool hard = (run->way->class == FAIL_WRITE || run->way->class == FAIL_SYNC) && run->way->error == EIO;
  outcome->fired = true; /* where it does not come back */
  fail_arm(run->way->class, run->nth, run->way->error, run->way->lasting);
  const int code = run->scenario->run(run->x);
  outcome->fired = fail_fired();
  fail_arm(FAIL_NONE, 0, 0, false);
  outcome->finished = true;
  if (code == 0 && outcome->fired && hard && run->scenario->strict)
    violate("it calls itself done past a failed %s", fail_classes[run->way->class]);
  const unsigned after = descriptors();
  if (after != before)
    violate("%u descriptors are open afterwards, %u before", after, before);
}

static void run_check(void *context)
{
  const struct run *run = context;
  run->scenario->check(run->x);
}

static struct {
  uint64_t seed;
  bool full;
  unsigned long runs, violations, told;
} all;

/* false: the call of that number is not made any more. */
static bool one_run(const struct run *run, const struct outcome *before, const char *template)
{
  empty(run->root);
  copy(template, run->root);
  *outcome = *before;
  in_child("the process", run_faulty, (void *)(uintptr_t)run);
  const bool fired = outcome->fired;
  if (!outcome->violation[0])
    in_child("the check", run_check, (void *)(uintptr_t)run);
  if (!fired && outcome->told)
    violate("an error was told although nothing failed");
  all.runs += fired;
  all.told += outcome->told;
  if (outcome->violation[0]) {
    all.violations++;
    printf("not ok - store, %s: %s %s, call %lu: %s\n#   replay: build/faults/drive_store %llu full %s %s %s %lu\n", run->scenario->name,
           fail_classes[run->way->class], run->way->how, run->nth, outcome->violation, (unsigned long long)all.seed, run->scenario->name,
           fail_classes[run->way->class], run->way->how, run->nth);
  }
  return fired;
}

/* How many such calls a run makes, about. */
static unsigned long calls_of(struct run run, const struct outcome *before, const char *template)
{
  unsigned long low = 1;
  for (unsigned long high = 1;; high *= 2) { /* the last that fires lies between low and high */
    run.nth = high;
    if (!one_run(&run, before, template))
      return low == high ? 0 : high - 1;
    low = high + 1;
  }
}

static void one_way(struct run *run, const struct outcome *before, const char *template)
{
  if (all.full) {
    for (run->nth = 1; one_run(run, before, template); run->nth++)
      ;
    return;
  }
  const unsigned long most = calls_of(*run, before, template);
  for (unsigned i = 0; i < (run->scenario->heavy ? SHORT_RUNS_HEAVY : SHORT_RUNS) && most > i; i++) {
    run->nth = 1 + fixture_mix(all.seed + i) % most;
    one_run(run, before, template);
  }
}

static bool chosen(const char *argument, const char *name) { return !argument || strcmp(argument, name) == 0; }

/* number: of the scenario, for the choice of ways. */
static void one_scenario(const struct scenario *scenario, uint64_t number, int argc, char **argv)
{
  struct place work, template;
  place_make(&work);
  place_make(&template);
  struct run run = {.scenario = scenario, .root = template.root, .x = &template.x};
  const unsigned long runs = all.runs, violations = all.violations, told = all.told;
  memset(outcome, 0, sizeof *outcome);
  if (scenario->make)
    in_child("the beginning", run_make, &run);
  if (outcome->violation[0])
    printf("not ok - store, %s: its beginning: %s\n", scenario->name, outcome->violation), all.violations++;
  const struct outcome before = *outcome;
  run.root = work.root;
  run.x = &work.x;
  for (size_t i = 0; i < sizeof ways / sizeof *ways && !before.violation[0]; i++) {
    run.way = &ways[i];
    if (!chosen(argc > 4 ? argv[4] : NULL, fail_classes[run.way->class]) || !chosen(argc > 5 ? argv[5] : NULL, run.way->how))
      continue;
    if (!all.full && (i + fixture_mix(all.seed + number)) % (scenario->heavy ? SHORT_WAYS_HEAVY : SHORT_WAYS))
      continue;
    if (argc > 6) {
      run.nth = strtoul(argv[6], NULL, 10);
      one_run(&run, &before, template.root);
    } else {
      one_way(&run, &before, template.root);
    }
  }
  if (all.runs == runs && all.violations == violations)
    printf("not ok - store, %s: no call has failed\n", scenario->name), all.violations++;
  if (all.violations == violations)
    printf("ok - store, %s: %lu calls failed, %lu of them told as an error, the others borne\n", scenario->name, all.runs - runs,
           all.told - told);
  place_remove(&work);
  place_remove(&template);
}

static const struct scenario *const all_scenarios[] = {scenarios_of_store, scenarios_of_backup};

int main(int argc, char **argv)
{
  all.seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
  all.full = argc > 2 && strcmp(argv[2], "full") == 0;
  outcome = mmap(NULL, sizeof *outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if ((void *)outcome == MAP_FAILED)
    return 71;
  uint64_t number = 0;
  for (size_t i = 0; i < sizeof all_scenarios / sizeof *all_scenarios; i++)
    for (const struct scenario *s = all_scenarios[i]; s->name; s++, number++)
      if (chosen(argc > 3 ? argv[3] : NULL, s->name))
        one_scenario(s, number, argc, argv);
  printf("%lu scenarios, %lu violations\n", all.runs, all.violations);
  return all.violations || !all.runs;
}
