#include "store/segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "store/store.h"

void store_segment_path(char *out, const struct store_backup *b, uint32_t shard, const struct store_backup_segment *segment)
{
  snprintf(out, LIMIT_PATH_BYTES, "%.4000s/shard-%" PRIu32 "/%020" PRIu64 "-%" PRIu64 ".blocks", b->path, shard, segment->first,
           segment->run);
}

void store_segment_refused_path(char *out, const struct store_backup *b, uint32_t shard, uint64_t run)
{
  snprintf(out, LIMIT_PATH_BYTES, "%.4000s/shard-%" PRIu32 "/refused-%" PRIu64, b->path, shard, run);
}

const char *store_segment_name(const struct store_backup *b, const char *path) { return path + strlen(b->path) + 1; }

/* ---- the walk ---- */

int store_segment_open(struct store_segment_walk *w, const struct store_backup *b, uint32_t shard, uint32_t number, struct failure *failure)
{
  const struct store_backup_segment *g = &b->shard[shard].segment[number];
  char path[LIMIT_PATH_BYTES];
  store_segment_path(path, b, shard, g);
  *w = (struct store_segment_walk){.shard = shard, .next = g->first};
  if (number)
    memcpy(w->previous, g[-1].head, sizeof w->previous);
  w->fd = file_open(FILE_OF_NODE, "the segment", path, UINT64_MAX, failure);
  return w->fd < 0 ? failure->status : MUSTER_OK;
}

bool store_segment_is_at_end(const struct store_segment_walk *w, const struct store_backup_segment *segment)
{
  return w->next - 1 == segment->last && w->offset == segment->bytes && memcmp(w->previous, segment->head, sizeof w->previous) == 0;
}

static int wrong(struct store_segment_walk *w, const char *what)
{
  w->wrong = what;
  return MUSTER_ERR_CORRUPT;
}

/* Receipts for as many records as there are: too few would look like the end of what was asked for. */
static bool has_receipts(const struct store_block *block)
{
  uint64_t records = 0;
  struct store_block_run run;
  for (uint32_t i = 0; i < block->header.runs; i++) {
    memcpy(&run, block->runs + (size_t)i * sizeof run, sizeof run);
    records += run.count;
  }
  return records == block->header.count;
}

static int judge(struct store_segment_walk *w, const struct store_block *block)
{
  if (!store_block_intact(block) || !store_block_columns_intact(block))
    return wrong(w, "contradicts its checksum");
  if (block->header.shard != w->shard)
    return wrong(w, "is another shard's");
  if (memcmp(block->header.previous, w->previous, sizeof w->previous) != 0)
    return wrong(w, "does not continue the chain of the block before it");
  if (!has_receipts(block))
    return wrong(w, "has receipts for another number of records");
  memcpy(w->previous, block->header.checksum, sizeof w->previous);
  w->next += block->header.count;
  w->offset += block->size;
  return 1;
}

int store_segment_next(struct store_segment_walk *w, struct store_block *block)
{
  struct store_block_header header;
  ssize_t have = file_read_at(w->fd, &header, sizeof header, w->offset);
  w->error = have < 0 ? errno : 0;
  if (have <= 0)
    return have < 0 ? MUSTER_ERR_IO : 0;
  if ((size_t)have < sizeof header)
    return wrong(w, "is cut off");
  const size_t size = store_block_size(&header);
  if (!size || header.first != w->next)
    return wrong(w, "is not there: other bytes are in its place");
  if (size > w->room) {
    uint8_t *larger = realloc(w->memory, size);
    if (!larger)
      return MUSTER_ERR_MEMORY;
    w->memory = larger;
    w->room = size;
  }
  have = file_read_at(w->fd, w->memory, size, w->offset);
  w->error = have < 0 ? errno : 0;
  if (have < 0)
    return MUSTER_ERR_IO;
  if ((size_t)have < size)
    return wrong(w, "is cut off");
  if (!store_block_parse(block, w->memory, size, w->next))
    return wrong(w, "has a damaged header");
  return judge(w, block);
}

void store_segment_finish(struct store_segment_walk *w)
{
  free(w->memory);
  w->memory = NULL;
  w->room = 0;
}

void store_segment_close(struct store_segment_walk *w)
{
  store_segment_finish(w);
  close(w->fd);
}

/* ---- from outside ---- */

bool store_segment_is_gone(const char *path, int error)
{
  struct stat st;
  if (lstat(path, &st) != 0)
    return errno == ENOENT || errno == ENOTDIR;
  return !S_ISREG(st.st_mode) || error == EIO;
}

int store_segment_look(const struct store_backup *b, uint32_t shard, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES], what[96];
  const struct store_backup_shard *s = &b->shard[shard];
  for (uint32_t i = 0; i < s->segments; i++) {
    const struct store_backup_segment *g = &s->segment[i];
    struct stat st;
    store_segment_path(path, b, shard, g);
    const bool there = lstat(path, &st) == 0;
    if (!there && errno != ENOENT)
      return failure_set_errno(failure, failure_status(errno, MUSTER_ERR_IO), errno, "cannot look at %s", path);
    if (there && S_ISREG(st.st_mode) && (uint64_t)st.st_size == g->bytes)
      continue;
    if (there && S_ISREG(st.st_mode))
      snprintf(what, sizeof what, "has %" PRIu64 " bytes where the manifest says %" PRIu64, (uint64_t)st.st_size, g->bytes);
    else
      snprintf(what, sizeof what, "%s", there ? "is not a regular file" : "is missing");
    return failure_set(
        failure, MUSTER_ERR_CORRUPT,
        "the backup is damaged: shard %" PRIu32 ": %s %s (sequences %" PRIu64 " to %" PRIu64
        "); nothing was changed and nothing was backed up; put the file back from a copy of the backup, or back up into a new "
        "directory; muster backup --check tells whether more is damaged",
        shard, store_segment_name(b, path), what, g->first, g->last);
  }
  return MUSTER_OK;
}

uint32_t store_segment_wanted(const struct store_block *block, const struct store_backup_until *until)
{
  struct store_block_receipts receipts;
  uint32_t submitter, i = 0;
  int64_t received_us;
  store_block_receipts(&receipts, block);
  while (i < block->header.count && block->header.first + i <= until->records &&
         store_block_receipt_next(&receipts, &submitter, &received_us) && received_us <= until->received_us)
    i++;
  return i;
}
