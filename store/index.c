#include "store/index.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "muster/status.h"
#include "store/read.h"

/* A table grows by 9/20 when it is four fifths full: between 20 and 29 bytes an entry, 25 over all of them. */
#define INDEX_CAPACITY_MIN 224u
#define INDEX_BYTES_MIN ((uint64_t)STORE_INDEX_TABLES * INDEX_PAGE_BYTES)
#define INDEX_OVERHANG_MIN 32u /* slots past capacity: more than a run of a table four fifths full is likely to need */
#define INDEX_PAGE_BYTES 4096u
#define INDEX_PAGE_SLOTS (INDEX_PAGE_BYTES / sizeof(struct store_index_slot))

static size_t table_bytes(uint32_t total) { return (size_t)total * sizeof(struct store_index_slot); }

/* Tables are mapped one by one and grow with mremap: the pages they have stay theirs, so that only what is added is faulted in (with one
 * call), and nothing is held twice. */
static struct store_index_slot *table_take(const struct store_index_table *t, uint32_t total)
{
  const size_t old_bytes = table_bytes(t->total), bytes = table_bytes(total);
  void *p = t->slots ? mremap(t->slots, old_bytes, bytes, MREMAP_MAYMOVE)
                     : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    return NULL;
  madvise((uint8_t *)p + old_bytes, bytes - old_bytes, MADV_POPULATE_WRITE); /* where the kernel cannot, touching does it page by page */
  return p;
}

/* Spreads a table that became larger, in two sweeps: all entries to the end, then each to its home or right behind its predecessor.
 * The second never overtakes the first: the entries still to come have room behind the one in hand, so its place lies before where it
 * waits. */
static void table_spread(struct store_index_table *t, uint32_t total_before)
{
  struct store_index_slot *slots = t->slots;
  uint32_t waiting = t->total;
  for (uint32_t i = total_before; i-- > 0;) {
    if (!slots[i].sequence)
      continue;
    const struct store_index_slot entry = slots[i];
    slots[i].sequence = 0;
    slots[--waiting] = entry;
  }
  for (uint32_t place = 0; waiting < t->total; waiting++, place++) {
    const struct store_index_slot entry = slots[waiting];
    const uint32_t home = store_index_home(entry.fingerprint, t->capacity);
    place = home > place ? home : place;
    assert(place < waiting);
    slots[waiting].sequence = 0;
    slots[place] = entry;
  }
}

/* Makes a table larger, in whole pages; overhang: slots past capacity. */
static int table_resize(struct store_index *x, struct store_index_table *t, uint64_t capacity, uint64_t overhang)
{
  const uint32_t total_before = t->total;
  uint64_t total = (capacity + overhang + INDEX_PAGE_SLOTS - 1) / INDEX_PAGE_SLOTS * INDEX_PAGE_SLOTS;
  total = total < total_before ? total_before : total;
  if (total > UINT32_MAX)
    return MUSTER_ERR_MEMORY;
  struct store_index_slot *slots = table_take(t, (uint32_t)total);
  if (!slots)
    return MUSTER_ERR_MEMORY;
  x->bytes += table_bytes((uint32_t)total - total_before);
  x->growths += total_before != 0;
  t->slots = slots;
  t->capacity = (uint32_t)capacity;
  t->total = (uint32_t)total;
  table_spread(t, total_before);
  return MUSTER_OK;
}

static uint64_t capacity_for(uint64_t wanted) { return wanted < INDEX_CAPACITY_MIN ? INDEX_CAPACITY_MIN : wanted; }

/* Tables fill evenly; begun at sizes that are spread over one growth, they do not come to grow together. */
static uint64_t capacity_staggered(uint64_t capacity, unsigned table)
{
  return capacity + capacity * 9 * table / (20 * STORE_INDEX_TABLES);
}

void store_index_init(struct store_index *x) { memset(x, 0, sizeof *x); }

/* ---- the bound ---- */

static uint64_t slots_most(const struct store_index *x) { return x->slots_most ? x->slots_most : UINT64_MAX; }

/* A table at its bound is filled further than one that may grow: tables differ by some entries, and none should need more than its part
 * before the index as a whole is full. */
static bool table_full(const struct store_index *x, const struct store_index_table *t)
{
  const uint64_t used = t->used, capacity = t->capacity;
  return t->total < slots_most(x) ? used * 5 >= capacity * 4 : used * 10 >= capacity * 9;
}

/* The capacity to grow to, with so many slots behind it: up to the bound, and past it a page at a time. */
static uint64_t capacity_next(const struct store_index *x, const struct store_index_table *t, uint64_t overhang)
{
  if (t->total >= slots_most(x))
    return t->total + INDEX_PAGE_SLOTS - overhang;
  const uint64_t most = slots_most(x) - overhang;
  const uint64_t wanted = t->slots ? (uint64_t)t->capacity * 29 / 20 : capacity_staggered(INDEX_CAPACITY_MIN, (unsigned)(t - x->table));
  return wanted < most ? wanted : most;
}

uint64_t store_index_bound(struct store_index *x, uint64_t bytes)
{
  const uint64_t pages = (bytes < INDEX_BYTES_MIN ? INDEX_BYTES_MIN : bytes) / INDEX_BYTES_MIN;
  const uint64_t slots = pages * INDEX_PAGE_SLOTS;
  x->slots_most = slots < UINT32_MAX ? (uint32_t)slots : UINT32_MAX;
  return (x->slots_most - INDEX_OVERHANG_MIN) * UINT64_C(4) / 5 * STORE_INDEX_TABLES;
}

uint64_t store_index_bytes_needed(uint64_t records)
{
  const uint64_t each = (records + STORE_INDEX_TABLES - 1) / STORE_INDEX_TABLES;
  const uint64_t slots = (each * 5 + 3) / 4 + INDEX_OVERHANG_MIN;
  return (slots + INDEX_PAGE_SLOTS - 1) / INDEX_PAGE_SLOTS * INDEX_BYTES_MIN;
}

void store_index_finish(struct store_index *x)
{
  for (unsigned i = 0; i < STORE_INDEX_TABLES; i++)
    if (x->table[i].slots)
      munmap(x->table[i].slots, table_bytes(x->table[i].total));
  const uint32_t slots_most = x->slots_most;
  store_index_init(x);
  x->slots_most = slots_most;
}

int store_index_reserve_table(struct store_index *x, unsigned table, uint32_t entries)
{
  assert(!x->table[table].slots);
  if (!entries)
    return MUSTER_OK;
  const uint64_t wanted = capacity_staggered(capacity_for((uint64_t)entries * 13 / 10), table),
                 least = capacity_for((uint64_t)entries * 10 / 9 + 1);
  const uint64_t bound = slots_most(x) - INDEX_OVERHANG_MIN, most = bound > least ? bound : least;
  return table_resize(x, &x->table[table], wanted < most ? wanted : most, INDEX_OVERHANG_MIN);
}

int store_index_reserve(struct store_index *x, uint64_t entries)
{
  int status = MUSTER_OK;
  for (unsigned i = 0; i < STORE_INDEX_TABLES && !status; i++)
    status = store_index_reserve_table(x, i, (uint32_t)(entries / STORE_INDEX_TABLES));
  return status;
}

/* Puts an entry behind those that are not larger; what follows up to the next empty slot moves one on. false: that would take the last
 * slot. */
static bool table_place(struct store_index_table *t, uint64_t fingerprint, uint64_t sequence)
{
  struct store_index_slot *place = t->slots + store_index_home(fingerprint, t->capacity);
  while (place->sequence && place->fingerprint <= fingerprint)
    place++;
  struct store_index_slot *empty = place;
  while (empty->sequence)
    empty++;
  if (empty == t->slots + t->total - 1)
    return false;
  memmove(place + 1, place, (size_t)(empty - place) * sizeof *place);
  *place = (struct store_index_slot){.fingerprint = fingerprint, .sequence = sequence};
  t->used++;
  return true;
}

/* How many slots past capacity are in use. A larger table needs no more of them: homes move apart, so no entry comes to stand further
 * behind the end. */
static uint32_t table_overhang(const struct store_index_table *t)
{
  uint32_t end = t->total;
  while (end > t->capacity && !t->slots[end - 1].sequence)
    end--;
  return end - t->capacity;
}

int store_index_insert(struct store_index *x, uint64_t fingerprint, uint64_t sequence)
{
  assert(sequence);
  struct store_index_table *t = &x->table[fingerprint >> (64 - STORE_INDEX_BITS)];
  int status = MUSTER_OK;
  if (table_full(x, t)) {
    const uint64_t overhang = INDEX_OVERHANG_MIN + table_overhang(t);
    status = table_resize(x, t, capacity_next(x, t, overhang), overhang);
  }
  while (!status && !table_place(t, fingerprint, sequence))
    status = table_resize(x, t, t->capacity, (uint64_t)(t->total - t->capacity) * 2);
  return status;
}
