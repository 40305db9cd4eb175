/*
 * The compiled profile against the published files, and the compiler against files that are wrong: it must refuse them, or a wrong
 * figure would be taken for a published one. Runs in the project's directory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "bench/profile.h"
#include "proto/encounter.pb-c.h"
#include "proto/vocabulary.h"

#define FOLDER "bench/profiles/"
#define BORDER_PATROL MUSTER__V1__COMPONENT__COMPONENT_US_BORDER_PATROL

static char folder[256]; /* of copies that tests may spoil */

static void test_found_by_name(void **state)
{
  (void)state;
  const struct profile *p = profile_find("fy2021-southwest");
  assert_non_null(p);
  assert_ptr_equal(profile_at(0), p);
  assert_non_null(strstr(p->title, "2021"));
  assert_null(profile_find("fy1821-southwest"));
  assert_null(profile_find(""));
  size_t count = 0;
  while (profile_at(count))
    count++;
  assert_true(count >= 1);
  assert_null(profile_at(count + 1));
}

static void test_totals_as_published(void **state)
{
  (void)state;
  const struct profile *p = profile_find("fy2021-southwest");
  uint64_t months = 0, areas = 0, patrol = 0, demographics = 0;
  for (size_t i = 0; i < p->month_count; i++)
    months += p->months[i].encounters;
  for (size_t i = 0; i < p->area_count; i++) {
    areas += p->areas[i].encounters;
    patrol += p->areas[i].component == BORDER_PATROL ? p->areas[i].encounters : 0;
  }
  for (size_t i = 0; i < p->demographic_count; i++)
    demographics += p->demographics[i].encounters;
  assert_int_equal(p->total, 1734686);
  assert_int_equal(months, 1734686);
  assert_int_equal(areas, 1734686);
  assert_int_equal(patrol, 1659206);
  assert_int_equal(demographics, 1659206);
}

static void test_months_of_a_fiscal_year(void **state)
{
  (void)state;
  const struct profile *p = profile_find("fy2021-southwest");
  assert_int_equal(p->month_count, 12);
  for (uint32_t i = 0; i < 12; i++) {
    assert_int_equal(p->months[i].year, i < 3 ? 2020 : 2021);
    assert_int_equal(p->months[i].month, (i + 9) % 12 + 1);
  }
}

/* Each line of the file, word for word, from the compiled profile and the vocabulary. */
static void test_sectors_word_for_word(void **state)
{
  (void)state;
  const struct profile *p = profile_find("fy2021-southwest");
  FILE *file = fopen(FOLDER "fy2021-southwest-sectors.csv", "r");
  char line[256], expected[256];
  assert_non_null(file);
  assert_non_null(fgets(line, sizeof line, file));
  for (size_t i = 0; i < p->area_count; i++) {
    const struct vocabulary_area *area = vocabulary_area(p->areas[i].area);
    assert_non_null(area);
    assert_int_equal(area->component, p->areas[i].component);
    snprintf(expected, sizeof expected, "%s,%s,%s,%" PRIu64 "\n", vocabulary_component(area->component), area->name, area->abbreviation,
             p->areas[i].encounters);
    assert_non_null(fgets(line, sizeof line, file));
    assert_string_equal(line, expected);
  }
  assert_null(fgets(line, sizeof line, file));
  fclose(file);
}

static void test_demographics_word_for_word(void **state)
{
  (void)state;
  const struct profile *p = profile_find("fy2021-southwest");
  FILE *file = fopen(FOLDER "fy2021-usbp-demographics.csv", "r");
  char line[256], expected[256];
  assert_non_null(file);
  assert_non_null(fgets(line, sizeof line, file));
  for (size_t i = 0; i < p->demographic_count; i++) {
    snprintf(expected, sizeof expected, "%s,%" PRIu64 "\n", vocabulary_demographic(p->demographics[i].demographic),
             p->demographics[i].encounters);
    assert_non_null(fgets(line, sizeof line, file));
    assert_string_equal(line, expected);
  }
  fclose(file);
}

/* ---- the compiler ---- */

static int shell(const char *command)
{
  int status = system(command);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

/* Fresh copies, changed by a sed expression in one file, then compiled: the exit code; said receives standard error. */
static int compile_changed(const char *file, const char *change, char said[1024])
{
  char command[2048];
  snprintf(command, sizeof command,
           "cp " FOLDER "*.csv '%s' && sed -i '%s' '%s/%s' && awk -f " FOLDER "compile.awk '%s'/*.csv > '%s/out.c' 2> '%s/said'", folder,
           change, folder, file, folder, folder, folder);
  int code = shell(command);
  snprintf(command, sizeof command, "%s/said", folder);
  FILE *f = fopen(command, "r");
  assert_non_null(f);
  said[fread(said, 1, 1023, f)] = '\0';
  fclose(f);
  return code;
}

static void test_compiler_takes_the_published_files(void **state)
{
  (void)state;
  char said[1024];
  assert_int_equal(compile_changed("fy2021-southwest-monthly.csv", "", said), 0);
  assert_string_equal(said, "");
}

static void test_compiler_refuses_what_does_not_add_up(void **state)
{
  (void)state;
  static const struct {
    const char *file, *change, *sentence;
  } wrong[] = {
      {"fy2021-southwest-monthly.csv", "s/71929/71930/", "the months add up to 1734687, published are 1734686"},
      {"fy2021-southwest-monthly.csv", "s/71929/many/", "\"many\" is no count"},
      {"fy2021-southwest-monthly.csv", "s/^2020-10/October/", "not YYYY-MM"},
      {"fy2021-southwest-monthly.csv", "1s/month/moon/", "the header is not month,encounters"},
      {"fy2021-southwest-sectors.csv", "s/75480/75479/", "the areas add up to 1734685"},
      {"fy2021-southwest-sectors.csv", "s/^U.S. Border Patrol,Yuma/Office of Field Operations,Yuma/",
       "the Border Patrol's areas add up to"},
      {"fy2021-southwest-sectors.csv", "s/,YUM//", "not four columns"},
      {"fy2021-usbp-demographics.csv", "s/451087/451187/", "the Border Patrol's demographics add up to 1659306"},
      {"fy2021-usbp-demographics.csv", "d", "the Border Patrol's demographics add up to 0"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    char said[1024];
    if (compile_changed(wrong[i].file, wrong[i].change, said) != 1)
      fail_msg("case %zu was compiled", i);
    if (!strstr(said, wrong[i].sentence))
      fail_msg("case %zu: says \"%s\"", i, said);
  }
}

static int folder_make(void **state)
{
  (void)state;
  const char *parent = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%s/muster-profile-XXXXXX", parent && *parent ? parent : "/tmp");
  return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state)
{
  (void)state;
  char command[512];
  snprintf(command, sizeof command, "rm -r '%s'", folder);
  return system(command);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_found_by_name),
      cmocka_unit_test(test_totals_as_published),
      cmocka_unit_test(test_months_of_a_fiscal_year),
      cmocka_unit_test(test_sectors_word_for_word),
      cmocka_unit_test(test_demographics_word_for_word),
      cmocka_unit_test(test_compiler_takes_the_published_files),
      cmocka_unit_test(test_compiler_refuses_what_does_not_add_up),
  };
  return cmocka_run_group_tests_name("profile", tests, folder_make, folder_remove);
}
