/*
 * How far a mistyped word is from a right one, for the question "did you mean". Of the menu, for commands, and of
 * options.c, for options. No state.
 */
#ifndef MUSTER_OPS_NEAREST_H
#define MUSTER_OPS_NEAREST_H

#include <stddef.h>

enum { NEAREST_FAR = 3 }; /* no question is worth so many mistakes */

/* 0: it begins as name does (two letters or more), or is name; otherwise insertions, deletions, replacements and swaps of neighbours that
 * turn one into the other. NEAREST_FAR for whatever is further, and where nothing of name would be left. */
size_t ops_nearest(const char *word, const char *name);

#endif
