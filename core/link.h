/*
 * ZeroMQ on libuv: one socket, its descriptor polled by the process's loop, drained within a bound a turn so that nobody
 * starves. ZMQ_FD is edge-triggered; only core/link.c knows. A link belongs to the loop's thread; callbacks run on it. One
 * ZeroMQ context a process, made at first use. What is sent and received: core/link_frame.h.
 */
#ifndef MUSTER_CORE_LINK_H
#define MUSTER_CORE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "core/failure.h"
#include "core/link_frame.h"

struct link;

enum link_kind { LINK_ROUTER, LINK_DEALER };
/* Of a connecting DEALER: after the handshake; when the peer is gone; when its ZAP handler refused our key (a revoked or
 * unknown one); when the handshake broke off (wrong server key, one side without CURVE, no ZeroMQ there, a peer that
 * died or hung just then). The link connects again in any case. */
enum link_event { LINK_CONNECTED, LINK_DISCONNECTED, LINK_REFUSED, LINK_HANDSHAKE_FAILED };

/* No bound to what waits in ZeroMQ to be received. Under a mark libzmq 4.3.4 stops reading a connection that has reached it; where the
 * peer then closes, and a PING of ZMTP lies behind what was read, libzmq aborts the process as soon as the messages before it are taken.
 * Whoever sets none keeps up with what comes, or bounds memory otherwise. */
#define LINK_NO_MARK UINT32_MAX

struct link_options {
  enum link_kind kind;
  uint32_t queue_messages;    /* high-water mark per peer, of both ways unless the next is given */
  uint32_t receive_messages;  /* high-water mark of what is received, per peer; 0: as queue_messages; LINK_NO_MARK: none */
  uint64_t message_bytes_max; /* larger frames end the connection */
  uint32_t handshake_ms;
  uint32_t turn_messages; /* at most so many received a turn of the loop, then others run; 0: 64 */
  const char *routing_id; /* DEALER: how the peer's ROUTER knows it; NULL: chosen by the peer */
  bool handover;          /* ROUTER: a new connection takes over the routing id of an old one. Only among trusted peers */
  const char
      *curve_secret;      /* server role of CURVE: Z85 secret key; NULL: none. Applies to tcp and ipc alike, so ipc has a link of its own */
  const char *zap_domain; /* with curve_secret: the domain that the ZAP handler knows; enforced */
  const char *curve_server, *curve_public_own, *curve_secret_own; /* client role of CURVE, all three or none */
  /* message may be taken over: link_frame_move out of it; what is left in it is finished after the call. */
  void (*on_message)(void *context, struct link *link, struct link_message *message);
  void (*on_turn_end)(void *context, struct link *link); /* after the last message of a turn (group commit hangs here); may be NULL */
  void (*on_writable)(void *context, struct link *link); /* asked for by link_want_writable; may be NULL */
  void (*on_event)(void *context, struct link *link, enum link_event event); /* DEALER; may be NULL */
  /* ROUTER with on_connections: a connection has come, and proved nothing yet. Its number is that of link_message. address: of IPv4 as a number, of
   * IPv6 the first half, which one site has to itself; 0: of ipc, or it has left. May be NULL. */
  void (*on_come)(void *context, struct link *link, int32_t connection, uint64_t address);
  /* ROUTER: a connection has ended; its number is that of link_message, and free for others from now on. What it had sent may still be
   * heard afterwards. A message of a later connection with the number is not heard before. May be NULL. */
  void (*on_gone)(void *context, struct link *link, int32_t connection);
  /* ROUTER: link_connections has changed, or one could not be accepted for want of descriptors. Called from within link_bind, too. May be NULL. */
  void (*on_connections)(void *context, struct link *link, bool starved);
  void *context;
};

/* Opens and starts polling on the loop. Nothing is bound or connected yet. */
int link_open(struct link **out, uv_loop_t *loop, const struct link_options *options, struct failure *failure);
/* Closes the socket without lingering and frees the link when libuv has let go of its handles (a later turn of the loop). NULL is fine. */
void link_close(struct link *link);
/* As link_close, but what was handed to ZeroMQ may still go out for so long. */
void link_close_lingering(struct link *link, uint32_t linger_ms);

/* Binds; bound (may be NULL) receives the true endpoint where the port was 0. An ipc socket file is made 0600.
 * MUSTER_ERR_CREATE with the endpoint. */
int link_bind(struct link *link, const char *endpoint, char *bound, size_t bound_size, struct failure *failure);
/* DEALER, once: connects in the background, again and again with a back-off of 20 ms to 1 s. A message is only taken
 * while there is a connection. */
int link_connect(struct link *link, const char *endpoint, struct failure *failure);

/* Sends all frames of the message or none of it, without waiting. MUSTER_OK: frames were taken over (and are lost where
 * the connection breaks now). MUSTER_ERR_AGAIN: queue full or no connection, message unchanged. MUSTER_ERR_NOT_FOUND: no
 * such peer any more (ROUTER), message unchanged. A ROUTER's message with the number of its connection is taken only while the kernel takes
 * more for that: the queue counts messages, and so many large ones for one who reads none would be much memory. */
int link_send(struct link *link, struct link_message *message);
/* on_writable will be called once when some peer may be written to again. */
void link_want_writable(struct link *link);
/* Stops and restarts receiving (backpressure); what arrives waits in ZeroMQ up to the high-water mark. */
void link_pause(struct link *link, bool paused);
/* DEALER: since it began to connect the last time, which may have come to something or not. */
uint64_t link_attempt_ms(const struct link *link);
/* How often nothing more was there to receive: while it stays the same, more comes than is taken. */
uint64_t link_drains(const struct link *link);

/* ROUTER with on_connections: those that are open now, in the middle of their handshake or not. NULL: 0. */
uint32_t link_connections(const struct link *link);
/* ROUTER with on_connections, bound once: newcomers wait outside (tcp) or find nobody (ipc); who is connected stays so. As it is already: nothing. */
void link_shut(struct link *link, bool shut);
/* ROUTER: ends a connection, by its number in link_message. What was received of it before is still heard. */
void link_end(struct link *link, int32_t connection);

/* Runs a turn now: receives what is there, within turn_messages. For use after a long computation. Callbacks run inside.
 * Returns the number of messages. */
uint32_t link_turn(struct link *link);

/* The ZeroMQ context of this process, as void *, for ingest/auth.c and tests. Any thread. */
void *link_context(void);
/* Ends it, after every link is closed and freed: waits until what lingers is out or its time is up. For the end of main; optional. */
void link_context_finish(void);

/* The version of the library below, as "4.3.4"; whether it has CURVE, without which there is no tcp. */
bool link_library(char version[32]);

/* A new CURVE key pair as Z85 text of 40 characters and the end; the public key of a secret one. Here because libzmq has the curve. */
int link_curve_generate(char public_text[41], char secret_text[41]);
int link_curve_public(char public_text[41], const char *secret_text); /* MUSTER_ERR_FORMAT */

#endif
