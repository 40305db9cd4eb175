/* Verify: a sound shard has no fault; every kind of damage is told, with block and sequence where there are any. */
#include "damage.h"
#include "store/writer.h"

#define SEED UINT64_C(77)
#define RECORDS 400u
#define BLOCK 100u

static int setup(void **state)
{
  fixture_setup(state);
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  struct failure failure = FAILURE_NONE;
  fixture_fill(s, 0, RECORDS, BLOCK);
  assert_int_equal(store_begin(s), MUSTER_OK);
  for (uint64_t i = 0; i < 10; i++)
    store_quarantine(s, (const uint8_t *)&i, sizeof i, 1, 0, &(struct store_receipt){.submitter = (uint32_t)(i / 5)});
  assert_int_equal(store_commit(s, &failure), MUSTER_OK);
  store_close(s);
  return 0;
}

static void expect_fault(const struct fixture *x, const char *words)
{
  struct fixture_faults faults;
  struct store_verify_result result;
  fixture_verify(x, &faults, &result);
  assert_true(faults.count > 0);
  if (!strstr(faults.first, words))
    fail_msg("\"%s\" is not in: %s", words, faults.first);
}

static void watch(void *context, uint64_t records_read, uint64_t records_total)
{
  (void)context;
  assert_true(records_read <= records_total);
}

static void a_sound_shard_has_no_fault(void **state)
{
  struct fixture *x = *state;
  struct fixture_faults faults = {0};
  struct store_verify_result result;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(store_verify(x->path, fixture_report, &faults, watch, &result, &failure), MUSTER_OK);
  assert_int_equal(faults.count, 0);
  assert_int_equal(result.faults, 0);
  assert_int_equal(result.blocks, RECORDS / BLOCK);
  assert_int_equal(result.records, RECORDS);
  assert_true(result.bytes > RECORDS * 200);
  assert_true(result.tally_cells > 10);
  assert_int_equal(result.quarantined, 10);
}

static void an_empty_shard_has_no_fault(void **state)
{
  (void)state;
  struct fixture x;
  fixture_make(&x);
  store_close(fixture_open(&x));
  fixture_verify_clean(&x, 0);
  fixture_remove(&x);
}

static void a_flipped_byte_anywhere_in_a_block_is_told(void **state)
{
  struct fixture *x = *state;
  print_message("seed %llu\n", (unsigned long long)SEED);
  for (unsigned i = 0; i < 60; i++) {
    char words[32];
    const unsigned block = (unsigned)(fixture_mix(SEED + i) % (RECORDS / BLOCK));
    const size_t byte = i < 16 ? i * 4 : (size_t)fixture_mix(SEED - i); /* the header as well */
    const uint8_t bits = (uint8_t)(1u << fixture_mix(SEED ^ i) % 8);
    damage_flip(x, DAMAGE_JOURNAL, block, byte, bits);
    snprintf(words, sizeof words, "block %u", block + 1);
    expect_fault(x, words);
    damage_flip(x, DAMAGE_JOURNAL, block, byte, bits);
  }
  fixture_verify_clean(x, RECORDS);
}

static void a_flipped_record_byte_names_its_sequence(void **state)
{
  struct fixture *x = *state;
  struct damage d;
  MDB_val key;
  size_t size;
  damage_begin(&d, x);
  uint8_t *block = damage_entry(&d, d.env.journal, 2, &key, &size);
  block[size - 1] ^= 1; /* the last record's disposition */
  damage_put(&d, d.env.journal, &key, block, size);
  free(block);
  damage_end(&d);
  struct fixture_faults faults;
  struct store_verify_result result;
  fixture_verify(x, &faults, &result);
  assert_non_null(strstr(faults.first, "block 3 (sequences 201 to 300): its checksum"));
  assert_int_equal(faults.count, 2); /* the checksum, and the digest of sequence 300 */
  assert_int_equal(result.records, RECORDS - 1);
  assert_int_equal(result.blocks, RECORDS / BLOCK - 1);
}

static void a_missing_block_is_told(void **state)
{
  struct fixture *x = *state;
  static const char *const words[] = {"block 1 begins with sequence 101 where 1 is due",
                                      "block 2 begins with sequence 201 where 101 is due", NULL,
                                      "ends with sequence 300 and meta says 400"};
  for (unsigned i = 0; i < 4; i += i == 1 ? 2 : 1) {
    struct damage d;
    MDB_val key, value;
    size_t size;
    uint64_t first;
    damage_begin(&d, x);
    uint8_t *block = damage_entry(&d, d.env.journal, i, &key, &size);
    memcpy(&first, key.mv_data, sizeof first);
    key = (MDB_val){.mv_size = sizeof first, .mv_data = &first};
    assert_int_equal(mdb_del(d.txn, d.env.journal, &key, NULL), 0);
    damage_end(&d);
    expect_fault(x, words[i]);
    damage_begin(&d, x);
    value = (MDB_val){.mv_size = size, .mv_data = block};
    assert_int_equal(mdb_put(d.txn, d.env.journal, &key, &value, 0), 0);
    damage_end(&d);
    free(block);
    fixture_verify_clean(x, RECORDS);
  }
}

/* A block with a right checksum of its own, in the place of another: only the chain tells. */
static void a_replaced_block_breaks_the_chain(void **state)
{
  struct fixture *x = *state;
  struct store_block_builder builder;
  struct damage d;
  uint8_t chain[16] = {1};
  uint64_t first = 101;
  MDB_val key = {.mv_size = sizeof first, .mv_data = &first};
  assert_int_equal(store_block_builder_init(&builder), MUSTER_OK);
  for (uint64_t n = 100; n < 200; n++) {
    struct fixture_record r;
    fixture_record(&r, n, 0);
    assert_true(store_block_builder_add(&builder, r.bytes, r.size, r.id, r.digest, (uint32_t)(n % 3), (int64_t)(1000 + n / 10)));
  }
  damage_begin(&d, x);
  assert_int_equal(mdb_del(d.txn, d.env.journal, &key, NULL), 0);
  MDB_val value;
  uint64_t later[2] = {201, 301};
  uint8_t *kept[2];
  size_t sizes[2];
  for (int i = 0; i < 2; i++) { /* MDB_APPEND wants the end of the journal */
    MDB_val k;
    kept[i] = damage_entry(&d, d.env.journal, 1, &k, &sizes[i]);
    key.mv_data = &later[i];
    assert_int_equal(mdb_del(d.txn, d.env.journal, &key, NULL), 0);
  }
  assert_int_equal(store_block_builder_write(&builder, d.txn, d.env.journal, first, 0, chain), 0);
  for (int i = 0; i < 2; i++) {
    key.mv_data = &later[i];
    value = (MDB_val){.mv_size = sizes[i], .mv_data = kept[i]};
    assert_int_equal(mdb_put(d.txn, d.env.journal, &key, &value, 0), 0);
    free(kept[i]);
  }
  damage_end(&d);
  store_block_builder_finish(&builder);
  struct fixture_faults faults;
  struct store_verify_result result;
  fixture_verify(x, &faults, &result);
  assert_int_equal(faults.count, 2); /* it does not continue block 1, and block 3 does not continue it */
  assert_non_null(strstr(faults.first, "block 2 (sequences 101 to 200): it does not continue the chain"));
}

static void a_wrong_tally_is_told_by_day(void **state)
{
  struct fixture *x = *state;
  damage_flip(x, DAMAGE_TALLY, 0, 10, 1); /* the count of the first row */
  expect_fault(x, "the tally of 2020-10-01 is wrong in 1 cells: it says 40");
  damage_flip(x, DAMAGE_TALLY, 0, 10, 1);
  damage_flip(x, DAMAGE_TALLY, 0, 4, 2); /* its demographic: one cell too many, one too few */
  expect_fault(x, "the tally of 2020-10-01 is wrong in");
  damage_flip(x, DAMAGE_TALLY, 0, 4, 2);
  fixture_verify_clean(x, RECORDS);
  struct damage d;
  MDB_val key;
  size_t size;
  damage_begin(&d, x);
  uint8_t *rows = damage_entry(&d, d.env.tally, 0, &key, &size);
  damage_put(&d, d.env.tally, &key, rows, size - 16);
  damage_end(&d);
  expect_fault(x, "wrong in 1 cells");
  damage_begin(&d, x);
  free(damage_entry(&d, d.env.tally, 0, &key, &size));
  assert_int_equal(mdb_del(d.txn, d.env.tally, &key, NULL), 0);
  damage_end(&d);
  free(rows);
  expect_fault(x, "it says 0 records, a recount gives 400");
}

static void change_meta(const struct fixture *x, void (*change)(struct store_meta *m))
{
  struct damage d;
  struct store_meta meta;
  damage_begin(&d, x);
  assert_int_equal(store_meta_load(&d.env, d.txn, &meta, NULL), MUSTER_OK);
  change(&meta);
  assert_int_equal(store_meta_save(&d.env, d.txn, &meta), 0);
  damage_end(&d);
}

static void more_records(struct store_meta *m) { m->records++; }
static void fewer_records(struct store_meta *m) { m->records--; }
static void more_blocks(struct store_meta *m) { m->blocks += 3; }
static void fewer_blocks(struct store_meta *m) { m->blocks -= 3; }
static void more_bytes(struct store_meta *m) { m->record_bytes++; }
static void fewer_bytes(struct store_meta *m) { m->record_bytes--; }
static void turn_chain(struct store_meta *m) { m->chain[5] ^= 1; }
static void more_quarantined(struct store_meta *m) { m->quarantined++; }
static void fewer_quarantined(struct store_meta *m) { m->quarantined--; }
static void fewer_tallied(struct store_meta *m) { m->tally_records -= 10; }
static void more_tallied(struct store_meta *m) { m->tally_records += 10; }

static void meta_is_held_against_what_is_there(void **state)
{
  struct fixture *x = *state;
  static const struct {
    void (*change)(struct store_meta *m), (*back)(struct store_meta *m);
    const char *words;
  } cases[] = {{more_records, fewer_records, "ends with sequence 400 and meta says 401"},
               {more_blocks, fewer_blocks, "has 4 blocks and meta says 7"},
               {more_bytes, fewer_bytes, "bytes of records and meta says"},
               {turn_chain, turn_chain, "the last block (4, up to sequence 400) is not the head of the chain"},
               {more_quarantined, fewer_quarantined, "has 10 entries and meta says 11"},
               {fewer_tallied, more_tallied, "the tally of 2020-10-01 is wrong"},
               {more_tallied, fewer_tallied, "the tally claims to count 410 records of 400"}};
  for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    change_meta(x, cases[i].change);
    expect_fault(x, cases[i].words);
    change_meta(x, cases[i].back);
  }
  fixture_verify_clean(x, RECORDS);
}

static void a_damaged_meta_cannot_be_read(void **state)
{
  struct fixture *x = *state;
  struct store_verify_result result;
  struct failure failure = FAILURE_NONE;
  damage_flip(x, offsetof(struct store_env, meta), 1, 40, 4); /* "format", then "state" */
  assert_int_equal(store_verify(x->path, fixture_report, NULL, NULL, &result, &failure), MUSTER_ERR_CORRUPT);
  assert_non_null(strstr(failure.text, "meta record is damaged"));
}

/* Appends one record as a worker with a fault of its own would. */
static void append_wrongly(struct fixture *x, void (*spoil)(struct fixture_record *r))
{
  struct failure failure = FAILURE_NONE;
  struct fixture_record r;
  struct store *s = fixture_open(x);
  fixture_record(&r, 50, 0);
  spoil(&r);
  assert_int_equal(store_begin(s), MUSTER_OK);
  assert_int_equal(
      store_append(s, &r.view, r.digest, store_fingerprint(s, r.view.field[FIELD_ENCOUNTER_ID].bytes), &(struct store_receipt){0}),
      RECORDS + 1);
  assert_int_equal(store_commit(s, &failure), MUSTER_OK);
  store_close(s);
}

static void spoil_nothing(struct fixture_record *r) { (void)r; }
static void spoil_digest(struct fixture_record *r)
{
  fixture_record(r, 5000, 0);
  r->digest[7] ^= 1;
}
static void spoil_id(struct fixture_record *r)
{
  static const uint8_t other[16] = {1, 2, 3};
  fixture_record(r, 5000, 0);
  r->view.field[FIELD_ENCOUNTER_ID].bytes = other;
}
static void spoil_bytes(struct fixture_record *r)
{
  fixture_record(r, 5000, 0);
  r->view.record_size -= 1;
}

static void a_workers_mistake_is_told(void **state)
{
  struct fixture *x = *state;
  append_wrongly(x, spoil_nothing);
  expect_fault(x, "block 5, sequence 401: its id was stored before, as sequence 51");
  fixture_remove(x);
  free(x);
  setup(state);
  append_wrongly(*state, spoil_digest);
  expect_fault(*state, "block 5, sequence 401: its digest column");
  fixture_remove(*state);
  free(*state);
  setup(state);
  append_wrongly(*state, spoil_id);
  expect_fault(*state, "block 5, sequence 401: its id column");
}

static void bytes_that_are_no_record_are_told(void **state)
{
  append_wrongly(*state, spoil_bytes);
  expect_fault(*state, "block 5, sequence 401: its bytes are no record");
}

static void a_record_of_another_shard_is_told(void **state)
{
  (void)state;
  struct fixture x;
  struct fixture_record r;
  struct failure failure = FAILURE_NONE;
  uint64_t n = 0;
  fixture_make(&x);
  x.options.shards = 2;
  struct store *s = fixture_open(&x);
  assert_int_equal(store_begin(s), MUSTER_OK);
  for (uint64_t wanted = 0; wanted < 10; n++) {
    fixture_record(&r, n, 0);
    if (digest_shard(r.id, 2) == 0)
      assert_int_equal(fixture_put(s, n, NULL), ++wanted);
  }
  assert_int_equal(store_commit(s, &failure), MUSTER_OK);
  store_close(s);
  fixture_verify_clean(&x, 10);
  for (;; n++) {
    fixture_record(&r, n, 0);
    if (digest_shard(r.id, 2) == 1)
      break;
  }
  s = fixture_open(&x);
  fixture_fill(s, n, n + 1, 1);
  store_close(s);
  expect_fault(&x, "block 2, sequence 11: its id belongs to shard 1");
  fixture_remove(&x);
}

static void damage_in_the_quarantine_is_told(void **state)
{
  struct fixture *x = *state;
  damage_flip(x, DAMAGE_QUARANTINE, 3, 55, 1); /* a byte of the record */
  expect_fault(x, "quarantine entry");
  damage_flip(x, DAMAGE_QUARANTINE, 3, 55, 1);
  damage_flip(x, DAMAGE_QUOTA, 1, 8, 1); /* its bytes */
  expect_fault(x, "the quarantine of submitter 1 has 5 entries of 40 bytes and its quota says 5 of 41");
  damage_flip(x, DAMAGE_QUOTA, 1, 8, 1);
  fixture_verify_clean(x, RECORDS);
}

static void a_directory_without_a_store_cannot_be_verified(void **state)
{
  (void)state;
  struct fixture x;
  struct store_verify_result result;
  struct failure failure = FAILURE_NONE;
  fixture_make(&x);
  assert_int_equal(store_verify(x.path, fixture_report, NULL, NULL, &result, &failure), MUSTER_ERR_NOT_FOUND);
  fixture_remove(&x);
}

#ifdef MUSTER_FAULTS
static int verifies_and_says(const char *path)
{
  struct fixture_faults faults = {0};
  struct store_verify_result result;
  struct failure failure = FAILURE_NONE;
  const int status = store_verify(path, fixture_report, &faults, NULL, &result, &failure);
  printf("%s", failure.text);
  fflush(stdout);
  return -status;
}

/* The system gives memory that it does not have, and ends somebody later: what there is must be asked before. */
static void memory_that_is_not_there_is_told_before_anything_is_read(void **state)
{
  struct fixture *x = *state;
  char said[512], number[32];
  const int status = fixture_again("store.verify-memory:fail", "verify", x->path, said, sizeof said);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), -MUSTER_ERR_MEMORY);
  snprintf(number, sizeof number, "%u bytes", RECORDS * STORE_VERIFY_RECORD_BYTES);
  assert_non_null(strstr(said, number));
}
#endif

int main(int argc, char **argv)
{
#ifdef MUSTER_FAULTS
  if (argc == 3 && strcmp(argv[1], "verify") == 0)
    return verifies_and_says(argv[2]);
#endif
  (void)argc;
  (void)argv;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_sound_shard_has_no_fault, setup, fixture_teardown),
      cmocka_unit_test(an_empty_shard_has_no_fault),
      cmocka_unit_test_setup_teardown(a_flipped_byte_anywhere_in_a_block_is_told, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_flipped_record_byte_names_its_sequence, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_missing_block_is_told, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_replaced_block_breaks_the_chain, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_wrong_tally_is_told_by_day, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(meta_is_held_against_what_is_there, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_damaged_meta_cannot_be_read, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_workers_mistake_is_told, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(bytes_that_are_no_record_are_told, setup, fixture_teardown),
      cmocka_unit_test(a_record_of_another_shard_is_told),
      cmocka_unit_test_setup_teardown(damage_in_the_quarantine_is_told, setup, fixture_teardown),
      cmocka_unit_test(a_directory_without_a_store_cannot_be_verified),
#ifdef MUSTER_FAULTS
      cmocka_unit_test_setup_teardown(memory_that_is_not_there_is_told_before_anything_is_read, setup, fixture_teardown),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
