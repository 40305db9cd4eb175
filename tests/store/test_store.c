/* Opening a shard: one owner, one process, the right identity and format, and a sentence for everything that is not so. */
#include <lmdb.h>

#include "damage.h"

#include <dirent.h>
#include <time.h>

#include "store/env_call.h"
#include "store/journal.h"
#include "store/meta.h"

static int open_status(struct fixture *x, struct failure *failure)
{
  struct store *s;
  *failure = FAILURE_NONE;
  int status = store_open(&s, &x->options, failure);
  assert_true(status == MUSTER_OK || (s == NULL && failure->status == status && failure->text[0]));
  store_close(s);
  return status;
}

static int pipe_ready[2];

static void holds_for_a_while(struct fixture *x)
{
  struct store *s = fixture_open(x);
  if (write(pipe_ready[1], "r", 1) != 1)
    _exit(1);
  nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
  store_close(s);
  _exit(0);
}

static void one_owner_at_a_time(void **state)
{
  struct fixture *x = *state;
  struct failure failure = FAILURE_NONE;
  char byte, pid_text[32];
  assert_int_equal(pipe(pipe_ready), 0);
  const pid_t pid = fork();
  if (pid == 0)
    holds_for_a_while(x);
  assert_int_equal(read(pipe_ready[0], &byte, 1), 1);
  assert_int_equal(open_status(x, &failure), MUSTER_ERR_LOCKED);
  snprintf(pid_text, sizeof pid_text, "pid %ld", (long)pid);
  assert_non_null(strstr(failure.text, pid_text));
  x->options.lock_wait_ms = 5000;
  assert_int_equal(open_status(x, &failure), MUSTER_OK);
  assert_int_equal(waitpid(pid, NULL, 0), pid);
  close(pipe_ready[0]);
  close(pipe_ready[1]);
}

static void a_process_opens_a_shard_once(void **state)
{
  struct fixture *x = *state;
  struct failure failure = FAILURE_NONE;
  struct store_reader *r;
  struct store *s = fixture_open(x);
  assert_int_equal(open_status(x, &failure), MUSTER_ERR_LOCKED);
  failure = FAILURE_NONE;
  assert_int_equal(store_reader_open(&r, x->path, &failure), MUSTER_ERR_USAGE);
  assert_null(r);
  fixture_fill(s, 0, 10, 10);
  store_close(s);
  failure = FAILURE_NONE;
  assert_int_equal(store_reader_open(&r, x->path, &failure), MUSTER_OK);
  store_reader_close(r);
}

/* What is stored opens with the memory that is told to be needed, from the hint and by a rebuild, and not with less. */
static void an_index_over_its_bound_is_refused_with_the_number(void **state)
{
  struct fixture *x = *state;
  struct failure failure;
  struct store_facts facts;
  char hint[320], number[32];
  const uint64_t records = 200000, needed = store_index_bytes_needed(records);
  struct store *s = fixture_open(x);
  store_facts(s, &facts);
  assert_int_equal(facts.index_records_max, 0);
  fixture_fill(s, 0, records, 50000);
  store_close(s);
  fixture_file(x, hint, "index.hint");
  for (int rebuilt = 0; rebuilt < 2; rebuilt++) {
    if (rebuilt)
      assert_int_equal(unlink(hint), 0);
    x->options.index_bytes = needed / 2;
    assert_int_equal(open_status(x, &failure), MUSTER_ERR_CONFIG);
    snprintf(number, sizeof number, "%llu", (unsigned long long)needed);
    assert_non_null(strstr(failure.text, number));
    assert_non_null(strstr(failure.text, "store.index_bytes"));
    assert_true(rebuilt || access(hint, F_OK) == 0);
    x->options.index_bytes = needed;
    s = fixture_open(x);
    store_facts(s, &facts);
    assert_int_equal(facts.rebuilt, rebuilt);
    assert_true(facts.index_bytes <= needed + 8 * 4096); /* a table that got more than its part has a page more */
    assert_true(facts.index_records_max >= records);
    store_close(s);
  }
}

static void identity_is_checked(void **state)
{
  struct fixture *x = *state;
  struct failure failure;
  struct store_facts facts;
  memset(x->options.node_id, 7, 16);
  x->options.shards = 4;
  x->options.shard = 2;
  assert_int_equal(open_status(x, &failure), MUSTER_OK);
  x->options.shards = 3;
  assert_int_equal(open_status(x, &failure), MUSTER_ERR_CONFIG);
  assert_non_null(strstr(failure.text, "one of 4"));
  assert_non_null(strstr(failure.text, "one of 3"));
  x->options.shards = 4;
  x->options.shard = 1;
  assert_int_equal(open_status(x, &failure), MUSTER_ERR_CONFIG);
  x->options.shard = 2;
  x->options.node_id[3] = 8;
  assert_int_equal(open_status(x, &failure), MUSTER_ERR_CONFIG);
  memset(x->options.node_id, 0, 16);
  struct store *s = fixture_open(x);
  store_facts(s, &facts);
  assert_int_equal(facts.shard, 2);
  assert_int_equal(facts.shards, 4);
  assert_int_equal(facts.node_id[3], 7);
  store_close(s);
}

/* Ids whose fingerprints collide could be made by whoever knows the seed. */
static void each_shard_has_a_seed_of_its_own_and_keeps_it(void **state)
{
  struct fixture *x = *state, other;
  uint8_t id[16] = {1};
  fixture_make(&other);
  struct store *s = fixture_open(x), *o = fixture_open(&other);
  const uint64_t fingerprint = store_fingerprint(s, id);
  assert_true(fingerprint != store_fingerprint(o, id));
  store_close(o);
  store_close(s);
  s = fixture_open(x);
  assert_true(fingerprint == store_fingerprint(s, id));
  store_close(s);
  fixture_remove(&other);
}

static void a_newer_format_is_named_and_left_alone(void **state)
{
  struct fixture *x = *state;
  struct failure failure = FAILURE_NONE;
  struct store_reader *r;
  assert_int_equal(open_status(x, &failure), MUSTER_OK);
  struct store_env env;
  MDB_txn *txn;
  uint32_t format = STORE_FORMAT + 1;
  MDB_val key = {.mv_size = 6, .mv_data = (char[]){"format"}}, value = {.mv_size = sizeof format, .mv_data = &format};
  assert_int_equal(store_env_open(&env, x->path, STORE_ENV_WRITE, 1 << 20, &failure), MUSTER_OK);
  assert_int_equal(mdb_txn_begin(env.lmdb, NULL, 0, &txn), 0);
  assert_int_equal(store_env_databases(&env, txn, false), 0);
  assert_int_equal(mdb_put(txn, env.meta, &key, &value, 0), 0);
  assert_int_equal(mdb_txn_commit(txn), 0);
  store_env_close(&env);
  assert_int_equal(open_status(x, &failure), MUSTER_ERR_VERSION);
  assert_non_null(strstr(failure.text, "format 2"));
  assert_non_null(strstr(failure.text, "format 1"));
  failure = FAILURE_NONE;
  assert_int_equal(store_reader_open(&r, x->path, &failure), MUSTER_ERR_VERSION);
}

static void a_cut_data_file_is_seen_before_it_is_touched(void **state)
{
  struct fixture *x = *state;
  struct failure failure;
  struct stat st;
  char data[320], numbers[64];
  fixture_file(x, data, "data.mdb");
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, 5000, 1000);
  store_close(s);
  assert_int_equal(stat(data, &st), 0);
  const off_t cuts[] = {st.st_size - 1, st.st_size / 2, 8192, 8191, 100, 0};
  for (unsigned i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
    struct store_reader *r;
    assert_int_equal(truncate(data, cuts[i]), 0);
    assert_int_equal(open_status(x, &failure), MUSTER_ERR_CORRUPT);
    snprintf(numbers, sizeof numbers, "%ld bytes", (long)cuts[i]);
    assert_non_null(strstr(failure.text, numbers));
    if (cuts[i] >= 8192) {
      snprintf(numbers, sizeof numbers, "needs %ld", (long)st.st_size);
      assert_non_null(strstr(failure.text, numbers));
    }
    failure = FAILURE_NONE;
    assert_int_equal(store_reader_open(&r, x->path, &failure), MUSTER_ERR_CORRUPT);
    assert_int_equal(stat(data, &(struct stat){0}), 0);
  }
  assert_int_equal(unlink(data), 0);
  assert_int_equal(open_status(x, &failure), MUSTER_ERR_CORRUPT);
  assert_int_equal(access(data, F_OK), -1);
}

/* A data file as LMDB makes it, with nothing in it: a beginning, unless the marker says that there was a store. */
/* A whole LMDB file that says that nothing is in it, as a damaged page can: no beginning either, and not written to. */
static void an_empty_tree_is_a_beginning_only_without_the_marker(void **state)
{
  struct fixture *x = *state;
  struct failure failure;
  struct store_reader *r;
  MDB_env *lmdb;
  char data[320];
  fixture_file(x, data, "data.mdb");
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, 100, 100);
  store_close(s);
  assert_int_equal(unlink(data), 0);
  assert_int_equal(mdb_env_create(&lmdb), 0);
  assert_int_equal(mdb_env_open(lmdb, x->path, 0, 0600), 0);
  mdb_env_close(lmdb);
  assert_int_equal(open_status(x, &failure), MUSTER_ERR_CORRUPT);
  assert_non_null(strstr(failure.text, "says that it is empty"));
  failure = FAILURE_NONE;
  assert_int_equal(store_reader_open(&r, x->path, &failure), MUSTER_ERR_CORRUPT);
}

static void an_empty_data_file_is_a_beginning_only_without_the_marker(void **state)
{
  struct fixture *x = *state;
  struct failure failure = FAILURE_NONE;
  struct store_env env;
  char marker[320], data[320];
  fixture_file(x, marker, "created");
  fixture_file(x, data, "data.mdb");
  assert_int_equal(store_env_open(&env, x->path, STORE_ENV_WRITE, 1 << 20, &failure), MUSTER_OK);
  store_env_close(&env);
  assert_int_equal(open_status(x, &failure), MUSTER_OK);
  assert_int_equal(access(marker, F_OK), 0);
  assert_int_equal(unlink(marker), 0);
  assert_int_equal(truncate(data, 0), 0);
  assert_int_equal(store_env_open(&env, x->path, STORE_ENV_WRITE, 1 << 20, &failure), MUSTER_OK);
  store_env_close(&env);
  fclose(fopen(marker, "w"));
  assert_int_equal(open_status(x, &failure), MUSTER_ERR_CORRUPT);
  assert_int_equal(unlink(marker), 0);
  assert_int_equal(open_status(x, &failure), MUSTER_OK);
}

/* What a power cut leaves of a file whose length was on the disk before its first two pages were. */
static void two_pages_of_nothing_are_a_beginning_only_without_the_marker(void **state)
{
  struct fixture *x = *state;
  struct failure failure = FAILURE_NONE;
  char marker[320], data[320];
  fixture_file(x, marker, "created");
  fixture_file(x, data, "data.mdb");
  fclose(fopen(data, "w"));
  assert_int_equal(truncate(data, 2 * 4096), 0);
  fclose(fopen(marker, "w"));
  assert_int_equal(open_status(x, &failure), MUSTER_ERR_CORRUPT);
  assert_int_equal(unlink(marker), 0);
  assert_int_equal(open_status(x, &failure), MUSTER_OK);
}

static void garbage_is_refused(void **state)
{
  struct fixture *x = *state;
  struct failure failure;
  char data[320];
  fixture_file(x, data, "data.mdb");
  FILE *f = fopen(data, "w");
  for (unsigned i = 0; i < 20000; i++)
    fputc((int)(fixture_mix(i) & 255), f);
  fclose(f);
  assert_int_equal(open_status(x, &failure), MUSTER_ERR_CORRUPT);
}

static int opens_without_rights(struct fixture *x)
{
  struct store *s;
  struct failure failure = FAILURE_NONE;
  if (geteuid() == 0 && setuid(65534) != 0)
    return 1;
  return store_open(&s, &x->options, &failure) == MUSTER_ERR_DENIED && failure.text[0] ? 0 : 2;
}

static void a_directory_that_is_missing_or_not_ours_is_named(void **state)
{
  struct fixture *x = *state;
  struct failure failure;
  assert_int_equal(chmod(x->path, 0500), 0);
  assert_int_equal(fixture_child(x, opens_without_rights), 0);
  assert_int_equal(chmod(x->path, 0700), 0);
  x->options.path = "/nowhere/at/all";
  assert_int_equal(open_status(x, &failure), MUSTER_ERR_NOT_FOUND);
  assert_non_null(strstr(failure.text, "/nowhere/at/all"));
}

static void descriptors_do_not_pass_to_other_programs(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  DIR *d = opendir("/proc/self/fd");
  unsigned ours = 0;
  for (struct dirent *entry; (entry = readdir(d));) {
    char target[512];
    const ssize_t n = readlinkat(dirfd(d), entry->d_name, target, sizeof target - 1);
    target[n > 0 ? n : 0] = '\0';
    if (strncmp(target, x->path, strlen(x->path)) != 0)
      continue;
    ours++;
    assert_true(fcntl(atoi(entry->d_name), F_GETFD) & FD_CLOEXEC);
  }
  closedir(d);
  assert_true(ours >= 3); /* data.mdb, lock.mdb, owner.lock */
  store_close(s);
}

#define HEADER sizeof(struct store_block_header)

/* Three blocks of 100, left without a hint where the writer was killed. */
static int fills_and_ends(struct fixture *x)
{
  fixture_fill(fixture_open(x), 0, 300, 100);
  return 7;
}

/* Without the check a resend of the record would not be found, and be accepted a second time. */
static void a_flipped_column_is_refused_at_a_start_without_a_hint(void **state)
{
  struct fixture *x = *state;
  const size_t bytes[] = {offsetof(struct store_block_header, columns), HEADER + 16 * 7, HEADER + 16 * 100 + 16 * 7 + 15,
                          HEADER + 32 * 100 + 4 * 7, HEADER + 36 * 100};
  char hint[320];
  fixture_file(x, hint, "index.hint");
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, 300, 100);
  store_close(s); /* the tally has all: nothing is counted from the journal at the next start */
  assert_int_equal(unlink(hint), 0);
  for (unsigned i = 0; i < sizeof bytes / sizeof bytes[0]; i++) {
    struct failure failure = FAILURE_NONE;
    damage_flip(x, DAMAGE_JOURNAL, 1, bytes[i], 1);
    assert_int_equal(open_status(x, &failure), MUSTER_ERR_CORRUPT);
    assert_non_null(strstr(failure.text, x->path));
    assert_non_null(strstr(failure.text, "the block that holds sequence 101 "));
    assert_non_null(strstr(failure.text, "muster verify"));
    damage_flip(x, DAMAGE_JOURNAL, 1, bytes[i], 1);
  }
  s = fixture_open(x);
  fixture_expect_all(s, 300);
  store_close(s);
}

static void a_flipped_column_is_refused_when_it_is_first_looked_at(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, 300, 100);
  store_close(s);
  for (unsigned column = 0; column < 2; column++) {
    struct fixture_record r;
    struct store_facts facts;
    struct failure failure = FAILURE_NONE;
    uint64_t sequence = 0;
    uint8_t digest[16];
    damage_flip(x, DAMAGE_JOURNAL, 1, HEADER + 1600 * column + 16 * 7, 1);
    s = fixture_open(x);
    store_facts(s, &facts);
    assert_false(facts.rebuilt);
    assert_int_equal(store_begin(s), MUSTER_OK);
    fixture_expect(s, 99, 100); /* of the block before */
    fixture_record(&r, 107, 0);
    assert_int_equal(store_find(s, r.id, store_fingerprint(s, r.id), &sequence, digest), MUSTER_ERR_CORRUPT);
    assert_int_equal(store_commit(s, &failure), MUSTER_ERR_CORRUPT);
    assert_non_null(strstr(failure.text, "the block of sequences 101 to 200 "));
    store_close(s);
    damage_flip(x, DAMAGE_JOURNAL, 1, HEADER + 1600 * column + 16 * 7, 1);
  }
  s = fixture_open(x);
  fixture_expect_all(s, 300);
  store_close(s);
}

/* DUPLICATE and CONFLICT say that the first copy is kept: not of one whose bytes are lost, however the index came about. */
static void a_record_with_damaged_bytes_is_not_called_stored(void **state)
{
  struct fixture *x = *state;
  char hint[320];
  fixture_file(x, hint, "index.hint");
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, 300, 100);
  store_close(s);
  for (unsigned round = 0; round < 2; round++) {
    struct fixture_record r;
    struct store_facts facts;
    struct failure failure = FAILURE_NONE;
    uint64_t sequence = 0;
    uint8_t digest[16];
    damage_flip(x, DAMAGE_JOURNAL, 1, HEADER + 36 * 100 + 16 * 100, 1); /* behind the columns and all the runs there can be */
    if (round)
      assert_int_equal(unlink(hint), 0);
    s = fixture_open(x);
    store_facts(s, &facts);
    assert_int_equal(facts.rebuilt, round);
    assert_int_equal(store_begin(s), MUSTER_OK);
    fixture_expect(s, 99, 100); /* of the block before */
    fixture_expect(s, 99, 100);
    fixture_record(&r, 107, round);
    assert_int_equal(store_find(s, r.id, store_fingerprint(s, r.id), &sequence, digest), MUSTER_ERR_CORRUPT);
    assert_int_equal(store_commit(s, &failure), MUSTER_ERR_CORRUPT);
    assert_non_null(strstr(failure.text, x->path));
    assert_non_null(strstr(failure.text, "the block of sequences 101 to 200 contradicts its checksum"));
    assert_non_null(strstr(failure.text, "muster verify"));
    store_close(s);
    damage_flip(x, DAMAGE_JOURNAL, 1, HEADER + 36 * 100 + 16 * 100, 1);
  }
  s = fixture_open(x);
  fixture_expect_all(s, 300);
  store_close(s);
}

static int counts(void *context, const struct store_tally_cell *cell)
{
  *(uint64_t *)context += cell->count;
  return 0;
}

/* What the tally does not have yet is counted from the records' bytes: those are held against the whole block's checksum. */
static void a_flipped_byte_of_a_record_is_not_counted(void **state)
{
  struct fixture *x = *state;
  struct failure failure = FAILURE_NONE;
  struct store_reader *r;
  uint64_t count = 0;
  assert_int_equal(fixture_child(x, fills_and_ends), 7);
  damage_flip(x, DAMAGE_JOURNAL, 2, HEADER + 5000, 1);
  assert_int_equal(open_status(x, &failure), MUSTER_ERR_CORRUPT);
  assert_non_null(strstr(failure.text, "the block that holds sequence 201 "));
  failure = FAILURE_NONE;
  assert_int_equal(store_reader_open(&r, x->path, &failure), MUSTER_OK);
  assert_int_equal(store_reader_tally(r, counts, &count, &failure), MUSTER_ERR_CORRUPT);
  assert_non_null(strstr(failure.text, "the block that holds sequence 201 "));
  store_reader_close(r);
  assert_int_equal(count, 0);
}

static int looked_at(void *context, const struct store_record *record)
{
  (void)context;
  (void)record;
  return 0;
}

static void a_reader_does_not_search_damaged_columns(void **state)
{
  struct fixture *x = *state;
  struct failure failure = FAILURE_NONE;
  struct fixture_record record;
  struct store_reader *r;
  assert_int_equal(fixture_child(x, fills_and_ends), 7);
  damage_flip(x, DAMAGE_JOURNAL, 1, HEADER + 16 * 7, 1);
  fixture_record(&record, 107, 0);
  assert_int_equal(store_reader_open(&r, x->path, &failure), MUSTER_OK);
  assert_int_equal(store_reader_find(r, record.id, looked_at, NULL, &failure), MUSTER_ERR_CORRUPT);
  store_reader_close(r);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(one_owner_at_a_time, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_process_opens_a_shard_once, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(identity_is_checked, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(each_shard_has_a_seed_of_its_own_and_keeps_it, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(an_index_over_its_bound_is_refused_with_the_number, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_newer_format_is_named_and_left_alone, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_cut_data_file_is_seen_before_it_is_touched, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(two_pages_of_nothing_are_a_beginning_only_without_the_marker, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(an_empty_data_file_is_a_beginning_only_without_the_marker, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(an_empty_tree_is_a_beginning_only_without_the_marker, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(garbage_is_refused, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_directory_that_is_missing_or_not_ours_is_named, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(descriptors_do_not_pass_to_other_programs, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_flipped_column_is_refused_at_a_start_without_a_hint, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_flipped_column_is_refused_when_it_is_first_looked_at, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_record_with_damaged_bytes_is_not_called_stored, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_flipped_byte_of_a_record_is_not_counted, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_reader_does_not_search_damaged_columns, fixture_setup, fixture_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
