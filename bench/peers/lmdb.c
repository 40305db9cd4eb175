/*
 * LMDB in process, a put for each record, two shards with a thread each. What Muster's store would be without a journal.
 *
 * Ack:      when the write transaction returns: after the fdatasync of its pages and of the meta page (the default flags).
 * Dedup:    for ever: the id is the key, MDB_NOOVERWRITE.
 * Verdict:  yes, MDB_KEYEXIST for one that is there; content is not compared.
 * Settings: transactions of 8,000 (what Muster's window lets a shard have at most; a page touched twice in one is written once);
 *           a map of 64 GiB so that it never grows; MDB_NOTLS and MDB_NORDAHEAD cost nothing here; not MDB_WRITEMAP, which was slower,
 *           and not MDB_NOSYNC or MDB_NOMETASYNC, with which an ack would promise less.
 */
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "bench/peers/peer.h"

static const struct peer_facts facts = {
    .name = "lmdb", .ack = "after fdatasync", .dedup = "for ever", .verdict = "new or known", .durable = true};

struct handle {
  MDB_env *env;
  MDB_dbi dbi;
};

static void check(int code, const char *what)
{
  if (code)
    peer_fail(&facts, EX_IOERR, "%s: %s", what, mdb_strerror(code));
}

static void *lmdb_open(const char *directory, unsigned shard)
{
  struct handle *h = calloc(1, sizeof *h);
  MDB_txn *txn;
  char path[4096];
  if (!h)
    peer_fail(&facts, EX_OSERR, "no memory");
  snprintf(path, sizeof path, "%s/shard-%u.mdb", directory, shard);
  check(mdb_env_create(&h->env), "create");
  check(mdb_env_set_mapsize(h->env, (size_t)64 << 30), "map size");
  check(mdb_env_open(h->env, path, MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD, 0600), path);
  check(mdb_txn_begin(h->env, NULL, 0, &txn), "begin");
  check(mdb_dbi_open(txn, NULL, 0, &h->dbi), "open");
  check(mdb_txn_commit(txn), "commit");
  return h;
}

static uint64_t lmdb_commit(void *store, const struct peer_record *records, uint32_t count)
{
  struct handle *h = store;
  MDB_txn *txn;
  uint64_t fresh = 0;
  check(mdb_txn_begin(h->env, NULL, 0, &txn), "begin");
  for (uint32_t i = 0; i < count; i++) {
    MDB_val key = {PEER_ID, (void *)(uintptr_t)records[i].id}, value = {records[i].size, (void *)(uintptr_t)records[i].bytes};
    int code = mdb_put(txn, h->dbi, &key, &value, MDB_NOOVERWRITE);
    if (code != MDB_KEYEXIST)
      check(code, "put");
    fresh += code == 0;
  }
  check(mdb_txn_commit(txn), "commit");
  return fresh;
}

static uint64_t lmdb_count(void *store)
{
  struct handle *h = store;
  MDB_txn *txn;
  MDB_stat status;
  check(mdb_txn_begin(h->env, NULL, MDB_RDONLY, &txn), "begin");
  check(mdb_stat(txn, h->dbi, &status), "stat");
  mdb_txn_abort(txn);
  return status.ms_entries;
}

static void lmdb_close(void *store)
{
  struct handle *h = store;
  mdb_env_close(h->env);
  free(h);
}

int main(int argc, char **argv)
{
  static const struct peer_store store = {lmdb_open, lmdb_commit, lmdb_count, lmdb_close};
  return peer_store_main(argc, argv, &facts, &store);
}
