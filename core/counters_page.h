/*
 * A counter page as it lies in its file, for the process that writes it (core/counters.c) and those that read it
 * (core/counters_read.c): the layout, what tells that a page is one of this build, and whether its writer lives. Inside
 * core/ only; the page belongs to its writer.
 */
#ifndef MUSTER_CORE_COUNTERS_PAGE_H
#define MUSTER_CORE_COUNTERS_PAGE_H

#include <assert.h>
#include <stdatomic.h>

#include "core/counters.h"

#define PAGE_MAGIC UINT64_C(0x5041474d55535452) /* "RTSUMGAP" in a file of this byte order */
#define PAGE_VERSION 1u
#define PAGE_ROLE_BYTES 24

/*
 * The file, as one process writes it and any may map it. magic, version, list_hash and role never change after the rename that shows the
 * page. The rest is guarded by sequence: odd inside a bracket, and while a page is taken over from a writer that is dead. All of it is
 * atomic, relaxed between the acquire and release on sequence, so that a read that raced is a defined value that the second look at
 * sequence throws away.
 */
struct counters_page {
  uint64_t magic;
  uint32_t version;
  _Atomic uint32_t pid;
  uint64_t list_hash;           /* of the names: a page of another build has other counters */
  _Atomic uint64_t start_ticks; /* field 22 of /proc/PID/stat: tells the writer from a later process with its pid */
  _Atomic int64_t started_us;
  char role[PAGE_ROLE_BYTES];
  _Alignas(64) _Atomic uint64_t sequence;
  _Atomic uint32_t state;
  _Atomic int64_t beat_us;
  _Atomic uint64_t value[COUNTER_COUNT];
  _Atomic uint64_t reason[COUNTER_REASONS];
};
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "readers map the page read-only, so a load must not write");

uint64_t counters_list_hash(void);
bool counters_page_known(const struct counters_page *page); /* of this build, and with a role */
bool counters_role_valid(const char *role);

/* The start time of a process in clock ticks since boot; 0 where there is none, or it is dead and only not waited for yet. */
uint64_t counters_start_ticks(uint32_t pid);
/* That process, and no later one with its pid. Where that cannot be told: true, and *certain (NULL: nobody asks) is false. */
bool counters_alive(uint32_t pid, uint64_t start_ticks, bool *certain);

#endif
