/*
 * The inside of a shard's writer, shared by its two files: store.c opens, rebuilds and closes; commit.c runs
 * transactions. Everything is owned by the struct, which lives on the heap of the one worker process that owns the
 * shard.
 */
#ifndef MUSTER_STORE_WRITER_H
#define MUSTER_STORE_WRITER_H

#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/failure.h"
#include "store/deadly.h"
#include "store/env_call.h"
#include "store/index.h"
#include "store/journal.h"
#include "store/meta.h"
#include "store/quarantine.h"
#include "store/store.h"
#include "store/tally.h"

#define STORE_RECENT_BLOCKS 8u
#define STORE_UNCACHE_BYTES_MIN 65536u /* less is not worth a call of the kernel */

struct store_recent {
  uint64_t first; /* sequence */
  uint32_t bytes; /* of the records, at the block's end; 0: there is none */
};

struct store {
  struct store_env env;
  struct store_meta meta;    /* of the last commit; quarantine numbers are those of the transaction in hand */
  struct store_index index;  /* runs ahead of meta by what the transaction in hand appended */
  uint8_t *blocks_checked;   /* a bit per sequence that the start found, set on the first of a block whose checksum was held against it */
  uint64_t blocks_unchecked; /* sequences up to this one need that bit; what this process has committed itself needs none */
  struct store_recent recent[STORE_RECENT_BLOCKS]; /* the newest blocks of this process, a ring by their number */
  struct store_block_builder block;                /* the transaction in hand: sequences meta.records + 1 and on */
  struct store_cells cells;                        /* the records after meta.tally_records, those of the transaction in hand included */
  struct store_quarantine_limits quarantine_limits;
  uint64_t quarantine_overflow;
  uint64_t index_records_max; /* 0: no bound */
  struct store_deadly deadly;
  uint64_t fingerprint_mask;
  uint64_t fingerprint_hits, fingerprint_false;
  uint64_t sync_ns; /* of the last commit that wrote */
  int owner_fd;     /* holds the flock */
  bool rebuilt;
  bool hint_valid; /* the file on disk is of this very state */

  bool in_transaction;
  bool refused_written;    /* the quarantine changed in this transaction */
  MDB_txn *txn;            /* started at first need */
  MDB_cursor *cursor;      /* over the journal, within txn */
  struct store_block seen; /* the block last looked at, within txn; base NULL: none */

  struct failure failure; /* the first error; with it the store is stopped */
};

/* Ends the transaction without a trace in LMDB. */
void store_transaction_abort(struct store *s);

#endif
