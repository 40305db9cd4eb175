/* client/flow.c: credit, BUSY, and batches that nobody answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "client/client.h"
#include "client/heard.h"

static struct heard heard;
static struct node node;

static void a_busy_batch_waits_and_comes_again(void **state)
{
  (void)state;
  struct muster_counts n;
  node_init(&node, endpoint_named("busy"), "bb");
  node.retry_after_ms = 40;
  node_start(&node);
  struct muster_options o = options_for(&heard, node.endpoint);
  o.window_batches = 1;
  struct muster_client *c = client_of(&o);
  submit_numbers(c, 0, 100);
  flush_all(c);
  heard_all(&heard, 100);
  muster_client_counts(c, &n);
  assert_int_equal(n.busy_answers, 2);
  assert_int_equal(n.sent_again, 200);
  assert_non_null(strstr(heard.notices, "BUSY_DRAINING"));
  assert_null(strstr(strstr(heard.notices, "BUSY_DRAINING") + 1, "BUSY_DRAINING")); /* told once */
  muster_client_destroy(c);
  node_stop(&node);
  assert_int_equal(node.log[1].id, node.log[0].id); /* the same batch */
  for (unsigned i = 1; i < 3; i++)
    assert_in_range(node.log[i].at_ns - node.log[i - 1].at_ns, 39000000, 500000000);
}

static void what_is_busy_holds_up_nothing_else(void **state)
{
  (void)state;
  node_init(&node, endpoint_named("beside"), "b");
  node.retry_after_ms = 200;
  node_start(&node);
  struct muster_options o = options_for(&heard, node.endpoint);
  struct muster_client *c = client_of(&o);
  submit_numbers(c, 0, 1500);
  flush_all(c);
  heard_all(&heard, 1500);
  muster_client_destroy(c);
  node_stop(&node);
  assert_int_equal(atomic_load(&node.batches), 16);
  assert_int_equal(node.log[15].first, node.log[0].first);
  for (unsigned i = 1; i < 15; i++)
    assert_true(node.log[i].at_ns - node.log[0].at_ns < 190000000);
}

/* Credit from welcome and answers bounds what is out, and a smaller window of the caller does as well. */
static void no_more_is_out_than_there_is_credit_for(void **state)
{
  (void)state;
  static const struct {
    uint32_t credit, window, most;
  } cases[] = {{3, 16, 3}, {64, 5, 5}, {1, 16, 1}, {0, 16, 1}};
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    node_init(&node, endpoint_named("credit"), "llllllllllllllllllll");
    node.credit = node.credit_later = cases[i].credit;
    node_start(&node);
    struct muster_options o = options_for(&heard, node.endpoint);
    o.window_batches = cases[i].window;
    o.batch_records = 10;
    struct muster_client *c = client_of(&o);
    submit_numbers(c, 0, 250);
    flush_all(c);
    heard_all(&heard, 250);
    muster_client_destroy(c);
    node_stop(&node);
    assert_int_equal(atomic_load(&node.in_flight_max), cases[i].most);
    for (unsigned b = 1; b < 25; b++)
      assert_int_equal(node.log[b].first, 10 * b); /* the oldest goes first */
  }
}

static void credit_that_shrinks_is_kept_to(void **state)
{
  (void)state;
  struct muster_counts n;
  node_init(&node, endpoint_named("shrink"), "llllllllllllllllllllllllllllllllllllllll");
  node.credit = 8;
  node.credit_later = 2;
  node.credit_later_at = 8;
  node_start(&node);
  struct muster_options o = options_for(&heard, node.endpoint);
  o.batch_records = 10;
  struct muster_client *c = client_of(&o);
  submit_numbers(c, 0, 80); /* eight batches, and their answers lower the credit */
  flush_all(c);
  assert_int_equal(atomic_load(&node.in_flight_max), 8);
  muster_client_counts(c, &n);
  assert_int_equal(n.credit, 2);
  atomic_store(&node.in_flight_max, 0);
  submit_numbers(c, 80, 400);
  flush_all(c);
  heard_all(&heard, 400);
  muster_client_destroy(c);
  node_stop(&node);
  assert_int_equal(atomic_load(&node.in_flight_max), 2);
}

/* One batch is lost while others are answered: it alone is sent again, on the same connection. */
static void an_unanswered_batch_is_sent_again(void **state)
{
  (void)state;
  struct muster_counts n;
  node_init(&node, endpoint_named("silent"), "sllllllllllllllllllll");
  node_start(&node);
  struct muster_options o = options_for(&heard, node.endpoint);
  o.answer_timeout_ms = 100;
  o.window_batches = 2;
  struct muster_client *c = client_of(&o);
  submit_numbers(c, 0, 1000);
  flush_all(c);
  heard_all(&heard, 1000);
  muster_client_counts(c, &n);
  assert_int_equal(n.sent_again, 100);
  assert_int_equal(n.reconnects, 0);
  muster_client_destroy(c);
  node_stop(&node);
  unsigned again = 0;
  for (unsigned i = 1; i < atomic_load(&node.batches); i++)
    if (node.log[i].id == node.log[0].id) {
      again++;
      assert_true(node.log[i].at_ns - node.log[0].at_ns >= 95000000);
    }
  assert_int_equal(again, 1);
}

/* A node that says nothing at all any more: a connection of its own for the next attempt, and what it kept in silence is a duplicate. */
static void a_silent_connection_is_given_up(void **state)
{
  (void)state;
  struct muster_counts n;
  node_init(&node, endpoint_named("mute"), "aSSS");
  node.answer_timeout_ms = 80; /* from the welcome */
  node_start(&node);
  struct muster_options o = options_for(&heard, node.endpoint);
  struct muster_client *c = client_of(&o);
  submit_numbers(c, 0, 100);
  flush_all(c);
  usleep(5000); /* what was heard lies before what is sent now */
  submit_numbers(c, 100, 400);
  flush_all(c);
  heard_all(&heard, 400);
  muster_client_counts(c, &n);
  assert_int_equal(n.accepted, 100);
  assert_int_equal(n.duplicate, 300);
  assert_int_equal(n.reconnects, 1);
  muster_client_destroy(c);
  node_stop(&node);
  assert_int_equal(atomic_load(&node.hellos), 2);
}

static uint8_t given[NODE_RECORDS];
static uint64_t given_wrong;

static void on_given_back(void *context, uint64_t tag, uint32_t reason)
{
  const struct heard *h = context;
  if (tag >= NODE_RECORDS || given[tag]++ || h->times[tag] || reason != MUSTER__V1__REASON__REASON_BUSY_SHARD_DOWN)
    given_wrong++;
}

static struct muster_client *start_down(const char *name, const char *script, struct muster_options *o)
{
  node_init(&node, endpoint_named(name), script);
  node.retry_after_ms = 20;
  node_start(&node);
  memset(given, 0, sizeof given);
  given_wrong = 0;
  *o = options_for(&heard, node.endpoint);
  o->on_given_back = on_given_back;
  o->window_batches = 4;
  o->shard_patience_ms = 150;
  struct muster_client *c = client_of(o);
  muster_client_set_timeout(c, 5000);
  return c;
}

/* A shard is down all the time, and many more batches are submitted than the window has places. */
static void a_shard_that_stays_down_holds_up_no_other(void **state)
{
  (void)state;
  enum { RECORDS = 5000 };
  static char script[NODE_LOG - 1];
  struct muster_options o;
  struct muster_counts n;
  memset(script, NODE_DOWN_ODD, sizeof script - 1);
  struct muster_client *c = start_down("down", script, &o);
  uint64_t before = clock_monotonic_ns();
  submit_numbers(c, 0, RECORDS);
  flush_all(c);
  assert_true(clock_monotonic_ns() - before >= 149000000); /* waited for at first */
  muster_client_counts(c, &n);
  assert_int_equal(n.submitted, RECORDS);
  assert_int_equal(n.accepted, RECORDS / 2);
  assert_int_equal(n.in_flight, 0);
  assert_int_equal(heard.wrong + given_wrong, 0);
  for (unsigned i = 0; i < RECORDS; i++)
    if (heard.times[i] != (i % 2 == 0) || given[i] != i % 2)
      fail_msg("record %u has %u verdicts, and was given back %u times", i, heard.times[i], given[i]);
  muster_client_destroy(c);
  node_stop(&node);
}

/* One that is back within the patience costs nobody a verdict, and its next outage is waited for as long. */
static void a_shard_that_comes_back_is_waited_for(void **state)
{
  (void)state;
  struct muster_options o;
  struct muster_client *c = start_down("back", "xxxxxxxxxx", &o);
  submit_numbers(c, 0, 2500);
  flush_all(c);
  heard_all(&heard, 2500);
  assert_int_equal(c->down_ms, 0); /* the outage is forgotten */
  for (unsigned i = 0; i < 2500; i++)
    assert_int_equal(given[i], 0);
  muster_client_destroy(c);
  node_stop(&node);
}

/* Without on_given_back nothing is: the records wait until the shard is there again. */
static void nothing_is_given_back_unasked(void **state)
{
  (void)state;
  node_init(&node, endpoint_named("unasked"), "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
  node.retry_after_ms = 20;
  node_start(&node);
  struct muster_options o = options_for(&heard, node.endpoint);
  o.window_batches = 4;
  o.shard_patience_ms = 1;
  struct muster_client *c = client_of(&o);
  submit_numbers(c, 0, 2500);
  flush_all(c);
  heard_all(&heard, 2500);
  muster_client_destroy(c);
  node_stop(&node);
}

/* Everything at once, in an order that chance gives: each record still gets one verdict, its own. */
static void a_bad_day(void **state)
{
  (void)state;
  static const char acts[] = "aaaaallltrobkuftsSaaaaallltrobkuftsSaaaaallltrobkuftsSd";
  enum { RECORDS = 12000 };
  unsigned seed = (unsigned)clock_monotonic_ns();
  struct muster_counts n;
  char script[400];
  print_message("seed %u\n", seed);
  for (unsigned i = 0; i < sizeof script; i++)
    script[i] = acts[(unsigned)rand_r(&seed) % (sizeof acts - 1)];
  script[sizeof script - 1] = 0;
  node_init(&node, endpoint_named("bad-day"), script);
  node.answer_timeout_ms = 50;
  node.credit = 7;
  node.credit_later = 3;
  node.credit_later_at = 100;
  node_start(&node);
  struct muster_options o = options_for(&heard, node.endpoint);
  struct muster_client *c = client_of(&o);
  submit_numbers(c, 0, RECORDS);
  flush_all(c);
  heard_all(&heard, RECORDS);
  muster_client_counts(c, &n);
  assert_int_equal(n.submitted, RECORDS);
  assert_int_equal(n.accepted + n.duplicate, RECORDS);
  muster_client_destroy(c);
  node_stop(&node);
  for (unsigned i = 0; i < RECORDS; i++)
    assert_true(node.committed[i] > 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_busy_batch_waits_and_comes_again),
      cmocka_unit_test(what_is_busy_holds_up_nothing_else),
      cmocka_unit_test(no_more_is_out_than_there_is_credit_for),
      cmocka_unit_test(credit_that_shrinks_is_kept_to),
      cmocka_unit_test(an_unanswered_batch_is_sent_again),
      cmocka_unit_test(a_silent_connection_is_given_up),
      cmocka_unit_test(a_shard_that_stays_down_holds_up_no_other),
      cmocka_unit_test(a_shard_that_comes_back_is_waited_for),
      cmocka_unit_test(nothing_is_given_back_unasked),
      cmocka_unit_test(a_bad_day),
  };
  return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
