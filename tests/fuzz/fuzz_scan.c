/*
 * The scan against protobuf-c (1.4.1), which reads the same bytes in its own way. For any input:
 *
 * - what the scan reads, protobuf-c reads too, and both mean the same: presence, values, unknown fields; - what
 * protobuf-c refuses, the scan refuses; - where the scan refuses what protobuf-c reads, it is one of the cases below,
 * and a look at the bytes says that its claim is true; - the canonical form is what protobuf-c packs, then the unknown
 * fields in the order of their numbers; it is its own canonical form, has
 *   the same digest, and a record is called canonical exactly if it is that form and has no unknown field;
 * - the walk for the id means the bytes that the scan means.
 *
 * Where the scan is stricter than protobuf-c, on purpose:
 *
 * - MALFORMED: a varint of ten bytes that does not fit 64 bits (protobuf-c drops the bits above); field number 0 where
 * its tag is padded
 *   (protobuf-c looks for it in the first byte only), field numbers above 2^29 - 1 (protobuf-c takes 32 bits).
 * - BAD_UTF8, CONTROL_CHARACTER: protobuf-c does not look into strings, and ends them at a NUL. - UNKNOWN_ENUM_VALUE:
 * protobuf-c stores any number. - RECORD_TOO_LARGE, TOO_MANY_UNKNOWN_BYTES: bounds of this project.
 *
 * Both refuse a known field of another wire type (the specification would have it unknown: WIRE_TYPE), groups, and tags
 * and lengths of more than five bytes.
 */
#include "tests/fuzz/make_record.h"

#include "core/limits.h"
#include "proto/digest.h"
#include "proto/encounter.pb-c.h"
#include "proto/scan.h"
#include "proto/varint.h"
#include "proto/wire.pb-c.h"

#define REASON(name) MUSTER__V1__REASON__REASON_##name

static struct fuzz_outcome outcomes[] = {
    {"read", 0},
    [REASON(MALFORMED)] = {"malformed", 0},
    [REASON(WIRE_TYPE)] = {"wire type", 0},
    [REASON(BAD_UTF8)] = {"bad UTF-8", 0},
    [REASON(CONTROL_CHARACTER)] = {"control character", 0},
    [REASON(RECORD_TOO_LARGE)] = {"too large", 0},
    [REASON(TOO_MANY_UNKNOWN_BYTES)] = {"unknown bytes", 0},
    [7] = {"unknown enum value", 0},
    [8] = {"of the refused taken by protobuf-c", 0},
    [9] = {NULL, 0},
};
enum { OUTCOME_ENUM = 7, OUTCOME_STRICTER = 8 };

const struct fuzz_target fuzz_target = {.name = "scan", .short_count = 500000, .outcomes = outcomes, .make = make_record};

typedef Muster__V1__Encounter encounter;

static const ProtobufCFieldDescriptor *descriptor_of(uint32_t number)
{
  return protobuf_c_message_descriptor_get_field(&muster__v1__encounter__descriptor, number);
}

/* ---- what both read ---- */

static void compare_number(const struct scan_value *value, const void *member, ProtobufCType type, uint32_t number)
{
  int64_t expected;
  if (type == PROTOBUF_C_TYPE_INT64)
    memcpy(&expected, member, sizeof expected);
  else {
    int32_t low;
    memcpy(&low, member, sizeof low);
    expected = low;
  }
  CHECK(value->number == expected, "field %u: %lld, protobuf-c has %lld", number, (long long)value->number, (long long)expected);
}

static void compare_bytes(const struct scan_value *value, const uint8_t *bytes, size_t size, uint32_t number)
{
  CHECK(value->size == size, "field %u: %u bytes, protobuf-c has %zu", number, value->size, size);
  CHECK(size == 0 || memcmp(value->bytes, bytes, size) == 0, "field %u", number);
}

static void compare_known(const struct encounter_view *view, const encounter *message)
{
  const uint8_t *base = (const uint8_t *)message;
  for (uint32_t number = 1; number < FIELD_COUNT; number++) {
    const ProtobufCFieldDescriptor *field = descriptor_of(number);
    const void *member = base + field->offset;
    bool has;
    if (field->type == PROTOBUF_C_TYPE_STRING) {
      char *text;
      memcpy(&text, member, sizeof text);
      has = text != NULL;
      if (has && encounter_has(view, number))
        compare_bytes(&view->field[number], (const uint8_t *)text, strlen(text), number);
    } else {
      protobuf_c_boolean quantifier;
      memcpy(&quantifier, base + field->quantifier_offset, sizeof quantifier);
      has = quantifier != 0;
      if (has && encounter_has(view, number)) {
        if (field->type == PROTOBUF_C_TYPE_BYTES) {
          ProtobufCBinaryData data;
          memcpy(&data, member, sizeof data);
          compare_bytes(&view->field[number], data.data, data.len, number);
        } else
          compare_number(&view->field[number], member, field->type, number);
      }
    }
    CHECK(encounter_has(view, number) == has, "field %u: present %d, protobuf-c has %d", number, encounter_has(view, number), has);
  }
}

/* protobuf-c keeps the bytes behind the tag, a length among them. */
static void compare_unknown(const struct encounter_view *view, const encounter *message)
{
  const uint8_t *p = view->record, *end = view->record + view->record_size;
  size_t at = 0, bytes = 0;
  for (struct scan_part part; scan_part_next(&part, &p, end);) {
    if (part.number < FIELD_COUNT)
      continue;
    CHECK(at < message->base.n_unknown_fields, "more than the %zu unknown fields of protobuf-c", at);
    const ProtobufCMessageUnknownField *field = &message->base.unknown_fields[at++];
    CHECK(part.number == field->tag && part.wire_type == field->wire_type, "unknown field %u of wire type %u", part.number, part.wire_type);
    CHECK(part.end - part.start > (ptrdiff_t)field->len && memcmp(part.end - field->len, field->data, field->len) == 0, "unknown field %u",
          part.number);
    bytes += (size_t)(part.end - part.start);
  }
  CHECK(p == end, "the walk over the parts broke off at %td of %u", p - view->record, view->record_size);
  CHECK(at == message->base.n_unknown_fields, "%zu unknown fields, protobuf-c has %u", at, message->base.n_unknown_fields);
  CHECK(bytes == view->unknown_bytes, "%zu unknown bytes, the scan counted %u", bytes, view->unknown_bytes);
}

/* ---- the canonical form ---- */

static void compare_unknown_canonical(const uint8_t *p, const uint8_t *end, encounter *message)
{
  ProtobufCMessageUnknownField *fields = message->base.unknown_fields;
  size_t count = message->base.n_unknown_fields;
  for (size_t i = 1; i < count; i++) /* by insertion: stable, and plain to see */
    for (size_t j = i; j > 0 && fields[j - 1].tag > fields[j].tag; j--) {
      ProtobufCMessageUnknownField swap = fields[j];
      fields[j] = fields[j - 1];
      fields[j - 1] = swap;
    }
  for (size_t i = 0; i < count; i++) {
    struct scan_part part;
    const uint8_t *value = fields[i].data;
    uint64_t length = fields[i].len;
    CHECK(scan_part_next(&part, &p, end), "%zu unknown fields, protobuf-c has %zu", i, count);
    CHECK(part.number == fields[i].tag && part.wire_type == fields[i].wire_type, "unknown field %u, protobuf-c has %u", part.number,
          fields[i].tag);
    if (part.wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
      value = varint_read(value, value + length, &length);
    CHECK((uint64_t)(part.end - part.value) == length && memcmp(part.value, value, length) == 0, "unknown field %u", part.number);
    size_t head =
        varint_size((uint64_t)part.number << 3) + (part.wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED ? varint_size(length) : 0);
    CHECK((size_t)(part.value - part.start) == head, "unknown field %u: tag and length of %td bytes", part.number, part.value - part.start);
  }
  CHECK(p == end, "more than the %zu unknown fields of protobuf-c", count);
}

static void compare_canonical(const struct encounter_view *view, encounter *message)
{
  uint8_t *canonical = malloc(view->record_size + 1), *again = malloc(view->record_size + 1), *packed = malloc(view->record_size + 1);
  size_t size = digest_canonical(view, canonical);
  CHECK(size <= view->record_size, "%zu bytes from %u", size, view->record_size);

  size_t unknown = message->base.n_unknown_fields;
  message->base.n_unknown_fields = 0;
  size_t known_size = muster__v1__encounter__get_packed_size(message);
  CHECK(known_size <= size, "%zu bytes of known fields, protobuf-c has %zu", size, known_size);
  muster__v1__encounter__pack(message, packed);
  message->base.n_unknown_fields = (unsigned)unknown;
  CHECK(memcmp(canonical, packed, known_size) == 0, "known fields");
  compare_unknown_canonical(canonical + known_size, canonical + size, message);

  bool same = unknown == 0 && size == view->record_size && memcmp(canonical, view->record, size) == 0;
  CHECK(view->canonical == same, "called canonical: %d", view->canonical);

  struct encounter_view view_again;
  struct scan_fault fault;
  uint8_t digest[16], digest_again[16];
  CHECK(scan_encounter(&view_again, canonical, size, &fault), "the canonical form is refused: %u", fault.reason);
  CHECK(digest_canonical(&view_again, again) == size && memcmp(canonical, again, size) == 0, "the canonical form of itself");
  digest_content(digest, view);
  digest_content(digest_again, &view_again);
  CHECK(memcmp(digest, digest_again, sizeof digest) == 0, "the digest of the canonical form");
  free(canonical);
  free(again);
  free(packed);
}

/* ---- where the scan is stricter ---- */

/* By the definition: decode, and see whether the shortest encoding of a code point that there is comes out again. */
static bool is_utf8(const uint8_t *p, size_t size)
{
  for (size_t i = 0; i < size;) {
    size_t length = p[i] < 0x80 ? 1 : (p[i] & 0xe0) == 0xc0 ? 2 : (p[i] & 0xf0) == 0xe0 ? 3 : (p[i] & 0xf8) == 0xf0 ? 4 : 0;
    if (length == 0 || length > size - i)
      return false;
    uint32_t c = length == 1 ? p[i] : p[i] & (0x7fu >> length);
    for (size_t k = 1; k < length; k++) {
      if ((p[i + k] & 0xc0) != 0x80)
        return false;
      c = c << 6 | (p[i + k] & 0x3f);
    }
    size_t shortest = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    if (length != shortest || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
      return false;
    i += length;
  }
  return true;
}

static size_t varint_length(const uint8_t *p, const uint8_t *end)
{
  size_t length = 1;
  while (p + length < end && p[length - 1] >= 0x80)
    length++;
  return length;
}

static bool overflows(const uint8_t *p, const uint8_t *end) { return end - p >= 10 && varint_length(p, end) == 10 && p[9] > 1; }

/* A MALFORMED that protobuf-c reads: the field is known and its varint overflows, or the tag at fault tells. */
static bool malformed_on_purpose(const uint8_t *at, const uint8_t *end, uint32_t field)
{
  if (field > 0)
    return overflows(at, end);
  size_t length = varint_length(at, end);
  uint64_t tag = 0;
  for (size_t i = length; i-- > 0;)
    tag = tag << 7 | (at[i] & 0x7f);
  return tag >> 3 == 0 || tag >> 3 >= UINT64_C(1) << 29 || ((tag & 7) == 0 && overflows(at + length, end));
}

static bool control_character(uint8_t byte) { return byte < 0x20 || byte == 0x7f; }

/* The text that the fault lies in: the value of an occurrence of the field. */
static bool text_at(struct scan_part *part, const uint8_t *data, size_t size, const struct scan_fault *fault)
{
  const uint8_t *p = data, *at = data + fault->byte;
  while (scan_part_next(part, &p, data + size))
    if (part->number == fault->field && part->value <= at && at < part->end)
      return descriptor_of(fault->field)->type == PROTOBUF_C_TYPE_STRING;
  return false;
}

static bool claim_is_true(const uint8_t *data, size_t size, const struct scan_fault *fault, const encounter *message)
{
  const uint8_t *at = data + fault->byte, *end = data + size;
  struct scan_part part;
  size_t unknown = 0;
  switch (fault->reason) {
  case REASON(MALFORMED): return malformed_on_purpose(at, end, fault->field);
  case REASON(BAD_UTF8): return text_at(&part, data, size, fault) && !is_utf8(part.value, (size_t)(part.end - part.value));
  case REASON(CONTROL_CHARACTER):
    return text_at(&part, data, size, fault) && control_character(*at) && is_utf8(part.value, (size_t)(part.end - part.value));
  case REASON(UNKNOWN_ENUM_VALUE): {
    const ProtobufCFieldDescriptor *field = descriptor_of(fault->field);
    uint64_t value;
    return field->type == PROTOBUF_C_TYPE_ENUM && varint_read(at, end, &value) &&
           !protobuf_c_enum_descriptor_get_value(field->descriptor, (int32_t)(uint32_t)value);
  }
  case REASON(RECORD_TOO_LARGE): return size > LIMIT_RECORD_BYTES;
  case REASON(TOO_MANY_UNKNOWN_BYTES):
    for (size_t i = 0; i < message->base.n_unknown_fields; i++)
      unknown += message->base.unknown_fields[i].len + 5; /* protobuf-c does not say how long the tag was */
    return unknown > LIMIT_UNKNOWN_BYTES;
  default: return false; /* WIRE_TYPE too: protobuf-c refuses that itself */
  }
}

/* ---- one input ---- */

static void compare_id(const struct encounter_view *view, const uint8_t *data, size_t size)
{
  const uint8_t *id = scan_encounter_id(data, size);
  if (view) {
    bool has = encounter_has(view, FIELD_ENCOUNTER_ID) && view->field[FIELD_ENCOUNTER_ID].size == LIMIT_ID_BYTES;
    CHECK(id == (has ? view->field[FIELD_ENCOUNTER_ID].bytes : NULL), "the id's walk");
  } else
    CHECK(!id || (id > data && id + LIMIT_ID_BYTES <= data + size), "an id outside its record");
}

static void compare_one(const uint8_t *data, size_t size)
{
  struct encounter_view view;
  struct scan_fault fault = {0};
  bool read = scan_encounter(&view, data, size, &fault);
  encounter *message = muster__v1__encounter__unpack(NULL, size, data);
  compare_id(read ? &view : NULL, data, size);
  if (read) {
    CHECK(message != NULL, "protobuf-c refuses");
    CHECK(view.record == data && view.record_size == size, "the record of the view");
    CHECK(size <= LIMIT_RECORD_BYTES && view.unknown_bytes <= LIMIT_UNKNOWN_BYTES, "%zu bytes, %u unknown", size, view.unknown_bytes);
    compare_known(&view, message);
    compare_unknown(&view, message);
    compare_canonical(&view, message);
    outcomes[0].count++;
  } else {
    bool of_the_scan =
        (fault.reason >= REASON(MALFORMED) && fault.reason <= REASON(TOO_MANY_UNKNOWN_BYTES)) || fault.reason == REASON(UNKNOWN_ENUM_VALUE);
    CHECK(of_the_scan, "reason %u", fault.reason);
    CHECK(fault.field < FIELD_COUNT && fault.byte <= size, "field %u, byte %u of %zu", fault.field, fault.byte, size);
    CHECK(!message || claim_is_true(data, size, &fault, message), "reason %u, field %u, byte %u, and protobuf-c reads it", fault.reason,
          fault.field, fault.byte);
    outcomes[fault.reason == REASON(UNKNOWN_ENUM_VALUE) ? OUTCOME_ENUM : fault.reason].count++;
    outcomes[OUTCOME_STRICTER].count += message != NULL;
  }
  if (message)
    muster__v1__encounter__free_unpacked(message, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  uint8_t *exact = fuzz_copy(data, size);
  compare_one(exact, size);
  free(exact);
  return 0;
}
