/* Salvage gives what is intact and nothing else: with blocks destroyed, with LMDB's tree destroyed, with bytes that only look like a block. */
#include "wreck.h"

#include <sys/file.h>

#include <xxhash.h>

struct taken {
  uint64_t next; /* the record that comes, from 0 */
  uint64_t given;
  uint64_t lost_first, lost_last, lost_ranges; /* of the last range */
};

static int on_record(void *context, const struct store_record *record)
{
  struct taken *t = context;
  struct fixture_record r;
  assert_true(record->sequence > t->next);
  t->next = record->sequence;
  fixture_record(&r, record->sequence - 1, 0);
  assert_int_equal(record->size, r.size);
  assert_memory_equal(record->bytes, r.bytes, r.size);
  assert_int_equal(record->received_us, 1000 + (record->sequence - 1) / 10);
  t->given++;
  return 0;
}

static void on_lost(void *context, uint64_t first, uint64_t last)
{
  struct taken *t = context;
  assert_true(first > t->next && last >= first);
  t->next = last;
  t->lost_first = first;
  t->lost_last = last;
  t->lost_ranges++;
}

static struct taken salvage(const struct fixture *x, bool end_known)
{
  struct taken t = {0};
  struct failure failure = FAILURE_NONE;
  struct store_salvage_result result;
  const struct store_salvage how = {.each = on_record, .lost = on_lost, .context = &t};
  if (store_salvage(x->path, &how, &result, &failure) != MUSTER_OK)
    fail_msg("salvage: %s", failure.text);
  assert_int_equal(result.records, t.given);
  assert_int_equal(result.end_known, end_known);
  return t;
}

struct counted {
  uint64_t given, small, lost;
};
static int on_counted(void *context, const struct store_record *record)
{
  struct counted *c = context;
  c->given++;
  c->small += record->size == 8; /* a forged one */
  return 0;
}
static void on_lost_counted(void *context, uint64_t first, uint64_t last)
{
  struct counted *c = context;
  c->lost += last - first + 1;
}

static void a_whole_shard_is_given_whole(void **state)
{
  const struct taken t = salvage(*state, true);
  assert_int_equal(t.given, RECORDS);
  assert_int_equal(t.lost_ranges, 0);
}

static void a_destroyed_block_is_named_and_costs_no_other(void **state)
{
  size_t size;
  uint8_t *bytes = file_read(*state, &size);
  assert_true(flip_id(bytes, size, 170) >= 2);
  file_write(*state, bytes, size);
  const struct taken t = salvage(*state, true);
  assert_int_equal(t.given, RECORDS - 50);
  assert_int_equal(t.lost_ranges, 1);
  assert_int_equal(t.lost_first, 151);
  assert_int_equal(t.lost_last, 200);
  free(bytes);
}

static void the_last_block_is_missed_as_well(void **state)
{
  size_t size;
  uint8_t *bytes = file_read(*state, &size);
  assert_true(flip_id(bytes, size, RECORDS - 1) >= 2);
  file_write(*state, bytes, size);
  const struct taken t = salvage(*state, true);
  assert_int_equal(t.given, RECORDS - 2);
  assert_int_equal(t.lost_first, RECORDS - 1);
  assert_int_equal(t.lost_last, RECORDS);
  free(bytes);
}

/* Branches zeroed and all headers of leaves wrong: nothing leads anywhere, and both kinds of blocks are found, by their chain. */
static void the_tree_is_not_needed(void **state)
{
  size_t size;
  uint8_t *bytes = file_read(*state, &size);
  for (size_t at = 2 * PAGE; at < size; at += PAGE) {
    if (is_tree(bytes + at) && bytes[at + 10] & 1)
      memset(bytes + at, 0, PAGE);
    else if (is_tree(bytes + at))
      memset(bytes + at, 0xa5, 16);
  }
  file_write(*state, bytes, size);
  const struct taken t = salvage(*state, false); /* meta cannot be trusted to be one either */
  assert_int_equal(t.given, RECORDS);
  memset(bytes, 0, 2 * PAGE); /* and without LMDB's own first pages */
  file_write(*state, bytes, size);
  assert_int_equal(salvage(*state, false).given, RECORDS);
  free(bytes);
}

/* The end of the file is gone: what it had can only be missed. */
static void a_file_that_was_cut_gives_its_beginning(void **state)
{
  size_t size;
  uint8_t *bytes = file_read(*state, &size);
  file_write(*state, bytes, size / 2 / PAGE * PAGE + 100);
  const struct taken t = salvage(*state, false);
  assert_in_range(t.given, 50, RECORDS - 50);
  free(bytes);
}

/* A block of another history with the sequences of one of ours, right in itself, on pages that look as LMDB's: it names another one before it. */
static void bytes_that_look_like_a_block_are_not_believed(void **state)
{
  struct fixture other;
  struct store_block_header h;
  size_t size, other_size;
  uint8_t *bytes = file_read(*state, &size);
  fixture_make(&other);
  struct store *s = fixture_open(&other);
  fixture_fill(s, 5000, 5600, 50);
  store_close(s);
  uint8_t *forged = file_read(&other, &other_size);
  unsigned made = 0;
  for (size_t at = 2 * PAGE; at < other_size; at += PAGE) {
    memcpy(&h, forged + at + 16, sizeof h);
    if (h.magic != STORE_BLOCK_MAGIC || h.first != 151)
      continue;
    const size_t pages = (store_block_size(&h) + 16 + PAGE - 1) / PAGE;
    assert_true(pages < 16);
    memcpy(bytes + size, forged + at, pages * PAGE);
    store_u64(bytes + size, size / PAGE);
    size += pages * PAGE;
    made++;
  }
  assert_int_equal(made, 1);
  file_write(*state, bytes, size);
  assert_int_equal(salvage(*state, true).given, RECORDS); /* beside the true one */
  assert_true(flip_id(bytes, size, 170) >= 2);
  file_write(*state, bytes, size);
  const struct taken t = salvage(*state, true); /* in the place of the true one */
  assert_int_equal(t.given, RECORDS - 50);
  assert_int_equal(t.lost_first, 151);
  free(bytes);
  free(forged);
  fixture_remove(&other);
}

/* A record whose unknown field is a block, as a submitter may make it: behind the end, at the beginning, and two that name each other. It lies in a
 * leaf, where LMDB keeps small values, and nobody else's bytes are damaged. */
static void a_block_within_a_record_is_not_believed(void **state)
{
  struct fixture *x = *state;
  struct failure failure = FAILURE_NONE;
  struct scan_fault fault;
  struct fixture_record r;
  uint8_t forged[512], checksum[16] = {0}, *p = forged;
  static const uint64_t firsts[] = {1, 4000, 4001};
  XXH128_canonical_t canonical;
  for (unsigned i = 0; i < 3; i++) {
    struct store_block_header h = {
        .magic = STORE_BLOCK_MAGIC, .format = STORE_FORMAT, .first = firsts[i], .count = 1, .runs = 1, .bytes = 8};
    const struct store_block_run run = {.count = 1};
    const uint32_t end = 8;
    const size_t size = store_block_size(&h);
    if (i == 2)
      memcpy(h.previous, checksum, sizeof checksum);
    memset(p, 0, size);
    memcpy(p, &h, sizeof h);
    memcpy(p + sizeof h + 32, &end, sizeof end);
    memcpy(p + sizeof h + 36, &run, sizeof run);
    h.columns = XXH3_64bits(p + 24, sizeof h + 52 - 24);
    memcpy(p + offsetof(struct store_block_header, columns), &h.columns, sizeof h.columns);
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(p + 16, size - 16));
    memcpy(checksum, canonical.digest, 16);
    memcpy(p, checksum, 16);
    p += size;
  }
  struct store *s = fixture_open(x);
  for (unsigned i = 0; i < 3; i++) { /* one in each record: they fit so */
    fixture_record(&r, RECORDS + i, 0);
    r.size = (uint32_t)(fixture_field_bytes(r.bytes + r.size, 900, forged + i * (size_t)((p - forged) / 3), (size_t)((p - forged) / 3)) -
                        r.bytes);
    assert_true(scan_encounter(&r.view, r.bytes, r.size, &fault));
    digest_content(r.digest, &r.view);
    assert_int_equal(store_begin(s), MUSTER_OK);
    assert_true(store_append(s, &r.view, r.digest, store_fingerprint(s, r.id), &(struct store_receipt){0}) > 0);
    assert_int_equal(store_commit(s, &failure), MUSTER_OK);
  }
  store_close(s);
  size_t size;
  uint8_t *bytes = file_read(x, &size);
  unsigned found = 0;
  for (uint8_t *at = bytes; (at = memmem(at, size - (size_t)(at - bytes), forged, (size_t)((p - forged) / 3))); at++)
    found++;
  assert_true(found >= 1); /* it is on the disk */
  free(bytes);
  struct store_salvage_result result;
  struct counted c = {0};
  const struct store_salvage how = {.each = on_counted, .lost = on_lost_counted, .context = &c};
  assert_int_equal(store_salvage(x->path, &how, &result, &failure), MUSTER_OK);
  assert_int_equal(c.given, RECORDS + 3);
  assert_int_equal(c.small, 0);
  assert_int_equal(c.lost, 0);
}

struct next_owner {
  int fd;
  unsigned refused;
};

static int on_record_try(void *context, const struct store_record *record)
{
  struct next_owner *w = context;
  (void)record;
  w->refused += flock(w->fd, LOCK_EX | LOCK_NB) != 0;
  flock(w->fd, LOCK_UN);
  return 0;
}

/* A node that runs and has lost its worker for a moment: nothing is locked that the next worker needs. */
static void beside_a_node_nothing_is_locked(void **state)
{
  struct fixture *x = *state;
  struct failure failure = FAILURE_NONE;
  struct store_salvage_result result;
  char owner[320];
  fixture_file(x, owner, "owner.lock");
  struct store *store;
  const int kept = open(owner, O_RDWR | O_CLOEXEC); /* as by a salvage that began when there was no node */
  assert_int_equal(flock(kept, LOCK_SH | LOCK_NB), 0);
  assert_int_equal(store_open(&store, &x->options, &failure), MUSTER_ERR_LOCKED);
  assert_non_null(strstr(failure.text, "muster salvage"));
  close(kept);
  failure = FAILURE_NONE;
  for (unsigned beside = 0; beside < 2; beside++) {
    struct next_owner w = {.fd = open(owner, O_RDWR | O_CLOEXEC)};
    const struct store_salvage how = {.beside_node = beside, .each = on_record_try, .lost = on_lost, .context = &w};
    assert_int_equal(store_salvage(x->path, &how, &result, &failure), MUSTER_OK);
    assert_int_equal(result.records, RECORDS);
    assert_int_equal(w.refused, beside ? 0 : RECORDS);
    close(w.fd);
  }
}

/* A shard of which a writer has hold, and whose pages tell nothing, might change while it is read. */
static void beside_a_writer_only_what_is_sound_is_read(void **state)
{
  struct fixture *x = *state;
  struct failure failure = FAILURE_NONE;
  struct store_salvage_result result;
  struct taken t = {0};
  const struct store_salvage how = {.each = on_record, .lost = on_lost, .context = &t};
  size_t size;
  uint8_t *bytes = file_read(x, &size);
  char owner[320];
  fixture_file(x, owner, "owner.lock");
  const int fd = open(owner, O_RDWR | O_CLOEXEC);
  assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
  assert_int_equal(salvage(x, true).given, RECORDS);
  memset(bytes, 0, 2 * PAGE);
  file_write(x, bytes, size);
  assert_int_equal(store_salvage(x->path, &how, &result, &failure), MUSTER_ERR_LOCKED);
  assert_non_null(strstr(failure.text, "stop the node first"));
  assert_int_equal(t.given, 0);
  close(fd);
  assert_int_equal(salvage(x, false).given, RECORDS);
  free(bytes);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_whole_shard_is_given_whole, wreck_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_destroyed_block_is_named_and_costs_no_other, wreck_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(the_last_block_is_missed_as_well, wreck_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(the_tree_is_not_needed, wreck_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_file_that_was_cut_gives_its_beginning, wreck_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(bytes_that_look_like_a_block_are_not_believed, wreck_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_block_within_a_record_is_not_believed, wreck_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(beside_a_node_nothing_is_locked, wreck_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(beside_a_writer_only_what_is_sound_is_read, wreck_setup, fixture_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
