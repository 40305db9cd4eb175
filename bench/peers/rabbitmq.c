/*
 * RabbitMQ over loopback: persistent messages to a quorum queue of one member, with publisher confirms.
 *
 * Ack:      the confirm, after the fdatasync of the queue's log (of one member here; on three it would be two of them).
 * Dedup:    none: a resubmission is stored again.
 * Verdict:  none: a confirm says stored.
 * Settings: confirms are read as they come, never waited for one by one. Records: a message each, 4,096 in flight. Blobs: a message for 1,000 records,
 *           16 in flight (as many as Muster's batches), frames of up to 1 MiB so that a blob is one frame: a bare transport that looks at no
 *           record. Those of the server stand in bench/peers.py.
 *
 * `rabbitmq STREAM PORT records|blobs`
 */
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sysexits.h>

#include "bench/peers/peer.h"

static const struct peer_facts facts_records = {
    .name = "rabbitmq", .ack = "after fdatasync", .dedup = "none", .verdict = "none", .durable = true};
static const struct peer_facts facts_blobs = {
    .name = "rabbitmq_blobs", .ack = "after fdatasync, 1,000 at once", .dedup = "none", .verdict = "none", .durable = true};
static const struct peer_facts *facts;

#define CHANNEL 1
#define FRAME_BYTES (1 << 20)
#define QUEUE "encounters"

static void check(amqp_rpc_reply_t reply, const char *what)
{
  if (reply.reply_type == AMQP_RESPONSE_NORMAL)
    return;
  const char *why = "refused by the server";
  if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
    why = amqp_error_string2(reply.library_error);
  peer_fail(facts, EX_UNAVAILABLE, "%s: %s", what, why);
}

/* As above for the calls that answer a status. */
static void check_status(int status, const char *what)
{
  if (status < 0)
    peer_fail(facts, EX_UNAVAILABLE, "%s: %s", what, amqp_error_string2(status));
}

static amqp_connection_state_t open_channel(int port)
{
  amqp_connection_state_t c = amqp_new_connection();
  amqp_socket_t *socket = c ? amqp_tcp_socket_new(c) : NULL;
  if (!socket)
    peer_fail(facts, EX_OSERR, "no memory");
  check_status(amqp_socket_open(socket, "127.0.0.1", port), "connect");
  check(amqp_login(c, "/", 0, FRAME_BYTES, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest"), "login");
  amqp_channel_open(c, CHANNEL);
  check(amqp_get_rpc_reply(c), "channel");
  return c;
}

static amqp_queue_declare_ok_t *declare(amqp_connection_state_t c, bool passive)
{
  amqp_table_entry_t entry = {.key = amqp_cstring_bytes("x-queue-type"),
                              .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("quorum")}};
  amqp_table_t arguments = {.num_entries = 1, .entries = &entry};
  amqp_queue_declare_ok_t *ok = amqp_queue_declare(c, CHANNEL, amqp_cstring_bytes(QUEUE), passive, 1, 0, 0, arguments);
  check(amqp_get_rpc_reply(c), "queue");
  return ok;
}

/* Takes one frame; how many messages it confirms beyond `confirmed` of them. Waits only if told to; 0: nothing has come. */
static uint64_t confirms_read(amqp_connection_state_t c, uint64_t confirmed, bool wait)
{
  static uint8_t early[1 << 16]; /* messages confirmed before older ones; never more than are in flight */
  struct timeval now = {0};
  amqp_frame_t frame;
  int status = amqp_simple_wait_frame_noblock(c, &frame, wait ? NULL : &now);
  if (status == AMQP_STATUS_TIMEOUT)
    return 0;
  check_status(status, "confirm");
  if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
    peer_fail(facts, EX_UNAVAILABLE, "not a confirm: method %x", frame.payload.method.id);
  const amqp_basic_ack_t *ack = frame.payload.method.decoded;
  uint64_t before = confirmed;
  if (ack->multiple) {
    for (; confirmed < ack->delivery_tag; confirmed++)
      early[(confirmed + 1) % sizeof early] = 0;
  } else {
    early[ack->delivery_tag % sizeof early] = 1;
  }
  for (; early[(confirmed + 1) % sizeof early]; confirmed++)
    early[(confirmed + 1) % sizeof early] = 0;
  amqp_maybe_release_buffers(c);
  return confirmed - before;
}

/* The bytes of a message as they stand in the map: records with their length prefixes between the first and the last. */
static amqp_bytes_t message_of(const struct peer_record *first, uint32_t count)
{
  const struct peer_record *last = first + count - 1;
  return (amqp_bytes_t){.len = (size_t)(last->bytes + last->size - first->bytes), .bytes = (void *)(uintptr_t)first->bytes};
}

static void publish_all(amqp_connection_state_t c, const struct peer_stream *s, uint32_t each, uint64_t window, struct peer_result *result)
{
  amqp_basic_properties_t properties = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG, .delivery_mode = AMQP_DELIVERY_PERSISTENT};
  uint64_t messages = (s->count + each - 1) / each, sent = 0, confirmed = 0;
  while (confirmed < messages) {
    while (sent < messages && sent - confirmed < window) {
      uint64_t at = sent * each;
      uint32_t count = s->count - at < each ? (uint32_t)(s->count - at) : each;
      check_status(amqp_basic_publish(c, CHANNEL, amqp_cstring_bytes(""), amqp_cstring_bytes(QUEUE), 0, 0, &properties,
                                      message_of(s->records + at, count)),
                   "publish");
      sent++;
    }
    confirmed += confirms_read(c, confirmed, true);
  }
  result->acknowledged = result->fresh = s->count;
}

int main(int argc, char **argv)
{
  struct peer_stream stream;
  bool blobs = argc == 4 && strcmp(argv[3], "blobs") == 0;
  facts = blobs ? &facts_blobs : &facts_records;
  if (argc != 4 || (!blobs && strcmp(argv[3], "records") != 0))
    peer_fail(facts, EX_USAGE, "usage: rabbitmq STREAM PORT records|blobs");
  peer_open_or_fail(facts, &stream, argv[1]);
  amqp_connection_state_t c = open_channel(atoi(argv[2]));
  declare(c, false);
  amqp_confirm_select(c, CHANNEL);
  check(amqp_get_rpc_reply(c), "confirms");
  struct peer_result result = {.sent = stream.count};
  peer_clock_start(&result.clock);
  publish_all(c, &stream, blobs ? PEER_BATCH : 1, blobs ? 16 : 4096, &result);
  peer_clock_stop(&result.clock);
  result.stored = declare(c, true)->message_count; /* messages, not records */
  amqp_destroy_connection(c);
  peer_report(facts, &result);
  peer_stream_close(&stream);
  return 0;
}
