/*
 * A worker: decodes, validates, deduplicates and commits what the ingests send to its shard, and answers each record
 * with a verdict word once it is durable. Group commit needs no timer: parts that arrive while a commit syncs wait in
 * ZeroMQ, and the next turn of the loop takes all of them as the next group. After a storage error it answers nothing
 * any more, so whatever was said before is true and the rest is sent again to the process that starts from what is on
 * disk. What it has in hand is noted where its successor finds it; a suspect is a group of its own, and a record that
 * killed a worker is answered without being decoded. Knows neither loop nor socket: main.c feeds it from the link and gives it a way to send. One process, one
 * thread; the store is the caller's and outlives it.
 */
#ifndef MUSTER_WORKERS_WORKER_H
#define MUSTER_WORKERS_WORKER_H

#include <stdint.h>

#include "core/config.h"
#include "core/counters.h"
#include "core/hand.h"
#include "core/link.h"
#include "store/store.h"
#include "workers/watermark.h"

struct worker;

struct worker_options {
  struct store *store;
  const char *store_path; /* the shard's directory, for the watermark; must stay */
  uint32_t shard, shards;
  uint64_t epoch;                                           /* random, another after each start */
  const struct config *config;                              /* read at creation, and by worker_retune */
  struct counters *counters;                                /* may be NULL */
  struct hand *hand;                                        /* may be NULL; outlives it */
  int (*send)(void *context, struct link_message *message); /* as link_send */
  void (*on_stop)(void *context);                           /* once, after a storage error; may be NULL */
  watermark_disk_free *disk_free;                           /* NULL: statvfs */
  void *context;                                            /* of all three */
};

int worker_create(struct worker **out, const struct worker_options *options, struct failure *failure); /* MUSTER_ERR_MEMORY */
void worker_destroy(struct worker *w); /* what was gathered and not settled is forgotten, unanswered; NULL is fine */

/* One message of an ingest. HELLO is answered at once; a part joins the group, which is settled first where the part would not fit. A
 * SUSPECT or ISOLATE joins no other part: what is gathered is settled before, and it at once. */
void worker_take(struct worker *w, struct link_message *message);
/* Settles the group: verdicts, one commit, then all answers. Nothing gathered: nothing happens. At the end of each turn of the loop. */
void worker_settle(struct worker *w);
/* Asks the disk, drops from the quarantine what it was asked to, refreshes the gauges of the store, and clears away readers that were killed;
 * twice a second. */
void worker_refresh(struct worker *w);
/* From the next group on with the rules and the watermark that config says. */
void worker_retune(struct worker *w, const struct config *config);
/* Says BYE to every ingest that said HELLO; after it nothing is taken, settled or answered. Before an orderly end, behind the last
 * settle. */
void worker_leave(struct worker *w);
/* The storage error that stopped it; status MUSTER_OK while it works. Valid until destroy. */
const struct failure *worker_failure(const struct worker *w);

#endif
