/*
 * Moves the wall clock of a process, and leaves the monotonic one alone. Preloaded; CLOCK_FILE names a file with one
 * number and one letter, read at each call: "+3600000000 r" is an hour (in microseconds) ahead and running, "1614834367000008 s" a
 * clock that stands still there. Where there is no such file, the clock is right.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* By raw calls: these functions are called from anywhere, signal handlers included. */
static int64_t moved_us(int64_t now_us)
{
  const char *path = getenv("CLOCK_FILE");
  char text[64], *end;
  const long fd = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0)
    return now_us;
  const long size = syscall(SYS_read, fd, text, sizeof text - 1);
  syscall(SYS_close, fd);
  if (size <= 0)
    return now_us;
  text[size] = '\0';
  const int64_t value = strtoll(text, &end, 10);
  return end[0] == ' ' && end[1] == 's' ? value : now_us + value;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
  const int error = errno;
  if (syscall(SYS_clock_gettime, clock, out) != 0)
    return -1;
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
    const int64_t us = moved_us((int64_t)out->tv_sec * 1000000 + out->tv_nsec / 1000);
    out->tv_sec = us / 1000000;
    out->tv_nsec = us % 1000000 * 1000;
  }
  errno = error;
  return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  out->tv_sec = now.tv_sec;
  out->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out)
{
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out)
    *out = now.tv_sec;
  return now.tv_sec;
}
