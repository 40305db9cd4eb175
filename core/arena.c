#include "core/arena.h"

#include <assert.h>
#include <stdlib.h>

#include "muster/status.h"

#define ARENA_PAGE_BYTES ((size_t)4096)

int arena_init(struct arena *a, size_t size_bytes)
{
  *a = (struct arena){0};
  if (size_bytes == 0)
    return MUSTER_OK;
  if (size_bytes > SIZE_MAX - ARENA_PAGE_BYTES)
    return MUSTER_ERR_MEMORY;
  const size_t whole = (size_bytes + ARENA_PAGE_BYTES - 1) / ARENA_PAGE_BYTES * ARENA_PAGE_BYTES;
  uint8_t *base = aligned_alloc(ARENA_PAGE_BYTES, whole);
  if (base == NULL)
    return MUSTER_ERR_MEMORY;
  /* Volatile, since a compiler may turn an allocation with memset into one of untouched zero pages. */
  for (size_t at = 0; at < whole; at += ARENA_PAGE_BYTES)
    ((volatile uint8_t *)base)[at] = 0;
  a->base = base;
  a->size_bytes = size_bytes;
  return MUSTER_OK;
}

void arena_finish(struct arena *a)
{
  free(a->base);
  *a = (struct arena){0};
}

void *arena_take(struct arena *a, size_t size_bytes, size_t alignment)
{
  assert(alignment != 0 && (alignment & (alignment - 1)) == 0);
  if (a->base == NULL)
    return NULL;
  const uintptr_t at = (uintptr_t)(a->base + a->used_bytes);
  const size_t padding = (size_t)(-at & (alignment - 1));
  const size_t free_bytes = a->size_bytes - a->used_bytes;
  if (padding > free_bytes || size_bytes > free_bytes - padding)
    return NULL;
  uint8_t *taken = a->base + a->used_bytes + padding;
  a->used_bytes += padding + size_bytes;
  return taken;
}

void arena_reset(struct arena *a) { a->used_bytes = 0; }
