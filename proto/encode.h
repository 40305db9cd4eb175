/*
 * Encoding: writes the fields of a view as one Encounter in canonical form (fields ascending, each once, shortest varints), the way
 * back from proto/scan.h. Of the view only `present` and `field` are read, so a view that no record stands behind will do; nothing
 * is judged: an id of 15 bytes is written as it stands. No allocation, no state. The digest's re-encoding, the client library, and the
 * generator of the benchmarks.
 */
#ifndef MUSTER_PROTO_ENCODE_H
#define MUSTER_PROTO_ENCODE_H

#include "proto/scan.h"

/* What encode_encounter will write, to the byte. */
size_t encode_encounter_size(const struct encounter_view *view);
/* Writes encode_encounter_size bytes, and returns the end of them. */
uint8_t *encode_encounter(uint8_t *out, const struct encounter_view *view);

#endif
