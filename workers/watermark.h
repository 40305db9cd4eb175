/*
 * The watermark: says whether a shard must answer BUSY because its disk or its map is nearly full, long before a write
 * would fail. Asks the file system at most every 200 ms. Logs once when it begins to block and once when it lets go.
 * Workers only; the struct is the worker's. Knows no store: the caller gives the figures of the map.
 */
#ifndef MUSTER_WORKERS_WATERMARK_H
#define MUSTER_WORKERS_WATERMARK_H

#include <stdbool.h>
#include <stdint.h>

#include "core/log.h"

#define WATERMARK_INTERVAL_NS UINT64_C(200000000)
#define WATERMARK_MAP_PERCENT 95u /* of the map in use; past it the shard blocks */

/* Free bytes of the file system that holds path, as an ordinary process may use them. 0 or an errno value. */
typedef int watermark_disk_free(void *context, const char *path, uint64_t *free_bytes);

struct watermark {
  const char *path;       /* the shard's directory, borrowed */
  uint32_t shard;         /* for the log */
  uint64_t reserve_bytes; /* blocks while less is free */
  watermark_disk_free *disk_free;
  void *context;
  uint64_t asked_ns; /* monotonic; 0: never */
  uint64_t free_bytes;
  bool blocked;
  struct log_gate gate;
};

/* disk_free may be NULL: statvfs. */
void watermark_init(struct watermark *w, const char *path, uint32_t shard, uint64_t reserve_bytes, watermark_disk_free *disk_free,
                    void *context);
/* Whether it is time to ask again. */
bool watermark_due(const struct watermark *w);
/* Asks the file system and sets blocked, which it returns. Where the file system cannot be asked, what was known of it stays. */
bool watermark_judge(struct watermark *w, uint64_t file_bytes, uint64_t map_bytes);

#endif
