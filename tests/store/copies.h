/*
 * What the tests of backup and restore share: a store, its backup, and another place to restore to; the two stores held
 * side by side; and the files of the backup, to be damaged. Each test program includes it once.
 */
#ifndef MUSTER_TESTS_STORE_COPIES_H
#define MUSTER_TESTS_STORE_COPIES_H

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
  bool no_refused;                /* of the next run */
  struct fixture_faults left_out; /* of the last one */
};

static inline int world_make(void **state)
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

static inline void remove_backup(const char *path)
{
  char command[700];
  snprintf(command, sizeof command, "rm -rf '%s'", path);
  assert_int_equal(system(command), 0);
}

static inline int world_remove(void **state)
{
  struct world *w = *state;
  remove_backup(w->backup);
  fixture_remove(&w->from);
  fixture_remove(&w->to);
  free(w);
  return 0;
}

/* An empty directory again, for another restore. */
static inline void renew_target(struct world *w)
{
  fixture_remove(&w->to);
  fixture_make(&w->to);
}

static inline void fill(struct world *w, uint64_t first, uint64_t last, bool refused)
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

static inline int run(struct world *w, uint64_t segment_bytes, struct failure *failure)
{
  struct store_backup b;
  struct store_reader *r;
  const struct store_backup_job job = {.share_percent = 100,
                                       .no_refused = w->no_refused,
                                       .segment_bytes = segment_bytes,
                                       .left_out = fixture_report,
                                       .context = &w->left_out};
  memset(&w->left_out, 0, sizeof w->left_out);
  assert_int_equal(store_reader_open(&r, w->from.path, failure), MUSTER_OK);
  int status = store_backup_create(&b, w->backup, failure);
  if (status == MUSTER_OK) {
    status = store_backup_run(&b, &r, 1, &job, failure);
    store_backup_close(&b);
  }
  store_reader_close(r);
  return status;
}

static inline void run_well(struct world *w, uint64_t segment_bytes)
{
  struct failure failure = FAILURE_NONE;
  if (run(w, segment_bytes, &failure) != MUSTER_OK)
    fail_msg("store_backup_run: %s", failure.text);
}

static const struct store_backup_until whole __attribute__((unused)) = {.records = UINT64_MAX, .received_us = INT64_MAX};

/* Faults of a check, gathered; the records that are whole. MUSTER_OK, or what opening says. */
static inline int check(const struct world *w, const struct store_backup_until *until, struct fixture_faults *faults, uint64_t *records,
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

static inline void check_whole(const struct world *w, uint64_t records)
{
  struct fixture_faults faults;
  struct failure failure = FAILURE_NONE;
  uint64_t found;
  if (check(w, &whole, &faults, &found, &failure) != MUSTER_OK || faults.count)
    fail_msg("%s%s", failure.text, faults.first);
  assert_int_equal(found, records);
}

static inline int restore(struct world *w, const struct store_backup_until *until, uint64_t *records, struct failure *failure)
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

static inline void image_add(struct image *i, const void *bytes, size_t size) { i->hash = XXH3_64bits_withSeed(bytes, size, i->hash); }

static inline int image_record(void *context, const struct store_record *r)
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

static inline int image_cell(void *context, const struct store_tally_cell *cell)
{
  image_add(context, &cell->day, sizeof cell->day);
  image_add(context, &cell->count, sizeof cell->count);
  return 0;
}

static inline int image_refused(void *context, const struct store_refused *e)
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

static inline struct image image_of(const struct fixture *x, uint64_t records, bool all)
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

static inline void expect_same(struct world *w, uint64_t records, bool all)
{
  const struct image from = image_of(&w->from, records, all), to = image_of(&w->to, UINT64_MAX, all);
  assert_int_equal(from.count, records);
  assert_int_equal(to.count, records);
  assert_int_equal(to.refused, from.refused);
  assert_true(to.hash == from.hash);
  fixture_verify_clean(&w->to, records);
}

static inline void restore_well(struct world *w, uint64_t records)
{
  struct failure failure = FAILURE_NONE;
  uint64_t restored = 0;
  if (restore(w, &whole, &restored, &failure) != MUSTER_OK)
    fail_msg("store_backup_restore: %s", failure.text);
  assert_int_equal(restored, records);
  expect_same(w, records, true);
}

/* ---- files of the backup ---- */

static inline char *file_of(const struct world *w, const char *name)
{
  static char path[4][400];
  static unsigned turn;
  char *out = path[turn++ % 4];
  snprintf(out, sizeof path[0], "%s/%s", w->backup, name);
  return out;
}

/* The name of segment n of shard 0, in ascending order. */
static inline const char *segment_name(const struct world *w, unsigned n)
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

static inline uint8_t *load(const char *path, size_t *size)
{
  FILE *in = fopen(path, "rb");
  assert_non_null(in);
  uint8_t *bytes = malloc(1 << 20);
  assert_non_null(bytes);
  *size = fread(bytes, 1, 1 << 20, in);
  fclose(in);
  return bytes;
}

static inline void save(const char *path, const uint8_t *bytes, size_t size)
{
  FILE *out = fopen(path, "wb");
  assert_non_null(out);
  assert_int_equal(fwrite(bytes, 1, size, out), size);
  fclose(out);
}

static inline void flip(const char *path, size_t byte)
{
  size_t size;
  uint8_t *bytes = load(path, &size);
  bytes[byte % size] ^= 4;
  save(path, bytes, size);
  free(bytes);
}

/* Restores what the check called whole, and nothing of it is another record. */
static inline void restore_prefix(struct world *w, uint64_t records, bool no_refused)
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

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_make, world_remove)

#endif
