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
  bool in_use;           /* the node was ready once, some shard was created, or holds what may be records, as far as can be told */
  uint32_t shards;       /* created_with, or where that is 0, as many as the node's note or the highest directory tells of */
  uint32_t created_with; /* shards that the store was made with, as its own records say; 0: none could be read */
  uint64_t records;      /* of the shards that could be read */
  uint64_t records_most; /* of the fullest of them */
  uint8_t node_id[16];   /* all zero where created_with is 0 */
  uint64_t absent;       /* a bit for each shard that should be there and is not: its directory, or its data while others are in use */
};
/* MUSTER_ERR_CONFIG where the shards that can be read are not of one node, or one lies in the place of another: nobody can tell which of them is
 * right. A shard that is absent is told of in the result, and one that is there and cannot be read is left for its worker, or for verify, to
 * complain about: each is a fault of that shard alone. Where no shard can be read and the note that says how many there are (core/datadir_note.h)
 * cannot be, either, the note's failure. */
int ops_shards_survey(const struct datadir *d, struct ops_shards_survey *out, struct failure *failure);
/* MUSTER_ERR_CORRUPT and a sentence where some shard is absent, of the first of them, or of the whole store. */
int ops_shards_complete(const struct datadir *d, const struct ops_shards_survey *s, struct failure *failure);
/* None of its shards is there. */
bool ops_shards_all_absent(const struct ops_shards_survey *s);
/* The shard's directory or its data file is not there now. */
bool ops_shards_lacks_data(const struct datadir *d, uint32_t shard);

struct ops_shards {
  struct datadir data;
  uint32_t count;
  struct store_reader *reader[LIMIT_SHARDS]; /* NULL: it could not be opened (ops_shards_open_some) */
  struct store_facts facts[LIMIT_SHARDS];    /* as of the opening */
  uint64_t records;                          /* sum of facts */
  struct ops_shards_survey survey;
};
/* Opens the data directory (option may be NULL) and a reader for each shard. On failure nothing is open. */
int ops_shards_open(struct ops_shards *s, const char *option, struct failure *failure);
/* The same for a data directory that is open already and stays the caller's. */
int ops_shards_open_in(struct ops_shards *s, const struct datadir *d, struct failure *failure);
/* The same, content with what can be read: for who asks for one shard, or for each by itself. Fails where none can. */
int ops_shards_open_some(struct ops_shards *s, const struct datadir *d, struct failure *failure);
/* Why that shard has no reader: the failure's status, never MUSTER_OK. */
int ops_shards_why(const struct ops_shards *s, uint32_t shard, struct failure *failure);
void ops_shards_close(struct ops_shards *s); /* a zeroed or closed one is fine */

#endif
