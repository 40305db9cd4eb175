/*
 * The tables against what they stand for: every value of the generated enums has its name, every area a sane box, every reason a
 * sentence, and the citizenships are all of ISO 3166-1 and the four of ICAO 9303-3.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/limits.h"
#include "proto/encounter.pb-c.h"
#include "proto/vocabulary.h"
#include "proto/wire.pb-c.h"

#define E7 10000000

/* Walks an enum: named exactly where it is not UNSPECIFIED, names unique. */
static void check_enum(const ProtobufCEnumDescriptor *descriptor, const char *(*name)(int32_t value))
{
  assert_true(descriptor->n_values > 1);
  for (unsigned i = 0; i < descriptor->n_values; i++) {
    const char *published = name(descriptor->values[i].value);
    if ((published != NULL) != (descriptor->values[i].value != 0))
      fail_msg("%s: %s", descriptor->values[i].name, published ? "has a name" : "has no name in proto/vocabulary.c");
    for (unsigned k = 0; published && k < i; k++)
      if (descriptor->values[k].value != 0 && strcmp(published, name(descriptor->values[k].value)) == 0)
        fail_msg("%s and %s have one name", descriptor->values[i].name, descriptor->values[k].name);
  }
  assert_null(name(-1));
  assert_null(name(INT32_MAX));
}

static const char *area_name(int32_t value)
{
  const struct vocabulary_area *area = vocabulary_area(value);
  return area ? area->name : NULL;
}
static const char *area_abbreviation(int32_t value)
{
  const struct vocabulary_area *area = vocabulary_area(value);
  return area ? area->abbreviation : NULL;
}

static void test_every_enum_value_has_its_name(void **state)
{
  (void)state;
  check_enum(&muster__v1__component__descriptor, vocabulary_component);
  check_enum(&muster__v1__land_border_region__descriptor, vocabulary_region);
  check_enum(&muster__v1__demographic__descriptor, vocabulary_demographic);
  check_enum(&muster__v1__title_of_authority__descriptor, vocabulary_title);
  check_enum(&muster__v1__encounter_type__descriptor, vocabulary_type);
  check_enum(&muster__v1__area_of_responsibility__descriptor, area_name);
  check_enum(&muster__v1__area_of_responsibility__descriptor, area_abbreviation);
}

static void test_names_as_published(void **state)
{
  (void)state;
  assert_string_equal(vocabulary_component(MUSTER__V1__COMPONENT__COMPONENT_US_BORDER_PATROL), "U.S. Border Patrol");
  assert_string_equal(vocabulary_component(MUSTER__V1__COMPONENT__COMPONENT_OFFICE_OF_FIELD_OPERATIONS), "Office of Field Operations");
  assert_string_equal(vocabulary_region(MUSTER__V1__LAND_BORDER_REGION__LAND_BORDER_REGION_SOUTHWEST), "Southwest Land Border");
  assert_string_equal(vocabulary_demographic(MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_UC_SINGLE_MINORS), "UC / Single Minors");
  assert_string_equal(vocabulary_title(42), "Title 42");
  assert_string_equal(vocabulary_type(MUSTER__V1__ENCOUNTER_TYPE__ENCOUNTER_TYPE_EXPULSIONS), "Expulsions");
  assert_string_equal(area_name(MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_LAREDO_FIELD_OFFICE), "Laredo Field Office");
  assert_string_equal(area_name(MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_SOUTHWEST_FIELD_OFFICES), "Southwest field offices");
  assert_string_equal(area_abbreviation(MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_SOUTHWEST_FIELD_OFFICES), "OFO");
}

/* As encounter.proto numbers them: sectors of the Border Patrol below 100, field offices from there. */
static void test_areas_belong_somewhere(void **state)
{
  (void)state;
  size_t count;
  const struct vocabulary_area *areas = vocabulary_areas(&count);
  assert_int_equal(count, muster__v1__area_of_responsibility__descriptor.n_values - 1);
  for (size_t i = 0; i < count; i++) {
    assert_true(i == 0 || areas[i - 1].value < areas[i].value);
    assert_ptr_equal(vocabulary_area(areas[i].value), &areas[i]);
    assert_int_equal(areas[i].component, areas[i].value < 100 ? MUSTER__V1__COMPONENT__COMPONENT_US_BORDER_PATROL
                                                              : MUSTER__V1__COMPONENT__COMPONENT_OFFICE_OF_FIELD_OPERATIONS);
    int32_t group = areas[i].value % 100;
    int32_t region = group < 20   ? MUSTER__V1__LAND_BORDER_REGION__LAND_BORDER_REGION_SOUTHWEST
                     : group < 40 ? MUSTER__V1__LAND_BORDER_REGION__LAND_BORDER_REGION_NORTHERN
                                  : MUSTER__V1__LAND_BORDER_REGION__LAND_BORDER_REGION_OTHER;
    assert_int_equal(areas[i].region, region);
  }
}

/* At least two degrees a side, so that the margin is there, and within the globe; the southwest lies where it lies. */
static void test_boxes_are_sane(void **state)
{
  (void)state;
  size_t count;
  const struct vocabulary_area *areas = vocabulary_areas(&count);
  for (size_t i = 0; i < count; i++) {
    const struct vocabulary_area *a = &areas[i];
    bool sane = a->south_e7 >= -90 * E7 && a->north_e7 <= 90 * E7 && a->west_e7 >= -180 * E7 && a->east_e7 <= 180 * E7 &&
                (int64_t)a->north_e7 - a->south_e7 >= 2 * E7 && (int64_t)a->east_e7 - a->west_e7 >= 2 * E7;
    if (!sane)
      fail_msg("%s: its box is not sane", a->name);
    if (a->region == MUSTER__V1__LAND_BORDER_REGION__LAND_BORDER_REGION_SOUTHWEST &&
        (a->south_e7 < 24 * E7 || a->north_e7 > 43 * E7 || a->west_e7 < -126 * E7 || a->east_e7 > -92 * E7))
      fail_msg("%s: its box is not in the southwest", a->name);
  }
}

/* Stations' towns lie inside, in tenths of a degree; the same point with a swapped sign or swapped coordinates does not. */
static void test_boxes_hold_known_places(void **state)
{
  (void)state;
  static const struct {
    int32_t area, latitude, longitude;
  } places[] = {
      {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_BIG_BEND_SECTOR, 303, -1040},         /* Marfa */
      {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_DEL_RIO_SECTOR, 294, -1009},          /* Del Rio */
      {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_EL_CENTRO_SECTOR, 328, -1156},        /* El Centro */
      {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_EL_PASO_SECTOR, 318, -1065},          /* El Paso */
      {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_LAREDO_SECTOR, 275, -995},            /* Laredo */
      {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_RIO_GRANDE_VALLEY_SECTOR, 262, -982}, /* McAllen */
      {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_SAN_DIEGO_SECTOR, 325, -1170},        /* San Ysidro */
      {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_TUCSON_SECTOR, 313, -1109},           /* Nogales */
      {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_YUMA_SECTOR, 327, -1146},             /* Yuma */
      {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_BLAINE_SECTOR, 490, -1227},           /* Blaine */
      {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_SWANTON_SECTOR, 449, -731},           /* Swanton */
      {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_HOULTON_SECTOR, 461, -678},           /* Houlton */
      {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_MIAMI_SECTOR, 246, -818},             /* Key West */
      {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_RAMEY_SECTOR, 185, -671},             /* Aguadilla */
      {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_LAREDO_FIELD_OFFICE, 259, -975},      /* Brownsville */
      {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_SEATTLE_FIELD_OFFICE, 490, -973},     /* Pembina */
      {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_SOUTHWEST_FIELD_OFFICES, 325, -1170}, /* San Ysidro */
  };
  for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
    const struct vocabulary_area *a = vocabulary_area(places[i].area);
    int32_t latitude = places[i].latitude * (E7 / 10), longitude = places[i].longitude * (E7 / 10);
    if (latitude < a->south_e7 || latitude > a->north_e7 || longitude < a->west_e7 || longitude > a->east_e7)
      fail_msg("place %zu is not in the box of %s", i, a->name);
    assert_true(-longitude > a->east_e7);
    assert_true(-latitude < a->south_e7);
    assert_true(longitude < a->south_e7);
  }
}

static void test_citizenships_are_all(void **state)
{
  (void)state;
  uint8_t code[3];
  unsigned known = 0;
  for (code[0] = 'A'; code[0] <= 'Z'; code[0]++)
    for (code[1] = 'A'; code[1] <= 'Z'; code[1]++)
      for (code[2] = 'A'; code[2] <= 'Z'; code[2]++) {
        const char *name = vocabulary_citizenship(code);
        bool is_known = vocabulary_citizenship_known(code);
        if (is_known != (name[0] != '\0'))
          fail_msg("%.3s: the two tables disagree, or the table is not sorted", code);
        for (const char *p = name; *p; p++)
          if (!(*p >= 'A' && *p <= 'Z') && !strchr(" ,.'()-", *p) && !(*p >= '0' && *p <= '9'))
            fail_msg("%.3s: the name is not in plain capitals", code);
        known += is_known;
      }
  assert_int_equal(known, 253);
}

static void test_citizenship_by_example(void **state)
{
  (void)state;
  static const char *const known[][2] = {
      {"GTM", "GUATEMALA"}, {"MEX", "MEXICO"}, {"CHN", "CHINA, PEOPLES REPUBLIC OF"}, {"ABW", "ARUBA"}, {"ZWE", "ZIMBABWE"}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    assert_string_equal(vocabulary_citizenship((const uint8_t *)known[i][0]), known[i][1]);
  static const char *const special[] = {"XXA", "XXB", "XXC", "XXX"};
  for (size_t i = 0; i < sizeof special / sizeof special[0]; i++)
    assert_true(vocabulary_citizenship_known((const uint8_t *)special[i]));
  static const char *const unknown[] = {"ZZZ", "XXD", "mex", "ME ", "\0\0\0", "[[[", "@@@", "\xff\xff\xff", "AN\x5b", "YUG"};
  for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
    assert_false(vocabulary_citizenship_known((const uint8_t *)unknown[i]));
    assert_string_equal(vocabulary_citizenship((const uint8_t *)unknown[i]), "");
  }
}

static void test_reasons_have_a_sentence(void **state)
{
  (void)state;
  const ProtobufCEnumDescriptor *d = &muster__v1__reason__descriptor;
  for (unsigned i = 0; i < d->n_values; i++) {
    uint32_t reason = (uint32_t)d->values[i].value;
    const char *sentence = vocabulary_reason_sentence(reason);
    assert_in_range(reason, 0, LIMIT_REASONS - 1);
    if (strcmp(sentence, "unknown") == 0 || strlen(sentence) < 10)
      fail_msg("%s has no sentence", d->values[i].name);
    for (unsigned k = 0; k < i; k++)
      assert_string_not_equal(sentence, vocabulary_reason_sentence((uint32_t)d->values[k].value));
    assert_string_equal(vocabulary_reason(reason), d->values[i].name + strlen("REASON_"));
  }
  assert_string_equal(vocabulary_reason(MUSTER__V1__REASON__REASON_TIME_IN_FUTURE), "TIME_IN_FUTURE");
  assert_string_equal(vocabulary_reason(99), "unknown");
  assert_string_equal(vocabulary_reason(UINT32_MAX), "unknown");
  assert_string_equal(vocabulary_reason_sentence(99), "unknown");
  assert_string_equal(vocabulary_reason_sentence(UINT32_MAX), "unknown");
}

/* A number with thousands separators, as sentences have it. */
static const char *with_commas(char out[16], unsigned number)
{
  snprintf(out, 16, number < 1000 ? "%u" : "%u,%03u", number < 1000 ? number : number / 1000, number % 1000);
  return out;
}

static void test_sentences_state_the_limits(void **state)
{
  (void)state;
  char number[16];
  assert_non_null(strstr(vocabulary_reason_sentence(MUSTER__V1__REASON__REASON_RECORD_TOO_LARGE), with_commas(number, LIMIT_RECORD_BYTES)));
  assert_non_null(
      strstr(vocabulary_reason_sentence(MUSTER__V1__REASON__REASON_TOO_MANY_UNKNOWN_BYTES), with_commas(number, LIMIT_UNKNOWN_BYTES)));
  assert_non_null(strstr(vocabulary_reason_sentence(MUSTER__V1__REASON__REASON_TEXT_TOO_LONG), with_commas(number, LIMIT_TEXT_BYTES)));
  assert_non_null(
      strstr(vocabulary_reason_sentence(MUSTER__V1__REASON__REASON_BATCH_TOO_MANY_RECORDS), with_commas(number, LIMIT_BATCH_RECORDS)));
  assert_int_equal(LIMIT_MESSAGE_BYTES, 4u << 20);
  assert_non_null(strstr(vocabulary_reason_sentence(MUSTER__V1__REASON__REASON_BATCH_TOO_MANY_BYTES), "4 MiB"));
}

static void test_verdicts(void **state)
{
  (void)state;
  assert_string_equal(vocabulary_verdict(MUSTER__V1__VERDICT__VERDICT_ACCEPTED), "ACCEPTED");
  assert_string_equal(vocabulary_verdict(MUSTER__V1__VERDICT__VERDICT_RETRY), "RETRY");
  assert_string_equal(vocabulary_verdict(15), "unknown");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_enum_value_has_its_name), cmocka_unit_test(test_names_as_published),
      cmocka_unit_test(test_areas_belong_somewhere),        cmocka_unit_test(test_boxes_are_sane),
      cmocka_unit_test(test_boxes_hold_known_places),       cmocka_unit_test(test_citizenships_are_all),
      cmocka_unit_test(test_citizenship_by_example),        cmocka_unit_test(test_reasons_have_a_sentence),
      cmocka_unit_test(test_sentences_state_the_limits),    cmocka_unit_test(test_verdicts),
  };
  return cmocka_run_group_tests_name("vocabulary", tests, NULL, NULL);
}
