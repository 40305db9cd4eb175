#include "proto/encode.h"

#include <string.h>

#include "core/limits.h"
#include "proto/varint.h"

enum wire_type { WIRE_VARINT = 0, WIRE_LENGTH = 2 };

/* By number; a constant, so that the loops below unroll into straight code for each field. A test holds it against protobuf-c. */
static const uint8_t kinds[FIELD_COUNT] = {
    [FIELD_ENCOUNTER_ID] = SCAN_BYTES,      [FIELD_ENCOUNTER_TIME] = SCAN_INT64,
    [FIELD_COMPONENT] = SCAN_ENUM,          [FIELD_AREA_OF_RESPONSIBILITY] = SCAN_ENUM,
    [FIELD_LAND_BORDER_REGION] = SCAN_ENUM, [FIELD_DEMOGRAPHIC] = SCAN_ENUM,
    [FIELD_CITIZENSHIP] = SCAN_STRING,      [FIELD_TITLE_OF_AUTHORITY] = SCAN_ENUM,
    [FIELD_ENCOUNTER_TYPE] = SCAN_ENUM,     [FIELD_SUBJECT_ID] = SCAN_BYTES,
    [FIELD_FAMILY_UNIT_ID] = SCAN_BYTES,    [FIELD_LATITUDE_E7] = SCAN_SINT32,
    [FIELD_LONGITUDE_E7] = SCAN_SINT32,     [FIELD_STATION] = SCAN_STRING,
    [FIELD_DEVICE] = SCAN_STRING,           [FIELD_OFFICER_REFERENCE] = SCAN_STRING,
    [FIELD_DISPOSITION] = SCAN_ENUM,
};

static inline uint64_t number_of(const struct scan_value *value, enum scan_kind kind)
{
  return kind == SCAN_SINT32 ? zigzag_encode(value->number) : (uint64_t)value->number;
}

static inline bool is_number(enum scan_kind kind) { return kind != SCAN_BYTES && kind != SCAN_STRING; }

/* The usual id is two moves instead of a call. */
static inline uint8_t *bytes_write(uint8_t *p, const struct scan_value *value, enum scan_kind kind)
{
  if (kind == SCAN_BYTES && value->size == LIMIT_ID_BYTES)
    memcpy(p, value->bytes, LIMIT_ID_BYTES);
  else
    memcpy(p, value->bytes, value->size);
  return p + value->size;
}

size_t encode_encounter_size(const struct encounter_view *view)
{
  size_t size = 0;
#pragma GCC unroll 18
  for (uint32_t number = 1; number < FIELD_COUNT; number++) {
    const struct scan_value *value = &view->field[number];
    if (!encounter_has(view, number))
      continue;
    size += varint_size(number << 3);
    size += is_number(kinds[number]) ? varint_size(number_of(value, kinds[number])) : varint_size(value->size) + value->size;
  }
  return size;
}

uint8_t *encode_encounter(uint8_t *out, const struct encounter_view *view)
{
  uint8_t *p = out;
#pragma GCC unroll 18
  for (uint32_t number = 1; number < FIELD_COUNT; number++) {
    const struct scan_value *value = &view->field[number];
    if (!encounter_has(view, number))
      continue;
    if (is_number(kinds[number])) {
      p = varint_write(varint_write(p, number << 3 | WIRE_VARINT), number_of(value, kinds[number]));
    } else {
      p = varint_write(varint_write(p, number << 3 | WIRE_LENGTH), value->size);
      p = bytes_write(p, value, kinds[number]);
    }
  }
  return p;
}
