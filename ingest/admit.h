/*
 * Admission: who may put how much into this process, and whose turn it is. One byte budget over everything that is held;
 * a credit of batches for each peer; turns that go round, so that a flood waits behind itself and not others; and a
 * retry-after computed from what the node really drains. It decides only: batches are slot numbers of the gather table,
 * peers are entries of a table bounded by the setting, and nothing here knows a socket. One struct a process, memory
 * taken at start. Process: ingest.
 *
 * The hard credit is the setting. While more than three quarters of the budget are held, a peer may have no more in
 * flight than its share of what is left, told to it as its credit: so those who hold much are told BUSY before those who
 * hold little.
 */
#ifndef MUSTER_INGEST_ADMIT_H
#define MUSTER_INGEST_ADMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/limits.h"
#include "core/link.h"

#define INGEST_NONE UINT32_MAX
#define INGEST_BATCH_COST 512u /* bytes a batch is charged beside its message: table entry, header frame */
#define INGEST_RECORD_COST 16u /* bytes a record is charged beside its bytes: its word as it comes from the worker, and in the answer */

enum ingest_origin { INGEST_IPC, INGEST_TCP };

struct ingest_slots { /* a list of batch slots, linked through admit's own array */
  uint32_t first, last;
};

struct ingest_peer {
  uint8_t identity[LINK_IDENTITY_BYTES];
  uint32_t identity_size;
  enum ingest_origin origin;
  uint32_t submitter; /* number from the allow-list, as of its last message */
  uint32_t in_flight; /* batches held, from admission until the answer has left */
  uint64_t held_bytes;
  uint64_t heard_ns; /* monotonic, of its last message */
  bool said_hello;
  struct ingest_slots waiting; /* admitted, not yet at the workers */
  struct ingest_slots unsent;  /* answered, but the peer does not read */
  bool in_turn;
  uint32_t turn_next;            /* next peer that has something waiting */
  uint32_t idle_prev, idle_next; /* peers with nothing in flight, least recently heard first */
  uint32_t hash_next;
};

struct ingest_admit {
  uint64_t budget_bytes, used_bytes;
  uint32_t credit_max, dispatch_max;
  uint32_t at_workers;               /* batches that count against dispatch_max */
  uint32_t held_batches, busy_peers; /* peers that hold something */
  uint32_t unsent_batches;
  struct ingest_peer *peers;
  uint32_t peers_max, peers_used;
  uint32_t *hash; /* heads of chains, hash_mask + 1 of them */
  uint32_t hash_mask;
  uint64_t hash_seed;
  uint32_t idle_first, idle_last;
  uint32_t turn_first, turn_last;
  uint32_t *slot_next;  /* LIMIT_BATCHES_IN_FLIGHT */
  double batch_bytes;   /* cost of a recent batch, moving average */
  double drained_per_s; /* bytes answered a second, moving average while there was something to answer; 0: not measured yet */
  uint64_t drained_bytes, drained_since_ns;
};

int ingest_admit_init(struct ingest_admit *a, uint64_t budget_bytes, uint32_t credit, uint32_t dispatch, uint32_t peers);
void ingest_admit_finish(struct ingest_admit *a);

/* The peer's entry, made where it is new; heard now. INGEST_NONE where every entry has batches in flight. */
uint32_t ingest_admit_peer(struct ingest_admit *a, enum ingest_origin origin, const uint8_t *identity, uint32_t identity_size,
                           uint32_t submitter, uint64_t now_ns);
uint32_t ingest_admit_peers_heard(const struct ingest_admit *a, uint64_t since_ns); /* that said hello */

/* What a batch is charged. */
uint64_t ingest_admit_cost(uint64_t message_bytes, uint32_t record_count);
/* 0, or the Reason for which a batch of this cost is told BUSY now. */
uint32_t ingest_admit_check(const struct ingest_admit *a, uint32_t peer, uint64_t cost_bytes);
/* Charges the batch to its peer and lets it wait for its turn. */
void ingest_admit_take(struct ingest_admit *a, uint32_t peer, uint32_t slot, uint64_t cost_bytes);
/* The batch whose turn it is, which now counts as at the workers; INGEST_NONE where none waits or enough are there. */
uint32_t ingest_admit_turn(struct ingest_admit *a);
/* One batch less at the workers. */
void ingest_admit_returned(struct ingest_admit *a);
/* Its answer has left or was dropped: gives back charge and credit. */
void ingest_admit_release(struct ingest_admit *a, uint32_t peer, uint64_t cost_bytes);

/* Answers that the peer does not read yet, in order. */
void ingest_admit_unsent_push(struct ingest_admit *a, uint32_t peer, uint32_t slot);
uint32_t ingest_admit_unsent_first(const struct ingest_admit *a, uint32_t peer);
void ingest_admit_unsent_pop(struct ingest_admit *a, uint32_t peer);

/* Batches that a peer may have in flight now. */
uint32_t ingest_admit_credit(const struct ingest_admit *a);
/* Milliseconds after which a peer (INGEST_NONE: any) told this BUSY reason should send again; 5 to 5,000. */
uint32_t ingest_admit_retry_after_ms(const struct ingest_admit *a, uint32_t peer, uint32_t reason);
/* A few times a second: measures the drain rate. */
void ingest_admit_tick(struct ingest_admit *a, uint64_t now_ns);

#endif
