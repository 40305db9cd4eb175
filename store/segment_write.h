/*
 * A segment of a backup, written: block after block into one file, at the pace that leaves the node its time, synced and
 * read back before it counts. A file that a killed run has left is gone on with where its last whole block ends. The
 * caller checks blocks before he hands them over. Owner: the run; inside store/ only.
 */
#ifndef MUSTER_STORE_SEGMENT_WRITE_H
#define MUSTER_STORE_SEGMENT_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "store/backup.h"
#include "store/journal.h"

struct store_segment_writer {
  const struct store_backup *b;
  const struct store_backup_job *job;
  uint32_t shard;
  struct store_backup_segment now; /* in hand, as far as it is written; last = first - 1 while it is empty */
  uint8_t before[16];              /* the chain's head in front of it */
  int fd;                          /* of it; -1: there is no file yet */
  uint64_t slice_ns;               /* when the slice in hand began */
};

/* What is done between begin and end is followed by as much sleep as the job's share asks for. Reading, writing and syncing count: all of it
 * is time of the node's disk or processor. */
void store_segment_pace_begin(struct store_segment_writer *w);
void store_segment_pace_end(const struct store_segment_writer *w);

/* A segment that begins behind the block with this checksum; its file is made, or emptied, at its first block. */
void store_segment_begin(struct store_segment_writer *w, uint64_t first, const uint8_t before[16]);
/* Opens what a killed run has left of it, of that part which `whole` says: cuts off the rest and goes on there. */
int store_segment_resume(struct store_segment_writer *w, const struct store_backup_segment *whole, struct failure *failure);
int store_segment_put(struct store_segment_writer *w, const struct store_block *block, struct failure *failure);
bool store_segment_is_full(const struct store_segment_writer *w);
uint64_t store_segment_limit(const struct store_backup_job *job); /* bytes from which on a segment is full */
/* Has what was put so far written out, and lets the page cache go: the sync at the end would hold up the node's own. */
int store_segment_flush(const struct store_segment_writer *w, struct failure *failure);
/* Syncs it, reads it back from the disk as far as the system lets go of its pages, and closes it; `now` stays. Without a file: nothing. */
int store_segment_end(struct store_segment_writer *w, struct failure *failure);
void store_segment_abandon(struct store_segment_writer *w); /* closes it where it is */

#endif
