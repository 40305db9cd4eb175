/*
 * Decoding in place: walks the wire bytes of one Encounter with protobuf-c's own descriptors (numbers, types, enum
 * values) into a flat view of numbers, pointers and lengths. No allocation; nothing is copied; a view is valid as long
 * as the bytes it was made from. Strict: lengths, wire types, varints, UTF-8 with neither NUL nor control characters,
 * enum membership, groups, field 0. A repeated singular field: the last one wins, as protobuf says. Any process that
 * must look inside a record: the workers, the store's verify and tally, the commands. Ingest never does.
 */
#ifndef MUSTER_PROTO_SCAN_H
#define MUSTER_PROTO_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Field numbers of Encounter; a test holds them against the descriptor. */
enum encounter_field {
  FIELD_ENCOUNTER_ID = 1,
  FIELD_ENCOUNTER_TIME = 2,
  FIELD_COMPONENT = 3,
  FIELD_AREA_OF_RESPONSIBILITY = 4,
  FIELD_LAND_BORDER_REGION = 5,
  FIELD_DEMOGRAPHIC = 6,
  FIELD_CITIZENSHIP = 7,
  FIELD_TITLE_OF_AUTHORITY = 8,
  FIELD_ENCOUNTER_TYPE = 9,
  FIELD_SUBJECT_ID = 10,
  FIELD_FAMILY_UNIT_ID = 11,
  FIELD_LATITUDE_E7 = 12,
  FIELD_LONGITUDE_E7 = 13,
  FIELD_STATION = 14,
  FIELD_DEVICE = 15,
  FIELD_OFFICER_REFERENCE = 16,
  FIELD_DISPOSITION = 17,
  FIELD_COUNT = 18 /* one more than the last */
};

struct scan_value {
  union {
    int64_t number;       /* int64, enums, sint32 (zigzag undone) */
    const uint8_t *bytes; /* bytes and string, not terminated */
  };
  uint32_t size; /* of bytes; 0 for numbers */
};

struct encounter_view {
  const uint8_t *record; /* the bytes it was made from */
  uint32_t record_size;
  uint32_t present;                     /* bit n: field n is there */
  uint32_t unknown_bytes;               /* tags and values of fields that Encounter does not know */
  bool canonical;                       /* fields ascending, each once, shortest varints, nothing unknown */
  struct scan_value field[FIELD_COUNT]; /* by number; meaningful where present */
};

static inline bool encounter_has(const struct encounter_view *v, enum encounter_field f) { return v->present >> f & 1; }

struct scan_fault {
  uint32_t reason; /* Muster__V1__Reason: MALFORMED, WIRE_TYPE, BAD_UTF8, CONTROL_CHARACTER, UNKNOWN_ENUM_VALUE, RECORD_TOO_LARGE,
                    * TOO_MANY_UNKNOWN_BYTES */
  uint32_t field;  /* number, 0: the record as a whole */
  uint32_t byte;   /* offset in the record of the tag, length, value or character at fault */
};

/* true: view is whole. false: fault says what and where; view is not to be used. Lengths of ids and texts are rules, not its business. */
bool scan_encounter(struct encounter_view *view, const uint8_t *record, size_t size, struct scan_fault *fault);

/* What a field holds, from its descriptor. */
enum scan_kind { SCAN_INT64, SCAN_ENUM, SCAN_SINT32, SCAN_BYTES, SCAN_STRING };
enum scan_kind scan_kind_of(enum encounter_field field);

/* One field of the top level, known or not, without a look at its value. */
struct scan_part {
  uint32_t number, wire_type;
  const uint8_t *start; /* its tag */
  const uint8_t *value; /* behind the tag, and behind the length where there is one */
  const uint8_t *end;
};
/* The field at *p; *p moves behind it. false at the end of the record, and where the walk breaks off (*p is not the end then). */
bool scan_part_next(struct scan_part *part, const uint8_t **p, const uint8_t *end);

/* The encounter_id alone, by a walk over the top-level tags (last one wins): what ingest routes by. NULL where there is none of 16 bytes or
 * the walk breaks off; such a record may go to any shard, the worker says what is wrong with it. Never reads a value. Where scan_encounter
 * succeeds, both mean the same bytes. */
const uint8_t *scan_encounter_id(const uint8_t *record, size_t size);

#endif
