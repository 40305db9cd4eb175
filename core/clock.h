/*
 * Time. The wall clock is for stamps alone; everything that waits or measures uses the monotonic clock. Tests script both
 * through clock_set_source. Any process; no state but the source.
 */
#ifndef MUSTER_CORE_CLOCK_H
#define MUSTER_CORE_CLOCK_H

#include <stdint.h>

int64_t clock_wall_us(void);       /* microseconds since 1970-01-01T00:00:00Z, UTC */
uint64_t clock_monotonic_ns(void); /* nanoseconds since some fixed moment of this boot */

struct clock_source {
  int64_t (*wall_us)(void *context);
  uint64_t (*monotonic_ns)(void *context);
  void *context;
};
/* Replaces both clocks for this process (tests only); NULL gives the real ones back. The struct must outlive its use. */
void clock_set_source(const struct clock_source *source);

#endif
