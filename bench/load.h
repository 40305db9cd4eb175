/*
 * A load on a node through the client library, and what it felt like. Closed: so many batches in flight, the next as soon as one is
 * answered; it measures how much the node takes, and its latencies are those of a window, not of users. Open: each record has a moment
 * at which it is due, whether answers come or not, and its latency counts from that moment, so that a node that stands still is seen in
 * all that waited (no coordinated omission). A record counts once it has its final verdict. One thread, the caller's.
 */
#ifndef MUSTER_BENCH_LOAD_H
#define MUSTER_BENCH_LOAD_H

#include "bench/histogram.h"
#include "bench/supply.h"
#include "core/failure.h"
#include "muster/client.h"

struct load_sample { /* what happened between two marks */
  uint64_t records;  /* answered, since the start */
  uint64_t end_ns;   /* since the start */
  uint64_t p50_ns, p99_ns, max_ns;
};

struct load_options {
  struct supply_options supply;
  struct muster_options client; /* endpoint, keys, batch_records, window_batches; callbacks are the load's own */
  uint64_t records;
  bool encode;             /* closed loop: a record is a struct of fields until the library encodes it, within the clock */
  double rate;             /* records a second of the open loop; 0: closed */
  uint64_t sample_records; /* closed loop: a sample every so many records; open loop: one a second, whatever stands here */
  uint32_t timeout_s;      /* no answer for so long, or a shard that is down for so long, ends the load */
  void (*on_progress)(void *context, const struct muster_counts *counts);
  void *context;
};

struct load_result {
  struct muster_counts counts;
  uint64_t resends;    /* of counts.submitted */
  bool own;            /* every DUPLICATE names a copy that was stored during the load, as far as addresses tell */
  uint64_t given_back; /* records whose shard stayed down */
  uint64_t elapsed_ns; /* from the first record offered to the last verdict */
  uint64_t stall_ns;   /* the longest time without a verdict, records being in flight */
  double cpu_s;        /* of this process, meanwhile */
  uint64_t due_ns;     /* open loop: from the first moment due to the last */
  struct histogram latency;
  struct histogram late; /* open loop: how much after its moment a record was offered to the library */
  struct load_sample *samples;
  uint32_t sample_count;
};

/* Runs it whole. Every record has a final verdict when it returns MUSTER_OK; else failure says what happened. result is to be given to
 * load_finish in any case. */
int load_run(struct load_result *result, const struct load_options *options, struct failure *failure);
void load_finish(struct load_result *result);

#endif
