/*
 * A shard made from a backup: an empty one as every writer makes it, then the backup's blocks as they are, with tally and totals, in large
 * transactions. A block that is cut is built anew from its first records. There is no hint, so the index is made at the first start.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/fault.h"
#include "store/backup.h"
#include "store/journal.h"
#include "store/meta.h"
#include "store/quarantine.h"
#include "store/refused.h"
#include "store/segment.h"
#include "store/store.h"
#include "store/tally.h"

#define RESTORE_COMMIT_BYTES (UINT64_C(64) << 20) /* in one transaction */

struct restore {
  const struct store_backup *b;
  const struct store_backup_until *until;
  uint32_t shard;
  struct store_env env;
  struct store_meta meta; /* of the transaction in hand */
  struct store_cells cells;
  struct store_block_builder builder; /* of a block that is cut; taken when it is needed */
  MDB_txn *txn;
  uint64_t txn_bytes;
  int code; /* of LMDB, of the refused record that could not be put */
  bool ended;
};

static int env_failure(const struct restore *r, int code, struct failure *failure)
{
  if (code == MDB_MAP_FULL)
    return failure_set(
        failure, MUSTER_ERR_CONFIG,
        "shard %" PRIu32 " does not fit into %" PRIu64
        " bytes (store.map_bytes); what is committed is kept, and the same command with a larger --map-bytes goes on from there",
        r->shard, store_env_map_bytes(&r->env));
  return store_env_failure(failure, &r->env, code,
                           "the restored records cannot be written; the same command goes on from what is committed");
}

/* ---- transactions ---- */

static int need_txn(struct restore *r)
{
  int code = r->txn ? 0 : store_env_begin_write(&r->env, &r->txn);
  if (code)
    r->txn = NULL;
  return code;
}

static int commit(struct restore *r)
{
  if (!r->txn)
    return 0;
  int code = store_tally_fold(&r->cells, r->txn, r->env.tally);
  r->meta.tally_records = r->meta.records;
  if (!code)
    code = store_meta_save(&r->env, r->txn, &r->meta);
  if (!code)
    code = FAULT("restore.commit") ? errno : store_env_commit(r->txn);
  else
    store_env_abort(r->txn);
  r->txn = NULL;
  r->txn_bytes = 0;
  if (!code)
    store_env_cover(&r->env);
  return code;
}

/* ---- blocks ---- */

static int count_records(struct restore *r, const struct store_block *block, uint32_t wanted)
{
  for (uint32_t i = 0; i < wanted; i++) {
    struct encounter_view view;
    struct scan_fault fault;
    struct store_cell cell;
    uint32_t size;
    const uint8_t *bytes = store_block_record(block, i, &size);
    if (!bytes || !scan_encounter(&view, bytes, size, &fault))
      return MDB_CORRUPTED;
    store_cell_of(&cell, &view);
    if (store_cells_add(&r->cells, &cell))
      return ENOMEM;
    r->meta.record_bytes += size;
  }
  return 0;
}

static int put_whole(struct restore *r, const struct store_block *block)
{
  uint64_t first = block->header.first;
  MDB_val key = {.mv_size = sizeof first, .mv_data = &first}, value = {.mv_size = block->size, .mv_data = (void *)(uintptr_t)block->base};
  memcpy(r->meta.chain, block->header.checksum, sizeof r->meta.chain);
  return store_env_put(r->txn, r->env.journal, &key, &value, MDB_APPEND);
}

static int put_beginning(struct restore *r, const struct store_block *block, uint32_t wanted)
{
  struct store_block_receipts receipts;
  uint32_t submitter, size;
  int64_t received_us;
  if (!r->builder.memory && store_block_builder_init(&r->builder))
    return ENOMEM;
  store_block_builder_reset(&r->builder);
  store_block_receipts(&receipts, block);
  for (uint32_t i = 0; i < wanted; i++) {
    const uint8_t *bytes = store_block_record(block, i, &size);
    if (!bytes || !store_block_receipt_next(&receipts, &submitter, &received_us) ||
        !store_block_builder_add(&r->builder, bytes, size, store_block_id(block, i), store_block_digest(block, i), submitter, received_us))
      return MDB_CORRUPTED;
  }
  return store_block_builder_write(&r->builder, r->txn, r->env.journal, block->header.first, r->shard, r->meta.chain);
}

static int add_block(struct restore *r, const struct store_block *block, uint32_t wanted)
{
  int code = need_txn(r);
  if (!code)
    code = count_records(r, block, wanted);
  if (!code)
    code = wanted == block->header.count ? put_whole(r, block) : put_beginning(r, block, wanted);
  if (code)
    return code;
  r->meta.records += wanted;
  r->meta.blocks++;
  r->txn_bytes += block->size;
  const bool due = r->txn_bytes >= RESTORE_COMMIT_BYTES || r->cells.used >= STORE_TALLY_FOLD_CELLS;
  return due ? commit(r) : 0;
}

static int not_of_this(const struct restore *r, struct failure *failure)
{
  return failure_set(failure, MUSTER_ERR_CONFIG,
                     "shard %s holds %" PRIu64 " records that are not the beginning of what is to be restored; nothing was changed; "
                     "remove what a former restore has left, or name another directory",
                     r->env.path, r->meta.records);
}

/* Blocks that a former call has committed are passed over; where they end they must be these very ones. */
static int take_block(struct restore *r, const struct store_block *block, struct failure *failure)
{
  const uint32_t wanted = store_segment_wanted(block, r->until);
  const uint64_t last = block->header.first + wanted - 1;
  r->ended = wanted < block->header.count;
  if (wanted == 0 && r->meta.records > last)
    return not_of_this(r, failure);
  if (wanted == 0 || last < r->meta.records)
    return r->ended && last < r->meta.records ? not_of_this(r, failure) : MUSTER_OK;
  if (last == r->meta.records) /* a block that was cut has another checksum, and its length tells enough: it is the last one */
    return r->ended || memcmp(block->header.checksum, r->meta.chain, 16) == 0 ? MUSTER_OK : not_of_this(r, failure);
  if (block->header.first != r->meta.records + 1 || memcmp(block->header.previous, r->meta.chain, 16) != 0)
    return not_of_this(r, failure);
  const int code = FAULT("restore.block") ? errno : add_block(r, block, wanted);
  if (code == MDB_CORRUPTED)
    return failure_set(failure, MUSTER_ERR_CORRUPT,
                       "shard %" PRIu32 ": the backup's block of sequences %" PRIu64 " to %" PRIu64 " holds no records", r->shard,
                       block->header.first, last);
  return code ? env_failure(r, code, failure) : MUSTER_OK;
}

static int take_segment(struct restore *r, uint32_t number, struct failure *failure)
{
  const struct store_backup_segment *g = &r->b->shard[r->shard].segment[number];
  char path[LIMIT_PATH_BYTES];
  struct store_block block;
  struct store_segment_walk w;
  int more = 1, status = store_segment_open(&w, r->b, r->shard, number, failure);
  if (status != MUSTER_OK)
    return status;
  while (status == MUSTER_OK && !r->ended && (more = store_segment_next(&w, &block)) == 1) {
    status = take_block(r, &block, failure);
    r->ended = r->ended || w.next > r->until->records; /* what follows is not asked for and need not be whole */
  }
  store_segment_path(path, r->b, r->shard, g);
  if (status == MUSTER_OK && !r->ended && (more < 0 || !store_segment_is_at_end(&w, g)))
    status = failure_set(failure, more < 0 ? more : MUSTER_ERR_CORRUPT,
                         "%s has changed since it was checked: sequence %" PRIu64 " cannot be read from it", path, w.next);
  store_segment_close(&w);
  return status;
}

/* ---- the quarantine ---- */

static int take_refused(void *context, const struct store_refused *entry)
{
  struct restore *r = context;
  r->code = need_txn(r);
  if (!r->code)
    r->code = store_quarantine_restore(&r->env, r->txn, &r->meta, entry);
  return r->code ? MUSTER_ERR_IO : MUSTER_OK;
}

/* In one transaction with the last records: all of it is there or nothing. */
static int take_all_refused(struct restore *r, struct failure *failure)
{
  if (r->until->no_refused || r->meta.quarantined || !r->b->shard[r->shard].refused)
    return MUSTER_OK;
  struct failure reading = FAILURE_NONE;
  const int status = store_refused_read(r->b, r->shard, take_refused, r, &reading);
  if (r->code)
    return env_failure(r, r->code, failure);
  return status ? failure_set(failure, status, "%s", reading.text) : MUSTER_OK;
}

/* ---- the shard ---- */

uint64_t store_backup_bytes(const struct store_backup *b, uint32_t shard, const struct store_backup_until *until)
{
  const struct store_backup_shard *s = &b->shard[shard];
  uint64_t bytes = until->no_refused ? 0 : s->refused_bytes;
  for (uint32_t i = 0; i < s->segments && s->segment[i].last <= until->records; i++)
    bytes += s->segment[i].bytes;
  return until->received_us == INT64_MAX ? bytes : 0;
}

/* An empty shard with its marker, made by the writer itself; where the marker stands this was done. */
static int make_empty(const struct restore *r, const char *path, uint64_t map_bytes, struct failure *failure)
{
  struct store *s;
  struct store_options options = {.path = path, .shard = r->shard, .shards = r->b->shards, .map_bytes = map_bytes};
  memcpy(options.node_id, r->b->node_id, sizeof options.node_id);
  if (store_env_marked(&r->env))
    return MUSTER_OK;
  const int status = store_open(&s, &options, failure);
  if (status == MUSTER_OK)
    store_close(s);
  return status;
}

static int open_shard(struct restore *r, const char *path, uint64_t map_bytes, struct failure *failure)
{
  MDB_txn *txn;
  if (strlen(path) >= STORE_PATH_MAX)
    return failure_set(failure, MUSTER_ERR_LIMIT, "a shard's path may have %u bytes", STORE_PATH_MAX - 1);
  strcpy(r->env.path, path);
  r->env.lock_fd = -1;
  int status = make_empty(r, path, map_bytes, failure);
  if (status == MUSTER_OK)
    status = store_env_open(&r->env, path, STORE_ENV_WRITE, map_bytes, failure);
  if (status == MUSTER_OK)
    status = store_env_begin_read(&r->env, &txn, failure);
  if (status != MUSTER_OK)
    return status;
  status = store_meta_open(&r->env, txn, failure);
  if (status == MUSTER_OK)
    status = store_meta_load(&r->env, txn, &r->meta, failure);
  const int code = store_env_commit(txn); /* keeps the handles of the databases */
  if (status == MUSTER_OK && code)
    status = env_failure(r, code, failure);
  if (status == MUSTER_OK && (r->meta.shard != r->shard || r->meta.shards != r->b->shards || r->meta.tally_records != r->meta.records ||
                              memcmp(r->meta.node_id, r->b->node_id, sizeof r->meta.node_id) != 0))
    status = not_of_this(r, failure);
  if (status == MUSTER_OK && store_cells_init(&r->cells, STORE_TALLY_CAPACITY))
    status = failure_set(failure, MUSTER_ERR_MEMORY, "there is no memory to count in");
  return status;
}

static int fill_shard(struct restore *r, struct failure *failure)
{
  const struct store_backup_shard *s = &r->b->shard[r->shard];
  const uint64_t most = s->records < r->until->records ? s->records : r->until->records;
  int status = r->meta.records > most ? not_of_this(r, failure) : MUSTER_OK;
  for (uint32_t i = 0; i < s->segments && status == MUSTER_OK && !r->ended && s->segment[i].first <= most; i++)
    status = take_segment(r, i, failure);
  if (status == MUSTER_OK)
    status = take_all_refused(r, failure);
  const int code = status == MUSTER_OK ? commit(r) : 0;
  return code ? env_failure(r, code, failure) : status;
}

int store_backup_restore(const struct store_backup *b, uint32_t shard, const struct store_backup_until *until, const char *path,
                         uint64_t map_bytes, uint64_t *records, struct failure *failure)
{
  struct restore r = {.b = b, .until = until, .shard = shard};
  int status = open_shard(&r, path, map_bytes, failure);
  if (status == MUSTER_OK)
    status = fill_shard(&r, failure);
  *records = r.meta.records;
  if (r.txn)
    store_env_abort(r.txn);
  store_env_close(&r.env);
  store_cells_finish(&r.cells);
  store_block_builder_finish(&r.builder);
  return status;
}
