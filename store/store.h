/*
 * One shard of the store: a journal in LMDB, an index in memory (DESIGN: Bitcask's idea, LMDB for atomicity, crash
 * safety and readers). The writer belongs to one worker process, opened after fork, guarded by an owner lock in the
 * shard's directory. Readers are other processes (commands); they are short and read in slices. A process opens a shard
 * once, as writer or reader. Nothing outside store/ knows LMDB. Writer calls come in this order: begin, then any number
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

#define STORE_FORMAT 1 /* of meta, journal, tally, quarantine and hint; another number is MUSTER_ERR_VERSION */

struct store_options {
  const char *path; /* the shard's directory */
  uint32_t shard, shards;
  uint8_t node_id[16];         /* used when created; otherwise checked unless all zero */
  uint64_t map_bytes;          /* address space; the file grows as it is written */
  uint64_t quarantine_records; /* per submitter */
  uint64_t quarantine_bytes;   /* per submitter */
  uint64_t fingerprint_mask;   /* tests: ANDed to every fingerprint to force collisions; 0 means none */
  uint32_t lock_wait_ms;       /* how long to wait for a former owner to let go */
};

/* ---- the writer ---- */

struct store;

/* Once in a process that will own a writer, before store_open: how malloc treats the large, short-lived memory of commits. */
void store_process_setup(void);

/* Opens or creates (directory 0700 must exist; it and its parent are synced at creation). Loads the index from the hint where the hint is whole and of this very
 * state, else rebuilds it from the journal's columns. The hint is removed before the first append. Errors: MUSTER_ERR_LOCKED, _VERSION, _CORRUPT, _DENIED, _IO, _CONFIG (other shard count), _NOT_FOUND (no
 * such directory), _USAGE (open in this process already). */
int store_open(struct store **out, const struct store_options *options, struct failure *failure);
/* Writes the hint (only where nothing failed) and closes. NULL is fine. */
void store_close(struct store *s);

struct store_facts {
  uint8_t node_id[16];
  uint32_t shard, shards;
  uint64_t fingerprint_seed;
  uint64_t records;             /* last sequence: sequences are 1 to records, without gaps */
  uint64_t quarantined;         /* entries kept */
  uint64_t quarantine_overflow; /* counted, not kept, since open */
  uint64_t index_bytes, index_growths;
  uint64_t fingerprint_hits, fingerprint_false;
  uint64_t file_bytes; /* in use, pages up to the last one */
  uint64_t map_bytes;
  uint64_t disk_free_bytes; /* as of this call */
  bool rebuilt;             /* the index came from the journal, not from the hint */
};
void store_facts(const struct store *s, struct store_facts *out);

/* A reader that was killed in the middle of a slice still holds its snapshot, which makes the file grow, and one of the places of readers.
 * This lets go of both; to be called now and then, between transactions or within one. */
void store_clear_readers(struct store *s);

int store_begin(struct store *s); /* MUSTER_OK or the error that stopped the store */

/* Prefetches the index for an id; call it for a whole run of records before store_find. Returns the fingerprint, to be passed on. */
uint64_t store_prefetch(struct store *s, const uint8_t id[16]);
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

/* Whether these bytes of this submitter are known to have killed a worker. Nearly free where nothing is known to have. */
bool store_is_deadly(const struct store *s, const uint8_t *bytes, size_t size, uint32_t submitter);
/* Between open and the first begin: makes known as deadly what the quarantine has of that kind, up to a bound. Not at the start of a node: its people may have mended
 * the cause, and a record is to be tried again then. */
int store_recall_deadly(struct store *s, struct failure *failure);

/* Writes the block, the tally, the quarantine and meta in one LMDB transaction and syncs. MUSTER_OK: everything since begin is durable. An empty transaction costs nothing.
 * Else: nothing of it is, and the store is stopped. */
int store_commit(struct store *s, struct failure *failure);

/* ---- readers: another process or a stopped node; never block the writer ---- */

struct store_reader;
int store_reader_open(struct store_reader **out, const char *path, struct failure *failure); /* one shard, read only */
void store_reader_close(struct store_reader *r);
void store_reader_facts(const struct store_reader *r, struct store_facts *out); /* refreshed by each slice; index fields 0 */

struct store_record {
  uint32_t shard;
  uint64_t sequence;
  uint32_t submitter;
  int64_t received_us;
  uint8_t id[16];
  uint8_t digest[16];
  const uint8_t *bytes; /* valid during the callback */
  uint32_t size;
};
/* Calls each for the records from sequence first on, at most max, in order, reading in short slices; stops where each answers non-zero and returns that. Block checksums are checked. */
int store_reader_scan(struct store_reader *r, uint64_t first, uint64_t max, int (*each)(void *context, const struct store_record *record),
                      void *context, struct failure *failure);
/* Finds an id by a walk over the columns. 1 found (each is called once), 0 not, negative error. */
int store_reader_find(struct store_reader *r, const uint8_t id[16], int (*each)(void *context, const struct store_record *record),
                      void *context, struct failure *failure);

/* A cell of the tally: the public data set's columns by day. */
struct store_tally_cell {
  int32_t day; /* days since 1970-01-01, UTC, of encounter_time */
  uint8_t component, region, demographic, title, type;
  uint16_t area;
  char citizenship[4];
  uint64_t count;
};
void store_tally_cell_of(struct store_tally_cell *cell, const struct encounter_view *record); /* count 1 */
int store_reader_tally(struct store_reader *r, int (*each)(void *context, const struct store_tally_cell *cell), void *context,
                       struct failure *failure);

struct store_refused {
  uint32_t shard;
  uint64_t number; /* of the entry in this shard, for show and replay */
  uint32_t reason, field, submitter;
  int64_t first_us, last_us;
  uint64_t times;       /* how often these very bytes came */
  const uint8_t *bytes; /* valid during the callback */
  uint32_t size;
};
int store_reader_quarantine(struct store_reader *r, int (*each)(void *context, const struct store_refused *entry), void *context,
                            struct failure *failure);

/* ---- verify ---- */

struct store_verify_result {
  uint64_t blocks, records, bytes; /* read and found right */
  uint64_t tally_cells;            /* that store_reader_tally tells */
  uint64_t quarantined;
  uint64_t faults; /* each was told to report */
};
/* Reads everything of one shard: block checksums, sequences without gaps, the chain, columns against the records' bytes (id, digest, offset, shard), no id twice, tally against a recount,
 * meta against what is there. report gets one sentence a fault, naming block and sequence. Works beside a running node (one snapshot). Negative where the shard cannot be read at all. */
int store_verify(const char *path, void (*report)(void *context, const char *sentence), void *context,
                 void (*progress)(void *context, uint64_t records_read, uint64_t records_total), struct store_verify_result *out,
                 struct failure *failure);

#endif
