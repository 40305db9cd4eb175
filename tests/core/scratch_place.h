/*
 * One scratch directory a test, and what is asked of the files in it: scratch is its path, made by the test's setup; below names a file
 * in it, mode_of tells the mode of one, and teardown removes all.
 */
#ifndef MUSTER_TESTS_CORE_SCRATCH_PLACE_H
#define MUSTER_TESTS_CORE_SCRATCH_PLACE_H

#include "core/limits.h"
#include "core/scratch.h"

static char scratch[SCRATCH_BYTES];

static int teardown(void **state)
{
  (void)state;
  scratch_remove(scratch);
  return 0;
}

static void below(char out[LIMIT_PATH_BYTES], const char *name) { snprintf(out, LIMIT_PATH_BYTES, "%s/%s", scratch, name); }

/* 0 where there is no such file. */
static unsigned mode_of(const char *path)
{
  struct stat info;
  return stat(path, &info) == 0 ? (unsigned)(info.st_mode & 07777) : 0;
}

#endif
