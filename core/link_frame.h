/*
 * Frames and messages as ZeroMQ carries them. A frame is a value with a share in bytes that ZeroMQ counts the references
 * of; whoever holds it finishes it exactly once, in any process and on any thread, one at a time. A message is the frames
 * of one send or receive, with the name of the peer where a ROUTER is spoken of.
 */
#ifndef MUSTER_CORE_LINK_FRAME_H
#define MUSTER_CORE_LINK_FRAME_H

#include <stddef.h>
#include <stdint.h>

struct link_frame {
  _Alignas(8) unsigned char opaque[64]; /* a zmq_msg_t */
};
int link_frame_init(struct link_frame *f, size_t size_bytes); /* writable, uninitialised; MUSTER_ERR_MEMORY */
int link_frame_init_heap(struct link_frame *f, void *bytes,
                         size_t size_bytes); /* takes over bytes of malloc, on failure too; any thread may free them */
void link_frame_init_empty(struct link_frame *f);
void link_frame_finish(struct link_frame *f);                         /* gives the reference back; leaves it empty */
void link_frame_move(struct link_frame *to, struct link_frame *from); /* to must be initialised; from becomes empty */
void link_frame_share(struct link_frame *to,
                      struct link_frame *from); /* one more reference to the same bytes; neither is written to afterwards */
uint8_t *link_frame_data(struct link_frame *f);
size_t link_frame_size(const struct link_frame *f);
const char *link_frame_property(struct link_frame *f,
                                const char *name); /* "User-Id", "Peer-Address"; NULL where there is none; valid with the frame */

#define LINK_FRAMES 3
#define LINK_IDENTITY_BYTES 64
/* One message, as received or to be sent. On a ROUTER identity names the peer; elsewhere identity_size is 0. A peer with
 * a longer identity is not heard. */
struct link_message {
  int32_t connection; /* on a ROUTER: its number among those that are open now, the descriptor; 0: not known. To be sent: see link_send */
  uint8_t identity[LINK_IDENTITY_BYTES];
  uint32_t identity_size;
  uint32_t frame_count; /* more than LINK_FRAMES came: excess is dropped and frame_count is LINK_FRAMES + 1 */
  struct link_frame frame[LINK_FRAMES];
};
void link_message_init(struct link_message *m);   /* no frames, all empty */
void link_message_finish(struct link_message *m); /* finishes all frames */

#endif
