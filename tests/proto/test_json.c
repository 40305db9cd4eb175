/*
 * The JSON form: an exact round trip for canonical records with and without unknown fields, the same digest for others,
 * the form of each kind of value, and refusals that name field or column and never repeat a value.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/limits.h"
#include "proto/digest.h"
#include "proto/json.h"
#include "tests/proto/sample.h"

/* To be freed. */
static char *line_of(const uint8_t *bytes, size_t size)
{
  struct encounter_view view;
  struct scan_fault fault;
  if (!scan_encounter(&view, bytes, size, &fault))
    fail_msg("the sample does not scan: reason %u, field %u", fault.reason, fault.field);
  json_t *object = json_from_encounter(&view);
  assert_non_null(object);
  char *line = json_dumps(object, JSON_COMPACT);
  assert_non_null(line);
  json_decref(object);
  return line;
}

static size_t parsed(uint8_t *out, const char *line)
{
  struct failure failure = FAILURE_NONE;
  int size = json_to_encounter(out, line, strlen(line), &failure);
  if (size <= 0)
    fail_msg("%s: %s", line, failure.text);
  return (size_t)size;
}

static void check_round_trip(const uint8_t *bytes, size_t size)
{
  uint8_t back[LIMIT_RECORD_BYTES];
  char *line = line_of(bytes, size);
  assert_int_equal(parsed(back, line), size);
  assert_memory_equal(back, bytes, size);
  free(line);
}

/* ---- the form ---- */

static void every_field(struct wire *w)
{
  static const uint8_t id[16] = {0x01, 0x90, 0xa5, 0xc2, 0x7d, 0x1e, 0x7a, 0x3b, 0x8c, 0x4d, 0x5e, 0x6f, 0x70, 0x81, 0x92, 0xa3};
  w->size = 0;
  wire_text(w, FIELD_ENCOUNTER_ID, id, 16);
  wire_number(w, FIELD_ENCOUNTER_TIME, UINT64_C(1614834367000008));
  wire_number(w, FIELD_COMPONENT, MUSTER__V1__COMPONENT__COMPONENT_US_BORDER_PATROL);
  wire_number(w, FIELD_AREA_OF_RESPONSIBILITY, MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_EL_PASO_SECTOR);
  wire_number(w, FIELD_LAND_BORDER_REGION, MUSTER__V1__LAND_BORDER_REGION__LAND_BORDER_REGION_SOUTHWEST);
  wire_number(w, FIELD_DEMOGRAPHIC, MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_FMUA);
  wire_text(w, FIELD_CITIZENSHIP, "GTM", 3);
  wire_number(w, FIELD_TITLE_OF_AUTHORITY, MUSTER__V1__TITLE_OF_AUTHORITY__TITLE_8);
  wire_number(w, FIELD_ENCOUNTER_TYPE, MUSTER__V1__ENCOUNTER_TYPE__ENCOUNTER_TYPE_APPREHENSIONS);
  wire_text(w, FIELD_SUBJECT_ID, id, 16);
  wire_text(w, FIELD_FAMILY_UNIT_ID, id, 16);
  wire_number(w, FIELD_LATITUDE_E7, zigzag_encode(317619000));
  wire_number(w, FIELD_LONGITUDE_E7, zigzag_encode(-1064850000));
  wire_text(w, FIELD_STATION, "EPT-04", 6);
  wire_text(w, FIELD_DEVICE, "K\u00fc1", 4);
  wire_text(w, FIELD_OFFICER_REFERENCE, "\"\\/", 3);
  wire_number(w, FIELD_DISPOSITION, MUSTER__V1__DISPOSITION__DISPOSITION_NOTICE_TO_APPEAR);
}

static void test_form_of_every_field(void **state)
{
  (void)state;
  static struct wire w;
  every_field(&w);
  char *line = line_of(w.bytes, w.size);
  assert_string_equal(
      line, "{\"encounter_id\":\"0190a5c2-7d1e-7a3b-8c4d-5e6f708192a3\",\"encounter_time\":\"2021-03-04T05:06:07.000008Z\","
            "\"component\":\"COMPONENT_US_BORDER_PATROL\",\"area_of_responsibility\":\"AREA_EL_PASO_SECTOR\","
            "\"land_border_region\":\"LAND_BORDER_REGION_SOUTHWEST\",\"demographic\":\"DEMOGRAPHIC_FMUA\",\"citizenship\":\"GTM\","
            "\"title_of_authority\":\"TITLE_8\",\"encounter_type\":\"ENCOUNTER_TYPE_APPREHENSIONS\","
            "\"subject_id\":\"0190a5c2-7d1e-7a3b-8c4d-5e6f708192a3\",\"family_unit_id\":\"0190a5c2-7d1e-7a3b-8c4d-5e6f708192a3\","
            "\"latitude_e7\":317619000,\"longitude_e7\":-1064850000,\"station\":\"EPT-04\",\"device\":\"K\u00fc1\","
            "\"officer_reference\":\"\\\"\\\\/\",\"disposition\":\"DISPOSITION_NOTICE_TO_APPEAR\"}");
  free(line);
  check_round_trip(w.bytes, w.size);
}

/* Order of names, white space, upper case and another offset from UTC are the reader's freedom; what comes out is canonical. */
static void test_other_ways_to_write_it(void **state)
{
  (void)state;
  uint8_t a[LIMIT_RECORD_BYTES], b[LIMIT_RECORD_BYTES];
  size_t size = parsed(a, "{\"encounter_id\":\"0190a5c2-7d1e-7a3b-8c4d-5e6f708192a3\",\"encounter_time\":\"2021-03-04T05:06:07.500000Z\","
                          "\"station\":\"\u00fc\"}");
  assert_int_equal(parsed(b, " { \"station\" : \"\\u00fc\",\t\"encounter_time\":\"2021-03-03T22:06:07.5-07:00\","
                             "\"encounter_id\": \"0190A5C2-7D1E-7A3B-8C4D-5E6F708192A3\" } "),
                   size);
  assert_memory_equal(a, b, size);
}

/* ---- round trips ---- */

static void test_canonical_records_come_back_exactly(void **state)
{
  (void)state;
  struct random r = random_seeded("canonical", 20211001);
  for (unsigned i = 0; i < 3000; i++) {
    uint8_t bytes[SAMPLE_BYTES_MAX];
    size_t size = sample_pack(bytes, &r, 1 + i % 8);
    if (size > 0)
      check_round_trip(bytes, size);
  }
}

static void test_unknown_fields_come_back_as_they_were(void **state)
{
  (void)state;
  static struct wire w;
  every_field(&w);
  wire_text(&w, 101, "newer", 5);
  wire_number(&w, 100, 42); /* not ascending, and a padded varint behind it: bytes are kept as they came */
  wire_tag(&w, 18, 0);
  wire_varint(&w, 1, 5);
  wire_tag(&w, 19, 1);
  wire_bytes(&w, "8 bytes.", 8);
  wire_tag(&w, 20, 5);
  wire_bytes(&w, "four", 4);
  char *line = line_of(w.bytes, w.size);
  assert_non_null(strstr(line, "\"unknown_fields\":\"qgYFbmV3ZXKgBiqQAYGAgIAAmQE4IGJ5dGVzLqUBZm91cg==\""));
  free(line);
  check_round_trip(w.bytes, w.size);
  w.size = 0;
  wire_number(&w, 100, 1);
  check_round_trip(w.bytes, w.size);
}

/* A record in another encoding comes back in another, and is the same content. */
static void test_other_encodings_keep_their_digest(void **state)
{
  (void)state;
  static struct wire w;
  uint8_t back[LIMIT_RECORD_BYTES], digest[2][16];
  struct encounter_view view;
  struct scan_fault fault;
  w.size = 0;
  wire_number(&w, 200, 7);
  wire_text(&w, FIELD_STATION, "first", 5);
  wire_number(&w, 150, 8);
  wire_text(&w, FIELD_STATION, "EPT-04", 6);
  wire_tag(&w, FIELD_COMPONENT, 0);
  wire_varint(&w, 1, 3);
  assert_true(scan_encounter(&view, w.bytes, w.size, &fault));
  assert_false(view.canonical);
  digest_content(digest[0], &view);
  char *line = line_of(w.bytes, w.size);
  size_t size = parsed(back, line);
  assert_true(scan_encounter(&view, back, size, &fault));
  digest_content(digest[1], &view);
  assert_memory_equal(digest[0], digest[1], 16);
  free(line);
}

static void test_ids_of_any_length(void **state)
{
  (void)state;
  static struct wire w;
  for (unsigned size = 0; size <= 20; size++) {
    w.size = 0;
    wire_text(&w, FIELD_ENCOUNTER_ID, "\0\x01\xff-and-so-on-20-long", size);
    check_round_trip(w.bytes, w.size);
    char *line = line_of(w.bytes, w.size);
    assert_int_equal(strstr(line, "base64") != NULL, size != 16);
    free(line);
  }
}

static void test_times_without_a_text(void **state)
{
  (void)state;
  static struct wire w;
  static const int64_t times[] = {INT64_MIN, -62135596800000001, -62135596800000000, -1,
                                  0,         253402300799999999, 253402300800000000, INT64_MAX};
  for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
    w.size = 0;
    wire_number(&w, FIELD_ENCOUNTER_TIME, (uint64_t)times[i]);
    check_round_trip(w.bytes, w.size);
  }
}

/* ---- refusals ---- */

/* Refused with exactly this sentence. */
static void refused(const char *line, size_t size, int status, const char *sentence)
{
  uint8_t out[LIMIT_RECORD_BYTES];
  struct failure failure = FAILURE_NONE;
  assert_int_equal(json_to_encounter(out, line, size, &failure), status);
  assert_int_equal(failure.status, status);
  assert_string_equal(failure.text, sentence);
  assert_int_equal(json_to_encounter(out, line, size, NULL), status);
}
#define REFUSED(line, sentence) refused((line), sizeof(line) - 1, MUSTER_ERR_FORMAT, (sentence))

static void test_lines_that_are_no_object(void **state)
{
  (void)state;
  REFUSED("", "column 0: the line ends within the object");
  REFUSED("{", "column 1: the line ends within the object");
  REFUSED("{broken", "column 7: not valid JSON");
  REFUSED("[]", "column 1: not a JSON object");
  REFUSED("\"CANARY\"", "column 1: not a JSON object");
  REFUSED("null", "column 1: not a JSON object");
  REFUSED("{}", "column 1: the object has no fields");
  REFUSED("{\"station\":\"a\"} {}", "column 17: something follows behind the object");
  REFUSED("{\"station\":\"a\",\"station\":\"a\"}", "column 24: a field is given twice");
  REFUSED("{\"station\":\"\xff\"}", "column 12: not valid UTF-8");
  REFUSED("{\"stat\\u0000ion\":\"a\"}", "column 16: a field name contains NUL");
  REFUSED("{\"latitude_e7\":99999999999999999999}", "column 35: a number does not fit 64 bits");
  char deep[5000];
  memset(deep, '[', sizeof deep);
  refused(deep, sizeof deep, MUSTER_ERR_FORMAT, "column 2049: nested too deeply");
}

static void test_unknown_names(void **state)
{
  (void)state;
#define MEANT(place, name) "number " #place " of the object (did you mean \"" name "\"?)"
  REFUSED("{\"stationn\":\"CANARY\"}", "unknown field \"stationn\", " MEANT(1, "station"));
  REFUSED("{\"station\":\"a\",\"Station\":\"CANARY\"}", "unknown field \"Station\", " MEANT(2, "station"));
  REFUSED("{\"disposition\":\"\",\"station\":\"a\",\"device_\":1}", "unknown field, " MEANT(3, "device"));
  REFUSED("{\"demogrpahic\":1}", "unknown field \"demogrpahic\", " MEANT(1, "demographic"));
  REFUSED("{\"encounterid\":1}", "unknown field \"encounterid\", " MEANT(1, "encounter_id"));
  REFUSED("{\"citizenshlp\":1}", "unknown field \"citizenshlp\", " MEANT(1, "citizenship"));
}

/* Content may stand where a name should: it is not repeated. */
static void test_unknown_names_that_are_no_names(void **state)
{
  (void)state;
#define NAMELESS(place, size) "unknown field, number " #place " of the object, with a name of " #size " bytes"
  REFUSED("{\"\":1}", NAMELESS(1, 0));
  REFUSED("{\"CANARY Juan\":1}", NAMELESS(1, 11));
  REFUSED("{\"JOHN_Q_PUBLIC\":1}", NAMELESS(1, 13));
  REFUSED("{\"station\":\"a\",\"john_q_public\":1}", NAMELESS(2, 13));
  REFUSED("{\"stationary\":1}", NAMELESS(1, 10));
  REFUSED("{\"Devine\":1}", "unknown field, " MEANT(1, "device"));
  REFUSED("{\"stati\\u001bn\":1}", "unknown field, " MEANT(1, "station"));
  REFUSED("{\"1990-04-02\":1}", NAMELESS(1, 10));
  REFUSED("{\"_4\":1}", NAMELESS(1, 2));
  REFUSED("{\"\\u001b[2Jx\xc3\xbc\":1}", NAMELESS(1, 7));
}

static void test_values_of_the_wrong_kind(void **state)
{
  (void)state;
#define ID_NEEDED "needs a UUID as text, or an object with base64"
#define ID_FORM "not a UUID such as \"0190a5c2-7d1e-7a3b-8c4d-5e6f708192a3\""
#define TIME_FORM "not a time of RFC 3339 such as \"2021-03-04T05:06:07.000008Z\""
  static const char *const wrong[][3] = {
      {"encounter_id", "5", ID_NEEDED},
      {"encounter_id", "\"CANARY\"", ID_FORM},
      {"subject_id", "\"0190a5c2-7d1e-7a3b-8c4d-5e6f708192a3 \"", ID_FORM},
      {"family_unit_id", "{\"base64\":5}", ID_NEEDED},
      {"family_unit_id", "{\"base64\":\"AAAA\",\"more\":1}", ID_NEEDED},
      {"subject_id", "{\"base64\":\"AAA\"}", "not base64, or longer than a record"},
      {"subject_id", "{\"base64\":\"AA=A\"}", "not base64, or longer than a record"},
      {"subject_id", "{\"base64\":\"AB==\"}", "not base64, or longer than a record"},
      {"subject_id", "{\"base64\":\"A===\"}", "not base64, or longer than a record"},
      {"subject_id", "{\"base64\":\"AA\\u0000A\"}", "not base64, or longer than a record"},
      {"encounter_time", "null", "needs a time as text"},
      {"encounter_time", "1.5", "needs a time as text"},
      {"encounter_time", "\"2021-02-30T00:00:00Z\"", TIME_FORM},
      {"encounter_time", "\"CANARY\"", TIME_FORM},
      {"component", "1", "needs the name of a value as text"},
      {"component", "\"CANARY\"", "not the name of a value in encounter.proto"},
      {"component", "\"COMPONENT_US_BORDER_PATROL\\u0000\"", "not the name of a value in encounter.proto"},
      {"demographic", "\"TITLE_8\"", "not the name of a value in encounter.proto"},
      {"citizenship", "[\"CANARY\"]", "needs a text"},
      {"station", "true", "needs a text"},
      {"latitude_e7", "\"31\"", "needs a whole number"},
      {"latitude_e7", "31.5", "needs a whole number"},
      {"longitude_e7", "2147483648", "does not fit 32 bits"},
      {"longitude_e7", "-2147483649", "does not fit 32 bits"},
      {"unknown_fields", "7", "needs base64 as text"},
      {"unknown_fields", "\"CANARY\"", "not base64, or longer than a record"},
      {"unknown_fields", "\"GAE=\"", "holds a field that has a name of its own"},     /* component = 1 */
      {"unknown_fields", "\"kAEBGAE=\"", "holds a field that has a name of its own"}, /* behind field 18 */
      {"unknown_fields", "\"kAE=\"", "not a sequence of protobuf fields"},            /* a tag alone */
      {"unknown_fields", "\"kwE=\"", "not a sequence of protobuf fields"},            /* a group */
      {"unknown_fields", "\"AAE=\"", "not a sequence of protobuf fields"},            /* field 0 */
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    char line[256], sentence[256];
    int size = snprintf(line, sizeof line, "{\"disposition\":\"DISPOSITION_PENDING\",\"%s\":%s}", wrong[i][0], wrong[i][1]);
    snprintf(sentence, sizeof sentence, "field \"%s\": %s", wrong[i][0], wrong[i][2]);
    refused(line, (size_t)size, MUSTER_ERR_FORMAT, sentence);
  }
}

static void test_edges_that_pass(void **state)
{
  (void)state;
  uint8_t out[LIMIT_RECORD_BYTES];
  assert_int_equal(parsed(out, "{\"latitude_e7\":2147483647,\"longitude_e7\":-2147483648}"), 12);
  /* Form alone is checked here: what a rule refuses, a node refuses. */
  assert_int_equal(parsed(out, "{\"citizenship\":\"atlantis\"}"), 10);
  assert_int_equal(parsed(out, "{\"station\":\"a\\u0000b\"}"), 5);
  assert_memory_equal(out,
                      "\x72\x03"
                      "a\0b",
                      5);
}

/* The largest record that fits, and one byte more. */
static void test_records_of_the_largest_size(void **state)
{
  (void)state;
  static const char head[] = "{\"station\":\"", tail[] = "\"}";
  enum { TEXT = LIMIT_RECORD_BYTES - 3, SIZE = sizeof head - 1 + TEXT + sizeof tail - 1 };
  char *line = malloc(SIZE + 1);
  uint8_t out[LIMIT_RECORD_BYTES];
  assert_non_null(line);
  memset(line, 'x', SIZE + 1);
  memcpy(line, head, sizeof head - 1);
  memcpy(line + SIZE - 2, tail, 2);
  assert_int_equal(json_to_encounter(out, line, SIZE, NULL), LIMIT_RECORD_BYTES);
  memcpy(line + SIZE - 2, "x\"}", 3);
  refused(line, SIZE + 1, MUSTER_ERR_LIMIT, "field \"station\": the record is larger than 16384 bytes");
  free(line);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_form_of_every_field),
      cmocka_unit_test(test_other_ways_to_write_it),
      cmocka_unit_test(test_canonical_records_come_back_exactly),
      cmocka_unit_test(test_unknown_fields_come_back_as_they_were),
      cmocka_unit_test(test_other_encodings_keep_their_digest),
      cmocka_unit_test(test_ids_of_any_length),
      cmocka_unit_test(test_times_without_a_text),
      cmocka_unit_test(test_lines_that_are_no_object),
      cmocka_unit_test(test_unknown_names),
      cmocka_unit_test(test_unknown_names_that_are_no_names),
      cmocka_unit_test(test_values_of_the_wrong_kind),
      cmocka_unit_test(test_edges_that_pass),
      cmocka_unit_test(test_records_of_the_largest_size),
  };
  return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
