/* The writer's life: owner lock, creation, checks, the index from hint or journal, facts, close. */
#include "store/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/datadir.h"
#include "core/durable.h"
#include "core/fault.h"
#include "core/log.h"
#include "proto/digest.h"
#include "store/guard.h"
#include "store/hint.h"
#include "store/writer.h"

#define OWNER_RETRY_MS 10
#define PROCESS_HEAP_BYTES (64 << 20) /* more than the largest block */
#define REBUILD_AHEAD 64u             /* ids hashed and prefetched before they are placed */

/* LMDB takes the memory of a block with malloc at every commit and frees it after. By default glibc maps and unmaps such sizes, or
 * trims the heap behind them, and every commit would fault its pages anew; kept in the heap they are faulted once. */
void store_process_setup(void)
{
  mallopt(M_MMAP_THRESHOLD, PROCESS_HEAP_BYTES);
  mallopt(M_TRIM_THRESHOLD, PROCESS_HEAP_BYTES);
}

/* ---- the owner lock ---- */

static int owner_refused(const struct store *s, struct failure *failure)
{
  char pid[16] = "";
  ssize_t n = pread(s->owner_fd, pid, sizeof pid - 1, 0);
  if (n > 0)
    pid[strcspn(pid, "\n")] = '\0';
  if (flock(s->owner_fd, LOCK_SH | LOCK_NB) == 0) /* it is held shared: nobody owns it */
    return failure_set(
        failure, MUSTER_ERR_LOCKED,
        "shard %s: muster salvage, or a reader that may not write to it, keeps it as it is; nothing was changed; wait for its end",
        s->env.path);
  return failure_set(failure, MUSTER_ERR_LOCKED, "shard %s: another process (pid %s) owns it; nothing was changed; stop that one first",
                     s->env.path, n > 0 ? pid : "unknown");
}

static int owner_take(struct store *s, const struct store_options *o, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES], pid[16];
  store_env_path(&s->env, path, STORE_FILE_OWNER);
  s->owner_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (s->owner_fd < 0)
    return failure_set_errno(failure, errno == ENOENT ? MUSTER_ERR_NOT_FOUND : store_env_status(errno), errno,
                             "shard %s: its owner lock cannot be opened", s->env.path);
  const uint64_t deadline_ns = clock_monotonic_ns() + o->lock_wait_ms * UINT64_C(1000000);
  while (flock(s->owner_fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      return failure_set_errno(failure, MUSTER_ERR_IO, errno, "shard %s: its owner lock cannot be taken", s->env.path);
    if (clock_monotonic_ns() >= deadline_ns)
      return owner_refused(s, failure);
    nanosleep(&(struct timespec){.tv_nsec = OWNER_RETRY_MS * 1000000L}, NULL);
  }
  /* The pid is for people; the lock is what counts. */
  const int size = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
  if (ftruncate(s->owner_fd, 0) != 0 || pwrite(s->owner_fd, pid, (size_t)size, 0) != size)
    return failure_set_errno(failure, store_env_status(errno), errno, "shard %s: its owner lock cannot be written", s->env.path);
  return MUSTER_OK;
}

/* ---- meta: create or check ---- */

static int mark_created(const struct store *s, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES], text[128];
  store_env_path(&s->env, path, STORE_FILE_MARKER);
  const int size = snprintf(text, sizeof text, "Muster: shard %" PRIu32 " of %" PRIu32 " was created here; data.mdb must not be missing.\n",
                            s->meta.shard, s->meta.shards);
  return durable_replace_file(path, text, (uint64_t)size, 0600, failure);
}

static int create(struct store *s, const struct store_options *o, struct failure *failure)
{
  if (store_env_marked(&s->env))
    return failure_set(failure, MUSTER_ERR_CORRUPT,
                       "shard %s: data.mdb is empty although this shard was in use; nothing was changed; "
                       "muster restore makes a new data directory from a backup",
                       s->env.path);
  s->meta = (struct store_meta){.shard = o->shard, .shards = o->shards, .created_us = clock_wall_us(), .quarantine_next = 1};
  memcpy(s->meta.node_id, o->node_id, sizeof s->meta.node_id);
  if (getrandom(&s->meta.fingerprint_seed, sizeof s->meta.fingerprint_seed, 0) != (ssize_t)sizeof s->meta.fingerprint_seed)
    return failure_set_errno(failure, MUSTER_ERR_IO, errno, "shard %s: the system gives no random number", s->env.path);
  MDB_txn *txn;
  int code = store_env_begin_write(&s->env, &txn);
  if (code)
    return store_env_failure(failure, &s->env, code, "the store cannot be created");
  code = store_env_databases(&s->env, txn, true);
  if (!code)
    code = store_meta_create(&s->env, txn, &s->meta);
  if (code)
    store_env_abort(txn);
  else
    code = store_env_commit(txn);
  if (code)
    return store_env_failure(failure, &s->env, code, "the store cannot be created");
  char parent[LIMIT_PATH_BYTES];
  store_env_path(&s->env, parent, "..");
  int status = durable_sync_folder(s->env.path, failure);
  return status ? status : durable_sync_folder(parent, failure);
}

static int check(const struct store *s, const struct store_options *o, struct failure *failure)
{
  static const uint8_t any[16];
  const struct store_meta *m = &s->meta;
  if (m->shards != o->shards)
    return failure_set(failure, MUSTER_ERR_CONFIG,
                       "shard %s was created as one of %" PRIu32 " and is opened as one of %" PRIu32
                       "; nothing was changed; the number of workers is fixed at creation",
                       s->env.path, m->shards, o->shards);
  if (m->shard != o->shard)
    return failure_set(failure, MUSTER_ERR_CONFIG, "shard %s holds shard %" PRIu32 " and is opened as %" PRIu32 "; nothing was changed",
                       s->env.path, m->shard, o->shard);
  if (memcmp(o->node_id, any, sizeof any) != 0 && memcmp(o->node_id, m->node_id, sizeof any) != 0)
    return failure_set(failure, MUSTER_ERR_CONFIG, "shard %s belongs to another node; nothing was changed", s->env.path);
  return MUSTER_OK;
}

static int load_or_create(struct store *s, const struct store_options *o, struct failure *failure)
{
  MDB_txn *txn;
  struct failure found = FAILURE_NONE;
  int status = store_env_begin_read(&s->env, &txn, failure);
  if (status)
    return status;
  status = store_meta_open(&s->env, txn, &found);
  if (!status)
    status = store_meta_load(&s->env, txn, &s->meta, &found);
  int code = store_env_commit(txn); /* keeps the handles of the databases */
  if (status == MUSTER_ERR_NOT_FOUND)
    status = create(s, o, failure);
  else if (status)
    return failure_set(failure, status, "%s", found.text);
  else if (code)
    return store_env_failure(failure, &s->env, code, "its databases cannot be opened");
  else
    status = check(s, o, failure);
  if (!status && !store_env_marked(&s->env))
    status = mark_created(s, failure);
  return status;
}

/* ---- the index and the counts that are not on disk ---- */

static int rebuild_block(struct store *s, const struct store_block *b)
{
  uint64_t fingerprint[REBUILD_AHEAD];
  for (uint32_t i = 0; i < b->header.count; i += REBUILD_AHEAD) {
    const uint32_t n = b->header.count - i < REBUILD_AHEAD ? b->header.count - i : REBUILD_AHEAD;
    for (uint32_t j = 0; j < n; j++) {
      fingerprint[j] = digest_fingerprint(store_block_id(b, i + j), s->meta.fingerprint_seed) & s->fingerprint_mask;
      store_index_prefetch(&s->index, fingerprint[j]);
    }
    for (uint32_t j = 0; j < n; j++)
      if (store_index_insert(&s->index, fingerprint[j], b->header.first + i + j))
        return ENOMEM;
  }
  return 0;
}

/* *begin: where the block in hand begins. The chain is followed by what the blocks say; only verify reads the bytes behind it. */
static int rebuild_walk(struct store *s, MDB_cursor *cursor, const struct store_options *o, uint64_t *begin)
{
  struct store_block b, ahead = {0};
  uint8_t previous[16] = {0};
  uint64_t next = 1;
  int code = s->meta.records ? store_journal_seek(cursor, 1, &b) : MDB_NOTFOUND;
  if (code == MDB_NOTFOUND)
    return s->meta.records ? MDB_CORRUPTED : 0;
  while (!code) {
    *begin = next;
    if (b.header.first != next || b.header.count > s->meta.records + 1 - next ||
        memcmp(b.header.previous, previous, sizeof previous) != 0 || !store_block_columns_intact(&b))
      return MDB_CORRUPTED;
    memcpy(previous, b.header.checksum, sizeof previous);
    next += b.header.count;
    code = store_journal_next(cursor, &ahead);
    if (!code)
      store_block_advise(&ahead, (size_t)(ahead.bytes - ahead.base)); /* while this one is worked on */
    else if (code != MDB_NOTFOUND) {
      *begin = next;
      return code;
    }
    int placed = FAULT("store.rebuild") ? errno : rebuild_block(s, &b);
    if (placed)
      return placed;
    if (o->on_rebuild)
      o->on_rebuild(o->context, next - 1, s->meta.records);
    if (code == MDB_NOTFOUND && memcmp(b.header.checksum, s->meta.chain, sizeof s->meta.chain) != 0)
      return MDB_CORRUPTED;
    b = ahead;
  }
  *begin = next;
  return code == MDB_NOTFOUND && next == s->meta.records + 1 ? 0 : MDB_CORRUPTED;
}

static int rebuild(struct store *s, const struct store_options *o, struct failure *failure)
{
  MDB_txn *txn;
  MDB_cursor *cursor;
  if (store_index_reserve(&s->index, s->meta.records))
    return failure_set(failure, MUSTER_ERR_MEMORY, "shard %s: there is no memory for an index of %" PRIu64 " records", s->env.path,
                       s->meta.records);
  int status = store_env_begin_read(&s->env, &txn, failure);
  if (status)
    return status;
  uint64_t begin = 1;
  int code = store_env_cursor_open(txn, s->env.journal, &cursor);
  if (!code) {
    code = rebuild_walk(s, cursor, o, &begin);
    store_env_cursor_close(cursor);
  }
  store_env_abort(txn);
  s->rebuilt = true;
  return code ? store_env_journal_failure(failure, &s->env, code, begin, "the index cannot be rebuilt") : MUSTER_OK;
}

static int count_unfolded(struct store *s, struct failure *failure)
{
  MDB_txn *txn;
  MDB_cursor *cursor;
  int status = store_env_begin_read(&s->env, &txn, failure);
  if (status)
    return status;
  uint64_t next = s->meta.tally_records + 1;
  int code = store_env_cursor_open(txn, s->env.journal, &cursor);
  if (!code) {
    code = store_cells_add_journal(&s->cells, cursor, &next, s->meta.records);
    store_env_cursor_close(cursor);
  }
  store_env_abort(txn);
  return code ? store_env_journal_failure(failure, &s->env, code, next, "the newest records cannot be counted") : MUSTER_OK;
}

static struct store_hint_state hint_state(const struct store *s)
{
  return (struct store_hint_state){.meta = &s->meta, .fingerprint_mask = s->fingerprint_mask};
}

/* What a former writer wrote last may be visible and not yet on the disk, if it was killed within its sync: a record of it must not be called a duplicate before it is. */
static int settle(struct store *s, struct failure *failure)
{
  int rc = mdb_env_sync(s->env.lmdb, 1);
  return rc ? failure_set(failure, MUSTER_ERR_IO, "shard %s: what is stored cannot be synced: %s; the shard does not start", s->env.path,
                          mdb_strerror(rc))
            : MUSTER_OK;
}

static int bound_index(struct store *s, const struct store_options *o, struct failure *failure)
{
  store_index_init(&s->index);
  s->index_records_max = o->index_bytes ? store_index_bound(&s->index, o->index_bytes) : 0;
  if (!s->index_records_max || s->meta.records <= s->index_records_max)
    return MUSTER_OK;
  return failure_set(failure, MUSTER_ERR_CONFIG,
                     "shard %s: the index of its %" PRIu64 " records needs %" PRIu64
                     " bytes of memory, and its part of store.index_bytes is "
                     "%" PRIu64 "; nothing was changed; raise store.index_bytes",
                     s->env.path, s->meta.records, store_index_bytes_needed(s->meta.records), o->index_bytes);
}

static int prepare(struct store *s, const struct store_options *o, struct failure *failure)
{
  int status = owner_take(s, o, failure);
  if (!status)
    status = store_env_open(&s->env, o->path, STORE_ENV_WRITE, o->map_bytes, failure);
  if (!status)
    status = settle(s, failure);
  if (!status)
    status = load_or_create(s, o, failure);
  if (status)
    return status;
  if (store_block_builder_init(&s->block) || store_cells_init(&s->cells, STORE_TALLY_CAPACITY))
    return failure_set(failure, MUSTER_ERR_MEMORY, "shard %s: there is no memory for its transactions", s->env.path);
  status = bound_index(s, o, failure);
  if (status)
    return status;
  const struct store_hint_state state = hint_state(s);
  s->hint_valid = store_hint_load(&s->env, &state, &s->index);
  s->blocks_unchecked = s->meta.records;
  s->blocks_checked = calloc(s->blocks_unchecked / 8 + 1, 1); /* pages that are never set cost nothing */
  if (!s->blocks_checked)
    return failure_set(failure, MUSTER_ERR_MEMORY, "shard %s: there is no memory for its checks", s->env.path);
  if (!s->hint_valid)
    status = rebuild(s, o, failure);
  return status ? status : count_unfolded(s, failure);
}

static void destroy(struct store *s)
{
  store_transaction_abort(s);
  free(s->blocks_checked);
  store_index_finish(&s->index);
  store_cells_finish(&s->cells);
  store_block_builder_finish(&s->block);
  store_env_close(&s->env);
  if (s->owner_fd >= 0) {
    flock(s->owner_fd, LOCK_UN); /* a child that inherited the descriptor must not keep the lock alive */
    close(s->owner_fd);
  }
  free(s);
}

static int prepare_guarded(struct store *s, const struct store_options *o, struct failure *failure)
{
  struct store_guard g;
  if (sigsetjmp(*store_guard_enter(&g, STORE_GUARD_MAP), 0))
    return store_env_failure(failure, &s->env, MDB_CORRUPTED, "what is stored cannot be read");
  const int status = prepare(s, o, failure);
  store_guard_leave(&g);
  return status;
}

void store_limit_quarantine(struct store *s, uint64_t records, uint64_t bytes)
{
  s->quarantine_limits = (struct store_quarantine_limits){.records = records, .bytes = bytes};
}

int store_open(struct store **out, const struct store_options *options, struct failure *failure)
{
  assert(options->shards && options->shard < options->shards && options->map_bytes);
  *out = NULL;
  if (strlen(options->path) >= STORE_PATH_MAX)
    return failure_set(failure, MUSTER_ERR_LIMIT, "a shard's path may have %u bytes", STORE_PATH_MAX - 1);
  struct store *s = calloc(1, sizeof *s);
  if (!s)
    return failure_set(failure, MUSTER_ERR_MEMORY, "there is no memory for a shard");
  strcpy(s->env.path, options->path);
  s->env.lock_fd = s->owner_fd = -1;
  s->fingerprint_mask = options->fingerprint_mask ? options->fingerprint_mask : UINT64_MAX;
  store_limit_quarantine(s, options->quarantine_records, options->quarantine_bytes);
  int status = prepare_guarded(s, options, failure);
  if (status) {
    destroy(s);
    return status;
  }
  *out = s;
  return MUSTER_OK;
}

/* Brings the tally database up to the last record, so that the next start has nothing to count. */
static int fold_rest(struct store *s)
{
  MDB_txn *txn;
  struct store_meta next = s->meta;
  if (next.tally_records == next.records)
    return 0;
  int code = store_env_begin_write(&s->env, &txn);
  if (code)
    return code;
  code = store_tally_fold(&s->cells, txn, s->env.tally);
  next.tally_records = next.records;
  if (!code)
    code = store_meta_save(&s->env, txn, &next);
  if (code)
    store_env_abort(txn);
  else
    code = store_env_commit(txn);
  if (!code) {
    s->meta = next;
    store_env_cover(&s->env);
  }
  return code;
}

/* What makes the next start fast. Where it cannot be written, as on a full disk, that one reads the journal instead. */
static void leave_hint(struct store *s)
{
  struct failure failure = FAILURE_NONE;
  char sentence[sizeof failure.text + 64];
  const struct store_hint_state state = hint_state(s);
  const int code = fold_rest(s);
  if (code)
    store_env_failure(&failure, &s->env, code, "the tally cannot be folded; nothing is lost, the next start reads the journal instead");
  else if (!s->hint_valid && s->meta.records)
    store_hint_write(&s->env, &state, &s->index, &failure);
  if (failure.status)
    log_event(LOG_WARN, "store.hint_not_written", "shard=%" PRIu32 " error=%s", s->meta.shard,
              log_quote(sentence, sizeof sentence, failure.text));
}

void store_close(struct store *s)
{
  if (!s)
    return;
  /* Records appended and not committed are in the index; it must not be written down with them. */
  const bool clean = !s->failure.status && !s->in_transaction;
  store_transaction_abort(s);
  if (clean)
    leave_hint(s);
  destroy(s);
}

int store_recall_deadly(struct store *s, struct failure *failure)
{
  MDB_txn *txn;
  assert(!s->in_transaction);
  int status = store_env_begin_read(&s->env, &txn, failure);
  if (status)
    return status;
  int code = store_deadly_load(&s->deadly, &s->env, txn);
  mdb_txn_abort(txn);
  return code ? store_env_failure(failure, &s->env, code, "its quarantine cannot be read") : MUSTER_OK;
}

void store_clear_readers(struct store *s) { store_env_clear_readers(&s->env); }

void store_facts(const struct store *s, struct store_facts *out)
{
  *out = (struct store_facts){.shard = s->meta.shard,
                              .shards = s->meta.shards,
                              .fingerprint_seed = s->meta.fingerprint_seed,
                              .records = s->meta.records,
                              .quarantined = s->meta.quarantined,
                              .quarantine_overflow = s->quarantine_overflow,
                              .index_bytes = s->index.bytes,
                              .index_growths = s->index.growths,
                              .index_slots = s->index.bytes / sizeof(struct store_index_slot),
                              .index_records_max = s->index_records_max,
                              .fingerprint_hits = s->fingerprint_hits,
                              .fingerprint_false = s->fingerprint_false,
                              .file_bytes = store_env_file_bytes(&s->env),
                              .map_bytes = store_env_map_bytes(&s->env),
                              .rebuilt = s->rebuilt};
  memcpy(out->node_id, s->meta.node_id, sizeof out->node_id);
}

uint64_t store_free_bytes(struct store *s)
{
  MDB_txn *txn;
  MDB_envinfo info;
  uint64_t pages = 0;
  assert(!s->in_transaction);
  if (s->failure.status || mdb_env_info(s->env.lmdb, &info) || store_env_begin_read(&s->env, &txn, NULL))
    return 0;
  const int code = store_env_free_pages(&s->env, txn, &pages);
  store_env_abort(txn);
  return code ? 0 : pages * (store_env_file_bytes(&s->env) / (info.me_last_pgno + 1));
}

uint64_t store_sync_ns(const struct store *s) { return s->sync_ns; }
