/* ingest/peers.c: who is a peer, who makes room for whom, and what is known of who is gone. */
#include "ingest/stage.h"

#include "ingest/peers.h"

static uint32_t hear(struct ingest_peers *t, uint32_t number, uint32_t submitter, int32_t connection)
{
  const struct ingest_caller caller = {
      .connection = connection, .submitter = submitter, .identity = (const uint8_t *)&number, .identity_size = sizeof number};
  return ingest_peers_hear(t, &caller);
}

static void take(struct ingest_peers *t, uint32_t peer)
{
  t->peer[peer].in_flight++;
  ingest_peers_busy(t, peer);
}

static void release(struct ingest_peers *t, uint32_t peer)
{
  t->peer[peer].in_flight--;
  ingest_peers_idle(t, peer);
}

static void a_full_table_gives_up_the_longest_silent(void **state)
{
  (void)state;
  struct ingest_peers t;
  assert_int_equal(ingest_peers_init(&t, 4), MUSTER_OK);
  uint32_t peer[5];
  for (uint32_t i = 0; i < 4; i++)
    peer[i] = hear(&t, i, i, 0);
  take(&t, peer[0]);
  assert_int_equal(hear(&t, 1, 1, 0), peer[1]); /* heard again: number 2 is the longest silent now */
  peer[4] = hear(&t, 4, 4, 0);
  assert_int_equal(peer[4], peer[2]);
  assert_int_equal(hear(&t, 1, 1, 0), peer[1]);
  assert_int_equal(hear(&t, 0, 0, 0), peer[0]);
  take(&t, peer[1]);
  take(&t, peer[3]);
  take(&t, peer[4]);
  assert_int_equal(hear(&t, 5, 5, 0), INGEST_NONE); /* nobody who holds something makes room */
  release(&t, peer[3]);
  assert_int_equal(hear(&t, 5, 5, 0), peer[3]);
  assert_int_equal(t.open, 4);
  release(&t, peer[1]);
  assert_int_equal(hear(&t, 2, 2, 0), peer[3]); /* whom the table forgot is a peer again at its next message */
  assert_int_equal(t.open, 4);
  ingest_peers_finish(&t);
}

static void the_same_identity_on_another_link_is_another_peer(void **state)
{
  (void)state;
  struct ingest_peers t;
  assert_int_equal(ingest_peers_init(&t, 40), MUSTER_OK);
  uint32_t seen[40];
  for (uint32_t i = 0; i < 40; i++) {
    uint8_t identity[3] = {(uint8_t)(i / 2), 'x', 'y'};
    const struct ingest_caller caller = {
        .origin = i % 2 ? INGEST_TCP : INGEST_IPC, .submitter = 7, .identity = identity, .identity_size = i % 4 < 2 ? 2 : 3};
    seen[i] = ingest_peers_hear(&t, &caller);
    for (uint32_t j = 0; j < i; j++)
      assert_int_not_equal(seen[i], seen[j]);
  }
  assert_int_equal(t.submitter[t.peer[seen[0]].owner].peers, 40);
  ingest_peers_finish(&t);
}

static void who_is_gone_is_not_counted_and_makes_room_first(void **state)
{
  (void)state;
  struct ingest_peers t;
  assert_int_equal(ingest_peers_init(&t, 3), MUSTER_OK);
  uint32_t a = hear(&t, 1, 1, 11), b = hear(&t, 2, 1, 12), c = hear(&t, 3, 2, 13);
  assert_int_equal(t.open, 3);
  take(&t, c);
  ingest_peers_connection_gone(&t, 12);
  ingest_peers_connection_gone(&t, 12);
  ingest_peers_connection_gone(&t, 99);     /* one that never said a word */
  ingest_peers_connection_gone(&t, 999999); /* one with a number beyond all that is kept */
  ingest_peers_connection_gone(&t, 13);     /* holds something: it stays until that has left */
  assert_int_equal(t.open, 1);
  assert_int_equal(hear(&t, 4, 3, 12), b); /* not the longest silent, which is a */
  ingest_peers_connection_gone(&t, 12);    /* the number is the newcomer's now */
  assert_int_equal(t.open, 1);
  release(&t, c);
  assert_int_equal(hear(&t, 5, 3, 14), c);
  assert_int_equal(hear(&t, 6, 3, 15), b);
  assert_int_equal(hear(&t, 1, 1, 11), a);
  assert_int_equal(t.open, 3);
  ingest_peers_gone(&t, INGEST_IPC, t.peer[a].identity, t.peer[a].identity_size); /* an answer found nobody */
  assert_int_equal(t.open, 2);
  assert_int_equal(hear(&t, 1, 1, 11), a); /* and yet it speaks */
  assert_int_equal(t.open, 3);
  ingest_peers_finish(&t);
}

/* A key that got another number in the list: what it holds stays charged to the former, then it is the other's. */
static void a_connection_changes_its_submitter_when_it_holds_nothing(void **state)
{
  (void)state;
  struct ingest_peers t;
  assert_int_equal(ingest_peers_init(&t, 3), MUSTER_OK);
  uint32_t a = hear(&t, 1, 7, 11), owner = t.peer[a].owner;
  take(&t, a);
  hear(&t, 1, 8, 11);
  assert_int_equal(t.peer[a].submitter, 8);
  assert_int_equal(t.submitter[t.peer[a].owner].number, 7);
  release(&t, a);
  assert_int_equal(t.submitter[owner].busy_peers, 0);
  hear(&t, 1, 8, 11);
  assert_int_equal(t.submitter[t.peer[a].owner].number, 8);
  assert_int_equal(t.submitter[t.peer[a].owner].peers, 1);
  ingest_peers_finish(&t);
}

/* Comings and goings at random, against a plain list of who is there. */
static void a_random_day_keeps_the_books(void **state)
{
  (void)state;
  enum { PEERS = 12, NUMBERS = 40 };
  struct ingest_peers t;
  bool busy[NUMBERS] = {0};
  uint32_t at[NUMBERS];
  assert_int_equal(ingest_peers_init(&t, PEERS), MUSTER_OK);
  for (int i = 0; i < 20000; i++) {
    uint32_t n = (uint32_t)(stage_random() % NUMBERS), held = 0, open = 0;
    switch (stage_random() % 4) {
    case 0: ingest_peers_connection_gone(&t, (int32_t)n + 1); break;
    case 1:
      if (busy[n])
        release(&t, at[n]);
      busy[n] = false;
      break;
    default: {
      uint32_t peer = hear(&t, n, n % 5, (int32_t)n + 1);
      assert_true(!busy[n] || peer == at[n]);
      if (peer != INGEST_NONE && !busy[n] && stage_random() % 2) {
        take(&t, peer);
        busy[n] = true;
        at[n] = peer;
      }
    }
    }
    for (n = 0; n < NUMBERS; n++)
      held += busy[n];
    uint32_t busy_sum = 0, peers_sum = 0;
    for (uint32_t p = 0; p < t.used; p++)
      open += !t.peer[p].gone;
    for (uint32_t s = 0; s < PEERS; s++) {
      busy_sum += t.submitter[s].peers ? t.submitter[s].busy_peers : 0;
      peers_sum += t.submitter[s].peers;
    }
    assert_int_equal(open, t.open);
    assert_int_equal(busy_sum, held);
    assert_int_equal(peers_sum, t.used);
  }
  ingest_peers_finish(&t);
}

int main(void)
{
  stage_seed_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_full_table_gives_up_the_longest_silent),
      cmocka_unit_test(the_same_identity_on_another_link_is_another_peer),
      cmocka_unit_test(who_is_gone_is_not_counted_and_makes_room_first),
      cmocka_unit_test(a_connection_changes_its_submitter_when_it_holds_nothing),
      cmocka_unit_test(a_random_day_keeps_the_books),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
