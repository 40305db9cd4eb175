#include "bench/supply.h"

#include <stdlib.h>
#include <string.h>

#include "muster/status.h"
#include "proto/scan.h"
#include "proto/varint.h"

/* The first records of a set's year are years before those of its last lap: ids of version 7 begin anew here and go on by a
 * millisecond every so many records, as they would at such a rate. */
#define FIRST_MS UINT64_C(1601510400000) /* 2020-10-01 */
#define RECORDS_PER_MS 500u

int supply_init(struct supply *s, const struct supply_options *options)
{
  memset(s, 0, sizeof *s);
  s->options = *options;
  s->options.stream.records = SUPPLY_SET;
  s->options.stream.resends_per_10000 = s->options.stream.faults_per_10000 = 0;
  s->key = random_mix(options->stream.seed + RANDOM_STEP);
  struct bench_stream *stream = malloc(sizeof *stream);
  size_t room = 0, used = 0;
  s->start = malloc((SUPPLY_SET + 1) * sizeof *s->start);
  int status = stream && s->start ? bench_stream_init(stream, &s->options.stream) : MUSTER_ERR_MEMORY;
  struct bench_item item;
  for (uint32_t i = 0; status == MUSTER_OK && bench_stream_next(stream, &item); i++) {
    if (used + item.size + VARINT_BYTES_MAX > room) {
      room = room ? room * 2 : SUPPLY_SET * 256u;
      uint8_t *grown = realloc(s->bytes, room);
      if (!grown) {
        status = MUSTER_ERR_MEMORY;
        break;
      }
      s->bytes = grown;
    }
    s->start[i] = (uint32_t)used;
    uint8_t *p = varint_write(s->bytes + used, item.size);
    memcpy(p, item.bytes, item.size);
    used = (size_t)(p + item.size - s->bytes);
    s->start[i + 1] = (uint32_t)used;
  }
  free(stream);
  if (status != MUSTER_OK)
    supply_finish(s);
  return status;
}

void supply_finish(struct supply *s)
{
  free(s->bytes);
  free(s->start);
  free(s->fields);
  free(s->texts);
  memset(s, 0, sizeof *s);
}

bool supply_resend(const struct supply *s, uint64_t place)
{
  return place >= SUPPLY_SET && random_mix(s->key ^ place) % 10000 < s->options.resends_per_10000;
}

/* The place whose bytes stand at this place: itself, or the one of an earlier lap that it repeats. */
static uint64_t origin_of(const struct supply *s, uint64_t place)
{
  while (supply_resend(s, place)) {
    uint64_t laps = place / SUPPLY_SET;
    place -= SUPPLY_SET * (1 + random_mix(s->key - place) % laps);
  }
  return place;
}

/* RFC 9562, version 7 or 4; 62 bits are a bijection of the place, so no two places have the same. */
static void id_put(const struct supply *s, uint8_t id[16], uint64_t place)
{
  uint64_t unique = random_mix(place + s->key), more = random_mix(unique ^ s->key);
  uint64_t high = s->options.stream.ids_v4 ? more << 16 | UINT64_C(0x4000) : (FIRST_MS + place / RECORDS_PER_MS) << 16 | UINT64_C(0x7000);
  high |= (more >> 48 & 0xc00) | unique >> 62; /* the two bits that the variant takes from below, and some more */
  uint64_t low = (unique & ~(UINT64_C(3) << 62)) | UINT64_C(2) << 62;
  high = __builtin_bswap64(high);
  low = __builtin_bswap64(low);
  memcpy(id, &high, sizeof high);
  memcpy(id + 8, &low, sizeof low);
}

/* In the canonical form the id is the first field: behind the length of the record stand its tag and its own length. */
static uint8_t *id_of(const struct supply *s, uint32_t i)
{
  uint8_t *p = s->bytes + s->start[i];
  while (*p++ & 0x80)
    ;
  return p + 2;
}

const uint8_t *supply_take(struct supply *s, uint64_t first, uint32_t *count, size_t *size)
{
  const uint32_t from = (uint32_t)(first % SUPPLY_SET);
  if (*count > SUPPLY_SET - from)
    *count = SUPPLY_SET - from;
  for (uint32_t i = 0; i < *count; i++)
    id_put(s, id_of(s, from + i), origin_of(s, first + i));
  *size = s->start[from + *count] - s->start[from];
  return s->bytes + s->start[from];
}

/* ---- by its fields ---- */

static const char *text_of(const struct encounter_view *v, enum encounter_field field, char out[SUPPLY_TEXT])
{
  if (!encounter_has(v, field))
    return NULL;
  memcpy(out, v->field[field].bytes, v->field[field].size);
  out[v->field[field].size] = '\0';
  return out;
}

static void bytes_of(const struct encounter_view *v, enum encounter_field field, uint8_t out[LIMIT_ID_BYTES])
{
  if (encounter_has(v, field))
    memcpy(out, v->field[field].bytes, LIMIT_ID_BYTES);
}

static int32_t number_of(const struct encounter_view *v, enum encounter_field field)
{
  return encounter_has(v, field) ? (int32_t)v->field[field].number : 0;
}

static void fields_of(struct muster_encounter *e, const struct encounter_view *v, char (*texts)[SUPPLY_TEXT])
{
  *e = (struct muster_encounter)MUSTER_ENCOUNTER_INIT;
  bytes_of(v, FIELD_ENCOUNTER_ID, e->encounter_id);
  e->encounter_time_us = v->field[FIELD_ENCOUNTER_TIME].number;
  e->component = number_of(v, FIELD_COMPONENT);
  e->area_of_responsibility = number_of(v, FIELD_AREA_OF_RESPONSIBILITY);
  e->land_border_region = number_of(v, FIELD_LAND_BORDER_REGION);
  e->demographic = number_of(v, FIELD_DEMOGRAPHIC);
  e->citizenship = text_of(v, FIELD_CITIZENSHIP, texts[0]);
  e->title_of_authority = number_of(v, FIELD_TITLE_OF_AUTHORITY);
  e->encounter_type = number_of(v, FIELD_ENCOUNTER_TYPE);
  bytes_of(v, FIELD_SUBJECT_ID, e->subject_id);
  bytes_of(v, FIELD_FAMILY_UNIT_ID, e->family_unit_id);
  e->has_location = encounter_has(v, FIELD_LATITUDE_E7);
  e->latitude_e7 = number_of(v, FIELD_LATITUDE_E7);
  e->longitude_e7 = number_of(v, FIELD_LONGITUDE_E7);
  e->station = text_of(v, FIELD_STATION, texts[1]);
  e->device = text_of(v, FIELD_DEVICE, texts[2]);
  e->officer_reference = text_of(v, FIELD_OFFICER_REFERENCE, texts[3]);
  e->disposition = number_of(v, FIELD_DISPOSITION);
}

int supply_fields(struct supply *s)
{
  s->fields = malloc(SUPPLY_SET * sizeof *s->fields);
  s->texts = malloc(SUPPLY_SET * 4 * sizeof *s->texts);
  if (!s->fields || !s->texts)
    return MUSTER_ERR_MEMORY;
  for (uint32_t i = 0; i < SUPPLY_SET; i++) {
    struct encounter_view view;
    struct scan_fault fault;
    uint64_t size = 0;
    const uint8_t *record = varint_read(s->bytes + s->start[i], s->bytes + s->start[i + 1], &size);
    if (!scan_encounter(&view, record, size, &fault))
      return MUSTER_ERR_FORMAT;
    fields_of(&s->fields[i], &view, s->texts + (size_t)i * 4);
  }
  return MUSTER_OK;
}

void supply_encounter(const struct supply *s, uint64_t place, struct muster_encounter *out)
{
  *out = s->fields[place % SUPPLY_SET];
  id_put(s, out->encounter_id, origin_of(s, place));
}
