/*
 * Randomness that is the same on every machine: integers alone, no state but the caller's. A hash of 64 bits (the finaliser of
 * SplitMix64: Steele, Lea, Flood 2014), the sequence made from it, and a seeded permutation of [0, size) that answers for any
 * position at once (a Feistel network over the next even number of bits, walked until it lands inside: Black, Rogaway 2002). Not
 * for keys or secrets. Generator and benchmarks.
 */
#ifndef MUSTER_BENCH_RANDOM_H
#define MUSTER_BENCH_RANDOM_H

#include <stdint.h>

#define RANDOM_STEP UINT64_C(0x9e3779b97f4a7c15)

/* A bijection of the 64-bit numbers: different inputs never give the same output. */
static inline uint64_t random_mix(uint64_t x)
{
  x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
  return x ^ x >> 31;
}

struct random {
  uint64_t state;
};
static inline struct random random_of(uint64_t key) { return (struct random){.state = random_mix(key + RANDOM_STEP)}; }
static inline uint64_t random_next(struct random *r) { return random_mix(r->state += RANDOM_STEP); }
/* Of [0, bound), bound > 0; at most one part in 2^64 / bound uneven. */
static inline uint64_t random_below(struct random *r, uint64_t bound)
{
  return (uint64_t)((unsigned __int128)random_next(r) * bound >> 64);
}

struct permutation {
  uint64_t size, key;
  uint32_t half_bits;
};
static inline struct permutation permutation_of(uint64_t size, uint64_t key)
{
  uint32_t bits = size > 1 ? 64 - (uint32_t)__builtin_clzll(size - 1) : 0;
  return (struct permutation){.size = size, .key = key, .half_bits = (bits + 1) / 2};
}
/* Where position goes; position < size. Fewer than four walks on average, as the network's range is less than four times size. */
static inline uint64_t permutation_at(const struct permutation *p, uint64_t position)
{
  const uint64_t mask = (UINT64_C(1) << p->half_bits) - 1;
  do {
    uint64_t left = position >> p->half_bits, right = position & mask;
    for (uint64_t round = 1; round <= 4; round++) {
      uint64_t next = left ^ (random_mix(p->key + round * RANDOM_STEP + right) & mask);
      left = right;
      right = next;
    }
    position = left << p->half_bits | right;
  } while (position >= p->size);
  return position;
}

#endif
