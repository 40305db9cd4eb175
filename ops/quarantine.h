/*
 * What `muster quarantine` does, after its options are read: list and show in quarantine_show.c, replay in
 * quarantine_replay.c. Each returns an exit code. Entries are the worker's to keep; the commands only read them, and no
 * byte of a record is shown unless its payload is asked for.
 */
#ifndef MUSTER_OPS_QUARANTINE_H
#define MUSTER_OPS_QUARANTINE_H

#include <stdbool.h>
#include <stdint.h>

#include "ops/shards.h"

struct ops_quarantine_options {
  const char *data;
  bool by_submitter; /* list: counts by submitter instead of reason */
  uint64_t rows;     /* list: entries shown; 0: all */
  bool payload;      /* show */
  uint32_t shard;    /* show: which entry */
  uint64_t number;
  uint32_t reason;      /* replay: only this one; 0: all but those that killed a worker */
  const char *endpoint; /* replay; NULL: the node of the data directory */
  uint32_t timeout_ms;  /* replay */
};
int ops_quarantine_list(const struct ops_quarantine_options *o, struct ops_shards *s);
int ops_quarantine_show(const struct ops_quarantine_options *o, struct ops_shards *s);
int ops_quarantine_replay(const struct ops_quarantine_options *o, struct ops_shards *s);

/* The number of a reason by its name or number; 0 where there is none. */
uint32_t ops_quarantine_reason(const char *word);

#endif
