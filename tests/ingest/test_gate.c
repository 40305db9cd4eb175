/* ingest/gate.c: bytes in, answers out; garbage, versions and frames. */
#include "ingest/node.h"

#include <unistd.h>

#define REASON(name) MUSTER__V1__REASON__REASON_##name

static int setup(void **state)
{
  struct node *n = node_create();
  node_start(n);
  *state = n;
  return 0;
}

static int teardown(void **state)
{
  node_destroy(*state);
  return 0;
}

static size_t submit_header(uint8_t out[64], uint32_t major, uint32_t count)
{
  Muster__V1__SubmitHeader h = MUSTER__V1__SUBMIT_HEADER__INIT;
  h.has_kind = h.has_version_major = h.has_batch_id = h.has_record_count = 1;
  h.kind = MUSTER__V1__KIND__KIND_SUBMIT;
  h.version_major = major;
  h.batch_id = 5;
  h.record_count = count;
  return muster__v1__submit_header__pack(&h, out);
}

static size_t hello(uint8_t out[128], uint32_t major, char *software)
{
  Muster__V1__Hello h = MUSTER__V1__HELLO__INIT;
  h.has_kind = h.has_version_major = h.has_version_minor = 1;
  h.kind = MUSTER__V1__KIND__KIND_HELLO;
  h.version_major = major;
  h.software = software;
  return muster__v1__hello__pack(&h, out);
}

static void hello_is_welcomed(void **state)
{
  struct node *n = *state;
  uint8_t bytes[128];
  char software[] = "test/1";
  for (uint32_t major = 1; major <= 2; major++) {
    node_receive(n, 'a', 1, bytes, hello(bytes, major, software), NULL, 0);
    struct link_message *m = node_take(n, 'a');
    assert_int_equal(m->frame_count, 1);
    Muster__V1__Welcome *w = muster__v1__welcome__unpack(NULL, link_frame_size(&m->frame[0]), link_frame_data(&m->frame[0]));
    assert_non_null(w);
    assert_int_equal(w->kind, MUSTER__V1__KIND__KIND_WELCOME);
    assert_int_equal(w->version_major, 1);
    assert_true(w->has_accepted && w->accepted == (major == 1));
    assert_int_equal(w->node_id.len, 16);
    assert_memory_equal(w->node_id.data, "0123456789abcdef", 16);
    assert_true(w->session == NODE_SESSION && w->credit == n->config.credit);
    assert_int_equal(w->batch_records_max, LIMIT_BATCH_RECORDS);
    assert_int_equal(w->message_bytes_max, LIMIT_MESSAGE_BYTES);
    assert_int_equal(w->record_bytes_max, LIMIT_RECORD_BYTES);
    assert_int_equal(w->answer_timeout_ms, n->config.answer_timeout_ms);
    muster__v1__welcome__free_unpacked(w, NULL);
    link_message_finish(m);
  }
  ingest_flow_gauges(&n->flow);
  assert_int_equal(counters_get(n->counters, COUNTER_peers), 1);
  n->answer_status = MUSTER_ERR_NOT_FOUND;
  node_receive(n, 'a', 1, bytes, hello(bytes, 1, software), NULL, 0);
  ingest_flow_gauges(&n->flow);
  assert_int_equal(counters_get(n->counters, COUNTER_peers), 0);
}

/* What was written to standard error while a hello with these words came. */
static char *logged(struct node *n, char *software)
{
  static char text[4096];
  uint8_t bytes[512];
  FILE *caught = tmpfile();
  int kept = dup(STDERR_FILENO);
  dup2(fileno(caught), STDERR_FILENO);
  node_receive(n, 'a', 1, bytes, hello(bytes, 1, software), NULL, 0);
  dup2(kept, STDERR_FILENO);
  close(kept);
  ssize_t size = pread(fileno(caught), text, sizeof text - 1, 0);
  text[size > 0 ? size : 0] = '\0';
  fclose(caught);
  link_message_finish(node_take(n, 'a'));
  memset(&n->gate.gate, 0, sizeof n->gate.gate);
  return text;
}

static void only_a_name_and_a_version_get_into_the_log(void **state)
{
  struct node *n = *state;
  static const char *const named[] = {"libmuster 0.1.0", "muster-submit 0.1.0-rc1+git", "x 1", "a/b_c.d+e- 9._/+-Z"};
  static const char *const unnamed[] = {
      "",           "name",       "name ",      " 1.0",
      "name  1.0",  "name 1.0 ",  "Jane Doe",   "name v1",
      "a name 1.0", "na\"me 1.0", "name 1.0\n", "n\xc3\xa4me 1.0",
      "name=x 1.0", "name:1 1.0", "n@me 1.0",   "a1234567890123456789012345678901234567890123456789012345678901 1.0"};
  char software[128], want[128];
  for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
    snprintf(software, sizeof software, "%s", named[i]);
    snprintf(want, sizeof want, " software=\"%s\"\n", named[i]);
    assert_non_null(strstr(logged(n, software), want));
  }
  for (size_t i = 0; i < sizeof unnamed / sizeof *unnamed; i++) {
    snprintf(software, sizeof software, "%s", unnamed[i]);
    const char *line = logged(n, software);
    assert_non_null(strstr(line, " software=unnamed\n"));
    assert_null(unnamed[i][0] && strcmp(unnamed[i], "name") && strcmp(unnamed[i], "name ") ? strstr(line, unnamed[i]) : NULL);
  }
  assert_non_null(strstr(logged(n, NULL), " software=unnamed\n"));
}

static void a_batch_is_answered_record_by_record(void **state)
{
  struct node *n = *state;
  const uint32_t counts[] = {1, 2, 100, LIMIT_BATCH_RECORDS};
  for (uint32_t i = 0; i < 4; i++) { /* without a hello */
    node_submit(n, 'a', 1000 + i, i, counts[i]);
    assert_int_equal(node_answers(n), 0);
    node_work(n);
    node_expect(n, 'a', 1000 + i, 0, i, counts[i]);
  }
  assert_int_equal(counters_get(n->counters, COUNTER_records_accepted), 103 + LIMIT_BATCH_RECORDS);
  assert_int_equal(counters_get(n->counters, COUNTER_records_in_flight), 0);
  assert_int_equal(counters_get(n->counters, COUNTER_budget_used_bytes), 0);
  assert_int_equal(n->flow.admit.at_workers_bytes, 0);
}

static void status_tells_of_this_client(void **state)
{
  struct node *n = *state;
  node_submit(n, 'a', 1, 0, 10);
  node_submit(n, 'a', 2, 0, 10);
  node_submit(n, 'b', 3, 0, 10);
  node_die(n, 1);
  Muster__V1__StatusRequest r = MUSTER__V1__STATUS_REQUEST__INIT;
  uint8_t bytes[32];
  r.has_kind = r.has_version_major = 1;
  r.kind = MUSTER__V1__KIND__KIND_STATUS_REQUEST;
  r.version_major = 1;
  node_receive(n, 'a', 1, bytes, muster__v1__status_request__pack(&r, bytes), NULL, 0);
  struct link_message *m = node_take(n, 'a');
  Muster__V1__Status *s = muster__v1__status__unpack(NULL, link_frame_size(&m->frame[0]), link_frame_data(&m->frame[0]));
  assert_non_null(s);
  assert_true(s->kind == MUSTER__V1__KIND__KIND_STATUS && s->has_draining && !s->draining);
  assert_int_equal(s->shards, 2);
  assert_int_equal(s->shards_serving, 1);
  assert_int_equal(s->batches_in_flight, 2);
  muster__v1__status__free_unpacked(s, NULL);
  link_message_finish(m);
  r.version_major = 2;
  node_receive(n, 'a', 1, bytes, muster__v1__status_request__pack(&r, bytes), NULL, 0);
  node_expect(n, 'a', 0, REASON(BATCH_VERSION), 0, 0);
}

static void garbage_is_refused_and_the_node_goes_on(void **state)
{
  struct node *n = *state;
  uint8_t large[600], bytes[128];
  memset(large, 'x', sizeof large);
  node_receive(n, 'a', 1, "garbage", 7, NULL, 0);
  node_expect(n, 'a', 0, REASON(BATCH_HEADER), 0, 0);
  node_receive(n, 'a', 0, NULL, 0, NULL, 0);
  node_expect(n, 'a', 0, REASON(BATCH_HEADER), 0, 0);
  node_receive(n, 'a', 1, "", 0, NULL, 0);
  node_expect(n, 'a', 0, REASON(BATCH_HEADER), 0, 0);
  node_receive(n, 'a', 2, large, sizeof large, "x", 1);
  node_expect(n, 'a', 0, REASON(BATCH_HEADER), 0, 0);
  node_receive(n, 'a', 1, "\x08\x03", 2, NULL, 0); /* a kind and no version */
  node_expect(n, 'a', 0, REASON(BATCH_HEADER), 0, 0);
  node_receive(n, 'a', 1, "\x10\x01", 2, NULL, 0); /* a version and no kind */
  node_expect(n, 'a', 0, REASON(BATCH_HEADER), 0, 0);
  node_receive(n, 'a', 2, "\x08\x63\x10\x01", 4, "", 0); /* kind 99 */
  node_expect(n, 'a', 0, REASON(BATCH_HEADER), 0, 0);
  node_receive(n, 'a', 2, "\x08\x03\x10\x01", 4, "", 0); /* neither batch id nor count */
  node_expect(n, 'a', 0, REASON(BATCH_HEADER), 0, 0);
  node_receive(n, 'a', 2, bytes, hello(bytes, 1, NULL), "x", 1);
  node_expect(n, 'a', 0, REASON(BATCH_FRAMES), 0, 0);
  size_t size = submit_header(bytes, 1, 3);
  node_receive(n, 'a', 1, bytes, size, NULL, 0);
  node_expect(n, 'a', 5, REASON(BATCH_FRAMES), 0, 3);
  node_receive(n, 'a', LINK_FRAMES, bytes, size, "x", 1);
  node_expect(n, 'a', 5, REASON(BATCH_FRAMES), 0, 3);
  node_receive(n, 'a', 2, bytes, submit_header(bytes, 2, 3), "x", 1);
  node_expect(n, 'a', 5, REASON(BATCH_VERSION), 0, 3);
  assert_int_equal(counters_get(n->counters, COUNTER_batches_refused), 12);
  node_submit(n, 'a', 9, 0, 10);
  node_work(n);
  node_expect(n, 'a', 9, 0, 0, 10);
}

/* The worst that fits a first frame: as many fields that nobody knows as it has room for. It must not break the bound on memory. */
static void a_header_of_many_unknown_fields_is_read(void **state)
{
  struct node *n = *state;
  uint8_t bytes[LIMIT_HEADER_BYTES + 2];
  struct stage_stream s;
  size_t size = submit_header(bytes, 1, 2);
  stage_fill(&s, 2, 0, 0);
  for (; size + 2 <= LIMIT_HEADER_BYTES; size += 2) {
    bytes[size] = 15 << 3;
    bytes[size + 1] = 1;
  }
  node_receive(n, 'a', 2, bytes, size, s.bytes, s.size);
  node_work(n);
  node_expect(n, 'a', 5, 0, 0, 2);
  bytes[size++] = 15 << 3; /* one more is one too many */
  bytes[size++] = 1;
  node_receive(n, 'a', 2, bytes, size, s.bytes, s.size);
  node_expect(n, 'a', 0, REASON(BATCH_HEADER), 0, 0);
  stage_stream_finish(&s);
}

static void random_first_frames_are_always_answered(void **state)
{
  struct node *n = *state;
  for (int i = 0; i < 2000; i++) {
    uint8_t bytes[128];
    size_t size = i % 2 ? submit_header(bytes, 1, 1) : hello(bytes, 1, NULL);
    for (uint64_t j = stage_random() % 4 + 1; j-- > 0;)
      bytes[stage_random() % size] = (uint8_t)stage_random();
    size -= stage_random() % 2;
    node_receive(n, 'a', 1 + i % 2, bytes, size, "", 0);
    assert_int_equal(node_answers(n), 1); /* an empty batch, so nothing is ever taken in */
    link_message_finish(node_take(n, 'a'));
  }
  assert_int_equal(counters_get(n->counters, COUNTER_batches_received), 0);
}

static void wrong_batches_say_why(void **state)
{
  struct node *n = *state;
  struct stage_stream s;
  uint8_t header[64];
  stage_fill(&s, 5, 0, 30);
  stage_room(&s, LIMIT_MESSAGE_BYTES + 1);
  const struct {
    uint32_t count, reason, record, byte;
    size_t size;
  } wrong[] = {
      {0, REASON(BATCH_EMPTY), 0, 0, s.size},
      {5, REASON(BATCH_EMPTY), 0, 0, 0},
      {LIMIT_BATCH_RECORDS + 1, REASON(BATCH_TOO_MANY_RECORDS), 0, 0, s.size},
      {5, REASON(BATCH_TOO_MANY_BYTES), 0, 0, LIMIT_MESSAGE_BYTES + 1},
      {4, REASON(BATCH_COUNT), 4, s.at[4], s.size},
      {6, REASON(BATCH_COUNT), 5, s.at[5], s.size},
      {5, REASON(BATCH_STREAM), 4, s.at[4], s.size - 1},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    node_receive(n, 'a', 2, header, submit_header(header, 1, wrong[i].count), s.bytes, wrong[i].size);
    struct link_message *m = node_take(n, 'a');
    Muster__V1__AnswerHeader *h = stage_header(&m->frame[0]);
    bool placed = wrong[i].reason == REASON(BATCH_COUNT) || wrong[i].reason == REASON(BATCH_STREAM);
    assert_int_equal(h->batch_verdict, MUSTER__V1__VERDICT__VERDICT_INVALID);
    assert_int_equal(h->batch_reason, wrong[i].reason);
    assert_int_equal(h->has_error_record && h->has_error_byte, placed);
    assert_int_equal(h->error_record, wrong[i].record);
    assert_int_equal(h->error_byte, wrong[i].byte);
    assert_false(h->has_retry_after_ms);
    muster__v1__answer_header__free_unpacked(h, NULL);
    link_message_finish(m);
  }
  assert_int_equal(counters_get(n->counters, COUNTER_batches_refused), 7);
  assert_int_equal(counters_get(n->counters, COUNTER_records_received), 0);
  assert_int_equal(node_parts(n, 0) + node_parts(n, 1), 0);
  stage_stream_finish(&s);
}

static void who_does_not_read_is_not_waited_for(void **state)
{
  struct node *n = *state;
  uint8_t bytes[128];
  n->answer_status = MUSTER_ERR_AGAIN;
  node_receive(n, 'a', 1, bytes, hello(bytes, 1, NULL), NULL, 0);
  node_receive(n, 'a', 1, "garbage", 7, NULL, 0);
  assert_int_equal(n->answer_refused, 2);
  n->answer_status = MUSTER_OK;
  assert_int_equal(node_answers(n), 0);
}

int main(void)
{
  stage_seed_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(hello_is_welcomed, setup, teardown),
      cmocka_unit_test_setup_teardown(only_a_name_and_a_version_get_into_the_log, setup, teardown),
      cmocka_unit_test_setup_teardown(a_batch_is_answered_record_by_record, setup, teardown),
      cmocka_unit_test_setup_teardown(status_tells_of_this_client, setup, teardown),
      cmocka_unit_test_setup_teardown(garbage_is_refused_and_the_node_goes_on, setup, teardown),
      cmocka_unit_test_setup_teardown(a_header_of_many_unknown_fields_is_read, setup, teardown),
      cmocka_unit_test_setup_teardown(random_first_frames_are_always_answered, setup, teardown),
      cmocka_unit_test_setup_teardown(wrong_batches_say_why, setup, teardown),
      cmocka_unit_test_setup_teardown(who_does_not_read_is_not_waited_for, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
