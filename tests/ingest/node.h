/*
 * An ingest without sockets for tests: gate, flow and shards, with the answers to submitters and the parts for workers
 * caught in queues, and workers that answer ACCEPTED when they are told to. The number of a record is that of its id
 * (stage_id), its sequence is one more.
 */
#ifndef MUSTER_TESTS_INGEST_NODE_H
#define MUSTER_TESTS_INGEST_NODE_H

#include "ingest/gate.h"
#include "ingest/stage.h"

#define NODE_ANSWERS 5000u
#define NODE_PARTS 5000u
#define NODE_SHARDS_MAX 4u
#define NODE_SESSION UINT64_C(0x1122334455667788)

struct node_part {
  struct hop_head head;
  struct link_frame records;
};

struct node {
  struct config config;
  struct counters *counters;
  struct ingest_flow flow;
  struct ingest_gate gate;
  uint64_t now_ns;
  uint32_t submitter;                       /* whom messages are of */
  int32_t connection;                       /* which they come by; 0: not known */
  struct link_message answer[NODE_ANSWERS]; /* to submitters, oldest first from answer_first */
  enum ingest_origin answer_origin[NODE_ANSWERS];
  uint32_t answer_first, answer_end;
  int answer_status;       /* what the next sends say */
  uint32_t answer_refused; /* sends that were not MUSTER_OK */
  struct node_part part[NODE_SHARDS_MAX][NODE_PARTS];
  uint32_t part_first[NODE_SHARDS_MAX], part_end[NODE_SHARDS_MAX];
  uint32_t drained;
};

static inline int node_send_answer(void *context, enum ingest_origin origin, struct link_message *m)
{
  struct node *n = context;
  if (n->answer_status != MUSTER_OK) {
    n->answer_refused++;
    return n->answer_status;
  }
  assert_true(n->answer_end < NODE_ANSWERS);
  struct link_message *to = &n->answer[n->answer_end];
  n->answer_origin[n->answer_end++] = origin;
  link_message_init(to);
  memcpy(to->identity, m->identity, m->identity_size);
  to->identity_size = m->identity_size;
  to->connection = m->connection;
  to->frame_count = m->frame_count;
  for (uint32_t i = 0; i < m->frame_count; i++)
    link_frame_move(&to->frame[i], &m->frame[i]);
  return MUSTER_OK;
}

static inline int node_send_part(void *context, uint32_t shard, const struct hop_head *head, struct link_frame *records)
{
  struct node *n = context;
  if (head->kind == HOP_HELLO)
    return MUSTER_OK;
  assert_true(n->part_end[shard] < NODE_PARTS);
  struct node_part *p = &n->part[shard][n->part_end[shard]++];
  p->head = *head;
  link_frame_init_empty(&p->records);
  link_frame_move(&p->records, records);
  return MUSTER_OK;
}

static inline void node_on_drained(void *context)
{
  struct node *n = context;
  assert_int_equal(n->flow.gather.held, 0);
  n->drained++;
}

static inline void node_tell(struct node *n, uint32_t shard, const struct hop_head *head, const void *words, size_t size)
{
  struct link_message m;
  link_message_init(&m);
  link_frame_init(&m.frame[0], HOP_HEAD_BYTES);
  hop_head_write(link_frame_data(&m.frame[0]), head);
  if (words)
    stage_frame(&m.frame[1], words, size);
  m.frame_count = words ? 2 : 1;
  assert_true(ingest_shard_message(&n->flow.shard[shard], &m, n->now_ns));
  link_message_finish(&m);
}

/* The worker of a shard comes up. */
static inline void node_serve(struct node *n, uint32_t shard)
{
  ingest_shard_connected(&n->flow.shard[shard]);
  node_tell(n, shard, &(struct hop_head){.kind = HOP_WELCOME, .epoch = 7, .shard = shard, .shards = n->config.workers}, NULL, 0);
}

static inline void node_die(struct node *n, uint32_t shard)
{
  while (n->part_first[shard] < n->part_end[shard])
    link_frame_finish(&n->part[shard][n->part_first[shard]++].records);
  ingest_shard_disconnected(&n->flow.shard[shard], n->now_ns);
}

/* Settings of a small node; change config before node_start. */
static inline struct node *node_create(void)
{
  struct node *n = calloc(1, sizeof *n);
  config_defaults(&n->config);
  n->config.workers = 2;
  n->now_ns = UINT64_C(1000000000);
  return n;
}

static inline void node_start(struct node *n)
{
  const struct ingest_flow_seam seam = {
      .send_answer = node_send_answer, .send_part = node_send_part, .on_drained = node_on_drained, .context = n};
  const uint8_t node_id[16] = "0123456789abcdef";
  n->counters = stage_counters();
  assert_int_equal(ingest_flow_init(&n->flow, &n->config, &seam, n->counters, n->now_ns), MUSTER_OK);
  assert_int_equal(ingest_gate_init(&n->gate, &n->flow, node_id, NODE_SESSION), MUSTER_OK);
  for (uint32_t shard = 0; shard < n->config.workers; shard++)
    node_serve(n, shard);
}

static inline void node_destroy(struct node *n)
{
  for (uint32_t shard = 0; shard < n->config.workers; shard++)
    while (n->part_first[shard] < n->part_end[shard])
      link_frame_finish(&n->part[shard][n->part_first[shard]++].records);
  while (n->answer_first < n->answer_end)
    link_message_finish(&n->answer[n->answer_first++]);
  ingest_gate_finish(&n->gate);
  ingest_flow_finish(&n->flow);
  stage_counters_finish(n->counters);
  free(n);
}

/* The worker answers its oldest part. false: it has none. */
static inline bool node_work_one(struct node *n, uint32_t shard)
{
  static uint64_t words[LIMIT_BATCH_RECORDS];
  if (n->part_first[shard] == n->part_end[shard])
    return false;
  struct node_part *p = &n->part[shard][n->part_first[shard]++];
  const uint8_t *at = link_frame_data(&p->records), *end = at + link_frame_size(&p->records);
  struct batch_record record = {0};
  uint32_t count = 0;
  while (batch_next(&at, end, &record) == BATCH_RECORD)
    words[count++] = verdict_durable(MUSTER__V1__VERDICT__VERDICT_ACCEPTED, shard, (uint32_t)stage_number(&record) + 1);
  assert_int_equal(count, p->head.record_count);
  struct hop_head head = {.kind = HOP_WORDS, .epoch = 7, .part_id = p->head.part_id, .record_count = count};
  link_frame_finish(&p->records);
  node_tell(n, shard, &head, words, (size_t)count * 8);
  stage_conserved(n->counters);
  return true;
}

static inline void node_work(struct node *n)
{
  for (bool some = true; some;) {
    some = false;
    for (uint32_t shard = 0; shard < n->config.workers; shard++)
      some |= node_work_one(n, shard);
  }
}

static inline uint32_t node_parts(const struct node *n, uint32_t shard) { return n->part_end[shard] - n->part_first[shard]; }
static inline uint32_t node_answers(const struct node *n) { return n->answer_end - n->answer_first; }

/* A message of a peer: identity is one letter, sizes say how many frames there are (SIZE_MAX: no more). */
static inline void node_receive(struct node *n, char peer, uint32_t frames, const void *first, size_t first_size, const void *second,
                                size_t second_size)
{
  const struct ingest_sender sender = {.origin = INGEST_IPC, .submitter = n->submitter, .name = "local"};
  struct link_message m;
  link_message_init(&m);
  m.connection = n->connection;
  m.identity[0] = (uint8_t)peer;
  m.identity_size = 1;
  m.frame_count = frames;
  if (frames > 0)
    stage_frame(&m.frame[0], first, first_size);
  if (frames > 1)
    stage_frame(&m.frame[1], second, second_size);
  ingest_gate_message(&n->gate, &sender, &m, n->now_ns);
  link_message_finish(&m);
  stage_conserved(n->counters);
}

/* The oldest answer, which must be for this peer; the caller finishes it. */
static inline struct link_message *node_take(struct node *n, char peer)
{
  assert_true(n->answer_first < n->answer_end);
  struct link_message *m = &n->answer[n->answer_first++];
  assert_int_equal(m->identity_size, 1);
  assert_int_equal(m->identity[0], peer);
  assert_int_equal(n->answer_origin[n->answer_first - 1], INGEST_IPC);
  return m;
}

/* A batch of records first to first + count - 1. */
static inline void node_submit(struct node *n, char peer, uint64_t batch_id, uint32_t first, uint32_t count)
{
  struct stage_stream s;
  uint8_t header[64];
  Muster__V1__SubmitHeader h = MUSTER__V1__SUBMIT_HEADER__INIT;
  h.has_kind = h.has_version_major = h.has_version_minor = h.has_batch_id = h.has_record_count = 1;
  h.kind = MUSTER__V1__KIND__KIND_SUBMIT;
  h.version_major = 1;
  h.batch_id = batch_id;
  h.record_count = count;
  size_t size = muster__v1__submit_header__pack(&h, header);
  stage_fill(&s, count, first, 30);
  node_receive(n, peer, 2, header, size, s.bytes, s.size);
  stage_stream_finish(&s);
}

/* The oldest answer is one for this peer's batch, of the whole with this reason, or (0) all ACCEPTED from record
 * first on. Returns retry_after_ms. */
static inline uint32_t node_expect(struct node *n, char peer, uint64_t batch_id, uint32_t reason, uint32_t first, uint32_t count)
{
  struct link_message *m = node_take(n, peer);
  assert_int_equal(m->frame_count, 2);
  Muster__V1__AnswerHeader *h = stage_header(&m->frame[0]);
  Muster__V1__Verdicts *v = stage_verdicts(&m->frame[1]);
  assert_int_equal(h->batch_id, batch_id);
  assert_int_equal(h->record_count, count);
  assert_int_equal(h->has_batch_reason ? h->batch_reason : 0, reason);
  assert_int_equal(h->has_batch_verdict, reason != 0);
  assert_int_equal(v->n_word, reason != 0 ? 0 : count);
  for (uint32_t i = 0; i < v->n_word; i++) {
    assert_int_equal(verdict_kind(v->word[i]), MUSTER__V1__VERDICT__VERDICT_ACCEPTED);
    assert_int_equal(verdict_sequence(v->word[i]), first + i + 1);
  }
  uint32_t retry_after_ms = h->has_retry_after_ms ? h->retry_after_ms : 0;
  muster__v1__verdicts__free_unpacked(v, NULL);
  muster__v1__answer_header__free_unpacked(h, NULL);
  link_message_finish(m);
  return retry_after_ms;
}

#endif
