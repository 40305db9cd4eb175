#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "core/limits.h"
#include "tests/proto/scan_of.h"

static void fault_is(const void *bytes, size_t size, uint32_t reason, uint32_t field, uint32_t byte)
{
  struct encounter_view view;
  struct scan_fault fault;
  assert_int_equal(scan_of(&view, &fault, bytes, size), reason);
  assert_int_equal(fault.field, field);
  assert_int_equal(fault.byte, byte);
}
#define FAULT_IS(text, reason, field, byte) fault_is(text, sizeof(text) - 1, REASON(reason), field, byte)

static void what_is_malformed_is_refused_with_its_place(void **state)
{
  (void)state;
  FAULT_IS("\x00", MALFORMED, 0, 0);                                             /* field 0 */
  FAULT_IS("\x18\x01\x02\x00", MALFORMED, 0, 2);                                 /* field 0, length-delimited */
  FAULT_IS("\x80\x00", MALFORMED, 0, 0);                                         /* field 0, padded */
  FAULT_IS("\x18\x01\x80", MALFORMED, 0, 2);                                     /* a tag cut */
  FAULT_IS("\xff\xff\xff\xff\x1f\x00", MALFORMED, 0, 0);                         /* field 2^30 and more */
  FAULT_IS("\x80\x80\x80\x80\x10\x00", MALFORMED, 0, 0);                         /* field 2^29 */
  FAULT_IS("\x98\x80\x80\x80\x80\x00\x01", MALFORMED, 0, 0);                     /* a tag of six bytes */
  FAULT_IS("\x18", MALFORMED, 3, 1);                                             /* no value */
  FAULT_IS("\x18\x80", MALFORMED, 3, 1);                                         /* a value cut */
  FAULT_IS("\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", MALFORMED, 2, 1);     /* 65 bits */
  FAULT_IS("\x10\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", MALFORMED, 2, 1); /* eleven bytes */
  FAULT_IS("\x18\x01\x0a", MALFORMED, 1, 3);                                     /* no length */
  FAULT_IS("\x0a\x02x", MALFORMED, 1, 1);                                        /* past the end */
  FAULT_IS("\x0a\xff\xff\xff\xff\x0fx", MALFORMED, 1, 1);                        /* 4 GiB - 1 */
  FAULT_IS("\x0a\xff\xff\xff\xff\x1fx", MALFORMED, 1, 1);                        /* and more than 32 bits */
  FAULT_IS("\x0a\x81\x80\x80\x80\x10x", MALFORMED, 1, 1);                        /* and one whose low 32 bits would do */
  FAULT_IS("\x98\x80\x80\x80\x10\x01", MALFORMED, 0, 0);                         /* a tag whose low 32 bits would do */
  FAULT_IS("\x0a\x81\x80\x80\x80\x80\x00x", MALFORMED, 1, 1);                    /* a length of six bytes */
  FAULT_IS("\x0b\x0c", MALFORMED, 1, 0);                                         /* a group */
  FAULT_IS("\x0c", MALFORMED, 1, 0);                                             /* its end */
  FAULT_IS("\x0e\x00", MALFORMED, 1, 0);                                         /* no wire type */
  FAULT_IS("\x0f\x00", MALFORMED, 1, 0);                                         /* no wire type */
  FAULT_IS("\x93\x01\x94\x01", MALFORMED, 0, 0);                                 /* a group, unknown */
  FAULT_IS("\x96\x01\x00", MALFORMED, 0, 0);                                     /* no wire type, unknown */
  FAULT_IS("\x97\x01\x00", MALFORMED, 0, 0);                                     /* no wire type, unknown */
  FAULT_IS("\x91\x01"
           "1234567",
           MALFORMED, 0, 0); /* unknown, cut */
  FAULT_IS("\x95\x01"
           "123",
           MALFORMED, 0, 0);                                                     /* unknown, cut */
  FAULT_IS("\x90\x01\x80", MALFORMED, 0, 0);                                     /* unknown, cut */
  FAULT_IS("\x92\x01", MALFORMED, 0, 0);                                         /* unknown, cut */
  FAULT_IS("\x92\x01\x02x", MALFORMED, 0, 0);                                    /* unknown, cut */
  FAULT_IS("\x90\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", MALFORMED, 0, 0); /* unknown, 65 bits */
}

static void a_known_field_of_another_wire_type_is_refused(void **state)
{
  (void)state;
  static const uint8_t meaningful[] = {0, 1, 2, 5};
  for (uint32_t number = 1; number < FIELD_COUNT; number++)
    for (unsigned i = 0; i < 4; i++) {
      bool right = meaningful[i] == (scan_kind_of(number) >= SCAN_BYTES ? 2 : 0);
      struct wire w = {0};
      struct encounter_view view;
      struct scan_fault fault;
      wire_tag(&w, number, meaningful[i]);
      wire_bytes(&w, "\0\0\0\0\0\0\0\0", meaningful[i] == 1 ? 8 : meaningful[i] == 5 ? 4 : 1);
      assert_int_equal(scan_of(&view, &fault, w.bytes, w.size), right ? NO_REASON : REASON(WIRE_TYPE));
      if (!right)
        assert_int_equal(fault.field, number);
    }
}

static void every_beginning_of_a_record_is_whole_or_malformed(void **state)
{
  (void)state;
  struct random r = random_seeded("beginnings", 22);
  for (int i = 0; i < 300; i++) {
    uint8_t bytes[SAMPLE_BYTES_MAX];
    size_t size = sample_pack(bytes, &r, 7), ends = 0, whole = 0;
    for (const uint8_t *p = bytes; p < bytes + size; ends++) {
      struct scan_part part;
      assert_true(scan_part_next(&part, &p, bytes + size));
    }
    for (size_t cut = 0; cut < size; cut++) {
      struct encounter_view view;
      struct scan_fault fault;
      uint32_t reason = scan_of(&view, &fault, bytes, cut);
      assert_true(reason == NO_REASON || reason == REASON(MALFORMED));
      whole += reason == NO_REASON;
    }
    assert_int_equal(whole, ends); /* nothing, and behind each field but the last */
  }
}

static void a_bad_byte_is_found_anywhere_in_a_text(void **state)
{
  (void)state;
  static const enum encounter_field texts[] = {FIELD_CITIZENSHIP, FIELD_STATION, FIELD_DEVICE, FIELD_OFFICER_REFERENCE};
  for (size_t size = 1; size <= 40; size++)
    for (size_t at = 0; at < size; at++)
      for (unsigned byte = 0; byte < 256; byte++) {
        char text[40];
        struct wire w;
        w.size = 0;
        struct encounter_view view;
        struct scan_fault fault;
        enum encounter_field field = texts[(size + at) % 4];
        memset(text, '~', size);
        text[at] = (char)byte;
        wire_text(&w, field, text, size);
        uint32_t expected = byte >= 0x80 ? REASON(BAD_UTF8) : byte < 0x20 || byte == 0x7f ? REASON(CONTROL_CHARACTER) : NO_REASON;
        uint32_t reason = scan_of(&view, &fault, w.bytes, w.size);
        if (reason != expected)
          fail_msg("byte %u at %zu of %zu: %u", byte, at, size, reason);
        if (reason != NO_REASON) {
          assert_int_equal(fault.field, field);
          assert_int_equal(fault.byte, w.size - size + at);
        }
      }
}

static void texts_beyond_ascii_are_read_and_their_faults_found(void **state)
{
  (void)state;
  FAULT_IS("\x72\x0aPe\xc3\xb1"
           "itas\x07\xff",
           BAD_UTF8, 14, 11); /* of both faults, the one that makes it no text at all */
  FAULT_IS("\x72\x09Pe\xc3\xb1"
           "itas\x07",
           CONTROL_CHARACTER, 14, 10);
  FAULT_IS("\x72\x03\xed\xa0\x80", BAD_UTF8, 14, 2);     /* a surrogate */
  FAULT_IS("\x72\x02\xc0\x80", BAD_UTF8, 14, 2);         /* NUL in two bytes */
  FAULT_IS("\x72\x01\xc3\x6a\x01\xb1", BAD_UTF8, 14, 2); /* a character cut by the end of its text */
  struct encounter_view view;
  struct wire w = {0};
  wire_text(&w, FIELD_STATION, "Pe\xc3\xb1itas \xf0\x90\x8d\x88", 13);
  assert_int_equal(scan_wire(&view, &w), NO_REASON);
  assert_true(view.canonical);
  wire_text(&w, FIELD_SUBJECT_ID, "\xff\0\x07", 3); /* bytes are not text */
  assert_int_equal(scan_wire(&view, &w), NO_REASON);
}

static void unknown_fields_are_counted_up_to_their_limit(void **state)
{
  (void)state;
  struct encounter_view view;
  struct wire w = {0};
  wire_number(&w, 18, 300);                           /* 4 bytes */
  wire_tag(&w, 40, 1), wire_bytes(&w, "12345678", 8); /* 10 */
  wire_number(&w, FIELD_COMPONENT, 1);
  wire_tag(&w, 41, 5), wire_bytes(&w, "1234", 4);            /* 6 */
  wire_text(&w, (UINT32_C(1) << 29) - 1, "\xff\0unread", 8); /* 5 + 1 + 8 */
  assert_int_equal(scan_wire(&view, &w), NO_REASON);
  assert_int_equal(view.unknown_bytes, 34);
  assert_int_equal(view.present, 1u << FIELD_COMPONENT);
  assert_false(view.canonical);

  static uint8_t zeros[LIMIT_UNKNOWN_BYTES];
  struct wire most = w;
  wire_text(&most, 42, zeros, LIMIT_UNKNOWN_BYTES - 34 - 4);
  assert_int_equal(scan_wire(&view, &most), NO_REASON);
  assert_int_equal(view.unknown_bytes, LIMIT_UNKNOWN_BYTES);
  size_t last = w.size;
  wire_text(&w, 42, zeros, LIMIT_UNKNOWN_BYTES - 34 - 3);
  fault_is(w.bytes, w.size, REASON(TOO_MANY_UNKNOWN_BYTES), 0, (uint32_t)last);
  last = most.size;
  wire_number(&most, 18, 0); /* many small ones count as one large one does */
  fault_is(most.bytes, most.size, REASON(TOO_MANY_UNKNOWN_BYTES), 0, (uint32_t)last);
}

static void a_record_has_a_largest_size(void **state)
{
  (void)state;
  static uint8_t zeros[LIMIT_RECORD_BYTES];
  for (unsigned more = 0; more < 2; more++) {
    struct wire w = {0};
    struct encounter_view view;
    struct scan_fault fault;
    wire_text(&w, FIELD_SUBJECT_ID, zeros, LIMIT_RECORD_BYTES - 3 + more);
    assert_int_equal(w.size, LIMIT_RECORD_BYTES + more);
    assert_int_equal(scan_of(&view, &fault, w.bytes, w.size), more ? REASON(RECORD_TOO_LARGE) : NO_REASON);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_malformed_is_refused_with_its_place),
      cmocka_unit_test(a_known_field_of_another_wire_type_is_refused),
      cmocka_unit_test(every_beginning_of_a_record_is_whole_or_malformed),
      cmocka_unit_test(a_bad_byte_is_found_anywhere_in_a_text),
      cmocka_unit_test(texts_beyond_ascii_are_read_and_their_faults_found),
      cmocka_unit_test(unknown_fields_are_counted_up_to_their_limit),
      cmocka_unit_test(a_record_has_a_largest_size),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
