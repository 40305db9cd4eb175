#include "ingest/peers.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "muster/status.h"

#define PEERS_CONNECTIONS_BESIDE 1024u /* descriptors that are no peer's: files, ZeroMQ's own, connections in their handshake */

int ingest_peers_init(struct ingest_peers *t, uint32_t max)
{
  uint32_t buckets = 16;
  while (buckets < max)
    buckets *= 2;
  *t = (struct ingest_peers){
      .peer = calloc(max, sizeof(struct ingest_peer)),
      .submitter = calloc(max, sizeof(struct ingest_submitter)),
      .max = max,
      .hash = malloc(buckets * sizeof(uint32_t)),
      .submitter_hash = malloc(buckets * sizeof(uint32_t)),
      .hash_mask = buckets - 1,
      .connections_max = 2 * max + PEERS_CONNECTIONS_BESIDE,
      .idle_first = INGEST_NONE,
      .idle_last = INGEST_NONE,
  };
  t->by_connection = malloc(t->connections_max * sizeof(uint32_t));
  if (!t->peer || !t->submitter || !t->hash || !t->submitter_hash || !t->by_connection) {
    ingest_peers_finish(t);
    return MUSTER_ERR_MEMORY;
  }
  /* Identities are chosen by libzmq, one after the other: the seed keeps their chains from being known. Without it only that is lost. */
  if (getrandom(&t->hash_seed, sizeof t->hash_seed, GRND_NONBLOCK) != (ssize_t)sizeof t->hash_seed)
    t->hash_seed = 0;
  memset(t->hash, 0xff, buckets * sizeof(uint32_t));
  memset(t->submitter_hash, 0xff, buckets * sizeof(uint32_t));
  memset(t->by_connection, 0xff, t->connections_max * sizeof(uint32_t));
  for (uint32_t i = 0; i < max; i++)
    t->submitter[i].hash_next = i + 1 < max ? i + 1 : INGEST_NONE;
  return MUSTER_OK;
}

void ingest_peers_finish(struct ingest_peers *t)
{
  free(t->peer);
  free(t->submitter);
  free(t->hash);
  free(t->submitter_hash);
  free(t->by_connection);
  *t = (struct ingest_peers){0};
}

/* ---- who holds nothing ---- */

static void idle_remove(struct ingest_peers *t, uint32_t peer)
{
  struct ingest_peer *p = &t->peer[peer];
  if (p->idle_prev == INGEST_NONE)
    t->idle_first = p->idle_next;
  else
    t->peer[p->idle_prev].idle_next = p->idle_next;
  if (p->idle_next == INGEST_NONE)
    t->idle_last = p->idle_prev;
  else
    t->peer[p->idle_next].idle_prev = p->idle_prev;
}

/* At the end, or, where it is gone, at the front. */
static void idle_insert(struct ingest_peers *t, uint32_t peer)
{
  struct ingest_peer *p = &t->peer[peer];
  p->idle_prev = p->gone ? INGEST_NONE : t->idle_last;
  p->idle_next = p->gone ? t->idle_first : INGEST_NONE;
  if (p->idle_prev == INGEST_NONE)
    t->idle_first = peer;
  else
    t->peer[p->idle_prev].idle_next = peer;
  if (p->idle_next == INGEST_NONE)
    t->idle_last = peer;
  else
    t->peer[p->idle_next].idle_prev = peer;
}

void ingest_peers_busy(struct ingest_peers *t, uint32_t peer)
{
  idle_remove(t, peer);
  t->submitter[t->peer[peer].owner].busy_peers++;
}

void ingest_peers_idle(struct ingest_peers *t, uint32_t peer)
{
  idle_insert(t, peer);
  t->submitter[t->peer[peer].owner].busy_peers--;
}

/* ---- submitters ---- */

static uint32_t *submitter_bucket(struct ingest_peers *t, uint32_t number)
{
  uint64_t h = (t->hash_seed ^ number) * 0x9e3779b97f4a7c15u;
  return &t->submitter_hash[(h >> 32) & t->hash_mask];
}

/* There is always a free entry: no more submitters than peers. */
static void submitter_join(struct ingest_peers *t, uint32_t peer, uint32_t number)
{
  uint32_t *bucket = submitter_bucket(t, number), at = *bucket;
  while (at != INGEST_NONE && t->submitter[at].number != number)
    at = t->submitter[at].hash_next;
  if (at == INGEST_NONE) {
    at = t->submitter_free;
    t->submitter_free = t->submitter[at].hash_next;
    t->submitter[at] = (struct ingest_submitter){.number = number, .turns = {INGEST_NONE, INGEST_NONE}, .hash_next = *bucket};
    *bucket = at;
  }
  t->submitter[at].peers++;
  t->peer[peer].owner = at;
}

static void submitter_leave(struct ingest_peers *t, uint32_t peer)
{
  uint32_t at = t->peer[peer].owner;
  struct ingest_submitter *s = &t->submitter[at];
  if (--s->peers > 0)
    return;
  uint32_t *link = submitter_bucket(t, s->number);
  while (*link != at)
    link = &t->submitter[*link].hash_next;
  *link = s->hash_next;
  s->hash_next = t->submitter_free;
  t->submitter_free = at;
}

/* ---- peers ---- */

static uint32_t *peer_bucket(struct ingest_peers *t, enum ingest_origin origin, const uint8_t *identity, uint32_t size)
{
  uint64_t h = t->hash_seed ^ ((uint64_t)origin << 56) ^ 0xcbf29ce484222325u;
  for (uint32_t i = 0; i < size; i++)
    h = (h ^ identity[i]) * 0x100000001b3u;
  return &t->hash[(h ^ h >> 32) & t->hash_mask];
}

static uint32_t peer_find(struct ingest_peers *t, enum ingest_origin origin, const uint8_t *identity, uint32_t size)
{
  uint32_t peer = *peer_bucket(t, origin, identity, size);
  while (peer != INGEST_NONE) {
    const struct ingest_peer *p = &t->peer[peer];
    if (p->origin == origin && p->identity_size == size && memcmp(p->identity, identity, size) == 0)
      break;
    peer = p->hash_next;
  }
  return peer;
}

static void connection_forget(struct ingest_peers *t, uint32_t peer)
{
  uint32_t connection = (uint32_t)t->peer[peer].connection;
  if (connection < t->connections_max && t->by_connection[connection] == peer)
    t->by_connection[connection] = INGEST_NONE;
}

static void connection_note(struct ingest_peers *t, uint32_t peer, int32_t connection)
{
  if (t->peer[peer].connection != connection)
    connection_forget(t, peer);
  t->peer[peer].connection = connection;
  if (connection > 0 && (uint32_t)connection < t->connections_max)
    t->by_connection[connection] = peer;
}

/* Out of everything but the array. */
static void peer_remove(struct ingest_peers *t, uint32_t peer)
{
  const struct ingest_peer *p = &t->peer[peer];
  uint32_t *link = peer_bucket(t, p->origin, p->identity, p->identity_size);
  while (*link != peer)
    link = &t->peer[*link].hash_next;
  *link = p->hash_next;
  idle_remove(t, peer);
  connection_forget(t, peer);
  submitter_leave(t, peer);
  t->open -= !p->gone;
}

/* A new one, in an entry that was never used or of one that holds nothing. */
static uint32_t peer_make(struct ingest_peers *t, const struct ingest_caller *c)
{
  uint32_t peer = t->used < t->max ? t->used++ : t->idle_first;
  if (peer == INGEST_NONE)
    return INGEST_NONE;
  if (peer == t->idle_first)
    peer_remove(t, peer);
  uint32_t *bucket = peer_bucket(t, c->origin, c->identity, c->identity_size);
  struct ingest_peer *p = &t->peer[peer];
  *p = (struct ingest_peer){
      .identity_size = c->identity_size,
      .origin = c->origin,
      .submitter = c->submitter,
      .waiting = {INGEST_NONE, INGEST_NONE},
      .unsent = {INGEST_NONE, INGEST_NONE},
      .hash_next = *bucket,
  };
  memcpy(p->identity, c->identity, c->identity_size);
  *bucket = peer;
  submitter_join(t, peer, c->submitter);
  idle_insert(t, peer);
  t->open++;
  return peer;
}

uint32_t ingest_peers_hear(struct ingest_peers *t, const struct ingest_caller *c)
{
  uint32_t peer = peer_find(t, c->origin, c->identity, c->identity_size);
  if (peer == INGEST_NONE)
    peer = peer_make(t, c);
  if (peer == INGEST_NONE)
    return INGEST_NONE;
  struct ingest_peer *p = &t->peer[peer];
  connection_note(t, peer, c->connection);
  p->submitter = c->submitter;
  t->open += p->gone; /* what it sent before it went is still heard; the answer finds nobody and tells again */
  p->gone = false;
  if (p->in_flight > 0)
    return peer;
  idle_remove(t, peer);
  idle_insert(t, peer);
  if (t->submitter[p->owner].number != c->submitter) {
    submitter_leave(t, peer);
    submitter_join(t, peer, c->submitter);
  }
  return peer;
}

static void peer_gone(struct ingest_peers *t, uint32_t peer)
{
  struct ingest_peer *p = &t->peer[peer];
  if (p->gone)
    return;
  connection_forget(t, peer);
  t->open--;
  p->gone = true;
  if (p->in_flight > 0)
    return;
  idle_remove(t, peer);
  idle_insert(t, peer);
}

void ingest_peers_connection_gone(struct ingest_peers *t, int32_t connection)
{
  if (connection > 0 && (uint32_t)connection < t->connections_max && t->by_connection[connection] != INGEST_NONE)
    peer_gone(t, t->by_connection[connection]);
}

void ingest_peers_gone(struct ingest_peers *t, enum ingest_origin origin, const uint8_t *identity, uint32_t identity_size)
{
  uint32_t peer = peer_find(t, origin, identity, identity_size);
  if (peer != INGEST_NONE)
    peer_gone(t, peer);
}
