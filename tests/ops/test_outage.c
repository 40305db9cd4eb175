#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "ops/data_root.h"
#include "ops/outage.h"

static void a_note_is_there_as_long_as_its_shard_is_down(void **state)
{
  (void)state;
  struct ops_outages outages;
  struct ops_outage noted;
  ops_outages_init(&outages, &data, NULL);
  assert_false(ops_outage_read(&data, 63, &noted));
  ops_outages_note(&outages, 63, 1000, "shard 63: 10% of it, \"quoted\", is gone");
  assert_true(ops_outage_read(&data, 63, &noted));
  assert_string_equal(noted.cause, "shard 63: 10% of it, \"quoted\", is gone");
  assert_int_equal(noted.retry_ms, 1000);
  const int64_t since_us = noted.since_us;
  assert_true(since_us > 0);
  ops_outages_note(&outages, 63, 60000, ""); /* it is the same outage, with news */
  assert_true(ops_outage_read(&data, 63, &noted));
  assert_true(noted.since_us == since_us);
  assert_int_equal(noted.retry_ms, 60000);
  assert_string_equal(noted.cause, "");
  ops_outages_note(&outages, 0, 1, "x");
  assert_int_equal(outages.down, UINT64_C(1) << 63 | 1);
  ops_outages_end(&outages, 63);
  ops_outages_end(&outages, 63);
  assert_false(ops_outage_read(&data, 63, &noted));
  assert_true(ops_outage_read(&data, 0, &noted));
  ops_outages_init(&outages, &data, NULL);
  assert_false(ops_outage_read(&data, 0, &noted));
}

static void a_long_cause_is_cut_and_no_note_is_no_outage(void **state)
{
  (void)state;
  static const char *const wrong[] = {"", "x", "1", "\n", "1 x y", "x 1 y"};
  struct ops_outages outages;
  struct ops_outage noted;
  char cause[2 * OUTAGE_CAUSE_BYTES], path[LIMIT_PATH_BYTES];
  memset(cause, 'c', sizeof cause);
  cause[sizeof cause - 1] = '\0';
  ops_outages_init(&outages, &data, NULL);
  ops_outages_note(&outages, 1, 1000, cause);
  assert_true(ops_outage_read(&data, 1, &noted));
  assert_int_equal(strlen(noted.cause), OUTAGE_CAUSE_BYTES - 1);
  datadir_path(&data, path, "run/shard-1.down");
  for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    scratch_write(path, wrong[i]);
    assert_false(ops_outage_read(&data, 1, &noted));
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_note_is_there_as_long_as_its_shard_is_down, begin, end),
      cmocka_unit_test_setup_teardown(a_long_cause_is_cut_and_no_note_is_no_outage, begin, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
