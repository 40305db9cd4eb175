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

/* How a version of control groups shows them: where, how /proc/self/cgroup names the one of memory, and its files. */
struct group_kind {
  const char *root, *line, *most, *used, *cached;
};
static const struct group_kind group_kinds[] = {
    {"/sys/fs/cgroup", "::/", "memory.max", "memory.current", "inactive_file"},
    {"/sys/fs/cgroup/memory", ":memory:/", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"}};

/* A line of memory.stat; 0 where it is not there. */
static uint64_t read_stat(const char *path, const char *name)
{
  char line[128];
  uint64_t number = 0;
  const size_t size = strlen(name);
  FILE *file = fopen(path, "re");
  while (file && fgets(line, sizeof line, file))
    if (strncmp(line, name, size) == 0 && line[size] == ' ' && sscanf(line + size, "%" SCNu64, &number) == 1)
      break;
  if (file)
    fclose(file);
  return number;
}

/* The group of this process in that kind, "" where it is not told. */
static void group_name(const struct group_kind *kind, char group[LIMIT_PATH_BYTES])
{
  char line[LIMIT_PATH_BYTES];
  FILE *file = fopen("/proc/self/cgroup", "re");
  group[0] = '\0';
  while (file && fgets(line, sizeof line, file)) {
    const size_t digits = strspn(line, "0123456789"), size = strlen(kind->line);
    if (strncmp(line + digits, kind->line, size) == 0)
      memcpy(group, line + digits + size - 1, strlen(line + digits + size - 1) + 1);
  }
  if (file)
    fclose(file);
  group[strcspn(group, "\n")] = '\0';
}

/* A group's bound holds for all below it, so each one on the way up is asked. */
static void group_bound(const struct group_kind *kind, struct bounds *b)
{
  char group[LIMIT_PATH_BYTES], path[LIMIT_PATH_BYTES + 64];
  group_name(kind, group);
  for (char *end = group + strlen(group);; *end = '\0') {
    uint64_t most, used;
    snprintf(path, sizeof path, "%s%s/%s", kind->root, group, kind->most);
    if (read_number(path, &most)) {
      snprintf(path, sizeof path, "%s%s/%s", kind->root, group, kind->used);
      used = read_number(path, &used) ? used : most;
      snprintf(path, sizeof path, "%s%s/memory.stat", kind->root, group);
      const uint64_t cached = read_stat(path, kind->cached); /* pages of files, which the kernel gives up first, count as used */
      used -= cached < used ? cached : used;
      const uint64_t left = used < most ? most - used : 0;
      b->most = most < b->most ? most : b->most;
      b->left = left < b->left ? left : b->left;
    }
    end = strrchr(group, '/');
    if (!end)
      return;
  }
}

static struct bounds group_bounds(void)
{
  struct bounds b = {.most = UINT64_MAX, .left = UINT64_MAX};
  for (size_t i = 0; i < sizeof group_kinds / sizeof *group_kinds; i++)
    group_bound(&group_kinds[i], &b);
  return b;
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
