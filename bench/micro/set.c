#include "bench/micro/micro.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "bench/stream.h"
#include "proto/batch.h"
#include "proto/digest.h"

#define SEED 1u

static_assert(MICRO_RECORDS_MAX == LIMIT_BATCH_RECORDS, "the set is one batch");

/* Appends one record to the stream. false: it is not one that a node would take. */
static bool set_append(struct micro_set *set, struct micro_record *r, const struct bench_item *item)
{
  struct scan_fault fault;
  uint8_t *bytes = varint_write(set->stream + set->stream_bytes, item->size);
  memcpy(bytes, item->bytes, item->size);
  r->bytes = bytes;
  r->size = (uint32_t)item->size;
  set->stream_bytes = (size_t)(bytes + item->size - set->stream);
  if (!scan_encounter(&r->view, r->bytes, r->size, &fault))
    return false;
  digest_content(r->digest, &r->view);
  return true;
}

static bool set_fill(struct micro_set *set, struct bench_stream *stream, uint32_t count)
{
  const struct bench_stream_options options = {.profile = profile_at(0), .records = count, .seed = SEED};
  struct bench_item item;
  if (bench_stream_init(stream, &options) != 0)
    return false;
  for (; set->count < count && bench_stream_next(stream, &item); set->count++)
    if (set->stream_bytes + item.size + VARINT_BYTES_MAX > LIMIT_MESSAGE_BYTES || !set_append(set, &set->record[set->count], &item))
      return false;
  return set->count == count;
}

bool micro_set_make(struct micro_set *set, uint32_t count)
{
  struct bench_stream *stream = malloc(sizeof *stream);
  *set = (struct micro_set){.record = calloc(count, sizeof *set->record), .stream = malloc(LIMIT_MESSAGE_BYTES)};
  bool made = stream && set->record && set->stream && set_fill(set, stream, count);
  free(stream);
  return made || micro_complain("the set of %u records cannot be made", count);
}

void micro_set_free(struct micro_set *set)
{
  free(set->record);
  free(set->stream);
  *set = (struct micro_set){0};
}
