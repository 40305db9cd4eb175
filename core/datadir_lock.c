#include "core/datadir_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/file.h"

#define LOCK_TRIES 20
#define LOCK_PAUSE_US 10000

/* The pid that the lock file holds, which says something only while the lock is held. */
static uint32_t datadir_read_pid(int fd)
{
  char text[16];
  const ssize_t size = pread(fd, text, sizeof text - 1, 0);
  if (size <= 0)
    return 0;
  text[size] = '\0';
  return (uint32_t)strtoul(text, NULL, 10);
}

int datadir_lock(struct datadir *d, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  datadir_path(d, path, "muster.lock");
  const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return failure_set_errno(failure, MUSTER_ERR_CREATE, errno, "cannot open the lock %s", path);
  /* Who asks for the pid of the node holds the lock for a moment, too, so one refusal is no proof of a node. */
  for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; tries++) {
    const int error = errno;
    if (error == EWOULDBLOCK && tries < LOCK_TRIES && usleep(LOCK_PAUSE_US) == 0)
      continue;
    const uint32_t pid = datadir_read_pid(fd);
    close(fd);
    if (error != EWOULDBLOCK)
      return failure_set_errno(failure, MUSTER_ERR_IO, error, "cannot lock %s", path);
    return failure_set(failure, MUSTER_ERR_LOCKED,
                       "the data directory %s is in use by the running node with pid %" PRIu32 "; use that one, or stop it first", d->root,
                       pid);
  }
  char text[16];
  const int size = snprintf(text, sizeof text, "%ld\n", (long)getpid());
  if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)size, 0) != size) {
    const int error = errno;
    close(fd);
    return failure_set_errno(failure, failure_status(error, MUSTER_ERR_IO), error, "cannot write the pid into %s", path);
  }
  d->lock_fd = fd;
  return MUSTER_OK;
}

uint32_t datadir_node_pid(const struct datadir *d)
{
  char path[LIMIT_PATH_BYTES];
  datadir_path(d, path, "muster.lock");
  const int fd = file_open(FILE_OF_NODE, "the lock", path, UINT64_MAX, NULL);
  if (fd < 0)
    return 0;
  uint32_t pid = 0;
  /* A node that has just taken the lock writes its pid in the next moment. */
  for (int tries = 0; pid == 0 && tries < LOCK_TRIES; tries++) {
    if (tries > 0)
      usleep(LOCK_PAUSE_US);
    if (flock(fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK)
      break;
    pid = datadir_read_pid(fd);
  }
  close(fd);
  return pid;
}
