/* The block: what is gathered comes back byte for byte, every flipped bit is seen, and a block that is cut or padded is none. */
#include "fixture.h"
#include "store/env_call.h"
#include "store/journal.h"
#include "store/meta.h"

#define RECORDS 300u

/* An environment of its own, without a writer around it. */
struct bare {
  struct fixture x;
  struct store_env env;
  MDB_txn *txn;
  struct store_block_builder builder;
  uint8_t chain[16];
};

static int setup(void **state)
{
  struct bare *t = calloc(1, sizeof *t);
  fixture_make(&t->x);
  assert_int_equal(store_env_open(&t->env, t->x.path, STORE_ENV_WRITE, UINT64_C(1) << 28, NULL), MUSTER_OK);
  assert_int_equal(mdb_txn_begin(t->env.lmdb, NULL, 0, &t->txn), 0);
  assert_int_equal(store_env_databases(&t->env, t->txn, true), 0);
  assert_int_equal(store_block_builder_init(&t->builder), MUSTER_OK);
  *state = t;
  return 0;
}

static int teardown(void **state)
{
  struct bare *t = *state;
  mdb_txn_abort(t->txn);
  store_block_builder_finish(&t->builder);
  store_env_close(&t->env);
  fixture_remove(&t->x);
  free(t);
  return 0;
}

static void gather(struct bare *t, uint64_t first, uint32_t count)
{
  store_block_builder_reset(&t->builder);
  for (uint32_t i = 0; i < count; i++) {
    struct fixture_record r;
    fixture_record(&r, first + i, 0);
    assert_true(store_block_builder_add(&t->builder, r.bytes, r.size, r.id, r.digest, i / 100, 7 + i / 50));
  }
}

static void write_block(struct bare *t, uint64_t first, uint32_t count)
{
  gather(t, first, count);
  assert_int_equal(store_block_builder_write(&t->builder, t->txn, t->env.journal, first, 3, t->chain), 0);
}

/* As the store does it, blocks are read from the file, never from the transaction that writes them. */
static void seek(struct bare *t, uint64_t sequence, struct store_block *b, int expected)
{
  MDB_cursor *cursor;
  assert_int_equal(mdb_txn_commit(t->txn), 0);
  assert_int_equal(mdb_txn_begin(t->env.lmdb, NULL, 0, &t->txn), 0);
  assert_int_equal(mdb_cursor_open(t->txn, t->env.journal, &cursor), 0);
  assert_int_equal(store_journal_seek(cursor, sequence, b), expected);
  mdb_cursor_close(cursor);
}

static void what_is_gathered_comes_back(void **state)
{
  struct bare *t = *state;
  struct store_block b;
  struct store_block_receipts receipts;
  write_block(t, 1, RECORDS);
  seek(t, 17, &b, 0);
  assert_int_equal(b.header.count, RECORDS);
  assert_int_equal(b.header.runs, 6);
  assert_int_equal(b.header.shard, 3);
  assert_true(store_block_intact(&b));
  assert_memory_equal(t->chain, b.header.checksum, 16);
  store_block_receipts(&receipts, &b);
  for (uint32_t i = 0; i < RECORDS; i++) {
    struct fixture_record r;
    uint32_t size = 0, submitter;
    int64_t received_us;
    fixture_record(&r, 1 + i, 0);
    const uint8_t *bytes = store_block_record(&b, i, &size);
    assert_int_equal(size, r.size);
    assert_memory_equal(bytes, r.bytes, size);
    assert_memory_equal(store_block_id(&b, i), r.id, 16);
    assert_memory_equal(store_block_digest(&b, i), r.digest, 16);
    assert_true(store_block_receipt_next(&receipts, &submitter, &received_us));
    assert_int_equal(submitter, i / 100);
    assert_int_equal(received_us, 7 + i / 50);
  }
  uint32_t submitter;
  int64_t received_us;
  assert_false(store_block_receipt_next(&receipts, &submitter, &received_us));
}

static int stop_at(void *context, const struct store_record *record)
{
  const uint64_t *sequence = context;
  return record->sequence == *sequence ? MUSTER_ERR_CORRUPT : 0;
}

/* What the one who is called has to say of a record is no damage of the block, and damage is not said as if he had. */
static void an_answer_and_damage_are_told_apart(void **state)
{
  struct bare *t = *state;
  struct store_block b;
  uint64_t next = 3, sequence = 40;
  bool damaged = true;
  write_block(t, 1, RECORDS);
  seek(t, 1, &b, 0);
  assert_int_equal(store_block_each(&b, &next, RECORDS, stop_at, &sequence, &damaged), MUSTER_ERR_CORRUPT);
  assert_false(damaged);
  assert_int_equal(next, 41);
  sequence = 0;
  assert_int_equal(store_block_each(&b, &next, RECORDS, stop_at, &sequence, &damaged), 0);
  assert_false(damaged);
  assert_int_equal(next, RECORDS + 1);
  b.runs = b.bytes - sizeof(struct store_block_run); /* of six runs of 50 the last one alone */
  next = 1;
  assert_int_equal(store_block_each(&b, &next, RECORDS, stop_at, &sequence, &damaged), 0);
  assert_true(damaged);
  assert_int_equal(next, 51);
}

static void every_sequence_finds_its_block(void **state)
{
  struct bare *t = *state;
  static const uint32_t counts[] = {1, 1, 250, 3, 1, 90};
  uint64_t first = 1;
  uint8_t previous[16] = {0};
  for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; first += counts[i++])
    write_block(t, first, counts[i]);
  struct store_block b;
  uint64_t begin = 1;
  for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; begin += counts[i++]) {
    for (uint32_t j = 0; j < counts[i]; j++) {
      seek(t, begin + j, &b, 0);
      assert_int_equal(b.header.first, begin);
      assert_int_equal(b.header.count, counts[i]);
    }
    assert_memory_equal(b.header.previous, previous, 16);
    memcpy(previous, b.header.checksum, 16);
  }
  seek(t, first, &b, MDB_NOTFOUND);
  seek(t, 0, &b, MDB_NOTFOUND);
  MDB_val key = {.mv_size = 8, .mv_data = &(uint64_t){3}};
  assert_int_equal(mdb_del(t->txn, t->env.journal, &key, NULL), 0);
  seek(t, 100, &b, MDB_NOTFOUND);
  seek(t, 253, &b, 0);
}

static void blocks_only_follow(void **state)
{
  struct bare *t = *state;
  write_block(t, 100, 2);
  gather(t, 50, 2);
  assert_int_equal(store_block_builder_write(&t->builder, t->txn, t->env.journal, 50, 3, t->chain), MDB_KEYEXIST);
}

static void every_flipped_bit_is_seen(void **state)
{
  struct bare *t = *state;
  struct store_block b, again;
  write_block(t, 1, 20);
  seek(t, 1, &b, 0);
  uint8_t *copy = malloc(b.size);
  memcpy(copy, b.base, b.size);
  for (size_t byte = 0; byte < b.size; byte++) {
    copy[byte] ^= (uint8_t)(1u << byte % 8);
    assert_false(store_block_parse(&again, copy, b.size, 1) && store_block_intact(&again));
    copy[byte] ^= (uint8_t)(1u << byte % 8);
  }
  assert_true(store_block_parse(&again, copy, b.size, 1) && store_block_intact(&again));
  assert_false(store_block_parse(&again, copy, b.size - 1, 1));
  assert_false(store_block_parse(&again, copy, 63, 1));
  assert_false(store_block_parse(&again, copy, b.size, 2));
  free(copy);
}

static void offsets_that_do_not_ascend_are_no_record(void **state)
{
  struct bare *t = *state;
  struct store_block b;
  uint32_t size;
  write_block(t, 1, 3);
  seek(t, 1, &b, 0);
  uint8_t *copy = malloc(b.size);
  memcpy(copy, b.base, b.size);
  assert_true(store_block_parse(&b, copy, b.size, 1));
  uint8_t *ends = copy + (b.ends - b.base);
  store_u32(ends, load_u32(ends + 4) + 1);
  assert_non_null(store_block_record(&b, 0, &size));
  assert_null(store_block_record(&b, 1, &size));
  store_u32(ends + 8, b.header.bytes + 1);
  assert_null(store_block_record(&b, 2, &size));
  free(copy);
}

static void a_full_block_takes_no_more(void **state)
{
  struct bare *t = *state;
  static uint8_t large[LIMIT_RECORD_BYTES], id[16];
  for (uint32_t i = 0; i < LIMIT_COMMIT_BYTES / LIMIT_RECORD_BYTES; i++)
    assert_true(store_block_builder_add(&t->builder, large, sizeof large, id, id, 0, i));
  assert_false(store_block_builder_add(&t->builder, large, 1, id, id, 0, 0));
  assert_int_equal(t->builder.bytes_used, LIMIT_COMMIT_BYTES);
  assert_int_equal(store_block_builder_write(&t->builder, t->txn, t->env.journal, 1, 0, t->chain), 0);
  store_block_builder_reset(&t->builder);
  for (uint32_t i = 0; i < LIMIT_COMMIT_RECORDS; i++)
    assert_true(store_block_builder_add(&t->builder, large, 1, id, id, i, 0));
  assert_false(store_block_builder_add(&t->builder, large, 1, id, id, 0, 0));
  assert_int_equal(t->builder.run_count, LIMIT_COMMIT_RECORDS);
  assert_int_equal(store_block_builder_write(&t->builder, t->txn, t->env.journal, 1000000, 0, t->chain), 0);
  struct store_block b;
  seek(t, 1000000 + LIMIT_COMMIT_RECORDS - 1, &b, 0);
  assert_true(store_block_intact(&b));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(what_is_gathered_comes_back, setup, teardown),
      cmocka_unit_test_setup_teardown(an_answer_and_damage_are_told_apart, setup, teardown),
      cmocka_unit_test_setup_teardown(every_sequence_finds_its_block, setup, teardown),
      cmocka_unit_test_setup_teardown(blocks_only_follow, setup, teardown),
      cmocka_unit_test_setup_teardown(every_flipped_bit_is_seen, setup, teardown),
      cmocka_unit_test_setup_teardown(offsets_that_do_not_ascend_are_no_record, setup, teardown),
      cmocka_unit_test_setup_teardown(a_full_block_takes_no_more, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
