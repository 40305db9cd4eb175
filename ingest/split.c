#include "ingest/split.h"

#include <stdlib.h>
#include <string.h>

#include "muster/status.h"
#include "proto/batch.h"
#include "proto/digest.h"
#include "proto/scan.h"
#include "proto/wire.pb-c.h"

/* ZeroMQ receives small messages into shared buffers of this size and keeps the whole buffer while one of them is referenced. */
#define SPLIT_SHARED_BUFFER_BYTES 8192u

int ingest_split_init(struct ingest_split *s, uint32_t shards)
{
  *s = (struct ingest_split){.shards = shards, .shard_of = malloc(LIMIT_BATCH_RECORDS)};
  if (!s->shard_of)
    return MUSTER_ERR_MEMORY;
  memset(s->shard_of, 0, LIMIT_BATCH_RECORDS);
  return MUSTER_OK;
}

void ingest_split_finish(struct ingest_split *s)
{
  free(s->shard_of);
  s->shard_of = NULL;
}

static uint32_t split_shard_of(const struct batch_record *record, uint32_t shards)
{
  const uint8_t *id = scan_encounter_id(record->bytes, record->size);
  return id ? digest_shard(id, shards) : digest_shard_of_bytes(record->bytes, record->size, shards);
}

bool ingest_split_walk(struct ingest_split *s, const uint8_t *stream, size_t size, uint32_t record_count, struct ingest_split_fault *fault)
{
  const uint8_t *p = stream, *end = stream + size;
  struct batch_record record;
  enum batch_step step;
  uint32_t count = 0;
  memset(s->part_records, 0, s->shards * sizeof s->part_records[0]);
  memset(s->part_bytes, 0, s->shards * sizeof s->part_bytes[0]);
  const uint8_t *start = p;
  while ((step = batch_next(&p, end, &record)) == BATCH_RECORD) {
    if (count == record_count)
      break;
    uint32_t shard = split_shard_of(&record, s->shards);
    s->shard_of[count++] = (uint8_t)shard;
    s->part_records[shard]++;
    s->part_bytes[shard] += (uint32_t)varint_size(record.size) + record.size;
    start = p;
  }
  s->record_count = count;
  if (step == BATCH_END && count == record_count)
    return true;
  bool broken = step == BATCH_CUT || step == BATCH_BAD_LENGTH;
  *fault = (struct ingest_split_fault){
      .reason = broken ? MUSTER__V1__REASON__REASON_BATCH_STREAM : MUSTER__V1__REASON__REASON_BATCH_COUNT,
      .record = count,
      .byte = (uint32_t)(start - stream),
  };
  return false;
}

static int split_copy(struct ingest_split *s, struct link_frame *stream, struct link_frame *part)
{
  uint8_t *out[LIMIT_SHARDS];
  for (uint32_t shard = 0; shard < s->shards; shard++) {
    if (s->part_records[shard] == 0)
      continue;
    if (link_frame_init(&part[shard], s->part_bytes[shard]) != MUSTER_OK) {
      link_frame_init_empty(&part[shard]);
      while (shard-- > 0)
        link_frame_finish(&part[shard]);
      return MUSTER_ERR_MEMORY;
    }
    out[shard] = link_frame_data(&part[shard]);
  }
  const uint8_t *p = link_frame_data(stream), *end = p + link_frame_size(stream);
  struct batch_record record;
  for (uint32_t i = 0; batch_next(&p, end, &record) == BATCH_RECORD; i++) {
    uint32_t shard = s->shard_of[i];
    out[shard] = varint_write(out[shard], record.size);
    memcpy(out[shard], record.bytes, record.size);
    out[shard] += record.size;
  }
  return MUSTER_OK;
}

int ingest_split_scatter(struct ingest_split *s, struct link_frame *stream, struct link_frame *part)
{
  uint32_t first = s->shard_of[0];
  if (s->part_records[first] == s->record_count && link_frame_size(stream) >= SPLIT_SHARED_BUFFER_BYTES) {
    link_frame_move(&part[first], stream);
    return MUSTER_OK;
  }
  return split_copy(s, stream, part);
}
