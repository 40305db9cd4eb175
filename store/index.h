/*
 * The index of a shard: from the fingerprint of an id to the sequence of its record, in memory only, derived from the
 * journal. 1,024 tables by the top bits of the fingerprint, each grown in its turn: their sizes are staggered, so that few
 * grow in the same moment, no growth is long, and none needs twice the memory of the whole. A table is open addressing with linear probing, kept in ascending order of
 * fingerprints from front to back: a search ends at the first larger one (two or three slots on average, where unordered
 * probing of a nearly full table looks at ten), and growing and loading sweep memory once. Different ids may share a
 * fingerprint: a lookup yields every candidate, in the order of insertion, and the caller confirms it against the full
 * id. Owner: the writer of the shard (verify has one of its own). Inside store/ only.
 */
#ifndef MUSTER_STORE_INDEX_H
#define MUSTER_STORE_INDEX_H

#include <stddef.h>
#include <stdint.h>

#define STORE_INDEX_BITS 10
#define STORE_INDEX_TABLES (1u << STORE_INDEX_BITS)

struct store_index_slot {
  uint64_t fingerprint;
  uint64_t sequence; /* from 1; 0: the slot is empty */
};

struct store_index_table {
  struct store_index_slot *slots; /* NULL while capacity is 0 */
  uint32_t capacity;              /* slots that an entry's search may begin at */
  uint32_t total;                 /* slots there are: past capacity is room for those pushed on from its end; the last one stays empty */
  uint32_t used;
};

struct store_index {
  struct store_index_table table[STORE_INDEX_TABLES];
  uint64_t bytes;      /* of all tables */
  uint32_t slots_most; /* of one table, by the bound; 0: none */
  uint64_t growths;    /* since init, first allocations not counted */
};

void store_index_init(struct store_index *x);
void store_index_finish(struct store_index *x); /* a zeroed or finished one is fine; the bound stays */

/* Bounds an empty index: tables grow up to their part of so many bytes. An entry past that is taken all the same, at the price of a page,
 * so that what was begun can end; to stop before that is the caller's. Returns how many entries there is room for. Fingerprints fall
 * evenly, so all tables come to their bound at about the same time. */
uint64_t store_index_bound(struct store_index *x, uint64_t bytes);

/* Room for about so many entries without growing; only on an empty index. MUSTER_OK or MUSTER_ERR_MEMORY. */
int store_index_reserve(struct store_index *x, uint64_t entries);
/* Adds an entry; the same pair twice is two entries. MUSTER_ERR_MEMORY: it was not added. */
int store_index_insert(struct store_index *x, uint64_t fingerprint, uint64_t sequence);
/* Room for so many entries in one empty table: how a hint is loaded. */
int store_index_reserve_table(struct store_index *x, unsigned table, uint32_t entries);

/* Where a fingerprint's entries begin to be looked for: 32 of the bits below the table's number, scaled to the capacity. */
static inline uint32_t store_index_home(uint64_t fingerprint, uint32_t capacity)
{
  return (uint32_t)((fingerprint << STORE_INDEX_BITS >> 32) * capacity >> 32);
}

/* Always inlined: gcc 12 takes a call of a void function that only prefetches for one without effect, and drops it. */
static inline __attribute__((always_inline)) void store_index_prefetch(const struct store_index *x, uint64_t fingerprint)
{
  const struct store_index_table *t = &x->table[fingerprint >> (64 - STORE_INDEX_BITS)];
  if (t->capacity)
    __builtin_prefetch(&t->slots[store_index_home(fingerprint, t->capacity)]);
}

/* A walk over the entries of one fingerprint. Valid until the next insert. */
struct store_index_probe {
  const struct store_index_slot *slot; /* NULL: the table is empty */
  uint64_t fingerprint;
};

static inline struct store_index_probe store_index_probe(const struct store_index *x, uint64_t fingerprint)
{
  const struct store_index_table *t = &x->table[fingerprint >> (64 - STORE_INDEX_BITS)];
  const struct store_index_slot *slot = t->slots;
  if (slot)
    for (slot += store_index_home(fingerprint, t->capacity); slot->sequence && slot->fingerprint < fingerprint;)
      slot++;
  return (struct store_index_probe){.slot = slot, .fingerprint = fingerprint};
}

/* The next sequence that has the fingerprint, 0 after the last. */
static inline uint64_t store_index_next(struct store_index_probe *p)
{
  if (!p->slot || !p->slot->sequence || p->slot->fingerprint != p->fingerprint)
    return 0;
  return p->slot++->sequence;
}

#endif
