/*
 * The gate: what a submitter's message says, and what it is told at once. It reads first frames (never more than
 * LIMIT_HEADER_BYTES, with protobuf-c on an arena of its own), answers hello, status and whatever is wrong, and hands
 * batches to the flow. Who the submitter is was settled before (ingest/front.c). Knows nothing of sockets. Process:
 * ingest, one struct.
 *
 * An answer that the gate gives at once (welcome, status, BUSY, INVALID of a whole batch) is dropped where the peer does
 * not read: it costs nothing to ask again.
 */
#ifndef MUSTER_INGEST_GATE_H
#define MUSTER_INGEST_GATE_H

#include "core/arena.h"
#include "ingest/flow.h"

struct ingest_gate {
  struct ingest_flow *flow;
  struct arena arena; /* of one header while it is unpacked */
  uint64_t session;   /* another number in every process */
  uint64_t admitted;  /* messages that were a batch, and were taken in */
  uint8_t node_id[16];
  struct log_gate gate;
};

int ingest_gate_init(struct ingest_gate *g, struct ingest_flow *flow, const uint8_t node_id[16], uint64_t session);
void ingest_gate_finish(struct ingest_gate *g);

struct ingest_sender {
  enum ingest_origin origin;
  uint32_t submitter;
  const char *name; /* of the submitter, for the log */
};
/* One message of a submitter who may speak; its frames may be taken over. */
void ingest_gate_message(struct ingest_gate *g, const struct ingest_sender *sender, struct link_message *message, uint64_t now_ns);

#endif
