/*
 * Where an export goes on. A cursor is SHARD:SEQ, the next record: shards before it are done, later ones begin at 1.
 * Several with commas between, ascending by shard, say it for each shard, which is how a later export takes up only what
 * has come since. Pure; the export's own.
 */
#ifndef MUSTER_OPS_CURSOR_H
#define MUSTER_OPS_CURSOR_H

#include <stddef.h>
#include <stdint.h>

#include "core/failure.h"
#include "core/limits.h"

struct ops_cursor {
  uint64_t next[LIMIT_SHARDS]; /* by shard: the next sequence, from 1; UINT64_MAX: the shard is done */
};
/* text may be NULL: from the beginning. MUSTER_ERR_USAGE; MUSTER_ERR_FORMAT where it names a shard that the store has not. */
int ops_cursor_parse(struct ops_cursor *c, const char *text, uint32_t shards, struct failure *failure);
/* MUSTER_ERR_FORMAT where the shard's cursor lies further than behind its last record: to go on there would leave records out, unseen. */
int ops_cursor_check(const struct ops_cursor *c, uint32_t shard, uint64_t records, struct failure *failure);

#endif
