/*
 * Where an export goes on: SHARD:SEQ, the next record, for each shard, with commas between, ascending by shard. An export
 * prints all of them each time, since records arrive in every shard while it runs. Shards before the first one named are
 * left out of the export, and so they are of the cursor that it prints: of what was not read no position is known. Shards
 * behind it that are not named begin at 1. Pure; the export's own.
 */
#ifndef MUSTER_OPS_CURSOR_H
#define MUSTER_OPS_CURSOR_H

#include <stddef.h>
#include <stdint.h>

#include "core/failure.h"
#include "core/limits.h"
#include "proto/text.h"

#define OPS_CURSOR_SKIPPED UINT64_MAX
#define OPS_CURSOR_TEXT (LIMIT_SHARDS * TEXT_ADDRESS)

struct ops_cursor {
  uint64_t next[LIMIT_SHARDS]; /* by shard: the next sequence, from 1; OPS_CURSOR_SKIPPED: the shard is left out */
};
/* text may be NULL: from the beginning. MUSTER_ERR_USAGE; MUSTER_ERR_FORMAT where it names a shard that the store has not. */
int ops_cursor_parse(struct ops_cursor *c, const char *text, uint32_t shards, struct failure *failure);
/* MUSTER_ERR_FORMAT where the shard's cursor lies further than behind its last record: to go on there would leave records out, unseen. */
int ops_cursor_check(const struct ops_cursor *c, uint32_t shard, uint64_t records, struct failure *failure);
/* The cursor as ops_cursor_parse takes it; one shard at least is not left out. Returns out. */
const char *ops_cursor_text(char out[OPS_CURSOR_TEXT], const struct ops_cursor *c, uint32_t shards);
/* How many shards are left out: those before this one. */
uint32_t ops_cursor_skipped(const struct ops_cursor *c, uint32_t shards);

#endif
