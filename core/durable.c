#include "core/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/limits.h"

int durable_sync_folder(const char *path, struct failure *failure)
{
  const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = fd >= 0 && fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0)
    close(fd);
  return synced ? MUSTER_OK : failure_set_errno(failure, MUSTER_ERR_IO, error, "cannot sync the directory %s", path);
}

static int durable_sync_name(int fd, struct failure *failure)
{
  char link[32], path[LIMIT_PATH_BYTES];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, path, sizeof path - 1);
  if (size <= 0)
    return MUSTER_OK;
  path[size] = '\0';
  const char *folder = dirname(path);
  return access(folder, R_OK) == 0 ? durable_sync_folder(folder, failure) : MUSTER_OK;
}

int durable_sync_output(int fd, const char *what, struct failure *failure)
{
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
    return MUSTER_OK;
  if (fsync(fd) != 0 && errno != EINVAL) /* EINVAL: a file system without syncs */
    return failure_set_errno(failure, failure_status(errno, MUSTER_ERR_IO), errno, "%s cannot be synced; it may not be whole", what);
  return durable_sync_name(fd, failure);
}

static int durable_write_all(int fd, const uint8_t *bytes, uint64_t size_bytes)
{
  while (size_bytes > 0) {
    const ssize_t put = write(fd, bytes, size_bytes > 1u << 30 ? 1u << 30 : (size_t)size_bytes);
    if (put < 0 && errno == EINTR)
      continue;
    if (put < 0)
      return -1;
    bytes += put;
    size_bytes -= (uint64_t)put;
  }
  return fsync(fd);
}

/* Writes and syncs the file whole under a temporary name beside path. Messages name path: the other name is nobody's business. */
static int durable_write_beside(char temporary[LIMIT_PATH_BYTES], const char *path, const void *bytes, uint64_t size_bytes, unsigned mode,
                                struct failure *failure)
{
  if (snprintf(temporary, LIMIT_PATH_BYTES, "%s.%ld.new", path, (long)getpid()) >= (int)LIMIT_PATH_BYTES)
    return failure_set(failure, MUSTER_ERR_LIMIT, "the path %s is too long", path);
  unlink(temporary); /* of an earlier process with this pid */
  const int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
  if (fd < 0)
    return failure_set_errno(failure, failure_status(errno, MUSTER_ERR_CREATE), errno, "cannot create %s", path);
  int error = durable_write_all(fd, bytes, size_bytes) == 0 ? 0 : errno;
  if (close(fd) != 0 && error == 0)
    error = errno;
  if (error == 0)
    return MUSTER_OK;
  unlink(temporary);
  return failure_set_errno(failure, failure_status(error, MUSTER_ERR_IO), error, "cannot write %s, which stays as it was", path);
}

int durable_replace_file(const char *path, const void *bytes, uint64_t size_bytes, unsigned mode, struct failure *failure)
{
  char temporary[LIMIT_PATH_BYTES], folder[LIMIT_PATH_BYTES];
  const int status = durable_write_beside(temporary, path, bytes, size_bytes, mode, failure);
  if (status != MUSTER_OK)
    return status;
  if (rename(temporary, path) != 0) {
    const int error = errno;
    unlink(temporary);
    return failure_set_errno(failure, failure_status(error, MUSTER_ERR_IO), error, "cannot replace %s, which stays as it was", path);
  }
  struct failure syncing = FAILURE_NONE;
  snprintf(folder, sizeof folder, "%s", path);
  if (durable_sync_folder(dirname(folder), &syncing) == MUSTER_OK)
    return MUSTER_OK;
  return failure_set(failure, syncing.status, "%s is replaced, and after a power cut it may be the former one: %s", path, syncing.text);
}

/* A link, unlike a rename, fails where the name is taken. */
int durable_create_file(const char *path, const void *bytes, uint64_t size_bytes, unsigned mode, struct failure *failure)
{
  char temporary[LIMIT_PATH_BYTES], folder[LIMIT_PATH_BYTES];
  const int status = durable_write_beside(temporary, path, bytes, size_bytes, mode, failure);
  if (status != MUSTER_OK)
    return status;
  const int error = link(temporary, path) == 0 ? 0 : errno;
  unlink(temporary);
  if (error == EEXIST)
    return failure_set(failure, MUSTER_ERR_CREATE, "%s exists and stays as it was", path);
  if (error != 0)
    return failure_set_errno(failure, failure_status(error, MUSTER_ERR_CREATE), error, "cannot create %s; nothing was kept", path);
  snprintf(folder, sizeof folder, "%s", path);
  return durable_sync_folder(dirname(folder), failure);
}
