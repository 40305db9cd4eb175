/*
 * A scratch directory for tests of key files and of the allow-list, and what is put into it: files of a mode, and fresh keys. file_path is the one that
 * a test is about; make_place names it, teardown removes all.
 */
#ifndef MUSTER_TESTS_CORE_KEY_PLACE_H
#define MUSTER_TESTS_CORE_KEY_PLACE_H

#include <stdio.h>
#include <sys/stat.h>

#include "core/keys.h"
#include "core/scratch.h"

static char directory[SCRATCH_BYTES], file_path[SCRATCH_BYTES + 16];

static void make_place(const char *name)
{
  scratch_make(directory);
  snprintf(file_path, sizeof file_path, "%s/%s", directory, name);
}

static int teardown(void **state)
{
  (void)state;
  scratch_remove(directory);
  return 0;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
  scratch_write(path, text);
  assert_int_equal(chmod(path, mode), 0);
}

static struct key_pair fresh_key(const char *name)
{
  struct key_pair pair;
  struct failure f = FAILURE_NONE;
  if (key_generate(&pair, name, &f) != MUSTER_OK)
    fail_msg("%s", f.text);
  return pair;
}

#endif
