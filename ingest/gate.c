#include "ingest/gate.h"

#include <inttypes.h>
#include <string.h>

#include "muster/status.h"

/* Room for what protobuf-c takes to unpack LIMIT_HEADER_BYTES: at worst an entry for each unknown field of two
 * bytes, and its table of them. */
#define GATE_ARENA_BYTES (64 * LIMIT_KIB)
#define GATE_SOFTWARE_BYTES 64u

int ingest_gate_init(struct ingest_gate *g, struct ingest_flow *flow, const uint8_t node_id[16], uint64_t session)
{
  *g = (struct ingest_gate){.flow = flow, .session = session};
  memcpy(g->node_id, node_id, sizeof g->node_id);
  return arena_init(&g->arena, GATE_ARENA_BYTES);
}

void ingest_gate_finish(struct ingest_gate *g) { arena_finish(&g->arena); }

/* ---- reading a first frame ---- */

static void *gate_allocate(void *data, size_t size) { return arena_take(data, size, _Alignof(max_align_t)); }

static void gate_free(void *data, void *pointer)
{
  (void)data;
  (void)pointer; /* the arena is reset as a whole */
}

/* The unpacked message, valid until the next call; NULL where the bytes are none. */
static void *gate_unpack(struct ingest_gate *g, const ProtobufCMessageDescriptor *descriptor, struct link_frame *frame)
{
  ProtobufCAllocator allocator = {.alloc = gate_allocate, .free = gate_free, .allocator_data = &g->arena};
  size_t size = link_frame_size(frame);
  arena_reset(&g->arena);
  return size > LIMIT_HEADER_BYTES ? NULL : protobuf_c_message_unpack(descriptor, &allocator, size, link_frame_data(frame));
}

/* ---- answers that are given at once ---- */

/* message: what came. Its frames are given back, and its identity is where the reply goes. */
struct gate_call {
  struct ingest_gate *gate;
  const struct ingest_sender *sender;
  struct link_message *message;
  uint32_t peer; /* INGEST_NONE where it is none, or not one yet */
  uint32_t row;  /* of the submitter in the counters */
  uint64_t now_ns;
};

static void gate_send(const struct gate_call *call, struct link_message *reply, int status)
{
  struct ingest_flow *f = call->gate->flow;
  memcpy(reply->identity, call->message->identity, call->message->identity_size);
  reply->identity_size = call->message->identity_size;
  if (status == MUSTER_OK)
    status = f->seam.send_answer(f->seam.context, call->sender->origin, reply);
  if (status == MUSTER_ERR_NOT_FOUND)
    ingest_peers_gone(&f->admit.peers, call->sender->origin, call->message->identity, call->message->identity_size);
  if (status != MUSTER_OK)
    log_event_gated(&call->gate->gate, LOG_INFO, "ingest.reply-dropped", "submitter=%s cause=%s", call->sender->name,
                    muster_status_name(status));
  link_message_finish(reply);
}

static void gate_reply(const struct gate_call *call, const ProtobufCMessage *message)
{
  struct link_message reply;
  link_message_init(&reply);
  reply.frame_count = 1;
  gate_send(call, &reply, ingest_answer_pack(&reply.frame[0], message));
}

static void gate_refuse(const struct gate_call *call, uint64_t batch_id, uint32_t record_count, const struct ingest_refusal *refusal)
{
  struct link_message reply;
  uint32_t credit = ingest_admit_credit(&call->gate->flow->admit, call->peer);
  link_message_init(&reply);
  gate_send(call, &reply, ingest_answer_refusal(&reply, batch_id, record_count, refusal, credit));
}

/* A message that breaks the protocol before its batch can be judged. */
static void gate_refuse_message(const struct gate_call *call, uint64_t batch_id, uint32_t record_count, uint32_t reason)
{
  ingest_flow_count_refused(call->gate->flow, call->row, reason);
  log_event_gated(&call->gate->gate, LOG_WARN, "ingest.message-refused", "submitter=%s reason=%" PRIu32, call->sender->name, reason);
  gate_refuse(call, batch_id, record_count, &(struct ingest_refusal){.verdict = MUSTER__V1__VERDICT__VERDICT_INVALID, .reason = reason});
}

/* ---- the kinds of messages ---- */

/* Whatever the message is, its submitter has been seen. */
static uint32_t gate_count_seen(struct ingest_flow *f, const struct ingest_sender *sender, uint64_t now_ns)
{
  counters_begin(f->counters);
  const uint32_t row = counters_row(f->counters, sender->submitter, sender->name);
  counters_row_set(f->counters, row, SUBMITTER_last_seen, now_ns / 1000 + (uint64_t)f->wall_offset_us);
  counters_end(f->counters);
  return row;
}

static void gate_hear(struct gate_call *call)
{
  const struct ingest_caller caller = {
      .origin = call->sender->origin,
      .connection = call->message->connection,
      .submitter = call->sender->submitter,
      .identity = call->message->identity,
      .identity_size = call->message->identity_size,
  };
  call->peer = ingest_peers_hear(&call->gate->flow->admit.peers, &caller);
}

/* A client's words get into the log only where they look like a program's name and version, "name 1.0": one word, a space, and
 * one that begins with a digit. NULL where they do not. */
static const char *gate_software(const char *software)
{
  static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/+-";
  size_t name = software ? strspn(software, allowed) : 0;
  if (name == 0 || strlen(software) > GATE_SOFTWARE_BYTES || software[name] != ' ')
    return NULL;
  const char *version = software + name + 1;
  return *version >= '0' && *version <= '9' && version[strspn(version, allowed)] == '\0' ? software : NULL;
}

static void gate_hello(struct gate_call *call, bool accepted)
{
  struct ingest_gate *g = call->gate;
  const Muster__V1__Hello *hello = gate_unpack(g, &muster__v1__hello__descriptor, &call->message->frame[0]);
  if (call->message->frame_count != 1 || (accepted && !hello)) {
    gate_refuse_message(call, 0, 0, hello ? MUSTER__V1__REASON__REASON_BATCH_FRAMES : MUSTER__V1__REASON__REASON_BATCH_HEADER);
    return;
  }
  if (accepted)
    gate_hear(call);
  const char *software = gate_software(hello ? hello->software : NULL);
  log_event_gated(&g->gate, LOG_INFO, accepted ? "ingest.hello" : "ingest.hello-refused", "submitter=%s software=%s%s%s",
                  call->sender->name, software ? "\"" : "", software ? software : "unnamed", software ? "\"" : "");
  Muster__V1__Welcome welcome = MUSTER__V1__WELCOME__INIT;
  welcome.has_kind = welcome.has_version_major = welcome.has_version_minor = welcome.has_accepted = 1;
  welcome.kind = MUSTER__V1__KIND__KIND_WELCOME;
  welcome.version_major = INGEST_VERSION_MAJOR;
  welcome.version_minor = INGEST_VERSION_MINOR;
  welcome.accepted = accepted;
  welcome.has_node_id = welcome.has_session = welcome.has_credit = 1;
  welcome.node_id = (ProtobufCBinaryData){.len = sizeof g->node_id, .data = g->node_id};
  welcome.session = g->session;
  welcome.credit = ingest_admit_credit(&g->flow->admit, call->peer);
  welcome.has_batch_records_max = welcome.has_message_bytes_max = welcome.has_record_bytes_max = welcome.has_answer_timeout_ms = 1;
  welcome.batch_records_max = LIMIT_BATCH_RECORDS;
  welcome.message_bytes_max = LIMIT_MESSAGE_BYTES;
  welcome.record_bytes_max = LIMIT_RECORD_BYTES;
  welcome.answer_timeout_ms = g->flow->answer_timeout_ms;
  gate_reply(call, &welcome.base);
}

static void gate_status(struct gate_call *call)
{
  const struct ingest_flow *f = call->gate->flow;
  if (call->message->frame_count != 1) {
    gate_refuse_message(call, 0, 0, MUSTER__V1__REASON__REASON_BATCH_FRAMES);
    return;
  }
  gate_hear(call);
  Muster__V1__Status status = MUSTER__V1__STATUS__INIT;
  status.has_kind = status.has_version_major = status.has_version_minor = status.has_draining = 1;
  status.kind = MUSTER__V1__KIND__KIND_STATUS;
  status.version_major = INGEST_VERSION_MAJOR;
  status.version_minor = INGEST_VERSION_MINOR;
  status.draining = f->draining;
  status.has_shards = status.has_shards_serving = status.has_credit = status.has_batches_in_flight = 1;
  status.shards = f->shards;
  status.shards_serving = f->shards_serving;
  status.credit = ingest_admit_credit(&f->admit, call->peer);
  status.batches_in_flight = call->peer == INGEST_NONE ? 0 : f->admit.peers.peer[call->peer].in_flight;
  gate_reply(call, &status.base);
}

static void gate_submit(struct gate_call *call, bool version_fits)
{
  struct link_message *m = call->message;
  const Muster__V1__SubmitHeader *header = gate_unpack(call->gate, &muster__v1__submit_header__descriptor, &m->frame[0]);
  bool whole = header && header->has_batch_id && header->has_record_count;
  uint64_t batch_id = header && header->has_batch_id ? header->batch_id : 0;
  uint32_t record_count = header && header->has_record_count ? header->record_count : 0;
  uint32_t reason = !version_fits         ? MUSTER__V1__REASON__REASON_BATCH_VERSION
                    : !whole              ? MUSTER__V1__REASON__REASON_BATCH_HEADER
                    : m->frame_count != 2 ? MUSTER__V1__REASON__REASON_BATCH_FRAMES
                                          : MUSTER__V1__REASON__REASON_NONE;
  if (reason != MUSTER__V1__REASON__REASON_NONE) {
    gate_refuse_message(call, batch_id, record_count, reason);
    return;
  }
  gate_hear(call);
  const struct ingest_submit submit = {.peer = call->peer, .batch_id = batch_id, .record_count = record_count, .row = call->row};
  struct ingest_refusal refusal;
  ingest_flow_submit(call->gate->flow, &submit, &m->frame[1], call->now_ns, &refusal);
  if (refusal.verdict != 0)
    gate_refuse(call, batch_id, record_count, &refusal);
  else
    call->gate->admitted++;
}

void ingest_gate_message(struct ingest_gate *g, const struct ingest_sender *sender, struct link_message *message, uint64_t now_ns)
{
  struct gate_call call = {.gate = g, .sender = sender, .message = message, .peer = INGEST_NONE, .now_ns = now_ns};
  call.row = gate_count_seen(g->flow, sender, now_ns);
  const Muster__V1__Header *header = message->frame_count > 0 ? gate_unpack(g, &muster__v1__header__descriptor, &message->frame[0]) : NULL;
  if (!header || !header->has_kind || !header->has_version_major) {
    gate_refuse_message(&call, 0, 0, MUSTER__V1__REASON__REASON_BATCH_HEADER);
    return;
  }
  bool version_fits = header->version_major == INGEST_VERSION_MAJOR;
  switch (header->kind) {
  case MUSTER__V1__KIND__KIND_HELLO: gate_hello(&call, version_fits); break;
  case MUSTER__V1__KIND__KIND_SUBMIT: gate_submit(&call, version_fits); break;
  case MUSTER__V1__KIND__KIND_STATUS_REQUEST:
    if (version_fits)
      gate_status(&call);
    else
      gate_refuse_message(&call, 0, 0, MUSTER__V1__REASON__REASON_BATCH_VERSION);
    break;
  default: gate_refuse_message(&call, 0, 0, MUSTER__V1__REASON__REASON_BATCH_HEADER); break;
  }
}
