#include "ingest/strangers.h"

#include <stdlib.h>

#include "core/limits.h"
#include "muster/status.h"

enum { STRANGERS_NONE, STRANGERS_WAITING, STRANGERS_LEAVING };

int ingest_strangers_init(struct ingest_strangers *s, uint32_t max)
{
  *s = (struct ingest_strangers){.entry = calloc(max, sizeof *s->entry), .max = (int32_t)max};
  return s->entry ? MUSTER_OK : MUSTER_ERR_MEMORY;
}

void ingest_strangers_finish(struct ingest_strangers *s)
{
  free(s->entry);
  *s = (struct ingest_strangers){0};
}

static void strangers_remove(struct ingest_strangers *s, int32_t connection)
{
  struct ingest_strangers_entry *e = &s->entry[connection];
  *(e->prev ? &s->entry[e->prev].next : &s->first) = e->next;
  *(e->next ? &s->entry[e->next].prev : &s->last) = e->prev;
  e->state = STRANGERS_NONE;
  s->count--;
}

void ingest_strangers_speak(struct ingest_strangers *s, int32_t connection)
{
  if (connection > 0 && connection < s->max && s->entry[connection].state == STRANGERS_WAITING)
    strangers_remove(s, connection);
}

void ingest_strangers_gone(struct ingest_strangers *s, int32_t connection)
{
  ingest_strangers_speak(s, connection);
  if (connection <= 0 || connection >= s->max || s->entry[connection].state != STRANGERS_LEAVING)
    return;
  s->entry[connection].state = STRANGERS_NONE;
  s->leaving--;
}

void ingest_strangers_come(struct ingest_strangers *s, int32_t connection, uint64_t now_ns)
{
  if (connection <= 0 || connection >= s->max)
    return;
  ingest_strangers_gone(s, connection); /* one whose end was not told */
  s->entry[connection] = (struct ingest_strangers_entry){.came_ns = now_ns, .prev = s->last, .state = STRANGERS_WAITING};
  *(s->last ? &s->entry[s->last].next : &s->first) = connection;
  s->last = connection;
  s->count++;
}

int32_t ingest_strangers_take(struct ingest_strangers *s, uint64_t now_ns)
{
  int32_t oldest = s->first;
  if (oldest == 0 || now_ns - s->entry[oldest].came_ns < LIMIT_STRANGER_MS * UINT64_C(1000000))
    return 0;
  strangers_remove(s, oldest);
  s->entry[oldest].state = STRANGERS_LEAVING;
  s->leaving++;
  return oldest;
}
