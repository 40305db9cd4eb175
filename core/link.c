#include "core/link.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include "core/clock.h"
#include "core/link_door.h"
#include "core/link_socket.h"

enum {
  TURN_MESSAGES = 64,
  BACKOFF_MIN_MS = 20,
  BACKOFF_MAX_MS = 1000,
  WRITABLE_PROBE_MS = 5, /* see link_want_writable */
  SOCKETS_MAX = 1024,
  ENDPOINT_BYTES = 512
};

struct link {
  struct link_options options; /* its texts are not kept */
  uv_loop_t *loop;
  void *socket;
  uv_poll_t poll;
  uv_idle_t again;  /* active while ZeroMQ may hold messages of which no new edge will tell */
  uv_timer_t timer; /* DEALER: the next attempt to connect; ROUTER: the next look at who can be written to */
  uint32_t handles;
  bool closing, paused, want_writable;
  void *monitor; /* of a DEALER, and of a ROUTER that tells who is gone */
  uv_poll_t monitor_poll;
  uint64_t drains;
  /* of a ROUTER that counts its connections */
  uint32_t connections;
  struct link_door door;
  /* of a DEALER */
  bool connected;
  uint32_t backoff_ms;
  uint64_t attempt_ns, connected_at_ns;
  unsigned random;
  char endpoint[ENDPOINT_BYTES];
};

/* ---- context ---- */

/* Links of several loops may begin at the same time, each on its own thread. */
static pthread_mutex_t context_lock = PTHREAD_MUTEX_INITIALIZER;
static void *context, *inherited;
static pid_t context_pid;

void *link_context(void)
{
  pthread_mutex_lock(&context_lock);
  if (!context || context_pid != getpid()) {
    inherited = context; /* one that came through a fork has no threads here and is left alone */
    context = zmq_ctx_new();
    context_pid = getpid();
    if (context) {
      zmq_ctx_set(context, ZMQ_IO_THREADS, 1);
      zmq_ctx_set(context, ZMQ_MAX_SOCKETS, SOCKETS_MAX);
    }
  }
  void *own = context;
  pthread_mutex_unlock(&context_lock);
  return own;
}

void link_context_finish(void)
{
  pthread_mutex_lock(&context_lock);
  void *own = context_pid == getpid() ? context : NULL;
  context = NULL;
  pthread_mutex_unlock(&context_lock);
  while (own && zmq_ctx_term(own) != 0 && errno == EINTR)
    ;
}

int link_curve_generate(char public_text[41], char secret_text[41])
{
  return zmq_curve_keypair(public_text, secret_text) == 0 ? MUSTER_OK : MUSTER_ERR_IO;
}

int link_curve_public(char public_text[41], const char *secret_text)
{
  return zmq_curve_public(public_text, secret_text) == 0 ? MUSTER_OK : MUSTER_ERR_FORMAT;
}

/* ---- a turn: receive what is there, within the bound ---- */

static void again_run(uv_idle_t *handle);
static void monitor_hear(struct link *link);

/* Every call into the socket may eat the edge of its descriptor, so after any but a drain to the end: look again in the next turn. */
static void look_again(struct link *link)
{
  if (!link->closing)
    uv_idle_start(&link->again, again_run);
}

/* The frames behind the first come with it or not at all. False: nothing is there. *heard false: a message that cannot be handed on. */
static bool receive_message(struct link *link, struct link_message *m, bool *heard)
{
  *heard = true;
  if (!link_socket_receive(link->socket, &m->frame[0]))
    return false;
  if (link->options.kind == LINK_ROUTER) {
    size_t size = link_frame_size(&m->frame[0]);
    *heard = size <= LINK_IDENTITY_BYTES;
    m->identity_size = *heard ? (uint32_t)size : 0;
    memcpy(m->identity, link_frame_data(&m->frame[0]), m->identity_size);
    if (!link_socket_more(link->socket)) {
      link_frame_finish(&m->frame[0]);
      *heard = false;
      return true;
    }
    link_socket_receive(link->socket, &m->frame[0]);
  }
  m->frame_count = 1;
  while (link_socket_more(link->socket)) {
    struct link_frame excess;
    link_frame_init_empty(&excess);
    bool fits = m->frame_count < LINK_FRAMES;
    link_socket_receive(link->socket, fits ? &m->frame[m->frame_count] : &excess);
    if (m->frame_count <= LINK_FRAMES)
      m->frame_count++;
    link_frame_finish(&excess);
  }
  return true;
}

/* A ROUTER is "writable" as soon as any peer is, which says nothing of the full one: its owner is called at a new edge or after a while. */
static void serve_writable(struct link *link, bool edge)
{
  if (!link->want_writable || link->closing)
    return;
  if (link->options.kind == LINK_ROUTER ? !edge : !(link->connected && link_socket_events(link->socket) & ZMQ_POLLOUT))
    return;
  link->want_writable = false;
  if (link->options.on_writable)
    link->options.on_writable(link->options.context, link);
}

static uint32_t turn(struct link *link, bool edge)
{
  uint32_t count = 0, bound = link->options.turn_messages;
  uv_idle_stop(&link->again);
  if (link->paused)
    link_socket_events(link->socket); /* takes the edge, so that the descriptor does not stay readable */
  while (!link->closing && !link->paused) {
    struct link_message m;
    bool heard;
    if (count == bound) {
      look_again(link);
      break;
    }
    link_message_init(&m);
    uv_idle_stop(&link->again); /* sends of the callbacks before are seen by this receive */
    if (!receive_message(link, &m, &heard)) {
      link->drains++;
      link_message_finish(&m);
      break;
    }
    count++;
    if (link->monitor && link->options.kind == LINK_ROUTER) {
      m.connection = link_socket_connection(&m.frame[0]);
      monitor_hear(link); /* its number may have been another's */
    }
    if (heard)
      link->options.on_message(link->options.context, link, &m);
    link_message_finish(&m);
  }
  serve_writable(link, edge);
  if (count && !link->closing && link->options.on_turn_end)
    link->options.on_turn_end(link->options.context, link);
  return count;
}

uint32_t link_turn(struct link *link) { return link->closing ? 0 : turn(link, false); }

static void again_run(uv_idle_t *handle) { turn(handle->data, false); }

static void poll_run(uv_poll_t *handle, int status, int events)
{
  (void)status;
  (void)events;
  turn(handle->data, true);
}

static void probe_run(uv_timer_t *handle) { serve_writable(handle->data, true); }

void link_want_writable(struct link *link)
{
  if (link->closing)
    return;
  link->want_writable = true;
  if (link->options.kind == LINK_ROUTER && !uv_is_active((uv_handle_t *)&link->timer))
    uv_timer_start(&link->timer, probe_run, WRITABLE_PROBE_MS, 0);
  else
    look_again(link);
}

void link_pause(struct link *link, bool paused)
{
  link->paused = paused;
  look_again(link);
}

/* ---- sending ---- */

int link_send(struct link *link, struct link_message *m)
{
  assert(m->frame_count > 0 && m->frame_count <= LINK_FRAMES);
  if (link->closing)
    return MUSTER_ERR_NOT_FOUND;
  if (link->options.kind == LINK_DEALER && !link->connected)
    return MUSTER_ERR_AGAIN; /* ZeroMQ would still take it into the pipe of the lost connection */
  uint32_t sent = 0;
  int status;
  look_again(link);
  if (link->options.kind == LINK_ROUTER) {
    struct link_frame identity;
    if (m->connection > 0 && link_socket_is_full(m->connection))
      return MUSTER_ERR_AGAIN;
    if (link_frame_init(&identity, m->identity_size) != MUSTER_OK)
      return MUSTER_ERR_AGAIN;
    memcpy(link_frame_data(&identity), m->identity, m->identity_size);
    status = link_socket_send_first(link->socket, &identity, true);
    link_frame_finish(&identity);
  } else {
    status = link_socket_send_first(link->socket, &m->frame[0], m->frame_count > 1);
    sent = 1;
  }
  if (status != MUSTER_OK)
    return status;
  /* From here on it is all or nothing: the mark counts whole messages. Only a connection that ends this moment can refuse the rest;
   * then the message is lost with the connection, and ZeroMQ wants to see the remaining frames all the same. */
  for (; sent < m->frame_count; sent++)
    link_socket_send(link->socket, &m->frame[sent], sent + 1 < m->frame_count);
  link_message_finish(m);
  return MUSTER_OK;
}

/* ---- connecting ---- */

/* ZeroMQ's own reconnecting is as good as off: it gives up after a protocol error, and hammers a peer that breaks off every handshake. */
static void connect_run(uv_timer_t *handle)
{
  struct link *link = handle->data;
  zmq_disconnect(link->socket, link->endpoint);
  link->attempt_ns = clock_monotonic_ns();
  zmq_connect(link->socket, link->endpoint);
  look_again(link);
}

static void connect_later(struct link *link)
{
  if (link->closing || uv_is_active((uv_handle_t *)&link->timer))
    return;
  uint32_t jitter_ms = (uint32_t)rand_r(&link->random) % (link->backoff_ms / 2 + 1);
  uv_timer_start(&link->timer, connect_run, link->backoff_ms + jitter_ms, 0);
  link->backoff_ms = link->backoff_ms * 2 < BACKOFF_MAX_MS ? link->backoff_ms * 2 : BACKOFF_MAX_MS;
}

static void tell(struct link *link, enum link_event event)
{
  if (!link->closing && link->options.on_event)
    link->options.on_event(link->options.context, link, event);
}

static void tell_connections(struct link *link, bool starved)
{
  if (!link->closing && link->options.on_connections)
    link->options.on_connections(link->options.context, link, starved);
}

static void router_event(struct link *link, uint16_t event, int32_t value)
{
  switch (event) {
  case ZMQ_EVENT_LISTENING: link->door.listener = value; break;
  case ZMQ_EVENT_ACCEPTED:
    link->connections++;
    if (value > 0 && link->options.on_come && !link->closing)
      link->options.on_come(link->options.context, link, value, link_socket_address(value));
    tell_connections(link, false);
    break;
  case ZMQ_EVENT_ACCEPT_FAILED:
    if (value == EMFILE || value == ENFILE)
      tell_connections(link, true);
    break;
  case ZMQ_EVENT_DISCONNECTED:
    if (value > 0 && link->options.on_gone)
      link->options.on_gone(link->options.context, link, value);
    link->connections -= link->connections > 0;
    tell_connections(link, false);
    break;
  default: break;
  }
}

static void monitor_event(struct link *link, uint16_t event, int32_t value)
{
  if (link->options.kind == LINK_ROUTER) {
    router_event(link, event, value);
    return;
  }
  switch (event) {
  case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
    link->connected = true;
    link->connected_at_ns = clock_monotonic_ns();
    link_socket_events(link->socket); /* lets the socket take in its new pipe, so that the callback can send */
    look_again(link);
    tell(link, LINK_CONNECTED);
    break;
  case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH: tell(link, LINK_REFUSED); break;
  case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
  case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL: tell(link, LINK_HANDSHAKE_FAILED); break;
  case ZMQ_EVENT_DISCONNECTED:
    if (link->connected && clock_monotonic_ns() - link->connected_at_ns > BACKOFF_MAX_MS * UINT64_C(1000000))
      link->backoff_ms = BACKOFF_MIN_MS;
    connect_later(link);
    if (link->connected) {
      link->connected = false;
      tell(link, LINK_DISCONNECTED);
    }
    break;
  case ZMQ_EVENT_CLOSED: connect_later(link); break; /* nobody listens there */
  default: break;
  }
}

static void monitor_hear(struct link *link)
{
  struct link_frame f;
  link_frame_init_empty(&f);
  while (!link->closing && link_socket_receive(link->monitor, &f)) {
    uint16_t event = 0;
    int32_t value = 0;
    if (link_frame_size(&f) >= sizeof event + sizeof value) {
      memcpy(&event, link_frame_data(&f), sizeof event);
      memcpy(&value, link_frame_data(&f) + sizeof event, sizeof value);
    }
    link_socket_receive(link->monitor, &f); /* the endpoint, which we know */
    monitor_event(link, event, value);
  }
  link_frame_finish(&f);
}

static void monitor_run(uv_poll_t *handle, int status, int events)
{
  (void)status;
  (void)events;
  monitor_hear(handle->data);
}

int link_connect(struct link *link, const char *endpoint, struct failure *failure)
{
  if (link->options.kind != LINK_DEALER || link->endpoint[0] || strlen(endpoint) >= sizeof link->endpoint)
    return failure_set(failure, MUSTER_ERR_USAGE, "cannot connect to %s: a link has one endpoint of at most %d characters", endpoint,
                       ENDPOINT_BYTES - 1);
  link_socket_allow_ipv6(link->socket, endpoint);
  link->attempt_ns = clock_monotonic_ns();
  if (zmq_connect(link->socket, endpoint) != 0)
    return failure_set(failure, MUSTER_ERR_USAGE, "cannot connect to %s: %s", endpoint, zmq_strerror(errno));
  strcpy(link->endpoint, endpoint);
  look_again(link);
  return MUSTER_OK;
}

int link_bind(struct link *link, const char *endpoint, char *bound, size_t bound_size, struct failure *failure)
{
  int status = link_socket_bind(link->socket, endpoint, bound, bound_size, failure);
  if (status != MUSTER_OK)
    return status;
  look_again(link);
  if (link->options.on_connections) {
    link_door_init(&link->door, endpoint);
    monitor_hear(link); /* which descriptor listens */
  }
  return MUSTER_OK;
}

uint64_t link_attempt_ms(const struct link *link) { return (clock_monotonic_ns() - link->attempt_ns) / 1000000; }

/* ---- of a ROUTER's connections ---- */

uint64_t link_drains(const struct link *link) { return link->drains; }

uint32_t link_connections(const struct link *link) { return link ? link->connections : 0; }

void link_shut(struct link *link, bool shut) { link_door_shut(&link->door, shut); }

/* The number is still that of this connection, but for one that has ended since the monitor was heard last. Its follower connects again. */
void link_end(struct link *link, int32_t connection)
{
  static char ignored[64 << 10];
  if (connection <= 0 || link->closing || shutdown(connection, SHUT_RDWR) != 0)
    return;
  for (unsigned i = 0; i < 16 && recv(connection, ignored, sizeof ignored, MSG_DONTWAIT) > 0; i++)
    ; /* what the kernel holds of it would still be read: a quarter of a mebibyte, a hundred thousand messages at worst */
}

/* ---- opening and closing ---- */

static void close_sockets(struct link *link)
{
  if (link->monitor) {
    zmq_socket_monitor(link->socket, NULL, 0);
    zmq_close(link->monitor);
  }
  zmq_close(link->socket);
}

static bool poll_socket(struct link *link, uv_poll_t *handle, void *socket, uv_poll_cb run)
{
  int fd;
  size_t size = sizeof fd;
  if (zmq_getsockopt(socket, ZMQ_FD, &fd, &size) != 0 || uv_poll_init(link->loop, handle, fd) != 0)
    return false;
  handle->data = link;
  link->handles++;
  return uv_poll_start(handle, UV_READABLE, run) == 0;
}

int link_open(struct link **out, uv_loop_t *loop, const struct link_options *options, struct failure *failure)
{
  *out = NULL;
  struct link *link = link_context() ? calloc(1, sizeof *link) : NULL;
  if (!link)
    return failure_set(failure, MUSTER_ERR_MEMORY, "no memory for a connection");
  link->options = *options;
  link->options.turn_messages = options->turn_messages ? options->turn_messages : TURN_MESSAGES;
  link->loop = loop;
  link->backoff_ms = BACKOFF_MIN_MS;
  link->random = (unsigned)clock_monotonic_ns() ^ (unsigned)getpid();
  bool monitored = options->kind == LINK_DEALER || options->on_gone || options->on_connections;
  int status = link_socket_open(&link->socket, options, failure);
  if (status == MUSTER_OK && monitored &&
      (status = link_socket_monitor(&link->monitor, link->socket, options->kind == LINK_ROUTER, failure)) != MUSTER_OK)
    close_sockets(link);
  if (status != MUSTER_OK) {
    free(link);
    return status;
  }
  uv_idle_init(loop, &link->again);
  uv_timer_init(loop, &link->timer);
  link->again.data = link->timer.data = link;
  link->handles = 2;
  if (!poll_socket(link, &link->poll, link->socket, poll_run) ||
      (monitored && !poll_socket(link, &link->monitor_poll, link->monitor, monitor_run))) {
    link_close(link);
    return failure_set(failure, MUSTER_ERR_IO, "the loop cannot poll a ZeroMQ socket");
  }
  look_again(link);
  *out = link;
  return MUSTER_OK;
}

static void handle_closed(uv_handle_t *handle)
{
  struct link *link = handle->data;
  if (--link->handles == 0)
    free(link);
}

void link_close_lingering(struct link *link, uint32_t linger_ms)
{
  if (!link || link->closing)
    return;
  link->closing = true;
  uint32_t polls = link->handles - 2;
  if (polls > 0)
    uv_close((uv_handle_t *)&link->poll, handle_closed);
  if (polls > 1)
    uv_close((uv_handle_t *)&link->monitor_poll, handle_closed);
  uv_close((uv_handle_t *)&link->again, handle_closed);
  uv_close((uv_handle_t *)&link->timer, handle_closed);
  int linger = (int)linger_ms;
  zmq_setsockopt(link->socket, ZMQ_LINGER, &linger, sizeof linger);
  link_door_finish(&link->door);
  close_sockets(link);
}

void link_close(struct link *link) { link_close_lingering(link, 0); }

bool link_library(char version[32])
{
  int major, minor, patch;
  zmq_version(&major, &minor, &patch);
  snprintf(version, 32, "%d.%d.%d", major, minor, patch);
  return zmq_has("curve") == 1;
}
