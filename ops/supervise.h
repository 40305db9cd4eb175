/*
 * The supervisor: starts the workers, then the ingests, says when all are ready, starts again what dies, and drains. Its
 * own loop does nothing else, so a signal is answered at once, unless a file system hangs that it asks whether a shard's data
 * is there. Runs in the process of `muster run` until the node has ended; the data directory is locked and prepared by the
 * caller, who closes it afterwards. It has a counter page of its own ("run") with the node's state and the number of restarts.
 *
 * What is at fault with one shard stays with it. Whatever its worker dies of, once the shard has been made (damage, a storage
 * error, no permission, another format's number, a crash at each start, a crash loop, data that is not there), and where it hangs
 * while it opens, the others serve on, its records are told BUSY, it is noted (ops/outage.h) and tried again, rarely where nothing
 * but people can mend it. The node
 * does not start, or ends, for what is the whole node's: what `muster run` finds before any child (lock, mode and owner of
 * the directory, settings, number of workers, shards of different nodes or in the wrong place), a worker that refuses the
 * settings (78) before the node serves, a shard that cannot be made at the first start, an ingest that cannot run, and
 * when no shard is left. A disk that hangs when `muster run` looks at the shards, before any child, holds up the start.
 */
#ifndef MUSTER_OPS_SUPERVISE_H
#define MUSTER_OPS_SUPERVISE_H

#include "core/config.h"
#include "core/datadir.h"
#include "ops/settings.h"

/* The exit code of the node: 0 drained; 75 ended before all was answered (second signal, or drain time used up); 70 or a child's own code where it gave up. */
/* settings: where config came from, gathered anew when the node is told to read them again. */
/* executable: what plays the children's roles. */
/* absent: a bit for each shard that should be there and is not (ops/shards.h); it is down until it is back. */
/* family_fd: the lock of ops/family.h, the caller's, who claims it before anything below run/ is written. */
int ops_supervise_run(const struct datadir *data, const struct config *config, struct ops_settings *settings, uint64_t absent,
                      int family_fd, const char *executable);

#endif
