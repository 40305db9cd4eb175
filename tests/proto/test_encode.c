/* proto/encode.c against protobuf-c's own encoder, and against the scan, whose way back it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "proto/encode.h"
#include "tests/proto/scan_of.h"

/* What the scan made of the expected bytes is written as these bytes again, and no byte more. */
static void writes(const uint8_t *expected, size_t size)
{
  struct encounter_view view;
  struct scan_fault fault;
  assert_int_equal(scan_of(&view, &fault, expected, size), NO_REASON);
  assert_int_equal(encode_encounter_size(&view), size);
  uint8_t *exact = malloc(size ? size : 1);
  assert_non_null(exact);
  assert_ptr_equal(encode_encounter(exact, &view), exact + size);
  assert_memory_equal(exact, expected, size);
  free(exact);
}

static void what_protobuf_c_packs_is_written_alike(void **state)
{
  (void)state;
  struct random r = random_seeded("encode", 71);
  for (uint32_t i = 0; i < 20000; i++) {
    uint8_t bytes[SAMPLE_BYTES_MAX];
    writes(bytes, sample_pack(bytes, &r, i % 9)); /* from no field to all of them */
  }
}

static void numbers_of_every_width_are_written_alike(void **state)
{
  (void)state;
  for (unsigned bit = 0; bit < 64; bit++) {
    for (int less = 0; less < 2; less++) {
      uint8_t bytes[SAMPLE_BYTES_MAX];
      uint64_t value = (UINT64_C(1) << bit) - (uint64_t)less;
      Muster__V1__Encounter e = MUSTER__V1__ENCOUNTER__INIT;
      e.has_encounter_time = e.has_latitude_e7 = e.has_longitude_e7 = 1;
      e.encounter_time = (int64_t)value;
      e.latitude_e7 = (int32_t)(uint32_t)value;
      e.longitude_e7 = (int32_t) ~(uint32_t)value;
      writes(bytes, muster__v1__encounter__pack(&e, bytes));
    }
  }
}

/* Nothing is judged: neither the length of an id, nor the value of an enum. */
static void whatever_stands_in_the_view_is_written(void **state)
{
  (void)state;
  static const uint8_t long_text[300];
  for (uint32_t size = 0; size <= sizeof long_text; size++) {
    struct encounter_view view = {.present = 1u << FIELD_ENCOUNTER_ID | 1u << FIELD_DEMOGRAPHIC | 1u << FIELD_OFFICER_REFERENCE};
    struct wire expected = {0};
    uint8_t out[2 * sizeof long_text + 32];
    view.field[FIELD_ENCOUNTER_ID] = view.field[FIELD_OFFICER_REFERENCE] = (struct scan_value){.bytes = long_text, .size = size};
    view.field[FIELD_DEMOGRAPHIC].number = size % 2 ? 77 : -1;
    wire_text(&expected, FIELD_ENCOUNTER_ID, long_text, size);
    wire_number(&expected, FIELD_DEMOGRAPHIC, size % 2 ? 77 : UINT64_MAX);
    wire_text(&expected, FIELD_OFFICER_REFERENCE, long_text, size);
    assert_int_equal(encode_encounter_size(&view), expected.size);
    assert_int_equal(encode_encounter(out, &view) - out, expected.size);
    assert_memory_equal(out, expected.bytes, expected.size);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_protobuf_c_packs_is_written_alike),
      cmocka_unit_test(numbers_of_every_width_are_written_alike),
      cmocka_unit_test(whatever_stands_in_the_view_is_written),
  };
  return cmocka_run_group_tests_name("encode", tests, NULL, NULL);
}
