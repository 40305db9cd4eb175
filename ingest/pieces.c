#include "ingest/pieces.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/limits.h"
#include "muster/status.h"
#include "proto/batch.h"

#define PIECE_INDEX_BITS 16
#define PIECE_LIFE_BITS (64 - PIECE_INDEX_BITS)
#define PIECES_OF_HALVING 32u /* halving goes depth first within one part: at most one more piece for each bit of LIMIT_BATCH_RECORDS */

static_assert(LIMIT_BATCH_RECORDS < 1u << (PIECES_OF_HALVING - 1), "the pool has room for every halving");
static_assert(LIMIT_BATCHES_IN_FLIGHT + PIECES_OF_HALVING < 1u << PIECE_INDEX_BITS, "a piece id has room for the index");

int ingest_pieces_init(struct ingest_pieces *p)
{
  const struct ingest_piece_list none = {INGEST_PIECE_NONE, INGEST_PIECE_NONE, 0};
  *p = (struct ingest_pieces){.max = LIMIT_BATCHES_IN_FLIGHT + PIECES_OF_HALVING, .suspects = none, .waiting = none, .sent = none};
  if (getrandom(&p->next_life, sizeof p->next_life, 0) != (ssize_t)sizeof p->next_life)
    return MUSTER_ERR_IO;
  p->piece = calloc(p->max, sizeof *p->piece);
  if (!p->piece)
    return MUSTER_ERR_MEMORY;
  for (uint32_t i = 0; i < p->max; i++) {
    link_frame_init_empty(&p->piece[i].records);
    p->piece[i].next = i + 1 < p->max ? i + 1 : INGEST_PIECE_NONE;
  }
  return MUSTER_OK;
}

void ingest_pieces_finish(struct ingest_pieces *p)
{
  for (uint32_t i = 0; p->piece && i < p->max; i++)
    link_frame_finish(&p->piece[i].records);
  free(p->piece);
  p->piece = NULL;
}

/* A new life: whatever was sent under the former one is not waited for any more. */
static void piece_begin(struct ingest_pieces *p, uint32_t at)
{
  p->piece[at].life = p->next_life++ & ((UINT64_C(1) << PIECE_LIFE_BITS) - 1);
}

uint32_t ingest_pieces_take(struct ingest_pieces *p)
{
  uint32_t at = p->free_first;
  assert(at != INGEST_PIECE_NONE && "more parts than batches in flight");
  p->free_first = p->piece[at].next;
  piece_begin(p, at);
  return at;
}

void ingest_pieces_free(struct ingest_pieces *p, uint32_t at)
{
  link_frame_finish(&p->piece[at].records);
  p->piece[at].state = INGEST_PIECE_FREE;
  p->piece[at].next = p->free_first;
  p->free_first = at;
}

/* ---- lists ---- */

struct ingest_piece_list *ingest_pieces_list(struct ingest_pieces *p, uint32_t at)
{
  const struct ingest_piece *piece = &p->piece[at];
  return piece->state == INGEST_PIECE_SENT ? &p->sent : piece->suspect ? &p->suspects : &p->waiting;
}

void ingest_pieces_insert(struct ingest_pieces *p, uint32_t at, uint32_t before)
{
  struct ingest_piece_list *list = ingest_pieces_list(p, at);
  struct ingest_piece *piece = &p->piece[at];
  piece->next = before;
  piece->prev = before == INGEST_PIECE_NONE ? list->last : p->piece[before].prev;
  if (piece->prev == INGEST_PIECE_NONE)
    list->first = at;
  else
    p->piece[piece->prev].next = at;
  if (before == INGEST_PIECE_NONE)
    list->last = at;
  else
    p->piece[before].prev = at;
  list->count++;
}

void ingest_pieces_remove(struct ingest_pieces *p, uint32_t at)
{
  struct ingest_piece_list *list = ingest_pieces_list(p, at);
  const struct ingest_piece *piece = &p->piece[at];
  if (piece->prev == INGEST_PIECE_NONE)
    list->first = piece->next;
  else
    p->piece[piece->prev].next = piece->next;
  if (piece->next == INGEST_PIECE_NONE)
    list->last = piece->prev;
  else
    p->piece[piece->next].prev = piece->prev;
  list->count--;
}

/* ---- ids ---- */

uint64_t ingest_pieces_id(const struct ingest_pieces *p, uint32_t at) { return p->piece[at].life << PIECE_INDEX_BITS | at; }

uint32_t ingest_pieces_find(const struct ingest_pieces *p, uint64_t id, enum ingest_piece_state state)
{
  uint32_t at = (uint32_t)(id & ((1u << PIECE_INDEX_BITS) - 1));
  bool found = at < p->max && p->piece[at].state == state && ingest_pieces_id(p, at) == id;
  return found ? at : INGEST_PIECE_NONE;
}

/* ---- halving ---- */

/* The stream's first `half` records, and the others. false: no memory. */
static bool piece_cut(struct link_frame *stream, uint32_t half, struct link_frame *left, struct link_frame *right)
{
  const uint8_t *start = link_frame_data(stream), *end = start + link_frame_size(stream), *middle = start;
  struct batch_record record;
  for (uint32_t i = 0; i < half; i++)
    if (batch_next(&middle, end, &record) != BATCH_RECORD)
      return false;
  if (link_frame_init(left, (size_t)(middle - start)) != MUSTER_OK)
    return false;
  if (link_frame_init(right, (size_t)(end - middle)) != MUSTER_OK) {
    link_frame_finish(left);
    return false;
  }
  memcpy(link_frame_data(left), start, (size_t)(middle - start));
  memcpy(link_frame_data(right), middle, (size_t)(end - middle));
  return true;
}

bool ingest_pieces_halve(struct ingest_pieces *p, uint32_t at)
{
  struct link_frame left, right;
  struct ingest_piece *first = &p->piece[at];
  uint32_t half = first->record_count / 2;
  if (!piece_cut(&first->records, half, &left, &right))
    return false;
  uint32_t other = ingest_pieces_take(p);
  struct ingest_piece *second = &p->piece[other];
  uint64_t life = second->life;
  link_frame_finish(&first->records);
  *second = *first; /* both frames are empty now */
  second->life = life;
  second->first_record = first->first_record + half;
  second->record_count = first->record_count - half;
  first->record_count = half;
  first->deaths_alone = second->deaths_alone = 0;
  link_frame_move(&first->records, &left);
  link_frame_move(&second->records, &right);
  link_frame_finish(&left);
  link_frame_finish(&right);
  piece_begin(p, at);
  ingest_pieces_insert(p, other, first->next);
  return true;
}
