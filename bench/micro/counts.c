/* What a worker counts of a group, from its words: verdicts, reasons, times. One part of a batch, whose records are new but for a few. */
#include "bench/micro/micro.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/counters.h"
#include "muster/status.h"
#include "proto/wire.pb-c.h"
#include "workers/counts.h"

#define DUPLICATE_EVERY 50u /* as the case gather */
#define RECORD_BYTES 250u

static struct counters *counters;
static uint64_t *words;
static uint32_t records;

struct counters *micro_page_open(void)
{
  const char *base = getenv("TMPDIR");
  char directory[256], path[sizeof directory + 16];
  struct counters *page = NULL;
  struct failure failure = FAILURE_NONE;
  snprintf(directory, sizeof directory, "%s/muster-micro-XXXXXX", base ? base : "/tmp");
  if (!mkdtemp(directory)) {
    micro_complain("no directory can be made in %s", base ? base : "/tmp");
    return NULL;
  }
  if (counters_create(&page, directory, "micro", &failure) != MUSTER_OK)
    micro_complain("%s", failure.text);
  snprintf(path, sizeof path, "%s/micro", directory);
  unlink(path);
  rmdir(directory);
  return page;
}

void micro_page_close(struct counters *c) { counters_destroy(c); }

static bool open_counted(uint32_t count)
{
  counters = micro_page_open();
  words = calloc(count, sizeof *words);
  records = count;
  if (!counters || !words)
    return micro_complain("there is no memory for the words");
  for (uint32_t i = 0; i < count; i++) {
    const bool again = i % DUPLICATE_EVERY == DUPLICATE_EVERY - 1;
    words[i] = verdict_durable(again ? MUSTER__V1__VERDICT__VERDICT_DUPLICATE : MUSTER__V1__VERDICT__VERDICT_ACCEPTED, 0, i + 1);
  }
  return true;
}

static uint32_t run_counted(void)
{
  const struct group group = {.part_count = 1, .record_count = records, .words = words};
  const struct counts_commit commit = {.decode_ns = 500000, .dedup_ns = 100000, .commit_ns = 3000000, .sync_ns = 2000000};
  counts_taken(counters, records, (uint64_t)records * RECORD_BYTES);
  return counts_settled(counters, &group, &commit) > 0 ? records : 0;
}

static void close_counted(void)
{
  micro_page_close(counters);
  counters = NULL;
  free(words);
  words = NULL;
}

const struct micro_case micro_counted = {.name = "counted",
                                         .sentence = "what a worker counts of a group: verdicts and reasons from its words, times",
                                         .count = MICRO_BATCH,
                                         .count_max = MICRO_RECORDS_MAX,
                                         .open = open_counted,
                                         .run = run_counted,
                                         .close = close_counted};
