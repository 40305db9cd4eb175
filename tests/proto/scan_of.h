/*
 * What the tests of the scan share: a scan that holds the promises which every scan makes, whatever the record. Included
 * after cmocka.
 */
#ifndef MUSTER_TESTS_PROTO_SCAN_OF_H
#define MUSTER_TESTS_PROTO_SCAN_OF_H

#include "proto/scan.h"
#include "proto/wire.pb-c.h"
#include "tests/proto/sample.h"

#define REASON(name) MUSTER__V1__REASON__REASON_##name
#define NO_REASON REASON(NONE)

/* Scans a copy on the heap of exactly that size, so that a sanitizer sees a read behind it; the view's pointers are moved to the original.
 * REASON_NONE, or why it was refused. */
static inline uint32_t scan_of(struct encounter_view *view, struct scan_fault *fault, const uint8_t *bytes, size_t size)
{
  uint8_t *exact = malloc(size ? size : 1);
  assert_non_null(exact);
  if (size > 0)
    memcpy(exact, bytes, size);
  *fault = (struct scan_fault){.reason = REASON(CONFLICT), .field = 99, .byte = 99};
  bool good = scan_encounter(view, exact, size, fault);
  const uint8_t *id = scan_encounter_id(exact, size);
  if (good) {
    /* The promise that ingest routes by. */
    bool has_id = encounter_has(view, FIELD_ENCOUNTER_ID) && view->field[FIELD_ENCOUNTER_ID].size == 16;
    assert_ptr_equal(id, has_id ? view->field[FIELD_ENCOUNTER_ID].bytes : NULL);
    assert_ptr_equal(view->record, exact);
    assert_int_equal(view->record_size, size);
    for (unsigned i = 1; i < FIELD_COUNT; i++)
      if (encounter_has(view, i) && scan_kind_of(i) >= SCAN_BYTES)
        view->field[i].bytes = bytes + (view->field[i].bytes - exact);
    view->record = bytes;
  } else {
    assert_true(fault->reason != NO_REASON && fault->reason != REASON(CONFLICT));
    assert_true(fault->field < FIELD_COUNT && fault->byte <= size);
    assert_true(!id || (id >= exact && id + 16 <= exact + size));
  }
  free(exact);
  return good ? NO_REASON : fault->reason;
}

static inline uint32_t scan_wire(struct encounter_view *view, const struct wire *w)
{
  struct scan_fault fault;
  return scan_of(view, &fault, w->bytes, w->size);
}

#endif
