/* The writer's transactions: find, append, quarantine, commit. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"
#include "proto/digest.h"
#include "proto/wire.pb-c.h"
#include "store/guard.h"
#include "store/hint.h"
#include "store/writer.h"

void store_transaction_abort(struct store *s)
{
  if (s->cursor)
    store_env_cursor_close(s->cursor);
  if (s->txn)
    store_env_abort(s->txn);
  s->cursor = NULL;
  s->txn = NULL;
  s->seen.base = NULL;
  s->refused_written = false;
  store_block_builder_reset(&s->block);
}

/* The first error of a transaction: it stays, and the store is stopped by it. */
static int writer_stop(struct store *s, int code, const char *doing) { return store_env_failure(&s->failure, &s->env, code, doing); }

static int writer_need_txn(struct store *s)
{
  if (s->txn)
    return 0;
  int code = store_env_begin_write(&s->env, &s->txn);
  if (code)
    s->txn = NULL;
  return code;
}

int store_begin(struct store *s)
{
  assert(!s->in_transaction);
  if (s->failure.status)
    return s->failure.status;
  s->in_transaction = true;
  return MUSTER_OK;
}

uint64_t store_fingerprint(const struct store *s, const uint8_t id[16])
{
  return digest_fingerprint(id, s->meta.fingerprint_seed) & s->fingerprint_mask;
}

void store_prefetch(const struct store *s, uint64_t fingerprint) { store_index_prefetch(&s->index, fingerprint); }

/* A disk that cannot give the bytes is as bad as one that gives wrong ones. */
static bool writer_reads_intact(const struct store_block *b)
{
  struct store_guard g;
  if (sigsetjmp(*store_guard_enter(&g, STORE_GUARD_MAP), 0))
    return false;
  const bool intact = store_block_intact(b);
  store_guard_leave(&g);
  return intact;
}

/* Whoever is told DUPLICATE or CONFLICT may throw his copy away, so the first one must be whole, its bytes as well as its columns. A start
 * does not read the bytes: each block that it found is held against its checksum once, when it is first looked at. */
static int writer_trust(struct store *s, const struct store_block *b)
{
  const uint64_t first = b->header.first;
  if (first > s->blocks_unchecked || s->blocks_checked[first / 8] & 1u << first % 8)
    return 0;
  store_block_advise(b, b->size);
  if (!writer_reads_intact(b)) {
    failure_set(&s->failure, MUSTER_ERR_CORRUPT,
                "shard %s: nothing is acknowledged any more: the block of sequences %" PRIu64 " to %" PRIu64
                " contradicts its checksum, and a record of it came again; it was not called a duplicate; nothing was changed; "
                "muster verify tells what is wrong, a backup brings it back",
                s->env.path, first, first + b->header.count - 1);
    return MDB_CORRUPTED;
  }
  s->blocks_checked[first / 8] |= (uint8_t)(1u << first % 8);
  return 0;
}

/* Makes `seen` the block that holds a committed sequence. */
static int writer_see(struct store *s, uint64_t sequence)
{
  if (s->seen.base && store_block_holds(&s->seen, sequence))
    return 0;
  s->seen.base = NULL;
  int code = writer_need_txn(s);
  if (!code && !s->cursor)
    code = store_env_cursor_open(s->txn, s->env.journal, &s->cursor);
  if (!code)
    code = store_journal_seek(s->cursor, sequence, &s->seen);
  if (!code)
    code = writer_trust(s, &s->seen);
  if (code) {
    s->seen.base = NULL;
    return code == MDB_NOTFOUND ? MDB_CORRUPTED : code;
  }
  return 0;
}

int store_find(struct store *s, const uint8_t id[16], uint64_t fingerprint, uint64_t *sequence, uint8_t digest[16])
{
  assert(s->in_transaction);
  if (s->failure.status)
    return s->failure.status;
  struct store_index_probe probe = store_index_probe(&s->index, fingerprint);
  for (uint64_t candidate; (candidate = store_index_next(&probe));) {
    const uint8_t *known_id, *known_digest;
    if (candidate > s->meta.records) {
      const size_t i = candidate - s->meta.records - 1;
      known_id = s->block.ids + i * 16;
      known_digest = s->block.digests + i * 16;
    } else {
      int code = writer_see(s, candidate);
      if (code)
        return store_env_journal_failure(&s->failure, &s->env, code, candidate, "nothing is acknowledged any more");
      const uint32_t i = (uint32_t)(candidate - s->seen.header.first);
      known_id = store_block_id(&s->seen, i);
      known_digest = store_block_digest(&s->seen, i);
    }
    s->fingerprint_hits++;
    if (memcmp(known_id, id, 16) == 0) {
      *sequence = candidate;
      memcpy(digest, known_digest, 16);
      return 1;
    }
    s->fingerprint_false++;
  }
  return 0;
}

int store_has_bytes(struct store *s, uint64_t sequence, const uint8_t *bytes, size_t size)
{
  assert(s->in_transaction && sequence > 0 && sequence <= s->meta.records + s->block.count);
  if (s->failure.status)
    return s->failure.status;
  const uint8_t *known;
  uint32_t known_size;
  if (sequence > s->meta.records) {
    const size_t i = sequence - s->meta.records - 1;
    const uint32_t start = i ? s->block.ends[i - 1] : 0;
    known = s->block.bytes + start;
    known_size = s->block.ends[i] - start;
  } else {
    int code = writer_see(s, sequence);
    known = code ? NULL : store_block_record(&s->seen, (uint32_t)(sequence - s->seen.header.first), &known_size);
    if (!known)
      return store_env_journal_failure(&s->failure, &s->env, code ? code : MDB_CORRUPTED, sequence, "nothing is acknowledged any more");
  }
  return known_size == size && memcmp(known, bytes, size) == 0;
}

uint64_t store_append(struct store *s, const struct encounter_view *record, const uint8_t digest[16], uint64_t fingerprint,
                      const struct store_receipt *receipt)
{
  assert(s->in_transaction);
  assert(encounter_has(record, FIELD_ENCOUNTER_ID) && record->field[FIELD_ENCOUNTER_ID].size == 16);
  if (s->failure.status)
    return 0;
  if (s->hint_valid) {
    if (store_hint_remove(&s->env, &s->failure))
      return 0;
    s->hint_valid = false;
  }
  if (!store_block_builder_add(&s->block, record->record, record->record_size, record->field[FIELD_ENCOUNTER_ID].bytes, digest,
                               receipt->submitter, receipt->received_us))
    return 0;
  const uint64_t sequence = s->meta.records + s->block.count;
  struct store_cell cell;
  store_cell_of(&cell, record);
  int code = store_index_insert(&s->index, fingerprint, sequence) ? ENOMEM : 0;
  if (!code && store_cells_stage(&s->cells, &cell))
    code = ENOMEM;
  if (code) {
    writer_stop(s, code, "there is no memory for the index; nothing of this transaction was kept");
    return 0;
  }
  return sequence;
}

void store_quarantine(struct store *s, const uint8_t *bytes, size_t size, uint32_t reason, uint32_t field,
                      const struct store_receipt *receipt)
{
  assert(s->in_transaction && size <= UINT32_MAX);
  if (s->failure.status)
    return;
  if (reason == MUSTER__V1__REASON__REASON_KILLED_WORKER) {
    uint8_t key[STORE_REFUSED_KEY_BYTES];
    store_quarantine_key(key, receipt->submitter, bytes, size);
    store_deadly_add(&s->deadly, key);
  }
  const struct store_refused entry = {.reason = reason,
                                      .field = field,
                                      .submitter = receipt->submitter,
                                      .first_us = receipt->received_us,
                                      .last_us = receipt->received_us,
                                      .bytes = bytes,
                                      .size = (uint32_t)size};
  bool kept = false;
  int code = writer_need_txn(s);
  if (!code)
    code = store_quarantine_put(&s->env, s->txn, &s->meta, &s->quarantine_limits, &entry, &kept);
  if (code)
    writer_stop(s, code, "a refused record could not be kept; nothing of this transaction was kept");
  else if (kept)
    s->refused_written = true;
  else
    s->quarantine_overflow++;
}

/* Whether the record of an entry is in the journal: same id, same content. Negative: error. */
static int refused_is_stored(struct store *s, const struct store_refused *entry)
{
  struct encounter_view view;
  struct scan_fault fault;
  uint8_t digest[16], stored[16];
  uint64_t sequence;
  if (!scan_encounter(&view, entry->bytes, entry->size, &fault) || !encounter_has(&view, FIELD_ENCOUNTER_ID) ||
      view.field[FIELD_ENCOUNTER_ID].size != 16)
    return 0;
  const uint8_t *id = view.field[FIELD_ENCOUNTER_ID].bytes;
  const int found = store_find(s, id, store_fingerprint(s, id), &sequence, stored);
  if (found <= 0)
    return found;
  digest_content(digest, &view);
  return memcmp(digest, stored, sizeof digest) == 0;
}

bool store_quarantine_drop(struct store *s, const struct store_refused_name *name, enum store_drop what)
{
  assert(s->in_transaction);
  if (s->failure.status)
    return false;
  struct store_refused entry;
  int code = writer_need_txn(s);
  if (!code)
    code = store_quarantine_get(&s->env, s->txn, name, &entry);
  if (code == MDB_NOTFOUND || (!code && what == STORE_DROP_STORED && refused_is_stored(s, &entry) != 1))
    return false;
  if (!code)
    code = store_quarantine_delete(&s->env, s->txn, &s->meta, &entry);
  if (code) {
    writer_stop(s, code, "a refused record could not be dropped; nothing of this transaction was kept");
    return false;
  }
  store_deadly_forget(&s->deadly, name->key);
  s->refused_written = true;
  return true;
}

bool store_is_deadly(const struct store *s, const uint8_t *bytes, size_t size, uint32_t submitter)
{
  if (s->deadly.count == 0)
    return false;
  uint8_t key[STORE_REFUSED_KEY_BYTES];
  store_quarantine_key(key, submitter, bytes, size);
  return store_deadly_has(&s->deadly, key);
}

/* ---- commit ---- */

static bool fold_due(const struct store *s, uint64_t records)
{
  return s->cells.used >= STORE_TALLY_FOLD_CELLS || records - s->meta.tally_records >= STORE_TALLY_FOLD_RECORDS;
}

/* Who resubmits asks for the columns of a block, and nobody for its records until someone exports them: of a block that is on the disk only
 * the columns stay in the page cache. A store that outgrows the memory then keeps in it what makes it fast. Of the newest blocks all stays:
 * the kernel still has their pages in hand, and would wait for every processor to let go of them. Nothing is read here, or the pages would
 * be mapped and had to stay. Advice: what goes wrong costs memory. */
static void commit_uncache(struct store *s)
{
  struct store_recent *r = &s->recent[s->meta.blocks % STORE_RECENT_BLOCKS];
  MDB_val key = {.mv_size = sizeof r->first, .mv_data = &r->first}, value;
  if (r->bytes >= STORE_UNCACHE_BYTES_MIN && store_env_get(s->txn, s->env.journal, &key, &value) == 0 && value.mv_size > r->bytes)
    store_env_uncache(&s->env, (const uint8_t *)value.mv_data + value.mv_size - r->bytes, r->bytes);
  *r = (struct store_recent){.first = s->meta.records + 1, .bytes = s->block.bytes_used};
}

/* Puts everything into LMDB's transaction; next becomes the meta of the state after it. */
static int commit_write(struct store *s, struct store_meta *next)
{
  int code = FAULT("store.before-commit") ? errno : writer_need_txn(s);
  if (!code && store_cells_flush(&s->cells))
    code = ENOMEM;
  if (!code && s->block.count) {
    commit_uncache(s);
    code = store_block_builder_write(&s->block, s->txn, s->env.journal, next->records + 1, next->shard, next->chain);
    next->records += s->block.count;
    next->record_bytes += s->block.bytes_used;
    next->blocks++;
  }
  if (!code && fold_due(s, next->records)) {
    code = store_tally_fold(&s->cells, s->txn, s->env.tally);
    next->tally_records = next->records;
  }
  if (!code)
    code = store_meta_save(&s->env, s->txn, next);
  return code;
}

int store_commit(struct store *s, struct failure *failure)
{
  assert(s->in_transaction);
  s->in_transaction = false;
  struct store_meta next = s->meta;
  if (!s->failure.status && (s->block.count || s->refused_written)) {
    if (s->cursor)
      store_env_cursor_close(s->cursor);
    s->cursor = NULL;
    int code = commit_write(s, &next);
    if (!code && FAULT("store.in-transaction"))
      code = errno;
    if (!code) {
      const uint64_t start_ns = clock_monotonic_ns();
      code = store_env_commit(s->txn);
      s->sync_ns = clock_monotonic_ns() - start_ns;
      s->txn = NULL; /* LMDB has freed it either way */
    }
    if (!code && FAULT("store.after-commit"))
      code = errno;
    if (code)
      writer_stop(s, code, "a commit failed; what was acknowledged before stands, nothing of this transaction is; the shard stops");
    else
      store_env_cover(&s->env);
  }
  store_transaction_abort(s);
  if (s->failure.status)
    return failure_set(failure, s->failure.status, "%s", s->failure.text);
  s->meta = next;
  return MUSTER_OK;
}
