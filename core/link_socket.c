#include "core/link_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#ifndef ZMQ_ZAP_ENFORCE_DOMAIN
#define ZMQ_ZAP_ENFORCE_DOMAIN 93 /* in every libzmq since 4.3.0, but zmq.h shows it to draft builds alone */
#endif

enum {
  HEARTBEAT_MS = 5000, /* a connecting link notices a peer that vanished without a word within HEARTBEAT_LOST_MS */
  HEARTBEAT_LOST_MS = 15000,
  RECONNECT_NEVER_MS = 3600000, /* core/link.c connects again long before */
  CONNECT_MS = 3000, /* then it asks anew: a node's door may be shut for a moment, and the kernel would ask again after 1, 2, 4, 8, 16 s */
  ROUTER_SEND_BYTES = 256 * 1024, /* what the kernel takes of what a peer does not read; left to itself, 4 MiB */
  UNACKNOWLEDGED_MS = 60000       /* as keep-alive notices one to whom nothing was sent; the kernel would try for a quarter of an hour */
};

static zmq_msg_t *frame_of(struct link_frame *f) { return (zmq_msg_t *)(void *)f; }
static int set_number(void *socket, int option, int value) { return zmq_setsockopt(socket, option, &value, sizeof value); }

/* ---- frames in and out ---- */

bool link_socket_receive(void *socket, struct link_frame *f)
{
  int rc;
  do
    rc = zmq_msg_recv(frame_of(f), socket, ZMQ_DONTWAIT);
  while (rc < 0 && errno == EINTR);
  return rc >= 0;
}

bool link_socket_more(void *socket)
{
  int more = 0;
  size_t size = sizeof more;
  return zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size) == 0 && more;
}

int32_t link_socket_connection(struct link_frame *f)
{
  int descriptor = zmq_msg_get(frame_of(f), ZMQ_SRCFD);
  return descriptor > 0 ? descriptor : 0;
}

/* The number may be another's by now, whose address this is then. */
uint64_t link_socket_address(int32_t connection)
{
  struct sockaddr_storage any = {.ss_family = AF_UNSPEC};
  const struct sockaddr_in *v4 = (const struct sockaddr_in *)&any;
  const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&any;
  socklen_t size = sizeof any;
  uint64_t network = 0;
  uint32_t host = 0;
  if (getpeername(connection, (struct sockaddr *)&any, &size) != 0)
    return 0;
  if (any.ss_family == AF_INET)
    host = v4->sin_addr.s_addr;
  else if (any.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
    memcpy(&host, v6->sin6_addr.s6_addr + 12, sizeof host);
  else if (any.ss_family == AF_INET6)
    memcpy(&network, v6->sin6_addr.s6_addr, sizeof network);
  return network ? network : host;
}

int link_socket_events(void *socket)
{
  int events = 0;
  size_t size = sizeof events;
  zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size);
  return events;
}

int link_socket_send(void *socket, struct link_frame *f, bool more)
{
  return zmq_msg_send(frame_of(f), socket, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0));
}

/* ZeroMQ looks at its own commands only now and then while sending: before "full" is believed, make it look. */
int link_socket_send_first(void *socket, struct link_frame *f, bool more)
{
  int rc = link_socket_send(socket, f, more);
  if (rc < 0 && errno == EAGAIN) {
    link_socket_events(socket);
    rc = link_socket_send(socket, f, more);
  }
  if (rc >= 0)
    return MUSTER_OK;
  return errno == EHOSTUNREACH ? MUSTER_ERR_NOT_FOUND : MUSTER_ERR_AGAIN;
}

/* A number that is another's by now says something wrong, and the message goes a little later. */
bool link_socket_is_full(int32_t connection)
{
  struct pollfd p = {.fd = connection, .events = POLLOUT};
  return poll(&p, 1, 0) == 0;
}

/* ---- listening ---- */

void link_socket_allow_ipv6(void *socket, const char *endpoint)
{
  if (strchr(endpoint, '['))
    set_number(socket, ZMQ_IPV6, 1);
}

/* A socket file that a dead process left is removed; anything else at its place is not ours to remove. */
static int clear_socket_path(const char *endpoint, struct failure *failure)
{
  struct stat st;
  const char *path = endpoint + strlen("ipc://");
  if (lstat(path, &st) != 0)
    return MUSTER_OK;
  if (!S_ISSOCK(st.st_mode))
    return failure_set(failure, MUSTER_ERR_CREATE, "cannot listen on %s: a file that is no socket is in the way; nothing was removed",
                       endpoint);
  if (unlink(path) != 0)
    return failure_set_errno(failure, MUSTER_ERR_CREATE, errno, "cannot listen on %s: the old socket cannot be removed", endpoint);
  return MUSTER_OK;
}

int link_socket_bind(void *socket, const char *endpoint, char *bound, size_t bound_size, struct failure *failure)
{
  bool ipc = strncmp(endpoint, "ipc://", strlen("ipc://")) == 0;
  if (ipc && clear_socket_path(endpoint, failure) != MUSTER_OK)
    return MUSTER_ERR_CREATE;
  link_socket_allow_ipv6(socket, endpoint);
  mode_t before = umask(0177); /* ZeroMQ creates the file within zmq_bind, on this thread */
  int rc = zmq_bind(socket, endpoint);
  int error = errno;
  umask(before);
  if (rc != 0 && error == EADDRINUSE && !ipc)
    return failure_set(failure, MUSTER_ERR_CREATE, "cannot listen on %s: already in use; choose another --listen, or none", endpoint);
  if (rc != 0)
    return failure_set(failure, MUSTER_ERR_CREATE, "cannot listen on %s: %s", endpoint, zmq_strerror(error));
  if (bound && zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, bound, &bound_size) != 0)
    return failure_set(failure, MUSTER_ERR_USAGE, "cannot tell the endpoint of %s: the name is too long", endpoint);
  return MUSTER_OK;
}

/* ---- opening ---- */

/* libzmq numbers the peers of a ROUTER from rand(), which nobody seeds: whoever knew the numbers could take the next one as its routing id, and libzmq would
 * abort. Only processes with a ROUTER do this; a program that uses the client library keeps its own sequence. */
static bool seed_routing_ids(void)
{
  static pid_t seeded;
  unsigned seed;
  if (seeded == getpid())
    return true;
  if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
    return false;
  srand(seed);
  seeded = getpid();
  return true;
}

static bool set_curve(void *s, const struct link_options *o)
{
  if (o->curve_secret)
    return o->zap_domain && set_number(s, ZMQ_CURVE_SERVER, 1) == 0 &&
           zmq_setsockopt(s, ZMQ_CURVE_SECRETKEY, o->curve_secret, strlen(o->curve_secret) + 1) == 0 &&
           zmq_setsockopt(s, ZMQ_ZAP_DOMAIN, o->zap_domain, strlen(o->zap_domain)) == 0 && set_number(s, ZMQ_ZAP_ENFORCE_DOMAIN, 1) == 0;
  if (o->curve_server)
    return o->curve_public_own && o->curve_secret_own &&
           zmq_setsockopt(s, ZMQ_CURVE_SERVERKEY, o->curve_server, strlen(o->curve_server) + 1) == 0 &&
           zmq_setsockopt(s, ZMQ_CURVE_PUBLICKEY, o->curve_public_own, strlen(o->curve_public_own) + 1) == 0 &&
           zmq_setsockopt(s, ZMQ_CURVE_SECRETKEY, o->curve_secret_own, strlen(o->curve_secret_own) + 1) == 0;
  return true;
}

static int receive_mark(const struct link_options *o)
{
  return o->receive_messages == LINK_NO_MARK ? 0 : (int)(o->receive_messages ? o->receive_messages : o->queue_messages);
}

/* Reconnecting is not forbidden (-1): libzmq 4.3.4 would forget the endpoint some time after it has told of the end, and with it a connection to
 * the same endpoint that has begun since, which would end without a word. */
static bool set_options(void *s, const struct link_options *o)
{
  int64_t bytes_max = (int64_t)o->message_bytes_max;
  bool ok = set_number(s, ZMQ_LINGER, 0) == 0 && set_number(s, ZMQ_SNDHWM, (int)o->queue_messages) == 0 &&
            set_number(s, ZMQ_RCVHWM, receive_mark(o)) == 0 &&
            (!bytes_max || zmq_setsockopt(s, ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max) == 0) &&
            (!o->handshake_ms || set_number(s, ZMQ_HANDSHAKE_IVL, (int)o->handshake_ms) == 0) && set_number(s, ZMQ_TCP_KEEPALIVE, 1) == 0 &&
            set_number(s, ZMQ_TCP_KEEPALIVE_IDLE, 30) == 0 && set_number(s, ZMQ_TCP_KEEPALIVE_INTVL, 10) == 0 &&
            set_number(s, ZMQ_TCP_KEEPALIVE_CNT, 3) == 0 && set_number(s, ZMQ_TCP_MAXRT, UNACKNOWLEDGED_MS) == 0;
  if (o->kind == LINK_ROUTER)
    return ok && set_number(s, ZMQ_ROUTER_MANDATORY, 1) == 0 && set_number(s, ZMQ_ROUTER_HANDOVER, o->handover) == 0 &&
           set_number(s, ZMQ_SNDBUF, ROUTER_SEND_BYTES) == 0;
  return ok && set_number(s, ZMQ_IMMEDIATE, 1) == 0 && set_number(s, ZMQ_RECONNECT_IVL, RECONNECT_NEVER_MS) == 0 &&
         set_number(s, ZMQ_CONNECT_TIMEOUT, CONNECT_MS) == 0 && set_number(s, ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS) == 0 &&
         set_number(s, ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_LOST_MS) == 0 &&
         (!o->routing_id || zmq_setsockopt(s, ZMQ_ROUTING_ID, o->routing_id, strlen(o->routing_id)) == 0);
}

int link_socket_open(void **out, const struct link_options *o, struct failure *failure)
{
  bool seeded = o->kind == LINK_DEALER || seed_routing_ids();
  void *s = seeded ? zmq_socket(link_context(), o->kind == LINK_ROUTER ? ZMQ_ROUTER : ZMQ_DEALER) : NULL;
  *out = NULL;
  if (!s)
    return failure_set(failure, MUSTER_ERR_IO, "cannot open a ZeroMQ socket: %s", zmq_strerror(errno));
  bool keys = set_curve(s, o);
  if (keys && set_options(s, o)) {
    *out = s;
    return MUSTER_OK;
  }
  int error = errno;
  zmq_close(s);
  return keys ? failure_set(failure, MUSTER_ERR_IO, "cannot set up a ZeroMQ socket: %s", zmq_strerror(error))
              : failure_set(failure, MUSTER_ERR_FORMAT, "a CURVE key is not usable, or one of the keys is missing");
}

#define CONNECTION_EVENTS (ZMQ_EVENT_LISTENING | ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_ACCEPT_FAILED | ZMQ_EVENT_DISCONNECTED)

int link_socket_monitor(void **out, void *socket, bool connections_only, struct failure *failure)
{
  static unsigned long count;
  char name[64];
  snprintf(name, sizeof name, "inproc://link-%lu", __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED));
  void *monitor = zmq_socket_monitor(socket, name, connections_only ? CONNECTION_EVENTS : ZMQ_EVENT_ALL) == 0
                      ? zmq_socket(link_context(), ZMQ_PAIR)
                      : NULL;
  *out = NULL;
  if (!monitor || set_number(monitor, ZMQ_RCVHWM, 0) != 0 || zmq_connect(monitor, name) != 0) {
    int error = errno;
    if (monitor)
      zmq_close(monitor);
    return failure_set(failure, MUSTER_ERR_IO, "cannot set up a ZeroMQ socket: %s", zmq_strerror(error));
  }
  struct link_frame none; /* a reader is woken only after it looked in vain once */
  link_frame_init_empty(&none);
  link_socket_receive(monitor, &none);
  link_frame_finish(&none);
  *out = monitor;
  return MUSTER_OK;
}
