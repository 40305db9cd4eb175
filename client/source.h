/*
 * The records of a file or of standard input, one after the other: a delimited protobuf stream, or NDJSON turned into
 * wire form. Knows for each where it stands, so that an error can name file, byte, line and record. Reads in large
 * pieces and holds one buffer, taken at open; a record is valid until the next call. `muster submit` owns it, on one
 * thread.
 */
#ifndef MUSTER_CLIENT_SOURCE_H
#define MUSTER_CLIENT_SOURCE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/failure.h"

enum { SOURCE_LOOKED_AT = 16 };

enum source_step {
  SOURCE_RECORD, /* *record is set */
  SOURCE_BAD,    /* one record cannot be used; failure says which and why, record->number too; the next call goes on behind it */
  SOURCE_END,    /* nothing follows, and all of it was whole */
  SOURCE_BROKEN, /* nothing behind this point can be read; failure says where and what was kept */
  SOURCE_STOPPED /* the flag of source_stop_on was set while more input was waited for */
};

struct source_record {
  const uint8_t *bytes;
  uint32_t size;
  uint64_t number; /* from 1: its place among all records of the input, bad ones included */
};

struct source;

/* path "-" is standard input. MUSTER_ERR_NOT_FOUND, MUSTER_ERR_IO, MUSTER_ERR_MEMORY; *out is NULL on failure. */
int source_open(struct source **out, const char *path, bool ndjson, struct failure *failure);
void source_close(struct source *s); /* NULL is fine */
/* Looked at before each read and while one is waited for; set by a signal handler. The caller's, for the life of the source. */
void source_stop_on(struct source *s, const volatile sig_atomic_t *flag);
enum source_step source_next(struct source *s, struct source_record *record, struct failure *failure);

/* Whether the input begins as a line of JSON does. Asked before the first record; reads no further than it takes to tell. */
bool source_looks_like_json(struct source *s);
/* MUSTER_ERR_FORMAT where of the first records (SOURCE_LOOKED_AT of them, or all where there are less) none has an encounter_id and not each is
 * protobuf at all: then the input is something else, and each of its pieces would end in the node's quarantine. Asked before the first record, of pb; a pipe is
 * never waited for, and where it has not brought enough to tell yet, the answer is MUSTER_OK. */
int source_check_stream(struct source *s, struct failure *failure);
uint64_t source_bytes_total(const struct source *s); /* size of a regular file; 0 where it is not known */
uint64_t source_bytes_used(const struct source *s);  /* in front of the next record */

#endif
