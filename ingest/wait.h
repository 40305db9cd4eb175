/*
 * How long those are told to wait who are to send again, by why: the budget and credit from what the node drains
 * (ingest/admit.h), a shard that is down from how long it has been so, a full disk from how often it is looked at. All
 * lie between LIMIT_RETRY_MIN_MS and LIMIT_RETRY_MAX_MS. Reads the flow and changes nothing. Process: ingest.
 */
#ifndef MUSTER_INGEST_WAIT_H
#define MUSTER_INGEST_WAIT_H

#include "ingest/flow.h"

/* For a whole batch told BUSY for this reason; of BUSY_SHARD_DOWN, the one that was walked last. */
uint32_t ingest_wait_busy_ms(const struct ingest_flow *f, uint32_t peer, uint32_t reason, uint64_t now_ns);
/* For the records of an answer that are handed back. */
struct ingest_wait ingest_wait_answer(struct ingest_flow *f, uint32_t slot, uint64_t now_ns);

#endif
