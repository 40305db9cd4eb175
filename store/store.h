/*
 * One shard of the store: a journal in LMDB, an index in memory (DESIGN: Bitcask's idea, LMDB for atomicity, crash
 * safety and readers). This is the writer: it belongs to one worker process, opened after fork, guarded by an owner lock
 * in the shard's directory. Other processes read (store/read.h). A process opens a shard once, as writer or reader.
 * Nothing outside store/ knows LMDB. Writer calls come in this order: begin, then any number
 * of find, append, tally, quarantine, then commit. The first error of a transaction stays; after a failed commit the
 * store is stopped: every later call answers the same error, and the process must start again from what is on disk.
 */
#ifndef MUSTER_STORE_STORE_H
#define MUSTER_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/failure.h"
#include "core/limits.h"
#include "proto/scan.h"
#include "store/read.h"

#define STORE_FORMAT 1 /* of meta, journal, tally, quarantine and hint; another number is MUSTER_ERR_VERSION */

struct store_options {
  const char *path; /* the shard's directory */
  uint32_t shard, shards;
  uint8_t node_id[16]; /* used when created; otherwise checked unless all zero */
  uint64_t map_bytes;  /* address space; the file grows as it is written */
  uint64_t
      index_bytes; /* memory of this shard's index; 0: no bound. The writer goes on past it: whoever calls it stops at facts.index_records_max */
  uint64_t quarantine_records; /* per submitter */
  uint64_t quarantine_bytes;   /* per submitter */
  uint64_t fingerprint_mask;   /* tests: ANDed to every fingerprint to force collisions; 0 means none */
  uint32_t lock_wait_ms;       /* how long to wait for a former owner to let go */
  /* NULL, or called often while the index is rebuilt, with how many of the records are in it. */
  void (*on_rebuild)(void *context, uint64_t placed, uint64_t records);
  void *context;
};

/* ---- the writer ---- */

struct store;

/* Once in a process that will own a writer, before store_open: how malloc treats the large, short-lived memory of commits. */
void store_process_setup(void);

/* Opens or creates (directory 0700 must exist; it and its parent are synced at creation). Loads the index from the hint where the hint is whole and of this very
 * state, else rebuilds it from the journal's columns. The hint is removed before the first append. Errors: MUSTER_ERR_LOCKED, _VERSION, _CORRUPT, _DENIED, _IO, _CONFIG (other shard count, index larger than its bound), _NOT_FOUND (no
 * such directory), _USAGE (open in this process already). */
int store_open(struct store **out, const struct store_options *options, struct failure *failure);
/* Writes the hint (only where nothing failed) and closes. NULL is fine. */
void store_close(struct store *s);

/* What is there already stays; past a limit that is less, a refused record is answered and not kept. */
void store_limit_quarantine(struct store *s, uint64_t records, uint64_t bytes);
void store_facts(const struct store *s, struct store_facts *out);
/* Bytes of the data file that the next commits use before it grows. Between transactions; now and then, as it looks into LMDB's trees. 0 where
 * it cannot be told. */
uint64_t store_free_bytes(struct store *s);
/* How long the last commit that wrote something was with LMDB and the disk, once everything had been put together. */
uint64_t store_sync_ns(const struct store *s);

/* A reader that was killed in the middle of a slice still holds its snapshot, which makes the file grow, and one of the places of readers.
 * This lets go of both; to be called now and then, between transactions or within one. */
void store_clear_readers(struct store *s);

int store_begin(struct store *s); /* MUSTER_OK or the error that stopped the store */

/* What the index knows an id by, for the calls below. */
uint64_t store_fingerprint(const struct store *s, const uint8_t id[16]);
/* Asks for the index's memory; call it for a whole run of records, one right after the other, before the first store_find: a processor
 * waits for many lines from memory at once, but not if there is other work between. */
void store_prefetch(const struct store *s, uint64_t fingerprint);
/* Whether the id is stored or appended in this transaction; confirmed against the full 16 bytes. 1: found, with sequence and digest of the first copy. 0: not found. Negative: error. */
int store_find(struct store *s, const uint8_t id[16], uint64_t fingerprint, uint64_t *sequence, uint8_t digest[16]);

struct store_receipt {
  uint32_t submitter;
  int64_t received_us;
};
/* Appends a record that store_find did not find: its sequence, or 0 where the transaction has failed or the block is full (LIMIT_COMMIT_*; caller's mistake). Bytes are copied. */
uint64_t store_append(struct store *s, const struct encounter_view *record, const uint8_t digest[16], uint64_t fingerprint,
                      const struct store_receipt *receipt);
/* 1: these are the very bytes of the record of this sequence, stored or appended in this transaction. 0: they are not. Negative: error. */
int store_has_bytes(struct store *s, uint64_t sequence, const uint8_t *bytes, size_t size);
/* Keeps a refused record: reason and field as on the wire. The same bytes of the same submitter are kept once and counted. Past the quota it is counted, not kept.
 * With REASON_KILLED_WORKER the store knows these bytes of this submitter as deadly from now on. */
void store_quarantine(struct store *s, const uint8_t *bytes, size_t size, uint32_t reason, uint32_t field,
                      const struct store_receipt *receipt);

/* Drops a refused record, in the transaction in hand. false: it stays, because it is not there (any more), is damaged, or was to be dropped
 * only if stored and is not. */
bool store_quarantine_drop(struct store *s, const struct store_refused_name *name, enum store_drop what);
/* Whether these bytes of this submitter are known to have killed a worker. Nearly free where nothing is known to have. */
bool store_is_deadly(const struct store *s, const uint8_t *bytes, size_t size, uint32_t submitter);
/* Between open and the first begin: makes known as deadly what the quarantine has of that kind, up to a bound. Not at the start of a node: its people may have mended
 * the cause, and a record is to be tried again then. */
int store_recall_deadly(struct store *s, struct failure *failure);

/* Writes the block, the tally, the quarantine and meta in one LMDB transaction and syncs. MUSTER_OK: everything since begin is durable. An empty transaction costs nothing.
 * Else: nothing of it is, and the store is stopped. */
int store_commit(struct store *s, struct failure *failure);

struct store_dropped {
  uint32_t requests;
  uint64_t dropped, stayed; /* entries named by them */
  uint32_t damaged;         /* requests that are none; removed, nothing was dropped for them */
  uint32_t waiting;         /* requests that could not be read now: they stay for the next call */
  int waits_for;            /* errno of the last call that failed so, as when the directory could not be looked into; 0: none */
};
/* Carries out what other processes have asked for (store_reader_drop), some requests at a time, each in a transaction of its own. Between
 * transactions, now and then. Errors are those of store_commit. */
int store_drop_requested(struct store *s, struct store_dropped *out, struct failure *failure);

#endif
