#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "client/client.h"
#include "proto/encode.h"
#include "proto/encounter.pb-c.h"
#include "proto/varint.h"

static_assert(MUSTER_TEXT_BYTES == LIMIT_TEXT_BYTES, "what the public header says of texts");
static_assert(MUSTER_ENCOUNTER_BYTES <= LIMIT_RECORD_BYTES, "every encoded encounter is a record");
static_assert(3 * (2 + LIMIT_ID_BYTES) + 4 * (3 + LIMIT_TEXT_BYTES) + 10 * (2 + VARINT_BYTES_MAX) <= MUSTER_ENCOUNTER_BYTES,
              "ids, texts and numbers, each with the largest head");
static_assert(sizeof(struct muster_encounter) ==
                  offsetof(struct muster_encounter, officer_reference) + sizeof(((struct muster_encounter *)0)->officer_reference),
              "a member that is added must make it larger, or size could not tell");

/* ---- the view of an encounter: its numbers, and pointers into it and to its texts ---- */

static inline void number_take(struct encounter_view *v, enum encounter_field field, int64_t number, bool given)
{
  v->field[field].number = number;
  v->present |= (uint32_t)given << field;
}

static inline void id_take(struct encounter_view *v, enum encounter_field field, const uint8_t id[LIMIT_ID_BYTES])
{
  v->field[field].bytes = id;
  v->field[field].size = LIMIT_ID_BYTES;
  v->present |= (uint32_t)((load_u64(id) | load_u64(id + 8)) != 0) << field;
}

/* A text that is too long is looked at no further than that shows. */
static inline void text_take(struct encounter_view *v, enum encounter_field field, const char *text, uint32_t *too_long)
{
  if (!text)
    return;
  v->field[field].bytes = (const uint8_t *)text;
  v->field[field].size = (uint32_t)strnlen(text, MUSTER_TEXT_BYTES + 1);
  v->present |= UINT32_C(1) << field;
  *too_long |= (uint32_t)(v->field[field].size > MUSTER_TEXT_BYTES) << field;
}

/* MUSTER_ERR_USAGE: not set up; MUSTER_ERR_LIMIT: *too_long is a text of more than MUSTER_TEXT_BYTES. */
static int view_take(struct encounter_view *v, const struct muster_encounter *e, enum encounter_field *too_long)
{
  uint32_t long_ones = 0;
  if (e->size != sizeof *e) /* there is no older one yet, and a newer one may hold what would be lost here */
    return MUSTER_ERR_USAGE;
  v->present = 0;
  id_take(v, FIELD_ENCOUNTER_ID, e->encounter_id);
  number_take(v, FIELD_ENCOUNTER_TIME, e->encounter_time_us, e->encounter_time_us != 0);
  number_take(v, FIELD_COMPONENT, e->component, e->component != 0);
  number_take(v, FIELD_AREA_OF_RESPONSIBILITY, e->area_of_responsibility, e->area_of_responsibility != 0);
  number_take(v, FIELD_LAND_BORDER_REGION, e->land_border_region, e->land_border_region != 0);
  number_take(v, FIELD_DEMOGRAPHIC, e->demographic, e->demographic != 0);
  text_take(v, FIELD_CITIZENSHIP, e->citizenship, &long_ones);
  number_take(v, FIELD_TITLE_OF_AUTHORITY, e->title_of_authority, e->title_of_authority != 0);
  number_take(v, FIELD_ENCOUNTER_TYPE, e->encounter_type, e->encounter_type != 0);
  id_take(v, FIELD_SUBJECT_ID, e->subject_id);
  id_take(v, FIELD_FAMILY_UNIT_ID, e->family_unit_id);
  number_take(v, FIELD_LATITUDE_E7, e->latitude_e7, e->has_location != 0);
  number_take(v, FIELD_LONGITUDE_E7, e->longitude_e7, e->has_location != 0);
  text_take(v, FIELD_STATION, e->station, &long_ones);
  text_take(v, FIELD_DEVICE, e->device, &long_ones);
  text_take(v, FIELD_OFFICER_REFERENCE, e->officer_reference, &long_ones);
  number_take(v, FIELD_DISPOSITION, e->disposition, e->disposition != 0);
  if (long_ones == 0)
    return MUSTER_OK;
  *too_long = (enum encounter_field)__builtin_ctz(long_ones);
  return MUSTER_ERR_LIMIT;
}

/* ---- encoding ---- */

int muster_encounter_encode(const struct muster_encounter *encounter, void *out, size_t room, size_t *size)
{
  struct encounter_view view;
  enum encounter_field too_long;
  *size = 0;
  int status = view_take(&view, encounter, &too_long);
  if (status != MUSTER_OK)
    return status;
  *size = encode_encounter_size(&view);
  if (*size > room)
    return MUSTER_ERR_USAGE;
  encode_encounter(out, &view);
  return MUSTER_OK;
}

int muster_client_submit_encounter(struct muster_client *client, const struct muster_encounter *encounter, uint64_t tag)
{
  struct encounter_view view;
  enum encounter_field too_long;
  uint8_t *room;
  int status = view_take(&view, encounter, &too_long);
  if (status == MUSTER_ERR_LIMIT)
    return client_fail(client, status, "the text of %s has more than %d bytes", muster__v1__encounter__descriptor.fields[too_long - 1].name,
                       MUSTER_TEXT_BYTES);
  if (status != MUSTER_OK)
    return client_fail(client, status,
                       "the encounter is not set up with MUSTER_ENCOUNTER_INIT, or the program was built for a newer library");
  status = client_submit_begin(client, encode_encounter_size(&view), true, &room);
  if (status != MUSTER_OK)
    return status;
  client_submit_end(client, encode_encounter(room, &view), tag);
  return MUSTER_OK;
}
