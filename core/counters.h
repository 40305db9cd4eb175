/*
 * Counters: each process writes its own shared page, a file in the data directory's run folder; readers map it and never
 * lock. The writer brackets an update of several counters with begin and end (a sequence lock), so a reader sees the
 * conservation rule hold at every moment. A page tells a live process from a dead one by its pid and start time. The
 * list is core/counters.def. Owner of the page: the process that created it; the file stays after its death for a last
 * look.
 *
 * A page belongs to a role. At a restart within one run of the node the next process of the role takes it over where it
 * lies, which needs no room on the disk, and goes on with its totals: what a node has accepted does not become less
 * because a process died, and whoever adds up pages or makes rates needs to know nothing of deaths. Gauges begin anew, and what was in
 * flight is in nobody's hands any more: it is counted as handed back (and alone, in records_handed_back_died), so that the conservation
 * rule holds over all lives. What a process that was killed inside a bracket had counted of a submitter and not of the whole, or the other
 * way round, is counted as the submitter's row has it. Only Reasons (of INVALID, and of whole batches) and causes may then be ahead of their
 * total or behind it, by what that one bracket counts. A new run of the node begins everything anew, as does a page that cannot be gone on with;
 * since_us moves then, and nothing else tells of a reset.
 */
#ifndef MUSTER_CORE_COUNTERS_H
#define MUSTER_CORE_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/failure.h"
#include "core/limits.h"

enum counter_id {
#define COUNTER(name, type, unit, who, sentence) COUNTER_##name,
#include "core/counters.def"
  COUNTER_COUNT
};

enum histogram_id {
#define HISTOGRAM(name, unit, who, sentence) HISTOGRAM_##name,
#include "core/counters.def"
  HISTOGRAM_COUNT
};

enum submitter_id {
#define SUBMITTER(name, type, unit, sentence) SUBMITTER_##name,
#include "core/counters.def"
  SUBMITTER_COUNT
};

enum counter_type { COUNTER_TOTAL, COUNTER_GAUGE };
enum counter_who { COUNTER_SUPERVISOR = 1, COUNTER_INGEST = 2, COUNTER_WORKER = 4 }; /* bits */

struct counter_info {
  const char *name; /* "records_received" */
  enum counter_type type;
  const char *unit;
  unsigned who;
  const char *sentence; /* for operators, without a full stop */
  const char *cause;    /* of a CAUSE, the word behind its total's name; else NULL */
};
extern const struct counter_info counter_list[COUNTER_COUNT];
extern const struct counter_info histogram_list[HISTOGRAM_COUNT]; /* type: a total */
extern const struct counter_info submitter_list[SUBMITTER_COUNT];

unsigned counters_who(const char *role); /* the bit of the kind that a role is of; 0: none */

#define COUNTER_REASONS LIMIT_REASONS /* by wire Reason */
enum counter_per { COUNTER_RECORDS, COUNTER_BATCHES, COUNTER_PER };

/* Buckets as in core/log_linear.h. Times are counted in steps of 1,024 ns: from 1 us on, to 4.5 minutes; longer ones are in the last one. */
#define COUNTER_BUCKET_BITS 2u
#define COUNTER_BUCKETS 108u
#define COUNTER_TIME_SHIFT 10u

struct counters_histogram {
  uint64_t sum; /* in the unit of the list */
  uint64_t bucket[COUNTER_BUCKETS];
};

#define COUNTER_OTHERS LIMIT_SUBMITTER_ROWS /* the last row: all submitters that came when every other row was taken */
#define COUNTER_OTHERS_NAME "(others)"      /* no key can have it */
#define COUNTER_ROWS (LIMIT_SUBMITTER_ROWS + 1)

struct counters_submitter {
  uint32_t number; /* from the allow-list */
  char name[LIMIT_SUBMITTER_NAME + 1];
  uint64_t value[SUBMITTER_COUNT];
};

enum process_state { PROCESS_STARTING = 1, PROCESS_SERVING = 2, PROCESS_DRAINING = 3, PROCESS_STOPPED = 4 };

/* What a reader gets: one consistent moment of one process. */
struct counters_snapshot {
  char role[24]; /* "ingest-0" */
  uint32_t pid;
  enum process_state state;
  bool alive;         /* the process that wrote it still runs, as far as the system tells */
  int64_t started_us; /* wall clock: a stamp, by which nobody may measure */
  int64_t since_us;   /* as started_us, of the first process whose totals are in these */
  uint64_t uptime_s;  /* how long that process has run; 0 where it is dead */
  uint64_t state_ns;  /* how long it has been in its state; 0 where it is dead */
  int64_t beat_us;    /* wall clock of the last heartbeat */
  uint64_t value[COUNTER_COUNT];
  uint64_t reason[COUNTER_PER][COUNTER_REASONS];
  struct counters_histogram histogram[HISTOGRAM_COUNT];
  uint32_t rows; /* of submitters, in the order in which they came; the row of the others, where it counts something, is the last one */
  struct counters_submitter submitter[COUNTER_ROWS];
};

/* Whose a page is; it tells that of any build, and inside a bracket as well. */
struct counters_writer {
  char role[24];
  uint32_t pid;
  bool certain; /* by its start it is that very process; else another one may have its pid */
};

struct counters; /* a page, opened for writing */

/* Takes over the page file `directory/role`, or makes it: that of a dead process of this build is gone on with in place, any other is replaced.
 * On failure *out is NULL. */
int counters_create(struct counters **out, const char *directory, const char *role, struct failure *failure);
void counters_destroy(struct counters *c); /* marks PROCESS_STOPPED, unmaps; NULL is fine */
/* For the supervisor, at the start of a node: the next process of this role begins its totals anew. */
void counters_forget(const char *directory, const char *role);

void counters_begin(struct counters *c); /* not nested; keep the bracket short */
void counters_end(struct counters *c);
/* Between begin and end. A NULL page counts nothing (unit tests). */
void counters_add(struct counters *c, enum counter_id id, uint64_t amount);
void counters_subtract(struct counters *c, enum counter_id id, uint64_t amount); /* gauges */
/* A gauge; or of a total how much it is since this process began, to which its page adds what was before. */
void counters_set(struct counters *c, enum counter_id id, uint64_t value);
void counters_add_reason(struct counters *c, enum counter_per per, uint32_t reason, uint64_t amount);
void counters_observe(struct counters *c, enum histogram_id id, uint64_t value);
/* The row of a submitter, made where it is new; COUNTER_OTHERS where there is no room. Rows stay. */
uint32_t counters_row(struct counters *c, uint32_t number, const char *name);
void counters_row_add(struct counters *c, uint32_t row, enum submitter_id id, uint64_t amount);
void counters_row_subtract(struct counters *c, uint32_t row, enum submitter_id id, uint64_t amount);
void counters_row_set(struct counters *c, uint32_t row, enum submitter_id id, uint64_t value);
/* Alone, each with its own bracket. */
void counters_state(struct counters *c, enum process_state state);
void counters_beat(struct counters *c);                              /* once a second from the loop: heartbeat, and what the process uses */
uint64_t counters_get(const struct counters *c, enum counter_id id); /* the writer's own view */

/* Reads one page consistently. MUSTER_ERR_NOT_FOUND, MUSTER_ERR_FORMAT (other version or cut), MUSTER_ERR_AGAIN (the writer died
 * inside a bracket, or is held up in one: role, pid, alive and started_us are set, the rest is 0). */
int counters_read(const char *directory, const char *role, struct counters_snapshot *out, struct failure *failure);

/* Calls each with every page of the directory, sorted by role; stops where it answers non-zero and returns that. Pages of another
 * version are left out; a page whose writer died inside a bracket comes with state 0 and counts of 0, as counters_read leaves it. */
int counters_each(const char *directory, int (*each)(void *context, const struct counters_snapshot *page), void *context,
                  struct failure *failure);

/* Calls each with every writer that still runs, as far as the system tells; pages of other versions are looked at as well, those that cannot be read are
 * left out. */
int counters_each_writer(const char *directory, void (*each)(void *context, const struct counters_writer *writer), void *context,
                         struct failure *failure);

/* Of a histogram as read. A quantile is the upper edge of its bucket, in the unit of the list; 0 where nothing was counted. */
uint64_t counters_histogram_count(const struct counters_histogram *h);
uint64_t counters_histogram_quantile(enum histogram_id id, const struct counters_histogram *h, double share);
uint64_t counters_histogram_edge(enum histogram_id id, uint32_t bucket); /* the largest value of that bucket */
void counters_histogram_add(struct counters_histogram *h, const struct counters_histogram *other);

#endif
