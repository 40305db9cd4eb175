/* proto/node_id.c: the id comes back as it was written, and what is no id is told from what is not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "core/scratch.h"
#include "proto/node_id.h"

static void what_is_written_is_read(void **state)
{
  (void)state;
  char root[SCRATCH_BYTES], path[LIMIT_PATH_BYTES];
  struct datadir data;
  struct failure failure = FAILURE_NONE;
  const uint8_t id[16] = {1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 255};
  uint8_t read[16];
  scratch_make(root);
  assert_int_equal(datadir_create(&data, root, &failure), MUSTER_OK);
  assert_int_equal(node_id_read(&data, read, NULL), MUSTER_ERR_NOT_FOUND);
  assert_int_equal(node_id_write(&data, id, &failure), MUSTER_OK);
  assert_int_equal(node_id_read(&data, read, &failure), MUSTER_OK);
  assert_memory_equal(read, id, sizeof id);
  datadir_path(&data, path, "node.id");
  static const char *const broken[] = {"", "\n", "01020304-0506-4708-890a-0b0c0d0e0f", "01020304-0506-4708-890a-0b0c0d0e0fffff\n"};
  for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
    failure = FAILURE_NONE;
    scratch_write(path, broken[i]);
    assert_int_equal(node_id_read(&data, read, &failure), MUSTER_ERR_CORRUPT);
    assert_non_null(strstr(failure.text, "node.id"));
  }
  scratch_remove(root);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_written_is_read)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
