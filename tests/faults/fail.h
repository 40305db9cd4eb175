/*
 * Makes one call of a process fail: the Nth of a class, as a kernel or a disk would refuse it. Linked into a program, it is
 * armed by fail_arm; preloaded (LD_PRELOAD), by the environment:
 *   FAIL_ROLE   the process, by its first argument ("worker", "ingest", "run", "export")
 *   FAIL_CLASS  a name of fail_classes; FAIL_NTH its call, from 1; FAIL_HOW  EIO, ENOSPC, ..., or SHORT: half of it is done
 *   FAIL_LAST   1: every later call of the class fails as well, as on a disk that is gone
 *   FAIL_MARK   a file that is made when the call has failed; where it is there already, nothing fails: once in a node, not once a life
 * Standard error is left alone: the last word must get out. Calls that libc makes of itself (stdio's reads and writes, the
 * growth of its heap) cannot be met from here; ZeroMQ, libuv and LMDB call as anybody does.
 */
#ifndef MUSTER_TESTS_FAULTS_FAIL_H
#define MUSTER_TESTS_FAULTS_FAIL_H

#include <stdbool.h>

enum fail_class {
  FAIL_NONE,
  FAIL_READ,
  FAIL_WRITE,
  FAIL_SYNC,
  FAIL_OPEN,
  FAIL_MAP,
  FAIL_SOCKET,
  FAIL_PROCESS,
  FAIL_POLL,
  FAIL_FILE,
  FAIL_MEMORY,
  FAIL_CLASSES
};
extern const char *const fail_classes[FAIL_CLASSES];

/* From now on, in this process. nth 0: nothing fails any more. error: an errno value; 0: the call does half of what was asked. */
void fail_arm(enum fail_class class, unsigned long nth, int error, bool lasting);
bool fail_fired(void); /* it has failed since fail_arm */

#endif
