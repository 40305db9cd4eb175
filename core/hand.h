/*
 * What a worker has in hand: the ids of the parts of the group that it works on, in a small shared file that outlives the
 * process. Noted before the first record of the group is looked at, let go when the commit has returned. After a death
 * the next worker of the shard finds here what the former one had in hand and tells the ingests, so that a record is
 * accused on evidence and not because it was on its way; the supervisor finds here whether anything was, so that looking
 * for a deadly record is not taken for a crash loop. One writer, the owner of the shard; the supervisor reads once it is
 * dead, and forgets what a former node left. Processes: worker, supervisor.
 */
#ifndef MUSTER_CORE_HAND_H
#define MUSTER_CORE_HAND_H

#include <stdbool.h>
#include <stdint.h>

#include "core/datadir.h"
#include "core/failure.h"

#define HAND_PARTS 1024u /* ids that there is room for */

struct hand;

/* "run/hand-N" of the data directory; out has LIMIT_PATH_BYTES. */
void hand_path(const struct datadir *data, char *out, uint32_t shard);

/* Takes the file over, or creates it; what the former writer had in hand is read first, and let go. Only for the owner of the shard.
 * MUSTER_ERR_FULL, MUSTER_ERR_CREATE, MUSTER_ERR_MEMORY: *out is NULL. */
int hand_open(struct hand **out, const char *path, struct failure *failure);
void hand_close(struct hand *h); /* NULL is fine */

/* Another worker has had this shard since the node was started. */
bool hand_has_former(const struct hand *h);
/* The ids that the former worker had in hand when it died; NULL and 0 where there were none. Valid until the close. */
const uint64_t *hand_former(const struct hand *h, uint32_t *count);

/* First each id into its place, below HAND_PARTS, then hold. A NULL hand notes nothing (unit tests). */
void hand_put(struct hand *h, uint32_t place, uint64_t id);
void hand_hold(struct hand *h, uint32_t count);
void hand_release(struct hand *h);

/* For the supervisor. How many ids a dead worker had in hand; 0 where there is no such file. */
uint32_t hand_count(const char *path);
/* At the start of a node: the next worker has no former one. The file stays, so that a full disk does not stand in its way. */
void hand_forget(const char *path);

#endif
