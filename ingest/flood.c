#include "ingest/flood.h"

uint32_t ingest_flood_peer(const uint8_t *identity, uint32_t size)
{
  uint32_t h = 0;
  for (uint32_t i = 0; i < size; i++) /* identities of libzmq count up in their last byte: neighbours get neighbouring entries */
    h = h * 257 + identity[i];
  return h;
}

static struct ingest_flood_entry *flood_entry(struct ingest_flood *f, uint32_t peer)
{
  struct ingest_flood_entry *e = &f->entry[peer % INGEST_FLOOD_ENTRIES];
  if (e->peer != peer)
    *e = (struct ingest_flood_entry){.peer = peer};
  return e;
}

bool ingest_flood_is_cut(const struct ingest_flood *f, uint32_t peer)
{
  const struct ingest_flood_entry *e = &f->entry[peer % INGEST_FLOOD_ENTRIES];
  return e->cut && e->peer == peer;
}

bool ingest_flood_excess(struct ingest_flood *f, uint32_t peer, int32_t connection, uint64_t drains)
{
  struct ingest_flood_entry *e = flood_entry(f, peer);
  if (f->drains != drains) {
    f->drains = drains;
    f->total = 0;
  }
  if (e->drains != drains) {
    e->drains = drains;
    e->excess = 0;
  }
  f->total++;
  e->excess++;
  if (e->excess == 1) {
    e->connection = connection;
    f->peer_of[(uint32_t)connection % INGEST_FLOOD_ENTRIES] = peer;
  }
  if (e->cut || e->excess < (f->total < INGEST_FLOOD_TOTAL ? INGEST_FLOOD_EXCESS : INGEST_FLOOD_STRICT))
    return false;
  e->cut = true;
  return e->connection != 0;
}

bool ingest_flood_is_high(const struct ingest_flood *f, uint64_t drains) { return f->total >= INGEST_FLOOD_TOTAL && f->drains == drains; }

void ingest_flood_gone(struct ingest_flood *f, int32_t connection)
{
  struct ingest_flood_entry *e = &f->entry[f->peer_of[(uint32_t)connection % INGEST_FLOOD_ENTRIES] % INGEST_FLOOD_ENTRIES];
  if (e->connection == connection)
    e->connection = 0;
}
