/*
 * The node as its counter pages show it: all pages at about one moment, sums over the ingests (what submitters were
 * told) and over the workers (what the store did), the conservation rule, and what two moments tell together: rates, how long things took
 * between them, and when there will be no room. Reads only; owned by the command that looks. All but ops_view_take are pure functions.
 *
 * A page goes on over the deaths of its processes (core/counters.h), so totals are compared without a look at pids; where a page was begun anew
 * meanwhile, its since_us has moved, and it counts from 0.
 */
#ifndef MUSTER_OPS_VIEW_H
#define MUSTER_OPS_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/counters.h"
#include "core/datadir.h"
#include "core/metrics.h"

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
uint64_t ops_view_reason(const struct ops_view *v, const char *kind, enum counter_per per, uint32_t reason);
uint64_t ops_view_most(const struct ops_view *v, const char *kind, enum counter_id id); /* the largest of them */
/* received = accepted + duplicate + conflict + invalid + handed back + in flight, in every process and for every submitter. */
bool ops_view_conserved(const struct ops_view *v);
/* Records that this does not hold for: of the processes, missing and surplus added up, so that one does not hide the other. Always 0. */
uint64_t ops_view_unaccounted(const struct ops_view *v);
/* A second's worth of a counter's growth from one moment to a later one. */
double ops_view_rate(const struct ops_view *before, const struct ops_view *after, const char *kind, enum counter_id id);
/* What was counted from one moment to a later one, in all pages; before may be NULL: since the totals began. */
void ops_view_histogram(const struct ops_view *before, const struct ops_view *after, enum histogram_id id, struct counters_histogram *out);

/* What the ingests have counted of each submitter, together, in ascending order of numbers; the others come last. Returns how many. */
#define VIEW_SUBMITTERS (COUNTER_ROWS * LIMIT_INGESTS)
uint32_t ops_view_submitters(const struct ops_view *v, struct counters_submitter out[VIEW_SUBMITTERS]);

/* Which shard has room for the shortest time at the present rate, and what ends first. Each bound is where the shard begins to tell BUSY
 * (workers/watermark.h). A disk fills as fast as its free bytes went down, or as the shard's file grew where that was more: others may write
 * there as well, and a file system may count late. seconds: UINT64_MAX where nothing grows. */
enum ops_view_limit { VIEW_LIMIT_NONE, VIEW_LIMIT_DISK, VIEW_LIMIT_MAP, VIEW_LIMIT_INDEX };
struct ops_view_room {
  uint64_t seconds;
  uint32_t shard;
  enum ops_view_limit limit;
};
void ops_view_full_in(const struct ops_view *before, const struct ops_view *after, struct ops_view_room *out);
const char *ops_view_limit_name(enum ops_view_limit limit); /* "disk" */

/* The value of a NODE metric, as it is told (core/metrics.h). The version that build_info has as its label is MUSTER_VERSION. */
double ops_view_node(const struct ops_view *before, const struct ops_view *after, enum metric_node id);

#endif
