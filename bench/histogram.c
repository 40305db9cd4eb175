#include "bench/histogram.h"

#include <math.h>
#include <string.h>

#define STEPS (UINT64_C(1) << HISTOGRAM_STEP_BITS)

/* Below 2 * STEPS a value is its own bucket; above, it loses so many low bits that STEPS to 2 * STEPS - 1 are left. */
static uint32_t bucket_of(uint64_t value)
{
  uint32_t bits = 64 - (uint32_t)__builtin_clzll(value | 1), cut = bits > HISTOGRAM_STEP_BITS + 1 ? bits - HISTOGRAM_STEP_BITS - 1 : 0;
  return (cut << HISTOGRAM_STEP_BITS) + (uint32_t)(value >> cut);
}

uint64_t histogram_bucket_low(uint32_t bucket)
{
  if (bucket < 2 * STEPS)
    return bucket;
  uint32_t cut = (bucket >> HISTOGRAM_STEP_BITS) - 1;
  return ((bucket & (STEPS - 1)) + STEPS) << cut;
}

uint64_t histogram_bucket_high(uint32_t bucket) { return histogram_bucket_low(bucket + 1) - 1; }

void histogram_clear(struct histogram *h) { memset(h, 0, sizeof *h); }

void histogram_record(struct histogram *h, uint64_t value_ns)
{
  if (value_ns > HISTOGRAM_VALUE_MAX)
    value_ns = HISTOGRAM_VALUE_MAX;
  h->bucket[bucket_of(value_ns)]++;
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
  double rank = ceil(share * (double)h->count);
  uint64_t wanted = rank < 1 ? 1 : (uint64_t)rank, seen = 0;
  for (uint32_t i = 0; i < HISTOGRAM_BUCKETS && h->count; i++)
    if (h->bucket[i] && (seen += h->bucket[i]) >= wanted) {
      uint64_t high = histogram_bucket_high(i);
      return high < h->max ? high : h->max;
    }
  return h->max;
}

double histogram_mean(const struct histogram *h) { return h->count ? h->sum / (double)h->count : 0; }
