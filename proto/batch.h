/*
 * Batches: the delimited stream that travels and is the file format of the commands, the verdict words, and the messages
 * of the hop between ingest and worker. Ingest and workers meet only here. Layouts are little-endian and fixed; the
 * hop's version changes with them (both ends are the same executable).
 */
#ifndef MUSTER_PROTO_BATCH_H
#define MUSTER_PROTO_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/limits.h"
#include "proto/varint.h"

/* ---- the delimited stream ---- */

struct batch_record {
  const uint8_t *bytes;
  uint32_t size;
};

enum batch_step {
  BATCH_RECORD,    /* *record is set, *p stands behind it */
  BATCH_END,       /* *p was at the end */
  BATCH_CUT,       /* the length prefix or the record goes past the end */
  BATCH_BAD_LENGTH /* no varint, zero, or more than the stream could ever hold (LIMIT_MESSAGE_BYTES) */
};
/* The next record of [*p, end). A record larger than LIMIT_RECORD_BYTES but within the stream is a record: it gets its own verdict. *p moves only for BATCH_RECORD. */
static inline enum batch_step batch_next(const uint8_t **p, const uint8_t *end, struct batch_record *record)
{
  uint64_t size;
  if (*p == end)
    return BATCH_END;
  const uint8_t *q = varint_read(*p, end, &size);
  if (!q)
    return end - *p < VARINT_BYTES_MAX ? BATCH_CUT : BATCH_BAD_LENGTH;
  if (size == 0 || size > LIMIT_MESSAGE_BYTES)
    return BATCH_BAD_LENGTH;
  if (size > (uint64_t)(end - q))
    return BATCH_CUT;
  *record = (struct batch_record){.bytes = q, .size = (uint32_t)size};
  *p = q + size;
  return BATCH_RECORD;
}

/* ---- verdict words, as in wire.proto ---- */

static inline uint64_t verdict_durable(uint32_t verdict, uint32_t shard, uint64_t sequence)
{
  return verdict | (uint64_t)shard << 4 | sequence << 16;
}
static inline uint64_t verdict_refused(uint32_t verdict, uint32_t shard, uint32_t reason, uint32_t field)
{
  return verdict | (uint64_t)shard << 4 | (uint64_t)reason << 16 | (uint64_t)field << 32;
}
static inline uint32_t verdict_kind(uint64_t word) { return (uint32_t)(word & 15); }
static inline uint32_t verdict_shard(uint64_t word) { return (uint32_t)(word >> 4 & 4095); }
static inline uint64_t verdict_sequence(uint64_t word) { return word >> 16; }
static inline uint32_t verdict_reason(uint64_t word) { return (uint32_t)(word >> 16 & 0xffff); }
static inline uint32_t verdict_field(uint64_t word) { return (uint32_t)(word >> 32 & 0xffff); }

/* ---- the hop ---- */

/* Ingest is a DEALER with routing id "ingest-J", the worker a ROUTER that any number of ingests connect to. HELLO is one frame, PART is the head and the delimited records,
 * WORDS is the head and record_count words of 8 bytes. WELCOME is the head and, where the former worker of the shard died with parts in hand, their part ids, 8 bytes each: of all
 * ingests, each knows its own, as part ids begin at a random number. */
/* SUSPECT is a PART that was in hand at deaths: the worker takes it as a group of its own, so that what it had in hand when it died says which part it was. ISOLATE is a SUSPECT of
 * one record that killed a worker when it was alone: it is not decoded again; where the store does not have it, it is quarantined and answered INVALID. */
/* BYE is one frame from a worker that stops in good order (drain, storage error) and will answer nothing more: what it leaves unanswered is sent again to
 * its successor, and is not suspected of having killed it. */
enum hop_kind { HOP_HELLO = 1, HOP_WELCOME = 2, HOP_PART = 3, HOP_WORDS = 4, HOP_ISOLATE = 5, HOP_BYE = 6, HOP_SUSPECT = 7 };

#define HOP_VERSION 2
#define HOP_HEAD_BYTES 64

struct hop_head {
  uint32_t kind;
  uint32_t version;    /* HOP_VERSION; other versions are refused at HELLO */
  uint64_t part_id;    /* chosen by the ingest, echoed in WORDS, and in the next worker's WELCOME */
  uint64_t epoch;      /* WELCOME, WORDS: of the worker, another after each start */
  int64_t received_us; /* PART: wall clock at admission; becomes the record's time received */
  uint32_t submitter;  /* PART: number from the allow-list, 0 local */
  uint32_t record_count;
  uint32_t shard, shards;  /* who the worker is (WELCOME), who is meant (HELLO, PART) */
  uint64_t store_records;  /* WELCOME, WORDS: records in the shard */
  uint32_t blocked_reason; /* WELCOME, WORDS: 0, or the Reason for which the shard says BUSY now (disk) */
};
void hop_head_write(uint8_t out[HOP_HEAD_BYTES], const struct hop_head *head);
bool hop_head_read(struct hop_head *head, const uint8_t *bytes, size_t size); /* false: not of this version or size */

#endif
