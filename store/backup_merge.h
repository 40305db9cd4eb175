/*
 * What keeps the files of a backup few, however many small runs there were: small segments at the end of a shard become
 * one, and what no manifest names any more is removed. A segment that is merged is at least half as large as what comes
 * behind it is not, so those that stay small at least halve from one to the next: some twenty, and a record is written
 * anew some twenty times at most in its life. Inside store/ only; no state.
 */
#ifndef MUSTER_STORE_BACKUP_MERGE_H
#define MUSTER_STORE_BACKUP_MERGE_H

#include "store/segment_write.h"

/* Writes what the first segment of this run (number `fresh` of its shard) and small ones in front of it hold as one new segment, and puts it in
 * their place; their files stay until the sweep. A disk that is too full for it leaves them as they are. MUSTER_ERR_CORRUPT names a sealed file
 * that is not what the manifest says. w: nothing in hand. */
int store_backup_merge(struct store_segment_writer *w, struct store_backup *b, uint32_t fresh, struct failure *failure);

/* Removes the files of runs that the manifest on the disk does not name. Where one stays it is in nobody's way. */
void store_backup_sweep(const struct store_backup *b);

#endif
