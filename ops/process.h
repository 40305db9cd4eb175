/*
 * One child of the supervisor on libuv: started, heard (what core/child.h says on its lifeline), watched, signalled, buried, started again after
 * a while. Decides nothing: what a death means is up to the owner's on_died. The struct belongs to the supervisor and
 * outlives the loop; its process and pipe handles live from start to the exit callback, where they are closed, and
 * on_died comes when both are gone, so that it may start anew. The timer lives until finish.
 */
#ifndef MUSTER_OPS_PROCESS_H
#define MUSTER_OPS_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "ops/restart.h"

struct ops_process {
  char role[24];    /* "worker-0" */
  const char *kind; /* "worker", also the command it is started as */
  uint32_t index;
  const char *executable, *data; /* what is started, and the path of the data directory; the owner's */
  int family_fd;                 /* ops/family.h; the owner's */
  uv_loop_t *loop;
  void *context; /* the owner's */
  void (*on_ready)(struct ops_process *p);
  void (*on_died)(struct ops_process *p); /* exit_status, signal and was_ready tell of the death */
  void (*on_due)(struct ops_process *p);  /* its wait is over; NULL: it is started */
  struct ops_restart restart;
  bool alive, waiting, ready; /* waiting: for its next start */
  bool was_ready;
  int exit_status, signal;
  char cause[512];        /* why it could not start or go on, in its own words; "" where it did not say so in this life */
  int failed;             /* and the status of that */
  char opening[128];      /* how far its start has come, in its own words */
  char state;             /* as proc(5) has it, when ops_process_look saw it last in this life; 0: not told */
  uint32_t stopped_looks; /* in a row that ops_process_look found it stopped */

  /* private */
  uv_process_t handle;
  uv_pipe_t lifeline;
  uv_timer_t again;
  unsigned closing;
  char heard[640]; /* of the line that is not whole yet */
  size_t heard_size;
};

void ops_process_init(struct ops_process *p, uv_loop_t *loop, const char *kind, uint32_t index, const char *executable, const char *data,
                      int family_fd);
/* Starts it now, or after a while. What goes wrong is told by on_died in a later turn, as exit status 71. */
void ops_process_start(struct ops_process *p);
void ops_process_start_after(struct ops_process *p, uint32_t delay_ms);
void ops_process_cancel(struct ops_process *p);             /* the start it is waiting for */
void ops_process_signal(struct ops_process *p, int signal); /* nothing where it is not alive */
/* Tells it that run/node.conf has changed: where it is not listening yet, it hears of it when it is. */
void ops_process_tell(struct ops_process *p);
/* How many times in a row, this one included, it was found stopped by a signal (SIGSTOP and its like). A process that waits for a disk or for its turn is
 * not stopped, and neither is one that a debugger holds. */
uint32_t ops_process_look(struct ops_process *p);
void ops_process_finish(struct ops_process *p); /* closes the timer; only for one that is neither alive nor waiting */

/* "exit status 70" or "signal 11 (Segmentation fault)". Returns out. */
const char *ops_process_death(const struct ops_process *p, char *out, size_t out_size);

#endif
