/*
 * What `muster quarantine` does, after its options are read: list and show in quarantine_show.c, replay in
 * quarantine_replay.c, drop in quarantine_drop.c. Each returns an exit code. Entries are the worker's to keep and to drop;
 * the commands read them, and leave requests. No byte of a record is shown unless its payload is asked for.
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
  bool addressed;    /* show, drop: one entry */
  uint32_t shard;    /* which */
  uint64_t number;
  uint32_t reason;       /* replay, drop: only this one; 0: replay all but those that killed a worker, drop any */
  const char *endpoint;  /* replay; NULL: the node of the data directory */
  uint32_t timeout_ms;   /* replay, drop */
  const char *submitter; /* drop: only of this one, by name or number; NULL: any */
  bool stored;           /* drop: only entries whose record was accepted since */
};
int ops_quarantine_list(const struct ops_quarantine_options *o, struct ops_shards *s);
int ops_quarantine_show(const struct ops_quarantine_options *o, struct ops_shards *s);
int ops_quarantine_replay(const struct ops_quarantine_options *o, struct ops_shards *s);
int ops_quarantine_drop(const struct ops_quarantine_options *o, struct ops_shards *s);

/* The number of a reason by its name or number; 0 where there is none. */
uint32_t ops_quarantine_reason(const char *word);

/* What could not be read, and was gone past. */
struct ops_quarantine_damage {
  bool quiet;       /* set before: it is counted only */
  uint64_t entries; /* damaged ones */
  uint32_t shards;  /* that cannot be read, or not to their end */
  bool again;       /* one of them can be read by now */
};
/* Reads the quarantine of each shard in turn; stops where each answers non-zero and returns that, or a failure. What is damaged is told, and stops nothing. The shards are those of
 * ops_shards_open_some. */
int ops_quarantine_each(struct ops_shards *s, int (*each)(void *context, const struct store_refused *entry), void *context,
                        struct ops_quarantine_damage *damage, struct failure *failure);
/* The exit code of a command that has told of it, in the place of 0: 75 where to say it again may help, else 1. */
int ops_quarantine_end(const struct ops_quarantine_damage *damage, int code);

/* Entries that are to go, by shard. Zeroed: none. */
struct ops_quarantine_names {
  struct store_refused_name *name[LIMIT_SHARDS];
  size_t count[LIMIT_SHARDS], capacity[LIMIT_SHARDS];
  size_t total;
};
int ops_quarantine_names_add(struct ops_quarantine_names *n, const struct store_refused *entry); /* MUSTER_ERR_MEMORY */
void ops_quarantine_names_finish(struct ops_quarantine_names *n);

/* Asks the workers to drop them, waits until that is done, and tells how many are gone. Where no node is running it is done when one
 * starts. An exit code. */
int ops_quarantine_ask(struct ops_shards *s, struct ops_quarantine_names *n, enum store_drop what, uint32_t timeout_ms);

#endif
