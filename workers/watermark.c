#include "workers/watermark.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/statvfs.h>

#include "core/clock.h"
#include "core/log.h"

static int statvfs_free(void *context, const char *path, uint64_t *free_bytes)
{
  (void)context;
  struct statvfs facts;
  if (statvfs(path, &facts) != 0)
    return errno;
  *free_bytes = (uint64_t)facts.f_bavail * facts.f_frsize;
  return 0;
}

void watermark_init(struct watermark *w, const char *path, uint32_t shard, uint64_t reserve_bytes, watermark_disk_free *disk_free,
                    void *context)
{
  *w = (struct watermark){
      .path = path,
      .shard = shard,
      .reserve_bytes = reserve_bytes,
      .disk_free = disk_free ? disk_free : statvfs_free,
      .context = context,
      .free_bytes = UINT64_MAX,
  };
}

static void watermark_tell(const struct watermark *w, uint64_t file_bytes, uint64_t map_bytes)
{
  if (w->blocked)
    log_event(LOG_WARN, "worker.blocked",
              "shard=%" PRIu32 " disk_free_bytes=%" PRIu64 " disk_reserve_bytes=%" PRIu64 " file_bytes=%" PRIu64 " map_bytes=%" PRIu64
              " told=BUSY resumes=\"when there is space\"",
              w->shard, w->free_bytes, w->reserve_bytes, file_bytes, map_bytes);
  else
    log_event(LOG_INFO, "worker.unblocked", "shard=%" PRIu32 " disk_free_bytes=%" PRIu64, w->shard, w->free_bytes);
}

bool watermark_due(const struct watermark *w) { return w->asked_ns == 0 || clock_monotonic_ns() - w->asked_ns >= WATERMARK_INTERVAL_NS; }

bool watermark_judge(struct watermark *w, uint64_t file_bytes, uint64_t map_bytes)
{
  uint64_t free_bytes;
  int error = w->disk_free(w->context, w->path, &free_bytes);
  w->asked_ns = clock_monotonic_ns();
  if (error == 0)
    w->free_bytes = free_bytes;
  else
    log_event_gated(&w->gate, LOG_WARN, "worker.disk_unknown", "shard=%" PRIu32 " error=\"%s\" kept=\"what was known before\"", w->shard,
                    strerror(error));
  bool blocked = w->free_bytes < w->reserve_bytes || file_bytes > map_bytes / 100 * WATERMARK_MAP_PERCENT;
  if (blocked != w->blocked) {
    w->blocked = blocked;
    watermark_tell(w, file_bytes, map_bytes);
  }
  return blocked;
}
