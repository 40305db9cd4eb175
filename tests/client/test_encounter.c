/*
 * client/encounter.c: the public header against encounter.proto, the encoding against protobuf-c, and the submitting of encounters
 * against a node that follows a script. Runs in the project's directory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "client/heard.h"
#include "muster/encounter.h"
#include "proto/scan.h"
#include "tests/proto/sample.h"

/* ---- the header says what encounter.proto says ---- */

static char header[64 * 1024];

/* From the line that has this text to the end of the block that it opens; a copy. */
static char *block_of(const char *opening)
{
  const char *start = strstr(header, opening), *end = start ? strstr(start, "};") : NULL;
  if (!end)
    fail_msg("the header has no %s", opening);
  return strndup(start, (size_t)(end - start));
}

static unsigned count_of(const char *text, const char *word)
{
  unsigned count = 0;
  for (; (text = strstr(text, word)); text++)
    count++;
  return count;
}

static void enum_is(const char *tag, const ProtobufCEnumDescriptor *values)
{
  char text[200];
  snprintf(text, sizeof text, "enum muster_%s {", tag);
  char *block = block_of(text);
  for (unsigned i = 0; i < values->n_values; i++) {
    int size = snprintf(text, sizeof text, " MUSTER_%s = %d", values->values[i].name, values->values[i].value);
    const char *found = strstr(block, text);
    if (!found || (found[size] >= '0' && found[size] <= '9'))
      fail_msg("enum muster_%s has no%s", tag, text);
  }
  assert_int_equal(count_of(block, "MUSTER_"), values->n_values); /* and no other */
  free(block);
}

/* Each enum has the name of its field; each member the name and the number of its field, a unit behind it where it needs one. */
static void the_header_says_what_the_proto_says(void **state)
{
  (void)state;
  FILE *f = fopen("include/muster/encounter.h", "r");
  assert_non_null(f);
  header[fread(header, 1, sizeof header - 1, f)] = '\0';
  fclose(f);
  const ProtobufCMessageDescriptor *d = &muster__v1__encounter__descriptor;
  char *block = block_of("struct muster_encounter {"), name[64], number[16];
  unsigned enums = 0;
  for (unsigned i = 0; i < d->n_fields; i++) {
    const ProtobufCFieldDescriptor *field = &d->fields[i];
    snprintf(name, sizeof name, "%s%s", field->name,
             field->type == PROTOBUF_C_TYPE_INT64   ? "_us;"
             : field->type == PROTOBUF_C_TYPE_BYTES ? "[16];"
                                                    : ";");
    snprintf(number, sizeof number, "/* %u: ", field->id);
    const char *member = strstr(block, name), *comment = strstr(block, number);
    if (!member || !comment || comment < member || memchr(member, '\n', (size_t)(comment - member)))
      fail_msg("the struct has no %s with its number %u", name, field->id);
    if (field->type == PROTOBUF_C_TYPE_ENUM) {
      enum_is(field->name, field->descriptor);
      enums++;
    }
  }
  assert_int_equal(count_of(block, "\n  size_t ") + count_of(block, "\n  uint8_t ") + count_of(block, "\n  int") +
                       count_of(block, "\n  const "),
                   d->n_fields + 2); /* size and has_location beside them */
  assert_int_equal(count_of(header, "\nenum "), enums);
  free(block);
}

/* ---- encoding ---- */

static void id_copy(uint8_t out[16], const ProtobufCBinaryData *id, protobuf_c_boolean has)
{
  if (has)
    memcpy(out, id->data, 16);
}

/* The same record as a struct; what the struct cannot hold, a 0 that is there, is taken from the sample. */
static struct muster_encounter encounter_of(Muster__V1__Encounter *s)
{
  struct muster_encounter e = MUSTER_ENCOUNTER_INIT;
#define TAKE(member, name)                                                                                                                 \
  do {                                                                                                                                     \
    e.member = s->has_##name ? (int32_t)s->name : 0;                                                                                       \
    s->has_##name = e.member != 0;                                                                                                         \
  } while (0)
  id_copy(e.encounter_id, &s->encounter_id, s->has_encounter_id);
  id_copy(e.subject_id, &s->subject_id, s->has_subject_id);
  id_copy(e.family_unit_id, &s->family_unit_id, s->has_family_unit_id);
  e.encounter_time_us = s->has_encounter_time ? s->encounter_time : 0;
  s->has_encounter_time = e.encounter_time_us != 0;
  TAKE(component, component);
  TAKE(area_of_responsibility, area_of_responsibility);
  TAKE(land_border_region, land_border_region);
  TAKE(demographic, demographic);
  TAKE(title_of_authority, title_of_authority);
  TAKE(encounter_type, encounter_type);
  TAKE(disposition, disposition);
#undef TAKE
  e.has_location = s->has_latitude_e7 = s->has_longitude_e7 = s->has_latitude_e7 && s->has_longitude_e7;
  e.latitude_e7 = s->latitude_e7;
  e.longitude_e7 = s->longitude_e7;
  e.citizenship = s->citizenship;
  e.station = s->station;
  e.device = s->device;
  e.officer_reference = s->officer_reference;
  return e;
}

/* The struct's bytes are the expected ones in room for just them, and it says so where a byte of room is missing, and writes nothing. */
static void encodes_to(const struct muster_encounter *e, const uint8_t *expected, size_t expected_size)
{
  uint8_t *exact = malloc(expected_size + 1);
  size_t size = 12345;
  assert_non_null(exact);
  memset(exact, 0xa5, expected_size + 1);
  if (expected_size > 0) {
    assert_int_equal(muster_encounter_encode(e, exact, expected_size - 1, &size), MUSTER_ERR_USAGE);
    assert_int_equal(size, expected_size);
    for (size_t i = 0; i < expected_size; i++)
      assert_int_equal(exact[i], 0xa5);
  }
  assert_int_equal(muster_encounter_encode(e, exact, expected_size, &size), MUSTER_OK);
  assert_int_equal(size, expected_size);
  assert_memory_equal(exact, expected, expected_size);
  assert_int_equal(exact[expected_size], 0xa5);
  free(exact);
}

/* As protobuf-c packs it, as protobuf-c unpacks it, and in the scan's eyes canonical. */
static void encodes_as_protobuf_c(const struct muster_encounter *e, const Muster__V1__Encounter *s, bool readable)
{
  uint8_t packed[MUSTER_ENCOUNTER_BYTES], again[MUSTER_ENCOUNTER_BYTES];
  struct encounter_view view;
  struct scan_fault fault;
  assert_true(muster__v1__encounter__get_packed_size(s) <= sizeof packed);
  size_t size = muster__v1__encounter__pack(s, packed), again_size;
  encodes_to(e, packed, size);
  assert_int_equal(muster_encounter_encode(e, again, sizeof again, &again_size), MUSTER_OK);
  Muster__V1__Encounter *back = muster__v1__encounter__unpack(NULL, again_size, again);
  assert_non_null(back);
  assert_int_equal(back->base.n_unknown_fields, 0);
  assert_int_equal(muster__v1__encounter__pack(back, packed), size);
  assert_memory_equal(packed, again, size);
  muster__v1__encounter__free_unpacked(back, NULL);
  if (!readable)
    return;
  assert_true(scan_encounter(&view, again, again_size, &fault));
  assert_true(view.canonical);
}

static void encounters_are_encoded_as_protobuf_c_does(void **state)
{
  (void)state;
  struct random r = random_seeded("encounter", 72);
  for (uint32_t i = 0; i < 20000; i++) {
    Muster__V1__Encounter s;
    struct sample_room room;
    sample_encounter(&s, &room, &r, i % 9);
    struct muster_encounter e = encounter_of(&s);
    encodes_as_protobuf_c(&e, &s, true);
  }
}

static void the_largest_and_the_smallest_are_encoded(void **state)
{
  (void)state;
  char text[MUSTER_TEXT_BYTES + 1];
  uint8_t id[16];
  Muster__V1__Encounter s = MUSTER__V1__ENCOUNTER__INIT;
  struct muster_encounter e = encounter_of(&s);
  encodes_to(&e, (const uint8_t *)"", 0);
  e.station = ""; /* is there, and is empty */
  encodes_to(&e, (const uint8_t *)"\x72", 2);
  memset(text, 'x', MUSTER_TEXT_BYTES);
  text[MUSTER_TEXT_BYTES] = '\0';
  memset(id, 0xff, sizeof id);
  s.has_encounter_id = s.has_subject_id = s.has_family_unit_id = s.has_encounter_time = s.has_latitude_e7 = s.has_longitude_e7 = 1;
  s.has_component = s.has_area_of_responsibility = s.has_land_border_region = s.has_demographic = 1;
  s.has_title_of_authority = s.has_encounter_type = s.has_disposition = 1;
  s.encounter_id = s.subject_id = s.family_unit_id = (ProtobufCBinaryData){.len = 16, .data = id};
  s.encounter_time = INT64_MIN;
  s.latitude_e7 = s.longitude_e7 = INT32_MIN;
  s.citizenship = s.station = s.device = s.officer_reference = text;
  s.component = (Muster__V1__Component)-1;
  s.area_of_responsibility = (Muster__V1__AreaOfResponsibility)-1;
  s.land_border_region = (Muster__V1__LandBorderRegion)-1;
  s.demographic = (Muster__V1__Demographic)-1;
  s.title_of_authority = (Muster__V1__TitleOfAuthority)-1;
  s.encounter_type = (Muster__V1__EncounterType)-1;
  s.disposition = (Muster__V1__Disposition)-1;
  e = encounter_of(&s);
  encodes_as_protobuf_c(&e, &s, false); /* no such values of enums: the node's business */
}

/* One bit anywhere makes an id one that is there. */
static void an_id_is_there_unless_it_is_nil(void **state)
{
  (void)state;
  for (unsigned bit = 0; bit < 128; bit++) {
    struct muster_encounter e = MUSTER_ENCOUNTER_INIT;
    uint8_t expected[18] = {FIELD_FAMILY_UNIT_ID << 3 | 2, 16};
    e.family_unit_id[bit / 8] = expected[2 + bit / 8] = (uint8_t)(1u << bit % 8);
    encodes_to(&e, expected, sizeof expected);
  }
}

static void a_location_on_the_equator_is_one(void **state)
{
  (void)state;
  struct muster_encounter e = MUSTER_ENCOUNTER_INIT;
  e.has_location = 1;
  encodes_to(&e, (const uint8_t[]){0x60, 0, 0x68, 0}, 4);
  e.latitude_e7 = -1;
  e.longitude_e7 = 1;
  encodes_to(&e, (const uint8_t[]){0x60, 1, 0x68, 2}, 4);
  e.has_location = 0;
  encodes_to(&e, (const uint8_t *)"", 0);
}

static void what_cannot_be_encoded_is_told(void **state)
{
  (void)state;
  char text[MUSTER_TEXT_BYTES + 2];
  uint8_t out[MUSTER_ENCOUNTER_BYTES];
  memset(text, 'x', sizeof text);
  text[MUSTER_TEXT_BYTES + 1] = '\0';
  for (unsigned i = 0; i < 4; i++) {
    struct muster_encounter e = MUSTER_ENCOUNTER_INIT;
    const char **texts[] = {&e.citizenship, &e.station, &e.device, &e.officer_reference};
    size_t size = 1;
    *texts[i] = text;
    assert_int_equal(muster_encounter_encode(&e, out, sizeof out, &size), MUSTER_ERR_LIMIT);
    assert_int_equal(size, 0);
    *texts[i] = text + 1;
    assert_int_equal(muster_encounter_encode(&e, out, sizeof out, &size), MUSTER_OK);
  }
  for (int off = -1; off <= 1; off++) {
    struct muster_encounter e = MUSTER_ENCOUNTER_INIT;
    size_t size = 1;
    e.size += (size_t)off;
    e.station = "TCA-07";
    assert_int_equal(muster_encounter_encode(&e, out, sizeof out, &size), off ? MUSTER_ERR_USAGE : MUSTER_OK);
    assert_int_equal(size, off ? 0 : 8);
    assert_int_equal(muster_encounter_encode(&e, NULL, 0, &size), MUSTER_ERR_USAGE); /* how much would it be? */
    assert_int_equal(size, off ? 0 : 8);
  }
}

/* ---- submitting ---- */

enum { RECORDS = 5000 };
static struct heard heard;
static struct node node;
static struct {
  size_t size;
  uint8_t bytes[MUSTER_ENCOUNTER_BYTES];
} received[RECORDS]; /* by number */

/* Its number stands at the end of its encounter_id. */
static uint64_t number_of(const struct batch_record *record)
{
  const uint8_t *id = scan_encounter_id(record->bytes, record->size);
  assert(id);
  uint64_t number = load_u64(id + 8) - 1;
  assert(number < RECORDS && record->size <= MUSTER_ENCOUNTER_BYTES);
  received[number].size = record->size;
  memcpy(received[number].bytes, record->bytes, record->size);
  return number;
}

static struct muster_encounter numbered(uint64_t number)
{
  static const char text[] = "a text of a length that depends on the number of the encounter..";
  struct muster_encounter e = MUSTER_ENCOUNTER_INIT;
  store_u64(e.encounter_id + 8, number + 1);
  if (number % 3 == 0)
    return e; /* small: its length takes one byte */
  e.encounter_time_us = INT64_C(1614834367000008) + (int64_t)number;
  e.component = MUSTER_COMPONENT_US_BORDER_PATROL;
  e.area_of_responsibility = MUSTER_AREA_TUCSON_SECTOR;
  e.citizenship = "GTM";
  memset(e.subject_id, 7, sizeof e.subject_id);
  e.station = text + number % 64;
  e.device = text + number % 7;
  e.officer_reference = text + number % 5;
  return e;
}

static void start(const char *name, const char *script)
{
  node_init(&node, endpoint_named(name), script);
  node.number_of = number_of;
  memset(received, 0, sizeof received);
}

static void submit_encounters(struct muster_client *c, uint64_t from, uint64_t to)
{
  for (uint64_t i = from; i < to; i++) {
    struct muster_encounter e = numbered(i);
    if (muster_client_submit_encounter(c, &e, i) != MUSTER_OK)
      fail_msg("submit of %llu: %s", (unsigned long long)i, muster_client_error(c));
  }
}

/* What came is what muster_encounter_encode makes of the same struct. */
static void all_arrived(uint64_t count)
{
  for (uint64_t i = 0; i < count; i++) {
    struct muster_encounter e = numbered(i);
    encodes_to(&e, received[i].bytes, received[i].size);
  }
}

static void encounters_get_their_verdicts(void **state)
{
  (void)state;
  uint8_t record[MUSTER_ENCOUNTER_BYTES];
  struct muster_counts n;
  start("encounters", "lrob");
  node_start(&node);
  struct muster_options o = options_for(&heard, node.endpoint);
  struct muster_client *c = client_of(&o);
  submit_encounters(c, 0, RECORDS / 2);
  for (uint64_t i = RECORDS / 2; i < RECORDS; i++) { /* among records that are encoded already */
    struct muster_encounter e = numbered(i);
    size_t size;
    if (i % 2) {
      submit_encounters(c, i, i + 1);
      continue;
    }
    assert_int_equal(muster_encounter_encode(&e, record, sizeof record, &size), MUSTER_OK);
    assert_int_equal(muster_client_submit(c, record, size, i), MUSTER_OK);
  }
  flush_all(c);
  heard_all(&heard, RECORDS);
  muster_client_counts(c, &n);
  assert_int_equal(n.submitted, RECORDS);
  assert_int_equal(n.accepted + n.duplicate, RECORDS);
  muster_client_destroy(c);
  node_stop(&node);
  all_arrived(RECORDS);
}

static void batches_of_encounters_keep_within_the_limits_of_the_welcome(void **state)
{
  (void)state;
  start("limits", "");
  node.message_bytes_max = 20000;
  node_start(&node);
  struct muster_options o = options_for(&heard, node.endpoint);
  o.batch_records = 1000;
  struct muster_client *c = client_of(&o);
  for (unsigned i = 0; i < 1000 && muster_client_process(c) >= 0 && !atomic_load(&node.hellos); i++)
    usleep(1000);
  usleep(20000);
  muster_client_process(c);
  submit_encounters(c, 0, RECORDS);
  flush_all(c);
  heard_all(&heard, RECORDS);
  muster_client_destroy(c);
  node_stop(&node);
  for (unsigned i = 0; i < atomic_load(&node.batches); i++)
    assert_in_range(node.log[i].bytes, 1, 20000);
  all_arrived(RECORDS);
}

static void a_refused_encounter_is_not_taken(void **state)
{
  (void)state;
  char text[MUSTER_TEXT_BYTES + 2] = {0};
  struct muster_counts n;
  start("refused", "");
  node_start(&node);
  struct muster_options o = options_for(&heard, node.endpoint);
  struct muster_client *c = client_of(&o);
  struct muster_encounter e = numbered(1), empty = MUSTER_ENCOUNTER_INIT;
  memset(text, 'x', MUSTER_TEXT_BYTES + 1);
  e.device = text;
  assert_int_equal(muster_client_submit_encounter(c, &e, 1), MUSTER_ERR_LIMIT);
  assert_string_equal(muster_client_error(c), "the text of device has more than 64 bytes");
  assert_int_equal(muster_client_submit_encounter(c, &empty, 1), MUSTER_ERR_USAGE);
  assert_non_null(strstr(muster_client_error(c), "not 0"));
  empty.size = 0;
  assert_int_equal(muster_client_submit_encounter(c, &empty, 1), MUSTER_ERR_USAGE);
  assert_non_null(strstr(muster_client_error(c), "MUSTER_ENCOUNTER_INIT"));
  submit_encounters(c, 0, 1); /* it goes on */
  flush_all(c);
  heard_all(&heard, 1);
  muster_client_counts(c, &n);
  assert_int_equal(n.submitted, 1);
  muster_client_destroy(c);
  node_stop(&node);
}

static void a_full_window_and_a_final_error_are_told_as_submit_tells_them(void **state)
{
  (void)state;
  struct muster_options o = options_for(&heard, endpoint_named("window")); /* nobody there yet */
  struct muster_counts n;
  o.batch_records = 10;
  o.window_batches = 2;
  struct muster_client *c = client_of(&o);
  struct muster_encounter e = numbered(30);
  submit_encounters(c, 0, 30);
  muster_client_set_timeout(c, 30);
  assert_int_equal(muster_client_submit_encounter(c, &e, 30), MUSTER_ERR_TIMEOUT);
  muster_client_counts(c, &n);
  assert_int_equal(n.submitted, 30);
  start("window", "");
  node_start(&node);
  muster_client_set_timeout(c, 0);
  submit_encounters(c, 30, 100); /* blocks until there is room, and goes on */
  flush_all(c);
  heard_all(&heard, 100);
  muster_client_destroy(c);
  node_stop(&node);
  start("final", "i");
  node_start(&node);
  o = options_for(&heard, node.endpoint);
  c = client_of(&o);
  submit_encounters(c, 0, 1);
  int final = muster_client_flush(c, 15000);
  assert_int_equal(final, MUSTER_ERR_PROTOCOL);
  assert_int_equal(muster_client_submit_encounter(c, &e, 30), final);
  muster_client_destroy(c);
  node_stop(&node);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_header_says_what_the_proto_says),
      cmocka_unit_test(encounters_are_encoded_as_protobuf_c_does),
      cmocka_unit_test(the_largest_and_the_smallest_are_encoded),
      cmocka_unit_test(an_id_is_there_unless_it_is_nil),
      cmocka_unit_test(a_location_on_the_equator_is_one),
      cmocka_unit_test(what_cannot_be_encoded_is_told),
      cmocka_unit_test(encounters_get_their_verdicts),
      cmocka_unit_test(batches_of_encounters_keep_within_the_limits_of_the_welcome),
      cmocka_unit_test(a_refused_encounter_is_not_taken),
      cmocka_unit_test(a_full_window_and_a_final_error_are_told_as_submit_tells_them),
  };
  return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
