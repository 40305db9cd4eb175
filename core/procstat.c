#include "core/procstat.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FIELD_STATE 3
#define FIELD_START 22

/* The line's size, 0 where the process is gone, -1 where it cannot be read. */
static ssize_t read_line(uint32_t pid, char *text, size_t size)
{
  char path[64];
  snprintf(path, sizeof path, "/proc/%" PRIu32 "/stat", pid);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return errno == ENOENT ? 0 : -1;
  const ssize_t got = read(fd, text, size - 1);
  const int error = errno;
  close(fd);
  text[got > 0 ? got : 0] = '\0';
  return got < 0 && error == ESRCH ? 0 : got;
}

enum procstat_told procstat_read(uint32_t pid, struct procstat *out)
{
  char text[1024];
  const ssize_t size = read_line(pid, text, sizeof text);
  if (size <= 0)
    return size == 0 ? PROCSTAT_NONE : PROCSTAT_UNKNOWN;
  const char *at = strrchr(text, ')'); /* the name before it may hold anything */
  if (!at || at[1] != ' ' || !at[2])
    return PROCSTAT_UNKNOWN;
  out->state = at[2];
  at++;
  for (int field = FIELD_STATE; field < FIELD_START && at; field++)
    at = strchr(at + 1, ' ');
  out->start_ticks = at ? strtoull(at, NULL, 10) : 0;
  return at ? PROCSTAT_TOLD : PROCSTAT_UNKNOWN;
}

/* ---- of this process ---- */

static uint64_t resident_bytes(void)
{
  char text[128];
  unsigned long pages = 0;
  const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return 0;
  const ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  text[size > 0 ? size : 0] = '\0';
  return sscanf(text, "%*u %lu", &pages) == 1 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static uint64_t descriptors(bool count)
{
  struct stat info;
  uint64_t entries = 0;
  if (stat("/proc/self/fd", &info) == 0 && info.st_size > 0)
    return (uint64_t)info.st_size;
  DIR *folder = count ? opendir("/proc/self/fd") : NULL;
  if (!folder)
    return 0;
  for (const struct dirent *entry = readdir(folder); entry; entry = readdir(folder))
    entries += entry->d_name[0] != '.';
  closedir(folder);
  return entries - 1; /* its own */
}

void procstat_use(struct procstat_use *out, bool count)
{
  struct timespec cpu = {0};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
  out->cpu_ns = (uint64_t)cpu.tv_sec * UINT64_C(1000000000) + (uint64_t)cpu.tv_nsec;
  out->resident_bytes = resident_bytes();
  out->descriptors = descriptors(count);
}
