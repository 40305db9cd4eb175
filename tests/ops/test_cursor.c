#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "ops/cursor.h"

static struct ops_cursor c;

static int parse(const char *text, uint32_t shards)
{
  struct failure failure = FAILURE_NONE;
  int status = ops_cursor_parse(&c, text, shards, &failure);
  assert_int_equal(status, failure.status);
  if (status != MUSTER_OK)
    assert_true(strlen(failure.text) > 20);
  return status;
}

static void nothing_is_the_beginning(void **state)
{
  (void)state;
  assert_int_equal(parse(NULL, 3), MUSTER_OK);
  for (unsigned i = 0; i < 3; i++)
    assert_true(c.next[i] == 1);
}

static void what_is_before_the_first_address_is_left_out(void **state)
{
  (void)state;
  assert_int_equal(parse("1:1234", 3), MUSTER_OK);
  assert_true(c.next[0] == OPS_CURSOR_SKIPPED);
  assert_true(c.next[1] == 1234);
  assert_true(c.next[2] == 1);
  assert_int_equal(parse("0:5", 1), MUSTER_OK);
  assert_true(c.next[0] == 5);
}

static void several_say_it_for_each_shard(void **state)
{
  (void)state;
  assert_int_equal(parse("0:867,1:1234", 2), MUSTER_OK);
  assert_true(c.next[0] == 867 && c.next[1] == 1234);
  assert_int_equal(parse("1:2,3:4", 5), MUSTER_OK);
  assert_true(c.next[0] == OPS_CURSOR_SKIPPED && c.next[1] == 2 && c.next[2] == 1 && c.next[3] == 4 && c.next[4] == 1);
}

static void what_is_no_cursor_is_refused(void **state)
{
  (void)state;
  static const char *const bad[] = {"",
                                    "x",
                                    "1",
                                    "1:",
                                    ":1",
                                    "0:0",
                                    "1:5,0:3",
                                    "0:1,0:2",
                                    "0:1,",
                                    ",0:1",
                                    "0:1 ",
                                    "-1:1",
                                    "0:-1",
                                    "0:1,,1:1",
                                    "64:1",
                                    "0:99999999999999999999999",
                                    "0:1x",
                                    "0:18446744073709551615",
                                    "99999999999999999999999999999999999999999999999999999999999999:1"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (parse(bad[i], 2) != MUSTER_ERR_USAGE)
      fail_msg("taken as a cursor: \"%s\"", bad[i]);
}

static void a_shard_that_the_store_has_not_is_refused(void **state)
{
  (void)state;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(parse("2:1", 2), MUSTER_ERR_FORMAT);
  assert_int_equal(parse("0:1,2:1", 2), MUSTER_ERR_FORMAT);
  assert_int_equal(ops_cursor_parse(&c, "63:1", 2, &failure), MUSTER_ERR_FORMAT);
  assert_non_null(strstr(failure.text, "shard 63"));
  assert_non_null(strstr(failure.text, "store is 1;"));
}

static void beyond_the_last_record_is_refused(void **state)
{
  (void)state;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(parse("0:7,1:1,3:999999", 5), MUSTER_OK);
  assert_int_equal(ops_cursor_check(&c, 0, 7, &failure), MUSTER_OK);
  assert_int_equal(ops_cursor_check(&c, 0, 6, &failure), MUSTER_OK); /* behind the last one: nothing has come since */
  assert_int_equal(ops_cursor_check(&c, 0, 5, &failure), MUSTER_ERR_FORMAT);
  assert_int_equal(ops_cursor_check(&c, 1, 0, &failure), MUSTER_OK);
  assert_int_equal(ops_cursor_check(&c, 2, 0, &failure), MUSTER_OK);
  failure = FAILURE_NONE;
  assert_int_equal(ops_cursor_check(&c, 3, 1234, &failure), MUSTER_ERR_FORMAT);
  assert_non_null(strstr(failure.text, "3:999999"));
  assert_non_null(strstr(failure.text, "record 1234"));
  assert_int_equal(parse("1:5", 2), MUSTER_OK);
  assert_int_equal(ops_cursor_check(&c, 0, 3, &failure), MUSTER_OK); /* left out */
}

/* A position for each shard, whichever the export stopped in; of what was left out no position is known, so none is said. */
static void what_is_printed_is_read_back(void **state)
{
  (void)state;
  char text[OPS_CURSOR_TEXT];
  assert_int_equal(parse(NULL, 3), MUSTER_OK);
  assert_string_equal(ops_cursor_text(text, &c, 3), "0:1,1:1,2:1");
  c.next[0] = 9912;
  c.next[1] = 2;
  assert_string_equal(ops_cursor_text(text, &c, 2), "0:9912,1:2");
  assert_int_equal(ops_cursor_skipped(&c, 2), 0);
  assert_int_equal(parse("1:2", 3), MUSTER_OK);
  assert_int_equal(ops_cursor_skipped(&c, 3), 1);
  assert_string_equal(ops_cursor_text(text, &c, 3), "1:2,2:1");
  for (uint32_t i = 0; i < LIMIT_SHARDS; i++)
    c.next[i] = (UINT64_C(1) << 48) - 1;
  const struct ops_cursor before = c;
  assert_int_equal(parse(ops_cursor_text(text, &c, LIMIT_SHARDS), LIMIT_SHARDS), MUSTER_OK);
  assert_memory_equal(&c, &before, sizeof c);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_is_the_beginning),
      cmocka_unit_test(what_is_before_the_first_address_is_left_out),
      cmocka_unit_test(several_say_it_for_each_shard),
      cmocka_unit_test(what_is_no_cursor_is_refused),
      cmocka_unit_test(a_shard_that_the_store_has_not_is_refused),
      cmocka_unit_test(beyond_the_last_record_is_refused),
      cmocka_unit_test(what_is_printed_is_read_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
