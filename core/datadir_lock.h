/*
 * The lock of a data directory: one node at a time, and who it is. The lock is the kernel's (flock on muster.lock), so that it
 * ends with its holder; the pid in the file is for people and for commands that speak to the node. Taken by the supervisor
 * and by commands that need the directory for themselves, for as long as they run; asked by any process.
 */
#ifndef MUSTER_CORE_DATADIR_LOCK_H
#define MUSTER_CORE_DATADIR_LOCK_H

#include "core/datadir.h"

/* Takes the node's lock, without waiting. MUSTER_ERR_LOCKED names the pid of the holder. Kept until datadir_close. */
int datadir_lock(struct datadir *d, struct failure *failure);
/* pid of the running node, or 0. */
uint32_t datadir_node_pid(const struct datadir *d);

#endif
