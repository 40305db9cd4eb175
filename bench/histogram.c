#include "bench/histogram.h"

#include <string.h>

#include "core/log_linear.h"

uint64_t histogram_bucket_low(uint32_t bucket) { return log_linear_low(HISTOGRAM_STEP_BITS, bucket); }

uint64_t histogram_bucket_high(uint32_t bucket) { return histogram_bucket_low(bucket + 1) - 1; }

void histogram_clear(struct histogram *h) { memset(h, 0, sizeof *h); }

void histogram_record(struct histogram *h, uint64_t value_ns)
{
  if (value_ns > HISTOGRAM_VALUE_MAX)
    value_ns = HISTOGRAM_VALUE_MAX;
  h->bucket[log_linear_bucket(HISTOGRAM_STEP_BITS, value_ns)]++;
  h->count++;
  h->sum += (double)value_ns;
  if (value_ns > h->max)
    h->max = value_ns;
}

void histogram_add(struct histogram *h, const struct histogram *other)
{
  for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
    h->bucket[i] += other->bucket[i];
  h->count += other->count;
  h->sum += other->sum;
  if (other->max > h->max)
    h->max = other->max;
}

uint64_t histogram_quantile(const struct histogram *h, double share)
{
  const uint64_t high = log_linear_quantile(HISTOGRAM_STEP_BITS, h->bucket, HISTOGRAM_BUCKETS, share);
  return high < h->max ? high : h->max;
}

double histogram_mean(const struct histogram *h) { return h->count ? h->sum / (double)h->count : 0; }
