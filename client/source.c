#include "client/source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/limits.h"
#include "proto/batch.h"
#include "proto/json.h"
#include "proto/scan.h"
#include "proto/vocabulary.h"
#include "proto/wire.pb-c.h"

#define SOURCE_BUFFER_BYTES (2u * LIMIT_MESSAGE_BYTES) /* whatever a length prefix may rightly say fits, with a read in front of it */
#define SOURCE_LINE_BYTES (1u << 20)
#define SOURCE_SKIP_BYTES (64u << 20) /* a line of more is no line of records: nothing behind it is looked for */
#define SOURCE_LOOK_MS 100            /* so long a signal that comes just before a read may go unseen */

struct source {
  int fd;
  bool ndjson, at_end, stopped, said_broken, said_no_text;
  const volatile sig_atomic_t *stop; /* may be NULL */
  const char *name;                  /* as given; "standard input" for "-" */
  uint8_t *buffer;
  size_t start, end;    /* what is read and not used */
  uint64_t used_before; /* bytes of the input in front of buffer[0] */
  uint64_t total_bytes;
  uint64_t records, lines;
  uint8_t *wire; /* the record made of a line */
};

int source_open(struct source **out, const char *path, bool ndjson, struct failure *failure)
{
  *out = NULL;
  struct source *s = calloc(1, sizeof *s);
  if (s) {
    s->buffer = malloc(SOURCE_BUFFER_BYTES);
    s->wire = malloc(LIMIT_RECORD_BYTES);
  }
  if (!s || !s->buffer || !s->wire) {
    source_close(s);
    return failure_set(failure, MUSTER_ERR_MEMORY, "no memory to read the input");
  }
  bool standard = strcmp(path, "-") == 0;
  s->ndjson = ndjson;
  s->name = standard ? "standard input" : path;
  s->fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
  struct stat facts;
  if (s->fd < 0 || fstat(s->fd, &facts) || S_ISDIR(facts.st_mode)) {
    int cause = s->fd < 0 || !S_ISDIR(facts.st_mode) ? errno : EISDIR;
    source_close(s);
    return failure_set_errno(failure, cause == EACCES ? MUSTER_ERR_DENIED : MUSTER_ERR_NOT_FOUND, cause, "cannot read %s", path);
  }
  if (S_ISREG(facts.st_mode))
    s->total_bytes = (uint64_t)facts.st_size;
  *out = s;
  return MUSTER_OK;
}

void source_close(struct source *s)
{
  if (!s)
    return;
  if (s->fd > STDIN_FILENO)
    close(s->fd);
  free(s->buffer);
  free(s->wire);
  free(s);
}

void source_stop_on(struct source *s, const volatile sig_atomic_t *flag) { s->stop = flag; }
uint64_t source_bytes_total(const struct source *s) { return s->total_bytes; }
uint64_t source_bytes_used(const struct source *s) { return s->used_before + s->start; }

/* read, which is not begun before something is there, so that an idle pipe does not keep a stop from being seen. */
static ssize_t source_read(struct source *s, uint8_t *out, size_t size)
{
  struct pollfd input = {.fd = s->fd, .events = POLLIN};
  for (;;) {
    s->stopped = s->stop && *s->stop;
    if (s->stopped)
      return 0;
    const int ready = s->stop ? poll(&input, 1, SOURCE_LOOK_MS) : 1;
    if (ready == 0 || (ready < 0 && errno == EINTR))
      continue;
    const ssize_t got = read(s->fd, out, size);
    if (got >= 0 || errno != EINTR)
      return got;
  }
}

/* Reads more behind what is there. false: nothing came, because the input is at its end, the buffer is full, reading failed (failure is set), or
 * it is to stop (stopped is set). */
static bool source_fill(struct source *s, struct failure *failure)
{
  if (s->start > 0) {
    memmove(s->buffer, s->buffer + s->start, s->end - s->start);
    s->used_before += s->start;
    s->end -= s->start;
    s->start = 0;
  }
  if (s->at_end || s->end == SOURCE_BUFFER_BYTES)
    return false;
  const ssize_t got = source_read(s, s->buffer + s->end, SOURCE_BUFFER_BYTES - s->end);
  if (got < 0)
    failure_set_errno(failure, MUSTER_ERR_IO, errno,
                      "%s: reading failed at byte %" PRIu64 ", after %" PRIu64 " records, which were submitted", s->name,
                      source_bytes_used(s), s->records);
  s->at_end = got == 0; /* a read that failed fails again, where it can be told */
  s->end += got > 0 ? (size_t)got : 0;
  return got > 0;
}

static enum source_step source_broken(struct source *s, struct failure *failure, const char *what)
{
  if (!s->said_broken && s->records == 0)
    failure_set(failure, MUSTER_ERR_FORMAT, "%s: %s at byte %" PRIu64 ", in front of the first record; nothing was sent", s->name, what,
                source_bytes_used(s));
  else if (!s->said_broken)
    failure_set(failure, MUSTER_ERR_FORMAT,
                "%s: %s at byte %" PRIu64 ", behind record %" PRIu64 "; the %" PRIu64
                " records before it were submitted. Mend the input and submit all of it again: that does no harm",
                s->name, what, source_bytes_used(s), s->records, s->records);
  s->said_broken = true;
  return SOURCE_BROKEN;
}

static enum source_step source_next_wire(struct source *s, struct source_record *record, struct failure *failure)
{
  for (;;) {
    const uint8_t *p = s->buffer + s->start;
    struct batch_record found;
    enum batch_step step = batch_next(&p, s->buffer + s->end, &found);
    if (step == BATCH_RECORD) {
      s->start = (size_t)(p - s->buffer);
      s->records++;
      *record = (struct source_record){.bytes = found.bytes, .size = found.size, .number = s->records};
      if (found.size > LIMIT_RECORD_BYTES) {
        failure_set(failure, MUSTER_ERR_LIMIT, "%s: record %" PRIu64 " has %" PRIu32 " bytes, at most %u are allowed; it was left out",
                    s->name, s->records, found.size, LIMIT_RECORD_BYTES);
        return SOURCE_BAD;
      }
      return SOURCE_RECORD;
    }
    if (step == BATCH_BAD_LENGTH)
      return source_broken(s, failure, "no record length (this is not a delimited protobuf stream, or it is damaged)");
    if (source_fill(s, failure))
      continue;
    if (s->stopped)
      return SOURCE_STOPPED;
    if (failure->status != MUSTER_OK)
      return SOURCE_BROKEN;
    return step == BATCH_END ? SOURCE_END : source_broken(s, failure, "the stream is cut in the middle of a record");
  }
}

/* The next line without its end; false at the end of the input, and where it stops or cannot be read. A line longer than SOURCE_LINE_BYTES is
 * read over, and *size says so; one longer than SOURCE_SKIP_BYTES is a failure. */
static bool source_line(struct source *s, const uint8_t **line, size_t *size, struct failure *failure)
{
  size_t looked = 0;
  bool skipping = false;
  uint64_t begin = source_bytes_used(s);
  for (;;) {
    const uint8_t *from = s->buffer + s->start;
    const uint8_t *newline = memchr(from + looked, '\n', s->end - s->start - looked);
    if (newline) {
      *line = from;
      *size = skipping ? SOURCE_LINE_BYTES + 1 : (size_t)(newline - from);
      s->start += (size_t)(newline - from) + 1;
      return true;
    }
    looked = s->end - s->start;
    if (looked > SOURCE_LINE_BYTES) {
      s->start = s->end;
      looked = 0;
      skipping = true;
    }
    if (source_bytes_used(s) - begin > SOURCE_SKIP_BYTES) {
      failure_set(failure, MUSTER_ERR_FORMAT,
                  "%s:%" PRIu64 ": the line does not end within %u bytes; reading stopped there; the records before it were submitted",
                  s->name, s->lines + 1, SOURCE_SKIP_BYTES);
      return false;
    }
    if (!source_fill(s, failure)) {
      if (s->stopped)
        return false;
      *line = s->buffer + s->start;
      *size = skipping ? SOURCE_LINE_BYTES + 1 : s->end - s->start;
      s->start = s->end;
      return *size > 0;
    }
  }
}

/* Said once: a line that holds what no text does is likely not of JSON at all. */
static const char *source_line_hint(struct source *s, const uint8_t *line, size_t size)
{
  bool text = true;
  for (size_t i = 0; i < size && text; i++)
    text = (line[i] >= ' ' && line[i] != 0x7f) || line[i] == '\t';
  if (text || s->said_no_text)
    return "";
  s->said_no_text = true;
  return ". This is not text: is it a protobuf stream? Then leave out --format ndjson";
}

static enum source_step source_next_line(struct source *s, struct source_record *record, struct failure *failure)
{
  const uint8_t *line;
  size_t size;
  for (;;) {
    if (!source_line(s, &line, &size, failure) || failure->status != MUSTER_OK)
      return s->stopped ? SOURCE_STOPPED : failure->status == MUSTER_OK ? SOURCE_END : SOURCE_BROKEN;
    s->lines++;
    if (size > 0 && line[size - 1] == '\r')
      size--;
    if (size == 0)
      continue;
    s->records++;
    *record = (struct source_record){.bytes = s->wire, .number = s->records};
    struct failure cause = FAILURE_NONE;
    int made = size > SOURCE_LINE_BYTES ? failure_set(&cause, MUSTER_ERR_LIMIT, "the line is longer than %u bytes", SOURCE_LINE_BYTES)
                                        : json_to_encounter(s->wire, (const char *)line, size, &cause);
    if (made < 0) {
      failure_set(failure, MUSTER_ERR_FORMAT, "%s:%" PRIu64 ": %s; the line was left out%s", s->name, s->lines, cause.text,
                  size > SOURCE_LINE_BYTES ? "" : source_line_hint(s, line, size));
      return SOURCE_BAD;
    }
    if (made == 0) {
      failure_set(failure, MUSTER_ERR_FORMAT, "%s:%" PRIu64 ": a record without any field; the line was left out", s->name, s->lines);
      return SOURCE_BAD;
    }
    record->size = (uint32_t)made;
    return SOURCE_RECORD;
  }
}

/* 1: begins as an object of JSON, 0: does not, -1: more bytes are needed to tell. A brace alone is no proof: it may be the length of a
 * record of 123 bytes, so the quoted name and the colon behind it are looked at as well. */
static int json_begins(const uint8_t *p, const uint8_t *end)
{
  enum { SPACE, BRACE, NAME, COLON } state = SPACE;
  for (; p < end; p++) {
    bool blank = *p == ' ' || *p == '\t' || *p == '\r' || *p == '\n';
    bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '_';
    if (blank && state != NAME)
      continue;
    if (state == COLON)
      return *p == ':';
    if (state == NAME && letter)
      continue;
    if (*p != (state == SPACE ? '{' : '"'))
      return 0;
    state++;
  }
  return -1;
}

bool source_looks_like_json(struct source *s)
{
  struct failure ignored = FAILURE_NONE;
  int looks;
  while ((looks = json_begins(s->buffer + s->start, s->buffer + s->end)) < 0 && source_fill(s, &ignored))
    ;
  return looks == 1;
}

/* Whether reading now would not wait: always so for a file, and for a pipe that has something, or has been closed. */
static bool source_would_not_wait(const struct source *s)
{
  struct pollfd end = {.fd = s->fd, .events = POLLIN};
  return poll(&end, 1, 0) == 1;
}

enum source_look { SOURCE_NO_MESSAGE, SOURCE_ANY_MESSAGE, SOURCE_ENCOUNTER };

/* What a record is at the first look: no protobuf message of any kind (or one with a known field of another type, or larger than any that can be
 * sent), some message, or one with an encounter_id. What else may be wrong with it is an error that a field system makes, and the node's to
 * tell. The scan ends at its first fault, so the walk over the tags is done first. */
static enum source_look source_look_at(const struct batch_record *record, uint32_t *reason)
{
  struct encounter_view view;
  struct scan_fault fault;
  struct scan_part part;
  const uint8_t *p = record->bytes, *end = record->bytes + record->size;
  *reason = MUSTER__V1__REASON__REASON_RECORD_TOO_LARGE;
  if (record->size > LIMIT_RECORD_BYTES)
    return SOURCE_NO_MESSAGE;
  while (scan_part_next(&part, &p, end))
    ;
  *reason = MUSTER__V1__REASON__REASON_MALFORMED;
  if (p != end)
    return SOURCE_NO_MESSAGE;
  const bool sound = scan_encounter(&view, record->bytes, record->size, &fault);
  *reason = sound ? MUSTER__V1__REASON__REASON_MISSING_FIELD : fault.reason;
  if (*reason == MUSTER__V1__REASON__REASON_MALFORMED || *reason == MUSTER__V1__REASON__REASON_WIRE_TYPE)
    return SOURCE_NO_MESSAGE;
  return scan_encounter_id(record->bytes, record->size) ? SOURCE_ENCOUNTER : SOURCE_ANY_MESSAGE;
}

/* Text of a record's length is a message by chance, about one line in six; so those without an id are believed only together. */
int source_check_stream(struct source *s, struct failure *failure)
{
  struct failure later = FAILURE_NONE; /* told by source_next, if it comes to that */
  uint32_t looked = 0, strangers = 0, reason, first_reason = 0;
  size_t behind = 0; /* bytes of the records that were looked at; s->start stays where it is */
  enum batch_step step = BATCH_RECORD;
  while (looked < SOURCE_LOOKED_AT) {
    const uint8_t *p = s->buffer + s->start + behind;
    struct batch_record record;
    step = batch_next(&p, s->buffer + s->end, &record);
    if (step == BATCH_RECORD) {
      const enum source_look look = source_look_at(&record, &reason);
      if (look == SOURCE_ENCOUNTER)
        return MUSTER_OK;
      first_reason = looked++ ? first_reason : reason;
      strangers += look == SOURCE_NO_MESSAGE;
      behind = (size_t)(p - s->buffer) - s->start;
    } else if (step == BATCH_BAD_LENGTH || !source_would_not_wait(s) || !source_fill(s, &later))
      break;
  }
  if (looked == 0 || (looked < SOURCE_LOOKED_AT && step != BATCH_BAD_LENGTH && !s->at_end))
    return MUSTER_OK;
  if (strangers == 0 && step != BATCH_BAD_LENGTH)
    return MUSTER_OK;
  return failure_set(failure, MUSTER_ERR_FORMAT, "%s: this does not look like a delimited protobuf stream (record 1: %s); nothing was sent",
                     s->name, vocabulary_reason_sentence(first_reason));
}

enum source_step source_next(struct source *s, struct source_record *record, struct failure *failure)
{
  return s->ndjson ? source_next_line(s, record, failure) : source_next_wire(s, record, failure);
}
