/* core/config.c: defaults, every bound, every kind of wrong line with its place, and the way through a file and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/limits.h"
#include "core/scratch.h"

static char directory[SCRATCH_BYTES];
static char file[SCRATCH_BYTES + 32];

static int setup(void **state)
{
  (void)state;
  scratch_make(directory);
  snprintf(file, sizeof file, "%s/muster.conf", directory);
  return 0;
}

static int teardown(void **state)
{
  (void)state;
  scratch_remove(directory);
  return 0;
}

static void test_defaults(void **state)
{
  (void)state;
  struct config c;
  memset(&c, 0xff, sizeof c);
  config_defaults(&c);
  assert_int_equal(c.workers, 0);
  assert_int_equal(c.ingests, 1);
  assert_string_equal(c.listen, "tcp://127.0.0.1:7411");
  assert_int_equal(c.frozen_ms, 10000);
  assert_string_equal(c.log_level, "info");
  assert_int_equal(c.budget_bytes, 256 * LIMIT_MIB);
  assert_int_equal(c.credit, 16);
  assert_int_equal(c.dispatch_bytes, 4 * LIMIT_MIB);
  assert_int_equal(c.peers, 1024);
  assert_int_equal(c.handshake_ms, 5000);
  assert_int_equal(c.shard_timeout_ms, 8000);
  assert_int_equal(c.answer_timeout_ms, 15000);
  assert_int_equal(c.map_bytes, 1024 * LIMIT_GIB);
  assert_int_equal(c.disk_reserve_bytes, 256 * LIMIT_MIB);
  assert_int_equal(c.quarantine_records, 10000);
  assert_int_equal(c.quarantine_bytes, 16 * LIMIT_MIB);
  assert_int_equal(c.future_skew_s, 300);
  assert_int_equal(c.earliest_year, 2000);
}

/* key at its value: accepted and read back, or refused with the struct unchanged and a sentence that has place and allowed. */
static void expect(const char *key, const char *value, bool allowed)
{
  struct config c, before;
  struct failure f = FAILURE_NONE;
  config_defaults(&c);
  before = c;
  const int status = config_set(&c, NULL, key, value, "--option", &f);
  if (allowed) {
    if (status != MUSTER_OK)
      fail_msg("%s = %s: %s", key, value, f.text);
    return;
  }
  if (status != MUSTER_ERR_CONFIG)
    fail_msg("%s = %s was taken", key, value);
  assert_memory_equal(&c, &before, sizeof c);
  assert_memory_equal(f.text, "--option: ", 10);
  assert_non_null(strstr(f.text, "allowed"));
  assert_non_null(strstr(f.text, strchr(key, '.') + 1));
}

static void test_both_sides_of_every_bound(void **state)
{
  (void)state;
  static const struct {
    const char *key, *below, *low, *high, *above;
  } bounds[] = {
      {"node.workers", NULL, "0", "64", "65"},
      {"node.ingests", "0", "1", "16", "17"},
      {"node.frozen_ms", "999", "1000", "86400000", "86400001"},
      {"ingest.budget_bytes", "8388607", "8 MiB", "1 TiB", "1025 GiB"},
      {"ingest.credit", "0", "1", "1024", "1025"},
      {"ingest.dispatch_bytes", "4095", "4096", "1073741824", "1073741825"},
      {"ingest.peers", "0", "1", "65535", "65536"},
      {"ingest.handshake_ms", "99", "100", "60000", "60001"},
      {"ingest.shard_timeout_ms", "99", "100", "600000", "600001"},
      {"ingest.answer_timeout_ms", "99", "100", "3600000", "3600001"},
      {"store.map_bytes", "16777215", "16 MiB", "16 TiB", "17592186044417"},
      {"store.index_bytes", NULL, "0", "16 TiB", "17 TiB"},
      {"store.disk_reserve_bytes", NULL, "0", "16 TiB", "17 TiB"},
      {"store.quarantine_records", NULL, "0", "100000000", "100000001"},
      {"store.quarantine_bytes", NULL, "0", "1 TiB", "1025 GiB"},
      {"rules.future_skew_s", NULL, "0", "31536000", "31536001"},
      {"rules.earliest_year", "1969", "1970", "2100", "2101"},
  };
  for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
    if (bounds[i].below != NULL)
      expect(bounds[i].key, bounds[i].below, false);
    expect(bounds[i].key, bounds[i].low, true);
    expect(bounds[i].key, bounds[i].high, true);
    expect(bounds[i].key, bounds[i].above, false);
    expect(bounds[i].key, "18446744073709551616", false);
    expect(bounds[i].key, "4294967297", bounds[i].high[strlen(bounds[i].high) - 1] == 'B'); /* 1 in 32 bits */
  }
}

static void test_units(void **state)
{
  (void)state;
  static const struct {
    const char *text;
    uint64_t bytes;
  } sizes[] = {
      {"33554432", 32 * LIMIT_MIB},  {"65536KiB", 64 * LIMIT_MIB}, {"64 MiB", 64 * LIMIT_MIB},         {"3GiB", 3 * LIMIT_GIB},
      {"1   TiB", 1024 * LIMIT_GIB}, {"016 MiB", 16 * LIMIT_MIB},  {"33554432 bytes", 32 * LIMIT_MIB},
  };
  struct config c;
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    assert_int_equal(config_set(&c, NULL, "store.map_bytes", sizes[i].text, "x", NULL), MUSTER_OK);
    assert_int_equal(c.map_bytes, sizes[i].bytes);
  }
  static const char *const wrong[] = {"",
                                      " ",
                                      "x",
                                      "-1",
                                      "+64",
                                      "64 MB",
                                      "64M",
                                      "64 mib",
                                      "64 MiB x",
                                      "64.5 MiB",
                                      "0x4000000",
                                      "64 ms",
                                      "99999999999999999999",
                                      "17179869185 GiB" /* 1 GiB in 64 bits */};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    struct failure f = FAILURE_NONE;
    if (config_set(&c, NULL, "store.map_bytes", wrong[i], "--map", &f) != MUSTER_ERR_CONFIG)
      fail_msg("\"%s\" was taken", wrong[i]);
    assert_memory_equal(f.text, "--map: ", 7);
  }
  assert_int_equal(config_set(&c, NULL, "ingest.handshake_ms", "250 ms", "x", NULL), MUSTER_OK);
  assert_int_equal(c.handshake_ms, 250);
  expect("ingest.handshake_ms", "5 s", false);
  expect("rules.future_skew_s", "60 s", true);
  expect("ingest.credit", "16 KiB", false);
  expect("node.workers", "2 workers", false);
}

static void test_texts(void **state)
{
  (void)state;
  static const char *const listens[] = {"none", "tcp://127.0.0.1:7411", "tcp://*:0", "tcp://[::1]:65535", "tcp://a.example:1"};
  for (size_t i = 0; i < sizeof listens / sizeof listens[0]; i++)
    expect("node.listen", listens[i], true);
  static const char *const not_listens[] = {
      "",           "None",       "127.0.0.1:7411", "tcp://",      "tcp://127.0.0.1", "tcp://:7411", "tcp://h:",      "tcp://h:65536",
      "tcp://h:1x", "tcp://h:-1", "ipc:///tmp/x",   "tcp://a b:1", "tcp://a\n:1",     "tcp://a;b:1", "tcp://h:000000"};
  for (size_t i = 0; i < sizeof not_listens / sizeof not_listens[0]; i++)
    expect("node.listen", not_listens[i], false);
  char longer[400] = "tcp://";
  memset(longer + 6, 'a', 300);
  memcpy(longer + 306, ":1", 3);
  expect("node.listen", longer, false);
  static const char *const levels[] = {"debug", "info", "warn", "error"};
  for (size_t i = 0; i < 4; i++)
    expect("node.log_level", levels[i], true);
  expect("node.log_level", "loud", false);
  expect("node.log_level", "", false);
}

static void test_set_of_unknown_keys(void **state)
{
  (void)state;
  struct config c;
  config_defaults(&c);
  static const struct {
    const char *key, *says;
  } wrong[] = {
      {"node.worker", "unknown key \"worker\" in [node]; known: workers, ingests, listen, frozen_ms, log_level"},
      {"nodes.workers", "unknown section \"nodes\"; known: node, ingest, store, rules"},
      {"workers", "section.key"},
      {"", "section.key"},
      {"a-section-with-a-name-longer-than-any.key", "section.key"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    struct failure f = FAILURE_NONE;
    assert_int_equal(config_set(&c, NULL, wrong[i].key, "1", "--set", &f), MUSTER_ERR_CONFIG);
    assert_memory_equal(f.text, "--set: ", 7);
    assert_non_null(strstr(f.text, wrong[i].says));
  }
}

/* ---- files ---- */

static void test_file(void **state)
{
  (void)state;
  struct config c, wanted;
  config_defaults(&c);
  wanted = c;
  wanted.workers = 4;
  wanted.credit = 32;
  wanted.budget_bytes = LIMIT_GIB;
  memcpy(wanted.listen, "tcp://10.0.0.5:9000", 20);
  scratch_write(file, "\xef\xbb\xbf# a comment\n\n[node]\r\nworkers=4\r\n   listen = tcp://10.0.0.5:9000 ; the inner net\n"
                      "; another\n[store] ; none\n[ingest] \r\n\tcredit : 32\nbudget_bytes = 1 GiB");
  struct failure f = FAILURE_NONE;
  if (config_read(&c, NULL, file, &f) != MUSTER_OK)
    fail_msg("%s", f.text);
  assert_memory_equal(&c, &wanted, sizeof c);
}

static void test_wrong_lines(void **state)
{
  (void)state;
  static const struct {
    const char *text;
    unsigned line;
    const char *says;
  } wrong[] = {
      {"[ingest]\n\n# so\ncredits = 5\n", 4,
       "unknown key \"credits\" in [ingest]; known: budget_bytes, credit, dispatch_bytes, peers, handshake_ms, "},
      {"[node]\nworkers = 2\n[ingress]\n", 3, "unknown section \"ingress\"; known: node, ingest, store, rules"},
      {"[ingress]\ncredit = 2\n", 1, "unknown section \"ingress\""},
      {"\xef\xbb\xbf[ingress]\n", 1, "unknown section \"ingress\""},
      {"\v[ingress]\n", 1, "unknown section \"ingress\""},
      {"\r\f [ingress]\n", 1, "unknown section \"ingress\""},
      {"[]\n", 1, "unknown section \"\""},
      {"workers = 2\n", 1, "unknown section \"\""},
      {"[node]\ncredit = 2\n", 2, "unknown key \"credit\" in [node]"},
      {"[node]\nworkers = 2\ningests = 1\nworkers = 2\n", 4, "workers in [node] is set a second time"},
      {"[node]\nworkers = 2\n[ingest]\ncredit = 1\n[node]\nworkers = 3\n", 6, "set a second time"},
      {"[node]\nworkers = 2\n  workers = 3\n", 3, "set a second time"},
      {"[node]\nworkers = 2\n  3\n", 3, "neither [section] nor key = value"},
      {"[node]\nworkers\n", 2, "neither [section] nor key = value"},
      {"[node] workers = 2\n", 1, "neither [section] nor key = value"},
      {"[node\nworkers = 2\n", 1, "neither [section] nor key = value"},
      {"[node]\nworkers = 65\n", 2, "\"65\" for workers is out of bounds; allowed: 0 to 64"},
      {"[node]\nworkers =\n", 2, "\"\" for workers is not a whole number"},
      {"[ingest]\ncredit = 2 GiB\n", 2, "has a unit that is none here; allowed: batches"},
      {"[ingest]\ncredit = 0\n", 2, "allowed: 1 to 1024 batches"},
      {"[store]\nmap_bytes = 1 MiB\n", 2, "allowed: 16 MiB to 16 TiB"},
      {"[store]\nmap_bytes = 64 MB\n", 2, "allowed: bytes, KiB, MiB, GiB, TiB"},
      {"[node]\nlisten = ipc:///tmp/x\n", 2, "allowed: tcp://ADDRESS:PORT"},
      {"[node]\nw\x1b[2J = 1\n", 2, "unknown key \"w\\x1b[2J\""},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    struct config c, before;
    struct failure f = FAILURE_NONE;
    char place[SCRATCH_BYTES + 64];
    config_defaults(&c);
    before = c;
    scratch_write(file, wrong[i].text);
    if (config_read(&c, NULL, file, &f) != MUSTER_ERR_CONFIG)
      fail_msg("taken: %s", wrong[i].text);
    snprintf(place, sizeof place, "%s:%u: ", file, wrong[i].line);
    if (strncmp(f.text, place, strlen(place)) != 0 || strstr(f.text, wrong[i].says) == NULL)
      fail_msg("%s\nfor: %s", f.text, wrong[i].text);
    assert_memory_equal(&c, &before, sizeof c); /* all or nothing */
  }
}

/* A line of each length around libinih's buffer: whole or refused, never cut. */
static void test_long_lines(void **state)
{
  (void)state;
  unsigned taken = 0, refused = 0;
  for (int blanks = 100; blanks < 600; blanks++) {
    char text[1000];
    struct config c;
    struct failure f = FAILURE_NONE;
    config_defaults(&c);
    snprintf(text, sizeof text, "# %*s.\n[ingest]\ncredit =%*s7\ndispatch_bytes = 8192\n", blanks * 100 % 700, "", blanks, "");
    scratch_write(file, text);
    if (config_read(&c, NULL, file, &f) == MUSTER_OK) {
      assert_int_equal(c.credit, 7);
      assert_int_equal(c.dispatch_bytes, 8192);
      assert_int_equal(refused, 0);
      taken++;
    } else {
      assert_non_null(strstr(f.text, ":3: the line is longer than "));
      refused++;
    }
  }
  assert_true(taken > 50);
  assert_true(refused > 50);
}

static void test_zero_byte(void **state)
{
  (void)state;
  static const char text[] = "[node]\nworkers = 2\0 3\n";
  FILE *out = fopen(file, "we");
  assert_non_null(out);
  assert_int_equal(fwrite(text, 1, sizeof text - 1, out), sizeof text - 1);
  assert_int_equal(fclose(out), 0);
  struct config c;
  struct failure f = FAILURE_NONE;
  config_defaults(&c);
  assert_int_equal(config_read(&c, NULL, file, &f), MUSTER_ERR_CONFIG);
  assert_non_null(strstr(f.text, ":2: the line holds a zero byte"));
}

static void test_file_that_cannot_be_read(void **state)
{
  (void)state;
  struct config c;
  struct failure f = FAILURE_NONE, g = FAILURE_NONE;
  config_defaults(&c);
  assert_int_equal(config_read(&c, NULL, file, &f), MUSTER_ERR_CONFIG);
  assert_non_null(strstr(f.text, file));
  assert_non_null(strstr(f.text, "No such file"));
  assert_int_equal(config_read(&c, NULL, directory, &g), MUSTER_ERR_CONFIG);
  assert_non_null(strstr(g.text, directory));
}

static void test_written_and_read_back(void **state)
{
  (void)state;
  static const char *const settings[][2] = {
      {"node.workers", "64"},
      {"node.ingests", "16"},
      {"node.frozen_ms", "2000"},
      {"node.log_level", "debug"},
      {"ingest.budget_bytes", "123456789"},
      {"ingest.credit", "3"},
      {"ingest.dispatch_bytes", "4096"},
      {"ingest.peers", "5"},
      {"ingest.handshake_ms", "101"},
      {"ingest.shard_timeout_ms", "102"},
      {"ingest.answer_timeout_ms", "103"},
      {"store.map_bytes", "17 MiB"},
      {"store.index_bytes", "18 MiB"},
      {"store.disk_reserve_bytes", "1025 KiB"},
      {"store.quarantine_records", "9"},
      {"store.quarantine_bytes", "0"},
      {"rules.future_skew_s", "11"},
      {"rules.earliest_year", "1999"},
  };
  struct config c, back;
  config_defaults(&c);
  for (int changed = 0; changed <= 1; changed++) {
    for (size_t i = 0; changed && i < sizeof settings / sizeof settings[0]; i++)
      assert_int_equal(config_set(&c, NULL, settings[i][0], settings[i][1], "x", NULL), MUSTER_OK);
    if (changed) { /* the longest that is taken must still fit its line */
      char longest[256] = "tcp://";
      memset(longest + 6, 'a', 160 - 6 - 2);
      memcpy(longest + 158, ":1", 3);
      assert_int_equal(config_set(&c, NULL, "node.listen", longest, "x", NULL), MUSTER_OK);
    }
    FILE *out = fopen(file, "we");
    assert_int_equal(config_write(&c, out), MUSTER_OK);
    assert_int_equal(fclose(out), 0);
    memset(&back, 0, sizeof back);
    struct failure f = FAILURE_NONE;
    if (config_read(&back, NULL, file, &f) != MUSTER_OK)
      fail_msg("%s", f.text);
    assert_memory_equal(&back, &c, sizeof c);
  }
  FILE *full = fopen("/dev/full", "we");
  assert_non_null(full);
  assert_int_equal(config_write(&c, full), MUSTER_ERR_IO);
  fclose(full);
}

/* From a file by its line, from an option by its name, else the default; what is set twice has the later one. */
static void test_origins(void **state)
{
  (void)state;
  static struct config_origins origins;
  struct config c;
  struct config_setting s;
  struct failure f = FAILURE_NONE;
  char want[SCRATCH_BYTES + 64];
  unsigned seen = 0;
  config_defaults(&c);
  config_origins_default(&origins);
  scratch_write(file, "[ingest]\n# a comment\ncredit = 5\n[store]\nmap_bytes = 1 GiB\n");
  assert_int_equal(config_read(&c, &origins, file, &f), MUSTER_OK);
  assert_int_equal(config_set(&c, &origins, "store.map_bytes", "2 GiB", "--set", &f), MUSTER_OK);
  assert_int_equal(config_set(&c, &origins, "ingest.peers", "0", "--set", &f), MUSTER_ERR_CONFIG);
  for (size_t i = 0; config_describe(&c, i, &s); i++) {
    const bool credit = strcmp(s.name, "credit") == 0, map = strcmp(s.name, "map_bytes") == 0;
    snprintf(want, sizeof want, "%s:3", file);
    assert_string_equal(origins.of[i], credit ? want : map ? "--set" : "default");
    seen += credit + map;
  }
  assert_int_equal(seen, 2);
}

/* A value as it is shown is taken back, and so is the default. */
static void test_described(void **state)
{
  (void)state;
  struct config c, back;
  struct config_setting s;
  struct failure f = FAILURE_NONE;
  char key[64];
  size_t count = 0;
  config_defaults(&c);
  c.frozen_ms = 12345;
  c.index_bytes = 7 * LIMIT_MIB;
  config_defaults(&back);
  for (; config_describe(&c, count, &s); count++) {
    snprintf(key, sizeof key, "%s.%s", s.section, s.name);
    assert_int_equal(config_set(&back, NULL, key, s.preset, "default", &f), MUSTER_OK);
    assert_int_equal(config_set(&back, NULL, key, s.value, "value", &f), MUSTER_OK);
    assert_true(s.sentence[0] && s.allowed[0] && s.sentence[strlen(s.sentence) - 1] != '.');
  }
  assert_memory_equal(&back, &c, sizeof c);
  assert_true(count > 15 && count <= CONFIG_SETTINGS);
  assert_false(config_describe(&c, count, &s));
}

/* Each setting is changed; those that are live, and no others, are taken over. */
static void test_adopt(void **state)
{
  (void)state;
  struct config running, fresh, plain;
  struct config_setting was, is, now;
  struct failure f = FAILURE_NONE;
  unsigned live = 0, kept = 0;
  config_defaults(&plain);
  running = fresh = plain;
  scratch_write(file, "[node]\nworkers=3\ningests=2\nlisten=none\nfrozen_ms=2000\nopening_ms=2000\nlog_level=warn\nshard_retry_ms=2000\n"
                      "[ingest]\nbudget_bytes=64MiB\ncredit=3\ndispatch_bytes=8KiB\npeers=9\nhandshake_ms=900\nshard_timeout_ms=900\n"
                      "answer_timeout_ms=900\n[store]\nmap_bytes=1GiB\nindex_bytes=1GiB\ndisk_reserve_bytes=1\nquarantine_records=1\n"
                      "quarantine_bytes=1\n[rules]\nfuture_skew_s=1\nearliest_year=1999\n");
  assert_int_equal(config_read(&fresh, NULL, file, &f), MUSTER_OK);
  config_adopt(&running, &fresh);
  for (size_t i = 0; config_describe(&plain, i, &was); i++) {
    config_describe(&fresh, i, &is);
    config_describe(&running, i, &now);
    assert_string_not_equal(is.value, was.value); /* a new setting belongs into the file above */
    assert_string_equal(now.value, was.live ? is.value : was.value);
    live += was.live;
    kept += !was.live;
  }
  assert_true(live > 0 && kept > 0);
  assert_int_equal(running.earliest_year, 1999);
  assert_int_equal(running.workers, 0); /* a store keeps its number of shards */
  assert_int_equal(running.budget_bytes, plain.budget_bytes);
  assert_string_equal(running.listen, plain.listen); /* bound at the start */
}

int main(void)
{
#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
  const struct CMUnitTest tests[] = {
      EACH(test_defaults),
      EACH(test_both_sides_of_every_bound),
      EACH(test_units),
      EACH(test_texts),
      EACH(test_set_of_unknown_keys),
      EACH(test_file),
      EACH(test_wrong_lines),
      EACH(test_long_lines),
      EACH(test_zero_byte),
      EACH(test_file_that_cannot_be_read),
      EACH(test_written_and_read_back),
      EACH(test_origins),
      EACH(test_described),
      EACH(test_adopt),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
