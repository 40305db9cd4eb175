/*
 * A failing operation: its status and one sentence for people. The caller owns the struct, usually on its stack; the first
 * failure that is set stays (a transaction remembers its first error), so code can go on and check once. The sentence says what
 * was wrong, where (file, line, record, field), what was kept and what to do, and never carries personal data.
 * Any process, no allocation.
 */
#ifndef MUSTER_CORE_FAILURE_H
#define MUSTER_CORE_FAILURE_H

#include "muster/status.h"

struct failure {
  int status;     /* MUSTER_OK while nothing failed */
  char text[512]; /* "" while nothing failed; no trailing newline */
};

#define FAILURE_NONE ((struct failure){.status = MUSTER_OK})

/* Sets status and text unless a failure is set already (or f is NULL); returns the given status, so that `return failure_set(...)` reads straight. */
int failure_set(struct failure *f, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As failure_set, with ": " and strerror(errno_value) appended. */
int failure_set_errno(struct failure *f, int status, int errno_value, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* What an errno of a file or directory means: MUSTER_ERR_NOT_FOUND, _DENIED, _FULL; otherwise for any other. */
int failure_status(int errno_value, int otherwise);

#endif
