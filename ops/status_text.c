#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ops/status.h"
#include "ops/table.h"
#include "proto/text.h"

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
  char a[TABLE_NUMBER], b[TABLE_NUMBER];
  const char *line = s->endpoints;
  printf("node       %s, pid %u, up %s, %s restart%s\n", ops_view_state(s->state), s->pid, ops_table_duration(a, s->uptime_s),
         ops_table_number(b, s->restarts), s->restarts == 1 ? "" : "s");
  for (bool first = true; *line; first = false) {
    size_t size = strcspn(line, "\n");
    printf("%-10s %.*s\n", first ? "endpoints" : "", (int)size, line);
    line += size + (line[size] == '\n');
  }
}

static void print_records(const struct ops_status *s)
{
  char n[7][TABLE_NUMBER];
  printf("records    %s received: %s accepted, %s duplicate, %s conflict, %s invalid, %s handed back, %s in flight\n",
         number_of(s, COUNTER_records_received, n[0]), number_of(s, COUNTER_records_accepted, n[1]),
         number_of(s, COUNTER_records_duplicate, n[2]), number_of(s, COUNTER_records_conflict, n[3]),
         number_of(s, COUNTER_records_invalid, n[4]), number_of(s, COUNTER_records_handed_back, n[5]),
         number_of(s, COUNTER_records_in_flight, n[6]));
  printf("per second %s received, %s accepted, %s duplicate\n", rate_of(s, COUNTER_records_received, n[0]),
         rate_of(s, COUNTER_records_accepted, n[1]), rate_of(s, COUNTER_records_duplicate, n[2]));
  printf("batches    %s received, %s in flight, %s told BUSY, %s refused; credit %s, retry after %s ms, %s connection%s\n",
         number_of(s, COUNTER_batches_received, n[0]), number_of(s, COUNTER_batches_in_flight, n[1]),
         number_of(s, COUNTER_batches_busy, n[2]), number_of(s, COUNTER_batches_refused, n[3]),
         ops_table_number(n[4], ops_view_most(&s->after, "ingest-", COUNTER_credit)),
         ops_table_number(n[5], ops_view_most(&s->after, "ingest-", COUNTER_retry_after_ms)), number_of(s, COUNTER_peers, n[6]),
         ops_view_sum(&s->after, "ingest-", COUNTER_peers) == 1 ? "" : "s");
  printf("budget     %s of %s in use\n", ops_table_bytes(n[0], ops_view_sum(&s->after, "ingest-", COUNTER_budget_bytes_used)),
         ops_table_bytes(n[1], ops_view_sum(&s->after, "ingest-", COUNTER_budget_bytes)));
  printf("conserved  %s\n", ops_view_conserved(&s->after) ? "yes: every record received is answered, handed back, or in flight"
                                                          : "NO: see the processes below; this is a fault of the node");
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
    ops_table_cell(&t, 2, page->alive ? ops_view_state(page->state) : "dead");
    ops_table_cell(&t, 3, page->alive ? ops_table_duration(text, page->uptime_s) : "");
    if (!counts)
      continue;
    ops_table_count(&t, 4, page->value[COUNTER_records_received]);
    ops_table_count(&t, 5, page->value[COUNTER_records_accepted]);
    ops_table_count(&t, 6, page->value[COUNTER_records_duplicate]);
    ops_table_count(&t, 7, page->value[COUNTER_records_in_flight]);
    ops_table_cell(&t, 8, ops_view_page_conserved(page) ? "yes" : "NO");
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
    putchar('\n');
    print_processes(s);
    putchar('\n');
  }
  print_shards(s);
  print_outages(s);
}
