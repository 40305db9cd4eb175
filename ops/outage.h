/*
 * A shard that is down, as the supervisor notes it for people: one small text file a shard in the run folder
 * (run/shard-N.down), there for as long as it is down. The supervisor writes and removes it; `muster status` reads it. A note
 * that cannot be written (the disk is full, or is what fails) is missed and nothing else: the log has said the same.
 */
#ifndef MUSTER_OPS_OUTAGE_H
#define MUSTER_OPS_OUTAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/counters.h"
#include "core/datadir.h"

#define OUTAGE_CAUSE_BYTES 640u

struct ops_outage {
  int64_t since_us;               /* wall clock */
  uint32_t retry_ms;              /* after its last end, until it is tried again */
  char cause[OUTAGE_CAUSE_BYTES]; /* one sentence; "" where it is not known */
};

/* What people can do about it, the same for every cause. */
extern const char ops_outage_remedy[];

bool ops_outage_read(const struct datadir *d, uint32_t shard, struct ops_outage *out); /* false: it is not down, or not noted */

/* The supervisor's view of all of them. */
struct ops_outages {
  const struct datadir *data;
  struct counters *page; /* "run", which counts them */
  uint64_t down;         /* a bit for each shard */
  int64_t since_us[LIMIT_SHARDS];
};
void ops_outages_init(struct ops_outages *o, const struct datadir *data, struct counters *page); /* forgets what a former run has noted */
/* The shard is down, or still is: noted with the newest cause, logged the first time. */
void ops_outages_note(struct ops_outages *o, uint32_t shard, uint32_t retry_ms, const char *cause);
void ops_outages_end(struct ops_outages *o, uint32_t shard); /* nothing where it is not down */

#endif
