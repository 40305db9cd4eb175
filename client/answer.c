#include <inttypes.h>
#include <string.h>

#include "client/client.h"
#include "proto/batch.h"
#include "proto/vocabulary.h"
#include "proto/wire.pb-c.h"

enum { NOTICE_AGAIN_MS = 10000 };

static struct client_batch *batch_of(struct muster_client *c, uint64_t id)
{
  for (uint32_t i = 0; i < c->batch_count; i++) {
    struct client_batch *b = &c->batches[i];
    if (b->id == id && (b->state == CLIENT_BATCH_SENT || b->sent_before) && b->state != CLIENT_BATCH_FREE &&
        b->state != CLIENT_BATCH_FILLING)
      return b;
  }
  return NULL;
}

static void tell_waiting(struct muster_client *c, uint32_t reason)
{
  uint64_t now = uv_now(&c->loop);
  if (c->told_reason == reason && now - c->told_ms < NOTICE_AGAIN_MS)
    return;
  c->told_reason = reason;
  c->told_ms = now;
  if (reason < MUSTER__V1__REASON__REASON_BUSY_BUDGET)
    client_notice(c, "waiting: the node says BUSY, without a reason for it");
  else
    client_notice(c, "waiting: %s (%s)", vocabulary_reason_sentence(reason), vocabulary_reason(reason));
}

/* ---- records of a shard that is down ---- */

/* Somebody told of one. */
static void note_down(struct muster_client *c)
{
  uint64_t now = uv_now(&c->loop);
  if (!c->down_ms || now - c->down_told_ms > CLIENT_OUTAGE_QUIET_MS)
    c->down_ms = now;
  c->down_told_ms = now;
}

static void give_back(struct muster_client *c, uint64_t tag)
{
  c->given_back++;
  c->options.on_given_back(c->options.context, tag, MUSTER__V1__REASON__REASON_BUSY_SHARD_DOWN);
}

void client_answer_give_back(struct muster_client *c, struct client_batch *b)
{
  for (uint32_t i = 0; i < b->count; i++)
    give_back(c, b->tags[i]);
  client_batch_free(b);
}

/* ---- one answer to a whole batch ---- */

static void batch_refused(struct muster_client *c, const Muster__V1__AnswerHeader *h)
{
  uint32_t reason = h->has_batch_reason ? (uint32_t)h->batch_reason : 0;
  int status = reason == MUSTER__V1__REASON__REASON_BATCH_VERSION ? MUSTER_ERR_VERSION
               : reason == MUSTER__V1__REASON__REASON_BATCH_TOO_MANY_RECORDS || reason == MUSTER__V1__REASON__REASON_BATCH_TOO_MANY_BYTES
                   ? MUSTER_ERR_LIMIT
                   : MUSTER_ERR_PROTOCOL;
  client_end(c, status, "the node refused a batch as a whole, nothing of it was kept: %s (%s)", vocabulary_reason_sentence(reason),
             vocabulary_reason(reason));
}

static void batch_busy(struct muster_client *c, struct client_batch *b, const Muster__V1__AnswerHeader *h)
{
  uint32_t reason = h->has_batch_reason ? (uint32_t)h->batch_reason : 0;
  c->counts.busy_answers++;
  b->down = reason == MUSTER__V1__REASON__REASON_BUSY_SHARD_DOWN;
  if (b->down) {
    note_down(c);
    if (client_flow_gives_back(c)) {
      client_answer_give_back(c, b);
      return;
    }
  }
  tell_waiting(c, reason);
  client_flow_wait(c, b, h->retry_after_ms);
}

/* RETRY, and every number that this version does not know: whether the records are stored is not known, so they are sent again. */
static void batch_retry(struct muster_client *c, struct client_batch *b, const Muster__V1__AnswerHeader *h)
{
  b->down = false;
  tell_waiting(c, MUSTER__V1__REASON__REASON_RETRY_OUTCOME_UNKNOWN);
  client_flow_wait(c, b, h->retry_after_ms);
}

/* Of a whole batch; INVALID is taken before, and what is said of records one by one cannot be said of a batch. */
static void batch_verdict_take(struct muster_client *c, struct client_batch *b, const Muster__V1__AnswerHeader *h)
{
  switch ((int)h->batch_verdict) {
  case MUSTER__V1__VERDICT__VERDICT_ACCEPTED:
  case MUSTER__V1__VERDICT__VERDICT_DUPLICATE:
  case MUSTER__V1__VERDICT__VERDICT_CONFLICT:
    client_end(c, MUSTER_ERR_PROTOCOL,
               "the node answered a batch of %" PRIu32
               " records as a whole with verdict %d, which only a record can have; those records have "
               "no verdict",
               b->count, (int)h->batch_verdict);
    return;
  case MUSTER__V1__VERDICT__VERDICT_BUSY: batch_busy(c, b, h); return;
  default: batch_retry(c, b, h);
  }
}

/* ---- a word a record ---- */

static void count_final(struct muster_counts *counts, uint32_t kind)
{
  switch (kind) {
  case MUSTER_ACCEPTED: counts->accepted++; break;
  case MUSTER_DUPLICATE: counts->duplicate++; break;
  case MUSTER_CONFLICT: counts->conflict++; break;
  default: counts->invalid++; break;
  }
}

struct left {
  uint32_t count;  /* records that wait on */
  uint32_t down;   /* told BUSY_SHARD_DOWN */
  uint32_t reason; /* of one that was told BUSY and waits on */
  bool giving;     /* those that are down were given back, and are not among count */
};

/* Tells the final ones, and gives back what is not waited for any longer. */
static struct left tell_verdicts(struct muster_client *c, const struct client_batch *b, const uint8_t *words)
{
  struct left left = {0};
  for (uint32_t i = 0; i < b->count; i++) {
    uint64_t word = load_u64(words + 8 * (size_t)i);
    if (!client_word_final(word)) {
      const bool down = client_word_down(word), busy = verdict_kind(word) == MUSTER__V1__VERDICT__VERDICT_BUSY;
      c->counts.busy_answers += busy;
      if (down && left.down++ == 0) {
        note_down(c);
        left.giving = client_flow_gives_back(c);
      }
      if (down && left.giving) {
        give_back(c, b->tags[i]);
        continue;
      }
      left.count++;
      if (busy)
        left.reason = verdict_reason(word);
      continue;
    }
    struct muster_verdict v = {.tag = b->tags[i], .verdict = verdict_kind(word), .shard = verdict_shard(word)};
    if (v.verdict == MUSTER_INVALID) {
      v.reason = verdict_reason(word);
      v.field = verdict_field(word);
    } else
      v.sequence = verdict_sequence(word);
    count_final(&c->counts, v.verdict);
    if (c->options.on_verdict)
      c->options.on_verdict(c->options.context, &v);
  }
  return left;
}

static void words_take(struct muster_client *c, struct client_batch *b, const Muster__V1__AnswerHeader *h, const uint8_t *words)
{
  const bool waited = b->down;
  const struct left left = tell_verdicts(c, b, words);
  if (left.reason)
    tell_waiting(c, left.reason);
  b->down = !left.giving && left.down > 0 && left.down == left.count;
  if (left.count == 0) {
    client_batch_free(b);
    if (waited && left.down == 0)
      c->down_ms = 0; /* what waited for the shard has its verdicts */
  } else if (client_batch_keep(c, b, words, left.count, left.giving) == MUSTER_OK)
    client_flow_wait(c, b, h->retry_after_ms);
}

/* The words stand in the frame as they are, unless somebody encodes Verdicts in another legal way. */
static void body_take(struct muster_client *c, struct client_batch *b, const Muster__V1__AnswerHeader *h, struct link_frame *body)
{
  const uint8_t *p = link_frame_data(body), *end = p + link_frame_size(body), *words;
  size_t want = 8 * (size_t)b->count;
  uint64_t size;
  if (p < end && *p == 0x0a && (words = varint_read(p + 1, end, &size)) && size == want && (size_t)(end - words) == want) {
    words_take(c, b, h, words);
    return;
  }
  Muster__V1__Verdicts *verdicts = muster__v1__verdicts__unpack(NULL, link_frame_size(body), p);
  if (verdicts && verdicts->n_word == b->count)
    words_take(c, b, h, (const uint8_t *)verdicts->word);
  else
    client_end(c, MUSTER_ERR_PROTOCOL, "the node answered a batch of %" PRIu32 " records with %zu verdicts; those records have no verdict",
               b->count, verdicts ? verdicts->n_word : 0);
  if (verdicts)
    muster__v1__verdicts__free_unpacked(verdicts, NULL);
}

static void header_take(struct muster_client *c, const Muster__V1__AnswerHeader *h, struct link_message *m)
{
  if (h->has_credit)
    c->credit = c->counts.credit = h->credit ? h->credit : 1;
  bool refused = h->has_batch_verdict && h->batch_verdict == MUSTER__V1__VERDICT__VERDICT_INVALID;
  struct client_batch *b = batch_of(c, h->batch_id);
  if (!b) { /* finished already: a late second answer. An unreadable message of ours is answered with batch 0 */
    if (refused && h->batch_id == 0)
      batch_refused(c, h);
    return;
  }
  if (refused) {
    batch_refused(c, h);
    return;
  }
  if (h->record_count != b->count) {
    client_end(c, MUSTER_ERR_PROTOCOL, "the node answered for %" PRIu32 " records of a batch of %" PRIu32 "; those records have no verdict",
               h->record_count, b->count);
    return;
  }
  if (b->state == CLIENT_BATCH_SENT)
    c->sent--;
  if (h->has_batch_verdict && h->batch_verdict != MUSTER__V1__VERDICT__VERDICT_UNSPECIFIED)
    batch_verdict_take(c, b, h);
  else
    body_take(c, b, h, &m->frame[1]);
}

void client_answer_take(struct muster_client *c, struct link_message *m)
{
  Muster__V1__AnswerHeader *h = muster__v1__answer_header__unpack(NULL, link_frame_size(&m->frame[0]), link_frame_data(&m->frame[0]));
  if (!h || m->frame_count != 2 || !h->has_batch_id)
    client_end(c, MUSTER_ERR_PROTOCOL, "an answer of the node cannot be read");
  else
    header_take(c, h, m);
  if (h)
    muster__v1__answer_header__free_unpacked(h, NULL);
  client_flow_run(c);
}
