/*
 * A log-linear histogram of times, as HdrHistogram's (G. Tene): 1,024 equal steps for each power of two, so that a value is known to
 * better than one part in 1,000 from 1 ns to 2 hours (core/log_linear.h has the arithmetic); counts are exact, and two histograms add up to that of all their values. On the
 * caller's memory (about 280 KiB; zeroed is empty). Benchmarks, one thread.
 */
#ifndef MUSTER_BENCH_HISTOGRAM_H
#define MUSTER_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEP_BITS 10u
#define HISTOGRAM_VALUE_BITS 43u
#define HISTOGRAM_BUCKETS ((HISTOGRAM_VALUE_BITS - HISTOGRAM_STEP_BITS + 1u) << HISTOGRAM_STEP_BITS)
#define HISTOGRAM_VALUE_MAX ((UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1) /* larger ones are counted as this */

struct histogram {
  uint64_t count;
  uint64_t max; /* exact, unless it was cut */
  double sum;
  uint64_t bucket[HISTOGRAM_BUCKETS];
};

void histogram_clear(struct histogram *h);
void histogram_record(struct histogram *h, uint64_t value_ns);
void histogram_add(struct histogram *h, const struct histogram *other);
/* The smallest value that at least this share (0 to 1) of all are not above, as the upper edge of its step; 0 where there are none. */
uint64_t histogram_quantile(const struct histogram *h, double share);
double histogram_mean(const struct histogram *h);

/* The values of a bucket: from low to high, both included. */
uint64_t histogram_bucket_low(uint32_t bucket);
uint64_t histogram_bucket_high(uint32_t bucket);

#endif
