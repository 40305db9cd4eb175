#include "core/datadir.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/durable.h"
#include "core/file.h"

/* Room that paths below the root need: "ipc://" and the longest name in it, a temporary file's ending included. */
#define DATADIR_PATH_ROOM 128

#define DATADIR_SOCKET_NAME_BYTES 14 /* of the longest, "submit-16.sock" and "worker-63.sock" */
static_assert(LIMIT_INGESTS <= 99 && LIMIT_SHARDS <= 100, "the longest socket names have two digits");

int datadir_name(char out[LIMIT_PATH_BYTES], const char *option, struct failure *failure)
{
  const char *name = option != NULL ? option : getenv("MUSTER_DATA");
  if (name == NULL || name[0] == '\0')
    return failure_set(failure, MUSTER_ERR_USAGE, "no data directory is named: give --data DIR, or set MUSTER_DATA");
  if (strlen(name) >= LIMIT_PATH_BYTES - DATADIR_PATH_ROOM)
    return failure_set(failure, MUSTER_ERR_LIMIT, "the data directory's path is longer than %u bytes",
                       LIMIT_PATH_BYTES - DATADIR_PATH_ROOM);
  memcpy(out, name, strlen(name) + 1);
  return MUSTER_OK;
}

/* Only the user that owns it may use it, and nobody else may look in: what is kept there is about people. */
static int datadir_check_folder(const char *path, struct stat *info, struct failure *failure)
{
  if (lstat(path, info) != 0)
    return failure_set_errno(failure, failure_status(errno, MUSTER_ERR_IO), errno, "cannot open the data directory %s", path);
  if (!S_ISDIR(info->st_mode))
    return failure_set(failure, MUSTER_ERR_DENIED, "%s is not a directory; nothing was changed", path);
  if (info->st_uid != geteuid())
    return failure_set(failure, MUSTER_ERR_DENIED, "%s belongs to user id %u, and this process runs as user id %u; run it as the owner",
                       path, (unsigned)info->st_uid, (unsigned)geteuid());
  if ((info->st_mode & 077) != 0)
    return failure_set(failure, MUSTER_ERR_DENIED, "%s has mode %04o, so others may look in; set it with: chmod 700 %s", path,
                       (unsigned)(info->st_mode & 07777), path);
  return MUSTER_OK;
}

/* Whether a directory holds files and none of them is a node's. One that cannot be listed is left to the checks of owner and mode. */
static bool datadir_is_foreign(const char *path)
{
  DIR *folder = opendir(path);
  if (folder == NULL)
    return false;
  bool foreign = false, ours = false;
  for (const struct dirent *entry = readdir(folder); entry != NULL && !ours; entry = readdir(folder)) {
    const char *name = entry->d_name;
    ours =
        strcmp(name, "node.id") == 0 || strcmp(name, "store") == 0 || strcmp(name, "muster.lock") == 0 || strcmp(name, DATADIR_NOTE) == 0;
    /* A file system of its own begins with lost+found. */
    foreign = foreign || (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(name, "lost+found") != 0);
  }
  closedir(folder);
  return foreign && !ours;
}

/* Asked before owner and mode: nobody shall be told to change the mode of a directory that is not a node's. */
static int datadir_check_ours(const char *path, bool creating, struct failure *failure)
{
  if (!datadir_is_foreign(path))
    return MUSTER_OK;
  if (creating)
    return failure_set(
        failure, MUSTER_ERR_CREATE,
        "%s holds other files and no Muster node; nothing was changed; name an empty directory, or one that is not there yet", path);
  return failure_set(failure, MUSTER_ERR_NOT_FOUND, "%s holds no Muster node; name the data directory of one (--data DIR or MUSTER_DATA)",
                     path);
}

/* ---- where the sockets live ---- */

static bool datadir_sockets_fit(const char *folder) { return strlen(folder) + 1 + DATADIR_SOCKET_NAME_BYTES <= LIMIT_SOCKET_PATH; }

/* The runtime directory that run/sockets names, where it is there and this user's alone; else false, as after a restart of the machine. */
static bool datadir_read_sockets(struct datadir *d)
{
  char path[LIMIT_PATH_BYTES], text[LIMIT_SOCKET_PATH + 2];
  struct stat info;
  datadir_path(d, path, "run/sockets");
  const int fd = file_open(FILE_OF_NODE, "the folder of the sockets", path, LIMIT_PATH_BYTES, NULL);
  if (fd < 0)
    return false;
  const ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  if (size < 2 || text[0] != '/' || text[size - 1] != '\n')
    return false;
  text[size - 1] = '\0';
  if (strlen(text) != (size_t)size - 1 || !datadir_sockets_fit(text) || datadir_check_folder(text, &info, NULL) != MUSTER_OK)
    return false;
  memcpy(d->sockets, text, (size_t)size);
  return true;
}

static uint64_t datadir_hash(const char *text)
{
  uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
  for (; *text != '\0'; text++)
    hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
  return hash;
}

/* Where the runtime directory is gone no node runs, and run/ names sockets that nobody else can put there. */
static void datadir_find_sockets(struct datadir *d)
{
  if (!datadir_read_sockets(d))
    datadir_path(d, d->sockets, "run");
}

static int datadir_make_sockets(const char *folder, struct failure *failure)
{
  if (mkdir(folder, 0700) != 0 && errno != EEXIST)
    return failure_set_errno(failure, MUSTER_ERR_CREATE, errno, "cannot create %s for the sockets", folder);
  struct stat info;
  return datadir_check_folder(folder, &info, failure);
}

/* Chosen once and written down, so that every process finds them, whatever its own environment says. */
int datadir_choose_sockets(struct datadir *d, struct failure *failure)
{
  char note[LIMIT_PATH_BYTES];
  datadir_path(d, note, "run/sockets");
  datadir_path(d, d->sockets, "run");
  if (datadir_sockets_fit(d->sockets)) {
    if (unlink(note) != 0 && errno != ENOENT)
      return failure_set_errno(failure, MUSTER_ERR_IO, errno, "cannot remove %s", note);
    return MUSTER_OK;
  }
  if (datadir_read_sockets(d))
    return MUSTER_OK;
  const uint64_t hash = datadir_hash(d->root);
  const char *runtime = getenv("XDG_RUNTIME_DIR");
  bool made = false;
  if (runtime != NULL && runtime[0] == '/') {
    const int size = snprintf(d->sockets, sizeof d->sockets, "%s/muster-%016" PRIx64, runtime, hash);
    made = size < (int)sizeof d->sockets && datadir_sockets_fit(d->sockets) && datadir_make_sockets(d->sockets, NULL) == MUSTER_OK;
  }
  if (!made) {
    snprintf(d->sockets, sizeof d->sockets, "/tmp/muster-%u-%016" PRIx64, (unsigned)geteuid(), hash);
    const int status = datadir_make_sockets(d->sockets, failure);
    if (status != MUSTER_OK)
      return status;
  }
  char text[LIMIT_PATH_BYTES + 1];
  const int size = snprintf(text, sizeof text, "%s\n", d->sockets);
  return durable_replace_file(note, text, (uint64_t)size, 0600, failure);
}

/* ---- opening and creating ---- */

static int datadir_resolve(struct datadir *d, const char *path, bool creating, struct failure *failure)
{
  *d = (struct datadir){.lock_fd = -1};
  char resolved[PATH_MAX];
  if (realpath(path, resolved) == NULL)
    return failure_set_errno(failure, failure_status(errno, MUSTER_ERR_IO), errno, "cannot open the data directory %s", path);
  if (strlen(resolved) >= sizeof d->root - DATADIR_PATH_ROOM)
    return failure_set(failure, MUSTER_ERR_LIMIT, "the data directory's path is longer than %u bytes",
                       LIMIT_PATH_BYTES - DATADIR_PATH_ROOM);
  memcpy(d->root, resolved, strlen(resolved) + 1);
  struct stat info;
  if (stat(d->root, &info) == 0 && !S_ISDIR(info.st_mode))
    return failure_set(failure, creating ? MUSTER_ERR_CREATE : MUSTER_ERR_NOT_FOUND, "%s is not a directory; nothing was changed", d->root);
  const int status = datadir_check_ours(d->root, creating, failure);
  return status == MUSTER_OK ? datadir_check_folder(d->root, &info, failure) : status;
}

int datadir_open(struct datadir *d, const char *path, struct failure *failure)
{
  const int status = datadir_resolve(d, path, false, failure);
  if (status != MUSTER_OK)
    return status;
  datadir_find_sockets(d);
  return MUSTER_OK;
}

/* The name of the directory itself stands in its parent, which need not be readable: then the file system is synced as a whole. Asked at
 * each start, since a former one may have ended in between. */
static int datadir_sync_name(const char *path, struct failure *failure)
{
  char folder[LIMIT_PATH_BYTES];
  snprintf(folder, sizeof folder, "%s", path);
  const char *parent = dirname(folder);
  struct stat own, above;
  if (stat(path, &own) == 0 && stat(parent, &above) == 0 && own.st_dev != above.st_dev)
    return MUSTER_OK; /* mounted there */
  if (access(parent, R_OK) == 0)
    return durable_sync_folder(parent, failure);
  const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = fd >= 0 && syncfs(fd) == 0;
  const int error = errno;
  if (fd >= 0)
    close(fd);
  return synced ? MUSTER_OK : failure_set_errno(failure, MUSTER_ERR_IO, error, "cannot sync the file system of %s", path);
}

static bool datadir_parent_there(const char *path)
{
  char folder[LIMIT_PATH_BYTES];
  struct stat info;
  snprintf(folder, sizeof folder, "%s", path);
  return stat(dirname(folder), &info) == 0;
}

static int datadir_make(const char *path, struct failure *failure)
{
  if (mkdir(path, 0700) == 0 || errno == EEXIST)
    return MUSTER_OK;
  const int error = errno;
  if (error == ENOENT && !datadir_parent_there(path)) /* file systems as /proc say ENOENT to every mkdir */
    return failure_set(failure, MUSTER_ERR_CREATE, "cannot create %s: the directory that shall hold it does not exist; create that first",
                       path);
  return failure_set_errno(failure, error == ENOENT ? MUSTER_ERR_CREATE : failure_status(error, MUSTER_ERR_CREATE), error,
                           "cannot create the directory %s", path);
}

/* The mode bits are asked as well, since nothing is denied to root by them and the node shall not depend on who starts it. */
static int datadir_check_writable(const char *path, struct failure *failure)
{
  struct stat info;
  const int status = datadir_check_folder(path, &info, failure);
  if (status != MUSTER_OK)
    return status;
  if ((info.st_mode & 0700) != 0700)
    return failure_set(failure, MUSTER_ERR_DENIED, "%s has mode %04o, so its owner cannot write there; set it with: chmod 700 %s", path,
                       (unsigned)(info.st_mode & 07777), path);
  if (faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) == 0)
    return MUSTER_OK;
  const int error = errno;
  if (error == EROFS)
    return failure_set(failure, MUSTER_ERR_CREATE, "%s is on a file system that is mounted read-only; nothing was changed", path);
  return failure_set_errno(failure, MUSTER_ERR_DENIED, error, "%s cannot be written to by user id %u", path, (unsigned)geteuid());
}

/* Where store/ is a link or a mount of its own, or was moved away, an empty one in its place would be in the way when it comes back. */
static int datadir_check_store(const struct datadir *d, struct failure *failure)
{
  char note[LIMIT_PATH_BYTES], store[LIMIT_PATH_BYTES];
  struct stat info;
  datadir_path(d, note, DATADIR_NOTE);
  datadir_path(d, store, "store");
  if (lstat(store, &info) == 0 || errno != ENOENT || lstat(note, &info) != 0)
    return MUSTER_OK;
  return failure_set(
      failure, MUSTER_ERR_CORRUPT,
      "the store is missing: %s is not there, and this node was in use; nothing was changed; mount it or move it back there, or "
      "muster restore makes a new data directory from a backup",
      store);
}

int datadir_create(struct datadir *d, const char *path, struct failure *failure)
{
  static const char *const folders[] = {"store", "keys", "run", "run/counters"};
  *d = (struct datadir){.lock_fd = -1};
  int status = datadir_make(path, failure);
  if (status == MUSTER_OK)
    status = datadir_resolve(d, path, true, failure);
  if (status == MUSTER_OK)
    status = datadir_check_writable(d->root, failure);
  if (status == MUSTER_OK)
    status = datadir_check_store(d, failure);
  for (size_t i = 0; status == MUSTER_OK && i < sizeof folders / sizeof folders[0]; i++) {
    char folder[LIMIT_PATH_BYTES];
    datadir_path(d, folder, folders[i]);
    status = datadir_make(folder, failure);
    if (status == MUSTER_OK)
      status = datadir_check_writable(folder, failure);
    if (status == MUSTER_OK && i == 0) /* what tells a node's directory from a foreign one is there before anything beside it */
      status = durable_sync_folder(d->root, failure);
  }
  if (status == MUSTER_OK)
    status = durable_sync_folder(d->root, failure);
  if (status == MUSTER_OK)
    status = datadir_sync_name(d->root, failure);
  if (status == MUSTER_OK)
    datadir_find_sockets(d);
  return status;
}

void datadir_close(struct datadir *d)
{
  if (d->lock_fd >= 0)
    close(d->lock_fd);
  d->lock_fd = -1;
}

/* ---- paths ---- */

static void datadir_join(char *out, const char *scheme, const char *folder, const char *name)
{
  const int size = snprintf(out, LIMIT_PATH_BYTES, "%s%s/%s", scheme, folder, name);
  if (size < 0 || size >= (int)LIMIT_PATH_BYTES)
    abort(); /* DATADIR_PATH_ROOM is too small for a name that a caller made up */
}

void datadir_path(const struct datadir *d, char *out, const char *relative) { datadir_join(out, "", d->root, relative); }

void datadir_shard_path(const struct datadir *d, char *out, uint32_t shard)
{
  char name[32];
  snprintf(name, sizeof name, "store/shard-%" PRIu32, shard);
  datadir_path(d, out, name);
}

void datadir_submit_endpoint(const struct datadir *d, char *out, uint32_t ingest)
{
  char name[32] = "submit.sock";
  if (ingest > 0)
    snprintf(name, sizeof name, "submit-%" PRIu32 ".sock", ingest);
  datadir_join(out, "ipc://", d->sockets, name);
}

void datadir_worker_endpoint(const struct datadir *d, char *out, uint32_t shard)
{
  char name[32];
  snprintf(name, sizeof name, "worker-%" PRIu32 ".sock", shard);
  datadir_join(out, "ipc://", d->sockets, name);
}

static void datadir_unlink_endpoint(const char *endpoint) { unlink(endpoint + strlen("ipc://")); }

void datadir_remove_sockets(const struct datadir *d)
{
  char path[LIMIT_PATH_BYTES];
  for (uint32_t ingest = 0; ingest < LIMIT_INGESTS; ingest++) {
    datadir_submit_endpoint(d, path, ingest);
    datadir_unlink_endpoint(path);
  }
  for (uint32_t shard = 0; shard < LIMIT_SHARDS; shard++) {
    datadir_worker_endpoint(d, path, shard);
    datadir_unlink_endpoint(path);
  }
  datadir_path(d, path, "run");
  if (strcmp(path, d->sockets) == 0 || rmdir(d->sockets) != 0)
    return;
  datadir_path(d, path, "run/sockets");
  unlink(path);
}

/* ---- shards ---- */

/* The number of "shard-N", or -1 for another name. */
static long datadir_shard_number(const char *name)
{
  static const char prefix[] = "shard-";
  if (strncmp(name, prefix, sizeof prefix - 1) != 0)
    return -1;
  const char *digits = name + sizeof prefix - 1;
  const size_t size = strlen(digits);
  if (size == 0 || size > 6 || strspn(digits, "0123456789") != size || (digits[0] == '0' && size > 1))
    return -1;
  return strtol(digits, NULL, 10);
}

int datadir_count_shards(const struct datadir *d, uint32_t *count, int *gap, struct failure *failure)
{
  *count = 0;
  *gap = -1;
  char path[LIMIT_PATH_BYTES];
  datadir_path(d, path, "store");
  DIR *folder = opendir(path);
  if (folder == NULL && errno == ENOENT)
    return MUSTER_OK;
  if (folder == NULL)
    return failure_set_errno(failure, MUSTER_ERR_IO, errno, "cannot list %s", path);
  bool there[LIMIT_SHARDS] = {false};
  long highest = -1;
  int status = MUSTER_OK;
  for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
    const long shard = datadir_shard_number(entry->d_name);
    struct stat info;
    if (shard < 0 || fstatat(dirfd(folder), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
      continue;
    if (S_ISLNK(info.st_mode)) { /* whose directory it leads to, and who may look in there, is nothing this one answers for */
      status =
          failure_set(failure, MUSTER_ERR_DENIED,
                      "%s/shard-%ld is a symbolic link; a shard is a directory in its place; nothing was changed; to keep it on another "
                      "disk, mount that there",
                      path, shard);
      continue;
    }
    if (!S_ISDIR(info.st_mode))
      continue;
    if (shard >= (long)LIMIT_SHARDS) {
      status = failure_set(failure, MUSTER_ERR_FORMAT, "%s holds shard-%ld, and this version knows %u shards", path, shard, LIMIT_SHARDS);
      continue;
    }
    there[shard] = true;
    if (shard > highest)
      highest = shard;
    (*count)++;
  }
  closedir(folder);
  for (long shard = highest - 1; shard >= 0; shard--) {
    if (!there[shard])
      *gap = (int)shard;
  }
  return status;
}
