/*
 * Records for a load: a set of different ones, made before the clock starts, that is gone through again and again, each time under new
 * encounter ids. So a load of any length needs the memory of its set, and pays for a record no more than the writing of its id. The
 * place of a record in the load decides its id and its content: what is sent again has the very bytes it had before. Resends are of
 * earlier laps, any of them; so the first lap has none. One load, one thread; the set is on the heap.
 */
#ifndef MUSTER_BENCH_SUPPLY_H
#define MUSTER_BENCH_SUPPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/stream.h"

#define SUPPLY_SET 65536u /* records of the set */

struct supply_options {
  struct bench_stream_options stream; /* profile, seed, ids_v4; records and resends are the supply's own */
  uint32_t resends_per_10000;
};

struct supply {
  struct supply_options options;
  uint64_t key;
  uint8_t *bytes;  /* the set, a delimited stream */
  uint32_t *start; /* of each record's length in it; SUPPLY_SET + 1 */
};

int supply_init(struct supply *s, const struct supply_options *options); /* MUSTER_ERR_MEMORY */
void supply_finish(struct supply *s);
bool supply_resend(const struct supply *s, uint64_t place); /* whether this place repeats an earlier one */

/* The records of count places from first on, as a delimited stream; no more than the end of the lap allows. Valid until the next call. */
const uint8_t *supply_take(struct supply *s, uint64_t first, uint32_t *count, size_t *size);

#endif
