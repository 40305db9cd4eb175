#include "proto/json.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include <protobuf-c/protobuf-c.h>

#include "core/limits.h"
#include "proto/encounter.pb-c.h"
#include "proto/text.h"
#include "proto/varint.h"

#define UNKNOWN_FIELDS "unknown_fields"
#define BASE64 "base64"
#define BASE64_SIZE(bytes) (((bytes) + 2) / 3 * 4)
#define NAME_MISSPELT 7 /* characters, at least, of a field's name whose misspelling a message repeats */
#define NAME_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789"

enum wire_type { WIRE_VARINT = 0, WIRE_LENGTH = 2 };

static const ProtobufCMessageDescriptor *const message = &muster__v1__encounter__descriptor;

/* The one int64 of the record is a time; every field of bytes is an id. Asked of the descriptor, so that no field is named here. */
static bool is_time(const ProtobufCFieldDescriptor *field) { return field->type == PROTOBUF_C_TYPE_INT64; }

/* ---- base64, RFC 4648 section 4 ---- */

static const char BASE64_LETTERS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static size_t base64_write(char *out, const uint8_t *bytes, size_t size)
{
  char *p = out;
  for (size_t i = 0; i < size; i += 3) {
    uint32_t group = (uint32_t)bytes[i] << 16 | (i + 1 < size ? (uint32_t)bytes[i + 1] << 8 : 0) | (i + 2 < size ? bytes[i + 2] : 0);
    *p++ = BASE64_LETTERS[group >> 18];
    *p++ = BASE64_LETTERS[group >> 12 & 63];
    *p++ = i + 1 < size ? BASE64_LETTERS[group >> 6 & 63] : '=';
    *p++ = i + 2 < size ? BASE64_LETTERS[group & 63] : '=';
  }
  return (size_t)(p - out);
}

/* false: not base64 with its padding and zero bits behind the end, or more than out_max bytes. */
static bool base64_read(uint8_t *out, size_t *out_size, size_t out_max, const char *text, size_t size)
{
  size_t padding = size > 0 && text[size - 1] == '=' ? 1 + (size > 1 && text[size - 2] == '=') : 0;
  if (size % 4 != 0 || size / 4 * 3 - padding > out_max)
    return false;
  uint32_t bits = 0, bit_count = 0;
  *out_size = 0;
  for (size_t i = 0; i < size - padding; i++) {
    const char *letter = text[i] ? strchr(BASE64_LETTERS, text[i]) : NULL;
    if (!letter)
      return false;
    bits = bits << 6 | (uint32_t)(letter - BASE64_LETTERS);
    bit_count += 6;
    if (bit_count >= 8) {
      bit_count -= 8;
      out[(*out_size)++] = (uint8_t)(bits >> bit_count);
    }
  }
  return (bits & ((1u << bit_count) - 1)) == 0;
}

static json_t *base64_json(const uint8_t *bytes, size_t size)
{
  char text[BASE64_SIZE(LIMIT_RECORD_BYTES)];
  assert(size <= LIMIT_RECORD_BYTES);
  return json_stringn_nocheck(text, base64_write(text, bytes, size));
}

/* ---- to JSON ---- */

static json_t *bytes_json(const struct scan_value *value)
{
  char text[TEXT_UUID];
  if (value->size != LIMIT_ID_BYTES)
    return json_pack("{s:o}", BASE64, base64_json(value->bytes, value->size));
  text_uuid(text, value->bytes);
  return json_string_nocheck(text);
}

static json_t *value_json(const ProtobufCFieldDescriptor *field, const struct scan_value *value)
{
  switch (field->type) {
  case PROTOBUF_C_TYPE_BYTES: return bytes_json(value);
  case PROTOBUF_C_TYPE_STRING: return json_stringn((const char *)value->bytes, value->size);
  case PROTOBUF_C_TYPE_ENUM: {
    const ProtobufCEnumValue *named = protobuf_c_enum_descriptor_get_value(field->descriptor, (int)value->number);
    assert(named); /* the scan lets no other value through */
    return json_string_nocheck(named->name);
  }
  default: {
    char text[TEXT_TIME];
    return is_time(field) && text_time(text, value->number) ? json_string_nocheck(text) : json_integer(value->number);
  }
  }
}

static json_t *unknown_json(const struct encounter_view *view)
{
  uint8_t bytes[LIMIT_RECORD_BYTES];
  size_t size = 0;
  const uint8_t *p = view->record;
  for (struct scan_part part; scan_part_next(&part, &p, view->record + view->record_size);) {
    if (part.number < FIELD_COUNT)
      continue;
    memcpy(bytes + size, part.start, (size_t)(part.end - part.start));
    size += (size_t)(part.end - part.start);
  }
  return base64_json(bytes, size);
}

json_t *json_from_encounter(const struct encounter_view *view)
{
  json_t *object = json_object();
  bool whole = object != NULL;
  for (unsigned i = 0; whole && i < message->n_fields; i++) {
    const ProtobufCFieldDescriptor *field = &message->fields[i];
    if (encounter_has(view, field->id))
      whole = json_object_set_new_nocheck(object, field->name, value_json(field, &view->field[field->id])) == 0;
  }
  if (whole && view->unknown_bytes > 0)
    whole = json_object_set_new_nocheck(object, UNKNOWN_FIELDS, unknown_json(view)) == 0;
  if (whole)
    return object;
  json_decref(object);
  return NULL;
}

/* ---- from JSON ---- */

struct writer {
  uint8_t *p, *end;
  const char *field; /* being written, for messages */
  struct failure *failure;
};

/* Says what is wrong with the field, never what it holds. */
static bool refuse(struct writer *w, const char *what)
{
  failure_set(w->failure, MUSTER_ERR_FORMAT, "field \"%s\": %s", w->field, what);
  return false;
}

static bool write_bytes(struct writer *w, const void *bytes, size_t size)
{
  if (size > (size_t)(w->end - w->p)) {
    failure_set(w->failure, MUSTER_ERR_LIMIT, "field \"%s\": the record is larger than %u bytes", w->field, LIMIT_RECORD_BYTES);
    return false;
  }
  memcpy(w->p, bytes, size);
  w->p += size;
  return true;
}

static bool write_varint(struct writer *w, uint64_t value)
{
  uint8_t bytes[VARINT_BYTES_MAX];
  const uint8_t *end = varint_write(bytes, value);
  return write_bytes(w, bytes, (size_t)(end - bytes));
}

static bool write_number(struct writer *w, uint32_t number, uint64_t value)
{
  return write_varint(w, (uint64_t)number << 3 | WIRE_VARINT) && write_varint(w, value);
}

static bool write_length(struct writer *w, uint32_t number, const void *bytes, size_t size)
{
  return write_varint(w, (uint64_t)number << 3 | WIRE_LENGTH) && write_varint(w, size) && write_bytes(w, bytes, size);
}

static bool id_from(struct writer *w, uint32_t number, const json_t *value)
{
  uint8_t bytes[LIMIT_RECORD_BYTES];
  size_t size = LIMIT_ID_BYTES;
  const json_t *base64 = json_is_object(value) && json_object_size(value) == 1 ? json_object_get(value, BASE64) : NULL;
  if (json_is_string(value)) {
    if (!text_uuid_parse(bytes, json_string_value(value), json_string_length(value)))
      return refuse(w, "not a UUID such as \"0190a5c2-7d1e-7a3b-8c4d-5e6f708192a3\"");
  } else if (!json_is_string(base64)) {
    return refuse(w, "needs a UUID as text, or an object with base64");
  } else if (!base64_read(bytes, &size, sizeof bytes, json_string_value(base64), json_string_length(base64))) {
    return refuse(w, "not base64, or longer than a record");
  }
  return write_length(w, number, bytes, size);
}

static bool enum_from(struct writer *w, const ProtobufCFieldDescriptor *field, const json_t *value)
{
  if (!json_is_string(value))
    return refuse(w, "needs the name of a value as text");
  const char *name = json_string_value(value);
  bool plain = strlen(name) == json_string_length(value);
  const ProtobufCEnumValue *named = plain ? protobuf_c_enum_descriptor_get_value_by_name(field->descriptor, name) : NULL;
  return named ? write_number(w, field->id, (uint64_t)named->value) : refuse(w, "not the name of a value in encounter.proto");
}

static bool time_from(struct writer *w, uint32_t number, const json_t *value)
{
  int64_t time_us;
  if (json_is_integer(value)) /* as json_from_encounter writes what lies outside the years 1 to 9999 */
    time_us = json_integer_value(value);
  else if (!json_is_string(value))
    return refuse(w, "needs a time as text");
  else if (!text_time_parse(&time_us, json_string_value(value), json_string_length(value)))
    return refuse(w, "not a time of RFC 3339 such as \"2021-03-04T05:06:07.000008Z\"");
  return write_number(w, number, (uint64_t)time_us);
}

static bool value_from(struct writer *w, const ProtobufCFieldDescriptor *field, const json_t *value)
{
  switch (field->type) {
  case PROTOBUF_C_TYPE_BYTES: return id_from(w, field->id, value);
  case PROTOBUF_C_TYPE_ENUM: return enum_from(w, field, value);
  case PROTOBUF_C_TYPE_INT64: return time_from(w, field->id, value);
  case PROTOBUF_C_TYPE_STRING:
    if (!json_is_string(value))
      return refuse(w, "needs a text");
    return write_length(w, field->id, json_string_value(value), json_string_length(value));
  case PROTOBUF_C_TYPE_SINT32:
    if (!json_is_integer(value))
      return refuse(w, "needs a whole number");
    if (json_integer_value(value) < INT32_MIN || json_integer_value(value) > INT32_MAX)
      return refuse(w, "does not fit 32 bits");
    return write_number(w, field->id, zigzag_encode(json_integer_value(value)));
  default: assert(!"a field of a type that has no JSON form"); return false;
  }
}

/* Whole fields, none of which is one of ours under a disguise. */
static bool unknown_from(struct writer *w, const json_t *value)
{
  uint8_t bytes[LIMIT_RECORD_BYTES];
  size_t size;
  if (!json_is_string(value))
    return refuse(w, "needs base64 as text");
  if (!base64_read(bytes, &size, sizeof bytes, json_string_value(value), json_string_length(value)))
    return refuse(w, "not base64, or longer than a record");
  const uint8_t *p = bytes;
  for (struct scan_part part; scan_part_next(&part, &p, bytes + size);)
    if (part.number < FIELD_COUNT)
      return refuse(w, "holds a field that has a name of its own");
  return p == bytes + size ? write_bytes(w, bytes, size) : refuse(w, "not a sequence of protobuf fields");
}

static char lower(char letter) { return letter >= 'A' && letter <= 'Z' ? (char)(letter - 'A' + 'a') : letter; }

/* Whether the name becomes the other, letters of either case being the same, by one letter more, less or other, or by two that change places. */
static bool name_near(const char *name, const char *known)
{
  size_t size = strlen(name), known_size = strlen(known), same = 0;
  while (same < size && same < known_size && lower(name[same]) == lower(known[same]))
    same++;
  for (name += same, known += same, size -= same, known_size -= same; size && known_size; size--, known_size--)
    if (lower(name[size - 1]) != lower(known[known_size - 1]))
      break;
  return (size <= 1 && known_size <= 1) ||
         (size == 2 && known_size == 2 && lower(name[0]) == lower(known[1]) && lower(name[1]) == lower(known[0]));
}

/* Content may stand where a name should ({"JOHN_Q_PUBLIC":1}), and no look at its letters tells the two apart. So a name is shown only
 * where it is a field's name with one slip of the hand in it, and that name is long enough for the slip to be no word of its own. Any other is
 * told by its place in the object, which is where its line can be looked at. */
static int name_refuse(const char *name, unsigned place, struct failure *failure)
{
  const char *meant = NULL;
  for (unsigned i = 0; i < message->n_fields && !meant; i++)
    if (name_near(name, message->fields[i].name))
      meant = message->fields[i].name;
  if (!meant)
    return failure_set(failure, MUSTER_ERR_FORMAT, "unknown field, number %u of the object, with a name of %zu bytes", place, strlen(name));
  if (strlen(meant) < NAME_MISSPELT || name[strspn(name, NAME_LETTERS)])
    return failure_set(failure, MUSTER_ERR_FORMAT, "unknown field, number %u of the object (did you mean \"%s\"?)", place, meant);
  return failure_set(failure, MUSTER_ERR_FORMAT, "unknown field \"%s\", number %u of the object (did you mean \"%s\"?)", name, place,
                     meant);
}

static bool names_known(json_t *object, struct failure *failure)
{
  unsigned place = 1; /* the library keeps the order of the line */
  for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i), place++) {
    const char *name = json_object_iter_key(i);
    if (strcmp(name, UNKNOWN_FIELDS) == 0 || protobuf_c_message_descriptor_get_field_by_name(message, name))
      continue;
    name_refuse(name, place, failure);
    return false;
  }
  return true;
}

/* In words of our own: the library's messages repeat a piece of the line. */
static int syntax_refuse(const json_error_t *error, struct failure *failure)
{
  const char *what = "not valid JSON";
  switch (json_error_code(error)) {
  case json_error_out_of_memory: return failure_set(failure, MUSTER_ERR_MEMORY, "not enough memory to read the line");
  case json_error_stack_overflow: what = "nested too deeply"; break;
  case json_error_invalid_utf8: what = "not valid UTF-8"; break;
  case json_error_premature_end_of_input: what = "the line ends within the object"; break;
  case json_error_end_of_input_expected: what = "something follows behind the object"; break;
  case json_error_null_byte_in_key: what = "a field name contains NUL"; break;
  case json_error_duplicate_key: what = "a field is given twice"; break;
  case json_error_numeric_overflow: what = "a number does not fit 64 bits"; break;
  default: break;
  }
  return failure_set(failure, MUSTER_ERR_FORMAT, "column %d: %s", error->column, what);
}

static bool object_write(struct writer *w, json_t *object)
{
  for (unsigned i = 0; i < message->n_fields; i++) {
    const json_t *value = json_object_get(object, message->fields[i].name);
    w->field = message->fields[i].name;
    if (value && !value_from(w, &message->fields[i], value))
      return false;
  }
  const json_t *unknown = json_object_get(object, UNKNOWN_FIELDS);
  w->field = UNKNOWN_FIELDS;
  return !unknown || unknown_from(w, unknown);
}

int json_to_encounter(uint8_t *out, const char *line, size_t size, struct failure *failure)
{
  struct failure unheard = FAILURE_NONE;
  struct writer w = {.p = out, .end = out + LIMIT_RECORD_BYTES, .failure = failure ? failure : &unheard};
  json_error_t error;
  json_t *object = json_loadb(line, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
  if (!object)
    return syntax_refuse(&error, w.failure);
  int result;
  if (!json_is_object(object))
    result = failure_set(w.failure, MUSTER_ERR_FORMAT, "column 1: not a JSON object");
  else if (!names_known(object, w.failure) || !object_write(&w, object))
    result = w.failure->status;
  else if (w.p == out)
    result = failure_set(w.failure, MUSTER_ERR_FORMAT, "column 1: the object has no fields");
  else
    result = (int)(w.p - out);
  json_decref(object);
  return result;
}
