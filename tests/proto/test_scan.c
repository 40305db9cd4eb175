#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/proto/scan_of.h"

/* ---- what it reads ---- */

static void the_field_numbers_are_those_of_the_descriptor(void **state)
{
  (void)state;
  static const struct {
    const char *name;
    enum encounter_field number;
    enum scan_kind kind;
  } fields[] = {
      {"encounter_id", FIELD_ENCOUNTER_ID, SCAN_BYTES},
      {"encounter_time", FIELD_ENCOUNTER_TIME, SCAN_INT64},
      {"component", FIELD_COMPONENT, SCAN_ENUM},
      {"area_of_responsibility", FIELD_AREA_OF_RESPONSIBILITY, SCAN_ENUM},
      {"land_border_region", FIELD_LAND_BORDER_REGION, SCAN_ENUM},
      {"demographic", FIELD_DEMOGRAPHIC, SCAN_ENUM},
      {"citizenship", FIELD_CITIZENSHIP, SCAN_STRING},
      {"title_of_authority", FIELD_TITLE_OF_AUTHORITY, SCAN_ENUM},
      {"encounter_type", FIELD_ENCOUNTER_TYPE, SCAN_ENUM},
      {"subject_id", FIELD_SUBJECT_ID, SCAN_BYTES},
      {"family_unit_id", FIELD_FAMILY_UNIT_ID, SCAN_BYTES},
      {"latitude_e7", FIELD_LATITUDE_E7, SCAN_SINT32},
      {"longitude_e7", FIELD_LONGITUDE_E7, SCAN_SINT32},
      {"station", FIELD_STATION, SCAN_STRING},
      {"device", FIELD_DEVICE, SCAN_STRING},
      {"officer_reference", FIELD_OFFICER_REFERENCE, SCAN_STRING},
      {"disposition", FIELD_DISPOSITION, SCAN_ENUM},
  };
  assert_int_equal(sizeof fields / sizeof fields[0], FIELD_COUNT - 1);
  assert_int_equal(muster__v1__encounter__descriptor.n_fields, FIELD_COUNT - 1);
  for (unsigned i = 0; i < FIELD_COUNT - 1; i++) {
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(&muster__v1__encounter__descriptor, fields[i].name);
    assert_non_null(field);
    assert_int_equal(field->id, fields[i].number);
    assert_int_equal(scan_kind_of(fields[i].number), fields[i].kind);
  }
}

static void number_is(const struct encounter_view *view, bool has, enum encounter_field field, int64_t expected)
{
  assert_int_equal(encounter_has(view, field), has);
  if (has) {
    assert_int_equal(view->field[field].number, expected);
    assert_int_equal(view->field[field].size, 0);
  }
}

static void bytes_are(const struct encounter_view *view, bool has, enum encounter_field field, const void *expected, size_t size)
{
  assert_int_equal(encounter_has(view, field), has);
  if (has) {
    assert_int_equal(view->field[field].size, size);
    assert_memory_equal(view->field[field].bytes, expected, size);
  }
}

static void text_is(const struct encounter_view *view, enum encounter_field field, const char *expected)
{
  bytes_are(view, expected != NULL, field, expected, expected ? strlen(expected) : 0);
}

static void records_of_protobuf_c_are_read_whole(void **state)
{
  (void)state;
  struct random r = random_seeded("records", 21);
  for (int i = 0; i < 20000; i++) {
    Muster__V1__Encounter e;
    struct sample_room room;
    struct encounter_view view;
    struct scan_fault fault;
    uint8_t bytes[SAMPLE_BYTES_MAX];
    sample_encounter(&e, &room, &r, (uint32_t)i % 9);
    size_t size = muster__v1__encounter__pack(&e, bytes);
    assert_int_equal(scan_of(&view, &fault, bytes, size), NO_REASON);
    assert_true(view.canonical);
    assert_int_equal(view.unknown_bytes, 0);
    bytes_are(&view, e.has_encounter_id, FIELD_ENCOUNTER_ID, e.encounter_id.data, e.encounter_id.len);
    number_is(&view, e.has_encounter_time, FIELD_ENCOUNTER_TIME, e.encounter_time);
    number_is(&view, e.has_component, FIELD_COMPONENT, e.component);
    number_is(&view, e.has_area_of_responsibility, FIELD_AREA_OF_RESPONSIBILITY, e.area_of_responsibility);
    number_is(&view, e.has_land_border_region, FIELD_LAND_BORDER_REGION, e.land_border_region);
    number_is(&view, e.has_demographic, FIELD_DEMOGRAPHIC, e.demographic);
    text_is(&view, FIELD_CITIZENSHIP, e.citizenship);
    number_is(&view, e.has_title_of_authority, FIELD_TITLE_OF_AUTHORITY, e.title_of_authority);
    number_is(&view, e.has_encounter_type, FIELD_ENCOUNTER_TYPE, e.encounter_type);
    bytes_are(&view, e.has_subject_id, FIELD_SUBJECT_ID, e.subject_id.data, e.subject_id.len);
    bytes_are(&view, e.has_family_unit_id, FIELD_FAMILY_UNIT_ID, e.family_unit_id.data, e.family_unit_id.len);
    number_is(&view, e.has_latitude_e7, FIELD_LATITUDE_E7, e.latitude_e7);
    number_is(&view, e.has_longitude_e7, FIELD_LONGITUDE_E7, e.longitude_e7);
    text_is(&view, FIELD_STATION, e.station);
    text_is(&view, FIELD_DEVICE, e.device);
    text_is(&view, FIELD_OFFICER_REFERENCE, e.officer_reference);
    number_is(&view, e.has_disposition, FIELD_DISPOSITION, e.disposition);
  }
}

static void a_record_of_nothing_is_read(void **state)
{
  (void)state;
  struct encounter_view view;
  struct wire w = {0};
  assert_int_equal(scan_wire(&view, &w), NO_REASON);
  assert_int_equal(view.present, 0);
  assert_true(view.canonical);
}

static void the_last_of_a_repeated_field_wins(void **state)
{
  (void)state;
  struct encounter_view view;
  struct wire w = {0};
  wire_text(&w, FIELD_STATION, "first", 5);
  wire_number(&w, FIELD_DISPOSITION, 3);
  wire_text(&w, FIELD_STATION, "", 0);
  wire_number(&w, FIELD_DISPOSITION, 4);
  wire_text(&w, FIELD_STATION, "second", 6);
  assert_int_equal(scan_wire(&view, &w), NO_REASON);
  text_is(&view, FIELD_STATION, "second");
  number_is(&view, true, FIELD_DISPOSITION, 4);
  assert_false(view.canonical);
  assert_int_equal(view.present, 1u << FIELD_STATION | 1u << FIELD_DISPOSITION);
}

/* A varint of each width at each distance to the end of the record: the fast ways and the slow one must agree. */
static void numbers_of_every_width_are_read_at_every_distance_to_the_end(void **state)
{
  (void)state;
  for (unsigned bits = 0; bits < 64; bits++)
    for (unsigned padded = 1; padded <= VARINT_BYTES_MAX; padded++)
      for (unsigned behind = 0; behind < 12; behind++) {
        struct encounter_view view;
        struct wire w;
        w.size = 0;
        uint64_t value = (UINT64_C(1) << bits | 1) * 0x5 % UINT64_MAX;
        wire_tag(&w, FIELD_ENCOUNTER_TIME, 0);
        wire_varint(&w, value, padded);
        for (unsigned i = 0; i < behind / 2; i++)
          wire_number(&w, FIELD_COMPONENT, 1);
        if (behind % 2) {
          wire_byte(&w, FIELD_STATION << 3 | 2);
          wire_bytes(&w, "\x01x", 2);
        }
        assert_int_equal(scan_wire(&view, &w), NO_REASON);
        number_is(&view, true, FIELD_ENCOUNTER_TIME, (int64_t)value);
        assert_int_equal(view.canonical, padded <= varint_size(value) && behind / 2 <= 1);
      }
}

static void numbers_of_32_bits_are_cut_as_protobuf_says(void **state)
{
  (void)state;
  static const struct {
    uint64_t wire;
    enum encounter_field field;
    int64_t number;
    bool canonical;
  } known[] = {
      {1, FIELD_COMPONENT, 1, true},
      {UINT64_C(0x100000001), FIELD_COMPONENT, 1, false},
      {UINT64_C(0xffffffff00000002), FIELD_COMPONENT, 2, false},
      {UINT32_MAX, FIELD_LATITUDE_E7, INT32_MIN, true},
      {UINT32_MAX - 1, FIELD_LATITUDE_E7, INT32_MAX, true},
      {UINT64_C(0x100000000), FIELD_LATITUDE_E7, 0, false},
      {UINT64_MAX, FIELD_LONGITUDE_E7, INT32_MIN, false},
      {UINT64_C(0x7000000003), FIELD_LONGITUDE_E7, -2, false},
      {UINT64_MAX, FIELD_ENCOUNTER_TIME, -1, true},
  };
  for (unsigned i = 0; i < sizeof known / sizeof known[0]; i++) {
    struct encounter_view view;
    struct wire w = {0};
    wire_number(&w, known[i].field, known[i].wire);
    assert_int_equal(scan_wire(&view, &w), NO_REASON);
    number_is(&view, true, known[i].field, known[i].number);
    assert_int_equal(view.canonical, known[i].canonical);
  }
}

static void an_enum_takes_its_members_and_nothing_else(void **state)
{
  (void)state;
  const ProtobufCMessageDescriptor *message = &muster__v1__encounter__descriptor;
  unsigned members = 0, all = 0;
  for (unsigned f = 0; f < message->n_fields; f++) {
    if (message->fields[f].type != PROTOBUF_C_TYPE_ENUM)
      continue;
    all += ((const ProtobufCEnumDescriptor *)message->fields[f].descriptor)->n_values;
    for (int value = -300; value <= 600; value++) {
      struct wire w;
      w.size = 0;
      struct encounter_view view;
      struct scan_fault fault;
      bool member = protobuf_c_enum_descriptor_get_value(message->fields[f].descriptor, value) != NULL;
      wire_number(&w, message->fields[f].id, (uint64_t)(int64_t)value);
      uint32_t reason = scan_of(&view, &fault, w.bytes, w.size);
      assert_int_equal(reason, member ? NO_REASON : REASON(UNKNOWN_ENUM_VALUE));
      if (!member) {
        assert_int_equal(fault.field, message->fields[f].id);
        assert_int_equal(fault.byte, message->fields[f].id < 16 ? 1 : 2);
      }
      members += member;
    }
  }
  assert_int_equal(members, all);
}

/* ---- what is canonical ---- */

static void only_the_form_of_a_canonical_writer_is_canonical(void **state)
{
  (void)state;
  struct encounter_view view;
  struct wire good = {0}, w;
  wire_number(&good, FIELD_COMPONENT, 2);
  wire_text(&good, FIELD_OFFICER_REFERENCE, "x", 1);
  assert_int_equal(scan_wire(&view, &good), NO_REASON);
  assert_true(view.canonical);
#define NOT_CANONICAL(...)                                                                                                                 \
  do {                                                                                                                                     \
    w = (struct wire){0};                                                                                                                  \
    __VA_ARGS__;                                                                                                                           \
    assert_int_equal(scan_wire(&view, &w), NO_REASON);                                                                                     \
    assert_false(view.canonical);                                                                                                          \
  } while (0)
  NOT_CANONICAL(wire_text(&w, FIELD_OFFICER_REFERENCE, "x", 1), wire_number(&w, FIELD_COMPONENT, 2)); /* order */
  NOT_CANONICAL(wire_number(&w, FIELD_COMPONENT, 2), wire_number(&w, FIELD_COMPONENT, 2));            /* repeated */
  NOT_CANONICAL(wire_number(&w, 18, 2));                                                              /* unknown */
  for (unsigned bytes = 2; bytes <= 5; bytes++)
    NOT_CANONICAL(wire_varint(&w, FIELD_COMPONENT << 3, bytes), wire_byte(&w, 2));
  for (unsigned bytes = 3; bytes <= 5; bytes++)
    NOT_CANONICAL(wire_varint(&w, FIELD_OFFICER_REFERENCE << 3 | 2, bytes), wire_bytes(&w, "\x01x", 2));
  for (unsigned bytes = 2; bytes <= 5; bytes++)
    NOT_CANONICAL(wire_byte(&w, FIELD_STATION << 3 | 2), wire_varint(&w, 1, bytes), wire_byte(&w, 'x'));
  for (unsigned bytes = 2; bytes <= 10; bytes++)
    NOT_CANONICAL(wire_tag(&w, FIELD_COMPONENT, 0), wire_varint(&w, 2, bytes));
#undef NOT_CANONICAL
}

/* ---- the id alone ---- */

static void the_id_is_found_without_a_scan(void **state)
{
  (void)state;
  struct wire w = {0};
  assert_null(scan_encounter_id(w.bytes, 0));
  wire_text(&w, FIELD_ENCOUNTER_ID, "0123456789abcdef", 16);
  assert_ptr_equal(scan_encounter_id(w.bytes, w.size), w.bytes + 2);
  wire_number(&w, FIELD_COMPONENT, 77); /* no member: not the business of the walk */
  wire_text(&w, FIELD_STATION, "\xff", 1);
  wire_tag(&w, 20, 1), wire_bytes(&w, "12345678", 8);
  wire_tag(&w, 20, 5), wire_bytes(&w, "1234", 4);
  assert_ptr_equal(scan_encounter_id(w.bytes, w.size), w.bytes + 2);
  struct wire last = w;
  wire_varint(&last, FIELD_ENCOUNTER_ID << 3 | 2, 4), wire_varint(&last, 16, 3), wire_bytes(&last, "fedcba9876543210", 16);
  assert_ptr_equal(scan_encounter_id(last.bytes, last.size), last.bytes + last.size - 16); /* the last one, padded as it is */
  last = w;
  wire_text(&last, FIELD_ENCOUNTER_ID, "0123456789abcde", 15);
  assert_null(scan_encounter_id(last.bytes, last.size)); /* the last one is none */
  static const char *const broken[] = {"\x0b", "\x0a", "\x18", "\x18\x80", "\x0a\x05xyz", "\x91\x01zzz", "\x95\x01zz", "\x0e", "\xff"};
  for (unsigned i = 0; i < sizeof broken / sizeof broken[0]; i++) {
    last = w;
    wire_bytes(&last, broken[i], strlen(broken[i]));
    assert_null(scan_encounter_id(last.bytes, last.size));
  }
}

/* scan_of holds both walks against each other; here the records are such that they might differ. */
static void both_walks_mean_the_same_id(void **state)
{
  (void)state;
  struct random r = random_seeded("both walks", 23);
  unsigned good = 0, with_id = 0;
  for (int i = 0; i < 200000; i++) {
    struct wire w;
    w.size = 0;
    struct encounter_view view;
    struct scan_fault fault;
    for (uint32_t fields = random_below(&r, 6); fields > 0; fields--) {
      uint32_t number = random_below(&r, 3) ? random_below(&r, 20) : FIELD_ENCOUNTER_ID;
      wire_varint(&w,
                  number << 3 | (number > 17 || random_below(&r, 16) == 0 ? random_below(&r, 8)
                                 : number == 1 || number == 10            ? 2
                                                                          : 0),
                  random_below(&r, 4) ? 0 : random_below(&r, 7));
      if ((number == 1 || number == 10) && random_below(&r, 8)) {
        uint32_t size = random_below(&r, 4) ? 16 : random_below(&r, 20);
        wire_varint(&w, size, random_below(&r, 4) ? 0 : random_below(&r, 7));
        wire_bytes(&w, "\x08\x12\x0a\x10\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10", size);
      } else
        wire_varint(&w, random_below(&r, 2) ? random_below(&r, 3) : random_wide(&r), random_below(&r, 4) ? 0 : random_below(&r, 12));
    }
    if (w.size > 0 && random_below(&r, 8) == 0)
      w.bytes[random_below(&r, (uint32_t)w.size)] ^= (uint8_t)(1u << random_below(&r, 8));
    if (scan_of(&view, &fault, w.bytes, w.size) == NO_REASON) {
      good++;
      with_id += encounter_has(&view, FIELD_ENCOUNTER_ID);
    }
  }
  assert_true(good > 20000 && with_id > 10000); /* enough for the comparison to mean something */
}

/* ---- the parts ---- */

static void parts_are_the_fields_as_they_lie(void **state)
{
  (void)state;
  struct wire w = {0};
  wire_varint(&w, FIELD_COMPONENT << 3, 3), wire_varint(&w, 1, 2);
  wire_tag(&w, 20, 2), wire_varint(&w, 3, 2), wire_bytes(&w, "abc", 3);
  wire_tag(&w, 21, 1), wire_bytes(&w, "12345678", 8);
  wire_tag(&w, 22, 5), wire_bytes(&w, "1234", 4);
  static const struct {
    uint32_t number, wire_type, start, value, end;
  } expected[] = {{3, 0, 0, 3, 5}, {20, 2, 5, 9, 12}, {21, 1, 12, 14, 22}, {22, 5, 22, 24, 28}};
  const uint8_t *p = w.bytes, *end = w.bytes + w.size;
  struct scan_part part;
  for (unsigned i = 0; i < 4; i++) {
    assert_true(scan_part_next(&part, &p, end));
    assert_int_equal(part.number, expected[i].number);
    assert_int_equal(part.wire_type, expected[i].wire_type);
    assert_int_equal(part.start - w.bytes, expected[i].start);
    assert_int_equal(part.value - w.bytes, expected[i].value);
    assert_int_equal(part.end - w.bytes, expected[i].end);
    assert_ptr_equal(p, part.end);
  }
  assert_false(scan_part_next(&part, &p, end));
  assert_ptr_equal(p, end);
  p = end - 5; /* the last tag's second byte begins nothing whole */
  assert_false(scan_part_next(&part, &p, end));
  assert_ptr_equal(p, end - 5);
  const uint8_t *nothing = (const uint8_t *)"\0\1"; /* field 0 */
  p = nothing;
  assert_false(scan_part_next(&part, &p, nothing + 2));
  assert_ptr_equal(p, nothing);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_field_numbers_are_those_of_the_descriptor),
      cmocka_unit_test(records_of_protobuf_c_are_read_whole),
      cmocka_unit_test(a_record_of_nothing_is_read),
      cmocka_unit_test(the_last_of_a_repeated_field_wins),
      cmocka_unit_test(numbers_of_every_width_are_read_at_every_distance_to_the_end),
      cmocka_unit_test(numbers_of_32_bits_are_cut_as_protobuf_says),
      cmocka_unit_test(an_enum_takes_its_members_and_nothing_else),
      cmocka_unit_test(only_the_form_of_a_canonical_writer_is_canonical),
      cmocka_unit_test(the_id_is_found_without_a_scan),
      cmocka_unit_test(both_walks_mean_the_same_id),
      cmocka_unit_test(parts_are_the_fields_as_they_lie),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
