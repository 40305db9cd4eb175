/*
 * The tally: how many records there are of each day and each combination of the public data set's columns. The tally
 * database counts the records 1 to meta.tally_records exactly; those after it (a bounded number) are counted in memory
 * by the writer, and from the journal by readers and after a crash. So a commit costs no write of its own, and the sum
 * is exact at every moment: a fold adds the counts in memory to the database in the same transaction as a block. A put
 * for each group a commit touches was rejected: a stream whose days are mixed touches a group a record. Inside store/
 * only; the cells belong to their writer or reader.
 */
#ifndef MUSTER_STORE_TALLY_H
#define MUSTER_STORE_TALLY_H

#include <lmdb.h>
#include <stddef.h>
#include <stdint.h>

#include "core/limits.h"
#include "proto/scan.h"
#include "store/journal.h"
#include "store/store.h"

/* A fold is due past either bound: the first bounds memory, the second what a reader or a start must count from the journal. */
#define STORE_TALLY_FOLD_CELLS 98304u
#define STORE_TALLY_FOLD_RECORDS 131072u
#define STORE_TALLY_CAPACITY 262144u /* slots: a full fold's cells and one more commit's */
static_assert((STORE_TALLY_FOLD_CELLS + LIMIT_COMMIT_RECORDS) * 3 < STORE_TALLY_CAPACITY * 2, "the writer's cells never grow");

/* Packed so that numbers compare as days, components, areas do. high: day (biased) 32, component 8, area 16, region 8; low: demographic
 * 8, title 8, type 8, citizenship 24, zero 16. */
struct store_cell {
  uint64_t high, low;
  uint64_t count; /* 0: an empty slot */
};

#define STORE_CELLS_STAGED 64u

/* Cells by key, open addressing, doubled when two thirds full. */
struct store_cells {
  struct store_cell *slots;
  uint32_t capacity; /* a power of two */
  uint32_t used;
  struct store_cell staged[STORE_CELLS_STAGED]; /* not added yet: their slots are fetched from memory together */
  uint32_t staged_count;
};

int store_cells_init(struct store_cells *c, uint32_t capacity); /* MUSTER_OK or MUSTER_ERR_MEMORY */
void store_cells_finish(struct store_cells *c);                 /* a zeroed one is fine */
void store_cells_clear(struct store_cells *c);
void store_cell_of(struct store_cell *cell, const struct encounter_view *record); /* count 1 */
int store_cells_add(struct store_cells *c, const struct store_cell *cell);        /* MUSTER_ERR_MEMORY: it was not counted */
/* As add, but the slot is looked at a few calls later, when it has come from memory: what the writer's path uses. Flush before anything
 * else is done with the cells. */
int store_cells_stage(struct store_cells *c, const struct store_cell *cell);
int store_cells_flush(struct store_cells *c);
/* Moves the cells to the front in ascending order; only walks and store_cells_clear are right after it. Returns their number. */
uint32_t store_cells_sort(struct store_cells *c);

static inline int32_t store_cell_day(const struct store_cell *c) { return (int32_t)((uint32_t)(c->high >> 32) ^ 0x80000000u); }

static inline int store_cell_order(const struct store_cell *a, const struct store_cell *b)
{
  if (a->high != b->high)
    return a->high < b->high ? -1 : 1;
  return a->low < b->low ? -1 : a->low > b->low;
}

/* Counts the records from sequence *next to last of the journal; *next moves on. Codes of LMDB; MDB_CORRUPTED where the block that holds
 * *next is missing or contradicts its checksum, or that record cannot be decoded. */
int store_cells_add_journal(struct store_cells *c, MDB_cursor *journal, uint64_t *next, uint64_t last);

/* Adds the cells to the database and clears them. An LMDB code, ENOMEM too. */
int store_tally_fold(struct store_cells *c, MDB_txn *txn, MDB_dbi tally);

/* Walks the database in ascending order. */
struct store_tally_walk {
  MDB_cursor *cursor;
  uint32_t day_key; /* of the value in hand, a corrupted one too where its key is sound; 0 before the first */
  const uint8_t *row, *rows_end;
};
/* MDB_NOTFOUND after the last cell, MDB_CORRUPTED where a value is none of the tally's. */
int store_tally_walk_next(struct store_tally_walk *w, struct store_cell *cell);

void store_tally_cell_from(struct store_tally_cell *out, const struct store_cell *cell);

#endif
