#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "core/datadir_note.h"
#include "ops/data_root.h"
#include "ops/shards.h"
#include "proto/digest.h"
#include "store/store.h"

static uint8_t node_id[16] = {7, 7, 7};

static void append(struct store *s, uint8_t number)
{
  uint8_t bytes[18] = {0x0a, 16, number, [17] = 1}, digest[16], found[16];
  struct encounter_view view;
  struct scan_fault fault;
  struct store_receipt receipt = {.received_us = 1};
  uint64_t sequence;
  assert_true(scan_encounter(&view, bytes, sizeof bytes, &fault));
  digest_content(digest, &view);
  uint64_t fingerprint = store_fingerprint(s, bytes + 2);
  assert_int_equal(store_find(s, bytes + 2, fingerprint, &sequence, found), 0);
  assert_true(store_append(s, &view, digest, fingerprint, &receipt) > 0);
}

static void make_shard(uint32_t shard, uint32_t shards, uint8_t records)
{
  char path[LIMIT_PATH_BYTES];
  struct failure failure = FAILURE_NONE;
  struct store *s;
  datadir_shard_path(&data, path, shard);
  assert_int_equal(mkdir(path, 0700), 0);
  struct store_options o = {
      .path = path, .shard = shard, .shards = shards, .map_bytes = 64 * LIMIT_MIB, .quarantine_records = 1, .quarantine_bytes = 1};
  memcpy(o.node_id, node_id, sizeof node_id);
  assert_int_equal(store_open(&s, &o, &failure), MUSTER_OK);
  if (records) {
    assert_int_equal(store_begin(s), MUSTER_OK);
    for (uint8_t i = 1; i <= records; i++)
      append(s, i);
    assert_int_equal(store_commit(s, &failure), MUSTER_OK);
  }
  store_close(s);
}

static int survey(struct ops_shards_survey *out, struct failure *failure)
{
  *failure = FAILURE_NONE;
  int status = ops_shards_survey(&data, out, failure);
  return status == MUSTER_OK ? ops_shards_complete(&data, out, failure) : status;
}

static void an_empty_directory_has_none(void **state)
{
  (void)state;
  struct ops_shards_survey found;
  struct ops_shards shards;
  struct failure failure;
  assert_int_equal(survey(&found, &failure), MUSTER_OK);
  assert_int_equal(found.directories, 0);
  assert_int_equal(found.created_with, 0);
  assert_int_equal(ops_shards_open(&shards, root, &failure), MUSTER_ERR_NOT_FOUND);
  assert_non_null(strstr(failure.text, "muster run"));
  ops_shards_close(&shards);
}

static void a_whole_store_is_opened(void **state)
{
  (void)state;
  struct ops_shards_survey found;
  struct ops_shards shards;
  struct failure failure;
  make_shard(0, 2, 3);
  make_shard(1, 2, 2);
  assert_int_equal(survey(&found, &failure), MUSTER_OK);
  assert_int_equal(found.directories, 2);
  assert_int_equal(found.created_with, 2);
  assert_int_equal(found.records, 5);
  assert_memory_equal(found.node_id, node_id, 16);
  assert_int_equal(ops_shards_open(&shards, root, &failure), MUSTER_OK);
  assert_int_equal(shards.count, 2);
  assert_int_equal(shards.records, 5);
  assert_int_equal(shards.facts[0].records, 3);
  assert_non_null(shards.reader[1]);
  ops_shards_close(&shards);
  ops_shards_close(&shards);
}

static void a_gap_is_named(void **state)
{
  (void)state;
  struct ops_shards_survey found;
  struct failure failure;
  make_shard(0, 3, 1);
  make_shard(2, 3, 1);
  assert_int_equal(survey(&found, &failure), MUSTER_ERR_CORRUPT);
  assert_non_null(strstr(failure.text, "shard 1 is missing"));
  assert_int_equal(found.records, 2);
  assert_int_equal(found.absent, 1u << 1);
}

static void a_missing_last_shard_is_named(void **state)
{
  (void)state;
  struct ops_shards_survey found;
  struct failure failure;
  make_shard(0, 3, 0);
  make_shard(1, 3, 0);
  assert_int_equal(survey(&found, &failure), MUSTER_ERR_CORRUPT);
  assert_non_null(strstr(failure.text, "shard 2 is missing"));
  assert_int_equal(found.absent, 1u << 2);
}

/* A start that broke off before the first record left a directory without data: that is no loss. With records beside it, it is. */
static void a_shard_without_data_is_missing_only_beside_records(void **state)
{
  (void)state;
  struct ops_shards_survey found;
  struct failure failure;
  char path[LIMIT_PATH_BYTES];
  make_shard(0, 2, 0);
  datadir_shard_path(&data, path, 1);
  assert_int_equal(mkdir(path, 0700), 0);
  assert_int_equal(survey(&found, &failure), MUSTER_OK);
  assert_int_equal(found.created_with, 2);
  datadir_shard_path(&data, path, 0);
  scratch_remove(path);
  make_shard(0, 2, 1);
  assert_int_equal(survey(&found, &failure), MUSTER_ERR_CORRUPT);
  assert_non_null(strstr(failure.text, "shard 1 is missing"));
}

/* Which shards hold records cannot always be read. One that was created and cannot be opened counts as one that does. */
static void a_shard_without_data_is_missing_beside_one_that_cannot_be_read(void **state)
{
  (void)state;
  struct ops_shards_survey found;
  struct failure failure;
  char path[LIMIT_PATH_BYTES + 16];
  make_shard(0, 2, 1);
  datadir_shard_path(&data, path, 1);
  assert_int_equal(mkdir(path, 0700), 0);
  datadir_shard_path(&data, path, 0);
  strcat(path, "/data.mdb");
  assert_int_equal(truncate(path, 4096), 0);
  assert_int_equal(survey(&found, &failure), MUSTER_ERR_CORRUPT);
  assert_int_equal(found.absent, 1u << 1);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(survey(&found, &failure), MUSTER_ERR_CORRUPT);
  assert_int_equal(found.absent, 3);
}

/* Whoever asks for one shard is not kept from it by another one. */
static void a_shard_that_cannot_be_read_leaves_the_others(void **state)
{
  (void)state;
  struct ops_shards shards;
  struct failure failure = FAILURE_NONE;
  char path[LIMIT_PATH_BYTES + 16];
  make_shard(0, 3, 1);
  make_shard(1, 3, 2);
  make_shard(2, 3, 3);
  datadir_shard_path(&data, path, 1);
  strcat(path, "/data.mdb");
  assert_int_equal(truncate(path, 4096), 0);
  datadir_shard_path(&data, path, 2);
  scratch_remove(path);
  assert_int_equal(ops_shards_open_some(&shards, &data, &failure), MUSTER_OK);
  assert_int_equal(shards.count, 3);
  assert_int_equal(shards.records, 1);
  assert_non_null(shards.reader[0]);
  assert_true(!shards.reader[1] && !shards.reader[2]);
  assert_int_equal(ops_shards_why(&shards, 1, &failure), MUSTER_ERR_CORRUPT);
  assert_non_null(strstr(failure.text, "shard-1: data.mdb is cut off"));
  failure = FAILURE_NONE;
  assert_int_equal(ops_shards_why(&shards, 2, &failure), MUSTER_ERR_CORRUPT);
  assert_non_null(strstr(failure.text, "shard 2 is missing"));
  ops_shards_close(&shards);
  failure = FAILURE_NONE;
  assert_int_equal(ops_shards_open(&shards, root, &failure), MUSTER_ERR_CORRUPT);
  datadir_shard_path(&data, path, 0);
  scratch_remove(path);
  failure = FAILURE_NONE;
  assert_int_equal(ops_shards_open_some(&shards, &data, &failure), MUSTER_ERR_CORRUPT);
  ops_shards_close(&shards);
}

static void empty_store(uint32_t shards)
{
  char path[LIMIT_PATH_BYTES];
  for (uint32_t shard = 0; shard < shards; shard++) {
    datadir_shard_path(&data, path, shard);
    scratch_remove(path);
  }
}

/* All its disks are not mounted: nothing below store/ tells that there was anything, and what tells it lies beside. */
static void a_store_that_is_not_mounted_is_missing(void **state)
{
  (void)state;
  for (uint32_t workers = 1; workers <= LIMIT_SHARDS; workers = workers == 1 ? 2 : workers * 32) {
    struct ops_shards shards;
    struct ops_shards_survey found;
    struct failure failure = FAILURE_NONE;
    assert_int_equal(datadir_note_write(root, workers, &failure), MUSTER_OK);
    assert_int_equal(survey(&found, &failure), MUSTER_ERR_CORRUPT);
    assert_non_null(strstr(failure.text, "the store is missing"));
    assert_non_null(strstr(failure.text, "/store holds none of its"));
    assert_true(found.in_use && ops_shards_all_absent(&found));
    assert_int_equal(found.shards, workers);
    failure = FAILURE_NONE;
    assert_int_equal(ops_shards_open(&shards, root, &failure), MUSTER_ERR_CORRUPT);
    assert_non_null(strstr(failure.text, "the store is missing"));
    if (workers > 2)
      continue;
    for (uint32_t shard = 0; shard < workers; shard++)
      make_shard(shard, workers, 0);
    assert_int_equal(survey(&found, &failure), MUSTER_OK);
    assert_false(ops_shards_all_absent(&found));
    empty_store(workers);
  }
}

/* What the shards say of themselves counts more than the note, which is written again; without them nobody guesses. */
static void a_note_that_cannot_be_read_is_no_reason_to_begin_anew(void **state)
{
  (void)state;
  static const char *const wrong[] = {"", "2", "\n", "0\n", "65\n", "2\n2\n", "-2\n", " 2\n", "two\n", "00000000000000002\n"};
  char path[LIMIT_PATH_BYTES];
  struct ops_shards_survey found;
  struct failure failure;
  datadir_path(&data, path, DATADIR_NOTE);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    scratch_write(path, wrong[i]);
    assert_int_equal(survey(&found, &failure), MUSTER_ERR_CORRUPT);
    assert_non_null(strstr(failure.text, path));
    make_shard(0, 1, 0);
    assert_int_equal(survey(&found, &failure), MUSTER_OK);
    assert_int_equal(found.shards, 1);
    assert_true(found.in_use);
    empty_store(1);
  }
}

static void change_place(uint32_t from, uint32_t to)
{
  char old[LIMIT_PATH_BYTES], new[LIMIT_PATH_BYTES];
  datadir_shard_path(&data, old, from);
  datadir_shard_path(&data, new, to);
  assert_int_equal(rename(old, new), 0);
}

static void a_shard_of_another_node_is_named(void **state)
{
  (void)state;
  struct ops_shards_survey found;
  struct ops_shards shards;
  struct failure failure;
  make_shard(0, 2, 1);
  node_id[15] = 9;
  make_shard(1, 2, 1);
  node_id[15] = 0;
  assert_int_equal(survey(&found, &failure), MUSTER_ERR_CONFIG);
  assert_non_null(strstr(failure.text, "shard 1 does not belong here"));
  assert_non_null(strstr(failure.text, "another node"));
  assert_int_equal(ops_shards_open(&shards, root, &failure), MUSTER_ERR_CONFIG);
}

static void a_shard_of_another_number_or_place_is_named(void **state)
{
  (void)state;
  struct ops_shards_survey found;
  struct failure failure;
  make_shard(0, 2, 1);
  make_shard(1, 3, 1);
  assert_int_equal(survey(&found, &failure), MUSTER_ERR_CONFIG);
  assert_non_null(strstr(failure.text, "shard 1 does not belong here"));
  assert_non_null(strstr(failure.text, "holds shard 1 of 3 of this node"));
  change_place(1, 2);
  change_place(0, 1);
  make_shard(0, 2, 1);
  assert_int_equal(survey(&found, &failure), MUSTER_ERR_CONFIG);
  assert_non_null(strstr(failure.text, "holds shard 0 of 2 of this node"));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(an_empty_directory_has_none, begin, end),
      cmocka_unit_test_setup_teardown(a_whole_store_is_opened, begin, end),
      cmocka_unit_test_setup_teardown(a_gap_is_named, begin, end),
      cmocka_unit_test_setup_teardown(a_missing_last_shard_is_named, begin, end),
      cmocka_unit_test_setup_teardown(a_shard_without_data_is_missing_only_beside_records, begin, end),
      cmocka_unit_test_setup_teardown(a_shard_without_data_is_missing_beside_one_that_cannot_be_read, begin, end),
      cmocka_unit_test_setup_teardown(a_shard_that_cannot_be_read_leaves_the_others, begin, end),
      cmocka_unit_test_setup_teardown(a_store_that_is_not_mounted_is_missing, begin, end),
      cmocka_unit_test_setup_teardown(a_note_that_cannot_be_read_is_no_reason_to_begin_anew, begin, end),
      cmocka_unit_test_setup_teardown(a_shard_of_another_node_is_named, begin, end),
      cmocka_unit_test_setup_teardown(a_shard_of_another_number_or_place_is_named, begin, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
