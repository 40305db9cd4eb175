/*
 * The node as its supervisor holds it: one struct for the files that supervise is made of, ops/supervise.c (the loop, and the phases from the first
 * start to the end), ops/deaths.c (what the death of a child means), ops/reread.c (SIGHUP) and ops/words.c (what people are told). Allocated by ops_supervise_run and gone when
 * that returns; everything here runs on its loop. Process: supervisor.
 */
#ifndef MUSTER_OPS_NODE_H
#define MUSTER_OPS_NODE_H

#include <uv.h>

#include "core/counters.h"
#include "core/datadir.h"
#include "core/limits.h"
#include "core/log.h"
#include "ops/outage.h"
#include "ops/process.h"
#include "ops/settings.h"

/* Workers first: an ingest that finds every shard there never admits what a half-made store cannot hold. */
enum phase { STARTING_WORKERS, STARTING_INGESTS, SERVING, DRAINING_INGESTS, DRAINING_WORKERS, KILLING, ENDED };

struct node {
  uv_loop_t loop;
  const struct datadir *data;
  const char *executable;
  uint32_t workers, ingests, frozen_ms, opening_ms;
  struct config config;          /* in force */
  struct ops_settings *settings; /* where it came from, as of the last time that they were read; the caller's */
  uint64_t rereads;              /* how often they were */
  int family_fd;
  struct ops_process worker[LIMIT_SHARDS], ingest[LIMIT_INGESTS];
  struct counters *page;
  struct ops_outages outages;
  uint64_t made;                   /* shards that were created, a bit for each: the node goes on without them */
  uint64_t lost;                   /* shards that would have ended the node if they were its only one; until they are ready again */
  uint64_t ready_ms[LIMIT_SHARDS]; /* when the worker became ready last */
  uint64_t began_ms
      [LIMIT_SHARDS]; /* when it was started first since it was ready, or was noted as down; 0: it is ready, or waits for its start */
  uint64_t unsteady;  /* shards that are down and were ready all the same: up is who has served for a while */
  enum phase phase;
  uv_signal_t term, interrupt, hangup;
  uv_timer_t beat, deadline, reread;
  bool cut; /* some ingest ended before it had answered everything */
  int exit_code;
  struct log_gate gate_wanting;
  char last_word[1024]; /* why the node gave up; "" where it was told to stop */
};

/* By ops/supervise.c. */
void ops_supervise_go_on_starting(struct node *n); /* to the next phase, where all that it needs is there, or known to be down */
void ops_supervise_drain(
    struct node *n); /* ingests first, while the workers still serve them (and are still started again), then the workers */
void ops_supervise_go_on_draining(struct node *n); /* as far as those still alive allow */

static inline bool ops_node_is_worker(const struct node *n, const struct ops_process *p) { return p->kind == n->worker[0].kind; }

#endif
