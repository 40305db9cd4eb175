/* ingest/pieces.c: the pool, its ids, halving. */
#include "ingest/stage.h"

#include "ingest/pieces.h"

static uint32_t add(struct ingest_pieces *p, const struct stage_stream *s, bool suspect)
{
  uint32_t at = ingest_pieces_take(p);
  struct ingest_piece *piece = &p->piece[at];
  piece->state = INGEST_PIECE_WAITING;
  piece->suspect = suspect;
  piece->first_record = 0;
  piece->record_count = s->count;
  link_frame_finish(&piece->records);
  stage_frame(&piece->records, s->bytes, s->size);
  ingest_pieces_insert(p, at, INGEST_PIECE_NONE);
  return at;
}

static void an_id_names_one_life(void **state)
{
  (void)state;
  struct ingest_pieces p, former;
  struct stage_stream s;
  stage_fill(&s, 2, 0, 0);
  assert_int_equal(ingest_pieces_init(&p), MUSTER_OK);
  assert_int_equal(ingest_pieces_init(&former), MUSTER_OK);
  uint32_t at = add(&p, &s, false);
  uint64_t id = ingest_pieces_id(&p, at);
  assert_int_equal(ingest_pieces_find(&p, id, INGEST_PIECE_SENT), INGEST_PIECE_NONE); /* not sent yet: nobody can answer */
  ingest_pieces_remove(&p, at);
  p.piece[at].state = INGEST_PIECE_SENT;
  ingest_pieces_insert(&p, at, INGEST_PIECE_NONE);
  assert_int_equal(ingest_pieces_find(&p, id, INGEST_PIECE_SENT), at);
  /* The first piece of the process before this one sat in the same entry; its answer is not for us. */
  uint32_t before = add(&former, &s, false);
  assert_int_equal(before, at);
  assert_int_equal(ingest_pieces_find(&p, ingest_pieces_id(&former, before), INGEST_PIECE_SENT), INGEST_PIECE_NONE);
  assert_int_equal(ingest_pieces_find(&p, UINT64_MAX, INGEST_PIECE_SENT), INGEST_PIECE_NONE);
  ingest_pieces_remove(&p, at);
  ingest_pieces_free(&p, at);
  assert_int_equal(add(&p, &s, false), at);
  p.piece[at].state = INGEST_PIECE_SENT;
  assert_int_equal(ingest_pieces_find(&p, id, INGEST_PIECE_SENT), INGEST_PIECE_NONE);
  p.piece[at].state = INGEST_PIECE_WAITING;
  ingest_pieces_finish(&p);
  ingest_pieces_finish(&former);
  stage_stream_finish(&s);
}

static void halves_hold_every_record_once(void **state)
{
  (void)state;
  struct ingest_pieces p;
  struct stage_stream s;
  const uint32_t count = 1000;
  stage_fill(&s, count, 0, 40);
  assert_int_equal(ingest_pieces_init(&p), MUSTER_OK);
  uint32_t first = add(&p, &s, true), last = add(&p, &s, true);
  uint64_t id = ingest_pieces_id(&p, first);
  for (uint32_t at = first; at != last;) {
    if (p.piece[at].record_count == 1) {
      at = p.piece[at].next;
      continue;
    }
    assert_true(ingest_pieces_halve(&p, at));
    assert_int_not_equal(ingest_pieces_id(&p, at), id); /* words for the whole are not words for the half */
  }
  assert_int_equal(p.suspects.count, count + 1);
  uint32_t at = p.suspects.first;
  for (uint32_t i = 0; i < count; i++, at = p.piece[at].next) {
    struct link_frame *f = &p.piece[at].records;
    const uint8_t *bytes = link_frame_data(f);
    struct batch_record r = {0};
    assert_int_equal(p.piece[at].first_record, i);
    assert_int_equal(batch_next(&bytes, bytes + link_frame_size(f), &r), BATCH_RECORD);
    assert_int_equal(stage_number(&r), i);
    assert_int_equal(link_frame_size(f), s.at[i + 1] - s.at[i]);
  }
  assert_int_equal(at, last);
  ingest_pieces_finish(&p);
  stage_stream_finish(&s);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_id_names_one_life),
      cmocka_unit_test(halves_hold_every_record_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
