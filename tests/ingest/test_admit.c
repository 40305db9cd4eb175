/* ingest/admit.c: budget, credit, shares, fair turns, retry-after. */
#include "ingest/stage.h"

#include "ingest/admit.h"

#define MIB UINT64_C(1048576)
#define SECOND UINT64_C(1000000000)

/* A connection of a submitter. */
static uint32_t connection_of(struct ingest_admit *a, uint32_t number, uint32_t submitter)
{
  const struct ingest_caller caller = {.submitter = submitter, .identity = (const uint8_t *)&number, .identity_size = sizeof number};
  return ingest_peers_hear(&a->peers, &caller);
}

/* One of a submitter of its own. */
static uint32_t peer_of(struct ingest_admit *a, uint32_t number) { return connection_of(a, number, number); }

static void budget_and_credit_bound_what_is_held(void **state)
{
  (void)state;
  struct ingest_admit a;
  assert_int_equal(ingest_admit_init(&a, 10 * MIB, 4, 8, 16), MUSTER_OK);
  uint32_t one = peer_of(&a, 1), slot = 0;
  for (; slot < 4; slot++) {
    assert_int_equal(ingest_admit_check(&a, one, MIB), 0);
    ingest_admit_take(&a, one, slot, MIB);
  }
  assert_int_equal(ingest_admit_check(&a, one, MIB), MUSTER__V1__REASON__REASON_BUSY_CREDIT);
  uint32_t two = peer_of(&a, 2);
  assert_int_equal(ingest_admit_check(&a, two, 6 * MIB), 0);
  assert_int_equal(ingest_admit_check(&a, two, 6 * MIB + 1), MUSTER__V1__REASON__REASON_BUSY_BUDGET);
  ingest_admit_take(&a, two, slot++, 6 * MIB);
  assert_int_equal(a.used_bytes, a.budget_bytes);
  uint32_t three = peer_of(&a, 3);
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

static void one_connection_leaves_room_for_others(void **state)
{
  (void)state;
  struct ingest_admit a;
  assert_int_equal(ingest_admit_init(&a, 64 * MIB, 100, 8, 16), MUSTER_OK);
  assert_int_equal(ingest_admit_credit(&a, INGEST_NONE), 100);
  uint32_t greedy = peer_of(&a, 1), modest = peer_of(&a, 2), slot = 0;
  while (ingest_admit_check(&a, greedy, 4 * MIB) == 0)
    ingest_admit_take(&a, greedy, slot++, 4 * MIB);
  assert_int_equal(ingest_admit_check(&a, greedy, 4 * MIB), MUSTER__V1__REASON__REASON_BUSY_CREDIT);
  assert_int_equal(slot, 10); /* a quarter of 64 MiB is left to other submitters, an eighth of the rest to its own connections */
  assert_int_equal(ingest_admit_credit(&a, greedy), 10); /* what it is told is what it gets */
  assert_int_equal(ingest_admit_check(&a, modest, 4 * MIB), 0);
  assert_true(ingest_admit_credit(&a, modest) >= 3);
  while (ingest_admit_check(&a, modest, 4 * MIB) == 0)
    ingest_admit_take(&a, modest, slot++, 4 * MIB);
  assert_int_equal(slot, 13);
  assert_true(ingest_admit_credit(&a, greedy) < 10); /* it makes room as its batches leave */
  assert_int_equal(ingest_admit_check(&a, peer_of(&a, 3), 4 * MIB), 0);
  ingest_admit_take(&a, peer_of(&a, 3), slot++, 12 * MIB);
  assert_int_equal(ingest_admit_credit(&a, modest), 1); /* never none, or nobody would ever send again */
  ingest_admit_finish(&a);
}

/* Takes whatever a connection is given, of batches of this cost, at most so many. */
static uint32_t take_all(struct ingest_admit *a, uint32_t peer, uint32_t *slot, uint64_t cost, uint32_t most)
{
  uint32_t taken = 0;
  while (peer != INGEST_NONE && taken < most && ingest_admit_check(a, peer, cost) == 0) {
    ingest_admit_take(a, peer, (*slot)++, cost);
    taken++;
  }
  return taken;
}

/* However many connections a submitter floods with, every other one is let in, with little and with much: by slots, by bytes, by entries. */
static void many_connections_of_one_submitter_shut_nobody_out(void **state)
{
  (void)state;
  const struct {
    uint32_t credit, peers, connections;
    uint64_t cost;
  } flood[] = {{16, 1024, 260, 600},  {16, 1024, 1024, 600},   {1, 1024, 5000, 600},
               {1024, 65535, 4, 600}, {16, 1024, 300, 200000}, {1, 64, 64, MIB}};
  for (size_t i = 0; i < sizeof flood / sizeof flood[0]; i++) {
    struct ingest_admit a;
    uint32_t slot = 0, taken = 0;
    assert_int_equal(ingest_admit_init(&a, 256 * MIB, flood[i].credit, 12, flood[i].peers), MUSTER_OK);
    for (uint32_t c = 0; c < flood[i].connections; c++)
      taken += take_all(&a, connection_of(&a, c, 1), &slot, flood[i].cost, flood[i].credit);
    assert_true(taken <= LIMIT_BATCHES_IN_FLIGHT / 4 * 3 && a.used_bytes <= a.budget_bytes / 4 * 3 &&
                a.busy_peers <= flood[i].peers / 4 * 3);
    for (uint32_t n = 0; n < 4; n++) { /* submitters of their own, with a batch that is no trifle */
      uint32_t honest = connection_of(&a, 100000 + n, 50 + n);
      assert_int_not_equal(honest, INGEST_NONE);
      assert_int_equal(ingest_admit_check(&a, honest, 4 * MIB), 0);
      ingest_admit_take(&a, honest, slot++, 4 * MIB);
    }
    uint32_t more = connection_of(&a, 100004, 50); /* one that holds something has more of its own, too */
    assert_int_equal(ingest_admit_check(&a, more, 600), 0);
    ingest_admit_finish(&a);
  }
}

/* The same with many greedy submitters: they settle at equal shares, and the next one finds room. */
static void many_greedy_submitters_leave_room_for_the_next(void **state)
{
  (void)state;
  struct ingest_admit a;
  uint32_t slot = 0, most = 0, least = UINT32_MAX;
  assert_int_equal(ingest_admit_init(&a, 256 * MIB, 1024, 12, 4000), MUSTER_OK);
  for (uint32_t round = 0; round < 1000; round++)
    for (uint32_t s = 0; s < 200; s++)
      take_all(&a, connection_of(&a, s * 5 + round % 5, s), &slot, 600, 1);
  for (uint32_t s = 0; s < 200; s++) {
    uint32_t held = a.peers.submitter[a.peers.peer[connection_of(&a, s * 5, s)].owner].in_flight;
    most = held > most ? held : most;
    least = held < least ? held : least;
  }
  assert_true(most - least <= 1 && least >= 10);
  for (uint32_t s = 1000; s < 1000 + LIMIT_BATCHES_IN_FLIGHT / LIMIT_KEPT_FREE; s++)
    assert_int_equal(take_all(&a, connection_of(&a, s, s), &slot, 600, 1), 1);
  assert_true(slot <= LIMIT_BATCHES_IN_FLIGHT);
  ingest_admit_finish(&a);
}

/* What is bounded is bytes: of small batches a connection has more in flight, of large ones the setting, and no share is exceeded. */
static void small_batches_have_more_credit(void **state)
{
  (void)state;
  struct ingest_admit a;
  uint32_t slot = 0;
  assert_int_equal(ingest_admit_init(&a, 256 * MIB, 16, 12, 16), MUSTER_OK);
  uint32_t small = peer_of(&a, 1), large = peer_of(&a, 2), tiny = peer_of(&a, 3);
  assert_int_equal(ingest_admit_credit(&a, small), 16);
  assert_int_equal(take_all(&a, small, &slot, LIMIT_CREDIT_BYTES / 20, 5000), 320);
  assert_int_equal(ingest_admit_credit(&a, small), 320);
  assert_int_equal(take_all(&a, large, &slot, LIMIT_CREDIT_BYTES * 2, 5000), 16);
  assert_int_equal(ingest_admit_credit(&a, large), 16);
  assert_int_equal(take_all(&a, tiny, &slot, 600, 5000), LIMIT_CREDIT);
  ingest_admit_finish(&a);
}

/* Several programs of one user, who are one submitter: a newcomer among them is let in, and has its turn. */
static void connections_of_one_submitter_are_fair_to_each_other(void **state)
{
  (void)state;
  struct ingest_admit a;
  uint32_t slot = 0;
  assert_int_equal(ingest_admit_init(&a, 256 * MIB, 1024, 1, 1024), MUSTER_OK);
  for (uint32_t c = 0; c < 100; c++)
    take_all(&a, connection_of(&a, c, 0), &slot, 600, 1024);
  uint32_t late = connection_of(&a, 100, 0), first = slot;
  assert_int_equal(take_all(&a, late, &slot, 600, 1), 1);
  uint32_t turns = 1;
  for (uint32_t next; (next = ingest_admit_turn(&a)) != first; turns++)
    ingest_admit_returned(&a, next);
  assert_true(turns <= 101);
  ingest_admit_finish(&a);
}

static void turns_go_round(void **state)
{
  (void)state;
  struct ingest_admit a;
  assert_int_equal(ingest_admit_init(&a, 1024 * MIB, 1000, 3000, 16), MUSTER_OK);
  uint32_t flood = peer_of(&a, 1), single = peer_of(&a, 2), slot = 0;
  for (; slot < 500; slot++)
    ingest_admit_take(&a, flood, slot, 1000);
  for (uint32_t i = 0; i < 3; i++)
    assert_int_equal(ingest_admit_turn(&a), i);
  assert_int_equal(ingest_admit_turn(&a), INGEST_NONE); /* enough are at the workers */
  for (uint32_t i = 0; i < 5; i++)
    ingest_admit_take(&a, single, slot++, 1000); /* 500 to 504 */
  uint32_t order[8];
  for (uint32_t i = 0; i < 8; i++) {
    ingest_admit_returned(&a, i < 3 ? i : order[i - 3]);
    order[i] = ingest_admit_turn(&a);
  }
  const uint32_t expected[] = {3, 500, 4, 501, 5, 502, 6, 503};
  assert_memory_equal(order, expected, sizeof expected);
  assert_int_equal(a.at_workers_bytes, 3000);
  uint32_t there[3] = {order[5], order[6], order[7]}, left = 0;
  for (uint32_t i = 0;; i = (i + 1) % 3) { /* all of them come to an end */
    ingest_admit_returned(&a, there[i]);
    if ((there[i] = ingest_admit_turn(&a)) == INGEST_NONE) {
      ingest_admit_returned(&a, there[(i + 1) % 3]);
      ingest_admit_returned(&a, there[(i + 2) % 3]);
      break;
    }
    assert_true(there[i] < 505);
    left++;
  }
  assert_int_equal(left, 505 - 11);
  assert_int_equal(a.at_workers_bytes, 0);
  ingest_admit_finish(&a);
}

/* A submitter with many connections has one turn, and its connections share it. */
static void turns_go_round_among_submitters(void **state)
{
  (void)state;
  struct ingest_admit a;
  assert_int_equal(ingest_admit_init(&a, 1024 * MIB, 1000, 1, 400), MUSTER_OK);
  uint32_t slot = 0, order[8];
  for (uint32_t c = 0; c < 300; c++)
    for (uint32_t i = 0; i < 2; i++)
      ingest_admit_take(&a, connection_of(&a, c, 1), slot++, 1000);
  for (uint32_t i = 0; i < 3; i++)
    ingest_admit_take(&a, connection_of(&a, 500, 2), slot++, 10); /* 600 to 602 */
  for (uint32_t i = 0; i < 8; i++) {
    order[i] = ingest_admit_turn(&a);
    ingest_admit_returned(&a, order[i]);
  }
  const uint32_t expected[] = {0, 600, 2, 601, 4, 602, 6, 8};
  assert_memory_equal(order, expected, sizeof expected);
  uint32_t left = 0;
  for (uint32_t next; (next = ingest_admit_turn(&a)) != INGEST_NONE; left++)
    ingest_admit_returned(&a, next);
  assert_int_equal(left, 595);
  ingest_admit_finish(&a);
}

static void retry_after_follows_the_drain_rate(void **state)
{
  (void)state;
  struct ingest_admit a;
  const uint32_t budget = MUSTER__V1__REASON__REASON_BUSY_BUDGET, credit = MUSTER__V1__REASON__REASON_BUSY_CREDIT;
  assert_int_equal(ingest_admit_init(&a, 100 * MIB, 100, 100, 4), MUSTER_OK);
  uint32_t one = peer_of(&a, 1), two = peer_of(&a, 2), slot = 0;
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
  assert_in_range(ingest_admit_retry_after_ms(&a, one, credit), 95, 105);   /* one batch of each of the two */
  assert_in_range(ingest_admit_retry_after_ms(&a, two, credit), 95, 105);
  for (int i = 0; i < 100; i++) { /* nothing leaves any more */
    now_ns += SECOND / 10;
    ingest_admit_tick(&a, now_ns);
  }
  assert_int_equal(ingest_admit_retry_after_ms(&a, one, budget), 5000);
  while (a.peers.peer[one].in_flight > 0)
    ingest_admit_release(&a, one, MIB);
  while (a.peers.peer[two].in_flight > 0)
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
  ingest_admit_finish(&a);
}

static void unread_answers_keep_their_order(void **state)
{
  (void)state;
  struct ingest_admit a;
  assert_int_equal(ingest_admit_init(&a, MIB, 100, 100, 4), MUSTER_OK);
  uint32_t one = peer_of(&a, 1);
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
      cmocka_unit_test(one_connection_leaves_room_for_others),
      cmocka_unit_test(many_connections_of_one_submitter_shut_nobody_out),
      cmocka_unit_test(many_greedy_submitters_leave_room_for_the_next),
      cmocka_unit_test(small_batches_have_more_credit),
      cmocka_unit_test(connections_of_one_submitter_are_fair_to_each_other),
      cmocka_unit_test(turns_go_round),
      cmocka_unit_test(turns_go_round_among_submitters),
      cmocka_unit_test(retry_after_follows_the_drain_rate),
      cmocka_unit_test(unread_answers_keep_their_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
