/* ingest/front.c: the two endpoints over real sockets: who is heard, as whom, and what is left when one cannot be bound. */
#include "ingest/stage.h"

#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/key_list.h"
#include "ingest/front.h"

#define SECOND UINT64_C(1000000000)

struct rig {
  uv_loop_t loop;
  struct counters *counters;
  struct config config;
  struct datadir data;
  struct ingest_flow flow;
  struct ingest_gate gate;
  struct ingest_front front;
  struct key_pair server, field;
  struct link *client;
  uint32_t connected, answers;
  Muster__V1__Kind kind; /* of the last answer */
};

static int send_answer(void *context, enum ingest_origin origin, struct link_message *m)
{
  struct rig *r = context;
  return ingest_front_send(&r->front, origin, m);
}

static int send_part(void *context, uint32_t shard, const struct hop_head *head, struct link_frame *records)
{
  (void)context;
  (void)shard;
  (void)head;
  (void)records;
  return MUSTER_ERR_AGAIN;
}

static void on_drained(void *context) { (void)context; }

static void allow_path(const struct rig *r, char *out) { datadir_path(&r->data, out, "keys/allow"); }

static int setup(void **state)
{
  struct rig *r = calloc(1, sizeof *r);
  struct failure failure = FAILURE_NONE;
  char path[LIMIT_PATH_BYTES];
  const struct ingest_flow_seam seam = {.send_answer = send_answer, .send_part = send_part, .on_drained = on_drained, .context = r};
  r->counters = stage_counters();
  config_defaults(&r->config);
  r->config.workers = 2;
  strcpy(r->config.listen, "tcp://127.0.0.1:0");
  snprintf(path, sizeof path, "%s/data", stage_directory);
  assert_int_equal(datadir_create(&r->data, path, &failure), MUSTER_OK);
  assert_int_equal(key_generate(&r->server, "node", &failure), MUSTER_OK);
  assert_int_equal(key_generate(&r->field, "field-7", &failure), MUSTER_OK);
  datadir_path(&r->data, path, "keys/node.key");
  assert_int_equal(key_write(&r->server, path, &failure), MUSTER_OK);
  uv_loop_init(&r->loop);
  assert_int_equal(ingest_flow_init(&r->flow, &r->config, &seam, r->counters, clock_monotonic_ns()), MUSTER_OK);
  assert_int_equal(ingest_gate_init(&r->gate, &r->flow, (const uint8_t *)"0123456789abcdef", 1), MUSTER_OK);
  *state = r;
  return 0;
}

static int teardown(void **state)
{
  struct rig *r = *state;
  link_close(r->client);
  ingest_front_close(&r->front, 0);
  uv_run(&r->loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&r->loop), 0);
  link_context_finish();
  ingest_gate_finish(&r->gate);
  ingest_flow_finish(&r->flow);
  datadir_close(&r->data);
  stage_counters_finish(r->counters);
  free(r);
  return 0;
}

static int open_front(struct rig *r, uint32_t index, struct failure *failure)
{
  *failure = FAILURE_NONE;
  return ingest_front_open(&r->front, &r->loop, &r->gate, &r->data, &r->config, index, r->counters, failure);
}

static void on_message(void *context, struct link *link, struct link_message *m)
{
  struct rig *r = context;
  (void)link;
  Muster__V1__Header *h = muster__v1__header__unpack(NULL, link_frame_size(&m->frame[0]), link_frame_data(&m->frame[0]));
  assert_non_null(h);
  r->kind = h->kind;
  r->answers++;
  muster__v1__header__free_unpacked(h, NULL);
}

static void on_event(void *context, struct link *link, enum link_event event)
{
  struct rig *r = context;
  (void)link;
  r->connected += event == LINK_CONNECTED;
}

static void open_client(struct rig *r, enum ingest_origin origin)
{
  struct failure failure = FAILURE_NONE;
  const bool curve = origin == INGEST_TCP;
  const struct link_options options = {.kind = LINK_DEALER,
                                       .queue_messages = 10,
                                       .message_bytes_max = LIMIT_WIRE_BYTES,
                                       .curve_server = curve ? r->server.public_text : NULL,
                                       .curve_public_own = curve ? r->field.public_text : NULL,
                                       .curve_secret_own = curve ? r->field.secret_text : NULL,
                                       .on_message = on_message,
                                       .on_event = on_event,
                                       .context = r};
  assert_int_equal(link_open(&r->client, &r->loop, &options, &failure), MUSTER_OK);
  assert_int_equal(link_connect(r->client, r->front.endpoint[origin], &failure), MUSTER_OK);
}

static void wake(uv_timer_t *timer) { (void)timer; }

static bool run_until(struct rig *r, const uint32_t *what, uint32_t count, uint64_t patience_ns)
{
  uint64_t end_ns = clock_monotonic_ns() + patience_ns;
  uv_timer_t timer;
  uv_timer_init(&r->loop, &timer);
  uv_timer_start(&timer, wake, 5, 5);
  while (*what < count && clock_monotonic_ns() < end_ns)
    uv_run(&r->loop, UV_RUN_ONCE);
  uv_close((uv_handle_t *)&timer, NULL);
  uv_run(&r->loop, UV_RUN_NOWAIT);
  return *what >= count;
}

static void say_hello(struct rig *r)
{
  struct link_message m;
  Muster__V1__Hello h = MUSTER__V1__HELLO__INIT;
  uint8_t bytes[32];
  h.has_kind = h.has_version_major = 1;
  h.kind = MUSTER__V1__KIND__KIND_HELLO;
  h.version_major = 1;
  link_message_init(&m);
  stage_frame(&m.frame[0], bytes, muster__v1__hello__pack(&h, bytes));
  m.frame_count = 1;
  assert_int_equal(link_send(r->client, &m), MUSTER_OK);
}

static void the_same_user_is_welcome_over_ipc(void **state)
{
  struct rig *r = *state;
  struct failure failure;
  struct stat st;
  assert_int_equal(open_front(r, 0, &failure), MUSTER_OK);
  assert_int_equal(strncmp(r->front.endpoint[INGEST_IPC], "ipc://", 6), 0);
  assert_int_equal(stat(r->front.endpoint[INGEST_IPC] + 6, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  open_client(r, INGEST_IPC);
  assert_true(run_until(r, &r->connected, 1, 3 * SECOND));
  say_hello(r);
  assert_true(run_until(r, &r->answers, 1, 3 * SECOND));
  assert_int_equal(r->kind, MUSTER__V1__KIND__KIND_WELCOME);
  assert_int_equal(r->flow.admit.peers.peer[0].submitter, SUBMITTER_LOCAL);
  assert_int_equal(r->flow.admit.peers.peer[0].origin, INGEST_IPC);
}

static void tcp_asks_the_list_at_every_message(void **state)
{
  struct rig *r = *state;
  struct failure failure;
  char path[LIMIT_PATH_BYTES];
  allow_path(r, path);
  assert_int_equal(open_front(r, 0, &failure), MUSTER_OK);
  assert_string_not_equal(r->front.endpoint[INGEST_TCP], "tcp://127.0.0.1:0"); /* the true port */
  failure = FAILURE_NONE;
  assert_int_equal(key_list_allow(path, "field-7", r->field.public_text, &failure), MUSTER_OK);
  open_client(r, INGEST_TCP);
  assert_true(run_until(r, &r->connected, 1, 3 * SECOND));
  say_hello(r);
  assert_true(run_until(r, &r->answers, 1, 3 * SECOND));
  assert_int_equal(r->kind, MUSTER__V1__KIND__KIND_WELCOME);
  assert_int_equal(r->flow.admit.peers.peer[0].submitter, 1);
  assert_int_equal(r->flow.admit.peers.peer[0].origin, INGEST_TCP);
  assert_int_equal(key_list_revoke(path, "field-7", &failure), MUSTER_OK);
  say_hello(r);
  assert_false(run_until(r, &r->answers, 2, SECOND / 2));
  assert_int_equal(counters_get(r->counters, COUNTER_messages_denied), 1);
}

static void no_tcp_where_none_is_asked_for(void **state)
{
  struct rig *r = *state;
  struct failure failure;
  strcpy(r->config.listen, "none");
  assert_int_equal(open_front(r, 2, &failure), MUSTER_OK);
  assert_string_equal(r->front.endpoint[INGEST_TCP], "");
  assert_null(r->front.link[INGEST_TCP]);
  assert_null(r->front.auth);
  assert_non_null(strstr(r->front.endpoint[INGEST_IPC], "submit-2.sock"));
}

static void without_the_nodes_key_nothing_is_bound(void **state)
{
  struct rig *r = *state;
  struct failure failure;
  char path[LIMIT_PATH_BYTES];
  datadir_path(&r->data, path, "keys/node.key");
  assert_int_equal(unlink(path), 0);
  assert_int_equal(open_front(r, 0, &failure), MUSTER_ERR_NOT_FOUND);
  assert_null(r->front.link[INGEST_IPC]);
  assert_null(r->front.link[INGEST_TCP]);
  assert_null(r->front.auth);
  assert_non_null(strstr(failure.text, "node.key"));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(the_same_user_is_welcome_over_ipc, setup, teardown),
      cmocka_unit_test_setup_teardown(tcp_asks_the_list_at_every_message, setup, teardown),
      cmocka_unit_test_setup_teardown(no_tcp_where_none_is_asked_for, setup, teardown),
      cmocka_unit_test_setup_teardown(without_the_nodes_key_nothing_is_bound, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
