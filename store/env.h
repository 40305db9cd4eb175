/*
 * The LMDB environment of one shard: how it is opened, the checks that must come before the first page is touched (a cut
 * data.mdb would end the process with SIGBUS), where the file is mapped, and what it says of its size. Inside store/ only.
 * The struct belongs to a writer or a reader; one process opens an environment at most once, because closing a second one
 * would drop the locks of the first (store_env_open refuses it). What is done with it once it is open: store/env_call.h.
 */
#ifndef MUSTER_STORE_ENV_H
#define MUSTER_STORE_ENV_H

#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/failure.h"
#include "core/limits.h"

/* Beside data.mdb and lock.mdb. The marker is written when a new shard is on disk: with it, an empty or missing data.mdb is damage, not a
 * beginning. */
#define STORE_FILE_DATA "data.mdb"
#define STORE_FILE_LOCK "lock.mdb"
#define STORE_FILE_OWNER "owner.lock"
#define STORE_FILE_MARKER "created"
#define STORE_FILE_HINT "index.hint"
#define STORE_PATH_MAX (LIMIT_PATH_BYTES - 32u) /* of the directory, its end included: leaves room for any file's name */

#define STORE_ENVIRONMENTS_MAX (2 * LIMIT_SHARDS) /* open in one process */

enum store_env_mode { STORE_ENV_WRITE, STORE_ENV_READ };

#define STORE_ENV_FOREIGN_MAX 8u

struct store_env {
  MDB_env *lmdb;
  MDB_dbi meta, journal, tally, quarantine, quota;
  char path[LIMIT_PATH_BYTES]; /* the shard's directory, for sentences and files */
  unsigned slot;               /* in the process's list of open environments */
  int lock_fd;                 /* shared owner lock of a reader that runs without lock.mdb, else -1 */
  enum store_env_mode mode;
  const uint8_t *map; /* where data.mdb is mapped, map_size bytes of addresses; NULL where the system does not tell */
  uint64_t map_size;
  uintptr_t foreign[STORE_ENV_FOREIGN_MAX]; /* other maps of the file in this process, as a fork inherits one */
  unsigned foreign_count;
  uint64_t file_size; /* as last looked at: it only grows */
  bool broken;        /* a write was left by a fault: nothing of LMDB can be given back, and the process has to end */
};

/* Opens the environment, no database yet. On failure nothing stays open. A writer makes what is missing, unless the marker says that it
 * was there. */
int store_env_open(struct store_env *e, const char *path, enum store_env_mode mode, uint64_t map_bytes, struct failure *failure);
void store_env_close(struct store_env *e); /* a zeroed or closed one is fine */

/* Looks anew where LMDB has mapped the file: after it has mapped more of it. */
void store_env_find_map(struct store_env *e);

void store_env_clear_readers(const struct store_env *e);  /* lets go of what readers that are dead still hold */
uint64_t store_env_file_bytes(const struct store_env *e); /* pages up to the last one in use */
uint64_t store_env_map_bytes(const struct store_env *e);
/* Makes the file as long as its last page: LMDB may give out a page at the end that it then never writes, and the length is what tells a
 * cut file. */
void store_env_cover(const struct store_env *e);

/* Bytes of data.mdb that LMDB has handed out and that are on the disk need not stay in the page cache. Whole pages of them go at once. */
void store_env_uncache(const struct store_env *e, const uint8_t *bytes, size_t size);

bool store_env_marked(const struct store_env *e); /* the marker is there */
/* The path of a file in the shard's directory; out has LIMIT_PATH_BYTES. */
void store_env_path(const struct store_env *e, char *out, const char *file);

#endif
