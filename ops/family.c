#include "ops/family.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/counters.h"
#include "core/log.h"

#define LOOK_MS 5u

/* 0, EWOULDBLOCK past the time, or what else went wrong. */
static int family_lock(int fd, uint32_t wait_ms)
{
  const uint64_t end_ns = clock_monotonic_ns() + wait_ms * UINT64_C(1000000);
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK || clock_monotonic_ns() >= end_ns)
      return errno == EINTR ? EWOULDBLOCK : errno;
    nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000}, NULL);
  }
  return 0;
}

/* Those that still run, for people. */
struct left {
  char sure[256];   /* by their pages they are a node's */
  char unsure[256]; /* they have the pid of one, and may be anybody: nobody kills those */
  bool kill;
};

static void add(char pids[256], const struct counters_writer *writer)
{
  const size_t used = strlen(pids);
  snprintf(pids + used, 256 - used, "%s%s with pid %" PRIu32, used ? ", " : "", writer->role, writer->pid);
}

/* A page tells its process from another one that has the same pid by now, where the system told when both have started. */
static void on_writer(void *context, const struct counters_writer *writer)
{
  struct left *left = context;
  if (strncmp(writer->role, "worker-", 7) != 0 && strncmp(writer->role, "ingest-", 7) != 0)
    return;
  add(writer->certain ? left->sure : left->unsure, writer);
  if (left->kill && writer->certain)
    kill((pid_t)writer->pid, SIGKILL);
}

static void look(const struct datadir *data, struct left *left)
{
  struct failure ignored = FAILURE_NONE;
  char path[LIMIT_PATH_BYTES];
  datadir_path(data, path, "run/counters");
  left->sure[0] = left->unsure[0] = '\0';
  counters_each_writer(path, on_writer, left, &ignored);
}

static int claim(const struct datadir *data, uint32_t ends_ms, int fd, struct failure *failure)
{
  struct left left = {.kill = true};
  int error = family_lock(fd, 0);
  if (error == EWOULDBLOCK) {
    log_event(LOG_INFO, "node.waits", "cause=\"processes of a node that was killed are still ending\" limit_ms=%u", ends_ms);
    error = family_lock(fd, ends_ms);
  }
  if (error == EWOULDBLOCK) {
    look(data, &left);
    log_event(LOG_WARN, "node.leftovers", "killed=\"%s\" let_be=\"%s\" cause=\"their supervisor is dead and they did not end in %u ms\"",
              left.sure, left.unsure, ends_ms);
    error = family_lock(fd, ends_ms);
  }
  if (!error)
    return MUSTER_OK;
  if (error != EWOULDBLOCK)
    return failure_set_errno(failure, MUSTER_ERR_IO, error, "the lock %s/run/family.lock cannot be taken", data->root);
  left.kill = false;
  look(data, &left);
  if (left.unsure[0])
    return failure_set(
        failure, MUSTER_ERR_LOCKED,
        "processes of a node on %s that was killed still run, perhaps %s, which was not killed, as it cannot be told when it "
        "has started, so that it may be another process; nothing was changed; end it if it is a muster of this directory "
        "(ps -fp PID), and try again",
        data->root, left.unsure);
  if (left.sure[0])
    return failure_set(
        failure, MUSTER_ERR_LOCKED,
        "processes of a node on %s that was killed still run and cannot be ended: %s; nothing was changed; try again when they are gone",
        data->root, left.sure);
  return failure_set(failure, MUSTER_ERR_LOCKED,
                     "%s/run/family.lock is held by processes that no counter page tells of, of a node that was killed or of a start that "
                     "was cut short; none of them was killed and nothing was changed; see who they are (fuser -v of that file), end those "
                     "that are a muster's, and try again",
                     data->root);
}

int ops_family_claim(const struct datadir *data, uint32_t ends_ms, int *fd, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  datadir_path(data, path, "run/family.lock");
  *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (*fd < 0)
    return failure_set_errno(failure, MUSTER_ERR_CREATE, errno, "cannot open the lock %s", path);
  const int status = claim(data, ends_ms, *fd, failure);
  if (status != MUSTER_OK) {
    close(*fd);
    *fd = -1;
  }
  return status;
}
