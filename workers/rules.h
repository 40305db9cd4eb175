/*
 * The rules that a decoded record must keep: a table (workers/rules.def) of name, pure function, the wire Reason that is
 * also its counter, the field that is at fault, and a sentence for people. Order is from basic to cross-field, and the
 * first broken rule gives the verdict, so a function may be read as "all before it hold". Workers only. The context is
 * the caller's and is read, never written, by the rules; the areas it points to are constant tables.
 */
#ifndef MUSTER_WORKERS_RULES_H
#define MUSTER_WORKERS_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/config.h"
#include "proto/scan.h"
#include "proto/vocabulary.h"

#define RULES_AREAS 256 /* area numbers end below; found by number without a search */

struct rules_context {
  int64_t now_us;         /* wall clock, set by the caller for each group */
  int64_t future_skew_us; /* an encounter may lie so far ahead of now_us */
  int64_t earliest_us;    /* and not before this moment */
  const struct vocabulary_area *area[RULES_AREAS];
};
/* Everything but now_us, from the settings. */
void rules_context_init(struct rules_context *context, const struct config *config);

struct rule {
  const char *name; /* "time_not_in_future": what holds for a good record */
  bool (*holds)(const struct encounter_view *record, const struct rules_context *context);
  uint32_t reason;      /* Muster__V1__Reason */
  uint32_t field;       /* number of the Encounter field that the verdict names */
  const char *sentence; /* what the rule asks, for people */
};
extern const struct rule rules_table[];
extern const size_t rules_count;

/* The first rule of the table that the record breaks; NULL where all hold. */
const struct rule *rules_first_broken(const struct encounter_view *record, const struct rules_context *context);

#endif
