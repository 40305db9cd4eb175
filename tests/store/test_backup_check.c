/* A damaged backup: each kind of damage is named with its file and sequences, and what is whole is restored, nothing else. */
#include "copies.h"
#include "store/journal.h"

/* How many records are whole before the first damage. */
static uint64_t expect_told(const struct world *w, const char *file, const char *what, uint64_t most)
{
  struct fixture_faults faults;
  struct failure failure = FAILURE_NONE;
  uint64_t records = 0;
  assert_int_equal(check(w, &whole, &faults, &records, &failure), MUSTER_OK);
  assert_true(faults.count > 0);
  if (!strstr(faults.first, file) || !strstr(faults.first, what) || !strstr(faults.first, "shard 0"))
    fail_msg("%s and \"%s\" are not in: %s", file, what, faults.first);
  assert_true(records <= most);
  return records;
}

static void expect_named(struct world *w, const char *file, const char *what, uint64_t most, bool refused)
{
  struct failure failure = FAILURE_NONE;
  const uint64_t records = expect_told(w, file, what, most);
  restore_prefix(w, records, refused);
  uint64_t restored;
  renew_target(w);
  if (!refused) /* what is damaged is never restored, even if nobody checks before */
    assert_int_not_equal(restore(w, &whole, &restored, &failure), MUSTER_OK);
}

/* A restore costs a hundred times what a look does: of many ways, one in so many is restored. */
static void expect_way(unsigned number, struct world *w, const char *file, const char *what, uint64_t most)
{
  if (number % 6 == 0)
    expect_named(w, file, what, most, false);
  else
    expect_told(w, file, what, most);
}

static void damaged_blocks_are_named(void **state)
{
  struct world *w = *state;
  struct store_backup b;
  struct failure failure = FAILURE_NONE;
  size_t size;
  fill(w, 0, RECORDS, true);
  run_well(w, SMALL_SEGMENT);
  assert_int_equal(store_backup_open(&b, w->backup, &failure), MUSTER_OK);
  assert_true(b.shard[0].segments >= 3);
  char name[64], other[64], sequence[64];
  snprintf(name, sizeof name, "%s", segment_name(w, 1));
  snprintf(other, sizeof other, "%s", segment_name(w, 2));
  const struct store_backup_segment g = b.shard[0].segment[1];
  snprintf(sequence, sizeof sequence, " to %" PRIu64, g.last);
  store_backup_close(&b);
  uint8_t *bytes = load(file_of(w, name), &size);

  for (unsigned i = 0; i < 60; i++) { /* a flipped bit, anywhere */
    flip(file_of(w, name), (size_t)fixture_mix(i));
    expect_way(i, w, name, sequence, g.last - 1);
    save(file_of(w, name), bytes, size);
  }
  for (unsigned i = 0; i < 20; i++) { /* cut off */
    save(file_of(w, name), bytes, (size_t)(fixture_mix(i) % size));
    expect_way(i, w, name, sequence, g.last - 1);
  }
  struct store_block_header first; /* and between two blocks, where all that is left is right */
  memcpy(&first, bytes, sizeof first);
  save(file_of(w, name), bytes, store_block_size(&first));
  expect_named(w, name, "it is cut off at byte", g.last - 1, false);
  assert_int_equal(unlink(file_of(w, name)), 0);
  expect_named(w, name, "the file is missing", g.first - 1, false);
  assert_int_equal(rename(file_of(w, other), file_of(w, name)), 0); /* swapped, the easy way round */
  save(file_of(w, other), bytes, size);
  expect_named(w, name, sequence, g.first - 1, false);
  free(bytes);
}

/* A block that is whole, of the same shard, sequences and size, and yet of another store: only the chain tells. */
static void a_block_of_another_store_is_named(void **state)
{
  struct world *w = *state;
  struct world other = {.from = w->to, .to = w->from};
  size_t size, size_other;
  snprintf(other.backup, sizeof other.backup, "%.280s.other", w->from.path);
  other.from.options.path = other.from.path;
  fill(w, 0, RECORDS, false);
  fill(&other, 500, 500 + RECORDS, false);
  run_well(w, 0);
  run_well(&other, 0);
  char name[64];
  snprintf(name, sizeof name, "%s", segment_name(w, 0));
  uint8_t *bytes = load(file_of(w, name), &size), *stranger = load(file_of(&other, name), &size_other);
  assert_int_equal(size, size_other);
  const size_t block = size / RECORDS * PER_COMMIT; /* blocks of as many records are of one size: the header's length tells which */
  size_t at = 0;
  while (memcmp(bytes + at + 16 + 8, "BLK1", 4) != 0 || at == 0)
    at++;
  assert_true(at > block / 2 && at < block * 2);
  memcpy(bytes + at, stranger + at, at);
  save(file_of(w, name), bytes, size);
  free(bytes);
  free(stranger);
  remove_backup(other.backup);
  expect_named(w, name, "does not continue the chain", PER_COMMIT, false);
}

static void more_than_the_manifest_says_is_named(void **state)
{
  struct world *w = *state;
  size_t size;
  fill(w, 0, RECORDS, false);
  run_well(w, 0);
  const char *name = segment_name(w, 0);
  uint8_t *bytes = load(file_of(w, name), &size);
  memset(bytes + size, 'x', 100);
  save(file_of(w, name), bytes, size + 100);
  free(bytes);
  struct fixture_faults faults;
  struct failure failure = FAILURE_NONE;
  uint64_t records;
  assert_int_equal(check(w, &whole, &faults, &records, &failure), MUSTER_OK);
  assert_int_equal(faults.count, 1);
  assert_non_null(strstr(faults.first, name));
  assert_int_equal(records, RECORDS);
}

static void a_damaged_quarantine_is_named(void **state)
{
  struct world *w = *state;
  fill(w, 0, RECORDS, true);
  run_well(w, 0);
  flip(file_of(w, "shard-0/refused-1"), 30);
  expect_named(w, "shard-0/refused-1", "is not the file that the manifest names", RECORDS, true);
  unlink(file_of(w, "shard-0/refused-1"));
  expect_named(w, "shard-0/refused-1", "is missing", RECORDS, true);
}

static void a_damaged_manifest_is_refused(void **state)
{
  struct world *w = *state;
  size_t size;
  struct fixture_faults faults;
  uint64_t records;
  fill(w, 0, RECORDS, true);
  run_well(w, SMALL_SEGMENT);
  uint8_t *bytes = load(file_of(w, "manifest"), &size);
  for (unsigned i = 0; i < size; i++) {
    struct failure failure = FAILURE_NONE;
    if (i % 2) {
      bytes[i] ^= 1;
      save(file_of(w, "manifest"), bytes, size);
      bytes[i] ^= 1;
    } else {
      save(file_of(w, "manifest"), bytes, i);
    }
    const int status = check(w, &whole, &faults, &records, &failure);
    assert_true(status == MUSTER_ERR_CORRUPT || (status == MUSTER_ERR_VERSION && i < 20));
    assert_non_null(strstr(failure.text, "manifest"));
    assert_non_null(strstr(failure.text, "manifest.copy beside it is whole"));
  }
  save(file_of(w, "manifest"), bytes, size - 1);
  save(file_of(w, "manifest.copy"), bytes, size - 1);
  free(bytes);
  struct failure failure = FAILURE_NONE;
  assert_int_equal(check(w, &whole, &faults, &records, &failure), MUSTER_ERR_CORRUPT);
  assert_non_null(strstr(failure.text, "manifest.copy is not whole either"));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      WORLD_TEST(damaged_blocks_are_named),
      WORLD_TEST(a_block_of_another_store_is_named),
      WORLD_TEST(more_than_the_manifest_says_is_named),
      WORLD_TEST(a_damaged_quarantine_is_named),
      WORLD_TEST(a_damaged_manifest_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
