#include "ops/words.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "ops/endpoints.h"
#include "ops/table.h"

void ops_words_say(const char *format, ...)
{
  static char line[ENDPOINTS_TEXT + 512];
  va_list list;
  va_start(list, format);
  vsnprintf(line, sizeof line, format, list);
  va_end(list);
  fputs(line, stderr);
}

struct sums {
  uint64_t records, in_flight;
  bool disk, memory; /* some shard tells BUSY for it */
};

static int add_page(void *context, const struct counters_snapshot *page)
{
  struct sums *sums = context;
  if (strncmp(page->role, "worker-", 7) == 0) {
    const bool blocked = page->value[COUNTER_store_blocked], memory = page->value[COUNTER_index_full];
    sums->records += page->value[COUNTER_store_records];
    sums->memory |= memory;
    sums->disk |= blocked && !memory;
  }
  if (strncmp(page->role, "ingest-", 7) == 0)
    sums->in_flight += page->value[COUNTER_records_in_flight];
  return 0;
}

static struct sums read_pages(const struct node *n)
{
  struct sums sums = {0};
  struct failure ignored = FAILURE_NONE;
  char path[LIMIT_PATH_BYTES];
  datadir_path(n->data, path, "run/counters");
  counters_each(path, add_page, &sums, &ignored);
  return sums;
}

void ops_words_ready(const struct node *n, char *endpoints)
{
  char records[TABLE_NUMBER];
  for (char *c = endpoints; *c; c++)
    if (*c == '\n')
      *c = ' ';
  const struct sums sums = read_pages(n);
  ops_table_number(records, sums.records);
  uint32_t serving = 0;
  char workers[48], down[64] = "";
  for (uint32_t i = 0; i < n->workers; i++)
    serving += n->worker[i].ready;
  if (serving < n->workers) {
    snprintf(workers, sizeof workers, "%u of %u", serving, n->workers);
    snprintf(down, sizeof down, " · the other shards are down: muster status says why");
  } else
    snprintf(workers, sizeof workers, "%u", n->workers);
  ops_words_say(
      "muster: ready: %s· %s worker%s · %s records%s%s\n", endpoints, workers, n->workers == 1 ? "" : "s", records, down,
      sums.disk ? " · but BUSY: less disk is free than disk_reserve_bytes in [store]; reading works, submitters wait until there is space"
      : sums.memory ? " · but BUSY: the index has used up index_bytes in [store]; reading works, submitters wait until a start with more"
                    : "");
}

int ops_words_last(const struct node *n)
{
  char records[TABLE_NUMBER];
  struct sums sums = read_pages(n);
  ops_table_number(records, sums.records);
  if (n->last_word[0]) {
    ops_words_say("muster: %s\n", n->last_word);
    return n->exit_code;
  }
  if (n->cut || sums.in_flight) {
    ops_words_say("muster: stopped: %s records; some submitters had no answer yet and will send again; nothing acknowledged is lost\n",
                  records);
    return EX_TEMPFAIL;
  }
  ops_words_say("muster: stopped: %s records, all answered\n", records);
  return EX_OK;
}
