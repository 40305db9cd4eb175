/*
 * A backup of a node's records: a directory of its own that `muster backup` fills beside a running node, run by run, and
 * `muster restore` reads. Blocks of the journal lie in it as they are stored, with their checksums and their chain, in
 * segment files in ascending sequence; what a run has finished is sealed by the manifest, a text that is replaced whole
 * as the last act of the run. Sealed files never change. What lies behind the sealed sequences is of a run that did not
 * end: the next one keeps what is whole of it and cuts off the rest. Small segments at the end of a shard are written
 * anew as one, which takes their place in the manifest; files that it does not name any more are removed when it is
 * durable. So there are never more segments than one for each 64 MiB and some twenty small ones, however many runs
 * there were. Owner: the one process that opened it.
 *
 *   DIR/manifest, manifest.copy      node, shards, cut, segments; "end" and the checksum of all before it in the last line
 *   DIR/lock                         flock: exclusive of a writer, shared of readers
 *   DIR/shard-N/SEQUENCE-RUN.blocks  blocks back to back from that sequence (20 digits) on, as that run has written them
 *   DIR/shard-N/refused-RUN          the quarantine as of that run: size (4), key (20), header (48), bytes of each entry
 *
 * The cut of a run is, for each shard, its last commit when its refused records had been copied, at the begin. Shards come one after the other,
 * and records of different shards do not depend on each other: whatever was acknowledged before the run began is in it.
 * Not in it: the node's key, the allow-list, settings, the index (it is made anew from the records).
 */
#ifndef MUSTER_STORE_BACKUP_H
#define MUSTER_STORE_BACKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/failure.h"
#include "core/limits.h"
#include "store/read.h"

#define STORE_BACKUP_FORMAT 1u
#define STORE_BACKUP_SEGMENT_BYTES (UINT64_C(64) << 20) /* a segment ends with the block that passes it */
#define STORE_BACKUP_MANIFEST "manifest"

struct store_backup_segment {
  uint64_t first, last, bytes;
  uint64_t run;     /* that has written it */
  uint8_t head[16]; /* checksum of its last block */
};

struct store_backup_shard {
  uint64_t records; /* last sequence of the cut */
  uint8_t head[16]; /* chain head of the cut */
  uint64_t refused, refused_bytes;
  uint64_t refused_left;        /* not in it, since they were damaged in the store or not asked for */
  uint8_t refused_checksum[16]; /* XXH3-128 of the file */
  struct store_backup_segment *segment;
  uint32_t segments, room;
};

struct store_backup {
  char path[LIMIT_PATH_BYTES];
  int lock_fd;
  uint8_t node_id[16];
  uint32_t shards;      /* 0: nothing was begun yet */
  uint64_t run;         /* sealed runs; 0: the first one has not ended */
  int64_t cut_us;       /* when the last of them began */
  uint8_t checksum[16]; /* of the manifest that was read: it names all of this and all the records */
  struct store_backup_shard shard[LIMIT_SHARDS];
};

/* ---- opening ---- */

/* An existing backup, its manifest checked. MUSTER_ERR_NOT_FOUND, _CORRUPT (the manifest; the sentence says whether its copy is whole), _VERSION,
 * _FORMAT (no backup), _LOCKED (a backup is being written). On failure nothing is open. */
int store_backup_open(struct store_backup *b, const char *path, struct failure *failure);
/* The same for writing: a directory that is missing or empty becomes one (0700; its parent must exist). */
int store_backup_create(struct store_backup *b, const char *path, struct failure *failure);
void store_backup_close(struct store_backup *b);

/* ---- writing ---- */

struct store_backup_job {
  uint32_t share_percent; /* of the time, what reading, writing and syncing may take; the rest is slept, slice by slice. 100: no sleep */
  bool no_refused;        /* the quarantine is left out */
  uint64_t segment_bytes; /* tests: 0 means STORE_BACKUP_SEGMENT_BYTES */
  void (*progress)(void *context, uint32_t shard, uint64_t records, uint64_t of); /* may be NULL */
  /* What a sealed run lacks: refused records that are damaged in the store, or the copy of the manifest. */
  void (*left_out)(void *context, const char *sentence);
  void *context;
};

/* Adds a run: everything up to the cut, which is that of the readers as they are. First the sealed files are looked at, their names and sizes,
 * and whether the store has what the backup ends with; until then nothing is touched. Blocks are checked before they are written, and all that
 * is written is read back. MUSTER_ERR_CONFIG: another node's, or of another history; MUSTER_ERR_FULL, _IO, _CORRUPT (the store, or a sealed
 * file), _LIMIT (the manifest): what was whole is kept and the next run goes on there. */
int store_backup_run(struct store_backup *b, struct store_reader *const *readers, uint32_t count, const struct store_backup_job *job,
                     struct failure *failure);

/* ---- reading ---- */

/* Where a shard ends: with this sequence, or before the first record that was received later, whichever comes first. */
struct store_backup_until {
  uint64_t records;    /* UINT64_MAX: the whole */
  int64_t received_us; /* INT64_MAX: the whole */
  bool no_refused;     /* the quarantine is left out */
};

struct store_backup_found {
  uint64_t records; /* whole from the first on, as far as until asks */
  uint64_t faults;  /* each was told to report */
};
/* Reads what a shard has up to `until`: files, checksums, chain, sequences, the manifest's heads, and the quarantine. report gets a sentence a
 * fault that names file and sequences. Negative: a call failed (memory, descriptors, permission), and what it was to tell is not known. */
int store_backup_check(const struct store_backup *b, uint32_t shard, const struct store_backup_until *until,
                       void (*report)(void *context, const char *sentence), void *context, struct store_backup_found *out,
                       struct failure *failure);

/* Bytes that the records of a shard up to `until` fill at the least; where a time ends them nothing is known, and it is 0. */
uint64_t store_backup_bytes(const struct store_backup *b, uint32_t shard, const struct store_backup_until *until);
/* Makes a shard in path (a directory, 0700, for it alone): each record has the sequence, bytes, digest and receipt that it had. Killed and called
 * again, it goes on, also with more map_bytes. *records: what the shard has then. Nothing but a shard of this very restore is written to:
 * MUSTER_ERR_CONFIG, which is also the answer where map_bytes are too few. */
int store_backup_restore(const struct store_backup *b, uint32_t shard, const struct store_backup_until *until, const char *path,
                         uint64_t map_bytes, uint64_t *records, struct failure *failure);

#endif
