/*
 * Exactly one copy: says of each record that has passed the rules whether it is the first of its id, the same again, or
 * another content under a used id. Works on runs, so that the index's memory is on its way for all records of a run
 * before the first is looked up. The store remembers; nothing is kept here between runs. Workers only. A candidate and
 * the bytes that its view points to are the caller's, and must stay until dedup_settle has returned.
 */
#ifndef MUSTER_WORKERS_DEDUP_H
#define MUSTER_WORKERS_DEDUP_H

#include <stddef.h>
#include <stdint.h>

#include "proto/scan.h"
#include "store/store.h"

struct dedup_candidate {
  struct encounter_view view; /* passed the rules, so its id has 16 bytes */
  const struct store_receipt *receipt;
  uint64_t *word; /* where the verdict word goes */
  uint64_t fingerprint;
  uint8_t digest[16];
};

/* Digests the record. View, receipt and word are set by the caller. */
void dedup_prepare(struct store *store, struct dedup_candidate *candidate);

/* Writes the verdict word of each candidate, in order: ACCEPTED (appended in this transaction), DUPLICATE or CONFLICT with the first
 * copy's sequence. A conflict's bytes go to the quarantine. MUSTER_OK, or the store's error: then words from the failing candidate on
 * are unchanged, and the transaction cannot be committed. */
int dedup_settle(struct store *store, uint32_t shard, const struct dedup_candidate *run, size_t count);

/* Of a record that is not to be decoded, with the id that a walk over its tags has found: DUPLICATE where the store has its very bytes,
 * CONFLICT where it has others under this id, both with the sequence; VERDICT_UNSPECIFIED where it has none. Or the store's error. What came
 * before in the group is to be settled first. */
int dedup_judge_unread(struct store *store, const uint8_t id[16], const uint8_t *bytes, size_t size, uint64_t *sequence);

#endif
