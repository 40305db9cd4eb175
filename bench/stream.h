/*
 * The records of a surge profile as an endless supply with an end: deterministic, in time order, every published margin met
 * exactly. A record is a pure function of (profile, records, seed, its place), so an earlier one can be made again at any moment;
 * that is what a resend is. Nothing is allocated: the struct (about 70 KiB) is the caller's, and an item is valid until the next
 * one. `muster generate`, the benchmarks and load generators, each in its own process.
 *
 * How the margins are met: months, areas and the Border Patrol's demographics are scaled to the number of records by largest
 * remainder. A table of cells (month by area and demographic) is then filled month after month, each by largest remainder of what
 * is left of every column, so that rows and columns add up exactly. Families (2 to 5 members of one cell) and single persons are
 * the units of a month; a seeded permutation gives each unit its place in the month's time.
 */
#ifndef MUSTER_BENCH_STREAM_H
#define MUSTER_BENCH_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/encounter.h"
#include "bench/profile.h"
#include "bench/random.h"

#define STREAM_MONTHS 24u
#define STREAM_CELLS 128u
#define STREAM_RECORDS_MAX UINT64_C(1000000000000)

struct bench_stream_options {
  const struct profile *profile;
  uint64_t records; /* distinct good ones, 1 to STREAM_RECORDS_MAX */
  uint64_t seed;
  uint32_t resends_per_10000; /* of all lines: records that came before, byte for byte */
  uint32_t faults_per_10000;  /* of all lines: records that a node must refuse; in no margin */
  uint32_t fault_set;         /* which Reasons, bit n for reason n; 0: BENCH_FAULTS_ALL */
  bool ids_v4;
  uint32_t record_bytes; /* the same records with longer texts, so that each has this many bytes; 0: as drawn. At most LIMIT_RECORD_BYTES;
                          * what texts of LIMIT_TEXT_BYTES cannot reach stays below, what is larger as drawn stays above */
};

enum bench_item_kind { BENCH_RECORD, BENCH_RESEND, BENCH_FAULT };
struct bench_item {
  const uint8_t *bytes; /* one Encounter, without a length prefix */
  size_t size;
  enum bench_item_kind kind;
  uint32_t reason; /* BENCH_FAULT: what a node will say */
};

struct bench_stream_month {
  int64_t start_us;
  uint64_t slot_us;    /* each unit has a slot of time */
  uint64_t unit_first; /* of all units */
  uint64_t units;
  struct permutation order;
  uint64_t records_of[STREAM_CELLS];
  uint64_t units_until[STREAM_CELLS]; /* units of this cell and those before */
};
struct bench_stream_cell {
  const struct vocabulary_area *area;
  int32_t demographic;
};
struct bench_stream {
  struct bench_stream_options options;
  uint64_t key;
  uint32_t month_count, cell_count;
  uint64_t units;
  uint64_t unit;    /* the next one */
  uint64_t member;  /* of it */
  uint64_t left[3]; /* lines to come, by kind */
  uint64_t faults_made;
  struct random random; /* of the order of kinds and the choice of resends */
  struct bench_stream_cell cells[STREAM_CELLS];
  struct bench_stream_month months[STREAM_MONTHS];
  uint8_t bytes[BENCH_RECORD_BYTES];
};

/* MUSTER_OK, or MUSTER_ERR_USAGE: records out of range, resends and faults together not below 10,000, a fault that does not exist,
 * larger records than there are. */
int bench_stream_init(struct bench_stream *s, const struct bench_stream_options *options);
/* Lines that the stream has in all: records, resends and faults. */
uint64_t bench_stream_lines(const struct bench_stream_options *options);
bool bench_stream_next(struct bench_stream *s, struct bench_item *item); /* false: no more */

#endif
