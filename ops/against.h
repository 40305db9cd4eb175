/*
 * The store's counts beside a published profile: months, areas and the Border Patrol's demographics, row by row. What
 * the profile has no row for is a row of its own, so no encounter can hide. Owned by one command for its run.
 */
#ifndef MUSTER_OPS_AGAINST_H
#define MUSTER_OPS_AGAINST_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "bench/profile.h"
#include "store/read.h"

struct ops_against {
  const struct profile *profile;
  /* By position in the profile, and one more for what is in none of its rows. */
  uint64_t *months, *areas, *demographics;
  uint64_t total;
};
int ops_against_init(struct ops_against *a, const struct profile *profile); /* MUSTER_OK or MUSTER_ERR_MEMORY */
void ops_against_finish(struct ops_against *a);
void ops_against_add(struct ops_against *a, const struct store_tally_cell *cell);
/* Prints the margins and the total; returns how many figures differ. */
unsigned ops_against_print(const struct ops_against *a, FILE *out);

#endif
