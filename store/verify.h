/*
 * The inside of verify, shared by its two files: verify.c walks the journal, verify_counts.c holds what was counted on
 * the way against the tally, the quarantine and meta. One read transaction, so one moment of the shard; memory: 24
 * bytes a record for the ids seen, and the cells of the recount. Owner: the caller of store_verify.
 */
#ifndef MUSTER_STORE_VERIFY_H
#define MUSTER_STORE_VERIFY_H

#include <lmdb.h>
#include <stdint.h>

#include "core/failure.h"
#include "store/env_call.h"
#include "store/index.h"
#include "store/journal.h"
#include "store/meta.h"
#include "store/store.h"
#include "store/tally.h"

struct store_verify {
  struct store_env env;
  MDB_txn *txn;
  struct store_meta meta;
  struct store_index ids;      /* every id met, by fingerprint */
  struct store_cells cells;    /* recount of the records that the tally database counts */
  struct store_cells newer;    /* count of the records after those, which the tally's readers count as well */
  MDB_cursor *cursor, *lookup; /* over the journal: the walk; confirming of fingerprints */
  struct store_verify_result result;
  uint64_t record_bytes; /* of all blocks, damaged ones included */
  bool cut;              /* the journal or the tally could not be walked to its end */
  void (*report)(void *context, const char *sentence);
  void *context;
};

/* Tells one fault. Never with anything of a record's content. */
void store_verify_fault(struct store_verify *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* LMDB codes: what keeps them from going on. Everything else is a fault. */
int store_verify_tally(struct store_verify *v);
int store_verify_quarantine(struct store_verify *v);

#endif
