/* The index in memory. It holds fingerprints alone, so numbers from a seed stand in for hashes of ids. Places are fetched ahead in runs of
 * 64, as the worker does. */
#include "bench/micro/micro.h"

#include <stdlib.h>

#include "bench/random.h"
#include "muster/status.h"
#include "store/index.h"

#define STORED 200000u /* entries that are looked among */
#define RUN 64u
#define LOOKUPS 20000u
#define INSERTS_MAX 1000000u

static struct store_index index_;
static uint64_t *fingerprints; /* of the round */
static uint32_t fingerprint_count, stored;

/* The entries before the round: the sequence of fingerprint n is n + 1. */
static bool fill(uint32_t entries)
{
  struct random r = random_of(1);
  store_index_finish(&index_);
  for (stored = 0; stored < entries; stored++)
    if (store_index_insert(&index_, random_next(&r), stored + 1) != MUSTER_OK)
      return micro_complain("there is no memory for an index of %u entries", entries);
  return true;
}

/* What the round asks for: the entries of the index in another order, or others. */
static bool choose(uint32_t count, bool held)
{
  struct random r = random_of(held ? 1 : 2);
  uint64_t *all = calloc(STORED, sizeof *all);
  fingerprints = calloc(count, sizeof *fingerprints);
  fingerprint_count = count;
  if (!all || !fingerprints) {
    free(all);
    return micro_complain("there is no memory for %u fingerprints", count);
  }
  if (held) {
    const struct permutation order = permutation_of(STORED, 3);
    for (uint32_t i = 0; i < STORED; i++)
      all[i] = random_next(&r);
    for (uint32_t i = 0; i < count; i++)
      fingerprints[i] = all[permutation_at(&order, i % STORED)];
  } else {
    for (uint32_t i = 0; i < count; i++)
      fingerprints[i] = random_next(&r);
  }
  free(all);
  return true;
}

static bool open_hit(uint32_t count) { return fill(STORED) && choose(count, true); }
static bool open_miss(uint32_t count) { return fill(STORED) && choose(count, false); }
static void prepare_insert(void) { (void)fill(STORED); /* without memory the round comes to less than it should */ }
static bool open_insert(uint32_t count) { return choose(count, false); }

static void close_index(void)
{
  store_index_finish(&index_);
  free(fingerprints);
  fingerprints = NULL;
}

static uint32_t run_end(uint32_t begin)
{
  const uint32_t end = begin + RUN < fingerprint_count ? begin + RUN : fingerprint_count;
  for (uint32_t i = begin; i < end; i++)
    store_index_prefetch(&index_, fingerprints[i]);
  return end;
}

static uint32_t found_count(void)
{
  uint32_t found = 0;
  for (uint32_t i = 0; i < fingerprint_count;)
    for (uint32_t end = run_end(i); i < end; i++) {
      struct store_index_probe probe = store_index_probe(&index_, fingerprints[i]);
      found += store_index_next(&probe) != 0;
    }
  return found;
}

static uint32_t run_hit(void) { return found_count(); }
static uint32_t run_miss(void) { return fingerprint_count - found_count(); }

static uint32_t run_insert(void)
{
  uint32_t done = 0;
  for (uint32_t i = 0; i < fingerprint_count;)
    for (uint32_t end = run_end(i); i < end; i++)
      done += store_index_insert(&index_, fingerprints[i], stored + i + 1) == MUSTER_OK;
  return done;
}

/* So many that each table grows within the round, about once: growth is a part of what an insert costs. */
const struct micro_case micro_index_insert = {.name = "index_insert",
                                              .sentence = "an entry more, from 200,000 to 290,000, growth included",
                                              .count = STORED * 9 / 20,
                                              .count_max = INSERTS_MAX,
                                              .open = open_insert,
                                              .prepare = prepare_insert,
                                              .run = run_insert,
                                              .close = close_index};
const struct micro_case micro_index_hit = {.name = "index_hit",
                                           .sentence = "a fingerprint that is among 200,000",
                                           .count = LOOKUPS,
                                           .count_max = INSERTS_MAX,
                                           .open = open_hit,
                                           .run = run_hit,
                                           .close = close_index};
const struct micro_case micro_index_miss = {.name = "index_miss",
                                            .sentence = "a fingerprint that is not",
                                            .count = LOOKUPS,
                                            .count_max = INSERTS_MAX,
                                            .open = open_miss,
                                            .run = run_miss,
                                            .close = close_index};
