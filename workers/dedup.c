#include "workers/dedup.h"

#include <string.h>

#include "proto/batch.h"
#include "proto/digest.h"
#include "proto/wire.pb-c.h"

static const uint8_t *id_of(const struct dedup_candidate *c) { return c->view.field[FIELD_ENCOUNTER_ID].bytes; }

void dedup_prepare(struct store *store, struct dedup_candidate *c)
{
  c->fingerprint = store_fingerprint(store, id_of(c));
  digest_content(c->digest, &c->view);
}

/* The verdict, or VERDICT_UNSPECIFIED where the store has failed (status says why). */
static uint32_t dedup_judge(struct store *store, const struct dedup_candidate *c, uint64_t *sequence, int *status)
{
  uint8_t first_digest[16];
  int found = store_find(store, id_of(c), c->fingerprint, sequence, first_digest);
  if (found > 0)
    return memcmp(first_digest, c->digest, sizeof first_digest) == 0 ? MUSTER__V1__VERDICT__VERDICT_DUPLICATE
                                                                     : MUSTER__V1__VERDICT__VERDICT_CONFLICT;
  if (found == 0)
    *sequence = store_append(store, &c->view, c->digest, c->fingerprint, c->receipt);
  if (found == 0 && *sequence > 0)
    return MUSTER__V1__VERDICT__VERDICT_ACCEPTED;
  *status = found < 0 ? found : MUSTER_ERR_IO;
  return MUSTER__V1__VERDICT__VERDICT_UNSPECIFIED;
}

int dedup_settle(struct store *store, uint32_t shard, const struct dedup_candidate *run, size_t count)
{
  int status = MUSTER_OK;
  for (const struct dedup_candidate *c = run; c < run + count; c++)
    store_prefetch(store, c->fingerprint);
  for (const struct dedup_candidate *c = run; c < run + count; c++) {
    uint64_t sequence = 0;
    uint32_t verdict = dedup_judge(store, c, &sequence, &status);
    if (verdict == MUSTER__V1__VERDICT__VERDICT_UNSPECIFIED)
      return status;
    if (verdict == MUSTER__V1__VERDICT__VERDICT_CONFLICT)
      store_quarantine(store, c->view.record, c->view.record_size, MUSTER__V1__REASON__REASON_CONFLICT, 0, c->receipt);
    *c->word = verdict_durable(verdict, shard, sequence);
  }
  return MUSTER_OK;
}

int dedup_judge_unread(struct store *store, const uint8_t id[16], const uint8_t *bytes, size_t size, uint64_t *sequence)
{
  uint8_t first_digest[16];
  int found = store_find(store, id, store_fingerprint(store, id), sequence, first_digest);
  if (found <= 0)
    return found < 0 ? found : MUSTER__V1__VERDICT__VERDICT_UNSPECIFIED;
  int same = store_has_bytes(store, *sequence, bytes, size);
  if (same < 0)
    return same;
  return same ? MUSTER__V1__VERDICT__VERDICT_DUPLICATE : MUSTER__V1__VERDICT__VERDICT_CONFLICT;
}
