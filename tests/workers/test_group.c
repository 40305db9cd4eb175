/* workers/group.c: what fits a group, the walk over parts of every shape, and what becomes of records that are not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "core/limits.h"
#include "muster/status.h"
#include "workers/group.h"

#define UNSEEN 77u

/* Joins a part whose stream is given; count is what its head says. */
static struct group_part *join(struct group *g, uint64_t part_id, const char *stream, size_t size, uint32_t count)
{
  struct hop_head head = {
      .kind = HOP_PART, .part_id = part_id, .record_count = count, .submitter = (uint32_t)part_id + 1, .received_us = (int64_t)part_id + 2};
  struct link_message m;
  link_message_init(&m);
  memcpy(m.identity, "ingest-0", 8);
  m.identity_size = 8;
  m.frame_count = 2;
  assert_int_equal(link_frame_init(&m.frame[1], size), MUSTER_OK);
  memcpy(link_frame_data(&m.frame[1]), stream, size);
  const uint8_t *before = link_frame_data(&m.frame[1]);
  struct group_part *part = group_add(g, &head, &m, UNSEEN);
  if (size > 64)
    assert_ptr_equal(link_frame_data(&part->records), before); /* moved, not copied */
  assert_int_equal(link_frame_size(&m.frame[1]), 0);
  link_message_finish(&m);
  return part;
}

static int setup(void **state)
{
  static struct group g;
  *state = &g;
  return group_init(&g);
}

static int teardown(void **state)
{
  group_finish(*state);
  return 0;
}

static void test_walk_in_order(void **state)
{
  struct group *g = *state;
  struct group_cursor c;
  struct group_record r;
  join(g, 10,
       "\x01"
       "a\x02"
       "bc",
       5, 2);
  join(g, 20,
       "\x03"
       "def",
       4, 1);
  assert_int_equal(g->record_count, 3);
  assert_int_equal(g->bytes, 9);
  static const char *const expected[] = {"a", "bc", "def"};
  group_start(&c, g);
  for (uint32_t i = 0; i < 3; i++) {
    assert_true(group_next(&c, &r));
    assert_int_equal(r.size, strlen(expected[i]));
    assert_memory_equal(r.bytes, expected[i], r.size);
    assert_ptr_equal(r.word, &g->words[i]);
    assert_int_equal(*r.word, UNSEEN);
    assert_int_equal(r.part->part_id, i < 2 ? 10 : 20);
    assert_int_equal(r.part->receipt.submitter, r.part->part_id + 1);
    assert_int_equal(r.part->receipt.received_us, r.part->part_id + 2);
    assert_int_equal(r.part->identity_size, 8);
    assert_memory_equal(r.part->identity, "ingest-0", 8);
  }
  assert_false(group_next(&c, &r));
  assert_int_equal(c.broken_parts, 0);
}

static void test_empty_group_has_no_records(void **state)
{
  struct group_cursor c;
  struct group_record r;
  group_start(&c, *state);
  assert_false(group_next(&c, &r));
  assert_int_equal(c.broken_parts, 0);
}

/* A head that disagrees with its stream costs its own records alone: too few, too many, cut, not a stream. */
static void test_broken_parts(void **state)
{
  struct group *g = *state;
  struct group_cursor c;
  struct group_record r;
  uint32_t seen = 0;
  join(g, 1,
       "\x01"
       "a",
       2, 2);
  join(g, 2,
       "\x01"
       "b\x01"
       "c",
       4, 1);
  join(g, 3,
       "\x01"
       "d\x09"
       "e",
       4, 2);
  join(g, 4, "", 0, 1);
  join(g, 5,
       "\x01"
       "f",
       2, 1);
  group_start(&c, g);
  while (group_next(&c, &r)) {
    *r.word = r.bytes[0];
    seen++;
  }
  assert_int_equal(seen, 4);
  assert_int_equal(c.broken_parts, 4);
  const uint64_t words[] = {'a', UNSEEN, 'b', 'd', UNSEEN, UNSEEN, 'f'};
  assert_int_equal(g->record_count, 7);
  assert_memory_equal(g->words, words, sizeof words);
}

static void test_bounds(void **state)
{
  struct group *g = *state;
  assert_true(group_part_allowed(1, LIMIT_WIRE_BYTES));
  assert_true(group_part_allowed(LIMIT_BATCH_RECORDS, 1));
  assert_false(group_part_allowed(0, 1));
  assert_false(group_part_allowed(LIMIT_BATCH_RECORDS + 1, 1));
  assert_false(group_part_allowed(1, (size_t)LIMIT_WIRE_BYTES + 1));
  assert_true(group_fits(g, LIMIT_BATCH_RECORDS, LIMIT_WIRE_BYTES));
  g->record_count = LIMIT_COMMIT_RECORDS - 5;
  assert_true(group_fits(g, 5, 1));
  assert_false(group_fits(g, 6, 1));
  g->record_count = 0;
  g->bytes = LIMIT_COMMIT_BYTES - 5;
  assert_true(group_fits(g, 1, 5));
  assert_false(group_fits(g, 1, 6));
  g->bytes = 0;
  for (uint32_t i = 0; i < GROUP_PARTS; i++) {
    assert_true(group_fits(g, 1, 2));
    join(g, i,
         "\x01"
         "a",
         2, 1);
  }
  assert_false(group_fits(g, 1, 2));
  group_clear(g);
  assert_true(group_fits(g, 1, 2));
  assert_int_equal(g->part_count + g->record_count + g->bytes, 0);
}

static void test_large_part_is_moved(void **state)
{
  char stream[101] = {100};
  struct group_part *part = join(*state, 1, stream, sizeof stream, 1);
  assert_int_equal(link_frame_size(&part->records), sizeof stream);
  assert_false(part->isolated);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_walk_in_order, setup, teardown),
      cmocka_unit_test_setup_teardown(test_empty_group_has_no_records, setup, teardown),
      cmocka_unit_test_setup_teardown(test_broken_parts, setup, teardown),
      cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
      cmocka_unit_test_setup_teardown(test_large_part_is_moved, setup, teardown),
  };
  return cmocka_run_group_tests_name("group", tests, NULL, NULL);
}
