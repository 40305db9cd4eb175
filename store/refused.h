/*
 * The quarantine of a shard as a backup keeps it: one file a run, its checksum in the manifest. Written while it is read
 * out of the store, slice by slice; read once for its checksum and then entry by entry. Inside store/ only; no state.
 */
#ifndef MUSTER_STORE_REFUSED_H
#define MUSTER_STORE_REFUSED_H

#include "store/backup.h"

/* Writes the file of the run in hand, syncs it and reads it back; the counts and the checksum go into the shard of b. Entries that are damaged in
 * the store are told to the job and are not in it. */
int store_refused_write(struct store_backup *b, uint32_t shard, struct store_reader *r, const struct store_backup_job *job,
                        struct failure *failure);
/* Calls each for the entries of the sealed run, after the file was found to be what the manifest says: nothing of another one is handed out.
 * MUSTER_ERR_CORRUPT names the file; another status where a call failed; what each answers other than 0 is returned. */
int store_refused_read(const struct store_backup *b, uint32_t shard, int (*each)(void *context, const struct store_refused *entry),
                       void *context, struct failure *failure);

#endif
