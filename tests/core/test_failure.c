/* core/failure.c: the first failure stays, texts fit, errno survives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "core/failure.h"

static void test_first_failure_stays(void **state)
{
  (void)state;
  struct failure f = FAILURE_NONE;
  assert_string_equal(f.text, "");
  assert_int_equal(failure_set(&f, MUSTER_ERR_IO, "block %d of %s", 7, "shard-0"), MUSTER_ERR_IO);
  assert_int_equal(failure_set(&f, MUSTER_ERR_FULL, "later"), MUSTER_ERR_FULL);
  assert_int_equal(failure_set_errno(&f, MUSTER_ERR_DENIED, EACCES, "later"), MUSTER_ERR_DENIED);
  assert_int_equal(f.status, MUSTER_ERR_IO);
  assert_string_equal(f.text, "block 7 of shard-0");
}

static void test_null_is_fine(void **state)
{
  (void)state;
  assert_int_equal(failure_set(NULL, MUSTER_ERR_USAGE, "unheard"), MUSTER_ERR_USAGE);
  assert_int_equal(failure_set_errno(NULL, MUSTER_ERR_IO, EIO, "unheard"), MUSTER_ERR_IO);
}

static void test_errno_is_told_and_kept(void **state)
{
  (void)state;
  struct failure f = FAILURE_NONE;
  errno = ERANGE;
  assert_int_equal(failure_set_errno(&f, MUSTER_ERR_FULL, ENOSPC, "cannot write %s", "x"), MUSTER_ERR_FULL);
  assert_int_equal(errno, ERANGE);
  assert_string_equal(f.text, "cannot write x: No space left on device");
}

/* For each length around the end of the buffer: never past it, never half a character. */
static void test_long_text_is_cut_whole(void **state)
{
  (void)state;
  static const char *const characters[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x8c\x8d"};
  for (size_t kind = 0; kind < 4; kind++) {
    const size_t width = strlen(characters[kind]);
    for (size_t offset = 0; offset < 8; offset++) {
      char text[1200] = "";
      memset(text, '.', offset);
      text[offset] = '\0';
      while (strlen(text) + width < sizeof text - 1)
        strcat(text, characters[kind]);
      struct failure f[2] = {FAILURE_NONE, FAILURE_NONE};
      failure_set(&f[0], MUSTER_ERR_FORMAT, "%s", text);
      const size_t room = sizeof f[0].text - 1 - offset;
      assert_int_equal(strlen(f[0].text), offset + room / width * width);
      assert_memory_equal(f[0].text, text, strlen(f[0].text));
      failure_set_errno(&f[1], MUSTER_ERR_IO, EIO, "%s", text);
      assert_true(strlen(f[1].text) < sizeof f[1].text);
      assert_memory_equal(f[1].text, f[0].text, strlen(f[0].text));
    }
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_first_failure_stays),
      cmocka_unit_test(test_null_is_fine),
      cmocka_unit_test(test_errno_is_told_and_kept),
      cmocka_unit_test(test_long_text_is_cut_whole),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
