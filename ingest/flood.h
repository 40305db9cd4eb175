/*
 * Who sends more than can be refused: an ingest takes messages off ZeroMQ as fast as they come and refuses at once what is
 * beyond a peer's credit, which is faster than the wire for all but the smallest messages. There is no mark under which
 * ZeroMQ would hold such a peer back (see LINK_NO_MARK), so what it sends too fast piles up in memory, until its
 * connection is ended. Judged by what needs no measuring: messages that were no admitted batch, while the link never once
 * ran empty. A peer within its credit has next to none of those, and one that the loop keeps up with is only told BUSY.
 *
 * Decides on numbers; owns nothing. Process: ingest, one struct a link.
 */
#ifndef MUSTER_INGEST_FLOOD_H
#define MUSTER_INGEST_FLOOD_H

#include <stdbool.h>
#include <stdint.h>

#define INGEST_FLOOD_ENTRIES 4096u
#define INGEST_FLOOD_EXCESS 4096u /* of one connection: some milliseconds of the loop's time */
#define INGEST_FLOOD_TOTAL 32768u /* of all; past it */
#define INGEST_FLOOD_STRICT 64u   /* of one */

struct ingest_flood_entry {
  uint64_t drains; /* of the link when excess began to be counted */
  uint32_t peer;
  uint32_t excess;
  int32_t connection; /* 0: has ended */
  bool cut;
};

struct ingest_flood {
  uint64_t drains;
  uint32_t total;                                        /* excess of all since then */
  struct ingest_flood_entry entry[INGEST_FLOOD_ENTRIES]; /* by peer; one that collides takes the place of the other */
  uint32_t peer_of[INGEST_FLOOD_ENTRIES];                /* by connection: whose it was last */
};

/* A number for an identity. */
uint32_t ingest_flood_peer(const uint8_t *identity, uint32_t size);
/* What it sent before its connection was ended: not worth a look. */
bool ingest_flood_is_cut(const struct ingest_flood *f, uint32_t peer);
/* One more message that was no admitted batch; drains as link_drains. True, once for a peer: its connection is to be ended. */
bool ingest_flood_excess(struct ingest_flood *f, uint32_t peer, int32_t connection, uint64_t drains);
/* So many, and more is there than was taken: newcomers would only bring more. */
bool ingest_flood_is_high(const struct ingest_flood *f, uint64_t drains);
/* The connection has ended; its number may come back as another's. */
void ingest_flood_gone(struct ingest_flood *f, int32_t connection);

#endif
