#include "core/clock.h"

#include <stddef.h>
#include <time.h>

static const struct clock_source *scripted;

void clock_set_source(const struct clock_source *source) { scripted = source; }

int64_t clock_wall_us(void)
{
  if (scripted != NULL)
    return scripted->wall_us(scripted->context);
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

uint64_t clock_monotonic_ns(void)
{
  if (scripted != NULL)
    return scripted->monotonic_ns(scripted->context);
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
