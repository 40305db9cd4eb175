/* core/status.c: names, sentences and exit codes, as documented to scripts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "muster/status.h"

static void test_exit_codes(void **state)
{
  (void)state;
  static const struct {
    int status, exit_code;
  } documented[] = {
      {MUSTER_OK, 0},           {MUSTER_ERR_USAGE, 64},     {MUSTER_ERR_FORMAT, 65},      {MUSTER_ERR_CORRUPT, 65},
      {MUSTER_ERR_LIMIT, 65},   {MUSTER_ERR_NOT_FOUND, 66}, {MUSTER_ERR_UNAVAILABLE, 69}, {MUSTER_ERR_MEMORY, 71},
      {MUSTER_ERR_CREATE, 73},  {MUSTER_ERR_IO, 74},        {MUSTER_ERR_AGAIN, 75},       {MUSTER_ERR_FULL, 75},
      {MUSTER_ERR_TIMEOUT, 75}, {MUSTER_ERR_LOCKED, 75},    {MUSTER_ERR_PROTOCOL, 76},    {MUSTER_ERR_VERSION, 76},
      {MUSTER_ERR_DENIED, 77},  {MUSTER_ERR_CONFIG, 78},
  };
  for (size_t i = 0; i < sizeof documented / sizeof documented[0]; i++)
    assert_int_equal(muster_status_exit_code(documented[i].status), documented[i].exit_code);
  assert_int_equal(sizeof documented / sizeof documented[0], -MUSTER_ERR_PROTOCOL + 1);
}

static void test_every_status_is_named(void **state)
{
  (void)state;
  for (int status = MUSTER_OK; status >= MUSTER_ERR_PROTOCOL; status--) {
    assert_memory_equal(muster_status_name(status), "MUSTER_", 7);
    assert_true(strlen(muster_status_text(status)) > 5);
    assert_int_not_equal(muster_status_text(status)[strlen(muster_status_text(status)) - 1], '.');
    for (int other = MUSTER_OK; other > status; other--)
      assert_string_not_equal(muster_status_name(status), muster_status_name(other));
  }
  assert_string_equal(muster_status_name(MUSTER_ERR_IO), "MUSTER_ERR_IO");
}

static void test_unknown_status(void **state)
{
  (void)state;
  static const int unknown[] = {1, MUSTER_ERR_PROTOCOL - 1, INT32_MIN, INT32_MAX};
  for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
    assert_string_equal(muster_status_name(unknown[i]), "unknown");
    assert_true(strlen(muster_status_text(unknown[i])) > 0);
    assert_int_equal(muster_status_exit_code(unknown[i]), 70);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_exit_codes),
      cmocka_unit_test(test_every_status_is_named),
      cmocka_unit_test(test_unknown_status),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
