#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ops/grouping.h"
#include "proto/encounter.pb-c.h"
#include "proto/text.h"

static struct store_tally_cell cell_of(int32_t year, uint32_t month, uint32_t day, const char *citizenship, uint64_t count)
{
  struct store_tally_cell cell = {.day = text_day_from_civil(year, month, day),
                                  .component = MUSTER__V1__COMPONENT__COMPONENT_US_BORDER_PATROL,
                                  .region = MUSTER__V1__LAND_BORDER_REGION__LAND_BORDER_REGION_SOUTHWEST,
                                  .demographic = MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_FMUA,
                                  .title = MUSTER__V1__TITLE_OF_AUTHORITY__TITLE_8,
                                  .type = MUSTER__V1__ENCOUNTER_TYPE__ENCOUNTER_TYPE_APPREHENSIONS,
                                  .area = MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_YUMA_SECTOR,
                                  .count = count};
  memcpy(cell.citizenship, citizenship, 3);
  return cell;
}

static void fiscal_years_begin_in_october(void **state)
{
  (void)state;
  assert_int_equal(ops_grouping_fiscal_year(2020, 9), 2020);
  assert_int_equal(ops_grouping_fiscal_year(2020, 10), 2021);
  assert_int_equal(ops_grouping_fiscal_year(2020, 12), 2021);
  assert_int_equal(ops_grouping_fiscal_year(2021, 1), 2021);
  struct store_tally_cell last = cell_of(2020, 9, 30, "GTM", 1), first = cell_of(2020, 10, 1, "GTM", 1);
  assert_int_equal(ops_grouping_value(COLUMN_FISCAL_YEAR, &last), 2020);
  assert_int_equal(ops_grouping_value(COLUMN_FISCAL_YEAR, &first), 2021);
}

static void values_read_as_published(void **state)
{
  (void)state;
  static const char *const texts[COLUMNS] = {
      "2021",    "2020-10",       "U.S. Border Patrol", "Southwest Land Border", "Yuma Sector", "YUM", "FMUA", "GUATEMALA",
      "Title 8", "Apprehensions", "2020-10-01"};
  struct store_tally_cell cell = cell_of(2020, 10, 1, "GTM", 1);
  for (int c = 0; c < COLUMNS; c++) {
    char out[GROUPING_TEXT];
    assert_string_equal(ops_grouping_text((enum ops_column)c, ops_grouping_value((enum ops_column)c, &cell), out), texts[c]);
  }
  char out[GROUPING_TEXT];
  assert_string_equal(ops_grouping_text(COLUMN_MONTH, 1969 * 12 + 11, out), "1969-12");
  assert_string_equal(ops_grouping_text(COLUMN_DAY, -1, out), "1969-12-31");
  assert_string_equal(ops_grouping_text(COLUMN_AREA, 0, out), "Unspecified");
  assert_string_equal(ops_grouping_text(COLUMN_CITIZENSHIP, 0, out), "Unspecified");
  assert_string_equal(ops_grouping_text(COLUMN_CITIZENSHIP, 'Q' << 16 | 'Q' << 8 | 'Q', out), "QQQ");
}

static void columns_are_chosen_by_name_or_short_name(void **state)
{
  (void)state;
  struct ops_grouping g;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(ops_grouping_init(&g, NULL, &failure), MUSTER_OK);
  assert_int_equal(g.columns, COLUMN_DAY);
  assert_int_equal(ops_grouping_init(&g, "area,land_border_region,day", &failure), MUSTER_OK);
  assert_int_equal(g.columns, 3);
  assert_int_equal(g.by[0], COLUMN_AREA);
  assert_int_equal(g.by[1], COLUMN_REGION);
  assert_int_equal(g.by[2], COLUMN_DAY);
  static const char *const bad[] = {"", "shoe_size", "month,", ",month", "month,month", "area,area_of_responsibility", "mont", "month "};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct failure why = FAILURE_NONE;
    assert_int_equal(ops_grouping_init(&g, bad[i], &why), MUSTER_ERR_USAGE);
    for (int c = 0; c < COLUMNS; c++)
      assert_non_null(strstr(why.text, ops_grouping_column((enum ops_column)c)));
  }
}

static void rows_are_grouped_sorted_and_add_up(void **state)
{
  (void)state;
  struct ops_grouping g;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(ops_grouping_init(&g, "month,citizenship", &failure), MUSTER_OK);
  const struct store_tally_cell cells[] = {cell_of(2021, 9, 30, "MEX", 1), cell_of(2020, 10, 1, "CHE", 2), cell_of(2021, 9, 1, "MEX", 4),
                                           cell_of(2020, 10, 31, "GTM", 8), cell_of(2021, 9, 2, "ECU", 16)};
  for (size_t i = 0; i < 5; i++)
    assert_int_equal(ops_grouping_add(&g, &cells[i]), MUSTER_OK);
  ops_grouping_sort(&g);
  assert_int_equal(g.total, 31);
  assert_int_equal(g.count, 4);
  static const struct {
    const char *month, *citizenship;
    uint64_t count;
  } want[] = {{"2020-10", "GUATEMALA", 8}, {"2020-10", "SWITZERLAND", 2}, {"2021-09", "ECUADOR", 16}, {"2021-09", "MEXICO", 5}};
  for (size_t i = 0; i < 4; i++) {
    char out[GROUPING_TEXT];
    assert_string_equal(ops_grouping_text(COLUMN_MONTH, g.rows[i].value[0], out), want[i].month);
    assert_string_equal(ops_grouping_text(COLUMN_CITIZENSHIP, g.rows[i].value[1], out), want[i].citizenship);
    assert_int_equal(g.rows[i].count, want[i].count);
  }
  ops_grouping_finish(&g);
}

/* Random cells against a plain array of counters by month and demographic. */
static void random_cells_agree_with_plain_counting(void **state)
{
  (void)state;
  unsigned seed = (unsigned)time(NULL);
  printf("seed %u\n", seed);
  static uint64_t plain[4000][5];
  memset(plain, 0, sizeof plain);
  uint64_t total = 0;
  struct ops_grouping g;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(ops_grouping_init(&g, "day,demographic", &failure), MUSTER_OK);
  for (unsigned i = 0; i < 60000; i++) {
    struct store_tally_cell cell = cell_of(2020, 1, 1, "GTM", (uint64_t)(rand_r(&seed) % 9));
    unsigned day = (unsigned)rand_r(&seed) % 4000, demographic = (unsigned)rand_r(&seed) % 5;
    cell.day += (int32_t)day - 1000;
    cell.demographic = (uint8_t)demographic;
    plain[day][demographic] += cell.count;
    total += cell.count;
    assert_int_equal(ops_grouping_add(&g, &cell), MUSTER_OK);
  }
  ops_grouping_sort(&g);
  assert_int_equal(g.total, total);
  int32_t first = text_day_from_civil(2020, 1, 1) - 1000;
  for (size_t i = 0; i < g.count; i++) {
    assert_int_equal(g.rows[i].count, plain[g.rows[i].value[0] - first][g.rows[i].value[1]]);
    total -= g.rows[i].count;
    if (i > 0)
      assert_true(g.rows[i - 1].value[0] < g.rows[i].value[0] ||
                  (g.rows[i - 1].value[0] == g.rows[i].value[0] && g.rows[i - 1].value[1] < g.rows[i].value[1]));
  }
  assert_int_equal(total, 0);
  ops_grouping_finish(&g);
}

static void nothing_is_no_rows(void **state)
{
  (void)state;
  struct ops_grouping g;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(ops_grouping_init(&g, NULL, &failure), MUSTER_OK);
  ops_grouping_sort(&g);
  assert_int_equal(g.count, 0);
  ops_grouping_finish(&g);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fiscal_years_begin_in_october),
      cmocka_unit_test(values_read_as_published),
      cmocka_unit_test(columns_are_chosen_by_name_or_short_name),
      cmocka_unit_test(rows_are_grouped_sorted_and_add_up),
      cmocka_unit_test(random_cells_agree_with_plain_counting),
      cmocka_unit_test(nothing_is_no_rows),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
