#include "store/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "core/fault.h"
#include "core/machine.h"
#include "proto/digest.h"
#include "store/guard.h"

#define VERIFY_CELLS 65536u       /* slots at first; grows */
#define VERIFY_BLOCKS_MORE 65536u /* than meta says, until the walk is given up */

void store_verify_fault(struct store_verify *v, const char *format, ...)
{
  char text[448], sentence[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  snprintf(sentence, sizeof sentence, "shard %" PRIu32 ": %s", v->meta.shard, text);
  v->result.faults++;
  v->report(v->context, sentence);
}

/* Where the walk stands: what the next block must begin with. */
struct walk {
  uint64_t block;       /* number of the block in hand, from 1 */
  uint64_t next;        /* sequence */
  uint8_t previous[16]; /* checksum that the next block must name */
};

/* ---- one record ---- */

static int verify_once(struct store_verify *v, const struct store_block *b, uint32_t i, const struct walk *walk)
{
  const uint8_t *id = store_block_id(b, i);
  const uint64_t sequence = b->header.first + i, fingerprint = digest_fingerprint(id, v->meta.fingerprint_seed);
  struct store_index_probe probe = store_index_probe(&v->ids, fingerprint);
  for (uint64_t candidate; (candidate = store_index_next(&probe));) {
    struct store_block other = *b;
    int code = store_block_holds(b, candidate) ? 0 : store_journal_seek(v->lookup, candidate, &other);
    if (code)
      return code == MDB_NOTFOUND ? MDB_CORRUPTED : code;
    if (memcmp(store_block_id(&other, (uint32_t)(candidate - other.header.first)), id, 16) == 0)
      store_verify_fault(v, "block %" PRIu64 ", sequence %" PRIu64 ": its id was stored before, as sequence %" PRIu64, walk->block,
                         sequence, candidate);
  }
  return store_index_insert(&v->ids, fingerprint, sequence) ? ENOMEM : 0;
}

static int verify_count(struct store_verify *v, const struct encounter_view *view, uint64_t sequence)
{
  struct store_cell cell;
  store_cell_of(&cell, view);
  return store_cells_add(sequence > v->meta.tally_records ? &v->newer : &v->cells, &cell) ? ENOMEM : 0;
}

static int verify_record(struct store_verify *v, const struct store_block *b, uint32_t i, const struct walk *walk)
{
  const uint64_t sequence = b->header.first + i;
  const uint8_t *id = store_block_id(b, i);
  uint32_t size = 0;
  const uint8_t *bytes = store_block_record(b, i, &size);
  struct encounter_view view;
  struct scan_fault bad;
  uint8_t digest[16];
  const uint64_t faults = v->result.faults;
  if (!bytes) {
    store_verify_fault(v, "block %" PRIu64 ", sequence %" PRIu64 ": its offsets do not ascend or pass the end", walk->block, sequence);
    return 0;
  }
  if (!scan_encounter(&view, bytes, size, &bad)) {
    store_verify_fault(v, "block %" PRIu64 ", sequence %" PRIu64 ": its bytes are no record (reason %" PRIu32 " at byte %" PRIu32 ")",
                       walk->block, sequence, bad.reason, bad.byte);
    return 0;
  }
  if (!encounter_has(&view, FIELD_ENCOUNTER_ID) || view.field[FIELD_ENCOUNTER_ID].size != 16 ||
      memcmp(view.field[FIELD_ENCOUNTER_ID].bytes, id, 16) != 0)
    store_verify_fault(v, "block %" PRIu64 ", sequence %" PRIu64 ": its id column is not the id in its bytes", walk->block, sequence);
  digest_content(digest, &view);
  if (memcmp(digest, store_block_digest(b, i), 16) != 0)
    store_verify_fault(v, "block %" PRIu64 ", sequence %" PRIu64 ": its digest column is not the digest of its bytes", walk->block,
                       sequence);
  if (digest_shard(id, v->meta.shards) != v->meta.shard)
    store_verify_fault(v, "block %" PRIu64 ", sequence %" PRIu64 ": its id belongs to shard %" PRIu32, walk->block, sequence,
                       digest_shard(id, v->meta.shards));
  int code = verify_once(v, b, i, walk);
  if (!code)
    code = verify_count(v, &view, sequence);
  if (v->result.faults == faults) {
    v->result.records++;
    v->result.bytes += size;
  }
  return code;
}

/* ---- one block ---- */

static void verify_runs(struct store_verify *v, const struct store_block *b, const struct walk *walk)
{
  uint64_t covered = 0;
  for (const uint8_t *p = b->runs; p < b->bytes; p += sizeof(struct store_block_run))
    covered += load_u32(p);
  if (covered != b->header.count)
    store_verify_fault(v, "block %" PRIu64 " (sequences from %" PRIu64 "): its receipts are for %" PRIu64 " records, it has %" PRIu32,
                       walk->block, b->header.first, covered, b->header.count);
}

static int verify_block(struct store_verify *v, const struct store_block *b, struct walk *walk)
{
  const struct store_block_header *h = &b->header;
  const uint64_t faults = v->result.faults;
  if (h->first != walk->next)
    store_verify_fault(v, "block %" PRIu64 " begins with sequence %" PRIu64 " where %" PRIu64 " is due: %s", walk->block, h->first,
                       walk->next, h->first > walk->next ? "a block before it is missing" : "it overlaps the one before");
  else if (memcmp(h->previous, walk->previous, sizeof walk->previous) != 0)
    store_verify_fault(v, "block %" PRIu64 " (sequences %" PRIu64 " to %" PRIu64 "): it does not continue the chain of the block before",
                       walk->block, h->first, h->first + h->count - 1);
  if (h->shard != v->meta.shard)
    store_verify_fault(v, "block %" PRIu64 " (sequences %" PRIu64 " to %" PRIu64 "): it was written for shard %" PRIu32, walk->block,
                       h->first, h->first + h->count - 1, h->shard);
  if (!store_block_intact(b))
    store_verify_fault(v, "block %" PRIu64 " (sequences %" PRIu64 " to %" PRIu64 "): its checksum is not that of its bytes", walk->block,
                       h->first, h->first + h->count - 1);
  else if (!store_block_columns_intact(b))
    store_verify_fault(v, "block %" PRIu64 " (sequences %" PRIu64 " to %" PRIu64 "): the checksum of its columns is not theirs",
                       walk->block, h->first, h->first + h->count - 1);
  if (load_u32(b->ends + (size_t)(h->count - 1) * 4) != h->bytes)
    store_verify_fault(v, "block %" PRIu64 " (sequences %" PRIu64 " to %" PRIu64 "): its records do not fill it", walk->block, h->first,
                       h->first + h->count - 1);
  verify_runs(v, b, walk);
  int code = 0;
  for (uint32_t i = 0; i < h->count && !code; i++)
    code = verify_record(v, b, i, walk);
  v->record_bytes += h->bytes;
  if (v->result.faults == faults)
    v->result.blocks++;
  memcpy(walk->previous, h->checksum, sizeof walk->previous);
  walk->next = h->first + h->count;
  return code;
}

/* ---- the journal ---- */

static void verify_totals(struct store_verify *v, const struct walk *walk)
{
  const struct store_meta *m = &v->meta;
  if (walk->next - 1 != m->records)
    store_verify_fault(v, "the journal ends with sequence %" PRIu64 " and meta says %" PRIu64, walk->next - 1, m->records);
  if (walk->block != m->blocks)
    store_verify_fault(v, "the journal has %" PRIu64 " blocks and meta says %" PRIu64, walk->block, m->blocks);
  if (v->record_bytes != m->record_bytes)
    store_verify_fault(v, "the journal has %" PRIu64 " bytes of records and meta says %" PRIu64, v->record_bytes, m->record_bytes);
  if (memcmp(walk->previous, m->chain, sizeof m->chain) != 0)
    store_verify_fault(v, "the last block (%" PRIu64 ", up to sequence %" PRIu64 ") is not the head of the chain that meta names",
                       walk->block, walk->next - 1);
  if (m->tally_records > m->records)
    store_verify_fault(v, "the tally claims to count %" PRIu64 " records of %" PRIu64, m->tally_records, m->records);
}

/* A block whose value does not lie within the file has a key and no bytes: its place in the walk stays known. */
static int walk_get(struct store_verify *v, MDB_val *key, MDB_val *value, MDB_cursor_op op)
{
  const int code = store_env_cursor_get(v->cursor, key, value, op);
  return code == MDB_CORRUPTED && key->mv_size ? 0 : code;
}

/* Where a block without a header ends is not known: the checksum it should have had is what the next block names. */
static int verify_lost_block(struct store_verify *v, const MDB_val *value, uint64_t first, struct walk *walk)
{
  MDB_val next_key, next_value;
  struct store_block_header next;
  store_verify_fault(v, "block %" PRIu64 " (from sequence %" PRIu64 "): its %s, none of its records can be read", walk->block, first,
                     value->mv_size ? "header is damaged" : "bytes do not lie within data.mdb");
  int code = walk_get(v, &next_key, &next_value, MDB_NEXT);
  if (code)
    return code;
  if (next_value.mv_size >= sizeof next && next_key.mv_size == sizeof walk->next) {
    memcpy(&next, next_value.mv_data, sizeof next);
    memcpy(walk->previous, next.previous, sizeof walk->previous);
    walk->next = load_u64(next_key.mv_data);
  }
  return walk_get(v, &next_key, &next_value, MDB_PREV);
}

static int verify_walk(struct store_verify *v, struct walk *walk,
                       void (*progress)(void *context, uint64_t records_read, uint64_t records_total))
{
  MDB_val key, value;
  int code;
  while (!(code = walk_get(v, &key, &value, MDB_NEXT))) {
    struct store_block b;
    if (walk->block++ > v->meta.blocks + VERIFY_BLOCKS_MORE)
      return MDB_CORRUPTED; /* a tree that leads to the same pages again and again */
    const uint64_t first = key.mv_size == sizeof first ? load_u64(key.mv_data) : 0;
    code =
        store_block_parse(&b, value.mv_data, value.mv_size, first) ? verify_block(v, &b, walk) : verify_lost_block(v, &value, first, walk);
    if (code)
      return code;
    if (progress)
      progress(v->context, walk->next - 1, v->meta.records);
  }
  return code;
}

static int verify_journal(struct store_verify *v, void (*progress)(void *context, uint64_t records_read, uint64_t records_total))
{
  struct walk walk = {.next = 1};
  const int code = verify_walk(v, &walk, progress);
  if (code == MDB_CORRUPTED) {
    v->cut = true;
    store_verify_fault(v,
                       "behind block %" PRIu64 " (from sequence %" PRIu64
                       "): the journal's pages are damaged, what follows cannot be read; the tally was not compared",
                       walk.block, walk.next);
    return 0;
  }
  if (code != MDB_NOTFOUND)
    return code;
  verify_totals(v, &walk);
  return 0;
}

/* The system promises memory that it may not have, and then ends whom it likes, the node perhaps: so it is asked for what there is. */
static int verify_reserve(struct store_verify *v, struct failure *failure)
{
  const uint64_t needed = v->meta.records * STORE_VERIFY_RECORD_BYTES;
  const uint64_t available = FAULT("store.verify-memory") ? 0 : machine_memory_available_bytes();
  if (needed <= available && !store_index_reserve(&v->ids, v->meta.records) && !store_cells_init(&v->cells, VERIFY_CELLS) &&
      !store_cells_init(&v->newer, VERIFY_CELLS))
    return MUSTER_OK;
  return failure_set(failure, MUSTER_ERR_MEMORY,
                     "shard %" PRIu32 ": to verify its %" PRIu64 " records takes %" PRIu64 " bytes of memory, and %" PRIu64
                     " are to be had; nothing was read; stop what else uses memory, or verify a copy on a larger machine",
                     v->meta.shard, v->meta.records, needed, available);
}

/* LMDB reads nothing more in a transaction that has met a damaged page: what is left is read in another one, with its own meta. */
static int verify_again(struct store_verify *v, struct failure *failure)
{
  store_env_cursor_close(v->cursor);
  store_env_cursor_close(v->lookup);
  store_env_abort(v->txn);
  v->cursor = v->lookup = NULL;
  v->txn = NULL;
  int status = store_env_begin_read(&v->env, &v->txn, failure);
  if (!status)
    status = store_meta_open(&v->env, v->txn, failure); /* the handles have ended with their transaction */
  return status ? status : store_meta_load(&v->env, v->txn, &v->meta, failure);
}

static int verify_all(struct store_verify *v, void (*progress)(void *context, uint64_t records_read, uint64_t records_total),
                      struct failure *failure)
{
  int status = store_env_begin_read(&v->env, &v->txn, failure);
  if (!status)
    status = store_meta_open(&v->env, v->txn, failure);
  if (!status)
    status = store_meta_load(&v->env, v->txn, &v->meta, failure);
  if (!status)
    status = verify_reserve(v, failure);
  if (status)
    return status;
  int code = store_env_cursor_open(v->txn, v->env.journal, &v->cursor);
  if (!code)
    code = store_env_cursor_open(v->txn, v->env.journal, &v->lookup);
  if (!code)
    code = verify_journal(v, progress);
  if (!code && !v->cut)
    code = store_verify_tally(v);
  if (!code && v->cut)
    status = verify_again(v, failure);
  if (!code && !status)
    code = store_verify_quarantine(v);
  return status || !code ? status : store_env_failure(failure, &v->env, code, "verify cannot go on");
}

/* A disk that cannot give a page is a fault of this shard, and the others are read all the same. */
static int verify_guarded(struct store_verify *v, void (*progress)(void *context, uint64_t records_read, uint64_t records_total),
                          struct failure *failure)
{
  struct store_guard g;
  if (sigsetjmp(*store_guard_enter(&g, STORE_GUARD_MAP), 0))
    return store_env_failure(failure, &v->env, MDB_CORRUPTED, "verify cannot go on");
  const int status = verify_all(v, progress, failure);
  store_guard_leave(&g);
  return status;
}

int store_verify(const char *path, void (*report)(void *context, const char *sentence), void *context,
                 void (*progress)(void *context, uint64_t records_read, uint64_t records_total), struct store_verify_result *out,
                 struct failure *failure)
{
  struct store_verify v = {.report = report, .context = context};
  *out = (struct store_verify_result){0};
  int status = store_env_open(&v.env, path, STORE_ENV_READ, 0, failure);
  if (!status)
    status = verify_guarded(&v, progress, failure);
  if (v.cursor)
    store_env_cursor_close(v.cursor);
  if (v.lookup)
    store_env_cursor_close(v.lookup);
  if (v.txn)
    store_env_abort(v.txn);
  store_env_close(&v.env);
  store_cells_finish(&v.cells);
  store_cells_finish(&v.newer);
  store_index_finish(&v.ids);
  *out = v.result;
  return status;
}
