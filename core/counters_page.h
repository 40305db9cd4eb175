/*
 * A counter page as it lies in its file, for the process that writes it (core/counters.c, core/counters_write.c) and those that
 * read it (core/counters_read.c): the layout, what tells that a page is one of this build, and whether its writer lives. Inside
 * core/ only; the page belongs to its writer.
 */
#ifndef MUSTER_CORE_COUNTERS_PAGE_H
#define MUSTER_CORE_COUNTERS_PAGE_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>

#include "core/counters.h"

#define PAGE_MAGIC UINT64_C(0x5041474d55535452) /* "RTSUMGAP" in a file of this byte order */
#define PAGE_VERSION 2u
#define PAGE_ROLE_BYTES 24
#define PAGE_NAME_WORDS ((LIMIT_SUBMITTER_NAME + 8) / 8) /* of a key's name with its end */

struct counters_page_histogram {
  _Atomic uint64_t sum;
  _Atomic uint64_t bucket[COUNTER_BUCKETS];
};
struct counters_page_submitter {
  _Atomic uint64_t number;
  _Atomic uint64_t name[PAGE_NAME_WORDS]; /* its bytes */
  _Atomic uint64_t value[SUBMITTER_COUNT];
};

/*
 * The file, as one process writes it and any may map it. magic, version, list_hash and role never change after the rename that shows the
 * page. The rest is guarded by sequence: odd inside a bracket, and while a page is taken over from a writer that is dead. All of it is
 * atomic, relaxed between the acquire and release on sequence, so that a read that raced is a defined value that the second look at
 * sequence throws away.
 */
struct counters_page { /* begins as counters_page_head */
  uint64_t magic;
  uint32_t version;
  _Atomic uint32_t pid;
  uint64_t list_hash;           /* of the names: a page of another build has other counters */
  _Atomic uint64_t start_ticks; /* field 22 of /proc/PID/stat: tells the writer from a later process with its pid */
  _Atomic int64_t started_us;
  char role[PAGE_ROLE_BYTES];
  _Alignas(64) _Atomic uint64_t sequence;
  _Atomic uint32_t state;
  _Atomic uint32_t rows;           /* below COUNTER_OTHERS that are taken */
  _Atomic uint64_t state_since_ns; /* monotonic */
  _Atomic int64_t since_us;        /* 0: the next process begins the totals anew */
  _Atomic int64_t beat_us;
  _Atomic uint64_t value[COUNTER_COUNT];
  _Atomic uint64_t reason[COUNTER_PER][COUNTER_REASONS];
  struct counters_page_histogram histogram[HISTOGRAM_COUNT];
  struct counters_page_submitter submitter[COUNTER_ROWS];
};

struct counters {
  struct counters_page *page;
  uint64_t base[COUNTER_COUNT]; /* of totals: what the page had when this process began */
  uint64_t beats;
};

/* Whose page it is, for a reader of any build: every version has it so, or has another magic. A start that is read without a look at sequence is one
 * process's or none's: no process has the pid of one writer and the start time of another. */
struct counters_page_head {
  uint64_t magic;
  uint32_t version;
  uint32_t pid;
  uint64_t list_hash;
  uint64_t start_ticks;
  int64_t started_us;
  char role[PAGE_ROLE_BYTES];
};
static_assert(sizeof(struct counters_page_head) == 64 && offsetof(struct counters_page, sequence) == 64, "the head has no holes");
static_assert(offsetof(struct counters_page, magic) == 0 && offsetof(struct counters_page_head, pid) == 12 &&
                  offsetof(struct counters_page, pid) == 12 && offsetof(struct counters_page_head, start_ticks) == 24 &&
                  offsetof(struct counters_page, start_ticks) == 24 && offsetof(struct counters_page_head, role) == 40 &&
                  offsetof(struct counters_page, role) == 40,
              "a page of any version tells whose it is");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "readers map the page read-only, so a load must not write");

static inline uint64_t page_load(const _Atomic uint64_t *at) { return atomic_load_explicit(at, memory_order_relaxed); }
static inline void page_store(_Atomic uint64_t *at, uint64_t value) { atomic_store_explicit(at, value, memory_order_relaxed); }

uint64_t counters_list_hash(void);
unsigned counters_shift(enum histogram_id id);              /* how many low bits of a value its bucket does not look at */
bool counters_page_known(const struct counters_page *page); /* of this build, and with a role */
bool counters_role_valid(const char *role);

/* The start time of a process in clock ticks since boot; 0 where there is none, or it is dead and only not waited for yet. */
uint64_t counters_start_ticks(uint32_t pid);
/* That process, and no later one with its pid. Where that cannot be told: true, and *certain (NULL: nobody asks) is false. */
bool counters_alive(uint32_t pid, uint64_t start_ticks, bool *certain);

#endif
