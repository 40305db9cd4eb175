/* ingest/hop.c: a scripted worker on a real ROUTER link dies, comes back, is poisoned, keeps silent. */
#include "ingest/stage.h"

#include <unistd.h>

#include "core/clock.h"
#include "ingest/hop.h"

#define SECOND UINT64_C(1000000000)
#define RECORDS 200u

struct rig {
  uv_loop_t loop;
  struct counters *counters;
  struct ingest_shard shard;
  struct ingest_hop hop;
  char endpoint[SCRATCH_BYTES + 32];
  /* the worker */
  struct link *worker;
  uint64_t epoch;
  bool mute; /* hears HELLO and says nothing */
  bool idle; /* takes parts and does not answer */
  bool dying;
  uint64_t in_hand; /* of the worker that died last; 0: nothing */
  uint32_t hellos, parts, deaths, isolated;
  bool poison[RECORDS];
  uint32_t times[RECORDS];
  uint64_t word[RECORDS];
  uint32_t answered;
};

/* ---- the ingest's side ---- */

static int rig_send(void *context, uint32_t shard, const struct hop_head *head, struct link_frame *records)
{
  struct rig *r = context;
  (void)shard;
  return ingest_hop_send(&r->hop, head, records);
}

static bool rig_words(void *context, uint64_t part_id, uint32_t first_record, uint32_t record_count, struct link_frame *words)
{
  struct rig *r = context;
  for (uint32_t i = 0; i < record_count; i++) {
    r->word[part_id + first_record + i] = load_u64(link_frame_data(words) + i * 8);
    r->times[part_id + first_record + i]++;
  }
  r->answered += record_count;
  return true;
}

static void rig_serving(void *context, uint32_t shard, bool serving)
{
  (void)context;
  (void)shard;
  (void)serving;
}

/* A part of records first to first + count - 1. */
static void add(struct rig *r, uint64_t first, uint32_t count)
{
  struct stage_stream s;
  struct link_frame f;
  stage_fill(&s, count, first, 5);
  stage_frame(&f, s.bytes, s.size);
  ingest_shard_add(&r->shard, first, &f, count, 4, 123, clock_monotonic_ns());
  link_frame_finish(&f);
  stage_stream_finish(&s);
}

/* ---- the worker's side ---- */

static void worker_say(struct rig *r, const struct link_message *to, struct hop_head head, const void *words, size_t size)
{
  struct link_message m;
  link_message_init(&m);
  memcpy(m.identity, to->identity, to->identity_size);
  m.identity_size = to->identity_size;
  head.epoch = r->epoch;
  head.shards = 1;
  link_frame_init(&m.frame[0], HOP_HEAD_BYTES);
  hop_head_write(link_frame_data(&m.frame[0]), &head);
  if (words)
    stage_frame(&m.frame[1], words, size);
  m.frame_count = words ? 2 : 1;
  assert_int_equal(link_send(r->worker, &m), MUSTER_OK);
}

static void worker_on_message(void *context, struct link *link, struct link_message *m)
{
  struct rig *r = context;
  struct hop_head head;
  uint64_t words[RECORDS];
  uint32_t count = 0;
  (void)link;
  assert_memory_equal(m->identity, "ingest-3", m->identity_size);
  assert_true(hop_head_read(&head, link_frame_data(&m->frame[0]), link_frame_size(&m->frame[0])));
  if (r->dying)
    return;
  if (head.kind == HOP_HELLO) {
    r->hellos++;
    if (!r->mute)
      worker_say(r, m, (struct hop_head){.kind = HOP_WELCOME}, r->in_hand ? &r->in_hand : NULL, sizeof r->in_hand);
    return;
  }
  r->parts++;
  if (r->idle)
    return;
  const uint8_t *p = link_frame_data(&m->frame[1]), *end = p + link_frame_size(&m->frame[1]);
  struct batch_record record = {0};
  while (batch_next(&p, end, &record) == BATCH_RECORD) {
    uint64_t number = stage_number(&record);
    r->dying |= head.kind != HOP_ISOLATE && r->poison[number];
    words[count++] = verdict_durable(MUSTER__V1__VERDICT__VERDICT_ACCEPTED, 0, number + 1);
  }
  r->in_hand = r->dying ? head.part_id : 0;
  if (r->dying)
    return;
  r->isolated += head.kind == HOP_ISOLATE;
  worker_say(r, m, (struct hop_head){.kind = HOP_WORDS, .part_id = head.part_id, .record_count = count}, words, (size_t)count * 8);
}

static void worker_open(struct rig *r)
{
  struct failure failure = FAILURE_NONE;
  const struct link_options options = {.kind = LINK_ROUTER,
                                       .queue_messages = 1000,
                                       .message_bytes_max = LIMIT_WIRE_BYTES,
                                       .handover = true,
                                       .on_message = worker_on_message,
                                       .context = r};
  r->epoch++;
  r->dying = false;
  assert_int_equal(link_open(&r->worker, &r->loop, &options, &failure), MUSTER_OK);
  assert_int_equal(link_bind(r->worker, r->endpoint, NULL, 0, &failure), MUSTER_OK);
}

static void worker_close(struct rig *r)
{
  link_close(r->worker);
  r->worker = NULL;
}

/* ---- running ---- */

static bool all_answered(const struct rig *r, uint32_t count) { return r->answered >= count; }

static void wake(uv_timer_t *timer) { (void)timer; }

/* Runs the loop until done, for at most some seconds; a dying worker is buried and reborn meanwhile. */
static bool run_until(struct rig *r, bool (*done)(const struct rig *, uint32_t), uint32_t argument)
{
  uint64_t end_ns = clock_monotonic_ns() + 8 * SECOND;
  uv_timer_t timer;
  uv_timer_init(&r->loop, &timer);
  uv_timer_start(&timer, wake, 5, 5);
  while (!done(r, argument) && clock_monotonic_ns() < end_ns) {
    uv_run(&r->loop, UV_RUN_ONCE);
    if (r->dying) {
      r->deaths++;
      worker_close(r);
      worker_open(r);
    }
  }
  uv_close((uv_handle_t *)&timer, NULL);
  uv_run(&r->loop, UV_RUN_NOWAIT);
  return done(r, argument);
}

static int setup(void **state)
{
  struct rig *r = calloc(1, sizeof *r);
  struct failure failure = FAILURE_NONE;
  const struct ingest_shard_seam seam = {.send = rig_send, .words = rig_words, .serving = rig_serving, .context = r};
  r->counters = stage_counters();
  snprintf(r->endpoint, sizeof r->endpoint, "ipc://%s/worker.sock", stage_directory);
  uv_loop_init(&r->loop);
  assert_int_equal(ingest_shard_init(&r->shard, 0, 1, 8000, &seam, r->counters, clock_monotonic_ns()), MUSTER_OK);
  assert_int_equal(ingest_hop_open(&r->hop, &r->loop, &r->shard, r->endpoint, 3, &failure), MUSTER_OK);
  *state = r;
  return 0;
}

static int teardown(void **state)
{
  struct rig *r = *state;
  ingest_hop_close(&r->hop);
  worker_close(r);
  uv_run(&r->loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&r->loop), 0);
  ingest_shard_finish(&r->shard);
  stage_counters_finish(r->counters);
  free(r);
  return 0;
}

static bool parts_came(const struct rig *r, uint32_t count) { return r->parts >= count; }
static bool hellos_came(const struct rig *r, uint32_t count) { return r->hellos >= count; }
static bool serves(const struct rig *r, uint32_t yes) { return r->shard.serving == (bool)yes; }

static void a_worker_that_comes_late_is_found(void **state)
{
  struct rig *r = *state;
  add(r, 0, 10);
  for (int i = 0; i < 20; i++)
    uv_run(&r->loop, UV_RUN_NOWAIT);
  worker_open(r);
  assert_true(run_until(r, all_answered, 10));
  for (uint32_t i = 0; i < 10; i++)
    assert_int_equal(verdict_sequence(r->word[i]), i + 1);
}

static void a_death_is_noticed_and_parts_are_sent_again(void **state)
{
  struct rig *r = *state;
  worker_open(r);
  r->idle = true;
  add(r, 0, 10);
  add(r, 10, 20);
  assert_true(run_until(r, parts_came, 2));
  worker_close(r);
  assert_true(run_until(r, serves, false));
  add(r, 30, 5);
  r->idle = false;
  worker_open(r);
  assert_true(run_until(r, all_answered, 35));
  assert_int_equal(r->parts, 5);
  assert_int_equal(counters_get(r->counters, COUNTER_parts_resent), 2);
  for (uint32_t i = 0; i < 35; i++)
    assert_int_equal(r->times[i], 1);
}

static void the_one_poison_among_a_hundred_is_isolated(void **state)
{
  struct rig *r = *state;
  r->poison[61] = true;
  worker_open(r);
  add(r, 0, 100);
  add(r, 100, 30);
  assert_true(run_until(r, all_answered, 130));
  for (uint32_t i = 0; i < 130; i++) {
    assert_int_equal(r->times[i], 1);
    assert_int_equal(verdict_sequence(r->word[i]), i + 1);
  }
  assert_int_equal(r->isolated, 1);
  assert_int_equal(counters_get(r->counters, COUNTER_records_isolated), 1);
  assert_in_range(r->deaths, 4, 11);
}

static void a_worker_without_welcome_is_asked_again(void **state)
{
  struct rig *r = *state;
  r->mute = true;
  worker_open(r);
  add(r, 0, 10);
  assert_true(run_until(r, hellos_came, 1));
  ingest_hop_tick(&r->hop, clock_monotonic_ns()); /* too early */
  assert_int_equal(r->hellos, 1);
  assert_true(r->shard.connected);
  r->mute = false;
  ingest_hop_tick(&r->hop, clock_monotonic_ns() + 4 * SECOND);
  assert_true(run_until(r, all_answered, 10));
  assert_int_equal(r->hellos, 2);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_worker_that_comes_late_is_found, setup, teardown),
      cmocka_unit_test_setup_teardown(a_death_is_noticed_and_parts_are_sent_again, setup, teardown),
      cmocka_unit_test_setup_teardown(the_one_poison_among_a_hundred_is_isolated, setup, teardown),
      cmocka_unit_test_setup_teardown(a_worker_without_welcome_is_asked_again, setup, teardown),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  link_context_finish();
  return failed;
}
