/*
 * Records as lines of JSON. An input that begins with J or F is lines (F: read through a file, as `muster submit` does),
 * any other is a record in wire form. For any input:
 *
 * - a record that the scan reads has a line, and that line gives the canonical bytes of the record, so its digest;
 * - a line that is read and gives a record that the scan reads is written and read again to the same bytes;
 * - a refused line is told by column, field or place and in no words but the program's own: nothing of what stands in
 *   it is repeated, but a field's name with one slip of the hand in it;
 * - through a file each line is told by file and number, in the same words, and those before and behind it are read.
 */
#include "tests/fuzz/make_record.h"

#include <fcntl.h>
#include <unistd.h>

#include "client/source.h"
#include "core/limits.h"
#include "core/scratch.h"
#include "proto/digest.h"
#include "proto/json.h"

enum { RECORD, RECORD_UNKNOWN, LINE, LINE_UNREADABLE, SYNTAX, FIELD, UNKNOWN_NAME, FILES, FILE_BAD, LAST };
static struct fuzz_outcome outcomes[] = {
    [RECORD] = {"records", 0},
    [RECORD_UNKNOWN] = {"with unknown fields", 0},
    [LINE] = {"lines", 0},
    [LINE_UNREADABLE] = {"lines for the node to refuse", 0},
    [SYNTAX] = {"no JSON", 0},
    [FIELD] = {"wrong fields", 0},
    [UNKNOWN_NAME] = {"unknown names", 0},
    [FILES] = {"lines through a file", 0},
    [FILE_BAD] = {"of them left out", 0},
    [LAST] = {NULL, 0},
};
static const char *const words[] = {"\"encounter_id\":",
                                    "\"encounter_time\":",
                                    "\"station\":",
                                    "\"unknown_fields\":\"",
                                    "{\"base64\":\"AAAA\"}",
                                    "null",
                                    "true",
                                    "\\u0000",
                                    "\\ud800",
                                    "\"COMPONENT_OFFICE_OF_FIELD_OPERATIONS\"",
                                    "1e9",
                                    "-1",
                                    "9223372036854775808",
                                    "[[[[",
                                    "\n",
                                    "\r\n",
                                    "},{",
                                    "\"\"",
                                    "\"latitude_e7\":2147483648",
                                    "encounter_tine",
                                    "2021-02-29T00:00:00Z",
                                    NULL};

/* ---- what may be said of a line ---- */

static const ProtobufCMessageDescriptor *const message = &muster__v1__encounter__descriptor;

static bool known_name(const char *name, size_t size)
{
  for (unsigned i = 0; i < message->n_fields; i++)
    if (strlen(message->fields[i].name) == size && strncmp(message->fields[i].name, name, size) == 0)
      return true;
  return size == 14 && strncmp(name, "unknown_fields", size) == 0;
}

static const char *const sentences[] = {
    "not valid JSON",
    "nested too deeply",
    "not valid UTF-8",
    "the line ends within the object",
    "something follows behind the object",
    "a field name contains NUL",
    "a field is given twice",
    "a number does not fit 64 bits",
    "not a JSON object",
    "the object has no fields",
    "not a UUID such as \"0190a5c2-7d1e-7a3b-8c4d-5e6f708192a3\"",
    "needs a UUID as text, or an object with base64",
    "not base64, or longer than a record",
    "needs the name of a value as text",
    "not the name of a value in encounter.proto",
    "needs a time as text",
    "not a time of RFC 3339 such as \"2021-03-04T05:06:07.000008Z\"",
    "needs a text",
    "needs a whole number",
    "does not fit 32 bits",
    "needs base64 as text",
    "holds a field that has a name of its own",
    "not a sequence of protobuf fields",
    "the record is larger than 16384 bytes",
};

static bool is_sentence(const char *text)
{
  for (unsigned i = 0; i < sizeof sentences / sizeof *sentences; i++)
    if (strcmp(text, sentences[i]) == 0)
      return true;
  return false;
}

/* One letter more, less or other, or two that change places: the classic table of distances, with exchanges. */
static bool one_slip(const char *a, size_t a_size, const char *b, size_t b_size)
{
  unsigned char at[40][40];
  if (a_size > 38 || b_size > 38)
    return false;
#define SAME(i, j) ((a[(i)-1] | 32) == (b[(j)-1] | 32))
  for (size_t i = 0; i <= a_size; i++)
    for (size_t j = 0; j <= b_size; j++) {
      if (i == 0 || j == 0) {
        at[i][j] = (unsigned char)(i + j);
        continue;
      }
      unsigned best = at[i - 1][j - 1] + !SAME(i, j);
      best = at[i - 1][j] + 1u < best ? at[i - 1][j] + 1u : best;
      best = at[i][j - 1] + 1u < best ? at[i][j - 1] + 1u : best;
      if (i > 1 && j > 1 && SAME(i, j - 1) && SAME(i - 1, j))
        best = at[i - 2][j - 2] + 1u < best ? at[i - 2][j - 2] + 1u : best;
      at[i][j] = (unsigned char)best;
    }
#undef SAME
  return at[a_size][b_size] <= 1;
}

/* Moves behind a name in quotes that stands at *text. */
static const char *quoted(const char **text, size_t *size)
{
  if (**text != '"')
    return NULL;
  const char *name = *text + 1;
  *size = strcspn(name, "\"");
  *text = name + *size + (name[*size] == '"');
  return name;
}

/* ", number N of the object, with a name of N bytes" or "... (did you mean "NAME"?)", behind "unknown field" and perhaps a name. */
static bool place_is_told(const char *text, const char *shown, size_t shown_size)
{
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
  if (shown && strspn(shown, letters) != shown_size)
    return false;
  int used = 0;
  unsigned place;
  size_t size;
  if (sscanf(text, ", number %u of the object%n", &place, &used) != 1 || used == 0 || place == 0)
    return false;
  text += used;
  if (!shown && strncmp(text, ", with a name of ", 17) == 0)
    return strcmp(text + 17 + strspn(text + 17, "0123456789"), " bytes") == 0;
  if (strncmp(text, " (did you mean ", 15) != 0)
    return false;
  text += 15;
  const char *meant = quoted(&text, &size);
  return meant && known_name(meant, size) && strcmp(text, "?)") == 0 && (!shown || one_slip(shown, shown_size, meant, size));
}

static void check_told(const struct failure *f)
{
  const char *text = f->text, *name;
  size_t size = 0;
  CHECK(f->status == MUSTER_ERR_FORMAT || f->status == MUSTER_ERR_LIMIT, "status %d: %s", f->status, text);
  if (strncmp(text, "column ", 7) == 0) {
    text += 7 + strspn(text + 7, "-0123456789");
    CHECK(text[0] == ':' && text[1] == ' ' && is_sentence(text + 2), "%s", f->text);
    outcomes[SYNTAX].count++;
  } else if (strncmp(text, "field ", 6) == 0) {
    text += 6;
    name = quoted(&text, &size);
    CHECK(name && known_name(name, size) && text[0] == ':' && is_sentence(text + 2), "%s", f->text);
    outcomes[FIELD].count++;
  } else {
    CHECK(strncmp(text, "unknown field", 13) == 0, "%s", f->text);
    text += 13;
    text += text[0] == ' ';
    name = quoted(&text, &size);
    CHECK(place_is_told(text, name, size), "%s", f->text);
    outcomes[UNKNOWN_NAME].count++;
  }
}

/* ---- a record, a line ---- */

static char *line_of(const struct encounter_view *view)
{
  json_t *json = json_from_encounter(view);
  CHECK(json, "a record without a line");
  char *line = json_dumps(json, JSON_COMPACT);
  CHECK(line, "a line that is no text");
  json_decref(json);
  return line;
}

static void check_record(const uint8_t *record, size_t size)
{
  struct encounter_view view, again;
  struct scan_fault fault;
  struct failure f = FAILURE_NONE;
  uint8_t canonical[LIMIT_RECORD_BYTES], back[LIMIT_RECORD_BYTES], digest[16], digest_back[16];
  if (size == 0 || !scan_encounter(&view, record, size, &fault))
    return;
  outcomes[RECORD].count++;
  outcomes[RECORD_UNKNOWN].count += view.unknown_bytes > 0;
  char *line = line_of(&view);
  const int back_size = json_to_encounter(back, line, strlen(line), &f);
  CHECK(back_size > 0, "%s: %s", f.text, line);
  CHECK(scan_encounter(&again, back, (size_t)back_size, &fault), "reason %u: %s", fault.reason, line);
  const size_t canonical_size = digest_canonical(&again, canonical);
  digest_content(digest, &view);
  digest_content(digest_back, &again);
  CHECK(memcmp(digest, digest_back, sizeof digest) == 0, "another record: %s", line);
  CHECK(view.unknown_bytes > 0 || (canonical_size == (size_t)back_size && memcmp(canonical, back, canonical_size) == 0),
        "not canonical: %s", line);
  char *line_again = line_of(&again);
  CHECK(view.unknown_bytes > 0 || strcmp(line, line_again) == 0, "%s became %s", line, line_again);
  free(line_again);
  free(line);
}

/* What a line says, as jansson reads it, is what the record's own line says: of ids but for letter case, of times but for their form. */
static void check_meaning(const struct encounter_view *view, const char *given, size_t size)
{
  json_t *a = json_loadb(given, size, JSON_ALLOW_NUL, NULL), *b = json_from_encounter(view), *value;
  const char *name;
  CHECK(a && b, "a line that was read");
  json_object_foreach(a, name, value)
  {
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field_by_name(message, name);
    const json_t *other = json_object_get(b, name);
    if (!field) /* unknown fields: their bytes are held against each other with the record */
      continue;
    CHECK(other, "field %s is lost", name);
    if (field->type == PROTOBUF_C_TYPE_BYTES && json_is_string(value))
      CHECK(json_is_string(other) && strcasecmp(json_string_value(value), json_string_value(other)) == 0, "field %s", name);
    else if (field->type != PROTOBUF_C_TYPE_INT64 && field->type != PROTOBUF_C_TYPE_BYTES)
      CHECK(json_equal(value, other), "field %s", name);
  }
  json_decref(a);
  json_decref(b);
}

/* What json_to_encounter answers, held against the promises. */
static int try_line(uint8_t *out, const char *line, size_t size, struct failure *f)
{
  struct encounter_view view;
  struct scan_fault fault;
  char *exact = (char *)fuzz_copy((const uint8_t *)line, size);
  const int made = json_to_encounter(out, exact, size, f);
  free(exact);
  CHECK(made != 0 && made <= (int)LIMIT_RECORD_BYTES && (made < 0) == (f->text[0] != '\0') && (made > 0 || made == f->status), "%d: %s",
        made, f->text);
  if (made < 0) {
    check_told(f);
    return made;
  }
  outcomes[LINE].count++;
  if (scan_encounter(&view, out, (size_t)made, &fault))
    check_meaning(&view, line, size);
  else
    outcomes[LINE_UNREADABLE].count++;
  check_record(out, (size_t)made);
  return made;
}

/* ---- many lines ---- */

static char folder[SCRATCH_BYTES], path[SCRATCH_BYTES + 32];
static int fd = -1;

static void finish(void) { scratch_remove(folder); }

static void file_put(const uint8_t *bytes, size_t size)
{
  if (fd < 0) {
    scratch_make(folder);
    atexit(finish);
    snprintf(path, sizeof path, "%s/lines.ndjson", folder);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  }
  CHECK(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size, "%s", path);
}

static void check_bad(const struct failure *f, const struct failure *cause, uint64_t line)
{
  char wanted[1200];
  snprintf(wanted, sizeof wanted, "%s:%llu: %s; the line was left out", path, (unsigned long long)line, cause->text);
  CHECK(strncmp(f->text, wanted, strlen(wanted)) == 0, "\"%s\", not \"%s\"", f->text, wanted);
  const char *hint = f->text + strlen(wanted);
  CHECK(*hint == '\0' || strncmp(hint, ". This is not text", 18) == 0, "%s", f->text);
  outcomes[FILE_BAD].count++;
}

static void try_file(const uint8_t *data, size_t size)
{
  static uint8_t wanted[LIMIT_RECORD_BYTES];
  struct source *s;
  struct source_record record;
  struct failure f = FAILURE_NONE;
  uint64_t line = 0, records = 0;
  file_put(data, size);
  CHECK(source_open(&s, path, true, &f) == MUSTER_OK, "%s", f.text);
  const uint8_t *p = data, *end = data + size;
  while (p < end) {
    const uint8_t *newline = memchr(p, '\n', (size_t)(end - p)), *stop = newline ? newline : end;
    size_t length = (size_t)(stop - p);
    struct failure cause = FAILURE_NONE, told = FAILURE_NONE;
    line++;
    length -= length > 0 && p[length - 1] == '\r';
    if (length > 0) {
      const int made = try_line(wanted, (const char *)p, length, &cause);
      const enum source_step step = source_next(s, &record, &told), wanted_step = made < 0 ? SOURCE_BAD : SOURCE_RECORD;
      CHECK(step == wanted_step && record.number == ++records, "step %d, record %llu", step, (unsigned long long)records);
      if (made < 0)
        check_bad(&told, &cause, line);
      else
        CHECK(record.size == (uint32_t)made && memcmp(record.bytes, wanted, record.size) == 0, "line %llu", (unsigned long long)line);
      outcomes[FILES].count++;
    }
    p = newline ? newline + 1 : end;
  }
  CHECK(source_next(s, &record, &f) == SOURCE_END, "%s", f.text);
  source_close(s);
}

/* ---- one input ---- */

static void make(struct wire *out, struct random *r, const struct wire *corpus, uint32_t corpus_count)
{
  struct encounter_view view;
  struct scan_fault fault;
  uint8_t packed[SAMPLE_BYTES_MAX];
  const uint32_t lines = random_below(r, 4);
  if (lines == 0) {
    make_record(out, r, corpus, corpus_count);
    return;
  }
  wire_byte(out, random_below(r, 8) ? 'J' : 'F');
  for (uint32_t i = 0; i < (out->bytes[0] == 'F' ? lines : 1); i++) {
    const size_t size = sample_pack(packed, r, 1 + random_below(r, 8));
    if (size == 0 || !scan_encounter(&view, packed, size, &fault))
      continue;
    char *line = line_of(&view);
    wire_bytes(out, line, strlen(line));
    wire_bytes(out, "\n", out->bytes[0] == 'F');
    free(line);
  }
}

const struct fuzz_target fuzz_target = {.name = "ndjson", .short_count = 10000, .outcomes = outcomes, .words = words, .make = make};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static uint8_t out[LIMIT_RECORD_BYTES];
  struct failure f = FAILURE_NONE;
  if (size > 0 && data[0] == 'F')
    try_file(data + 1, size - 1);
  else if (size > 0 && data[0] == 'J')
    try_line(out, (const char *)data + 1, size - 1, &f);
  else {
    uint8_t *exact = fuzz_copy(data, size);
    check_record(exact, size);
    free(exact);
  }
  return 0;
}
