/*
 * The JSON form of a record (one object a line, NDJSON): names as in encounter.proto, ids as UUID text, times RFC 3339
 * UTC with microseconds, enums by name, numbers as numbers, unknown fields as base64 of their bytes (tags included, in
 * their order) under "unknown_fields". The round trip is exact for every record whose encoding is canonical; others come
 * back in canonical form, which has the same digest. Driven by the descriptors, with jansson. Commands only.
 */
#ifndef MUSTER_PROTO_JSON_H
#define MUSTER_PROTO_JSON_H

#include <stddef.h>
#include <stdint.h>
#include <jansson.h>

#include "core/failure.h"
#include "proto/scan.h"

/* A new reference, or NULL without memory. A record with a fault has no JSON form. Bytes of ids that are not 16 long come as base64 in an object {"base64": "..."}. */
json_t *json_from_encounter(const struct encounter_view *view);

/* Parses one line (without its newline) into wire form; out has LIMIT_RECORD_BYTES. Returns the size, or a negative status; failure says column or field,
 * "unknown field \"xyz\"", and never a value. The caller adds the line number. Field values are checked for form, not by the rules. */
int json_to_encounter(uint8_t *out, const char *line, size_t size, struct failure *failure);

#endif
