#include "ingest/wait.h"

#define MS UINT64_C(1000000)

/* The supervisor starts a worker again 20 ms after its death, more slowly where it does not come up, and it needs the longer the more it has to
 * read. Half of the time that the shard has been down, or silent, is waited once more, so that nobody asks much too often or comes much
 * too late. */
static uint32_t wait_outage_ms(const struct ingest_shard *s, uint64_t now_ns)
{
  uint64_t since_ns = s->serving ? s->heard_ns : s->down_ns;
  uint64_t wait_ms = now_ns > since_ns ? (now_ns - since_ns) / 2 / MS : 0;
  if (wait_ms < LIMIT_RETRY_OUTAGE_MIN_MS)
    return LIMIT_RETRY_OUTAGE_MIN_MS;
  return wait_ms > LIMIT_RETRY_MAX_MS ? LIMIT_RETRY_MAX_MS : (uint32_t)wait_ms;
}

static uint32_t wait_shards_ms(const struct ingest_flow *f, uint64_t now_ns)
{
  uint32_t most_ms = LIMIT_RETRY_OUTAGE_MIN_MS;
  for (uint32_t shard = 0; shard < f->shards; shard++) {
    const struct ingest_shard *s = &f->shard[shard];
    uint32_t ms = f->split.part_records[shard] > 0 && ingest_shard_is_down(s, now_ns) ? wait_outage_ms(s, now_ns) : 0;
    most_ms = ms > most_ms ? ms : most_ms;
  }
  return most_ms;
}

uint32_t ingest_wait_busy_ms(const struct ingest_flow *f, uint32_t peer, uint32_t reason, uint64_t now_ns)
{
  switch (reason) {
  case MUSTER__V1__REASON__REASON_BUSY_SHARD_DOWN: return wait_shards_ms(f, now_ns);
  case MUSTER__V1__REASON__REASON_BUSY_DRAINING: return LIMIT_RETRY_DRAINING_MS;
  default: return ingest_admit_retry_after_ms(&f->admit, peer, reason);
  }
}

struct ingest_wait ingest_wait_answer(struct ingest_flow *f, uint32_t slot, uint64_t now_ns)
{
  struct ingest_wait wait = {.busy_ms = LIMIT_RETRY_DISK_MS, .retry_ms = LIMIT_RETRY_OUTAGE_MIN_MS};
  for (uint32_t shard = 0; shard < f->shards; shard++) {
    const struct ingest_part *part = ingest_gather_part(&f->gather, slot, shard);
    uint32_t ms = part->record_count > 0 ? wait_outage_ms(&f->shard[shard], now_ns) : 0;
    wait.retry_ms = ms > wait.retry_ms ? ms : wait.retry_ms;
    wait.busy_ms = part->refused && ms > wait.busy_ms ? ms : wait.busy_ms;
  }
  return wait;
}
