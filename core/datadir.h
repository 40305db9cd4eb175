/*
 * The data directory of a node: who may use it, and where everything in it lives. Mode 0700, owned by the user that runs the node.
 *   muster.lock          flock of the supervisor, holds its pid
 *   node.id              the node's id as UUID text, one line; made at the first start, also in each shard's meta
 *   shards               how many shards the store has, once the node has been ready (core/datadir_note.h)
 *   store/shard-N/       one LMDB environment a shard, with its own owner lock
 *   keys/node.key        CURVE key pair of the node, 0600;  keys/allow: the allow-list
 *   restored             which backup it was made from, and up to where; only in a directory that a restore has made
 *   run/node.conf        effective settings of the running node
 *   run/node.from        where each of them came from (ops/settings.h)
 *   run/reload           what became of the last reading of the settings anew (ops/reread.h)
 *   run/endpoints        one endpoint a line, ipc first; written when ready, removed at stop
 *   run/endpoint-J       the same of ingest J alone, written by it
 *   run/counters/ROLE    counter pages
 *   run/family.lock      held by the supervisor and its children together (ops/family.h)
 *   run/hand-N           what the worker of shard N has in hand (core/hand.h)
 *   run/submit[-J].sock  sockets; where a path would pass 107 bytes they live in the runtime directory named in run/sockets
 * Any process; the struct holds paths only and no descriptors but the lock's (in the supervisor).
 */
#ifndef MUSTER_CORE_DATADIR_H
#define MUSTER_CORE_DATADIR_H

#include <stdbool.h>
#include <stdint.h>

#include "core/failure.h"
#include "core/limits.h"

#define DATADIR_NOTE "shards"

struct datadir {
  char root[LIMIT_PATH_BYTES];    /* absolute */
  char sockets[LIMIT_PATH_BYTES]; /* directory of the sockets, 0700 */
  int lock_fd;                    /* -1 unless datadir_lock was called (core/datadir_lock.h) */
};

/* Which directory: option (may be NULL), else MUSTER_DATA, else MUSTER_ERR_USAGE with a sentence saying both ways. Not opened. */
int datadir_name(char out[LIMIT_PATH_BYTES], const char *option, struct failure *failure);

/* Opens an existing directory for reading. MUSTER_ERR_NOT_FOUND, also for one with files none of which is a node's, whatever its
 * mode; owner and mode are checked: MUSTER_ERR_DENIED. An empty one is opened. */
int datadir_open(struct datadir *d, const char *path, struct failure *failure);
/* Creates what is missing (0700, parents not), checks owner, mode, and that it is writable; sockets as by datadir_open.
 * MUSTER_ERR_CREATE for a directory with files none of which is a node's; MUSTER_ERR_CORRUPT for one that was in use and has no store/, which is not
 * made anew. */
int datadir_create(struct datadir *d, const char *path, struct failure *failure);
/* Where the sockets of the next node live, and makes that directory. Written down below run/, so nothing of a former node may run any more. */
int datadir_choose_sockets(struct datadir *d, struct failure *failure);
/* Removes the sockets and, where they are in a runtime directory, that and its note. For the supervisor, once nothing serves any more. */
void datadir_remove_sockets(const struct datadir *d);
void datadir_close(struct datadir *d); /* lets go of the lock */

/* Paths; out has LIMIT_PATH_BYTES. They cannot fail: datadir_open refused roots too long to hold them. */
void datadir_path(const struct datadir *d, char *out, const char *relative);       /* "run/endpoints" */
void datadir_shard_path(const struct datadir *d, char *out, uint32_t shard);       /* ".../store/shard-0" */
void datadir_submit_endpoint(const struct datadir *d, char *out, uint32_t ingest); /* "ipc://.../submit.sock" or submit-1.sock */
void datadir_worker_endpoint(const struct datadir *d, char *out, uint32_t shard);  /* "ipc://.../worker-0.sock" */

/* How many shard directories exist under store/; *gap is set to the number of the first missing one below the highest, or -1.
 * MUSTER_ERR_DENIED where one is a symbolic link, MUSTER_ERR_FORMAT where there are more than this version knows. */
int datadir_count_shards(const struct datadir *d, uint32_t *count, int *gap, struct failure *failure);

#endif
