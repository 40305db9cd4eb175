#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/metrics.h"
#include "ops/status.h"
#include "ops/table.h"
#include "proto/text.h"
#include "proto/vocabulary.h"

/* Where all is well the whole is a screen of 80 columns and 24 lines, with two workers: processes are shown only where one of them is
 * not as it should be, and of submitters those that sent most. */
#define SUBMITTERS_SHOWN 3u

static char *number_of(const struct ops_status *s, enum counter_id id, char out[TABLE_NUMBER])
{
  return ops_table_number(out, ops_view_sum(&s->after, "ingest-", id));
}

static char *rate_of(const struct ops_status *s, enum counter_id id, char out[TABLE_NUMBER])
{
  return ops_table_number(out, (uint64_t)(ops_view_rate(&s->before, &s->after, "ingest-", id) + 0.5));
}

static void print_node(const struct ops_status *s)
{
  char a[TABLE_NUMBER], b[TABLE_NUMBER], c[TABLE_NUMBER];
  const char *line = s->endpoints;
  const uint64_t peers = ops_view_sum(&s->after, "ingest-", COUNTER_peers);
  printf("node       %s, pid %u, up %s, %s restart%s, %s connection%s\n", metrics_state_name(s->state), s->pid,
         ops_table_duration(a, s->uptime_s), ops_table_number(b, s->restarts), s->restarts == 1 ? "" : "s", ops_table_number(c, peers),
         peers == 1 ? "" : "s");
  for (bool first = true; *line; first = false) {
    size_t size = strcspn(line, "\n");
    printf("%-10s %.*s\n", first ? "endpoints" : "", (int)size, line);
    line += size + (line[size] == '\n');
  }
}

/* The three reasons that were met most, with the records or batches that they were told for. */
static void print_reasons(const struct ops_status *s, const char *heading, enum counter_per per, uint32_t first, uint32_t last)
{
  uint32_t reason[3] = {0};
  uint64_t most[3] = {0};
  for (uint32_t r = first; r <= last; r++) {
    const uint64_t count = ops_view_reason(&s->after, "ingest-", per, r);
    for (int at = 0; at < 3; at++) {
      if (count <= most[at])
        continue;
      for (int behind = 2; behind > at; behind--) {
        most[behind] = most[behind - 1];
        reason[behind] = reason[behind - 1];
      }
      most[at] = count;
      reason[at] = r;
      break;
    }
  }
  for (int at = 0; at < 3 && most[at]; at++) {
    char n[TABLE_NUMBER];
    printf("%s%s %s", at ? ", " : heading, vocabulary_reason(reason[at]), ops_table_number(n, most[at]));
  }
  if (most[0])
    putchar('\n');
}

static void print_records(const struct ops_status *s)
{
  char n[7][TABLE_NUMBER];
  printf("records    %s received: %s accepted, %s duplicate, %s conflict,\n           %s invalid, %s handed back, %s in flight\n",
         number_of(s, COUNTER_records_received, n[0]), number_of(s, COUNTER_records_accepted, n[1]),
         number_of(s, COUNTER_records_duplicate, n[2]), number_of(s, COUNTER_records_conflict, n[3]),
         number_of(s, COUNTER_records_invalid, n[4]), number_of(s, COUNTER_records_handed_back, n[5]),
         number_of(s, COUNTER_records_in_flight, n[6]));
  print_reasons(s, "invalid    ", COUNTER_RECORDS, 1, LIMIT_RECORD_REASONS - 1);
}

/* What was answered while we looked; where that was nothing, since the node was started. */
static void print_rates(const struct ops_status *s)
{
  char n[3][TABLE_NUMBER];
  struct counters_histogram ack;
  ops_view_histogram(&s->before, &s->after, HISTOGRAM_batch_ack, &ack);
  const bool now = counters_histogram_count(&ack) > 0;
  if (!now)
    ops_view_histogram(NULL, &s->after, HISTOGRAM_batch_ack, &ack);
  printf("per second %s received, %s accepted, %s duplicate\n", rate_of(s, COUNTER_records_received, n[0]),
         rate_of(s, COUNTER_records_accepted, n[1]), rate_of(s, COUNTER_records_duplicate, n[2]));
  if (counters_histogram_count(&ack) > 0)
    printf("answered   half within %.1f ms, 99 %% within %.1f ms%s\n",
           (double)counters_histogram_quantile(HISTOGRAM_batch_ack, &ack, 0.5) / 1e6,
           (double)counters_histogram_quantile(HISTOGRAM_batch_ack, &ack, 0.99) / 1e6, now ? "" : " (before; idle now)");
}

static void print_batches(const struct ops_status *s)
{
  char n[4][TABLE_NUMBER];
  printf("batches    %s received, %s in flight, %s told BUSY, %s refused\n", number_of(s, COUNTER_batches_received, n[0]),
         number_of(s, COUNTER_batches_in_flight, n[1]), number_of(s, COUNTER_batches_busy, n[2]),
         number_of(s, COUNTER_batches_refused, n[3]));
  print_reasons(s, "told BUSY  ", COUNTER_BATCHES, 200, 249);
  print_reasons(s, "refused    ", COUNTER_BATCHES, LIMIT_RECORD_REASONS, 199);
  printf("room       %s of %s held, ", ops_table_bytes(n[0], ops_view_sum(&s->after, "ingest-", COUNTER_budget_used_bytes)),
         ops_table_bytes(n[1], ops_view_sum(&s->after, "ingest-", COUNTER_budget_bytes)));
  printf("credit %s, retry after %s ms\n", ops_table_number(n[0], ops_view_most(&s->after, "ingest-", COUNTER_credit)),
         ops_table_number(n[1], ops_view_most(&s->after, "ingest-", COUNTER_retry_after_ms)));
}

static void print_judgement(const struct ops_status *s)
{
  char n[TABLE_NUMBER];
  if (ops_view_conserved(&s->after))
    printf("conserved  yes: every record received is answered, handed back, or in flight\n");
  else
    printf("conserved  NO: %s records are not accounted for; this is a fault of the node\n",
           ops_table_number(n, ops_view_unaccounted(&s->after)));
  if (s->room.limit != VIEW_LIMIT_NONE)
    printf("full in    %s at the present rate: the %s of shard %u\n", ops_table_duration(n, s->room.seconds),
           ops_view_limit_name(s->room.limit), s->room.shard);
}

/* By most received; with one alone there is nothing to compare. */
static int by_received(const void *left, const void *right)
{
  const uint64_t a = ((const struct counters_submitter *)left)->value[SUBMITTER_records_received];
  const uint64_t b = ((const struct counters_submitter *)right)->value[SUBMITTER_records_received];
  return (a < b) - (a > b);
}

static void print_submitters(const struct ops_status *s)
{
  static const char *const headings[] = {"submitter", "received", "accepted", "duplicate", "invalid", "BUSY", "last seen (UTC)"};
  static const enum submitter_id columns[] = {SUBMITTER_records_received, SUBMITTER_records_accepted, SUBMITTER_records_duplicate,
                                              SUBMITTER_records_invalid, SUBMITTER_batches_busy};
  struct ops_table t;
  struct counters_submitter *sorted = s->submitters < 2 ? NULL : malloc(s->submitters * sizeof *sorted);
  if (!sorted)
    return;
  memcpy(sorted, s->submitter, s->submitters * sizeof *sorted);
  qsort(sorted, s->submitters, sizeof *sorted, by_received);
  ops_table_init(&t, 7);
  for (size_t c = 0; c < 7; c++)
    ops_table_cell(&t, c, headings[c]);
  for (uint32_t row = 0; row < s->submitters && row < SUBMITTERS_SHOWN; row++) {
    char seen[TEXT_TIME] = "", name[24];
    snprintf(name, sizeof name, "%.19s%s", sorted[row].name, strlen(sorted[row].name) > 19 ? "..." : "");
    ops_table_cell(&t, 0, name);
    for (size_t c = 0; c < 5; c++)
      ops_table_count(&t, c + 1, sorted[row].value[columns[c]]);
    text_time(seen, (int64_t)sorted[row].value[SUBMITTER_last_seen]);
    seen[19] = '\0';
    ops_table_cell(&t, 6, seen + 11); /* the time of day */
  }
  putchar('\n');
  ops_table_print(&t, 0, stdout);
  if (s->submitters > SUBMITTERS_SHOWN)
    printf("and %u more: muster status --json\n", s->submitters - SUBMITTERS_SHOWN);
  ops_table_finish(&t);
  free(sorted);
}

static bool all_is_well(const struct ops_status *s)
{
  for (size_t i = 0; i < s->after.count; i++)
    if (!s->after.page[i].alive || s->after.page[i].state != PROCESS_SERVING)
      return false;
  return ops_view_conserved(&s->after);
}

static void print_processes(const struct ops_status *s)
{
  static const char *const headings[] = {"process", "pid", "state", "up", "received", "accepted", "duplicate", "in flight", "conserved"};
  struct ops_table t;
  ops_table_init(&t, 9);
  for (size_t c = 0; c < 9; c++)
    ops_table_cell(&t, c, headings[c]);
  for (size_t i = 0; i < s->after.count; i++) {
    const struct counters_snapshot *page = &s->after.page[i];
    char text[TABLE_NUMBER];
    bool counts = strcmp(page->role, "run") != 0;
    ops_table_cell(&t, 0, page->role);
    snprintf(text, sizeof text, "%u", page->pid);
    ops_table_cell(&t, 1, text);
    ops_table_cell(&t, 2, page->alive ? metrics_state_name(page->state) : "dead");
    ops_table_cell(&t, 3, page->alive ? ops_table_duration(text, page->uptime_s) : "");
    if (!counts)
      continue;
    ops_table_count(&t, 4, page->value[COUNTER_records_received]);
    ops_table_count(&t, 5, page->value[COUNTER_records_accepted]);
    ops_table_count(&t, 6, page->value[COUNTER_records_duplicate]);
    ops_table_count(&t, 7, page->value[COUNTER_records_in_flight]);
    ops_table_cell(&t, 8, metrics_unaccounted(page) == 0 ? "yes" : "NO");
  }
  ops_table_print(&t, 0, stdout);
  ops_table_finish(&t);
}

static void print_shards(const struct ops_status *s)
{
  static const char *const headings[] = {"shard", "records", "data file", "index", "room for", "quarantined", "disk free", "state"};
  struct ops_table t;
  uint64_t records = 0;
  ops_table_init(&t, 8);
  for (size_t c = 0; c < 8; c++)
    ops_table_cell(&t, c, headings[c]);
  for (uint32_t i = 0; i < s->shards; i++) {
    const struct ops_status_shard *shard = &s->shard[i];
    char text[TABLE_NUMBER];
    snprintf(text, sizeof text, "%u", i);
    ops_table_cell(&t, 0, text);
    ops_table_count(&t, 1, shard->records);
    ops_table_cell(&t, 2, ops_table_bytes(text, shard->file_bytes));
    ops_table_cell(&t, 3, s->pid ? ops_table_bytes(text, shard->index_bytes) : "-");
    ops_table_cell(&t, 4, shard->index_records_max ? ops_table_number(text, shard->index_records_max) : "-");
    ops_table_count(&t, 5, shard->quarantined);
    ops_table_cell(&t, 6, ops_table_bytes(text, shard->disk_free_bytes));
    ops_table_cell(&t, 7,
                   shard->down && !shard->serving ? "DOWN"
                   : shard->index_full            ? "BUSY: memory"
                   : shard->blocked               ? "BUSY: disk"
                   : shard->serving               ? "serving"
                                                  : "not serving");
    records += shard->records;
  }
  t.right[2] = t.right[3] = t.right[4] = t.right[6] = 1;
  ops_table_cell(&t, 0, "total");
  ops_table_count(&t, 1, records);
  ops_table_print(&t, 1, stdout);
  ops_table_finish(&t);
}

static uint32_t others_serving(const struct ops_status *s, uint32_t shard)
{
  uint32_t serving = 0;
  for (uint32_t i = 0; i < s->shards; i++)
    serving += i != shard && s->shard[i].serving;
  return serving;
}

/* Below the table, where whoever was called looks first. */
static void print_outages(const struct ops_status *s)
{
  for (uint32_t i = 0; i < s->shards; i++) {
    const struct ops_status_shard *shard = &s->shard[i];
    char since[TEXT_TIME] = "", again[64] = "it is up as soon as it is open";
    if (!shard->down)
      continue;
    if (!s->pid) {
      printf("\nshard %u cannot be read: %s\n  what to do: %s\n", i, shard->outage.cause, ops_outage_remedy(shard->outage.kind));
      continue;
    }
    text_time(since, shard->outage.since_us);
    if (shard->outage.retry_ms)
      snprintf(again, sizeof again, "it is tried again every %u s", (shard->outage.retry_ms + 999) / 1000);
    printf("\nshard %u is DOWN since %s%s: %s\n"
           "  its records are told BUSY, of the %u other shards %u serve; %s\n"
           "  what to do: %s\n",
           i, since, shard->serving ? " (up for the moment)" : "", shard->outage.cause, s->shards - 1, others_serving(s, i), again,
           ops_outage_remedy(shard->outage.kind));
  }
}

void ops_status_print_text(const struct ops_status *s)
{
  if (s->pid) {
    print_node(s);
    print_records(s);
    print_rates(s);
    print_batches(s);
    print_judgement(s);
    print_submitters(s);
    putchar('\n');
    if (!all_is_well(s)) {
      print_processes(s);
      putchar('\n');
    }
  }
  print_shards(s);
  print_outages(s);
}
