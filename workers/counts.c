#include "workers/counts.h"

#include <string.h>

#include "proto/wire.pb-c.h"

#define VERDICTS 16 /* four bits of a word */

struct words_tally {
  uint64_t verdict[VERDICTS];
  uint64_t reason[COUNTER_REASONS];
};

static void tally_words(struct words_tally *t, const struct group *g)
{
  memset(t, 0, sizeof *t);
  for (uint32_t i = 0; i < g->record_count; i++) {
    uint64_t word = g->words[i];
    t->verdict[verdict_kind(word)]++;
    if (verdict_kind(word) >= MUSTER__V1__VERDICT__VERDICT_INVALID && verdict_reason(word) < COUNTER_REASONS)
      t->reason[verdict_reason(word)]++;
  }
}

void counts_taken(struct counters *c, uint32_t record_count, uint64_t bytes)
{
  counters_begin(c);
  counters_add(c, COUNTER_records_received, record_count);
  counters_add(c, COUNTER_records_in_flight, record_count);
  counters_add(c, COUNTER_batches_received, 1);
  counters_add(c, COUNTER_batches_in_flight, 1);
  counters_add(c, COUNTER_received_bytes, bytes);
  counters_end(c);
}

uint64_t counts_settled(struct counters *c, const struct group *g, const struct counts_commit *commit)
{
  struct words_tally t;
  tally_words(&t, g);
  uint64_t accepted = t.verdict[MUSTER__V1__VERDICT__VERDICT_ACCEPTED];
  uint64_t conflict = t.verdict[MUSTER__V1__VERDICT__VERDICT_CONFLICT];
  uint64_t invalid = t.verdict[MUSTER__V1__VERDICT__VERDICT_INVALID];
  bool wrote = accepted + conflict + invalid > 0; /* an empty transaction is no commit */

  counters_begin(c);
  counters_add(c, COUNTER_records_accepted, accepted);
  counters_add(c, COUNTER_records_duplicate, t.verdict[MUSTER__V1__VERDICT__VERDICT_DUPLICATE]);
  counters_add(c, COUNTER_records_conflict, conflict);
  counters_add(c, COUNTER_records_invalid, invalid);
  counters_add(c, COUNTER_records_handed_back,
               t.verdict[MUSTER__V1__VERDICT__VERDICT_BUSY] + t.verdict[MUSTER__V1__VERDICT__VERDICT_RETRY]);
  counters_subtract(c, COUNTER_records_in_flight, g->record_count);
  counters_add(c, COUNTER_records_misrouted, commit->misrouted);
  counters_add(c, COUNTER_batches_answered, g->part_count);
  counters_subtract(c, COUNTER_batches_in_flight, g->part_count);
  counters_add(c, COUNTER_commits, wrote);
  counters_add(c, COUNTER_commit_records, accepted);
  counters_set(c, COUNTER_store_records, commit->store_records + accepted);
  counters_set(c, COUNTER_store_bytes, commit->file_bytes);
  counters_set(c, COUNTER_disk_free_bytes, commit->disk_free_bytes);
  if (commit->decode_ns > 0) {
    counters_observe(c, HISTOGRAM_group_decode, commit->decode_ns);
    counters_observe(c, HISTOGRAM_group_dedup, commit->dedup_ns);
  }
  if (wrote) {
    counters_observe(c, HISTOGRAM_group_commit, commit->commit_ns);
    counters_observe(c, HISTOGRAM_group_sync, commit->sync_ns);
    counters_observe(c, HISTOGRAM_group_size, accepted);
  }
  for (uint32_t reason = 0; reason < COUNTER_REASONS; reason++)
    if (t.reason[reason])
      counters_add_reason(c, COUNTER_RECORDS, reason, t.reason[reason]);
  counters_end(c);
  return accepted;
}

void counts_answer_dropped(struct counters *c)
{
  counters_begin(c);
  counters_add(c, COUNTER_answers_dropped, 1);
  counters_end(c);
}

void counts_drops_waiting(struct counters *c, uint32_t requests)
{
  counters_begin(c);
  counters_set(c, COUNTER_drops_waiting, requests);
  counters_end(c);
}

void counts_store(struct counters *c, const struct store_facts *facts, uint64_t free_bytes, const struct watermark *watermark)
{
  counters_begin(c);
  counters_set(c, COUNTER_store_records, facts->records);
  counters_set(c, COUNTER_store_bytes, facts->file_bytes);
  counters_set(c, COUNTER_store_free_bytes, free_bytes);
  counters_set(c, COUNTER_store_map_bytes, facts->map_bytes);
  counters_set(c, COUNTER_store_blocked, watermark->reason != 0);
  counters_set(c, COUNTER_disk_free_bytes, watermark->free_bytes);
  counters_set(c, COUNTER_disk_reserve_bytes, watermark->reserve_bytes);
  counters_set(c, COUNTER_index_bytes, facts->index_bytes);
  counters_set(c, COUNTER_index_slots, facts->index_slots);
  counters_set(c, COUNTER_index_records_max, facts->index_records_max);
  counters_set(c, COUNTER_index_full, watermark->reason == MUSTER__V1__REASON__REASON_BUSY_MEMORY);
  counters_set(c, COUNTER_index_growths, facts->index_growths);
  counters_set(c, COUNTER_fingerprint_hits, facts->fingerprint_hits);
  counters_set(c, COUNTER_fingerprint_false, facts->fingerprint_false);
  counters_set(c, COUNTER_quarantine_records, facts->quarantined);
  counters_set(c, COUNTER_quarantine_overflow, facts->quarantine_overflow);
  counters_end(c);
}
