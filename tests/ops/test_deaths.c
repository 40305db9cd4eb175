/* What the death of a child means: another start, a shard that is down, or the end of the node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "core/datadir_note.h"
#include "ops/outage.h"
#include "tests/ops/supervised.h"

static void what_dies_is_started_again(void **state)
{
  (void)state;
  tell("worker-0", "die-ready 9");
  start(1, 1);
  wait_for_lives("worker-0", 10);
  wait_for("log", "muster: ready:");
  assert_int_equal(page_of("run").value[COUNTER_restarts], 9);
  kill(supervisor, SIGINT);
  assert_int_equal(exit_code(), 0);
  assert_int_equal(count_of("log", "was_ready=1"), 9);
  assert_int_equal(count_of("log", "event=shard.down"), 0);
}

static void what_a_restart_cannot_mend_ends_the_node_at_once(void **state)
{
  (void)state;
  tell("worker-1", "exit 78");
  start(2, 1);
  assert_int_equal(exit_code(), 78);
  assert_int_equal(count_of("trace", "worker-1 started"), 1);
  assert_int_equal(count_of("trace", "ingest-0 started"), 0);
  assert_int_equal(count_of("log", "muster: ready:"), 0);
  assert_non_null(strstr(last_line(), "muster: worker-1 cannot run (exit status 78)"));
}

/* How many the supervisor counts as down. */
static uint64_t shards_down(void) { return page_of("run").value[COUNTER_shards_down]; }

static void a_shard_that_cannot_start_leaves_the_others(void **state)
{
  (void)state;
  struct ops_outage outage;
  make_shard(0);
  make_shard(1);
  make_shard(2);
  tell("worker-1", "tell 65");
  start(3, 1);
  wait_for("log", "muster: ready:");
  assert_non_null(strstr(text_of("log"), " 2 of 3 workers \302\267 2,002 records \302\267 the other shards are down: muster status"));
  assert_int_equal(shards_down(), 1);
  assert_true(ops_outage_read(&data, 1, &outage));
  assert_string_equal(outage.cause, "cannot listen on the moon; come back in a year or two, with a longer ladder and a lamp");
  assert_int_equal(outage.retry_ms, RETRY_MS);
  assert_int_equal(outage.kind, OUTAGE_DAMAGED);
  assert_true(outage.since_us > 0);
  assert_false(ops_outage_read(&data, 0, &outage));
  wait_for("trace", "worker-1 started\nworker-1 started\nworker-1 started\n"); /* again and again */
  assert_int_equal(count_of("log", "event=shard.down"), 1);
  tell("worker-1", "serve");
  wait_for("log", "event=shard.up shard=1");
  assert_int_equal(shards_down(), 0);
  assert_false(ops_outage_read(&data, 1, &outage));
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 0);
  assert_int_equal(count_of("trace", "worker-1 told"), 1);
}

static void without_any_shard_the_node_ends(void **state)
{
  (void)state;
  make_shard(0);
  make_shard(1);
  tell("worker-0", "tell 65");
  tell("worker-1", "tell 76");
  start(2, 1);
  int code = exit_code();
  assert_true(code == 65 || code == 76); /* the last one's */
  assert_int_equal(count_of("trace", "ingest-0 started"), 0);
  assert_non_null(strstr(last_line(), " cannot run: cannot listen on the moon"));
}

/* Nothing was ever stored in it, so nobody waits for it; and what is in no shard's power concerns all. */
static void a_shard_that_cannot_be_made_and_wrong_settings_end_the_node(void **state)
{
  (void)state;
  make_shard(0);
  tell("worker-1", "exit 65");
  start(2, 1);
  assert_int_equal(exit_code(), 65);
  make_shard(1);
  tell("worker-1", "exit 78");
  start(2, 1);
  assert_int_equal(exit_code(), 78);
  assert_int_equal(count_of("log", "event=shard.down"), 0);
}

/* A worker would make a new, empty store there, and what was acknowledged would be forgotten. */
static void a_shard_whose_data_is_gone_is_not_begun_anew(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES + 16];
  struct ops_outage outage;
  make_shard(0);
  make_shard(1);
  datadir_shard_path(&data, path, 1);
  strcat(path, "/data.mdb");
  assert_int_equal(unlink(path), 0);
  start(2, 1);
  wait_for("log", "1 of 2 workers");
  assert_int_equal(count_of("trace", "worker-1 started"), 0);
  assert_true(ops_outage_read(&data, 1, &outage));
  assert_non_null(strstr(outage.cause, "shard 1 is missing"));
  assert_int_equal(outage.kind, OUTAGE_MISSING);
  scratch_write(path, "x");
  wait_for("log", "event=shard.up shard=1");
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 0);
}

/* Its disk went between the look at the store and the start of its worker: the mark that it was made is gone with it, and the note is not. */
static void a_node_that_was_ready_begins_no_shard_anew(void **state)
{
  (void)state;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(datadir_note_write(root, 2, &failure), MUSTER_OK);
  make_shard(0);
  start(2, 1);
  wait_for("log", "1 of 2 workers");
  assert_int_equal(count_of("trace", "worker-1 started"), 0);
  make_shard(1);
  wait_for("log", "event=shard.up shard=1");
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 0);
}

/* Else the first record could be acknowledged by a node that may begin anew. */
static void a_node_is_noted_as_in_use_before_any_ingest_starts(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES];
  uint32_t noted = 0;
  datadir_path(&data, path, DATADIR_NOTE);
  assert_int_equal(mkdir(path, 0700), 0);
  start(2, 1);
  wait_for("log", "muster: the node cannot be noted as in use: ");
  assert_int_equal(exit_code(), 74);
  assert_int_equal(count_of("trace", "ingest-0 started"), 0);
  assert_int_equal(count_of("trace", "told"), 2);
  assert_int_equal(rmdir(path), 0);
  tell("ingest-0", "exit 73");
  start(2, 1);
  assert_int_equal(exit_code(), 73);
  assert_int_equal(datadir_note_read(&data, &noted, NULL), MUSTER_OK);
  assert_int_equal(noted, 2);
}

/* A worker that crashes at each start, long after the node was ready. */
static void a_shard_that_is_lost_while_the_node_serves_leaves_the_others(void **state)
{
  (void)state;
  make_shard(0);
  make_shard(1);
  start(2, 1);
  wait_for("log", "muster: ready:");
  tell("worker-0", "exit 78");
  kill(pid_of("worker-0"), SIGKILL);
  wait_for("log", "event=shard.down shard=0");
  assert_int_equal(count_of("trace", "worker-1 told") + count_of("trace", "ingest-0 told"), 0);
  tell("worker-0", "serve");
  wait_for("log", "event=shard.up shard=0");
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 0);
}

/* Its data goes while the ingests drain: that is no new end of the node beside the one that goes on. */
static void a_shard_whose_data_goes_while_the_node_drains_begins_no_second_drain(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES + 16];
  make_shard(0);
  tell("ingest-0", "deaf");
  start(1, 1);
  wait_for("log", "muster: ready:");
  datadir_shard_path(&data, path, 0);
  strcat(path, "/data.mdb");
  assert_int_equal(unlink(path), 0);
  kill(supervisor, SIGTERM);
  wait_for("log", "event=node.draining");
  kill(pid_of("worker-0"), SIGKILL);
  wait_for("log", "event=shard.down shard=0");
  kill(pid_of("ingest-0"), SIGKILL);
  assert_int_equal(exit_code(), 75);
  assert_int_equal(count_of("log", "event=node.draining"), 1);
  assert_int_equal(count_of("log", "event=node.gives-up"), 0);
}

/* It gets ready each time, and is not up for that: only who has served for a while is. The last life waits, so that nothing changes while we look. */
static void a_worker_that_crashes_after_each_ready_is_down_and_not_up_in_between(void **state)
{
  (void)state;
  struct ops_outage outage;
  make_shard(0);
  make_shard(1);
  retry_ms = 1000; /* a life that dies at once is never taken for one that has served for so long */
  tell("worker-1", "loop 11");
  start(2, 1);
  wait_for("log", "muster: ready:");
  wait_for_lives("worker-1", 12);
  assert_int_equal(count_of("log", "event=shard.down shard=1 kind=crashing"), 1);
  assert_int_equal(count_of("log", "event=shard.up"), 0);
  assert_int_equal(shards_down(), 1);
  assert_true(ops_outage_read(&data, 1, &outage));
  assert_int_equal(outage.kind, OUTAGE_CRASHING);
  assert_non_null(strstr(outage.cause, "its worker is crash-looping: it gets ready and dies, 11 times so far, last by signal 9 (Killed)"));
  assert_int_equal(outage.retry_ms, retry_ms);
  char path[LIMIT_PATH_BYTES];
  datadir_path(&data, path, "gate-1");
  scratch_write(path, "");
  wait_for("log", "event=shard.up shard=1"); /* when it has served for retry_ms */
  assert_int_equal(shards_down(), 0);
  assert_int_equal(count_of("trace", "worker-1 started"), 12);
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 0);
}

/* Neither ready nor dead: the node starts without it, and takes it up when it comes. */
static void a_shard_that_does_not_open_is_down_and_holds_up_nobody(void **state)
{
  (void)state;
  struct ops_outage outage;
  opening_ms = 100;
  make_shard(0);
  make_shard(1);
  tell("worker-1", "open 1");
  start(2, 1);
  wait_for("log", "muster: ready:");
  assert_non_null(strstr(text_of("log"), " 1 of 2 workers "));
  assert_int_equal(count_of("log", "event=shard.down shard=1 kind=opening"), 1);
  wait_for("run/shard-1.down", "it counts the stars"); /* it may say so after it was noted first; the note follows what it says */
  assert_true(ops_outage_read(&data, 1, &outage));
  assert_int_equal(outage.kind, OUTAGE_OPENING);
  assert_string_equal(outage.cause, "it has not been opened within 1 s: it counts the stars, 7 of 9");
  assert_int_equal(outage.retry_ms, 0);
  assert_int_equal(shards_down(), 1);
  assert_int_equal(count_of("trace", "worker-1 started"), 1); /* let be */
  char path[LIMIT_PATH_BYTES];
  datadir_path(&data, path, "gate-1");
  scratch_write(path, "");
  wait_for("log", "event=shard.up shard=1");
  assert_int_equal(shards_down(), 0);
  assert_int_equal(count_of("trace", "worker-1 started"), 1);
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 0);
}

/* A store that is made by halves would be taken for one that has lost a shard ever after: the first start waits, and says for what. */
static void a_shard_that_was_never_made_is_waited_for(void **state)
{
  (void)state;
  struct ops_outage outage;
  char path[LIMIT_PATH_BYTES];
  uint32_t noted;
  opening_ms = 100;
  make_shard(0);
  tell("worker-1", "open 0");
  start(2, 1);
  wait_for("run/shard-1.down", "it has not been opened");
  assert_true(ops_outage_read(&data, 1, &outage));
  assert_non_null(strstr(outage.cause, "it has not been opened within 1 s: its worker"));
  for (unsigned i = 0; i < 40; i++, nap()) /* longer than an ingest takes, and for that nothing is lost where it is not */
    assert_int_equal(count_of("trace", "ingest-0 started"), 0);
  assert_int_not_equal(datadir_note_read(&data, &noted, NULL), MUSTER_OK);
  datadir_path(&data, path, "gate-1");
  scratch_write(path, "");
  wait_for("log", " 2 workers ");
  kill(supervisor, SIGTERM);
  assert_int_equal(exit_code(), 0);
}

static void what_a_child_said_of_its_failure_is_the_last_word(void **state)
{
  (void)state;
  tell("ingest-0", "tell 73");
  start(1, 1);
  assert_int_equal(exit_code(), 73);
  assert_string_equal(last_line(),
                      "muster: ingest-0 cannot run: cannot listen on the moon; come back in a year or two, with a longer ladder "
                      "and a lamp; the node has ended; its data directory stays as it is");
}

static void a_child_that_never_starts_has_a_last_word(void **state)
{
  (void)state;
  tell("ingest-0", "exit 3");
  start(1, 1);
  assert_int_equal(exit_code(), 70);
  assert_int_equal(count_of("trace", "ingest-0 started"), 5);
  assert_int_equal(count_of("trace", "worker-0 told"), 1);
  assert_non_null(strstr(last_line(), "muster: ingest-0 died 5 times in a row before it was ready, last by exit status 3"));
}

int main(int argc, char **argv)
{
  if (is_child(argc, argv))
    return behave(argv);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(what_dies_is_started_again, begin, end),
      cmocka_unit_test_setup_teardown(what_a_restart_cannot_mend_ends_the_node_at_once, begin, end),
      cmocka_unit_test_setup_teardown(a_shard_that_cannot_start_leaves_the_others, begin, end),
      cmocka_unit_test_setup_teardown(without_any_shard_the_node_ends, begin, end),
      cmocka_unit_test_setup_teardown(a_shard_that_cannot_be_made_and_wrong_settings_end_the_node, begin, end),
      cmocka_unit_test_setup_teardown(a_shard_whose_data_is_gone_is_not_begun_anew, begin, end),
      cmocka_unit_test_setup_teardown(a_node_that_was_ready_begins_no_shard_anew, begin, end),
      cmocka_unit_test_setup_teardown(a_node_is_noted_as_in_use_before_any_ingest_starts, begin, end),
      cmocka_unit_test_setup_teardown(a_shard_that_is_lost_while_the_node_serves_leaves_the_others, begin, end),
      cmocka_unit_test_setup_teardown(a_shard_whose_data_goes_while_the_node_drains_begins_no_second_drain, begin, end),
      cmocka_unit_test_setup_teardown(a_worker_that_crashes_after_each_ready_is_down_and_not_up_in_between, begin, end),
      cmocka_unit_test_setup_teardown(a_shard_that_does_not_open_is_down_and_holds_up_nobody, begin, end),
      cmocka_unit_test_setup_teardown(a_shard_that_was_never_made_is_waited_for, begin, end),
      cmocka_unit_test_setup_teardown(what_a_child_said_of_its_failure_is_the_last_word, begin, end),
      cmocka_unit_test_setup_teardown(a_child_that_never_starts_has_a_last_word, begin, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
