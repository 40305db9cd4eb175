/*
 * Counters: each process writes its own shared page, a file in the data directory's run folder; readers map it and never
 * lock. The writer brackets an update of several counters with begin and end (a sequence lock), so a reader sees the
 * conservation rule hold at every moment. A page tells a live process from a dead one by its pid and start time. The
 * list is core/counters.def. Owner of the page: the process that created it; the file stays after its death for a last
 * look; at restart the next process of the role begins it anew where it lies, which needs no room on the disk.
 */
#ifndef MUSTER_CORE_COUNTERS_H
#define MUSTER_CORE_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/failure.h"
#include "core/limits.h"

enum counter_id {
#define COUNTER(name, type, unit, sentence) COUNTER_##name,
#include "core/counters.def"
#undef COUNTER
  COUNTER_COUNT
};

enum counter_type { COUNTER_TOTAL, COUNTER_GAUGE };

struct counter_info {
  const char *name; /* "records_received" */
  enum counter_type type;
  const char *unit;
  const char *sentence; /* for operators, without a full stop */
};
extern const struct counter_info counter_list[COUNTER_COUNT];

#define COUNTER_REASONS LIMIT_REASONS /* invalid and handed-back records by wire Reason */

enum process_state { PROCESS_STARTING = 1, PROCESS_SERVING = 2, PROCESS_DRAINING = 3, PROCESS_STOPPED = 4 };

/* What a reader gets: one consistent moment of one process. */
struct counters_snapshot {
  char role[24]; /* "ingest-0" */
  uint32_t pid;
  enum process_state state;
  bool alive;         /* the process that wrote it still runs, as far as the system tells */
  bool certain;       /* alive, and by its start it is that very process; else another one may have its pid */
  int64_t started_us; /* wall clock: a stamp, by which nobody may measure */
  uint64_t uptime_s;  /* how long that process has run; 0 where it is dead */
  int64_t beat_us;    /* wall clock of the last heartbeat */
  uint64_t value[COUNTER_COUNT];
  uint64_t reason[COUNTER_REASONS];
};

struct counters; /* a page, opened for writing */

/* Creates the page file `directory/role`: that of a dead process of this build is begun anew in place, any other is replaced. On failure *out
 * is NULL. */
int counters_create(struct counters **out, const char *directory, const char *role, struct failure *failure);
void counters_destroy(struct counters *c); /* marks PROCESS_STOPPED, unmaps; NULL is fine */

void counters_begin(struct counters *c); /* not nested; keep the bracket short */
void counters_end(struct counters *c);
/* Between begin and end. A NULL page counts nothing (unit tests). */
void counters_add(struct counters *c, enum counter_id id, uint64_t amount);
void counters_subtract(struct counters *c, enum counter_id id, uint64_t amount); /* gauges */
void counters_set(struct counters *c, enum counter_id id, uint64_t value);
void counters_add_reason(struct counters *c, uint32_t reason, uint64_t amount);
/* Alone, each with its own bracket. */
void counters_state(struct counters *c, enum process_state state);
void counters_beat(struct counters *c);                              /* once a second from the loop */
uint64_t counters_get(const struct counters *c, enum counter_id id); /* the writer's own view */

/* Reads one page consistently. MUSTER_ERR_NOT_FOUND, MUSTER_ERR_FORMAT (other version or cut), MUSTER_ERR_AGAIN (the writer died
 * inside a bracket, or is held up in one: role, pid, alive and started_us are set, the rest is 0). */
int counters_read(const char *directory, const char *role, struct counters_snapshot *out, struct failure *failure);

/* Calls each with every page of the directory, sorted by role; stops where it answers non-zero and returns that. Pages of another
 * version are left out; a page whose writer died inside a bracket comes with state 0 and counts of 0, as counters_read leaves it. */
int counters_each(const char *directory, int (*each)(void *context, const struct counters_snapshot *page), void *context,
                  struct failure *failure);

#endif
