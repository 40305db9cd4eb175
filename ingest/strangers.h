/*
 * Connections that have come and said nothing yet: nobody knows whether they will ever prove a key. While there is room they have
 * the time for a handshake that the setting gives; where it gets short, some of them make room for newcomers (ingest/front.c), but
 * none that is younger than LIMIT_STRANGER_MS: whoever brings connections without a key cannot bring them faster than so many at a time.
 *
 * They go in rounds, LIMIT_STRANGER_MS apart: as soon as half of all are old enough, half of those. Who, is drawn: two by chance, and of those the one leaves that has more strangers beside it from its address. So whoever
 * is alone at an address loses to hardly anybody who comes in numbers, however far away it is; of a crowd with as many addresses as
 * connections it loses as often as each of them, and comes through after a few attempts; and many behind one address leave at most twice as
 * often as others do. The address with the most of all would be worse for those: who has many addresses could keep a whole site out.
 *
 * Keeps numbers of connections; closes nothing. Owns its arrays. Process: ingest, one struct a link.
 */
#ifndef MUSTER_INGEST_STRANGERS_H
#define MUSTER_INGEST_STRANGERS_H

#include <stdint.h>

struct ingest_strangers_entry {
  uint64_t came_ns;
  uint32_t address;   /* index in addresses */
  int32_t prev, next; /* of the young ones; 0: none */
  uint32_t place;     /* in old */
  uint8_t state;
};

struct ingest_strangers {
  struct ingest_strangers_entry *entry; /* by connection */
  int32_t max;                          /* entries; a connection of a larger number is never taken for a stranger */
  int32_t first, last;                  /* those too young to leave, in the order in which they came */
  int32_t *old;                         /* the others, in no order */
  uint32_t old_count;
  uint32_t *addresses; /* strangers by a hash of the address; where two addresses meet there, both seem to have more than they have */
  uint32_t addresses_mask;
  uint32_t count;
  uint32_t leaving;  /* told to end, and not gone yet */
  uint64_t round_ns; /* when the last began; 0: none has */
  uint32_t round_left;
  uint64_t seed, drawn;
};

/* seed: nobody outside knows it, or addresses could be chosen that meet those of others. MUSTER_ERR_MEMORY */
int ingest_strangers_init(struct ingest_strangers *s, uint32_t max, uint64_t seed);
void ingest_strangers_finish(struct ingest_strangers *s);

/* address: as link_options.on_come has it. */
void ingest_strangers_come(struct ingest_strangers *s, int32_t connection, uint64_t address, uint64_t now_ns);
void ingest_strangers_speak(struct ingest_strangers *s, int32_t connection); /* it is none any more */
void ingest_strangers_gone(struct ingest_strangers *s, int32_t connection);  /* whatever it was */
/* One that has to leave, and counts as leaving from now on; 0 where none is old enough, or this round is over. */
int32_t ingest_strangers_take(struct ingest_strangers *s, uint64_t now_ns);

#endif
