#include "ingest/front.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/keys.h"
#include "core/limits.h"

#define FRONT_TURN_MESSAGES 16u /* a batch costs up to half a millisecond; words of the workers are waited for meanwhile */
#define FRONT_QUEUE_MESSAGES                                                                                                               \
  LIMIT_CREDIT /* a peer within its credit never meets the mark; one beyond it fills its own connection and nothing else */
/* Whole messages that a peer may have in this process before they are admitted and counted. With 1, libzmq 4.3.4 stops after the CURVE handshake. */
#define FRONT_RECEIVE_MESSAGES 2u
#define FRONT_ROUTING_ID_BYTES 5u /* of one that libzmq made: a zero, then a number */

/* A peer that chose its routing id could take over the answers of one that left under the same name. */
static bool front_routing_id_is_ours(const struct link_message *m)
{
  return m->identity_size == FRONT_ROUTING_ID_BYTES && m->identity[0] == 0;
}

static void front_on_message(struct ingest_front *f, const struct ingest_sender *sender, struct link_message *message)
{
  if (!front_routing_id_is_ours(message)) {
    counters_begin(f->counters);
    counters_add(f->counters, COUNTER_messages_denied, 1);
    counters_end(f->counters);
    log_event_gated(&f->gate_routing_id, LOG_WARN, "ingest.message-denied", "submitter=%s cause=own-routing-id", sender->name);
    return;
  }
  ingest_gate_message(f->gate, sender, message, clock_monotonic_ns());
}

static void front_on_ipc(void *context, struct link *link, struct link_message *message)
{
  (void)link;
  front_on_message(context, &(struct ingest_sender){.origin = INGEST_IPC, .submitter = SUBMITTER_LOCAL, .name = "local"}, message);
}

static void front_on_tcp(void *context, struct link *link, struct link_message *message)
{
  struct ingest_front *f = context;
  struct ingest_sender sender = {.origin = INGEST_TCP};
  (void)link;
  /* libzmq keeps the User-Id with every frame but the identity. */
  const char *user_id = message->frame_count > 0 ? link_frame_property(&message->frame[0], "User-Id") : NULL;
  if (ingest_auth_allows(f->auth, user_id, &sender.submitter, &sender.name))
    front_on_message(f, &sender, message);
}

static void front_on_gone(void *context, struct link *link, int32_t connection)
{
  struct ingest_front *f = context;
  (void)link;
  ingest_flow_gone(f->gate->flow, connection);
}

static void front_on_writable(void *context, struct link *link)
{
  struct ingest_front *f = context;
  ingest_flow_writable(f->gate->flow, link == f->link[INGEST_TCP] ? INGEST_TCP : INGEST_IPC);
}

int ingest_front_send(struct ingest_front *f, enum ingest_origin origin, struct link_message *message)
{
  if (!f->link[origin])
    return MUSTER_ERR_NOT_FOUND;
  int status = link_send(f->link[origin], message);
  if (status == MUSTER_ERR_AGAIN)
    link_want_writable(f->link[origin]);
  return status;
}

/* ---- endpoints ---- */

int ingest_front_listen(char out[INGEST_ENDPOINT_BYTES], const char *listen, uint32_t index, struct failure *failure)
{
  const char *colon = strrchr(listen, ':');
  char *end = NULL;
  unsigned long port = colon && colon[1] >= '0' && colon[1] <= '9' ? strtoul(colon + 1, &end, 10) : 0;
  if (strncmp(listen, "tcp://", 6) != 0 || !end || *end || port > 65535)
    return failure_set(failure, MUSTER_ERR_CONFIG, "node.listen: %s is not tcp://ADDRESS:PORT", listen);
  if (port > 0)
    port += index;
  if (port > 65535)
    return failure_set(failure, MUSTER_ERR_CONFIG, "node.listen: ingest %" PRIu32 " would need port %lu; choose a lower port", index, port);
  int size = snprintf(out, INGEST_ENDPOINT_BYTES, "%.*s:%lu", (int)(colon - listen), listen, port);
  return size < INGEST_ENDPOINT_BYTES ? MUSTER_OK : failure_set(failure, MUSTER_ERR_CONFIG, "node.listen: %.64s... is too long", listen);
}

/* ---- opening and closing ---- */

static struct link_options front_options(struct ingest_front *f, const struct config *config)
{
  return (struct link_options){
      .kind = LINK_ROUTER,
      .queue_messages = FRONT_QUEUE_MESSAGES,
      .receive_messages = FRONT_RECEIVE_MESSAGES,
      .message_bytes_max = LIMIT_WIRE_BYTES,
      .handshake_ms = config->handshake_ms,
      .turn_messages = FRONT_TURN_MESSAGES,
      .on_writable = front_on_writable,
      .on_gone = front_on_gone,
      .context = f,
  };
}

static int front_bind(struct ingest_front *f, uv_loop_t *loop, enum ingest_origin origin, const struct link_options *options,
                      const char *endpoint, struct failure *failure)
{
  int status = link_open(&f->link[origin], loop, options, failure);
  if (status == MUSTER_OK)
    status = link_bind(f->link[origin], endpoint, f->endpoint[origin], sizeof f->endpoint[origin], failure);
  return status;
}

static int front_open_ipc(struct ingest_front *f, uv_loop_t *loop, const struct datadir *data, const struct config *config, uint32_t index,
                          struct failure *failure)
{
  struct link_options options = front_options(f, config);
  char endpoint[LIMIT_PATH_BYTES];
  options.on_message = front_on_ipc;
  datadir_submit_endpoint(data, endpoint, index);
  return front_bind(f, loop, INGEST_IPC, &options, endpoint, failure);
}

static int front_open_tcp(struct ingest_front *f, uv_loop_t *loop, const struct datadir *data, const struct config *config, uint32_t index,
                          struct counters *counters, struct failure *failure)
{
  struct link_options options = front_options(f, config);
  char path[LIMIT_PATH_BYTES], endpoint[INGEST_ENDPOINT_BYTES];
  struct key_pair *pair = NULL;
  int status = ingest_front_listen(endpoint, config->listen, index, failure);
  datadir_path(data, path, "keys/allow");
  if (status == MUSTER_OK)
    status = ingest_auth_open(&f->auth, loop, path, counters, failure);
  if (status != MUSTER_OK)
    return status;
  datadir_path(data, path, "keys/node.key");
  status = key_hold(&pair, failure);
  if (status == MUSTER_OK)
    status = key_read_node(pair, path, failure);
  if (status == MUSTER_OK) {
    options.on_message = front_on_tcp;
    options.curve_secret = pair->secret_text;
    options.zap_domain = INGEST_ZAP_DOMAIN;
    status = front_bind(f, loop, INGEST_TCP, &options, endpoint, failure);
  }
  key_let_go(pair);
  return status;
}

int ingest_front_open(struct ingest_front *f, uv_loop_t *loop, struct ingest_gate *gate, const struct datadir *data,
                      const struct config *config, uint32_t index, struct counters *counters, struct failure *failure)
{
  *f = (struct ingest_front){.gate = gate, .counters = counters};
  int status = front_open_ipc(f, loop, data, config, index, failure);
  if (status == MUSTER_OK && strcmp(config->listen, "none") != 0)
    status = front_open_tcp(f, loop, data, config, index, counters, failure);
  if (status != MUSTER_OK)
    ingest_front_close(f, 0);
  return status;
}

void ingest_front_close(struct ingest_front *f, uint32_t linger_ms)
{
  for (unsigned origin = 0; origin < 2; origin++) {
    link_close_lingering(f->link[origin], linger_ms);
    f->link[origin] = NULL;
  }
  ingest_auth_close(f->auth);
  f->auth = NULL;
}
