/*
 * A run of a backup: whether it may go on is asked first, and nothing is touched until then; what a killed run has left is kept as far as it
 * is whole; then block after block up to the cut, then the manifest.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/durable.h"
#include "core/fault.h"
#include "core/file.h"
#include "store/backup.h"
#include "store/backup_merge.h"
#include "store/journal.h"
#include "store/manifest.h"
#include "store/reader.h"
#include "store/refused.h"
#include "store/segment.h"
#include "store/segment_write.h"

struct copy {
  struct store_backup *b;
  struct store_reader *r;
  struct store_segment_writer w;
};

/* ---- whether it may go on ---- */

/* The node has what the backup has up to a sequence: the same block, at the same place. */
static int check_history(const struct store_backup *b, uint32_t shard, struct store_reader *r, uint64_t last, const uint8_t head[16],
                         struct failure *failure)
{
  struct store_block block;
  bool same = last <= r->meta.records;
  if (same && last) {
    int status = store_slice_blocks(r, last, last, failure);
    if (status)
      return status;
    size_t place = 0, size;
    const uint8_t *bytes = store_slice_next(r, &place, &size);
    same = bytes && store_block_parse(&block, bytes, size, load_u64(bytes + offsetof(struct store_block_header, first))) &&
           block.header.first + block.header.count - 1 == last && memcmp(block.header.checksum, head, 16) == 0;
  }
  return same ? MUSTER_OK
              : failure_set(failure, MUSTER_ERR_CONFIG,
                            "%s is of another history of this node: it holds shard %" PRIu32 " up to sequence %" PRIu64
                            ", and the store (up to %" PRIu64 ") has another record there, or none; it was not changed; back up into a new "
                            "directory and keep this one",
                            b->path, shard, last, r->meta.records);
}

/* The first thing that is written: whose backup it is, and that it is not finished. */
static int begin(struct store_backup *b, struct store_reader *const *readers, uint32_t count, struct failure *failure)
{
  const struct store_meta *meta = &readers[0]->meta;
  struct failure copy = FAILURE_NONE;
  if (b->shards == 0) {
    b->shards = count;
    memcpy(b->node_id, meta->node_id, sizeof b->node_id);
    const int status = store_manifest_write(b, &copy, failure);
    return status == MUSTER_OK && copy.status ? failure_set(failure, copy.status, "%s", copy.text) : status;
  }
  if (b->shards != count || memcmp(b->node_id, meta->node_id, sizeof b->node_id) != 0)
    return failure_set(failure, MUSTER_ERR_CONFIG,
                       "%s is the backup of another node; nothing was changed; name a directory of this node's own", b->path);
  int status = MUSTER_OK;
  for (uint32_t i = 0; i < count && status == MUSTER_OK; i++) {
    const struct store_backup_shard *s = &b->shard[i];
    status = store_segment_look(b, i, failure);
    if (status == MUSTER_OK)
      status = check_history(b, i, readers[i], s->records, s->head, failure);
  }
  return status;
}

/* ---- what a killed run has left ---- */

/* How far a file is whole behind what is known so far. MUSTER_ERR_NOT_FOUND: there is none. */
static int survey_file(struct copy *c, struct store_segment_walk *walk, struct store_backup_segment *whole, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  struct store_block block;
  struct failure opened = FAILURE_NONE;
  *whole = (struct store_backup_segment){.first = walk->next, .run = c->b->run + 1};
  store_segment_path(path, c->b, c->w.shard, whole);
  walk->offset = 0;
  walk->fd = file_open(FILE_OF_NODE, "what a former run has left", path, UINT64_MAX, &opened);
  if (walk->fd < 0)
    return opened.status == MUSTER_ERR_NOT_FOUND ? opened.status : failure_set(failure, opened.status, "%s", opened.text);
  int more = 1;
  while (more == 1) {
    store_segment_pace_begin(&c->w);
    const uint64_t end = walk->offset + STORE_SLICE_BYTES;
    while (walk->offset < end && (more = store_segment_next(walk, &block)) == 1)
      ;
    store_segment_pace_end(&c->w);
  }
  close(walk->fd);
  if (more == MUSTER_ERR_MEMORY)
    return failure_set(failure, more, "there is no memory to read the backup's blocks");
  if (more == MUSTER_ERR_IO)
    return failure_set_errno(failure, more, walk->error, "cannot read %s", path);
  whole->last = walk->next - 1;
  whole->bytes = walk->offset;
  memcpy(whole->head, walk->previous, sizeof whole->head);
  return MUSTER_OK;
}

/* All of it, in order, into left; nothing is changed. Only the last one is not full. */
static int survey(struct copy *c, struct store_backup_shard *left, struct failure *failure)
{
  const struct store_backup_shard *s = &c->b->shard[c->w.shard];
  struct store_segment_walk walk = {.shard = c->w.shard, .next = s->records + 1};
  struct store_backup_segment whole = {.bytes = store_segment_limit(c->w.job)};
  int status = MUSTER_OK;
  memcpy(walk.previous, s->head, sizeof walk.previous);
  while (status == MUSTER_OK && whole.bytes >= store_segment_limit(c->w.job)) {
    status = survey_file(c, &walk, &whole, failure);
    if (status == MUSTER_OK && store_manifest_add(left, &whole) != MUSTER_OK)
      status = failure_set(failure, MUSTER_ERR_MEMORY, "there is no memory for the manifest");
  }
  store_segment_finish(&walk);
  return status == MUSTER_ERR_NOT_FOUND ? MUSTER_OK : status;
}

static int end_segment(struct copy *c, struct failure *failure)
{
  const bool begun = c->w.fd >= 0;
  int status = store_segment_end(&c->w, failure);
  if (status == MUSTER_OK && begun && c->w.now.bytes && store_manifest_add(&c->b->shard[c->w.shard], &c->w.now))
    status = failure_set(failure, MUSTER_ERR_MEMORY, "there is no memory for the manifest");
  if (status == MUSTER_OK)
    store_segment_begin(&c->w, c->w.now.last + 1, c->w.now.head);
  return status;
}

/* Whole segments are kept, the last one is cut back to its last whole block and gone on with. All of that only if the store has it, too. */
static int recover(struct copy *c, struct failure *failure)
{
  struct store_backup_shard left = {0};
  const struct store_backup_shard *s = &c->b->shard[c->w.shard];
  int status = survey(c, &left, failure);
  store_segment_begin(&c->w, s->records + 1, s->head);
  if (status == MUSTER_OK && left.segments) {
    const struct store_backup_segment *end = &left.segment[left.segments - 1];
    status = check_history(c->b, c->w.shard, c->r, end->last, end->head, failure);
  }
  for (uint32_t i = 0; i < left.segments && status == MUSTER_OK; i++) {
    status = store_segment_resume(&c->w, &left.segment[i], failure);
    if (status == MUSTER_OK && store_segment_is_full(&c->w))
      status = end_segment(c, failure);
  }
  free(left.segment);
  return status;
}

/* ---- the store's blocks ---- */

static int copy_block(struct copy *c, const uint8_t *bytes, size_t size, struct failure *failure)
{
  struct store_block block;
  const struct store_backup_segment *now = &c->w.now;
  if (!store_block_parse(&block, bytes, size, now->last + 1) || !store_block_intact(&block) || !store_block_columns_intact(&block) ||
      memcmp(block.header.previous, now->head, sizeof now->head) != 0)
    return failure_set(failure, MUSTER_ERR_CORRUPT,
                       "shard %" PRIu32 ": the store's block that begins with sequence %" PRIu64
                       " contradicts its checksum or the chain; the backup is whole up to there; muster verify tells more",
                       c->w.shard, now->last + 1);
  const int status = store_segment_put(&c->w, &block, failure);
  return status == MUSTER_OK && store_segment_is_full(&c->w) ? end_segment(c, failure) : status;
}

/* The slice's transaction has ended when it is written: the node's file does not grow for a slow disk. */
static int copy_slice(struct copy *c, uint64_t last, struct failure *failure)
{
  const struct store_backup_job *job = c->w.job;
  const uint8_t *bytes;
  size_t size, place = 0;
  int status = store_slice_blocks(c->r, c->w.now.last + 1, last, failure);
  while (status == MUSTER_OK && (bytes = store_slice_next(c->r, &place, &size)))
    status = copy_block(c, bytes, size, failure);
  if (status == MUSTER_OK)
    status = store_segment_flush(&c->w, failure);
  if (status == MUSTER_OK && job->progress)
    job->progress(job->context, c->w.shard, c->w.now.last, last);
  return status;
}

static int copy_up_to(struct copy *c, const struct store_meta *cut, struct failure *failure)
{
  int status = MUSTER_OK;
  while (status == MUSTER_OK && c->w.now.last < cut->records) {
    const uint64_t before = c->w.now.last;
    store_segment_pace_begin(&c->w);
    status = copy_slice(c, cut->records, failure);
    store_segment_pace_end(&c->w);
    if (status == MUSTER_OK && c->w.now.last == before)
      status = failure_set(failure, MUSTER_ERR_CORRUPT,
                           "shard %" PRIu32 ": the store's journal ends before its last sequence; run muster verify", c->w.shard);
  }
  if (status == MUSTER_OK)
    status = end_segment(c, failure);
  if (status == MUSTER_OK && memcmp(c->w.now.head, cut->chain, sizeof cut->chain) != 0)
    status = failure_set(failure, MUSTER_ERR_CORRUPT,
                         "shard %" PRIu32 ": the store's last block is not the one that its totals name; run muster verify", c->w.shard);
  return status;
}

static void shard_folder(char out[LIMIT_PATH_BYTES], const struct store_backup *b, uint32_t shard)
{
  snprintf(out, LIMIT_PATH_BYTES, "%.4000s/shard-%" PRIu32, b->path, shard);
}

static int copy_shard(struct copy *c, const struct store_meta *cut, struct failure *failure)
{
  char folder[LIMIT_PATH_BYTES];
  struct store_backup_shard *s = &c->b->shard[c->w.shard];
  const uint32_t sealed = s->segments;
  int status = recover(c, failure);
  if (status == MUSTER_OK)
    status = copy_up_to(c, cut, failure);
  const struct store_backup_segment end = c->w.now;
  if (status == MUSTER_OK)
    status = store_backup_merge(&c->w, c->b, sealed, failure);
  store_segment_abandon(&c->w);
  if (status != MUSTER_OK)
    return status;
  s->records = end.last;
  memcpy(s->head, end.head, sizeof s->head);
  shard_folder(folder, c->b, c->w.shard);
  return durable_sync_folder(folder, failure);
}

/* ---- the run ---- */

static int copy_refused(struct store_backup *b, uint32_t shard, struct store_reader *r, const struct store_backup_job *job,
                        struct failure *failure)
{
  char folder[LIMIT_PATH_BYTES];
  shard_folder(folder, b, shard);
  if (mkdir(folder, 0700) != 0 && errno != EEXIST)
    return failure_set_errno(failure, failure_status(errno, MUSTER_ERR_CREATE), errno, "cannot create the directory %s", folder);
  return store_refused_write(b, shard, r, job, failure);
}

/* A commit is seen by readers a moment before it is on the disk: a backup must not have what the store may lose with the power. */
static int settle(struct store_reader *r, struct failure *failure)
{
  int fd, code = mdb_env_get_fd(r->env.lmdb, &fd);
  if (!code && fdatasync(fd) != 0)
    code = errno;
  return code ? store_env_failure(failure, &r->env, code, "it cannot be synced for the backup") : MUSTER_OK;
}

static void tell_of_copy(const struct store_backup *b, const struct store_backup_job *job, const struct failure *copy)
{
  char sentence[sizeof copy->text + 160];
  snprintf(sentence, sizeof sentence,
           "%s; the backup is whole and sealed (run %" PRIu64 "); the next run writes that second manifest again", copy->text, b->run);
  job->left_out(job->context, sentence);
}

/* What the manifest names is the backup as soon as it is durable, whatever becomes of its copy. */
static int seal(struct store_backup *b, int64_t cut_us, const struct store_backup_job *job, struct failure *failure)
{
  struct failure copy = FAILURE_NONE;
  int status = durable_sync_folder(b->path, failure);
  if (status != MUSTER_OK)
    return status;
  b->run++;
  b->cut_us = cut_us;
  status = FAULT("backup.seal") ? failure_set_errno(failure, MUSTER_ERR_IO, errno, "cannot write the manifest")
                                : store_manifest_write(b, &copy, failure);
  if (status == MUSTER_OK)
    store_backup_sweep(b);
  if (status == MUSTER_OK && copy.status)
    tell_of_copy(b, job, &copy);
  return status;
}

int store_backup_run(struct store_backup *b, struct store_reader *const *readers, uint32_t count, const struct store_backup_job *job,
                     struct failure *failure)
{
  struct store_meta cut[LIMIT_SHARDS];
  const int64_t cut_us = clock_wall_us();
  int status = begin(b, readers, count, failure);
  /* Refused records come before the cut: one that is replayed and dropped meanwhile is then in the journal's part. Twice is harmless. */
  for (uint32_t i = 0; i < count && status == MUSTER_OK; i++) {
    status = copy_refused(b, i, readers[i], job, failure);
    cut[i] = readers[i]->meta;
    if (status == MUSTER_OK)
      status = settle(readers[i], failure);
  }
  for (uint32_t i = 0; i < count && status == MUSTER_OK; i++) {
    struct copy c = {.b = b, .r = readers[i], .w = {.b = b, .job = job, .shard = i, .fd = -1}};
    status = copy_shard(&c, &cut[i], failure);
  }
  return status == MUSTER_OK ? seal(b, cut_us, job, failure) : status;
}
