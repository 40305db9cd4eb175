#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "proto/varint.h"
#include "tests/proto/sample.h"

static void reads_what_it_writes_at_every_width(void **state)
{
  (void)state;
  for (unsigned bits = 0; bits <= 64; bits++) {
    uint64_t edge = bits == 64 ? 0 : UINT64_C(1) << bits;
    uint64_t values[] = {edge - 1, edge, edge + 1};
    for (unsigned i = 0; i < 3; i++) {
      uint8_t bytes[VARINT_BYTES_MAX];
      uint64_t value = ~values[i];
      uint8_t *end = varint_write(bytes, values[i]);
      assert_int_equal(end - bytes, varint_size(values[i]));
      assert_ptr_equal(varint_read(bytes, end, &value), end);
      assert_int_equal(value, values[i]);
      for (const uint8_t *cut = bytes; cut < end; cut++)
        assert_null(varint_read(bytes, cut, &value));
    }
  }
}

static void sizes_change_at_multiples_of_seven_bits(void **state)
{
  (void)state;
  assert_int_equal(varint_size(0), 1);
  for (unsigned bytes = 1; bytes < VARINT_BYTES_MAX; bytes++) {
    assert_int_equal(varint_size((UINT64_C(1) << 7 * bytes) - 1), bytes);
    assert_int_equal(varint_size(UINT64_C(1) << 7 * bytes), bytes + 1);
  }
  assert_int_equal(varint_size(UINT64_MAX), VARINT_BYTES_MAX);
}

static void the_bytes_are_those_of_the_specification(void **state)
{
  (void)state;
  uint8_t bytes[VARINT_BYTES_MAX];
  assert_int_equal(varint_write(bytes, 150) - bytes, 2);
  assert_memory_equal(bytes, "\x96\x01", 2);
  assert_int_equal(varint_write(bytes, UINT64_MAX) - bytes, 10);
  assert_memory_equal(bytes, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10);
}

static void padding_is_read_up_to_ten_bytes(void **state)
{
  (void)state;
  for (unsigned bytes = 1; bytes <= 12; bytes++) {
    struct wire w = {0};
    uint64_t value = 0;
    wire_varint(&w, 5, bytes);
    assert_int_equal(w.size, bytes);
    const uint8_t *after = varint_read(w.bytes, w.bytes + w.size, &value);
    if (bytes <= VARINT_BYTES_MAX) {
      assert_ptr_equal(after, w.bytes + bytes);
      assert_int_equal(value, 5);
    } else
      assert_null(after);
  }
}

static void more_than_64_bits_are_refused(void **state)
{
  (void)state;
  uint64_t value;
  uint8_t bytes[10];
  memset(bytes, 0xff, 9);
  for (unsigned last = 0; last < 256; last++) {
    bytes[9] = (uint8_t)last;
    assert_int_equal(varint_read(bytes, bytes + 10, &value) != NULL, last <= 1);
  }
}

static void zigzag_is_its_own_way_back(void **state)
{
  (void)state;
  static const struct {
    int64_t value;
    uint64_t encoded;
  } known[] = {{0, 0},
               {-1, 1},
               {1, 2},
               {-2, 3},
               {INT32_MAX, 4294967294u},
               {INT32_MIN, 4294967295u},
               {INT64_MAX, UINT64_MAX - 1},
               {INT64_MIN, UINT64_MAX}};
  for (unsigned i = 0; i < sizeof known / sizeof known[0]; i++) {
    assert_int_equal(zigzag_encode(known[i].value), known[i].encoded);
    assert_int_equal(zigzag_decode(known[i].encoded), known[i].value);
  }
}

static void loads_and_stores_are_little_endian_anywhere(void **state)
{
  (void)state;
  uint8_t bytes[9] = {0xaa, 1, 2, 3, 4, 5, 6, 7, 8};
  assert_int_equal(load_u16(bytes + 1), 0x0201);
  assert_int_equal(load_u32(bytes + 1), 0x04030201);
  assert_int_equal(load_u64(bytes + 1), UINT64_C(0x0807060504030201));
  store_u64(bytes + 1, UINT64_C(0x1122334455667788));
  store_u32(bytes + 5, 0xddccbbaa);
  assert_memory_equal(bytes, "\xaa\x88\x77\x66\x55\xaa\xbb\xcc\xdd", 9);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_what_it_writes_at_every_width),
      cmocka_unit_test(sizes_change_at_multiples_of_seven_bits),
      cmocka_unit_test(the_bytes_are_those_of_the_specification),
      cmocka_unit_test(padding_is_read_up_to_ten_bytes),
      cmocka_unit_test(more_than_64_bits_are_refused),
      cmocka_unit_test(zigzag_is_its_own_way_back),
      cmocka_unit_test(loads_and_stores_are_little_endian_anywhere),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
