/*
 * Fails every call that the store makes, one after the other, in one process and without a node, so that thousands are
 * affordable: for each scenario, class of calls and way to fail, N = 1, 2, ... until the scenario passes untouched. Each
 * run is a child on a fresh copy of the scenario's shard. It must answer rightly or say what was wrong; a second child,
 * to which nothing happens, then opens the shard again and holds it against all that was acknowledged.
 *   drive_store SEED short|full [SCENARIO [CLASS HOW N]]
 * Prints TAP-like lines and last "N scenarios, M violations".
 */
#include "tests/store/fixture.h"

#include <dirent.h>
#include <errno.h>
#include <sys/sendfile.h>

#include "muster/status.h"
#include "tests/faults/fail.h"

#define SECONDS_MAX 60
/* Runs for each way to fail in the short form, beside those that find out how many calls there are. */
#define SHORT_RUNS 4u
#define SHORT_RUNS_HEAVY 1u
#define SHORT_WAYS 2u /* one way to fail in so many */
#define SHORT_WAYS_HEAVY 5u

/* What a run leaves behind, whatever becomes of its process. */
static struct outcome {
  bool fired, finished, told;                       /* told: an error, with a sentence */
  uint64_t acknowledged, attempted;                 /* records, from the first sequence on */
  uint64_t refused_acknowledged, refused_attempted; /* entries of the quarantine, at least and at most */
  char violation[640];
} * outcome;

static int violate(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int violate(const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  if (!outcome->violation[0])
    vsnprintf(outcome->violation, sizeof outcome->violation, format, arguments);
  va_end(arguments);
  return -1;
}

/* An operation that has failed must say so in words, with one of the codes. */
static int tell(const char *doing, int status, const struct failure *failure)
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

/* ---- what is done: 0 right, 1 told, -1 violated ---- */

static int do_open(struct fixture *x, struct store **s)
{
  struct failure failure = FAILURE_NONE;
  const int status = store_open(s, &x->options, &failure);
  return status ? tell("open", status, &failure) : 0;
}

static int do_start(struct fixture *x)
{
  struct store *s;
  const int code = do_open(x, &s);
  if (!code)
    store_close(s);
  return code;
}

/* Appends count records, and refused ones, in one commit. */
static int do_commit(struct store *s, uint64_t count, uint64_t refused)
{
  struct failure failure = FAILURE_NONE;
  bool bad = store_begin(s) != MUSTER_OK;
  for (uint64_t i = 0; i < count && !bad; i++) {
    struct fixture_record r;
    uint64_t sequence;
    uint8_t digest[16];
    const uint64_t n = outcome->attempted;
    const struct store_receipt receipt = {.submitter = (uint32_t)(n % 3), .received_us = (int64_t)(1000 + n / 10)};
    fixture_record(&r, n, 0);
    const uint64_t fingerprint = store_fingerprint(s, r.id);
    const int found = store_find(s, r.id, fingerprint, &sequence, digest);
    if (found == 1)
      return violate("a new record was found as sequence %llu", (unsigned long long)sequence);
    bad = found < 0 || store_append(s, &r.view, r.digest, fingerprint, &receipt) == 0;
    outcome->attempted += !bad;
  }
  for (uint64_t i = 0; i < refused; i++) {
    uint8_t bytes[3000] = {0};
    const uint64_t n = outcome->refused_attempted++;
    store_u64(bytes, n);
    store_quarantine(s, bytes, n % 2 ? 100 : sizeof bytes, 7, 0, &(struct store_receipt){.submitter = (uint32_t)(n % 3), .received_us = 5});
  }
  const int status = store_commit(s, &failure);
  if (!status && bad)
    return violate("a commit went well behind an error");
  if (!status) {
    outcome->acknowledged += count;
    outcome->refused_acknowledged = outcome->refused_attempted;
    return 0;
  }
  if (store_begin(s) == MUSTER_OK)
    return violate("the shard goes on after a failed commit");
  return tell("commit", status, &failure);
}

static int do_commits(struct fixture *x, unsigned commits, uint64_t count, uint64_t refused)
{
  struct store *s;
  int code = do_open(x, &s);
  if (code)
    return code;
  for (unsigned i = 0; i < commits && !code; i++)
    code = do_commit(s, count, refused);
  store_close(s);
  return code;
}

static int do_commit_blocks(struct fixture *x) { return do_commits(x, 5, 40, 0); }
static int do_commit_single(struct fixture *x) { return do_commits(x, 20, 1, 0); }
static int do_growth(struct fixture *x) { return do_commits(x, 4, 6000, 0); }
static int do_fold(struct fixture *x) { return do_commits(x, 2, 700, 0); }
static int do_refuse(struct fixture *x) { return do_commits(x, 4, 2, 6); }

static int each_name(void *context, const struct store_refused *entry)
{
  struct store_refused_name **next = context;
  *(*next)++ = entry->name;
  return 0;
}

static int do_drop(struct fixture *x)
{
  struct store_refused_name names[64], *next = names;
  struct store_reader *r;
  struct store *s;
  struct store_dropped dropped;
  struct failure failure = FAILURE_NONE;
  char request[LIMIT_PATH_BYTES];
  int status = store_reader_open(&r, x->path, &failure);
  if (!status) {
    status = store_reader_quarantine(r, each_name, &next, &failure);
    if (!status && next - names != 24)
      return violate("%td refused records are listed of 24", next - names);
    if (!status)
      status = store_reader_drop(r, STORE_DROP_ALWAYS, names, 10, request, &failure);
    store_reader_close(r);
  }
  outcome->refused_acknowledged -= 10; /* whether it is asked for is known when the call has returned */
  if (status)
    return tell("drop", status, &failure);
  outcome->refused_attempted -= 10;
  int code = do_open(x, &s);
  if (code)
    return code;
  status = store_drop_requested(s, &dropped, &failure);
  store_close(s);
  if (!status && dropped.damaged)
    return violate("a sound request is called damaged");
  return status ? tell("carrying out", status, &failure) : 0;
}

static int each_record(void *context, const struct store_record *record)
{
  struct fixture_record r;
  uint64_t *count = context;
  fixture_record(&r, *count, 0);
  if (record->sequence != *count + 1 || record->size != r.size || memcmp(record->bytes, r.bytes, r.size) != 0)
    return violate("sequence %llu is another record than was stored", (unsigned long long)record->sequence);
  ++*count;
  return 0;
}

static int each_cell(void *context, const struct store_tally_cell *cell)
{
  *(uint64_t *)context += cell->count;
  return 0;
}

static int each_refused(void *context, const struct store_refused *entry)
{
  (void)entry;
  ++*(uint64_t *)context;
  return 0;
}

/* Scan, search, tally and quarantine: all of it, or an error. */
static int do_read(struct fixture *x)
{
  struct store_reader *r;
  struct failure failure = FAILURE_NONE;
  struct fixture_record last;
  uint64_t records = 0, cells = 0, refused = 0, found = outcome->attempted - 1;
  int status = store_reader_open(&r, x->path, &failure);
  if (status)
    return tell("reader", status, &failure);
  fixture_record(&last, found, 0);
  status = store_reader_scan(r, 1, UINT64_MAX, each_record, &records, &failure);
  if (!status)
    status = store_reader_tally(r, each_cell, &cells, &failure);
  if (!status)
    status = store_reader_quarantine(r, each_refused, &refused, &failure);
  if (!status && (status = store_reader_find(r, last.id, each_record, &found, &failure)) == 0)
    violate("a stored id is not found");
  store_reader_close(r);
  if (outcome->violation[0])
    return -1;
  if (status < 0)
    return tell("reading", status, &failure);
  if (records != outcome->attempted || cells != outcome->attempted || refused != outcome->refused_attempted || found != outcome->attempted)
    return violate("read without an error: %llu records, tally %llu, %llu refused", (unsigned long long)records, (unsigned long long)cells,
                   (unsigned long long)refused);
  return 0;
}

static int do_verify(struct fixture *x)
{
  struct fixture_faults faults = {0};
  struct store_verify_result result;
  struct failure failure = FAILURE_NONE;
  const int status = store_verify(x->path, fixture_report, &faults, NULL, &result, &failure);
  if (faults.count)
    return violate("verify finds damage where a call has failed: %s", faults.first);
  if (!status && result.records != outcome->attempted)
    return violate("verify read %llu records without an error", (unsigned long long)result.records);
  return status ? tell("verify", status, &failure) : 0;
}

static void each_lost(void *context, uint64_t first, uint64_t last) { *(uint64_t *)context += last - first + 1; }

struct salvaged {
  uint64_t next, lost;
};

static int each_salvaged(void *context, const struct store_record *record)
{
  struct salvaged *s = context;
  s->next = record->sequence - 1;
  return each_record(&s->next, record);
}

/* What cannot be read is told as not there: that is its purpose. */
static int do_salvage(struct fixture *x)
{
  struct salvaged s = {0};
  struct store_salvage_result result;
  struct failure failure = FAILURE_NONE;
  const struct store_salvage how = {.each = each_salvaged, .lost = each_lost, .context = &s};
  const int status = store_salvage(x->path, &how, &result, &failure);
  if (status)
    return outcome->violation[0] ? -1 : tell("salvage", status, &failure);
  if (result.records + result.lost != outcome->attempted && result.end_known)
    return violate("salvage gave %llu records and told of %llu lost", (unsigned long long)result.records, (unsigned long long)result.lost);
  return 0;
}

/* ---- the shards that the scenarios begin with ---- */

static void make_small(struct fixture *x) { do_commits(x, 5, 40, 0); }
static void make_refused(struct fixture *x) { do_commits(x, 3, 10, 8); }
static void make_many(struct fixture *x) { do_commits(x, 2, 65300, 0); } /* 472 short of a fold, which a clean close does before its time */

static void without_hint(struct fixture *x)
{
  char file[320];
  make_small(x);
  fixture_file(x, file, "index.hint");
  unlink(file);
}

/* As after a kill: nothing is folded, and there is no hint. */
static void make_unfolded(struct fixture *x)
{
  struct store *s;
  if (do_open(x, &s) == 0 && do_commit(s, 65500, 0) == 0)
    do_commit(s, 65000, 0);
}

static const struct scenario {
  const char *name;
  void (*make)(struct fixture *x); /* NULL: an empty directory */
  int (*run)(struct fixture *x);
  bool heavy;
} scenarios[] = {
    {"create", NULL, do_start, false},
    {"start-with-hint", make_small, do_start, false},
    {"start-without-hint", without_hint, do_start, false},
    {"commit-blocks", make_small, do_commit_blocks, false},
    {"commit-single", make_small, do_commit_single, false},
    {"first-commit", NULL, do_commit_blocks, false},
    {"refuse", make_refused, do_refuse, false},
    {"drop", make_refused, do_drop, false},
    {"read", make_refused, do_read, false},
    {"verify", make_refused, do_verify, false},
    {"salvage", make_refused, do_salvage, false},
    {"index-growth", make_small, do_growth, true},
    {"tally-fold", make_unfolded, do_fold, true},
    {"read-many", make_many, do_read, true},
};

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

/* ---- running ---- */

static void empty(const char *path)
{
  DIR *directory = opendir(path);
  char file[600];
  for (struct dirent *entry; directory && (entry = readdir(directory));) {
    snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
    unlink(file);
  }
  if (directory)
    closedir(directory);
}

static void copy(const char *from, const char *to)
{
  DIR *directory = opendir(from);
  char file[600];
  assert_non_null(directory);
  for (struct dirent *entry; (entry = readdir(directory));) {
    struct stat st;
    snprintf(file, sizeof file, "%s/%s", from, entry->d_name);
    const int in = open(file, O_RDONLY | O_CLOEXEC);
    if (in < 0 || fstat(in, &st) != 0 || !S_ISREG(st.st_mode)) {
      close(in);
      continue;
    }
    snprintf(file, sizeof file, "%s/%s", to, entry->d_name);
    const int out = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (off_t at = 0; at < st.st_size;)
      assert_true(sendfile(out, in, &at, (size_t)(st.st_size - at)) > 0);
    close(in);
    close(out);
  }
  closedir(directory);
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
  outcome->fired = true; /* where it does not come back */
  fail_arm(run->way->class, run->nth, run->way->error, run->way->lasting);
  run->scenario->run(run->x);
  outcome->fired = fail_fired();
  fail_arm(FAIL_NONE, 0, 0, false);
  outcome->finished = true;
}

/* Everything acknowledged is there, in its place, whole; what else is there was submitted; and the shard goes on. */
static void run_check(void *context)
{
  const struct run *run = context;
  struct fixture *x = run->x;
  struct failure failure = FAILURE_NONE;
  struct fixture_faults faults = {0};
  struct store_verify_result result;
  struct store_facts facts;
  struct store_dropped dropped;
  struct store *s;
  uint64_t count = 0;
  struct store_reader *r;
  int status = store_open(&s, &x->options, &failure);
  if (status) {
    violate("a clean restart is refused: %s", failure.text);
    return;
  }
  store_drop_requested(s, &dropped, &failure);
  store_facts(s, &facts);
  if (facts.records < outcome->acknowledged || facts.records > outcome->attempted)
    violate("%llu records after a restart, %llu acknowledged, %llu attempted", (unsigned long long)facts.records,
            (unsigned long long)outcome->acknowledged, (unsigned long long)outcome->attempted);
  if (facts.quarantined < outcome->refused_acknowledged || facts.quarantined > outcome->refused_attempted)
    violate("%llu refused records after a restart, %llu to %llu expected", (unsigned long long)facts.quarantined,
            (unsigned long long)outcome->refused_acknowledged, (unsigned long long)outcome->refused_attempted);
  const uint64_t step = facts.records > 1000 ? 97 : 1;
  if (store_begin(s) != MUSTER_OK)
    violate("a clean restart cannot begin");
  for (uint64_t n = 0; n < facts.records; n += step)
    fixture_expect(s, n, n + 1);
  store_commit(s, &failure);
  fixture_fill(s, facts.records, facts.records + 3, 2);
  store_close(s);
  if (store_verify(x->path, fixture_report, &faults, NULL, &result, &failure) || faults.count || result.records != facts.records + 3)
    violate("verify: %llu records of %llu: %s %s", (unsigned long long)result.records, (unsigned long long)facts.records + 3, faults.first,
            failure.text);
  if (store_reader_open(&r, x->path, &failure) || store_reader_scan(r, 1, UINT64_MAX, each_record, &count, &failure) ||
      count != facts.records + 3)
    violate("export: %llu records of %llu: %s", (unsigned long long)count, (unsigned long long)facts.records + 3, failure.text);
}

static struct {
  uint64_t seed;
  bool full;
  unsigned long runs, violations, told;
} all;

/* false: the call of that number is not made any more. */
static bool one_run(const struct run *run, const struct outcome *before, const char *template)
{
  empty(run->x->path);
  copy(template, run->x->path);
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

static void one_scenario(const struct scenario *scenario, int argc, char **argv)
{
  struct fixture work, template;
  fixture_make(&work);
  fixture_make(&template);
  struct run run = {.scenario = scenario, .x = &template};
  const unsigned long runs = all.runs, violations = all.violations, told = all.told;
  memset(outcome, 0, sizeof *outcome);
  if (scenario->make)
    in_child("the beginning", run_make, &run);
  if (outcome->violation[0])
    printf("not ok - store, %s: its beginning: %s\n", scenario->name, outcome->violation), all.violations++;
  const struct outcome before = *outcome;
  run.x = &work;
  for (size_t i = 0; i < sizeof ways / sizeof *ways && !before.violation[0]; i++) {
    run.way = &ways[i];
    if (!chosen(argc > 4 ? argv[4] : NULL, fail_classes[run.way->class]) || !chosen(argc > 5 ? argv[5] : NULL, run.way->how))
      continue;
    if (!all.full && fixture_mix(all.seed + i + (uint64_t)(scenario - scenarios)) % (scenario->heavy ? SHORT_WAYS_HEAVY : SHORT_WAYS))
      continue;
    if (argc > 6) {
      run.nth = strtoul(argv[6], NULL, 10);
      one_run(&run, &before, template.path);
    } else {
      one_way(&run, &before, template.path);
    }
  }
  if (all.violations == violations)
    printf("ok - store, %s: %lu calls failed, %lu of them told as an error, the others borne\n", scenario->name, all.runs - runs,
           all.told - told);
  empty(work.path);
  empty(template.path);
  rmdir(work.path);
  rmdir(template.path);
}

int main(int argc, char **argv)
{
  all.seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
  all.full = argc > 2 && strcmp(argv[2], "full") == 0;
  outcome = mmap(NULL, sizeof *outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if ((void *)outcome == MAP_FAILED)
    return 71;
  for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++)
    if (chosen(argc > 3 ? argv[3] : NULL, scenarios[i].name))
      one_scenario(&scenarios[i], argc, argv);
  printf("%lu scenarios, %lu violations\n", all.runs, all.violations);
  return all.violations || !all.runs;
}
