/* Transactions of the writer: what is committed is found after every kind of end, and what is not committed is not. */
#include "fixture.h"

#include <errno.h>
#include <linux/magic.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "core/clock.h"
#include "store/writer.h"

#define COMMIT 250u

/* ---- append and find ---- */

static void sequences_start_at_one_and_have_no_gaps(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  struct failure failure = FAILURE_NONE;
  struct store_facts facts;
  uint64_t expected = 1;
  for (unsigned commit = 0; commit < 20; commit++) {
    assert_int_equal(store_begin(s), MUSTER_OK);
    for (unsigned i = 0; i <= commit * 7; i++, expected++)
      assert_int_equal(fixture_put(s, expected - 1, NULL), expected);
    assert_int_equal(store_commit(s, &failure), MUSTER_OK);
    store_facts(s, &facts);
    assert_int_equal(facts.records, expected - 1);
  }
  fixture_expect_all(s, expected - 1);
  store_close(s);
  fixture_verify_clean(x, expected - 1);
}

static void sequences_go_on_where_they_were_after_a_restart(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  struct failure failure = FAILURE_NONE;
  fixture_fill(s, 0, 100, 30);
  for (uint64_t next = 101; next <= 103; next++) {
    bool fresh;
    store_close(s);
    s = fixture_open(x);
    assert_int_equal(store_begin(s), MUSTER_OK);
    assert_int_equal(fixture_put(s, next - 1, NULL), next);
    assert_int_equal(fixture_put(s, next - 1, &fresh), next);
    assert_false(fresh);
    assert_int_equal(store_commit(s, &failure), MUSTER_OK);
    fixture_expect_all(s, next);
  }
  store_close(s);
  fixture_verify_clean(x, 103);
}

/* Bytes of data.mdb in the page cache. */
static uint64_t cached_bytes(const struct fixture *x)
{
  char file[320];
  struct stat st;
  unsigned char in[4096];
  uint64_t cached = 0;
  fixture_file(x, file, "data.mdb");
  const int fd = open(file, O_RDONLY);
  assert_true(fd >= 0 && fstat(fd, &st) == 0);
  for (off_t at = 0; at < st.st_size; at += (off_t)sizeof in * 4096) {
    const size_t size = (size_t)(st.st_size - at) < sizeof in * 4096 ? (size_t)(st.st_size - at) : sizeof in * 4096;
    void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, at);
    assert_ptr_not_equal(p, MAP_FAILED);
    assert_int_equal(mincore(p, size, in), 0);
    for (size_t i = 0; i < (size + 4095) / 4096; i++)
      cached += (in[i] & 1) * UINT64_C(4096);
    munmap(p, size);
  }
  close(fd);
  return cached;
}

/* 220 bytes a record are written beside 36 of columns; the newest blocks stay whole, and what shares a folio with columns. */
static void a_record_on_the_disk_does_not_stay_in_the_page_cache(void **state)
{
  struct fixture *x = *state;
  struct statfs fs;
  assert_int_equal(statfs(x->path, &fs), 0);
  if (fs.f_type == TMPFS_MAGIC)
    skip(); /* which is nothing but page cache */
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, 180000, 3000);
  assert_in_range(cached_bytes(x), 180000 * 36, 180000 * 160);
  fixture_expect_all(s, 180000);
  store_close(s);
  fixture_verify_clean(x, 180000);
}

/* Pages that LMDB lists as free, as it lists them itself. */
static uint64_t listed_free(struct store *s)
{
  MDB_txn *txn;
  MDB_cursor *cursor;
  MDB_val key, value;
  uint64_t pages = 0;
  assert_int_equal(mdb_txn_begin(s->env.lmdb, NULL, MDB_RDONLY, &txn), 0);
  assert_int_equal(mdb_cursor_open(txn, 0, &cursor), 0);
  while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
    pages += *(const size_t *)value.mv_data;
  mdb_cursor_close(cursor);
  mdb_txn_abort(txn);
  return pages;
}

static void free_pages_are_told(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  struct store_facts facts;
  uint64_t most = 0;
  for (uint64_t n = 0; n < 40; n++) {
    fixture_fill(s, n * 50, (n + 1) * 50, 50);
    const uint64_t pages = listed_free(s);
    assert_int_equal(store_free_bytes(s), pages * (uint64_t)sysconf(_SC_PAGESIZE));
    most = pages > most ? pages : most;
  }
  store_facts(s, &facts);
  assert_true(most > 0 && store_free_bytes(s) < facts.file_bytes);
  assert_true(facts.index_slots >= facts.records && facts.index_slots * 16 == facts.index_bytes);
  store_close(s);
}

/* One millisecond passes between two looks at the clock. */
static uint64_t ticking(void *context) { return *(uint64_t *)context += 1000000; }
static int64_t standing(void *context) { return (void)context, 1; }

static void the_time_of_a_sync_is_told(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  uint64_t now_ns = 0;
  const struct clock_source source = {.wall_us = standing, .monotonic_ns = ticking, .context = &now_ns};
  assert_int_equal(store_sync_ns(s), 0);
  clock_set_source(&source);
  fixture_fill(s, 0, 10, 10);
  clock_set_source(NULL);
  assert_int_equal(store_sync_ns(s), 1000000);
  store_close(s);
}

static void a_record_is_found_within_its_own_transaction(void **state)
{
  struct store *s = fixture_open(*state);
  struct failure failure = FAILURE_NONE;
  bool fresh;
  assert_int_equal(store_begin(s), MUSTER_OK);
  assert_int_equal(fixture_put(s, 5, &fresh), 1);
  assert_true(fresh);
  assert_int_equal(fixture_put(s, 6, &fresh), 2);
  assert_int_equal(fixture_put(s, 5, &fresh), 1);
  assert_false(fresh);
  assert_int_equal(store_commit(s, &failure), MUSTER_OK);
  assert_int_equal(store_begin(s), MUSTER_OK);
  assert_int_equal(fixture_put(s, 6, &fresh), 2);
  assert_false(fresh);
  assert_int_equal(fixture_put(s, 7, &fresh), 3);
  assert_int_equal(store_commit(s, &failure), MUSTER_OK);
  store_close(s);
}

/* Small blocks move within LMDB as others are added: a place seen in one transaction means nothing in the next. */
static void small_blocks_are_found_however_often_they_move(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  struct failure failure = FAILURE_NONE;
  for (uint64_t n = 0; n < 200; n++) {
    assert_int_equal(store_begin(s), MUSTER_OK);
    if (n)
      fixture_expect(s, 0, 1);
    assert_int_equal(fixture_put(s, n, NULL), n + 1);
    assert_int_equal(store_commit(s, &failure), MUSTER_OK);
  }
  fixture_expect_all(s, 200);
  store_close(s);
  fixture_verify_clean(x, 200);
}

static void the_first_copys_digest_is_told(void **state)
{
  struct store *s = fixture_open(*state);
  struct fixture_record first, other;
  uint8_t digest[16];
  uint64_t sequence;
  fixture_fill(s, 0, 3, 3);
  fixture_record(&first, 1, 0);
  fixture_record(&other, 1, 1);
  assert_memory_not_equal(first.digest, other.digest, 16);
  assert_int_equal(store_begin(s), MUSTER_OK);
  assert_int_equal(store_find(s, other.id, store_fingerprint(s, other.id), &sequence, digest), 1);
  assert_int_equal(sequence, 2);
  assert_memory_equal(digest, first.digest, 16);
  store_close(s);
}

static void an_empty_transaction_writes_nothing(void **state)
{
  struct store *s = fixture_open(*state);
  struct failure failure = FAILURE_NONE;
  MDB_envinfo before, after;
  fixture_fill(s, 0, 100, 100);
  assert_int_equal(mdb_env_info(s->env.lmdb, &before), 0);
  for (unsigned i = 0; i < 3; i++)
    fixture_expect_all(s, 100);
  assert_int_equal(store_begin(s), MUSTER_OK);
  assert_int_equal(store_commit(s, &failure), MUSTER_OK);
  assert_null(s->txn);
  assert_int_equal(mdb_env_info(s->env.lmdb, &after), 0);
  assert_int_equal(after.me_last_txnid, before.me_last_txnid);
  store_close(s);
}

static void a_full_block_refuses_and_commits(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  struct failure failure = FAILURE_NONE;
  struct fixture_record r;
  const struct store_receipt receipt = {0};
  assert_int_equal(store_begin(s), MUSTER_OK);
  for (uint64_t n = 0; n < LIMIT_COMMIT_RECORDS; n++)
    assert_int_equal(fixture_put(s, n, NULL), n + 1);
  fixture_record(&r, LIMIT_COMMIT_RECORDS, 0);
  assert_int_equal(store_append(s, &r.view, r.digest, store_fingerprint(s, r.id), &receipt), 0);
  assert_int_equal(store_commit(s, &failure), MUSTER_OK);
  fixture_expect_all(s, LIMIT_COMMIT_RECORDS);
  store_close(s);
}

static void a_record_costs_at_most_60_bytes_beside_itself(void **state)
{
  struct store *s = fixture_open(*state);
  struct store_facts facts;
  fixture_fill(s, 0, 50000, 5000);
  store_facts(s, &facts);
  assert_true(facts.file_bytes - s->meta.record_bytes <= 60 * facts.records);
  store_close(s);
}

/* Every lookup meets strangers of the same fingerprint and tells them apart, before and after a restart of either kind. */
static void colliding_fingerprints_are_told_apart(void **state)
{
  struct fixture *x = *state;
  const uint64_t count = 900;
  struct store_facts facts;
  x->options.fingerprint_mask = 5;
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, count, 100);
  fixture_expect_all(s, count);
  store_facts(s, &facts);
  assert_true(facts.fingerprint_false > count);
  assert_true(facts.fingerprint_hits > facts.fingerprint_false);
  store_close(s);
  s = fixture_open(x);
  store_facts(s, &facts);
  assert_false(facts.rebuilt);
  fixture_expect_all(s, count);
  store_close(s);
  char hint[320];
  fixture_file(x, hint, "index.hint");
  assert_int_equal(unlink(hint), 0);
  s = fixture_open(x);
  fixture_expect_all(s, count);
  store_close(s);
  fixture_verify_clean(x, count);
}

/* ---- the sync ---- */

/* LMDB's calls come here first. */
static unsigned syncs, sync_fails; /* so far; the next so many fail */

int fdatasync(int fd)
{
  syncs++;
  if (sync_fails) {
    sync_fails--;
    errno = EIO;
    return -1;
  }
  return (int)syscall(SYS_fdatasync, fd);
}

static void a_commit_returns_after_its_sync(void **state)
{
  struct store *s = fixture_open(*state);
  struct failure failure = FAILURE_NONE;
  unsigned flags = 0;
  assert_int_equal(mdb_env_get_flags(s->env.lmdb, &flags), 0);
  assert_int_equal(flags & (MDB_NOSYNC | MDB_NOMETASYNC | MDB_MAPASYNC | MDB_WRITEMAP), 0);
  for (uint64_t n = 0; n < 5; n++) {
    assert_int_equal(store_begin(s), MUSTER_OK);
    fixture_put(s, n, NULL);
    const unsigned before = syncs;
    assert_int_equal(store_commit(s, &failure), MUSTER_OK);
    assert_true(syncs > before);
  }
  store_close(s);
}

static void a_failed_sync_stops_the_store(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  struct failure failure = FAILURE_NONE;
  struct store_facts facts;
  fixture_fill(s, 0, 100, 50);
  assert_int_equal(store_begin(s), MUSTER_OK);
  fixture_put(s, 100, NULL);
  sync_fails = 1;
  assert_int_equal(store_commit(s, &failure), MUSTER_ERR_IO);
  assert_int_equal(sync_fails, 0);
  assert_int_equal(store_begin(s), MUSTER_ERR_IO); /* although the next sync would succeed */
  store_close(s);
  s = fixture_open(x);
  store_facts(s, &facts);
  assert_int_equal(facts.records, 100);
  assert_true(facts.rebuilt);
  fixture_expect_all(s, 100);
  store_close(s);
  fixture_verify_clean(x, 100);
}

static void what_a_killed_writer_left_is_synced_before_it_is_served(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  struct failure failure = FAILURE_NONE;
  struct store_options options = x->options;
  fixture_fill(s, 0, 10, 5);
  store_close(s);
  const unsigned before = syncs;
  s = fixture_open(x);
  assert_true(syncs > before);
  store_close(s);
  sync_fails = 1;
  assert_int_equal(store_open(&s, &options, &failure), MUSTER_ERR_IO);
  assert_null(s);
  assert_int_equal(sync_fails, 0);
}

/* ---- ends ---- */

static void a_clean_close_and_a_sudden_end_give_the_same_answers(void **state)
{
  struct fixture *x = *state;
  struct store_facts facts;
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, 3000, COMMIT);
  store_close(s);
  s = fixture_open(x);
  store_facts(s, &facts);
  assert_false(facts.rebuilt);
  fixture_expect_all(s, 3000);
  fixture_fill(s, 3000, 3001, 1);
  store_close(s);
  char hint[320];
  fixture_file(x, hint, "index.hint");
  assert_int_equal(unlink(hint), 0);
  s = fixture_open(x);
  store_facts(s, &facts);
  assert_true(facts.rebuilt);
  fixture_expect_all(s, 3001);
  store_close(s);
}

static int ends_before_commit(struct fixture *x)
{
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, 1000, COMMIT);
  store_begin(s);
  for (uint64_t n = 1000; n < 1400; n++)
    fixture_put(s, n, NULL);
  store_quarantine(s, (const uint8_t *)"refused", 7, 1, 0, &(struct store_receipt){0});
  return 7;
}

static void an_end_before_the_commit_leaves_the_former_state(void **state)
{
  struct fixture *x = *state;
  struct store_facts facts;
  assert_int_equal(fixture_child(x, ends_before_commit), 7);
  struct store *s = fixture_open(x);
  store_facts(s, &facts);
  assert_int_equal(facts.records, 1000);
  assert_int_equal(facts.quarantined, 0);
  assert_true(facts.rebuilt);
  fixture_expect_all(s, 1000);
  fixture_fill(s, 1000, 1500, COMMIT);
  store_close(s);
  fixture_verify_clean(x, 1500);
}

static void a_close_within_a_transaction_forgets_it(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, 500, COMMIT);
  assert_int_equal(store_begin(s), MUSTER_OK);
  fixture_put(s, 500, NULL);
  store_close(s);
  s = fixture_open(x);
  fixture_expect_all(s, 500);
  store_close(s);
  fixture_verify_clean(x, 500);
}

static void a_full_map_stops_the_store_and_loses_nothing(void **state)
{
  struct fixture *x = *state;
  struct failure failure = FAILURE_NONE;
  struct fixture_record r;
  uint64_t acknowledged = 0, sequence;
  uint8_t digest[16];
  int status = MUSTER_OK;
  x->options.map_bytes = 2 << 20;
  struct store *s = fixture_open(x);
  while (!status) {
    assert_int_equal(store_begin(s), MUSTER_OK);
    for (uint64_t n = 0; n < COMMIT; n++)
      fixture_put(s, acknowledged + n, NULL);
    status = store_commit(s, &failure);
    acknowledged += status ? 0 : COMMIT;
  }
  assert_int_equal(status, MUSTER_ERR_FULL);
  assert_true(acknowledged > 0 && failure.text[0]);
  /* Stopped: nothing is answered any more, not even what is on disk. */
  fixture_record(&r, 0, 0);
  assert_int_equal(store_begin(s), MUSTER_ERR_FULL);
  s->in_transaction = true; /* a caller that did not listen */
  assert_int_equal(store_find(s, r.id, store_fingerprint(s, r.id), &sequence, digest), MUSTER_ERR_FULL);
  assert_int_equal(store_append(s, &r.view, r.digest, 0, &(struct store_receipt){0}), 0);
  failure = FAILURE_NONE;
  assert_int_equal(store_commit(s, &failure), MUSTER_ERR_FULL);
  store_close(s);
  char hint[320];
  fixture_file(x, hint, "index.hint");
  assert_int_equal(access(hint, F_OK), -1);
  x->options.map_bytes = 64 << 20;
  s = fixture_open(x);
  fixture_expect_all(s, acknowledged);
  fixture_fill(s, acknowledged, acknowledged + COMMIT, COMMIT);
  store_close(s);
  fixture_verify_clean(x, acknowledged + COMMIT);
}

#ifdef MUSTER_FAULTS
/* Commits four times 250 records; a letter for each answer: a acknowledged, f full, i other failure. After a failure nothing may be
 * answered. */
static int again_commits(const char *path)
{
  struct fixture x = {.options = {.path = path, .shards = 1, .map_bytes = UINT64_C(1) << 28}};
  struct store *s = fixture_open(&x);
  for (uint64_t n = 0; n < 4; n++) {
    struct failure failure = FAILURE_NONE;
    int status = store_begin(s);
    for (uint64_t i = 0; i < COMMIT && !status; i++)
      fixture_put(s, n * COMMIT + i, NULL);
    status = status ? status : store_commit(s, &failure);
    if (write(1, status == MUSTER_OK ? "a" : status == MUSTER_ERR_FULL ? "f" : "i", 1) != 1)
      return 1;
  }
  store_close(s);
  return 0;
}

static void every_fault_of_a_commit_keeps_what_was_acknowledged(void **state)
{
  struct fixture *x = *state;
  static const struct {
    const char *fault, *answers;
    bool killed;
    uint64_t records;
  } cases[] = {{"store.before-commit:kill:3", "aa", true, 500},   {"store.in-transaction:kill:3", "aa", true, 500},
               {"store.after-commit:kill:3", "aa", true, 750},    {"store.before-commit:fail:2", "aiii", false, 250},
               {"store.in-transaction:fail:1", "iiii", false, 0}, {"store.in-transaction:full:4", "aaaf", false, 750},
               {"store.after-commit:fail:2", "aiii", false, 500}, {"store.hint-writing:fail", "aaaa", false, 1000},
               {"store.hint-writing:kill", "aaaa", true, 1000},   {"nowhere:fail", "aaaa", false, 1000}};
  for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char answers[16];
    struct store_facts facts;
    const int status = fixture_again(cases[i].fault, "commits", x->path, answers, sizeof answers);
    assert_string_equal(answers, cases[i].answers);
    assert_int_equal(WIFSIGNALED(status), cases[i].killed);
    struct store *s = fixture_open(x);
    store_facts(s, &facts);
    assert_int_equal(facts.records, cases[i].records);
    assert_int_equal(facts.rebuilt, strcmp(cases[i].fault, "nowhere:fail") != 0);
    fixture_expect_all(s, cases[i].records);
    store_close(s);
    fixture_verify_clean(x, cases[i].records);
    fixture_remove(x);
    fixture_make(x);
  }
}

static void a_kill_while_rebuilding_harms_nothing(void **state)
{
  struct fixture *x = *state;
  char answers[16];
  assert_int_equal(fixture_child(x, ends_before_commit), 7);
  assert_true(WIFSIGNALED(fixture_again("store.rebuild:kill:3", "commits", x->path, answers, sizeof answers)));
  struct store *s = fixture_open(x);
  fixture_expect_all(s, 1000);
  store_close(s);
}
#endif

int main(int argc, char **argv)
{
#ifdef MUSTER_FAULTS
  if (argc == 3 && strcmp(argv[1], "commits") == 0)
    return again_commits(argv[2]);
#else
  (void)argc, (void)argv;
#endif
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(sequences_start_at_one_and_have_no_gaps, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(sequences_go_on_where_they_were_after_a_restart, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_record_on_the_disk_does_not_stay_in_the_page_cache, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(free_pages_are_told, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(the_time_of_a_sync_is_told, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_record_is_found_within_its_own_transaction, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(small_blocks_are_found_however_often_they_move, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(the_first_copys_digest_is_told, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(an_empty_transaction_writes_nothing, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_full_block_refuses_and_commits, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_record_costs_at_most_60_bytes_beside_itself, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(colliding_fingerprints_are_told_apart, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_commit_returns_after_its_sync, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_failed_sync_stops_the_store, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(what_a_killed_writer_left_is_synced_before_it_is_served, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_clean_close_and_a_sudden_end_give_the_same_answers, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(an_end_before_the_commit_leaves_the_former_state, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_close_within_a_transaction_forgets_it, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_full_map_stops_the_store_and_loses_nothing, fixture_setup, fixture_teardown),
#ifdef MUSTER_FAULTS
      cmocka_unit_test_setup_teardown(every_fault_of_a_commit_keeps_what_was_acknowledged, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_kill_while_rebuilding_harms_nothing, fixture_setup, fixture_teardown),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
