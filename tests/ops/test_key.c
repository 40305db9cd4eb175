#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>
#include <sys/stat.h>

#include "core/datadir.h"
#include "core/key_list.h"
#include "ops/data_root.h"
#include "ops/commands.h"

/* Runs `muster key --data ROOT WORD...`; words end with NULL. */
static int key(const char *first, ...)
{
  char *argv[10] = {(char *)(uintptr_t) "muster key", (char *)(uintptr_t) "--data", root};
  int argc = 3;
  va_list list;
  va_start(list, first);
  for (const char *word = first; word; word = va_arg(list, const char *))
    argv[argc++] = (char *)(uintptr_t)word;
  va_end(list);
  return ops_key_main(argc, argv);
}

static bool allowed(const char *name, const char *public_text)
{
  char path[LIMIT_PATH_BYTES];
  struct key_list *list;
  struct failure failure = FAILURE_NONE;
  datadir_path(&data, path, "keys/allow");
  assert_int_equal(key_list_open(&list, path, &failure), MUSTER_OK);
  const struct key_entry *entry = key_list_by_public(list, public_text);
  bool yes = entry && entry->allowed && strcmp(entry->name, name) == 0;
  key_list_close(list);
  return yes;
}

static void a_key_that_begins_with_a_dash_is_no_option(void **state)
{
  (void)state;
  struct key_pair pair;
  struct failure failure = FAILURE_NONE;
  do
    assert_int_equal(key_generate(&pair, "dashed", &failure), MUSTER_OK);
  while (pair.public_text[0] != '-');
  assert_int_equal(key("allow", "dashed", pair.public_text, NULL), 0);
  assert_true(allowed("dashed", pair.public_text));
}

static void a_key_file_stands_for_its_public_half(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES];
  struct key_pair pair;
  struct stat info;
  struct failure failure = FAILURE_NONE;
  datadir_path(&data, path, "a.key");
  assert_int_equal(key("new", "a-system", "--out", path, NULL), 0);
  assert_int_equal(key("new", "a-system", "--out", path, NULL), 73);
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0600);
  assert_int_equal(key_read(&pair, path, &failure), MUSTER_OK);
  assert_string_equal(pair.name, "a-system");
  assert_int_equal(key("allow", "a-system", path, NULL), 0);
  assert_true(allowed("a-system", pair.public_text));
  assert_int_equal(key("show", path, NULL), 0);
  assert_int_equal(key("list", NULL), 0);
  assert_int_equal(key("revoke", "a-system", NULL), 0);
  assert_false(allowed("a-system", pair.public_text));
}

static void mistakes_have_their_codes(void **state)
{
  (void)state;
  assert_int_equal(key("new", "Not A Name", NULL), 64);
  assert_int_equal(key("allow", "a", "short", NULL), 66); /* no key, so it is taken for a file's name */
  assert_int_equal(key("allow", "A B", "short", NULL), 64);
  assert_int_equal(key("allow", "a", NULL), 64);
  assert_int_equal(key("revoke", "nobody", NULL), 66);
  assert_int_equal(key("nonsense", NULL), 64);
  assert_int_equal(key("list", "more", NULL), 64);
  assert_int_equal(key("show", "/nonexistent/x.key", NULL), 66);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_key_that_begins_with_a_dash_is_no_option, begin, end),
      cmocka_unit_test_setup_teardown(a_key_file_stands_for_its_public_half, begin, end),
      cmocka_unit_test_setup_teardown(mistakes_have_their_codes, begin, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
