#include "ingest/admit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "muster/status.h"
#include "proto/wire.pb-c.h"

#define ADMIT_RETRY_MS_MIN 5u
#define ADMIT_RETRY_MS_MAX 5000u
#define ADMIT_RETRY_MS_UNMEASURED 100u /* before the first batch was answered */
#define ADMIT_RETRY_MS_OUTAGE 1000u    /* draining, shard down: no rate tells how long a restart takes */
#define ADMIT_RATE_WEIGHT 0.3          /* of the newest measurement */
#define ADMIT_SIZE_WEIGHT 0.1

int ingest_admit_init(struct ingest_admit *a, uint64_t budget_bytes, uint32_t credit, uint32_t dispatch, uint32_t peers)
{
  uint32_t buckets = 16;
  while (buckets < peers)
    buckets *= 2;
  *a = (struct ingest_admit){
      .budget_bytes = budget_bytes,
      .credit_max = credit,
      .dispatch_max = dispatch,
      .peers = calloc(peers, sizeof(struct ingest_peer)),
      .peers_max = peers,
      .hash = malloc(buckets * sizeof(uint32_t)),
      .hash_mask = buckets - 1,
      .idle_first = INGEST_NONE,
      .idle_last = INGEST_NONE,
      .turn_first = INGEST_NONE,
      .turn_last = INGEST_NONE,
      .slot_next = malloc(LIMIT_BATCHES_IN_FLIGHT * sizeof(uint32_t)),
  };
  if (!a->peers || !a->hash || !a->slot_next) {
    ingest_admit_finish(a);
    return MUSTER_ERR_MEMORY;
  }
  /* Identities are chosen by clients: the seed keeps them from choosing their chain, too. Without it only that is lost. */
  if (getrandom(&a->hash_seed, sizeof a->hash_seed, GRND_NONBLOCK) != (ssize_t)sizeof a->hash_seed)
    a->hash_seed = 0;
  memset(a->hash, 0xff, buckets * sizeof(uint32_t));
  memset(a->slot_next, 0xff, LIMIT_BATCHES_IN_FLIGHT * sizeof(uint32_t));
  return MUSTER_OK;
}

void ingest_admit_finish(struct ingest_admit *a)
{
  free(a->peers);
  free(a->hash);
  free(a->slot_next);
  a->peers = NULL;
  a->hash = a->slot_next = NULL;
}

/* ---- lists ---- */

static void slots_push(struct ingest_admit *a, struct ingest_slots *list, uint32_t slot)
{
  a->slot_next[slot] = INGEST_NONE;
  if (list->first == INGEST_NONE)
    list->first = slot;
  else
    a->slot_next[list->last] = slot;
  list->last = slot;
}

static uint32_t slots_pop(struct ingest_admit *a, struct ingest_slots *list)
{
  uint32_t slot = list->first;
  list->first = a->slot_next[slot];
  return slot;
}

static void idle_remove(struct ingest_admit *a, uint32_t peer)
{
  struct ingest_peer *p = &a->peers[peer];
  if (p->idle_prev == INGEST_NONE)
    a->idle_first = p->idle_next;
  else
    a->peers[p->idle_prev].idle_next = p->idle_next;
  if (p->idle_next == INGEST_NONE)
    a->idle_last = p->idle_prev;
  else
    a->peers[p->idle_next].idle_prev = p->idle_prev;
}

static void idle_append(struct ingest_admit *a, uint32_t peer)
{
  struct ingest_peer *p = &a->peers[peer];
  p->idle_prev = a->idle_last;
  p->idle_next = INGEST_NONE;
  if (a->idle_last == INGEST_NONE)
    a->idle_first = peer;
  else
    a->peers[a->idle_last].idle_next = peer;
  a->idle_last = peer;
}

static void turn_append(struct ingest_admit *a, uint32_t peer)
{
  a->peers[peer].in_turn = true;
  a->peers[peer].turn_next = INGEST_NONE;
  if (a->turn_first == INGEST_NONE)
    a->turn_first = peer;
  else
    a->peers[a->turn_last].turn_next = peer;
  a->turn_last = peer;
}

/* ---- peers ---- */

static uint32_t *peer_bucket(struct ingest_admit *a, enum ingest_origin origin, const uint8_t *identity, uint32_t size)
{
  uint64_t h = a->hash_seed ^ ((uint64_t)origin << 56) ^ 0xcbf29ce484222325u;
  for (uint32_t i = 0; i < size; i++)
    h = (h ^ identity[i]) * 0x100000001b3u;
  return &a->hash[(h ^ h >> 32) & a->hash_mask];
}

static void peer_unhash(struct ingest_admit *a, uint32_t peer)
{
  struct ingest_peer *p = &a->peers[peer];
  uint32_t *link = peer_bucket(a, p->origin, p->identity, p->identity_size);
  while (*link != peer)
    link = &a->peers[*link].hash_next;
  *link = p->hash_next;
}

/* An entry for a newcomer: one never used, or the one that was idle longest. */
static uint32_t peer_entry(struct ingest_admit *a)
{
  if (a->peers_used < a->peers_max)
    return a->peers_used++;
  uint32_t peer = a->idle_first;
  if (peer != INGEST_NONE) {
    idle_remove(a, peer);
    peer_unhash(a, peer);
  }
  return peer;
}

uint32_t ingest_admit_peer(struct ingest_admit *a, enum ingest_origin origin, const uint8_t *identity, uint32_t identity_size,
                           uint32_t submitter, uint64_t now_ns)
{
  uint32_t *bucket = peer_bucket(a, origin, identity, identity_size);
  uint32_t peer = *bucket;
  while (peer != INGEST_NONE) {
    struct ingest_peer *p = &a->peers[peer];
    if (p->origin == origin && p->identity_size == identity_size && memcmp(p->identity, identity, identity_size) == 0)
      break;
    peer = p->hash_next;
  }
  if (peer == INGEST_NONE) {
    peer = peer_entry(a);
    if (peer == INGEST_NONE)
      return INGEST_NONE;
    struct ingest_peer *p = &a->peers[peer];
    *p = (struct ingest_peer){
        .identity_size = identity_size,
        .origin = origin,
        .waiting = {INGEST_NONE, INGEST_NONE},
        .unsent = {INGEST_NONE, INGEST_NONE},
        .hash_next = *bucket,
    };
    memcpy(p->identity, identity, identity_size);
    *bucket = peer;
  } else if (a->peers[peer].in_flight == 0) {
    idle_remove(a, peer);
  }
  if (a->peers[peer].in_flight == 0)
    idle_append(a, peer);
  a->peers[peer].submitter = submitter;
  a->peers[peer].heard_ns = now_ns;
  return peer;
}

uint32_t ingest_admit_peers_heard(const struct ingest_admit *a, uint64_t since_ns)
{
  uint32_t count = 0;
  for (uint32_t i = 0; i < a->peers_used; i++)
    count += a->peers[i].said_hello && a->peers[i].heard_ns >= since_ns;
  return count;
}

/* ---- budget, credit, turns ---- */

uint64_t ingest_admit_cost(uint64_t message_bytes, uint32_t record_count)
{
  return message_bytes + INGEST_BATCH_COST + (uint64_t)record_count * INGEST_RECORD_COST;
}

static bool admit_is_tight(const struct ingest_admit *a) { return a->used_bytes > a->budget_bytes / 4 * 3; }

uint32_t ingest_admit_credit(const struct ingest_admit *a)
{
  if (a->batch_bytes < 1)
    return a->credit_max;
  uint64_t free_bytes = a->budget_bytes > a->used_bytes ? a->budget_bytes - a->used_bytes : 0;
  double share = (double)free_bytes / (a->busy_peers > 0 ? a->busy_peers : 1) / a->batch_bytes;
  if (share >= a->credit_max)
    return a->credit_max;
  return share < 1 ? 1 : (uint32_t)share;
}

uint32_t ingest_admit_check(const struct ingest_admit *a, uint32_t peer, uint64_t cost_bytes)
{
  if (peer == INGEST_NONE || a->held_batches == LIMIT_BATCHES_IN_FLIGHT)
    return MUSTER__V1__REASON__REASON_BUSY_BUDGET;
  uint32_t in_flight = a->peers[peer].in_flight;
  if (in_flight >= a->credit_max || (admit_is_tight(a) && in_flight >= ingest_admit_credit(a)))
    return MUSTER__V1__REASON__REASON_BUSY_CREDIT;
  if (a->used_bytes + cost_bytes > a->budget_bytes)
    return MUSTER__V1__REASON__REASON_BUSY_BUDGET;
  return 0;
}

void ingest_admit_take(struct ingest_admit *a, uint32_t peer, uint32_t slot, uint64_t cost_bytes)
{
  struct ingest_peer *p = &a->peers[peer];
  if (p->in_flight++ == 0) {
    idle_remove(a, peer);
    a->busy_peers++;
  }
  p->held_bytes += cost_bytes;
  a->used_bytes += cost_bytes;
  a->held_batches++;
  a->batch_bytes = a->batch_bytes < 1 ? (double)cost_bytes : a->batch_bytes + ((double)cost_bytes - a->batch_bytes) * ADMIT_SIZE_WEIGHT;
  slots_push(a, &p->waiting, slot);
  if (!p->in_turn)
    turn_append(a, peer);
}

uint32_t ingest_admit_turn(struct ingest_admit *a)
{
  uint32_t peer = a->turn_first;
  if (peer == INGEST_NONE || a->at_workers >= a->dispatch_max)
    return INGEST_NONE;
  struct ingest_peer *p = &a->peers[peer];
  a->turn_first = p->turn_next;
  uint32_t slot = slots_pop(a, &p->waiting);
  p->in_turn = false;
  if (p->waiting.first != INGEST_NONE)
    turn_append(a, peer);
  a->at_workers++;
  return slot;
}

void ingest_admit_returned(struct ingest_admit *a) { a->at_workers--; }

void ingest_admit_release(struct ingest_admit *a, uint32_t peer, uint64_t cost_bytes)
{
  struct ingest_peer *p = &a->peers[peer];
  p->held_bytes -= cost_bytes;
  a->used_bytes -= cost_bytes;
  a->held_batches--;
  a->drained_bytes += cost_bytes;
  if (--p->in_flight == 0) {
    idle_append(a, peer);
    a->busy_peers--;
  }
}

void ingest_admit_unsent_push(struct ingest_admit *a, uint32_t peer, uint32_t slot)
{
  slots_push(a, &a->peers[peer].unsent, slot);
  a->unsent_batches++;
}

uint32_t ingest_admit_unsent_first(const struct ingest_admit *a, uint32_t peer) { return a->peers[peer].unsent.first; }

void ingest_admit_unsent_pop(struct ingest_admit *a, uint32_t peer)
{
  slots_pop(a, &a->peers[peer].unsent);
  a->unsent_batches--;
}

/* ---- retry-after ---- */

uint32_t ingest_admit_retry_after_ms(const struct ingest_admit *a, uint32_t peer, uint32_t reason)
{
  if (reason != MUSTER__V1__REASON__REASON_BUSY_BUDGET && reason != MUSTER__V1__REASON__REASON_BUSY_CREDIT)
    return ADMIT_RETRY_MS_OUTAGE;
  if (a->drained_per_s <= 0)
    return ADMIT_RETRY_MS_UNMEASURED;
  /* For credit one of its own batches must leave: turns go round, so that is its part of what is held. For budget half of
   * what is held: the other half keeps the workers busy until the refused are back. */
  double ahead_bytes = (double)a->used_bytes / 2;
  if (reason == MUSTER__V1__REASON__REASON_BUSY_CREDIT && peer != INGEST_NONE && a->peers[peer].in_flight > 0)
    ahead_bytes = (double)a->used_bytes / a->peers[peer].in_flight;
  double wait_ms = ahead_bytes * 1000 / a->drained_per_s;
  if (wait_ms < ADMIT_RETRY_MS_MIN)
    return ADMIT_RETRY_MS_MIN;
  return wait_ms > ADMIT_RETRY_MS_MAX ? ADMIT_RETRY_MS_MAX : (uint32_t)wait_ms;
}

void ingest_admit_tick(struct ingest_admit *a, uint64_t now_ns)
{
  uint64_t elapsed_ns = now_ns - a->drained_since_ns;
  bool measured = a->drained_since_ns != 0 && elapsed_ns > 0;
  /* An idle node drains nothing because there is nothing: that says nothing of its rate. Before the first answer there is none. */
  if (measured && (a->drained_bytes > 0 || (a->used_bytes > 0 && a->drained_per_s > 0))) {
    double rate = (double)a->drained_bytes * 1e9 / (double)elapsed_ns;
    double mean = a->drained_per_s > 0 ? a->drained_per_s + (rate - a->drained_per_s) * ADMIT_RATE_WEIGHT : rate;
    a->drained_per_s = mean < 1 ? 1 : mean;
  }
  a->drained_bytes = 0;
  a->drained_since_ns = now_ns;
}
