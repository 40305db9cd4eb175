/*
 * The stream that the drivers of the peers send: every record found once and in its place, batches that add up, and no stream taken that is
 * cut, empty, or not one of `muster generate`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "bench/peers/peer.h"
#include "bench/stream.h"
#include "core/config.h"
#include "muster/status.h"
#include "proto/varint.h"

static char path[] = "/tmp/muster-test-peer-XXXXXX";
static struct bench_stream supply;

static void write_file(const void *bytes, size_t size)
{
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, size, f), size);
  assert_int_equal(fclose(f), 0);
}

static struct bench_stream_options options_of(uint64_t records)
{
  return (struct bench_stream_options){
      .profile = profile_find("fy2021-southwest"), .records = records, .seed = 3, .resends_per_10000 = 200};
}

static void write_generated(uint64_t records)
{
  struct bench_stream_options options = options_of(records);
  struct bench_item item;
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(bench_stream_init(&supply, &options), MUSTER_OK);
  while (bench_stream_next(&supply, &item)) {
    uint8_t prefix[VARINT_BYTES_MAX];
    fwrite(prefix, 1, (size_t)(varint_write(prefix, item.size) - prefix), f);
    fwrite(item.bytes, 1, item.size, f);
  }
  assert_int_equal(fclose(f), 0);
}

static void refused(const char *word)
{
  struct peer_stream s;
  const char *error = NULL;
  assert_false(peer_stream_open(&s, path, &error));
  assert_non_null(error);
  if (!strstr(error, word))
    fail_msg("\"%s\" does not say \"%s\"", error, word);
  assert_null(s.map);
  assert_null(s.records);
}

static void test_every_record_is_found_with_its_bytes(void **state)
{
  (void)state;
  struct peer_stream s;
  struct bench_item item;
  struct bench_stream_options options = options_of(2345);
  const char *error;
  write_generated(2345);
  assert_true(peer_stream_open(&s, path, &error));
  assert_null(error);
  assert_int_equal(s.count, bench_stream_lines(&options));
  assert_int_equal(bench_stream_init(&supply, &options), MUSTER_OK);
  for (uint64_t i = 0; bench_stream_next(&supply, &item); i++) {
    assert_true(i < s.count);
    assert_int_equal(s.records[i].size, item.size);
    assert_memory_equal(s.records[i].bytes, item.bytes, item.size);
    assert_memory_equal(s.records[i].id, item.bytes + 2, PEER_ID);
  }
  peer_stream_close(&s);
}

static void test_batches_add_up_to_the_stream(void **state)
{
  (void)state;
  struct peer_stream s;
  const struct peer_record *first = NULL;
  uint64_t seen = 0;
  uint32_t count;
  write_generated(2345);
  assert_true(peer_stream_open(&s, path, NULL));
  assert_int_equal(peer_batches(&s), 3);
  for (uint64_t i = 0; (count = peer_batch(&s, i, &first)) > 0; i++) {
    assert_true(i < peer_batches(&s));
    assert_ptr_equal(first, s.records + seen);
    assert_true(count == PEER_BATCH || i == peer_batches(&s) - 1);
    seen += count;
  }
  assert_int_equal(seen, s.count);
  peer_stream_close(&s);
}

static void test_a_stream_of_whole_batches_has_no_empty_one(void **state)
{
  (void)state;
  struct peer_stream s = {.count = 2 * PEER_BATCH};
  const struct peer_record *first;
  s.records = calloc(s.count, sizeof *s.records);
  assert_non_null(s.records);
  assert_int_equal(peer_batches(&s), 2);
  assert_int_equal(peer_batch(&s, 1, &first), PEER_BATCH);
  assert_int_equal(peer_batch(&s, 2, &first), 0);
  peer_stream_close(&s);
}

static void test_what_is_no_stream_is_refused(void **state)
{
  (void)state;
  uint8_t record[20] = {19, 0x0a, 16}; /* its length, the id's tag and length, the id, one byte more */
  write_file(record, 20);
  struct peer_stream s;
  assert_true(peer_stream_open(&s, path, NULL));
  assert_int_equal(s.count, 1);
  assert_int_equal(s.records[0].size, 19);
  peer_stream_close(&s);
  write_file(record, 19);
  refused("breaks");
  write_file("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11);
  refused("breaks");
  record[1] = 0x12;
  write_file(record, 20);
  refused("id");
  record[1] = 0x0a, record[2] = 15;
  write_file(record, 20);
  refused("id");
  write_file("\1\x0a", 2);
  refused("id");
  write_file("", 0);
  refused("empty");
  assert_int_equal(unlink(path), 0);
  refused("read");
}

static int setup(void **state)
{
  (void)state;
  int fd = mkstemp(path);
  return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
  (void)state;
  unlink(path);
  return 0;
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_record_is_found_with_its_bytes),
      cmocka_unit_test(test_batches_add_up_to_the_stream),
      cmocka_unit_test(test_a_stream_of_whole_batches_has_no_empty_one),
      cmocka_unit_test(test_what_is_no_stream_is_refused),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
