/*
 * What the kernel tells of any process in /proc/PID/stat (proc(5)): enough to know whether it runs, is stopped or is dead, and to tell it from a later one
 * that was given its pid. Any process, of any. Beside that, what this process
 * uses itself. Owns nothing.
 */
#ifndef MUSTER_CORE_PROCSTAT_H
#define MUSTER_CORE_PROCSTAT_H

#include <stdbool.h>
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

/* What this process uses: a few system calls, so once a second is often enough. A figure that the system does not give now is 0. Kernels before 6.2 have
 * no number of descriptors, and their list has to be walked, which takes long where there are many: only where `count` says so. */
struct procstat_use {
  uint64_t cpu_ns; /* of all its threads */
  uint64_t resident_bytes;
  uint64_t descriptors;
};
void procstat_use(struct procstat_use *out, bool count);

#endif
