/*
 * Segments of a backup, read: block after block of one file, each held against its checksum, the chain and the sequence
 * that is due. Nothing is mapped, so a disk that cannot read is an error and no signal. Inside store/ only; the walk is
 * its caller's.
 */
#ifndef MUSTER_STORE_SEGMENT_H
#define MUSTER_STORE_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "store/backup.h"
#include "store/journal.h"

struct store_segment_walk {
  uint32_t shard;
  int fd;
  uint64_t offset;      /* behind the last whole block */
  uint64_t next;        /* sequence that is due */
  uint8_t previous[16]; /* checksum of the block before */
  uint8_t *memory;
  size_t room;
  const char *wrong; /* what is wrong with the block at offset */
  int error;         /* errno of the read that failed: whoever tells it has called others since */
};

/* The path of a segment. LIMIT_PATH_BYTES, as the next one's. */
void store_segment_path(char *out, const struct store_backup *b, uint32_t shard, const struct store_backup_segment *segment);
/* The path of the refused records of a run. */
void store_segment_refused_path(char *out, const struct store_backup *b, uint32_t shard, uint64_t run);
/* Of either: without the backup's directory, as sentences name it. */
const char *store_segment_name(const struct store_backup *b, const char *path);

/* Opens segment `number` of the manifest for a walk; w need not be set up. MUSTER_ERR_NOT_FOUND, _DENIED, _IO. */
int store_segment_open(struct store_segment_walk *w, const struct store_backup *b, uint32_t shard, uint32_t number,
                       struct failure *failure);
/* 1: a block, valid until the next call. 0: the file ends here. MUSTER_ERR_CORRUPT: `wrong` says why; MUSTER_ERR_IO: `error` does; MUSTER_ERR_MEMORY. */
int store_segment_next(struct store_segment_walk *w, struct store_block *block);
/* Whether the walk has ended where the manifest says that the segment ends. */
bool store_segment_is_at_end(const struct store_segment_walk *w, const struct store_backup_segment *segment);
void store_segment_finish(struct store_segment_walk *w); /* memory; the descriptor is its opener's */
void store_segment_close(struct store_segment_walk *w);  /* of store_segment_open: both */

/* Of a file that could not be opened, with the errno of that: whether it is missing, no file, or on a part of the disk that cannot be read. If
 * not, a call has failed, and nothing is known of the file. */
bool store_segment_is_gone(const char *path, int error);

/* Whether all sealed segments of a shard are there with the sizes that the manifest says; nothing is read. MUSTER_ERR_CORRUPT names the first
 * that is not. */
int store_segment_look(const struct store_backup *b, uint32_t shard, struct failure *failure);

/* How many records of a block, from its first on, are wanted. */
uint32_t store_segment_wanted(const struct store_block *block, const struct store_backup_until *until);

#endif
