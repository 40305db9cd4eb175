/*
 * Segments of a backup, read: block after block of one file, each held against its checksum, the chain and the sequence
 * that is due. Nothing is mapped, so a disk that cannot read is an error and no signal. Inside store/ only; the walk is
 * its caller's.
 */
#ifndef MUSTER_STORE_SEGMENT_H
#define MUSTER_STORE_SEGMENT_H

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
};

/* The path of the segment that begins with a sequence. LIMIT_PATH_BYTES. */
void store_segment_path(char *out, const struct store_backup *b, uint32_t shard, uint64_t first);
/* The path of the refused records of a run. */
void store_segment_refused_path(char *out, const struct store_backup *b, uint32_t shard, uint64_t run);

/* 1: a block, valid until the next call. 0: the file ends here. MUSTER_ERR_CORRUPT: `wrong` says why; MUSTER_ERR_IO with errno, MUSTER_ERR_MEMORY. */
int store_segment_next(struct store_segment_walk *w, struct store_block *block);
void store_segment_finish(struct store_segment_walk *w); /* memory; the descriptor is the caller's */

/* How many records of a block, from its first on, are wanted. */
uint32_t store_segment_wanted(const struct store_block *block, const struct store_backup_until *until);

#endif
