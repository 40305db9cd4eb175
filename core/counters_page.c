#include "core/counters_page.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%" PRIu32 "/stat", pid);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return errno == ENOENT ? 0 : TICKS_UNKNOWN;
  const ssize_t size = read(fd, text, sizeof text - 1);
  const int error = errno;
  close(fd);
  if (size <= 0)
    return size == 0 || error == ESRCH ? 0 : TICKS_UNKNOWN;
  text[size] = '\0';
  const char *at = strrchr(text, ')'); /* the name before it may hold anything */
  if (at == NULL || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X')
    return 0;
  at++;
  for (int field = 3; field < 22; field++) {
    at = strchr(at + 1, ' ');
    if (at == NULL)
      return 0;
  }
  return strtoull(at, NULL, 10);
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

bool counters_alive(uint32_t pid, uint64_t start_ticks)
{
  const uint64_t ticks = counters_start_ticks(pid);
  return ticks != 0 && (ticks == start_ticks || ticks == TICKS_UNKNOWN || start_ticks == TICKS_UNKNOWN);
}
