/*
 * The meta record of a shard: who it is, and the totals and hashes that everything else in the store must agree with.
 * Written in the same transaction as what it counts. The format number has a key of its own, which stays readable in
 * every future format. Inside store/ only; no state.
 */
#ifndef MUSTER_STORE_META_H
#define MUSTER_STORE_META_H

#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/failure.h"
#include "store/env_call.h"

/* As stored, little-endian. */
struct store_meta {
  uint32_t shard, shards;
  uint8_t node_id[16];
  int64_t created_us;
  uint64_t fingerprint_seed;
  uint64_t records; /* last sequence */
  uint64_t blocks;
  uint64_t record_bytes;    /* of all records, without columns */
  uint8_t chain[16];        /* checksum of the last block, zero where there is none */
  uint64_t tally_records;   /* the tally database counts the records 1 to this; the later ones are counted from the journal */
  uint64_t quarantined;     /* entries kept */
  uint64_t quarantine_next; /* number of the next entry, from 1 */
  uint64_t checksum;        /* XXH3-64 of everything before */
};
static_assert(sizeof(struct store_meta) == 112, "the meta record is a format");

#define STORE_META_STATE "state" /* its key */

/* Looks whether the environment holds a store of this format and opens its databases. MUSTER_ERR_VERSION names both formats,
 * MUSTER_ERR_NOT_FOUND: LMDB is empty. */
int store_meta_open(struct store_env *e, MDB_txn *txn, struct failure *failure);
int store_meta_load(const struct store_env *e, MDB_txn *txn, struct store_meta *meta, struct failure *failure);
/* Whether these bytes are a meta record, by its checksum. */
bool store_meta_parse(struct store_meta *meta, const void *bytes, size_t size);
int store_meta_save(const struct store_env *e, MDB_txn *txn, struct store_meta *meta);   /* sets the checksum; an LMDB code */
int store_meta_create(const struct store_env *e, MDB_txn *txn, struct store_meta *meta); /* the format as well; an LMDB code */

#endif
