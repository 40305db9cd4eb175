/*
 * SIGHUP: the supervisor gathers its settings anew, takes over what a running node can (config_setting.live), tells its children, and says in
 * run/reload what became of each setting that is another now; `muster reload` waits for that and prints it. A file that cannot be used changes
 * nothing, and so does a disk that cannot take run/node.conf. Process: supervisor; the reader is any command.
 */
#ifndef MUSTER_OPS_REREAD_H
#define MUSTER_OPS_REREAD_H

#include "core/datadir.h"
#include "ops/node.h"

void ops_reread(struct node *n);
void ops_reread_forget(const struct datadir *d); /* what a former node has left */

/* What the file says: how often this node has reread, the status of the last time, and sentences, one a line. */
#define REREAD_TEXT_BYTES 16384
struct ops_reread_report {
  uint64_t number; /* 0: never */
  int status;
  char text[REREAD_TEXT_BYTES];
};
int ops_reread_report(const struct datadir *d, struct ops_reread_report *out, struct failure *failure);

#endif
