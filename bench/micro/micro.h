/*
 * What every record pays on its way, each in a case of its own: nanoseconds for people, instructions for a machine
 * (callgrind counts them, and they repeat). A case sets up what it needs, which is not measured, and then goes over its
 * records in one call, which is. One case is open at a time, so a case keeps its state in its own file. One process,
 * no threads, no clock and no randomness but fixed seeds within what is measured.
 */
#ifndef MUSTER_BENCH_MICRO_MICRO_H
#define MUSTER_BENCH_MICRO_MICRO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/limits.h"
#include "proto/scan.h"

struct micro_case {
  const char *name;
  const char *sentence;         /* for --list */
  uint32_t count;               /* records of a round, unless --count says otherwise */
  uint32_t count_max;           /* what --count may say */
  bool (*open)(uint32_t count); /* false: it said why */
  void (*prepare)(void);        /* before each round; NULL: a round leaves nothing behind */
  uint32_t (*run)(void);        /* one round; how many records it did its work for: all of them, or the figure is void */
  void (*close)(void);          /* after open, a failed one too */
};

/* record.c: what looks at one record. index.c, store.c, ingest.c: those rooms. counts.c: what a worker counts. */
extern const struct micro_case micro_scan_id, micro_scan, micro_unpack, micro_rules, micro_digest;
extern const struct micro_case micro_index_insert, micro_index_hit, micro_index_miss;
extern const struct micro_case micro_find_hit, micro_tally, micro_block_build;
extern const struct micro_case micro_scatter, micro_gather, micro_counted;

/* The symbol that callgrind is told to collect in (check.py): one call of run, and nothing else. */
uint32_t micro_measured(const struct micro_case *c);

bool micro_complain(const char *format, ...) __attribute__((format(printf, 1, 2))); /* a sentence on standard error; false */

/* ---- the records that cases share: set.c ---- */

#define MICRO_BATCH 1000u        /* what `muster submit` puts into a batch; fits the second-level cache, as a batch in work does */
#define MICRO_RECORDS_MAX 10000u /* one batch at most: LIMIT_BATCH_RECORDS */
#define MICRO_NOW_US INT64_C(1640995200000000) /* 2022-01-01, after every record of the set */

struct micro_record {
  const uint8_t *bytes; /* in the stream */
  uint32_t size;
  uint8_t digest[16];
  struct encounter_view view;
};
/* A small surge: the mix of the first profile, in the order of time. The same on every machine. */
struct micro_set {
  uint32_t count;
  struct micro_record *record;
  uint8_t *stream; /* the records delimited, one behind the other */
  size_t stream_bytes;
};
bool micro_set_make(struct micro_set *set, uint32_t count); /* 1 to MICRO_RECORDS_MAX records */
void micro_set_free(struct micro_set *set);                 /* a zeroed or freed one is fine */

/* A counter page in a file that has no name any more; NULL: it said why. */
struct counters;
struct counters *micro_page_open(void);
void micro_page_close(struct counters *c); /* NULL is fine */

static inline const uint8_t *micro_record_id(const struct micro_record *r) { return r->view.field[FIELD_ENCOUNTER_ID].bytes; }

#endif
