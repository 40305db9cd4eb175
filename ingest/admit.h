/*
 * Admission: who may put how much into this process, and whose turn it is. It decides only: batches are slot numbers of
 * the gather table, peers are entries of ingest/peers.h, and nothing here knows a socket. One struct a process, memory
 * taken at start. Process: ingest.
 *
 * Three things can run short: the bytes of the budget, the slots of the table of batches, and the entries of connections
 * that hold something. Each is shared out by one rule, first among submitters, and what a submitter may have among its
 * connections: whoever holds nothing gets what it asks for as long as it is there; whoever holds something leaves a part
 * of what the others leave (core/limits.h), and leaves alone what is kept for those who hold nothing. So one submitter,
 * with however many connections, has at most three quarters of anything, many of them settle at equal shares, and a
 * newcomer finds room. Turns go round among submitters, and within each among its connections, so that a flood
 * waits behind itself. The clients of ipc are one submitter: they belong to one user, who is not to be kept from
 * running several, and among them the second step is what keeps them fair.
 *
 * Beside that a connection has a credit of batches: the setting, in proportion more where its batches are small (what has to be bounded is
 * bytes, and small batches need many in flight to keep the workers busy), or its share where that is less. Those past their share
 * are told BUSY; when to come back is computed from what the node really drains.
 */
#ifndef MUSTER_INGEST_ADMIT_H
#define MUSTER_INGEST_ADMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/limits.h"
#include "ingest/peers.h"

#define INGEST_BATCH_COST 512u /* bytes a batch is charged beside its message: table entry, header frame */
#define INGEST_RECORD_COST 16u /* bytes a record is charged beside its bytes: its word as it comes from the worker, and in the answer */

struct ingest_admit {
  uint64_t budget_bytes, used_bytes;
  uint32_t credit_max;
  uint32_t credit_bytes;                     /* a batch of the credit: LIMIT_CREDIT_BYTES, but tests */
  uint64_t dispatch_bytes, at_workers_bytes; /* the bound, and what counts against it */
  uint32_t held_batches;
  uint32_t busy_peers, busy_submitters; /* that hold something */
  uint32_t unsent_batches;
  struct ingest_peers peers;
  struct ingest_list turns; /* submitters that have something waiting, in the order of their turns */
  uint32_t *slot_next;      /* LIMIT_BATCHES_IN_FLIGHT */
  uint64_t *slot_cost;      /* as many */
  double batch_bytes;       /* cost of a recent batch, moving average */
  double drained_per_s;     /* bytes answered a second, moving average while there was something to answer; 0: not measured yet */
  uint64_t drained_bytes, drained_since_ns;
};

int ingest_admit_init(struct ingest_admit *a, uint64_t budget_bytes, uint32_t credit, uint64_t dispatch_bytes, uint32_t peers);
void ingest_admit_finish(struct ingest_admit *a);

/* What a batch is charged. */
uint64_t ingest_admit_cost(uint64_t message_bytes, uint32_t record_count);
/* 0, or the Reason for which a batch of this cost is told BUSY now: CREDIT where batches of this peer have to leave first, BUDGET where
 * those of others have to. */
uint32_t ingest_admit_check(const struct ingest_admit *a, uint32_t peer, uint64_t cost_bytes);
/* Charges the batch to its peer and lets it wait for its turn. */
void ingest_admit_take(struct ingest_admit *a, uint32_t peer, uint32_t slot, uint64_t cost_bytes);
/* The batch whose turn it is, which now counts as at the workers; INGEST_NONE where none waits or enough are there. */
uint32_t ingest_admit_turn(struct ingest_admit *a);
/* This batch is not at the workers any more. */
void ingest_admit_returned(struct ingest_admit *a, uint32_t slot);
/* Its answer has left or was dropped: gives back charge and credit. */
void ingest_admit_release(struct ingest_admit *a, uint32_t peer, uint64_t cost_bytes);

/* Answers that the peer does not read yet, in order. */
void ingest_admit_unsent_push(struct ingest_admit *a, uint32_t peer, uint32_t slot);
uint32_t ingest_admit_unsent_first(const struct ingest_admit *a, uint32_t peer);
void ingest_admit_unsent_pop(struct ingest_admit *a, uint32_t peer);

/* Batches that the peer may have in flight now, at least 1. INGEST_NONE: a newcomer. */
uint32_t ingest_admit_credit(const struct ingest_admit *a, uint32_t peer);
/* Milliseconds after which a peer (INGEST_NONE: any) told BUSY_BUDGET or BUSY_CREDIT should send again; LIMIT_RETRY_MIN_MS to
 * LIMIT_RETRY_MAX_MS. */
uint32_t ingest_admit_retry_after_ms(const struct ingest_admit *a, uint32_t peer, uint32_t reason);
/* A few times a second: measures the drain rate. */
void ingest_admit_tick(struct ingest_admit *a, uint64_t now_ns);

#endif
