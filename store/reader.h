/*
 * The inside of a reader, shared by its files: reader.c has slices and records, reader_counts.c tally and
 * quarantine, backup_write.c copies blocks. What is read is copied out of LMDB slice by slice, and the callbacks run on the copy with no transaction
 * open, so that a slow consumer never makes the writer's file grow (the tally is the exception: one snapshot, and its
 * callback only adds up). Owner: whoever opened the reader; any process but the writer's.
 */
#ifndef MUSTER_STORE_READER_H
#define MUSTER_STORE_READER_H

#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/failure.h"
#include "store/env_call.h"
#include "store/meta.h"
#include "store/store.h"

#define STORE_SLICE_BYTES (4u << 20) /* a slice ends with the block or entry that passes it */

struct store_reader {
  struct store_env env;
  struct store_meta meta; /* as of the last slice */
  MDB_txn *txn;           /* within a slice */
  MDB_cursor *cursor;
  uint8_t *slice; /* copies: size (8 bytes), then that many bytes, padded to 8 */
  size_t slice_used, slice_room;
};

/* Empties the slice, starts a transaction, reads meta, opens a cursor. On failure nothing is open. */
int store_slice_begin(struct store_reader *r, MDB_dbi dbi, struct failure *failure);
void store_slice_end(struct store_reader *r); /* closes cursor and transaction; the copies stay */
/* Adds a copy of two values (either may be empty) as one entry. false: no memory. */
bool store_slice_add(struct store_reader *r, const void *head, size_t head_size, const void *body, size_t body_size);
/* Fills the slice with whole blocks, from the one that holds a sequence on, up to the one that holds last; empty where there are none yet. */
int store_slice_blocks(struct store_reader *r, uint64_t first, uint64_t last, struct failure *failure);
/* The next entry of the slice, from *place on. NULL after the last. */
const uint8_t *store_slice_next(const struct store_reader *r, size_t *place, size_t *size);

#endif
