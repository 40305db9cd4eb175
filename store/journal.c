#include "store/journal.h"

#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

#include "muster/status.h"
#include "proto/digest.h"
#include "store/env_call.h"
#include "store/store.h"

#define CHECKSUM_BYTES 16u
#define COLUMNS_BEGIN (offsetof(struct store_block_header, columns) + sizeof(uint64_t)) /* of what `columns` covers */
#define ADVISE_BYTES_MIN (64u << 10)                                                    /* worth a call of the kernel */

/* ---- reading ---- */

size_t store_block_size(const struct store_block_header *h)
{
  if (h->magic != STORE_BLOCK_MAGIC || h->format != STORE_FORMAT || h->count == 0 || h->count > LIMIT_COMMIT_RECORDS || h->runs == 0 ||
      h->runs > h->count || h->bytes > LIMIT_COMMIT_BYTES)
    return 0;
  return sizeof *h + (size_t)h->count * STORE_BLOCK_COLUMN_BYTES + (size_t)h->runs * sizeof(struct store_block_run) + h->bytes;
}

bool store_block_parse(struct store_block *b, const void *base, size_t size, uint64_t first)
{
  struct store_block_header *h = &b->header;
  if (size < sizeof *h)
    return false;
  memcpy(h, base, sizeof *h);
  if (h->first != first || store_block_size(h) != size)
    return false;
  b->size = size;
  b->base = base;
  b->ids = b->base + sizeof *h;
  b->digests = b->ids + (size_t)h->count * 16;
  b->ends = b->digests + (size_t)h->count * 16;
  b->runs = b->ends + (size_t)h->count * 4;
  b->bytes = b->runs + (size_t)h->runs * sizeof(struct store_block_run);
  return true;
}

static void block_checksum(uint8_t out[CHECKSUM_BYTES], const uint8_t *base, size_t size)
{
  digest_bytes(out, base + CHECKSUM_BYTES, size - CHECKSUM_BYTES);
}

bool store_block_intact(const struct store_block *b)
{
  uint8_t found[CHECKSUM_BYTES];
  block_checksum(found, b->base, b->size);
  return memcmp(found, b->header.checksum, CHECKSUM_BYTES) == 0;
}

bool store_block_columns_intact(const struct store_block *b)
{
  return XXH3_64bits(b->base + COLUMNS_BEGIN, (size_t)(b->bytes - b->base) - COLUMNS_BEGIN) == b->header.columns;
}

void store_block_advise(const struct store_block *b, size_t size)
{
  const uintptr_t begin = (uintptr_t)b->base & ~(uintptr_t)4095;
  if (size >= ADVISE_BYTES_MIN)
    madvise((void *)begin, size + ((uintptr_t)b->base - begin), MADV_WILLNEED);
}

const uint8_t *store_block_record(const struct store_block *b, uint32_t i, uint32_t *size)
{
  const uint32_t begin = i ? load_u32(b->ends + (size_t)(i - 1) * 4) : 0;
  const uint32_t end = load_u32(b->ends + (size_t)i * 4);
  if (begin > end || end > b->header.bytes)
    return NULL;
  *size = end - begin;
  return b->bytes + begin;
}

void store_block_receipts(struct store_block_receipts *r, const struct store_block *b)
{
  *r = (struct store_block_receipts){.next = b->runs, .end = b->bytes};
}

bool store_block_receipt_next(struct store_block_receipts *r, uint32_t *submitter, int64_t *received_us)
{
  while (!r->run.count) {
    if (r->next == r->end)
      return false;
    memcpy(&r->run, r->next, sizeof r->run);
    r->next += sizeof r->run;
  }
  r->run.count--;
  *submitter = r->run.submitter;
  *received_us = r->run.received_us;
  return true;
}

int store_block_each(const struct store_block *b, uint64_t *next, uint64_t last,
                     int (*each)(void *context, const struct store_record *record), void *context, bool *damaged)
{
  struct store_block_receipts receipts;
  *damaged = false;
  store_block_receipts(&receipts, b);
  for (uint32_t i = 0; i < b->header.count && *next <= last; i++) {
    struct store_record record = {.shard = b->header.shard, .sequence = b->header.first + i};
    const bool received = store_block_receipt_next(&receipts, &record.submitter, &record.received_us);
    if (record.sequence < *next)
      continue;
    record.bytes = store_block_record(b, i, &record.size);
    *damaged = !received || !record.bytes;
    if (*damaged)
      return 0;
    memcpy(record.id, store_block_id(b, i), sizeof record.id);
    memcpy(record.digest, store_block_digest(b, i), sizeof record.digest);
    ++*next;
    const int stop = each(context, &record);
    if (stop)
      return stop;
  }
  return 0;
}

static int journal_parse(struct store_block *b, const MDB_val *key, const MDB_val *value)
{
  if (key->mv_size != sizeof(uint64_t))
    return MDB_CORRUPTED;
  return store_block_parse(b, value->mv_data, value->mv_size, load_u64(key->mv_data)) ? 0 : MDB_CORRUPTED;
}

int store_journal_seek(MDB_cursor *cursor, uint64_t sequence, struct store_block *b)
{
  MDB_val key = {.mv_size = sizeof sequence, .mv_data = &sequence}, value;
  int code = store_env_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
  if (code == MDB_NOTFOUND)
    code = store_env_cursor_get(cursor, &key, &value, MDB_LAST);
  else if ((!code || code == MDB_CORRUPTED) && key.mv_size == sizeof sequence && load_u64(key.mv_data) != sequence)
    code = store_env_cursor_get(cursor, &key, &value, MDB_PREV); /* whatever is wrong with the value of the one behind */
  if (!code)
    code = journal_parse(b, &key, &value);
  if (!code && !store_block_holds(b, sequence))
    code = MDB_NOTFOUND;
  return code;
}

int store_journal_next(MDB_cursor *cursor, struct store_block *b)
{
  MDB_val key, value;
  int code = store_env_cursor_get(cursor, &key, &value, MDB_NEXT);
  return code ? code : journal_parse(b, &key, &value);
}

/* ---- gathering ---- */

int store_block_builder_init(struct store_block_builder *b)
{
  memset(b, 0, sizeof *b);
  const size_t records = LIMIT_COMMIT_RECORDS;
  const size_t size = records * (STORE_BLOCK_COLUMN_BYTES + sizeof(struct store_block_run)) + LIMIT_COMMIT_BYTES;
  uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (p == MAP_FAILED)
    return MUSTER_ERR_MEMORY;
  b->memory = p;
  b->memory_bytes = size;
  b->ids = p;
  b->digests = b->ids + records * 16;
  b->runs = (struct store_block_run *)(void *)(b->digests + records * 16);
  b->ends = (uint32_t *)(void *)(b->runs + records);
  b->bytes = (uint8_t *)(b->ends + records);
  return MUSTER_OK;
}

void store_block_builder_finish(struct store_block_builder *b)
{
  if (b->memory)
    munmap(b->memory, b->memory_bytes);
  memset(b, 0, sizeof *b);
}

bool store_block_builder_add(struct store_block_builder *b, const uint8_t *record, uint32_t size, const uint8_t id[16],
                             const uint8_t digest[16], uint32_t submitter, int64_t received_us)
{
  if (b->count == LIMIT_COMMIT_RECORDS || size > LIMIT_COMMIT_BYTES - b->bytes_used)
    return false;
  struct store_block_run *run = b->run_count ? &b->runs[b->run_count - 1] : NULL;
  if (!run || run->submitter != submitter || run->received_us != received_us) {
    run = &b->runs[b->run_count++];
    *run = (struct store_block_run){.submitter = submitter, .received_us = received_us};
  }
  run->count++;
  memcpy(b->ids + (size_t)b->count * 16, id, 16);
  memcpy(b->digests + (size_t)b->count * 16, digest, 16);
  memcpy(b->bytes + b->bytes_used, record, size);
  b->bytes_used += size;
  b->ends[b->count++] = b->bytes_used;
  return true;
}

static uint8_t *column_write(uint8_t *out, const void *column, size_t size)
{
  memcpy(out, column, size);
  return out + size;
}

int store_block_builder_write(const struct store_block_builder *b, MDB_txn *txn, MDB_dbi journal, uint64_t first, uint32_t shard,
                              uint8_t chain[16])
{
  struct store_block_header header = {.magic = STORE_BLOCK_MAGIC,
                                      .format = STORE_FORMAT,
                                      .first = first,
                                      .count = b->count,
                                      .runs = b->run_count,
                                      .bytes = b->bytes_used,
                                      .shard = shard};
  memcpy(header.previous, chain, sizeof header.previous);
  const size_t runs_bytes = (size_t)b->run_count * sizeof *b->runs;
  const size_t size = sizeof header + (size_t)b->count * STORE_BLOCK_COLUMN_BYTES + runs_bytes + b->bytes_used;
  MDB_val key = {.mv_size = sizeof first, .mv_data = &first}, value = {.mv_size = size};
  int code = store_env_put(txn, journal, &key, &value, MDB_APPEND | MDB_RESERVE);
  if (code)
    return code;
  uint8_t *base = value.mv_data, *p = column_write(base, &header, sizeof header);
  p = column_write(p, b->ids, (size_t)b->count * 16);
  p = column_write(p, b->digests, (size_t)b->count * 16);
  p = column_write(p, b->ends, (size_t)b->count * sizeof *b->ends);
  p = column_write(p, b->runs, runs_bytes);
  header.columns = XXH3_64bits(base + COLUMNS_BEGIN, (size_t)(p - base) - COLUMNS_BEGIN);
  memcpy(base + offsetof(struct store_block_header, columns), &header.columns, sizeof header.columns);
  column_write(p, b->bytes, b->bytes_used);
  block_checksum(chain, base, size);
  memcpy(base, chain, CHECKSUM_BYTES);
  return 0;
}
