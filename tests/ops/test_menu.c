#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "ops/menu.h"

static void every_command_is_whole_and_named_once(void **state)
{
  (void)state;
  size_t count;
  const struct ops_menu_command *all = ops_menu_commands(&count);
  assert_true(count >= 12);
  for (size_t i = 0; i < count; i++) {
    assert_non_null(all[i].run);
    assert_true(strlen(all[i].sentence) > 10);
    assert_int_not_equal(all[i].sentence[strlen(all[i].sentence) - 1], '.');
    assert_ptr_equal(ops_menu_find(all[i].name), &all[i]);
    assert_in_range(all[i].group, 0, MENU_ROLES);
  }
  assert_null(ops_menu_find("nonsense"));
  assert_null(ops_menu_find(""));
}

static void help_shows_commands_and_hides_roles(void **state)
{
  (void)state;
  char *text = NULL;
  size_t size = 0, count;
  FILE *out = open_memstream(&text, &size);
  ops_menu_print(out);
  fclose(out);
  const struct ops_menu_command *all = ops_menu_commands(&count);
  for (size_t i = 0; i < count; i++) {
    char line[64];
    snprintf(line, sizeof line, "\n  %-11s ", all[i].name);
    if (all[i].group == MENU_ROLES)
      assert_null(strstr(text, line));
    else
      assert_non_null(strstr(text, line));
  }
  assert_null(strchr(text, '\033'));
  free(text);
}

static void mistyped_names_find_their_neighbours(void **state)
{
  (void)state;
  static const struct {
    const char *word, *first;
  } cases[] = {{"sumbit", "submit"}, {"statsu", "status"}, {"taly", "tally"}, {"ver", "verify"}, {"quarantin", "quarantine"},
               {"exprot", "export"}, {"keys", "key"},      {"rnu", "run"},    {"got", "get"},    {"usmbit", "submit"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *near[3];
    assert_true(ops_menu_nearest(cases[i].word, near, 3) >= 1);
    assert_string_equal(near[0], cases[i].first);
  }
}

static void roles_and_strangers_are_not_suggested(void **state)
{
  (void)state;
  const char *near[12];
  size_t count = ops_menu_nearest("worke", near, 12);
  for (size_t i = 0; i < count; i++)
    assert_string_not_equal(near[i], "worker");
  assert_int_equal(ops_menu_nearest("ingest", near, 12), 0);
  assert_int_equal(ops_menu_nearest("zzzzzzzz", near, 12), 0);
  assert_int_equal(ops_menu_nearest("a-word-that-is-much-longer-than-any-name-of-a-command", near, 12), 0);
  assert_int_equal(ops_menu_nearest("s", near, 1), 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_command_is_whole_and_named_once),
      cmocka_unit_test(help_shows_commands_and_hides_roles),
      cmocka_unit_test(mistyped_names_find_their_neighbours),
      cmocka_unit_test(roles_and_strangers_are_not_suggested),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
