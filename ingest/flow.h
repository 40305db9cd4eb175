/*
 * The way of a batch through this process: refused or taken in (admit, split), waiting for its turn, at the shards,
 * gathered, answered, gone. It ties the deciding parts together and owns them; bytes leave through the two sends of its
 * seam. Also here: what happens when an answer does not go out. It stays, charged to its peer's credit and to the
 * budget, until the peer reads, is gone, or the answer time-out that the client was told is over; it is dropped then,
 * and the client sends the batch again. Process: ingest, one struct.
 *
 * While a shard is down, the records for it are told BUSY_SHARD_DOWN, and the others of the same batch go on to theirs; a
 * batch that has none for a shard that is up is told so as a whole, before anything of it is held. Parts that were with
 * the shard already keep waiting for it, but do not count against the dispatch bound, so that they stand in nobody's way.
 */
#ifndef MUSTER_INGEST_FLOW_H
#define MUSTER_INGEST_FLOW_H

#include "core/config.h"
#include "core/counters.h"
#include "ingest/admit.h"
#include "ingest/answer.h"
#include "ingest/gather.h"
#include "ingest/shard.h"
#include "ingest/split.h"

struct ingest_flow_seam {
  /* To a submitter: identity in the message. MUSTER_OK (taken over), MUSTER_ERR_AGAIN (it does not read; ingest_flow_writable will be
   * called), MUSTER_ERR_NOT_FOUND (gone). */
  int (*send_answer)(void *context, enum ingest_origin origin, struct link_message *message);
  /* To a worker, as in ingest_shard_seam. */
  int (*send_part)(void *context, uint32_t shard, const struct hop_head *head, struct link_frame *records);
  /* While draining: nothing is held any more. Called once. */
  void (*on_drained)(void *context);
  void *context;
};

struct ingest_flow {
  struct ingest_admit admit;
  struct ingest_split split;
  struct ingest_gather gather;
  struct ingest_shard *shard; /* shards of them */
  uint32_t shards, shards_serving;
  uint32_t answer_timeout_ms;
  bool draining, drained;
  int64_t wall_offset_us; /* of the wall clock to the monotonic one, as of the last second: for stamps */
  struct ingest_flow_seam seam;
  struct counters *counters; /* may be NULL */
  struct log_gate gate;
};

/* The shards are config->workers. counters may be NULL. The struct is pointed to by its shards: it stays where it is. */
int ingest_flow_init(struct ingest_flow *f, const struct config *config, const struct ingest_flow_seam *seam, struct counters *counters,
                     uint64_t now_ns);
void ingest_flow_finish(struct ingest_flow *f);

struct ingest_submit {
  uint32_t peer; /* entry of admit, or INGEST_NONE where the table had no room */
  uint64_t batch_id;
  uint32_t record_count;
  uint32_t row; /* of its submitter in the counters */
};
/* Takes the batch in, and its stream over, where the refusal's verdict is 0 afterwards; else the caller answers with the refusal. */
void ingest_flow_submit(struct ingest_flow *f, const struct ingest_submit *submit, struct link_frame *stream, uint64_t now_ns,
                        struct ingest_refusal *refusal);

/* A whole batch or message is INVALID, of a submitter with this row in the counters. */
void ingest_flow_count_refused(struct ingest_flow *f, uint32_t row, uint32_t reason);

void ingest_flow_gone(struct ingest_flow *f, int32_t connection);            /* that connection has ended */
void ingest_flow_writable(struct ingest_flow *f, enum ingest_origin origin); /* some peer may read again */
void ingest_flow_tick(struct ingest_flow *f, uint64_t now_ns);               /* every 100 ms or so */
/* From now on with what config says of credit and time-outs; what is in flight keeps its place. A credit that is less than what a connection has
 * in flight ends when its batches are answered. */
void ingest_flow_retune(struct ingest_flow *f, const struct config *config);
void ingest_flow_drain(struct ingest_flow *f);  /* from now on everything new is told BUSY_DRAINING */
void ingest_flow_gauges(struct ingest_flow *f); /* once a second: what is told of now */

#endif
