#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/client.h"
#include "proto/varint.h"
#include "proto/wire.pb-c.h"

enum {
  PATIENCE_MS = 1000, /* an endpoint that is not there: so long, and up to half as much again, before the next one */
  WELCOME_MS = 5000,  /* from hello to welcome */
  HANDSHAKE_MS = 5000,
  REFUSED_MAX = 3,         /* handshakes in a row that the node's allow-list refused */
  BROKEN_MAX = 6,          /* handshakes of CURVE in a row that broke off ... */
  BROKEN_WITHIN_MS = 2000, /* ... each so soon after the one before: a node that hangs or dies takes longer ... */
  BROKEN_LONG_MS = 60000,  /* ... for so long, unless each was over before a node ends one whose room it needs for others */
  ANSWER_BYTES_MAX = 1 << 20,
  MESSAGE_BYTES_MIN = LIMIT_RECORD_BYTES + VARINT_BYTES_MAX /* a batch must have room for one record */
};

static const char *endpoint_of(const struct muster_client *c) { return c->endpoints.list[c->endpoints.current]; }

static void session_due(struct muster_client *c, uint32_t in_ms)
{
  c->session_due_ms = uv_now(&c->loop) + in_ms;
  client_flow_wake(c, c->session_due_ms);
}

/* ---- hello and welcome ---- */

static void say_hello(struct muster_client *c)
{
  Muster__V1__Hello hello = MUSTER__V1__HELLO__INIT;
  struct link_message m;
  hello.has_kind = hello.has_version_major = hello.has_version_minor = 1;
  hello.kind = MUSTER__V1__KIND__KIND_HELLO;
  hello.version_major = 1;
  hello.software = c->software;
  link_message_init(&m);
  if (link_frame_init(&m.frame[0], muster__v1__hello__get_packed_size(&hello)) == MUSTER_OK) {
    muster__v1__hello__pack(&hello, link_frame_data(&m.frame[0]));
    m.frame_count = 1;
    link_send(c->link, &m); /* where it cannot go, no welcome comes, and the connection is made anew */
  }
  link_message_finish(&m);
  session_due(c, WELCOME_MS);
}

static void welcome_limits(struct muster_client *c, const Muster__V1__Welcome *w)
{
  c->credit = c->counts.credit = w->credit ? w->credit : 1;
  c->batch_records_max = c->options.batch_records;
  if (w->batch_records_max && w->batch_records_max < c->batch_records_max)
    c->batch_records_max = w->batch_records_max;
  c->message_bytes_max = LIMIT_MESSAGE_BYTES;
  if (w->message_bytes_max >= MESSAGE_BYTES_MIN && w->message_bytes_max < c->message_bytes_max)
    c->message_bytes_max = w->message_bytes_max;
  c->answer_timeout_ms = c->options.answer_timeout_ms ? c->options.answer_timeout_ms
                         : w->answer_timeout_ms       ? w->answer_timeout_ms
                                                      : CLIENT_ANSWER_TIMEOUT_MS;
}

static void welcome_node(struct muster_client *c, const Muster__V1__Welcome *w)
{
  if (!w->has_node_id || w->node_id.len != sizeof c->node_id)
    return;
  if (c->welcomed_before && memcmp(c->node_id, w->node_id.data, sizeof c->node_id) != 0)
    client_notice(c, "%s is the node of another store than before: verdicts of the former say nothing about it", endpoint_of(c));
  memcpy(c->node_id, w->node_id.data, sizeof c->node_id);
}

static void welcome_take(struct muster_client *c, struct link_message *m)
{
  Muster__V1__Welcome *w = muster__v1__welcome__unpack(NULL, link_frame_size(&m->frame[0]), link_frame_data(&m->frame[0]));
  if (!w || !w->has_accepted)
    client_end(c, MUSTER_ERR_PROTOCOL, "the welcome of %s cannot be read", endpoint_of(c));
  else if (!w->accepted)
    client_end(c, MUSTER_ERR_VERSION, "the node at %s speaks version %" PRIu32 ".%" PRIu32 " of the protocol, this client 1.0",
               endpoint_of(c), w->version_major, w->version_minor);
  else {
    welcome_limits(c, w);
    welcome_node(c, w);
    c->counts.reconnects += c->welcomed_before;
    if (c->told_lost)
      client_notice(c, "connected again to %s", endpoint_of(c));
    c->welcomed = c->welcomed_before = true;
    c->told_lost = false;
    c->counts.connected = 1;
    client_flow_welcome(c);
  }
  if (w)
    muster__v1__welcome__free_unpacked(w, NULL);
}

/* ---- what the link tells ---- */

/* The kind is the first field of every header, but an encoder may put it anywhere. 0 where there is none. */
static uint64_t kind_of(const uint8_t *p, size_t size)
{
  const uint8_t *end = p + size;
  uint64_t tag, value, kind = 0;
  while (p && p < end && (p = varint_read(p, end, &tag))) {
    size_t skip = 0;
    switch (tag & 7) {
    case 0:
      if (!(p = varint_read(p, end, &value)))
        return 0;
      if (tag >> 3 == 1)
        kind = value;
      break;
    case 1: skip = 8; break;
    case 2:
      if (!(p = varint_read(p, end, &value)) || value > LIMIT_HEADER_BYTES)
        return 0;
      skip = (size_t)value;
      break;
    case 5: skip = 4; break;
    default: return 0;
    }
    if (skip > (size_t)(end - p))
      return 0;
    p += skip;
  }
  return p ? kind : 0;
}

void client_session_take(struct muster_client *c, struct link_message *m)
{
  size_t size = link_frame_size(&m->frame[0]);
  c->heard_ms = uv_now(&c->loop);
  if (c->final)
    return;
  switch (size <= LIMIT_HEADER_BYTES ? kind_of(link_frame_data(&m->frame[0]), size) : 0) {
  case MUSTER__V1__KIND__KIND_WELCOME: welcome_take(c, m); break;
  case MUSTER__V1__KIND__KIND_ANSWER: client_answer_take(c, m); break;
  case MUSTER__V1__KIND__KIND_UNSPECIFIED:
    client_end(c, MUSTER_ERR_PROTOCOL, "what answers at %s does not speak Muster's protocol", endpoint_of(c));
    break;
  default: break; /* of a later minor version */
  }
}

static void on_message(void *context, struct link *link, struct link_message *m)
{
  (void)link;
  client_session_take(context, m);
}

static void on_writable(void *context, struct link *link)
{
  (void)link;
  client_flow_run(context);
}

static void lost(struct muster_client *c)
{
  if (c->welcomed && !c->told_lost) {
    client_notice(c, "the connection to %s is lost; waiting for the node", endpoint_of(c));
    c->told_lost = true;
  }
  c->connected = c->welcomed = false;
  c->counts.connected = 0;
}

/* A wrong server key, or a node beside a crowd of strangers that has its room taken: the link cannot tell, but time does. */
static void handshake_broken(struct muster_client *c)
{
  static const char sentence[] =
      "the handshake with %s breaks off every time: the server key is not the key of that node, or no node of Muster listens there";
  uint64_t now = uv_now(&c->loop);
  if (now - c->broken_ms > BROKEN_WITHIN_MS)
    c->broken = 0;
  if (c->broken++ == 0) {
    c->broken_since_ms = now;
    c->broken_quickly = 0;
  }
  c->broken_ms = now;
  c->broken_quickly = link_attempt_ms(c->link) < LIMIT_STRANGER_MS ? c->broken_quickly + 1 : 0;
  if (c->broken < BROKEN_MAX || !client_endpoint_curve(endpoint_of(c)))
    return;
  if (c->broken_quickly >= BROKEN_MAX || now - c->broken_since_ms >= BROKEN_LONG_MS)
    client_end(c, MUSTER_ERR_DENIED, sentence, endpoint_of(c));
  else if (c->broken == BROKEN_MAX)
    client_notice(c, sentence, endpoint_of(c));
}

static void on_event(void *context, struct link *link, enum link_event event)
{
  struct muster_client *c = context;
  (void)link;
  if (c->final)
    return;
  switch (event) {
  case LINK_CONNECTED:
    c->connected = true;
    c->refused = c->broken = 0;
    say_hello(c);
    break;
  case LINK_DISCONNECTED:
    lost(c);
    session_due(c, PATIENCE_MS + client_jitter(c, PATIENCE_MS / 2));
    break;
  case LINK_REFUSED:
    if (++c->refused >= REFUSED_MAX)
      client_end(c, MUSTER_ERR_DENIED, "the node at %s refuses the key of %s: it is not on the node's allow-list, or was revoked",
                 endpoint_of(c), c->own.name);
    break;
  case LINK_HANDSHAKE_FAILED: handshake_broken(c); break;
  }
}

/* ---- connections ---- */

int client_session_open(struct muster_client *c)
{
  const char *endpoint = endpoint_of(c);
  struct link_options o = {.kind = LINK_DEALER,
                           .queue_messages = c->options.window_batches + 8,
                           .message_bytes_max = ANSWER_BYTES_MAX,
                           .handshake_ms = HANDSHAKE_MS,
                           .on_message = on_message,
                           .on_writable = on_writable,
                           .on_event = on_event,
                           .context = c};
  if (client_endpoint_curve(endpoint)) {
    o.curve_server = c->server_key;
    o.curve_public_own = c->own.public_text;
    o.curve_secret_own = c->own.secret_text;
  }
  c->failure = FAILURE_NONE;
  int status = link_open(&c->link, &c->loop, &o, &c->failure);
  if (status == MUSTER_OK)
    status = link_connect(c->link, endpoint, &c->failure);
  session_due(c, PATIENCE_MS + client_jitter(c, PATIENCE_MS / 2));
  return status;
}

void client_session_close(struct muster_client *c)
{
  link_close(c->link);
  c->link = NULL;
  lost(c);
}

void client_session_next(struct muster_client *c)
{
  client_session_close(c);
  client_endpoints_advance(c);
  if (client_session_open(c) != MUSTER_OK) /* no sockets, or an endpoint that cannot be: tried again, or the next one, when due */
    client_session_close(c);
}

/* Not welcomed for too long. A link that is still trying is left to it, where there is no other place to go. */
void client_session_look(struct muster_client *c)
{
  if (!c->told_lost)
    client_notice(c, "no node answers at %s; waiting for it", endpoint_of(c));
  c->told_lost = true;
  if (client_endpoints_advance(c) || c->connected || !c->link) {
    client_session_close(c);
    if (client_session_open(c) != MUSTER_OK)
      client_session_close(c);
  } else
    session_due(c, PATIENCE_MS + client_jitter(c, PATIENCE_MS / 2));
}
