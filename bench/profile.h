/*
 * A surge profile: published totals by month, by area and by demographic, compiled in from bench/profiles/, and the assumptions
 * that fill what is not published. The generator makes records from it, `muster tally --against` and `make run` compare with it.
 * Constant; any process.
 */
#ifndef MUSTER_BENCH_PROFILE_H
#define MUSTER_BENCH_PROFILE_H

#include <stddef.h>
#include <stdint.h>

struct profile_month {
  int32_t year;
  uint32_t month;
  uint64_t encounters;
};
struct profile_area {
  int32_t area;
  int32_t component;
  uint64_t encounters;
}; /* enum values of encounter.proto */
struct profile_demographic {
  int32_t demographic;
  uint64_t encounters;
}; /* Border Patrol alone */
struct profile {
  const char *name;  /* "fy2021-southwest" */
  const char *title; /* "U.S. Customs and Border Protection, southwest land border, fiscal year 2021" */
  uint64_t total;
  size_t month_count, area_count, demographic_count;
  const struct profile_month *months;
  const struct profile_area *areas;
  const struct profile_demographic *demographics;
};
/* What bench/profiles/compile.awk makes of the published files. */
extern const struct profile profile_table[];
extern const size_t profile_table_count;

const struct profile *profile_find(const char *name); /* NULL where unknown */
const struct profile *profile_at(size_t position);    /* NULL past the last */

#endif
