/* Readers: in order, from anywhere, in short slices, beside a writer that goes on; they never wait for it nor hold it up. */
#include "damage.h"

#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

#include "store/reader.h"
#include "store/writer.h"

#define RECORDS 5000u

static int setup_filled(void **state)
{
  fixture_setup(state);
  struct store *s = fixture_open(*state);
  fixture_fill(s, 0, RECORDS, 333);
  store_close(s);
  return 0;
}

static struct store_reader *open_reader(const struct fixture *x)
{
  struct store_reader *r = NULL;
  struct failure failure = FAILURE_NONE;
  if (store_reader_open(&r, x->path, &failure) != MUSTER_OK)
    fail_msg("store_reader_open: %s", failure.text);
  return r;
}

/* Sequence n + 1 is record n; anything else is a fault. */
struct seen {
  struct store_reader *reader;
  uint64_t first, next, stop_at;
};

static int check_record(void *context, const struct store_record *record)
{
  struct seen *seen = context;
  struct fixture_record r;
  const uint64_t n = record->sequence - 1;
  assert_null(seen->reader->txn); /* no transaction is held while a consumer works */
  assert_int_equal(record->sequence, seen->next);
  fixture_record(&r, n, 0);
  assert_int_equal(record->size, r.size);
  assert_memory_equal(record->bytes, r.bytes, r.size);
  assert_memory_equal(record->id, r.id, 16);
  assert_memory_equal(record->digest, r.digest, 16);
  assert_int_equal(record->submitter, n % 3);
  assert_int_equal(record->received_us, 1000 + n / 10);
  seen->next++;
  return record->sequence == seen->stop_at ? 42 : 0;
}

static uint64_t scan(struct store_reader *r, uint64_t first, uint64_t max)
{
  struct failure failure = FAILURE_NONE;
  struct seen seen = {.reader = r, .first = first ? first : 1, .next = first ? first : 1};
  if (store_reader_scan(r, first, max, check_record, &seen, &failure) != MUSTER_OK)
    fail_msg("store_reader_scan: %s", failure.text);
  return seen.next - seen.first;
}

static void a_scan_begins_and_ends_anywhere(void **state)
{
  struct store_reader *r = open_reader(*state);
  assert_int_equal(scan(r, 0, UINT64_MAX), RECORDS);
  assert_int_equal(scan(r, 1, UINT64_MAX), RECORDS);
  assert_int_equal(scan(r, 1, 0), 0);
  assert_int_equal(scan(r, 1, 1), 1);
  assert_int_equal(scan(r, 333, 1), 1);
  assert_int_equal(scan(r, 333, 2), 2);
  assert_int_equal(scan(r, 334, 1), 1);
  assert_int_equal(scan(r, 4711, UINT64_MAX), RECORDS - 4710);
  assert_int_equal(scan(r, RECORDS, 10), 1);
  assert_int_equal(scan(r, RECORDS + 1, 10), 0);
  assert_int_equal(scan(r, UINT64_MAX, UINT64_MAX), 0);
  store_reader_close(r);
}

static void a_scan_may_be_stopped(void **state)
{
  struct store_reader *r = open_reader(*state);
  struct failure failure = FAILURE_NONE;
  struct seen seen = {.reader = r, .next = 100, .stop_at = 777};
  assert_int_equal(store_reader_scan(r, 100, UINT64_MAX, check_record, &seen, &failure), 42);
  assert_int_equal(seen.next, 778);
  store_reader_close(r);
}

static void more_than_a_slice_is_read_in_order(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, 60000, 7000); /* about 18 MB */
  store_close(s);
  struct store_reader *r = open_reader(x);
  assert_int_equal(scan(r, 1, UINT64_MAX), 60000);
  assert_true(r->slice_room < 4 * STORE_SLICE_BYTES);
  store_reader_close(r);
}

static int count_one(void *context, const struct store_record *record)
{
  *(uint64_t *)context = record->sequence;
  return 5; /* what it answers does not matter to find */
}

static void an_id_is_found_by_the_columns(void **state)
{
  struct store_reader *r = open_reader(*state);
  struct failure failure = FAILURE_NONE;
  for (uint64_t n = 0; n <= RECORDS; n += 250) {
    struct fixture_record record;
    uint64_t sequence = 0;
    fixture_record(&record, n, 0);
    assert_int_equal(store_reader_find(r, record.id, count_one, &sequence, &failure), n < RECORDS);
    assert_int_equal(sequence, n < RECORDS ? n + 1 : 0);
  }
  store_reader_close(r);
}

static void facts_tell_the_shard(void **state)
{
  struct store_facts facts;
  struct store_reader *r = open_reader(*state);
  store_reader_facts(r, &facts);
  assert_int_equal(facts.records, RECORDS);
  assert_int_equal(facts.shards, 1);
  assert_true(facts.file_bytes > RECORDS * 200);
  assert_int_equal(facts.map_bytes, UINT64_C(1) << 30);
  store_reader_close(r);
}

static void a_damaged_block_is_not_handed_out(void **state)
{
  struct fixture *x = *state;
  struct failure failure = FAILURE_NONE;
  damage_flip(x, DAMAGE_JOURNAL, 2, 50000, 1);
  struct store_reader *r = open_reader(x);
  struct seen seen = {.reader = r, .next = 1};
  assert_int_equal(store_reader_scan(r, 1, UINT64_MAX, check_record, &seen, &failure), MUSTER_ERR_CORRUPT);
  assert_int_equal(seen.next, 667);
  assert_non_null(strstr(failure.text, "667 to 999"));
  assert_int_equal(scan(r, 1000, 5), 5);
  store_reader_close(r);
}

/* Nobody who counts what he was given would miss what he was not. */
static void a_missing_block_is_not_passed_over(void **state)
{
  struct fixture *x = *state;
  struct failure failure = FAILURE_NONE;
  struct damage d;
  uint64_t first = 667;
  MDB_val key = {.mv_size = sizeof first, .mv_data = &first};
  damage_begin(&d, x);
  assert_int_equal(mdb_del(d.txn, d.env.journal, &key, NULL), 0);
  damage_end(&d);
  struct store_reader *r = open_reader(x);
  struct seen seen = {.reader = r, .next = 1};
  assert_int_equal(store_reader_scan(r, 1, UINT64_MAX, check_record, &seen, &failure), MUSTER_ERR_CORRUPT);
  assert_in_range(seen.next, 1, 667);
  assert_non_null(strstr(failure.text, "sequence 667"));
  store_reader_close(r);
}

static void what_is_not_there_is_named(void **state)
{
  struct fixture *x = *state;
  struct store_reader *r;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(store_reader_open(&r, x->path, &failure), MUSTER_ERR_NOT_FOUND);
  failure = FAILURE_NONE;
  assert_int_equal(store_reader_open(&r, "/nowhere/at/all", &failure), MUSTER_ERR_NOT_FOUND);
  assert_non_null(strstr(failure.text, "/nowhere/at/all"));
  store_reader_close(NULL);
}

/* ---- beside a writer ---- */

static int ends[2];

static void writes_for_ever(struct fixture *x)
{
  struct store *s = fixture_open(x);
  for (uint64_t n = 0;; n += 50) {
    fixture_fill(s, n, n + 50, 50);
    if (n == 0 && write(ends[1], "r", 1) != 1)
      _exit(1);
  }
}

static pid_t start(struct fixture *x, void (*body)(struct fixture *x))
{
  char byte;
  assert_int_equal(pipe(ends), 0);
  const pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* where an assertion of the parent fails, nobody else stops it */
    body(x);
    _exit(1);
  }
  assert_int_equal(read(ends[0], &byte, 1), 1);
  return pid;
}

static void stop(pid_t pid)
{
  kill(pid, SIGKILL);
  assert_int_equal(waitpid(pid, NULL, 0), pid);
  close(ends[0]);
  close(ends[1]);
}

static int add_up(void *context, const struct store_tally_cell *cell)
{
  *(uint64_t *)context += cell->count;
  return 0;
}

static void a_reader_beside_a_writer_sees_whole_commits(void **state)
{
  struct fixture *x = *state;
  const pid_t pid = start(x, writes_for_ever);
  struct store_reader *r = open_reader(x);
  struct store_facts facts;
  struct failure failure = FAILURE_NONE;
  uint64_t before = 0, cursor = 1;
  for (unsigned round = 0; round < 20; round++) {
    uint64_t total = 0;
    assert_int_equal(store_reader_tally(r, add_up, &total, &failure), MUSTER_OK);
    store_reader_facts(r, &facts);
    assert_int_equal(total, facts.records);
    assert_int_equal(total % 50, 0);
    assert_true(total >= before);
    before = total;
    cursor += scan(r, cursor, UINT64_MAX);
    assert_true(cursor - 1 >= total && (cursor - 1) % 50 == 0);
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
  }
  assert_true(before > 50);
  struct fixture_faults faults;
  struct store_verify_result result;
  store_reader_close(r);
  fixture_verify(x, &faults, &result);
  assert_int_equal(faults.count, 0);
  assert_true(result.records >= before);
  stop(pid);
  struct store *s = fixture_open(x);
  store_facts(s, &facts);
  fixture_expect_all(s, facts.records);
  assert_true(facts.records >= cursor - 1);
  store_close(s);
}

static int dies(void *context, const struct store_tally_cell *cell)
{
  (void)context, (void)cell;
  return raise(SIGKILL);
}

static void dies_within_a_slice(struct fixture *x)
{
  struct failure failure = FAILURE_NONE;
  struct store_reader *r = open_reader(x);
  if (write(ends[1], "r", 1) == 1)
    store_reader_tally(r, dies, NULL, &failure);
}

static void what_a_killed_reader_held_is_let_go(void **state)
{
  struct fixture *x = *state;
  int status, dead = -1;
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, 10, 10);
  const pid_t pid = start(x, dies_within_a_slice);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  close(ends[0]);
  close(ends[1]);
  store_clear_readers(s);
  assert_int_equal(mdb_reader_check(s->env.lmdb, &dead), 0);
  assert_int_equal(dead, 0);
  store_close(s);
}

static int fills_a_larger_map(struct fixture *x)
{
  x->options.map_bytes = 64 << 20;
  struct store *s = fixture_open(x);
  fixture_fill(s, 1000, 21000, 1000);
  store_close(s);
  return 0;
}

static void a_reader_follows_a_map_that_was_made_larger(void **state)
{
  struct fixture *x = *state;
  x->options.map_bytes = 2 << 20;
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, 1000, 1000);
  store_close(s);
  struct store_reader *r = open_reader(x);
  assert_int_equal(scan(r, 1, UINT64_MAX), 1000);
  assert_int_equal(fixture_child(x, fills_a_larger_map), 0);
  assert_int_equal(scan(r, 1, UINT64_MAX), 21000);
  store_reader_close(r);
}

/* ---- without rights to write ---- */

static int reads_as_nobody(struct fixture *x)
{
  struct store_reader *r;
  struct failure failure = FAILURE_NONE;
  if (geteuid() == 0 && setuid(65534) != 0)
    return 3;
  int status = store_reader_open(&r, x->path, &failure);
  if (status == MUSTER_OK && scan(r, 1, UINT64_MAX) != RECORDS)
    return 4;
  store_reader_close(r);
  return status == MUSTER_OK ? 0 : status == MUSTER_ERR_DENIED ? 5 : 6;
}

static void holds_the_shard(struct fixture *x)
{
  fixture_open(x);
  if (write(ends[1], "r", 1) != 1)
    _exit(1);
  for (;;)
    pause();
}

static void without_the_lock_file_only_a_stopped_shard_is_read(void **state)
{
  struct fixture *x = *state;
  static const char *const names[] = {"data.mdb", "owner.lock", "lock.mdb"};
  char file[320];
  assert_int_equal(chmod(x->path, 0755), 0);
  for (unsigned i = 0; i < 3; i++) {
    fixture_file(x, file, names[i]);
    assert_int_equal(chmod(file, i == 2 ? 0444 : 0644), 0);
  }
  assert_int_equal(fixture_child(x, reads_as_nobody), 0);
  assert_int_equal(chmod(file, 0644), 0);
  const pid_t pid = start(x, holds_the_shard);
  assert_int_equal(chmod(file, 0444), 0);
  assert_int_equal(fixture_child(x, reads_as_nobody), 5);
  stop(pid);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_scan_begins_and_ends_anywhere, setup_filled, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_scan_may_be_stopped, setup_filled, fixture_teardown),
      cmocka_unit_test_setup_teardown(more_than_a_slice_is_read_in_order, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(an_id_is_found_by_the_columns, setup_filled, fixture_teardown),
      cmocka_unit_test_setup_teardown(facts_tell_the_shard, setup_filled, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_damaged_block_is_not_handed_out, setup_filled, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_missing_block_is_not_passed_over, setup_filled, fixture_teardown),
      cmocka_unit_test_setup_teardown(what_is_not_there_is_named, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_reader_beside_a_writer_sees_whole_commits, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(what_a_killed_reader_held_is_let_go, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_reader_follows_a_map_that_was_made_larger, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(without_the_lock_file_only_a_stopped_shard_is_read, setup_filled, fixture_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
