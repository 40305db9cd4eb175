/* ingest/shard.c: a scripted worker behind the seam dies, returns, hangs and is poisoned; every record gets its words. */
#include "ingest/stage.h"

#include "ingest/shard.h"

#define TIMEOUT_MS 8000u
#define SECOND UINT64_C(1000000000)
#define RECORDS 4096u
#define QUEUE 600u

/* What the worker has received and not answered. */
struct sent {
  struct hop_head head;
  struct link_frame records;
};

struct rig {
  struct ingest_shard shard;
  struct counters *counters;
  uint64_t now_ns;
  struct sent queue[QUEUE];
  uint32_t queued, hellos, deaths, most_queued;
  uint64_t epoch;
  uint64_t in_hand[QUEUE]; /* of the worker that died last: part ids */
  uint32_t in_hand_count;
  bool full, no_memory;
  bool poison[RECORDS];   /* records that kill the worker */
  uint64_t word[RECORDS]; /* what came back; the number of a record is that of its id */
  uint32_t times[RECORDS];
  uint64_t number_of_part[RECORDS]; /* number of the first record of part id i */
  bool serving;
};

static int rig_send(void *context, uint32_t shard, const struct hop_head *head, struct link_frame *records)
{
  struct rig *r = context;
  assert_int_equal(shard, 1);
  assert_int_equal(head->shard, 1);
  assert_int_equal(head->shards, 2);
  if (head->kind == HOP_HELLO) {
    assert_null(records);
    r->hellos++;
    return MUSTER_OK;
  }
  if (r->full || r->queued == QUEUE)
    return MUSTER_ERR_AGAIN;
  struct sent *s = &r->queue[r->queued++];
  s->head = *head;
  link_frame_init_empty(&s->records);
  link_frame_move(&s->records, records);
  if (r->queued > r->most_queued)
    r->most_queued = r->queued;
  return MUSTER_OK;
}

static bool rig_words(void *context, uint64_t part_id, uint32_t first_record, uint32_t record_count, struct link_frame *words)
{
  struct rig *r = context;
  if (r->no_memory)
    return false;
  assert_int_equal(link_frame_size(words), record_count * 8);
  for (uint32_t i = 0; i < record_count; i++) {
    uint64_t number = r->number_of_part[part_id] + first_record + i;
    r->word[number] = load_u64(link_frame_data(words) + i * 8);
    r->times[number]++;
  }
  return true;
}

static void rig_serving(void *context, uint32_t shard, bool serving)
{
  struct rig *r = context;
  assert_int_equal(shard, 1);
  assert_int_not_equal(serving, r->serving);
  r->serving = serving;
}

static int setup(void **state)
{
  struct rig *r = calloc(1, sizeof *r);
  const struct ingest_shard_seam seam = {.send = rig_send, .words = rig_words, .serving = rig_serving, .context = r};
  r->counters = stage_counters();
  r->now_ns = SECOND;
  assert_int_equal(ingest_shard_init(&r->shard, 1, 2, TIMEOUT_MS, &seam, r->counters, r->now_ns), MUSTER_OK);
  *state = r;
  return 0;
}

static void forget(struct rig *r)
{
  while (r->queued > 0)
    link_frame_finish(&r->queue[--r->queued].records);
}

static int teardown(void **state)
{
  struct rig *r = *state;
  forget(r);
  ingest_shard_finish(&r->shard);
  stage_counters_finish(r->counters);
  free(r);
  return 0;
}

/* ---- the worker ---- */

static bool tell(struct rig *r, const struct hop_head *head, const void *words, size_t size)
{
  struct link_message m;
  link_message_init(&m);
  link_frame_init(&m.frame[0], HOP_HEAD_BYTES);
  hop_head_write(link_frame_data(&m.frame[0]), head);
  m.frame_count = 1;
  if (words) {
    stage_frame(&m.frame[1], words, size);
    m.frame_count = 2;
  }
  bool known = ingest_shard_message(&r->shard, &m, r->now_ns);
  link_message_finish(&m);
  return known;
}

static bool welcome(struct rig *r, uint32_t shard, uint32_t shards)
{
  const struct hop_head head = {.kind = HOP_WELCOME, .epoch = r->epoch, .shard = shard, .shards = shards, .store_records = 5};
  return tell(r, &head, r->in_hand_count ? r->in_hand : NULL, r->in_hand_count * sizeof r->in_hand[0]);
}

static void rise(struct rig *r)
{
  r->epoch += 17;
  ingest_shard_connected(&r->shard);
  assert_true(welcome(r, 1, 2));
}

/* With the first parts of what was sent in hand, or with what the caller says of another ingest. */
static void die_holding(struct rig *r, uint32_t parts)
{
  r->deaths++;
  for (uint32_t i = 0; i < parts; i++)
    r->in_hand[i] = r->queue[i].head.part_id;
  r->in_hand_count = parts;
  forget(r);
  ingest_shard_disconnected(&r->shard, r->now_ns);
}

static void die(struct rig *r) { die_holding(r, 0); }

/* How many parts a group takes: a suspect is one of its own. */
static uint32_t group_of(const struct rig *r)
{
  uint32_t most = 1 + (uint32_t)(stage_random() % 4), parts = 0;
  if (r->queue[0].head.kind != HOP_PART)
    return 1;
  while (parts < most && parts < r->queued && r->queue[parts].head.kind == HOP_PART)
    parts++;
  return parts;
}

/* Answers the oldest part. false: it has a poisonous record and is to be read. */
static bool answer_one(struct rig *r)
{
  struct sent s = r->queue[0];
  static uint64_t words[RECORDS];
  const uint8_t *p = link_frame_data(&s.records), *end = p + link_frame_size(&s.records);
  struct batch_record record = {0};
  uint32_t count = 0;
  assert_true(s.head.kind == HOP_PART || s.head.kind == HOP_SUSPECT || (s.head.kind == HOP_ISOLATE && s.head.record_count == 1));
  while (batch_next(&p, end, &record) == BATCH_RECORD) {
    uint64_t number = stage_number(&record);
    if (s.head.kind != HOP_ISOLATE && r->poison[number])
      return false;
    words[count++] = s.head.kind != HOP_ISOLATE
                         ? verdict_durable(MUSTER__V1__VERDICT__VERDICT_ACCEPTED, 1, number + 1)
                         : verdict_refused(MUSTER__V1__VERDICT__VERDICT_INVALID, 1, MUSTER__V1__REASON__REASON_KILLED_WORKER, 0);
  }
  assert_int_equal(count, s.head.record_count);
  memmove(r->queue, r->queue + 1, --r->queued * sizeof r->queue[0]);
  const struct hop_head head = {.kind = HOP_WORDS, .epoch = r->epoch, .part_id = s.head.part_id, .record_count = count};
  assert_true(tell(r, &head, words, (size_t)count * 8));
  link_frame_finish(&s.records);
  return true;
}

/* Works until nothing is left, dying of what is poisonous. */
static void work(struct rig *r)
{
  while (r->queued > 0) {
    if (!answer_one(r)) {
      die_holding(r, group_of(r));
      rise(r);
    }
  }
}

/* A part of count records, numbered from first on; its part id is first. */
static void add(struct rig *r, uint64_t first, uint32_t count)
{
  struct stage_stream s;
  struct link_frame f;
  stage_fill(&s, count, first, 5);
  stage_frame(&f, s.bytes, s.size);
  r->number_of_part[first] = first;
  ingest_shard_add(&r->shard, first, &f, count, 4, 123, r->now_ns);
  link_frame_finish(&f);
  stage_stream_finish(&s);
}

/* Each record was answered once: the poisonous ones INVALID, the others ACCEPTED with their own sequence. */
static void expect_all(struct rig *r, uint32_t count)
{
  for (uint32_t i = 0; i < count; i++) {
    assert_int_equal(r->times[i], 1);
    if (r->poison[i])
      assert_int_equal(verdict_reason(r->word[i]), MUSTER__V1__REASON__REASON_KILLED_WORKER);
    else
      assert_int_equal(verdict_sequence(r->word[i]), i + 1);
  }
}

/* ---- the tests ---- */

static void parts_wait_for_the_welcome(void **state)
{
  struct rig *r = *state;
  add(r, 0, 10);
  add(r, 10, 1);
  assert_int_equal(r->queued, 0);
  ingest_shard_connected(&r->shard);
  assert_int_equal(r->hellos, 1);
  assert_int_equal(r->queued, 0);
  assert_false(welcome(r, 1, 3)); /* a worker of a node with other shards */
  assert_false(welcome(r, 0, 2));
  assert_false(r->serving);
  assert_int_equal(r->queued, 0);
  assert_true(welcome(r, 1, 2));
  assert_true(r->serving);
  assert_int_equal(r->queued, 2);
  assert_int_equal(r->queue[0].head.record_count, 10);
  assert_int_equal(r->queue[0].head.submitter, 4);
  assert_int_equal(r->queue[0].head.received_us, 123);
  add(r, 11, 3); /* at once now */
  assert_int_equal(r->queued, 3);
  work(r);
  expect_all(r, 14);
  assert_int_equal(counters_get(r->counters, COUNTER_parts_resent), 0);
}

static void a_death_resends_what_is_unanswered_in_its_order(void **state)
{
  struct rig *r = *state;
  rise(r);
  for (uint32_t i = 0; i < 6; i++)
    add(r, i * 10, 10);
  assert_true(answer_one(r) && answer_one(r));
  uint64_t id = r->queue[0].head.part_id;
  die(r);
  assert_false(r->serving);
  add(r, 60, 10); /* comes while it is down */
  rise(r);
  assert_int_equal(r->hellos, 2);
  assert_int_equal(r->queued, 5);
  assert_int_equal(r->queue[0].head.part_id, id);
  for (uint32_t i = 0; i < 5; i++) {
    const uint8_t *p = link_frame_data(&r->queue[i].records);
    struct batch_record record = {0};
    assert_int_equal(batch_next(&p, p + link_frame_size(&r->queue[i].records), &record), BATCH_RECORD);
    assert_int_equal(stage_number(&record), 20 + i * 10);
  }
  assert_int_equal(counters_get(r->counters, COUNTER_parts_resent), 4);
  work(r);
  expect_all(r, 70);
}

static void one_poison_among_a_hundred_is_found(void **state)
{
  struct rig *r = *state;
  for (uint32_t poison = 0; poison < 100; poison += 9) {
    memset(r->times, 0, sizeof r->times);
    memset(r->poison, 0, sizeof r->poison);
    r->poison[poison] = true;
    uint32_t deaths = r->deaths;
    if (!r->serving)
      rise(r);
    add(r, 0, 100);
    add(r, 100, 50); /* bystanders */
    add(r, 150, 1);
    work(r);
    expect_all(r, 151);
    assert_in_range(r->deaths - deaths, 4, 4 + 7);
    assert_int_equal(counters_get(r->counters, COUNTER_records_isolated), poison / 9 + 1);
  }
}

static void suspects_go_alone_and_the_others_wait(void **state)
{
  struct rig *r = *state;
  rise(r);
  add(r, 0, 8);
  add(r, 8, 8);
  die_holding(r, 2);
  rise(r);
  assert_int_equal(r->queued, 2); /* once is no suspicion */
  die_holding(r, 2);
  add(r, 16, 8);
  rise(r);
  assert_int_equal(r->queued, 1);
  assert_int_equal(r->queue[0].head.kind, HOP_SUSPECT);
  assert_true(answer_one(r));
  assert_int_equal(r->queued, 1); /* the second suspect */
  assert_int_equal(r->queue[0].head.kind, HOP_SUSPECT);
  add(r, 24, 8);
  assert_int_equal(r->queued, 1);
  assert_true(answer_one(r));
  assert_int_equal(r->queued, 2); /* no suspect is left */
  work(r);
  expect_all(r, 32);
  assert_int_equal(counters_get(r->counters, COUNTER_records_isolated), 0);
}

static void many_poisons_at_random_places_are_all_found(void **state)
{
  struct rig *r = *state;
  uint32_t number = 0, poisons = 0, parts = 0;
  rise(r);
  while (number < 3000) {
    uint32_t count = 1 + (uint32_t)(stage_random() % 300);
    for (uint32_t i = 0; i < count; i++) {
      r->poison[number + i] = stage_random() % 200 == 0;
      poisons += r->poison[number + i];
    }
    add(r, number, count);
    number += count;
    parts++;
  }
  work(r);
  expect_all(r, number);
  assert_true(poisons > 0 && parts > 1);
  assert_int_equal(counters_get(r->counters, COUNTER_records_isolated), poisons);
  assert_int_equal(r->shard.pieces.sent.count + r->shard.pieces.suspects.count + r->shard.pieces.waiting.count, 0);
}

/* Deaths with nothing of ours in hand, as of another ingest's poison, or behind the commit: a record is never suspected of them. */
static void only_what_was_in_hand_is_accused(void **state)
{
  struct rig *r = *state;
  rise(r);
  add(r, 0, 1);
  for (int i = 0; i < 50; i++) {
    assert_int_equal(r->queued, 1);
    assert_int_equal(r->queue[0].head.kind, HOP_PART);
    die(r);
    if (i % 2) {
      r->in_hand[0] = 77; /* another ingest's */
      r->in_hand_count = 1;
    }
    rise(r);
  }
  /* In hand with others at two deaths: a suspect, and then again the deaths are another's. */
  for (int i = 0; i < 2; i++) {
    die_holding(r, 1);
    r->in_hand[r->in_hand_count++] = 77;
    rise(r);
  }
  for (int i = 0; i < 50; i++) {
    assert_int_equal(r->queue[0].head.kind, HOP_SUSPECT);
    die_holding(r, 1); /* with another one: not alone, whatever the worker makes of suspects */
    r->in_hand[i % 3 == 2] = 77;
    r->in_hand_count = (uint32_t)i % 3;
    rise(r);
  }
  work(r);
  expect_all(r, 1);
  assert_int_equal(counters_get(r->counters, COUNTER_records_isolated), 0);
}

/* A single record that was in hand alone at one death may have met an accident; at two it is isolated. */
static void two_deaths_alone_isolate_a_record(void **state)
{
  struct rig *r = *state;
  rise(r);
  add(r, 0, 1);
  for (int i = 0; i < 3; i++) {
    die_holding(r, 1);
    rise(r);
    assert_true(welcome(r, 1, 2)); /* the same worker once more: its former one died once */
  }
  assert_int_equal(r->queue[0].head.kind, HOP_SUSPECT);
  work(r);
  expect_all(r, 1);
  add(r, 1, 1);
  for (int i = 0; i < 4; i++) {
    assert_int_equal(r->queue[0].head.kind, i < 2 ? HOP_PART : HOP_SUSPECT);
    die_holding(r, 1);
    rise(r);
  }
  assert_int_equal(r->queue[0].head.kind, HOP_ISOLATE);
  die_holding(r, 1); /* not its doing: it was not decoded */
  rise(r);
  assert_int_equal(r->queue[0].head.kind, HOP_ISOLATE);
  assert_int_equal(counters_get(r->counters, COUNTER_records_isolated), 1);
  r->poison[1] = true;
  work(r);
  expect_all(r, 2);
}

/* The suspicion of a part that was answered meanwhile, or of a former life, meets nobody. */
static void what_is_not_here_any_more_is_not_accused(void **state)
{
  struct rig *r = *state;
  rise(r);
  add(r, 0, 4);
  uint64_t id = r->queue[0].head.part_id;
  assert_true(answer_one(r));
  add(r, 4, 1);
  assert_int_not_equal(r->queue[0].head.part_id, id);
  for (int i = 0; i < 6; i++) {
    die(r);
    r->in_hand[0] = id;
    r->in_hand_count = 1;
    rise(r);
    assert_int_equal(r->queue[0].head.kind, HOP_PART);
  }
  work(r);
  expect_all(r, 5);
}

static void a_worker_that_says_bye_suspects_nobody(void **state)
{
  struct rig *r = *state;
  rise(r);
  add(r, 0, 10);
  add(r, 10, 10);
  for (int i = 0; i < 5; i++) {
    assert_true(tell(r, &(struct hop_head){.kind = HOP_BYE, .epoch = r->epoch}, NULL, 0));
    assert_false(r->serving);
    add(r, 20 + (uint64_t)i, 1);
    die(r);
    rise(r);
    assert_int_equal(r->queued, 3 + i);
  }
  work(r);
  expect_all(r, 25);
}

static void what_waits_too_long_is_handed_back(void **state)
{
  struct rig *r = *state;
  rise(r);
  add(r, 0, 10);
  uint64_t id = r->queue[0].head.part_id;
  die(r);
  add(r, 10, 5);
  r->now_ns += (TIMEOUT_MS - 1) * (SECOND / 1000);
  add(r, 15, 2);
  ingest_shard_tick(&r->shard, r->now_ns);
  assert_int_equal(r->times[0] + r->times[10] + r->times[15], 0);
  r->now_ns += SECOND / 1000;
  ingest_shard_tick(&r->shard, r->now_ns);
  for (uint32_t i = 0; i < 15; i++) {
    assert_int_equal(r->times[i], 1);
    assert_int_equal(verdict_kind(r->word[i]), MUSTER__V1__VERDICT__VERDICT_RETRY);
    assert_int_equal(verdict_reason(r->word[i]), MUSTER__V1__REASON__REASON_RETRY_OUTCOME_UNKNOWN);
    assert_int_equal(verdict_shard(r->word[i]), 1);
  }
  assert_int_equal(r->times[15], 0); /* has not waited for as long */
  rise(r);
  uint64_t words[10] = {0};
  assert_true(tell(r, &(struct hop_head){.kind = HOP_WORDS, .epoch = r->epoch, .part_id = id, .record_count = 10}, words, sizeof words));
  assert_int_equal(r->times[0], 1); /* late words find nobody */
  work(r);
  assert_int_equal(verdict_sequence(r->word[15]), 16);
}

static void a_shard_that_hangs_is_down(void **state)
{
  struct rig *r = *state;
  assert_false(ingest_shard_is_down(&r->shard, r->now_ns));
  assert_true(ingest_shard_is_down(&r->shard, r->now_ns + SECOND)); /* not there since the start */
  rise(r);
  r->now_ns += 100 * SECOND; /* idle is not hung */
  add(r, 0, 10);
  ingest_shard_tick(&r->shard, r->now_ns);
  assert_int_equal(r->times[0], 0);
  assert_false(ingest_shard_is_down(&r->shard, r->now_ns));
  struct sent first = r->queue[0];
  r->now_ns += TIMEOUT_MS * (SECOND / 1000);
  ingest_shard_tick(&r->shard, r->now_ns);
  assert_int_equal(verdict_kind(r->word[0]), MUSTER__V1__VERDICT__VERDICT_RETRY);
  assert_true(ingest_shard_is_down(&r->shard, r->now_ns));
  uint64_t words[10] = {0};
  const struct hop_head head = {.kind = HOP_WORDS, .epoch = r->epoch, .part_id = first.head.part_id, .record_count = 10};
  assert_true(tell(r, &head, words, sizeof words)); /* it lives after all */
  assert_false(ingest_shard_is_down(&r->shard, r->now_ns));
  assert_int_equal(r->times[0], 1);
  die(r);
  assert_false(ingest_shard_is_down(&r->shard, r->now_ns));
  assert_true(ingest_shard_is_down(&r->shard, r->now_ns + SECOND));
}

/* A shard that is busy with others and has lost the words of one part. */
static void lost_words_are_not_waited_for_without_end(void **state)
{
  struct rig *r = *state;
  rise(r);
  add(r, 0, 10);
  forget(r);
  for (uint32_t second = 1; second < 2 * TIMEOUT_MS / 1000; second++) {
    r->now_ns += SECOND;
    add(r, 9 + second, 1);
    work(r);
    ingest_shard_tick(&r->shard, r->now_ns);
    assert_int_equal(r->times[0], 0);
  }
  die(r); /* sent once more, and lost once more: its time begins again */
  rise(r);
  forget(r);
  for (uint32_t second = 0; second < 2 * TIMEOUT_MS / 1000; second++) {
    assert_int_equal(r->times[0], 0);
    add(r, 100 + second, 1);
    work(r);
    r->now_ns += SECOND;
    ingest_shard_tick(&r->shard, r->now_ns);
  }
  assert_int_equal(r->times[0], 1);
  assert_int_equal(verdict_kind(r->word[0]), MUSTER__V1__VERDICT__VERDICT_RETRY);
  assert_false(ingest_shard_is_down(&r->shard, r->now_ns)); /* it was heard all the time */
  assert_int_equal(r->shard.pieces.sent.count, 0);
}

static void words_of_another_life_or_shape_are_ignored(void **state)
{
  struct rig *r = *state;
  rise(r);
  add(r, 0, 10);
  uint64_t id = r->queue[0].head.part_id, words[11] = {0};
  struct hop_head head = {.kind = HOP_WORDS, .epoch = r->epoch + 1, .part_id = id, .record_count = 10};
  assert_false(tell(r, &head, words, 80)); /* of another life of the worker */
  head.epoch = r->epoch;
  assert_false(tell(r, &head, NULL, 0));
  head.kind = 99;
  assert_false(tell(r, &head, words, 80));
  struct link_message m;
  link_message_init(&m);
  assert_false(ingest_shard_message(&r->shard, &m, r->now_ns));
  stage_frame(&m.frame[0], "garbage", 7);
  m.frame_count = 1;
  assert_false(ingest_shard_message(&r->shard, &m, r->now_ns));
  link_message_finish(&m);
  assert_int_equal(r->times[0], 0);
  work(r);
  expect_all(r, 10);
}

/* No other words will come for it. */
static void words_that_do_not_fit_hand_the_part_back(void **state)
{
  struct rig *r = *state;
  uint64_t words[11] = {0};
  static const struct {
    uint32_t count, size;
  } wrong[] = {{11, 88}, {10, 72}, {9, 72}};
  rise(r);
  for (uint32_t i = 0; i < 3; i++) {
    add(r, i * 10, 10);
    const struct hop_head head = {
        .kind = HOP_WORDS, .epoch = r->epoch, .part_id = r->queue[0].head.part_id, .record_count = wrong[i].count};
    forget(r);
    assert_false(tell(r, &head, words, wrong[i].size));
    for (uint32_t j = 0; j < 10; j++) {
      assert_int_equal(r->times[i * 10 + j], 1);
      assert_int_equal(verdict_kind(r->word[i * 10 + j]), MUSTER__V1__VERDICT__VERDICT_RETRY);
    }
  }
  assert_int_equal(r->shard.pieces.sent.count, 0);
}

static void a_full_queue_and_a_full_memory_only_delay(void **state)
{
  struct rig *r = *state;
  rise(r);
  r->full = true;
  add(r, 0, 10);
  add(r, 10, 10);
  assert_int_equal(r->queued, 0);
  r->full = false;
  ingest_shard_pump(&r->shard, r->now_ns);
  assert_int_equal(r->queued, 2);
  r->no_memory = true;
  assert_true(answer_one(r));
  assert_int_equal(r->times[0], 0);
  r->no_memory = false;
  assert_int_equal(r->queued, 2); /* sent once more */
  work(r);
  expect_all(r, 20);
  r->now_ns += 100 * SECOND;
  add(r, 20, 10);
  r->no_memory = true;
  r->now_ns += TIMEOUT_MS * (SECOND / 1000);
  ingest_shard_tick(&r->shard, r->now_ns);
  assert_int_equal(r->times[20], 0);
  r->no_memory = false;
  ingest_shard_tick(&r->shard, r->now_ns);
  assert_int_equal(r->times[20], 1);
  forget(r);
  assert_int_equal(r->shard.pieces.sent.count, 0);
}

int main(void)
{
  stage_seed_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(parts_wait_for_the_welcome, setup, teardown),
      cmocka_unit_test_setup_teardown(a_death_resends_what_is_unanswered_in_its_order, setup, teardown),
      cmocka_unit_test_setup_teardown(one_poison_among_a_hundred_is_found, setup, teardown),
      cmocka_unit_test_setup_teardown(suspects_go_alone_and_the_others_wait, setup, teardown),
      cmocka_unit_test_setup_teardown(many_poisons_at_random_places_are_all_found, setup, teardown),
      cmocka_unit_test_setup_teardown(only_what_was_in_hand_is_accused, setup, teardown),
      cmocka_unit_test_setup_teardown(two_deaths_alone_isolate_a_record, setup, teardown),
      cmocka_unit_test_setup_teardown(what_is_not_here_any_more_is_not_accused, setup, teardown),
      cmocka_unit_test_setup_teardown(a_worker_that_says_bye_suspects_nobody, setup, teardown),
      cmocka_unit_test_setup_teardown(what_waits_too_long_is_handed_back, setup, teardown),
      cmocka_unit_test_setup_teardown(a_shard_that_hangs_is_down, setup, teardown),
      cmocka_unit_test_setup_teardown(lost_words_are_not_waited_for_without_end, setup, teardown),
      cmocka_unit_test_setup_teardown(words_of_another_life_or_shape_are_ignored, setup, teardown),
      cmocka_unit_test_setup_teardown(words_that_do_not_fit_hand_the_part_back, setup, teardown),
      cmocka_unit_test_setup_teardown(a_full_queue_and_a_full_memory_only_delay, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
