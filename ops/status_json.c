#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/metrics.h"
#include "ops/status.h"
#include "proto/text.h"
#include "proto/vocabulary.h"

/* What submitters were told, summed over the ingests, by its counter's name. */
static const enum counter_id totals[] = {COUNTER_records_received,
                                         COUNTER_records_accepted,
                                         COUNTER_records_duplicate,
                                         COUNTER_records_conflict,
                                         COUNTER_records_invalid,
                                         COUNTER_records_handed_back,
                                         COUNTER_records_in_flight,
                                         COUNTER_batches_received,
                                         COUNTER_batches_answered,
                                         COUNTER_batches_busy,
                                         COUNTER_batches_refused,
                                         COUNTER_batches_in_flight,
                                         COUNTER_answers_dropped,
                                         COUNTER_received_bytes,
                                         COUNTER_budget_used_bytes,
                                         COUNTER_budget_bytes,
                                         COUNTER_peers};
static const enum counter_id rates[] = {COUNTER_records_received, COUNTER_records_accepted, COUNTER_records_duplicate,
                                        COUNTER_records_conflict, COUNTER_records_invalid,  COUNTER_batches_received,
                                        COUNTER_batches_busy,     COUNTER_received_bytes};
#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* Shown to three decimals, which is more than a window of half a second knows. */
static json_t *decimal(double number) { return json_real(round(number * 1000) / 1000); }
static json_t *integer(uint64_t number) { return json_integer((json_int_t)number); }

static bool is_time(enum histogram_id id) { return strcmp(histogram_list[id].unit, "nanoseconds") == 0; }

static json_t *endpoints_of(const struct ops_status *s)
{
  json_t *list = json_array();
  for (const char *line = s->endpoints; *line;) {
    size_t size = strcspn(line, "\n");
    json_array_append_new(list, json_stringn(line, size));
    line += size + (line[size] == '\n');
  }
  return list;
}

static json_t *rates_of(const struct ops_status *s)
{
  json_t *object = json_object();
  for (size_t i = 0; i < LENGTH(rates); i++)
    json_object_set_new(object, counter_list[rates[i]].name, decimal(ops_view_rate(&s->before, &s->after, "ingest-", rates[i])));
  json_object_set_new(object, "window_s", decimal((double)(s->after.taken_ns - s->before.taken_ns) / 1e9));
  return object;
}

static json_t *stamp(int64_t us)
{
  char text[TEXT_TIME] = "";
  text_time(text, us);
  return json_string(text);
}

/* By name what is not 0. */
static json_t *reasons_of(const uint64_t reason[COUNTER_REASONS])
{
  json_t *object = json_object();
  for (uint32_t i = 0; i < COUNTER_REASONS; i++)
    if (reason[i])
      json_object_set_new(object, vocabulary_reason(i), integer(reason[i]));
  return object;
}

/* A histogram's value in JSON: times in milliseconds, others as they are counted. */
static json_t *value_of(enum histogram_id id, uint64_t value) { return is_time(id) ? decimal((double)value / 1e6) : integer(value); }

static json_t *histogram_of(enum histogram_id id, const struct counters_histogram *h)
{
  json_t *object = json_object();
  const char *const names[2][4] = {{"sum", "p50", "p90", "p99"}, {"sum_ms", "p50_ms", "p90_ms", "p99_ms"}};
  const char *const *name = names[is_time(id)];
  json_object_set_new(object, "count", integer(counters_histogram_count(h)));
  json_object_set_new(object, name[0], value_of(id, h->sum));
  json_object_set_new(object, name[1], value_of(id, counters_histogram_quantile(id, h, 0.5)));
  json_object_set_new(object, name[2], value_of(id, counters_histogram_quantile(id, h, 0.9)));
  json_object_set_new(object, name[3], value_of(id, counters_histogram_quantile(id, h, 0.99)));
  return object;
}

/* Of the processes that count it: a page's own, or of one kind of them together. */
static json_t *histograms_of(const struct counters_snapshot *page)
{
  json_t *object = json_object();
  for (int i = 0; i < HISTOGRAM_COUNT; i++)
    if (histogram_list[i].who & counters_who(page->role))
      json_object_set_new(object, histogram_list[i].name, histogram_of((enum histogram_id)i, &page->histogram[i]));
  return object;
}

static json_t *times_of(const struct ops_view *before, const struct ops_view *after)
{
  json_t *object = json_object();
  for (int i = 0; i < HISTOGRAM_COUNT; i++) {
    struct counters_histogram h;
    ops_view_histogram(before, after, (enum histogram_id)i, &h);
    json_object_set_new(object, histogram_list[i].name, histogram_of((enum histogram_id)i, &h));
  }
  return object;
}

static json_t *process_of(const struct counters_snapshot *page)
{
  json_t *counters = json_object(), *object = json_object();
  for (int i = 0; i < COUNTER_COUNT; i++)
    json_object_set_new(counters, counter_list[i].name, integer(page->value[i]));
  json_object_set_new(object, "role", json_string(page->role));
  json_object_set_new(object, "pid", json_integer(page->pid));
  json_object_set_new(object, "state", json_string(metrics_state_name(page->state)));
  json_object_set_new(object, "state_s", integer(page->state_ns / UINT64_C(1000000000)));
  json_object_set_new(object, "alive", json_boolean(page->alive));
  json_object_set_new(object, "started", stamp(page->started_us));
  json_object_set_new(object, "totals_since", stamp(page->since_us));
  json_object_set_new(object, "uptime_s", integer(page->uptime_s));
  json_object_set_new(object, "last_beat", stamp(page->beat_us));
  json_object_set_new(object, "conserved", json_boolean(metrics_unaccounted(page) == 0));
  json_object_set_new(object, "records_unaccounted", json_integer(metrics_unaccounted(page)));
  json_object_set_new(object, "counters", counters);
  json_object_set_new(object, "reasons", reasons_of(page->reason[COUNTER_RECORDS]));
  json_object_set_new(object, "batch_reasons", reasons_of(page->reason[COUNTER_BATCHES]));
  json_object_set_new(object, "histograms", histograms_of(page));
  return object;
}

static json_t *submitters_of(const struct ops_status *s)
{
  json_t *list = json_array();
  for (uint32_t row = 0; row < s->submitters; row++) {
    const struct counters_submitter *one = &s->submitter[row];
    json_t *object = json_object();
    json_object_set_new(object, "name", json_string(one->name));
    for (int i = 0; i < SUBMITTER_COUNT; i++)
      json_object_set_new(object, submitter_list[i].name,
                          i == SUBMITTER_last_seen ? stamp((int64_t)one->value[i]) : integer(one->value[i]));
    json_array_append_new(list, object);
  }
  return list;
}

/* What submitters were told, by reason: over the ingests. */
static json_t *told_of(const struct ops_view *v, enum counter_per per)
{
  uint64_t sum[COUNTER_REASONS];
  for (uint32_t reason = 0; reason < COUNTER_REASONS; reason++)
    sum[reason] = ops_view_reason(v, "ingest-", per, reason);
  return reasons_of(sum);
}

static json_t *shard_of(const struct ops_status *s, uint32_t number)
{
  const struct ops_status_shard *shard = &s->shard[number];
  json_t *object = json_object();
  json_object_set_new(object, "shard", json_integer(number));
  json_object_set_new(object, "records", integer(shard->records));
  json_object_set_new(object, "file_bytes", integer(shard->file_bytes));
  if (s->pid) {
    json_object_set_new(object, "file_free_bytes", integer(shard->free_bytes));
    json_object_set_new(object, "index_bytes", integer(shard->index_bytes));
    json_object_set_new(object, "index_load", decimal(shard->index_slots ? (double)shard->records / (double)shard->index_slots : 0));
  }
  if (shard->index_records_max)
    json_object_set_new(object, "index_records_max", integer(shard->index_records_max));
  json_object_set_new(object, "quarantined", integer(shard->quarantined));
  json_object_set_new(object, "disk_free_bytes", integer(shard->disk_free_bytes));
  json_object_set_new(object, "serving", json_boolean(shard->serving));
  json_object_set_new(object, "blocked", json_boolean(shard->blocked));
  json_object_set_new(object, "index_full", json_boolean(shard->index_full));
  json_object_set_new(object, "down", json_boolean(shard->down));
  if (shard->down) {
    char since[TEXT_TIME] = "";
    text_time(since, shard->outage.since_us);
    json_object_set_new(object, "down_cause", json_string(shard->outage.cause));
    json_object_set_new(object, "down_kind", json_string(ops_outage_word(shard->outage.kind)));
    json_object_set_new(object, "down_remedy", json_string(ops_outage_remedy(shard->outage.kind)));
    if (s->pid) {
      json_object_set_new(object, "down_since", json_string(since));
      json_object_set_new(object, "retry_ms", integer(shard->outage.retry_ms));
    }
  }
  return object;
}

static void add_node(json_t *object, const struct ops_status *s)
{
  json_t *processes = json_array();
  json_object_set_new(object, "pid", json_integer(s->pid));
  json_object_set_new(object, "version", json_string(MUSTER_VERSION));
  json_object_set_new(object, "state", json_string(metrics_state_name(s->state)));
  json_object_set_new(object, "uptime_s", integer(s->uptime_s));
  json_object_set_new(object, "restarts", integer(s->restarts));
  json_object_set_new(object, "endpoints", endpoints_of(s));
  json_object_set_new(object, "conserved", json_boolean(ops_view_conserved(&s->after)));
  json_object_set_new(object, "records_unaccounted", integer(ops_view_unaccounted(&s->after)));
  for (size_t i = 0; i < LENGTH(totals); i++)
    json_object_set_new(object, counter_list[totals[i]].name, integer(ops_view_sum(&s->after, "ingest-", totals[i])));
  json_object_set_new(object, "credit", integer(ops_view_most(&s->after, "ingest-", COUNTER_credit)));
  json_object_set_new(object, "retry_after_ms", integer(ops_view_most(&s->after, "ingest-", COUNTER_retry_after_ms)));
  json_object_set_new(object, "reasons", told_of(&s->after, COUNTER_RECORDS));
  json_object_set_new(object, "batch_reasons", told_of(&s->after, COUNTER_BATCHES));
  json_object_set_new(object, "rates", rates_of(s));
  json_object_set_new(object, "times", times_of(NULL, &s->after));
  json_object_set_new(object, "times_window", times_of(&s->before, &s->after));
  if (s->room.limit != VIEW_LIMIT_NONE) {
    json_object_set_new(object, "full_in_s", integer(s->room.seconds));
    json_object_set_new(object, "full_first", json_string(ops_view_limit_name(s->room.limit)));
    json_object_set_new(object, "full_first_shard", json_integer(s->room.shard));
  }
  json_object_set_new(object, "submitters", submitters_of(s));
  for (size_t i = 0; i < s->after.count; i++)
    json_array_append_new(processes, process_of(&s->after.page[i]));
  json_object_set_new(object, "processes", processes);
}

int ops_status_print_json(const struct ops_status *s)
{
  json_t *object = json_object(), *shards = json_array();
  uint64_t records = 0;
  json_object_set_new(object, "running", json_boolean(s->pid != 0));
  if (s->pid)
    add_node(object, s);
  for (uint32_t i = 0; i < s->shards; i++) {
    records += s->shard[i].records;
    json_array_append_new(shards, shard_of(s, i));
  }
  json_object_set_new(object, "store_records", integer(records));
  json_object_set_new(object, "shards_down", integer(s->shards_down));
  json_object_set_new(object, "shards", shards);
  int written = json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
  putchar('\n');
  json_decref(object);
  return written == 0 || ferror(stdout) ? MUSTER_OK : MUSTER_ERR_MEMORY;
}
