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

/* What kind of trouble it is, by what people can do about it; ops/outage.c has a word and a remedy for each. */
enum ops_outage_kind {
  OUTAGE_OTHER,
  OUTAGE_MISSING,  /* its data is not there */
  OUTAGE_DAMAGED,  /* its data is not what it was */
  OUTAGE_DISK,     /* a read, write or sync failed */
  OUTAGE_FULL,     /* no room */
  OUTAGE_HELD,     /* another process has it */
  OUTAGE_DENIED,   /* owner or mode */
  OUTAGE_MEMORY,   /* none to be had */
  OUTAGE_SETTINGS, /* they do not fit what is stored */
  OUTAGE_VERSION,  /* another version wrote it */
  OUTAGE_CRASHING, /* its worker dies of itself */
  OUTAGE_OPENING,  /* its worker lives, and does not get ready */
  OUTAGE_KINDS
};

struct ops_outage {
  int64_t since_us;  /* wall clock */
  uint32_t retry_ms; /* after its last end, until it is tried again; 0: it goes on trying */
  enum ops_outage_kind kind;
  char cause[OUTAGE_CAUSE_BYTES]; /* one sentence; "" where it is not known */
};

const char *ops_outage_word(enum ops_outage_kind kind);   /* "disk-full" */
const char *ops_outage_remedy(enum ops_outage_kind kind); /* what people can do about it */
enum ops_outage_kind ops_outage_kind_of(int status);      /* of a muster_status */

bool ops_outage_read(const struct datadir *d, uint32_t shard, struct ops_outage *out); /* false: it is not down, or not noted */

/* The supervisor's view of all of them. */
struct ops_outages {
  const struct datadir *data;
  struct counters *page; /* "run", which counts them */
  uint64_t down;         /* a bit for each shard */
  int64_t since_us[LIMIT_SHARDS];
  struct ops_outage last[LIMIT_SHARDS]; /* as it was noted last */
};
void ops_outages_init(struct ops_outages *o, const struct datadir *data, struct counters *page); /* forgets what a former run has noted */
/* The shard is down, or still is: noted with the newest cause, logged the first time, and when the kind is another. outage->since_us is not looked at. */
void ops_outages_note(struct ops_outages *o, uint32_t shard, const struct ops_outage *outage);
void ops_outages_end(struct ops_outages *o, uint32_t shard); /* nothing where it is not down */

#endif
