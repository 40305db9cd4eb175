/* core/log.c: the line as it stands on standard error, quoting, and the gate. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"

static struct {
  int64_t wall_us;
  uint64_t monotonic_ns;
} now;

static int64_t scripted_wall(void *context)
{
  (void)context;
  return now.wall_us;
}
static uint64_t scripted_monotonic(void *context)
{
  (void)context;
  return now.monotonic_ns;
}
static const struct clock_source source = {.wall_us = scripted_wall, .monotonic_ns = scripted_monotonic};

/* Standard error goes into a file between capture_begin and capture_end. */
static FILE *captured;
static int standard_error;

static void capture_begin(void)
{
  captured = tmpfile();
  assert_non_null(captured);
  standard_error = dup(STDERR_FILENO);
  assert_int_equal(dup2(fileno(captured), STDERR_FILENO), STDERR_FILENO);
}

static size_t capture_end(char *out, size_t out_size)
{
  dup2(standard_error, STDERR_FILENO);
  close(standard_error);
  rewind(captured);
  const size_t size = fread(out, 1, out_size - 1, captured);
  out[size] = '\0';
  fclose(captured);
  return size;
}

static unsigned count_lines(const char *text)
{
  unsigned lines = 0;
  for (; *text != '\0'; text++)
    lines += *text == '\n';
  return lines;
}

static int setup(void **state)
{
  (void)state;
  now.wall_us = INT64_C(1612137599987654); /* 2021-01-31T23:59:59.987654Z */
  now.monotonic_ns = 5000000000;
  clock_set_source(&source);
  log_init("worker-1", LOG_INFO);
  return 0;
}

static void test_line(void **state)
{
  (void)state;
  char text[4096], wanted[512];
  capture_begin();
  errno = EDOM;
  log_event(LOG_WARN, "worker.ready", "shard=%u records=%d", 3u, 42);
  assert_int_equal(errno, EDOM);
  log_event(LOG_ERROR, "worker.gone", "%s", "");
  now.wall_us = -1; /* before 1970 is no reason to fail */
  log_event(LOG_INFO, "x", "a=1");
  capture_end(text, sizeof text);
  snprintf(wanted, sizeof wanted,
           "time=2021-01-31T23:59:59.987Z level=warn role=worker-1 pid=%ld event=worker.ready shard=3 records=42\n"
           "time=2021-01-31T23:59:59.987Z level=error role=worker-1 pid=%ld event=worker.gone \n"
           "time=1969-12-31T23:59:59.999Z level=info role=worker-1 pid=%ld event=x a=1\n",
           (long)getpid(), (long)getpid(), (long)getpid());
  assert_string_equal(text, wanted);
}

static void test_levels(void **state)
{
  (void)state;
  char text[4096];
  assert_int_equal(log_level_parse("debug"), LOG_DEBUG);
  assert_int_equal(log_level_parse("info"), LOG_INFO);
  assert_int_equal(log_level_parse("warn"), LOG_WARN);
  assert_int_equal(log_level_parse("error"), LOG_ERROR);
  assert_int_equal(log_level_parse("Warn"), -1);
  assert_int_equal(log_level_parse(""), -1);
  for (int level = LOG_DEBUG; level <= LOG_ERROR; level++) {
    log_init("run", (enum log_level)level);
    capture_begin();
    for (int said = LOG_DEBUG; said <= LOG_ERROR; said++)
      log_event((enum log_level)said, "e", "n=1");
    capture_end(text, sizeof text);
    assert_int_equal(count_lines(text), LOG_ERROR - level + 1);
  }
}

static void test_levels_by_their_words(void **state)
{
  (void)state;
  static const struct {
    const char *word;
    int lines; /* of one at each level */
  } words[] = {{"debug", 4}, {"info", 3}, {"warn", 2}, {"error", 1}, {"Warn", 3}, {"", 3}};
  char text[4096];
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    log_init_word("run", words[i].word);
    capture_begin();
    for (int said = LOG_DEBUG; said <= LOG_ERROR; said++)
      log_event((enum log_level)said, "e", "n=1");
    capture_end(text, sizeof text);
    assert_int_equal(count_lines(text), words[i].lines);
  }
}

static void test_one_line_whatever_is_in_it(void **state)
{
  (void)state;
  char text[8192], longer[4000];
  memset(longer, 'x', sizeof longer - 1);
  longer[sizeof longer - 1] = '\0';
  capture_begin();
  log_event(LOG_INFO, "e", "text=%s", "a\nlevel=error\r\x1b[2J");
  log_event(LOG_INFO, "e", "text=%s", longer);
  const size_t size = capture_end(text, sizeof text);
  assert_int_equal(count_lines(text), 2);
  assert_int_equal(text[size - 1], '\n');
  assert_null(strchr(text, '\r'));
  assert_null(strchr(text, 0x1b));
  assert_true(strlen(strchr(text, '\n') + 1) <= 2048);
  assert_true(strlen(strchr(text, '\n') + 1) > 2000);
}

static void test_quote(void **state)
{
  (void)state;
  char out[64];
  assert_string_equal(log_quote(out, sizeof out, ""), "\"\"");
  assert_string_equal(log_quote(out, sizeof out, "a b"), "\"a b\"");
  assert_string_equal(log_quote(out, sizeof out, "\"\\"), "\"\\\"\\\\\"");
  assert_string_equal(log_quote(out, sizeof out, "a\n\x7f"), "\"a\\x0a\\x7f\"");
  assert_string_equal(log_quote(out, sizeof out, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\x8d"), "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\x8d\"");
  assert_string_equal(log_quote(out, sizeof out, "\xff"), "\"\\xff\"");
  assert_string_equal(log_quote(out, sizeof out, "\xe2\x82"), "\"\\xe2\\x82\""); /* cut short */
  assert_string_equal(log_quote(out, sizeof out,
                                "\xc2\x9b"
                                "2J"),
                      "\"\\xc2\\x9b2J\""); /* a control character above ASCII */
  assert_string_equal(log_quote(out, sizeof out, "\xc2\xa7"), "\"\xc2\xa7\"");
}

/* For each size of the buffer: within it, always closed, never half an escape or character. */
static void test_quote_is_cut_whole(void **state)
{
  (void)state;
  static const char text[] = "a\"b\n\xe2\x82\xac\\";
  char whole[64];
  log_quote(whole, sizeof whole, text);
  for (unsigned size = 0; size <= strlen(whole) + 1; size++) {
    char out[64];
    memset(out, '#', sizeof out);
    log_quote(out, size, text);
    assert_int_equal(out[size], '#');
    if (size == 0)
      continue;
    const size_t length = strlen(out);
    assert_true(length < size);
    if (size < 3) {
      assert_int_equal(length, 0);
      continue;
    }
    assert_int_equal(out[0], '"');
    assert_int_equal(out[length - 1], '"');
    assert_memory_equal(out, whole, length - 1);
    assert_true(length == 2 || (out[length - 2] != '\\' || out[length - 3] == '\\'));
  }
}

static void test_gate(void **state)
{
  (void)state;
  static char text[65536];
  struct log_gate gate = {0}, other = {0};
  capture_begin();
  for (int i = 0; i < 100; i++)
    log_event_gated(&gate, LOG_WARN, "peer.refused", "n=%d", i);
  log_event_gated(&other, LOG_WARN, "other", "n=%d", 0);
  capture_end(text, sizeof text);
  assert_int_equal(count_lines(text), 6);
  assert_null(strstr(text, "held_back"));
  assert_non_null(strstr(text, "n=4\n"));
  assert_null(strstr(text, "n=5\n"));

  now.monotonic_ns += 999999999;
  capture_begin();
  log_event_gated(&gate, LOG_WARN, "peer.refused", "n=%d", 100);
  assert_int_equal(capture_end(text, sizeof text), 0);

  now.monotonic_ns += 1;
  capture_begin();
  for (int i = 101; i < 108; i++)
    log_event_gated(&gate, LOG_WARN, "peer.refused", "n=%d", i);
  capture_end(text, sizeof text);
  assert_int_equal(count_lines(text), 5);
  assert_non_null(strstr(text, "event=peer.refused n=101 held_back=96\n"));
  assert_non_null(strstr(text, "n=102\n"));

  now.monotonic_ns += 3000000000;
  capture_begin();
  log_event_gated(&gate, LOG_DEBUG, "unheard", "n=%d", 0); /* below the level: takes nothing of the gate */
  log_event_gated(&gate, LOG_WARN, "peer.refused", "n=%d", 200);
  capture_end(text, sizeof text);
  assert_int_equal(count_lines(text), 1);
  assert_non_null(strstr(text, "n=200 held_back=2\n"));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(test_line, setup),
      cmocka_unit_test_setup(test_levels, setup),
      cmocka_unit_test_setup(test_levels_by_their_words, setup),
      cmocka_unit_test_setup(test_one_line_whatever_is_in_it, setup),
      cmocka_unit_test_setup(test_quote, setup),
      cmocka_unit_test_setup(test_quote_is_cut_whole, setup),
      cmocka_unit_test_setup(test_gate, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
