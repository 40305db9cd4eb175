/*
 * The watermark: says whether a shard must answer BUSY because its disk, its map or the memory of its index is nearly used
 * up, long before a write would fail. Asks the file system at most every 200 ms. Logs once when it begins to block, with
 * what to do, and once when it lets go. Workers only; the struct is the worker's. Asks no store: the caller gives its
 * facts.
 */
#ifndef MUSTER_WORKERS_WATERMARK_H
#define MUSTER_WORKERS_WATERMARK_H

#include <stdint.h>

#include "core/log.h"
#include "store/read.h"

#define WATERMARK_INTERVAL_NS UINT64_C(200000000)

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
  uint32_t reason; /* Reason for which the shard says BUSY now, 0: none */
  struct log_gate gate;
};

/* disk_free may be NULL: the file system is asked. */
void watermark_init(struct watermark *w, const char *path, uint32_t shard, uint64_t reserve_bytes, watermark_disk_free *disk_free,
                    void *context);
/* Sets reason and returns it. Cheap: to be called before each group. Where the file system cannot be asked, what was known of it stays. */
uint32_t watermark_judge(struct watermark *w, const struct store_facts *facts);

#endif
