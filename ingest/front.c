#include "ingest/front.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "core/clock.h"
#include "core/key_list.h"
#include "core/limits.h"
#include "core/listen.h"

#define FRONT_TURN_MESSAGES 16u /* a batch costs up to half a millisecond; words of the workers are waited for meanwhile */
#define FRONT_QUEUE_MESSAGES                                                                                                               \
  LIMIT_CREDIT          /* a peer within its credit never meets the mark; one beyond it fills its own connection and nothing else */
#define FRONT_NEAR 16u  /* with less than this part of the room free, strangers are to leave */
#define FRONT_REOPEN 8u /* a door that was shut opens again with this part of the room free */
#define FRONT_ROUTING_ID_BYTES 5u /* of one that libzmq made: a zero, then a number */

/* A peer that chose its routing id could take over the answers of one that left under the same name. */
static bool front_routing_id_is_ours(const struct link_message *m)
{
  return m->identity_size == FRONT_ROUTING_ID_BYTES && m->identity[0] == 0;
}

static void front_count(struct ingest_front *f, enum counter_id id)
{
  counters_begin(f->counters);
  counters_add(f->counters, id, 1);
  counters_end(f->counters);
}

static void front_message(struct ingest_front *f, const struct ingest_sender *sender, struct link_message *message)
{
  if (!front_routing_id_is_ours(message)) {
    front_count(f, COUNTER_messages_denied);
    log_event_gated(&f->gate_routing_id, LOG_WARN, "ingest.message-denied", "submitter=%s cause=own-routing-id", sender->name);
    return;
  }
  ingest_gate_message(f->gate, sender, message, clock_monotonic_ns());
}

static enum ingest_origin front_origin(const struct ingest_front *f, const struct link *link)
{
  return link == f->link[INGEST_TCP] ? INGEST_TCP : INGEST_IPC;
}

/* NULL sender: one who may not speak. */
static void front_on_message(struct ingest_front *f, struct link *link, const struct ingest_sender *sender, enum ingest_origin origin,
                             struct link_message *message)
{
  struct ingest_flood *flood = &f->flood[origin];
  uint32_t peer = ingest_flood_peer(message->identity, message->identity_size);
  uint64_t admitted = f->gate->admitted;
  ingest_strangers_speak(&f->strangers[origin], message->connection);
  if (sender)
    front_message(f, sender, message);
  if (f->gate->admitted != admitted || !ingest_flood_excess(flood, peer, message->connection, link_drains(link)))
    return;
  front_count(f, COUNTER_connections_ended);
  log_event_gated(&f->gate_flood, LOG_WARN, "ingest.connection-ended",
                  "submitter=%s cause=\"it sends what cannot be taken in faster than it can be refused\"", sender ? sender->name : "?");
  link_end(link, message->connection);
}

/* Before anything else is asked about the message. */
static bool front_drops(struct ingest_front *f, enum ingest_origin origin, const struct link_message *message)
{
  if (!ingest_flood_is_cut(&f->flood[origin], ingest_flood_peer(message->identity, message->identity_size)))
    return false;
  front_count(f, COUNTER_messages_denied);
  return true;
}

static void front_on_ipc(void *context, struct link *link, struct link_message *message)
{
  static const struct ingest_sender local = {.origin = INGEST_IPC, .submitter = SUBMITTER_LOCAL, .name = "local"};
  if (!front_drops(context, INGEST_IPC, message))
    front_on_message(context, link, &local, INGEST_IPC, message);
}

static void front_on_tcp(void *context, struct link *link, struct link_message *message)
{
  struct ingest_front *f = context;
  struct ingest_sender sender = {.origin = INGEST_TCP};
  if (front_drops(f, INGEST_TCP, message))
    return;
  /* libzmq keeps the User-Id with every frame but the identity. */
  const char *user_id = message->frame_count > 0 ? link_frame_property(&message->frame[0], "User-Id") : NULL;
  bool allowed = ingest_auth_allows(f->auth, user_id, &sender.submitter, &sender.name);
  front_on_message(f, link, allowed ? &sender : NULL, INGEST_TCP, message);
}

static void front_on_come(void *context, struct link *link, int32_t connection, uint64_t address)
{
  struct ingest_front *f = context;
  ingest_strangers_come(&f->strangers[front_origin(f, link)], connection, address, clock_monotonic_ns());
}

static void front_on_gone(void *context, struct link *link, int32_t connection)
{
  struct ingest_front *f = context;
  enum ingest_origin origin = front_origin(f, link);
  ingest_flood_gone(&f->flood[origin], connection);
  ingest_strangers_gone(&f->strangers[origin], connection);
  ingest_flow_gone(f->gate->flow, connection);
}

/* ---- the doors ---- */

static void front_door(struct ingest_front *f, enum ingest_origin origin, bool shut, uint32_t connections)
{
  if (!f->link[origin] || shut == f->is_shut[origin])
    return;
  link_shut(f->link[origin], shut);
  f->is_shut[origin] = shut;
  if (!shut)
    return;
  front_count(f, COUNTER_doors_shut);
  log_event_gated(&f->gate_door, LOG_WARN, "ingest.door-shut", "endpoint=%s connections=%" PRIu32 " cause=%s kept=\"every connection\"",
                  origin == INGEST_TCP ? "tcp" : "ipc", connections,
                  connections >= f->connections_max[origin] ? "\"as many as its limit of open files and peers allow\"" : "flood");
}

/* Strangers of that kind, until half of the room is free: each look at them lets in a crowd, or none. */
static void front_end_strangers(struct ingest_front *f, enum ingest_origin of, uint32_t count, uint32_t most)
{
  uint64_t now_ns = clock_monotonic_ns();
  uint32_t ended = 0;
  for (int32_t one; count > most / 2 + ended && (one = ingest_strangers_take(&f->strangers[of], now_ns)) != 0; ended++)
    link_end(f->link[of], one);
  if (ended == 0)
    return;
  counters_begin(f->counters);
  counters_add(f->counters, COUNTER_strangers_ended, ended);
  counters_end(f->counters);
  log_event_gated(&f->gate_strangers, LOG_WARN, "ingest.strangers-ended",
                  "endpoint=%s connections=%" PRIu32 " ended=%" PRIu32 " cause=\"they had not said who they are, and room is short\"",
                  of == INGEST_TCP ? "tcp" : "ipc", count, ended);
}

/* count: those that are open and not leaving. Where some were too young to go, the rest follow: a door that is shut would stay so until their time is up. */
static void front_make_room(struct ingest_front *f, uint32_t count)
{
  for (unsigned origin = 0; origin < 2; origin++) {
    uint32_t most = f->connections_max[origin];
    if (count >= most - most / FRONT_NEAR || (f->is_shut[origin] && count > most - most / FRONT_REOPEN))
      front_end_strangers(f, origin, count, most);
  }
}

/* Where no descriptor is left, libzmq aborts at the next connection to an ipc socket; where a flood has still to be taken, each newcomer could
 * bring more of it. */
static void front_doors(struct ingest_front *f, bool starved)
{
  uint32_t count = link_connections(f->link[INGEST_IPC]) + link_connections(f->link[INGEST_TCP]);
  front_make_room(f, count - f->strangers[INGEST_IPC].leaving - f->strangers[INGEST_TCP].leaving);
  for (unsigned origin = 0; origin < 2; origin++) {
    uint32_t most = f->connections_max[origin];
    bool full = f->is_shut[origin] ? count > most - most / FRONT_REOPEN : count >= most || (starved && origin == INGEST_TCP);
    bool flooded = f->link[origin] && ingest_flood_is_high(&f->flood[origin], link_drains(f->link[origin]));
    front_door(f, origin, full || flooded, count);
  }
  if (count == f->connections)
    return;
  f->connections = count;
  counters_begin(f->counters);
  counters_set(f->counters, COUNTER_connections, count);
  counters_end(f->counters);
}

static void front_on_connections(void *context, struct link *link, bool starved)
{
  (void)link;
  front_doors(context, starved);
}

static void front_on_turn_end(void *context, struct link *link)
{
  (void)link;
  front_doors(context, false);
}

void ingest_front_tick(struct ingest_front *f) { front_doors(f, false); }

static void front_bound_connections(struct ingest_front *f, const struct config *config)
{
  struct rlimit files;
  uint64_t kept = LIMIT_FILES_OWN + LIMIT_FILES_SPARE + LIMIT_CONNECTIONS_LOCAL;
  uint64_t most = (uint64_t)config->peers + LIMIT_CONNECTIONS_WAITING;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY && files.rlim_cur < kept + most)
    most = files.rlim_cur > kept ? files.rlim_cur - kept : 1;
  f->connections_max[INGEST_TCP] = (uint32_t)most;
  f->connections_max[INGEST_IPC] = (uint32_t)most + LIMIT_CONNECTIONS_LOCAL;
}

static void front_on_writable(void *context, struct link *link)
{
  struct ingest_front *f = context;
  ingest_flow_writable(f->gate->flow, front_origin(f, link));
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

/* ---- opening and closing ---- */

static struct link_options front_options(struct ingest_front *f, const struct config *config)
{
  return (struct link_options){
      .kind = LINK_ROUTER,
      .queue_messages = FRONT_QUEUE_MESSAGES,
      .receive_messages = LINK_NO_MARK, /* see ingest/flood.h */
      .message_bytes_max = LIMIT_WIRE_BYTES,
      .handshake_ms = config->handshake_ms,
      .turn_messages = FRONT_TURN_MESSAGES,
      .on_writable = front_on_writable,
      .on_come = front_on_come,
      .on_gone = front_on_gone,
      .on_connections = front_on_connections,
      .on_turn_end = front_on_turn_end,
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
  char path[LIMIT_PATH_BYTES], endpoint[LISTEN_ENDPOINT_BYTES];
  struct key_pair *pair = NULL;
  int status = listen_endpoint(endpoint, config->listen, index, failure);
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
  front_bound_connections(f, config);
  uint32_t descriptors = f->connections_max[INGEST_IPC] + LIMIT_FILES_OWN + LIMIT_FILES_SPARE;
  uint64_t seed[2];
  int status = getrandom(seed, sizeof seed, 0) == (ssize_t)sizeof seed ? MUSTER_OK : MUSTER_ERR_IO;
  for (unsigned origin = 0; origin < 2 && status == MUSTER_OK; origin++)
    status = ingest_strangers_init(&f->strangers[origin], descriptors, seed[origin]);
  if (status != MUSTER_OK)
    failure_set(failure, status, "no memory for the table of connections, or no random numbers");
  else
    status = front_open_ipc(f, loop, data, config, index, failure);
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
    ingest_strangers_finish(&f->strangers[origin]);
  }
  ingest_auth_close(f->auth);
  f->auth = NULL;
}
