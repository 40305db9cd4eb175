#include "core/procstat.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
