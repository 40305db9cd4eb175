/*
 * What a person sees while records are on their way: one line that is written over on a terminal; a line a second on a
 * terminal that cannot do that (TERM=dumb, or none) or whose owner wants no escapes (NO_COLOR); elsewhere nothing, or a
 * line a second when asked for (MUSTER_PROGRESS=1). On standard error; counts only. `muster submit` owns it, on one thread.
 */
#ifndef MUSTER_CLIENT_PROGRESS_H
#define MUSTER_CLIENT_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "muster/client.h"

struct progress {
  bool shown;     /* whether anything is to be seen at all */
  bool terminal;  /* it has rows: a line is kept within one */
  bool lively;    /* written over, four times a second */
  bool line_open; /* a line stands without its end */
  uint64_t start_ns, next_ns, last_ns;
  uint64_t last_answered;
  double rate; /* records answered a second, smoothed over a few seconds */
};

void progress_init(struct progress *p, bool quiet);
/* done and total in any unit (bytes, records), total 0 where it is not known: they say how much time is left. Cheap to call often. */
void progress_show(struct progress *p, const struct muster_counts *counts, uint64_t done, uint64_t total);
/* Something else is about to be written on standard error: the open line is taken away. */
void progress_clear(struct progress *p);
uint64_t progress_answered(const struct muster_counts *counts); /* records with a final verdict */

#endif
