/*
 * Writing into a closed shard behind the store's back, so that tests can see what is noticed. One write transaction at a time.
 */
#ifndef MUSTER_TESTS_STORE_DAMAGE_H
#define MUSTER_TESTS_STORE_DAMAGE_H

#include "fixture.h"
#include "store/env_call.h"
#include "store/meta.h"

struct damage {
  struct store_env env;
  MDB_txn *txn;
};

static inline void damage_begin(struct damage *d, const struct fixture *x)
{
  assert_int_equal(store_env_open(&d->env, x->path, STORE_ENV_WRITE, x->options.map_bytes, NULL), MUSTER_OK);
  assert_int_equal(mdb_txn_begin(d->env.lmdb, NULL, 0, &d->txn), 0);
  assert_int_equal(store_env_databases(&d->env, d->txn, false), 0);
}

static inline void damage_end(struct damage *d)
{
  assert_int_equal(mdb_txn_commit(d->txn), 0);
  store_env_close(&d->env);
}

/* A writable copy of entry number n of a database; the caller frees it. key points into LMDB. */
static inline uint8_t *damage_entry(struct damage *d, MDB_dbi dbi, unsigned n, MDB_val *key, size_t *size)
{
  MDB_cursor *cursor;
  MDB_val value;
  assert_int_equal(mdb_cursor_open(d->txn, dbi, &cursor), 0);
  for (unsigned i = 0; i <= n; i++)
    assert_int_equal(mdb_cursor_get(cursor, key, &value, MDB_NEXT), 0);
  mdb_cursor_close(cursor);
  uint8_t *copy = malloc(value.mv_size + 1);
  assert_non_null(copy);
  memcpy(copy, value.mv_data, value.mv_size);
  *size = value.mv_size;
  return copy;
}

static inline void damage_put(struct damage *d, MDB_dbi dbi, const MDB_val *key, const void *bytes, size_t size)
{
  uint8_t name[64];
  assert_in_range(key->mv_size, 1, sizeof name);
  memcpy(name, key->mv_data, key->mv_size);
  MDB_val own = {.mv_size = key->mv_size, .mv_data = name}, value = {.mv_size = size, .mv_data = (void *)(uintptr_t)bytes};
  assert_int_equal(mdb_put(d->txn, dbi, &own, &value, 0), 0);
}

/* Flips bits of one byte of entry n; MDB_dbi by its place in struct store_env. */
static inline void damage_flip(const struct fixture *x, size_t dbi_offset, unsigned n, size_t byte, uint8_t bits)
{
  struct damage d;
  MDB_val key;
  size_t size;
  damage_begin(&d, x);
  const MDB_dbi dbi = *(const MDB_dbi *)(const void *)((const char *)&d.env + dbi_offset);
  uint8_t *copy = damage_entry(&d, dbi, n, &key, &size);
  copy[byte % size] ^= bits;
  damage_put(&d, dbi, &key, copy, size);
  free(copy);
  damage_end(&d);
}

#define DAMAGE_JOURNAL offsetof(struct store_env, journal)
#define DAMAGE_TALLY offsetof(struct store_env, tally)
#define DAMAGE_QUARANTINE offsetof(struct store_env, quarantine)
#define DAMAGE_QUOTA offsetof(struct store_env, quota)

#endif
