/*
 * Connections that have come and said nothing yet, in the order in which they came: nobody knows whether they will ever prove
 * a key. While there is room they have the time for a handshake that the setting gives; where it gets short, the oldest of
 * them make room for newcomers (ingest/front.c), but none that is younger than LIMIT_STRANGER_MS. One who has a key has proved it by
 * then on a link of up to some 70 ms there and back (a handshake is three to four of those), and whoever brings connections without one cannot bring them faster than so many at a time.
 *
 * Keeps numbers of connections; closes nothing. Owns its arrays. Process: ingest, one struct a link.
 */
#ifndef MUSTER_INGEST_STRANGERS_H
#define MUSTER_INGEST_STRANGERS_H

#include <stdint.h>

struct ingest_strangers_entry {
  uint64_t came_ns;
  int32_t prev, next; /* 0: none */
  uint8_t state;
};

struct ingest_strangers {
  struct ingest_strangers_entry *entry; /* by connection */
  int32_t max;                          /* entries; a connection of a larger number is never taken for a stranger */
  int32_t first, last;
  uint32_t count;
  uint32_t leaving; /* told to end, and not gone yet */
};

int ingest_strangers_init(struct ingest_strangers *s, uint32_t max); /* MUSTER_ERR_MEMORY */
void ingest_strangers_finish(struct ingest_strangers *s);

void ingest_strangers_come(struct ingest_strangers *s, int32_t connection, uint64_t now_ns);
void ingest_strangers_speak(struct ingest_strangers *s, int32_t connection); /* it is none any more */
void ingest_strangers_gone(struct ingest_strangers *s, int32_t connection);  /* whatever it was */
/* The oldest, which counts as leaving from now on; 0 where none is old enough. */
int32_t ingest_strangers_take(struct ingest_strangers *s, uint64_t now_ns);

#endif
