#include "ingest/shard.h"

#include <inttypes.h>

#include "muster/status.h"
#include "proto/wire.pb-c.h"

#define SUSPECT_DEATHS 2u /* of workers with the piece in hand */
#define ISOLATE_DEATHS 2u /* with this one record in hand and nothing else */
#define WORDS_LOST 2u     /* time-outs after its sending that a piece waits for its words while the shard says other things */
#define MS UINT64_C(1000000)

int ingest_shard_init(struct ingest_shard *s, uint32_t number, uint32_t shards, uint32_t timeout_ms, const struct ingest_shard_seam *seam,
                      struct counters *counters, uint64_t now_ns)
{
  *s = (struct ingest_shard){
      .number = number,
      .shards = shards,
      .timeout_ms = timeout_ms,
      .heard_ns = now_ns,
      .down_ns = now_ns,
      .seam = *seam,
      .counters = counters,
  };
  return ingest_pieces_init(&s->pieces);
}

void ingest_shard_finish(struct ingest_shard *s) { ingest_pieces_finish(&s->pieces); }

static void shard_count(struct ingest_shard *s, enum counter_id id)
{
  counters_begin(s->counters);
  counters_add(s->counters, id, 1);
  counters_end(s->counters);
}

void ingest_shard_add(struct ingest_shard *s, uint64_t part_id, struct link_frame *records, uint32_t record_count, uint32_t submitter,
                      int64_t received_us, uint64_t now_ns)
{
  uint32_t at = ingest_pieces_take(&s->pieces);
  struct ingest_piece *p = &s->pieces.piece[at];
  p->state = INGEST_PIECE_WAITING;
  p->suspect = p->isolate = p->resend = false;
  p->deaths = p->deaths_alone = 0;
  p->part_id = part_id;
  p->first_record = 0;
  p->record_count = record_count;
  p->submitter = submitter;
  p->received_us = received_us;
  p->entered_ns = now_ns;
  link_frame_move(&p->records, records);
  ingest_pieces_insert(&s->pieces, at, INGEST_PIECE_NONE);
  ingest_shard_pump(s, now_ns);
}

/* ---- sending ---- */

static bool shard_send(struct ingest_shard *s, uint32_t at, uint64_t now_ns)
{
  struct ingest_piece *p = &s->pieces.piece[at];
  const struct hop_head head = {
      .kind = p->isolate   ? HOP_ISOLATE
              : p->suspect ? HOP_SUSPECT
                           : HOP_PART,
      .version = HOP_VERSION,
      .part_id = ingest_pieces_id(&s->pieces, at),
      .received_us = p->received_us,
      .submitter = p->submitter,
      .record_count = p->record_count,
      .shard = s->number,
      .shards = s->shards,
  };
  struct link_frame shared;
  link_frame_init_empty(&shared);
  link_frame_share(&shared, &p->records);
  int status = s->seam.send(s->seam.context, s->number, &head, &shared);
  link_frame_finish(&shared);
  if (status != MUSTER_OK)
    return false;
  ingest_pieces_remove(&s->pieces, at);
  p->state = INGEST_PIECE_SENT;
  p->sent_ns = now_ns;
  ingest_pieces_insert(&s->pieces, at, INGEST_PIECE_NONE);
  if (p->resend)
    shard_count(s, COUNTER_parts_resent);
  p->resend = false;
  return true;
}

void ingest_shard_pump(struct ingest_shard *s, uint64_t now_ns)
{
  struct ingest_pieces *p = &s->pieces;
  if (!s->serving)
    return;
  if (p->suspects.count > 0) {
    if (p->sent.count == 0)
      shard_send(s, p->suspects.first, now_ns);
    return;
  }
  /* The last suspect may still be with the worker: nothing joins it. */
  if (p->sent.count > 0 && p->piece[p->sent.first].suspect)
    return;
  while (p->waiting.count > 0 && shard_send(s, p->waiting.first, now_ns))
    ;
}

void ingest_shard_connected(struct ingest_shard *s)
{
  const struct hop_head head = {.kind = HOP_HELLO, .version = HOP_VERSION, .shard = s->number, .shards = s->shards};
  s->connected = true;
  s->told_mismatch = false;
  s->seam.send(s->seam.context, s->number, &head, NULL);
}

/* ---- death ---- */

/* A worker died with this one piece in hand and nothing else. */
static void shard_accuse(struct ingest_shard *s, uint32_t at)
{
  struct ingest_piece *p = &s->pieces.piece[at];
  if (p->isolate)
    return; /* it was not decoded: not its fault */
  p->deaths_alone++;
  if (p->record_count > 1) {
    ingest_pieces_halve(&s->pieces, at);
  } else if (p->deaths_alone >= ISOLATE_DEATHS) {
    p->isolate = true;
    shard_count(s, COUNTER_records_isolated);
    log_event_gated(&s->gate, LOG_WARN, "ingest.isolated", "shard=%" PRIu32 " submitter_number=%" PRIu32, s->number, p->submitter);
  }
}

/* The former worker died with these parts in hand, ours and those of other ingests. New suspects go behind the others: halving stays within one
 * part until that is done. */
static void shard_blame(struct ingest_shard *s, struct link_frame *in_hand)
{
  struct ingest_pieces *p = &s->pieces;
  size_t count = link_frame_size(in_hand) / 8;
  for (size_t i = 0; i < count; i++) {
    uint32_t at = ingest_pieces_find(p, load_u64(link_frame_data(in_hand) + i * 8), INGEST_PIECE_WAITING);
    if (at == INGEST_PIECE_NONE)
      continue;
    struct ingest_piece *piece = &p->piece[at];
    if (piece->suspect && count == 1) {
      shard_accuse(s, at);
    } else if (!piece->suspect && ++piece->deaths >= SUSPECT_DEATHS) {
      ingest_pieces_remove(p, at);
      piece->suspect = true;
      ingest_pieces_insert(p, at, INGEST_PIECE_NONE);
    }
  }
}

/* What was with the worker goes back to the front of what waits, in its order. */
static void shard_take_back(struct ingest_shard *s, bool died)
{
  struct ingest_pieces *p = &s->pieces;
  while (p->sent.count > 0) {
    uint32_t at = p->sent.last;
    ingest_pieces_remove(p, at);
    p->piece[at].state = INGEST_PIECE_WAITING;
    p->piece[at].resend |= died;
    ingest_pieces_insert(p, at, ingest_pieces_list(p, at)->first);
  }
}

static void shard_set_serving(struct ingest_shard *s, bool serving)
{
  if (s->serving == serving)
    return;
  s->serving = serving;
  s->seam.serving(s->seam.context, s->number, serving);
}

static void shard_went_down(struct ingest_shard *s, bool died, uint64_t now_ns)
{
  if (s->serving) {
    s->down_ns = now_ns;
    log_event_gated(&s->gate, died ? LOG_WARN : LOG_INFO, "ingest.shard-down", "shard=%" PRIu32 " parts=%" PRIu32 " died=%d", s->number,
                    s->pieces.sent.count, died);
  }
  shard_take_back(s, died);
  shard_set_serving(s, false);
}

void ingest_shard_disconnected(struct ingest_shard *s, uint64_t now_ns)
{
  s->connected = s->hung = false;
  shard_went_down(s, true, now_ns);
}

/* ---- what the worker says ---- */

/* in_hand: of the former worker, or NULL. */
static bool shard_welcome(struct ingest_shard *s, const struct hop_head *head, struct link_frame *in_hand, uint64_t now_ns)
{
  if (!s->connected || head->shard != s->number || head->shards != s->shards) {
    if (!s->told_mismatch)
      log_event_gated(&s->gate, LOG_ERROR, "ingest.shard-mismatch",
                      "shard=%" PRIu32 " of=%" PRIu32 " worker_shard=%" PRIu32 " worker_of=%" PRIu32, s->number, s->shards, head->shard,
                      head->shards);
    s->told_mismatch = true;
    return false;
  }
  /* A second WELCOME of the same worker (it heard two HELLOs) changes nothing; of another one, what was sent before it started is lost. */
  if (head->epoch != s->epoch) {
    shard_take_back(s, true);
    if (in_hand)
      shard_blame(s, in_hand);
  }
  s->epoch = head->epoch;
  s->store_records = head->store_records;
  s->blocked_reason = head->blocked_reason;
  s->heard_ns = now_ns;
  s->hung = false;
  if (!s->serving)
    log_event_gated(&s->gate, LOG_INFO, "ingest.shard-serving", "shard=%" PRIu32 " records=%" PRIu64, s->number, s->store_records);
  shard_set_serving(s, true);
  ingest_shard_pump(s, now_ns);
  return true;
}

/* The words of an unlinked piece: it is free afterwards, or, where they could not be taken, back at the front of its list. */
static bool shard_deliver(struct ingest_shard *s, uint32_t at, enum ingest_piece_state otherwise, struct link_frame *words)
{
  struct ingest_piece *p = &s->pieces.piece[at];
  if (s->seam.words(s->seam.context, p->part_id, p->first_record, p->record_count, words)) {
    ingest_pieces_free(&s->pieces, at);
    return true;
  }
  p->state = otherwise;
  ingest_pieces_insert(&s->pieces, at, ingest_pieces_list(&s->pieces, at)->first);
  return false;
}

/* Its records are answered RETRY. false: no memory for the words; tried again at the next tick. */
static bool shard_hand_back(struct ingest_shard *s, uint32_t at)
{
  const struct ingest_piece *p = &s->pieces.piece[at];
  struct link_frame words;
  if (link_frame_init(&words, (size_t)p->record_count * 8) != MUSTER_OK)
    return false;
  uint64_t word = verdict_refused(MUSTER__V1__VERDICT__VERDICT_RETRY, s->number, MUSTER__V1__REASON__REASON_RETRY_OUTCOME_UNKNOWN, 0);
  for (uint32_t i = 0; i < p->record_count; i++)
    store_u64(link_frame_data(&words) + (size_t)i * 8, word);
  ingest_pieces_remove(&s->pieces, at);
  bool taken = shard_deliver(s, at, p->state, &words);
  link_frame_finish(&words);
  return taken;
}

static bool shard_words(struct ingest_shard *s, const struct hop_head *head, struct link_frame *words, uint64_t now_ns)
{
  s->heard_ns = now_ns;
  s->hung = false;
  s->store_records = head->store_records;
  s->blocked_reason = head->blocked_reason;
  uint32_t at = ingest_pieces_find(&s->pieces, head->part_id, INGEST_PIECE_SENT);
  if (at == INGEST_PIECE_NONE)
    return true; /* late: handed back or answered before */
  const struct ingest_piece *p = &s->pieces.piece[at];
  if (head->record_count != p->record_count || link_frame_size(words) != (size_t)p->record_count * 8) {
    log_event_gated(&s->gate, LOG_ERROR, "ingest.words-mismatch", "shard=%" PRIu32 " records=%" PRIu32 " words=%" PRIu32, s->number,
                    p->record_count, head->record_count);
    shard_hand_back(s, at);
    ingest_shard_pump(s, now_ns);
    return false;
  }
  ingest_pieces_remove(&s->pieces, at);
  shard_deliver(s, at, INGEST_PIECE_WAITING, words);
  ingest_shard_pump(s, now_ns);
  return true;
}

bool ingest_shard_message(struct ingest_shard *s, struct link_message *message, uint64_t now_ns)
{
  struct hop_head head;
  bool known = message->frame_count > 0 && hop_head_read(&head, link_frame_data(&message->frame[0]), link_frame_size(&message->frame[0]));
  if (known && head.kind == HOP_WELCOME && message->frame_count <= 2)
    return shard_welcome(s, &head, message->frame_count == 2 ? &message->frame[1] : NULL, now_ns);
  if (known && head.kind == HOP_WORDS && message->frame_count == 2 && s->serving && head.epoch == s->epoch)
    return shard_words(s, &head, &message->frame[1], now_ns);
  if (known && head.kind == HOP_BYE && message->frame_count == 1) {
    shard_went_down(s, false, now_ns);
    return true;
  }
  log_event_gated(&s->gate, LOG_WARN, "ingest.hop-message-ignored", "shard=%" PRIu32 " frames=%" PRIu32, s->number, message->frame_count);
  return false;
}

/* ---- time ---- */

static bool shard_is_overdue(const struct ingest_shard *s, const struct ingest_piece *p, bool silent, uint64_t now_ns)
{
  uint64_t timeout_ns = s->timeout_ms * MS;
  return (silent && now_ns - p->entered_ns >= timeout_ns) ||
         (p->state == INGEST_PIECE_SENT && now_ns - p->sent_ns >= WORDS_LOST * timeout_ns);
}

static uint32_t shard_hand_back_list(struct ingest_shard *s, const struct ingest_piece_list *list, bool silent, uint64_t now_ns)
{
  uint32_t count = 0;
  for (uint32_t at = list->first, next; at != INGEST_PIECE_NONE; at = next) {
    next = s->pieces.piece[at].next;
    if (!shard_is_overdue(s, &s->pieces.piece[at], silent, now_ns))
      continue;
    if (!shard_hand_back(s, at))
      break;
    count++;
  }
  return count;
}

void ingest_shard_tick(struct ingest_shard *s, uint64_t now_ns)
{
  bool silent = now_ns - s->heard_ns >= s->timeout_ms * MS;
  uint32_t count = shard_hand_back_list(s, &s->pieces.sent, silent, now_ns) + shard_hand_back_list(s, &s->pieces.suspects, silent, now_ns) +
                   shard_hand_back_list(s, &s->pieces.waiting, silent, now_ns);
  if (count == 0)
    return;
  s->hung = s->serving && silent;
  log_event_gated(&s->gate, LOG_WARN, "ingest.handed-back", "shard=%" PRIu32 " parts=%" PRIu32 " serving=%d silent=%d", s->number, count,
                  s->serving, silent);
  ingest_shard_pump(s, now_ns);
}

bool ingest_shard_is_down(const struct ingest_shard *s, uint64_t now_ns)
{
  return s->hung || (!s->serving && now_ns - s->down_ns >= INGEST_DOWN_GRACE_MS * MS);
}
