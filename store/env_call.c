#include "store/env_call.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "core/limits.h"
#include "core/machine.h"
#include "store/guard.h"

#define ENV_FULL_BYTES LIMIT_MIB   /* free on a disk that is full: what a write was cut at */
#define ENV_DIRTY_BYTES_MAX 65536u /* of a value that the transaction in hand has in memory: a refused record, or a day's rows in a leaf */

/* ---- what LMDB's codes mean ---- */

int store_env_status(int code)
{
  switch (code) {
  case MDB_SUCCESS: return MUSTER_OK;
  case MDB_MAP_FULL:
  case ENOSPC:
  case EDQUOT: return MUSTER_ERR_FULL;
  case MDB_CORRUPTED:
  case MDB_PAGE_NOTFOUND:
  case MDB_INVALID:
  case MDB_INCOMPATIBLE: return MUSTER_ERR_CORRUPT;
  case MDB_VERSION_MISMATCH: return MUSTER_ERR_VERSION;
  case EACCES:
  case EPERM:
  case EROFS: return MUSTER_ERR_DENIED;
  case ENOMEM: return MUSTER_ERR_MEMORY;
  default: return MUSTER_ERR_IO;
  }
}

int store_env_failure(struct failure *failure, const struct store_env *e, int code, const char *doing)
{
  const char *what =
      code == MDB_CORRUPTED ? "data.mdb is damaged there; nothing was changed; muster verify tells more" : mdb_strerror(code);
  return failure_set(failure, store_env_status(code), "shard %s: %s: %s", e->path, doing, what);
}

int store_env_journal_failure(struct failure *failure, const struct store_env *e, int code, uint64_t sequence, const char *doing)
{
  if (code != MDB_CORRUPTED)
    return store_env_failure(failure, e, code, doing);
  return failure_set(failure, MUSTER_ERR_CORRUPT,
                     "shard %s: %s: the block that holds sequence %" PRIu64 " is missing or contradicts its checksum; nothing was changed; "
                     "muster verify tells what is wrong, a backup brings it back",
                     e->path, doing, sequence);
}

/* ---- reading ---- */

/* Whatever LMDB says of a tree that contradicts itself; MDB_BAD_TXN is what it says of the transaction from then on. */
static int env_code(int code) { return code == MDB_PAGE_NOTFOUND || code == MDB_CURSOR_FULL || code == MDB_BAD_TXN ? MDB_CORRUPTED : code; }

static struct store_env *env_of(MDB_txn *txn) { return mdb_env_get_userctx(mdb_txn_env(txn)); }

/* Whether what LMDB has handed out is there to be read: 0, MDB_CORRUPTED, or why it cannot be told. */
static int env_holds(struct store_env *e, const MDB_val *v)
{
  const uint64_t at = (uint64_t)((uintptr_t)v->mv_data - (uintptr_t)e->map);
  if (!e->map)
    return 0;
  if (at >= e->map_size) /* in memory: a page that the transaction in hand has changed */
    return e->mode == STORE_ENV_WRITE && v->mv_size <= ENV_DIRTY_BYTES_MAX ? 0 : MDB_CORRUPTED;
  if (at <= e->file_size && v->mv_size <= e->file_size - at)
    return 0;
  int fd;
  struct stat st;
  const int code = mdb_env_get_fd(e->lmdb, &fd);
  if (code || fstat(fd, &st) != 0)
    return code ? code : errno;
  e->file_size = (uint64_t)st.st_size < e->map_size ? (uint64_t)st.st_size : e->map_size;
  return at <= e->file_size && v->mv_size <= e->file_size - at ? 0 : MDB_CORRUPTED;
}

static int env_bound(MDB_txn *txn, MDB_val *key, MDB_val *value)
{
  struct store_env *e = env_of(txn);
  const int unsound = key ? env_holds(e, key) : 0, code = unsound ? unsound : env_holds(e, value);
  if (!code)
    return 0;
  *value = (MDB_val){0};
  if (unsound)
    *key = (MDB_val){0};
  return code;
}

int store_env_begin_read(struct store_env *e, MDB_txn **txn, struct failure *failure)
{
  int code = mdb_txn_begin(e->lmdb, NULL, MDB_RDONLY, txn);
  if (code == MDB_MAP_RESIZED) {
    store_guard_map(e->slot, NULL, 0, e->path);
    code = mdb_env_set_mapsize(e->lmdb, 0);
    store_env_find_map(e);
    if (!code)
      code = mdb_txn_begin(e->lmdb, NULL, MDB_RDONLY, txn);
  }
  return code ? store_env_failure(failure, e, code, "no read transaction could be started") : MUSTER_OK;
}

int store_env_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value)
{
  struct store_guard g;
  if (sigsetjmp(*store_guard_enter(&g, STORE_GUARD_LMDB), 0))
    return MDB_CORRUPTED;
  const int code = mdb_get(txn, dbi, key, value);
  store_guard_leave(&g);
  return code ? env_code(code) : env_bound(txn, NULL, value); /* the key is the caller's */
}

int store_env_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op)
{
  struct store_guard g;
  if (sigsetjmp(*store_guard_enter(&g, STORE_GUARD_LMDB), 0)) {
    *key = *value = (MDB_val){0};
    return MDB_CORRUPTED;
  }
  const int code = mdb_cursor_get(cursor, key, value, op);
  store_guard_leave(&g);
  if (!code)
    return env_bound(mdb_cursor_txn(cursor), key, value);
  *key = *value = (MDB_val){0};
  return env_code(code);
}

int store_env_cursor_open(MDB_txn *txn, MDB_dbi dbi, MDB_cursor **cursor)
{
  struct store_guard g;
  if (sigsetjmp(*store_guard_enter(&g, STORE_GUARD_LMDB), 0))
    return MDB_CORRUPTED;
  const int code = mdb_cursor_open(txn, dbi, cursor);
  store_guard_leave(&g);
  return env_code(code);
}

int store_env_database(MDB_txn *txn, const char *name, unsigned flags, MDB_dbi *dbi)
{
  struct store_guard g;
  if (sigsetjmp(*store_guard_enter(&g, STORE_GUARD_LMDB), 0))
    return MDB_CORRUPTED;
  const int code = mdb_dbi_open(txn, name, flags, dbi);
  store_guard_leave(&g);
  return env_code(code);
}

int store_env_entries(MDB_txn *txn, MDB_dbi dbi, size_t *entries)
{
  struct store_guard g;
  MDB_stat stat;
  if (sigsetjmp(*store_guard_enter(&g, STORE_GUARD_LMDB), 0))
    return MDB_CORRUPTED;
  const int code = mdb_stat(txn, dbi, &stat);
  store_guard_leave(&g);
  if (!code)
    *entries = stat.ms_entries;
  return code;
}

int store_env_free_pages(const struct store_env *e, MDB_txn *txn, uint64_t *pages)
{
  /* LMDB's own trees have numbers 0 (of what is free) and 1 (of the databases). */
  const MDB_dbi trees[] = {0, 1, e->meta, e->journal, e->tally, e->quarantine, e->quota};
  struct store_guard g;
  MDB_stat stat;
  MDB_envinfo info;
  volatile uint64_t used = 2; /* the meta pages */
  if (sigsetjmp(*store_guard_enter(&g, STORE_GUARD_LMDB), 0))
    return MDB_CORRUPTED;
  int code = mdb_env_info(e->lmdb, &info);
  for (size_t i = 0; !code && i < sizeof trees / sizeof trees[0]; i++) {
    code = mdb_stat(txn, trees[i], &stat);
    used += code ? 0 : stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
  }
  store_guard_leave(&g);
  if (!code)
    *pages = info.me_last_pgno + 1 > used ? info.me_last_pgno + 1 - used : 0;
  return env_code(code);
}

int store_env_databases(struct store_env *e, MDB_txn *txn, bool create)
{
  const unsigned flags = create ? MDB_CREATE : 0;
  int code = store_env_database(txn, "meta", flags, &e->meta);
  if (!code)
    code = store_env_database(txn, "journal", flags | MDB_INTEGERKEY, &e->journal);
  if (!code)
    code = store_env_database(txn, "tally", flags, &e->tally);
  if (!code)
    code = store_env_database(txn, "quarantine", flags, &e->quarantine);
  if (!code)
    code = store_env_database(txn, "quarantine_meta", flags, &e->quota);
  return code == MDB_NOTFOUND ? MDB_CORRUPTED : code; /* they were made together */
}

/* ---- writing ---- */

/* A write that was left in the middle has changed what no one can set right. */
static int env_left_broken(MDB_txn *txn)
{
  env_of(txn)->broken = true;
  return MDB_CORRUPTED;
}

int store_env_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags)
{
  struct store_guard g;
  if (sigsetjmp(*store_guard_enter(&g, STORE_GUARD_LMDB), 0))
    return env_left_broken(txn);
  const int code = mdb_put(txn, dbi, key, value, flags);
  store_guard_leave(&g);
  return code;
}

int store_env_del(MDB_txn *txn, MDB_dbi dbi, MDB_val *key)
{
  struct store_guard g;
  if (sigsetjmp(*store_guard_enter(&g, STORE_GUARD_LMDB), 0))
    return env_left_broken(txn);
  const int code = mdb_del(txn, dbi, key, NULL);
  store_guard_leave(&g);
  return code;
}

/* A write that ends short, as the last one does for which there is room, is EIO to LMDB; where nothing is free now, that was the cause. */
static int env_write_failure(const struct store_env *e, int code)
{
  uint64_t free_bytes;
  return code == EIO && machine_disk_free(e->path, &free_bytes) == 0 && free_bytes < ENV_FULL_BYTES ? ENOSPC : code;
}

int store_env_commit(MDB_txn *txn)
{
  struct store_env *e = env_of(txn);
  struct store_guard g;
  if (e->broken)
    return MDB_CORRUPTED;
  if (sigsetjmp(*store_guard_enter(&g, STORE_GUARD_LMDB), 0)) {
    e->broken = true;
    return MDB_CORRUPTED;
  }
  const int code = mdb_txn_commit(txn);
  store_guard_leave(&g);
  return env_write_failure(e, code);
}

int store_env_begin_write(struct store_env *e, MDB_txn **txn)
{
  struct store_guard g;
  if (sigsetjmp(*store_guard_enter(&g, STORE_GUARD_LMDB), 0)) {
    e->broken = true;
    return MDB_CORRUPTED;
  }
  const int code = mdb_txn_begin(e->lmdb, NULL, 0, txn);
  store_guard_leave(&g);
  return code;
}

void store_env_abort(MDB_txn *txn)
{
  if (!env_of(txn)->broken)
    mdb_txn_abort(txn);
}

void store_env_cursor_close(MDB_cursor *cursor)
{
  if (!env_of(mdb_cursor_txn(cursor))->broken)
    mdb_cursor_close(cursor);
}
