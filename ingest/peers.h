/*
 * Who is connected: a table of connections (peers) and one of the submitters that they belong to, both bounded by the
 * setting ingest.peers and taken at start. A peer is an origin and the routing id that libzmq gave the connection; it
 * becomes one with its first message and ceases to be one when its connection has ended. A submitter is known while it
 * has an entry among the peers. Everything is found in O(1). Knows no socket and no budget. Process: ingest.
 *
 * Where the table is full, a newcomer takes the entry of a connection that is gone, else of the one that was silent
 * longest, among those that hold nothing. That does no harm: there is nothing in an entry that the next message does not
 * bring with it.
 */
#ifndef MUSTER_INGEST_PEERS_H
#define MUSTER_INGEST_PEERS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/link.h"

#define INGEST_NONE UINT32_MAX

enum ingest_origin { INGEST_IPC, INGEST_TCP };

struct ingest_list { /* of numbers, linked through an array or a member that belongs to the list's kind */
  uint32_t first, last;
};

struct ingest_peer {
  uint8_t identity[LINK_IDENTITY_BYTES];
  uint32_t identity_size;
  enum ingest_origin origin;
  int32_t connection; /* link_message.connection of its last message; 0: not known */
  uint32_t submitter; /* number from the allow-list, as of its last message */
  uint32_t owner;     /* entry of that submitter; of the former one while it holds batches that are charged to that */
  uint32_t in_flight; /* batches held, from admission until the answer has left */
  uint64_t held_bytes;
  uint32_t unlooked_bytes;    /* of answers that left since the kernel was asked last whether it takes more for this connection */
  float batch_bytes;          /* cost of its recent batches, moving average; 0: none yet */
  bool gone;                  /* its connection has ended */
  struct ingest_list waiting; /* batch slots: admitted, not yet at the workers */
  struct ingest_list unsent;  /* batch slots: answered, but the peer does not read */
  bool in_turn;
  uint32_t turn_next;            /* next peer of its submitter that has something waiting */
  uint32_t idle_prev, idle_next; /* peers with nothing in flight: those gone, then the longest silent first */
  uint32_t hash_next;
};

struct ingest_submitter {
  uint32_t number;     /* from the allow-list; all of ipc is one, "local" */
  uint32_t peers;      /* entries of its connections */
  uint32_t busy_peers; /* of these, that hold something */
  uint32_t in_flight;  /* sums of its peers */
  uint64_t held_bytes;
  struct ingest_list turns; /* its peers that have something waiting, in the order of their turns */
  bool in_turn;
  uint32_t turn_next; /* next submitter that has something waiting */
  uint32_t hash_next; /* or the next free entry */
};

struct ingest_peers {
  struct ingest_peer *peer;
  struct ingest_submitter *submitter; /* as many: each has a peer */
  uint32_t max, used, open;           /* entries; of which some were taken, and stand for connections that are not gone */
  uint32_t submitter_free;
  uint32_t *hash, *submitter_hash; /* heads of chains, hash_mask + 1 of them */
  uint32_t hash_mask;
  uint64_t hash_seed;
  uint32_t *by_connection; /* peer of a connection's number; connections_max of them */
  uint32_t connections_max;
  uint32_t idle_first, idle_last;
};

int ingest_peers_init(struct ingest_peers *t, uint32_t max); /* MUSTER_ERR_MEMORY */
void ingest_peers_finish(struct ingest_peers *t);

struct ingest_caller { /* where a message came from */
  enum ingest_origin origin;
  int32_t connection; /* 0: not known */
  uint32_t submitter;
  const uint8_t *identity;
  uint32_t identity_size;
};
/* The peer's entry, made where it is new. INGEST_NONE where every entry has batches in flight. */
uint32_t ingest_peers_hear(struct ingest_peers *t, const struct ingest_caller *caller);
/* The connection of that number, or the peer, is gone: no peer any more as soon as it holds nothing. */
void ingest_peers_connection_gone(struct ingest_peers *t, int32_t connection);
void ingest_peers_gone(struct ingest_peers *t, enum ingest_origin origin, const uint8_t *identity, uint32_t identity_size);

/* It holds its first batch; it holds none any more. */
void ingest_peers_busy(struct ingest_peers *t, uint32_t peer);
void ingest_peers_idle(struct ingest_peers *t, uint32_t peer);

#endif
