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
#include "muster/encounter.h"

#define SUPPLY_SET 65536u /* records of the set */
#define SUPPLY_TEXT (LIMIT_TEXT_BYTES + 1)

struct supply_options {
  struct bench_stream_options stream; /* profile, seed, ids_v4; records and resends are the supply's own */
  uint32_t resends_per_10000;
};

struct supply {
  struct supply_options options;
  uint64_t key;
  uint8_t *bytes;                  /* the set, a delimited stream */
  uint32_t *start;                 /* of each record's length in it; SUPPLY_SET + 1 */
  struct muster_encounter *fields; /* the same records by their fields, where supply_fields was asked for */
  char (*texts)[SUPPLY_TEXT];      /* of those: four each */
};

int supply_init(struct supply *s, const struct supply_options *options); /* MUSTER_ERR_MEMORY */
void supply_finish(struct supply *s);
bool supply_resend(const struct supply *s, uint64_t place); /* whether this place repeats an earlier one */

/* The records of count places from first on, as a delimited stream; no more than the end of the lap allows. Valid until the next call. */
const uint8_t *supply_take(struct supply *s, uint64_t first, uint32_t *count, size_t *size);

/* For loads that encode within the clock: the set by its fields, and a record of it. MUSTER_ERR_MEMORY. */
int supply_fields(struct supply *s);
void supply_encounter(const struct supply *s, uint64_t place, struct muster_encounter *out); /* its texts are the supply's */

#endif
