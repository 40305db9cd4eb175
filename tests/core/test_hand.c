/* core/hand.c: what a process had in hand when it was killed is there for the next one, and for nobody after that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/hand.h"
#include "core/scratch.h"

static char directory[SCRATCH_BYTES], path[SCRATCH_BYTES + 16];

static int setup(void **state)
{
  (void)state;
  scratch_make(directory);
  snprintf(path, sizeof path, "%s/hand-0", directory);
  return 0;
}

static int teardown(void **state)
{
  (void)state;
  scratch_remove(directory);
  return 0;
}

static struct hand *take(void)
{
  struct hand *h;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(hand_open(&h, path, &failure), MUSTER_OK);
  return h;
}

/* A process that takes count ids into its hand, lets go of them or does not, and is killed. */
static void live_and_be_killed(uint32_t count, bool release)
{
  int status;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    struct hand *h;
    struct failure failure = FAILURE_NONE;
    if (hand_open(&h, path, &failure) != MUSTER_OK)
      _exit(1);
    for (uint32_t i = 0; i < count; i++)
      hand_put(h, i, UINT64_C(1) << 40 | i);
    hand_hold(h, count);
    if (release)
      hand_release(h);
    raise(SIGKILL);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status));
}

static void what_was_in_hand_is_found_once(void **state)
{
  (void)state;
  for (uint32_t count = 1; count <= HAND_PARTS; count *= 32) {
    uint32_t found;
    live_and_be_killed(count, false);
    assert_int_equal(hand_count(path), count);
    struct hand *h = take();
    assert_int_equal(hand_count(path), 0); /* the new one holds nothing yet */
    assert_true(hand_has_former(h));
    const uint64_t *ids = hand_former(h, &found);
    assert_int_equal(found, count);
    for (uint32_t i = 0; i < count; i++)
      assert_true(ids[i] == (UINT64_C(1) << 40 | i));
    hand_close(h);
    h = take();
    assert_null(hand_former(h, &found));
    assert_int_equal(found, 0);
    hand_close(h);
  }
}

static void what_was_let_go_is_not_found(void **state)
{
  uint32_t found;
  (void)state;
  assert_int_equal(hand_count(path), 0); /* no file yet */
  live_and_be_killed(3, true);
  assert_int_equal(hand_count(path), 0);
  struct hand *h = take();
  assert_true(hand_has_former(h));
  assert_null(hand_former(h, &found));
  hand_close(h);
}

static void a_node_that_starts_knows_no_former_worker(void **state)
{
  uint32_t found;
  struct stat before, after;
  (void)state;
  hand_forget(path); /* there is none */
  struct hand *h = take();
  assert_false(hand_has_former(h));
  hand_close(h);
  live_and_be_killed(3, false);
  assert_int_equal(stat(path, &before), 0);
  hand_forget(path);
  assert_int_equal(hand_count(path), 0);
  h = take();
  assert_false(hand_has_former(h));
  assert_null(hand_former(h, &found));
  hand_close(h);
  assert_int_equal(stat(path, &after), 0);
  assert_true(before.st_ino == after.st_ino && before.st_blocks == after.st_blocks); /* needs no room on the disk */
}

static void a_strange_file_is_made_a_hand(void **state)
{
  uint32_t found;
  struct stat info;
  (void)state;
  scratch_write(path, "something else");
  assert_int_equal(hand_count(path), 0);
  struct hand *h = take();
  assert_false(hand_has_former(h));
  assert_null(hand_former(h, &found));
  assert_int_equal(stat(path, &info), 0);
  assert_true(info.st_size >= (off_t)(HAND_PARTS * 8) && info.st_blocks * 512 >= info.st_size);
  hand_hold(h, HAND_PARTS);
  hand_close(h);
  assert_int_equal(hand_count(path), HAND_PARTS);
}

static void none_at_all_is_fine(void **state)
{
  uint32_t found;
  struct hand *h;
  struct failure failure = FAILURE_NONE;
  (void)state;
  hand_put(NULL, 0, 1);
  hand_hold(NULL, 1);
  hand_release(NULL);
  hand_close(NULL);
  assert_false(hand_has_former(NULL));
  assert_null(hand_former(NULL, &found));
  snprintf(path, sizeof path, "%s/no/hand", directory);
  assert_int_equal(hand_open(&h, path, &failure), MUSTER_ERR_CREATE);
  assert_null(h);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(what_was_in_hand_is_found_once, setup, teardown),
      cmocka_unit_test_setup_teardown(what_was_let_go_is_not_found, setup, teardown),
      cmocka_unit_test_setup_teardown(a_node_that_starts_knows_no_former_worker, setup, teardown),
      cmocka_unit_test_setup_teardown(a_strange_file_is_made_a_hand, setup, teardown),
      cmocka_unit_test_setup_teardown(none_at_all_is_fine, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
