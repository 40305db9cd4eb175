/*
 * The manifest of a backup, as text: read, written whole, and never trusted without its last line, which is the checksum
 * of all before it. There is a copy beside it, written after it, so that one damaged file costs nothing. Inside store/
 * only; no state.
 *
 *   muster-backup 1
 *   node UUID | shards N | run N | cut TIME                                       a line each
 *   shard N records N head HEX refused N left N bytes N checksum HEX              ascending, then its segments
 *   segment N run N first N last N bytes N head HEX
 *   end HEX                                                                       XXH3-128
 */
#ifndef MUSTER_STORE_MANIFEST_H
#define MUSTER_STORE_MANIFEST_H

#include "store/backup.h"

/* Reads path/manifest into b, whose path is set. MUSTER_ERR_NOT_FOUND, _CORRUPT, _VERSION, _IO, _MEMORY. */
int store_manifest_read(struct store_backup *b, struct failure *failure);
/* Replaces manifest, then its copy, atomically. MUSTER_OK: the manifest is durable; whether its copy is, copy says, which is the caller's.
 * MUSTER_ERR_LIMIT: it would be larger than a manifest that is read. */
int store_manifest_write(const struct store_backup *b, struct failure *copy, struct failure *failure);
int store_manifest_add(struct store_backup_shard *s, const struct store_backup_segment *segment); /* MUSTER_ERR_MEMORY */

#endif
