#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "ops/against.h"
#include "proto/encounter.pb-c.h"
#include "proto/text.h"

enum { PATROL = MUSTER__V1__COMPONENT__COMPONENT_US_BORDER_PATROL, FIELD = MUSTER__V1__COMPONENT__COMPONENT_OFFICE_OF_FIELD_OPERATIONS };

static const struct profile_month months[] = {{2020, 12, 6}, {2021, 1, 5}};
static const struct profile_area areas[] = {{MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_YUMA_SECTOR, PATROL, 7},
                                            {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_SOUTHWEST_FIELD_OFFICES, FIELD, 4}};
static const struct profile_demographic demographics[] = {{MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_FMUA, 7}};
static const struct profile profile = {.name = "tiny",
                                       .title = "A tiny surge",
                                       .total = 11,
                                       .month_count = 2,
                                       .area_count = 2,
                                       .demographic_count = 1,
                                       .months = months,
                                       .areas = areas,
                                       .demographics = demographics};

static struct ops_against a;

static int begin(void **state)
{
  (void)state;
  return ops_against_init(&a, &profile);
}

static int end(void **state)
{
  (void)state;
  ops_against_finish(&a);
  return 0;
}

static void add(int32_t year, uint32_t month, int component, int area, int demographic, uint64_t count)
{
  struct store_tally_cell cell = {.day = text_day_from_civil(year, month, 15),
                                  .component = (uint8_t)component,
                                  .region = MUSTER__V1__LAND_BORDER_REGION__LAND_BORDER_REGION_SOUTHWEST,
                                  .area = (uint16_t)area,
                                  .demographic = (uint8_t)demographic,
                                  .count = count};
  ops_against_add(&a, &cell);
}

static unsigned differing(char **text)
{
  size_t size = 0;
  FILE *out = open_memstream(text, &size);
  unsigned differ = ops_against_print(&a, out);
  fclose(out);
  return differ;
}

/* Field offices of any name are one row, and their demographics are not the Border Patrol's. */
static void fill(void)
{
  add(2020, 12, PATROL, MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_YUMA_SECTOR, MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_FMUA, 6);
  add(2021, 1, PATROL, MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_YUMA_SECTOR, MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_FMUA, 1);
  add(2021, 1, FIELD, MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_LAREDO_FIELD_OFFICE, MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_SINGLE_ADULTS, 3);
  add(2021, 1, FIELD, MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_SOUTHWEST_FIELD_OFFICES, MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_SINGLE_ADULTS,
      1);
}

static void the_same_figures_agree(void **state)
{
  (void)state;
  char *text;
  fill();
  assert_int_equal(differing(&text), 0);
  assert_non_null(strstr(text, "all figures agree"));
  assert_non_null(strstr(text, "total: 11 published, 11 in the store"));
  assert_null(strstr(text, "differs"));
  assert_null(strstr(text, "in no published row"));
  free(text);
}

static void one_encounter_too_few_is_seen_in_every_margin(void **state)
{
  (void)state;
  char *text;
  fill();
  a.months[1]--, a.areas[0]--, a.demographics[0]--, a.total--;
  assert_int_equal(differing(&text), 4);
  assert_non_null(strstr(text, "differs: -1"));
  assert_null(strstr(text, "all figures agree"));
  free(text);
}

static void what_is_in_no_row_cannot_hide(void **state)
{
  (void)state;
  char *text;
  fill();
  add(2021, 2, PATROL, MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_TUCSON_SECTOR, MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_UC_SINGLE_MINORS, 2);
  assert_int_equal(differing(&text), 4); /* a row of its own in each margin, and the total */
  const char *row = strstr(text, "in no published row");
  assert_non_null(row);
  assert_non_null(strstr(row, "differs: +2"));
  assert_null(strstr(text, "all figures agree"));
  free(text);
}

static void a_swap_within_one_margin_is_seen(void **state)
{
  (void)state;
  char *text;
  fill();
  a.months[0]++, a.months[1]--;
  assert_int_equal(differing(&text), 2);
  free(text);
}

static void an_empty_store_agrees_with_nothing(void **state)
{
  (void)state;
  char *text;
  assert_int_equal(differing(&text), 6);
  free(text);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(the_same_figures_agree, begin, end),
      cmocka_unit_test_setup_teardown(one_encounter_too_few_is_seen_in_every_margin, begin, end),
      cmocka_unit_test_setup_teardown(what_is_in_no_row_cannot_hide, begin, end),
      cmocka_unit_test_setup_teardown(a_swap_within_one_margin_is_seen, begin, end),
      cmocka_unit_test_setup_teardown(an_empty_store_agrees_with_nothing, begin, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
