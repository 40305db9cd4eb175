#include "ingest/admit.h"

#include <stdlib.h>
#include <string.h>

#include "muster/status.h"
#include "proto/wire.pb-c.h"

#define ADMIT_RATE_WEIGHT 0.3 /* of the newest measurement */
#define ADMIT_SIZE_WEIGHT 0.1

int ingest_admit_init(struct ingest_admit *a, uint64_t budget_bytes, uint32_t credit, uint64_t dispatch_bytes, uint32_t peers)
{
  *a = (struct ingest_admit){
      .budget_bytes = budget_bytes,
      .credit_max = credit,
      .credit_bytes = LIMIT_CREDIT_BYTES,
      .dispatch_bytes = dispatch_bytes,
      .turns = {INGEST_NONE, INGEST_NONE},
      .slot_next = malloc(LIMIT_BATCHES_IN_FLIGHT * sizeof(uint32_t)),
      .slot_cost = calloc(LIMIT_BATCHES_IN_FLIGHT, sizeof(uint64_t)),
  };
  if (!a->slot_next || !a->slot_cost || ingest_peers_init(&a->peers, peers) != MUSTER_OK) {
    ingest_admit_finish(a);
    return MUSTER_ERR_MEMORY;
  }
  memset(a->slot_next, 0xff, LIMIT_BATCHES_IN_FLIGHT * sizeof(uint32_t));
  return MUSTER_OK;
}

void ingest_admit_finish(struct ingest_admit *a)
{
  ingest_peers_finish(&a->peers);
  free(a->slot_next);
  free(a->slot_cost);
  a->slot_next = NULL;
  a->slot_cost = NULL;
}

/* ---- lists ---- */

static void slots_push(struct ingest_admit *a, struct ingest_list *list, uint32_t slot)
{
  a->slot_next[slot] = INGEST_NONE;
  if (list->first == INGEST_NONE)
    list->first = slot;
  else
    a->slot_next[list->last] = slot;
  list->last = slot;
}

static uint32_t slots_pop(struct ingest_admit *a, struct ingest_list *list)
{
  uint32_t slot = list->first;
  list->first = a->slot_next[slot];
  return slot;
}

/* The peer has something waiting and is in no list yet; so perhaps its submitter. */
static void turn_append_peer(struct ingest_admit *a, struct ingest_submitter *s, uint32_t peer)
{
  struct ingest_peer *p = &a->peers.peer[peer];
  p->in_turn = true;
  p->turn_next = INGEST_NONE;
  if (s->turns.first == INGEST_NONE)
    s->turns.first = peer;
  else
    a->peers.peer[s->turns.last].turn_next = peer;
  s->turns.last = peer;
}

static void turn_append(struct ingest_admit *a, uint32_t submitter)
{
  struct ingest_submitter *s = &a->peers.submitter[submitter];
  s->in_turn = true;
  s->turn_next = INGEST_NONE;
  if (a->turns.first == INGEST_NONE)
    a->turns.first = submitter;
  else
    a->peers.submitter[a->turns.last].turn_next = submitter;
  a->turns.last = submitter;
}

/* ---- shares ---- */

/* The most that one may hold of a pool where the others hold so much, and each leaves that part (1 / leaves) of what it finds. */
static uint64_t share_of(uint64_t pool, uint64_t others, uint32_t leaves)
{
  uint64_t left = pool > others ? pool - others : 0, kept = pool / LIMIT_KEPT_FREE;
  uint64_t part = (left + leaves - 1) / leaves;
  return left - (part > kept ? part : left < kept ? left : kept);
}

/* Whether who holds `held` of a pool, of which `used` is held by all, may have `more`. */
static bool share_allows(uint64_t pool, uint64_t used, uint64_t held, uint64_t more, uint32_t leaves)
{
  if (used + more > pool)
    return false;
  return held == 0 || held + more <= share_of(pool, used - held, leaves);
}

/* A pool of the process is shared out to submitters, and the submitter's share to its peers. */
static bool shares_allow(uint64_t pool, uint64_t used, uint64_t of_submitter, uint64_t of_peer, uint64_t more)
{
  if (!share_allows(pool, used, of_submitter, more, LIMIT_SUBMITTER_LEAVES))
    return false;
  return of_submitter == 0 ||
         share_allows(share_of(pool, used - of_submitter, LIMIT_SUBMITTER_LEAVES), of_submitter, of_peer, more, LIMIT_CONNECTION_LEAVES);
}

static uint64_t shares_of(uint64_t pool, uint64_t used, uint64_t of_submitter, uint64_t of_peer)
{
  return share_of(share_of(pool, used - of_submitter, LIMIT_SUBMITTER_LEAVES), of_submitter - of_peer, LIMIT_CONNECTION_LEAVES);
}

/* ---- budget, credit, turns ---- */

uint64_t ingest_admit_cost(uint64_t message_bytes, uint32_t record_count)
{
  return message_bytes + INGEST_BATCH_COST + (uint64_t)record_count * INGEST_RECORD_COST;
}

static uint32_t credit_of(const struct ingest_admit *a, const struct ingest_peer *p)
{
  if (p->batch_bytes < 1 || p->batch_bytes >= (float)a->credit_bytes)
    return a->credit_max;
  const float credit = (float)a->credit_max * (float)a->credit_bytes / p->batch_bytes;
  return credit > (float)LIMIT_CREDIT ? LIMIT_CREDIT : (uint32_t)credit;
}

uint32_t ingest_admit_credit(const struct ingest_admit *a, uint32_t peer)
{
  static const struct ingest_peer new_peer;
  static const struct ingest_submitter new_submitter;
  const struct ingest_peer *p = peer == INGEST_NONE ? &new_peer : &a->peers.peer[peer];
  const struct ingest_submitter *s = peer == INGEST_NONE ? &new_submitter : &a->peers.submitter[p->owner];
  double bytes = (double)shares_of(a->budget_bytes, a->used_bytes, s->held_bytes, p->held_bytes);
  double slots = (double)shares_of(LIMIT_BATCHES_IN_FLIGHT, a->held_batches, s->in_flight, p->in_flight);
  double batch_bytes = p->batch_bytes < 1 ? a->batch_bytes : (double)p->batch_bytes;
  double share = batch_bytes < 1 || bytes / batch_bytes > slots ? slots : bytes / batch_bytes;
  const uint32_t credit = credit_of(a, p);
  if (share >= credit)
    return credit;
  return share < 1 ? 1 : (uint32_t)share;
}

uint32_t ingest_admit_check(const struct ingest_admit *a, uint32_t peer, uint64_t cost_bytes)
{
  if (peer == INGEST_NONE)
    return MUSTER__V1__REASON__REASON_BUSY_BUDGET;
  const struct ingest_peer *p = &a->peers.peer[peer];
  const struct ingest_submitter *s = &a->peers.submitter[p->owner];
  if (p->in_flight >= credit_of(a, p))
    return MUSTER__V1__REASON__REASON_BUSY_CREDIT;
  if (a->held_batches == LIMIT_BATCHES_IN_FLIGHT || a->used_bytes + cost_bytes > a->budget_bytes)
    return MUSTER__V1__REASON__REASON_BUSY_BUDGET;
  bool has_share = shares_allow(a->budget_bytes, a->used_bytes, s->held_bytes, p->held_bytes, cost_bytes) &&
                   shares_allow(LIMIT_BATCHES_IN_FLIGHT, a->held_batches, s->in_flight, p->in_flight, 1) &&
                   (p->in_flight > 0 || share_allows(a->peers.max, a->busy_peers, s->busy_peers, 1, LIMIT_SUBMITTER_LEAVES));
  if (has_share)
    return 0;
  return p->in_flight > 0 ? MUSTER__V1__REASON__REASON_BUSY_CREDIT : MUSTER__V1__REASON__REASON_BUSY_BUDGET;
}

void ingest_admit_take(struct ingest_admit *a, uint32_t peer, uint32_t slot, uint64_t cost_bytes)
{
  struct ingest_peer *p = &a->peers.peer[peer];
  struct ingest_submitter *s = &a->peers.submitter[p->owner];
  if (p->in_flight++ == 0) {
    ingest_peers_busy(&a->peers, peer);
    a->busy_peers++;
  }
  a->busy_submitters += s->in_flight++ == 0;
  a->held_batches++;
  p->held_bytes += cost_bytes;
  s->held_bytes += cost_bytes;
  a->used_bytes += cost_bytes;
  a->batch_bytes = a->batch_bytes < 1 ? (double)cost_bytes : a->batch_bytes + ((double)cost_bytes - a->batch_bytes) * ADMIT_SIZE_WEIGHT;
  p->batch_bytes =
      p->batch_bytes < 1 ? (float)cost_bytes : p->batch_bytes + ((float)cost_bytes - p->batch_bytes) * (float)ADMIT_SIZE_WEIGHT;
  a->slot_cost[slot] = cost_bytes;
  slots_push(a, &p->waiting, slot);
  if (!p->in_turn)
    turn_append_peer(a, s, peer);
  if (!s->in_turn)
    turn_append(a, p->owner);
}

uint32_t ingest_admit_turn(struct ingest_admit *a)
{
  uint32_t submitter = a->turns.first;
  if (submitter == INGEST_NONE || a->at_workers_bytes >= a->dispatch_bytes)
    return INGEST_NONE;
  struct ingest_submitter *s = &a->peers.submitter[submitter];
  uint32_t peer = s->turns.first;
  struct ingest_peer *p = &a->peers.peer[peer];
  a->turns.first = s->turn_next;
  s->in_turn = false;
  s->turns.first = p->turn_next;
  p->in_turn = false;
  uint32_t slot = slots_pop(a, &p->waiting);
  if (p->waiting.first != INGEST_NONE)
    turn_append_peer(a, s, peer);
  if (s->turns.first != INGEST_NONE)
    turn_append(a, submitter);
  a->at_workers_bytes += a->slot_cost[slot];
  return slot;
}

void ingest_admit_returned(struct ingest_admit *a, uint32_t slot) { a->at_workers_bytes -= a->slot_cost[slot]; }

void ingest_admit_release(struct ingest_admit *a, uint32_t peer, uint64_t cost_bytes)
{
  struct ingest_peer *p = &a->peers.peer[peer];
  struct ingest_submitter *s = &a->peers.submitter[p->owner];
  p->held_bytes -= cost_bytes;
  s->held_bytes -= cost_bytes;
  a->used_bytes -= cost_bytes;
  a->held_batches--;
  a->drained_bytes += cost_bytes;
  a->busy_submitters -= --s->in_flight == 0;
  if (--p->in_flight == 0) {
    ingest_peers_idle(&a->peers, peer);
    a->busy_peers--;
  }
}

void ingest_admit_unsent_push(struct ingest_admit *a, uint32_t peer, uint32_t slot)
{
  slots_push(a, &a->peers.peer[peer].unsent, slot);
  a->unsent_batches++;
}

uint32_t ingest_admit_unsent_first(const struct ingest_admit *a, uint32_t peer) { return a->peers.peer[peer].unsent.first; }

void ingest_admit_unsent_pop(struct ingest_admit *a, uint32_t peer)
{
  slots_pop(a, &a->peers.peer[peer].unsent);
  a->unsent_batches--;
}

/* ---- retry-after ---- */

uint32_t ingest_admit_retry_after_ms(const struct ingest_admit *a, uint32_t peer, uint32_t reason)
{
  if (a->drained_per_s <= 0)
    return LIMIT_RETRY_UNMEASURED_MS;
  /* For credit one of its own batches must leave: turns go round, so that is one batch of each submitter for each of its busy
   * connections. For budget half of what is held: the other half keeps the workers busy until the refused are back. */
  double ahead_bytes = (double)a->used_bytes / 2;
  if (reason == MUSTER__V1__REASON__REASON_BUSY_CREDIT && peer != INGEST_NONE) {
    const struct ingest_submitter *s = &a->peers.submitter[a->peers.peer[peer].owner];
    double round_bytes = a->batch_bytes * a->busy_submitters * s->busy_peers;
    ahead_bytes = round_bytes < (double)a->used_bytes ? round_bytes : (double)a->used_bytes;
  }
  double wait_ms = ahead_bytes * 1000 / a->drained_per_s;
  if (wait_ms < LIMIT_RETRY_MIN_MS)
    return LIMIT_RETRY_MIN_MS;
  return wait_ms > LIMIT_RETRY_MAX_MS ? LIMIT_RETRY_MAX_MS : (uint32_t)wait_ms;
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
