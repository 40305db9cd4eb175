#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <time.h>

#include "proto/text.h"
#include "tests/proto/sample.h"

#define US_PER_SECOND INT64_C(1000000)
#define TIME_FIRST (INT64_C(-62135596800) * US_PER_SECOND)                      /* 0001-01-01T00:00:00Z */
#define TIME_LAST (INT64_C(253402300799) * US_PER_SECOND + (US_PER_SECOND - 1)) /* 9999-12-31T23:59:59.999999Z */

/* ---- ids ---- */

static bool uuid_parse(uint8_t id[16], const char *text) { return text_uuid_parse(id, text, strlen(text)); }

static void an_id_goes_to_text_and_back(void **state)
{
  (void)state;
  static const uint8_t id[16] = {0x01, 0x90, 0xa5, 0xc2, 0x12, 0x34, 0x7a, 0xbc, 0x8d, 0xef, 0, 1, 2, 3, 4, 0xff};
  char text[TEXT_UUID];
  uint8_t back[16] = {0};
  text_uuid(text, id);
  assert_string_equal(text, "0190a5c2-1234-7abc-8def-0001020304ff");
  assert_true(uuid_parse(back, text));
  assert_memory_equal(back, id, 16);
  memset(back, 0, 16);
  assert_true(uuid_parse(back, "0190A5C2-1234-7ABC-8DEF-0001020304FF"));
  assert_memory_equal(back, id, 16);
  text_hex128(text, id);
  assert_string_equal(text, "0190a5c212347abc8def0001020304ff");
}

static void what_is_not_quite_an_id_is_none(void **state)
{
  (void)state;
  static const char good[] = "0190a5c2-1234-7abc-8def-0001020304ff";
  uint8_t id[16];
  char text[TEXT_UUID + 2];
  for (size_t i = 0; i < TEXT_UUID - 1; i++)
    for (const char *c = "g/:@`G -"; *c; c++) { /* the neighbours of digits and letters among them */
      strcpy(text, good);
      if (text[i] == *c)
        continue;
      text[i] = *c;
      assert_false(uuid_parse(id, text));
    }
  strcpy(text, good);
  assert_false(text_uuid_parse(id, text, TEXT_UUID - 2));
  assert_false(text_uuid_parse(id, text, TEXT_UUID));
  assert_false(uuid_parse(id, ""));
  assert_false(uuid_parse(id, "0190a5c212347abc8def0001020304ff"));
  assert_false(uuid_parse(id, "{190a5c2-1234-7abc-8def-0001020304f}"));
}

/* ---- days ---- */

static void every_day_agrees_with_the_c_library(void **state)
{
  (void)state;
  const int32_t first = text_day_of(TIME_FIRST), last = text_day_of(TIME_LAST);
  assert_int_equal(first, -719162);
  assert_int_equal(last, 2932896);
  for (int32_t day = first; day <= last; day++) {
    time_t seconds = (time_t)day * 86400;
    struct tm tm;
    int32_t year;
    uint32_t month, day_of_month;
    gmtime_r(&seconds, &tm);
    text_civil_from_day(day, &year, &month, &day_of_month);
    if (year != tm.tm_year + 1900 || (int)month != tm.tm_mon + 1 || (int)day_of_month != tm.tm_mday ||
        text_day_from_civil(year, month, day_of_month) != day)
      fail_msg("day %d", day);
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    if (timegm(&tm) != seconds)
      fail_msg("the C library disagrees with itself on day %d", day);
  }
}

static void days_far_outside_go_there_and_back(void **state)
{
  (void)state;
  for (int32_t day = -100000000; day < 100000000; day += 99991) {
    int32_t year;
    uint32_t month, day_of_month;
    text_civil_from_day(day, &year, &month, &day_of_month);
    assert_in_range(month, 1, 12);
    assert_in_range(day_of_month, 1, 31);
    assert_int_equal(text_day_from_civil(year, month, day_of_month), day);
  }
  assert_int_equal(text_day_of(INT64_MIN), -106751992);
  assert_int_equal(text_day_of(INT64_MAX), 106751991);
}

static void a_day_begins_at_midnight(void **state)
{
  (void)state;
  const int64_t day_us = 86400 * US_PER_SECOND;
  assert_int_equal(text_day_of(0), 0);
  assert_int_equal(text_day_of(-1), -1);
  assert_int_equal(text_day_of(day_us - 1), 0);
  assert_int_equal(text_day_of(day_us), 1);
  assert_int_equal(text_day_of(-day_us), -1);
  assert_int_equal(text_day_of(-day_us - 1), -2);
}

/* ---- times ---- */

static void times_agree_with_the_c_library(void **state)
{
  (void)state;
  struct random r = random_seeded("times", 11);
  for (int i = 0; i < 50000; i++) {
    int64_t time = TIME_FIRST + (int64_t)(random_next(&r) % (uint64_t)(TIME_LAST - TIME_FIRST + 1)), back = ~time;
    int64_t us = (time % US_PER_SECOND + US_PER_SECOND) % US_PER_SECOND;
    time_t seconds = (time_t)((time - us) / US_PER_SECOND);
    struct tm tm;
    char text[TEXT_TIME], expected[64];
    gmtime_r(&seconds, &tm);
    snprintf(expected, sizeof expected, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
             tm.tm_min, tm.tm_sec, (int)us);
    assert_true(text_time(text, time));
    assert_string_equal(text, expected);
    assert_true(text_time_parse(&back, text, strlen(text)));
    assert_int_equal(back, time);
  }
}

static void the_years_1_to_9999_have_a_text(void **state)
{
  (void)state;
  char text[TEXT_TIME];
  assert_true(text_time(text, TIME_FIRST));
  assert_string_equal(text, "0001-01-01T00:00:00.000000Z");
  assert_true(text_time(text, TIME_LAST));
  assert_string_equal(text, "9999-12-31T23:59:59.999999Z");
  const int64_t outside[] = {TIME_FIRST - 1, TIME_LAST + 1, INT64_MIN, INT64_MAX};
  for (unsigned i = 0; i < 4; i++) {
    strcpy(text, "before");
    assert_false(text_time(text, outside[i]));
    assert_string_equal(text, "");
  }
}

static void time_is(const char *text, int64_t expected)
{
  int64_t time = ~expected;
  if (!text_time_parse(&time, text, strlen(text)))
    fail_msg("refused: %s", text);
  assert_int_equal(time, expected);
}

static void times_are_read_in_every_form(void **state)
{
  (void)state;
  const int64_t t = INT64_C(1614834367) * US_PER_SECOND;
  time_is("2021-03-04T05:06:07Z", t);
  time_is("2021-03-04t05:06:07z", t);
  time_is("2021-03-04T05:06:07.5Z", t + 500000);
  time_is("2021-03-04T05:06:07.000008Z", t + 8);
  time_is("2021-03-04T05:06:07.12345Z", t + 123450);
  time_is("2021-03-04T05:06:07+00:00", t);
  time_is("2021-03-04T05:06:07-00:00", t);
  time_is("2021-03-03T22:06:07.000001-07:00", t + 1);
  time_is("2021-03-04T10:51:07+05:45", t);
  time_is("2021-03-05T05:05:07+23:59", t);
  time_is("1969-12-31T23:59:59.999999Z", -1);
  time_is("2020-02-29T00:00:00Z", INT64_C(1582934400) * US_PER_SECOND);
  time_is("2000-02-29T00:00:00Z", INT64_C(951782400) * US_PER_SECOND);
  time_is("0001-01-01T00:00:00-00:01", TIME_FIRST + 60 * US_PER_SECOND);
}

static void what_is_not_quite_a_time_is_none(void **state)
{
  (void)state;
  static const char *const bad[] = {
      "",
      "2021-03-04",
      "2021-03-04T05:06:07",
      "2021-03-04 05:06:07Z",
      "2021-03-04T05:06:07ZZ",
      " 2021-03-04T05:06:07Z",
      "2021-03-04T05:06Z",
      "2021-3-04T05:06:07Z",
      "2021-03-04T5:06:07Z",
      "+021-03-04T05:06:07Z",
      "2021-00-04T05:06:07Z",
      "2021-13-04T05:06:07Z",
      "2021-03-00T05:06:07Z",
      "2021-03-32T05:06:07Z",
      "2021-04-31T05:06:07Z",
      "2021-02-29T05:06:07Z",
      "1900-02-29T05:06:07Z",
      "2021-03-04T24:00:00Z",
      "2021-03-04T05:60:07Z",
      "2016-12-31T23:59:60Z",
      "2021-03-04T05:06:07.Z",
      "2021-03-04T05:06:07.0000001Z",
      "2021-03-04T05:06:07,5Z",
      "2021-03-04T05:06:07+0000",
      "2021-03-04T05:06:07+24:00",
      "2021-03-04T05:06:07+01:60",
      "2021-03-04T05:06:07+1:00",
      "2021-03-04T05:06:07Z+01:00",
      "0000-12-31T23:59:59Z",
      "0000-12-31T23:59:59-00:01",
      "0001-01-01T00:00:00+00:01",
      "9999-12-31T23:59:59-00:01",
      "10000-01-01T00:00:00Z",
  };
  for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    int64_t time;
    if (text_time_parse(&time, bad[i], strlen(bad[i])))
      fail_msg("taken: %s", bad[i]);
  }
  static const char good[] = "2021-03-04T05:06:07.000008+01:00";
  size_t whole = strlen(good);
  for (size_t size = 0; size < whole; size++) {
    char *exact = malloc(size ? size : 1); /* so that a sanitizer sees a read behind it */
    int64_t time;
    memcpy(exact, good, size);
    bool taken = text_time_parse(&time, exact, size);
    free(exact);
    assert_false(taken);
  }
}

/* ---- addresses ---- */

static void an_address_goes_to_text_and_back(void **state)
{
  (void)state;
  const struct {
    uint32_t shard;
    uint64_t sequence;
    const char *text;
  } known[] = {{0, 1, "0:1"}, {63, UINT64_C(281474976710655), "63:281474976710655"}, {4095, 0, "4095:0"}};
  for (unsigned i = 0; i < 3; i++) {
    char text[TEXT_ADDRESS];
    uint32_t shard = 77;
    uint64_t sequence = 77;
    text_address(text, known[i].shard, known[i].sequence);
    assert_string_equal(text, known[i].text);
    assert_true(text_address_parse(&shard, &sequence, text));
    assert_int_equal(shard, known[i].shard);
    assert_int_equal(sequence, known[i].sequence);
  }
  char longest[TEXT_ADDRESS];
  text_address(longest, UINT32_MAX, UINT64_MAX);
  assert_string_equal(longest, "4294967295:18446744073709551615");
}

static void what_is_not_quite_an_address_is_none(void **state)
{
  (void)state;
  static const char *const bad[] = {"",
                                    ":",
                                    "1",
                                    "1:",
                                    ":1",
                                    "1:2:3",
                                    "1:2 ",
                                    " 1:2",
                                    "-1:2",
                                    "1:-2",
                                    "+1:2",
                                    "1:0x2",
                                    "4096:1",
                                    "0:281474976710656",
                                    "0:18446744073709551617",
                                    "18446744073709551616:1",
                                    "a:b"};
  for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    uint32_t shard;
    uint64_t sequence;
    if (text_address_parse(&shard, &sequence, bad[i]))
      fail_msg("taken: %s", bad[i]);
  }
}

/* ---- UTF-8 ---- */

/* The encoding by its definition, for any number below 2^21: what is no code point is encoded all the same. */
static size_t utf8_encode(uint8_t out[4], uint32_t c, size_t size)
{
  static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
  if (size == 1) {
    out[0] = (uint8_t)c;
    return 1;
  }
  for (size_t i = size; i-- > 1; c >>= 6)
    out[i] = (uint8_t)(0x80 | (c & 0x3f));
  out[0] = (uint8_t)(lead[size] | c);
  return size;
}

static void exactly_the_code_points_in_their_shortest_form_are_utf8(void **state)
{
  (void)state;
  static const uint32_t end[5] = {0, 0x80, 0x800, 0x10000, 0x200000};
  for (size_t size = 1; size <= 4; size++)
    for (uint32_t c = 0; c < end[size]; c++) {
      uint8_t bytes[4];
      bool expected = c >= end[size - 1] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
      utf8_encode(bytes, c, size);
      if (text_utf8_valid(bytes, size) != expected)
        fail_msg("%u in %zu bytes", c, size);
    }
}

static void cut_and_stray_sequences_are_not_utf8(void **state)
{
  (void)state;
  static const uint32_t edges[] = {0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x10ffff};
  for (unsigned i = 0; i < sizeof edges / sizeof edges[0]; i++) {
    size_t size = edges[i] < 0x800 ? 2 : edges[i] < 0x10000 ? 3 : 4;
    uint8_t bytes[6] = {'a'};
    utf8_encode(bytes + 1, edges[i], size);
    for (size_t cut = 1; cut < size; cut++) {
      assert_false(text_utf8_valid(bytes + 1, cut));
      assert_int_equal(text_utf8_prefix(bytes, 1 + cut), 1);
      assert_false(text_utf8_valid(bytes + 1 + cut, size - cut));
    }
    for (size_t at = 1; at < size; at++) /* another byte in the place of one that continues */
      for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t other[4];
        memcpy(other, bytes + 1, 4);
        other[at] = (uint8_t)byte;
        if ((byte & 0xc0) != 0x80)
          assert_false(text_utf8_valid(other, size));
      }
  }
  for (unsigned byte = 0x80; byte < 256; byte++) {
    uint8_t alone = (uint8_t)byte;
    assert_false(text_utf8_valid(&alone, 1));
  }
  assert_false(text_utf8_valid((const uint8_t *)"\xf8\x88\x80\x80\x80", 5));
}

static void the_valid_beginning_ends_before_the_first_fault(void **state)
{
  (void)state;
  assert_true(text_utf8_valid((const uint8_t *)"", 0));
  assert_int_equal(text_utf8_prefix((const uint8_t *)"Pe\xc3\xb1itas", 8), 8);
  assert_int_equal(text_utf8_prefix((const uint8_t *)"Pe\xc3\xb1\xf1itas", 9), 4);
  assert_int_equal(text_utf8_prefix((const uint8_t *)"\xff", 1), 0);
  assert_int_equal(text_utf8_prefix((const uint8_t *)"a\0b\xc3", 4), 3);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_id_goes_to_text_and_back),
      cmocka_unit_test(what_is_not_quite_an_id_is_none),
      cmocka_unit_test(every_day_agrees_with_the_c_library),
      cmocka_unit_test(days_far_outside_go_there_and_back),
      cmocka_unit_test(a_day_begins_at_midnight),
      cmocka_unit_test(times_agree_with_the_c_library),
      cmocka_unit_test(the_years_1_to_9999_have_a_text),
      cmocka_unit_test(times_are_read_in_every_form),
      cmocka_unit_test(what_is_not_quite_a_time_is_none),
      cmocka_unit_test(an_address_goes_to_text_and_back),
      cmocka_unit_test(what_is_not_quite_an_address_is_none),
      cmocka_unit_test(exactly_the_code_points_in_their_shortest_form_are_utf8),
      cmocka_unit_test(cut_and_stray_sequences_are_not_utf8),
      cmocka_unit_test(the_valid_beginning_ends_before_the_first_fault),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
