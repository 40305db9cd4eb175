/*
 * A node that follows a script, on a thread of its own: for each SUBMIT that arrives the next letter of the script says
 * what it does, behind the last one it answers properly. It remembers what came, so that tests can look after it has been
 * stopped. A record of these tests is its number in 8 bytes and padding, unless number_of says how else to find it; the node's
 * sequence for it is its number and one.
 */
#ifndef MUSTER_TESTS_CLIENT_NODE_H
#define MUSTER_TESTS_CLIENT_NODE_H

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "core/clock.h"
#include "core/link.h"
#include "proto/batch.h"
#include "proto/wire.pb-c.h"

enum { NODE_RECORDS = 300000, NODE_LOG = 4096, NODE_LATER_MS = 20 };

enum node_act {
  NODE_ANSWER = 'a',
  NODE_LATER = 'l',     /* after NODE_LATER_MS */
  NODE_MIXED = 'm',     /* by number modulo 4: accepted, duplicate, conflict, invalid */
  NODE_UNPACKED = 'u',  /* the words one by one, as an encoder may */
  NODE_TWICE = 't',     /* the same answer two times */
  NODE_RETRY_ODD = 'r', /* RETRY for the records of odd numbers */
  NODE_BUSY_ODD = 'o',
  NODE_DOWN_ODD = 'x',    /* the shard of odd numbers is down; of a batch that has no others, as a whole */
  NODE_UNKNOWN_ODD = 'k', /* a verdict of a later version */
  NODE_BUSY = 'b',        /* of the batch */
  NODE_BUSY_BARE = 'B',   /* without its reason */
  NODE_RETRY = 'R',       /* of the batch */
  NODE_UNKNOWN = 'K',     /* of the batch, a verdict of a later version */
  NODE_ACCEPT = 'A',      /* of the batch, which no node may say */
  NODE_SILENT = 's',
  NODE_COMMIT_SILENT = 'S', /* keeps the records, and does not say so */
  NODE_DROP = 'd',          /* ends all connections, and is back a moment later */
  NODE_QUIT = 'q',          /* ends all connections, for good */
  NODE_WRONG_COUNT = 'c',
  NODE_SHORT_WORDS = 'w',
  NODE_LONG_WORDS = 'W',
  NODE_GARBAGE = 'g',
  NODE_FUTURE_KIND = 'f', /* a message of a kind that this version does not know, then the answer */
  NODE_REFUSE = 'i',
  NODE_REFUSE_VERSION = 'v'
};

struct node_batch {
  uint64_t id, first;
  uint32_t count, bytes;
  uint64_t at_ns;
};

struct node {
  /* set before the start */
  const char *script;
  char endpoint[300], bound[300];
  uint32_t credit, credit_later, credit_later_at; /* another credit from that batch on */
  uint32_t retry_after_ms, batch_records_max, message_bytes_max, answer_timeout_ms;
  uint32_t version_major;
  uint8_t id;
  const char *curve_secret;
  uint64_t (*number_of)(const struct batch_record *record); /* on its thread */

  /* looked at by tests at any time */
  atomic_uint batches, hellos, in_flight, in_flight_max;

  /* of the thread; looked at after the stop */
  uv_thread_t thread;
  uv_loop_t loop;
  uv_async_t stop;
  uv_timer_t back;
  uv_sem_t ready;
  struct link *link;
  uint64_t session;
  struct node_batch log[NODE_LOG];
  uint8_t committed[NODE_RECORDS];
};

static inline uint64_t node_number_of(const struct batch_record *record)
{
  assert(record->size >= 8);
  return load_u64(record->bytes);
}

static inline void node_init(struct node *n, const char *endpoint, const char *script)
{
  memset(n, 0, sizeof *n);
  n->script = script;
  snprintf(n->endpoint, sizeof n->endpoint, "%s", endpoint);
  n->credit = n->credit_later = 64;
  n->retry_after_ms = 5;
  n->version_major = 1;
  n->id = 1;
  n->number_of = node_number_of;
}

static void node_reply(struct node *n, const struct link_message *to, const void *head, size_t head_size, const void *body,
                       size_t body_size, bool with_body)
{
  struct link_message m;
  if (!n->link)
    return; /* dropped meanwhile */
  link_message_init(&m);
  m.identity_size = to->identity_size;
  memcpy(m.identity, to->identity, to->identity_size);
  link_frame_init(&m.frame[0], head_size);
  memcpy(link_frame_data(&m.frame[0]), head, head_size);
  m.frame_count = 1;
  if (with_body) {
    link_frame_init(&m.frame[1], body_size);
    if (body_size)
      memcpy(link_frame_data(&m.frame[1]), body, body_size);
    m.frame_count = 2;
  }
  link_send(n->link, &m); /* a peer that is gone is gone */
  link_message_finish(&m);
}

static void node_welcome(struct node *n, const struct link_message *to)
{
  uint8_t head[LIMIT_HEADER_BYTES], id[16];
  memset(id, n->id, sizeof id);
  Muster__V1__Welcome w = MUSTER__V1__WELCOME__INIT;
  w.has_kind = w.has_version_major = w.has_version_minor = w.has_accepted = w.has_node_id = w.has_session = w.has_credit = 1;
  w.kind = MUSTER__V1__KIND__KIND_WELCOME;
  w.version_major = n->version_major;
  w.accepted = n->version_major == 1;
  w.node_id.data = id;
  w.node_id.len = sizeof id;
  w.session = n->session;
  w.credit = n->credit;
  w.has_batch_records_max = w.has_message_bytes_max = w.has_record_bytes_max = w.has_answer_timeout_ms = 1;
  w.batch_records_max = n->batch_records_max ? n->batch_records_max : LIMIT_BATCH_RECORDS;
  w.message_bytes_max = n->message_bytes_max ? n->message_bytes_max : LIMIT_MESSAGE_BYTES;
  w.record_bytes_max = LIMIT_RECORD_BYTES;
  w.answer_timeout_ms = n->answer_timeout_ms ? n->answer_timeout_ms : 15000;
  atomic_fetch_add(&n->hellos, 1);
  node_reply(n, to, head, muster__v1__welcome__pack(&w, head), NULL, 0, false);
}

/* ---- answers ---- */

struct node_answer {
  uv_timer_t timer; /* of a late one */
  struct node *node;
  struct link_message to; /* identity only */
  enum node_act act;
  uint64_t batch_id, first;
  uint32_t count;
  uint64_t numbers[];
};

static uint64_t node_word(struct node *n, enum node_act act, uint64_t number)
{
  uint64_t sequence = number + 1;
  if (number % 2 && act == NODE_RETRY_ODD)
    return verdict_refused(MUSTER__V1__VERDICT__VERDICT_RETRY, 3, MUSTER__V1__REASON__REASON_RETRY_OUTCOME_UNKNOWN, 0);
  if (number % 2 && act == NODE_BUSY_ODD)
    return verdict_refused(MUSTER__V1__VERDICT__VERDICT_BUSY, 3, MUSTER__V1__REASON__REASON_BUSY_DISK, 0);
  if (number % 2 && act == NODE_DOWN_ODD)
    return verdict_refused(MUSTER__V1__VERDICT__VERDICT_BUSY, 3, MUSTER__V1__REASON__REASON_BUSY_SHARD_DOWN, 0);
  if (number % 2 && act == NODE_UNKNOWN_ODD)
    return number % 4 == 1 ? 13 : MUSTER__V1__VERDICT__VERDICT_UNSPECIFIED;
  if (act == NODE_MIXED && number % 4 == 3)
    return verdict_refused(MUSTER__V1__VERDICT__VERDICT_INVALID, 3, MUSTER__V1__REASON__REASON_CITIZENSHIP, 7);
  if (act == NODE_MIXED)
    return verdict_durable((uint32_t)(number % 4) + 1, 3, sequence);
  return verdict_durable(n->committed[number]++ ? MUSTER__V1__VERDICT__VERDICT_DUPLICATE : MUSTER__V1__VERDICT__VERDICT_ACCEPTED, 3,
                         sequence);
}

static size_t node_words(struct node *n, const struct node_answer *a, uint8_t *body)
{
  uint32_t count = a->count - (a->act == NODE_SHORT_WORDS) + (a->act == NODE_LONG_WORDS);
  uint8_t *p = body;
  if (a->act != NODE_UNPACKED) {
    *p++ = 0x0a;
    p = varint_write(p, 8 * (uint64_t)count);
  }
  for (uint32_t i = 0; i < count; i++, p += 8) {
    if (a->act == NODE_UNPACKED)
      *p++ = 0x09;
    store_u64(p, node_word(n, a->act, a->numbers[i < a->count ? i : 0]));
  }
  return (size_t)(p - body);
}

static int node_batch_verdict(enum node_act act)
{
  switch (act) {
  case NODE_REFUSE:
  case NODE_REFUSE_VERSION: return MUSTER__V1__VERDICT__VERDICT_INVALID;
  case NODE_BUSY:
  case NODE_BUSY_BARE: return MUSTER__V1__VERDICT__VERDICT_BUSY;
  case NODE_RETRY: return MUSTER__V1__VERDICT__VERDICT_RETRY;
  case NODE_UNKNOWN: return 9;
  case NODE_ACCEPT: return MUSTER__V1__VERDICT__VERDICT_ACCEPTED;
  default: return MUSTER__V1__VERDICT__VERDICT_UNSPECIFIED;
  }
}

static void node_answer_send(struct node_answer *a)
{
  struct node *n = a->node;
  uint8_t head[LIMIT_HEADER_BYTES], *body = malloc(32 + 9 * (size_t)a->count);
  size_t body_size = 0;
  Muster__V1__AnswerHeader h = MUSTER__V1__ANSWER_HEADER__INIT;
  h.has_kind = h.has_version_major = h.has_version_minor = h.has_batch_id = h.has_record_count = h.has_credit = 1;
  h.kind = MUSTER__V1__KIND__KIND_ANSWER;
  h.version_major = 1;
  h.batch_id = a->batch_id;
  h.record_count = a->count + (a->act == NODE_WRONG_COUNT);
  h.credit = atomic_load(&n->batches) >= n->credit_later_at ? n->credit_later : n->credit;
  h.has_retry_after_ms = 1;
  h.retry_after_ms = n->retry_after_ms;
  bool down = a->act == NODE_DOWN_ODD;
  for (uint32_t i = 0; i < a->count; i++)
    down = down && a->numbers[i] % 2;
  h.batch_verdict = (Muster__V1__Verdict)(down ? MUSTER__V1__VERDICT__VERDICT_BUSY : node_batch_verdict(a->act));
  h.has_batch_verdict = h.batch_verdict != MUSTER__V1__VERDICT__VERDICT_UNSPECIFIED;
  h.has_batch_reason = down || a->act == NODE_BUSY || a->act == NODE_REFUSE || a->act == NODE_REFUSE_VERSION;
  h.batch_reason = down                            ? MUSTER__V1__REASON__REASON_BUSY_SHARD_DOWN
                   : a->act == NODE_BUSY           ? MUSTER__V1__REASON__REASON_BUSY_DRAINING
                   : a->act == NODE_REFUSE_VERSION ? MUSTER__V1__REASON__REASON_BATCH_VERSION
                                                   : MUSTER__V1__REASON__REASON_BATCH_COUNT;
  if (!h.has_batch_verdict)
    body_size = node_words(n, a, body);
  atomic_fetch_sub(&n->in_flight, 1);
  for (int times = a->act == NODE_TWICE ? 2 : 1; times > 0; times--)
    node_reply(n, &a->to, head, muster__v1__answer_header__pack(&h, head), body, body_size, true);
  free(body);
}

static void node_answer_closed(uv_handle_t *handle) { free(handle->data); }

static void node_answer_late(uv_timer_t *timer)
{
  node_answer_send(timer->data);
  uv_close((uv_handle_t *)timer, node_answer_closed);
}

/* ---- the script ---- */

static void node_listen(struct node *n);
static void node_back(uv_timer_t *timer)
{
  struct node *n = timer->data;
  node_listen(n);
}

static void node_act(struct node *n, struct node_answer *a)
{
  static const uint8_t future[] = {0x08, 0x63, 0x10, 0x01}, garbage[] = {0xff, 0xff, 0xff};
  switch (a->act) {
  case NODE_SILENT: break;
  case NODE_COMMIT_SILENT:
    for (uint32_t i = 0; i < a->count; i++)
      n->committed[a->numbers[i]]++;
    break;
  case NODE_DROP:
  case NODE_QUIT:
    link_close(n->link);
    n->link = NULL;
    atomic_store(&n->in_flight, 0);
    if (a->act == NODE_DROP)
      uv_timer_start(&n->back, node_back, 10, 0);
    break;
  case NODE_GARBAGE: node_reply(n, &a->to, garbage, sizeof garbage, NULL, 0, false); break;
  case NODE_LATER:
    uv_timer_init(&n->loop, &a->timer);
    a->timer.data = a;
    uv_timer_start(&a->timer, node_answer_late, NODE_LATER_MS, 0);
    return;
  case NODE_FUTURE_KIND: node_reply(n, &a->to, future, sizeof future, NULL, 0, false); /* fall through */
  default: node_answer_send(a); break;
  }
  free(a);
}

static void node_submit(struct node *n, struct link_message *m)
{
  Muster__V1__SubmitHeader *h = muster__v1__submit_header__unpack(NULL, link_frame_size(&m->frame[0]), link_frame_data(&m->frame[0]));
  const uint8_t *p = link_frame_data(&m->frame[1]), *end = p + link_frame_size(&m->frame[1]);
  struct batch_record r;
  uint32_t count = 0, nth = atomic_load(&n->batches);
  assert(h && h->kind == MUSTER__V1__KIND__KIND_SUBMIT && h->version_major == 1 && m->frame_count == 2 && nth < NODE_LOG);
  struct node_answer *a = calloc(1, sizeof *a + 8 * (size_t)h->record_count);
  while (batch_next(&p, end, &r) == BATCH_RECORD) {
    assert(count < h->record_count);
    a->numbers[count] = n->number_of(&r);
    assert(a->numbers[count] < NODE_RECORDS);
    count++;
  }
  assert(p == end && count == h->record_count && count > 0);
  n->log[nth] = (struct node_batch){.id = h->batch_id,
                                    .first = a->numbers[0],
                                    .count = count,
                                    .bytes = (uint32_t)link_frame_size(&m->frame[1]),
                                    .at_ns = clock_monotonic_ns()};
  a->node = n;
  a->to.identity_size = m->identity_size;
  memcpy(a->to.identity, m->identity, m->identity_size);
  a->act = nth < strlen(n->script) ? (enum node_act)n->script[nth] : NODE_ANSWER;
  a->batch_id = h->batch_id;
  a->count = count;
  muster__v1__submit_header__free_unpacked(h, NULL);
  atomic_store(&n->batches, nth + 1);
  uint32_t in_flight = atomic_fetch_add(&n->in_flight, 1) + 1;
  if (in_flight > atomic_load(&n->in_flight_max))
    atomic_store(&n->in_flight_max, in_flight);
  node_act(n, a);
}

static void node_message(void *context, struct link *link, struct link_message *m)
{
  struct node *n = context;
  (void)link;
  if (m->frame_count == 1)
    node_welcome(n, m);
  else
    node_submit(n, m);
}

/* ---- its life ---- */

static void node_listen(struct node *n)
{
  struct failure f = FAILURE_NONE;
  struct link_options o = {.kind = LINK_ROUTER,
                           .queue_messages = 1000,
                           .message_bytes_max = LIMIT_WIRE_BYTES,
                           .handshake_ms = 1000,
                           .curve_secret = n->curve_secret,
                           .zap_domain = n->curve_secret ? "front" : NULL,
                           .on_message = node_message,
                           .context = n};
  n->session++;
  if (link_open(&n->link, &n->loop, &o, &f) != MUSTER_OK || link_bind(n->link, n->endpoint, n->bound, sizeof n->bound, &f) != MUSTER_OK) {
    fprintf(stderr, "the node of the test: %s\n", f.text);
    abort();
  }
}

static void node_close_handle(uv_handle_t *handle, void *context)
{
  struct node *n = context;
  if (uv_is_closing(handle))
    return;
  bool late = handle->type == UV_TIMER && handle != (uv_handle_t *)&n->back;
  uv_close(handle, late ? node_answer_closed : NULL);
}

static void node_stop_run(uv_async_t *async)
{
  struct node *n = async->data;
  link_close(n->link);
  n->link = NULL;
  uv_walk(&n->loop, node_close_handle, n);
}

static void node_run(void *context)
{
  struct node *n = context;
  uv_loop_init(&n->loop);
  uv_async_init(&n->loop, &n->stop, node_stop_run);
  uv_timer_init(&n->loop, &n->back);
  n->stop.data = n->back.data = n;
  node_listen(n);
  uv_sem_post(&n->ready);
  uv_run(&n->loop, UV_RUN_DEFAULT);
  int left = uv_loop_close(&n->loop);
  assert(left == 0);
  (void)left;
}

static inline void node_start(struct node *n)
{
  link_context(); /* made before the thread, so that it is made once */
  uv_sem_init(&n->ready, 0);
  uv_thread_create(&n->thread, node_run, n);
  uv_sem_wait(&n->ready);
}

static inline void node_stop(struct node *n)
{
  uv_async_send(&n->stop);
  uv_thread_join(&n->thread);
  uv_sem_destroy(&n->ready);
  if (strncmp(n->endpoint, "ipc://", 6) == 0)
    unlink(n->endpoint + 6);
}

#endif
