#include "core/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"

#define LOG_LINE_BYTES 2048 /* below PIPE_BUF, so that a line is whole on a pipe that several processes share */
#define LOG_GATE_LINES 5
#define LOG_GATE_WINDOW_NS UINT64_C(1000000000)

static char log_role[24] = "muster";
static enum log_level log_threshold = LOG_INFO;
static const char *const log_words[] = {[LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"};

void log_init(const char *role, enum log_level level)
{
  snprintf(log_role, sizeof log_role, "%s", role);
  log_threshold = level;
}

int log_level_parse(const char *word)
{
  for (int level = LOG_DEBUG; level <= LOG_ERROR; level++) {
    if (strcmp(word, log_words[level]) == 0)
      return level;
  }
  return -1;
}

void log_init_word(const char *role, const char *level)
{
  const int known = log_level_parse(level);
  log_init(role, known < 0 ? LOG_INFO : (enum log_level)known);
}

/* The bytes of the UTF-8 character that text starts with, or 0 where it is none or would steer a terminal. */
static unsigned log_character_size(const unsigned char *text)
{
  const unsigned char lead = text[0];
  if (lead < 0x80)
    return lead >= 0x20 && lead != 0x7f ? 1 : 0;
  const unsigned size = lead >= 0xf0 && lead <= 0xf4 ? 4 : lead >= 0xe0 && lead < 0xf0 ? 3 : lead >= 0xc2 && lead < 0xe0 ? 2 : 0;
  for (unsigned i = 1; i < size; i++) {
    if ((text[i] & 0xc0) != 0x80)
      return 0;
  }
  return lead == 0xc2 && text[1] < 0xa0 ? 0 : size; /* U+0080 to U+009F are control characters, too */
}

const char *log_quote(char *out, unsigned out_size, const char *text)
{
  if (out_size < 3) {
    if (out_size > 0)
      out[0] = '\0';
    return out;
  }
  unsigned used = 0;
  out[used++] = '"';
  for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
    char piece[8];
    const unsigned size = log_character_size(at);
    if (size == 0) {
      snprintf(piece, sizeof piece, "\\x%02x", *at);
    } else if (*at == '"' || *at == '\\') {
      snprintf(piece, sizeof piece, "\\%c", *at);
    } else {
      memcpy(piece, at, size);
      piece[size] = '\0';
    }
    const unsigned length = (unsigned)strlen(piece);
    if (used + length + 2 > out_size)
      break;
    memcpy(out + used, piece, length);
    used += length;
    at += size == 0 ? 1 : size;
  }
  out[used++] = '"';
  out[used] = '\0';
  return out;
}

/* "2026-01-31T23:59:59.123Z" */
static void log_stamp(char out[32])
{
  const int64_t now_us = clock_wall_us();
  int64_t seconds = now_us / 1000000, micros = now_us % 1000000;
  if (micros < 0) {
    micros += 1000000;
    seconds--;
  }
  const time_t moment = (time_t)seconds;
  struct tm utc;
  if (gmtime_r(&moment, &utc) == NULL)
    utc = (struct tm){.tm_year = 70, .tm_mday = 1};
  const size_t used = strftime(out, 26, "%Y-%m-%dT%H:%M:%S", &utc);
  snprintf(out + used, 32 - used, ".%03dZ", (int)(micros / 1000));
}

/* Nothing can be done about a standard error that nobody reads; the process goes on. */
static void log_put(const char *line, size_t size)
{
  ssize_t put;
  do
    put = write(STDERR_FILENO, line, size);
  while (put < 0 && errno == EINTR);
}

__attribute__((format(printf, 4, 0))) static void log_line(enum log_level level, const char *event, uint32_t held_back, const char *format,
                                                           va_list arguments)
{
  const int saved = errno;
  char stamp[32], line[LOG_LINE_BYTES], held[32] = "";
  log_stamp(stamp);
  if (held_back > 0)
    snprintf(held, sizeof held, " held_back=%" PRIu32, held_back);
  const size_t room = sizeof line - strlen(held) - 1; /* for what comes after the pairs and the end of the line */
  const int head =
      snprintf(line, room, "time=%s level=%s role=%s pid=%ld event=%s", stamp, log_words[level], log_role, (long)getpid(), event);
  size_t used = head < 0 ? 0 : (size_t)head < room ? (size_t)head : room - 1;
  if (format[0] != '\0' && used + 2 < room) {
    line[used++] = ' ';
    const int pairs = vsnprintf(line + used, room - used, format, arguments);
    const size_t wanted = pairs < 0 ? 0 : (size_t)pairs;
    used += wanted < room - used ? wanted : room - used - 1;
  }
  for (size_t i = 0; i < used; i++) { /* a text that came past log_quote must not make a second line */
    if ((unsigned char)line[i] < 0x20)
      line[i] = '?';
  }
  memcpy(line + used, held, strlen(held));
  used += strlen(held);
  line[used++] = '\n';
  log_put(line, used);
  errno = saved;
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
  if (level < log_threshold)
    return;
  va_list arguments;
  va_start(arguments, format);
  log_line(level, event, 0, format, arguments);
  va_end(arguments);
}

/* True where this line may go out; held_back is then what it has to report. */
static bool log_gate_pass(struct log_gate *gate, uint32_t *held_back)
{
  const uint64_t now_ns = clock_monotonic_ns();
  const bool fresh = gate->let_through == 0;
  *held_back = 0;
  if (fresh || now_ns - gate->window_start_ns >= LOG_GATE_WINDOW_NS) {
    *held_back = gate->held_back;
    *gate = (struct log_gate){.window_start_ns = now_ns};
  }
  if (gate->let_through < LOG_GATE_LINES) {
    gate->let_through++;
    return true;
  }
  gate->held_back++;
  return false;
}

void log_event_gated(struct log_gate *gate, enum log_level level, const char *event, const char *format, ...)
{
  uint32_t held_back;
  if (level < log_threshold || !log_gate_pass(gate, &held_back))
    return;
  va_list arguments;
  va_start(arguments, format);
  log_line(level, event, held_back, format, arguments);
  va_end(arguments);
}
