#include "store/env_call.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/guard.h"

#define ENV_DATABASES_MAX 8
#define ENV_READERS_MAX 126
#define ENV_LOCK_BYTES 8192 /* of lock.mdb, with so many readers */
#define ENV_META_PAGES 2
#define ENV_PAGE_BYTES_MIN 4096u

/* Which environments this process has open, by file. A child after fork inherits the list but not the environments, hence the pid. */
static struct {
  pid_t pid;
  dev_t device;
  ino_t inode;
} env_open_list[STORE_ENVIRONMENTS_MAX];

static int env_register(struct store_env *e, struct failure *failure)
{
  const unsigned count = sizeof env_open_list / sizeof env_open_list[0];
  const pid_t self = getpid();
  struct stat st;
  if (stat(e->path, &st) != 0)
    return failure_set_errno(failure, MUSTER_ERR_IO, errno, "shard %s: the directory cannot be read", e->path);
  unsigned vacant = count;
  for (unsigned i = 0; i < count; i++) {
    if (env_open_list[i].pid != self)
      vacant = i;
    else if (env_open_list[i].device == st.st_dev && env_open_list[i].inode == st.st_ino)
      return failure_set(failure, MUSTER_ERR_USAGE, "shard %s: this process has it open already; nothing was changed", e->path);
  }
  if (vacant == count)
    return failure_set(failure, MUSTER_ERR_LIMIT, "shard %s: this process has %u shards open, which is the most", e->path, count);
  env_open_list[vacant].pid = self;
  env_open_list[vacant].device = st.st_dev;
  env_open_list[vacant].inode = st.st_ino;
  e->slot = vacant;
  return MUSTER_OK;
}

void store_env_path(const struct store_env *e, char *out, const char *file)
{
  char *end = stpcpy(out, e->path); /* STORE_PATH_MAX leaves room */
  *end++ = '/';
  strcpy(end, file);
}

bool store_env_marked(const struct store_env *e)
{
  char marker[LIMIT_PATH_BYTES];
  store_env_path(e, marker, STORE_FILE_MARKER);
  return access(marker, F_OK) == 0;
}

/* Before LMDB looks: a file that is missing, or has no more than its two first pages, which a power cut may have left without their bytes. */
static int env_check_beginning(const struct store_env *e, enum store_env_mode mode, struct failure *failure)
{
  char data[LIMIT_PATH_BYTES];
  store_env_path(e, data, STORE_FILE_DATA);
  struct stat st;
  const bool missing = stat(data, &st) != 0;
  if (missing && errno != ENOENT)
    return failure_set_errno(failure, store_env_status(errno), errno, "shard %s: data.mdb cannot be read", e->path);
  const uint64_t size = missing ? 0 : (uint64_t)st.st_size, beginning = ENV_META_PAGES * ENV_PAGE_BYTES_MIN;
  const bool marked = store_env_marked(e);
  if (size > beginning || (marked && size == beginning))
    return MUSTER_OK;
  if (marked)
    return failure_set(failure, MUSTER_ERR_CORRUPT,
                       "shard %s: data.mdb is %s (%" PRIu64
                       " bytes) although this shard was in use; nothing was changed; muster salvage writes "
                       "out what is intact, muster restore makes a new data directory from a backup",
                       e->path, missing ? "missing" : "cut off", size);
  if (mode == STORE_ENV_READ)
    return failure_set(failure, MUSTER_ERR_NOT_FOUND, "shard %s: there is no store yet", e->path);
  /* Creation was interrupted before anything could be acknowledged. */
  if (!missing && unlink(data) != 0)
    return failure_set_errno(failure, MUSTER_ERR_IO, errno, "shard %s: a half-created data.mdb cannot be removed", e->path);
  return MUSTER_OK;
}

/* After LMDB has read its meta pages and before any other page: is the file as long as they say? */
static int env_check_length(const struct store_env *e, struct failure *failure)
{
  char data[LIMIT_PATH_BYTES];
  store_env_path(e, data, STORE_FILE_DATA);
  const uint64_t wanted = store_env_file_bytes(e);
  struct stat st;
  if (stat(data, &st) != 0)
    return failure_set_errno(failure, MUSTER_ERR_IO, errno, "shard %s: data.mdb cannot be read", e->path);
  if ((uint64_t)st.st_size < wanted)
    return failure_set(
        failure, MUSTER_ERR_CORRUPT,
        "shard %s: data.mdb is cut off: it has %" PRIu64 " bytes and needs %" PRIu64
        "; nothing was changed; muster salvage writes out what is intact, muster restore makes a new directory from a backup",
        e->path, (uint64_t)st.st_size, wanted);
  return MUSTER_OK;
}

static void on_assertion(MDB_env *lmdb, const char *text)
{
  (void)lmdb;
  (void)text;
  store_guard_broken();
}

/* The next map of the file from its beginning on, as the system tells them. */
static bool env_next_map(FILE *maps, ino_t inode, uintptr_t *begin, uintptr_t *end)
{
  char line[LIMIT_PATH_BYTES + 128];
  uint64_t offset, of;
  while (fgets(line, sizeof line, maps))
    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %" SCNx64 " %*s %" SCNu64, begin, end, &offset, &of) == 4 && !offset &&
        of == (uint64_t)inode && strstr(line, "/" STORE_FILE_DATA))
      return true;
  return false;
}

/* Before the file is opened: maps of it that are not the one to come. */
static void env_note_foreign(struct store_env *e)
{
  char data[LIMIT_PATH_BYTES];
  struct stat st;
  uintptr_t begin, end;
  store_env_path(e, data, STORE_FILE_DATA);
  e->foreign_count = 0;
  FILE *maps = stat(data, &st) == 0 ? fopen("/proc/self/maps", "re") : NULL;
  while (maps && e->foreign_count < STORE_ENV_FOREIGN_MAX && env_next_map(maps, st.st_ino, &begin, &end))
    e->foreign[e->foreign_count++] = begin;
  if (maps)
    fclose(maps);
}

static bool env_is_foreign(const struct store_env *e, uintptr_t begin)
{
  for (unsigned i = 0; i < e->foreign_count; i++)
    if (e->foreign[i] == begin)
      return true;
  return false;
}

/* LMDB does not say where it has mapped the file; the system does. An environment that is not found has the guard alone. */
void store_env_find_map(struct store_env *e)
{
  struct stat st;
  uintptr_t begin, end;
  int fd;
  e->map = NULL;
  FILE *maps = mdb_env_get_fd(e->lmdb, &fd) == 0 && fstat(fd, &st) == 0 ? fopen("/proc/self/maps", "re") : NULL;
  while (maps && !e->map && env_next_map(maps, st.st_ino, &begin, &end)) {
    if (env_is_foreign(e, begin))
      continue;
    e->map = (const uint8_t *)begin;
    e->map_size = end - begin;
    e->file_size = (uint64_t)st.st_size;
  }
  if (maps)
    fclose(maps);
  store_guard_map(e->slot, e->map, e->map_size, e->path);
}

/* LMDB makes the lock file by its length alone and writes to it through memory, where a full disk has no other word than a signal. So its blocks
 * are taken first; one that has its beginning already, where the first readers are, will do. A file that cannot be opened is LMDB's to tell.
 * One that is whole is not opened: to close it would let go of what this process has locked there. */
static int env_make_lock_room(const struct store_env *e)
{
  char path[LIMIT_PATH_BYTES];
  struct stat st;
  store_env_path(e, path, STORE_FILE_LOCK);
  if (lstat(path, &st) == 0 && (uint64_t)st.st_blocks * 512 >= ENV_LOCK_BYTES)
    return 0;
  const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  if (fd < 0)
    return errno == ENOSPC ? ENOSPC : 0;
  int error = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? posix_fallocate(fd, 0, ENV_LOCK_BYTES) : 0;
  if (error && (uint64_t)st.st_blocks * 512 >= ENV_PAGE_BYTES_MIN)
    error = 0;
  close(fd);
  return error;
}

static int env_open_guarded(struct store_env *e, unsigned flags)
{
  struct store_guard g;
  if (sigsetjmp(*store_guard_enter(&g, STORE_GUARD_LMDB), 0)) {
    e->lmdb = NULL; /* what it had taken until then is lost until the process ends */
    return MDB_CORRUPTED;
  }
  const int code = mdb_env_open(e->lmdb, e->path, flags, 0600);
  store_guard_leave(&g);
  return code;
}

static int env_make(struct store_env *e, unsigned flags, uint64_t map_bytes)
{
  store_guard_map(e->slot, NULL, 0, e->path);
  env_note_foreign(e);
  int code = mdb_env_create(&e->lmdb);
  if (code)
    return code;
  code = mdb_env_set_maxdbs(e->lmdb, ENV_DATABASES_MAX);
  if (!code)
    code = mdb_env_set_maxreaders(e->lmdb, ENV_READERS_MAX);
  if (!code && map_bytes)
    code = mdb_env_set_mapsize(e->lmdb, map_bytes);
  if (!code)
    code = mdb_env_set_assert(e->lmdb, on_assertion);
  if (!code)
    code = mdb_env_set_userctx(e->lmdb, e);
  if (!code && !(flags & MDB_NOLOCK))
    code = env_make_lock_room(e);
  if (!code)
    code = env_open_guarded(e, flags);
  if (!code) {
    store_env_find_map(e);
  } else if (e->lmdb) {
    mdb_env_close(e->lmdb);
    e->lmdb = NULL;
  }
  return code;
}

/* Where lock.mdb cannot be written, reading is safe only while nobody writes: the shared owner lock keeps a writer out for as long. */
static int env_make_lockless(struct store_env *e, int denied, struct failure *failure)
{
  char owner[LIMIT_PATH_BYTES];
  store_env_path(e, owner, STORE_FILE_OWNER);
  e->lock_fd = open(owner, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (e->lock_fd >= 0 && flock(e->lock_fd, LOCK_SH | LOCK_NB) != 0)
    return failure_set(
        failure, MUSTER_ERR_DENIED,
        "shard %s: a node is writing to it and lock.mdb cannot be written by this user; read it as the user that runs the node", e->path);
  if (e->lock_fd < 0 && errno != ENOENT)
    return store_env_failure(failure, e, denied, "the store cannot be opened for reading");
  int code = env_make(e, MDB_RDONLY | MDB_NOTLS | MDB_NOLOCK, 0);
  return code ? store_env_failure(failure, e, code, "the store cannot be opened for reading") : MUSTER_OK;
}

static int env_start(struct store_env *e, enum store_env_mode mode, uint64_t map_bytes, struct failure *failure)
{
  int code;
  if (mode == STORE_ENV_READ) {
    /* Reading is sequential, so the kernel may read ahead; a transaction is not tied to its thread. */
    code = env_make(e, MDB_RDONLY | MDB_NOTLS, 0);
    if (code == EACCES || code == EPERM || code == EROFS)
      return env_make_lockless(e, code, failure);
    return code ? store_env_failure(failure, e, code, "the store cannot be opened for reading") : MUSTER_OK;
  }
  /* The writer reads single ids at random places: reading ahead would push out what others need. */
  code = env_make(e, MDB_NORDAHEAD, map_bytes);
  if (code)
    return store_env_failure(failure, e, code, "the store cannot be opened");
  int fd;
  code = mdb_env_get_fd(e->lmdb, &fd);
  if (!code && fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
    code = errno;
  if (code)
    return store_env_failure(failure, e, code, "the store cannot be set up");
  store_env_clear_readers(e);
  return MUSTER_OK;
}

int store_env_open(struct store_env *e, const char *path, enum store_env_mode mode, uint64_t map_bytes, struct failure *failure)
{
  memset(e, 0, sizeof *e);
  e->lock_fd = -1;
  e->mode = mode;
  if (strlen(path) >= STORE_PATH_MAX)
    return failure_set(failure, MUSTER_ERR_LIMIT, "a shard's path may have %u bytes", STORE_PATH_MAX - 1);
  strcpy(e->path, path);
  int status = env_check_beginning(e, mode, failure);
  if (status)
    return status;
  status = env_register(e, failure);
  if (status)
    return status;
  status = env_start(e, mode, map_bytes, failure);
  if (!status)
    status = env_check_length(e, failure);
  if (status) {
    if (!e->lmdb)
      env_open_list[e->slot].pid = 0;
    store_env_close(e);
  }
  return status;
}

void store_env_close(struct store_env *e)
{
  if (e->lmdb && !e->broken) {
    store_guard_map(e->slot, NULL, 0, e->path);
    mdb_env_close(e->lmdb);
    env_open_list[e->slot].pid = 0;
    e->lmdb = NULL;
  }
  if (e->path[0] && e->lock_fd >= 0)
    close(e->lock_fd);
  e->lock_fd = -1;
}

/* ---- facts ---- */

void store_env_clear_readers(const struct store_env *e)
{
  int dead;
  mdb_reader_check(e->lmdb, &dead); /* what fails is tried again the next time */
}

uint64_t store_env_file_bytes(const struct store_env *e)
{
  MDB_envinfo info;
  MDB_stat stat;
  if (mdb_env_info(e->lmdb, &info) || mdb_env_stat(e->lmdb, &stat))
    return 0;
  return ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
}

uint64_t store_env_map_bytes(const struct store_env *e)
{
  MDB_envinfo info;
  return mdb_env_info(e->lmdb, &info) ? 0 : info.me_mapsize;
}

void store_env_cover(const struct store_env *e)
{
  int fd;
  struct stat st;
  const uint64_t wanted = store_env_file_bytes(e);
  /* What fails here costs nothing that was promised: the pages in question hold no data. */
  if (mdb_env_get_fd(e->lmdb, &fd) == 0 && fstat(fd, &st) == 0 && (uint64_t)st.st_size < wanted && ftruncate(fd, (off_t)wanted) != 0)
    return;
}

void store_env_uncache(const struct store_env *e, const uint8_t *bytes, size_t size)
{
  int fd;
  const uint64_t at = (uint64_t)((uintptr_t)bytes - (uintptr_t)e->map);
  if (e->map && at < e->map_size && mdb_env_get_fd(e->lmdb, &fd) == 0)
    posix_fadvise(fd, (off_t)at, (off_t)size, POSIX_FADV_DONTNEED);
}
