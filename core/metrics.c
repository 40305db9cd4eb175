#include "core/metrics.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* ---- units ---- */

/* How a unit of the list is told: the end of a counter's name that says it, the end of the metric's, and how many make one of the base unit. */
struct unit {
  const char *name, *tail, *suffix, *base;
  double per_base;
};
static const struct unit units[] = {
    {"nanoseconds", "_ns", "_seconds", "seconds", 1e9},
    {"microseconds", "_us", "_seconds", "seconds", 1e6},
    {"milliseconds", "_ms", "_seconds", "seconds", 1e3},
    {"seconds", "", "_seconds", "seconds", 1},
};

static const struct unit *unit_of(const char *name)
{
  for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
    if (strcmp(units[i].name, name) == 0)
      return &units[i];
  return NULL; /* records, bytes, flags: told as they are counted */
}

double metrics_told(const char *unit, uint64_t value)
{
  const struct unit *u = unit_of(unit);
  return u ? (double)value / u->per_base : (double)value;
}

/* ---- the list ---- */

struct entry {
  enum metric_source source;
  uint32_t index;
  const char *prefix, *name;
  enum counter_type type;
  const char *unit;
  unsigned who;
  const char *sentence;
};

struct reasons {
  enum counter_per per;
  uint32_t first, last;
};

enum {
#define REASON(name, per, first, last, unit, who, sentence) REASONS_##name,
#include "core/counters.def"
};
static const struct reasons reasons_list[] = {
#define REASON(name, per, first, last, unit, who, sentence) {COUNTER_##per, first, last},
#include "core/counters.def"
};

enum page_metric {
#define PAGE(name, type, unit, sentence) PAGE_##name,
#include "core/counters.def"
};

#define SUPERVISOR COUNTER_SUPERVISOR
#define INGEST COUNTER_INGEST
#define WORKER COUNTER_WORKER
#define EVERYBODY (COUNTER_SUPERVISOR | COUNTER_INGEST | COUNTER_WORKER)

static const struct entry entries[] = {
#define COUNTER(name, type, unit, who, sentence) {METRIC_OF_COUNTER, COUNTER_##name, "", #name, COUNTER_##type, #unit, who, sentence},
#define CAUSE(total, cause, who, sentence)                                                                                                 \
  {METRIC_OF_CAUSES, COUNTER_##total##_##cause, "", #total "_by_cause", COUNTER_TOTAL, "times", who, sentence},
#define REASON(name, per, first, last, unit, who, sentence)                                                                                \
  {METRIC_OF_REASONS, REASONS_##name, "", #name, COUNTER_TOTAL, #unit, who, sentence},
#define HISTOGRAM(name, unit, who, sentence) {METRIC_OF_HISTOGRAM, HISTOGRAM_##name, "", #name, COUNTER_GAUGE, #unit, who, sentence},
#define SUBMITTER(name, type, unit, sentence)                                                                                              \
  {METRIC_OF_SUBMITTER, SUBMITTER_##name, "submitter_", #name, COUNTER_##type, #unit, INGEST, sentence},
#define PAGE(name, type, unit, sentence) {METRIC_OF_PAGE, PAGE_##name, "", #name, COUNTER_##type, #unit, EVERYBODY, sentence},
#define NODE(name, type, unit, sentence) {METRIC_OF_NODE, METRIC_##name, "", #name, COUNTER_##type, #unit, 0, sentence},
#include "core/counters.def"
};
#define ENTRIES (sizeof entries / sizeof entries[0])

/* Causes of one total are one metric: its first entry stands for all. */
static bool is_one_metric(const struct entry *first, const struct entry *next)
{
  return first->source == METRIC_OF_CAUSES && next->source == METRIC_OF_CAUSES && strcmp(first->name, next->name) == 0;
}

static bool is_first(const struct entry *e) { return e == entries || !is_one_metric(e - 1, e); }

uint32_t metrics_count(void)
{
  uint32_t count = 0;
  for (const struct entry *e = entries; e < entries + ENTRIES; e++)
    count += is_first(e);
  return count;
}

static const char *extra_label(const struct entry *e)
{
  switch (e->source) {
  case METRIC_OF_CAUSES: return "cause";
  case METRIC_OF_REASONS: return "reason";
  case METRIC_OF_HISTOGRAM: return "le";
  case METRIC_OF_SUBMITTER: return "submitter";
  case METRIC_OF_PAGE: return e->index == PAGE_process_state ? "state" : NULL;
  case METRIC_OF_NODE: return e->index == METRIC_build_info ? "version" : NULL;
  case METRIC_OF_COUNTER: break;
  }
  return NULL;
}

void metrics_at(uint32_t position, struct metric *out)
{
  const struct entry *e = entries;
  for (; e < entries + ENTRIES; e++)
    if (is_first(e) && position-- == 0)
      break;
  assert(e < entries + ENTRIES);
  const struct unit *u = unit_of(e->unit);
  size_t size = strlen(e->name);
  if (u && size > strlen(u->tail) && strcmp(e->name + size - strlen(u->tail), u->tail) == 0)
    size -= strlen(u->tail);
  const bool histogram = e->source == METRIC_OF_HISTOGRAM, total = !histogram && e->type == COUNTER_TOTAL;
  *out = (struct metric){.kind = histogram ? METRIC_HISTOGRAM
                                 : total   ? METRIC_TOTAL
                                           : METRIC_GAUGE,
                         .unit = u ? u->base : e->unit,
                         .extra_label = extra_label(e),
                         .who = e->who,
                         .sentence = e->source == METRIC_OF_CAUSES ? "The same by cause" : e->sentence,
                         .source = e->source,
                         .index = e->index};
  snprintf(out->name, sizeof out->name, "muster_%s%.*s%s%s%s", e->prefix, (int)size, e->name, u ? u->suffix : "",
           histogram && !u ? "_" : "",
           histogram && !u ? e->unit
           : total         ? "_total"
                           : "");
}

/* ---- samples ---- */

const char *metrics_state_name(enum process_state state)
{
  switch (state) {
  case PROCESS_STARTING: return "starting";
  case PROCESS_SERVING: return "serving";
  case PROCESS_DRAINING: return "draining";
  case PROCESS_STOPPED: return "stopped";
  }
  return "unknown";
}

int64_t metrics_unaccounted(const struct counters_snapshot *page)
{
  const uint64_t *v = page->value;
  return (int64_t)(v[COUNTER_records_received] - v[COUNTER_records_accepted] - v[COUNTER_records_duplicate] - v[COUNTER_records_conflict] -
                   v[COUNTER_records_invalid] - v[COUNTER_records_handed_back] - v[COUNTER_records_in_flight]);
}

int64_t metrics_unaccounted_row(const struct counters_submitter *row)
{
  const uint64_t *v = row->value;
  return (int64_t)(v[SUBMITTER_records_received] - v[SUBMITTER_records_accepted] - v[SUBMITTER_records_duplicate] -
                   v[SUBMITTER_records_conflict] - v[SUBMITTER_records_invalid] - v[SUBMITTER_records_handed_back] -
                   v[SUBMITTER_records_in_flight]);
}

struct walk {
  const struct counters_snapshot *page;
  const char *(*reason_name)(uint32_t reason);
  metrics_each *each;
  void *context;
};

static int say(const struct walk *w, const char *suffix, const char *label_value, double value)
{
  return w->each(w->context, &(struct metric_sample){.suffix = suffix, .label_value = label_value, .value = value});
}

static int say_causes(const struct walk *w, uint32_t first)
{
  int answer = 0;
  const struct entry *begin = NULL;
  for (const struct entry *e = entries; e < entries + ENTRIES && answer == 0; e++) {
    if (begin == NULL && e->source == METRIC_OF_CAUSES && e->index == first)
      begin = e;
    if (begin != NULL && is_one_metric(begin, e))
      answer = say(w, "", counter_list[e->index].cause, (double)w->page->value[e->index]);
  }
  return answer;
}

/* All that there are, those of 0 as well: a rate can be made of the first one that comes. */
static int say_reasons(const struct walk *w, const struct reasons *r)
{
  for (uint32_t reason = r->first; reason <= r->last; reason++) {
    const uint64_t value = w->page->reason[r->per][reason];
    const char *name = w->reason_name(reason);
    if (value == 0 && strcmp(name, "unknown") == 0)
      continue;
    const int answer = say(w, "", name, (double)value);
    if (answer != 0)
      return answer;
  }
  return 0;
}

static int say_histogram(const struct walk *w, enum histogram_id id)
{
  const struct counters_histogram *h = &w->page->histogram[id];
  const char *unit = histogram_list[id].unit;
  uint64_t seen = 0;
  int answer = 0;
  for (uint32_t i = 0; i + 1 < COUNTER_BUCKETS && answer == 0; i++) {
    char edge[32];
    seen += h->bucket[i];
    if ((i + 1) % (1u << COUNTER_BUCKET_BITS) != 0)
      continue;
    snprintf(edge, sizeof edge, "%.9g", metrics_told(unit, counters_histogram_edge(id, i)));
    answer = say(w, "_bucket", edge, (double)seen);
  }
  seen = counters_histogram_count(h);
  if (answer == 0)
    answer = say(w, "_bucket", "+Inf", (double)seen);
  if (answer == 0)
    answer = say(w, "_sum", NULL, metrics_told(unit, h->sum));
  return answer != 0 ? answer : say(w, "_count", NULL, (double)seen);
}

static int say_submitters(const struct walk *w, enum submitter_id id)
{
  for (uint32_t row = 0; row < w->page->rows; row++) {
    const struct counters_submitter *s = &w->page->submitter[row];
    const int answer = say(w, "", s->name, metrics_told(submitter_list[id].unit, s->value[id]));
    if (answer != 0)
      return answer;
  }
  return 0;
}

static int say_state(const struct walk *w)
{
  for (int state = PROCESS_STARTING; state <= PROCESS_STOPPED; state++) {
    const bool is = w->page->alive && w->page->state == (enum process_state)state;
    const int answer = say(w, "", metrics_state_name((enum process_state)state), is);
    if (answer != 0)
      return answer;
  }
  return 0;
}

static int say_page(const struct walk *w, enum page_metric what)
{
  const struct counters_snapshot *page = w->page;
  switch (what) {
  case PAGE_process_up: return say(w, "", NULL, page->alive);
  case PAGE_process_start_time: return say(w, "", NULL, metrics_told("microseconds", (uint64_t)page->started_us));
  case PAGE_process_totals_since: return say(w, "", NULL, metrics_told("microseconds", (uint64_t)page->since_us));
  case PAGE_process_state: return say_state(w);
  case PAGE_process_state_age_ns: return say(w, "", NULL, metrics_told("nanoseconds", page->state_ns));
  case PAGE_records_unaccounted: return say(w, "", NULL, (double)metrics_unaccounted(page));
  }
  return 0;
}

int metrics_samples(const struct metric *m, const struct counters_snapshot *page, const char *(*reason_name)(uint32_t reason),
                    metrics_each *each, void *context)
{
  const struct walk w = {.page = page, .reason_name = reason_name, .each = each, .context = context};
  if (!(m->who & counters_who(page->role)))
    return 0;
  switch (m->source) {
  case METRIC_OF_COUNTER: return say(&w, "", NULL, metrics_told(counter_list[m->index].unit, page->value[m->index]));
  case METRIC_OF_CAUSES: return say_causes(&w, m->index);
  case METRIC_OF_REASONS: return say_reasons(&w, &reasons_list[m->index]);
  case METRIC_OF_HISTOGRAM: return say_histogram(&w, (enum histogram_id)m->index);
  case METRIC_OF_SUBMITTER: return say_submitters(&w, (enum submitter_id)m->index);
  case METRIC_OF_PAGE: return say_page(&w, (enum page_metric)m->index);
  case METRIC_OF_NODE: break;
  }
  return 0;
}
