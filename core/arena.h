/*
 * An arena: one block of memory taken (and touched) at start, handed out from the front, given back all at once by
 * reset. The owner of the struct owns the block; what was handed out is valid until reset or finish. Not thread-safe:
 * one owner, one process.
 */
#ifndef MUSTER_CORE_ARENA_H
#define MUSTER_CORE_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct arena {
  uint8_t *base;
  size_t size_bytes;
  size_t used_bytes;
};

int arena_init(struct arena *a, size_t size_bytes);                     /* MUSTER_OK or MUSTER_ERR_MEMORY; the pages are faulted in */
void arena_finish(struct arena *a);                                     /* gives the block back; a zeroed or finished arena is fine */
void *arena_take(struct arena *a, size_t size_bytes, size_t alignment); /* NULL where it does not fit; alignment a power of two */
void arena_reset(struct arena *a);

#endif
