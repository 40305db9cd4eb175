/*
 * The list of core/counters.def as metrics: each entry's name, kind, base unit, labels and sentence, and its samples in one page. Who shows all that
 * a node tells (metrics, the manual, a test) walks this and names no counter itself. The names are Prometheus's way: muster_, base units, _total
 * for what only grows; metrics.c has the one table that says how a unit is told. What is made of several pages (NODE) has its entry here and its
 * value in ops/view.h. Any process; no state.
 */
#ifndef MUSTER_CORE_METRICS_H
#define MUSTER_CORE_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/counters.h"

enum metric_node {
#define NODE(name, type, unit, sentence) METRIC_##name,
#include "core/counters.def"
  METRIC_NODE_COUNT
};

enum metric_kind { METRIC_TOTAL, METRIC_GAUGE, METRIC_HISTOGRAM };
enum metric_source {
  METRIC_OF_COUNTER,
  METRIC_OF_CAUSES,
  METRIC_OF_REASONS,
  METRIC_OF_HISTOGRAM,
  METRIC_OF_SUBMITTER,
  METRIC_OF_PAGE,
  METRIC_OF_NODE
};

#define METRIC_NAME_BYTES 64

struct metric {
  char name[METRIC_NAME_BYTES]; /* "muster_records_received_total"; a histogram's without _bucket, _sum, _count */
  enum metric_kind kind;
  const char *unit;        /* as it is told: "seconds" */
  const char *extra_label; /* beside process: "reason"; NULL where there is none */
  unsigned who;            /* bits of enum counter_who; 0: of the node as a whole, without the label process */
  const char *sentence;    /* for operators, without a full stop */
  enum metric_source source;
  uint32_t index; /* in the list of its source; of causes, the first of them */
};

uint32_t metrics_count(void);
void metrics_at(uint32_t position, struct metric *out); /* position below metrics_count, in the order of the list */

/* A value that is counted in this unit, as it is told. unit: as in core/counters.def. */
double metrics_told(const char *unit, uint64_t value);

/* One line of metrics. The label process is the page's role. */
struct metric_sample {
  const char *suffix; /* "", or of a histogram "_bucket", "_sum", "_count" */
  const char
      *label_value; /* of extra_label; NULL where there is none. Valid during the call. Of _bucket it is the edge, "+Inf" for the last */
  double value;
};
typedef int metrics_each(void *context, const struct metric_sample *sample);
/* Calls each for what the page has of this metric, stops where it answers non-zero and returns that. Nothing where the page's process does not
 * count it. Of a histogram the edges of powers of two are told, and each sample of it is of one reading. reason_name: of the wire's Reasons,
 * whose table is above this room; "unknown" where there is none. */
int metrics_samples(const struct metric *m, const struct counters_snapshot *page, const char *(*reason_name)(uint32_t reason),
                    metrics_each *each, void *context);

const char *metrics_state_name(enum process_state state); /* "serving" */
/* Received less answered, handed back and in flight: of a page, of a row of it. */
int64_t metrics_unaccounted(const struct counters_snapshot *page);
int64_t metrics_unaccounted_row(const struct counters_submitter *row);

#endif
