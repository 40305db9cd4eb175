#include "store/meta.h"

#include <string.h>
#include <xxhash.h>

#include "store/store.h"

static MDB_val meta_key(const char *name) { return (MDB_val){.mv_size = strlen(name), .mv_data = (void *)(uintptr_t)name}; }

static uint64_t meta_checksum(const struct store_meta *meta) { return XXH3_64bits(meta, offsetof(struct store_meta, checksum)); }

int store_meta_open(struct store_env *e, MDB_txn *txn, struct failure *failure)
{
  size_t entries = 0;
  MDB_dbi unnamed;
  int code = store_env_database(txn, NULL, 0, &unnamed);
  if (!code)
    code = store_env_entries(txn, unnamed, &entries);
  if (code)
    return store_env_failure(failure, e, code, "its list of databases cannot be read");
  if (entries == 0 && store_env_marked(e)) /* never the beginning of a new store: what was acknowledged may still be in the file */
    return failure_set(
        failure, MUSTER_ERR_CORRUPT,
        "shard %s: data.mdb says that it is empty although this shard was in use; nothing was changed; bring the file back from a "
        "backup",
        e->path);
  if (entries == 0)
    return failure_set(failure, MUSTER_ERR_NOT_FOUND, "shard %s: there is no store yet", e->path);
  MDB_val key = meta_key("format"), value;
  uint32_t format = 0;
  code = store_env_database(txn, "meta", 0, &e->meta);
  if (!code)
    code = store_env_get(txn, e->meta, &key, &value);
  if (!code && value.mv_size == sizeof format)
    memcpy(&format, value.mv_data, sizeof format);
  if (code && code != MDB_NOTFOUND && code != MDB_CORRUPTED)
    return store_env_failure(failure, e, code, "its meta record cannot be read");
  if (code == MDB_CORRUPTED || format == 0)
    return failure_set(failure, MUSTER_ERR_CORRUPT, "shard %s: data.mdb is not a store of Muster or its meta record is lost", e->path);
  if (format != STORE_FORMAT)
    return failure_set(failure, MUSTER_ERR_VERSION,
                       "shard %s has format %u and this program reads format %u; nothing was changed; use the program that wrote it",
                       e->path, format, STORE_FORMAT);
  code = store_env_databases(e, txn, false);
  return code ? store_env_failure(failure, e, code, "its databases cannot be opened") : MUSTER_OK;
}

bool store_meta_parse(struct store_meta *meta, const void *bytes, size_t size)
{
  if (size != sizeof *meta)
    return false;
  memcpy(meta, bytes, sizeof *meta);
  return meta_checksum(meta) == meta->checksum;
}

int store_meta_load(const struct store_env *e, MDB_txn *txn, struct store_meta *meta, struct failure *failure)
{
  MDB_val key = meta_key(STORE_META_STATE), value;
  int code = store_env_get(txn, e->meta, &key, &value);
  if (code && code != MDB_NOTFOUND)
    return store_env_failure(failure, e, code, "its meta record cannot be read");
  if (!code && store_meta_parse(meta, value.mv_data, value.mv_size))
    return MUSTER_OK;
  return failure_set(failure, MUSTER_ERR_CORRUPT,
                     "shard %s: its meta record is damaged; nothing was changed; muster salvage writes out what is intact, "
                     "muster restore makes a new data directory from a backup",
                     e->path);
}

int store_meta_save(const struct store_env *e, MDB_txn *txn, struct store_meta *meta)
{
  meta->checksum = meta_checksum(meta);
  MDB_val key = meta_key(STORE_META_STATE), value = {.mv_size = sizeof *meta, .mv_data = meta};
  return store_env_put(txn, e->meta, &key, &value, 0);
}

int store_meta_create(const struct store_env *e, MDB_txn *txn, struct store_meta *meta)
{
  uint32_t format = STORE_FORMAT;
  MDB_val key = meta_key("format"), value = {.mv_size = sizeof format, .mv_data = &format};
  int code = store_env_put(txn, e->meta, &key, &value, MDB_NOOVERWRITE);
  return code ? code : store_meta_save(e, txn, meta);
}
