/*
 * What a worker counts, each function within one bracket of its page, so that a reader sees the conservation rule hold at every moment:
 * records are received and in flight together, and leave flight together with their verdicts, which are counted from the words themselves.
 * Workers only; a NULL page counts nothing.
 */
#ifndef MUSTER_WORKERS_COUNTS_H
#define MUSTER_WORKERS_COUNTS_H

#include <stdint.h>

#include "core/counters.h"
#include "store/store.h"
#include "workers/group.h"
#include "workers/watermark.h"

void counts_taken(struct counters *c, uint32_t record_count, uint64_t bytes); /* a part joined the group */

struct counts_commit {
  uint64_t store_records; /* durable before this group */
  uint64_t misrouted;     /* records of this group that are another shard's */
  uint64_t file_bytes;    /* of the store, disk_free_bytes: as looked at before this group */
  uint64_t disk_free_bytes;
  uint64_t decode_ns, dedup_ns; /* of this group; all times are 0 where it was not looked at */
  uint64_t commit_ns, sync_ns;  /* sync is a part of commit */
};
/* All words of the group are final. Returns how many of its records are stored now and were not before. */
uint64_t counts_settled(struct counters *c, const struct group *g, const struct counts_commit *commit);
void counts_answer_dropped(struct counters *c);
void counts_drops_waiting(struct counters *c, uint32_t requests);
/* Gauges. free_bytes: of the data file. */
void counts_store(struct counters *c, const struct store_facts *facts, uint64_t free_bytes, const struct watermark *watermark);

#endif
