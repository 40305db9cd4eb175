#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "proto/batch.h"
#include "proto/wire.pb-c.h"
#include "tests/proto/sample.h"

/* ---- the delimited stream ---- */

static void a_stream_gives_its_records_and_its_end(void **state)
{
  (void)state;
  static const uint8_t stream[] = {2, 'a', 'b', 1, 'c', 0x81, 0x00, 'd'}; /* the last length is padded */
  const uint8_t *p = stream, *end = stream + sizeof stream;
  struct batch_record record;
  assert_int_equal(batch_next(&p, end, &record), BATCH_RECORD);
  assert_int_equal(record.size, 2);
  assert_ptr_equal(record.bytes, stream + 1);
  assert_int_equal(batch_next(&p, end, &record), BATCH_RECORD);
  assert_int_equal(record.size, 1);
  assert_int_equal(batch_next(&p, end, &record), BATCH_RECORD);
  assert_ptr_equal(record.bytes, stream + 7);
  assert_int_equal(batch_next(&p, end, &record), BATCH_END);
  assert_ptr_equal(p, end);
}

static void step_is(const void *bytes, size_t size, enum batch_step expected)
{
  const uint8_t *start = bytes, *p = start;
  struct batch_record record;
  assert_int_equal(batch_next(&p, start + size, &record), expected);
  if (expected != BATCH_RECORD)
    assert_ptr_equal(p, start);
}

static void a_stream_that_breaks_off_says_how(void **state)
{
  (void)state;
  step_is("\x03zz", 3, BATCH_CUT);
  step_is("\x80", 1, BATCH_CUT);
  step_is("\xff\xff\xff\xff\xff\xff\xff\xff\xff", 9, BATCH_CUT);
  step_is("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10, BATCH_BAD_LENGTH);
  step_is("\xff\xff\xff\xff\x0fzz", 7, BATCH_BAD_LENGTH); /* 4 GiB - 1 */
  step_is("\x00zz", 3, BATCH_BAD_LENGTH);
  step_is("\x80\x80\x80\x02", 4, BATCH_CUT);        /* LIMIT_MESSAGE_BYTES */
  step_is("\x81\x80\x80\x02", 4, BATCH_BAD_LENGTH); /* and one more */
  step_is("", 0, BATCH_END);
}

static void a_record_over_its_limit_is_still_a_record(void **state)
{
  (void)state;
  struct wire w = {0};
  struct batch_record record;
  wire_varint(&w, LIMIT_RECORD_BYTES + 1, 0);
  const uint8_t *p = w.bytes, *end = w.bytes + w.size + LIMIT_RECORD_BYTES + 1;
  assert_int_equal(batch_next(&p, end, &record), BATCH_RECORD);
  assert_int_equal(record.size, LIMIT_RECORD_BYTES + 1);
  assert_ptr_equal(p, end);
}

/* ---- verdict words ---- */

static void verdict_words_hold_what_was_put_in(void **state)
{
  (void)state;
  const uint64_t sequence_max = (UINT64_C(1) << 48) - 1;
  uint64_t word = verdict_durable(MUSTER__V1__VERDICT__VERDICT_CONFLICT, 4095, sequence_max);
  assert_int_equal(word, UINT64_C(0xfffffffffffffff3));
  assert_int_equal(verdict_kind(word), MUSTER__V1__VERDICT__VERDICT_CONFLICT);
  assert_int_equal(verdict_shard(word), 4095);
  assert_int_equal(verdict_sequence(word), sequence_max);
  word = verdict_durable(MUSTER__V1__VERDICT__VERDICT_ACCEPTED, 2, 7);
  assert_int_equal(word, UINT64_C(0x70021));
  word = verdict_refused(MUSTER__V1__VERDICT__VERDICT_INVALID, 3, MUSTER__V1__REASON__REASON_RETRY_OUTCOME_UNKNOWN, 17);
  assert_int_equal(word, UINT64_C(0x1100fa0034));
  assert_int_equal(verdict_kind(word), MUSTER__V1__VERDICT__VERDICT_INVALID);
  assert_int_equal(verdict_shard(word), 3);
  assert_int_equal(verdict_reason(word), 250);
  assert_int_equal(verdict_field(word), 17);
}

/* ---- the hop ---- */

static const struct hop_head FULL = {.kind = HOP_WORDS,
                                     .version = HOP_VERSION,
                                     .part_id = UINT64_C(0x1112131415161718),
                                     .epoch = UINT64_C(0x2122232425262728),
                                     .received_us = -INT64_C(0x0102030405060708),
                                     .submitter = 0x31323334,
                                     .record_count = 0x41424344,
                                     .shard = 0x51525354,
                                     .shards = 0x61626364,
                                     .store_records = UINT64_C(0x7172737475767778),
                                     .blocked_reason = 0x81828384};

static void heads_are_equal(const struct hop_head *a, const struct hop_head *b)
{
  assert_int_equal(a->kind, b->kind);
  assert_int_equal(a->version, b->version);
  assert_int_equal(a->part_id, b->part_id);
  assert_int_equal(a->epoch, b->epoch);
  assert_int_equal(a->received_us, b->received_us);
  assert_int_equal(a->submitter, b->submitter);
  assert_int_equal(a->record_count, b->record_count);
  assert_int_equal(a->shard, b->shard);
  assert_int_equal(a->shards, b->shards);
  assert_int_equal(a->store_records, b->store_records);
  assert_int_equal(a->blocked_reason, b->blocked_reason);
}

static void a_head_comes_back_as_it_went(void **state)
{
  (void)state;
  uint8_t bytes[HOP_HEAD_BYTES];
  struct hop_head read, empty = {.kind = HOP_HELLO, .version = HOP_VERSION};
  memset(bytes, 0xee, sizeof bytes);
  hop_head_write(bytes, &FULL);
  assert_true(hop_head_read(&read, bytes, sizeof bytes));
  heads_are_equal(&read, &FULL);
  hop_head_write(bytes, &empty);
  assert_true(hop_head_read(&read, bytes, sizeof bytes));
  heads_are_equal(&read, &empty);
}

static void the_layout_of_a_head_is_fixed(void **state)
{
  (void)state;
  uint8_t bytes[HOP_HEAD_BYTES];
  memset(bytes, 0xee, sizeof bytes);
  hop_head_write(bytes, &FULL);
  assert_memory_equal(bytes,
                      "\x04\0\0\0\x02\0\0\0"
                      "\x18\x17\x16\x15\x14\x13\x12\x11\x28\x27\x26\x25\x24\x23\x22\x21\xf8\xf8\xf9\xfa\xfb\xfc\xfd\xfe"
                      "\x34\x33\x32\x31\x44\x43\x42\x41\x54\x53\x52\x51\x64\x63\x62\x61\x78\x77\x76\x75\x74\x73\x72\x71"
                      "\x84\x83\x82\x81\0\0\0\0",
                      HOP_HEAD_BYTES);
}

static void another_version_or_size_is_no_head(void **state)
{
  (void)state;
  uint8_t bytes[HOP_HEAD_BYTES + 1] = {0};
  struct hop_head read, unversioned = {.kind = HOP_PART};
  hop_head_write(bytes, &unversioned);
  assert_true(hop_head_read(&read, bytes, HOP_HEAD_BYTES)); /* the version is the writer's business, not its caller's */
  assert_int_equal(read.version, HOP_VERSION);
  assert_false(hop_head_read(&read, bytes, HOP_HEAD_BYTES - 1));
  assert_false(hop_head_read(&read, bytes, HOP_HEAD_BYTES + 1));
  assert_false(hop_head_read(&read, bytes, 0));
  bytes[4] = HOP_VERSION + 1;
  assert_false(hop_head_read(&read, bytes, HOP_HEAD_BYTES));
  bytes[4] = 0;
  assert_false(hop_head_read(&read, bytes, HOP_HEAD_BYTES));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_stream_gives_its_records_and_its_end),
      cmocka_unit_test(a_stream_that_breaks_off_says_how),
      cmocka_unit_test(a_record_over_its_limit_is_still_a_record),
      cmocka_unit_test(verdict_words_hold_what_was_put_in),
      cmocka_unit_test(a_head_comes_back_as_it_went),
      cmocka_unit_test(the_layout_of_a_head_is_fixed),
      cmocka_unit_test(another_version_or_size_is_no_head),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
