/* ingest/admit.c: budget, credit, peers, fair turns, retry-after. */
#include "ingest/stage.h"

#include "ingest/admit.h"

#define MIB UINT64_C(1048576)
#define SECOND UINT64_C(1000000000)

static uint32_t peer_of(struct ingest_admit *a, uint32_t number, uint64_t now_ns)
{
  return ingest_admit_peer(a, INGEST_IPC, (const uint8_t *)&number, sizeof number, number, now_ns);
}

static void budget_and_credit_bound_what_is_held(void **state)
{
  (void)state;
  struct ingest_admit a;
  assert_int_equal(ingest_admit_init(&a, 10 * MIB, 4, 8, 16), MUSTER_OK);
  uint32_t one = peer_of(&a, 1, 1), slot = 0;
  for (; slot < 4; slot++) {
    assert_int_equal(ingest_admit_check(&a, one, MIB), 0);
    ingest_admit_take(&a, one, slot, MIB);
  }
  assert_int_equal(ingest_admit_check(&a, one, MIB), MUSTER__V1__REASON__REASON_BUSY_CREDIT);
  uint32_t two = peer_of(&a, 2, 1);
  assert_int_equal(ingest_admit_check(&a, two, 6 * MIB), 0);
  assert_int_equal(ingest_admit_check(&a, two, 6 * MIB + 1), MUSTER__V1__REASON__REASON_BUSY_BUDGET);
  ingest_admit_take(&a, two, slot++, 6 * MIB);
  assert_int_equal(a.used_bytes, a.budget_bytes);
  uint32_t three = peer_of(&a, 3, 1);
  assert_int_equal(ingest_admit_check(&a, three, 1), MUSTER__V1__REASON__REASON_BUSY_BUDGET);
  assert_int_equal(ingest_admit_check(&a, INGEST_NONE, 1), MUSTER__V1__REASON__REASON_BUSY_BUDGET);
  ingest_admit_release(&a, one, MIB);
  assert_int_equal(ingest_admit_check(&a, three, MIB), 0);
  assert_int_equal(ingest_admit_check(&a, three, MIB + 1), MUSTER__V1__REASON__REASON_BUSY_BUDGET);
  ingest_admit_finish(&a);
}

/* What is charged covers the message, and a record's word twice. */
static void the_charge_covers_the_words(void **state)
{
  (void)state;
  assert_true(ingest_admit_cost(1000, 10) >= 1000 + 10 * 16);
  assert_true(ingest_admit_cost(0, 0) > 0);
}

static void credit_shrinks_with_the_budget(void **state)
{
  (void)state;
  struct ingest_admit a;
  assert_int_equal(ingest_admit_init(&a, 64 * MIB, 16, 8, 16), MUSTER_OK);
  assert_int_equal(ingest_admit_credit(&a), 16);
  uint32_t greedy = peer_of(&a, 1, 1), modest = peer_of(&a, 2, 1), credit = 16, slot = 0;
  for (; slot < 13; slot++) {
    ingest_admit_take(&a, greedy, slot, 4 * MIB);
    assert_true(ingest_admit_credit(&a) <= credit);
    credit = ingest_admit_credit(&a);
  }
  assert_int_equal(credit, 3); /* 12 MiB are left for one peer with batches of 4 */
  /* Over three quarters are held: the greedy one is refused before the budget is full, the modest one is not. */
  assert_int_equal(ingest_admit_check(&a, greedy, 4 * MIB), MUSTER__V1__REASON__REASON_BUSY_CREDIT);
  assert_int_equal(ingest_admit_check(&a, modest, 4 * MIB), 0);
  ingest_admit_take(&a, modest, slot++, 4 * MIB);
  ingest_admit_take(&a, modest, slot++, 4 * MIB);
  ingest_admit_take(&a, modest, slot++, 4 * MIB);
  assert_int_equal(ingest_admit_credit(&a), 1); /* never none, or nobody would ever send again */
  ingest_admit_finish(&a);
}

static void turns_go_round(void **state)
{
  (void)state;
  struct ingest_admit a;
  assert_int_equal(ingest_admit_init(&a, 1024 * MIB, 1000, 3, 16), MUSTER_OK);
  uint32_t flood = peer_of(&a, 1, 1), single = peer_of(&a, 2, 1), slot = 0;
  for (; slot < 500; slot++)
    ingest_admit_take(&a, flood, slot, 1000);
  for (uint32_t i = 0; i < 3; i++)
    assert_int_equal(ingest_admit_turn(&a), i);
  assert_int_equal(ingest_admit_turn(&a), INGEST_NONE); /* enough are at the workers */
  for (uint32_t i = 0; i < 5; i++)
    ingest_admit_take(&a, single, slot++, 10); /* 500 to 504 */
  uint32_t order[8];
  for (uint32_t i = 0; i < 8; i++) {
    ingest_admit_returned(&a);
    order[i] = ingest_admit_turn(&a);
  }
  const uint32_t expected[] = {3, 500, 4, 501, 5, 502, 6, 503};
  assert_memory_equal(order, expected, sizeof expected);
  assert_int_equal(a.at_workers, 3);
  for (uint32_t last = 0, i = 0; i < 492; i++, last = slot) { /* all of them come to an end */
    ingest_admit_returned(&a);
    slot = ingest_admit_turn(&a);
    assert_true(slot < 505 && slot != last);
  }
  for (int i = 0; i < 3; i++)
    ingest_admit_returned(&a);
  while (ingest_admit_turn(&a) != INGEST_NONE)
    ingest_admit_returned(&a);
  assert_int_equal(a.at_workers, 0);
  ingest_admit_finish(&a);
}

static void a_full_peer_table_evicts_the_longest_idle(void **state)
{
  (void)state;
  struct ingest_admit a;
  assert_int_equal(ingest_admit_init(&a, MIB, 4, 3, 4), MUSTER_OK);
  uint32_t peer[5];
  for (uint32_t i = 0; i < 4; i++)
    peer[i] = peer_of(&a, i, i);
  a.peers[peer[1]].said_hello = true;
  ingest_admit_take(&a, peer[0], 0, 100);
  assert_int_equal(peer_of(&a, 1, 10), peer[1]); /* heard again: number 2 is the oldest idle one now */
  peer[4] = peer_of(&a, 4, 11);
  assert_int_equal(peer[4], peer[2]);
  assert_int_equal(peer_of(&a, 1, 12), peer[1]);
  assert_true(a.peers[peer[1]].said_hello);
  assert_int_equal(peer_of(&a, 0, 12), peer[0]);
  ingest_admit_take(&a, peer[1], 1, 100);
  ingest_admit_take(&a, peer[3], 2, 100);
  ingest_admit_take(&a, peer[4], 3, 100);
  assert_int_equal(peer_of(&a, 5, 13), INGEST_NONE); /* nobody with batches in flight is evicted */
  ingest_admit_release(&a, peer[3], 100);
  assert_int_equal(peer_of(&a, 5, 14), peer[3]);
  assert_int_equal(ingest_admit_peers_heard(&a, 12), 1); /* number 1 alone said hello */
  assert_int_equal(ingest_admit_peers_heard(&a, 13), 0);
  ingest_admit_finish(&a);
}

static void the_same_identity_on_another_link_is_another_peer(void **state)
{
  (void)state;
  struct ingest_admit a;
  assert_int_equal(ingest_admit_init(&a, MIB, 4, 3, 40), MUSTER_OK);
  uint32_t seen[40];
  for (uint32_t i = 0; i < 40; i++) {
    uint8_t identity[3] = {(uint8_t)(i / 2), 'x', 'y'};
    seen[i] = ingest_admit_peer(&a, i % 2 ? INGEST_TCP : INGEST_IPC, identity, i % 4 < 2 ? 2 : 3, 7, i);
    for (uint32_t j = 0; j < i; j++)
      assert_int_not_equal(seen[i], seen[j]);
  }
  ingest_admit_finish(&a);
}

static void retry_after_follows_the_drain_rate(void **state)
{
  (void)state;
  struct ingest_admit a;
  const uint32_t budget = MUSTER__V1__REASON__REASON_BUSY_BUDGET, credit = MUSTER__V1__REASON__REASON_BUSY_CREDIT;
  assert_int_equal(ingest_admit_init(&a, 100 * MIB, 100, 100, 4), MUSTER_OK);
  uint32_t one = peer_of(&a, 1, 1), two = peer_of(&a, 2, 1), slot = 0;
  uint64_t now_ns = SECOND;
  ingest_admit_tick(&a, now_ns);
  assert_in_range(ingest_admit_retry_after_ms(&a, one, budget), 5, 5000);
  for (; slot < 60; slot++)
    ingest_admit_take(&a, slot < 50 ? one : two, slot, MIB);
  for (; a.held_batches > 40;) { /* 2 MiB in each tenth of a second: 20 MiB a second */
    ingest_admit_release(&a, one, MIB);
    ingest_admit_release(&a, one, MIB);
    now_ns += SECOND / 10;
    ingest_admit_tick(&a, now_ns);
  }
  assert_in_range(ingest_admit_retry_after_ms(&a, one, budget), 950, 1050); /* half of 40 MiB */
  assert_in_range(ingest_admit_retry_after_ms(&a, one, credit), 60, 75);    /* 40 MiB hold 30 of its batches */
  assert_in_range(ingest_admit_retry_after_ms(&a, two, credit), 190, 210);  /* 10 of its batches */
  for (int i = 0; i < 100; i++) {                                           /* nothing leaves any more */
    now_ns += SECOND / 10;
    ingest_admit_tick(&a, now_ns);
  }
  assert_int_equal(ingest_admit_retry_after_ms(&a, one, budget), 5000);
  while (a.peers[one].in_flight > 0)
    ingest_admit_release(&a, one, MIB);
  while (a.peers[two].in_flight > 0)
    ingest_admit_release(&a, two, MIB);
  for (int i = 0; i < 5; i++) {
    ingest_admit_take(&a, one, 0, 50 * MIB); /* a node that drains 500 MiB/s */
    ingest_admit_release(&a, one, 50 * MIB);
    now_ns += SECOND / 10;
    ingest_admit_tick(&a, now_ns);
  }
  double rate = a.drained_per_s;
  for (int i = 0; i < 50; i++) { /* idle: that is no rate */
    now_ns += SECOND / 10;
    ingest_admit_tick(&a, now_ns);
  }
  assert_true(a.drained_per_s == rate && rate > 100.0 * MIB);
  assert_int_equal(ingest_admit_retry_after_ms(&a, one, budget), 5);
  assert_int_equal(ingest_admit_retry_after_ms(&a, one, MUSTER__V1__REASON__REASON_BUSY_DRAINING), 1000);
  ingest_admit_finish(&a);
}

static void unread_answers_keep_their_order(void **state)
{
  (void)state;
  struct ingest_admit a;
  assert_int_equal(ingest_admit_init(&a, MIB, 100, 100, 4), MUSTER_OK);
  uint32_t one = peer_of(&a, 1, 1);
  for (uint32_t i = 0; i < 5; i++) {
    ingest_admit_take(&a, one, i, 10);
    assert_int_equal(ingest_admit_turn(&a), i);
  }
  for (uint32_t i = 5; i-- > 0;)
    ingest_admit_unsent_push(&a, one, i);
  for (uint32_t i = 5; i-- > 0;) {
    assert_int_equal(ingest_admit_unsent_first(&a, one), i);
    ingest_admit_unsent_pop(&a, one);
  }
  assert_int_equal(ingest_admit_unsent_first(&a, one), INGEST_NONE);
  assert_int_equal(a.unsent_batches, 0);
  ingest_admit_finish(&a);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(budget_and_credit_bound_what_is_held),
      cmocka_unit_test(the_charge_covers_the_words),
      cmocka_unit_test(credit_shrinks_with_the_budget),
      cmocka_unit_test(turns_go_round),
      cmocka_unit_test(a_full_peer_table_evicts_the_longest_idle),
      cmocka_unit_test(the_same_identity_on_another_link_is_another_peer),
      cmocka_unit_test(retry_after_follows_the_drain_rate),
      cmocka_unit_test(unread_answers_keep_their_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
