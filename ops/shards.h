/*
 * The shards of a data directory, for reading: what is there, what should be there, and a reader for each. Commands own
 * it for their run; the supervisor takes a survey before it starts anything. Nothing here writes, and nothing here waits
 * for the node.
 */
#ifndef MUSTER_OPS_SHARDS_H
#define MUSTER_OPS_SHARDS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/datadir.h"
#include "core/failure.h"
#include "core/limits.h"
#include "store/read.h"

struct ops_shards_survey {
  uint32_t directories;  /* store/shard-N that exist */
  uint32_t created_with; /* shards that the store was made with, as its own records say; 0: none could be read */
  uint64_t records;      /* of the shards that could be read */
  uint64_t records_most; /* of the fullest of them */
  uint8_t node_id[16];   /* all zero where created_with is 0 */
};
/* MUSTER_ERR_CONFIG where the shards that can be read are not of one node, or one lies in the place of another; MUSTER_ERR_CORRUPT
 * where a shard is missing that should be there: its directory, or its data while other shards hold records. A shard that is there and cannot be
 * read is left for its worker, or for verify, to complain about. */
int ops_shards_survey(const struct datadir *d, struct ops_shards_survey *out, struct failure *failure);

struct ops_shards {
  struct datadir data;
  uint32_t count;
  struct store_reader *reader[LIMIT_SHARDS];
  struct store_facts facts[LIMIT_SHARDS]; /* as of the opening */
  uint64_t records;                       /* sum of facts */
};
/* Opens the data directory (option may be NULL) and a reader for each shard. On failure nothing is open. */
int ops_shards_open(struct ops_shards *s, const char *option, struct failure *failure);
/* The same for a data directory that is open already and stays the caller's. */
int ops_shards_open_in(struct ops_shards *s, const struct datadir *d, struct failure *failure);
void ops_shards_close(struct ops_shards *s); /* a zeroed or closed one is fine */

#endif
