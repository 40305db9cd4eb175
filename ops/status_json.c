#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

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
                                         COUNTER_bytes_received,
                                         COUNTER_budget_bytes_used,
                                         COUNTER_budget_bytes,
                                         COUNTER_peers};
static const enum counter_id rates[] = {COUNTER_records_received, COUNTER_records_accepted, COUNTER_records_duplicate,
                                        COUNTER_records_conflict, COUNTER_records_invalid,  COUNTER_batches_received,
                                        COUNTER_batches_busy,     COUNTER_bytes_received};
#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* Shown to three decimals, which is more than a window of half a second knows. */
static json_t *decimal(double number) { return json_real(round(number * 1000) / 1000); }
static json_t *integer(uint64_t number) { return json_integer((json_int_t)number); }

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

static json_t *process_of(const struct counters_snapshot *page)
{
  char started[TEXT_TIME] = "", beat[TEXT_TIME] = "";
  json_t *counters = json_object(), *reasons = json_object(), *object = json_object();
  text_time(started, page->started_us);
  text_time(beat, page->beat_us);
  for (int i = 0; i < COUNTER_COUNT; i++)
    json_object_set_new(counters, counter_list[i].name, integer(page->value[i]));
  for (uint32_t i = 0; i < COUNTER_REASONS; i++)
    if (page->reason[i])
      json_object_set_new(reasons, vocabulary_reason(i), integer(page->reason[i]));
  json_object_set_new(object, "role", json_string(page->role));
  json_object_set_new(object, "pid", json_integer(page->pid));
  json_object_set_new(object, "state", json_string(ops_view_state(page->state)));
  json_object_set_new(object, "alive", json_boolean(page->alive));
  json_object_set_new(object, "started", json_string(started));
  json_object_set_new(object, "last_beat", json_string(beat));
  json_object_set_new(object, "conserved", json_boolean(ops_view_page_conserved(page)));
  json_object_set_new(object, "counters", counters);
  json_object_set_new(object, "reasons", reasons);
  return object;
}

static json_t *shard_of(const struct ops_status *s, uint32_t number)
{
  const struct ops_status_shard *shard = &s->shard[number];
  json_t *object = json_object();
  json_object_set_new(object, "shard", json_integer(number));
  json_object_set_new(object, "records", integer(shard->records));
  json_object_set_new(object, "file_bytes", integer(shard->file_bytes));
  if (s->pid)
    json_object_set_new(object, "index_bytes", integer(shard->index_bytes));
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
  json_object_set_new(object, "state", json_string(ops_view_state(s->state)));
  json_object_set_new(object, "uptime_s", integer(s->uptime_s));
  json_object_set_new(object, "restarts", integer(s->restarts));
  json_object_set_new(object, "endpoints", endpoints_of(s));
  json_object_set_new(object, "conserved", json_boolean(ops_view_conserved(&s->after)));
  for (size_t i = 0; i < LENGTH(totals); i++)
    json_object_set_new(object, counter_list[totals[i]].name, integer(ops_view_sum(&s->after, "ingest-", totals[i])));
  json_object_set_new(object, "credit", integer(ops_view_most(&s->after, "ingest-", COUNTER_credit)));
  json_object_set_new(object, "retry_after_ms", integer(ops_view_most(&s->after, "ingest-", COUNTER_retry_after_ms)));
  json_object_set_new(object, "rates", rates_of(s));
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
