/*
 * What `muster status` has found out, and its two forms. The looking is status.c's; status_text.c and status_json.c only
 * print. Owned by one command for its run.
 */
#ifndef MUSTER_OPS_STATUS_H
#define MUSTER_OPS_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/datadir.h"
#include "ops/endpoints.h"
#include "ops/outage.h"
#include "ops/view.h"
#include "store/read.h"

struct ops_status_shard {
  uint64_t records, file_bytes, free_bytes, index_bytes, index_slots, quarantined, disk_free_bytes;
  uint64_t index_records_max;
  bool serving, blocked, index_full; /* of its worker */
  bool down;                         /* and why, where it is noted */
  struct ops_outage outage;
};
struct ops_status {
  struct datadir data;
  uint32_t pid; /* of the supervisor; 0: no node is running */
  enum process_state state;
  uint64_t uptime_s, restarts;
  char endpoints[ENDPOINTS_TEXT]; /* one a line */
  struct ops_view before, after;  /* half a second apart; only with a node, as are the next three */
  struct ops_view_room room;
  uint32_t submitters;
  struct counters_submitter submitter[VIEW_SUBMITTERS];
  uint32_t shards, shards_down;
  struct ops_status_shard shard[LIMIT_SHARDS];
};
void ops_status_print_text(const struct ops_status *s);
int ops_status_print_json(const struct ops_status *s); /* MUSTER_OK or MUSTER_ERR_MEMORY */

#endif
