/*
 * What the kernel tells of any process in /proc/PID/stat (proc(5)): enough to know whether it runs, is stopped or is dead, and to tell it from a later one
 * that was given its pid. Any process, of any. Owns nothing.
 */
#ifndef MUSTER_CORE_PROCSTAT_H
#define MUSTER_CORE_PROCSTAT_H

#include <stdint.h>

struct procstat {
  char state;           /* 'R', 'S', 'D', 'T', 'Z' and so on */
  uint64_t start_ticks; /* when it started, in clock ticks since boot */
};

enum procstat_told {
  PROCSTAT_TOLD,
  PROCSTAT_NONE,   /* there is no such process */
  PROCSTAT_UNKNOWN /* there is, and the system does not tell now; nor is *out told */
};
enum procstat_told procstat_read(uint32_t pid, struct procstat *out);

#endif
