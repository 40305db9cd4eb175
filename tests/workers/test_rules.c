/*
 * One test a rule, generated from the same list as the table: each applies the cases below that name the rule. A broken
 * case must give exactly this rule, a kept one must pass it (and everything else, unless `then` names the later rule
 * that it runs into). A rule without cases on both sides is red.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "proto/encounter.pb-c.h"
#include "proto/text.h"
#include "proto/wire.pb-c.h"
#include "workers/rules.h"

#define NOW_US INT64_C(1622505600000000) /* 2021-06-01 */
#define SKEW_S 300u
#define EARLIEST_YEAR 2000u
#define EARLIEST_US INT64_C(946684800000000) /* 2000-01-01 */
#define E7 10000000

enum { BORDER_PATROL = 1, FIELD_OPERATIONS = 2, NORTHERN = 1, SOUTHWEST = 2, EL_PASO_SECTOR = 4, EL_PASO_FIELD_OFFICE = 101 };
enum { SINGLE_ADULT = 1, FAMILY = 2, APPREHENSION = 1, INADMISSIBLE = 2, EXPULSION = 3 };

static struct rules_context context;

enum kind { NONE, DROP, SET, FILL, TEXT, NORTH, SOUTH, EAST, WEST };

/* One change to the good record. FILL: `number` bytes of `fill`, the last one `last`. NORTH to WEST: that border of the record's area,
 * plus number. */
struct change {
  enum kind kind;
  enum encounter_field field;
  int64_t number;
  uint8_t fill, last;
  const char *text;
};
#define DROP(f)                                                                                                                            \
  {                                                                                                                                        \
    .kind = DROP, .field = FIELD_##f                                                                                                       \
  }
#define SET(f, n)                                                                                                                          \
  {                                                                                                                                        \
    .kind = SET, .field = FIELD_##f, .number = (n)                                                                                         \
  }
#define FILL(f, n, byte, end)                                                                                                              \
  {                                                                                                                                        \
    .kind = FILL, .field = FIELD_##f, .number = (n), .fill = (byte), .last = (end)                                                         \
  }
#define TEXT(f, t)                                                                                                                         \
  {                                                                                                                                        \
    .kind = TEXT, .field = FIELD_##f, .text = (t)                                                                                          \
  }
#define EDGE(side, f, n)                                                                                                                   \
  {                                                                                                                                        \
    .kind = side, .field = FIELD_##f, .number = (n)                                                                                        \
  }

struct rule_case {
  const char *rule;
  bool broken;
  const char *then;
  struct change change[4];
};
#define BROKEN(rule, ...)                                                                                                                  \
  {                                                                                                                                        \
#rule, true, NULL, { __VA_ARGS__ }                                                                                                     \
  }
#define KEPT(rule, ...)                                                                                                                    \
  {                                                                                                                                        \
#rule, false, NULL, { __VA_ARGS__ }                                                                                                    \
  }
#define KEPT_THEN(rule, later, ...)                                                                                                        \
  {                                                                                                                                        \
#rule, false, #later, { __VA_ARGS__ }                                                                                                  \
  }
#define GOOD_POINT SET(LATITUDE_E7, 31 * E7 + E7 / 2), SET(LONGITUDE_E7, -106 * E7)

static const struct rule_case cases[] = {
    BROKEN(encounter_id_present, DROP(ENCOUNTER_ID)),
    KEPT(encounter_id_present, FILL(ENCOUNTER_ID, 16, 1, 1)),
    BROKEN(encounter_time_present, DROP(ENCOUNTER_TIME)),
    KEPT_THEN(encounter_time_present, time_not_too_early, SET(ENCOUNTER_TIME, 0)),
    BROKEN(component_present, DROP(COMPONENT)),
    BROKEN(component_present, SET(COMPONENT, 0)),
    KEPT(component_present, SET(COMPONENT, BORDER_PATROL)),
    BROKEN(area_present, DROP(AREA_OF_RESPONSIBILITY)),
    BROKEN(area_present, SET(AREA_OF_RESPONSIBILITY, 0)),
    KEPT(area_present, SET(AREA_OF_RESPONSIBILITY, 1)),
    BROKEN(region_present, DROP(LAND_BORDER_REGION)),
    BROKEN(region_present, SET(LAND_BORDER_REGION, 0)),
    KEPT(region_present, SET(LAND_BORDER_REGION, SOUTHWEST)),
    BROKEN(demographic_present, DROP(DEMOGRAPHIC)),
    BROKEN(demographic_present, SET(DEMOGRAPHIC, 0)),
    KEPT(demographic_present, SET(DEMOGRAPHIC, SINGLE_ADULT)),
    BROKEN(citizenship_present, DROP(CITIZENSHIP)),
    KEPT_THEN(citizenship_present, citizenship_known, TEXT(CITIZENSHIP, "")),
    BROKEN(title_present, DROP(TITLE_OF_AUTHORITY)),
    BROKEN(title_present, SET(TITLE_OF_AUTHORITY, 0)),
    KEPT(title_present, SET(TITLE_OF_AUTHORITY, 8)),
    BROKEN(type_present, DROP(ENCOUNTER_TYPE)),
    BROKEN(type_present, SET(ENCOUNTER_TYPE, 0)),
    KEPT(type_present, SET(ENCOUNTER_TYPE, APPREHENSION)),
    BROKEN(subject_id_present, DROP(SUBJECT_ID)),
    KEPT(subject_id_present, FILL(SUBJECT_ID, 16, 1, 1)),

    BROKEN(encounter_id_length, FILL(ENCOUNTER_ID, 0, 1, 1)),
    BROKEN(encounter_id_length, FILL(ENCOUNTER_ID, 15, 1, 1)),
    BROKEN(encounter_id_length, FILL(ENCOUNTER_ID, 17, 1, 1)),
    KEPT(encounter_id_length, FILL(ENCOUNTER_ID, 16, 1, 1)),
    BROKEN(subject_id_length, FILL(SUBJECT_ID, 15, 1, 1)),
    BROKEN(subject_id_length, FILL(SUBJECT_ID, 17, 1, 1)),
    KEPT(subject_id_length, FILL(SUBJECT_ID, 16, 1, 1)),
    BROKEN(family_unit_id_length, FILL(FAMILY_UNIT_ID, 15, 1, 1)),
    BROKEN(family_unit_id_length, FILL(FAMILY_UNIT_ID, 17, 1, 1)),
    KEPT(family_unit_id_length, FILL(FAMILY_UNIT_ID, 16, 1, 1)),
    KEPT(family_unit_id_length, DROP(FAMILY_UNIT_ID)),
    BROKEN(encounter_id_not_nil_or_max, FILL(ENCOUNTER_ID, 16, 0, 0)),
    BROKEN(encounter_id_not_nil_or_max, FILL(ENCOUNTER_ID, 16, 255, 255)),
    KEPT(encounter_id_not_nil_or_max, FILL(ENCOUNTER_ID, 16, 0, 1)),
    KEPT(encounter_id_not_nil_or_max, FILL(ENCOUNTER_ID, 16, 255, 254)),
    BROKEN(subject_id_not_nil, FILL(SUBJECT_ID, 16, 0, 0)),
    KEPT(subject_id_not_nil, FILL(SUBJECT_ID, 16, 0, 1)),
    BROKEN(time_not_in_future, SET(ENCOUNTER_TIME, NOW_US + SKEW_S * INT64_C(1000000) + 1)),
    BROKEN(time_not_in_future, SET(ENCOUNTER_TIME, INT64_MAX)),
    KEPT(time_not_in_future, SET(ENCOUNTER_TIME, NOW_US + SKEW_S * INT64_C(1000000))),
    BROKEN(time_not_too_early, SET(ENCOUNTER_TIME, EARLIEST_US - 1)),
    BROKEN(time_not_too_early, SET(ENCOUNTER_TIME, INT64_MIN)),
    KEPT(time_not_too_early, SET(ENCOUNTER_TIME, EARLIEST_US)),
    BROKEN(citizenship_known, TEXT(CITIZENSHIP, "ME")),
    BROKEN(citizenship_known, TEXT(CITIZENSHIP, "MEXI")),
    BROKEN(citizenship_known, TEXT(CITIZENSHIP, "mex")),
    BROKEN(citizenship_known, TEXT(CITIZENSHIP, "QQQ")),
    BROKEN(citizenship_known, TEXT(CITIZENSHIP, "\xC3\x89"
                                                "A")),
    KEPT(citizenship_known, TEXT(CITIZENSHIP, "GTM")),
    KEPT(citizenship_known, TEXT(CITIZENSHIP, "XXA")),
    KEPT(citizenship_known, TEXT(CITIZENSHIP, "XXX")),
    BROKEN(station_length, FILL(STATION, 65, 'a', 'a')),
    KEPT(station_length, FILL(STATION, 64, 'a', 'a')),
    BROKEN(device_length, FILL(DEVICE, 65, 'a', 'a')),
    KEPT(device_length, FILL(DEVICE, 64, 'a', 'a')),
    BROKEN(officer_reference_length, FILL(OFFICER_REFERENCE, 65, 'a', 'a')),
    KEPT(officer_reference_length, FILL(OFFICER_REFERENCE, 64, 'a', 'a')),
    BROKEN(latitude_given, SET(LONGITUDE_E7, -106 * E7)),
    KEPT(latitude_given, GOOD_POINT),
    BROKEN(longitude_given, SET(LATITUDE_E7, 31 * E7)),
    KEPT(longitude_given, GOOD_POINT),
    BROKEN(latitude_range, SET(LONGITUDE_E7, 0), SET(LATITUDE_E7, 90 * E7 + 1)),
    BROKEN(latitude_range, SET(LONGITUDE_E7, 0), SET(LATITUDE_E7, -90 * E7 - 1)),
    KEPT_THEN(latitude_range, latitude_in_area, SET(LONGITUDE_E7, -106 * E7), SET(LATITUDE_E7, 90 * E7)),
    KEPT_THEN(latitude_range, latitude_in_area, SET(LONGITUDE_E7, -106 * E7), SET(LATITUDE_E7, -90 * E7)),
    BROKEN(longitude_range, SET(LATITUDE_E7, 0), SET(LONGITUDE_E7, INT64_C(180) * E7 + 1)),
    BROKEN(longitude_range, SET(LATITUDE_E7, 0), SET(LONGITUDE_E7, INT64_C(-180) * E7 - 1)),
    KEPT_THEN(longitude_range, longitude_in_area, SET(LATITUDE_E7, 31 * E7 + E7 / 2), SET(LONGITUDE_E7, INT64_C(180) * E7)),
    KEPT_THEN(longitude_range, longitude_in_area, SET(LATITUDE_E7, 31 * E7 + E7 / 2), SET(LONGITUDE_E7, INT64_C(-180) * E7)),

    BROKEN(area_of_component, SET(COMPONENT, FIELD_OPERATIONS), SET(ENCOUNTER_TYPE, INADMISSIBLE)),
    BROKEN(area_of_component, SET(AREA_OF_RESPONSIBILITY, EL_PASO_FIELD_OFFICE)),
    BROKEN(area_of_component, SET(AREA_OF_RESPONSIBILITY, 99)),
    BROKEN(area_of_component, SET(AREA_OF_RESPONSIBILITY, RULES_AREAS + EL_PASO_SECTOR)),
    KEPT(area_of_component, SET(COMPONENT, FIELD_OPERATIONS), SET(ENCOUNTER_TYPE, INADMISSIBLE),
         SET(AREA_OF_RESPONSIBILITY, EL_PASO_FIELD_OFFICE)),
    BROKEN(area_of_region, SET(LAND_BORDER_REGION, NORTHERN)),
    KEPT(area_of_region, SET(LAND_BORDER_REGION, SOUTHWEST)),
    BROKEN(latitude_in_area, GOOD_POINT, EDGE(NORTH, LATITUDE_E7, 1)),
    BROKEN(latitude_in_area, GOOD_POINT, EDGE(SOUTH, LATITUDE_E7, -1)),
    KEPT(latitude_in_area, GOOD_POINT, EDGE(NORTH, LATITUDE_E7, 0)),
    KEPT(latitude_in_area, GOOD_POINT, EDGE(SOUTH, LATITUDE_E7, 0)),
    BROKEN(longitude_in_area, GOOD_POINT, EDGE(EAST, LONGITUDE_E7, 1)),
    BROKEN(longitude_in_area, GOOD_POINT, EDGE(WEST, LONGITUDE_E7, -1)),
    KEPT(longitude_in_area, GOOD_POINT, EDGE(EAST, LONGITUDE_E7, 0)),
    KEPT(longitude_in_area, GOOD_POINT, EDGE(WEST, LONGITUDE_E7, 0)),
    BROKEN(inadmissible_by_field_operations, SET(ENCOUNTER_TYPE, INADMISSIBLE)),
    KEPT(inadmissible_by_field_operations, SET(ENCOUNTER_TYPE, INADMISSIBLE), SET(COMPONENT, FIELD_OPERATIONS),
         SET(AREA_OF_RESPONSIBILITY, EL_PASO_FIELD_OFFICE)),
    BROKEN(apprehension_by_border_patrol, SET(COMPONENT, FIELD_OPERATIONS), SET(AREA_OF_RESPONSIBILITY, EL_PASO_FIELD_OFFICE)),
    KEPT(apprehension_by_border_patrol, SET(COMPONENT, BORDER_PATROL)),
    BROKEN(expulsion_under_title_42, SET(ENCOUNTER_TYPE, EXPULSION)),
    KEPT(expulsion_under_title_42, SET(ENCOUNTER_TYPE, EXPULSION), SET(TITLE_OF_AUTHORITY, 42)),
    BROKEN(title_42_for_expulsion, SET(TITLE_OF_AUTHORITY, 42)),
    KEPT(title_42_for_expulsion, SET(TITLE_OF_AUTHORITY, 42), SET(ENCOUNTER_TYPE, EXPULSION), SET(COMPONENT, FIELD_OPERATIONS),
         SET(AREA_OF_RESPONSIBILITY, EL_PASO_FIELD_OFFICE)),
    BROKEN(family_unit_given, SET(DEMOGRAPHIC, FAMILY)),
    KEPT(family_unit_given, SET(DEMOGRAPHIC, FAMILY), FILL(FAMILY_UNIT_ID, 16, 2, 2)),
    KEPT(family_unit_given, SET(DEMOGRAPHIC, SINGLE_ADULT), FILL(FAMILY_UNIT_ID, 16, 2, 2)),
};

/* A record as the scan would give it; `memory` holds the bytes that the view points to. */
struct subject {
  struct encounter_view view;
  uint8_t memory[FIELD_COUNT][128];
};

static void apply(struct subject *s, const struct change *change)
{
  struct scan_value *value = &s->view.field[change->field];
  uint8_t *memory = s->memory[change->field];
  const struct vocabulary_area *area = vocabulary_area((int32_t)s->view.field[FIELD_AREA_OF_RESPONSIBILITY].number);
  if (change->kind == NONE)
    return;
  s->view.present |= 1u << change->field;
  *value = (struct scan_value){.number = change->number};
  switch (change->kind) {
  case DROP: s->view.present &= ~(1u << change->field); break;
  case FILL:
    memset(memory, change->fill, sizeof s->memory[0]);
    if (change->number > 0)
      memory[change->number - 1] = change->last;
    *value = (struct scan_value){.bytes = memory, .size = (uint32_t)change->number};
    break;
  case TEXT: *value = (struct scan_value){.bytes = (const uint8_t *)change->text, .size = (uint32_t)strlen(change->text)}; break;
  case NORTH: value->number += area->north_e7; break;
  case SOUTH: value->number += area->south_e7; break;
  case EAST: value->number += area->east_e7; break;
  case WEST: value->number += area->west_e7; break;
  default: break;
  }
}

static void good_record(struct subject *s)
{
  static const struct change good[] = {
      FILL(ENCOUNTER_ID, 16, 7, 9),       SET(ENCOUNTER_TIME, NOW_US - 3600 * INT64_C(1000000)),
      SET(COMPONENT, BORDER_PATROL),      SET(AREA_OF_RESPONSIBILITY, EL_PASO_SECTOR),
      SET(LAND_BORDER_REGION, SOUTHWEST), SET(DEMOGRAPHIC, SINGLE_ADULT),
      TEXT(CITIZENSHIP, "MEX"),           SET(TITLE_OF_AUTHORITY, 8),
      SET(ENCOUNTER_TYPE, APPREHENSION),  FILL(SUBJECT_ID, 16, 3, 4),
  };
  memset(s, 0, sizeof *s);
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
    apply(s, &good[i]);
}

static const struct rule *rule_named(const char *name)
{
  for (size_t i = 0; i < rules_count; i++)
    if (strcmp(rules_table[i].name, name) == 0)
      return &rules_table[i];
  return NULL;
}

static void check_case(const struct rule *rule, size_t number)
{
  const struct rule_case *c = &cases[number];
  struct subject s;
  good_record(&s);
  for (size_t i = 0; i < 4; i++)
    apply(&s, &c->change[i]);
  const struct rule *expected = c->broken ? rule : c->then ? rule_named(c->then) : NULL;
  const struct rule *found = rules_first_broken(&s.view, &context);
  if (found != expected)
    fail_msg("case %zu of %s: broke %s, should break %s", number, c->rule, found ? found->name : "nothing",
             expected ? expected->name : "nothing");
  assert_int_equal(rule->holds(&s.view, &context), !c->broken);
}

/* Each rule is broken by some case and kept by another. */
static void test_rule(void **state)
{
  const struct rule *rule = rule_named(*state);
  unsigned sides[2] = {0, 0};
  assert_non_null(rule);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    if (strcmp(cases[i].rule, rule->name) != 0)
      continue;
    check_case(rule, i);
    sides[cases[i].broken]++;
  }
  if (!sides[0] || !sides[1])
    fail_msg("rule %s has %u kept and %u broken cases; it needs both", rule->name, sides[0], sides[1]);
}

static void test_cases_name_rules(void **state)
{
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    if (!rule_named(cases[i].rule))
      fail_msg("case %zu names a rule that does not exist: %s", i, cases[i].rule);
}

/* What travels and what people read: an INVALID reason, a field of the record, one sentence; names are unique. */
static void test_table_is_whole(void **state)
{
  (void)state;
  assert_true(rules_count > 0);
  for (size_t i = 0; i < rules_count; i++) {
    const struct rule *rule = &rules_table[i];
    assert_ptr_equal(rule, rule_named(rule->name));
    assert_in_range(rule->reason, MUSTER__V1__REASON__REASON_MISSING_FIELD, MUSTER__V1__REASON__REASON_FAMILY_UNIT_MISSING);
    assert_in_range(rule->field, 1, FIELD_COUNT - 1);
    assert_true(strlen(rule->sentence) > 10);
  }
}

static void test_good_record_breaks_nothing(void **state)
{
  (void)state;
  struct subject s;
  good_record(&s);
  assert_null(rules_first_broken(&s.view, &context));
}

/* Every area that the vocabulary knows can be recorded by its own component in its own region, at the middle of its box. */
static void test_every_area_is_possible(void **state)
{
  (void)state;
  size_t count;
  const struct vocabulary_area *areas = vocabulary_areas(&count);
  assert_true(count > 40);
  for (size_t i = 0; i < count; i++) {
    struct subject s;
    good_record(&s);
    const struct change change[] = {
        SET(AREA_OF_RESPONSIBILITY, areas[i].value),
        SET(COMPONENT, areas[i].component),
        SET(LAND_BORDER_REGION, areas[i].region),
        SET(ENCOUNTER_TYPE, areas[i].component == FIELD_OPERATIONS ? INADMISSIBLE : APPREHENSION),
        SET(LATITUDE_E7, ((int64_t)areas[i].south_e7 + areas[i].north_e7) / 2),
        SET(LONGITUDE_E7, ((int64_t)areas[i].west_e7 + areas[i].east_e7) / 2),
    };
    for (size_t k = 0; k < sizeof change / sizeof change[0]; k++)
      apply(&s, &change[k]);
    const struct rule *broken = rules_first_broken(&s.view, &context);
    if (broken)
      fail_msg("area %d breaks %s", areas[i].value, broken->name);
  }
}

static void test_context_from_settings(void **state)
{
  (void)state;
  assert_int_equal(context.earliest_us, EARLIEST_US);
  assert_int_equal(context.future_skew_us, SKEW_S * INT64_C(1000000));
  assert_null(context.area[0]);
  assert_ptr_equal(context.area[EL_PASO_SECTOR], vocabulary_area(EL_PASO_SECTOR));
}

int main(void)
{
  struct config config = {.future_skew_s = SKEW_S, .earliest_year = EARLIEST_YEAR};
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_good_record_breaks_nothing), cmocka_unit_test(test_table_is_whole),
      cmocka_unit_test(test_cases_name_rules),           cmocka_unit_test(test_every_area_is_possible),
      cmocka_unit_test(test_context_from_settings),
#define RULE(rule, why, where, text) {#rule, test_rule, NULL, NULL, (void *)(uintptr_t) #rule},
#include "workers/rules.def"
#undef RULE
  };
  rules_context_init(&context, &config);
  context.now_us = NOW_US;
  return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
