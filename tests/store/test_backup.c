/* Backups: what was stored comes back as it was, run by run; what a killed run leaves is cut back; each kind of damage is named; another history is refused. */
#include <dirent.h>
#include <inttypes.h>
#include <xxhash.h>

#include "damage.h"
#include "store/backup.h"

#define RECORDS 60u
#define PER_COMMIT 7u
#define SMALL_SEGMENT 3000u /* two blocks */

struct world {
  struct fixture from, to;
  char backup[300];
};

static int world_make(void **state)
{
  struct world *w = calloc(1, sizeof *w);
  assert_non_null(w);
  fixture_make(&w->from);
  w->from.options.node_id[0] = 7;
  fixture_make(&w->to);
  snprintf(w->backup, sizeof w->backup, "%s.backup", w->from.path);
  *state = w;
  return 0;
}

static void remove_backup(const char *path)
{
  char command[700];
  snprintf(command, sizeof command, "rm -rf '%s'", path);
  assert_int_equal(system(command), 0);
}

static int world_remove(void **state)
{
  struct world *w = *state;
  remove_backup(w->backup);
  fixture_remove(&w->from);
  fixture_remove(&w->to);
  free(w);
  return 0;
}

/* An empty directory again, for another restore. */
static void renew_target(struct world *w)
{
  fixture_remove(&w->to);
  fixture_make(&w->to);
}

static void fill(struct world *w, uint64_t first, uint64_t last, bool refused)
{
  struct failure failure = FAILURE_NONE;
  struct store *s = fixture_open(&w->from);
  fixture_fill(s, first, last, PER_COMMIT);
  if (refused) {
    assert_int_equal(store_begin(s), MUSTER_OK);
    for (unsigned i = 0; i < 5; i++) {
      const struct store_receipt receipt = {.submitter = i % 2, .received_us = 500 + i};
      store_quarantine(s, (const uint8_t *)"refused 0" + (i < 3 ? 0 : 1), 9 - (i < 3 ? 0 : 1), 10 + i, i, &receipt);
    }
    assert_int_equal(store_commit(s, &failure), MUSTER_OK);
  }
  store_close(s);
}

static int run(struct world *w, uint64_t segment_bytes, struct failure *failure)
{
  struct store_backup b;
  struct store_reader *r;
  const struct store_backup_pace pace = {.share_percent = 100, .segment_bytes = segment_bytes};
  assert_int_equal(store_reader_open(&r, w->from.path, failure), MUSTER_OK);
  int status = store_backup_create(&b, w->backup, failure);
  if (status == MUSTER_OK) {
    status = store_backup_run(&b, &r, 1, &pace, failure);
    store_backup_close(&b);
  }
  store_reader_close(r);
  return status;
}

static void run_well(struct world *w, uint64_t segment_bytes)
{
  struct failure failure = FAILURE_NONE;
  if (run(w, segment_bytes, &failure) != MUSTER_OK)
    fail_msg("store_backup_run: %s", failure.text);
}

static const struct store_backup_until whole = {.records = UINT64_MAX, .received_us = INT64_MAX};

/* Faults of a check, gathered; the records that are whole. MUSTER_OK, or what opening says. */
static int check(const struct world *w, const struct store_backup_until *until, struct fixture_faults *faults, uint64_t *records,
                 struct failure *failure)
{
  struct store_backup b;
  struct store_backup_found found;
  memset(faults, 0, sizeof *faults);
  int status = store_backup_open(&b, w->backup, failure);
  if (status != MUSTER_OK)
    return status;
  assert_int_equal(store_backup_check(&b, 0, until, fixture_report, faults, &found, failure), MUSTER_OK);
  assert_int_equal(found.faults, faults->count);
  *records = found.records;
  store_backup_close(&b);
  return MUSTER_OK;
}

static void check_whole(const struct world *w, uint64_t records)
{
  struct fixture_faults faults;
  struct failure failure = FAILURE_NONE;
  uint64_t found;
  if (check(w, &whole, &faults, &found, &failure) != MUSTER_OK || faults.count)
    fail_msg("%s%s", failure.text, faults.first);
  assert_int_equal(found, records);
}

static int restore(struct world *w, const struct store_backup_until *until, uint64_t *records, struct failure *failure)
{
  struct store_backup b;
  int status = store_backup_open(&b, w->backup, failure);
  if (status != MUSTER_OK)
    return status;
  status = store_backup_restore(&b, 0, until, w->to.path, w->to.options.map_bytes, records, failure);
  store_backup_close(&b);
  return status;
}

/* ---- the two stores side by side ---- */

struct image {
  uint64_t count, refused;
  XXH64_hash_t hash;
};

static void image_add(struct image *i, const void *bytes, size_t size) { i->hash = XXH3_64bits_withSeed(bytes, size, i->hash); }

static int image_record(void *context, const struct store_record *r)
{
  struct image *i = context;
  i->count++;
  image_add(i, &r->sequence, sizeof r->sequence);
  image_add(i, &r->submitter, sizeof r->submitter);
  image_add(i, &r->received_us, sizeof r->received_us);
  image_add(i, r->id, 16);
  image_add(i, r->digest, 16);
  image_add(i, r->bytes, r->size);
  return 0;
}

static int image_cell(void *context, const struct store_tally_cell *cell)
{
  image_add(context, &cell->day, sizeof cell->day);
  image_add(context, &cell->count, sizeof cell->count);
  return 0;
}

static int image_refused(void *context, const struct store_refused *e)
{
  struct image *i = context;
  i->refused++;
  image_add(i, &e->name, sizeof e->name);
  image_add(i, &e->reason, sizeof e->reason);
  image_add(i, &e->field, sizeof e->field);
  image_add(i, &e->submitter, sizeof e->submitter);
  image_add(i, &e->first_us, sizeof e->first_us);
  image_add(i, &e->last_us, sizeof e->last_us);
  image_add(i, &e->times, sizeof e->times);
  image_add(i, e->bytes, e->size);
  return 0;
}

static struct image image_of(const struct fixture *x, uint64_t records, bool all)
{
  struct image i = {0};
  struct store_reader *r;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(store_reader_open(&r, x->path, &failure), MUSTER_OK);
  assert_int_equal(store_reader_scan(r, 1, records, image_record, &i, &failure), MUSTER_OK);
  if (all) {
    assert_int_equal(store_reader_tally(r, image_cell, &i, &failure), MUSTER_OK);
    assert_int_equal(store_reader_quarantine(r, image_refused, &i, &failure), MUSTER_OK);
  }
  store_reader_close(r);
  return i;
}

static void expect_same(struct world *w, uint64_t records, bool all)
{
  const struct image from = image_of(&w->from, records, all), to = image_of(&w->to, UINT64_MAX, all);
  assert_int_equal(from.count, records);
  assert_int_equal(to.count, records);
  assert_int_equal(to.refused, from.refused);
  assert_true(to.hash == from.hash);
  fixture_verify_clean(&w->to, records);
}

static void restore_well(struct world *w, uint64_t records)
{
  struct failure failure = FAILURE_NONE;
  uint64_t restored = 0;
  if (restore(w, &whole, &restored, &failure) != MUSTER_OK)
    fail_msg("store_backup_restore: %s", failure.text);
  assert_int_equal(restored, records);
  expect_same(w, records, true);
}

/* ---- files of the backup ---- */

static char *file_of(const struct world *w, const char *name)
{
  static char path[4][400];
  static unsigned turn;
  char *out = path[turn++ % 4];
  snprintf(out, sizeof path[0], "%s/%s", w->backup, name);
  return out;
}

/* The name of segment n of shard 0, in ascending order. */
static const char *segment_name(const struct world *w, unsigned n)
{
  static char name[2][64];
  static unsigned turn;
  struct dirent **list;
  char *out = name[turn++ % 2];
  unsigned seen = 0;
  out[0] = '\0';
  const int count = scandir(file_of(w, "shard-0"), &list, NULL, alphasort);
  assert_true(count > 0);
  for (int i = 0; i < count; i++) {
    if (strstr(list[i]->d_name, ".blocks") && seen++ == n)
      snprintf(out, sizeof name[0], "shard-0/%.40s", list[i]->d_name);
    free(list[i]);
  }
  free(list);
  assert_true(out[0]);
  return out;
}

static uint8_t *load(const char *path, size_t *size)
{
  FILE *in = fopen(path, "rb");
  assert_non_null(in);
  uint8_t *bytes = malloc(1 << 20);
  assert_non_null(bytes);
  *size = fread(bytes, 1, 1 << 20, in);
  fclose(in);
  return bytes;
}

static void save(const char *path, const uint8_t *bytes, size_t size)
{
  FILE *out = fopen(path, "wb");
  assert_non_null(out);
  assert_int_equal(fwrite(bytes, 1, size, out), size);
  fclose(out);
}

static void flip(const char *path, size_t byte)
{
  size_t size;
  uint8_t *bytes = load(path, &size);
  bytes[byte % size] ^= 4;
  save(path, bytes, size);
  free(bytes);
}

/* ---- tests ---- */

static void what_was_stored_comes_back(void **state)
{
  struct world *w = *state;
  fill(w, 0, RECORDS, true);
  run_well(w, 0);
  check_whole(w, RECORDS);
  restore_well(w, RECORDS);
  struct store *s = fixture_open(&w->to); /* and it is a store: knows what it has, takes more */
  fixture_expect_all(s, RECORDS);
  fixture_fill(s, RECORDS, RECORDS + 9, 4);
  store_close(s);
  fixture_verify_clean(&w->to, RECORDS + 9);
}

static void an_empty_store_comes_back(void **state)
{
  struct world *w = *state;
  store_close(fixture_open(&w->from));
  run_well(w, 0);
  restore_well(w, 0);
}

static void runs_add_up(void **state)
{
  struct world *w = *state;
  for (unsigned i = 0; i < 4; i++) {
    fill(w, i * 20, i * 20 + 20, i == 2);
    run_well(w, i == 1 ? SMALL_SEGMENT : 0);
    check_whole(w, i * 20 + 20);
  }
  run_well(w, 0); /* nothing new */
  restore_well(w, 80);
}

/* The second run is undone by the manifest of the first, and its files are cut at every place of interest: they are what a kill leaves. */
static void a_killed_run_is_gone_on_with(void **state)
{
  struct world *w = *state;
  size_t size, torn;
  fill(w, 0, 20, true);
  run_well(w, SMALL_SEGMENT);
  uint8_t *manifest = load(file_of(w, "manifest"), &size);
  fill(w, 20, RECORDS, false);
  for (unsigned round = 0; round < 40; round++) {
    run_well(w, SMALL_SEGMENT);
    save(file_of(w, "manifest"), manifest, size);
    char name[64];
    const unsigned first = 2; /* of the second run */
    snprintf(name, sizeof name, "%s", segment_name(w, first + round % 2));
    uint8_t *bytes = load(file_of(w, name), &torn);
    const size_t keep = (size_t)(fixture_mix(round) % torn);
    bytes[keep] ^= 1; /* whatever the disk had there */
    save(file_of(w, name), bytes, round % 3 ? keep : keep + 1);
    free(bytes);
    if (round % 5 == 0) { /* and behind the last one, what a longer write has left */
      bytes = load(file_of(w, segment_name(w, first + 2)), &torn);
      memset(bytes + torn, 'x', 50000);
      save(file_of(w, segment_name(w, first + 2)), bytes, torn + 50000);
      free(bytes);
    }
    run_well(w, SMALL_SEGMENT);
    check_whole(w, RECORDS);
    save(file_of(w, "manifest"), manifest, size);
  }
  free(manifest);
  run_well(w, SMALL_SEGMENT);
  restore_well(w, RECORDS);
}

/* Restores what the check called whole, and nothing of it is another record. */
static void restore_prefix(struct world *w, uint64_t records, bool no_refused)
{
  struct failure failure = FAILURE_NONE;
  const struct store_backup_until until = {.records = records, .received_us = INT64_MAX, .no_refused = no_refused};
  uint64_t restored;
  renew_target(w);
  if (restore(w, &until, &restored, &failure) != MUSTER_OK)
    fail_msg("store_backup_restore: %s", failure.text);
  assert_int_equal(restored, records);
  expect_same(w, records, false);
}

static void expect_named(struct world *w, const char *file, const char *what, uint64_t most, bool refused)
{
  struct fixture_faults faults;
  struct failure failure = FAILURE_NONE;
  uint64_t records = 0;
  assert_int_equal(check(w, &whole, &faults, &records, &failure), MUSTER_OK);
  assert_true(faults.count > 0);
  if (!strstr(faults.first, file) || !strstr(faults.first, what) || !strstr(faults.first, "shard 0"))
    fail_msg("%s and \"%s\" are not in: %s", file, what, faults.first);
  assert_true(records <= most);
  restore_prefix(w, records, refused);
  uint64_t restored;
  renew_target(w);
  if (!refused) /* what is damaged is never restored, even if nobody checks before */
    assert_int_not_equal(restore(w, &whole, &restored, &failure), MUSTER_OK);
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
    expect_named(w, name, sequence, g.last - 1, false);
    save(file_of(w, name), bytes, size);
  }
  for (unsigned i = 0; i < 20; i++) { /* cut off */
    save(file_of(w, name), bytes, (size_t)(fixture_mix(i) % size));
    expect_named(w, name, sequence, g.last - 1, false);
  }
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

static void another_history_is_refused(void **state)
{
  struct world *w = *state;
  struct failure failure = FAILURE_NONE, again = FAILURE_NONE;
  size_t size, after;
  fill(w, 0, 30, false);
  run_well(w, 0);
  uint8_t *before = load(file_of(w, "manifest"), &size);
  fixture_remove(&w->from); /* the same node, begun anew with other records */
  const struct store_options options = w->from.options;
  assert_int_equal(mkdir(w->from.path, 0700), 0);
  w->from.options = options;
  fill(w, 100, 130, false); /* with a commit where the other one had its last */
  fill(w, 130, 150, false);
  assert_int_equal(run(w, 0, &failure), MUSTER_ERR_CONFIG);
  assert_non_null(strstr(failure.text, "another history"));
  fixture_remove(&w->from);
  assert_int_equal(mkdir(w->from.path, 0700), 0);
  w->from.options.node_id[0] = 8; /* another node */
  fill(w, 0, 30, false);
  assert_int_equal(run(w, 0, &again), MUSTER_ERR_CONFIG);
  assert_non_null(strstr(again.text, "another node"));
  uint8_t *now = load(file_of(w, "manifest"), &after);
  assert_int_equal(size, after);
  assert_memory_equal(before, now, size);
  free(before);
  free(now);
  check_whole(w, 30);
}

static void what_is_no_backup_is_left_alone(void **state)
{
  struct world *w = *state;
  struct failure failure = FAILURE_NONE, none = FAILURE_NONE;
  struct fixture_faults faults;
  uint64_t records;
  fill(w, 0, 10, false);
  assert_int_equal(check(w, &whole, &faults, &records, &none), MUSTER_ERR_NOT_FOUND);
  assert_int_equal(mkdir(w->backup, 0700), 0);
  save(file_of(w, "letter"), (const uint8_t *)"mine", 4);
  assert_int_equal(run(w, 0, &failure), MUSTER_ERR_CREATE);
  assert_int_not_equal(access(file_of(w, "lock"), F_OK), 0);
  assert_int_not_equal(access(file_of(w, "manifest"), F_OK), 0);
}

static void damage_of_the_store_is_not_copied(void **state)
{
  struct world *w = *state;
  struct failure failure = FAILURE_NONE;
  fill(w, 0, RECORDS, false);
  damage_flip(&w->from, DAMAGE_JOURNAL, 3, 1000, 1);
  assert_int_equal(run(w, 0, &failure), MUSTER_ERR_CORRUPT);
  assert_non_null(strstr(failure.text, "begins with sequence 22"));
  damage_flip(&w->from, DAMAGE_JOURNAL, 3, 1000, 1); /* mended */
  run_well(w, 0);
  restore_well(w, RECORDS);
}

static void a_point_in_time(void **state)
{
  struct world *w = *state;
  fill(w, 0, RECORDS, true);
  run_well(w, SMALL_SEGMENT);
  for (uint64_t records = 0; records <= RECORDS; records++)
    restore_prefix(w, records, records % 2);
  for (int64_t t = 0; t < 7; t++) { /* record n was received at 1000 + n / 10 */
    struct failure failure = FAILURE_NONE;
    const struct store_backup_until until = {.records = UINT64_MAX, .received_us = 1000 + t};
    uint64_t restored, expected = t * 10 + 10 < (int64_t)RECORDS ? (uint64_t)t * 10 + 10 : RECORDS;
    renew_target(w);
    assert_int_equal(restore(w, &until, &restored, &failure), MUSTER_OK);
    assert_int_equal(restored, expected);
    expect_same(w, expected, false);
  }
}

static void a_restore_is_gone_on_with(void **state)
{
  struct world *w = *state;
  struct failure failure = FAILURE_NONE;
  uint64_t restored;
  fill(w, 0, RECORDS, true);
  run_well(w, SMALL_SEGMENT);
  for (uint64_t first = 0; first <= 21; first += PER_COMMIT) { /* what a killed one has committed: whole blocks */
    restore_prefix(w, first, true);
    restore_well(w, RECORDS);
  }
  restore_prefix(w, 10, true); /* a block that was cut is of another restore */
  assert_int_equal(restore(w, &whole, &restored, &failure), MUSTER_ERR_CONFIG);
  const struct store_backup_until less = {.records = 5, .received_us = INT64_MAX};
  assert_int_equal(restore(w, &less, &restored, &failure), MUSTER_ERR_CONFIG);
  fixture_verify_clean(&w->to, 10);
  renew_target(w); /* and so is a store of other records */
  struct store *s = fixture_open(&w->to);
  store_close(s);
  assert_int_equal(restore(w, &whole, &restored, &failure), MUSTER_ERR_CONFIG);
  fixture_verify_clean(&w->to, 0);
  renew_target(w); /* even one of this node, and as long */
  w->to.options.node_id[0] = 7;
  s = fixture_open(&w->to);
  fixture_fill(s, 500, 500 + RECORDS, PER_COMMIT);
  store_close(s);
  assert_int_equal(restore(w, &whole, &restored, &failure), MUSTER_ERR_CONFIG);
  fixture_verify_clean(&w->to, RECORDS);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_make, world_remove)
  const struct CMUnitTest tests[] = {TEST(what_was_stored_comes_back),
                                     TEST(an_empty_store_comes_back),
                                     TEST(runs_add_up),
                                     TEST(a_killed_run_is_gone_on_with),
                                     TEST(damaged_blocks_are_named),
                                     TEST(a_block_of_another_store_is_named),
                                     TEST(more_than_the_manifest_says_is_named),
                                     TEST(a_damaged_quarantine_is_named),
                                     TEST(a_damaged_manifest_is_refused),
                                     TEST(another_history_is_refused),
                                     TEST(what_is_no_backup_is_left_alone),
                                     TEST(damage_of_the_store_is_not_copied),
                                     TEST(a_point_in_time),
                                     TEST(a_restore_is_gone_on_with)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
