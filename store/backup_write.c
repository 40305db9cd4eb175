/* A run of a backup: what a former one has left is kept as far as it is whole, then block after block up to the cut, then the manifest. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/durable.h"
#include "core/fault.h"
#include "store/backup.h"
#include "store/journal.h"
#include "store/manifest.h"
#include "store/reader.h"
#include "store/refused.h"
#include "store/segment.h"

struct copy {
  struct store_backup *b;
  struct store_reader *r;
  uint32_t shard;
  const struct store_backup_pace *pace;
  struct store_backup_segment now; /* the segment in hand; last = first - 1 while it is empty */
  int fd;                          /* of it, -1: not begun */
  uint64_t slice_ns;               /* when the slice in hand began */
};

/* ---- the pace ---- */

static void pace_begin(struct copy *c) { c->slice_ns = clock_monotonic_ns(); }

/* Sleeps as long as what was done since pace_begin asks for. Reading, writing and syncing count: all of it is time of the node's disk or processor. */
static void pace_end(const struct copy *c)
{
  const uint64_t share = c->pace->share_percent, worked_ns = clock_monotonic_ns() - c->slice_ns;
  if (share == 0 || share >= 100)
    return;
  const uint64_t sleep_ns = worked_ns * (100 - share) / share;
  nanosleep(&(struct timespec){.tv_sec = (time_t)(sleep_ns / 1000000000), .tv_nsec = (long)(sleep_ns % 1000000000)}, NULL);
}

/* ---- the segment in hand ---- */

static int io_failure(const struct copy *c, const char *doing, int error, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  store_segment_path(path, c->b, c->shard, c->now.first);
  return failure_set_errno(failure, failure_status(error, MUSTER_ERR_IO), error,
                           "cannot %s %s; what is whole of the backup is kept (shard %" PRIu32 " up to sequence %" PRIu64
                           "), and the same command goes on from there",
                           doing, path, c->shard, c->now.last);
}

static bool is_full(const struct copy *c)
{
  return c->now.bytes >= (c->pace->segment_bytes ? c->pace->segment_bytes : STORE_BACKUP_SEGMENT_BYTES);
}

/* flags: O_TRUNC for a segment that is begun: a killed run may have left one of that name behind the one that was cut back. */
static int open_segment(struct copy *c, int flags, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  store_segment_path(path, c->b, c->shard, c->now.first);
  c->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
  return c->fd < 0 ? io_failure(c, "create", errno, failure) : MUSTER_OK;
}

/* Goes over the blocks of the segment in hand as far as they are whole; now becomes that part of it. offset: where it ends. */
static int walk_segment(struct copy *c, const uint8_t previous[16], uint64_t *offset, struct failure *failure)
{
  struct store_segment_walk w = {.shard = c->shard, .fd = c->fd, .next = c->now.first};
  struct store_block block;
  memcpy(w.previous, previous, sizeof w.previous);
  int more = 1;
  while (more == 1) {
    pace_begin(c);
    const uint64_t end = w.offset + STORE_SLICE_BYTES;
    while (w.offset < end && (more = store_segment_next(&w, &block)) == 1)
      ;
    pace_end(c);
  }
  const int error = errno;
  store_segment_finish(&w);
  if (more == MUSTER_ERR_MEMORY)
    return failure_set(failure, more, "there is no memory to read the backup's blocks");
  if (more == MUSTER_ERR_IO)
    return io_failure(c, "read", error, failure);
  c->now.last = w.next - 1;
  c->now.bytes = *offset = w.offset;
  memcpy(c->now.head, w.previous, sizeof c->now.head);
  return MUSTER_OK;
}

/* The chain's head before the segment in hand. */
static const uint8_t *head_before(const struct copy *c)
{
  static const uint8_t none[16];
  const struct store_backup_shard *s = &c->b->shard[c->shard];
  return s->segments ? s->segment[s->segments - 1].head : none;
}

/* Syncs it, reads it back from the disk as far as the system lets go of its pages, and counts it as written. */
static int finish_segment(struct copy *c, struct failure *failure)
{
  const struct store_backup_segment written = c->now;
  uint64_t offset = 0;
  if (c->fd < 0)
    return MUSTER_OK;
  if (FAULT("backup.sync") || fsync(c->fd) != 0)
    return io_failure(c, "sync", errno, failure);
  posix_fadvise(c->fd, 0, 0, POSIX_FADV_DONTNEED);
  struct stat info;
  int status = walk_segment(c, head_before(c), &offset, failure);
  if (status == MUSTER_OK && fstat(c->fd, &info) != 0)
    status = io_failure(c, "look at", errno, failure);
  if (status == MUSTER_OK && ((uint64_t)info.st_size != offset || c->now.last != written.last || offset != written.bytes ||
                              memcmp(c->now.head, written.head, 16) != 0))
    status = failure_set(failure, MUSTER_ERR_CORRUPT,
                         "shard %" PRIu32 ": shard-%" PRIu32 "/%020" PRIu64
                         ".blocks does not read back as it was written, from sequence %" PRIu64
                         " on; the disk of the backup is not to be trusted; the store was not touched",
                         c->shard, c->shard, written.first, c->now.last + 1);
  posix_fadvise(c->fd, 0, 0, POSIX_FADV_DONTNEED);
  close(c->fd);
  c->fd = -1;
  if (status == MUSTER_OK && written.bytes && store_manifest_add(&c->b->shard[c->shard], &written))
    status = failure_set(failure, MUSTER_ERR_MEMORY, "there is no memory for the manifest");
  c->now = (struct store_backup_segment){.first = written.last + 1, .last = written.last};
  memcpy(c->now.head, written.head, sizeof c->now.head);
  return status;
}

/* What runs that did not end have left: whole segments are kept, the last one is cut back to its last whole block and gone on with. */
static int recover(struct copy *c, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  struct store_backup_shard *s = &c->b->shard[c->shard];
  c->now = (struct store_backup_segment){.first = s->records + 1, .last = s->records};
  memcpy(c->now.head, s->head, sizeof s->head);
  for (;;) {
    uint64_t offset = 0;
    store_segment_path(path, c->b, c->shard, c->now.first);
    if (access(path, F_OK) != 0)
      return MUSTER_OK;
    int status = open_segment(c, 0, failure);
    if (status == MUSTER_OK)
      status = walk_segment(c, head_before(c), &offset, failure);
    if (status == MUSTER_OK && ftruncate(c->fd, (off_t)offset) != 0)
      status = io_failure(c, "cut back", errno, failure);
    if (status == MUSTER_OK && !is_full(c))
      return MUSTER_OK;
    if (status == MUSTER_OK)
      status = finish_segment(c, failure);
    if (status != MUSTER_OK)
      return status;
  }
}

/* ---- the store ---- */

/* The node has what the backup ends with: the same block, at the same place. */
static int check_history(struct copy *c, const struct store_meta *cut, struct failure *failure)
{
  struct store_block block;
  bool same = c->now.last <= cut->records;
  if (same && c->now.last) {
    int status = store_slice_blocks(c->r, c->now.last, c->now.last, failure);
    if (status)
      return status;
    size_t place = 0, size;
    const uint8_t *bytes = store_slice_next(c->r, &place, &size);
    same = bytes && store_block_parse(&block, bytes, size, load_u64(bytes + offsetof(struct store_block_header, first))) &&
           block.header.first + block.header.count - 1 == c->now.last && memcmp(block.header.checksum, c->now.head, 16) == 0;
  }
  return same ? MUSTER_OK
              : failure_set(failure, MUSTER_ERR_CONFIG,
                            "%s is of another history of this node: it holds shard %" PRIu32 " up to sequence %" PRIu64
                            ", and the store (up to %" PRIu64 ") has another record there, or none; it was not changed; back up into a new "
                            "directory and keep this one",
                            c->b->path, c->shard, c->now.last, cut->records);
}

static int write_block(struct copy *c, const struct store_block *block, struct failure *failure)
{
  for (size_t done = 0; done < block->size;) {
    const ssize_t n = FAULT("backup.write") ? -1 : pwrite(c->fd, block->base + done, block->size - done, (off_t)(c->now.bytes + done));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return io_failure(c, "write", errno, failure);
    done += (size_t)n;
  }
  if (FAULT("backup.flip") && pwrite(c->fd, "", 1, (off_t)(c->now.bytes + block->size / 2)) != 1) /* as a bad disk does */
    return io_failure(c, "write", errno, failure);
  c->now.bytes += block->size;
  c->now.last += block->header.count;
  memcpy(c->now.head, block->header.checksum, sizeof c->now.head);
  return MUSTER_OK;
}

static int copy_block(struct copy *c, const uint8_t *bytes, size_t size, struct failure *failure)
{
  struct store_block block;
  if (!store_block_parse(&block, bytes, size, c->now.last + 1) || !store_block_intact(&block) || !store_block_columns_intact(&block) ||
      memcmp(block.header.previous, c->now.head, sizeof c->now.head) != 0)
    return failure_set(failure, MUSTER_ERR_CORRUPT,
                       "shard %" PRIu32 ": the store's block that begins with sequence %" PRIu64
                       " contradicts its checksum or the chain; the backup is whole up to there; muster verify tells more",
                       c->shard, c->now.last + 1);
  int status = c->fd < 0 ? open_segment(c, O_TRUNC, failure) : MUSTER_OK;
  if (status == MUSTER_OK)
    status = write_block(c, &block, failure);
  if (status == MUSTER_OK && is_full(c))
    status = finish_segment(c, failure);
  return status;
}

/* The slice's transaction has ended when it is written: the node's file does not grow for a slow disk. */
static int copy_slice(struct copy *c, uint64_t last, struct failure *failure)
{
  const uint8_t *bytes;
  size_t size, place = 0;
  int status = store_slice_blocks(c->r, c->now.last + 1, last, failure);
  while (status == MUSTER_OK && (bytes = store_slice_next(c->r, &place, &size)))
    status = copy_block(c, bytes, size, failure);
  if (status == MUSTER_OK && c->fd >= 0) {
    /* Little by little, or the sync at the segment's end would hold up the node's own. No fdatasync: that of a growing file makes the file
     * system commit its journal, which the node would wait for. */
    if (sync_file_range(c->fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) != 0 &&
        errno != ENOSYS && errno != EINVAL)
      return io_failure(c, "sync", errno, failure);
    posix_fadvise(c->fd, 0, (off_t)c->now.bytes, POSIX_FADV_DONTNEED);
  }
  if (status == MUSTER_OK && c->pace->progress)
    c->pace->progress(c->pace->context, c->shard, c->now.last, last);
  return status;
}

static void shard_folder(char out[LIMIT_PATH_BYTES], const struct store_backup *b, uint32_t shard)
{
  snprintf(out, LIMIT_PATH_BYTES, "%.4000s/shard-%" PRIu32, b->path, shard);
}

static int copy_refused(struct store_backup *b, uint32_t shard, struct store_reader *r, struct failure *failure)
{
  char folder[LIMIT_PATH_BYTES];
  shard_folder(folder, b, shard);
  if (mkdir(folder, 0700) != 0 && errno != EEXIST)
    return failure_set_errno(failure, failure_status(errno, MUSTER_ERR_CREATE), errno, "cannot create the directory %s", folder);
  return store_refused_write(b, shard, b->run + 1, r, failure);
}

static int copy_shard(struct copy *c, const struct store_meta *cut, struct failure *failure)
{
  char folder[LIMIT_PATH_BYTES];
  c->fd = -1;
  int status = recover(c, failure);
  if (status == MUSTER_OK)
    status = check_history(c, cut, failure);
  while (status == MUSTER_OK && c->now.last < cut->records) {
    const uint64_t before = c->now.last;
    pace_begin(c);
    status = copy_slice(c, cut->records, failure);
    pace_end(c);
    if (status == MUSTER_OK && c->now.last == before)
      status = failure_set(failure, MUSTER_ERR_CORRUPT,
                           "shard %" PRIu32 ": the store's journal ends before its last sequence; run muster verify", c->shard);
  }
  if (status == MUSTER_OK)
    status = finish_segment(c, failure);
  if (status == MUSTER_OK && memcmp(c->now.head, cut->chain, sizeof cut->chain) != 0)
    status = failure_set(failure, MUSTER_ERR_CORRUPT,
                         "shard %" PRIu32 ": the store's last block is not the one that its totals name; run muster verify", c->shard);
  if (c->fd >= 0)
    close(c->fd);
  if (status != MUSTER_OK)
    return status;
  c->b->shard[c->shard].records = c->now.last;
  memcpy(c->b->shard[c->shard].head, c->now.head, sizeof c->now.head);
  shard_folder(folder, c->b, c->shard);
  return durable_sync_folder(folder, failure);
}

/* ---- the run ---- */

/* A commit is seen by readers a moment before it is on the disk: a backup must not have what the store may lose with the power. */
static int settle(struct store_reader *r, struct failure *failure)
{
  int fd, code = mdb_env_get_fd(r->env.lmdb, &fd);
  if (!code && fdatasync(fd) != 0)
    code = errno;
  return code ? store_env_failure(failure, &r->env, code, "it cannot be synced for the backup") : MUSTER_OK;
}

/* The first thing that is written: whose backup it is, and that it is not finished. */
static int begin(struct store_backup *b, const struct store_meta *meta, uint32_t count, struct failure *failure)
{
  if (b->shards == 0) {
    b->shards = count;
    memcpy(b->node_id, meta->node_id, sizeof b->node_id);
    return store_manifest_write(b, failure);
  }
  if (b->shards == count && memcmp(b->node_id, meta->node_id, sizeof b->node_id) == 0)
    return MUSTER_OK;
  return failure_set(failure, MUSTER_ERR_CONFIG,
                     "%s is the backup of another node; nothing was changed; name a directory of this node's own", b->path);
}

int store_backup_run(struct store_backup *b, struct store_reader *const *readers, uint32_t count, const struct store_backup_pace *pace,
                     struct failure *failure)
{
  struct store_meta cut[LIMIT_SHARDS];
  char path[LIMIT_PATH_BYTES];
  const int64_t cut_us = clock_wall_us();
  int status = begin(b, &readers[0]->meta, count, failure);
  /* Refused records come before the cut: one that is replayed and dropped meanwhile is then in the journal's part. Twice is harmless. */
  for (uint32_t i = 0; i < count && status == MUSTER_OK; i++) {
    status = copy_refused(b, i, readers[i], failure);
    cut[i] = readers[i]->meta;
    if (status == MUSTER_OK)
      status = settle(readers[i], failure);
  }
  for (uint32_t i = 0; i < count && status == MUSTER_OK; i++) {
    struct copy c = {.b = b, .r = readers[i], .shard = i, .pace = pace};
    status = copy_shard(&c, &cut[i], failure);
  }
  if (status == MUSTER_OK)
    status = durable_sync_folder(b->path, failure);
  if (status != MUSTER_OK)
    return status;
  b->run++;
  b->cut_us = cut_us;
  status = FAULT("backup.seal") ? failure_set_errno(failure, MUSTER_ERR_IO, errno, "cannot write the manifest")
                                : store_manifest_write(b, failure);
  for (uint32_t i = 0; i < count && status == MUSTER_OK && b->run > 1; i++) {
    store_segment_refused_path(path, b, i, b->run - 1);
    unlink(path); /* where it stays it is in nobody's way */
  }
  return status;
}
