/*
 * The hop to one worker: a DEALER link with this ingest's routing id, opened afresh after each death of the worker, so
 * that nothing of the former life stays in its pipes. It moves bytes between the link and its ingest_shard, which
 * decides. A worker that does not answer HELLO is connected to again. Owner: the process's main function, for its life;
 * all on the loop's thread. Process: ingest, one a shard.
 */
#ifndef MUSTER_INGEST_HOP_H
#define MUSTER_INGEST_HOP_H

#include <uv.h>

#include "core/link.h"
#include "ingest/shard.h"

struct ingest_hop {
  struct ingest_shard *shard;
  uv_loop_t *loop;
  struct link *link;   /* NULL while it could not be opened, and after the close */
  uint64_t opened_ns;  /* monotonic, of this link's opening, connection or last HELLO */
  char routing_id[16]; /* "ingest-3" */
  char endpoint[LIMIT_PATH_BYTES];
  bool closed;
};

/* Begins to connect. MUSTER_ERR_MEMORY, _IO, _USAGE with failure. */
int ingest_hop_open(struct ingest_hop *h, uv_loop_t *loop, struct ingest_shard *shard, const char *endpoint, uint32_t ingest,
                    struct failure *failure);
void ingest_hop_close(struct ingest_hop *h);                 /* the loop must run on for the link's handles; NULL links are fine */
void ingest_hop_tick(struct ingest_hop *h, uint64_t now_ns); /* a few times a second: connects again where HELLO had no answer */
/* The send of ingest_shard_seam for the shard of this hop. */
int ingest_hop_send(struct ingest_hop *h, const struct hop_head *head, struct link_frame *records);

#endif
