/*
 * The buckets of log-linear histograms, as HdrHistogram's (G. Tene): 2^bits equal steps for each power of two, so that a value is known to
 * better than one part in 2^bits at every size, in one array. The arithmetic alone: counts and memory are the caller's (the counter pages
 * have four steps, benchmarks 1,024). Any process; no state.
 */
#ifndef MUSTER_CORE_LOG_LINEAR_H
#define MUSTER_CORE_LOG_LINEAR_H

#include <stdint.h>

/* Below 2^(bits + 1) a value is its own bucket; above, it loses so many low bits that 2^bits to 2^(bits + 1) - 1 are left. */
static inline uint32_t log_linear_bucket(uint32_t bits, uint64_t value)
{
  const uint32_t used = 64 - (uint32_t)__builtin_clzll(value | 1), cut = used > bits + 1 ? used - bits - 1 : 0;
  return (cut << bits) + (uint32_t)(value >> cut);
}

/* The smallest value of a bucket; the largest is one less than that of the next. */
uint64_t log_linear_low(uint32_t bits, uint32_t bucket);
/* The smallest value that at least this share (0 to 1) of all counted are not above, as the upper edge of its step; 0 where there are none. */
uint64_t log_linear_quantile(uint32_t bits, const uint64_t *bucket, uint32_t buckets, double share);

#endif
