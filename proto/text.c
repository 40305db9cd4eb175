#include "proto/text.h"

#include <inttypes.h>
#include <stdio.h>

#define US_PER_SECOND INT64_C(1000000)
#define SECONDS_PER_DAY INT64_C(86400)
#define US_PER_DAY (SECONDS_PER_DAY * US_PER_SECOND)
#define DAY_FIRST (-719162) /* 0001-01-01 */
#define DAY_LAST 2932896    /* 9999-12-31 */

/* As many as a verdict word has room for. */
#define SHARD_MAX 4095u
#define SEQUENCE_MAX ((UINT64_C(1) << 48) - 1)

static const char HEX[] = "0123456789abcdef";

/* ---- ids and digests ---- */

static int hex_digit(char c)
{
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  if (c >= 'A' && c <= 'F')
    return c - 'A' + 10;
  return -1;
}

static bool hyphen_before(unsigned byte) { return byte == 4 || byte == 6 || byte == 8 || byte == 10; }

void text_uuid(char out[TEXT_UUID], const uint8_t id[16])
{
  for (unsigned i = 0; i < 16; i++) {
    if (hyphen_before(i))
      *out++ = '-';
    *out++ = HEX[id[i] >> 4];
    *out++ = HEX[id[i] & 15];
  }
  *out = '\0';
}

bool text_uuid_parse(uint8_t id[16], const char *text, size_t size)
{
  if (size != TEXT_UUID - 1)
    return false;
  for (unsigned i = 0; i < 16; i++) {
    if (hyphen_before(i) && *text++ != '-')
      return false;
    int high = hex_digit(text[0]), low = hex_digit(text[1]);
    if (high < 0 || low < 0)
      return false;
    id[i] = (uint8_t)(high << 4 | low);
    text += 2;
  }
  return true;
}

void text_hex128(char out[TEXT_HEX128], const uint8_t bytes[16])
{
  for (unsigned i = 0; i < 16; i++) {
    *out++ = HEX[bytes[i] >> 4];
    *out++ = HEX[bytes[i] & 15];
  }
  *out = '\0';
}

/* ---- days ---- */

/* The proleptic Gregorian calendar in cycles of 400 years, each year counted from March so that the leap day comes last. */
#define DAYS_PER_ERA 146097
#define DAYS_TO_EPOCH 719468 /* from 0000-03-01 to 1970-01-01 */

int32_t text_day_from_civil(int32_t year, uint32_t month, uint32_t day_of_month)
{
  int64_t y = (int64_t)year - (month <= 2);
  int64_t era = (y >= 0 ? y : y - 399) / 400;
  int64_t year_of_era = y - era * 400;
  int64_t day_of_year = (153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + (int64_t)day_of_month - 1;
  int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return (int32_t)(era * DAYS_PER_ERA + day_of_era - DAYS_TO_EPOCH);
}

void text_civil_from_day(int32_t day, int32_t *year, uint32_t *month, uint32_t *day_of_month)
{
  int64_t z = (int64_t)day + DAYS_TO_EPOCH;
  int64_t era = (z >= 0 ? z : z - (DAYS_PER_ERA - 1)) / DAYS_PER_ERA;
  int64_t day_of_era = z - era * DAYS_PER_ERA;
  int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t month_from_march = (5 * day_of_year + 2) / 153;
  *day_of_month = (uint32_t)(day_of_year - (153 * month_from_march + 2) / 5 + 1);
  *month = (uint32_t)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
  *year = (int32_t)(year_of_era + era * 400 + (*month <= 2));
}

static int64_t floor_divide(int64_t value, int64_t by) { return value / by - (value % by < 0); }

int32_t text_day_of(int64_t time_us) { return (int32_t)floor_divide(time_us, US_PER_DAY); }

/* ---- times ---- */

bool text_time(char out[TEXT_TIME], int64_t time_us)
{
  int64_t day = floor_divide(time_us, US_PER_DAY);
  out[0] = '\0';
  if (day < DAY_FIRST || day > DAY_LAST)
    return false;
  int32_t year;
  uint32_t month, day_of_month;
  text_civil_from_day((int32_t)day, &year, &month, &day_of_month);
  int64_t us = time_us - day * US_PER_DAY;
  unsigned second = (unsigned)(us / US_PER_SECOND);
  /* The remainders tell the compiler what the checks above already guarantee: the text fits. */
  snprintf(out, TEXT_TIME, "%04u-%02u-%02uT%02u:%02u:%02u.%06uZ", (unsigned)year % 10000, month % 100, day_of_month % 100,
           second / 3600 % 100, second / 60 % 60, second % 60, (unsigned)(us % US_PER_SECOND));
  return true;
}

/* Reads exactly `digits` decimal digits; false where there are fewer. */
static bool decimal(const char **p, const char *end, unsigned digits, uint32_t *value)
{
  uint32_t v = 0;
  for (; digits > 0; digits--, (*p)++) {
    if (*p == end || **p < '0' || **p > '9')
      return false;
    v = v * 10 + (uint32_t)(**p - '0');
  }
  *value = v;
  return true;
}

static bool literal(const char **p, const char *end, char c)
{
  if (*p == end || **p != c)
    return false;
  ++*p;
  return true;
}

static bool either(const char **p, const char *end, char one, char other) { return literal(p, end, one) || literal(p, end, other); }

static uint32_t days_in_month(uint32_t year, uint32_t month)
{
  static const uint8_t days[13] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  return days[month] + (month == 2 && leap ? 1u : 0u);
}

static bool date_parse(const char **p, const char *end, int32_t *day)
{
  uint32_t year, month, day_of_month;
  if (!decimal(p, end, 4, &year) || !literal(p, end, '-') || !decimal(p, end, 2, &month) || !literal(p, end, '-') ||
      !decimal(p, end, 2, &day_of_month))
    return false;
  if (year < 1 || month < 1 || month > 12 || day_of_month < 1 || day_of_month > days_in_month(year, month))
    return false;
  *day = text_day_from_civil((int32_t)year, month, day_of_month);
  return true;
}

static bool clock_parse(const char **p, const char *end, int64_t *us_of_day)
{
  uint32_t hour, minute, second, us = 0;
  if (!decimal(p, end, 2, &hour) || !literal(p, end, ':') || !decimal(p, end, 2, &minute) || !literal(p, end, ':') ||
      !decimal(p, end, 2, &second) || hour > 23 || minute > 59 || second > 59)
    return false;
  if (literal(p, end, '.')) {
    unsigned digits = 0;
    for (uint32_t digit; digits < 6 && decimal(p, end, 1, &digit); digits++)
      us = us * 10 + digit;
    if (digits == 0)
      return false;
    for (; digits < 6; digits++)
      us *= 10;
  }
  *us_of_day = ((int64_t)hour * 3600 + minute * 60 + second) * US_PER_SECOND + us;
  return true;
}

static bool offset_parse(const char **p, const char *end, int64_t *offset_us)
{
  *offset_us = 0;
  if (either(p, end, 'Z', 'z'))
    return true;
  bool west = literal(p, end, '-');
  uint32_t hour, minute;
  if ((!west && !literal(p, end, '+')) || !decimal(p, end, 2, &hour) || !literal(p, end, ':') || !decimal(p, end, 2, &minute) ||
      hour > 23 || minute > 59)
    return false;
  *offset_us = ((int64_t)hour * 3600 + minute * 60) * US_PER_SECOND * (west ? -1 : 1);
  return true;
}

bool text_time_parse(int64_t *time_us, const char *text, size_t size)
{
  const char *p = text, *end = text + size;
  int32_t day;
  int64_t us_of_day, offset_us;
  if (!date_parse(&p, end, &day) || !either(&p, end, 'T', 't') || !clock_parse(&p, end, &us_of_day) || !offset_parse(&p, end, &offset_us) ||
      p != end)
    return false;
  int64_t time = (int64_t)day * US_PER_DAY + us_of_day - offset_us;
  int32_t day_utc = text_day_of(time);
  if (day_utc < DAY_FIRST || day_utc > DAY_LAST) /* the offset may lead out of the years that have a text */
    return false;
  *time_us = time;
  return true;
}

/* ---- addresses ---- */

void text_address(char out[TEXT_ADDRESS], uint32_t shard, uint64_t sequence)
{
  snprintf(out, TEXT_ADDRESS, "%" PRIu32 ":%" PRIu64, shard, sequence);
}

/* Decimal digits, at least one, at most `max`; *text moves behind them. */
static bool number_parse(const char **text, uint64_t max, uint64_t *value)
{
  uint64_t v = 0;
  const char *p = *text;
  for (; *p >= '0' && *p <= '9'; p++) {
    v = v * 10 + (uint64_t)(*p - '0');
    if (v > max)
      return false;
  }
  if (p == *text)
    return false;
  *text = p;
  *value = v;
  return true;
}

bool text_address_parse(uint32_t *shard, uint64_t *sequence, const char *text)
{
  uint64_t s, q;
  if (!number_parse(&text, SHARD_MAX, &s) || *text++ != ':' || !number_parse(&text, SEQUENCE_MAX, &q) || *text != '\0')
    return false;
  *shard = (uint32_t)s;
  *sequence = q;
  return true;
}

/* ---- UTF-8 ---- */

/* The bytes of the sequence at p (RFC 3629, section 4), 0 where it is none. The second byte's range is what shuts out overlong forms,
 * surrogates and everything past U+10FFFF. */
static size_t utf8_sequence(const uint8_t *p, size_t size)
{
  uint8_t first = p[0], low = 0x80, high = 0xbf;
  size_t length;
  if (first < 0x80)
    return 1;
  if (first >= 0xc2 && first <= 0xdf)
    length = 2;
  else if (first >= 0xe0 && first <= 0xef)
    length = 3;
  else if (first >= 0xf0 && first <= 0xf4)
    length = 4;
  else
    return 0;
  if (first == 0xe0)
    low = 0xa0;
  else if (first == 0xed)
    high = 0x9f;
  else if (first == 0xf0)
    low = 0x90;
  else if (first == 0xf4)
    high = 0x8f;
  if (size < length || p[1] < low || p[1] > high)
    return 0;
  for (size_t i = 2; i < length; i++)
    if ((p[i] & 0xc0) != 0x80)
      return 0;
  return length;
}

size_t text_utf8_prefix(const uint8_t *bytes, size_t size)
{
  size_t at = 0;
  while (at < size) {
    size_t length = utf8_sequence(bytes + at, size - at);
    if (length == 0)
      break;
    at += length;
  }
  return at;
}

bool text_utf8_valid(const uint8_t *bytes, size_t size) { return text_utf8_prefix(bytes, size) == size; }
