/* What looks at one record: the walk for its id (ingest), the scan, the rules and the digest (worker). Beside them, what protobuf-c's own
 * unpack takes: the scan is there because of it. */
#include "bench/micro/micro.h"

#include "core/config.h"
#include "proto/digest.h"
#include "proto/encounter.pb-c.h"
#include "workers/rules.h"

static struct micro_set set;
static struct rules_context context;

static bool open_set(uint32_t count) { return micro_set_make(&set, count); }
static void close_set(void) { micro_set_free(&set); }

static uint32_t run_scan_id(void)
{
  uint32_t done = 0;
  for (uint32_t i = 0; i < set.count; i++)
    done += scan_encounter_id(set.record[i].bytes, set.record[i].size) != NULL;
  return done;
}

static uint32_t run_scan(void)
{
  struct encounter_view view;
  struct scan_fault fault;
  uint32_t done = 0;
  for (uint32_t i = 0; i < set.count; i++)
    done += scan_encounter(&view, set.record[i].bytes, set.record[i].size, &fault) && view.canonical;
  return done;
}

static uint32_t run_unpack(void)
{
  uint32_t done = 0;
  for (uint32_t i = 0; i < set.count; i++) {
    Muster__V1__Encounter *e = muster__v1__encounter__unpack(NULL, set.record[i].size, set.record[i].bytes);
    done += e && e->has_encounter_id;
    muster__v1__encounter__free_unpacked(e, NULL);
  }
  return done;
}

static bool open_rules(uint32_t count)
{
  struct config config;
  config_defaults(&config);
  rules_context_init(&context, &config);
  context.now_us = MICRO_NOW_US;
  return open_set(count);
}

static uint32_t run_rules(void)
{
  uint32_t done = 0;
  for (uint32_t i = 0; i < set.count; i++)
    done += rules_first_broken(&set.record[i].view, &context) == NULL;
  return done;
}

static uint32_t run_digest(void)
{
  uint32_t done = 0;
  for (uint32_t i = 0; i < set.count; i++) {
    uint8_t digest[16];
    digest_content(digest, &set.record[i].view);
    done += digest[0] == set.record[i].digest[0];
  }
  return done;
}

#define RECORD_CASE(case, opens, text)                                                                                                     \
  const struct micro_case micro_##case = {.name = #case,                                                                                   \
                                          .sentence = text,                                                                                \
                                          .count = MICRO_BATCH,                                                                            \
                                          .count_max = MICRO_RECORDS_MAX,                                                                  \
                                          .open = opens,                                                                                   \
                                          .run = run_##case,                                                                               \
                                          .close = close_set}
RECORD_CASE(scan_id, open_set, "the walk over a record's tags for its encounter_id, which ingest routes by");
RECORD_CASE(scan, open_set, "decoding in place");
RECORD_CASE(unpack, open_set, "protobuf-c's unpack and free of the same records, to compare with");
RECORD_CASE(rules, open_rules, "the table of rules, none broken");
RECORD_CASE(digest, open_set, "the content digest of a canonical record");
