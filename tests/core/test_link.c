/* core/link.c: two ends of a link on one loop, on ipc and tcp, with the traps of ZeroMQ played through. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "core/clock.h"
#include "core/link.h"

static char directory[256];

#define GONE_MAX 1024

/* One end and what it saw. */
struct end {
  struct link *link;
  struct link_options options;
  uint32_t messages, turns, turn_max, turn_now, writables;
  uint32_t connected, disconnected, refused, broken;
  uint32_t gone_all, gone[GONE_MAX]; /* by number of the connection */
  uint32_t connections;
  struct link_message last; /* owned */
  bool echo, close_on_message, close_on_event;
};

static void end_message(void *context, struct link *link, struct link_message *m)
{
  struct end *e = context;
  e->messages++;
  e->turn_now++;
  if (e->echo)
    assert_int_equal(link_send(link, m), MUSTER_OK);
  e->last.connection = m->connection;
  memcpy(e->last.identity, m->identity, m->identity_size);
  e->last.identity_size = m->identity_size;
  e->last.frame_count = m->frame_count;
  for (unsigned i = 0; i < LINK_FRAMES; i++)
    link_frame_move(&e->last.frame[i], &m->frame[i]);
  if (e->close_on_message) {
    link_close(link);
    e->link = NULL;
  }
}

static void end_turn(void *context, struct link *link)
{
  struct end *e = context;
  (void)link;
  e->turns++;
  if (e->turn_now > e->turn_max)
    e->turn_max = e->turn_now;
  e->turn_now = 0;
}

static void end_writable(void *context, struct link *link)
{
  (void)link;
  ((struct end *)context)->writables++;
}

static void end_event(void *context, struct link *link, enum link_event event)
{
  struct end *e = context;
  switch (event) {
  case LINK_CONNECTED: e->connected++; break;
  case LINK_DISCONNECTED: e->disconnected++; break;
  case LINK_REFUSED: e->refused++; break;
  case LINK_HANDSHAKE_FAILED: e->broken++; break;
  }
  if (e->close_on_event) {
    link_close(link);
    e->link = NULL;
  }
}

static void end_gone(void *context, struct link *link, int32_t connection)
{
  struct end *e = context;
  (void)link;
  assert_in_range(connection, 1, GONE_MAX - 1);
  e->gone_all++;
  e->gone[connection]++;
}

static void end_init(struct end *e, enum link_kind kind)
{
  memset(e, 0, sizeof *e);
  link_message_init(&e->last);
  e->options = (struct link_options){.kind = kind,
                                     .queue_messages = 100,
                                     .message_bytes_max = 100000,
                                     .handshake_ms = 2000,
                                     .on_message = end_message,
                                     .on_turn_end = end_turn,
                                     .on_writable = end_writable,
                                     .on_event = end_event,
                                     .context = e};
}

static void end_open(struct end *e, uv_loop_t *loop)
{
  struct failure f = FAILURE_NONE;
  if (link_open(&e->link, loop, &e->options, &f) != MUSTER_OK)
    fail_msg("%s", f.text);
}

static void end_close(struct end *e)
{
  link_close(e->link);
  link_message_finish(&e->last);
}

static void loop_finish(uv_loop_t *loop)
{
  uv_run(loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(loop), 0); /* every handle was let go */
}

static void tick(uv_timer_t *t) { (void)t; }

/* Runs the loop until *value reaches want, or the time is up. */
static void run_until(uv_loop_t *loop, const uint32_t *value, uint32_t want, unsigned limit_ms)
{
  uv_timer_t timer;
  uint64_t end_ns = clock_monotonic_ns() + limit_ms * UINT64_C(1000000);
  uv_timer_init(loop, &timer);
  uv_timer_start(&timer, tick, 5, 5);
  while (*value < want && clock_monotonic_ns() < end_ns)
    uv_run(loop, UV_RUN_ONCE);
  uv_close((uv_handle_t *)&timer, NULL);
  uv_run(loop, UV_RUN_NOWAIT);
}
static const uint32_t never;
static void run_for(uv_loop_t *loop, unsigned ms) { run_until(loop, &never, 1, ms); }

static void message_of(struct link_message *m, const char *first, size_t second_size)
{
  link_message_init(m);
  assert_int_equal(link_frame_init(&m->frame[0], strlen(first)), MUSTER_OK);
  memcpy(link_frame_data(&m->frame[0]), first, strlen(first));
  m->frame_count = 1;
  if (second_size) {
    assert_int_equal(link_frame_init(&m->frame[1], second_size), MUSTER_OK);
    memset(link_frame_data(&m->frame[1]), 'x', second_size);
    m->frame_count = 2;
  }
}

static int send_text(struct link *link, const char *first, size_t second_size)
{
  struct link_message m;
  message_of(&m, first, second_size);
  int status = link_send(link, &m);
  link_message_finish(&m);
  return status;
}

static void endpoint_ipc(char out[300], const char *name) { snprintf(out, 300, "ipc://%s/%s", directory, name); }

/* A bound ROUTER and a connected DEALER. */
struct pair {
  uv_loop_t loop;
  struct end router, dealer;
  char endpoint[300];
};

static void pair_open(struct pair *p, const char *endpoint)
{
  struct failure f = FAILURE_NONE;
  uv_loop_init(&p->loop);
  end_open(&p->router, &p->loop);
  end_open(&p->dealer, &p->loop);
  if (link_bind(p->router.link, endpoint, p->endpoint, sizeof p->endpoint, &f) != MUSTER_OK ||
      link_connect(p->dealer.link, p->endpoint, &f) != MUSTER_OK)
    fail_msg("%s", f.text);
}

/* The dealer has said something, so the router knows whom to answer. */
static void pair_greet(struct pair *p)
{
  run_until(&p->loop, &p->dealer.connected, 1, 5000);
  assert_int_equal(send_text(p->dealer.link, "here I am", 0), MUSTER_OK);
  run_until(&p->loop, &p->router.messages, 1, 5000);
}

static void pair_close(struct pair *p)
{
  end_close(&p->router);
  end_close(&p->dealer);
  loop_finish(&p->loop);
}

static void pair_start(struct pair *p, const char *name)
{
  char endpoint[300];
  endpoint_ipc(endpoint, name);
  end_init(&p->router, LINK_ROUTER);
  end_init(&p->dealer, LINK_DEALER);
  pair_open(p, endpoint);
  run_until(&p->loop, &p->dealer.connected, 1, 5000);
  assert_int_equal(p->dealer.connected, 1);
}

static void *ask_for_context(void *gate)
{
  pthread_barrier_wait(gate);
  return link_context();
}

/* Programs that use the client library make their clients on several threads at the same time. */
static void threads_share_one_context(void **state)
{
  (void)state;
  enum { THREADS = 8, ROUNDS = 50 };
  for (unsigned round = 0; round < ROUNDS; round++) {
    pthread_t thread[THREADS];
    pthread_barrier_t gate;
    void *seen[THREADS];
    link_context_finish();
    pthread_barrier_init(&gate, NULL, THREADS);
    for (unsigned i = 0; i < THREADS; i++)
      assert_int_equal(pthread_create(&thread[i], NULL, ask_for_context, &gate), 0);
    for (unsigned i = 0; i < THREADS; i++)
      pthread_join(thread[i], &seen[i]);
    pthread_barrier_destroy(&gate);
    for (unsigned i = 0; i < THREADS; i++)
      assert_ptr_equal(seen[i], link_context());
    assert_non_null(seen[0]);
  }
}

static void messages_go_both_ways(void **state)
{
  (void)state;
  static const char *const schemes[] = {"ipc", "tcp"};
  for (unsigned i = 0; i < 2; i++) {
    struct pair p;
    char endpoint[300] = "tcp://127.0.0.1:0";
    if (i == 0)
      endpoint_ipc(endpoint, schemes[i]);
    end_init(&p.router, LINK_ROUTER);
    end_init(&p.dealer, LINK_DEALER);
    p.router.echo = true;
    p.dealer.options.routing_id = "ingest-3";
    pair_open(&p, endpoint);
    assert_null(strstr(p.endpoint, ":0")); /* the true port is told */
    run_until(&p.loop, &p.dealer.connected, 1, 5000);
    assert_int_equal(send_text(p.dealer.link, "head", 50000), MUSTER_OK);
    run_until(&p.loop, &p.dealer.messages, 1, 5000);
    assert_int_equal(p.dealer.messages, 1);
    assert_int_equal(p.dealer.last.frame_count, 2);
    assert_int_equal(p.dealer.last.identity_size, 0);
    assert_int_equal(link_frame_size(&p.dealer.last.frame[1]), 50000);
    assert_memory_equal(link_frame_data(&p.dealer.last.frame[0]), "head", 4);
    assert_int_equal(p.router.last.identity_size, 8);
    assert_memory_equal(p.router.last.identity, "ingest-3", 8);
    pair_close(&p);
  }
}

static void leave_stale_socket(const char *path)
{
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_true(strlen(path) < sizeof a.sun_path);
  strcpy(a.sun_path, path);
  assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
  close(fd);
}

static void an_ipc_socket_is_private_and_replaces_a_stale_one(void **state)
{
  (void)state;
  struct pair p;
  struct stat st;
  struct failure f = FAILURE_NONE;
  char path[300], endpoint[300];
  snprintf(path, sizeof path, "%s/private", directory);
  leave_stale_socket(path);
  pair_start(&p, "private");
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0600);
  pair_close(&p);

  snprintf(path, sizeof path, "%s/file", directory);
  endpoint_ipc(endpoint, "file");
  close(open(path, O_CREAT | O_WRONLY, 0600));
  end_init(&p.router, LINK_ROUTER);
  uv_loop_init(&p.loop);
  end_open(&p.router, &p.loop);
  assert_int_equal(link_bind(p.router.link, endpoint, NULL, 0, &f), MUSTER_ERR_CREATE);
  assert_non_null(strstr(f.text, endpoint));
  assert_int_equal(stat(path, &st), 0); /* what is no socket stays */
  unlink(path);
  end_close(&p.router);
  loop_finish(&p.loop);
}

/* More than a turn's bound arrives with one edge: all of it comes, a bounded piece at a time. */
static void a_turn_is_bounded_and_nothing_is_left_behind(void **state)
{
  (void)state;
  struct pair p;
  char endpoint[300];
  endpoint_ipc(endpoint, "bounded");
  end_init(&p.router, LINK_ROUTER);
  end_init(&p.dealer, LINK_DEALER);
  p.router.options.turn_messages = 7;
  p.router.options.queue_messages = p.dealer.options.queue_messages = 1000;
  pair_open(&p, endpoint);
  run_until(&p.loop, &p.dealer.connected, 1, 5000);
  for (unsigned i = 0; i < 500; i++)
    assert_int_equal(send_text(p.dealer.link, "m", 10), MUSTER_OK);
  run_until(&p.loop, &p.router.messages, 500, 5000);
  assert_int_equal(p.router.messages, 500);
  assert_true(p.router.turn_max <= 7);
  assert_true(p.router.turns >= 500 / 7);
  /* Sends in both directions at once eat each other's edges. */
  p.router.echo = true;
  for (unsigned i = 0; i < 500; i++) {
    assert_int_equal(send_text(p.dealer.link, "m", 10), MUSTER_OK);
    if (i % 50 == 0)
      uv_run(&p.loop, UV_RUN_NOWAIT);
  }
  run_until(&p.loop, &p.dealer.messages, 500, 5000);
  assert_int_equal(p.dealer.messages, 500);
  pair_close(&p);
}

static void what_cannot_go_is_left_with_the_sender(void **state)
{
  (void)state;
  struct pair p;
  struct link_message m;
  char endpoint[300];
  endpoint_ipc(endpoint, "nobody");
  end_init(&p.router, LINK_ROUTER);
  end_init(&p.dealer, LINK_DEALER);
  uv_loop_init(&p.loop);
  end_open(&p.router, &p.loop);
  end_open(&p.dealer, &p.loop);
  assert_int_equal(link_connect(p.dealer.link, endpoint, NULL), MUSTER_OK);
  run_for(&p.loop, 60);
  message_of(&m, "hello", 1000);
  assert_int_equal(link_send(p.dealer.link, &m), MUSTER_ERR_AGAIN);
  assert_int_equal(link_frame_size(&m.frame[0]), 5);
  assert_int_equal(link_frame_size(&m.frame[1]), 1000);
  m.identity_size = 3;
  memcpy(m.identity, "abc", 3);
  assert_int_equal(link_send(p.router.link, &m), MUSTER_ERR_NOT_FOUND);
  assert_int_equal(link_frame_size(&m.frame[1]), 1000);
  /* It goes as soon as somebody is there, and the link says so. */
  link_want_writable(p.dealer.link);
  assert_int_equal(link_bind(p.router.link, endpoint, NULL, 0, NULL), MUSTER_OK);
  run_until(&p.loop, &p.dealer.writables, 1, 5000);
  assert_int_equal(p.dealer.writables, 1);
  assert_int_equal(link_send(p.dealer.link, &m), MUSTER_OK);
  assert_int_equal(m.frame_count, 0);
  run_until(&p.loop, &p.router.messages, 1, 5000);
  assert_int_equal(link_frame_size(&p.router.last.frame[1]), 1000);
  link_message_finish(&m);
  pair_close(&p);
}

static void a_full_peer_is_told_and_gets_whole_messages(void **state)
{
  (void)state;
  struct pair p;
  char endpoint[300];
  endpoint_ipc(endpoint, "full");
  end_init(&p.router, LINK_ROUTER);
  end_init(&p.dealer, LINK_DEALER);
  p.router.options.queue_messages = p.dealer.options.queue_messages = 4;
  pair_open(&p, endpoint);
  pair_greet(&p);
  link_pause(p.dealer.link, true);
  struct link_message m;
  uint32_t sent = 0;
  int status;
  for (;;) {
    message_of(&m, "head", 90000);
    m.identity_size = p.router.last.identity_size;
    memcpy(m.identity, p.router.last.identity, m.identity_size);
    status = link_send(p.router.link, &m);
    if (status != MUSTER_OK)
      break;
    sent++;
    assert_true(sent < 1000);
    run_for(&p.loop, 1);
  }
  assert_int_equal(status, MUSTER_ERR_AGAIN);
  assert_int_equal(link_frame_size(&m.frame[1]), 90000);
  assert_int_equal(p.dealer.messages, 0); /* paused */
  link_want_writable(p.router.link);
  link_pause(p.dealer.link, false);
  for (unsigned i = 0; i < 500 && status == MUSTER_ERR_AGAIN; i++) {
    uint32_t next = p.router.writables + 1;
    run_until(&p.loop, &p.router.writables, next, 1000);
    assert_int_equal(p.router.writables, next);
    status = link_send(p.router.link, &m);
    if (status == MUSTER_ERR_AGAIN)
      link_want_writable(p.router.link);
  }
  assert_int_equal(status, MUSTER_OK);
  run_until(&p.loop, &p.dealer.messages, sent + 1, 5000);
  assert_int_equal(p.dealer.messages, sent + 1);
  assert_int_equal(link_frame_size(&p.dealer.last.frame[1]), 90000);
  link_message_finish(&m);
  pair_close(&p);
}

static void a_link_may_be_closed_in_its_callbacks(void **state)
{
  (void)state;
  struct pair p;
  pair_start(&p, "closing");
  p.router.close_on_message = true;
  for (unsigned i = 0; i < 5; i++)
    assert_int_equal(send_text(p.dealer.link, "m", 0), MUSTER_OK);
  p.dealer.close_on_event = true;
  run_until(&p.loop, &p.dealer.disconnected, 1, 5000);
  assert_int_equal(p.router.messages, 1);
  assert_int_equal(p.dealer.disconnected, 1);
  assert_null(p.dealer.link);
  pair_close(&p);
}

static void a_connection_comes_back(void **state)
{
  (void)state;
  struct pair p;
  pair_start(&p, "again");
  for (uint32_t round = 1; round <= 3; round++) {
    link_close(p.router.link);
    run_until(&p.loop, &p.dealer.disconnected, round, 5000);
    assert_int_equal(p.dealer.disconnected, round);
    assert_int_equal(send_text(p.dealer.link, "lost?", 0), MUSTER_ERR_AGAIN);
    end_open(&p.router, &p.loop);
    assert_int_equal(link_bind(p.router.link, p.endpoint, NULL, 0, NULL), MUSTER_OK);
    run_until(&p.loop, &p.dealer.connected, round + 1, 5000);
    assert_int_equal(p.dealer.connected, round + 1);
    assert_int_equal(send_text(p.dealer.link, "back", 0), MUSTER_OK); /* at once in the turn of the event */
    run_until(&p.loop, &p.router.messages, round, 5000);
    assert_int_equal(p.router.messages, round);
  }
  assert_int_equal(p.dealer.broken + p.dealer.refused, 0);
  pair_close(&p);
}

/* While it is set, a thread of libzmq stands still after each word to another thread, as one does that gets no processor. */
static atomic_uint stall_ms;
static pthread_t loop_thread;

ssize_t write(int fd, const void *bytes, size_t size)
{
  ssize_t written = syscall(SYS_write, fd, bytes, size);
  if (stall_ms && !pthread_equal(pthread_self(), loop_thread))
    usleep(stall_ms * 1000);
  return written;
}

/* The end is told, the next connection begins, and then only libzmq goes on with what it does about the end of the one before. */
static void an_end_that_is_done_with_late_ends_no_later_connection(void **state)
{
  (void)state;
  for (unsigned tcp = 0; tcp < 2; tcp++) {
    struct pair p;
    char endpoint[300] = "tcp://127.0.0.1:*";
    if (!tcp)
      endpoint_ipc(endpoint, "late");
    end_init(&p.router, LINK_ROUTER);
    end_init(&p.dealer, LINK_DEALER);
    p.router.options.on_gone = end_gone;
    pair_open(&p, endpoint);
    pair_greet(&p);
    for (uint32_t round = 1; round <= 4; round++) {
      loop_thread = pthread_self();
      stall_ms = 60; /* the dealer waits 20 to 30 before it connects */
      link_end(p.router.link, p.router.last.connection);
      run_until(&p.loop, &p.dealer.disconnected, round, 5000);
      stall_ms = 0;
      run_until(&p.loop, &p.dealer.connected, round + 1, 5000);
      assert_int_equal(p.dealer.connected, round + 1);
      assert_int_equal(send_text(p.dealer.link, "again", 0), MUSTER_OK);
      run_until(&p.loop, &p.router.messages, round + 1, 5000);
      assert_int_equal(p.router.messages, round + 1);
    }
    pair_close(&p);
  }
}

/* A frame over the bound ends the connection unread; libzmq alone would not connect again. */
static void an_oversized_message_ends_the_connection_only(void **state)
{
  (void)state;
  struct pair p;
  pair_start(&p, "oversized");
  assert_int_equal(send_text(p.dealer.link, "head", 100001), MUSTER_OK);
  run_until(&p.loop, &p.dealer.connected, 2, 5000);
  assert_int_equal(p.dealer.disconnected, 1);
  assert_int_equal(p.dealer.connected, 2);
  assert_int_equal(p.router.messages, 0);
  assert_int_equal(send_text(p.dealer.link, "head", 99999), MUSTER_OK);
  run_until(&p.loop, &p.router.messages, 1, 5000);
  assert_int_equal(p.router.messages, 1);
  pair_close(&p);
}

static void *raw_dealer(const char *endpoint, const char *identity)
{
  int none = 0;
  void *s = zmq_socket(link_context(), ZMQ_DEALER);
  zmq_setsockopt(s, ZMQ_LINGER, &none, sizeof none);
  if (identity)
    zmq_setsockopt(s, ZMQ_ROUTING_ID, identity, strlen(identity));
  assert_int_equal(zmq_connect(s, endpoint), 0);
  return s;
}

static void too_many_frames_and_too_long_an_identity(void **state)
{
  (void)state;
  struct pair p;
  char longest[201];
  memset(longest, 'i', 200);
  longest[200] = 0;
  pair_start(&p, "frames");
  void *s = raw_dealer(p.endpoint, NULL), *stranger = raw_dealer(p.endpoint, longest);
  zmq_send(stranger, "x", 1, ZMQ_SNDMORE);
  zmq_send(stranger, "y", 1, 0);
  run_for(&p.loop, 100);
  assert_int_equal(p.router.messages, 0);
  for (unsigned i = 0; i < 9; i++)
    zmq_send(s, "frame", 5, i < 8 ? ZMQ_SNDMORE : 0);
  zmq_send(s, "next", 4, 0);
  run_until(&p.loop, &p.router.messages, 1, 5000);
  assert_int_equal(p.router.last.frame_count, p.router.messages == 1 ? LINK_FRAMES + 1 : 1);
  run_until(&p.loop, &p.router.messages, 2, 5000);
  assert_int_equal(p.router.messages, 2);
  assert_int_equal(p.router.last.frame_count, 1);
  assert_int_equal(link_frame_size(&p.router.last.frame[0]), 4);
  zmq_close(s);
  zmq_close(stranger);
  pair_close(&p);
}

/* A send takes the edge of a message that has arrived meanwhile; it must be found all the same. */
static void a_send_does_not_swallow_the_edge(void **state)
{
  (void)state;
  struct pair p;
  struct link_message m;
  pair_start(&p, "edge");
  void *s = raw_dealer(p.endpoint, NULL);
  for (uint32_t round = 1; round <= 5; round++) {
    zmq_send(s, "wake", 4, 0);
    run_until(&p.loop, &p.router.messages, 2 * round - 1, 5000);
    run_for(&p.loop, 20); /* the link is at rest */
    zmq_send(s, "hidden", 6, 0);
    usleep(20000);
    message_of(&m, "answer", 0);
    m.identity_size = p.router.last.identity_size;
    memcpy(m.identity, p.router.last.identity, m.identity_size);
    assert_int_equal(link_send(p.router.link, &m), MUSTER_OK);
    run_until(&p.loop, &p.router.messages, 2 * round, 300);
    assert_int_equal(p.router.messages, 2 * round);
  }
  zmq_close(s);
  pair_close(&p);
}

/* Two connections with one routing id: the first keeps it, unless the ROUTER hands over. */
static void a_routing_id_is_handed_over_only_where_asked(void **state)
{
  (void)state;
  for (unsigned handover = 0; handover < 2; handover++) {
    struct pair p;
    struct end second;
    char endpoint[300];
    endpoint_ipc(endpoint, "handover");
    end_init(&p.router, LINK_ROUTER);
    end_init(&p.dealer, LINK_DEALER);
    end_init(&second, LINK_DEALER);
    p.router.options.handover = handover;
    p.router.echo = true;
    p.dealer.options.routing_id = second.options.routing_id = "ingest-0";
    pair_open(&p, endpoint);
    run_until(&p.loop, &p.dealer.connected, 1, 5000);
    assert_int_equal(send_text(p.dealer.link, "first", 0), MUSTER_OK);
    run_until(&p.loop, &p.dealer.messages, 1, 5000);
    assert_int_equal(p.dealer.messages, 1);
    end_open(&second, &p.loop);
    assert_int_equal(link_connect(second.link, endpoint, NULL), MUSTER_OK);
    run_until(&p.loop, &second.connected, 1, 5000);
    assert_int_equal(send_text(second.link, "second", 0), MUSTER_OK);
    run_until(&p.loop, &second.messages, 1, 200);
    assert_int_equal(second.messages, handover);
    end_close(&second);
    pair_close(&p);
  }
}

/* ---- CURVE, with a ZAP handler on a thread ---- */

struct zap {
  void *socket;
  uv_thread_t thread;
  char allowed[41];
};

static void zap_run(void *argument)
{
  struct zap *z = argument;
  for (;;) {
    char frame[8][256];
    char key[41] = "";
    int sizes[8], count = 0, more;
    size_t more_size = sizeof more;
    do {
      if ((sizes[count] = zmq_recv(z->socket, frame[count], sizeof frame[0], 0)) < 0)
        return;
      zmq_getsockopt(z->socket, ZMQ_RCVMORE, &more, &more_size);
    } while (++count < 8 && more);
    if (count < 7) /* the order to end */
      return;
    zmq_z85_encode(key, (uint8_t *)frame[6], 32);
    bool domain = sizes[2] == 5 && memcmp(frame[2], "front", 5) == 0;
    const char *code = domain && strcmp(key, z->allowed) == 0 ? "200" : "400";
    const char *reply[] = {"1.0", NULL, code, "", "submitter-7", ""};
    for (unsigned i = 0; i < 6; i++)
      zmq_send(z->socket, reply[i] ? reply[i] : frame[1], reply[i] ? strlen(reply[i]) : (size_t)sizes[1], i < 5 ? ZMQ_SNDMORE : 0);
  }
}

static void zap_start(struct zap *z)
{
  z->socket = zmq_socket(link_context(), ZMQ_REP);
  assert_int_equal(zmq_bind(z->socket, "inproc://zeromq.zap.01"), 0);
  uv_thread_create(&z->thread, zap_run, z);
}

static void zap_stop(struct zap *z)
{
  void *s = zmq_socket(link_context(), ZMQ_REQ);
  zmq_connect(s, "inproc://zeromq.zap.01");
  zmq_send(s, "end", 3, 0);
  uv_thread_join(&z->thread);
  int none = 0;
  zmq_setsockopt(s, ZMQ_LINGER, &none, sizeof none);
  zmq_close(s);
  zmq_close(z->socket);
}

struct keys {
  char public_text[41], secret_text[41];
};

static void curve_pair(struct pair *p, const struct keys *server, const char *server_claimed, const struct keys *own)
{
  end_init(&p->router, LINK_ROUTER);
  end_init(&p->dealer, LINK_DEALER);
  p->router.options.curve_secret = server->secret_text;
  p->router.options.zap_domain = "front";
  if (own) {
    p->dealer.options.curve_server = server_claimed;
    p->dealer.options.curve_public_own = own->public_text;
    p->dealer.options.curve_secret_own = own->secret_text;
  }
  pair_open(p, "tcp://127.0.0.1:0");
}

static void only_an_allowed_key_gets_in(void **state)
{
  (void)state;
  struct zap zap;
  struct pair p;
  struct keys server, own, other;
  char derived[41];
  assert_int_equal(link_curve_generate(server.public_text, server.secret_text), MUSTER_OK);
  assert_int_equal(link_curve_generate(own.public_text, own.secret_text), MUSTER_OK);
  assert_int_equal(link_curve_generate(other.public_text, other.secret_text), MUSTER_OK);
  assert_int_equal(link_curve_public(derived, own.secret_text), MUSTER_OK);
  assert_string_equal(derived, own.public_text);
  strcpy(zap.allowed, own.public_text);

  curve_pair(&p, &server, server.public_text, &own); /* no handler: fail closed */
  run_for(&p.loop, 200);
  assert_int_equal(p.dealer.connected, 0);
  assert_true(p.dealer.broken + p.dealer.refused > 0);
  pair_close(&p);

  zap_start(&zap);
  curve_pair(&p, &server, server.public_text, &own);
  run_until(&p.loop, &p.dealer.connected, 1, 5000);
  assert_int_equal(send_text(p.dealer.link, "head", 10), MUSTER_OK);
  run_until(&p.loop, &p.router.messages, 1, 5000);
  assert_string_equal(link_frame_property(&p.router.last.frame[0], "User-Id"), "submitter-7");
  assert_null(link_frame_property(&p.router.last.frame[0], "No-Such"));
  pair_close(&p);

  curve_pair(&p, &server, server.public_text, &other); /* not on the list: told so, and tried again */
  run_until(&p.loop, &p.dealer.refused, 2, 5000);
  assert_true(p.dealer.refused >= 2);
  assert_int_equal(p.dealer.connected, 0);
  pair_close(&p);

  curve_pair(&p, &server, other.public_text, &own); /* the wrong server key */
  run_until(&p.loop, &p.dealer.broken, 3, 5000);
  assert_true(p.dealer.broken >= 3);
  assert_int_equal(p.dealer.connected, 0);
  pair_close(&p);

  curve_pair(&p, &server, NULL, NULL); /* no keys at all */
  run_until(&p.loop, &p.dealer.broken, 2, 5000);
  assert_true(p.dealer.broken >= 2);
  assert_int_equal(p.dealer.connected, 0);
  pair_close(&p);
  zap_stop(&zap);
}

static void unusable_options_are_refused(void **state)
{
  (void)state;
  struct end e;
  struct link *link;
  struct failure f = FAILURE_NONE;
  struct keys k;
  uv_loop_t loop;
  uv_loop_init(&loop);
  link_curve_generate(k.public_text, k.secret_text);
  end_init(&e, LINK_ROUTER);
  e.options.curve_secret = k.secret_text; /* CURVE without a domain would let anybody in */
  assert_int_equal(link_open(&link, &loop, &e.options, &f), MUSTER_ERR_FORMAT);
  assert_null(link);
  assert_string_not_equal(f.text, "");
  end_init(&e, LINK_DEALER);
  e.options.curve_server = "no key";
  e.options.curve_public_own = e.options.curve_secret_own = k.public_text;
  assert_int_equal(link_open(&link, &loop, &e.options, NULL), MUSTER_ERR_FORMAT);
  end_init(&e, LINK_DEALER);
  end_open(&e, &loop);
  f = FAILURE_NONE;
  assert_int_equal(link_connect(e.link, "nonsense", &f), MUSTER_ERR_USAGE);
  assert_non_null(strstr(f.text, "nonsense"));
  assert_int_equal(link_connect(e.link, "tcp://127.0.0.1:1", NULL), MUSTER_OK);
  assert_int_equal(link_connect(e.link, "tcp://127.0.0.1:2", NULL), MUSTER_ERR_USAGE); /* one link, one endpoint */
  end_close(&e);
  loop_finish(&loop);
}

static void what_lingers_goes_out_before_the_context_ends(void **state)
{
  (void)state;
  struct pair p;
  char endpoint[300];
  endpoint_ipc(endpoint, "linger");
  pid_t child = fork(); /* its context is its own */
  if (child == 0) {
    uv_loop_init(&p.loop);
    end_init(&p.dealer, LINK_DEALER);
    if (link_open(&p.dealer.link, &p.loop, &p.dealer.options, NULL) != MUSTER_OK ||
        link_connect(p.dealer.link, endpoint, NULL) != MUSTER_OK)
      _exit(1);
    run_until(&p.loop, &p.dealer.connected, 1, 5000);
    for (unsigned i = 0; i < 50; i++)
      if (send_text(p.dealer.link, "last words", 50000) != MUSTER_OK)
        _exit(2);
    link_close_lingering(p.dealer.link, 5000);
    uv_run(&p.loop, UV_RUN_DEFAULT);
    link_context_finish();
    raise(SIGKILL); /* how it says that all went well: under a leak checker an exit would be judged by what the parent holds */
  }
  end_init(&p.router, LINK_ROUTER);
  p.router.options.queue_messages = 4;
  uv_loop_init(&p.loop);
  end_open(&p.router, &p.loop);
  link_pause(p.router.link, true); /* so that most of it must still be with the child when it closes */
  assert_int_equal(link_bind(p.router.link, endpoint, NULL, 0, NULL), MUSTER_OK);
  run_for(&p.loop, 400);
  assert_int_equal(p.router.messages, 0);
  link_pause(p.router.link, false);
  run_until(&p.loop, &p.router.messages, 50, 8000);
  assert_int_equal(p.router.messages, 50);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  end_close(&p.router);
  loop_finish(&p.loop);
}

/* Connections come and go, and get the numbers of earlier ones: each end is told once, and before the next one with the number is heard. The
 * loop does not run here, so that nobody but the turn itself can have told. */
static void a_router_tells_who_is_gone(void **state)
{
  (void)state;
  enum { ROUNDS = 50 };
  struct end router;
  uv_loop_t loop;
  char endpoint[300];
  uint32_t used[GONE_MAX] = {0};
  endpoint_ipc(endpoint, "gone");
  uv_loop_init(&loop);
  end_init(&router, LINK_ROUTER);
  router.options.on_gone = end_gone;
  end_open(&router, &loop);
  assert_int_equal(link_bind(router.link, endpoint, NULL, 0, &(struct failure)FAILURE_NONE), MUSTER_OK);
  for (uint32_t i = 1; i <= ROUNDS; i++) {
    void *client = zmq_socket(link_context(), ZMQ_DEALER);
    assert_int_equal(zmq_connect(client, endpoint), 0);
    assert_int_equal(zmq_send(client, "here", 4, 0), 4);
    while (router.messages < i)
      link_turn(router.link);
    int32_t connection = router.last.connection;
    assert_in_range(connection, 1, GONE_MAX - 1);
    assert_int_equal(router.gone[connection], used[connection]);
    used[connection]++;
    zmq_close(client);
  }
  run_until(&loop, &router.gone_all, ROUNDS, 5000);
  assert_int_equal(router.gone_all, ROUNDS);
  end_close(&router);
  loop_finish(&loop);
}

/* Connects by hand and says nothing, as a stranger does. -1: nobody is there, or nobody answers yet. */
static int stranger(const char *endpoint)
{
  struct sockaddr_un path = {.sun_family = AF_UNIX};
  struct sockaddr_in port = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  bool ipc = strncmp(endpoint, "ipc://", 6) == 0;
  int fd = socket(ipc ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct timeval patience = {.tv_usec = 200000};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* of connect, too */
  if (ipc)
    snprintf(path.sun_path, sizeof path.sun_path, "%s", endpoint + 6);
  else
    port.sin_port = htons((uint16_t)atoi(strrchr(endpoint, ':') + 1));
  if (connect(fd, ipc ? (struct sockaddr *)&path : (struct sockaddr *)&port, ipc ? sizeof path : sizeof port) == 0)
    return fd;
  close(fd);
  return -1;
}

static void end_connections(void *context, struct link *link, bool starved)
{
  struct end *e = context;
  assert_false(starved);
  e->connections = link_connections(link);
}

static void run_until_connections(struct pair *p, uint32_t want)
{
  for (unsigned i = 0; i < 500 && p->router.connections != want; i++)
    run_for(&p->loop, 10);
  assert_int_equal(p->router.connections, want);
}

static void a_shut_door_keeps_newcomers_out_and_nobody_else(void **state)
{
  (void)state;
  for (unsigned tcp = 0; tcp < 2; tcp++) {
    struct pair p;
    int strangers[3], late;
    end_init(&p.router, LINK_ROUTER);
    end_init(&p.dealer, LINK_DEALER);
    p.router.options.on_connections = end_connections;
    p.router.echo = true;
    char endpoint[300] = "tcp://127.0.0.1:*";
    if (!tcp)
      endpoint_ipc(endpoint, "door");
    pair_open(&p, endpoint);
    run_until(&p.loop, &p.dealer.connected, 1, 5000);
    for (unsigned i = 0; i < 3; i++)
      strangers[i] = stranger(p.endpoint);
    run_until_connections(&p, 4);
    link_shut(p.router.link, true);
    link_shut(p.router.link, true);
    assert_int_equal(stranger(p.endpoint), -1);
    assert_int_equal(send_text(p.dealer.link, "still here", 0), MUSTER_OK);
    run_until(&p.loop, &p.dealer.messages, 1, 5000);
    assert_int_equal(p.dealer.messages, 1);
    assert_int_equal(p.dealer.disconnected, 0);
    close(strangers[0]);
    run_until_connections(&p, 3);
    run_until_connections(&p, 1); /* handshake_ms is over */
    link_shut(p.router.link, false);
    late = stranger(p.endpoint);
    assert_true(late >= 0);
    run_until_connections(&p, 2);
    if (!tcp) /* closed while it is shut: no file is left under another name */
      link_shut(p.router.link, true);
    close(late), close(strangers[1]), close(strangers[2]);
    pair_close(&p);
  }
}

static void a_connection_can_be_ended_and_comes_back(void **state)
{
  (void)state;
  struct pair p;
  char endpoint[300];
  end_init(&p.router, LINK_ROUTER);
  end_init(&p.dealer, LINK_DEALER);
  endpoint_ipc(endpoint, "end");
  p.router.options.on_gone = end_gone;
  p.router.options.receive_messages = LINK_NO_MARK;
  pair_open(&p, endpoint);
  run_until(&p.loop, &p.dealer.connected, 1, 5000);
  uint64_t drains = link_drains(p.router.link);
  assert_int_equal(send_text(p.dealer.link, "one", 0), MUSTER_OK);
  run_until(&p.loop, &p.router.messages, 1, 5000);
  assert_true(link_drains(p.router.link) > drains);
  link_end(p.router.link, p.router.last.connection);
  run_until(&p.loop, &p.router.gone_all, 1, 5000);
  assert_int_equal(p.router.gone[p.router.last.connection], 1);
  run_until(&p.loop, &p.dealer.connected, 2, 5000);
  assert_int_equal(send_text(p.dealer.link, "two", 0), MUSTER_OK);
  run_until(&p.loop, &p.router.messages, 2, 5000);
  assert_int_equal(p.router.messages, 2);
  pair_close(&p);
}

/* The queue has room for a thousand more; the kernel has not. */
static void one_who_reads_nothing_is_sent_no_more_than_the_kernel_takes(void **state)
{
  (void)state;
  for (unsigned tcp = 0; tcp < 2; tcp++) {
    struct pair p;
    char endpoint[300] = "tcp://127.0.0.1:*";
    uint32_t sent = 0;
    end_init(&p.router, LINK_ROUTER);
    end_init(&p.dealer, LINK_DEALER);
    p.router.options.on_gone = end_gone;
    p.router.options.queue_messages = 2000;
    p.dealer.options.receive_messages = 2;
    if (!tcp)
      endpoint_ipc(endpoint, "unread");
    pair_open(&p, endpoint);
    pair_greet(&p);
    link_pause(p.dealer.link, true);
    struct link_message m;
    for (int status = MUSTER_OK; status == MUSTER_OK && sent < 1000; sent += status == MUSTER_OK) {
      message_of(&m, "answer", 65536);
      m.connection = p.router.last.connection;
      memcpy(m.identity, p.router.last.identity, m.identity_size = p.router.last.identity_size);
      status = link_send(p.router.link, &m);
      assert_int_equal(m.frame_count, status == MUSTER_OK ? 0 : 2);
      link_message_finish(&m);
      run_for(&p.loop, 5); /* ZeroMQ's thread moves on what the kernel takes */
    }
    assert_in_range(sent, 1, 200);
    link_want_writable(p.router.link);
    link_pause(p.dealer.link, false);
    run_until(&p.loop, &p.dealer.messages, sent, 10000);
    assert_int_equal(p.dealer.messages, sent);
    run_until(&p.loop, &p.router.writables, 1, 5000);
    assert_int_equal(p.router.writables, 1);
    message_of(&m, "answer", 65536);
    m.connection = p.router.last.connection;
    memcpy(m.identity, p.router.last.identity, m.identity_size = p.router.last.identity_size);
    assert_int_equal(link_send(p.router.link, &m), MUSTER_OK);
    pair_close(&p);
  }
}

static int setup(void **state)
{
  (void)state;
  alarm(120); /* a socket that a failing test leaves open would hold up the end of the context for ever */
  const char *tmp = getenv("TMPDIR");
  snprintf(directory, sizeof directory, "%s/muster-link-XXXXXX", tmp ? tmp : "/tmp");
  return mkdtemp(directory) ? 0 : -1;
}

/* Whatever sockets the tests have bound; but a door that was shut leaves nothing under its other name. */
static int teardown(void **state)
{
  (void)state;
  bool is_shut = false;
  link_context_finish(); /* hangs where a socket was left open */
  DIR *d = opendir(directory);
  for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
    is_shut = is_shut || strstr(e->d_name, ".shut");
    if (e->d_name[0] != '.')
      unlinkat(dirfd(d), e->d_name, 0);
  }
  if (!d || closedir(d) != 0 || rmdir(directory) != 0)
    return -1;
  return is_shut ? -1 : 0;
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(threads_share_one_context),
      cmocka_unit_test(messages_go_both_ways),
      cmocka_unit_test(an_ipc_socket_is_private_and_replaces_a_stale_one),
      cmocka_unit_test(a_turn_is_bounded_and_nothing_is_left_behind),
      cmocka_unit_test(what_cannot_go_is_left_with_the_sender),
      cmocka_unit_test(a_full_peer_is_told_and_gets_whole_messages),
      cmocka_unit_test(a_link_may_be_closed_in_its_callbacks),
      cmocka_unit_test(a_connection_comes_back),
      cmocka_unit_test(an_end_that_is_done_with_late_ends_no_later_connection),
      cmocka_unit_test(an_oversized_message_ends_the_connection_only),
      cmocka_unit_test(too_many_frames_and_too_long_an_identity),
      cmocka_unit_test(a_send_does_not_swallow_the_edge),
      cmocka_unit_test(a_routing_id_is_handed_over_only_where_asked),
      cmocka_unit_test(a_router_tells_who_is_gone),
      cmocka_unit_test(a_shut_door_keeps_newcomers_out_and_nobody_else),
      cmocka_unit_test(a_connection_can_be_ended_and_comes_back),
      cmocka_unit_test(one_who_reads_nothing_is_sent_no_more_than_the_kernel_takes),
      cmocka_unit_test(only_an_allowed_key_gets_in),
      cmocka_unit_test(unusable_options_are_refused),
      cmocka_unit_test(what_lingers_goes_out_before_the_context_ends),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
