/* workers/worker.c: groups of many parts, the watermark, that every count adds up, and what is left when the storage fails or the worker
 * is killed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/wait.h>
#include <time.h>

#include "workers/node.h"

static int setup_small_map(void **state) { return (void)state, setup_with(1, UINT64_C(2) << 20); }

/* ---- the watermark ---- */

static void wait_for_watermark(void) { nanosleep(&(struct timespec){.tv_nsec = WATERMARK_INTERVAL_NS}, NULL); }

static void test_low_disk_is_busy_until_there_is_space(void **state)
{
  (void)state;
  put(1, 0);
  take_part(2, HOP_PART, 1);
  worker_settle(node.worker);
  node.disk_bytes = RESERVE_BYTES - 1;
  wait_for_watermark();
  put(1, 0);
  put(2, 0);
  stream_add(&stream, "\x07", 1);
  take_part(4, HOP_PART, 3);
  put(3, 0);
  take_part(6, HOP_ISOLATE, 1);
  worker_settle(node.worker);
  EXPECT(4, REFUSED(BUSY, BUSY_DISK, 0), REFUSED(BUSY, BUSY_DISK, 0), REFUSED(BUSY, BUSY_DISK, 0));
  EXPECT(6, REFUSED(BUSY, BUSY_DISK, 0));
  assert_int_equal(answer_of(4)->head.blocked_reason, REASON(BUSY_DISK));
  assert_int_equal(count_of(COUNTER_records_handed_back), 4);
  say_hello("ingest-0", 0, 1);
  assert_int_equal(node.answer[node.answers - 1].head.blocked_reason, REASON(BUSY_DISK));
  worker_refresh(node.worker);
  assert_int_equal(count_of(COUNTER_store_blocked), 1);
  assert_int_equal(count_of(COUNTER_disk_free_bytes), RESERVE_BYTES - 1);

  node.disk_bytes = RESERVE_BYTES;
  wait_for_watermark();
  worker_refresh(node.worker);
  assert_int_equal(count_of(COUNTER_store_blocked), 0);
  put(1, 0);
  put(2, 0);
  take_part(8, HOP_PART, 2);
  worker_settle(node.worker);
  EXPECT(8, DURABLE(DUPLICATE, 1), DURABLE(ACCEPTED, 2));
  assert_int_equal(answer_of(8)->head.blocked_reason, 0);
  expect_conserved();
}

/* ---- groups ---- */

/* More than one commit takes: the group is settled when the next part would not fit, and nothing waits twice. */
static void test_group_is_bounded(void **state)
{
  enum { PARTS = LIMIT_COMMIT_RECORDS / LIMIT_BATCH_RECORDS + 1 };
  (void)state;
  for (uint64_t part = 0; part < PARTS; part++) {
    for (uint64_t i = 0; i < LIMIT_BATCH_RECORDS; i++)
      put(part * LIMIT_BATCH_RECORDS + i, 0);
    take_part(part, HOP_PART, LIMIT_BATCH_RECORDS);
    assert_int_equal(node.answers, part == PARTS - 1 ? PARTS - 1 : 0);
  }
  worker_settle(node.worker);
  assert_int_equal(node.answers, PARTS);
  assert_int_equal(count_of(COUNTER_commits), 2);
  assert_int_equal(count_of(COUNTER_records_accepted), PARTS * LIMIT_BATCH_RECORDS);
  assert_true(answer_of(PARTS - 1)->words[LIMIT_BATCH_RECORDS - 1] == DURABLE(ACCEPTED, PARTS * LIMIT_BATCH_RECORDS));
  worker_settle(node.worker);
  assert_int_equal(node.answers, PARTS);
}

static void test_answer_that_cannot_go_out(void **state)
{
  (void)state;
  node.send_status = MUSTER_ERR_NOT_FOUND;
  put(1, 0);
  take_part(2, HOP_PART, 1);
  worker_settle(node.worker);
  assert_int_equal(count_of(COUNTER_answers_dropped), 1);
  node.send_status = MUSTER_OK;
  put(1, 0);
  take_part(4, HOP_PART, 1);
  worker_settle(node.worker);
  EXPECT(4, DURABLE(DUPLICATE, 1));
}

static uint64_t random_state;
static uint64_t random_below(uint64_t bound)
{
  random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (random_state >> 33) % bound;
}

/* Random parts and groups of first copies, resends, contradictions and bad records: every count adds up after every step, and the stream
 * again, cut in other places, changes nothing that is stored. */
static void test_conservation_and_same_stream_twice(void **state)
{
  enum { RECORDS = 3000 };
  uint64_t seed = (uint64_t)time(NULL), stored = 0, part = 0;
  (void)state;
  print_message("seed %" PRIu64 "\n", seed);
  for (unsigned pass = 0; pass < 2; pass++) {
    uint64_t records = seed, cuts = seed + pass + 1;
    for (unsigned i = 0; i < RECORDS; i++) {
      random_state = records;
      uint64_t number = random_below(RECORDS / 2), content = random_below(10) == 0, bad = random_below(20) == 0;
      records = random_state;
      stream_add_record(&stream, bad ? record_changed(number + RECORDS, 0, record_inadmissible) : record_make(number, content));
      random_state = cuts;
      if (random_below(30) == 0 || i == RECORDS - 1)
        take_part(++part, HOP_PART, stream.count);
      if (random_below(200) == 0 || i == RECORDS - 1)
        worker_settle(node.worker);
      cuts = random_state;
      expect_conserved();
      forget_answers();
    }
    assert_int_equal(count_of(COUNTER_records_received), (uint64_t)RECORDS * (pass + 1));
    assert_int_equal(count_of(COUNTER_records_in_flight), 0);
    assert_int_equal(stored_now().tallied, count_of(COUNTER_records_accepted));
    assert_int_equal(count_of(COUNTER_store_records), count_of(COUNTER_records_accepted));
    if (pass == 0)
      stored = count_of(COUNTER_records_accepted);
  }
  assert_in_range(stored, 1, RECORDS / 2);
  assert_int_equal(count_of(COUNTER_records_accepted), stored);
}

/* ---- storage errors ---- */

/* A group that the map cannot hold: nothing of it is answered, every ingest is told BYE once, and the store that opens again has what
 * was answered before. */
static void test_failed_commit_is_never_acknowledged(void **state)
{
  uint8_t *big = calloc(1, LIMIT_RECORD_BYTES);
  (void)state;
  say_hello("ingest-0", 0, 1);
  put(1, 0);
  take_part(2, HOP_PART, 1);
  worker_settle(node.worker);
  EXPECT(2, DURABLE(ACCEPTED, 1));
  forget_answers();
  struct record r = record_make(2, 0);
  for (uint64_t number = 2; number < 1000; number++) {
    r = record_make(number, 0);
    memcpy(big, r.bytes, r.size);
    uint8_t *end = varint_write(big + r.size, 100 << 3 | 2); /* an unknown field of 4,000 bytes */
    end = varint_write(end, 4000);
    stream_add(&stream, big, (size_t)(end - big) + 4000);
  }
  free(big);
  uint32_t count = stream.count;
  take_part(4, HOP_PART, count);
  worker_settle(node.worker);
  assert_int_equal(worker_failure(node.worker)->status, MUSTER_ERR_FULL);
  assert_true(strlen(worker_failure(node.worker)->text) > 0);
  assert_int_equal(node.stopped, 1);
  assert_int_equal(node.answers, 1);
  assert_int_equal(node.answer[0].head.kind, HOP_BYE);
  assert_int_equal(count_of(COUNTER_records_in_flight), count);
  expect_conserved();
  put(1, 0);
  take_part(6, HOP_PART, 1);
  worker_settle(node.worker);
  assert_int_equal(node.answers, 1);

  close_node();
  assert_int_equal(open_node(), MUSTER_OK);
  put(1, 0);
  put(2, 0);
  take_part(8, HOP_PART, 2);
  worker_settle(node.worker);
  EXPECT(8, DURABLE(DUPLICATE, 1), DURABLE(ACCEPTED, 2));
}

#ifdef MUSTER_FAULTS
static const char *program; /* this one */

static void settle_two(void)
{
  put(1, 0);
  put(2, 0);
  take_part(2, HOP_PART, 2);
  worker_settle(node.worker);
}

/* This program once more, as a worker on the same directory with the fault in its environment, must die of it; then another one opens
 * what it left. */
static void die_at(const char *fault)
{
  close_node();
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    setenv("MUSTER_FAULT", fault, 1);
    execl(program, "test_worker_groups", node.directory, NULL);
    _exit(127);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status));
  assert_int_equal(WTERMSIG(status), SIGKILL);
  assert_int_equal(open_node(), MUSTER_OK);
}

/* Unknown is harmless: the words were lost, the records were not. */
static void test_killed_after_the_commit(void **state)
{
  (void)state;
  die_at("worker.after-commit:kill");
  settle_two();
  EXPECT(2, DURABLE(DUPLICATE, 1), DURABLE(DUPLICATE, 2));
}

static void test_killed_before_the_commit(void **state)
{
  (void)state;
  die_at("worker.after-dedup:kill");
  settle_two();
  EXPECT(2, DURABLE(ACCEPTED, 1), DURABLE(ACCEPTED, 2));
}

static void test_killed_by_one_record(void **state)
{
  (void)state;
  die_at("worker.before-decode=device-0:kill:2");
  settle_two();
  EXPECT(2, DURABLE(ACCEPTED, 1), DURABLE(ACCEPTED, 2));
}
#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
#ifdef MUSTER_FAULTS
  if (argc == 2) {
    if (open_in(argv[1], 1, UINT64_C(1) << 30) == MUSTER_OK)
      settle_two();
    return 0;
  }
  program = argv[0];
#else
  (void)argc;
  (void)argv;
#endif
  const struct CMUnitTest tests[] = {
      TEST(test_low_disk_is_busy_until_there_is_space),
      TEST(test_group_is_bounded),
      TEST(test_answer_that_cannot_go_out),
      TEST(test_conservation_and_same_stream_twice),
      cmocka_unit_test_setup_teardown(test_failed_commit_is_never_acknowledged, setup_small_map, teardown),
#ifdef MUSTER_FAULTS
      TEST(test_killed_after_the_commit),
      TEST(test_killed_before_the_commit),
      TEST(test_killed_by_one_record),
#endif
  };
  return cmocka_run_group_tests_name("worker groups", tests, NULL, NULL);
}
