/*
 * SQLite in process, two shards (a database file and a thread each).
 *
 * Ack:      when COMMIT returns: after the fdatasync of the write-ahead log (journal_mode WAL, synchronous FULL).
 * Dedup:    for ever: the id is the primary key, INSERT ... ON CONFLICT DO NOTHING.
 * Verdict:  yes, sqlite3_changes says whether the row is new; content is not compared.
 * Settings: WITHOUT ROWID, so that there is one tree and not a table and an index; transactions of 8,000; 16 KiB pages (fewer, larger nodes);
 *           a cache of 2 GiB a shard; exclusive locking (no shared-memory file); a checkpoint each 64 MiB of log rather than each 4 MiB; no
 *           mutexes, since a connection belongs to one thread.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "bench/peers/peer.h"

static const struct peer_facts facts = {
    .name = "sqlite", .ack = "after fdatasync", .dedup = "for ever", .verdict = "new or known", .durable = true};

static const char schema[] =
    "pragma page_size = 16384; pragma locking_mode = exclusive; pragma journal_mode = wal; pragma synchronous = full;"
    "pragma cache_size = -2097152; pragma wal_autocheckpoint = 4096; pragma temp_store = memory;"
    "create table encounter (id blob primary key, record blob not null) without rowid;";

struct handle {
  sqlite3 *db;
  sqlite3_stmt *begin, *insert, *commit;
};

static void check(struct handle *h, bool good, const char *what)
{
  if (!good)
    peer_fail(&facts, EX_IOERR, "%s: %s", what, sqlite3_errmsg(h->db));
}

static sqlite3_stmt *prepare(struct handle *h, const char *text)
{
  sqlite3_stmt *statement = NULL;
  check(h, sqlite3_prepare_v3(h->db, text, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) == SQLITE_OK, text);
  return statement;
}

static void *sqlite_open(const char *directory, unsigned shard)
{
  struct handle *h = calloc(1, sizeof *h);
  char path[4096];
  if (!h)
    peer_fail(&facts, EX_OSERR, "no memory");
  snprintf(path, sizeof path, "%s/shard-%u.sqlite", directory, shard);
  check(h, sqlite3_open_v2(path, &h->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK, path);
  check(h, sqlite3_exec(h->db, schema, NULL, NULL, NULL) == SQLITE_OK, "schema");
  h->begin = prepare(h, "begin immediate");
  h->insert = prepare(h, "insert into encounter values (?1, ?2) on conflict do nothing");
  h->commit = prepare(h, "commit");
  return h;
}

static void step(struct handle *h, sqlite3_stmt *statement, const char *what)
{
  check(h, sqlite3_step(statement) == SQLITE_DONE, what);
  sqlite3_reset(statement);
}

static uint64_t sqlite_commit(void *store, const struct peer_record *records, uint32_t count)
{
  struct handle *h = store;
  uint64_t fresh = 0;
  step(h, h->begin, "begin");
  for (uint32_t i = 0; i < count; i++) {
    sqlite3_bind_blob(h->insert, 1, records[i].id, PEER_ID, SQLITE_STATIC);
    sqlite3_bind_blob(h->insert, 2, records[i].bytes, (int)records[i].size, SQLITE_STATIC);
    step(h, h->insert, "insert");
    fresh += (uint64_t)sqlite3_changes(h->db);
  }
  step(h, h->commit, "commit");
  return fresh;
}

static uint64_t sqlite_count(void *store)
{
  struct handle *h = store;
  sqlite3_stmt *count = prepare(h, "select count(*) from encounter");
  check(h, sqlite3_step(count) == SQLITE_ROW, "count");
  uint64_t n = (uint64_t)sqlite3_column_int64(count, 0);
  sqlite3_finalize(count);
  return n;
}

static void sqlite_close(void *store)
{
  struct handle *h = store;
  sqlite3_finalize(h->begin);
  sqlite3_finalize(h->insert);
  sqlite3_finalize(h->commit);
  check(h, sqlite3_close(h->db) == SQLITE_OK, "close");
  free(h);
}

int main(int argc, char **argv)
{
  static const struct peer_store store = {sqlite_open, sqlite_commit, sqlite_count, sqlite_close};
  return peer_store_main(argc, argv, &facts, &store);
}
