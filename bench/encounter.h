/*
 * One made-up encounter: its values drawn from a key, its wire bytes in canonical form, and the same record with
 * one fault. No person stands behind any of it: every value is a hash of the key, or one of the assumptions stated in
 * bench/profiles/README.md. Pure functions on the caller's memory; generator and benchmarks.
 */
#ifndef MUSTER_BENCH_ENCOUNTER_H
#define MUSTER_BENCH_ENCOUNTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/limits.h"
#include "proto/vocabulary.h"

#define BENCH_RECORD_BYTES (LIMIT_RECORD_BYTES + 1024u) /* room for the largest, which is one with a fault */

/* What a record is drawn from. */
struct bench_draw {
  uint64_t key;    /* of the stream */
  uint64_t unit;   /* a family, or one person alone: area, title, citizenship, station, ... are the unit's */
  uint64_t serial; /* of the record: different ones have different ids */
  int64_t time_us;
  const struct vocabulary_area *area;
  int32_t demographic;
  bool ids_v4;           /* encounter_id of version 4 instead of 7 */
  uint32_t record_bytes; /* longer texts make it that large, as far as they may be; 0: as drawn */
};

struct bench_text {
  uint32_t size;
  char bytes[LIMIT_TEXT_BYTES + 1]; /* not terminated; one more than allowed, for the fault */
};
struct bench_encounter {
  uint8_t encounter_id[16], subject_id[16], family_unit_id[16];
  uint32_t encounter_id_size, subject_id_size;
  int64_t time_us;
  int32_t component, area, region, demographic, title, type, disposition;
  int32_t latitude_e7, longitude_e7;
  char citizenship[3];
  struct bench_text station, device, officer_reference;
  uint32_t left_out; /* bit n: field n is not written */
};

void bench_encounter_draw(struct bench_encounter *e, const struct bench_draw *draw);
/* Returns the size; out has BENCH_RECORD_BYTES. */
size_t bench_encounter_write(uint8_t *out, const struct bench_encounter *e);

/* The faults that a generator can make: wire Reasons 1 to 23; a record with one is refused for this very reason. Those of the
 * second set still have a JSON form. */
#define BENCH_FAULT_FIRST 1u
#define BENCH_FAULT_LAST 23u
#define BENCH_FAULTS_ALL UINT32_C(0x00fffffe)
#define BENCH_FAULTS_WITH_JSON UINT32_C(0x00fffb80)
/* Changes e and writes it with the fault; choice picks among several places for it. Returns the size. */
size_t bench_encounter_write_fault(uint8_t *out, struct bench_encounter *e, uint32_t reason, uint64_t choice);

#endif
