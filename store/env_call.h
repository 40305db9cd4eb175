/*
 * LMDB's calls on an open environment (store/env.h), and what their codes mean for Muster. All calls that read or write pages
 * go through here: a page that contradicts itself is a code and not a signal (store/guard.h), and what is handed out lies
 * within the file. A write that a fault has left in the middle makes the environment broken: nothing of it is given back or
 * committed from then on, and the process has to end. Inside store/ only; transactions and cursors are the caller's.
 */
#ifndef MUSTER_STORE_ENV_CALL_H
#define MUSTER_STORE_ENV_CALL_H

#include "store/env.h"

/* Opens the databases within txn; the handles stay valid when txn has been committed. create: a writer with a fresh store. Returns an
 * LMDB code. */
int store_env_databases(struct store_env *e, MDB_txn *txn, bool create);

/* LMDB's calls of the same names, guarded. MDB_CORRUPTED where its pages are damaged, and where a key or value that get hands out does not
 * lie within the file; then the value is empty, and the key as well unless it is sound. */
int store_env_get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value);
int store_env_cursor_open(MDB_txn *txn, MDB_dbi dbi, MDB_cursor **cursor);
int store_env_cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op);
int store_env_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags);
int store_env_del(MDB_txn *txn, MDB_dbi dbi, MDB_val *key);
int store_env_database(MDB_txn *txn, const char *name, unsigned flags, MDB_dbi *dbi);
int store_env_entries(MDB_txn *txn, MDB_dbi dbi, size_t *entries);
/* Pages up to the last one in use that no tree of this state has: what commits take before the file grows. */
int store_env_free_pages(const struct store_env *e, MDB_txn *txn, uint64_t *pages);
int store_env_begin_write(struct store_env *e, MDB_txn **txn);
int store_env_commit(MDB_txn *txn);
void store_env_abort(MDB_txn *txn);
void store_env_cursor_close(MDB_cursor *cursor);

/* A read transaction; follows a map that another process has made larger. */
int store_env_begin_read(struct store_env *e, MDB_txn **txn, struct failure *failure);

/* The muster_status of an LMDB or errno code, and a failure that says both. */
int store_env_status(int code);
int store_env_failure(struct failure *failure, const struct store_env *e, int code, const char *doing);
/* The same of work on the journal: MDB_CORRUPTED names the block that holds, or should hold, a sequence. */
int store_env_journal_failure(struct failure *failure, const struct store_env *e, int code, uint64_t sequence, const char *doing);

#endif
