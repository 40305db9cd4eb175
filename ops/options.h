/*
 * What the options, messages and outputs of all commands here have in common: --data DIR, one shape of complaint on
 * standard error, and a last look at standard output, so that a full disk behind a redirection is never taken for
 * success. Any command; no state.
 */
#ifndef MUSTER_OPS_OPTIONS_H
#define MUSTER_OPS_OPTIONS_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/failure.h"

/* A child for a command's argp that understands --data DIR; its input is a `const char **`, which stays as it is where the option is not given. */
extern const struct argp ops_options_data;

/* argp_parse with the names and exit codes of this project; --help, --version and mistakes end the process (64). */
void ops_options_parse(const struct argp *argp, int argc, char **argv, void *input);

/* A decimal number in the range, nothing before or behind it. */
bool ops_options_number(const char *text, uint64_t min, uint64_t max, uint64_t *value);
/* The same in a command's parser: where it is none, the command ends with a sentence that names the option (64). */
void ops_options_take_number(struct argp_state *state, const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *value);

/* "muster COMMAND: sentence" on standard error. */
void ops_complain(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The failure's sentence in that form; returns the exit code of its status. */
int ops_fail(const char *command, const struct failure *failure);

/* Flushes standard output: code where all was written or the reader has gone away (a closed pipe is no fault), else a sentence and 74. */
int ops_output_finish(const char *command, int code);
/* The same, and where it is a file, it is on the disk then: for whoever puts down, or throws away, something because of what was printed. */
int ops_output_sync(const char *command, int code);
/* Whether a write to standard output has failed: a long output stops early. To be asked right after writing, so that the cause is kept. */
bool ops_output_broken(void);

#endif
