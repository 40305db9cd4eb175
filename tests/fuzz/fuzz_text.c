/*
 * Texts that people give to commands: ids, times, addresses, cursors. The first byte chooses which. For any input:
 *
 * - what is read is written again, and reads as the same; an id's or address's text is what was given but for letter case
 *   and leading zeros, and a cursor's has each shard once, ascending;
 * - times agree with timegm of the C library, both ways;
 * - a refused cursor has a sentence, and nothing is read that has something before or behind it.
 */
#include "tests/fuzz/fuzz.h"

#include <ctype.h>
#include <time.h>

#include "ops/cursor.h"
#include "proto/text.h"

enum { ID, ID_REFUSED, TIME, TIME_REFUSED, TIME_OF_NUMBER, ADDRESS, ADDRESS_REFUSED, CURSOR, CURSOR_REFUSED, CURSOR_AHEAD, LAST };
static struct fuzz_outcome outcomes[] = {
    [ID] = {"ids", 0},
    [ID_REFUSED] = {"no ids", 0},
    [TIME] = {"times", 0},
    [TIME_REFUSED] = {"no times", 0},
    [TIME_OF_NUMBER] = {"times of numbers", 0},
    [ADDRESS] = {"addresses", 0},
    [ADDRESS_REFUSED] = {"no addresses", 0},
    [CURSOR] = {"cursors", 0},
    [CURSOR_REFUSED] = {"no cursors", 0},
    [CURSOR_AHEAD] = {"cursors past the end", 0},
    [LAST] = {NULL, 0},
};
static const char *const words[] = {",",     ":",        "-",       "T",      "Z", "0", "1:", "63:1", "4095:", "281474976710655",
                                    "02-29", "23:59:59", ".999999", "+23:59", NULL};

/* ---- ids ---- */

static void try_id(const uint8_t *data, size_t size)
{
  uint8_t id[16], again[16];
  char text[TEXT_UUID];
  char *given = fuzz_text(data, size);
  bool read = text_uuid_parse(id, given, size);
  outcomes[read ? ID : ID_REFUSED].count++;
  if (read) {
    text_uuid(text, id);
    CHECK(strlen(text) == size && strcasecmp(text, given) == 0, "the id %.36s became %s", given, text);
    CHECK(text_uuid_parse(again, text, strlen(text)) && memcmp(id, again, 16) == 0, "%s", text);
  } else if (size >= 16) {
    text_uuid(text, data);
    CHECK(text_uuid_parse(id, text, TEXT_UUID - 1) && memcmp(id, data, 16) == 0, "%s", text);
    CHECK(!text_uuid_parse(id, text, TEXT_UUID) && !text_uuid_parse(id, text, TEXT_UUID - 2), "%s", text);
  }
  free(given);
}

/* ---- times ---- */

/* The library's own calendar, for a text in the form that is written. */
static int64_t time_by_library(const char *text)
{
  struct tm tm = {0};
  unsigned us = 0;
  int read = sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%6uZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &us);
  CHECK(read == 7, "%s", text);
  tm.tm_year -= 1900;
  tm.tm_mon -= 1;
  return (int64_t)timegm(&tm) * 1000000 + us;
}

static void check_time(int64_t time_us, bool must)
{
  char text[TEXT_TIME];
  int64_t again;
  int32_t year;
  uint32_t month, day;
  bool written = text_time(text, time_us);
  CHECK(written || !must, "%lld was read and is not written", (long long)time_us);
  if (!written)
    return;
  CHECK(strlen(text) == TEXT_TIME - 1 && text_time_parse(&again, text, TEXT_TIME - 1) && again == time_us, "%lld: %s", (long long)time_us,
        text);
  CHECK(time_by_library(text) == time_us, "%lld: %s", (long long)time_us, text);
  text_civil_from_day(text_day_of(time_us), &year, &month, &day);
  CHECK(text_day_from_civil(year, month, day) == text_day_of(time_us), "%s", text);
}

/* The same text with Z in the place of its offset reads as much later or earlier, and Z alone changes no digit of it. */
static void check_offset(const char *given, size_t size, int64_t time_us)
{
  char plain[64], text[TEXT_TIME];
  int64_t plain_us;
  int hours = 0, minutes = 0;
  const size_t digits = 19 + (given[19] == '.' ? 1 + strspn(given + 20, "0123456789") : 0);
  snprintf(plain, sizeof plain, "%.*sZ", (int)digits, given);
  CHECK(text_time_parse(&plain_us, plain, strlen(plain)), "%s", plain);
  if (size > digits + 1)
    CHECK(sscanf(given + digits, "%*1c%2d:%2d", &hours, &minutes) == 2, "%s", given);
  const int64_t offset_us = (hours * 60 + minutes) * INT64_C(60000000);
  CHECK(plain_us - time_us == (given[digits] == '-' ? -offset_us : offset_us), "%s", given);
  CHECK(text_time(text, plain_us) && strncmp(text, plain, 10) == 0 && strncmp(text + 11, plain + 11, 8) == 0, "%s became %s", plain, text);
}

static void try_time(const uint8_t *data, size_t size)
{
  int64_t time_us;
  char *given = fuzz_text(data, size);
  bool read = text_time_parse(&time_us, given, size);
  outcomes[read ? TIME : TIME_REFUSED].count++;
  if (read) {
    check_time(time_us, true);
    CHECK(size >= 20 && isdigit((unsigned char)given[0]), "%s", given);
    check_offset(given, size, time_us);
    if (size == TEXT_TIME - 1 && given[size - 1] == 'Z' && given[10] == 'T')
      CHECK(time_by_library(given) == time_us, "%s", given);
  }
  if (size >= 8) {
    memcpy(&time_us, data, 8);
    check_time(time_us, false);
    check_time(time_us % (INT64_C(253402300800) * 1000000), false);
    outcomes[TIME_OF_NUMBER].count++;
  }
  free(given);
}

/* ---- addresses ---- */

static const char *skip_zeros(const char *p)
{
  while (p[0] == '0' && isdigit((unsigned char)p[1]))
    p++;
  return p;
}

static void try_address(const uint8_t *data, size_t size)
{
  char text[TEXT_ADDRESS];
  uint32_t shard;
  uint64_t sequence;
  char *given = fuzz_text(data, size);
  bool read = text_address_parse(&shard, &sequence, given);
  outcomes[read ? ADDRESS : ADDRESS_REFUSED].count++;
  if (read) {
    text_address(text, shard, sequence);
    const char *colon = strchr(given, ':'), *written = strchr(text, ':');
    CHECK(colon && shard < 4096 && sequence < UINT64_C(1) << 48, "%s", text);
    const char *from = skip_zeros(given);
    CHECK(colon - from == written - text && strncmp(from, text, (size_t)(written - text)) == 0 &&
              strcmp(skip_zeros(colon + 1), written + 1) == 0,
          "%s became %s", given, text);
  }
  free(given);
}

/* ---- cursors ---- */

/* Each shard of what was taken once, ascending, with its number. */
static void check_words(const char *given, const struct ops_cursor *c)
{
  long before = -1;
  for (const char *p = given; *p;) {
    char *behind;
    const long shard = strtol(p, &behind, 10);
    CHECK(*behind == ':' && shard > before && shard < (long)LIMIT_SHARDS, "%s", given);
    CHECK(c->next[shard] == strtoull(behind + 1, &behind, 10) && (*behind == ',' || *behind == '\0'), "%s: shard %ld", given, shard);
    before = shard;
    p = behind + (*behind == ',');
  }
}

static void try_cursor(const uint8_t *data, size_t size)
{
  struct ops_cursor c, again;
  struct failure f = FAILURE_NONE, ignored = FAILURE_NONE;
  char text[OPS_CURSOR_TEXT];
  const uint32_t shards = size > 0 ? 1 + data[0] % LIMIT_SHARDS : 1;
  char *given = fuzz_text(data + (size > 0), size > 0 ? size - 1 : 0);
  int status = ops_cursor_parse(&c, given, shards, &f);
  outcomes[status == MUSTER_OK ? CURSOR : CURSOR_REFUSED].count++;
  CHECK((status == MUSTER_OK) == (f.text[0] == '\0') && status == f.status, "status %d, \"%s\"", status, f.text);
  if (status == MUSTER_OK) {
    check_words(given, &c);
    ops_cursor_text(text, &c, shards);
    CHECK(strlen(text) < OPS_CURSOR_TEXT && text[0] != '\0', "%s", given);
    CHECK(ops_cursor_parse(&again, text, shards, &ignored) == MUSTER_OK && memcmp(&c, &again, sizeof c) == 0, "%s became %s", given, text);
    const uint32_t skipped = ops_cursor_skipped(&c, shards);
    CHECK(skipped < shards && (uint32_t)strtoul(given, NULL, 10) == skipped, "%s leaves out %u of %u", given, skipped, shards);
    for (uint32_t shard = 0; shard < shards; shard++) {
      const bool out = c.next[shard] == OPS_CURSOR_SKIPPED;
      CHECK(out == (shard < skipped) && c.next[shard] > 0, "%s: shard %u", given, shard);
      const bool fits = ops_cursor_check(&c, shard, 5, &(struct failure){0}) == MUSTER_OK;
      CHECK(fits == (out || c.next[shard] <= 6), "%s: shard %u", given, shard);
      outcomes[CURSOR_AHEAD].count += !fits;
    }
  } else
    CHECK(status == MUSTER_ERR_USAGE || status == MUSTER_ERR_FORMAT, "status %d", status);
  free(given);
}

/* ---- one input ---- */

static void make(struct wire *out, struct random *r, const struct wire *corpus, uint32_t corpus_count)
{
  char text[512];
  size_t used = 0;
  uint8_t id[16];
  (void)corpus;
  (void)corpus_count;
  const uint8_t kind = (uint8_t)random_below(r, 4);
  wire_byte(out, kind);
  store_u64(id, random_next(r));
  store_u64(id + 8, random_next(r));
  if (kind == 0)
    text_uuid(text, id);
  else if (kind == 1 && random_below(r, 4) == 0)
    sprintf(text, "%04u-%02u-%02uT%02u:%02u:%02u%c%02u:%02u", random_below(r, 2) ? random_below(r, 10000) : 100 * random_below(r, 100),
            random_below(r, 13), 27 + random_below(r, 5), random_below(r, 25), random_below(r, 61), random_below(r, 61),
            random_below(r, 2) ? '+' : '-', random_below(r, 25), random_below(r, 61));
  else if (kind == 1)
    text_time(text, (int64_t)(random_next(r) % UINT64_C(253402300800000000)));
  else if (kind == 2)
    text_address(text, random_below(r, 4096), random_wide(r) >> 16);
  else {
    const uint32_t shards = 1 + random_below(r, LIMIT_SHARDS);
    wire_byte(out, (uint8_t)(shards - 1));
    for (uint32_t shard = random_below(r, shards); shard < shards && used < sizeof text - 40; shard += random_below(r, 9))
      used += (size_t)sprintf(text + used, "%s%u:%llu", used ? "," : "", shard, (unsigned long long)(1 + (random_wide(r) >> 17)));
  }
  wire_bytes(out, text, strlen(text));
}

const struct fuzz_target fuzz_target = {.name = "text", .short_count = 1000000, .outcomes = outcomes, .words = words, .make = make};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static void (*const kinds[])(const uint8_t *, size_t) = {try_id, try_time, try_address, try_cursor};
  if (size > 0)
    kinds[data[0] % 4](data + 1, size - 1);
  return 0;
}
