/* ingest/split.c: the walk over a batch's stream and its scattering. */
#include "ingest/stage.h"

#include "ingest/split.h"
#include "proto/digest.h"

static struct stage_stream stream;

static void walk_fails(const uint8_t *bytes, size_t size, uint32_t count, uint32_t reason, uint32_t record, uint32_t byte)
{
  struct ingest_split s;
  struct ingest_split_fault fault = {0};
  uint8_t *exact = malloc(size ? size : 1); /* so that a read behind the end is seen */
  memcpy(exact, bytes, size);
  assert_int_equal(ingest_split_init(&s, 3), MUSTER_OK);
  assert_false(ingest_split_walk(&s, exact, size, count, &fault));
  assert_int_equal(fault.reason, reason);
  assert_int_equal(fault.record, record);
  assert_int_equal(fault.byte, byte);
  ingest_split_finish(&s);
  free(exact);
}

static void scatter(struct ingest_split *s, uint32_t shards, const struct stage_stream *from, struct link_frame *part)
{
  struct ingest_split_fault fault;
  struct link_frame f;
  assert_int_equal(ingest_split_init(s, shards), MUSTER_OK);
  assert_true(ingest_split_walk(s, from->bytes, from->size, from->count, &fault));
  stage_frame(&f, from->bytes, from->size);
  for (uint32_t i = 0; i < shards; i++)
    link_frame_init_empty(&part[i]);
  assert_int_equal(ingest_split_scatter(s, &f, part), MUSTER_OK);
  link_frame_finish(&f);
}

static void every_record_reaches_its_shard_in_order(void **state)
{
  (void)state;
  const uint32_t shard_counts[] = {1, 2, 7, LIMIT_SHARDS};
  for (unsigned n = 0; n < 4; n++) {
    struct ingest_split s;
    struct link_frame part[LIMIT_SHARDS];
    uint32_t shards = shard_counts[n], seen = 0;
    stage_stream_init(&stream);
    uint8_t id[16];
    for (uint32_t i = 0; i < LIMIT_BATCH_RECORDS; i++) {
      stage_id(id, i);
      stage_add(&stream, id, (uint32_t)(stage_random() % 150));
    }
    scatter(&s, shards, &stream, part);
    uint64_t next[LIMIT_SHARDS] = {0};
    for (uint32_t shard = 0; shard < shards; shard++) {
      const uint8_t *p = link_frame_data(&part[shard]), *end = p + link_frame_size(&part[shard]);
      struct batch_record r;
      uint32_t count = 0;
      while (batch_next(&p, end, &r) == BATCH_RECORD) {
        uint64_t number = stage_number(&r);
        stage_id(id, number);
        assert_int_equal(digest_shard(id, shards), shard);
        assert_int_equal(s.shard_of[number], shard);
        assert_true(count == 0 || number > next[shard]);
        next[shard] = number;
        const uint8_t *q = stream.bytes + stream.at[number];
        struct batch_record original;
        assert_int_equal(batch_next(&q, stream.bytes + stream.size, &original), BATCH_RECORD);
        assert_int_equal(original.size, r.size);
        assert_memory_equal(original.bytes, r.bytes, r.size);
        count++;
      }
      assert_ptr_equal(p, end);
      assert_int_equal(count, s.part_records[shard]);
      assert_true(count > 0);
      seen += count;
      link_frame_finish(&part[shard]);
    }
    assert_int_equal(seen, LIMIT_BATCH_RECORDS);
    ingest_split_finish(&s);
    stage_stream_finish(&stream);
  }
}

static void broken_streams_say_where(void **state)
{
  (void)state;
  const uint32_t broken = MUSTER__V1__REASON__REASON_BATCH_STREAM, miscounted = MUSTER__V1__REASON__REASON_BATCH_COUNT;
  stage_fill(&stream, 5, 0, 200);
  uint32_t last = stream.at[4], size = (uint32_t)stream.size;
  stage_room(&stream, 11); /* what stands behind it below */
  walk_fails(stream.bytes, size - 3, 5, broken, 4, last);
  walk_fails(stream.bytes, last + 1, 5, broken, 4, last); /* in the middle of a length */
  walk_fails(stream.bytes, last, 5, miscounted, 4, last);
  walk_fails(stream.bytes, size, 4, miscounted, 4, last);
  walk_fails(stream.bytes, size, 6, miscounted, 5, size);
  walk_fails(stream.bytes, 0, 1, miscounted, 0, 0);
  memset(stream.bytes + size, 0xff, 11);
  walk_fails(stream.bytes, size + 11, 5, broken, 5, size); /* no varint at all */
  walk_fails(stream.bytes + size, 11, 1, broken, 0, 0);
  stream.bytes[size] = 0;
  walk_fails(stream.bytes, size + 1, 6, broken, 5, size); /* a record of no bytes */
  const uint8_t four_gib[] = {0x80, 0x80, 0x80, 0x80, 0x10, 'x'};
  memcpy(stream.bytes + size, four_gib, sizeof four_gib);
  walk_fails(stream.bytes, size + sizeof four_gib, 6, broken, 5, size);
  uint8_t *p = varint_write(stream.bytes + size, LIMIT_MESSAGE_BYTES + 1);
  walk_fails(stream.bytes, (size_t)(p - stream.bytes), 6, broken, 5, size);
  stage_stream_finish(&stream);
}

static void padded_lengths_become_shortest(void **state)
{
  (void)state;
  struct ingest_split s;
  struct link_frame part[2];
  stage_fill(&stream, 40, 0, 30);
  struct stage_stream padded;
  stage_stream_init(&padded);
  stage_room(&padded, stream.size + 2 * stream.count);
  for (uint32_t i = 0; i < stream.count; i++) {
    const uint8_t *p = stream.bytes + stream.at[i];
    uint8_t *out = padded.bytes + padded.size;
    *out++ = *p++ | 0x80; /* the size, in three bytes */
    *out++ = 0x80;
    *out++ = 0;
    memcpy(out, p, stream.at[i + 1] - stream.at[i] - 1);
    padded.size += stream.at[i + 1] - stream.at[i] + 2;
    padded.at[++padded.count] = (uint32_t)padded.size;
  }
  scatter(&s, 2, &padded, part);
  assert_int_equal(link_frame_size(&part[0]) + link_frame_size(&part[1]), stream.size);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(link_frame_size(&part[i]), s.part_bytes[i]);
    link_frame_finish(&part[i]);
  }
  ingest_split_finish(&s);
  stage_stream_finish(&padded);
  stage_stream_finish(&stream);
}

static void odd_records_travel_too(void **state)
{
  (void)state;
  struct ingest_split s;
  struct link_frame part[5];
  uint8_t id[16];
  stage_stream_init(&stream);
  stage_id(id, 1);
  assert_true(stage_add(&stream, id, 60000) > LIMIT_RECORD_BYTES);
  const uint8_t noise[] = {5, 0xff, 0xfe, 'n', 'o', '!'};
  stage_room(&stream, sizeof noise);
  memcpy(stream.bytes + stream.size, noise, sizeof noise);
  stream.size += sizeof noise;
  stream.count++;
  scatter(&s, 5, &stream, part);
  assert_int_equal(s.shard_of[0], digest_shard(id, 5));
  assert_int_equal(s.shard_of[1], digest_shard_of_bytes(noise + 1, 5, 5));
  size_t sum = 0;
  for (uint32_t i = 0; i < 5; i++) {
    sum += link_frame_size(&part[i]);
    link_frame_finish(&part[i]);
  }
  assert_int_equal(sum, stream.size);
  ingest_split_finish(&s);
  stage_stream_finish(&stream);
}

/* A large stream of one shard is not copied; a small one is, so that it does not hold a receive buffer. */
static void one_shard_takes_the_frame_itself(void **state)
{
  (void)state;
  const uint32_t fillers[] = {100, 20000};
  for (int n = 0; n < 2; n++) {
    struct ingest_split s;
    struct ingest_split_fault fault;
    struct link_frame f, part[4];
    stage_fill(&stream, 1, 7, fillers[n]);
    stage_frame(&f, stream.bytes, stream.size);
    const uint8_t *bytes = link_frame_data(&f);
    for (int i = 0; i < 4; i++)
      link_frame_init_empty(&part[i]);
    ingest_split_init(&s, 4);
    assert_true(ingest_split_walk(&s, bytes, stream.size, 1, &fault));
    assert_int_equal(ingest_split_scatter(&s, &f, part), MUSTER_OK);
    struct link_frame *mine = &part[s.shard_of[0]];
    assert_int_equal(link_frame_size(mine), stream.size);
    assert_memory_equal(link_frame_data(mine), stream.bytes, stream.size);
    assert_int_equal(link_frame_data(mine) == bytes, n == 1);
    for (int i = 0; i < 4; i++)
      link_frame_finish(&part[i]);
    link_frame_finish(&f);
    ingest_split_finish(&s);
    stage_stream_finish(&stream);
  }
}

int main(void)
{
  stage_seed_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_record_reaches_its_shard_in_order), cmocka_unit_test(broken_streams_say_where),
      cmocka_unit_test(padded_lengths_become_shortest),          cmocka_unit_test(odd_records_travel_too),
      cmocka_unit_test(one_shard_takes_the_frame_itself),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
