/* ingest/flow.c: a batch's whole way, busy answers, peers that do not read, shards that are down, the drain. */
#include "ingest/node.h"

#include "core/clock.h"
#include "proto/digest.h"
#include "workers/watermark.h"

static_assert(WATERMARK_INTERVAL_NS <= LIMIT_RETRY_DISK_MS * UINT64_C(1000000), "who comes back finds that the disk was looked at again");

#define REASON(name) MUSTER__V1__REASON__REASON_##name

static uint64_t scripted_ns;
static uint64_t scripted_monotonic(void *context)
{
  (void)context;
  return scripted_ns;
}
static int64_t scripted_wall(void *context)
{
  (void)context;
  return 1;
}

static int teardown(void **state)
{
  node_destroy(*state);
  clock_set_source(NULL);
  return 0;
}

/* Time stands still where a test does not move it. */
static int setup(void **state)
{
  static const struct clock_source source = {.wall_us = scripted_wall, .monotonic_ns = scripted_monotonic};
  struct node *n = *state = node_create();
  scripted_ns = n->now_ns;
  clock_set_source(&source);
  return 0;
}

/* The first number from `from` on whose record belongs to this shard of two. */
static uint32_t number_of_shard(uint32_t shard, uint32_t from)
{
  uint8_t id[16];
  for (stage_id(id, from); digest_shard(id, 2) != shard; stage_id(id, ++from))
    ;
  return from;
}

static void a_single_record_waits_behind_few_of_a_flood(void **state)
{
  struct node *n = *state;
  n->config.credit = 200;
  n->config.dispatch_bytes = 3 * ingest_admit_cost(50 * 52, 50) + 1;
  node_start(n);
  for (uint32_t i = 0; i < 200; i++)
    node_submit(n, 'f', i, 1000, 50);
  node_submit(n, 's', 1, 0, 1);
  assert_int_equal(node_parts(n, 0), 4); /* no more than the bound are at the workers */
  uint32_t flood = 0;
  for (bool single = false; !single;) {
    for (uint32_t shard = 0; shard < 2; shard++)
      node_work_one(n, shard);
    while (node_answers(n) > 0 && !single) {
      single = n->answer[n->answer_first].identity[0] == 's';
      link_message_finish(&n->answer[n->answer_first++]);
      flood += !single;
    }
  }
  assert_in_range(flood, 1, 6);
  node_work(n);
  assert_int_equal(node_answers(n) + flood, 200);
  assert_int_equal(counters_get(n->counters, COUNTER_batches_in_flight), 0);
  assert_int_equal(counters_get(n->counters, COUNTER_budget_used_bytes), 0);
}

/* The table of batches is full of one submitter's, by many connections, and the workers stand still: another one is let in, and is next. */
static void a_flood_of_connections_shuts_nobody_out(void **state)
{
  struct node *n = *state;
  n->config.credit = 20;
  n->config.dispatch_bytes = 12 * ingest_admit_cost(49, 1);
  node_start(n);
  for (uint32_t c = 1; c <= 250; c++)
    for (uint32_t i = 0; i < 20; i++)
      node_submit(n, (char)c, i, c * 20 + i, 1);
  uint32_t told_busy = node_answers(n);
  assert_true(told_busy >= 5000 - LIMIT_BATCHES_IN_FLIGHT / 4 * 3);
  n->submitter = 7;
  for (uint32_t i = 0; i < 10; i++)
    node_submit(n, (char)251, i, 6000 + i, 1);
  assert_int_equal(node_answers(n), told_busy); /* not one of them was told BUSY */
  uint32_t before = 0, got = 0;
  n->answer_first = n->answer_end;
  for (uint32_t turn = 0; got < 10; turn++) {
    node_work_one(n, turn % 2);
    for (; node_answers(n) > 0; link_message_finish(&n->answer[n->answer_first++])) {
      bool honest = n->answer[n->answer_first].identity[0] == 251;
      got += honest;
      before += !honest;
    }
  }
  assert_in_range(before, 10, 40); /* 12 are at the workers, then every other turn */
}

/* Who sent and went: what it sent is kept, the answer finds nobody, and it is no peer any more. */
static void who_is_gone_is_no_peer(void **state)
{
  struct node *n = *state;
  node_start(n);
  node_submit(n, 'a', 1, 0, 10);
  ingest_flow_gauges(&n->flow);
  assert_int_equal(counters_get(n->counters, COUNTER_peers), 1);
  n->answer_status = MUSTER_ERR_NOT_FOUND;
  node_work(n);
  ingest_flow_gauges(&n->flow);
  assert_int_equal(counters_get(n->counters, COUNTER_peers), 0);
  n->answer_status = MUSTER_OK;
  node_submit(n, 'a', 2, 0, 10);
  node_work(n);
  node_expect(n, 'a', 2, 0, 0, 10);
}

static void busy_is_told_before_anything_is_held(void **state)
{
  struct node *n = *state;
  n->config.credit = 3;
  n->config.budget_bytes = 12000;
  node_start(n);
  n->flow.admit.credit_bytes = 0; /* a batch is a batch */
  for (uint64_t i = 0; i < 4; i++)
    node_submit(n, 'a', i, 0, 5);
  assert_in_range(node_expect(n, 'a', 3, REASON(BUSY_CREDIT), 0, 5), 5, 5000);
  node_submit(n, 'b', 9, 0, 200);
  assert_in_range(node_expect(n, 'b', 9, REASON(BUSY_BUDGET), 0, 200), 5, 5000);
  assert_int_equal(counters_get(n->counters, COUNTER_batches_busy), 2);
  assert_int_equal(counters_get(n->counters, COUNTER_records_received), 15);
  node_work(n);
  for (uint64_t i = 0; i < 3; i++)
    node_expect(n, 'a', i, 0, 0, 5);
  node_submit(n, 'a', 3, 0, 5); /* resent, it is taken */
  node_work(n);
  node_expect(n, 'a', 3, 0, 0, 5);
}

static void a_peer_that_does_not_read_keeps_its_answers_within_its_credit(void **state)
{
  struct node *n = *state;
  n->config.credit = 4;
  node_start(n);
  n->flow.admit.credit_bytes = 0; /* a batch is a batch */
  n->answer_status = MUSTER_ERR_AGAIN;
  for (uint64_t i = 0; i < 4; i++)
    node_submit(n, 'a', i, (uint32_t)i * 10, 10);
  node_work(n);
  assert_int_equal(node_answers(n), 0);
  uint64_t used = counters_get(n->counters, COUNTER_budget_used_bytes);
  assert_true(used > 0);
  uint32_t refused = n->answer_refused;
  assert_int_equal(refused, 1); /* the others queue behind the first, and the socket is not asked in vain */
  node_submit(n, 'a', 4, 0, 10);
  assert_int_equal(n->flow.admit.peers.peer[0].in_flight, 4);
  assert_int_equal(counters_get(n->counters, COUNTER_batches_busy), 1);
  n->answer_status = MUSTER_OK;
  ingest_flow_writable(&n->flow, INGEST_TCP); /* another link */
  assert_int_equal(node_answers(n), 0);
  ingest_flow_writable(&n->flow, INGEST_IPC);
  for (uint64_t i = 0; i < 4; i++)
    node_expect(n, 'a', i, 0, (uint32_t)i * 10, 10);
  assert_int_equal(counters_get(n->counters, COUNTER_budget_used_bytes), 0);
  assert_int_equal(counters_get(n->counters, COUNTER_answers_dropped), 0);
  node_submit(n, 'a', 4, 0, 10);
  node_work(n);
  node_expect(n, 'a', 4, 0, 0, 10);
}

static void answers_that_nobody_takes_are_dropped(void **state)
{
  struct node *n = *state;
  node_start(n);
  n->answer_status = MUSTER_ERR_NOT_FOUND; /* gone */
  node_submit(n, 'a', 1, 0, 10);
  node_work(n);
  assert_int_equal(counters_get(n->counters, COUNTER_answers_dropped), 1);
  assert_int_equal(counters_get(n->counters, COUNTER_budget_used_bytes), 0);
  n->answer_status = MUSTER_ERR_AGAIN; /* there, but it never reads */
  node_submit(n, 'a', 2, 0, 10);
  node_submit(n, 'a', 3, 0, 10);
  node_work(n);
  ingest_flow_tick(&n->flow, scripted_ns + (n->config.answer_timeout_ms - 1) * UINT64_C(1000000));
  assert_int_equal(counters_get(n->counters, COUNTER_answers_dropped), 1);
  ingest_flow_tick(&n->flow, scripted_ns + n->config.answer_timeout_ms * UINT64_C(1000000));
  assert_int_equal(counters_get(n->counters, COUNTER_answers_dropped), 3);
  assert_int_equal(counters_get(n->counters, COUNTER_budget_used_bytes), 0);
  assert_int_equal(n->flow.admit.peers.peer[0].in_flight, 0);
  assert_int_equal(counters_get(n->counters, COUNTER_records_accepted), 30); /* they are durable all the same */
  stage_conserved(n->counters);
}

static void a_shard_that_is_down_stands_in_nobodys_way(void **state)
{
  struct node *n = *state;
  n->config.dispatch_bytes = ingest_admit_cost(52, 1) + 1;
  n->config.credit = 100;
  node_start(n);
  uint32_t up = number_of_shard(0, 0), down = number_of_shard(1, 0);
  node_submit(n, 'a', 1, down, 1);
  node_submit(n, 'a', 2, down, 1);
  node_submit(n, 'a', 3, up, 1); /* waits: two are at the workers */
  assert_int_equal(node_parts(n, 0), 0);
  node_die(n, 1);
  assert_int_equal(counters_get(n->counters, COUNTER_shards_serving), 1);
  assert_int_equal(node_parts(n, 0), 1);
  node_work(n);
  node_expect(n, 'a', 3, 0, up, 1);
  node_submit(n, 'a', 4, down, 1); /* a worker is back soon: it may wait */
  assert_int_equal(node_answers(n), 0);
  n->now_ns = scripted_ns += INGEST_DOWN_GRACE_MS * UINT64_C(1000000);
  node_submit(n, 'a', 5, down, 1);
  assert_int_equal(node_expect(n, 'a', 5, REASON(BUSY_SHARD_DOWN), 0, 1), INGEST_DOWN_GRACE_MS / 2); /* half of the time it has been down */
  n->now_ns = scripted_ns += UINT64_C(5000000000);
  node_submit(n, 'a', 7, down, 1);
  assert_int_equal(node_expect(n, 'a', 7, REASON(BUSY_SHARD_DOWN), 0, 1), 3000);
  n->now_ns = scripted_ns += UINT64_C(3600000000000);
  node_submit(n, 'a', 8, down, 1);
  assert_int_equal(node_expect(n, 'a', 8, REASON(BUSY_SHARD_DOWN), 0, 1), LIMIT_RETRY_MAX_MS);
  node_submit(n, 'a', 6, up, 1);
  node_work(n);
  node_expect(n, 'a', 6, 0, up, 1);
  node_serve(n, 1);
  assert_int_equal(node_parts(n, 1), 3);
  node_work(n);
  node_expect(n, 'a', 1, 0, down, 1);
  node_expect(n, 'a', 2, 0, down, 1);
  node_expect(n, 'a', 4, 0, down, 1);
  assert_int_equal(n->flow.admit.at_workers_bytes, 0);
  assert_int_equal(counters_get(n->counters, COUNTER_parts_resent), 2);
}

/* A batch whose only open part is at a shard that is down makes room for others, also where the shard died first. */
static void what_only_waits_for_a_shard_that_is_down_makes_room(void **state)
{
  struct node *n = *state;
  n->config.dispatch_bytes = 1;
  node_start(n);
  uint32_t up = number_of_shard(0, 0);
  node_submit(n, 'a', 1, 0, 100);
  node_submit(n, 'a', 2, up, 1);
  node_die(n, 1);
  assert_int_equal(node_parts(n, 0), 1);
  node_work_one(n, 0);
  assert_int_equal(node_parts(n, 0), 1); /* the second batch */
  node_work_one(n, 0);
  node_expect(n, 'a', 2, 0, up, 1);
  node_serve(n, 1);
  node_work(n);
  node_expect(n, 'a', 1, 0, 0, 100);
  assert_int_equal(n->flow.admit.at_workers_bytes, 0);
}

/* The oldest answer, for peer 'a': the records of shard 1 are told BUSY_SHARD_DOWN, those of shard 0 are ACCEPTED from record first on.
 * Returns how many are told BUSY; *retry_after_ms as told. */
static uint32_t expect_half(struct node *n, uint64_t batch_id, uint32_t first, uint32_t count, uint32_t *retry_after_ms)
{
  struct link_message *m = node_take(n, 'a');
  Muster__V1__AnswerHeader *h = stage_header(&m->frame[0]);
  Muster__V1__Verdicts *v = stage_verdicts(&m->frame[1]);
  uint32_t busy = 0;
  assert_true(!h->has_batch_verdict && h->batch_id == batch_id && h->has_retry_after_ms);
  assert_int_equal(v->n_word, count);
  for (uint32_t i = 0; i < count; i++) {
    uint8_t id[16];
    stage_id(id, first + i);
    uint32_t shard = digest_shard(id, 2);
    assert_true(v->word[i] == (shard ? verdict_refused(MUSTER__V1__VERDICT__VERDICT_BUSY, 1, REASON(BUSY_SHARD_DOWN), 0)
                                     : verdict_durable(MUSTER__V1__VERDICT__VERDICT_ACCEPTED, 0, first + i + 1)));
    busy += shard;
  }
  *retry_after_ms = h->retry_after_ms;
  muster__v1__verdicts__free_unpacked(v, NULL);
  muster__v1__answer_header__free_unpacked(h, NULL);
  link_message_finish(m);
  return busy;
}

/* A shard that stays away costs its own records their time, and those of the others none of theirs. */
static void a_batch_for_a_shard_that_is_down_commits_the_rest(void **state)
{
  struct node *n = *state;
  uint32_t retry_after_ms, busy;
  n->config.dispatch_bytes = 1; /* one batch at the workers: the second waits for its turn */
  node_start(n);
  node_die(n, 1);
  n->now_ns = scripted_ns += 4 * INGEST_DOWN_GRACE_MS * UINT64_C(1000000);
  node_submit(n, 'a', 1, 0, 100);
  node_submit(n, 'a', 2, 100, 100);
  assert_int_equal(node_answers(n), 0);
  assert_int_equal(node_parts(n, 0), 1);
  assert_int_equal(node_parts(n, 1), 0);
  node_work(n);
  busy = expect_half(n, 1, 0, 100, &retry_after_ms);
  assert_int_equal(retry_after_ms, 2 * INGEST_DOWN_GRACE_MS);
  busy += expect_half(n, 2, 100, 100, &retry_after_ms);
  assert_true(busy > 60 && busy < 140);
  assert_int_equal(counters_get(n->counters, COUNTER_records_accepted), 200 - busy);
  assert_int_equal(counters_get(n->counters, COUNTER_records_handed_back), busy);
  assert_int_equal(counters_get(n->counters, COUNTER_batches_busy), 0);
  assert_int_equal(n->flow.admit.used_bytes, 0);
  assert_int_equal(n->flow.admit.at_workers_bytes, 0);
  /* Back again: the same batches, and nothing of the former ones comes late. */
  node_serve(n, 1);
  assert_int_equal(node_parts(n, 1), 0);
  node_submit(n, 'a', 3, 0, 200);
  node_work(n);
  node_expect(n, 'a', 3, 0, 0, 200);
}

/* The shards that a batch is for have gone while it waited for its turn: it is answered then, and holds nothing. */
static void a_batch_that_finds_nobody_at_its_turn_is_answered(void **state)
{
  struct node *n = *state;
  n->config.dispatch_bytes = 1;
  node_start(n);
  uint32_t up = number_of_shard(0, 0), down = number_of_shard(1, 0);
  node_submit(n, 'a', 1, up, 1);
  for (uint64_t i = 0; i < 3; i++)
    node_submit(n, 'a', 2 + i, down, 1);
  node_die(n, 1);
  n->now_ns = scripted_ns += INGEST_DOWN_GRACE_MS * UINT64_C(1000000);
  node_work(n);
  node_expect(n, 'a', 1, 0, up, 1);
  for (uint64_t i = 0; i < 3; i++) {
    struct link_message *m = node_take(n, 'a');
    Muster__V1__Verdicts *v = stage_verdicts(&m->frame[1]);
    assert_int_equal(v->n_word, 1);
    assert_int_equal(verdict_reason(v->word[0]), REASON(BUSY_SHARD_DOWN));
    muster__v1__verdicts__free_unpacked(v, NULL);
    link_message_finish(m);
  }
  assert_int_equal(n->flow.gather.held, 0);
  assert_int_equal(n->flow.admit.used_bytes, 0);
  assert_int_equal(n->flow.admit.at_workers_bytes, 0);
  assert_int_equal(counters_get(n->counters, COUNTER_records_handed_back), 3);
  stage_conserved(n->counters);
}

/* Half of the batch is durable, the outcome of the other half is unknown: each record is told its own. */
static void a_dead_shard_hands_back_its_part(void **state)
{
  struct node *n = *state;
  node_start(n);
  node_submit(n, 'a', 1, 0, 100);
  uint32_t part_records = n->part[1][0].head.record_count;
  node_work_one(n, 0);
  node_die(n, 1);
  assert_int_equal(node_answers(n), 0);
  n->now_ns = scripted_ns += n->config.shard_timeout_ms * UINT64_C(1000000);
  ingest_flow_tick(&n->flow, n->now_ns);
  struct link_message *m = node_take(n, 'a');
  Muster__V1__AnswerHeader *h = stage_header(&m->frame[0]);
  Muster__V1__Verdicts *v = stage_verdicts(&m->frame[1]);
  assert_true(!h->has_batch_verdict && h->has_retry_after_ms && h->retry_after_ms == n->config.shard_timeout_ms / 2);
  uint32_t retry = 0;
  for (uint32_t i = 0; i < v->n_word; i++) {
    bool back = verdict_kind(v->word[i]) == MUSTER__V1__VERDICT__VERDICT_RETRY;
    assert_true(back ? verdict_shard(v->word[i]) == 1 : verdict_sequence(v->word[i]) == i + 1);
    retry += back;
  }
  assert_int_equal(retry, part_records);
  muster__v1__verdicts__free_unpacked(v, NULL);
  muster__v1__answer_header__free_unpacked(h, NULL);
  link_message_finish(m);
  assert_int_equal(counters_get(n->counters, COUNTER_records_handed_back), part_records);
  assert_int_equal(counters_get(n->counters, COUNTER_records_accepted), 100 - part_records);
  stage_conserved(n->counters);
}

static void a_drain_answers_what_it_has_and_takes_no_more(void **state)
{
  struct node *n = *state;
  n->config.dispatch_bytes = 1;
  node_start(n);
  for (uint64_t i = 0; i < 5; i++)
    node_submit(n, 'a', i, 0, 10);
  ingest_flow_drain(&n->flow);
  ingest_flow_drain(&n->flow);
  assert_int_equal(n->drained, 0);
  node_submit(n, 'b', 9, 0, 10);
  assert_int_equal(node_expect(n, 'b', 9, REASON(BUSY_DRAINING), 0, 10), LIMIT_RETRY_DRAINING_MS);
  node_work(n);
  for (uint64_t i = 0; i < 5; i++)
    node_expect(n, 'a', i, 0, 0, 10);
  assert_int_equal(n->drained, 1);
  assert_int_equal(counters_get(n->counters, COUNTER_records_in_flight), 0);
}

static void a_drain_of_nothing_is_over_at_once(void **state)
{
  struct node *n = *state;
  node_start(n);
  ingest_flow_drain(&n->flow);
  assert_int_equal(n->drained, 1);
}

/* Peers, shards, deaths, unread answers, all at random: at the end everything taken in was answered, and nothing is held. */
static void a_random_day_loses_nothing(void **state)
{
  struct node *n = *state;
  uint32_t submitted = 0;
  n->config.workers = 4;
  n->config.credit = 5;
  n->config.dispatch_bytes = 3000;
  n->config.budget_bytes = 200000;
  n->config.peers = 6;
  node_start(n);
  for (int i = 0; i < 1500; i++) {
    uint32_t shard = (uint32_t)(stage_random() % 4);
    uint64_t dice = stage_random() % 24;
    switch (dice) {
    case 0: node_die(n, shard); break;
    case 1:
    case 2:
      if (!n->flow.shard[shard].serving)
        node_serve(n, shard);
      break;
    case 3: n->answer_status = MUSTER_ERR_AGAIN; break;
    case 4:
    case 5:
      n->answer_status = MUSTER_OK;
      ingest_flow_writable(&n->flow, INGEST_IPC);
      break;
    default:
      if (dice < 15)
        node_work_one(n, shard);
      else
        node_submit(n, (char)('a' + stage_random() % 9), submitted++, (uint32_t)(stage_random() % 10000),
                    1 + (uint32_t)(stage_random() % 60));
      break;
    }
    stage_conserved(n->counters);
    assert_true(n->flow.admit.used_bytes <= n->config.budget_bytes);
    assert_int_equal(n->flow.admit.held_batches, n->flow.gather.held);
  }
  n->answer_status = MUSTER_OK;
  for (uint32_t shard = 0; shard < 4; shard++)
    if (!n->flow.shard[shard].serving)
      node_serve(n, shard);
  node_work(n);
  ingest_flow_writable(&n->flow, INGEST_IPC);
  assert_int_equal(n->flow.gather.held, 0);
  assert_int_equal(n->flow.admit.at_workers_bytes, 0);
  assert_int_equal(n->flow.admit.used_bytes, 0);
  assert_int_equal(n->flow.admit.busy_peers, 0);
  assert_int_equal(counters_get(n->counters, COUNTER_records_received), counters_get(n->counters, COUNTER_records_accepted));
  assert_true(counters_get(n->counters, COUNTER_batches_answered) > 20);
}

/* With the number of its connection an answer goes only while the kernel takes more; without it, it may wait in ZeroMQ at nobody's charge. */
static void what_may_wait_unseen_is_bounded(void **state)
{
  struct node *n = *state;
  enum { SMALL = 300, LARGE = 10 };
  uint32_t looks = 0, unlooked_bytes = 0;
  node_start(n);
  n->connection = 5;
  for (uint64_t i = 0; i < SMALL + LARGE; i++) {
    uint32_t records = i < SMALL ? 1 : 3000;
    node_submit(n, 'a', i, 0, records);
    node_work(n);
    assert_int_equal(node_answers(n), 1);
    bool looked = n->answer[n->answer_first].connection == 5;
    uint32_t bytes = records * 8;
    looks += looked;
    unlooked_bytes = looked ? 0 : unlooked_bytes + bytes + 200;
    assert_true(unlooked_bytes <= LIMIT_UNLOOKED_BYTES);
    assert_true(looked || bytes <= LIMIT_UNLOOKED_BYTES);
    link_message_finish(&n->answer[n->answer_first++]);
    if (i == SMALL - 1)
      assert_in_range(looks, 2, SMALL / 20);
  }
}

int main(void)
{
  stage_seed_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_single_record_waits_behind_few_of_a_flood, setup, teardown),
      cmocka_unit_test_setup_teardown(a_flood_of_connections_shuts_nobody_out, setup, teardown),
      cmocka_unit_test_setup_teardown(who_is_gone_is_no_peer, setup, teardown),
      cmocka_unit_test_setup_teardown(busy_is_told_before_anything_is_held, setup, teardown),
      cmocka_unit_test_setup_teardown(a_peer_that_does_not_read_keeps_its_answers_within_its_credit, setup, teardown),
      cmocka_unit_test_setup_teardown(answers_that_nobody_takes_are_dropped, setup, teardown),
      cmocka_unit_test_setup_teardown(what_may_wait_unseen_is_bounded, setup, teardown),
      cmocka_unit_test_setup_teardown(a_shard_that_is_down_stands_in_nobodys_way, setup, teardown),
      cmocka_unit_test_setup_teardown(what_only_waits_for_a_shard_that_is_down_makes_room, setup, teardown),
      cmocka_unit_test_setup_teardown(a_batch_for_a_shard_that_is_down_commits_the_rest, setup, teardown),
      cmocka_unit_test_setup_teardown(a_batch_that_finds_nobody_at_its_turn_is_answered, setup, teardown),
      cmocka_unit_test_setup_teardown(a_dead_shard_hands_back_its_part, setup, teardown),
      cmocka_unit_test_setup_teardown(a_drain_answers_what_it_has_and_takes_no_more, setup, teardown),
      cmocka_unit_test_setup_teardown(a_drain_of_nothing_is_over_at_once, setup, teardown),
      cmocka_unit_test_setup_teardown(a_random_day_loses_nothing, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
