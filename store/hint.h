/*
 * The hint: the index as a file, written at a clean close so that the next start need not read the journal's columns. It
 * is believed only if it is whole (checksum) and of exactly the state that meta names (format, shard, seed, last
 * sequence, chain head); anything else is as good as no hint, and the index is rebuilt. It is removed before the first
 * append after it was loaded. Layout: header, entries of each table (4 bytes each), entries of all tables in order,
 * XXH3-128 of everything before. Inside store/ only; the writer's.
 */
#ifndef MUSTER_STORE_HINT_H
#define MUSTER_STORE_HINT_H

#include <stdbool.h>

#include "core/failure.h"
#include "store/env_call.h"
#include "store/index.h"
#include "store/meta.h"

/* What, beside meta, the entries depend on. */
struct store_hint_state {
  const struct store_meta *meta;
  uint64_t fingerprint_mask;
};

/* true: the index, empty before, is loaded. false: there is no hint that fits, the index is empty. */
bool store_hint_load(const struct store_env *e, const struct store_hint_state *state, struct store_index *x);
/* Replaces the hint atomically. A failure leaves none. */
int store_hint_write(const struct store_env *e, const struct store_hint_state *state, const struct store_index *x, struct failure *failure);
/* Removes it, durably. */
int store_hint_remove(const struct store_env *e, struct failure *failure);

#endif
