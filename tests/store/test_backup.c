/* Backups: what was stored comes back as it was, run by run; what a killed run leaves is cut back; another history is refused. */
#include "copies.h"
#include "store/manifest.h"
#include "store/reader.h"

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
  fill(w, 0, 4 * PER_COMMIT, true); /* two full segments: none to merge */
  run_well(w, SMALL_SEGMENT);
  uint8_t *manifest = load(file_of(w, "manifest"), &size);
  fill(w, 4 * PER_COMMIT, RECORDS, false);
  for (unsigned round = 0; round < 20; round++) {
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

/* How many files of shard 0 there are, and the bytes of the segments among them. */
static unsigned shard_files(const struct world *w, uint64_t *bytes)
{
  struct dirent *e;
  struct stat st;
  unsigned count = 0;
  DIR *folder = opendir(file_of(w, "shard-0"));
  assert_non_null(folder);
  *bytes = 0;
  while ((e = readdir(folder)))
    if (fstatat(dirfd(folder), e->d_name, &st, 0) == 0 && S_ISREG(st.st_mode)) {
      count++;
      *bytes += strstr(e->d_name, ".blocks") ? (uint64_t)st.st_size : 0;
    }
  closedir(folder);
  return count;
}

/* Runs of a few records each, for as long as a backup lives: what is small is merged, so there are about as many segments as the size asks for. */
static void many_small_runs_make_few_segments(void **state)
{
  struct world *w = *state;
  const uint64_t limit = 8000, runs = 45, each = 3, small_max = 5; /* 8,000 is 2^3 times what a run adds, and a bit */
  uint64_t bytes;
  for (uint64_t i = 0; i < runs; i++) {
    fill(w, i * each, i * each + each, false);
    run_well(w, limit);
    const unsigned files = shard_files(w, &bytes) - 1; /* the refused records */
    assert_in_range(files, 1, bytes / limit + small_max);
    if (i % 22 == 21)
      check_whole(w, i * each + each);
  }
  assert_true(bytes > 4 * limit);
  restore_well(w, runs * each);
}

/* A large run behind small ones takes them with it: none is left between full segments. */
static void small_segments_do_not_stay_between_full_ones(void **state)
{
  struct world *w = *state;
  uint64_t next = 0, bytes;
  for (unsigned i = 0; i < 8; i++) {
    fill(w, next, next + 1, false);
    run_well(w, SMALL_SEGMENT);
    fill(w, next + 1, next + 1 + 4 * PER_COMMIT, false);
    next += 1 + 4 * PER_COMMIT;
    run_well(w, SMALL_SEGMENT);
  }
  assert_true(shard_files(w, &bytes) - 1 <= bytes / SMALL_SEGMENT + 1);
  restore_well(w, next);
}

/* Only files of runs go, by their whole names. */
static void what_people_keep_there_stays(void **state)
{
  struct world *w = *state;
  static const char *const names[] = {"shard-0/00000000000000000001-9.blocks.keep", "shard-0/1-1.blocks", "shard-0/refused-0001",
                                      "shard-0/notes"};
  fill(w, 0, 5, false);
  run_well(w, 0);
  for (unsigned i = 0; i < 4; i++)
    save(file_of(w, names[i]), (const uint8_t *)"mine", 4);
  fill(w, 5, 9, false);
  run_well(w, 0);
  for (unsigned i = 0; i < 4; i++)
    assert_int_equal(access(file_of(w, names[i]), F_OK), 0);
  assert_int_not_equal(access(file_of(w, "shard-0/00000000000000000001-1.blocks"), F_OK), 0); /* merged */
  assert_int_not_equal(access(file_of(w, "shard-0/refused-1"), F_OK), 0);
}

/* Damage in a small sealed segment is found when it is merged, and never sealed anew under a right checksum of the manifest. */
static void damage_is_not_merged(void **state)
{
  struct world *w = *state;
  struct failure failure = FAILURE_NONE;
  fill(w, 0, 5, false);
  run_well(w, 0);
  const char *name = segment_name(w, 0);
  flip(file_of(w, name), 300);
  fill(w, 5, 12, false);
  assert_int_equal(run(w, 0, &failure), MUSTER_ERR_CORRUPT);
  assert_non_null(strstr(failure.text, name));
  assert_non_null(strstr(failure.text, "sequence 1 "));
  flip(file_of(w, name), 300); /* put back */
  run_well(w, 0);
  restore_well(w, 12);
}

static void a_manifest_that_nobody_would_read_is_not_written(void **state)
{
  struct world *w = *state;
  struct failure copy = FAILURE_NONE, failure = FAILURE_NONE;
  size_t size, after;
  fill(w, 0, 5, false);
  run_well(w, 0);
  uint8_t *before = load(file_of(w, "manifest"), &size);
  struct store_backup b;
  assert_int_equal(store_backup_create(&b, w->backup, &failure), MUSTER_OK);
  const struct store_backup_segment g = {.first = UINT64_MAX, .last = UINT64_MAX, .bytes = UINT64_MAX, .run = UINT64_MAX};
  for (uint32_t i = 0; i < LIMIT_MANIFEST_BYTES / 150; i++) { /* its line has a few bytes more than that */
    assert_int_equal(store_manifest_add(&b.shard[0], &g), MUSTER_OK);
  }
  assert_int_equal(store_manifest_write(&b, &copy, &failure), MUSTER_ERR_LIMIT);
  assert_non_null(strstr(failure.text, "back up into a new directory"));
  store_backup_close(&b);
  uint8_t *now = load(file_of(w, "manifest"), &after);
  assert_int_equal(size, after);
  assert_memory_equal(before, now, size);
  free(before);
  free(now);
}

/* The manifest is durable before its copy is tried: the run is sealed, and what failed of it is told by itself. */
static void a_copy_of_the_manifest_that_fails_undoes_no_run(void **state)
{
  struct world *w = *state;
  fill(w, 0, 20, true);
  run_well(w, 0);
  fill(w, 20, 40, false);
  assert_int_equal(unlink(file_of(w, "manifest.copy")), 0);
  assert_int_equal(mkdir(file_of(w, "manifest.copy"), 0700), 0); /* no file takes the place of a directory */
  run_well(w, 0);
  assert_int_equal(w->left_out.count, 1);
  assert_non_null(strstr(w->left_out.first, "manifest.copy"));
  assert_non_null(strstr(w->left_out.first, "is whole and sealed"));
  check_whole(w, 40);
  uint64_t bytes;
  assert_int_equal(shard_files(w, &bytes), 2); /* it is swept as well: a segment, and the refused records */
  assert_int_equal(rmdir(file_of(w, "manifest.copy")), 0);
  run_well(w, 0);
  assert_int_equal(w->left_out.count, 0);
  assert_int_equal(access(file_of(w, "manifest.copy"), F_OK), 0);
  restore_well(w, 40);
}

/* ---- sealed files that are not there ---- */

static void expect_look_fails(struct world *w, const char *name, const char *what)
{
  struct failure failure = FAILURE_NONE;
  uint64_t bytes, after;
  const unsigned files = shard_files(w, &bytes);
  assert_int_equal(run(w, SMALL_SEGMENT, &failure), MUSTER_ERR_CORRUPT);
  if (!strstr(failure.text, name) || !strstr(failure.text, what) || !strstr(failure.text, "shard 0") ||
      !strstr(failure.text, "sequences 15 to 28"))
    fail_msg("%s and \"%s\" are not in: %s", name, what, failure.text);
  assert_int_equal(shard_files(w, &after), files); /* nothing was begun */
  assert_int_equal(bytes, after);
}

static void a_lost_segment_is_seen_by_the_next_run(void **state)
{
  struct world *w = *state;
  size_t size;
  fill(w, 0, 6 * PER_COMMIT, true);
  run_well(w, SMALL_SEGMENT);
  fill(w, 6 * PER_COMMIT, RECORDS, false);
  char name[64], away[64];
  snprintf(name, sizeof name, "%s", segment_name(w, 1));
  snprintf(away, sizeof away, "away");
  uint8_t *bytes = load(file_of(w, name), &size);
  assert_int_equal(rename(file_of(w, name), file_of(w, away)), 0);
  expect_look_fails(w, name, "is missing");
  assert_int_equal(symlink("../away", file_of(w, name)), 0);
  expect_look_fails(w, name, "is not a regular file");
  assert_int_equal(unlink(file_of(w, name)), 0);
  save(file_of(w, name), bytes, size - 1);
  expect_look_fails(w, name, "bytes where the manifest says");
  save(file_of(w, name), bytes, size);
  free(bytes);
  run_well(w, SMALL_SEGMENT);
  restore_well(w, RECORDS);
}

/* What a killed run has left is looked at before it is cut: of another history, it stays as it is to the byte. */
static void another_history_costs_what_was_left_nothing(void **state)
{
  struct world *w = *state;
  struct failure failure = FAILURE_NONE, again = FAILURE_NONE;
  size_t size, torn, now;
  fill(w, 0, 2 * PER_COMMIT, false);
  run_well(w, SMALL_SEGMENT);
  uint8_t *manifest = load(file_of(w, "manifest"), &size);
  fill(w, 2 * PER_COMMIT, RECORDS, false);
  run_well(w, SMALL_SEGMENT);
  save(file_of(w, "manifest"), manifest, size); /* as if it had been killed */
  char name[64];
  snprintf(name, sizeof name, "%s", segment_name(w, 1));
  uint8_t *left = load(file_of(w, name), &torn);
  memset(left + torn, 'x', 100);
  torn += 100;
  save(file_of(w, name), left, torn);
  for (unsigned same = 0; same < 2; same++) { /* from the first record on, or only behind what is sealed */
    const struct store_options options = w->from.options;
    fixture_remove(&w->from);
    assert_int_equal(mkdir(w->from.path, 0700), 0);
    w->from.options = options;
    if (same)
      fill(w, 0, 2 * PER_COMMIT, false);
    fill(w, 100, 200, false);
    assert_int_equal(run(w, SMALL_SEGMENT, same ? &again : &failure), MUSTER_ERR_CONFIG);
    uint8_t *there = load(file_of(w, name), &now);
    assert_int_equal(now, torn);
    assert_memory_equal(there, left, torn);
    free(there);
  }
  assert_non_null(strstr(failure.text, "up to sequence 14"));
  assert_non_null(strstr(again.text, "another history"));
  assert_null(strstr(again.text, "up to sequence 14,"));
  free(left);
  free(manifest);
}

/* ---- refused records that are damaged in the store ---- */

static void a_damaged_refused_record_stops_nothing(void **state)
{
  struct world *w = *state;
  fill(w, 0, RECORDS, true);
  const struct image all = image_of(&w->from, RECORDS, true);
  assert_int_equal(all.refused, 4);
  damage_flip(&w->from, DAMAGE_QUARANTINE, 1, 50, 1); /* a byte of the record */
  w->no_refused = true;
  run_well(w, 0);
  assert_int_equal(w->left_out.count, 0);
  w->no_refused = false;
  run_well(w, 0);
  assert_int_equal(w->left_out.count, 1);
  assert_non_null(strstr(w->left_out.first, "shard 0: refused record 0:"));
  assert_non_null(strstr(w->left_out.first, "is not in the backup"));
  check_whole(w, RECORDS);
  struct failure failure = FAILURE_NONE;
  struct store_backup b;
  assert_int_equal(store_backup_open(&b, w->backup, &failure), MUSTER_OK);
  assert_int_equal(b.shard[0].refused, 3);
  assert_int_equal(b.shard[0].refused_left, 1);
  uint64_t restored = 0;
  assert_int_equal(store_backup_restore(&b, 0, &whole, w->to.path, w->to.options.map_bytes, &restored, &failure), MUSTER_OK);
  store_backup_close(&b);
  assert_int_equal(restored, RECORDS);
  assert_int_equal(image_of(&w->to, RECORDS, true).refused, 3);
  fixture_verify_clean(&w->to, RECORDS);
}

static int refuse_forty(struct fixture *x)
{
  struct failure failure = FAILURE_NONE;
  struct store *s = fixture_open(x);
  const struct store_receipt receipt = {.received_us = 900};
  if (store_begin(s) != MUSTER_OK)
    return -1;
  for (unsigned i = 0; i < 40; i++) /* keys are checksums: some of them lie before the last entry of this submitter */
    store_quarantine(s, (const uint8_t *)&i, sizeof i, 10, 1, &receipt);
  return store_commit(s, &failure) == MUSTER_OK ? 0 : -1;
}

/* A refusal that a node commits while entries are copied, before the place that the copy has come to; once. A process of its own: LMDB has a file
 * open once in each. */
static void refuse_meanwhile(void *context, const char *sentence)
{
  struct world *w = context;
  fixture_report(&w->left_out, sentence);
  assert_int_equal(fixture_child(&w->from, refuse_forty), 0);
}

static void what_is_refused_meanwhile_was_not_left_out(void **state)
{
  struct world *w = *state;
  struct failure failure = FAILURE_NONE;
  struct store_backup b;
  struct store_reader *r;
  const struct store_backup_job job = {.share_percent = 100, .left_out = refuse_meanwhile, .context = w};
  fill(w, 0, 10, true);
  damage_flip(&w->from, DAMAGE_QUARANTINE, 1, 50, 1);
  assert_int_equal(store_reader_open(&r, w->from.path, &failure), MUSTER_OK);
  assert_int_equal(store_backup_create(&b, w->backup, &failure), MUSTER_OK);
  if (store_backup_run(&b, &r, 1, &job, &failure) != MUSTER_OK)
    fail_msg("%s", failure.text);
  assert_int_equal(w->left_out.count, 1);
  assert_int_equal(r->meta.quarantined, 44);
  assert_in_range(b.shard[0].refused, 3, 42); /* some came too late */
  assert_int_equal(b.shard[0].refused_left, 1);
  store_backup_close(&b);
  store_reader_close(r);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      WORLD_TEST(what_was_stored_comes_back),
      WORLD_TEST(an_empty_store_comes_back),
      WORLD_TEST(runs_add_up),
      WORLD_TEST(a_killed_run_is_gone_on_with),
      WORLD_TEST(another_history_is_refused),
      WORLD_TEST(what_is_no_backup_is_left_alone),
      WORLD_TEST(damage_of_the_store_is_not_copied),
      WORLD_TEST(many_small_runs_make_few_segments),
      WORLD_TEST(small_segments_do_not_stay_between_full_ones),
      WORLD_TEST(what_people_keep_there_stays),
      WORLD_TEST(damage_is_not_merged),
      WORLD_TEST(a_manifest_that_nobody_would_read_is_not_written),
      WORLD_TEST(a_copy_of_the_manifest_that_fails_undoes_no_run),
      WORLD_TEST(a_lost_segment_is_seen_by_the_next_run),
      WORLD_TEST(another_history_costs_what_was_left_nothing),
      WORLD_TEST(a_damaged_refused_record_stops_nothing),
      WORLD_TEST(what_is_refused_meanwhile_was_not_left_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
