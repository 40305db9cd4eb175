/* Scenarios of backups: whole, incremental, gone on with, checked, restored; and what must be true of backup and copy after each. */
#include "tests/faults/drive_store.h"

#include <errno.h>

#include "store/backup.h"

#define SEGMENT_BYTES 9000u /* some of a few blocks each */

static const struct store_backup_until whole = {.records = UINT64_MAX, .received_us = INT64_MAX};

/* Beside the shard; which of them there are is a scenario's. */
static void beside(const struct fixture *x, char out[320], const char *name) { snprintf(out, 320, "%.250s.%s", x->path, name); }

/* ---- what is done: 0 right, 1 told, -1 violated ---- */

/* The run is sealed, and not all went well. */
static void on_left_out(void *context, const char *sentence)
{
  (void)context;
  outcome->told = true;
  if (!strstr(sentence, "is whole and sealed"))
    violate("nothing was to be left out: %s", sentence);
}

static int back_up(const struct fixture *x, void (*progress)(void *context, uint32_t shard, uint64_t records, uint64_t of),
                   struct failure *failure)
{
  static struct store_backup b;
  struct store_reader *r;
  char path[320];
  const struct store_backup_job job = {.share_percent = 100, .segment_bytes = SEGMENT_BYTES, .progress = progress, .left_out = on_left_out};
  beside(x, path, "backup");
  int status = store_reader_open(&r, x->path, failure);
  if (status)
    return status;
  status = store_backup_create(&b, path, failure);
  if (!status) {
    status = store_backup_run(&b, &r, 1, &job, failure);
    store_backup_close(&b);
  }
  store_reader_close(r);
  return status;
}

/* As tell; what the disk of a backup does not give is damage of it. */
static int tell_of_backup(const char *doing, int status, const struct failure *failure)
{
  if (status != MUSTER_ERR_CORRUPT || !strstr(failure->text, strerror(EIO)))
    return tell(doing, status, failure);
  outcome->told = true;
  return 1;
}

static int do_backup(struct fixture *x)
{
  struct failure failure = FAILURE_NONE;
  const int status = back_up(x, NULL, &failure);
  outcome->done = status == MUSTER_OK;
  outcome->unsure = strstr(failure.text, "/manifest is replaced") != NULL;
  return status ? tell_of_backup("backup", status, &failure) : outcome->told;
}

struct faults_of_read {
  unsigned count; /* that are no failed read */
  unsigned unread;
  char first[512];
};

/* What the disk does not give is not whole, and may be told so; any other sentence speaks of damage. */
static void on_fault(void *context, const char *sentence)
{
  struct faults_of_read *f = context;
  const bool unread = strstr(sentence, strerror(EIO)) != NULL;
  f->unread += unread;
  if (!unread && !f->count++)
    snprintf(f->first, sizeof f->first, "%s", sentence);
}

static int look(const struct fixture *x, struct faults_of_read *faults, struct store_backup *b, struct store_backup_found *found,
                struct failure *failure)
{
  char path[320];
  memset(faults, 0, sizeof *faults);
  memset(found, 0, sizeof *found);
  beside(x, path, "backup");
  int status = store_backup_open(b, path, failure);
  if (status)
    return status;
  if (b->run)
    status = store_backup_check(b, 0, &whole, on_fault, faults, found, failure);
  return status;
}

static int do_check(struct fixture *x)
{
  static struct store_backup b;
  struct store_backup_found found;
  struct faults_of_read faults;
  struct failure failure = FAILURE_NONE;
  const int status = look(x, &faults, &b, &found, &failure);
  const uint64_t run = b.run;
  if (status == MUSTER_OK || b.shards)
    store_backup_close(&b);
  if (faults.count)
    return violate("a check finds damage where a call has failed: %s", faults.first);
  if (status)
    return tell_of_backup("check", status, &failure);
  if (faults.unread) {
    outcome->told = true;
    return found.faults == faults.unread ? 1 : violate("%llu faults, and %u were told", (unsigned long long)found.faults, faults.unread);
  }
  if (run != outcome->sealed_runs || found.records != outcome->sealed_records)
    return violate("the check finds run %llu with %llu records, and no fault", (unsigned long long)run, (unsigned long long)found.records);
  return 0;
}

static int restore(const struct fixture *x, const char *target, bool no_refused, uint64_t *records, struct failure *failure)
{
  static struct store_backup b;
  char path[320], to[320];
  const struct store_backup_until until = {.records = outcome->until_records, .received_us = outcome->until_us, .no_refused = no_refused};
  beside(x, path, "backup");
  beside(x, to, target);
  int status = store_backup_open(&b, path, failure);
  if (status)
    return status;
  status = store_backup_restore(&b, 0, &until, to, x->options.map_bytes, records, failure);
  store_backup_close(&b);
  return status;
}

/* How many records the restore of this scenario makes; record n was received at 1000 + n / 10. */
static uint64_t restored_records(void)
{
  const uint64_t by_time = outcome->until_us == INT64_MAX ? UINT64_MAX : (uint64_t)(outcome->until_us - 1000 + 1) * 10;
  const uint64_t least = by_time < outcome->until_records ? by_time : outcome->until_records;
  return least < outcome->sealed_records ? least : outcome->sealed_records;
}

static int do_restore(struct fixture *x)
{
  struct failure failure = FAILURE_NONE;
  uint64_t records = 0;
  const int status = restore(x, "new", false, &records, &failure);
  outcome->done = status == MUSTER_OK;
  if (status)
    return tell_of_backup("restore", status, &failure);
  return records == restored_records() ? 0 : violate("%llu records are called restored", (unsigned long long)records);
}

/* ---- what the scenarios begin with ---- */

/* What a run seals is what is there before anything fails. */
static void seal(struct fixture *x)
{
  struct failure failure = FAILURE_NONE;
  if (back_up(x, NULL, &failure))
    violate("a backup without a fault: %s", failure.text);
  outcome->sealed_runs++;
  outcome->sealed_records = outcome->attempted;
}

static void make_sealed(struct fixture *x)
{
  char path[320];
  outcome->until_records = UINT64_MAX;
  outcome->until_us = INT64_MAX;
  make_refused(x);
  do_commits(x, 4, 25, 0);
  seal(x);
  beside(x, path, "new");
  if (mkdir(path, 0700))
    violate("no directory to restore into");
}

static void make_grown(struct fixture *x)
{
  make_sealed(x);
  do_commits(x, 5, 30, 2);
}

static void leave(void *context, uint32_t shard, uint64_t records, uint64_t of)
{
  (void)context, (void)shard, (void)records, (void)of;
  _exit(0);
}

/* A run that was killed when all was written and nothing sealed, and then the power went: its first file is torn. */
static void make_torn(struct fixture *x)
{
  char path[320], file[400];
  struct failure failure = FAILURE_NONE;
  int status;
  make_grown(x);
  const pid_t pid = fork();
  if (pid == 0) {
    back_up(x, leave, &failure);
    _exit(1);
  }
  if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
    violate("a run was to be left in the middle");
  beside(x, path, "backup");
  snprintf(file, sizeof file, "%s/shard-0/%020llu-2.blocks", path, (unsigned long long)outcome->sealed_records + 1);
  if (truncate(file, 5000))
    violate("%s is not there", file);
}

static void make_to_time(struct fixture *x)
{
  make_sealed(x);
  outcome->until_us = 1006;
}

static void make_to_sequence(struct fixture *x)
{
  make_sealed(x);
  outcome->until_records = 57;
}

/* What a killed restore has committed: whole blocks, and no refused records yet. */
static void make_half_restored(struct fixture *x)
{
  struct failure failure = FAILURE_NONE;
  uint64_t records;
  make_sealed(x);
  outcome->until_records = 55;
  if (restore(x, "new", true, &records, &failure) || records != 55)
    violate("a restore without a fault: %s", failure.text);
  outcome->until_records = UINT64_MAX;
}

/* ---- afterwards ---- */

static void expect_store(const char *path, uint64_t records, uint64_t refused)
{
  struct store_reader *r;
  struct failure failure = FAILURE_NONE;
  struct fixture_faults faults = {0};
  struct store_verify_result result;
  uint64_t count = 0, quarantined = 0;
  if (store_verify(path, fixture_report, &faults, NULL, &result, &failure) || faults.count || result.records != records)
    violate("verify of %s: %llu records of %llu: %s %s", path, (unsigned long long)result.records, (unsigned long long)records,
            faults.first, failure.text);
  if (store_reader_open(&r, path, &failure)) {
    violate("%s cannot be read: %s", path, failure.text);
    return;
  }
  if (store_reader_scan(r, 1, UINT64_MAX, each_record, &count, &failure) || count != records ||
      store_reader_quarantine(r, each_refused, &quarantined, &failure) || quarantined != refused)
    violate("%s has %llu records of %llu, %llu refused of %llu: %s", path, (unsigned long long)count, (unsigned long long)records,
            (unsigned long long)quarantined, (unsigned long long)refused, failure.text);
  store_reader_close(r);
}

static void expect_restored(struct fixture *x, const char *target, uint64_t records, uint64_t refused)
{
  char path[320];
  struct failure failure = FAILURE_NONE;
  uint64_t restored = 0;
  beside(x, path, target);
  mkdir(path, 0700);
  if (restore(x, target, false, &restored, &failure) || restored != records)
    violate("a restore afterwards: %llu records: %s", (unsigned long long)restored, failure.text);
  expect_store(path, records, refused);
}

/* Sealed is what was sealed before, or all of the run; and it is whole. */
static void expect_sealed(struct fixture *x, uint64_t least, uint64_t most)
{
  static struct store_backup b;
  struct store_backup_found found;
  struct faults_of_read faults;
  struct failure failure = FAILURE_NONE;
  const int status = look(x, &faults, &b, &found, &failure);
  if (status == MUSTER_ERR_NOT_FOUND && least == 0)
    return;
  if (status || found.faults)
    violate("the backup is not whole: %s%s", failure.text, faults.first);
  const uint64_t wanted = b.run == outcome->sealed_runs ? outcome->sealed_records : outcome->attempted;
  if (b.run < least || b.run > most || (b.run && found.records != wanted))
    violate("run %llu with %llu records, %llu to %llu runs can be sealed", (unsigned long long)b.run, (unsigned long long)found.records,
            (unsigned long long)least, (unsigned long long)most);
  if (!status)
    store_backup_close(&b);
}

/* Told as failed is not sealed, unless it says that it may be. What is sealed is whole; the same command goes on, and all of it comes back. */
static void check_backup(struct fixture *x)
{
  struct failure failure = FAILURE_NONE;
  const uint64_t runs = outcome->sealed_runs;
  expect_sealed(x, runs + outcome->done, runs + (outcome->done || outcome->unsure));
  if (back_up(x, NULL, &failure))
    violate("a clean run is refused: %s", failure.text);
  expect_sealed(x, runs + 1, runs + 2);
  outcome->until_records = UINT64_MAX;
  outcome->until_us = INT64_MAX;
  expect_restored(x, "fresh", outcome->attempted, outcome->refused_attempted);
}

/* The backup is as it was, and what was called restored is; the same restore goes on. */
static void check_restore(struct fixture *x)
{
  char path[320];
  beside(x, path, "new");
  if (outcome->done)
    expect_store(path, restored_records(), outcome->refused_attempted);
  expect_sealed(x, outcome->sealed_runs, outcome->sealed_runs);
  expect_restored(x, "new", restored_records(), outcome->refused_attempted);
}

static void check_unchanged(struct fixture *x) { expect_sealed(x, outcome->sealed_runs, outcome->sealed_runs); }

const struct scenario scenarios_of_backup[] = {
    {"backup", make_refused, do_backup, check_backup, true, true},
    {"backup-incremental", make_grown, do_backup, check_backup, true, true},
    {"backup-gone-on-with", make_torn, do_backup, check_backup, true, true},
    {"backup-check", make_sealed, do_check, check_unchanged, true, false},
    {"restore", make_sealed, do_restore, check_restore, true, true},
    {"restore-to-time", make_to_time, do_restore, check_restore, true, true},
    {"restore-to-sequence", make_to_sequence, do_restore, check_restore, true, true},
    {"restore-gone-on-with", make_half_restored, do_restore, check_restore, true, true},
    {NULL, NULL, NULL, NULL, false, false},
};
