#include "store/segment_write.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/fault.h"
#include "store/reader.h"
#include "store/segment.h"

/* ---- the pace ---- */

void store_segment_pace_begin(struct store_segment_writer *w) { w->slice_ns = clock_monotonic_ns(); }

void store_segment_pace_end(const struct store_segment_writer *w)
{
  const uint64_t share = w->job->share_percent, worked_ns = clock_monotonic_ns() - w->slice_ns;
  if (share == 0 || share >= 100)
    return;
  const uint64_t sleep_ns = worked_ns * (100 - share) / share;
  nanosleep(&(struct timespec){.tv_sec = (time_t)(sleep_ns / 1000000000), .tv_nsec = (long)(sleep_ns % 1000000000)}, NULL);
}

/* ---- writing ---- */

static int io_failure(const struct store_segment_writer *w, const char *doing, int error, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  store_segment_path(path, w->b, w->shard, &w->now);
  return failure_set_errno(failure, failure_status(error, MUSTER_ERR_IO), error,
                           "cannot %s %s; what is whole of the backup is kept (shard %" PRIu32 " up to sequence %" PRIu64
                           "), and the same command goes on from there",
                           doing, path, w->shard, w->now.last);
}

static int open_file(struct store_segment_writer *w, int flags, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  store_segment_path(path, w->b, w->shard, &w->now);
  w->fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
  return w->fd < 0 ? io_failure(w, flags ? "create" : "open", errno, failure) : MUSTER_OK;
}

void store_segment_begin(struct store_segment_writer *w, uint64_t first, const uint8_t before[16])
{
  memcpy(w->before, before, sizeof w->before); /* first: it may be the head in `now` */
  w->now = (struct store_backup_segment){.first = first, .last = first - 1, .run = w->b->run + 1};
  memcpy(w->now.head, w->before, sizeof w->now.head);
  w->fd = -1;
}

int store_segment_resume(struct store_segment_writer *w, const struct store_backup_segment *whole, struct failure *failure)
{
  const int status = open_file(w, 0, failure);
  if (status == MUSTER_OK && ftruncate(w->fd, (off_t)whole->bytes) != 0)
    return io_failure(w, "cut back", errno, failure);
  w->now = *whole;
  return status;
}

int store_segment_put(struct store_segment_writer *w, const struct store_block *block, struct failure *failure)
{
  /* O_TRUNC: a killed run may have left one of that name behind the one that was cut back. */
  if (w->fd < 0 && open_file(w, O_CREAT | O_TRUNC, failure) != MUSTER_OK)
    return failure->status;
  for (size_t done = 0; done < block->size;) {
    const ssize_t n = FAULT("backup.write") ? -1 : pwrite(w->fd, block->base + done, block->size - done, (off_t)(w->now.bytes + done));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return io_failure(w, "write", errno, failure);
    done += (size_t)n;
  }
  if (FAULT("backup.flip") && pwrite(w->fd, "", 1, (off_t)(w->now.bytes + block->size / 2)) != 1) /* as a bad disk does */
    return io_failure(w, "write", errno, failure);
  w->now.bytes += block->size;
  w->now.last += block->header.count;
  memcpy(w->now.head, block->header.checksum, sizeof w->now.head);
  return MUSTER_OK;
}

uint64_t store_segment_limit(const struct store_backup_job *job)
{
  return job->segment_bytes ? job->segment_bytes : STORE_BACKUP_SEGMENT_BYTES;
}

bool store_segment_is_full(const struct store_segment_writer *w) { return w->now.bytes >= store_segment_limit(w->job); }

/* No fdatasync: that of a growing file makes the file system commit its journal, which the node would wait for. */
int store_segment_flush(const struct store_segment_writer *w, struct failure *failure)
{
  if (w->fd < 0)
    return MUSTER_OK;
  if (sync_file_range(w->fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) != 0 &&
      errno != ENOSYS && errno != EINVAL)
    return io_failure(w, "sync", errno, failure);
  posix_fadvise(w->fd, 0, (off_t)w->now.bytes, POSIX_FADV_DONTNEED);
  return MUSTER_OK;
}

/* ---- the end ---- */

static int read_back(struct store_segment_writer *w, struct failure *failure)
{
  struct store_segment_walk walk = {.shard = w->shard, .fd = w->fd, .next = w->now.first};
  struct store_block block;
  struct stat info;
  memcpy(walk.previous, w->before, sizeof walk.previous);
  int more = 1;
  while (more == 1) {
    store_segment_pace_begin(w);
    const uint64_t end = walk.offset + STORE_SLICE_BYTES;
    while (walk.offset < end && (more = store_segment_next(&walk, &block)) == 1)
      ;
    store_segment_pace_end(w);
  }
  store_segment_finish(&walk);
  if (more == MUSTER_ERR_MEMORY)
    return failure_set(failure, more, "there is no memory to read the backup's blocks");
  if (more == MUSTER_ERR_IO)
    return io_failure(w, "read", walk.error, failure);
  if (fstat(w->fd, &info) != 0)
    return io_failure(w, "look at", errno, failure);
  if (store_segment_is_at_end(&walk, &w->now) && (uint64_t)info.st_size == w->now.bytes)
    return MUSTER_OK;
  char path[LIMIT_PATH_BYTES];
  store_segment_path(path, w->b, w->shard, &w->now);
  return failure_set(failure, MUSTER_ERR_CORRUPT,
                     "shard %" PRIu32 ": %s does not read back as it was written, from sequence %" PRIu64
                     " on; the disk of the backup is not to be trusted; the store was not touched",
                     w->shard, store_segment_name(w->b, path), walk.next);
}

int store_segment_end(struct store_segment_writer *w, struct failure *failure)
{
  if (w->fd < 0)
    return MUSTER_OK;
  if (FAULT("backup.sync") || fsync(w->fd) != 0)
    return io_failure(w, "sync", errno, failure);
  posix_fadvise(w->fd, 0, 0, POSIX_FADV_DONTNEED);
  const int status = read_back(w, failure);
  posix_fadvise(w->fd, 0, 0, POSIX_FADV_DONTNEED);
  store_segment_abandon(w);
  return status;
}

void store_segment_abandon(struct store_segment_writer *w)
{
  if (w->fd >= 0)
    close(w->fd);
  w->fd = -1;
}
