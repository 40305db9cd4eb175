#include "core/counters_page.h"

#include <string.h>

#include "core/log_linear.h"
#include "core/procstat.h"

#define SUPERVISOR COUNTER_SUPERVISOR
#define INGEST COUNTER_INGEST
#define WORKER COUNTER_WORKER

const struct counter_info counter_list[COUNTER_COUNT] = {
#define COUNTER(name, type, unit, who, sentence) {#name, COUNTER_##type, #unit, who, sentence, NULL},
#define CAUSE(total, cause, who, sentence) {#total "_" #cause, COUNTER_TOTAL, "times", who, sentence, #cause},
#include "core/counters.def"
};
const struct counter_info histogram_list[HISTOGRAM_COUNT] = {
#define HISTOGRAM(name, unit, who, sentence) {#name, COUNTER_TOTAL, #unit, who, sentence, NULL},
#include "core/counters.def"
};
const struct counter_info submitter_list[SUBMITTER_COUNT] = {
#define SUBMITTER(name, type, unit, sentence) {#name, COUNTER_##type, #unit, INGEST, sentence, NULL},
#include "core/counters.def"
};

unsigned counters_who(const char *role)
{
  if (strncmp(role, "ingest-", 7) == 0)
    return COUNTER_INGEST;
  if (strncmp(role, "worker-", 7) == 0)
    return COUNTER_WORKER;
  return strcmp(role, "run") == 0 ? COUNTER_SUPERVISOR : 0;
}

unsigned counters_shift(enum histogram_id id) { return histogram_list[id].unit[0] == 'n' ? COUNTER_TIME_SHIFT : 0; /* nanoseconds */ }

/* FNV-1a */
static void hash_names(uint64_t *hash, const struct counter_info *list, int count)
{
  for (int i = 0; i < count; i++) {
    for (const char *at = list[i].name;; at++) {
      *hash = (*hash ^ (uint8_t)*at) * UINT64_C(0x100000001b3);
      if (*at == '\0')
        break;
    }
  }
}

uint64_t counters_list_hash(void)
{
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  hash_names(&hash, counter_list, COUNTER_COUNT);
  hash_names(&hash, histogram_list, HISTOGRAM_COUNT);
  hash_names(&hash, submitter_list, SUBMITTER_COUNT);
  return hash ^ sizeof(struct counters_page);
}

#define TICKS_UNKNOWN UINT64_MAX /* there is such a process, and the system does not tell now */

uint64_t counters_start_ticks(uint32_t pid)
{
  struct procstat stat;
  switch (procstat_read(pid, &stat)) {
  case PROCSTAT_TOLD: return stat.state == 'Z' || stat.state == 'X' ? 0 : stat.start_ticks;
  case PROCSTAT_NONE: return 0;
  default: return TICKS_UNKNOWN;
  }
}

bool counters_role_valid(const char *role)
{
  const size_t size = strlen(role);
  return size > 0 && size < PAGE_ROLE_BYTES && strspn(role, "abcdefghijklmnopqrstuvwxyz0123456789-") == size;
}

bool counters_page_known(const struct counters_page *page)
{
  return page->magic == PAGE_MAGIC && page->version == PAGE_VERSION && page->list_hash == counters_list_hash() &&
         memchr(page->role, '\0', sizeof page->role) != NULL;
}

bool counters_alive(uint32_t pid, uint64_t start_ticks, bool *certain)
{
  const uint64_t ticks = counters_start_ticks(pid);
  if (certain)
    *certain = ticks != 0 && ticks == start_ticks && ticks != TICKS_UNKNOWN;
  return ticks != 0 && (ticks == start_ticks || ticks == TICKS_UNKNOWN || start_ticks == TICKS_UNKNOWN);
}

/* ---- histograms, as read ---- */

uint64_t counters_histogram_count(const struct counters_histogram *h)
{
  uint64_t count = 0;
  for (uint32_t i = 0; i < COUNTER_BUCKETS; i++)
    count += h->bucket[i];
  return count;
}

uint64_t counters_histogram_edge(enum histogram_id id, uint32_t bucket)
{
  return (log_linear_low(COUNTER_BUCKET_BITS, bucket + 1) << counters_shift(id)) - 1;
}

uint64_t counters_histogram_quantile(enum histogram_id id, const struct counters_histogram *h, double share)
{
  if (counters_histogram_count(h) == 0)
    return 0;
  return ((log_linear_quantile(COUNTER_BUCKET_BITS, h->bucket, COUNTER_BUCKETS, share) + 1) << counters_shift(id)) - 1;
}

void counters_histogram_add(struct counters_histogram *h, const struct counters_histogram *other)
{
  h->sum += other->sum;
  for (uint32_t i = 0; i < COUNTER_BUCKETS; i++)
    h->bucket[i] += other->bucket[i];
}
