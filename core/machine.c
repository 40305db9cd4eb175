#include "core/machine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/limits.h"

int machine_disk_free(const char *path, uint64_t *free_bytes)
{
  struct statvfs facts;
  if (statvfs(path, &facts) != 0)
    return errno;
  *free_bytes = (uint64_t)facts.f_bavail * facts.f_frsize;
  return 0;
}

/* ---- memory ---- */

static bool read_number(const char *path, uint64_t *number)
{
  FILE *file = fopen(path, "re");
  bool read = file && fscanf(file, "%" SCNu64, number) == 1; /* "max" is no number: no bound */
  if (file)
    fclose(file);
  return read;
}

struct bounds {
  uint64_t most, left; /* the least of all groups above this process */
};

/* A group's bound holds for all below it, so each one on the way up is asked. */
static struct bounds group_bounds(void)
{
  struct bounds b = {.most = UINT64_MAX, .left = UINT64_MAX};
  char line[LIMIT_PATH_BYTES], group[LIMIT_PATH_BYTES] = "", path[LIMIT_PATH_BYTES + 64];
  FILE *file = fopen("/proc/self/cgroup", "re");
  while (file && fgets(line, sizeof line, file))
    if (strncmp(line, "0::/", 4) == 0)
      memcpy(group, line + 3, strcspn(line + 3, "\n") + 1);
  if (file)
    fclose(file);
  group[strcspn(group, "\n")] = '\0';
  for (char *end = group + strlen(group);; *end = '\0') {
    uint64_t most, used;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
    if (read_number(path, &most)) {
      snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.current", group);
      const uint64_t left = read_number(path, &used) && used < most ? most - used : 0;
      b.most = most < b.most ? most : b.most;
      b.left = left < b.left ? left : b.left;
    }
    end = strrchr(group, '/');
    if (!end)
      return b;
  }
}

uint64_t machine_memory_bytes(void)
{
  const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
  const uint64_t physical = pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : 0;
  const uint64_t most = group_bounds().most;
  return physical < most ? physical : most;
}

uint64_t machine_memory_available_bytes(void)
{
  char line[256];
  uint64_t kib = UINT64_MAX / LIMIT_KIB;
  FILE *file = fopen("/proc/meminfo", "re");
  while (file && fgets(line, sizeof line, file) && sscanf(line, "MemAvailable: %" SCNu64, &kib) != 1)
    ;
  if (file)
    fclose(file);
  const uint64_t left = group_bounds().left;
  return kib * LIMIT_KIB < left ? kib * LIMIT_KIB : left;
}
