#include "ingest/hop.h"

#include <stdio.h>
#include <string.h>

#include "core/clock.h"

#define HOP_QUEUE_MESSAGES 2048u /* parts that ZeroMQ may hold for the worker; they share their bytes with the shard's own */
#define HOP_HELLO_TIMEOUT_NS UINT64_C(3000000000)

static int hop_connect(struct ingest_hop *h, struct failure *failure);

static void hop_on_message(void *context, struct link *link, struct link_message *message)
{
  struct ingest_hop *h = context;
  (void)link;
  ingest_shard_message(h->shard, message, clock_monotonic_ns());
}

static void hop_on_writable(void *context, struct link *link)
{
  struct ingest_hop *h = context;
  (void)link;
  ingest_shard_pump(h->shard, clock_monotonic_ns());
}

static void hop_reopen(struct ingest_hop *h)
{
  struct failure failure = FAILURE_NONE;
  link_close(h->link);
  h->link = NULL;
  if (!h->closed && hop_connect(h, &failure) != MUSTER_OK)
    log_event_gated(&h->shard->gate, LOG_ERROR, "ingest.hop-not-opened", "shard=%u status=%s", h->shard->number,
                    muster_status_name(failure.status));
}

static void hop_on_event(void *context, struct link *link, enum link_event event)
{
  struct ingest_hop *h = context;
  (void)link;
  switch (event) {
  case LINK_CONNECTED:
    h->opened_ns = clock_monotonic_ns();
    ingest_shard_connected(h->shard);
    break;
  case LINK_DISCONNECTED:
    ingest_shard_disconnected(h->shard, clock_monotonic_ns());
    hop_reopen(h);
    break;
  case LINK_REFUSED:
  case LINK_HANDSHAKE_FAILED: break; /* the link tries again by itself */
  }
}

static int hop_connect(struct ingest_hop *h, struct failure *failure)
{
  const struct link_options options = {
      .kind = LINK_DEALER,
      .queue_messages = HOP_QUEUE_MESSAGES,
      .receive_messages = LINK_NO_MARK, /* no more words come than parts were sent */
      .message_bytes_max = LIMIT_WIRE_BYTES,
      .routing_id = h->routing_id,
      .on_message = hop_on_message,
      .on_writable = hop_on_writable,
      .on_event = hop_on_event,
      .context = h,
  };
  h->opened_ns = clock_monotonic_ns();
  int status = link_open(&h->link, h->loop, &options, failure);
  if (status == MUSTER_OK)
    status = link_connect(h->link, h->endpoint, failure);
  if (status != MUSTER_OK) {
    link_close(h->link);
    h->link = NULL;
  }
  return status;
}

int ingest_hop_open(struct ingest_hop *h, uv_loop_t *loop, struct ingest_shard *shard, const char *endpoint, uint32_t ingest,
                    struct failure *failure)
{
  *h = (struct ingest_hop){.shard = shard, .loop = loop};
  snprintf(h->routing_id, sizeof h->routing_id, "ingest-%u", ingest);
  snprintf(h->endpoint, sizeof h->endpoint, "%s", endpoint);
  return hop_connect(h, failure);
}

void ingest_hop_close(struct ingest_hop *h)
{
  h->closed = true;
  link_close(h->link);
  h->link = NULL;
}

void ingest_hop_tick(struct ingest_hop *h, uint64_t now_ns)
{
  if (h->closed)
    return;
  bool silent = h->shard->connected && !h->shard->serving && now_ns - h->opened_ns > HOP_HELLO_TIMEOUT_NS;
  if (!silent && h->link)
    return;
  if (silent)
    ingest_shard_disconnected(h->shard, now_ns);
  hop_reopen(h);
}

int ingest_hop_send(struct ingest_hop *h, const struct hop_head *head, struct link_frame *records)
{
  struct link_message message;
  if (!h->link)
    return MUSTER_ERR_AGAIN;
  link_message_init(&message);
  if (link_frame_init(&message.frame[0], HOP_HEAD_BYTES) != MUSTER_OK) {
    link_want_writable(h->link);
    return MUSTER_ERR_AGAIN;
  }
  hop_head_write(link_frame_data(&message.frame[0]), head);
  message.frame_count = 1;
  if (records) {
    link_frame_move(&message.frame[1], records);
    message.frame_count = 2;
  }
  int status = link_send(h->link, &message);
  if (status != MUSTER_OK) {
    if (records)
      link_frame_move(records, &message.frame[1]);
    link_message_finish(&message);
    link_want_writable(h->link);
    return MUSTER_ERR_AGAIN;
  }
  return MUSTER_OK;
}
