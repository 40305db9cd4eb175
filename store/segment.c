#include "store/segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/store.h"

void store_segment_path(char *out, const struct store_backup *b, uint32_t shard, uint64_t first)
{
  snprintf(out, LIMIT_PATH_BYTES, "%.4000s/shard-%" PRIu32 "/%020" PRIu64 ".blocks", b->path, shard, first);
}

void store_segment_refused_path(char *out, const struct store_backup *b, uint32_t shard, uint64_t run)
{
  snprintf(out, LIMIT_PATH_BYTES, "%.4000s/shard-%" PRIu32 "/refused-%" PRIu64, b->path, shard, run);
}

/* How much of it there is, less than size at the end of the file; -1 with errno. */
static ssize_t read_at(int fd, void *out, size_t size, uint64_t offset)
{
  size_t have = 0;
  while (have < size) {
    const ssize_t n = pread(fd, (uint8_t *)out + have, size - have, (off_t)(offset + have));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return -1;
    if (n == 0)
      break;
    have += (size_t)n;
  }
  return (ssize_t)have;
}

static int wrong(struct store_segment_walk *w, const char *what)
{
  w->wrong = what;
  return MUSTER_ERR_CORRUPT;
}

static int judge(struct store_segment_walk *w, const struct store_block *block)
{
  if (!store_block_intact(block) || !store_block_columns_intact(block))
    return wrong(w, "contradicts its checksum");
  if (block->header.shard != w->shard)
    return wrong(w, "is another shard's");
  if (memcmp(block->header.previous, w->previous, sizeof w->previous) != 0)
    return wrong(w, "does not continue the chain of the block before it");
  memcpy(w->previous, block->header.checksum, sizeof w->previous);
  w->next += block->header.count;
  w->offset += block->size;
  return 1;
}

int store_segment_next(struct store_segment_walk *w, struct store_block *block)
{
  struct store_block_header header;
  ssize_t have = read_at(w->fd, &header, sizeof header, w->offset);
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
  have = read_at(w->fd, w->memory, size, w->offset);
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
