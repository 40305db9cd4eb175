/* client/client.c and batch.c: what a caller of the public interface is promised, against a node that follows a script. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>

#include "client/heard.h"

static struct heard heard;
static struct node node;

static void start(const char *name, const char *script)
{
  node_init(&node, endpoint_named(name), script);
  node_start(&node);
}

static void every_record_gets_its_verdict_once(void **state)
{
  (void)state;
  struct muster_counts n;
  start("plain", "");
  struct muster_options o = options_for(&heard, node.endpoint);
  struct muster_client *c = client_of(&o);
  submit_numbers(c, 0, 12345);
  muster_client_counts(c, &n);
  assert_int_equal(n.submitted, 12345);
  assert_int_equal(n.in_flight, n.submitted - n.accepted);
  flush_all(c);
  heard_all(&heard, 12345);
  muster_client_counts(c, &n);
  assert_int_equal(n.accepted, 12345);
  assert_int_equal(n.duplicate + n.conflict + n.invalid + n.in_flight + n.sent_again + n.busy_answers + n.reconnects, 0);
  assert_int_equal(n.connected, 1);
  assert_int_equal(n.credit, 64);
  memset(heard.times, 0, sizeof heard.times);
  submit_numbers(c, 0, 12345); /* the same again */
  flush_all(c);
  heard_all(&heard, 12345);
  muster_client_counts(c, &n);
  assert_int_equal(n.duplicate, 12345);
  assert_string_equal(muster_client_endpoint(c), node.endpoint);
  assert_int_equal(muster_client_flush(c, 1), MUSTER_OK); /* nothing is left */
  muster_client_destroy(c);
  node_stop(&node);
  assert_int_equal(atomic_load(&node.hellos), 1);
  for (unsigned i = 0; i < atomic_load(&node.batches); i++)
    assert_true(node.log[i].count <= 100);
}

static void verdicts_carry_what_the_node_said(void **state)
{
  (void)state;
  struct muster_counts n;
  start("mixed", "m");
  struct muster_options o = options_for(&heard, node.endpoint);
  struct muster_client *c = client_of(&o);
  submit_numbers(c, 0, 100);
  flush_all(c);
  heard_all(&heard, 100);
  muster_client_counts(c, &n);
  assert_int_equal(n.accepted, 25);
  assert_int_equal(n.duplicate, 25);
  assert_int_equal(n.conflict, 25);
  assert_int_equal(n.invalid, 25);
  assert_int_equal(heard.last_invalid.tag, 99);
  assert_int_equal(heard.last_invalid.reason, 14);
  assert_int_equal(heard.last_invalid.field, 7);
  assert_int_equal(heard.last_invalid.sequence, 0);
  assert_string_equal(muster_reason_name(14), "CITIZENSHIP");
  assert_string_equal(muster_verdict_name(MUSTER_CONFLICT), "CONFLICT");
  assert_string_equal(muster_version(), MUSTER_VERSION);
  muster_client_destroy(c);
  node_stop(&node);
}

/* A whole stream in odd pieces, with records of all sizes up to the largest. */
static void a_stream_is_taken_as_it_is(void **state)
{
  (void)state;
  enum { RECORDS = 1500 };
  uint8_t *stream = malloc(RECORDS * 3000), record[LIMIT_RECORD_BYTES], *p = stream;
  uint64_t taken, first = 0;
  start("stream", "");
  struct muster_options o = options_for(&heard, node.endpoint);
  o.batch_records = 0; /* the default */
  struct muster_client *c = client_of(&o);
  for (uint64_t i = 0; i < RECORDS; i++) {
    size_t size = record_of(record, i, i % 100 == 50 ? LIMIT_RECORD_BYTES : 8 + i % 2000);
    p = varint_write(p, size);
    memcpy(p, record, size);
    p += size;
  }
  for (uint8_t *from = stream; from < p;) { /* the caller cuts where records end */
    const uint8_t *to = from;
    struct batch_record r;
    for (unsigned i = 0; i < 700 && batch_next(&to, p, &r) == BATCH_RECORD; i++)
      ;
    assert_int_equal(muster_client_submit_stream(c, from, (size_t)(to - from), first, &taken), MUSTER_OK);
    first += taken;
    from = (uint8_t *)stream + (to - stream);
  }
  assert_int_equal(first, RECORDS);
  flush_all(c);
  heard_all(&heard, RECORDS);
  muster_client_destroy(c);
  node_stop(&node);
  assert_int_equal(node.log[0].count, 1000);
  assert_int_equal(node.log[1].count, 500);
  free(stream);
}

static void a_broken_stream_says_where(void **state)
{
  (void)state;
  uint8_t stream[40000], record[30], *p = stream;
  uint64_t taken;
  char at[64];
  start("broken", "");
  struct muster_options o = options_for(&heard, node.endpoint);
  struct muster_client *c = client_of(&o);
  for (uint64_t i = 0; i < 3; i++) {
    p = varint_write(p, 30);
    memcpy(p, record, record_of(record, i, 30));
    p += 30;
  }
  size_t whole = (size_t)(p - stream);
  snprintf(at, sizeof at, "byte %zu, after 3 records", whole);
  memcpy(varint_write(p, 30), record, 30);
  assert_int_equal(muster_client_submit_stream(c, stream, whole + 20, 0, &taken), MUSTER_ERR_FORMAT);
  assert_int_equal(taken, 3);
  assert_non_null(strstr(muster_client_error(c), at));
  *p = 0; /* no record has no bytes */
  assert_int_equal(muster_client_submit_stream(c, stream, whole + 1, 3, &taken), MUSTER_ERR_FORMAT);
  assert_int_equal(taken, 3);
  uint8_t *end = varint_write(p, LIMIT_RECORD_BYTES + 1) + LIMIT_RECORD_BYTES + 1;
  assert_int_equal(muster_client_submit_stream(c, stream, (size_t)(end - stream), 6, &taken), MUSTER_ERR_LIMIT);
  assert_int_equal(taken, 3);
  assert_non_null(strstr(muster_client_error(c), at));
  assert_int_equal(muster_client_submit_stream(c, stream, 0, 9, NULL), MUSTER_OK);
  assert_int_equal(muster_client_submit(c, stream, LIMIT_RECORD_BYTES + 1, 9), MUSTER_ERR_LIMIT);
  assert_int_equal(muster_client_submit(c, stream, 0, 9), MUSTER_ERR_USAGE);
  struct muster_counts n;
  flush_all(c);
  muster_client_counts(c, &n);
  assert_int_equal(n.submitted, 9);
  assert_int_equal(n.accepted, 3);
  assert_int_equal(n.duplicate, 6);
  muster_client_destroy(c);
  node_stop(&node);
}

/* Both ways of submitting keep to the limits of the welcome. */
static void batches_keep_within_the_limits_of_the_welcome(void **state)
{
  (void)state;
  uint8_t record[LIMIT_RECORD_BYTES], stream[LIMIT_RECORD_BYTES + 3];
  uint64_t taken;
  node_init(&node, endpoint_named("limits"), "");
  node.batch_records_max = 7;
  node.message_bytes_max = 40000;
  node_start(&node);
  struct muster_options o = options_for(&heard, node.endpoint);
  struct muster_client *c = client_of(&o);
  for (unsigned i = 0; i < 1000 && muster_client_process(c) >= 0 && !atomic_load(&node.hellos); i++)
    usleep(1000);
  usleep(20000);
  muster_client_process(c);
  for (uint64_t i = 0; i < 100; i++)
    assert_int_equal(muster_client_submit(c, record, record_of(record, i, i < 50 ? 20 : 15000), i), MUSTER_OK);
  for (uint64_t i = 100; i < 200; i++) {
    size_t size = i < 150 ? 20 : 15000;
    uint8_t *p = varint_write(stream, size);
    record_of(p, i, size);
    assert_int_equal(muster_client_submit_stream(c, stream, (size_t)(p - stream) + size, i, &taken), MUSTER_OK);
  }
  flush_all(c);
  heard_all(&heard, 200);
  muster_client_destroy(c);
  node_stop(&node);
  for (unsigned i = 0; i < atomic_load(&node.batches); i++) {
    assert_in_range(node.log[i].count, 1, 7);
    assert_in_range(node.log[i].bytes, 1, 40000);
  }
}

static void a_full_window_is_told_and_nothing_is_taken(void **state)
{
  (void)state;
  uint8_t record[8];
  uint64_t tag = 0;
  int status;
  struct muster_counts n;
  struct muster_options o = options_for(&heard, endpoint_named("window")); /* nobody there yet */
  o.batch_records = 10;
  o.window_batches = 4;
  struct muster_client *c = client_of(&o);
  while ((status = muster_client_try_submit(c, record, record_of(record, tag, 8), tag)) == MUSTER_OK)
    tag++;
  assert_int_equal(status, MUSTER_ERR_AGAIN);
  assert_int_equal(tag, 50); /* four in flight and one that was filled */
  muster_client_set_timeout(c, 60);
  uint64_t before = clock_monotonic_ns();
  assert_int_equal(muster_client_submit(c, record, record_of(record, tag, 8), tag), MUSTER_ERR_TIMEOUT);
  assert_in_range(clock_monotonic_ns() - before, 55000000, 2000000000);
  assert_string_not_equal(muster_client_error(c), "");
  muster_client_counts(c, &n);
  assert_int_equal(n.submitted, 50);
  assert_int_equal(muster_client_flush(c, 60), MUSTER_ERR_TIMEOUT);
  start("window", "");
  muster_client_set_timeout(c, 0);
  submit_numbers(c, 50, 200); /* blocks until there is room, and goes on */
  flush_all(c);
  heard_all(&heard, 200);
  muster_client_destroy(c);
  node_stop(&node);
}

/* Nothing but poll, process and try_submit. */
static void it_lives_in_the_callers_own_loop(void **state)
{
  (void)state;
  uint8_t record[8];
  uint64_t tag = 0, answered = 0;
  struct muster_counts n;
  start("loop", "llbr");
  struct muster_options o = options_for(&heard, node.endpoint);
  o.window_batches = 3;
  o.linger_ms = 30;
  struct muster_client *c = client_of(&o);
  struct pollfd p = {.fd = muster_client_fd(c), .events = POLLIN};
  uint64_t end_ns = clock_monotonic_ns() + UINT64_C(10000000000);
  unsigned rounds = 0;
  while (answered < 1010 && clock_monotonic_ns() < end_ns) {
    while (tag < 1010 && muster_client_try_submit(c, record, record_of(record, tag, 8), tag) == MUSTER_OK)
      tag++;
    int timeout_ms = muster_client_process(c);
    assert_in_range(timeout_ms, 0, 1000);
    muster_client_counts(c, &n);
    answered = n.accepted + n.duplicate;
    if (answered < 1010)
      poll(&p, 1, timeout_ms);
    rounds++;
  }
  heard_all(&heard, 1010);    /* the last ten went by the linger, without a flush */
  assert_true(rounds < 2000); /* it waits, it does not spin */
  muster_client_destroy(c);
  node_stop(&node);
  uint32_t last = atomic_load(&node.batches) - 1;
  assert_int_equal(node.log[last].count, 10);
}

static void options_that_cannot_be_are_refused(void **state)
{
  (void)state;
  struct muster_client *c = (struct muster_client *)directory;
  char error[MUSTER_ERROR_BYTES], long_name[100];
  struct muster_options o = options_for(&heard, endpoint_named("x"));
  o.size = 0;
  assert_int_equal(muster_client_create(&c, &o, error), MUSTER_ERR_USAGE);
  assert_null(c);
  assert_string_not_equal(error, "");
  const char *bad[] = {"bogus://x", "ipc://", "tcp://127.0.0.1", "tcp://127.0.0.1:x", "", " ", "ipc:///a bogus"};
  for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
    o = options_for(&heard, bad[i]);
    assert_int_equal(muster_client_create(&c, &o, error), MUSTER_ERR_USAGE);
  }
  o = options_for(&heard, "tcp://127.0.0.1:7411"); /* there is no mode without keys */
  assert_int_equal(muster_client_create(&c, &o, error), MUSTER_ERR_USAGE);
  assert_non_null(strstr(error, "key"));
  o.server_key = "short";
  assert_int_equal(muster_client_create(&c, &o, NULL), MUSTER_ERR_FORMAT);
  o.key_file = "/nonexistent/own.key";
  assert_int_equal(muster_client_create(&c, &o, NULL), MUSTER_ERR_NOT_FOUND);
  o = options_for(&heard, endpoint_named("x"));
  o.batch_records = 10001;
  assert_int_equal(muster_client_create(&c, &o, NULL), MUSTER_ERR_USAGE);
  o = options_for(&heard, endpoint_named("x"));
  memset(long_name, 'a', sizeof long_name);
  long_name[65] = 0;
  o.software = long_name;
  assert_int_equal(muster_client_create(&c, &o, NULL), MUSTER_ERR_USAGE);
  o = options_for(&heard, NULL);
  unsetenv("MUSTER_DATA");
  assert_int_equal(muster_client_create(&c, &o, error), MUSTER_ERR_USAGE);
  assert_non_null(strstr(error, "MUSTER_DATA"));
  o.data_directory = "/nonexistent";
  assert_int_equal(muster_client_create(&c, &o, NULL), MUSTER_ERR_NOT_FOUND);
  muster_client_destroy(NULL);
}

/* A program that was built when the options were shorter. */
static void older_options_are_taken(void **state)
{
  (void)state;
  start("older", "b"); /* BUSY would be worth a notice */
  struct muster_options o = options_for(&heard, node.endpoint);
  o.size = offsetof(struct muster_options, on_notice);
  o.on_notice = (void (*)(void *, const char *))(uintptr_t)1; /* not to be looked at */
  o.on_verdict = NULL;
  struct muster_client *c = client_of(&o);
  submit_numbers(c, 0, 10);
  flush_all(c);
  muster_client_destroy(c);
  node_stop(&node);
}

static void several_clients_live_beside_each_other(void **state)
{
  (void)state;
  static struct heard other;
  start("several", "lll");
  struct muster_options o = options_for(&heard, node.endpoint), p = options_for(&other, node.endpoint);
  struct muster_client *a = client_of(&o), *b = client_of(&p);
  for (uint64_t i = 0; i < 1000; i += 100) {
    submit_numbers(a, i, i + 100);
    submit_numbers(b, i, i + 100);
  }
  flush_all(b);
  flush_all(a);
  heard_all(&heard, 1000);
  heard_all(&other, 1000);
  submit_numbers(a, 1000, 1050);
  muster_client_destroy(a); /* with records on their way */
  muster_client_destroy(b);
  node_stop(&node);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_record_gets_its_verdict_once),
      cmocka_unit_test(verdicts_carry_what_the_node_said),
      cmocka_unit_test(a_stream_is_taken_as_it_is),
      cmocka_unit_test(a_broken_stream_says_where),
      cmocka_unit_test(batches_keep_within_the_limits_of_the_welcome),
      cmocka_unit_test(a_full_window_is_told_and_nothing_is_taken),
      cmocka_unit_test(it_lives_in_the_callers_own_loop),
      cmocka_unit_test(options_that_cannot_be_are_refused),
      cmocka_unit_test(older_options_are_taken),
      cmocka_unit_test(several_clients_live_beside_each_other),
  };
  return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
