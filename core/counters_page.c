#include "core/counters_page.h"

#include <string.h>

#include "core/procstat.h"

const struct counter_info counter_list[COUNTER_COUNT] = {
#define COUNTER(name, type, unit, sentence) {#name, COUNTER_##type, #unit, sentence},
#include "core/counters.def"
#undef COUNTER
};

uint64_t counters_list_hash(void)
{
  uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
  for (int i = 0; i < COUNTER_COUNT; i++) {
    for (const char *at = counter_list[i].name;; at++) {
      hash = (hash ^ (uint8_t)*at) * UINT64_C(0x100000001b3);
      if (*at == '\0')
        break;
    }
  }
  return hash ^ COUNTER_REASONS;
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
