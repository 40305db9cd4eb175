/*
 * What people read on the terminal of `muster run`: the line when the node is ready, and its last one. What they tell of records and of shards that are BUSY
 * is read from the counter pages of the children. Process: supervisor.
 */
#ifndef MUSTER_OPS_WORDS_H
#define MUSTER_OPS_WORDS_H

#include "ops/node.h"

/* One write, so that it cannot mix with the lines of the children. */
void ops_words_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void ops_words_ready(const struct node *n, char *endpoints); /* endpoints: one a line; written over */
int ops_words_last(const struct node *n);                    /* returns the node's exit code */

#endif
