/*
 * Splitting a batch: one pass over its delimited stream finds the shard of each record, a second one over the same warm
 * bytes copies the records into one frame a shard. Ingest looks at the tags of a record and at its encounter_id, never
 * at a value. The scratch memory is taken at start and belongs to the struct; the result of a walk is valid until the
 * next one. Knows nothing of sockets. Process: ingest.
 */
#ifndef MUSTER_INGEST_SPLIT_H
#define MUSTER_INGEST_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/limits.h"
#include "core/link.h"

struct ingest_split {
  uint32_t shards;
  uint32_t record_count;               /* of the last walk */
  uint32_t part_records[LIMIT_SHARDS]; /* records of each shard */
  uint32_t part_bytes[LIMIT_SHARDS];   /* what they take as a delimited stream with shortest prefixes */
  uint8_t *shard_of;                   /* LIMIT_BATCH_RECORDS: the shard of each record, in the order of the batch */
};

/* Where a stream breaks: reason is the wire Reason (BATCH_STREAM or BATCH_COUNT). */
struct ingest_split_fault {
  uint32_t reason;
  uint32_t record; /* records read before the fault */
  uint32_t byte;   /* offset of the length prefix at which it begins; the size of the stream where records are missing */
};

int ingest_split_init(struct ingest_split *s, uint32_t shards); /* MUSTER_OK or MUSTER_ERR_MEMORY */
void ingest_split_finish(struct ingest_split *s);

/* Walks the stream, which must hold exactly record_count (1 to LIMIT_BATCH_RECORDS) records. false: fault is set and the result is not
 * to be used. A record over LIMIT_RECORD_BYTES is a record: its worker refuses it alone. */
bool ingest_split_walk(struct ingest_split *s, const uint8_t *stream, size_t size, uint32_t record_count, struct ingest_split_fault *fault);

/* After a walk of this very stream: part has one empty frame a shard; those that have records receive a frame of exact size. A stream
 * that goes to one shard whole is handed on as it came, where that does not hold more memory than it has bytes. MUSTER_OK or
 * MUSTER_ERR_MEMORY (all parts are empty then). */
int ingest_split_scatter(struct ingest_split *s, struct link_frame *stream, struct link_frame *part);

#endif
