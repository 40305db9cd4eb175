/*
 * The note that a node is in use: DIR/shards, the number of its shards as one line of text. It lies outside store/, whose disks may be lost or not
 * mounted, and is there before the first record can be acknowledged: from then on a store that is not there is missing, and never begun anew under the
 * same node id. The supervisor writes it when its workers are ready for the first time, a restore writes it into what it made; everybody may read it.
 */
#ifndef MUSTER_CORE_DATADIR_NOTE_H
#define MUSTER_CORE_DATADIR_NOTE_H

#include <stdint.h>

#include "core/datadir.h"

/* 1 to LIMIT_SHARDS. MUSTER_ERR_NOT_FOUND: none yet, as before the first ready; MUSTER_ERR_CORRUPT, _DENIED, _IO: there is one, and what it says is not known. */
int datadir_note_read(const struct datadir *d, uint32_t *shards, struct failure *failure);
/* Durable when it returns. root: the data directory, which need not be open. */
int datadir_note_write(const char *root, uint32_t shards, struct failure *failure);

#endif
