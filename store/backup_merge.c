#include "store/backup_merge.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/fault.h"
#include "store/reader.h"
#include "store/segment.h"

/* ---- merging ---- */

/* The first of the segments that become one with segment `fresh`. */
static uint32_t merge_from(const struct store_backup_shard *s, uint32_t fresh, uint64_t limit)
{
  uint64_t bytes = s->segment[fresh].bytes;
  uint32_t from = fresh;
  while (from > 0 && s->segment[from - 1].bytes < limit && s->segment[from - 1].bytes < 2 * bytes)
    bytes += s->segment[--from].bytes;
  return from;
}

static int damaged(const struct store_segment_writer *w, const struct store_backup_segment *g, const struct store_segment_walk *walk,
                   struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  store_segment_path(path, w->b, w->shard, g);
  return failure_set(failure, MUSTER_ERR_CORRUPT,
                     "the backup is damaged: shard %" PRIu32 ": %s: the block that begins with sequence %" PRIu64
                     " %s; nothing that was sealed was changed; put the file back from a copy of the backup, or back up into a new "
                     "directory; muster backup --check tells whether more is damaged",
                     w->shard, store_segment_name(w->b, path), walk->next, walk->wrong ? walk->wrong : "is not the one of the manifest");
}

/* Puts the blocks of one segment behind what w has. */
static int take_over(struct store_segment_writer *w, uint32_t number, struct failure *failure)
{
  const struct store_backup_segment *g = &w->b->shard[w->shard].segment[number];
  struct store_segment_walk walk;
  struct store_block block;
  int more = 1, status = store_segment_open(&walk, w->b, w->shard, number, failure);
  if (status != MUSTER_OK)
    return status;
  while (more == 1 && status == MUSTER_OK) {
    store_segment_pace_begin(w);
    const uint64_t end = walk.offset + STORE_SLICE_BYTES;
    while (status == MUSTER_OK && walk.offset < end && (more = store_segment_next(&walk, &block)) == 1)
      status = store_segment_put(w, &block, failure);
    if (status == MUSTER_OK)
      status = store_segment_flush(w, failure);
    store_segment_pace_end(w);
  }
  if (status == MUSTER_OK && more == MUSTER_ERR_MEMORY)
    status = failure_set(failure, more, "there is no memory to read the backup's blocks");
  else if (status == MUSTER_OK && more == MUSTER_ERR_IO)
    status = failure_set_errno(failure, more, walk.error, "cannot read what was sealed of shard %" PRIu32 ", at sequence %" PRIu64,
                               w->shard, walk.next);
  else if (status == MUSTER_OK && (more < 0 || !store_segment_is_at_end(&walk, g)))
    status = damaged(w, g, &walk, failure);
  store_segment_close(&walk);
  return status;
}

int store_backup_merge(struct store_segment_writer *w, struct store_backup *b, uint32_t fresh, struct failure *failure)
{
  static const uint8_t none[16];
  struct store_backup_shard *s = &b->shard[w->shard];
  struct failure merging = FAILURE_NONE;
  char path[LIMIT_PATH_BYTES];
  const uint32_t from = fresh < s->segments ? merge_from(s, fresh, store_segment_limit(w->job)) : fresh;
  if (from == fresh)
    return MUSTER_OK;
  store_segment_begin(w, s->segment[from].first, from ? s->segment[from - 1].head : none);
  store_segment_path(path, b, w->shard, &w->now);
  int status =
      FAULT("backup.merge") ? failure_set_errno(&merging, failure_status(errno, MUSTER_ERR_IO), errno, "cannot write %s", path) : MUSTER_OK;
  for (uint32_t i = from; i <= fresh && status == MUSTER_OK; i++)
    status = take_over(w, i, &merging);
  if (status == MUSTER_OK)
    status = store_segment_end(w, &merging);
  store_segment_abandon(w);
  if (status == MUSTER_ERR_FULL) {
    unlink(path);
    return MUSTER_OK;
  }
  if (status != MUSTER_OK)
    return failure_set(failure, status, "%s", merging.text);
  s->segment[from] = w->now;
  memmove(&s->segment[from + 1], &s->segment[fresh + 1], (s->segments - fresh - 1) * sizeof *s->segment);
  s->segments -= fresh - from;
  return MUSTER_OK;
}

/* ---- sweeping ---- */

static bool names_segment(const struct store_backup_shard *s, uint64_t first, uint64_t run)
{
  uint32_t low = 0, high = s->segments;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (s->segment[middle].first < first)
      low = middle + 1;
    else
      high = middle;
  }
  return low < s->segments && s->segment[low].first == first && s->segment[low].run == run;
}

/* Whether it is a file of a run, by its whole name, and of none that the manifest names. What people have put there stays. */
static bool is_old(const struct store_backup *b, uint32_t shard, const char *name)
{
  char own[LIMIT_PATH_BYTES];
  struct store_backup_segment g = {0};
  uint64_t run;
  if (sscanf(name, "%20" SCNu64 "-%" SCNu64 ".blocks", &g.first, &g.run) == 2) {
    store_segment_path(own, b, shard, &g);
    return strcmp(strrchr(own, '/') + 1, name) == 0 && !names_segment(&b->shard[shard], g.first, g.run);
  }
  if (sscanf(name, "refused-%" SCNu64, &run) != 1)
    return false;
  store_segment_refused_path(own, b, shard, run);
  return strcmp(strrchr(own, '/') + 1, name) == 0 && run != b->run;
}

void store_backup_sweep(const struct store_backup *b)
{
  char path[LIMIT_PATH_BYTES];
  for (uint32_t i = 0; i < b->shards; i++) {
    snprintf(path, sizeof path, "%.4000s/shard-%" PRIu32, b->path, i);
    DIR *folder = opendir(path);
    for (const struct dirent *e; folder && (e = readdir(folder));)
      if (is_old(b, i, e->d_name)) {
        (void)FAULT("backup.sweep");
        unlinkat(dirfd(folder), e->d_name, 0);
      }
    if (folder)
      closedir(folder);
  }
}
