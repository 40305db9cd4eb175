#include "ingest/strangers.h"

#include <stdlib.h>
#include <xxhash.h>

#include "core/limits.h"
#include "muster/status.h"

#define STRANGER_NS (LIMIT_STRANGER_MS * UINT64_C(1000000))

enum { STRANGERS_NONE, STRANGERS_YOUNG, STRANGERS_OLD, STRANGERS_LEAVING };
enum { STRANGERS_ADDRESSES = 4 /* places a connection: few addresses meet */ };

int ingest_strangers_init(struct ingest_strangers *s, uint32_t max, uint64_t seed)
{
  uint32_t addresses = 1;
  while (addresses < max * STRANGERS_ADDRESSES)
    addresses *= 2;
  *s = (struct ingest_strangers){.entry = calloc(max, sizeof *s->entry),
                                 .max = (int32_t)max,
                                 .old = calloc(max, sizeof *s->old),
                                 .addresses = calloc(addresses, sizeof *s->addresses),
                                 .addresses_mask = addresses - 1,
                                 .seed = seed};
  if (s->entry && s->old && s->addresses)
    return MUSTER_OK;
  ingest_strangers_finish(s);
  return MUSTER_ERR_MEMORY;
}

void ingest_strangers_finish(struct ingest_strangers *s)
{
  free(s->entry);
  free(s->old);
  free(s->addresses);
  *s = (struct ingest_strangers){0};
}

static void strangers_remove_young(struct ingest_strangers *s, struct ingest_strangers_entry *e)
{
  *(e->prev ? &s->entry[e->prev].next : &s->first) = e->next;
  *(e->next ? &s->entry[e->next].prev : &s->last) = e->prev;
}

static void strangers_remove_old(struct ingest_strangers *s, struct ingest_strangers_entry *e)
{
  int32_t last = s->old[--s->old_count];
  s->old[e->place] = last;
  s->entry[last].place = e->place;
}

void ingest_strangers_speak(struct ingest_strangers *s, int32_t connection)
{
  struct ingest_strangers_entry *e = connection > 0 && connection < s->max ? &s->entry[connection] : NULL;
  if (!e || (e->state != STRANGERS_YOUNG && e->state != STRANGERS_OLD))
    return;
  if (e->state == STRANGERS_YOUNG)
    strangers_remove_young(s, e);
  else
    strangers_remove_old(s, e);
  e->state = STRANGERS_NONE;
  s->addresses[e->address]--;
  s->count--;
}

void ingest_strangers_gone(struct ingest_strangers *s, int32_t connection)
{
  ingest_strangers_speak(s, connection);
  if (connection <= 0 || connection >= s->max || s->entry[connection].state != STRANGERS_LEAVING)
    return;
  s->entry[connection].state = STRANGERS_NONE;
  s->leaving--;
}

void ingest_strangers_come(struct ingest_strangers *s, int32_t connection, uint64_t address, uint64_t now_ns)
{
  if (connection <= 0 || connection >= s->max)
    return;
  ingest_strangers_gone(s, connection); /* one whose end was not told */
  uint32_t at = (uint32_t)XXH3_64bits_withSeed(&address, sizeof address, s->seed) & s->addresses_mask;
  s->entry[connection] = (struct ingest_strangers_entry){.came_ns = now_ns, .address = at, .prev = s->last, .state = STRANGERS_YOUNG};
  *(s->last ? &s->entry[s->last].next : &s->first) = connection;
  s->last = connection;
  s->addresses[at]++;
  s->count++;
}

static void strangers_grow_old(struct ingest_strangers *s, uint64_t now_ns)
{
  while (s->first && now_ns - s->entry[s->first].came_ns >= STRANGER_NS) {
    int32_t connection = s->first;
    struct ingest_strangers_entry *e = &s->entry[connection];
    strangers_remove_young(s, e);
    e->state = STRANGERS_OLD;
    e->place = s->old_count;
    s->old[s->old_count++] = connection;
  }
}

static int32_t strangers_draw(struct ingest_strangers *s)
{
  s->drawn++;
  return s->old[XXH3_64bits_withSeed(&s->drawn, sizeof s->drawn, s->seed) % s->old_count];
}

/* Half of the old ones, and no more for a while: where room is taken again at once, everybody that is old would leave, and nothing would be left to chance. */
static void strangers_begin_round(struct ingest_strangers *s, uint64_t now_ns)
{
  if (s->round_ns && now_ns - s->round_ns < STRANGER_NS)
    return;
  s->round_left = 0; /* what a round has not taken in its time is not taken any more: the half rule is asked anew */
  if (s->old_count < s->count - s->old_count)
    return;
  s->round_ns = now_ns;
  s->round_left = (s->old_count + 1) / 2;
}

int32_t ingest_strangers_take(struct ingest_strangers *s, uint64_t now_ns)
{
  strangers_grow_old(s, now_ns);
  strangers_begin_round(s, now_ns);
  if (s->old_count == 0 || s->round_left == 0)
    return 0;
  s->round_left--;
  int32_t one = strangers_draw(s), other = strangers_draw(s);
  int32_t chosen = s->addresses[s->entry[other].address] > s->addresses[s->entry[one].address] ? other : one;
  ingest_strangers_speak(s, chosen); /* out of the lists */
  s->entry[chosen].state = STRANGERS_LEAVING;
  s->leaving++;
  return chosen;
}
