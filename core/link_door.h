/*
 * The door of a listening link, for core/link.c alone: newcomers are kept out for a while without a word to ZeroMQ, whose
 * only way to stop listening (zmq_unbind) ends every connection that came in that way. A tcp listener gets a filter of
 * the kernel's that drops what arrives for it, so that a newcomer's first packet is sent again, a second or more later,
 * until the filter is gone. An ipc socket has no such filter: its file gets another name for the while. The listener is
 * ZeroMQ's; the struct is the link's. Any process; Linux.
 */
#ifndef MUSTER_CORE_LINK_DOOR_H
#define MUSTER_CORE_LINK_DOOR_H

#include <stdbool.h>

struct link_door {
  int listener;   /* the descriptor that listens, as the socket's monitor told; 0: none */
  char path[108]; /* ipc: the socket's file; "" else */
  bool shut;
};

void link_door_init(struct link_door *d, const char *endpoint); /* what listens is filled in by the monitor's event */
void link_door_shut(struct link_door *d, bool shut);            /* stays as it is where the system refuses */
void link_door_finish(struct link_door *d);                     /* leaves no file under the other name */

#endif
