/* A ZAP handler on a thread of its own that lets one key in, or nobody. */
#ifndef MUSTER_TESTS_CLIENT_ZAP_H
#define MUSTER_TESTS_CLIENT_ZAP_H

#include <stdatomic.h>
#include <string.h>
#include <uv.h>
#include <zmq.h>

#include "core/link.h"

struct zap {
  void *socket;
  uv_thread_t thread;
  char allowed[41];
  atomic_bool nobody;
};

static void zap_run(void *argument)
{
  struct zap *z = argument;
  for (;;) {
    char frame[8][256], key[41] = "";
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
    const char *code = !atomic_load(&z->nobody) && strcmp(key, z->allowed) == 0 ? "200" : "400";
    const char *reply[] = {"1.0", NULL, code, "", "submitter", ""};
    for (unsigned i = 0; i < 6; i++)
      zmq_send(z->socket, reply[i] ? reply[i] : frame[1], reply[i] ? strlen(reply[i]) : (size_t)sizes[1], i < 5 ? ZMQ_SNDMORE : 0);
  }
}

static inline void zap_start(struct zap *z, const char *allowed)
{
  atomic_init(&z->nobody, false);
  strcpy(z->allowed, allowed);
  z->socket = zmq_socket(link_context(), ZMQ_REP);
  zmq_bind(z->socket, "inproc://zeromq.zap.01");
  uv_thread_create(&z->thread, zap_run, z);
}

static inline void zap_stop(struct zap *z)
{
  int none = 0;
  void *s = zmq_socket(link_context(), ZMQ_REQ);
  zmq_connect(s, "inproc://zeromq.zap.01");
  zmq_send(s, "end", 3, 0);
  uv_thread_join(&z->thread);
  zmq_setsockopt(s, ZMQ_LINGER, &none, sizeof none);
  zmq_close(s);
  zmq_close(z->socket);
}

#endif
