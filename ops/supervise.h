/*
 * The supervisor: starts the workers, then the ingests, says when all are ready, starts again what dies, and drains. Its
 * own loop does nothing else, so a signal is answered at once. Runs in the process of `muster run` until the node has
 * ended; the data directory is locked and prepared by the caller, who closes it afterwards. It has a counter page of its
 * own ("run") with the node's state and the number of restarts.
 */
#ifndef MUSTER_OPS_SUPERVISE_H
#define MUSTER_OPS_SUPERVISE_H

#include "core/config.h"
#include "core/datadir.h"

/* The exit code of the node: 0 drained; 75 ended before all was answered (second signal, or drain time used up); 70 or a child's own code where it gave up. */
/* executable: what plays the children's roles. */
int ops_supervise_run(const struct datadir *data, const struct config *config, const char *executable);

#endif
