/*
 * Records as a stream on standard output, in either of the forms that `muster submit' reads. For the commands that write
 * many; no state.
 */
#ifndef MUSTER_OPS_RECORD_H
#define MUSTER_OPS_RECORD_H

#include <argp.h>
#include <stdbool.h>

#include "core/failure.h"
#include "store/read.h"

#define OPS_RECORD_FORMATS "ndjson (default): one object a line; pb: a delimited protobuf stream; both are what `muster submit' reads"

/* The argument of --format; where it is none, the command ends with a sentence (64). */
void ops_record_take_format(struct argp_state *state, const char *argument, bool *wire);

/* MUSTER_ERR_CORRUPT where the bytes are no record, and _MEMORY, with a sentence. That the output is broken, ops_output_broken tells. */
int ops_record_write(const struct store_record *record, bool wire, struct failure *failure);

#endif
