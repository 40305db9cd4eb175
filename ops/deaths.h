/*
 * What the death of a child means, and what becomes of its shard. When it is started again is for ops/restart.h to say; whether the node can go on without
 * it is decided here: what a shard's worker dies of, once the shard has been made, costs that shard and no other (it is noted, ops/outage.h, and tried
 * again), and everything else of which no start is left ends the node. Nothing is owned here: it is all in the node. Process: supervisor.
 */
#ifndef MUSTER_OPS_DEATHS_H
#define MUSTER_OPS_DEATHS_H

#include "core/config.h"
#include "ops/node.h"

/* Once the processes are initialised. absent: as of ops_supervise_run; of config, the longest wait of a shard that is down, and how long one may be opened. */
void ops_deaths_init(struct node *n, uint64_t absent, const struct config *config);
/* A shard that was made and has no data is not begun anew: a worker might take an empty directory for a new store. It is down until the data is there. */
void ops_deaths_start_worker(struct ops_process *p);
void ops_deaths_worker_ready(struct node *n, const struct ops_process *p);
void ops_deaths_retune(struct node *n, const struct config *config); /* how long is waited, from the next death on */
/* Once a beat: a shard that has served for a while is up again, and one that is not open for too long is down. Its worker is let be: that a disk is slow,
 * or an index large, is no reason to begin anew. */
void ops_deaths_look(struct node *n);
void ops_deaths_died(struct ops_process *p);

#endif
