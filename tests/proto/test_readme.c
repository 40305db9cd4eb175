/*
 * proto/README.md is a contract: its numbers are held against the source, its example bytes against the encoders, the scan and the
 * rules. (That a node answers exactly these bytes is tested on the whole pipeline.) Runs in the project's directory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <inttypes.h>

#include "core/config.h"
#include "core/limits.h"
#include "proto/batch.h"
#include "proto/encounter.pb-c.h"
#include "proto/json.h"
#include "proto/vocabulary.h"
#include "proto/wire.pb-c.h"
#include "workers/rules.h"

static char page[128 * 1024];

static int page_read(void **state)
{
  (void)state;
  FILE *f = fopen("proto/README.md", "r");
  if (!f)
    return -1;
  size_t size = fread(page, 1, sizeof page - 1, f);
  page[size] = '\0';
  fclose(f);
  return size > 0 && size < sizeof page - 1 ? 0 : -1;
}

static void states(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void states(const char *format, ...)
{
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (!strstr(page, text))
    fail_msg("the page does not say: %s", text);
}

/* ---- numbers ---- */

static void check_enum(const ProtobufCEnumDescriptor *descriptor, const char *prefix)
{
  for (unsigned i = 0; i < descriptor->n_values; i++)
    if (strcmp(descriptor->values[i].name, "VERDICT_UNSPECIFIED") != 0)
      states("\n| %d | `%s` | ", descriptor->values[i].value, descriptor->values[i].name + strlen(prefix));
}

static void test_every_verdict_and_reason(void **state)
{
  (void)state;
  check_enum(&muster__v1__verdict__descriptor, "VERDICT_");
  check_enum(&muster__v1__reason__descriptor, "REASON_");
}

static void test_every_field(void **state)
{
  (void)state;
  const ProtobufCMessageDescriptor *d = &muster__v1__encounter__descriptor;
  static const char *const types[] = {[PROTOBUF_C_TYPE_BYTES] = "bytes",
                                      [PROTOBUF_C_TYPE_INT64] = "int64",
                                      [PROTOBUF_C_TYPE_SINT32] = "sint32",
                                      [PROTOBUF_C_TYPE_STRING] = "string",
                                      [PROTOBUF_C_TYPE_ENUM] = "enum"};
  for (unsigned i = 0; i < d->n_fields; i++)
    states("\n| %u | `%s` | %s | ", d->fields[i].id, d->fields[i].name, types[d->fields[i].type]);
}

static void test_every_area(void **state)
{
  (void)state;
  size_t count;
  const struct vocabulary_area *a = vocabulary_areas(&count);
  for (size_t i = 0; i < count; i++)
    states("\n| %d | `%s` | %s | %s | %.1f to %.1f | %.1f to %.1f |\n", a[i].value,
           protobuf_c_enum_descriptor_get_value(&muster__v1__area_of_responsibility__descriptor, a[i].value)->name,
           vocabulary_component(a[i].component), vocabulary_region(a[i].region), a[i].south_e7 / 1e7, a[i].north_e7 / 1e7,
           a[i].west_e7 / 1e7, a[i].east_e7 / 1e7);
}

/* "1,234,567" */
static const char *commas(char out[24], uint64_t number)
{
  char digits[24];
  int size = snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
  char *p = out;
  for (int i = 0; i < size; i++) {
    if (i > 0 && (size - i) % 3 == 0)
      *p++ = ',';
    *p++ = digits[i];
  }
  *p = '\0';
  return out;
}

static void test_every_limit(void **state)
{
  (void)state;
  char n[24];
  struct config config;
  config_defaults(&config);
  states("\n| first frame of any message | %s bytes |", commas(n, LIMIT_HEADER_BYTES));
  states("\n| records in a batch | %s |", commas(n, LIMIT_BATCH_RECORDS));
  states("\n| second frame of a submit | %s bytes |", commas(n, LIMIT_MESSAGE_BYTES));
  states("\n| any frame | %s bytes |", commas(n, LIMIT_WIRE_BYTES));
  states("\n| one record | %s bytes |", commas(n, LIMIT_RECORD_BYTES));
  states("\n| unknown fields of a record | %s bytes |", commas(n, LIMIT_UNKNOWN_BYTES));
  states("\n| station, device, officer_reference | %s bytes each |", commas(n, LIMIT_TEXT_BYTES));
  states("(default %u of %" PRIu64 " KiB; of smaller ones in proportion more, at most 1,024)", config.credit,
         LIMIT_CREDIT_BYTES / LIMIT_KIB);
  assert_int_equal(LIMIT_CREDIT, 1024);
  states("(default %s, told in the welcome)", commas(n, config.answer_timeout_ms));
  states("handshake | %u s by default", config.handshake_ms / 1000);
  states("(bytes, %s batches, connections", commas(n, LIMIT_BATCHES_IN_FLIGHT));
  states("It is between %u and %s ms;", LIMIT_RETRY_MIN_MS, commas(n, LIMIT_RETRY_MAX_MS));
  states("(%u ms before that is known)", LIMIT_RETRY_UNMEASURED_MS);
  states("at least %u ms, so that it is short at first", LIMIT_RETRY_OUTAGE_MIN_MS);
  states("for `BUSY_DISK` %u ms", LIMIT_RETRY_DISK_MS);
  states("for `BUSY_DRAINING` %s ms", commas(n, LIMIT_RETRY_DRAINING_MS));
  states("`future_skew_s` (default %u s)", config.future_skew_s);
  states("`earliest_year` (default %u)", config.earliest_year);
}

/* Each rule stands in the table with its place in the order, or in a range of places. */
static void test_every_rule_in_its_order(void **state)
{
  (void)state;
  const char *table = strstr(page, "| order | rule | reason | field |");
  assert_non_null(table);
  size_t expected = 1;
  for (const char *line = strchr(strchr(table, '\n') + 1, '\n') + 1; line[0] == '|'; line = strchr(line, '\n') + 1) {
    unsigned first, last, reason;
    int named = sscanf(line, "| %u-%u |", &first, &last);
    if (named == 1)
      last = first;
    assert_true(named >= 1);
    assert_int_equal(first, expected);
    const char *column = strchr(line + 2, '|');
    assert_int_equal(sscanf(strchr(column + 1, '|'), "| %u |", &reason), 1);
    for (; expected <= last; expected++)
      if (expected > rules_count || rules_table[expected - 1].reason != reason)
        fail_msg("rule %zu of the page is not that of workers/rules.def", expected);
  }
  assert_int_equal(expected - 1, rules_count);
}

/* ---- the example ---- */

struct block {
  uint8_t bytes[1024];
  size_t size;
};

static struct block block_of(const char *name)
{
  struct block b = {.size = 0};
  char fence[64];
  snprintf(fence, sizeof fence, "```hex %s\n", name);
  const char *p = strstr(page, fence);
  if (!p)
    fail_msg("the page has no block %s", name);
  for (p += strlen(fence); strncmp(p, "```", 3) != 0; p++) {
    unsigned byte;
    if (*p == '#')
      p = strchr(p, '\n');
    if (*p == ' ' || *p == '\n')
      continue;
    assert_int_equal(sscanf(p++, "%2x", &byte), 1);
    assert_true(b.size < sizeof b.bytes);
    b.bytes[b.size++] = (uint8_t)byte;
  }
  return b;
}

/* Unpacks, and packs to the same bytes again; to be freed. */
static ProtobufCMessage *unpacked(const char *name, const ProtobufCMessageDescriptor *descriptor, int kind)
{
  struct block b = block_of(name);
  uint8_t again[1024];
  ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, NULL, b.size, b.bytes);
  assert_non_null(message);
  assert_int_equal(message->n_unknown_fields, 0);
  assert_int_equal(protobuf_c_message_pack(message, again), b.size);
  assert_memory_equal(again, b.bytes, b.size);
  Muster__V1__Header *header = muster__v1__header__unpack(NULL, b.size, b.bytes);
  assert_non_null(header);
  assert_int_equal(header->kind, kind);
  assert_int_equal(header->version_major, 1);
  assert_int_equal(header->version_minor, 0);
  muster__v1__header__free_unpacked(header, NULL);
  return message;
}

static void test_example_headers(void **state)
{
  (void)state;
  struct config config;
  config_defaults(&config);
  protobuf_c_message_free_unpacked(unpacked("hello", &muster__v1__hello__descriptor, MUSTER__V1__KIND__KIND_HELLO), NULL);
  Muster__V1__Welcome *welcome =
      (Muster__V1__Welcome *)unpacked("welcome", &muster__v1__welcome__descriptor, MUSTER__V1__KIND__KIND_WELCOME);
  assert_true(welcome->accepted);
  assert_int_equal(welcome->node_id.len, 16);
  assert_int_equal(welcome->batch_records_max, LIMIT_BATCH_RECORDS);
  assert_int_equal(welcome->message_bytes_max, LIMIT_MESSAGE_BYTES);
  assert_int_equal(welcome->record_bytes_max, LIMIT_RECORD_BYTES);
  assert_int_equal(welcome->answer_timeout_ms, config.answer_timeout_ms);
  Muster__V1__SubmitHeader *submit =
      (Muster__V1__SubmitHeader *)unpacked("submit-header", &muster__v1__submit_header__descriptor, MUSTER__V1__KIND__KIND_SUBMIT);
  Muster__V1__AnswerHeader *answer =
      (Muster__V1__AnswerHeader *)unpacked("answer-header", &muster__v1__answer_header__descriptor, MUSTER__V1__KIND__KIND_ANSWER);
  assert_int_equal(submit->record_count, 1);
  assert_true(answer->batch_id == submit->batch_id);
  assert_int_equal(answer->record_count, submit->record_count);
  assert_false(answer->has_batch_verdict);
  Muster__V1__AnswerHeader *busy =
      (Muster__V1__AnswerHeader *)unpacked("answer-busy", &muster__v1__answer_header__descriptor, MUSTER__V1__KIND__KIND_ANSWER);
  assert_int_equal(busy->batch_verdict, MUSTER__V1__VERDICT__VERDICT_BUSY);
  assert_int_equal(busy->batch_reason, MUSTER__V1__REASON__REASON_BUSY_CREDIT);
  protobuf_c_message_free_unpacked(&welcome->base, NULL);
  protobuf_c_message_free_unpacked(&submit->base, NULL);
  protobuf_c_message_free_unpacked(&answer->base, NULL);
  protobuf_c_message_free_unpacked(&busy->base, NULL);
}

static void test_example_record(void **state)
{
  (void)state;
  struct block b = block_of("submit-records");
  const uint8_t *p = b.bytes;
  struct batch_record record = {0};
  struct encounter_view view;
  struct scan_fault fault;
  struct rules_context rules;
  struct config config;
  assert_int_equal(batch_next(&p, b.bytes + b.size, &record), BATCH_RECORD);
  assert_ptr_equal(p, b.bytes + b.size);
  assert_true(scan_encounter(&view, record.bytes, record.size, &fault));
  assert_true(view.canonical);
  for (int field = 1; field < FIELD_COUNT; field++)
    assert_true(encounter_has(&view, (enum encounter_field)field));
  config_defaults(&config);
  rules_context_init(&rules, &config);
  rules.now_us = view.field[FIELD_ENCOUNTER_TIME].number;
  assert_null(rules_first_broken(&view, &rules));
  /* Its JSON form on the page is its JSON form. */
  json_t *object = json_from_encounter(&view);
  char *line = json_dumps(object, JSON_COMPACT);
  assert_non_null(line);
  if (!strstr(page, line))
    fail_msg("the page does not say: %s", line);
  free(line);
  json_decref(object);
}

static void test_example_verdicts(void **state)
{
  (void)state;
  struct block b = block_of("verdicts");
  Muster__V1__Verdicts *verdicts = muster__v1__verdicts__unpack(NULL, b.size, b.bytes);
  assert_non_null(verdicts);
  assert_int_equal(verdicts->n_word, 1);
  assert_true(verdicts->word[0] == verdict_durable(MUSTER__V1__VERDICT__VERDICT_ACCEPTED, 0, 1));
  states("word `0x%016llx`: bits 0-3 are 2", (unsigned long long)verdict_durable(MUSTER__V1__VERDICT__VERDICT_DUPLICATE, 0, 1));
  states("word is `0x%016llx`", (unsigned long long)verdict_refused(MUSTER__V1__VERDICT__VERDICT_INVALID, 0,
                                                                    MUSTER__V1__REASON__REASON_CITIZENSHIP, FIELD_CITIZENSHIP));
  muster__v1__verdicts__free_unpacked(verdicts, NULL);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_verdict_and_reason),
      cmocka_unit_test(test_every_field),
      cmocka_unit_test(test_every_area),
      cmocka_unit_test(test_every_limit),
      cmocka_unit_test(test_every_rule_in_its_order),
      cmocka_unit_test(test_example_headers),
      cmocka_unit_test(test_example_record),
      cmocka_unit_test(test_example_verdicts),
  };
  return cmocka_run_group_tests_name("readme", tests, page_read, NULL);
}
