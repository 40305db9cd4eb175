#include "core/link_frame.h"

#include <assert.h>
#include <stdlib.h>
#include <zmq.h>

#include "muster/status.h"

static_assert(sizeof(zmq_msg_t) == sizeof(struct link_frame), "a link_frame is a zmq_msg_t");
static_assert(_Alignof(struct link_frame) >= _Alignof(zmq_msg_t), "a link_frame is aligned as a zmq_msg_t");

static zmq_msg_t *frame_of(struct link_frame *f) { return (zmq_msg_t *)(void *)f; }

int link_frame_init(struct link_frame *f, size_t size_bytes)
{
  if (zmq_msg_init_size(frame_of(f), size_bytes) == 0)
    return MUSTER_OK;
  zmq_msg_init(frame_of(f));
  return MUSTER_ERR_MEMORY;
}

static void heap_free(void *bytes, void *hint)
{
  (void)hint;
  free(bytes);
}

int link_frame_init_heap(struct link_frame *f, void *bytes, size_t size_bytes)
{
  if (zmq_msg_init_data(frame_of(f), bytes, size_bytes, heap_free, NULL) == 0)
    return MUSTER_OK;
  free(bytes);
  zmq_msg_init(frame_of(f));
  return MUSTER_ERR_MEMORY;
}

void link_frame_init_empty(struct link_frame *f) { zmq_msg_init(frame_of(f)); }

void link_frame_finish(struct link_frame *f)
{
  zmq_msg_close(frame_of(f));
  zmq_msg_init(frame_of(f));
}

void link_frame_move(struct link_frame *to, struct link_frame *from) { zmq_msg_move(frame_of(to), frame_of(from)); }
void link_frame_share(struct link_frame *to, struct link_frame *from) { zmq_msg_copy(frame_of(to), frame_of(from)); }
uint8_t *link_frame_data(struct link_frame *f) { return zmq_msg_data(frame_of(f)); }
size_t link_frame_size(const struct link_frame *f) { return zmq_msg_size((const zmq_msg_t *)(const void *)f); }
const char *link_frame_property(struct link_frame *f, const char *name) { return zmq_msg_gets(frame_of(f), name); }

void link_message_init(struct link_message *m)
{
  m->connection = 0;
  m->identity_size = 0;
  m->frame_count = 0;
  for (unsigned i = 0; i < LINK_FRAMES; i++)
    link_frame_init_empty(&m->frame[i]);
}

void link_message_finish(struct link_message *m)
{
  for (unsigned i = 0; i < LINK_FRAMES; i++)
    link_frame_finish(&m->frame[i]);
  m->frame_count = 0;
}
