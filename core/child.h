/*
 * What every process that the supervisor starts does the same way: the lifeline (descriptor 3, a pipe whose other end
 * the supervisor holds: it says "ready" on it once, how far its start has come, or why it cannot start; a line on it from the supervisor means that
 * run/node.conf has changed, and what is live of it is taken over; an end of file on it means that the supervisor is gone, so the process stops),
 * SIGTERM as the order to drain, SIGINT ignored (the terminal sends it to the whole group, the
 * supervisor decides), the settings from run/node.conf, the counter page and its heartbeat. Owner: the role's main
 * function, for the life of the process. Without descriptor 3 (tests, by hand) it works the same and says nothing.
 */
#ifndef MUSTER_CORE_CHILD_H
#define MUSTER_CORE_CHILD_H

#include <uv.h>

#include "core/config.h"
#include "core/counters.h"
#include "core/datadir.h"

/* The lines that it may say. */
#define CHILD_READY "ready"
#define CHILD_FAILED "failed "    /* the status of the failure as a number, ": ", and its sentence */
#define CHILD_OPENING "opening: " /* and what its start is at */
/* The line that it may be told. One that comes before the process listens waits in the lifeline, and is read then. */
#define CHILD_REREAD "reread\n"

struct child {
  uv_loop_t *loop;
  struct datadir data;
  struct config config;
  struct counters *counters;
  char role[24];
  void (*on_drain)(void *context);  /* SIGTERM: finish what is in flight, then stop the loop */
  void (*on_orphan)(void *context); /* the supervisor is gone: close cleanly and stop */
  void (*on_reread)(void *context); /* the live settings in config may be others now; NULL: nothing follows from that */
  void *context;
  /* private */
  uv_pipe_t lifeline;
  uv_signal_t term, interrupt;
  uv_timer_t beat;
  bool has_lifeline;
  uint64_t opening_ns;           /* when it said last how far it is */
  const struct failure *failure; /* the caller's, of the whole start */
};

/* Which process of its role this is: --data DIR and --index N, the options of every role. */
struct child_place {
  const char *data; /* NULL: MUSTER_DATA */
  uint32_t index;
};
/* doc as argp has it; owner for the messages, as "a shard" or "an ingest"; indexes are 0 to limit - 1. --help and mistakes (64) end the
 * process. */
struct child_place child_options(int argc, char **argv, const char *doc, const char *owner, uint32_t limit);

/* Opens the data directory, reads the settings, starts logs, counters and handles. The callbacks and context are set by the caller
 * before (NULL: the loop is stopped). Descriptor 3 is the lifeline where MUSTER_LIFELINE=1 is in the environment.
 * On failure nothing stays open. failure is that of the caller's whole start and is kept: where it is set by child_finish, the supervisor is
 * told its sentence, so it must live until then (NULL: nothing is told). */
int child_init(struct child *c, uv_loop_t *loop, const char *data_path, const char *role, struct failure *failure);
/* A start that takes its time says how far it is: once a second goes to the supervisor, with a heartbeat, and the rest is dropped. */
void child_opening(struct child *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void child_ready(struct child *c);  /* state SERVING, and "ready\n" on the lifeline */
void child_finish(struct child *c); /* closes the handles (runs the loop until they are closed) and the page */

#endif
