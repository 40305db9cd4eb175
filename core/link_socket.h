/*
 * The ZeroMQ half of a link, for core/link.c alone: a socket set up as link_options say, frames in and out of it, without
 * waiting and without libuv. The socket and its monitor belong to the link that opened them, which closes them with
 * zmq_close; all on the loop's thread. Any process.
 */
#ifndef MUSTER_CORE_LINK_SOCKET_H
#define MUSTER_CORE_LINK_SOCKET_H

#include "core/link.h"

int link_socket_open(void **out, const struct link_options *options, struct failure *failure); /* MUSTER_ERR_IO, _FORMAT (keys) */
/* A PAIR that tells the events of the socket, two frames each, all, or only those of the listener and of the begin and end of connections. It ends with zmq_socket_monitor(socket,
 * NULL, 0). MUSTER_ERR_IO. */
int link_socket_monitor(void **out, void *socket, bool connections_only, struct failure *failure);

int link_socket_bind(void *socket, const char *endpoint, char *bound, size_t bound_size, struct failure *failure); /* as link_bind */
void link_socket_allow_ipv6(void *socket, const char *endpoint); /* where the endpoint has an address of IPv6; before it is used */

bool link_socket_receive(void *socket, struct link_frame *f);        /* false: nothing is there */
bool link_socket_more(void *socket);                                 /* the frame received last has another behind it */
int32_t link_socket_connection(struct link_frame *f);                /* the descriptor that it came from; 0: not known */
uint64_t link_socket_address(int32_t connection);                    /* as link_options.on_come has it */
int link_socket_events(void *socket);                                /* ZMQ_EVENTS; takes the edge of the descriptor */
int link_socket_send(void *socket, struct link_frame *f, bool more); /* negative with errno: not taken */
bool link_socket_is_full(int32_t connection);                        /* the kernel takes nothing more for that descriptor */
/* The first frame of a message decides for all. MUSTER_OK, MUSTER_ERR_AGAIN, MUSTER_ERR_NOT_FOUND, as link_send. */
int link_socket_send_first(void *socket, struct link_frame *f, bool more);

#endif
