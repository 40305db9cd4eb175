/*
 * The journal's block: the layout of one commit, how it is gathered, sealed and read. A block is a header, then the
 * columns id, digest and end of each record, the receipts run-length encoded, then the records' bytes back to back. Its
 * checksum covers everything after itself, the checksum of the block before included, so the blocks form a chain; a
 * second one covers what is before the records' bytes, so that the columns can be trusted without reading those. The
 * builder belongs to the writer; a parsed block points into memory of whoever parsed it (an LMDB page: valid within its
 * transaction). Inside store/ only.
 */
#ifndef MUSTER_STORE_JOURNAL_H
#define MUSTER_STORE_JOURNAL_H

#include <assert.h>
#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/limits.h"
#include "proto/varint.h"
#include "store/read.h"

#define STORE_BLOCK_MAGIC 0x314b4c42u             /* "BLK1" */
#define STORE_BLOCK_COLUMN_BYTES (16u + 16u + 4u) /* id, digest, end */

/* As stored, little-endian. Then: ids (16 each), digests (16 each), ends (4 each), runs (16 each), bytes. */
struct store_block_header {
  uint8_t checksum[16]; /* XXH3-128, big-endian form, of everything after this field */
  uint64_t columns;     /* XXH3-64 of everything after this field and before the records' bytes */
  uint32_t magic;
  uint32_t format;      /* STORE_FORMAT */
  uint64_t first;       /* sequence of the first record; the key as well */
  uint8_t previous[16]; /* checksum of the block before; zero for the first */
  uint32_t count;       /* records, from 1 */
  uint32_t runs;        /* of receipts, 1 to count */
  uint32_t bytes;       /* of the records together */
  uint32_t shard;
};
static_assert(sizeof(struct store_block_header) == 72, "the block header is a format");

/* count records in a row came from this submitter at this time. As stored. */
struct store_block_run {
  uint32_t count;
  uint32_t submitter;
  int64_t received_us;
};
static_assert(sizeof(struct store_block_run) == 16, "the run is a format");

/* ---- reading ---- */

struct store_block {
  struct store_block_header header; /* a copy, aligned */
  size_t size;                      /* of the whole block */
  const uint8_t *base;
  const uint8_t *ids, *digests, *ends, *runs, *bytes; /* not aligned */
};

/* Whether the bytes have the layout of a block that begins with this sequence; nothing behind the header is read. */
bool store_block_parse(struct store_block *b, const void *base, size_t size, uint64_t first);
/* The size of the whole block that a header tells of; 0 where it is none: another magic or format, or more than a commit holds. */
size_t store_block_size(const struct store_block_header *h);
bool store_block_intact(const struct store_block *b); /* reads everything: the checksum is right */
/* Reads the header and the columns: their checksum is right. The bytes of the records, and the field `checksum`, may still be wrong. */
bool store_block_columns_intact(const struct store_block *b);
/* Asks the kernel to read the first size bytes of a block in one go: the writer's map is for random reads and would fault page by page. */
void store_block_advise(const struct store_block *b, size_t size);
static inline const uint8_t *store_block_id(const struct store_block *b, uint32_t i) { return b->ids + (size_t)i * 16; }
static inline const uint8_t *store_block_digest(const struct store_block *b, uint32_t i) { return b->digests + (size_t)i * 16; }
/* The bytes of record i. NULL where its ends are not ascending or pass the end. */
const uint8_t *store_block_record(const struct store_block *b, uint32_t i, uint32_t *size);
static inline bool store_block_holds(const struct store_block *b, uint64_t sequence)
{
  return sequence - b->header.first < b->header.count;
}

/* The receipts of a block, in order of its records. */
struct store_block_receipts {
  const uint8_t *next, *end;
  struct store_block_run run; /* count: records left in it */
};
void store_block_receipts(struct store_block_receipts *r, const struct store_block *b);
bool store_block_receipt_next(struct store_block_receipts *r, uint32_t *submitter, int64_t *received_us); /* false: the runs are used up */

/* Calls each for the records of an intact block that are not before sequence *next nor after last; *next moves on. What each answered where
 * that is not 0, whatever it is. *damaged: ends or receipts contradict the records, and *next is the first that cannot be told. */
int store_block_each(const struct store_block *b, uint64_t *next, uint64_t last,
                     int (*each)(void *context, const struct store_record *record), void *context, bool *damaged);

/* Finds the block that holds a sequence, or goes to the next one. LMDB codes: MDB_NOTFOUND past the end, MDB_CORRUPTED where the layout
 * is wrong. */
int store_journal_seek(MDB_cursor *cursor, uint64_t sequence, struct store_block *b);
int store_journal_next(MDB_cursor *cursor, struct store_block *b);

/* ---- gathering ---- */

/* The records of the transaction in hand, in memory taken once for the largest block. */
struct store_block_builder {
  uint8_t *memory;
  size_t memory_bytes;
  uint8_t *ids, *digests, *bytes;
  uint32_t *ends;
  struct store_block_run *runs;
  uint32_t count, run_count, bytes_used;
};

int store_block_builder_init(struct store_block_builder *b); /* MUSTER_OK or MUSTER_ERR_MEMORY */
void store_block_builder_finish(struct store_block_builder *b);
static inline void store_block_builder_reset(struct store_block_builder *b) { b->count = b->run_count = b->bytes_used = 0; }
/* false: the block is full. Everything is copied. */
bool store_block_builder_add(struct store_block_builder *b, const uint8_t *record, uint32_t size, const uint8_t id[16],
                             const uint8_t digest[16], uint32_t submitter, int64_t received_us);
/* Writes the block into the journal, straight into LMDB's page, and replaces chain by its checksum. An LMDB code. */
int store_block_builder_write(const struct store_block_builder *b, MDB_txn *txn, MDB_dbi journal, uint64_t first, uint32_t shard,
                              uint8_t chain[16]);

#endif
