/* client/answer.c: answers in every legal form, late and twice, and those that break the protocol. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "client/heard.h"

static struct heard heard;
static struct node node;

static struct muster_client *start(const char *script, struct muster_options *o)
{
  node_init(&node, endpoint_named("answer"), script);
  node_start(&node);
  *o = options_for(&heard, node.endpoint);
  return client_of(o);
}

/* What of a batch is not final is sent again alone and in its order, whatever word it was. */
static void only_what_is_not_final_is_sent_again(void **state)
{
  (void)state;
  static const char *const scripts[] = {"r", "o", "k"};
  for (unsigned i = 0; i < 3; i++) {
    struct muster_options o;
    struct muster_counts n;
    struct muster_client *c = start(scripts[i], &o);
    submit_numbers(c, 0, 100);
    flush_all(c);
    heard_all(&heard, 100);
    muster_client_counts(c, &n);
    assert_int_equal(n.accepted, 100);
    assert_int_equal(n.sent_again, 50);
    assert_int_equal(n.busy_answers, i == 1 ? 50 : 0);
    assert_int_equal(strstr(heard.notices, "BUSY_DISK") != NULL, i == 1);
    muster_client_destroy(c);
    node_stop(&node);
    assert_int_equal(atomic_load(&node.batches), 2);
    assert_int_equal(node.log[1].count, 50);
    assert_int_equal(node.log[1].first, 1);
    assert_true(node.log[1].id != node.log[0].id);                 /* other records are another batch */
    assert_true(node.log[1].at_ns - node.log[0].at_ns >= 5000000); /* not before retry_after_ms */
  }
}

/* Of a whole batch: the same batch goes out again, and what is told while it waits is true. */
static void a_batch_that_waits_says_why(void **state)
{
  (void)state;
  static const struct {
    const char *script, *says;
    unsigned busy;
  } cases[] = {
      {"b", "BUSY_DRAINING", 1}, {"B", "without a reason", 1}, {"R", "RETRY_OUTCOME_UNKNOWN", 0}, {"K", "RETRY_OUTCOME_UNKNOWN", 0}};
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct muster_options o;
    struct muster_counts n;
    struct muster_client *c = start(cases[i].script, &o);
    submit_numbers(c, 0, 100);
    flush_all(c);
    heard_all(&heard, 100);
    muster_client_counts(c, &n);
    assert_int_equal(n.busy_answers, cases[i].busy);
    if (!strstr(heard.notices, cases[i].says) || strstr(heard.notices, "nothing is wrong"))
      fail_msg("%s: %s", cases[i].script, heard.notices);
    muster_client_destroy(c);
    node_stop(&node);
    assert_int_equal(atomic_load(&node.batches), 2);
    assert_int_equal(node.log[1].count, 100);
    assert_true(node.log[1].id == node.log[0].id);
  }
}

static void legal_forms_are_understood(void **state)
{
  (void)state;
  struct muster_options o;
  struct muster_counts n;
  struct muster_client *c = start("uftalt", &o);
  submit_numbers(c, 0, 600);
  flush_all(c);
  submit_numbers(c, 600, 700); /* behind the second copies of answers */
  flush_all(c);
  heard_all(&heard, 700);
  muster_client_counts(c, &n);
  assert_int_equal(n.accepted + n.duplicate, 700);
  assert_int_equal(n.sent_again, 0);
  muster_client_destroy(c);
  node_stop(&node);
}

/* Each ends the client for good, with a sentence, and no record gets a verdict that was not given. */
static void breaches_are_final(void **state)
{
  (void)state;
  static const struct {
    const char *script;
    int status;
    const char *says;
  } breaches[] = {{"c", MUSTER_ERR_PROTOCOL, "101 records"},  {"w", MUSTER_ERR_PROTOCOL, "99 verdicts"},
                  {"W", MUSTER_ERR_PROTOCOL, "101 verdicts"}, {"g", MUSTER_ERR_PROTOCOL, "protocol"},
                  {"A", MUSTER_ERR_PROTOCOL, "verdict 1"},    {"i", MUSTER_ERR_PROTOCOL, "BATCH_COUNT"},
                  {"v", MUSTER_ERR_VERSION, "BATCH_VERSION"}};
  for (unsigned i = 0; i < sizeof breaches / sizeof *breaches; i++) {
    struct muster_options o;
    struct muster_counts n;
    uint8_t record[8];
    struct muster_client *c = start(breaches[i].script, &o);
    submit_numbers(c, 0, 100);
    assert_int_equal(muster_client_flush(c, 5000), breaches[i].status);
    if (!strstr(muster_client_error(c), breaches[i].says))
      fail_msg("%s: %s", breaches[i].script, muster_client_error(c));
    assert_int_equal(muster_client_submit(c, record, record_of(record, 1, 8), 1), breaches[i].status);
    assert_int_equal(muster_client_try_submit(c, record, 8, 1), breaches[i].status);
    assert_int_equal(muster_client_process(c), breaches[i].status);
    assert_int_equal(muster_client_submit_stream(c, "\x01x", 2, 1, NULL), breaches[i].status);
    assert_int_equal(muster_client_flush(c, 10), breaches[i].status);
    assert_non_null(strstr(muster_client_error(c), breaches[i].says)); /* still told */
    muster_client_counts(c, &n);
    assert_int_equal(n.in_flight, 100);
    assert_int_equal(n.connected, 0);
    heard_all(&heard, 0);
    muster_client_destroy(c);
    node_stop(&node);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(only_what_is_not_final_is_sent_again),
      cmocka_unit_test(a_batch_that_waits_says_why),
      cmocka_unit_test(legal_forms_are_understood),
      cmocka_unit_test(breaches_are_final),
  };
  return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
