/*
 * The children of one node, as a family that ends together: they share a lock (run/family.lock) with their supervisor, which
 * each of them holds by an inherited descriptor for as long as it runs. A supervisor that was killed leaves children that end by themselves
 * (core/child.h); who starts the next node waits here until the last of them is gone, so that none of them removes a socket or a file that is the
 * next node's already. One that does not end, because it is frozen or cannot be, is killed, if its page proves that it is one. Process: supervisor.
 */
#ifndef MUSTER_OPS_FAMILY_H
#define MUSTER_OPS_FAMILY_H

#include "core/datadir.h"
#include "core/failure.h"

#define FAMILY_ENDS_MS 10000u /* what the children of a dead supervisor have, to answer and to close their stores */
#define FAMILY_FD 4           /* of a child: the lock; it is held, never looked at */

/* *fd: the lock, close-on-exec, the caller's; a child that is given it keeps the family alive. Waits ends_ms for what a former supervisor left, kills it, and
 * waits as long again for the kernel to clear it away. MUSTER_ERR_LOCKED where something is left even then, named by its pid where a page (of any build)
 * tells of it, else by how to find it; MUSTER_ERR_CREATE, MUSTER_ERR_IO: *fd is -1. The node's own lock is held by the caller. */
int ops_family_claim(const struct datadir *data, uint32_t ends_ms, int *fd, struct failure *failure);

#endif
