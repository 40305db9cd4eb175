#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "ops/data_root.h"
#include "ops/endpoints.h"

static void write_own(uint32_t ingest, const char *text)
{
  char name[32], path[LIMIT_PATH_BYTES];
  snprintf(name, sizeof name, "run/endpoint-%u", ingest);
  datadir_path(&data, path, name);
  scratch_write(path, text);
}

static void ipc_comes_first_then_by_ingest(void **state)
{
  (void)state;
  char out[ENDPOINTS_TEXT];
  write_own(0, "tcp://127.0.0.1:7411\nipc:///a/submit.sock\n");
  write_own(1, "ipc:///a/submit-1.sock\ntcp://127.0.0.1:7412"); /* its last line has no end */
  write_own(2, "ipc:///a/stale.sock\n");
  assert_int_equal(ops_endpoints_gather(&data, 2, out), 4);
  assert_string_equal(out, "ipc:///a/submit.sock\nipc:///a/submit-1.sock\ntcp://127.0.0.1:7411\ntcp://127.0.0.1:7412\n");
}

static void an_ingest_without_a_file_is_left_out(void **state)
{
  (void)state;
  char out[ENDPOINTS_TEXT];
  assert_int_equal(ops_endpoints_gather(&data, 3, out), 0);
  assert_string_equal(out, "");
  write_own(2, "\n\nipc:///x\nother://y\n");
  assert_int_equal(ops_endpoints_gather(&data, 3, out), 1);
  assert_string_equal(out, "ipc:///x\n");
}

static void what_does_not_fit_is_not_cut(void **state)
{
  (void)state;
  char out[12] = "";
  assert_int_equal(ops_endpoints_pick(out, sizeof out, "ipc://1234\nipc://5\n", "ipc://"), 1);
  assert_string_equal(out, "ipc://1234\n");
}

static void published_and_removed(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES], own[LIMIT_PATH_BYTES];
  struct stat info;
  struct failure failure = FAILURE_NONE;
  write_own(0, "ipc:///x\n");
  datadir_path(&data, path, "run/endpoints");
  datadir_path(&data, own, "run/endpoint-0");
  assert_int_equal(ops_endpoints_publish(&data, "ipc:///x\n", &failure), MUSTER_OK);
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(info.st_size, 9);
  assert_int_equal(info.st_mode & 0777, 0600);
  ops_endpoints_remove(&data, 0);
  assert_int_equal(access(path, F_OK), -1);
  assert_int_equal(access(own, F_OK), 0);
  ops_endpoints_remove(&data, 1);
  assert_int_equal(access(own, F_OK), -1);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(ipc_comes_first_then_by_ingest, begin, end),
      cmocka_unit_test_setup_teardown(an_ingest_without_a_file_is_left_out, begin, end),
      cmocka_unit_test_setup_teardown(what_does_not_fit_is_not_cut, begin, end),
      cmocka_unit_test_setup_teardown(published_and_removed, begin, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
