/*
 * A fresh data directory for each test of a command: begin and end are its setup and teardown, root its path, data the open directory.
 */
#ifndef MUSTER_TESTS_OPS_DATA_ROOT_H
#define MUSTER_TESTS_OPS_DATA_ROOT_H

#include "core/datadir.h"
#include "core/scratch.h"

static char root[SCRATCH_BYTES];
static struct datadir data;

static int begin(void **state)
{
  (void)state;
  struct failure failure = FAILURE_NONE;
  scratch_make(root);
  return datadir_create(&data, root, &failure);
}

static int end(void **state)
{
  (void)state;
  scratch_remove(root);
  return 0;
}

#endif
