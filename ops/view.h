/*
 * The node as its counter pages show it: all pages at about one moment, sums over the ingests (what submitters were
 * told) and over the workers (what the store did), the conservation rule, and rates between two moments. Reads only;
 * owned by the command that looks.
 */
#ifndef MUSTER_OPS_VIEW_H
#define MUSTER_OPS_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/counters.h"
#include "core/datadir.h"

#define VIEW_PAGES (LIMIT_SHARDS + LIMIT_INGESTS + 1)

struct ops_view {
  uint64_t taken_ns; /* monotonic */
  size_t count;
  struct counters_snapshot page[VIEW_PAGES];
};
int ops_view_take(struct ops_view *v, const struct datadir *d, struct failure *failure);

const struct counters_snapshot *ops_view_find(const struct ops_view *v, const char *role); /* NULL where there is none */
/* The sum over all pages whose role begins with kind, as "ingest-". */
uint64_t ops_view_sum(const struct ops_view *v, const char *kind, enum counter_id id);
uint64_t ops_view_most(const struct ops_view *v, const char *kind, enum counter_id id); /* the largest of them */
/* received = accepted + duplicate + conflict + invalid + handed back + in flight, in one process; in every one. */
bool ops_view_page_conserved(const struct counters_snapshot *page);
bool ops_view_conserved(const struct ops_view *v);
/* A second's worth of a counter's growth from one moment to a later one; a page that was replaced meanwhile counts from 0. */
double ops_view_rate(const struct ops_view *before, const struct ops_view *after, const char *kind, enum counter_id id);

const char *ops_view_state(enum process_state state); /* "serving" */

#endif
