/* ingest/auth.c: fail closed, with real CURVE over tcp on the loopback, and with hand-made requests to the handler. */
#include "ingest/stage.h"

#include <unistd.h>
#include <zmq.h>

#include "core/clock.h"
#include "core/key_list.h"
#include "ingest/auth.h"

#define SECOND UINT64_C(1000000000)

struct rig {
  uv_loop_t loop;
  struct counters *counters;
  struct ingest_auth *auth;
  char allow[SCRATCH_BYTES + 16];
  struct key_pair server, field;
  struct link *router, *client;
  void *asker; /* a socket that asks the handler by hand */
  char endpoint[128];
  uint32_t connected, refused, failed; /* of the client */
  uint32_t heard, allowed, submitter;  /* messages at the router; the last one's number */
  char name[LIMIT_SUBMITTER_NAME + 1];
};

static void on_router_message(void *context, struct link *link, struct link_message *m)
{
  struct rig *r = context;
  const char *name = "";
  (void)link;
  r->heard++;
  if (ingest_auth_allows(r->auth, link_frame_property(&m->frame[0], "User-Id"), &r->submitter, &name))
    r->allowed++;
  snprintf(r->name, sizeof r->name, "%s", name);
}

static void on_client_message(void *context, struct link *link, struct link_message *m)
{
  (void)context;
  (void)link;
  (void)m;
}

static void on_client_event(void *context, struct link *link, enum link_event event)
{
  struct rig *r = context;
  (void)link;
  r->connected += event == LINK_CONNECTED;
  r->refused += event == LINK_REFUSED;
  r->failed += event == LINK_HANDSHAKE_FAILED;
}

static void wake(uv_timer_t *timer) { (void)timer; }

/* Runs the loop until *what has reached count, or some time is over. */
static bool run_until(struct rig *r, const uint32_t *what, uint32_t count)
{
  uint64_t end_ns = clock_monotonic_ns() + 4 * SECOND;
  uv_timer_t timer;
  uv_timer_init(&r->loop, &timer);
  uv_timer_start(&timer, wake, 5, 5);
  while (*what < count && clock_monotonic_ns() < end_ns)
    uv_run(&r->loop, UV_RUN_ONCE);
  uv_close((uv_handle_t *)&timer, NULL);
  uv_run(&r->loop, UV_RUN_NOWAIT);
  return *what >= count;
}

static void open_auth(struct rig *r)
{
  struct failure failure = FAILURE_NONE;
  assert_int_equal(ingest_auth_open(&r->auth, &r->loop, r->allow, r->counters, &failure), MUSTER_OK);
}

static int setup(void **state)
{
  struct rig *r = calloc(1, sizeof *r);
  struct failure failure = FAILURE_NONE;
  r->counters = stage_counters();
  snprintf(r->allow, sizeof r->allow, "%s/allow", stage_directory);
  uv_loop_init(&r->loop);
  assert_int_equal(key_generate(&r->server, "node", &failure), MUSTER_OK);
  assert_int_equal(key_generate(&r->field, "field-7", &failure), MUSTER_OK);
  *state = r;
  return 0;
}

static int teardown(void **state)
{
  struct rig *r = *state;
  if (r->asker)
    zmq_close(r->asker);
  link_close(r->client);
  link_close(r->router);
  ingest_auth_close(r->auth);
  uv_run(&r->loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&r->loop), 0);
  link_context_finish(); /* the handler's address is free for the next test */
  stage_counters_finish(r->counters);
  free(r);
  return 0;
}

static void open_router(struct rig *r)
{
  struct failure failure = FAILURE_NONE;
  const struct link_options options = {.kind = LINK_ROUTER,
                                       .queue_messages = 10,
                                       .message_bytes_max = 1000,
                                       .handshake_ms = 2000,
                                       .curve_secret = r->server.secret_text,
                                       .zap_domain = INGEST_ZAP_DOMAIN,
                                       .on_message = on_router_message,
                                       .context = r};
  assert_int_equal(link_open(&r->router, &r->loop, &options, &failure), MUSTER_OK);
  assert_int_equal(link_bind(r->router, "tcp://127.0.0.1:0", r->endpoint, sizeof r->endpoint, &failure), MUSTER_OK);
}

static void open_client(struct rig *r, bool curve)
{
  struct failure failure = FAILURE_NONE;
  const struct link_options options = {.kind = LINK_DEALER,
                                       .queue_messages = 10,
                                       .message_bytes_max = 1000,
                                       .handshake_ms = 500,
                                       .curve_server = curve ? r->server.public_text : NULL,
                                       .curve_public_own = curve ? r->field.public_text : NULL,
                                       .curve_secret_own = curve ? r->field.secret_text : NULL,
                                       .on_message = on_client_message,
                                       .on_event = on_client_event,
                                       .context = r};
  assert_int_equal(link_open(&r->client, &r->loop, &options, &failure), MUSTER_OK);
  assert_int_equal(link_connect(r->client, r->endpoint, &failure), MUSTER_OK);
}

static void client_sends(struct rig *r)
{
  struct link_message m;
  link_message_init(&m);
  stage_frame(&m.frame[0], "hello", 5);
  m.frame_count = 1;
  assert_int_equal(link_send(r->client, &m), MUSTER_OK);
}

static void expect_refused(struct rig *r)
{
  open_auth(r);
  open_router(r);
  open_client(r, true);
  assert_true(run_until(r, &r->refused, 2)); /* and again at the next attempt */
  assert_int_equal(r->connected, 0);
  assert_true(counters_get(r->counters, COUNTER_handshakes_refused) >= 2);
  assert_int_equal(r->heard, 0);
}

static void no_list_lets_nobody_in(void **state) { expect_refused(*state); }

static void an_empty_list_lets_nobody_in(void **state)
{
  struct rig *r = *state;
  scratch_write(r->allow, "");
  expect_refused(r);
}

static void a_damaged_list_lets_nobody_in_until_it_is_mended(void **state)
{
  struct rig *r = *state;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(key_list_allow(r->allow, "field-7", r->field.public_text, &failure), MUSTER_OK);
  assert_int_equal(truncate(r->allow, 30), 0);
  expect_refused(r);
  assert_int_equal(unlink(r->allow), 0);
  assert_int_equal(key_list_allow(r->allow, "field-7", r->field.public_text, &failure), MUSTER_OK);
  assert_true(run_until(r, &r->connected, 1));
  assert_int_equal(truncate(r->allow, 30), 0); /* and damaged again while connected */
  client_sends(r);
  assert_true(run_until(r, &r->heard, 1));
  assert_int_equal(r->allowed, 0);
  assert_int_equal(counters_get(r->counters, COUNTER_messages_denied), 1);
}

static void a_list_of_others_does_not_let_in(void **state)
{
  struct rig *r = *state;
  struct failure failure = FAILURE_NONE;
  struct key_pair other;
  assert_int_equal(key_generate(&other, "other", &failure), MUSTER_OK);
  assert_int_equal(key_list_allow(r->allow, "other", other.public_text, &failure), MUSTER_OK);
  expect_refused(r);
}

static void a_revoked_key_is_refused_at_the_door(void **state)
{
  struct rig *r = *state;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(key_list_allow(r->allow, "field-7", r->field.public_text, &failure), MUSTER_OK);
  assert_int_equal(key_list_revoke(r->allow, "field-7", &failure), MUSTER_OK);
  expect_refused(r);
}

static void without_a_handler_nobody_gets_in(void **state)
{
  struct rig *r = *state;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(key_list_allow(r->allow, "field-7", r->field.public_text, &failure), MUSTER_OK);
  open_router(r);
  open_client(r, true);
  for (uint64_t end_ns = clock_monotonic_ns() + SECOND; clock_monotonic_ns() < end_ns;) {
    uv_run(&r->loop, UV_RUN_NOWAIT);
    usleep(2000);
  }
  assert_int_equal(r->connected, 0);
  const char *name = "";
  uint32_t submitter;
  assert_false(ingest_auth_allows(NULL, "1", &submitter, &name));
}

static void an_allowed_key_is_named_and_denied_at_the_message_after_its_end(void **state)
{
  struct rig *r = *state;
  struct failure failure = FAILURE_NONE;
  struct key_pair other;
  assert_int_equal(key_generate(&other, "other", &failure), MUSTER_OK);
  assert_int_equal(key_list_allow(r->allow, "other", other.public_text, &failure), MUSTER_OK);
  assert_int_equal(key_list_allow(r->allow, "field-7", r->field.public_text, &failure), MUSTER_OK);
  open_auth(r);
  open_router(r);
  open_client(r, true);
  assert_true(run_until(r, &r->connected, 1));
  client_sends(r);
  assert_true(run_until(r, &r->heard, 1));
  assert_int_equal(r->allowed, 1);
  assert_int_equal(r->submitter, 2);
  assert_string_equal(r->name, "field-7");
  assert_int_equal(key_list_revoke(r->allow, "field-7", &failure), MUSTER_OK);
  client_sends(r);
  assert_true(run_until(r, &r->heard, 2));
  assert_int_equal(r->allowed, 1);
  assert_int_equal(counters_get(r->counters, COUNTER_messages_denied), 1);
  assert_int_equal(key_list_allow(r->allow, "field-7", r->field.public_text, &failure), MUSTER_OK);
  client_sends(r);
  assert_true(run_until(r, &r->heard, 3));
  assert_int_equal(r->allowed, 2);
  assert_int_equal(unlink(r->allow), 0);
  client_sends(r);
  assert_true(run_until(r, &r->heard, 4));
  assert_int_equal(r->allowed, 2);
}

static void a_client_without_curve_is_not_heard(void **state)
{
  struct rig *r = *state;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(key_list_allow(r->allow, "field-7", r->field.public_text, &failure), MUSTER_OK);
  open_auth(r);
  open_router(r);
  open_client(r, false);
  assert_true(run_until(r, &r->failed, 1));
  assert_int_equal(r->connected, 0);
}

static void only_a_key_of_the_list_is_a_user(void **state)
{
  struct rig *r = *state;
  struct failure failure = FAILURE_NONE;
  struct key_pair other;
  const char *name = "";
  uint32_t submitter;
  assert_int_equal(key_generate(&other, "other", &failure), MUSTER_OK);
  const char *const strangers[] = {NULL, "", "0", "1", "field-7", r->field.name, other.public_text};
  assert_int_equal(key_list_allow(r->allow, "field-7", r->field.public_text, &failure), MUSTER_OK);
  open_auth(r);
  const uint32_t count = sizeof strangers / sizeof strangers[0];
  for (uint32_t i = 0; i < count; i++)
    assert_false(ingest_auth_allows(r->auth, strangers[i], &submitter, &name));
  assert_int_equal(counters_get(r->counters, COUNTER_messages_denied), count);
  assert_true(ingest_auth_allows(r->auth, r->field.public_text, &submitter, &name));
  assert_int_equal(submitter, 1);
  assert_string_equal(name, "field-7");
}

/* The list is replaced by one whose number 1 is somebody else: who was let in as number 1 before is nobody now. */
static void a_replaced_list_names_nobody_else(void **state)
{
  struct rig *r = *state;
  struct failure failure = FAILURE_NONE;
  struct key_pair other;
  const char *name = "";
  uint32_t submitter;
  assert_int_equal(key_generate(&other, "other", &failure), MUSTER_OK);
  assert_int_equal(key_list_allow(r->allow, "field-7", r->field.public_text, &failure), MUSTER_OK);
  open_auth(r);
  assert_true(ingest_auth_allows(r->auth, r->field.public_text, &submitter, &name));
  assert_int_equal(unlink(r->allow), 0);
  assert_int_equal(key_list_allow(r->allow, "other", other.public_text, &failure), MUSTER_OK);
  assert_false(ingest_auth_allows(r->auth, r->field.public_text, &submitter, &name));
  assert_true(ingest_auth_allows(r->auth, other.public_text, &submitter, &name));
  assert_int_equal(submitter, 1);
}

static void one_context_has_one_handler(void **state)
{
  struct rig *r = *state;
  struct failure failure = FAILURE_NONE;
  struct ingest_auth *second;
  open_auth(r);
  assert_int_equal(ingest_auth_open(&second, &r->loop, r->allow, r->counters, &failure), MUSTER_ERR_CREATE);
  assert_null(second);
  assert_true(failure.text[0] != '\0');
}

/* Asks the handler as libzmq does. Returns its status code; user_id has KEY_TEXT bytes. */
static int ask(struct rig *r, void *socket, const char *version, const char *domain, const char *mechanism, const void *key,
               size_t key_size, unsigned more_frames, char *user_id)
{
  zmq_send(socket, version, strlen(version), ZMQ_SNDMORE);
  zmq_send(socket, "request-9", 9, ZMQ_SNDMORE);
  zmq_send(socket, domain, strlen(domain), ZMQ_SNDMORE);
  zmq_send(socket, "127.0.0.1", 9, ZMQ_SNDMORE);
  zmq_send(socket, "", 0, ZMQ_SNDMORE);
  zmq_send(socket, mechanism, strlen(mechanism), key || more_frames ? ZMQ_SNDMORE : 0);
  if (key)
    zmq_send(socket, key, key_size, more_frames ? ZMQ_SNDMORE : 0);
  while (more_frames-- > 0)
    zmq_send(socket, "more", 4, more_frames ? ZMQ_SNDMORE : 0);
  char field[6][64] = {{0}};
  for (int i = 0; i < 6; i++) {
    int size = -1;
    for (int tries = 0; size < 0 && tries < 2000; tries++) {
      uv_run(&r->loop, UV_RUN_NOWAIT);
      size = zmq_recv(socket, field[i], sizeof field[i] - 1, ZMQ_DONTWAIT);
      if (size < 0)
        usleep(500);
    }
    assert_true(size >= 0);
  }
  assert_string_equal(field[0], "1.0");
  assert_string_equal(field[1], "request-9");
  snprintf(user_id, KEY_TEXT, "%.40s", field[4]);
  return atoi(field[2]);
}

static void hand_made_requests_are_refused_unless_all_is_right(void **state)
{
  struct rig *r = *state;
  struct failure failure = FAILURE_NONE;
  uint8_t key[300] = {0};
  char user_id[KEY_TEXT];
  assert_int_equal(key_list_allow(r->allow, "field-7", r->field.public_text, &failure), MUSTER_OK);
  assert_non_null(zmq_z85_decode(key, r->field.public_text));
  open_auth(r);
  void *s = r->asker = zmq_socket(link_context(), ZMQ_REQ);
  assert_int_equal(zmq_connect(s, "inproc://zeromq.zap.01"), 0);
  assert_int_equal(ask(r, s, "1.0", "muster", "NULL", NULL, 0, 0, user_id), 400);
  assert_int_equal(ask(r, s, "1.0", "muster", "PLAIN", "user", 4, 1, user_id), 400);
  assert_int_equal(ask(r, s, "1.0", "muster", "PLAIN", key, 32, 0, user_id), 400);
  assert_int_equal(ask(r, s, "1.0", "other", "CURVE", key, 32, 0, user_id), 400);
  assert_int_equal(ask(r, s, "1.0", "", "CURVE", key, 32, 0, user_id), 400);
  assert_int_equal(ask(r, s, "2.0", "muster", "CURVE", key, 32, 0, user_id), 400);
  assert_int_equal(ask(r, s, "1.0", "muster", "CURVE", key, 31, 0, user_id), 400);
  assert_int_equal(ask(r, s, "1.0", "muster", "CURVE", key, 300, 0, user_id), 400);
  assert_int_equal(ask(r, s, "1.0", "muster", "CURVE", key, 32, 3, user_id), 400);
  assert_string_equal(user_id, "");
  assert_int_equal(counters_get(r->counters, COUNTER_handshakes_refused), 9);
  assert_int_equal(ask(r, s, "1.0", "muster", "CURVE", key, 32, 0, user_id), 200);
  assert_string_equal(user_id, r->field.public_text);
  key[5] ^= 1;
  assert_int_equal(ask(r, s, "1.0", "muster", "CURVE", key, 32, 0, user_id), 400);
  key[5] ^= 1;
  assert_int_equal(key_list_revoke(r->allow, "field-7", &failure), MUSTER_OK);
  assert_int_equal(ask(r, s, "1.0", "muster", "CURVE", key, 32, 0, user_id), 400);
  assert_int_equal(counters_get(r->counters, COUNTER_handshakes), 1);
  assert_int_equal(counters_get(r->counters, COUNTER_handshakes_refused), 11);
  assert_int_equal(counters_get(r->counters, COUNTER_handshakes_refused_mechanism), 9);
  assert_int_equal(counters_get(r->counters, COUNTER_handshakes_refused_unknown), 1);
  assert_int_equal(counters_get(r->counters, COUNTER_handshakes_refused_revoked), 1);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(no_list_lets_nobody_in, setup, teardown),
      cmocka_unit_test_setup_teardown(an_empty_list_lets_nobody_in, setup, teardown),
      cmocka_unit_test_setup_teardown(a_damaged_list_lets_nobody_in_until_it_is_mended, setup, teardown),
      cmocka_unit_test_setup_teardown(a_list_of_others_does_not_let_in, setup, teardown),
      cmocka_unit_test_setup_teardown(a_revoked_key_is_refused_at_the_door, setup, teardown),
      cmocka_unit_test_setup_teardown(without_a_handler_nobody_gets_in, setup, teardown),
      cmocka_unit_test_setup_teardown(an_allowed_key_is_named_and_denied_at_the_message_after_its_end, setup, teardown),
      cmocka_unit_test_setup_teardown(a_client_without_curve_is_not_heard, setup, teardown),
      cmocka_unit_test_setup_teardown(only_a_key_of_the_list_is_a_user, setup, teardown),
      cmocka_unit_test_setup_teardown(a_replaced_list_names_nobody_else, setup, teardown),
      cmocka_unit_test_setup_teardown(one_context_has_one_handler, setup, teardown),
      cmocka_unit_test_setup_teardown(hand_made_requests_are_refused_unless_all_is_right, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
