#include "proto/digest.h"

#include <assert.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/limits.h"
#include "proto/encode.h"
#include "proto/varint.h"

/* ---- the canonical encoding ---- */

/*
 * Known fields first, ascending, then the unknown ones, ascending: every number that Encounter knows is smaller than any that it does not.
 * Of a known field the last value, written anew. Of an unknown one every occurrence: tag and length in their shortest form, the bytes of
 * the value as they came (of a varint too: nobody here knows what its writer meant by its width). The result is its own canonical form.
 */

enum wire_type { WIRE_LENGTH = 2 };

/* An unknown field takes at least two bytes of tag and one of value. */
#define UNKNOWN_FIELDS_MAX (LIMIT_UNKNOWN_BYTES / 3)

static uint8_t *tag_write(uint8_t *out, uint32_t number, uint32_t wire_type)
{
  return varint_write(out, (uint64_t)number << 3 | wire_type);
}

static uint8_t *bytes_write(uint8_t *out, const uint8_t *bytes, size_t size)
{
  memcpy(out, bytes, size);
  return out + size;
}

static void sift_down(uint64_t *keys, size_t count, size_t at)
{
  uint64_t key = keys[at];
  for (size_t child; (child = 2 * at + 1) < count; at = child) {
    if (child + 1 < count && keys[child] < keys[child + 1])
      child++;
    if (key >= keys[child])
      break;
    keys[at] = keys[child];
  }
  keys[at] = key;
}

/* A heap sort: no memory, and no order of fields that would make it slow. */
static void keys_sort(uint64_t *keys, size_t count)
{
  for (size_t at = count / 2; at-- > 0;)
    sift_down(keys, count, at);
  for (size_t last = count; last-- > 1;) {
    uint64_t largest = keys[0];
    keys[0] = keys[last];
    keys[last] = largest;
    sift_down(keys, last, 0);
  }
}

static uint8_t *unknown_write(uint8_t *out, const struct encounter_view *view)
{
  /* Number, then offset: one key holds the order asked for, and no two are equal. */
  uint64_t keys[UNKNOWN_FIELDS_MAX];
  size_t count = 0;
  bool sorted = true;
  const uint8_t *p = view->record, *end = view->record + view->record_size;
  for (struct scan_part part; scan_part_next(&part, &p, end);) {
    if (part.number < FIELD_COUNT)
      continue;
    assert(count < UNKNOWN_FIELDS_MAX);
    keys[count] = (uint64_t)part.number << 32 | (uint64_t)(part.start - view->record);
    sorted = sorted && (count == 0 || keys[count - 1] < keys[count]);
    count++;
  }
  if (!sorted)
    keys_sort(keys, count);
  for (size_t i = 0; i < count; i++) {
    struct scan_part part;
    p = view->record + (uint32_t)keys[i];
    bool whole = scan_part_next(&part, &p, end);
    assert(whole);
    (void)whole;
    out = tag_write(out, part.number, part.wire_type);
    if (part.wire_type == WIRE_LENGTH)
      out = varint_write(out, (uint64_t)(part.end - part.value));
    out = bytes_write(out, part.value, (size_t)(part.end - part.value));
  }
  return out;
}

size_t digest_canonical(const struct encounter_view *view, uint8_t *out)
{
  if (view->canonical)
    return (size_t)(bytes_write(out, view->record, view->record_size) - out);
  uint8_t *p = encode_encounter(out, view);
  if (view->unknown_bytes > 0)
    p = unknown_write(p, view);
  assert((size_t)(p - out) <= view->record_size);
  return (size_t)(p - out);
}

/* ---- hashes ---- */

void digest_bytes(uint8_t digest[16], const void *bytes, size_t size)
{
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, size));
  memcpy(digest, canonical.digest, 16);
}

/* Apart, so that the usual record does not pay for the page of stack. */
static __attribute__((noinline)) void digest_reencoded(uint8_t digest[16], const struct encounter_view *view)
{
  uint8_t canonical[LIMIT_RECORD_BYTES];
  digest_bytes(digest, canonical, digest_canonical(view, canonical));
}

void digest_content(uint8_t digest[16], const struct encounter_view *view)
{
  if (view->canonical)
    digest_bytes(digest, view->record, view->record_size);
  else
    digest_reencoded(digest, view);
}

/* A 64-bit hash onto [0, range): its upper half times the range, the upper half of that. */
static uint32_t multiply_down(uint64_t hash, uint32_t range) { return (uint32_t)((hash >> 32) * range >> 32); }

uint32_t digest_shard(const uint8_t id[16], uint32_t shards)
{
  assert(shards > 0);
  return multiply_down(XXH3_64bits(id, 16), shards);
}

uint32_t digest_shard_of_bytes(const uint8_t *record, size_t size, uint32_t shards)
{
  assert(shards > 0);
  return multiply_down(XXH3_64bits(record, size), shards);
}

uint64_t digest_fingerprint(const uint8_t id[16], uint64_t seed) { return XXH3_64bits_withSeed(id, 16, seed); }
