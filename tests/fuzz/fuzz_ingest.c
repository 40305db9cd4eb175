/*
 * A whole ingest without sockets under a script: an input is a sequence of steps, each a byte and what it needs. Peers of
 * three submitters send hellos, status requests and batches, right and wrong; workers answer in any order, twice, or
 * wrongly, die with parts in hand, say BYE and come back; peers go, or stop reading; time passes. A model outside knows
 * every batch and every record. After each step:
 *
 * - the counters agree (received = answered + handed back + in flight), and with the model's count of batches;
 * - budget, credit of a connection and the bound of what is at the workers are kept;
 * - an answer is for a batch that its peer sent and has no answer of, and each word is what a worker said of that very
 *   record, or RETRY where the node gave up waiting.
 *
 * At the end everybody is well again: then each batch that was taken in has been answered or its answer dropped, once,
 * and nothing is held any more.
 */
#include "tests/fuzz/ingest_model.h"

#include "core/clock.h"
#include "core/key_list.h"
#include "core/log.h"

/* ---- the clock ---- */

static uint64_t script_ns(void *context)
{
  (void)context;
  return node->now_ns;
}
static int64_t script_us(void *context)
{
  (void)context;
  return (int64_t)(node->now_ns / 1000);
}

/* ---- what peers do ---- */

static void receive(uint32_t peer, struct link_message *m)
{
  static const char *const names[] = {"local", "north", "south"};
  const struct ingest_sender sender = {.origin = origin_of(peer),
                                       .submitter = peer % 2 ? 1 + peer % 4 / 2 : SUBMITTER_LOCAL,
                                       .name = names[peer % 2 ? 1 + peer % 4 / 2 : 0]};
  m->identity[0] = (uint8_t)('a' + peer);
  m->identity_size = 1;
  m->connection = (int32_t)peer + 1;
  ingest_gate_message(&node->gate, &sender, m, node->now_ns);
  link_message_finish(m);
}

static void step_short_message(struct fuzz_reader *in)
{
  const uint32_t peer = fuzz_byte(in) % PEERS, kind = fuzz_byte(in) % 8;
  const uint8_t header[] = {8, (uint8_t)kind, 16, 1};
  struct link_message m;
  link_message_init(&m);
  m.frame_count = 1;
  stage_frame(&m.frame[0], header, sizeof header);
  receive(peer, &m);
}

/* A right batch, or one whose count or stream is wrong. */
static void step_submit(struct fuzz_reader *in)
{
  static uint8_t room[1 << 16];
  static struct stage_stream s;
  uint8_t header[64], id[16];
  struct link_message m;
  Muster__V1__SubmitHeader h = MUSTER__V1__SUBMIT_HEADER__INIT;
  const uint32_t peer = fuzz_byte(in) % PEERS, shape = fuzz_byte(in), wrong = fuzz_byte(in);
  if (batches == BATCHES)
    return;
  const uint32_t at = batches++, count = 1 + shape % 16;
  s.bytes = room;
  s.room = sizeof room;
  s.size = s.count = s.at[0] = 0;
  batch[at].first = next_record;
  batch[at].count = count;
  batch[at].peer = (uint8_t)peer;
  batch[at].taken = batch[at].answered = false;
  for (uint32_t i = 0; i < count; i++) {
    stage_id(id, next_record++);
    stage_add(&s, id, shape / 16 * 40);
  }
  h.has_kind = h.has_version_major = h.has_batch_id = h.has_record_count = 1;
  h.kind = MUSTER__V1__KIND__KIND_SUBMIT;
  h.version_major = 1;
  h.batch_id = FIRST_BATCH + at;
  h.record_count = wrong == 1 ? count + 1 : count;
  const size_t cut = wrong == 2 ? 1 : 0, size = muster__v1__submit_header__pack(&h, header);
  link_message_init(&m);
  m.frame_count = 2;
  stage_frame(&m.frame[0], header, size);
  stage_frame(&m.frame[1], s.bytes, s.size - cut);
  const uint64_t admitted = node->gate.admitted;
  const uint32_t refused = node->answer_refused, told = node->answer_end;
  receive(peer, &m);
  batch[at].taken = node->gate.admitted > admitted;
  CHECK(!batch[at].taken || (wrong != 1 && wrong != 2), "a wrong batch was taken in");
  CHECK(batch[at].taken || node->answer_end > told || node->answer_refused > refused, "a batch without an answer");
  batches_taken += batch[at].taken;
  outcomes[TAKEN].count += batch[at].taken;
}

static void step_reading(struct fuzz_reader *in)
{
  static const int statuses[] = {MUSTER_OK, MUSTER_OK, MUSTER_ERR_AGAIN, MUSTER_ERR_NOT_FOUND};
  node->answer_status = statuses[fuzz_byte(in) % 4];
  outcomes[UNREAD].count += node->flow.admit.unsent_batches;
  if (node->answer_status != MUSTER_OK)
    return;
  ingest_flow_writable(&node->flow, INGEST_IPC);
  ingest_flow_writable(&node->flow, INGEST_TCP);
}

/* ---- what workers do ---- */

static void tell(uint32_t shard, const struct hop_head *head, const void *second, size_t size)
{
  struct link_message m;
  link_message_init(&m);
  uint8_t bytes[HOP_HEAD_BYTES];
  hop_head_write(bytes, head);
  stage_frame(&m.frame[0], bytes, sizeof bytes);
  if (second)
    stage_frame(&m.frame[1], second, size);
  m.frame_count = second ? 2 : 1;
  ingest_shard_message(&node->flow.shard[shard], &m, node->now_ns);
  link_message_finish(&m);
}

static void ring_note(struct ring *ring, uint64_t id) { ring->id[ring->count++ % 64] = id; }
static uint64_t ring_any(const struct ring *ring, uint32_t which)
{
  const uint32_t kept = ring->count < 64 ? ring->count : 64;
  return kept > 0 ? ring->id[which % kept] : which;
}

/* The part at some place of the queue is answered; its words fill `words`. false: there is none. */
static bool part_take(uint32_t shard, uint32_t which, struct hop_head *head, uint64_t words[LIMIT_BATCH_RECORDS])
{
  const uint32_t parts = node_parts(node, shard);
  if (parts == 0)
    return false;
  struct node_part *first = &node->part[shard][node->part_first[shard]], *p = first + which % parts;
  const uint8_t *at = link_frame_data(&p->records), *end = at + link_frame_size(&p->records);
  struct batch_record record;
  uint32_t count = 0;
  for (; batch_next(&at, end, &record) == BATCH_RECORD; count++) {
    const uint64_t number = stage_number(&record);
    CHECK(shard_of(number) == shard, "record %llu is at shard %u", (unsigned long long)number, shard);
    words[count] = word_of(number, shard);
  }
  CHECK(at == end && count == p->head.record_count, "%u records of %u", count, p->head.record_count);
  CHECK(p->head.kind != HOP_ISOLATE || count == 1, "%u records are isolated", count);
  outcomes[ISOLATED].count += p->head.kind == HOP_ISOLATE;
  *head = (struct hop_head){
      .kind = HOP_WORDS, .epoch = epoch[shard], .part_id = p->head.part_id, .record_count = count, .shard = shard, .shards = SHARDS};
  link_frame_finish(&p->records);
  *p = *first; /* frames may be moved so: they are values */
  node->part_first[shard]++;
  return true;
}

static void step_work(struct fuzz_reader *in, uint32_t how)
{
  static uint64_t words[LIMIT_BATCH_RECORDS];
  struct hop_head head;
  const uint32_t shard = fuzz_byte(in) % SHARDS, which = fuzz_byte(in);
  if (!part_take(shard, how == 0 ? 0 : which, &head, words))
    return;
  if (how == 2 && which % 4 == 0) { /* one word too few, or words of another worker */
    if (which % 8 == 0)
      head.record_count--;
    else {
      head.epoch++;
      words[0] ^= UINT64_C(1) << 40; /* what it says is not to be believed */
    }
    outcomes[LOST_WORDS].count++;
  } else
    ring_note(&answered[shard], head.part_id);
  tell(shard, &head, words, 8 * (size_t)head.record_count);
}

/* Words that came before, or of a part that never was. */
static void step_late(struct fuzz_reader *in)
{
  const uint64_t words[4] = {verdict_durable(1, 0, 1), verdict_durable(1, 0, 2), verdict_durable(1, 0, 3), verdict_durable(1, 0, 4)};
  const uint32_t shard = fuzz_byte(in) % SHARDS, which = fuzz_byte(in);
  const struct hop_head head = {
      .kind = HOP_WORDS, .epoch = epoch[shard], .part_id = ring_any(&answered[shard], which), .record_count = 1 + which % 4};
  tell(shard, &head, words, 8 * (size_t)head.record_count);
}

/* A message that is none, in one of many ways: it is refused, and changes nothing. */
static void step_no_message(struct fuzz_reader *in)
{
  const uint32_t shard = fuzz_byte(in) % SHARDS, how = fuzz_byte(in) % 8, which = fuzz_byte(in);
  static const uint32_t kinds[] = {HOP_WELCOME, HOP_WELCOME, HOP_WORDS, HOP_BYE, HOP_HELLO, HOP_PART, HOP_WORDS, 99};
  static const uint32_t frames[] = {1, 3, 1, 2, 1, 2, 0, 2};
  struct hop_head head = {
      .kind = kinds[how], .epoch = epoch[shard], .part_id = ring_any(&answered[shard], which), .shard = shard, .shards = SHARDS};
  uint8_t bytes[256] = {0};
  struct link_message m;
  head.shards += how == 0; /* the worker of another node */
  hop_head_write(bytes, &head);
  if (which % 8 == 0)
    store_u32(bytes + 4, HOP_VERSION + 1);
  link_message_init(&m);
  m.frame_count = frames[how];
  stage_frame(&m.frame[0], bytes, HOP_HEAD_BYTES + (which % 8 == 1) - (which % 8 == 2));
  if (frames[how] > 1)
    stage_frame(&m.frame[1], bytes, which);
  const uint64_t held = node->flow.admit.used_bytes;
  CHECK(!ingest_shard_message(&node->flow.shard[shard], &m, node->now_ns), "a message of kind %u with %u frames was taken", head.kind,
        frames[how]);
  CHECK(node->flow.admit.used_bytes == held, "it changed something");
  link_message_finish(&m);
}

static void parts_forget(uint32_t shard)
{
  while (node->part_first[shard] < node->part_end[shard]) {
    struct node_part *p = &node->part[shard][node->part_first[shard]++];
    ring_note(&in_hand[shard], p->head.part_id);
    link_frame_finish(&p->records);
  }
  node->part_first[shard] = node->part_end[shard] = 0;
}

static void step_down(struct fuzz_reader *in)
{
  const uint32_t shard = fuzz_byte(in) % SHARDS;
  if (fuzz_byte(in) % 4 == 0) {
    tell(shard, &(struct hop_head){.kind = HOP_BYE, .shard = shard, .shards = SHARDS}, NULL, 0);
    bye[shard] = true;
  } else {
    ingest_shard_disconnected(&node->flow.shard[shard], node->now_ns);
    down[shard] = true;
    outcomes[DEATHS].count++;
  }
  parts_forget(shard);
}

/* The successor, which tells what the dead one had in hand: some of what it was sent last. */
static void shard_up(uint32_t shard, uint32_t held, uint32_t which)
{
  uint64_t ids[IN_HAND + 1] = {0};
  if (!down[shard] && !bye[shard])
    return;
  if (bye[shard] && !down[shard] && which % 2 == 0)
    ingest_shard_disconnected(&node->flow.shard[shard], node->now_ns);
  for (uint32_t i = 0; i < held; i++)
    ids[i] = ring_any(&in_hand[shard], in_hand[shard].count - 1 - i * (1 + which % 3));
  down[shard] = bye[shard] = false;
  epoch[shard]++;
  ingest_shard_connected(&node->flow.shard[shard]);
  tell(shard, &(struct hop_head){.kind = HOP_WELCOME, .epoch = epoch[shard], .shard = shard, .shards = SHARDS}, held ? ids : NULL,
       8 * (size_t)held + (which & 7)); /* some bytes more are no id */
}

/* One that dies again and again over the parts it gets: how a poison record is found. */
static void step_poison(struct fuzz_reader *in)
{
  const uint32_t shard = fuzz_byte(in) % SHARDS, deaths = 1 + fuzz_byte(in) % 16;
  for (uint32_t i = 0; i < deaths && node_parts(node, shard) > 0; i++) {
    ingest_shard_disconnected(&node->flow.shard[shard], node->now_ns);
    down[shard] = true;
    parts_forget(shard);
    shard_up(shard, 1, 0);
  }
}

static void step_time(struct fuzz_reader *in)
{
  node->now_ns += (fuzz_byte(in) + 1) * 100 * MS;
  ingest_flow_tick(&node->flow, node->now_ns);
}

/* ---- the script ---- */

/* Four bytes, whatever the step takes of them, so that an input stays in step. */
static void step(struct fuzz_reader *script)
{
  size_t size = 4;
  const uint8_t *bytes = fuzz_bytes(script, &size);
  struct fuzz_reader own = {.p = bytes, .end = bytes + size}, *in = &own;
  switch (fuzz_byte(in) % 21) {
  default: step_submit(in); break;
  case 8: step_short_message(in); break;
  case 9: step_work(in, 0); break;
  case 10: step_work(in, 0); break;
  case 11: step_work(in, 1); break;
  case 12: step_work(in, 2); break;
  case 13: step_late(in); break;
  case 14: step_down(in); break;
  case 15: {
    const uint32_t shard = fuzz_byte(in) % SHARDS, which = fuzz_byte(in);
    shard_up(shard, which % (IN_HAND + 1), which);
    break;
  }
  case 16: step_poison(in); break;
  case 17: step_time(in); break;
  case 18: step_reading(in); break;
  case 20: step_no_message(in); break;
  case 19: ingest_flow_gone(&node->flow, (int32_t)(1 + fuzz_byte(in) % PEERS)); break;
  }
}

static void script_begin(uint32_t settings)
{
  struct ingest_flow_seam seam = {.send_answer = node_send_answer, .send_part = node_send_part, .on_drained = node_on_drained};
  static const uint8_t node_id[16] = "0123456789abcdef";
  static const struct clock_source source = {.wall_us = script_us, .monotonic_ns = script_ns};
  if (!node) {
    log_init("fuzz", LOG_ERROR + 1);
    node = node_create();
    node->counters = stage_counters();
    clock_set_source(&source);
  }
  seam.context = node;
  node->now_ns = UINT64_C(1000000000);
  node->answer_status = MUSTER_OK;
  node->config.workers = SHARDS;
  node->config.peers = settings & 1 ? 4 : 16;
  node->config.credit = settings & 2 ? 3 : 16;
  node->config.budget_bytes = settings & 4 ? 20000 : 200000;
  node->config.dispatch_bytes = settings & 8 ? 2000 : 100000;
  node->config.shard_timeout_ms = 2000;
  node->config.answer_timeout_ms = 5000;
  for (unsigned id = 0; id < COUNTER_COUNT; id++)
    base[id] = counters_get(node->counters, (enum counter_id)id);
  memset(node->part_first, 0, sizeof node->part_first);
  memset(node->part_end, 0, sizeof node->part_end);
  node->drained = 0;
  CHECK(ingest_flow_init(&node->flow, &node->config, &seam, node->counters, node->now_ns) == MUSTER_OK, "a flow");
  CHECK(ingest_gate_init(&node->gate, &node->flow, node_id, NODE_SESSION) == MUSTER_OK, "a gate");
  if (settings & 16)
    node->flow.admit.credit_bytes = 0; /* a batch is a batch */
  batches = batches_taken = batches_answered = 0;
  next_record = 0;
  for (uint32_t shard = 0; shard < SHARDS; shard++) {
    down[shard] = true;
    bye[shard] = false;
    epoch[shard] = 10;
    in_hand[shard].count = answered[shard].count = 0;
    shard_up(shard, 0, 0);
  }
}

/* Everybody is well, and all that is asked is answered. */
static void script_end(bool draining)
{
  static uint64_t words[LIMIT_BATCH_RECORDS];
  struct hop_head head;
  node->answer_status = MUSTER_OK;
  if (draining)
    ingest_flow_drain(&node->flow);
  for (unsigned round = 0; round < 60 && node->flow.admit.held_batches > 0; round++) {
    for (uint32_t shard = 0; shard < SHARDS; shard++) {
      shard_up(shard, 0, 0);
      ingest_shard_pump(&node->flow.shard[shard], node->now_ns);
      while (part_take(shard, 0, &head, words))
        tell(shard, &head, words, 8 * (size_t)head.record_count);
    }
    ingest_flow_writable(&node->flow, INGEST_IPC);
    ingest_flow_writable(&node->flow, INGEST_TCP);
    node->now_ns += 100 * MS;
    ingest_flow_tick(&node->flow, node->now_ns);
    check_step();
  }
  const struct ingest_admit *a = &node->flow.admit;
  CHECK(a->held_batches == 0 && a->used_bytes == 0 && a->at_workers_bytes == 0 && a->unsent_batches == 0,
        "at rest %u batches, %llu bytes, %llu bytes at workers, %u answers are held", a->held_batches, (unsigned long long)a->used_bytes,
        (unsigned long long)a->at_workers_bytes, a->unsent_batches);
  CHECK(counters_get(node->counters, COUNTER_records_in_flight) == 0 && counters_get(node->counters, COUNTER_batches_in_flight) == 0,
        "in flight at rest");
  CHECK(node->drained == node->flow.draining, "drained %u times", node->drained);
  outcomes[DROPPED].count += counted(COUNTER_answers_dropped);
  for (uint32_t shard = 0; shard < SHARDS; shard++)
    parts_forget(shard);
  ingest_gate_finish(&node->gate);
  ingest_flow_finish(&node->flow);
}

static void make(struct wire *out, struct random *r, const struct wire *corpus, uint32_t corpus_count)
{
  (void)corpus;
  (void)corpus_count;
  wire_byte(out, (uint8_t)random_next(r));
  const uint32_t kinds = 8 + random_below(r, 14); /* some scripts are all submitting */
  for (uint32_t steps = 1 + random_below(r, 200); steps > 0; steps--) {
    wire_byte(out, (uint8_t)random_below(r, kinds));
    for (uint32_t i = 0; i < 3; i++)
      wire_byte(out, (uint8_t)random_next(r));
  }
}

const struct fuzz_target fuzz_target = {.name = "ingest", .short_count = 1000, .outcomes = outcomes, .make = make};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  struct fuzz_reader in = {.p = data, .end = data + size};
  const uint32_t settings = fuzz_byte(&in);
  script_begin(settings);
  for (unsigned i = 0; i < STEPS && in.p < in.end; i++) {
    if (i == DRAIN_AT && settings >= 192)
      ingest_flow_drain(&node->flow);
    step(&in);
    check_step();
  }
  script_end(settings & 32);
  return 0;
}
