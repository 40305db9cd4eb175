/*
 * Records that are valid, or nearly: from the corpus or packed by protobuf-c, and changed field by field (order, repeats,
 * splices, padded varints, other wire types, unknown fields). That is where decoders differ.
 */
#ifndef MUSTER_TESTS_FUZZ_MAKE_RECORD_H
#define MUSTER_TESTS_FUZZ_MAKE_RECORD_H

#include "tests/fuzz/fuzz.h"

void make_record(struct wire *out, struct random *r, const struct wire *corpus, uint32_t corpus_count);

#endif
