/* Readers: opening, slices, records. */
#include "store/reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/journal.h"

#define SLICE_IDS 262144u /* looked at in one transaction of a search */

/* ---- opening ---- */

bool store_was_created(const char *path)
{
  struct store_env e = {0};
  if (strlen(path) >= STORE_PATH_MAX)
    return false;
  strcpy(e.path, path);
  return store_env_marked(&e);
}

int store_reader_open(struct store_reader **out, const char *path, struct failure *failure)
{
  *out = NULL;
  struct store_reader *r = calloc(1, sizeof *r);
  if (!r)
    return failure_set(failure, MUSTER_ERR_MEMORY, "there is no memory for a reader");
  MDB_txn *txn = NULL;
  int status = store_env_open(&r->env, path, STORE_ENV_READ, 0, failure);
  if (!status)
    status = store_env_begin_read(&r->env, &txn, failure);
  if (!status)
    status = store_meta_open(&r->env, txn, failure);
  if (!status)
    status = store_meta_load(&r->env, txn, &r->meta, failure);
  if (txn) {
    int code = store_env_commit(txn); /* keeps the handles of the databases */
    if (code && !status)
      status = store_env_failure(failure, &r->env, code, "its databases cannot be opened");
  }
  if (status) {
    store_reader_close(r);
    return status;
  }
  *out = r;
  return MUSTER_OK;
}

void store_reader_close(struct store_reader *r)
{
  if (!r)
    return;
  store_env_close(&r->env);
  free(r->slice);
  free(r);
}

void store_reader_facts(const struct store_reader *r, struct store_facts *out)
{
  *out = (struct store_facts){.shard = r->meta.shard,
                              .shards = r->meta.shards,
                              .fingerprint_seed = r->meta.fingerprint_seed,
                              .records = r->meta.records,
                              .quarantined = r->meta.quarantined,
                              .file_bytes = store_env_file_bytes(&r->env),
                              .map_bytes = store_env_map_bytes(&r->env)};
  memcpy(out->node_id, r->meta.node_id, sizeof out->node_id);
}

/* ---- slices ---- */

void store_slice_end(struct store_reader *r)
{
  if (r->cursor)
    store_env_cursor_close(r->cursor);
  if (r->txn)
    store_env_abort(r->txn);
  r->cursor = NULL;
  r->txn = NULL;
}

int store_slice_begin(struct store_reader *r, MDB_dbi dbi, struct failure *failure)
{
  r->slice_used = 0;
  int status = store_env_begin_read(&r->env, &r->txn, failure);
  if (status) {
    r->txn = NULL;
    return status;
  }
  status = store_meta_load(&r->env, r->txn, &r->meta, failure);
  int code = status ? 0 : store_env_cursor_open(r->txn, dbi, &r->cursor);
  if (code) {
    r->cursor = NULL;
    status = store_env_failure(failure, &r->env, code, "it cannot be read");
  }
  if (status)
    store_slice_end(r);
  return status;
}

bool store_slice_add(struct store_reader *r, const void *head, size_t head_size, const void *body, size_t body_size)
{
  const size_t size = head_size + body_size, padded = sizeof(uint64_t) + ((size + 7) & ~(size_t)7);
  if (r->slice_used + padded > r->slice_room) {
    const size_t room = (r->slice_used + padded) * 3 / 2;
    uint8_t *larger = realloc(r->slice, room);
    if (!larger)
      return false;
    r->slice = larger;
    r->slice_room = room;
  }
  uint8_t *p = r->slice + r->slice_used;
  store_u64(p, size);
  if (head_size)
    memcpy(p + sizeof(uint64_t), head, head_size);
  if (body_size)
    memcpy(p + sizeof(uint64_t) + head_size, body, body_size);
  r->slice_used += padded;
  return true;
}

const uint8_t *store_slice_next(const struct store_reader *r, size_t *place, size_t *size)
{
  if (*place == r->slice_used)
    return NULL;
  const uint8_t *p = r->slice + *place;
  *size = load_u64(p);
  *place += sizeof(uint64_t) + ((*size + 7) & ~(size_t)7);
  return p + sizeof(uint64_t);
}

/* ---- records ---- */

static int journal_failure(const struct store_reader *r, int code, uint64_t sequence, struct failure *failure)
{
  if (code == MDB_NOTFOUND || code == MDB_CORRUPTED)
    return failure_set(failure, MUSTER_ERR_CORRUPT,
                       "shard %" PRIu32 ": the block that should hold sequence %" PRIu64 " is missing or damaged; run verify",
                       r->meta.shard, sequence);
  return store_env_failure(failure, &r->env, code, "its journal cannot be read");
}

int store_slice_blocks(struct store_reader *r, uint64_t first, uint64_t last, struct failure *failure)
{
  int status = store_slice_begin(r, r->env.journal, failure);
  if (status)
    return status;
  int code = 0;
  if (first <= r->meta.records) {
    struct store_block b;
    uint64_t next = first;
    code = store_journal_seek(r->cursor, first, &b);
    while (!code) {
      if (!store_slice_add(r, NULL, 0, b.base, b.size)) {
        code = ENOMEM;
        break;
      }
      next = b.header.first + b.header.count;
      if (next > last || next > r->meta.records || r->slice_used >= STORE_SLICE_BYTES)
        break;
      code = store_journal_next(r->cursor, &b);
      if (!code && b.header.first != next)
        code = MDB_CORRUPTED;
    }
    if (code)
      status = journal_failure(r, code, next, failure);
  }
  store_slice_end(r);
  return status;
}

struct scan {
  uint64_t next, last; /* sequences still wanted */
  int (*each)(void *context, const struct store_record *record);
  void *context;
};

static int scan_slice(const struct store_reader *r, struct scan *scan, struct failure *failure)
{
  const uint8_t *bytes;
  size_t size;
  for (size_t place = 0; (bytes = store_slice_next(r, &place, &size));) {
    struct store_block b;
    if (!store_block_parse(&b, bytes, size, load_u64(bytes + offsetof(struct store_block_header, first))))
      return journal_failure(r, MDB_CORRUPTED, scan->next, failure);
    if (!store_block_intact(&b))
      return failure_set(failure, MUSTER_ERR_CORRUPT,
                         "shard %" PRIu32 ": the block of sequences %" PRIu64 " to %" PRIu64 " contradicts its checksum; run verify",
                         r->meta.shard, b.header.first, b.header.first + b.header.count - 1);
    bool damaged;
    int stop = store_block_each(&b, &scan->next, scan->last, scan->each, scan->context, &damaged);
    if (damaged)
      return journal_failure(r, MDB_CORRUPTED, scan->next, failure);
    if (stop)
      return stop;
  }
  return 0;
}

int store_reader_scan(struct store_reader *r, uint64_t first, uint64_t max, int (*each)(void *context, const struct store_record *record),
                      void *context, struct failure *failure)
{
  first = first ? first : 1;
  struct scan scan = {.next = first, .each = each, .context = context};
  scan.last = max && max - 1 <= UINT64_MAX - first ? first + (max - 1) : UINT64_MAX;
  while (max && scan.next <= scan.last) {
    int stop = store_slice_blocks(r, scan.next, scan.last, failure);
    if (!stop && !r->slice_used)
      break;
    if (!stop)
      stop = scan_slice(r, &scan, failure);
    if (stop)
      return stop;
  }
  return MUSTER_OK;
}

static uint32_t block_find(const struct store_block *b, const uint8_t id[16])
{
  const uint64_t low = load_u64(id), high = load_u64(id + 8);
  uint32_t i = 0;
  while (i < b->header.count && (load_u64(store_block_id(b, i)) != low || load_u64(store_block_id(b, i) + 8) != high))
    i++;
  return i;
}

/* Looks for an id from *next on, within one short transaction; *found is its sequence or stays 0. */
static int find_slice(struct store_reader *r, const uint8_t id[16], uint64_t *next, uint64_t *found, struct failure *failure)
{
  int status = store_slice_begin(r, r->env.journal, failure);
  if (status || *next > r->meta.records) {
    store_slice_end(r);
    return status;
  }
  struct store_block b;
  uint64_t looked_at = 0;
  int code = store_journal_seek(r->cursor, *next, &b);
  while (!code) {
    if (looked_at && b.header.first != *next) /* else a tree that turns back would be walked for ever */
      code = MDB_CORRUPTED;
    if (code || !store_block_columns_intact(&b)) {
      code = MDB_CORRUPTED;
      break;
    }
    const uint32_t i = block_find(&b, id);
    if (i < b.header.count)
      *found = b.header.first + i;
    *next = b.header.first + b.header.count;
    looked_at += b.header.count;
    if (*found || *next > r->meta.records || looked_at >= SLICE_IDS)
      break;
    code = store_journal_next(r->cursor, &b);
  }
  if (code)
    status = journal_failure(r, code, *next, failure);
  store_slice_end(r);
  return status;
}

int store_reader_find(struct store_reader *r, const uint8_t id[16], int (*each)(void *context, const struct store_record *record),
                      void *context, struct failure *failure)
{
  uint64_t next = 1, found = 0;
  do {
    int status = find_slice(r, id, &next, &found, failure);
    if (status)
      return status;
  } while (!found && next <= r->meta.records);
  if (!found)
    return 0;
  int status = store_reader_scan(r, found, 1, each, context, failure);
  return status < 0 ? status : 1;
}

void store_library(char version[64])
{
  int major, minor, patch;
  mdb_version(&major, &minor, &patch);
  snprintf(version, 64, "%d.%d.%d", major, minor, patch);
}
