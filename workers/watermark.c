#include "workers/watermark.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "core/clock.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/machine.h"
#include "proto/wire.pb-c.h"

static int real_disk_free(void *context, const char *path, uint64_t *free_bytes)
{
  (void)context;
  return machine_disk_free(path, free_bytes);
}

void watermark_init(struct watermark *w, const char *path, uint32_t shard, uint64_t reserve_bytes, watermark_disk_free *disk_free,
                    void *context)
{
  *w = (struct watermark){
      .path = path,
      .shard = shard,
      .reserve_bytes = reserve_bytes,
      .disk_free = disk_free ? disk_free : real_disk_free,
      .context = context,
      .free_bytes = UINT64_MAX,
  };
}

static void watermark_tell(const struct watermark *w, const struct store_facts *facts)
{
  if (w->reason == MUSTER__V1__REASON__REASON_BUSY_MEMORY)
    log_event(LOG_WARN, "worker.blocked",
              "shard=%" PRIu32 " cause=memory records=%" PRIu64 " index_records_max=%" PRIu64 " index_bytes=%" PRIu64
              " told=BUSY resumes=\"when the node is started again with a larger store.index_bytes\"",
              w->shard, facts->records, facts->index_records_max, facts->index_bytes);
  else if (w->reason)
    log_event(LOG_WARN, "worker.blocked",
              "shard=%" PRIu32 " cause=disk disk_free_bytes=%" PRIu64 " disk_reserve_bytes=%" PRIu64 " file_bytes=%" PRIu64
              " map_bytes=%" PRIu64 " told=BUSY resumes=\"when there is space\"",
              w->shard, w->free_bytes, w->reserve_bytes, facts->file_bytes, facts->map_bytes);
  else
    log_event(LOG_INFO, "worker.unblocked", "shard=%" PRIu32 " disk_free_bytes=%" PRIu64, w->shard, w->free_bytes);
}

static void ask_disk(struct watermark *w)
{
  if (w->asked_ns && clock_monotonic_ns() - w->asked_ns < WATERMARK_INTERVAL_NS)
    return;
  uint64_t free_bytes;
  int error = w->disk_free(w->context, w->path, &free_bytes);
  w->asked_ns = clock_monotonic_ns();
  if (error == 0)
    w->free_bytes = free_bytes;
  else
    log_event_gated(&w->gate, LOG_WARN, "worker.disk_unknown", "shard=%" PRIu32 " error=\"%s\" kept=\"what was known before\"", w->shard,
                    strerror(error));
}

/* ops/view.c tells when that will be. One commit may bring so many records, and what is committed must fit when the node starts again. */
static bool index_full(const struct store_facts *facts)
{
  const uint64_t most = facts->index_records_max;
  return most && (facts->records + LIMIT_COMMIT_RECORDS > most || facts->records > most / 100 * LIMIT_INDEX_PERCENT);
}

uint32_t watermark_judge(struct watermark *w, const struct store_facts *facts)
{
  ask_disk(w);
  const bool disk = w->free_bytes < w->reserve_bytes || facts->file_bytes > facts->map_bytes / 100 * LIMIT_MAP_PERCENT;
  const uint32_t reason = disk                ? MUSTER__V1__REASON__REASON_BUSY_DISK
                          : index_full(facts) ? MUSTER__V1__REASON__REASON_BUSY_MEMORY
                                              : MUSTER__V1__REASON__REASON_NONE;
  if (reason != w->reason) {
    w->reason = reason;
    watermark_tell(w, facts);
  }
  return reason;
}
