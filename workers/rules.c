#include "workers/rules.h"

#include <string.h>

#include "core/limits.h"
#include "proto/encounter.pb-c.h"
#include "proto/text.h"
#include "proto/varint.h"
#include "proto/wire.pb-c.h"

#define LATITUDE_MAX_E7 900000000
#define LONGITUDE_MAX_E7 1800000000

typedef const struct encounter_view View;
typedef const struct rules_context Context;

static bool has(View *v, enum encounter_field f) { return encounter_has(v, f); }
static int64_t number(View *v, enum encounter_field f) { return v->field[f].number; }
static bool named(View *v, enum encounter_field f) { return has(v, f) && number(v, f) != 0; }
static bool id_whole(View *v, enum encounter_field f) { return !has(v, f) || v->field[f].size == LIMIT_ID_BYTES; }
static bool text_fits(View *v, enum encounter_field f) { return !has(v, f) || v->field[f].size <= LIMIT_TEXT_BYTES; }
static bool id_of(View *v, enum encounter_field f, uint64_t half)
{
  return load_u64(v->field[f].bytes) == half && load_u64(v->field[f].bytes + 8) == half;
}
static const struct vocabulary_area *area_of(View *v, Context *c)
{
  uint64_t value = (uint64_t)number(v, FIELD_AREA_OF_RESPONSIBILITY);
  return value < RULES_AREAS ? c->area[value] : NULL;
}

static bool holds_encounter_id_present(View *v, Context *c) { return (void)c, has(v, FIELD_ENCOUNTER_ID); }
static bool holds_encounter_time_present(View *v, Context *c) { return (void)c, has(v, FIELD_ENCOUNTER_TIME); }
static bool holds_component_present(View *v, Context *c) { return (void)c, named(v, FIELD_COMPONENT); }
static bool holds_area_present(View *v, Context *c) { return (void)c, named(v, FIELD_AREA_OF_RESPONSIBILITY); }
static bool holds_region_present(View *v, Context *c) { return (void)c, named(v, FIELD_LAND_BORDER_REGION); }
static bool holds_demographic_present(View *v, Context *c) { return (void)c, named(v, FIELD_DEMOGRAPHIC); }
static bool holds_citizenship_present(View *v, Context *c) { return (void)c, has(v, FIELD_CITIZENSHIP); }
static bool holds_title_present(View *v, Context *c) { return (void)c, named(v, FIELD_TITLE_OF_AUTHORITY); }
static bool holds_type_present(View *v, Context *c) { return (void)c, named(v, FIELD_ENCOUNTER_TYPE); }
static bool holds_subject_id_present(View *v, Context *c) { return (void)c, has(v, FIELD_SUBJECT_ID); }

static bool holds_encounter_id_length(View *v, Context *c) { return (void)c, id_whole(v, FIELD_ENCOUNTER_ID); }
static bool holds_subject_id_length(View *v, Context *c) { return (void)c, id_whole(v, FIELD_SUBJECT_ID); }
static bool holds_family_unit_id_length(View *v, Context *c) { return (void)c, id_whole(v, FIELD_FAMILY_UNIT_ID); }
static bool holds_encounter_id_not_nil_or_max(View *v, Context *c)
{
  (void)c;
  return !id_of(v, FIELD_ENCOUNTER_ID, 0) && !id_of(v, FIELD_ENCOUNTER_ID, UINT64_MAX);
}
static bool holds_subject_id_not_nil(View *v, Context *c) { return (void)c, !id_of(v, FIELD_SUBJECT_ID, 0); }

static bool holds_time_not_in_future(View *v, Context *c) { return number(v, FIELD_ENCOUNTER_TIME) <= c->now_us + c->future_skew_us; }
static bool holds_time_not_too_early(View *v, Context *c) { return number(v, FIELD_ENCOUNTER_TIME) >= c->earliest_us; }

static bool holds_citizenship_known(View *v, Context *c)
{
  (void)c;
  return v->field[FIELD_CITIZENSHIP].size == 3 && vocabulary_citizenship_known(v->field[FIELD_CITIZENSHIP].bytes);
}

static bool holds_station_length(View *v, Context *c) { return (void)c, text_fits(v, FIELD_STATION); }
static bool holds_device_length(View *v, Context *c) { return (void)c, text_fits(v, FIELD_DEVICE); }
static bool holds_officer_reference_length(View *v, Context *c) { return (void)c, text_fits(v, FIELD_OFFICER_REFERENCE); }

static bool holds_latitude_given(View *v, Context *c) { return (void)c, has(v, FIELD_LATITUDE_E7) || !has(v, FIELD_LONGITUDE_E7); }
static bool holds_longitude_given(View *v, Context *c) { return (void)c, has(v, FIELD_LONGITUDE_E7) || !has(v, FIELD_LATITUDE_E7); }

static bool within(View *v, enum encounter_field f, int64_t low, int64_t high)
{
  return !has(v, f) || (number(v, f) >= low && number(v, f) <= high);
}
static bool holds_latitude_range(View *v, Context *c) { return (void)c, within(v, FIELD_LATITUDE_E7, -LATITUDE_MAX_E7, LATITUDE_MAX_E7); }
static bool holds_longitude_range(View *v, Context *c)
{
  return (void)c, within(v, FIELD_LONGITUDE_E7, -LONGITUDE_MAX_E7, LONGITUDE_MAX_E7);
}

static bool holds_area_of_component(View *v, Context *c)
{
  const struct vocabulary_area *area = area_of(v, c);
  return area && area->component == number(v, FIELD_COMPONENT);
}
static bool holds_area_of_region(View *v, Context *c)
{
  const struct vocabulary_area *area = area_of(v, c);
  return area && area->region == number(v, FIELD_LAND_BORDER_REGION);
}
static bool holds_latitude_in_area(View *v, Context *c)
{
  const struct vocabulary_area *area = area_of(v, c);
  return area && within(v, FIELD_LATITUDE_E7, area->south_e7, area->north_e7);
}
static bool holds_longitude_in_area(View *v, Context *c)
{
  const struct vocabulary_area *area = area_of(v, c);
  return area && within(v, FIELD_LONGITUDE_E7, area->west_e7, area->east_e7);
}

static bool of_type(View *v, Muster__V1__EncounterType type) { return number(v, FIELD_ENCOUNTER_TYPE) == (int64_t)type; }
static bool holds_inadmissible_by_field_operations(View *v, Context *c)
{
  (void)c;
  return !of_type(v, MUSTER__V1__ENCOUNTER_TYPE__ENCOUNTER_TYPE_INADMISSIBLES) ||
         number(v, FIELD_COMPONENT) == MUSTER__V1__COMPONENT__COMPONENT_OFFICE_OF_FIELD_OPERATIONS;
}
static bool holds_apprehension_by_border_patrol(View *v, Context *c)
{
  (void)c;
  return !of_type(v, MUSTER__V1__ENCOUNTER_TYPE__ENCOUNTER_TYPE_APPREHENSIONS) ||
         number(v, FIELD_COMPONENT) == MUSTER__V1__COMPONENT__COMPONENT_US_BORDER_PATROL;
}
static bool holds_expulsion_under_title_42(View *v, Context *c)
{
  (void)c;
  return !of_type(v, MUSTER__V1__ENCOUNTER_TYPE__ENCOUNTER_TYPE_EXPULSIONS) ||
         number(v, FIELD_TITLE_OF_AUTHORITY) == MUSTER__V1__TITLE_OF_AUTHORITY__TITLE_42;
}
static bool holds_title_42_for_expulsion(View *v, Context *c)
{
  (void)c;
  return number(v, FIELD_TITLE_OF_AUTHORITY) != MUSTER__V1__TITLE_OF_AUTHORITY__TITLE_42 ||
         of_type(v, MUSTER__V1__ENCOUNTER_TYPE__ENCOUNTER_TYPE_EXPULSIONS);
}
static bool holds_family_unit_given(View *v, Context *c)
{
  (void)c;
  return number(v, FIELD_DEMOGRAPHIC) != MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_FMUA || has(v, FIELD_FAMILY_UNIT_ID);
}

const struct rule rules_table[] = {
#define RULE(rule, why, where, text) {#rule, holds_##rule, MUSTER__V1__REASON__REASON_##why, FIELD_##where, text},
#include "workers/rules.def"
#undef RULE
};
const size_t rules_count = sizeof rules_table / sizeof rules_table[0];

/* The same list once more, so that the compiler sees each function where it is asked: a call through the table costs several times as
 * much. */
const struct rule *rules_first_broken(const struct encounter_view *record, const struct rules_context *context)
{
  size_t at = 0;
#define RULE(rule, why, where, text)                                                                                                       \
  if (__builtin_expect(!holds_##rule(record, context), 0))                                                                                 \
    return &rules_table[at];                                                                                                               \
  at++;
#include "workers/rules.def"
#undef RULE
  return NULL;
}

void rules_context_init(struct rules_context *context, const struct config *config)
{
  size_t count;
  const struct vocabulary_area *areas = vocabulary_areas(&count);
  *context = (struct rules_context){
      .future_skew_us = (int64_t)config->future_skew_s * 1000000,
      .earliest_us = (int64_t)text_day_from_civil((int32_t)config->earliest_year, 1, 1) * 86400 * 1000000,
  };
  for (size_t i = 0; i < count; i++)
    if (areas[i].value > 0 && areas[i].value < RULES_AREAS)
      context->area[areas[i].value] = &areas[i];
}
