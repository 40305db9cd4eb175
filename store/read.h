/*
 * The read side of a shard, for every process but the writer's: its facts, records, tally and refused records, and verify.
 * Works beside a running node and on a stopped one, and never blocks the writer: a reader is short, or reads in slices.
 * Owner: whoever opened it. All that client/, ops/ and bench/ may know of the store.
 */
#ifndef MUSTER_STORE_READ_H
#define MUSTER_STORE_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/failure.h"
#include "proto/scan.h"

/* What a shard says of itself, to its writer and to readers. */
struct store_facts {
  uint8_t node_id[16];
  uint32_t shard, shards;
  uint64_t fingerprint_seed;
  uint64_t records;                    /* last sequence: sequences are 1 to records, without gaps */
  uint64_t quarantined;                /* entries kept */
  uint64_t quarantine_overflow;        /* counted, not kept, since open */
  uint64_t index_bytes, index_growths; /* these, the next three and index_records_max: the writer's; 0 to readers */
  uint64_t index_slots;
  uint64_t fingerprint_hits, fingerprint_false;
  uint64_t file_bytes; /* in use, pages up to the last one */
  uint64_t map_bytes;
  uint64_t index_records_max; /* records that the index has room for within its bound; 0: it has none */
  bool rebuilt;               /* the index came from the journal, not from the hint */
};

/* The least store_options.index_bytes with which a shard of so many records opens: 20 to 21 bytes a record, and 4 MiB at least. */
uint64_t store_index_bytes_needed(uint64_t records);

/* A shard was created in this directory, whatever of it is still there. False also where that cannot be told. */
bool store_was_created(const char *path);

/* ---- a reader ---- */

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

/* Which entry of the quarantine. A number is given once, so an entry that was dropped and came again is another. As stored in requests. */
struct store_refused_name {
  uint8_t key[20];
  uint8_t zero[4];
  uint64_t number;
};

struct store_refused {
  uint32_t shard;
  struct store_refused_name name;
  uint64_t number; /* of the entry in this shard, for show and replay */
  uint32_t reason, field, submitter;
  int64_t first_us, last_us;
  uint64_t times;       /* how often these very bytes came */
  const uint8_t *bytes; /* valid during the callback */
  uint32_t size;
};
/* Calls each for the refused records, in slices; the first that is damaged ends it with MUSTER_ERR_CORRUPT. */
int store_reader_quarantine(struct store_reader *r, int (*each)(void *context, const struct store_refused *entry), void *context,
                            struct failure *failure);
/* The same, past damaged ones: those go to damaged, with shard, number and submitter as far as they can be told, and without bytes.
 * MUSTER_ERR_CORRUPT where the pages that lead on are damaged. */
int store_reader_quarantine_past(struct store_reader *r, int (*each)(void *context, const struct store_refused *entry),
                                 void (*damaged)(void *context, const struct store_refused *entry), void *context, struct failure *failure);

/* Entries are the writer's to drop; others ask for it. A request is a file in the shard's directory, there whole or not at all, which the
 * writer carries out in one transaction and then removes: within a second beside a running node, at its start otherwise. Carried out twice,
 * as after a kill, it changes nothing more. */
#define STORE_DROP_ENTRIES_MAX 4096u
enum store_drop {
  STORE_DROP_ALWAYS = 1,
  STORE_DROP_STORED = 2 /* only those whose record is in the journal of this shard, same id and same content */
};
/* At most STORE_DROP_ENTRIES_MAX names. request: the file's path, LIMIT_PATH_BYTES, gone when it is carried out. */
int store_reader_drop(const struct store_reader *r, enum store_drop what, const struct store_refused_name *names, uint32_t count,
                      char *request, struct failure *failure);

/* ---- verify ---- */

#define STORE_VERIFY_RECORD_BYTES 28u /* of memory, for each record of the shard in hand */

struct store_verify_result {
  uint64_t blocks, records, bytes; /* read and found right */
  uint64_t tally_cells;            /* that store_reader_tally tells */
  uint64_t quarantined;
  uint64_t faults; /* each was told to report */
};
/* Reads everything of one shard: block checksums, sequences without gaps, the chain, columns against the records' bytes (id, digest, offset, shard), no id twice, tally against a recount,
 * meta against what is there. report gets one sentence a fault, naming block and sequence. Works beside a running node (one snapshot). Negative where the shard cannot be read at all; MUSTER_ERR_MEMORY, before anything is read, where it would take more memory than there is to be had. */
int store_verify(const char *path, void (*report)(void *context, const char *sentence), void *context,
                 void (*progress)(void *context, uint64_t records_read, uint64_t records_total), struct store_verify_result *out,
                 struct failure *failure);

/* ---- salvage ---- */

struct store_salvage {
  uint32_t shard;   /* by its directory: believed where the shard's own meta cannot be read */
  bool beside_node; /* a node runs there: nothing is locked, so none of its workers has to wait */
  int (*each)(void *context, const struct store_record *record); /* in order of sequences; stops where it answers non-zero */
  void (*lost)(void *context, uint64_t first, uint64_t last);    /* sequences that are not there, in their order among the records */
  /* After the records of a block of which nothing proves that its commit has ended: others may have been acknowledged under these sequences.
   * contested: a block that contradicts it is given as well, so a sequence may come twice. NULL: not told. */
  void (*uncertain)(void *context, uint64_t first, uint64_t last, bool contested);
  void *context;
};
struct store_salvage_result {
  uint64_t blocks, records; /* given to each */
  uint64_t uncertain;       /* of those records */
  uint64_t lost;
  bool end_known; /* false: meta is damaged, so nobody knows how many records came after the last one that was found */
};
/* Gives every block of a shard that is intact, whatever is damaged around it: data.mdb is read page by page. A block is one by its checksum, and
 * believed for its place in a page of LMDB's or for its neighbours in the chain. Certain is one that an intact block behind it names, or that
 * LMDB's tree leads to; what contradicts a certain one is not given. Beside a running node it holds a snapshot, so pages that commits replace
 * are not used again meanwhile; MUSTER_ERR_LOCKED where damage forbids that. Beside none it keeps one from starting. Memory: 64 bytes for each
 * block, and up to three times that while their list grows. */
int store_salvage(const char *path, const struct store_salvage *how, struct store_salvage_result *out, struct failure *failure);

/* The version of the library below, as "0.9.24". */
void store_library(char version[64]);

#endif
