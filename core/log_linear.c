#include "core/log_linear.h"

#include <math.h>

uint64_t log_linear_low(uint32_t bits, uint32_t bucket)
{
  const uint64_t steps = UINT64_C(1) << bits;
  if (bucket < 2 * steps)
    return bucket;
  return ((bucket & (steps - 1)) + steps) << ((bucket >> bits) - 1);
}

uint64_t log_linear_quantile(uint32_t bits, const uint64_t *bucket, uint32_t buckets, double share)
{
  uint64_t count = 0, seen = 0;
  for (uint32_t i = 0; i < buckets; i++)
    count += bucket[i];
  const double rank = ceil(share * (double)count);
  const uint64_t wanted = rank < 1 ? 1 : (uint64_t)rank;
  for (uint32_t i = 0; i < buckets; i++)
    if (bucket[i] > 0 && (seen += bucket[i]) >= wanted)
      return log_linear_low(bits, i + 1) - 1;
  return 0;
}
