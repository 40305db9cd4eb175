#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <xxhash.h>

#include "core/limits.h"
#include "proto/digest.h"
#include "proto/text.h"
#include "tests/proto/scan_of.h"

/* ---- what the tests compare ---- */

static struct encounter_view view_of(const uint8_t *bytes, size_t size)
{
  struct encounter_view view;
  struct scan_fault fault;
  assert_int_equal(scan_of(&view, &fault, bytes, size), NO_REASON);
  return view;
}

struct digest_text {
  char text[TEXT_HEX128];
};

static struct digest_text digest_of(const uint8_t *bytes, size_t size)
{
  struct encounter_view view = view_of(bytes, size);
  struct digest_text out;
  uint8_t digest[16];
  digest_content(digest, &view);
  text_hex128(out.text, digest);
  return out;
}

/* The canonical form, with what must hold of every one: not longer, itself canonical or of unknown fields, of the same digest, and its own
 * canonical form. */
static void canonical_of(struct wire *out, const uint8_t *bytes, size_t size)
{
  struct encounter_view view = view_of(bytes, size);
  uint8_t *room = malloc(size ? size : 1), *again = malloc(size ? size : 1); /* no more than promised, for a sanitizer to watch */
  out->size = 0;
  wire_bytes(out, room, digest_canonical(&view, room));
  assert_true(out->size <= size);
  struct encounter_view canonical = view_of(out->bytes, out->size);
  assert_int_equal(canonical.canonical, canonical.unknown_bytes == 0);
  assert_int_equal(canonical.present, view.present);
  assert_int_equal(digest_canonical(&canonical, again), out->size);
  assert_memory_equal(again, out->bytes, out->size);
  assert_string_equal(digest_of(out->bytes, out->size).text, digest_of(bytes, size).text);
  free(room);
  free(again);
}

static void canonical_is(const struct wire *from, const struct wire *expected)
{
  struct wire out;
  canonical_of(&out, from->bytes, from->size);
  assert_int_equal(out.size, expected->size);
  assert_memory_equal(out.bytes, expected->bytes, expected->size);
}

/* ---- hashes ---- */

static void the_digest_is_xxh3_128_of_the_bytes(void **state)
{
  (void)state;
  assert_string_equal(digest_of(NULL, 0).text, "99aa06d3014798d86001c324468d497f"); /* of nothing, as xxhsum -H2 prints it */
  struct random r = random_seeded("digest", 31);
  for (int i = 0; i < 3000; i++) {
    uint8_t bytes[SAMPLE_BYTES_MAX];
    char expected[TEXT_HEX128];
    size_t size = sample_pack(bytes, &r, (uint32_t)i % 9);
    XXH128_hash_t hash = XXH3_128bits(bytes, size); /* of the library, which the code under test does not call */
    snprintf(expected, sizeof expected, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
    assert_string_equal(digest_of(bytes, size).text, expected);
  }
}

/* These values are in stores: where one changes, records are looked for in the wrong shard, and resends are taken for conflicts. */
static void digests_shards_and_fingerprints_are_for_the_life_of_a_store(void **state)
{
  (void)state;
  static const uint8_t id[16] = {0x01, 0x90, 0xa5, 0xc2, 0x12, 0x34, 0x7a, 0xbc, 0x8d, 0xef, 0, 1, 2, 3, 4, 5};
  struct wire w = {0};
  wire_text(&w, FIELD_ENCOUNTER_ID, id, 16);
  wire_number(&w, FIELD_ENCOUNTER_TIME, UINT64_C(1614834367000008));
  wire_text(&w, FIELD_STATION, "Rio Grande City", 15);
  assert_string_equal(digest_of(w.bytes, w.size).text, "fd48f711c86662963b77172f24e57213");
  assert_int_equal(digest_shard(id, 2), 1);
  assert_int_equal(digest_shard(id, 64), 41);
  assert_int_equal(digest_shard(id, 64), (XXH3_64bits(id, 16) >> 32) * 64 >> 32);
  assert_int_equal(digest_shard_of_bytes(w.bytes, w.size, 64), 51);
  assert_int_equal(digest_fingerprint(id, 0), UINT64_C(0xa7873a72b1405114));
  assert_int_equal(digest_fingerprint(id, 77), UINT64_C(0x14fff943ae467437));
  assert_int_equal(digest_fingerprint(id, 77), XXH3_64bits_withSeed(id, 16, 77));
}

static void ids_spread_evenly_over_the_shards(void **state)
{
  (void)state;
  struct random r = random_seeded("shards", 32);
  uint8_t version_7[16] = {0x01, 0x90, 0xa5, 0xc2};
  for (uint32_t shards = 1; shards <= LIMIT_SHARDS; shards = shards * 2 + 1) {
    uint32_t count[LIMIT_SHARDS] = {0}, each = 4000;
    for (uint32_t i = 0; i < each * shards; i++) {
      store_u64(version_7 + 8, random_next(&r));
      uint32_t shard = digest_shard(version_7, shards);
      assert_true(shard < shards);
      count[shard]++;
    }
    for (uint32_t shard = 0; shard < shards; shard++)
      assert_in_range(count[shard], each * 9 / 10, each * 11 / 10); /* more than six standard deviations */
  }
}

static void a_record_without_an_id_has_a_shard(void **state)
{
  (void)state;
  bool seen[7] = {false};
  for (unsigned i = 0; i < 256; i++) {
    uint8_t byte = (uint8_t)i;
    uint32_t shard = digest_shard_of_bytes(&byte, 1, 7);
    assert_true(shard < 7);
    seen[shard] = true;
  }
  for (unsigned i = 0; i < 7; i++)
    assert_true(seen[i]);
  assert_true(digest_shard_of_bytes((const uint8_t *)"", 0, 7) < 7);
}

/* ---- the canonical form ---- */

static void what_protobuf_c_packs_is_canonical(void **state)
{
  (void)state;
  struct random r = random_seeded("packed", 33);
  for (int i = 0; i < 3000; i++) {
    struct wire w, out;
    w.size = sample_pack(w.bytes, &r, (uint32_t)i % 9);
    canonical_of(&out, w.bytes, w.size);
    assert_int_equal(out.size, w.size);
    assert_memory_equal(out.bytes, w.bytes, w.size);
  }
}

/* Writes the fields of a record anew: in any order, some of them twice (an older value first), tags, lengths and numbers padded. */
static void disguise(struct wire *out, const uint8_t *bytes, size_t size, struct random *r)
{
  struct scan_part parts[FIELD_COUNT];
  uint32_t count = 0;
  for (const uint8_t *p = bytes; p < bytes + size;)
    assert_true(scan_part_next(&parts[count++], &p, bytes + size));
  for (uint32_t i = count; i-- > 1;) {
    uint32_t j = random_below(r, i + 1);
    struct scan_part swap = parts[i];
    parts[i] = parts[j];
    parts[j] = swap;
  }
  out->size = 0;
  for (uint32_t i = 0; i < count; i++)
    if (random_below(r, 4) == 0) {
      if (parts[i].wire_type == 2)
        wire_text(out, parts[i].number, "old", 3);
      else
        wire_number(out, parts[i].number, 0);
    }
  for (uint32_t i = 0; i < count; i++) {
    size_t length = (size_t)(parts[i].end - parts[i].value);
    wire_varint(out, parts[i].number << 3 | parts[i].wire_type, 1 + random_below(r, 5));
    if (parts[i].wire_type == 2) {
      wire_varint(out, length, 1 + random_below(r, 5));
      wire_bytes(out, parts[i].value, length);
    } else {
      uint64_t value = 0;
      assert_non_null(varint_read(parts[i].value, parts[i].end, &value));
      if (scan_kind_of(parts[i].number) != SCAN_INT64 && random_below(r, 4) == 0)
        value |= random_next(r) << 32; /* bits that a 32-bit field does not have */
      wire_varint(out, value, 1 + random_below(r, 10));
    }
  }
}

static void a_resend_in_another_encoding_is_the_same_content(void **state)
{
  (void)state;
  struct random r = random_seeded("disguises", 34);
  for (int i = 0; i < 5000; i++) {
    uint8_t bytes[SAMPLE_BYTES_MAX];
    struct wire w, out;
    size_t size = sample_pack(bytes, &r, 1 + (uint32_t)i % 8);
    disguise(&w, bytes, size, &r);
    canonical_of(&out, w.bytes, w.size);
    assert_int_equal(out.size, size);
    assert_memory_equal(out.bytes, bytes, size);
    assert_string_equal(digest_of(w.bytes, w.size).text, digest_of(bytes, size).text);
  }
}

static void other_content_has_another_digest(void **state)
{
  (void)state;
  struct random r = random_seeded("changes", 35);
  unsigned compared = 0;
  for (int i = 0; i < 5000; i++) {
    uint8_t bytes[SAMPLE_BYTES_MAX];
    struct encounter_view view;
    struct scan_fault fault;
    size_t size = sample_pack(bytes, &r, 8);
    struct digest_text before = digest_of(bytes, size);
    bytes[random_below(&r, (uint32_t)size)] ^= (uint8_t)(1u << random_below(&r, 8));
    /* A change that canonical form undoes, as one of bits that a 32-bit field does not have, is no change of content. */
    if (scan_of(&view, &fault, bytes, size) != NO_REASON || !view.canonical)
      continue;
    compared++;
    assert_string_not_equal(digest_of(bytes, size).text, before.text);
  }
  assert_true(compared > 1000);
  struct wire empty_text = {0}, zero = {0};
  wire_text(&empty_text, FIELD_STATION, "", 0); /* present and empty is not absent, present and zero neither */
  wire_number(&zero, FIELD_ENCOUNTER_TIME, 0);
  assert_string_not_equal(digest_of(empty_text.bytes, empty_text.size).text, digest_of(NULL, 0).text);
  assert_string_not_equal(digest_of(zero.bytes, zero.size).text, digest_of(NULL, 0).text);
}

/* ---- unknown fields ---- */

static void unknown_fields_follow_by_number_and_keep_their_values(void **state)
{
  (void)state;
  struct wire from = {0}, expected = {0};
  wire_tag(&from, 70, 0), wire_varint(&from, 5, 3);                                          /* a padded value stays padded */
  wire_varint(&from, 20 << 3 | 2, 5), wire_varint(&from, 3, 4), wire_bytes(&from, "one", 3); /* tag and length do not */
  wire_number(&from, FIELD_DISPOSITION, 4);
  wire_tag(&from, 19, 1), wire_bytes(&from, "12345678", 8);
  wire_text(&from, 20, "a second, before", 16);
  wire_tag(&from, 20, 5), wire_bytes(&from, "1234", 4);
  wire_number(&from, FIELD_COMPONENT, 1);
  wire_varint(&from, (UINT64_C(1) << 32) - 8, 5), wire_varint(&from, 1, 0);
  wire_number(&from, 18, 1);

  wire_number(&expected, FIELD_COMPONENT, 1);
  wire_number(&expected, FIELD_DISPOSITION, 4);
  wire_number(&expected, 18, 1);
  wire_tag(&expected, 19, 1), wire_bytes(&expected, "12345678", 8);
  wire_text(&expected, 20, "one", 3);
  wire_text(&expected, 20, "a second, before", 16);
  wire_tag(&expected, 20, 5), wire_bytes(&expected, "1234", 4);
  wire_tag(&expected, 70, 0), wire_varint(&expected, 5, 3);
  wire_number(&expected, (UINT32_C(1) << 29) - 1, 1);
  canonical_is(&from, &expected);
  canonical_is(&expected, &expected);
  struct wire other = {0};
  wire_text(&other, 20, "b", 1), wire_text(&other, 20, "a", 1);
  canonical_is(&other, &other); /* of equal numbers, the order is content */
}

static void as_many_unknown_fields_as_there_can_be_are_sorted(void **state)
{
  (void)state;
  struct random r = random_seeded("many", 36);
  for (int round = 0; round < 3; round++) {
    struct wire w = {0}, out;
    unsigned written = 0;
    for (; w.size + 3 <= LIMIT_UNKNOWN_BYTES; written++) /* three bytes each, the least: descending, ascending, any order */
      wire_number(&w, round == 0 ? 2000 - written : round == 1 ? 18 + written : 18 + random_below(&r, 2000), written % 128);
    assert_int_equal(written, LIMIT_UNKNOWN_BYTES / 3);
    canonical_of(&out, w.bytes, w.size);
    assert_int_equal(out.size, w.size);
    uint32_t last_number = 0;
    const uint8_t *p = out.bytes;
    for (struct scan_part part; scan_part_next(&part, &p, out.bytes + out.size); written--) {
      assert_true(part.number >= last_number);
      last_number = part.number;
    }
    assert_int_equal(written, 0);
  }
}

static void equal_numbers_keep_their_order_among_many(void **state)
{
  (void)state;
  struct wire w = {0}, out;
  for (unsigned i = 0; i < 400; i++) {
    uint16_t count = (uint16_t)i;
    wire_text(&w, 30 - i % 3, &count, 2);
  }
  canonical_of(&out, w.bytes, w.size);
  const uint8_t *p = out.bytes;
  int before = -1;
  uint32_t number = 28;
  for (struct scan_part part; scan_part_next(&part, &p, out.bytes + out.size);) {
    if (part.number != number)
      before = -1;
    number = part.number;
    assert_true(load_u16(part.value) > before);
    before = load_u16(part.value);
  }
  assert_int_equal(number, 30);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_digest_is_xxh3_128_of_the_bytes),
      cmocka_unit_test(digests_shards_and_fingerprints_are_for_the_life_of_a_store),
      cmocka_unit_test(ids_spread_evenly_over_the_shards),
      cmocka_unit_test(a_record_without_an_id_has_a_shard),
      cmocka_unit_test(what_protobuf_c_packs_is_canonical),
      cmocka_unit_test(a_resend_in_another_encoding_is_the_same_content),
      cmocka_unit_test(other_content_has_another_digest),
      cmocka_unit_test(unknown_fields_follow_by_number_and_keep_their_values),
      cmocka_unit_test(as_many_unknown_fields_as_there_can_be_are_sorted),
      cmocka_unit_test(equal_numbers_keep_their_order_among_many),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
