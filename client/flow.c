#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "proto/wire.pb-c.h"

enum { RETRY_AFTER_MS = 100, NEVER_MS = 60000 };

static struct client_batch *oldest_ready(struct muster_client *c)
{
  struct client_batch *oldest = NULL;
  for (uint32_t i = 0; i < c->batch_count; i++) {
    struct client_batch *b = &c->batches[i];
    if (b->state == CLIENT_BATCH_READY && (!oldest || b->order < oldest->order))
      oldest = b;
  }
  return oldest;
}

/* MUSTER_ERR_AGAIN: no room now; the batch stays ready. */
static int send_batch(struct muster_client *c, struct client_batch *b)
{
  Muster__V1__SubmitHeader header = MUSTER__V1__SUBMIT_HEADER__INIT;
  struct link_message m;
  header.has_kind = header.has_version_major = header.has_version_minor = header.has_batch_id = header.has_record_count = 1;
  header.kind = MUSTER__V1__KIND__KIND_SUBMIT;
  header.version_major = 1;
  header.batch_id = b->id;
  header.record_count = b->count;
  link_message_init(&m);
  int status = link_frame_init(&m.frame[0], muster__v1__submit_header__get_packed_size(&header));
  if (status == MUSTER_OK) {
    muster__v1__submit_header__pack(&header, link_frame_data(&m.frame[0]));
    link_frame_share(&m.frame[1], &b->records);
    m.frame_count = 2;
    status = link_send(c->link, &m);
  }
  link_message_finish(&m);
  return status;
}

void client_flow_run(struct muster_client *c)
{
  uint32_t allowed = c->credit < c->options.window_batches ? c->credit : c->options.window_batches;
  while (c->welcomed && !c->final && c->sent < allowed) {
    struct client_batch *b = oldest_ready(c);
    if (!b)
      return;
    uv_update_time(&c->loop); /* the caller may not have been here for long */
    if (send_batch(c, b) != MUSTER_OK) {
      link_want_writable(c->link);
      return;
    }
    if (b->sent_before)
      c->counts.sent_again += b->count;
    b->sent_before = true;
    b->state = CLIENT_BATCH_SENT;
    c->sent++;
    b->sent_ms = uv_now(&c->loop);
    b->due_ms = b->sent_ms + c->answer_timeout_ms;
    client_flow_wake(c, b->due_ms);
  }
}

void client_flow_wake(struct muster_client *c, uint64_t due_ms)
{
  uint64_t now = uv_now(&c->loop);
  if (uv_is_active((uv_handle_t *)&c->timer) && c->wake_ms <= due_ms)
    return;
  c->wake_ms = due_ms;
  uv_timer_start(&c->timer, client_flow_timer, due_ms > now ? due_ms - now : 0, 0);
}

static uint64_t patience_end_ms(const struct muster_client *c) { return c->down_ms + c->options.shard_patience_ms; }

/* All of a crowd that was told BUSY comes back at once, unless each waits a little longer by chance. Never earlier than told: the loop's
   clock counts whole milliseconds, so the one that has begun is not counted. */
void client_flow_wait(struct muster_client *c, struct client_batch *b, uint32_t retry_after_ms)
{
  uint32_t wait_ms = retry_after_ms ? retry_after_ms : RETRY_AFTER_MS;
  b->state = CLIENT_BATCH_WAITING;
  uv_update_time(&c->loop);
  b->due_ms = uv_now(&c->loop) + 1 + wait_ms + client_jitter(c, wait_ms / 2);
  client_flow_wake(c, b->due_ms);
  if (b->down && c->options.on_given_back)
    client_flow_wake(c, patience_end_ms(c));
}

bool client_flow_gives_back(const struct muster_client *c)
{
  return c->options.on_given_back && c->down_ms && uv_now(&c->loop) >= patience_end_ms(c);
}

void client_flow_welcome(struct muster_client *c)
{
  for (uint32_t i = 0; i < c->batch_count; i++)
    if (c->batches[i].state == CLIENT_BATCH_SENT)
      c->batches[i].state = CLIENT_BATCH_READY;
  c->sent = 0;
  client_flow_run(c);
}

/* A batch is overdue. Where the node said nothing at all since it was sent, the connection is not worth anything; true then. */
static bool overdue(struct muster_client *c, struct client_batch *b)
{
  if (c->heard_ms < b->sent_ms)
    return true;
  b->state = CLIENT_BATCH_READY;
  c->sent--;
  return false;
}

void client_flow_timer(uv_timer_t *timer)
{
  struct muster_client *c = timer->data;
  uint64_t now = uv_now(&c->loop), next = now + NEVER_MS;
  bool silent = false;
  if (c->final)
    return;
  if (c->filling && c->filling->count > 0 && c->filling_due_ms <= now)
    client_batch_seal(c);
  for (uint32_t i = 0; i < c->batch_count; i++) {
    struct client_batch *b = &c->batches[i];
    if (b->state == CLIENT_BATCH_WAITING && b->down && client_flow_gives_back(c))
      client_answer_give_back(c, b);
    else if (b->state == CLIENT_BATCH_WAITING && b->due_ms <= now)
      b->state = CLIENT_BATCH_READY;
    else if (b->state == CLIENT_BATCH_SENT && c->welcomed && b->due_ms <= now)
      silent |= overdue(c, b);
  }
  if (silent)
    client_session_next(c);
  else if (!c->welcomed && c->session_due_ms <= now)
    client_session_look(c);
  client_flow_run(c);
  for (uint32_t i = 0; i < c->batch_count; i++) {
    struct client_batch *b = &c->batches[i];
    if ((b->state == CLIENT_BATCH_WAITING || (b->state == CLIENT_BATCH_SENT && c->welcomed)) && b->due_ms < next)
      next = b->due_ms;
    if (b->state == CLIENT_BATCH_WAITING && b->down && c->down_ms && c->options.on_given_back && patience_end_ms(c) < next)
      next = patience_end_ms(c);
  }
  if (c->filling && c->filling->count > 0 && c->filling_due_ms < next)
    next = c->filling_due_ms;
  if (!c->welcomed && c->session_due_ms < next)
    next = c->session_due_ms;
  client_flow_wake(c, next);
}
