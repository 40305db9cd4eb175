/* workers/worker.c: messages of an ingest in, words out, verdict by verdict. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/clock.h"
#include "proto/digest.h"
#include "workers/node.h"

static int setup_two_shards(void **state) { return (void)state, setup_with(2, UINT64_C(1) << 30); }

/* ---- hello and bye ---- */

static void test_hello(void **state)
{
  (void)state;
  put(1, 0);
  take_part(2, HOP_PART, 1);
  worker_settle(node.worker);
  say_hello("ingest-3", 0, 1);
  assert_int_equal(node.answers, 2);
  const struct answer *a = &node.answer[1];
  assert_int_equal(a->head.kind, HOP_WELCOME);
  assert_string_equal(a->to, "ingest-3");
  assert_true(a->head.epoch == EPOCH);
  assert_int_equal(a->head.shard, 0);
  assert_int_equal(a->head.shards, 1);
  assert_int_equal(a->head.store_records, 1);
  assert_int_equal(a->head.blocked_reason, 0);
}

static void test_hello_for_another_is_not_answered(void **state)
{
  (void)state;
  say_hello("ingest-0", 1, 1);
  say_hello("ingest-0", 0, 2);
  assert_int_equal(node.answers, 0);
}

/* What is no message of this hop is ignored, and costs nothing but a line in the log. */
static void test_strange_messages(void **state)
{
  struct link_message m;
  (void)state;
  link_message_init(&m);
  worker_take(node.worker, &m);
  m.frame_count = 1;
  worker_take(node.worker, &m);
  link_message_finish(&m);
  assert_int_equal(link_frame_init(&m.frame[0], HOP_HEAD_BYTES), MUSTER_OK);
  hop_head_write(link_frame_data(&m.frame[0]), &(struct hop_head){.kind = HOP_HELLO, .shards = 1});
  store_u32(link_frame_data(&m.frame[0]) + 4, HOP_VERSION + 1);
  m.frame_count = 1;
  worker_take(node.worker, &m);
  link_message_finish(&m);
  put(1, 0);
  take_part(1, HOP_PART, 0);
  put(1, 0);
  take_part(1, HOP_PART, LIMIT_BATCH_RECORDS + 1);
  put(1, 0);
  take_part(1, (enum hop_kind)99, 1);
  take(&(struct hop_head){.kind = HOP_PART, .record_count = 1, .shards = 1}, "ingest-0", false);
  worker_settle(node.worker);
  assert_int_equal(node.answers, 0);
  assert_int_equal(count_of(COUNTER_records_received), 0);
}

static void test_bye_is_the_last_word(void **state)
{
  (void)state;
  say_hello("ingest-0", 0, 1);
  say_hello("ingest-1", 0, 1);
  say_hello("ingest-0", 0, 1);
  forget_answers();
  worker_leave(node.worker);
  worker_leave(node.worker);
  assert_int_equal(node.answers, 2);
  for (size_t i = 0; i < 2; i++) {
    assert_int_equal(node.answer[i].head.kind, HOP_BYE);
    assert_true(node.answer[i].head.epoch == EPOCH);
    assert_string_equal(node.answer[i].to, i ? "ingest-1" : "ingest-0");
  }
  put(1, 0);
  take_part(2, HOP_PART, 1);
  worker_settle(node.worker);
  say_hello("ingest-2", 0, 1);
  assert_int_equal(node.answers, 2);
  assert_int_equal(count_of(COUNTER_records_received), 0);
}

/* ---- verdicts ---- */

static void test_accepted_then_duplicate(void **state)
{
  (void)state;
  for (uint64_t round = 0; round < 2; round++) {
    put(1, 0);
    put(2, 0);
    take_part(10 + round, HOP_PART, 2);
    assert_int_equal(count_of(COUNTER_records_in_flight), 2);
    assert_int_equal(node.answers, round);
    worker_settle(node.worker);
    assert_int_equal(count_of(COUNTER_records_in_flight), 0);
    expect_conserved();
  }
  EXPECT(10, DURABLE(ACCEPTED, 1), DURABLE(ACCEPTED, 2));
  EXPECT(11, DURABLE(DUPLICATE, 1), DURABLE(DUPLICATE, 2));
  assert_int_equal(answer_of(11)->head.store_records, 2);
  assert_int_equal(count_of(COUNTER_commits), 1);
  assert_int_equal(count_of(COUNTER_commit_records), 2);
  assert_int_equal(count_of(COUNTER_store_records), 2);
  assert_int_equal(count_of(COUNTER_batches_answered), 2);
}

/* Several parts, one commit: what is the same again within the group is told after the commit that made the first copy durable. */
static void test_same_id_within_a_group(void **state)
{
  (void)state;
  put(1, 0);
  put(1, 0);
  put(1, 5);
  put(2, 0);
  take_part(10, HOP_PART, 4);
  put(2, 0);
  put(3, 0);
  put(3, 1);
  take_part(11, HOP_PART, 3);
  assert_int_equal(node.answers, 0);
  worker_settle(node.worker);
  EXPECT(10, DURABLE(ACCEPTED, 1), DURABLE(DUPLICATE, 1), DURABLE(CONFLICT, 1), DURABLE(ACCEPTED, 2));
  EXPECT(11, DURABLE(DUPLICATE, 2), DURABLE(ACCEPTED, 3), DURABLE(CONFLICT, 3));
  assert_int_equal(count_of(COUNTER_commits), 1);
  assert_int_equal(count_of(COUNTER_records_conflict), 2);
  expect_conserved();
}

static void without_component(Muster__V1__Encounter *e) { e->has_component = false; }
static void an_hour_ahead(Muster__V1__Encounter *e) { e->encounter_time = clock_wall_us() + INT64_C(3600000000); }

/* A bad record is not a bad batch. */
static void test_invalid_among_good(void **state)
{
  struct counters_snapshot page;
  struct failure failure = FAILURE_NONE;
  (void)state;
  node.config.future_skew_s = 300;
  put(1, 0);
  stream_add(&stream, "\x0a\x7f", 2); /* a field longer than the record */
  stream_add_record(&stream, record_changed(2, 0, without_component));
  put(3, 0);
  stream_add_record(&stream, record_changed(4, 0, record_inadmissible));
  stream_add_record(&stream, record_changed(5, 0, an_hour_ahead));
  put(6, 0);
  take_part(10, HOP_PART, 7);
  worker_settle(node.worker);
  EXPECT(10, DURABLE(ACCEPTED, 1), REFUSED(INVALID, MALFORMED, 1), REFUSED(INVALID, MISSING_FIELD, FIELD_COMPONENT), DURABLE(ACCEPTED, 2),
         REFUSED(INVALID, TYPE_OF_OTHER_COMPONENT, FIELD_ENCOUNTER_TYPE), REFUSED(INVALID, TIME_IN_FUTURE, FIELD_ENCOUNTER_TIME),
         DURABLE(ACCEPTED, 3));
  struct stored stored = stored_now();
  assert_int_equal(stored.refused[REASON(MALFORMED)], 1);
  assert_int_equal(stored.refused[REASON(MISSING_FIELD)], 1);
  assert_int_equal(stored.refused[REASON(TYPE_OF_OTHER_COMPONENT)], 1);
  assert_int_equal(stored.refused[REASON(TIME_IN_FUTURE)], 1);
  assert_int_equal(stored.refused_of_others, 0);
  assert_int_equal(counters_read(node.directory, "worker-0", &page, &failure), MUSTER_OK);
  assert_int_equal(page.reason[COUNTER_RECORDS][REASON(MALFORMED)], 1);
  assert_int_equal(page.reason[COUNTER_RECORDS][REASON(MISSING_FIELD)], 1);
  assert_int_equal(page.value[COUNTER_records_invalid], 4);
  expect_conserved();
}

/* A group of refused records alone is committed, too: INVALID promises that the quarantine has it. */
static void test_invalid_alone(void **state)
{
  (void)state;
  stream_add(&stream, "\x07", 1);
  take_part(10, HOP_PART, 1);
  worker_settle(node.worker);
  assert_int_equal(verdict_kind(answer_of(10)->words[0]), INVALID);
  struct stored stored = stored_now();
  uint64_t sum = 0;
  for (unsigned i = 0; i < COUNTER_REASONS; i++)
    sum += stored.refused[i];
  assert_int_equal(sum, 1);
}

/* What was isolated is told at once when it comes again, to this worker and to the next ones of the node, among others and without being
 * decoded; of another submitter, or in a node that was started anew, it is tried again. */
static void test_isolated_is_not_decoded_then_and_later(void **state)
{
  char path[SCRATCH_BYTES + 16];
  (void)state;
  put(1, 0);
  take_part(10, HOP_ISOLATE, 1);
  EXPECT(10, REFUSED(INVALID, KILLED_WORKER, 0)); /* at once: it is a group of its own */
  for (uint64_t round = 0; round < 2; round++) {
    put(2 + round, 0);
    put(1, 0);
    put(2 + round, 0);
    take_part(12 + round, HOP_PART, 3);
    worker_settle(node.worker);
    EXPECT(12 + round, DURABLE(ACCEPTED, 1 + round), REFUSED(INVALID, KILLED_WORKER, 0), DURABLE(DUPLICATE, 1 + round));
    expect_conserved();
    close_node();
    assert_int_equal(open_node(), MUSTER_OK);
  }
  struct stored stored = stored_now();
  assert_int_equal(stored.refused[REASON(KILLED_WORKER)], 3);

  node.submitter = SUBMITTER + 1;
  put(1, 0);
  take_part(20, HOP_PART, 1);
  worker_settle(node.worker);
  EXPECT(20, DURABLE(ACCEPTED, 3));
  node.submitter = SUBMITTER;
  put(1, 0);
  take_part(22, HOP_PART, 1);
  worker_settle(node.worker);
  EXPECT(22, DURABLE(DUPLICATE, 3)); /* deadly or not: it is stored now */

  put(9, 0);
  take_part(24, HOP_ISOLATE, 1);
  close_node();
  snprintf(path, sizeof path, "%s/hand-0", node.directory);
  hand_forget(path);
  assert_int_equal(open_node(), MUSTER_OK);
  put(9, 0);
  take_part(26, HOP_PART, 1);
  worker_settle(node.worker);
  EXPECT(26, DURABLE(ACCEPTED, 4));
}

/* A worker may have died behind the commit: what is stored is never told INVALID, whatever is believed of it. */
static void test_isolated_and_stored(void **state)
{
  (void)state;
  put(1, 0);
  put(2, 0);
  take_part(10, HOP_PART, 2);
  worker_settle(node.worker);
  put(2, 0);
  take_part(12, HOP_ISOLATE, 1);
  EXPECT(12, DURABLE(DUPLICATE, 2));
  put(2, 1);
  take_part(14, HOP_ISOLATE, 1);
  EXPECT(14, DURABLE(CONFLICT, 2));
  stream_add(&stream, "\x07", 1); /* without an id */
  take_part(16, HOP_ISOLATE, 1);
  EXPECT(16, REFUSED(INVALID, KILLED_WORKER, 0));
  struct stored stored = stored_now();
  assert_int_equal(stored.refused[REASON(KILLED_WORKER)], 2);
  /* Within one group: the first copy is appended, not committed yet, when the deadly record under its id is met. */
  put(3, 0);
  put(2, 1);
  put(3, 0);
  take_part(18, HOP_PART, 3);
  worker_settle(node.worker);
  EXPECT(18, DURABLE(ACCEPTED, 3), DURABLE(CONFLICT, 2), DURABLE(DUPLICATE, 3));
  put(4, 1);
  take_part(20, HOP_ISOLATE, 1);
  node.submitter = SUBMITTER + 1;
  put(4, 1);
  take_part(22, HOP_PART, 1);
  node.submitter = SUBMITTER;
  put(4, 1);
  take_part(24, HOP_PART, 1);
  worker_settle(node.worker);
  EXPECT(22, DURABLE(ACCEPTED, 4));
  EXPECT(24, DURABLE(DUPLICATE, 4));
  expect_conserved();
}

static void test_isolated_of_another_shard(void **state)
{
  uint8_t id[16];
  uint64_t number = 0;
  (void)state;
  do
    record_id(id, ++number);
  while (digest_shard(id, 2) == 0);
  put(number, 0);
  take_part(10, HOP_ISOLATE, 1);
  EXPECT(10, REFUSED(RETRY, RETRY_OUTCOME_UNKNOWN, 0));
  assert_int_equal(count_of(COUNTER_records_misrouted), 1);
}

/* Whatever other ingests send, nothing shares a group with a suspect. */
static void test_suspect_is_a_group_of_its_own(void **state)
{
  (void)state;
  put(1, 0);
  take_part(11, HOP_PART, 1);
  assert_int_equal(node.answers, 0);
  put(2, 0);
  put(3, 0);
  take_part(12, HOP_SUSPECT, 2);
  assert_int_equal(node.answers, 2);
  put(4, 0);
  take_part(13, HOP_PART, 1);
  assert_int_equal(node.answers, 2);
  worker_settle(node.worker);
  EXPECT(11, DURABLE(ACCEPTED, 1));
  EXPECT(12, DURABLE(ACCEPTED, 2), DURABLE(ACCEPTED, 3));
  EXPECT(13, DURABLE(ACCEPTED, 4));
  assert_int_equal(count_of(COUNTER_commits), 3);
  expect_conserved();
}

/* Each ingest is told what the former worker had in hand when it died, and not what one had that came to its end. */
static void test_welcome_tells_what_was_in_hand(void **state)
{
  (void)state;
  put(1, 0);
  take_part(11, HOP_PART, 1);
  worker_settle(node.worker);
  close_node();
  assert_int_equal(open_node(), MUSTER_OK);
  say_hello("ingest-0", 0, 1);
  assert_int_equal(node.answer[0].ids, 0);
  hand_put(node.hand, 0, UINT64_C(0x1112131415161718));
  hand_put(node.hand, 1, 7);
  hand_hold(node.hand, 2);
  close_node();
  for (unsigned life = 0; life < 2; life++) {
    assert_int_equal(open_node(), MUSTER_OK);
    say_hello("ingest-0", 0, 1);
    say_hello("ingest-1", 0, 1);
    for (unsigned i = 0; i < 2; i++) {
      assert_int_equal(node.answer[i].head.kind, HOP_WELCOME);
      assert_int_equal(node.answer[i].ids, life == 0 ? 2 : 0); /* the next one's former worker had nothing in hand */
    }
    if (life == 0) {
      assert_true(load_u64((uint8_t *)&node.answer[1].words[0]) == UINT64_C(0x1112131415161718));
      assert_true(load_u64((uint8_t *)&node.answer[1].words[1]) == 7);
      close_node();
    }
  }
}

static void test_record_of_another_shard(void **state)
{
  uint64_t words[20], mine = 0;
  (void)state;
  for (uint64_t number = 0; number < 20; number++) {
    uint8_t id[16];
    record_id(id, number);
    put(number, 0);
    words[number] = digest_shard(id, 2) == 0 ? DURABLE(ACCEPTED, ++mine) : REFUSED(RETRY, RETRY_OUTCOME_UNKNOWN, 0);
  }
  assert_in_range(mine, 1, 19);
  take_part(10, HOP_PART, 20);
  worker_settle(node.worker);
  expect_words(10, words, 20);
  assert_int_equal(count_of(COUNTER_records_misrouted), 20 - mine);
  assert_int_equal(count_of(COUNTER_records_handed_back), 20 - mine);
  assert_int_equal(count_of(COUNTER_store_records), mine);
  expect_conserved();
}

static void test_broken_part_is_told_retry(void **state)
{
  (void)state;
  put(1, 0);
  take_part(10, HOP_PART, 3);
  put(2, 0);
  take_part(12, HOP_PART, 1);
  worker_settle(node.worker);
  EXPECT(10, DURABLE(ACCEPTED, 1), REFUSED(RETRY, RETRY_OUTCOME_UNKNOWN, 0), REFUSED(RETRY, RETRY_OUTCOME_UNKNOWN, 0));
  EXPECT(12, DURABLE(ACCEPTED, 2));
  expect_conserved();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
  const struct CMUnitTest tests[] = {
      TEST(test_hello),
      TEST(test_hello_for_another_is_not_answered),
      TEST(test_strange_messages),
      TEST(test_bye_is_the_last_word),
      TEST(test_accepted_then_duplicate),
      TEST(test_same_id_within_a_group),
      TEST(test_invalid_among_good),
      TEST(test_invalid_alone),
      TEST(test_isolated_is_not_decoded_then_and_later),
      TEST(test_isolated_and_stored),
      cmocka_unit_test_setup_teardown(test_isolated_of_another_shard, setup_two_shards, teardown),
      TEST(test_suspect_is_a_group_of_its_own),
      TEST(test_welcome_tells_what_was_in_hand),
      cmocka_unit_test_setup_teardown(test_record_of_another_shard, setup_two_shards, teardown),
      TEST(test_broken_part_is_told_retry),
  };
  return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
