#include "bench/encounter.h"

#include <assert.h>
#include <string.h>

#include "bench/random.h"
#include "proto/encode.h"
#include "proto/encounter.pb-c.h"
#include "proto/scan.h"
#include "proto/varint.h"
#include "proto/wire.pb-c.h"

#define BORDER_PATROL MUSTER__V1__COMPONENT__COMPONENT_US_BORDER_PATROL
#define FIELD_OPERATIONS MUSTER__V1__COMPONENT__COMPONENT_OFFICE_OF_FIELD_OPERATIONS
#define ADULT MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_SINGLE_ADULTS
#define FAMILY MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_FMUA
#define MINOR_ALONE MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_UC_SINGLE_MINORS
#define APPREHENSION MUSTER__V1__ENCOUNTER_TYPE__ENCOUNTER_TYPE_APPREHENSIONS
#define INADMISSIBLE MUSTER__V1__ENCOUNTER_TYPE__ENCOUNTER_TYPE_INADMISSIBLES
#define EXPULSION MUSTER__V1__ENCOUNTER_TYPE__ENCOUNTER_TYPE_EXPULSIONS
#define TITLE_8 MUSTER__V1__TITLE_OF_AUTHORITY__TITLE_8
#define TITLE_42 MUSTER__V1__TITLE_OF_AUTHORITY__TITLE_42

/* ---- assumptions, each with its line in bench/profiles/README.md ---- */

struct share {
  int32_t value;
  uint32_t per_mille;
};

/* Citizenship, per mille of units; the order of the table is of no meaning. */
static const struct {
  char code[4];
  uint32_t per_mille;
} citizenships[] = {
    {"MEX", 366}, {"HND", 180}, {"GTM", 168}, {"SLV", 58}, {"ECU", 57}, {"BRA", 34}, {"NIC", 30}, {"VEN", 29}, {"HTI", 27}, {"CUB", 23},
    {"COL", 5},   {"ROU", 4},   {"IND", 3},   {"RUS", 3},  {"PER", 3},  {"TUR", 2},  {"DOM", 2},  {"CHN", 2},  {"CRI", 2},  {"XXX", 2},
};

/* Title 42, per mille of the Border Patrol's units. */
#define TITLE_42_ADULTS 850u
#define TITLE_42_FAMILIES 300u

#define DISPOSITION(name) MUSTER__V1__DISPOSITION__DISPOSITION_##name
static const struct share adult_dispositions[] = {
    {DISPOSITION(EXPEDITED_REMOVAL), 350}, {DISPOSITION(NOTICE_TO_APPEAR), 300}, {DISPOSITION(REINSTATEMENT_OF_REMOVAL), 200},
    {DISPOSITION(PENDING), 100},           {DISPOSITION(VOLUNTARY_RETURN), 50},
};
static const struct share family_dispositions[] = {
    {DISPOSITION(NOTICE_TO_APPEAR), 700},
    {DISPOSITION(PAROLE), 150},
    {DISPOSITION(EXPEDITED_REMOVAL), 100},
    {DISPOSITION(PENDING), 50},
};
static const struct share minor_dispositions[] = {
    {DISPOSITION(TRANSFER), 950},
    {DISPOSITION(PENDING), 50},
};
static const struct share port_dispositions[] = {
    {DISPOSITION(WITHDRAWAL), 350},       {DISPOSITION(NOTICE_TO_APPEAR), 350}, {DISPOSITION(PAROLE), 200},
    {DISPOSITION(EXPEDITED_REMOVAL), 50}, {DISPOSITION(PENDING), 50},
};

#define STATIONS 12u   /* of an area */
#define DEVICES 400u   /* of an area */
#define OFFICERS 4000u /* of an area */

static uint32_t per_mille(struct random *r) { return (uint32_t)random_below(r, 1000); }

static int32_t share_pick(const struct share *shares, struct random *r)
{
  for (uint32_t at = per_mille(r);; shares++) {
    if (at < shares->per_mille)
      return shares->value;
    at -= shares->per_mille;
  }
}

static const char *citizenship_pick(struct random *r)
{
  uint32_t at = per_mille(r), i = 0;
  while (at >= citizenships[i].per_mille)
    at -= citizenships[i++].per_mille;
  return citizenships[i].code;
}

static void authority_pick(struct bench_encounter *e, struct random *r)
{
  uint32_t expelled = 0;
  if (e->component == BORDER_PATROL)
    expelled = e->demographic == ADULT ? TITLE_42_ADULTS : e->demographic == FAMILY ? TITLE_42_FAMILIES : 0;
  bool under_42 = per_mille(r) < expelled;
  e->title = under_42 ? TITLE_42 : TITLE_8;
  e->type = under_42 ? EXPULSION : e->component == BORDER_PATROL ? APPREHENSION : INADMISSIBLE;
  e->disposition = under_42                        ? (int32_t)DISPOSITION(TITLE_42_EXPULSION)
                   : e->demographic == MINOR_ALONE ? share_pick(minor_dispositions, r)
                   : e->component != BORDER_PATROL ? share_pick(port_dispositions, r)
                   : e->demographic == FAMILY      ? share_pick(family_dispositions, r)
                                                   : share_pick(adult_dispositions, r);
}

/* ---- wire ---- */

static inline struct scan_value bytes_of(const void *bytes, uint32_t size) { return (struct scan_value){.bytes = bytes, .size = size}; }

static inline struct scan_value text_of(const struct bench_text *text) { return bytes_of(text->bytes, text->size); }

/* The parts that are encoded; valid as long as e is. */
static inline void view_make(struct encounter_view *v, const struct bench_encounter *e)
{
  v->present = ((1u << FIELD_COUNT) - 2) & ~e->left_out;
  v->field[FIELD_ENCOUNTER_ID] = bytes_of(e->encounter_id, e->encounter_id_size);
  v->field[FIELD_ENCOUNTER_TIME].number = e->time_us;
  v->field[FIELD_COMPONENT].number = e->component;
  v->field[FIELD_AREA_OF_RESPONSIBILITY].number = e->area;
  v->field[FIELD_LAND_BORDER_REGION].number = e->region;
  v->field[FIELD_DEMOGRAPHIC].number = e->demographic;
  v->field[FIELD_CITIZENSHIP] = bytes_of(e->citizenship, sizeof e->citizenship);
  v->field[FIELD_TITLE_OF_AUTHORITY].number = e->title;
  v->field[FIELD_ENCOUNTER_TYPE].number = e->type;
  v->field[FIELD_SUBJECT_ID] = bytes_of(e->subject_id, e->subject_id_size);
  v->field[FIELD_FAMILY_UNIT_ID] = bytes_of(e->family_unit_id, LIMIT_ID_BYTES);
  v->field[FIELD_LATITUDE_E7].number = e->latitude_e7;
  v->field[FIELD_LONGITUDE_E7].number = e->longitude_e7;
  v->field[FIELD_STATION] = text_of(&e->station);
  v->field[FIELD_DEVICE] = text_of(&e->device);
  v->field[FIELD_OFFICER_REFERENCE] = text_of(&e->officer_reference);
  v->field[FIELD_DISPOSITION].number = e->disposition;
}

size_t bench_encounter_write(uint8_t *out, const struct bench_encounter *e)
{
  struct encounter_view view;
  view_make(&view, e);
  return (size_t)(encode_encounter(out, &view) - out);
}

/* ---- ids ---- */

/* What keeps the three ids of a record apart. */
enum id_kind { ID_ENCOUNTER = 1, ID_SUBJECT = 2, ID_FAMILY = 3 };

static void big_endian_write(uint8_t *out, uint64_t value, unsigned bytes)
{
  while (bytes-- > 0) {
    out[bytes] = (uint8_t)value;
    value >>= 8;
  }
}

/* RFC 9562. Of one key and kind, different serials never give the same id: 64 of its random bits are a bijection of the serial.
 * time_ms < 0: version 4. */
static void id_write(uint8_t id[16], uint64_t key, enum id_kind kind, uint64_t serial, int64_t time_ms)
{
  uint64_t salt = random_mix(key + (uint64_t)kind * RANDOM_STEP);
  uint64_t unique = random_mix(random_mix(serial ^ salt) + RANDOM_STEP);
  uint64_t more = random_mix(unique ^ salt);
  big_endian_write(id, time_ms < 0 ? more >> 16 : (uint64_t)time_ms, 6);
  id[6] = (uint8_t)((time_ms < 0 ? 0x40 : 0x70) | (more & 0x0f));
  id[7] = (uint8_t)((more >> 4 & 0x3f) | unique >> 62 << 6);
  big_endian_write(id + 8, (unique & ~(UINT64_C(3) << 62)) | UINT64_C(2) << 62, 8);
}

/* ---- texts ---- */

static char *text_put(char *p, const char *text, size_t size)
{
  memcpy(p, text, size);
  return p + size;
}

static char *digits_put(char *p, uint32_t value, unsigned digits)
{
  for (unsigned i = digits; i-- > 0; value /= 10)
    p[i] = (char)('0' + value % 10);
  return p + digits;
}

static char *hex_put(char *p, uint64_t value)
{
  for (unsigned shift = 64; shift > 0;) {
    shift -= 4;
    *p++ = "0123456789abcdef"[value >> shift & 15];
  }
  return p;
}

#define PUT(p, literal) text_put((p), (literal), sizeof(literal) - 1)

/* Synthetic names of things, never of people: "BBT-03 Big Bend Sector", "KIOSK-0142 serial ... firmware 4.2", "OFC-004711 reference
 * ...". */
static void texts_draw(struct bench_encounter *e, const struct vocabulary_area *area, struct random *r)
{
  uint32_t station = 1 + (uint32_t)random_below(r, STATIONS), device = 1 + (uint32_t)random_below(r, DEVICES);
  uint32_t officer = 1 + (uint32_t)random_below(r, OFFICERS);
  uint64_t area_key = (uint64_t)area->value << 32;
  char *p = text_put(e->station.bytes, area->abbreviation, strlen(area->abbreviation));
  p = digits_put(PUT(p, "-"), station, 2);
  p = PUT(p, " ");
  p = text_put(p, area->name, strlen(area->name));
  e->station.size = (uint32_t)(p - e->station.bytes);

  p = e->component == BORDER_PATROL ? PUT(e->device.bytes, "FIELD-") : PUT(e->device.bytes, "KIOSK-");
  p = PUT(digits_put(p, device, 4), " serial ");
  p = hex_put(p, random_mix(area_key + device));
  p = PUT(p, " firmware 4.");
  p = digits_put(p, device % 10, 1);
  e->device.size = (uint32_t)(p - e->device.bytes);

  p = PUT(e->officer_reference.bytes, "OFC-");
  p = PUT(digits_put(p, (uint32_t)area->value * OFFICERS + officer, 6), " reference ");
  p = hex_put(p, random_mix(~area_key - officer));
  p = digits_put(PUT(p, " shift "), 1 + officer % 3, 1);
  e->officer_reference.size = (uint32_t)(p - e->officer_reference.bytes);
}

/* Longer by so many bytes at most, never beyond the limit: "OFC-004711 reference ... shift 1.3f9c". Returns by how many. */
static uint32_t text_pad(struct bench_text *text, uint32_t bytes, struct random *r)
{
  uint32_t room = LIMIT_TEXT_BYTES - text->size, count = bytes < room ? bytes : room;
  uint64_t digits = 0;
  for (uint32_t i = 0; i < count; i++, digits >>= 4) {
    if (i % 16 == 0)
      digits = random_next(r);
    text->bytes[text->size++] = i == 0 ? '.' : "0123456789abcdef"[digits & 15];
  }
  return count;
}

/* Up to that many bytes of the record, as far as the texts go: none of them needs another byte for its length. */
static void texts_pad(struct bench_encounter *e, uint32_t record_bytes, struct random *r)
{
  struct encounter_view view;
  view_make(&view, e);
  size_t size = encode_encounter_size(&view);
  uint32_t missing = size < record_bytes ? record_bytes - (uint32_t)size : 0;
  missing -= text_pad(&e->officer_reference, missing, r);
  missing -= text_pad(&e->device, missing, r);
  text_pad(&e->station, missing, r);
}

/* In the middle half of the range. */
static int32_t middle_of(int32_t low, int32_t high, struct random *r)
{
  int64_t width = (int64_t)high - low;
  return (int32_t)(low + width / 4 + (int64_t)random_below(r, (uint64_t)(width / 2) + 1));
}

void bench_encounter_draw(struct bench_encounter *e, const struct bench_draw *draw)
{
  const struct vocabulary_area *area = draw->area;
  struct random r = random_of(draw->key ^ random_mix(draw->unit));
  e->left_out = draw->demographic == FAMILY ? 0 : 1u << FIELD_FAMILY_UNIT_ID;
  e->time_us = draw->time_us;
  e->component = area->component;
  e->area = area->value;
  e->region = area->region;
  e->demographic = draw->demographic;
  authority_pick(e, &r);
  memcpy(e->citizenship, citizenship_pick(&r), sizeof e->citizenship);
  e->latitude_e7 = middle_of(area->south_e7, area->north_e7, &r);
  e->longitude_e7 = middle_of(area->west_e7, area->east_e7, &r);
  texts_draw(e, area, &r);
  e->encounter_id_size = e->subject_id_size = LIMIT_ID_BYTES;
  id_write(e->encounter_id, draw->key, ID_ENCOUNTER, draw->serial, draw->ids_v4 ? -1 : draw->time_us / 1000);
  id_write(e->subject_id, draw->key, ID_SUBJECT, draw->serial, -1);
  if (draw->demographic == FAMILY)
    id_write(e->family_unit_id, draw->key, ID_FAMILY, draw->unit, -1);
  if (draw->record_bytes)
    texts_pad(e, draw->record_bytes, &r);
}

/* ---- faults ---- */

enum wire_type { WIRE_LENGTH = 2, WIRE_32BIT = 5 };

#define UNKNOWN_FIELD 100u
#define TIME_FAR_FUTURE_US INT64_C(4102444800000000) /* 2100-01-01 */
#define LATITUDE_TOO_FAR_E7 910000000

/* Behind the record: a field of a newer version. */
static uint8_t *unknown_put(uint8_t *p, uint32_t size)
{
  p = varint_write(varint_write(p, UNKNOWN_FIELD << 3 | WIRE_LENGTH), size);
  memset(p, 'n', size);
  return p + size;
}

/* An area of the other component, and the record moved there, so that nothing else about it is wrong. */
static void area_of_other_component(struct bench_encounter *e)
{
  size_t count;
  const struct vocabulary_area *areas = vocabulary_areas(&count);
  for (size_t i = 0; i < count; i++) {
    if (areas[i].component == e->component || areas[i].region != e->region)
      continue;
    e->area = areas[i].value;
    e->latitude_e7 = (int32_t)(((int64_t)areas[i].south_e7 + areas[i].north_e7) / 2);
    e->longitude_e7 = (int32_t)(((int64_t)areas[i].west_e7 + areas[i].east_e7) / 2);
    return;
  }
}

static int32_t type_of_component(int32_t component) { return component == BORDER_PATROL ? APPREHENSION : INADMISSIBLE; }

/* Faults of the bytes: made on the finished encoding, or on a value that the encoding takes as it is. */
static size_t write_broken_bytes(uint8_t *out, struct bench_encounter *e, uint32_t reason)
{
  if (reason == MUSTER__V1__REASON__REASON_BAD_UTF8)
    e->station.bytes[1] = '\xff';
  else if (reason == MUSTER__V1__REASON__REASON_CONTROL_CHARACTER)
    e->station.bytes[1] = '\a';
  else if (reason == MUSTER__V1__REASON__REASON_UNKNOWN_ENUM_VALUE)
    e->demographic = 77;
  size_t size = bench_encounter_write(out, e);
  uint8_t *end = out + size;
  switch (reason) {
  case MUSTER__V1__REASON__REASON_MALFORMED: return size - 1;
  case MUSTER__V1__REASON__REASON_WIRE_TYPE:
    end = varint_write(end, FIELD_DISPOSITION << 3 | WIRE_32BIT);
    memset(end, 0, 4);
    return (size_t)(end + 4 - out);
  case MUSTER__V1__REASON__REASON_RECORD_TOO_LARGE: return (size_t)(unknown_put(end, LIMIT_RECORD_BYTES) - out);
  case MUSTER__V1__REASON__REASON_TOO_MANY_UNKNOWN_BYTES: return (size_t)(unknown_put(end, LIMIT_UNKNOWN_BYTES) - out);
  default: return size;
  }
}

static void spoil_field(struct bench_encounter *e, uint32_t reason, uint64_t choice)
{
  switch (reason) {
  case MUSTER__V1__REASON__REASON_MISSING_FIELD: e->left_out |= 1u << (FIELD_ENCOUNTER_ID + choice % FIELD_SUBJECT_ID); break;
  case MUSTER__V1__REASON__REASON_ID_LENGTH: *(choice % 2 ? &e->subject_id_size : &e->encounter_id_size) = LIMIT_ID_BYTES - 1; break;
  case MUSTER__V1__REASON__REASON_ID_NIL_OR_MAX: memset(e->encounter_id, choice % 2 ? 0xff : 0, sizeof e->encounter_id); break;
  case MUSTER__V1__REASON__REASON_TEXT_TOO_LONG:
    e->station.size = LIMIT_TEXT_BYTES + 1;
    memset(e->station.bytes, 'S', e->station.size);
    break;
  case MUSTER__V1__REASON__REASON_TIME_IN_FUTURE: e->time_us = TIME_FAR_FUTURE_US; break;
  case MUSTER__V1__REASON__REASON_TIME_TOO_EARLY: e->time_us = -1; break;
  case MUSTER__V1__REASON__REASON_CITIZENSHIP: memcpy(e->citizenship, "ZZZ", sizeof e->citizenship); break;
  case MUSTER__V1__REASON__REASON_COORDINATE_MISSING: e->left_out |= 1u << (choice % 2 ? FIELD_LATITUDE_E7 : FIELD_LONGITUDE_E7); break;
  case MUSTER__V1__REASON__REASON_COORDINATE_RANGE: e->latitude_e7 = LATITUDE_TOO_FAR_E7; break;
  case MUSTER__V1__REASON__REASON_COORDINATE_OUTSIDE_AREA: e->longitude_e7 = -e->longitude_e7; break;
  default: assert(!"not a fault of one field");
  }
}

static void spoil_combination(struct bench_encounter *e, uint32_t reason)
{
  e->title = TITLE_8;
  e->type = type_of_component(e->component);
  e->disposition = DISPOSITION(PENDING);
  switch (reason) {
  case MUSTER__V1__REASON__REASON_AREA_OF_OTHER_COMPONENT: area_of_other_component(e); break;
  case MUSTER__V1__REASON__REASON_AREA_OF_OTHER_REGION:
    e->region = e->region == MUSTER__V1__LAND_BORDER_REGION__LAND_BORDER_REGION_NORTHERN
                    ? MUSTER__V1__LAND_BORDER_REGION__LAND_BORDER_REGION_SOUTHWEST
                    : MUSTER__V1__LAND_BORDER_REGION__LAND_BORDER_REGION_NORTHERN;
    break;
  case MUSTER__V1__REASON__REASON_TYPE_OF_OTHER_COMPONENT: e->type = e->component == BORDER_PATROL ? INADMISSIBLE : APPREHENSION; break;
  case MUSTER__V1__REASON__REASON_EXPULSION_NEEDS_TITLE_42: e->type = EXPULSION; break;
  case MUSTER__V1__REASON__REASON_TITLE_42_NEEDS_EXPULSION: e->title = TITLE_42; break;
  case MUSTER__V1__REASON__REASON_FAMILY_UNIT_MISSING:
    e->demographic = FAMILY;
    e->left_out |= 1u << FIELD_FAMILY_UNIT_ID;
    break;
  default: assert(!"not a fault of a combination");
  }
}

size_t bench_encounter_write_fault(uint8_t *out, struct bench_encounter *e, uint32_t reason, uint64_t choice)
{
  assert(reason >= BENCH_FAULT_FIRST && reason <= BENCH_FAULT_LAST);
  if (reason < MUSTER__V1__REASON__REASON_MISSING_FIELD || reason == MUSTER__V1__REASON__REASON_UNKNOWN_ENUM_VALUE)
    return write_broken_bytes(out, e, reason);
  if (reason < MUSTER__V1__REASON__REASON_AREA_OF_OTHER_COMPONENT)
    spoil_field(e, reason, choice);
  else
    spoil_combination(e, reason);
  return bench_encounter_write(out, e);
}
