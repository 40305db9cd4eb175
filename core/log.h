/*
 * Logs: one logfmt line an event on standard error: time, level, role, pid, event, then key=value pairs. No personal
 * data: the callers log counts, sequences, reasons and key names, never a record's content. Lines that a client can
 * cause go through a log_gate, which lets a few through a second and says how many it held back. One write(2) a line, so
 * lines of several processes do not mix.
 */
#ifndef MUSTER_CORE_LOG_H
#define MUSTER_CORE_LOG_H

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* role: "run", "ingest-0", "worker-1"; copied. Until it is called, role is "muster" and level LOG_INFO. */
void log_init(const char *role, enum log_level level);
/* The same with the level by its word, as the settings have it; another word: LOG_INFO. */
void log_init_word(const char *role, const char *level);
/* "debug", "info", "warn", "error" to the level; -1 for another word. */
int log_level_parse(const char *word);

/* event: "worker.ready"; format: the pairs, as "shard=%u records=%" PRIu64; may be "". Texts go through log_quote. */
void log_event(enum log_level level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* text as a logfmt value in quotes, quotes, backslashes and control characters escaped, cut to the buffer. Returns out. */
const char *log_quote(char *out, unsigned out_size, const char *text);

struct log_gate {
  uint64_t window_start_ns; /* all zero at first use */
  uint32_t let_through;
  uint32_t held_back;
};
/* As log_event, at most five lines a second for this gate; the first line of a later second carries held_back=N. */
void log_event_gated(struct log_gate *gate, enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
