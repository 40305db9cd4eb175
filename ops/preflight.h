/*
 * What must be true before a node starts: who it is (node id and CURVE key, made at the first start), that its shards
 * are all there and as many as asked for, and that the system gives enough descriptors, address space, memory, locked memory and disk. Run by
 * the supervisor, after it holds the lock and before it starts anyone.
 */
#ifndef MUSTER_OPS_PREFLIGHT_H
#define MUSTER_OPS_PREFLIGHT_H

#include <stdint.h>
#include <sys/resource.h>

#include "core/config.h"
#include "core/datadir.h"
#include "core/failure.h"
#include "ops/shards.h"

#define PREFLIGHT_WORKERS 2u /* of a new store where nothing else is said */

/* How many workers a node starts: asked (0: not said) against what the store has. MUSTER_ERR_CONFIG where they differ. */
int ops_preflight_workers(uint32_t asked, const struct ops_shards_survey *survey, uint32_t *workers, struct failure *failure);
/* Makes the shard directories that do not exist yet, 0700; those of absent shards are not: a new one in the place of a lost one would begin
 * anew. */
int ops_preflight_shards(const struct datadir *d, uint32_t workers, uint64_t absent, struct failure *failure);

/* The node's id: DIR/node.id (UUID text, one line, 0600), which every process of the node reads; made at first start, from the store where the file is lost. A
 * file that contradicts the store is MUSTER_ERR_CORRUPT. The node's key: keys/node.key. */
int ops_preflight_identity(const struct datadir *d, const struct ops_shards_survey *survey, struct failure *failure);

/* Descriptors that one ingest with so many peers may need at the same time. */
uint64_t ops_preflight_descriptors(uint32_t peers);
/* Raises the soft limit of descriptors to the hard one, for the children to inherit, and judges both limits. MUSTER_ERR_CONFIG with the number that is missing. */
int ops_preflight_limits(const struct config *c, struct failure *failure);
/* The judgement alone. */
int ops_preflight_judge(const struct config *c, rlim_t descriptors, rlim_t address_space, struct failure *failure);

/* The same of the bytes of data that one process may have: MUSTER_ERR_CONFIG with the number that the largest of them may need. */
int ops_preflight_judge_data(const struct config *c, rlim_t data, struct failure *failure);

/* What the processes of a node may hold at the most, the indexes left out, in bytes. */
uint64_t ops_preflight_beside_index(const struct config *c);
/* Settles how much memory the index may have: what the settings say, or half of the machine's (memory_bytes; 0: not known) as far as the other
 * holders leave it, and judges it against the machine and against what the fullest shard needs, which is a shard's part. MUSTER_ERR_CONFIG
 * with the number needed. */
int ops_preflight_index(struct config *c, const struct ops_shards_survey *survey, uint64_t memory_bytes, struct failure *failure);

/* Logs a warning where the disk has less free than the watermark: the node starts, can be read, answers BUSY, and says so when it is ready.
 * MUSTER_ERR_IO where it cannot be told. */
int ops_preflight_disk(const struct datadir *d, const struct config *c, struct failure *failure);

#endif
