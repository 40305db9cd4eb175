/* The shard's writer, in a store of its own below TMPDIR that is removed at the end. Nothing that is measured waits for the disk: commits
 * belong to the setting up, and a block is written into a transaction that is then dropped. */
#include "bench/micro/micro.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "muster/status.h"
#include "store/writer.h"

#define COMMIT 250u                               /* records of a block where several are stored */
#define RUN 64                                    /* records looked up together, as the worker does */
#define FINGERPRINT_SEED UINT64_C(0x6d7573746572) /* a shard draws its own; here the places in the index must repeat */
#define SUBMITTER 1u

static struct micro_set set;
static struct store *store;
static struct store_cells cells;
static char directory[256];

static bool store_make(void)
{
  const char *base = getenv("TMPDIR");
  struct failure failure = FAILURE_NONE;
  const struct store_options options = {
      .path = directory, .shards = 1, .map_bytes = LIMIT_GIB, .quarantine_records = 1, .quarantine_bytes = LIMIT_KIB};
  snprintf(directory, sizeof directory, "%s/muster-micro-XXXXXX", base ? base : "/tmp");
  if (!mkdtemp(directory)) {
    directory[0] = '\0';
    return micro_complain("no directory can be made in %s", base ? base : "/tmp");
  }
  if (store_open(&store, &options, &failure) != MUSTER_OK)
    return micro_complain("%s", failure.text);
  store->meta.fingerprint_seed = FINGERPRINT_SEED;
  return true;
}

static void store_remove(void)
{
  static const char *const files[] = {STORE_FILE_DATA, STORE_FILE_LOCK, STORE_FILE_OWNER, STORE_FILE_MARKER, STORE_FILE_HINT};
  char path[sizeof directory + 32];
  store_close(store);
  store = NULL;
  for (size_t i = 0; directory[0] && i < sizeof files / sizeof files[0]; i++) {
    snprintf(path, sizeof path, "%s/%s", directory, files[i]);
    unlink(path);
  }
  if (directory[0])
    rmdir(directory);
  directory[0] = '\0';
}

/* ---- find_hit: a batch that is sent again ---- */

static bool store_fill(void)
{
  const struct store_receipt receipt = {.submitter = SUBMITTER, .received_us = MICRO_NOW_US};
  struct failure failure = FAILURE_NONE;
  for (uint32_t i = 0; i < set.count;) {
    store_begin(store);
    for (uint32_t end = i + COMMIT < set.count ? i + COMMIT : set.count; i < end; i++) {
      const struct micro_record *r = &set.record[i];
      (void)store_append(store, &r->view, r->digest, store_fingerprint(store, micro_record_id(r)),
                         &receipt); /* an error stays until the commit */
    }
    if (store_commit(store, &failure) != MUSTER_OK)
      return micro_complain("%s", failure.text);
  }
  return true;
}

static bool open_find_hit(uint32_t count) { return micro_set_make(&set, count) && store_make() && store_fill(); }

static void prepare_find_hit(void)
{
  if (store->in_transaction)
    store_commit(store, NULL); /* nothing was appended: it costs nothing */
  store_begin(store);
}

static uint32_t run_find_hit(void)
{
  uint32_t done = 0;
  uint64_t sequence;
  uint8_t digest[16];
  uint64_t fingerprint[RUN];
  for (uint32_t i = 0; i < set.count; i += RUN) {
    const uint32_t count = set.count - i < RUN ? set.count - i : RUN;
    for (uint32_t j = 0; j < count; j++)
      store_prefetch(store, fingerprint[j] = store_fingerprint(store, micro_record_id(&set.record[i + j])));
    for (uint32_t j = 0; j < count; j++)
      done += store_find(store, micro_record_id(&set.record[i + j]), fingerprint[j], &sequence, digest) == 1 && sequence == i + j + 1;
  }
  return done;
}

/* ---- tally: the day and the columns of the public data set ---- */

static bool open_tally(uint32_t count)
{
  return micro_set_make(&set, count) &&
         (store_cells_init(&cells, STORE_TALLY_CAPACITY) == MUSTER_OK || micro_complain("there is no memory for the tally's cells"));
}

static void prepare_tally(void) { store_cells_clear(&cells); }

static uint32_t run_tally(void)
{
  uint32_t done = 0;
  for (uint32_t i = 0; i < set.count; i++) {
    struct store_cell cell;
    store_cell_of(&cell, &set.record[i].view);
    done += store_cells_stage(&cells, &cell) == MUSTER_OK;
  }
  return store_cells_flush(&cells) == MUSTER_OK ? done : 0;
}

/* ---- block_build: columns gathered, then copied into LMDB's pages with their checksums ---- */

static bool open_block_build(uint32_t count) { return micro_set_make(&set, count) && store_make(); }

static void prepare_block_build(void)
{
  store_transaction_abort(store);
  if (mdb_txn_begin(store->env.lmdb, NULL, 0, &store->txn) != 0)
    store->txn = NULL;
}

static uint32_t run_block_build(void)
{
  struct store_block_builder *b = &store->block;
  uint8_t chain[16] = {0};
  for (uint32_t i = 0; i < set.count; i++) {
    const struct micro_record *r = &set.record[i];
    if (!store_block_builder_add(b, r->bytes, r->size, micro_record_id(r), r->digest, SUBMITTER, MICRO_NOW_US))
      return 0;
  }
  return store->txn && store_block_builder_write(b, store->txn, store->env.journal, 1, 0, chain) == 0 ? b->count : 0;
}

static void close_all(void)
{
  store_remove();
  store_cells_finish(&cells);
  micro_set_free(&set);
}

#define STORE_CASE(case, text)                                                                                                             \
  const struct micro_case micro_##case = {.name = #case,                                                                                   \
                                          .sentence = text,                                                                                \
                                          .count = MICRO_BATCH,                                                                            \
                                          .count_max = MICRO_RECORDS_MAX,                                                                  \
                                          .open = open_##case,                                                                             \
                                          .prepare = prepare_##case,                                                                       \
                                          .run = run_##case,                                                                               \
                                          .close = close_all}
STORE_CASE(find_hit, "an id that is stored: fingerprint, index, and the full id in its block");
STORE_CASE(tally, "counting a record by day and columns, in memory");
STORE_CASE(block_build, "a record into the block, and the block with its checksums into LMDB's transaction, no commit");
