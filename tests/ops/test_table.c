#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "ops/table.h"

static void numbers_have_separators(void **state)
{
  (void)state;
  static const struct {
    uint64_t number;
    const char *text;
  } cases[] = {{0, "0"},
               {7, "7"},
               {999, "999"},
               {1000, "1,000"},
               {12345, "12,345"},
               {100000, "100,000"},
               {1734686, "1,734,686"},
               {UINT64_MAX, "18,446,744,073,709,551,615"}};
  char out[TABLE_NUMBER];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_string_equal(ops_table_number(out, cases[i].number), cases[i].text);
}

static void bytes_and_durations_are_for_people(void **state)
{
  (void)state;
  char out[TABLE_NUMBER];
  assert_string_equal(ops_table_bytes(out, 0), "0 B");
  assert_string_equal(ops_table_bytes(out, 1023), "1023 B");
  assert_string_equal(ops_table_bytes(out, 1024), "1.0 KiB");
  assert_string_equal(ops_table_bytes(out, (1 << 20) - 1), "1.0 MiB");
  assert_string_equal(ops_table_bytes(out, UINT64_C(1) << 40), "1.0 TiB");
  assert_string_equal(ops_table_bytes(out, UINT64_MAX), "16.0 EiB");
  assert_string_equal(ops_table_duration(out, 59), "00:00:59");
  assert_string_equal(ops_table_duration(out, 86399), "23:59:59");
  assert_string_equal(ops_table_duration(out, 3 * 86400 + 3661), "3 d 01:01:01");
}

static char *printed(const struct ops_table *t, size_t totals)
{
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  ops_table_print(t, totals, out);
  fclose(out);
  return text;
}

static void columns_are_as_wide_as_their_widest_cell(void **state)
{
  (void)state;
  struct ops_table t;
  ops_table_init(&t, 4);
  ops_table_cell(&t, 0, "área");
  ops_table_cell(&t, 1, "count");
  ops_table_cell(&t, 2, "note");
  ops_table_cell(&t, 0, "Yuma");
  ops_table_count(&t, 1, 114488);
  ops_table_cell(&t, 2, "");
  ops_table_cell(&t, 0, "X");
  ops_table_count(&t, 1, 5);
  ops_table_cell(&t, 2, "few");
  ops_table_cell(&t, 0, "total");
  ops_table_count(&t, 1, 114493);
  char *text = printed(&t, 1);
  assert_string_equal(text, "área     count  note\n"
                            "-----  -------  ----\n"
                            "Yuma   114,488\n"
                            "X            5  few\n"
                            "-----  -------  ----\n"
                            "total  114,493\n");
  free(text);
  ops_table_finish(&t);
}

static void many_rows_and_cells_set_twice(void **state)
{
  (void)state;
  struct ops_table t;
  ops_table_init(&t, 2);
  for (unsigned i = 0; i < 1000; i++) {
    ops_table_count(&t, 0, i);
    ops_table_cell(&t, 1, "replaced");
    ops_table_count(&t, 1, i);
  }
  assert_int_equal(t.rows, 1000);
  assert_string_equal(t.cells[1999], "999");
  ops_table_finish(&t);
  ops_table_finish(&t);
}

static void csv_is_quoted_where_it_must_be(void **state)
{
  (void)state;
  static const struct {
    const char *in, *out;
  } cases[] = {{"", ""},
               {"GUATEMALA", "GUATEMALA"},
               {"UC / Single Minors", "UC / Single Minors"},
               {"CHINA, PEOPLES REPUBLIC OF", "\"CHINA, PEOPLES REPUBLIC OF\""},
               {"a\"b", "\"a\"\"b\""},
               {"a\nb", "\"a\nb\""},
               {"a\rb", "\"a\rb\""},
               {"\"", "\"\"\"\""}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    ops_table_csv(cases[i].in, out);
    fclose(out);
    assert_string_equal(text, cases[i].out);
    free(text);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numbers_have_separators),
      cmocka_unit_test(bytes_and_durations_are_for_people),
      cmocka_unit_test(columns_are_as_wide_as_their_widest_cell),
      cmocka_unit_test(many_rows_and_cells_set_twice),
      cmocka_unit_test(csv_is_quoted_where_it_must_be),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
