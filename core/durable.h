/*
 * Small files that are there whole or not at all, whenever the process dies or the power goes: written under a temporary
 * name, synced, named, and their directory synced. Any process; no state.
 */
#ifndef MUSTER_CORE_DURABLE_H
#define MUSTER_CORE_DURABLE_H

#include <stdint.h>

#include "core/failure.h"

/* Replaces a file atomically: temporary name, fsync, rename, fsync of the directory. mode as for open. */
int durable_replace_file(const char *path, const void *bytes, uint64_t size_bytes, unsigned mode, struct failure *failure);
/* The same for a file that must not exist yet, else MUSTER_ERR_CREATE: it is there whole or not at all, whenever the process dies. */
int durable_create_file(const char *path, const void *bytes, uint64_t size_bytes, unsigned mode, struct failure *failure);
/* Makes what was written through fd into a regular file durable, and the name that it has, where the directory can be looked at. Of a pipe
 * or a device nothing is asked. what: the file in messages. */
int durable_sync_output(int fd, const char *what, struct failure *failure);
/* Makes the names in a directory durable. */
int durable_sync_folder(const char *path, struct failure *failure);

#endif
