/*
 * Base-128 varints of the protobuf encoding (protobuf.dev, "Encoding"), little-endian fixed values, and zigzag. Inline,
 * bounds-checked, no state.
 */
#ifndef MUSTER_PROTO_VARINT_H
#define MUSTER_PROTO_VARINT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VARINT_BYTES_MAX 10

/* Reads one varint from [p, end). Returns the byte after it; NULL where it is cut, longer than 10 bytes, or does not fit 64 bits. */
static inline const uint8_t *varint_read(const uint8_t *p, const uint8_t *end, uint64_t *value)
{
  if (p < end && *p < 0x80) {
    *value = *p;
    return p + 1;
  }
  uint64_t v = 0;
  for (unsigned shift = 0; shift < 70; shift += 7) {
    if (p == end)
      return NULL;
    uint8_t byte = *p++;
    if (shift == 63 && byte > 1)
      return NULL;
    v |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) {
      *value = v;
      return p;
    }
  }
  return NULL;
}

/* Writes the shortest form; p must have VARINT_BYTES_MAX bytes of room. Returns the byte after it. */
static inline uint8_t *varint_write(uint8_t *p, uint64_t value)
{
  while (value >= 0x80) {
    *p++ = (uint8_t)(value | 0x80);
    value >>= 7;
  }
  *p++ = (uint8_t)value;
  return p;
}

static inline size_t varint_size(uint64_t value) { return (size_t)(64 - __builtin_clzll(value | 1) + 6) / 7; }

static inline uint64_t zigzag_encode(int64_t value) { return (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0); }
static inline int64_t zigzag_decode(uint64_t value) { return (int64_t)(value >> 1) ^ -(int64_t)(value & 1); }

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "formats are little-endian and read in place");
static inline uint64_t load_u64(const void *p)
{
  uint64_t v;
  memcpy(&v, p, sizeof v);
  return v;
}
static inline uint32_t load_u32(const void *p)
{
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}
static inline uint16_t load_u16(const void *p)
{
  uint16_t v;
  memcpy(&v, p, sizeof v);
  return v;
}
static inline void store_u64(void *p, uint64_t v) { memcpy(p, &v, sizeof v); }
static inline void store_u32(void *p, uint32_t v) { memcpy(p, &v, sizeof v); }

#endif
