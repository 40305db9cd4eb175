/* client/session.c and endpoints.c: a node that goes and comes, several of them, the data directory, and keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/heard.h"
#include "client/zap.h"
#include "core/keys.h"

static struct heard heard;
static struct node node, second;

static void a_lost_connection_loses_nothing(void **state)
{
  (void)state;
  struct muster_counts n;
  node_init(&node, endpoint_named("lost"), "lldaallaadad");
  node_start(&node);
  struct muster_options o = options_for(&heard, node.endpoint);
  o.window_batches = 4;
  struct muster_client *c = client_of(&o);
  submit_numbers(c, 0, 2000);
  flush_all(c);
  heard_all(&heard, 2000);
  muster_client_counts(c, &n);
  assert_int_equal(n.reconnects, 3);
  assert_true(n.sent_again >= 300);
  assert_non_null(strstr(heard.notices, "is lost"));
  assert_non_null(strstr(heard.notices, "connected again"));
  muster_client_destroy(c);
  node_stop(&node);
  assert_int_equal(atomic_load(&node.hellos), 4);
  bool again = false; /* the batch that was dropped comes again as it was */
  for (unsigned i = 3; i < atomic_load(&node.batches); i++)
    again |= node.log[i].id == node.log[2].id && node.log[i].count == node.log[2].count;
  assert_true(again);
}

static void another_major_version_is_final(void **state)
{
  (void)state;
  node_init(&node, endpoint_named("version"), "");
  node.version_major = 2;
  node_start(&node);
  struct muster_options o = options_for(&heard, node.endpoint);
  struct muster_client *c = client_of(&o);
  submit_numbers(c, 0, 50);
  assert_int_equal(muster_client_flush(c, 5000), MUSTER_ERR_VERSION);
  assert_non_null(strstr(muster_client_error(c), "version 2.0"));
  heard_all(&heard, 0);
  muster_client_destroy(c);
  node_stop(&node);
  assert_int_equal(atomic_load(&node.batches), 0);
}

/* The first endpoint is nobody's; the second quits in the middle; then the first comes to life. */
static void it_moves_on_to_the_next_endpoint(void **state)
{
  (void)state;
  char both[700];
  struct muster_counts n;
  node_init(&node, endpoint_named("first"), "");
  node.id = 2;
  node_init(&second, endpoint_named("second"), "aalq");
  node_start(&second);
  snprintf(both, sizeof both, "%s  %s", node.endpoint, second.endpoint);
  struct muster_options o = options_for(&heard, both);
  struct muster_client *c = client_of(&o);
  assert_string_equal(muster_client_endpoint(c), node.endpoint);
  submit_numbers(c, 0, 200);
  muster_client_counts(c, &n);
  assert_int_equal(n.connected + n.welcomed, 0);
  flush_all(c);
  assert_string_equal(muster_client_endpoint(c), second.endpoint);
  assert_non_null(strstr(heard.notices, "no node answers"));
  submit_numbers(c, 200, 800);
  assert_int_equal(muster_client_flush(c, 100), MUSTER_ERR_TIMEOUT);
  muster_client_counts(c, &n);
  assert_int_equal(n.connected, 0);
  assert_int_equal(n.welcomed, 1); /* what is unanswered may be stored all the same */
  node_start(&node);
  flush_all(c);
  heard_all(&heard, 800);
  assert_string_equal(muster_client_endpoint(c), node.endpoint);
  assert_non_null(strstr(heard.notices, "another store"));
  muster_client_destroy(c);
  node_stop(&node);
  node_stop(&second);
}

static void write_text(const char *path, const char *text)
{
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fprintf(f, "%s\n", text);
  fclose(f);
}

/* The node is found through its directory, and found again when it comes back at another place. */
static void the_data_directory_tells_where(void **state)
{
  (void)state;
  char run[220], endpoints[250], id[250], error[MUSTER_ERROR_BYTES], text[700];
  struct muster_client *c;
  snprintf(run, sizeof run, "%s/run", directory);
  snprintf(endpoints, sizeof endpoints, "%s/endpoints", run);
  snprintf(id, sizeof id, "%s/node.id", directory);
  write_text(id, "00000000-0000-4000-8000-000000000000"); /* else it is no node's */
  struct muster_options o = options_for(&heard, NULL);
  o.data_directory = directory;
  assert_int_equal(mkdir(run, 0700), 0);
  assert_int_equal(muster_client_create(&c, &o, error), MUSTER_ERR_UNAVAILABLE); /* nothing runs there */
  assert_non_null(strstr(error, "muster run"));
  write_text(endpoints, "tcp://127.0.0.1:7411");
  assert_int_equal(muster_client_create(&c, &o, error), MUSTER_ERR_NOT_FOUND); /* tcp, and no key */
  node_init(&node, endpoint_named("dir-1"), "alq");
  node_init(&second, endpoint_named("dir-2"), "");
  node_start(&node);
  snprintf(text, sizeof text, "%s\ntcp://127.0.0.1:7411", node.endpoint);
  write_text(endpoints, text);
  setenv("MUSTER_DATA", directory, 1);
  o.data_directory = NULL;
  c = client_of(&o);
  submit_numbers(c, 0, 500);
  assert_int_equal(muster_client_flush(c, 150), MUSTER_ERR_TIMEOUT);
  node_stop(&node);
  unlink(endpoints);
  node_start(&second);
  write_text(endpoints, second.endpoint);
  flush_all(c);
  heard_all(&heard, 500);
  assert_string_equal(muster_client_endpoint(c), second.endpoint);
  muster_client_destroy(c);
  node_stop(&second);
  unsetenv("MUSTER_DATA");
  unlink(endpoints);
  unlink(id);
  rmdir(run);
}

/* ---- keys ---- */

static struct muster_options options_with_keys(const char *endpoint, const char *server_key, const char *key_file)
{
  struct muster_options o = options_for(&heard, endpoint);
  o.server_key = server_key;
  o.key_file = key_file;
  return o;
}

static void only_the_right_keys_get_in(void **state)
{
  (void)state;
  struct key_pair server, own, other;
  struct zap zap;
  char own_path[250], other_path[250];
  assert_int_equal(key_generate(&server, "server", NULL), MUSTER_OK);
  assert_int_equal(key_generate(&own, "own-system", NULL), MUSTER_OK);
  assert_int_equal(key_generate(&other, "other-system", NULL), MUSTER_OK);
  snprintf(own_path, sizeof own_path, "%s/own.key", directory);
  snprintf(other_path, sizeof other_path, "%s/other.key", directory);
  assert_int_equal(key_write(&own, own_path, NULL), MUSTER_OK);
  assert_int_equal(key_write(&other, other_path, NULL), MUSTER_OK);
  node_init(&node, "tcp://127.0.0.1:0", "asss");
  node.curve_secret = server.secret_text;
  node.answer_timeout_ms = 100;
  zap_start(&zap, own.public_text);
  node_start(&node);

  struct muster_options o = options_with_keys(node.bound, server.public_text, other_path); /* not on the list */
  struct muster_client *c = client_of(&o);
  assert_int_equal(muster_client_flush(c, 5000), MUSTER_OK); /* nothing to do, nothing wrong yet */
  submit_numbers(c, 0, 50);
  assert_int_equal(muster_client_flush(c, 5000), MUSTER_ERR_DENIED);
  assert_non_null(strstr(muster_client_error(c), "other-system"));
  muster_client_destroy(c);

  o = options_with_keys(node.bound, other.public_text, own_path); /* not the node's key */
  c = client_of(&o);
  submit_numbers(c, 0, 50);
  assert_int_equal(muster_client_flush(c, 90000), MUSTER_ERR_DENIED); /* after 2 s, or 60 where a handshake takes long here */
  assert_non_null(strstr(muster_client_error(c), "server key"));
  muster_client_destroy(c);
  heard_all(&heard, 0);

  o = options_with_keys(node.bound, server.public_text, own_path);
  c = client_of(&o);
  submit_numbers(c, 0, 100);
  flush_all(c);
  heard_all(&heard, 100);
  atomic_store(&zap.nobody, true); /* revoked: the node says nothing any more, and lets nobody in again */
  submit_numbers(c, 100, 200);
  assert_int_equal(muster_client_flush(c, 5000), MUSTER_ERR_DENIED);
  assert_non_null(strstr(muster_client_error(c), "own-system"));
  heard_all(&heard, 100);
  muster_client_destroy(c);
  node_stop(&node);
  zap_stop(&zap);
  unlink(own_path);
  unlink(other_path);
}

/* Takes a place in the queue, and is sent away when the time for that is over. */
static struct crowded {
  pthread_t thread;
  int listener;
  char endpoint[64];
  atomic_uint ended;
} crowded;

static void *crowded_run(void *unused)
{
  (void)unused;
  for (int fd; (fd = accept(crowded.listener, NULL, NULL)) >= 0; close(fd)) {
    usleep((LIMIT_STRANGER_MS + 20) * 1000);
    atomic_fetch_add(&crowded.ended, 1);
  }
  return NULL;
}

static void crowded_start(void)
{
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof at;
  crowded.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(crowded.listener, (struct sockaddr *)&at, sizeof at), 0);
  assert_int_equal(listen(crowded.listener, 8), 0);
  assert_int_equal(getsockname(crowded.listener, (struct sockaddr *)&at, &size), 0);
  snprintf(crowded.endpoint, sizeof crowded.endpoint, "tcp://127.0.0.1:%u", ntohs(at.sin_port));
  assert_int_equal(pthread_create(&crowded.thread, NULL, crowded_run, NULL), 0);
}

static void crowded_stop(void)
{
  shutdown(crowded.listener, SHUT_RDWR);
  pthread_join(crowded.thread, NULL);
  close(crowded.listener);
}

/* What a node does where strangers take its room looks like a wrong server key, but for the time that it takes: it is no reason to give up. */
static void who_is_sent_away_from_a_crowd_comes_again(void **state)
{
  (void)state;
  struct key_pair server, own;
  char own_path[250];
  assert_int_equal(key_generate(&server, "server", NULL), MUSTER_OK);
  assert_int_equal(key_generate(&own, "own-system", NULL), MUSTER_OK);
  snprintf(own_path, sizeof own_path, "%s/own.key", directory);
  assert_int_equal(key_write(&own, own_path, NULL), MUSTER_OK);
  crowded_start();
  struct muster_options o = options_with_keys(crowded.endpoint, server.public_text, own_path);
  struct muster_client *c = client_of(&o);
  submit_numbers(c, 0, 50);
  for (unsigned i = 0; i < 300 && atomic_load(&crowded.ended) < 8; i++)
    assert_int_equal(muster_client_flush(c, 100), MUSTER_ERR_TIMEOUT);
  assert_true(atomic_load(&crowded.ended) >= 8);
  assert_non_null(strstr(heard.notices, "server key"));
  muster_client_destroy(c);
  crowded_stop();
  unlink(own_path);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_lost_connection_loses_nothing),  cmocka_unit_test(another_major_version_is_final),
      cmocka_unit_test(it_moves_on_to_the_next_endpoint), cmocka_unit_test(the_data_directory_tells_where),
      cmocka_unit_test(only_the_right_keys_get_in),       cmocka_unit_test(who_is_sent_away_from_a_crowd_comes_again),
  };
  return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
