#include "proto/scan.h"

#include <assert.h>
#include <stdatomic.h>
#include <threads.h>

#include "core/limits.h"
#include "proto/encounter.pb-c.h"
#include "proto/text.h"
#include "proto/varint.h"
#include "proto/wire.pb-c.h"

/* ---- the table, made from the descriptor ---- */

enum wire_type { WIRE_VARINT = 0, WIRE_64BIT = 1, WIRE_LENGTH = 2, WIRE_32BIT = 5 };

#define HEAD_BYTES_MAX 5 /* of a tag or a length: both are 32 bits wide, and no reader of protobuf takes more bytes */
#define ENUM_VALUES 256  /* every value of every enum of Encounter lies below */

struct rule {
  uint8_t wire_type;
  uint8_t kind;                       /* enum scan_kind */
  uint64_t allowed[ENUM_VALUES / 64]; /* SCAN_ENUM: bit n stands for value n */
};

static struct rule rules[FIELD_COUNT]; /* by number; written once, before anybody reads it */
static atomic_bool rules_made;
static once_flag rules_once = ONCE_FLAG_INIT;

static struct rule rule_of(const ProtobufCFieldDescriptor *field)
{
  switch (field->type) {
  case PROTOBUF_C_TYPE_INT64: return (struct rule){.wire_type = WIRE_VARINT, .kind = SCAN_INT64};
  case PROTOBUF_C_TYPE_ENUM: return (struct rule){.wire_type = WIRE_VARINT, .kind = SCAN_ENUM};
  case PROTOBUF_C_TYPE_SINT32: return (struct rule){.wire_type = WIRE_VARINT, .kind = SCAN_SINT32};
  case PROTOBUF_C_TYPE_BYTES: return (struct rule){.wire_type = WIRE_LENGTH, .kind = SCAN_BYTES};
  case PROTOBUF_C_TYPE_STRING: return (struct rule){.wire_type = WIRE_LENGTH, .kind = SCAN_STRING};
  default: break;
  }
  assert(!"Encounter has a field of a type that the scan does not know");
  return (struct rule){0};
}

/* Field numbers must be 1 to FIELD_COUNT - 1 without a gap: then an unknown number is one that is not below FIELD_COUNT. */
static void rules_make(void)
{
  const ProtobufCMessageDescriptor *message = &muster__v1__encounter__descriptor;
  assert(message->n_fields == FIELD_COUNT - 1);
  for (unsigned i = 0; i < message->n_fields; i++) {
    const ProtobufCFieldDescriptor *field = &message->fields[i];
    assert(field->id == i + 1 && field->label != PROTOBUF_C_LABEL_REPEATED);
    struct rule *rule = &rules[field->id];
    *rule = rule_of(field);
    if (rule->kind != SCAN_ENUM)
      continue;
    const ProtobufCEnumDescriptor *values = field->descriptor;
    for (unsigned v = 0; v < values->n_values; v++) {
      int value = values->values[v].value;
      assert(value >= 0 && value < ENUM_VALUES);
      rule->allowed[value / 64] |= UINT64_C(1) << (value % 64);
    }
  }
  atomic_store_explicit(&rules_made, true, memory_order_release);
}

static inline const struct rule *rules_get(void)
{
  if (__builtin_expect(!atomic_load_explicit(&rules_made, memory_order_acquire), 0))
    call_once(&rules_once, rules_make);
  return rules;
}

enum scan_kind scan_kind_of(enum encounter_field field)
{
  assert(field >= 1 && field < FIELD_COUNT);
  return rules_get()[field].kind;
}

/* ---- tags, lengths, numbers ---- */

/* Each returns the byte behind what it read, NULL where that is cut, too long or too wide, and clears *shortest where fewer bytes would
 * have done. */

static __attribute__((noinline)) const uint8_t *head_read_long(const uint8_t *p, const uint8_t *end, uint32_t *value, bool *shortest)
{
  uint64_t v;
  const uint8_t *after = varint_read(p, end, &v);
  if (!after || after - p > HEAD_BYTES_MAX || v > UINT32_MAX)
    return NULL;
  if (after[-1] == 0)
    *shortest = false;
  *value = (uint32_t)v;
  return after;
}

/* A tag or a length: 32 bits, which bounds field numbers to 2^29 - 1. One byte, or the two of fields 16 to 2,047, is nearly every case.
 * p is not the end. */
static inline const uint8_t *head_read(const uint8_t *p, const uint8_t *end, uint32_t *value, bool *shortest)
{
  if (p[0] < 0x80) {
    *value = p[0];
    return p + 1;
  }
  if (end - p >= 2 && p[1] < 0x80 && p[1] != 0) {
    *value = (uint32_t)(p[0] & 0x7f) | (uint32_t)p[1] << 7;
    return p + 2;
  }
  /* Through variables of its own, so that the caller's may stay in registers. */
  uint32_t long_value = 0;
  bool long_shortest = true;
  p = head_read_long(p, end, &long_value, &long_shortest);
  *value = long_value;
  *shortest &= long_shortest;
  return p;
}

#define EVERY_BYTE UINT64_C(0x0101010101010101)
#define HIGH_BITS (EVERY_BYTE * 0x80)

static inline const uint8_t *number_read(const uint8_t *p, const uint8_t *end, uint64_t *value, bool *shortest)
{
  if (p < end && p[0] < 0x80) {
    *value = p[0];
    return p + 1;
  }
  const uint8_t *after;
  uint64_t stop;
  if (end - p >= 8 && (stop = ~load_u64(p) & HIGH_BITS) != 0) {
    /* Up to eight bytes at once: cut off what lies behind the last byte, then close the gaps of 1, 2 and 4 bits between the groups of
     * seven. */
    uint64_t x = load_u64(p) & (stop ^ (stop - 1));
    after = p + (__builtin_ctzll(stop) + 1) / 8;
    x = (x & UINT64_C(0x7f007f007f007f00)) >> 1 | (x & UINT64_C(0x007f007f007f007f));
    x = (x & UINT64_C(0x3fff00003fff0000)) >> 2 | (x & UINT64_C(0x00003fff00003fff));
    *value = (x & UINT64_C(0x0fffffff00000000)) >> 4 | (x & UINT64_C(0x000000000fffffff));
  } else {
    after = varint_read(p, end, value);
    if (!after)
      return NULL;
  }
  if (after[-1] == 0)
    *shortest = false;
  return after;
}

bool scan_part_next(struct scan_part *part, const uint8_t **p, const uint8_t *end)
{
  if (*p == end)
    return false;
  uint32_t tag, length = 0;
  uint64_t ignored;
  bool shortest = true;
  const uint8_t *value = head_read(*p, end, &tag, &shortest), *after = NULL;
  if (!value || tag >> 3 == 0)
    return false;
  switch (tag & 7) {
  case WIRE_VARINT: after = varint_read(value, end, &ignored); break;
  case WIRE_64BIT: after = end - value >= 8 ? value + 8 : NULL; break;
  case WIRE_32BIT: after = end - value >= 4 ? value + 4 : NULL; break;
  case WIRE_LENGTH:
    value = value < end ? head_read(value, end, &length, &shortest) : NULL;
    after = value && length <= (size_t)(end - value) ? value + length : NULL;
    break;
  default: break; /* groups, and what has no meaning */
  }
  if (!after)
    return false;
  *part = (struct scan_part){.number = tag >> 3, .wire_type = tag & 7, .start = *p, .value = value, .end = after};
  *p = after;
  return true;
}

/* ---- texts ---- */

static inline bool eight_are_plain(uint64_t x)
{
  /* The high bit of a byte is set by: a byte beyond ASCII; one below 0x20, which borrows; 0x7f, which carries into it. */
  return ((x | (x - EVERY_BYTE * 0x20) | (x + EVERY_BYTE)) & HIGH_BITS) == 0;
}

/* Every byte is printable ASCII: the text needs no closer look. */
static inline bool text_is_plain(const uint8_t *text, size_t size)
{
  if (size >= 8) {
    const uint8_t *last = text + size - 8;
    for (; text < last; text += 8)
      if (!eight_are_plain(load_u64(text)))
        return false;
    return eight_are_plain(load_u64(last));
  }
  for (size_t i = 0; i < size; i++)
    if (text[i] < 0x20 || text[i] >= 0x7f)
      return false;
  return true;
}

/* REASON_NONE, or what is wrong with a text and where. */
static __attribute__((noinline)) uint32_t text_fault(const uint8_t *text, size_t size, size_t *at)
{
  *at = text_utf8_prefix(text, size);
  if (*at < size)
    return MUSTER__V1__REASON__REASON_BAD_UTF8;
  for (*at = 0; *at < size; ++*at)
    if (text[*at] < 0x20 || text[*at] == 0x7f)
      return MUSTER__V1__REASON__REASON_CONTROL_CHARACTER;
  return MUSTER__V1__REASON__REASON_NONE;
}

/* ---- the walk ---- */

struct walk {
  const uint8_t *record, *end;
  struct scan_fault *fault;
  uint32_t unknown_bytes;
  bool canonical;
};

/* NULL, so that a reader can say `return refuse(...)`. */
static __attribute__((noinline, cold)) const uint8_t *refuse(const struct walk *w, uint32_t reason, uint32_t field, const uint8_t *at)
{
  *w->fault = (struct scan_fault){.reason = reason, .field = field, .byte = (uint32_t)(at - w->record)};
  return NULL;
}

static __attribute__((noinline, cold)) const uint8_t *refuse_malformed(const struct walk *w, uint32_t field, const uint8_t *at)
{
  return refuse(w, MUSTER__V1__REASON__REASON_MALFORMED, field, at);
}

/* bytes and string: p is behind the tag. */
static inline const uint8_t *bytes_field(struct walk *w, struct scan_value *value, bool text, uint32_t number, const uint8_t *p)
{
  uint32_t size;
  const uint8_t *bytes = p < w->end ? head_read(p, w->end, &size, &w->canonical) : NULL;
  if (!bytes || size > (size_t)(w->end - bytes))
    return refuse_malformed(w, number, p);
  if (text && !text_is_plain(bytes, size)) {
    size_t at;
    uint32_t reason = text_fault(bytes, size, &at);
    if (reason != MUSTER__V1__REASON__REASON_NONE)
      return refuse(w, reason, number, bytes + at);
  }
  value->bytes = bytes;
  value->size = size;
  return bytes + size;
}

/* int64, enums and sint32. The 32-bit types are cut to their low 32 bits, as protobuf says; a writer of canonical form would not have set
 * the others. */
static inline const uint8_t *number_field(struct walk *w, struct scan_value *value, const struct rule *rule, uint32_t number,
                                          const uint8_t *p)
{
  uint64_t v;
  const uint8_t *after = number_read(p, w->end, &v, &w->canonical);
  if (!after)
    return refuse_malformed(w, number, p);
  value->size = 0;
  if (rule->kind == SCAN_INT64) {
    value->number = (int64_t)v;
    return after;
  }
  w->canonical &= v <= UINT32_MAX;
  uint32_t low = (uint32_t)v;
  if (rule->kind == SCAN_SINT32) {
    value->number = zigzag_decode(low);
    return after;
  }
  if (low >= ENUM_VALUES || !(rule->allowed[low / 64] >> (low % 64) & 1))
    return refuse(w, MUSTER__V1__REASON__REASON_UNKNOWN_ENUM_VALUE, number, p);
  value->number = low;
  return after;
}

static __attribute__((noinline)) const uint8_t *unknown_field(struct walk *w, const uint8_t *start)
{
  struct scan_part part;
  const uint8_t *p = start;
  if (!scan_part_next(&part, &p, w->end))
    return refuse_malformed(w, 0, start);
  w->unknown_bytes += (uint32_t)(p - start);
  w->canonical = false;
  return w->unknown_bytes <= LIMIT_UNKNOWN_BYTES ? p : refuse(w, MUSTER__V1__REASON__REASON_TOO_MANY_UNKNOWN_BYTES, 0, start);
}

static __attribute__((noinline, cold)) const uint8_t *refuse_wire_type(const struct walk *w, uint32_t number, uint32_t wire_type,
                                                                       const uint8_t *at)
{
  bool meaningful = wire_type == WIRE_VARINT || wire_type == WIRE_64BIT || wire_type == WIRE_LENGTH || wire_type == WIRE_32BIT;
  return meaningful ? refuse(w, MUSTER__V1__REASON__REASON_WIRE_TYPE, number, at) : refuse_malformed(w, number, at);
}

bool scan_encounter(struct encounter_view *view, const uint8_t *record, size_t size, struct scan_fault *fault)
{
  const struct rule *table = rules_get();
  struct walk w = {.record = record, .end = record + size, .fault = fault, .canonical = true};
  uint32_t present = 0, last = 0;
  if (size > LIMIT_RECORD_BYTES)
    return refuse(&w, MUSTER__V1__REASON__REASON_RECORD_TOO_LARGE, 0, record + LIMIT_RECORD_BYTES);
  for (const uint8_t *p = record; p != w.end;) {
    uint32_t tag;
    const uint8_t *start = p;
    p = head_read(p, w.end, &tag, &w.canonical);
    if (!p || tag >> 3 == 0)
      return refuse_malformed(&w, 0, start);
    uint32_t number = tag >> 3;
    if (number >= FIELD_COUNT) {
      if (!(p = unknown_field(&w, start)))
        return false;
      continue;
    }
    const struct rule *rule = &table[number];
    if (rule->wire_type != (tag & 7))
      return refuse_wire_type(&w, number, tag & 7, start);
    struct scan_value *value = &view->field[number];
    if (rule->wire_type == WIRE_LENGTH)
      p = bytes_field(&w, value, rule->kind == SCAN_STRING, number, p);
    else
      p = number_field(&w, value, rule, number, p);
    if (!p)
      return false;
    w.canonical &= number > last; /* neither out of order nor there before */
    last = number;
    present |= UINT32_C(1) << number;
  }
  view->record = record;
  view->record_size = (uint32_t)size;
  view->present = present;
  view->unknown_bytes = w.unknown_bytes;
  view->canonical = w.canonical;
  return true;
}

/* ---- the id alone ---- */

/* Behind a varint, NULL where it is cut or longer than ten bytes. Byte by byte: a branch that is foretold costs less than waiting for a
 * count. */
static inline const uint8_t *number_skip(const uint8_t *p, const uint8_t *end)
{
  if (end - p >= VARINT_BYTES_MAX) {
#pragma GCC unroll 10
    for (unsigned i = 0; i < VARINT_BYTES_MAX; i++)
      if (p[i] < 0x80)
        return p + i + 1;
    return NULL;
  }
  while (p < end)
    if (*p++ < 0x80)
      return p;
  return NULL;
}

/* Behind a field of any form, NULL where the walk breaks off. Sets *id where the field is one. */
static __attribute__((noinline)) const uint8_t *field_skip(const uint8_t *p, const uint8_t *end, struct scan_value *id)
{
  uint32_t tag, length = 0;
  bool shortest = true;
  p = head_read(p, end, &tag, &shortest);
  if (!p)
    return NULL;
  switch (tag & 7) {
  case WIRE_VARINT: return number_skip(p, end);
  case WIRE_64BIT: length = 8; break;
  case WIRE_32BIT: length = 4; break;
  case WIRE_LENGTH:
    if (p == end || !(p = head_read(p, end, &length, &shortest)))
      return NULL;
    if (tag >> 3 == FIELD_ENCOUNTER_ID)
      *id = (struct scan_value){.bytes = p, .size = length};
    break;
  default: return NULL;
  }
  return length <= (size_t)(end - p) ? p + length : NULL;
}

const uint8_t *scan_encounter_id(const uint8_t *record, size_t size)
{
  const uint8_t *p = record, *end = record + size;
  struct scan_value id = {.bytes = NULL};
  while (end - p >= 2) {
    /* A tag of one byte with a length or a value of one byte is nearly every field, and one look at both bytes tells. */
    unsigned form = load_u16(p) & 0x8087;
    if (form == WIRE_VARINT)
      p += 2;
    else if (form == WIRE_LENGTH) {
      uint32_t length = p[1], number = p[0] >> 3;
      p += 2;
      if (length > (size_t)(end - p))
        return NULL;
      if (number == FIELD_ENCOUNTER_ID)
        id = (struct scan_value){.bytes = p, .size = length};
      p += length;
    } else if (!(p = (form & 0x87) == WIRE_VARINT ? number_skip(p + 1, end) : field_skip(p, end, &id)))
      return NULL;
  }
  return p == end && id.size == LIMIT_ID_BYTES ? id.bytes : NULL;
}
