/*
 * A worker on a real store, with the outside of it played by the test: the disk is scripted, and what it sends is caught
 * here instead of by a socket. One of it a program; a test opens it in its setup, puts records into the stream, lets the
 * worker take them as parts, settles, and looks at the words.
 */
#ifndef MUSTER_TESTS_WORKERS_NODE_H
#define MUSTER_TESTS_WORKERS_NODE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "core/scratch.h"
#include "proto/batch.h"
#include "proto/wire.pb-c.h"
#include "workers/records.h"
#include "workers/worker.h"

#define ACCEPTED MUSTER__V1__VERDICT__VERDICT_ACCEPTED
#define DUPLICATE MUSTER__V1__VERDICT__VERDICT_DUPLICATE
#define CONFLICT MUSTER__V1__VERDICT__VERDICT_CONFLICT
#define INVALID MUSTER__V1__VERDICT__VERDICT_INVALID
#define BUSY MUSTER__V1__VERDICT__VERDICT_BUSY
#define RETRY MUSTER__V1__VERDICT__VERDICT_RETRY
#define REASON(name) MUSTER__V1__REASON__REASON_##name

#define EPOCH UINT64_C(0x1122334455667788)
#define RESERVE_BYTES 1000u
#define SUBMITTER 7u
#define RECEIVED_US INT64_C(1700000000000000)
#define ANSWERS_MAX 64

static struct node {
  char directory[SCRATCH_BYTES], shard[SCRATCH_BYTES + 16];
  struct config config;
  uint32_t shards;
  uint64_t map_bytes;
  struct store *store;
  struct counters *counters;
  struct hand *hand;
  uint32_t submitter; /* of the parts that are taken */
  struct worker *worker;
  uint64_t disk_bytes;
  int send_status;
  unsigned stopped;
  struct answer {
    struct hop_head head;
    char to[16];
    uint64_t *words; /* head.record_count of them, owned; of WELCOME the ids that the former worker had in hand */
    uint32_t ids;
  } answer[ANSWERS_MAX];
  size_t answers;
} node;

static struct stream stream;

/* ---- the outside of a worker ---- */

static inline int catch_send(void *context, struct link_message *m)
{
  struct node *n = context;
  if (n->send_status != MUSTER_OK)
    return n->send_status;
  assert_true(n->answers < ANSWERS_MAX);
  struct answer *a = &n->answer[n->answers++];
  assert_true(hop_head_read(&a->head, link_frame_data(&m->frame[0]), link_frame_size(&m->frame[0])));
  snprintf(a->to, sizeof a->to, "%.*s", (int)m->identity_size, (const char *)m->identity);
  a->words = NULL;
  assert_true(a->head.kind == HOP_WELCOME || m->frame_count == (a->head.kind == HOP_WORDS ? 2 : 1));
  a->ids = a->head.kind == HOP_WELCOME && m->frame_count == 2 ? (uint32_t)(link_frame_size(&m->frame[1]) / 8) : 0;
  if (m->frame_count == 2) {
    assert_int_equal(link_frame_size(&m->frame[1]), (a->head.record_count + a->ids) * 8);
    a->words = malloc(link_frame_size(&m->frame[1]));
    memcpy(a->words, link_frame_data(&m->frame[1]), link_frame_size(&m->frame[1]));
  }
  link_message_finish(m);
  return MUSTER_OK;
}

static inline int scripted_disk(void *context, const char *path, uint64_t *free_bytes)
{
  struct node *n = context;
  assert_string_equal(path, n->shard);
  *free_bytes = n->disk_bytes;
  return 0;
}

static inline void count_stop(void *context) { ((struct node *)context)->stopped++; }

static inline void forget_answers(void)
{
  for (size_t i = 0; i < node.answers; i++)
    free(node.answer[i].words);
  node.answers = 0;
}

static inline int open_node(void)
{
  struct failure failure = FAILURE_NONE;
  const struct store_options s = {
      .path = node.shard,
      .shard = 0,
      .shards = node.shards,
      .node_id = {1},
      .map_bytes = node.map_bytes,
      .quarantine_records = 1000,
      .quarantine_bytes = 16 << 20,
  };
  int status = store_open(&node.store, &s, &failure);
  if (status == MUSTER_OK)
    status = counters_create(&node.counters, node.directory, "worker-0", &failure);
  if (status == MUSTER_OK) {
    char path[SCRATCH_BYTES + 16];
    snprintf(path, sizeof path, "%s/hand-0", node.directory);
    status = hand_open(&node.hand, path, &failure);
  }
  if (status == MUSTER_OK && hand_has_former(node.hand))
    status = store_recall_deadly(node.store, &failure);
  const struct worker_options o = {
      .store = node.store,
      .store_path = node.shard,
      .shard = 0,
      .shards = node.shards,
      .epoch = EPOCH,
      .config = &node.config,
      .counters = node.counters,
      .hand = node.hand,
      .send = catch_send,
      .on_stop = count_stop,
      .disk_free = scripted_disk,
      .context = &node,
  };
  if (status == MUSTER_OK)
    status = worker_create(&node.worker, &o, &failure);
  if (status != MUSTER_OK)
    print_error("%s\n", failure.text);
  return status;
}

static inline void close_node(void)
{
  worker_destroy(node.worker);
  hand_close(node.hand);
  store_close(node.store);
  counters_destroy(node.counters);
  forget_answers();
}

static inline int open_in(const char *directory, uint32_t shards, uint64_t map_bytes)
{
  node = (struct node){.shards = shards, .map_bytes = map_bytes, .disk_bytes = RESERVE_BYTES, .submitter = SUBMITTER};
  config_defaults(&node.config);
  node.config.disk_reserve_bytes = RESERVE_BYTES;
  node.config.earliest_year = 2000;
  snprintf(node.directory, sizeof node.directory, "%s", directory);
  snprintf(node.shard, sizeof node.shard, "%s/shard-0", node.directory);
  stream = (struct stream){.bytes = malloc(8 << 20), .capacity = 8 << 20};
  if (!stream.bytes || (mkdir(node.shard, 0700) != 0 && errno != EEXIST))
    return -1;
  return open_node();
}

static inline int setup_with(uint32_t shards, uint64_t map_bytes)
{
  char directory[SCRATCH_BYTES];
  scratch_make(directory);
  return open_in(directory, shards, map_bytes);
}
static inline int setup(void **state) { return (void)state, setup_with(1, UINT64_C(1) << 30); }

static inline int teardown(void **state)
{
  (void)state;
  close_node();
  free(stream.bytes);
  scratch_remove(node.directory);
  return 0;
}

/* ---- messages ---- */

static inline void take(const struct hop_head *head, const char *from, bool with_records)
{
  struct link_message m;
  link_message_init(&m);
  m.identity_size = (uint32_t)strlen(from);
  memcpy(m.identity, from, m.identity_size);
  m.frame_count = with_records ? 2 : 1;
  assert_int_equal(link_frame_init(&m.frame[0], HOP_HEAD_BYTES), MUSTER_OK);
  hop_head_write(link_frame_data(&m.frame[0]), head);
  if (with_records) {
    assert_int_equal(link_frame_init(&m.frame[1], stream.size), MUSTER_OK);
    memcpy(link_frame_data(&m.frame[1]), stream.bytes, stream.size);
  }
  worker_take(node.worker, &m);
  link_message_finish(&m);
}

static inline void say_hello(const char *from, uint32_t shard, uint32_t shards)
{
  const struct hop_head hello = {.kind = HOP_HELLO, .shard = shard, .shards = shards};
  take(&hello, from, false);
}

/* Sends what has been put into the stream as one part, and empties the stream. */
static inline void take_part(uint64_t part_id, enum hop_kind kind, uint32_t record_count)
{
  const struct hop_head head = {.kind = kind,
                                .part_id = part_id,
                                .record_count = record_count,
                                .shard = 0,
                                .shards = node.shards,
                                .submitter = node.submitter,
                                .received_us = RECEIVED_US};
  take(&head, part_id % 2 ? "ingest-1" : "ingest-0", true);
  stream.size = stream.count = 0;
}
static inline void put(uint64_t number, uint64_t content) { stream_add_record(&stream, record_make(number, content)); }

static inline const struct answer *answer_of(uint64_t part_id)
{
  const struct answer *found = NULL;
  for (size_t i = 0; i < node.answers; i++)
    if (node.answer[i].head.kind == HOP_WORDS && node.answer[i].head.part_id == part_id) {
      assert_null(found);
      found = &node.answer[i];
    }
  assert_non_null(found);
  assert_string_equal(found->to, part_id % 2 ? "ingest-1" : "ingest-0");
  assert_true(found->head.epoch == EPOCH);
  return found;
}

static inline void expect_words(uint64_t part_id, const uint64_t *words, uint32_t count)
{
  const struct answer *a = answer_of(part_id);
  assert_int_equal(a->head.record_count, count);
  for (uint32_t i = 0; i < count; i++)
    if (a->words[i] != words[i])
      fail_msg("part %" PRIu64 " record %u: word %#" PRIx64 ", not %#" PRIx64, part_id, i, a->words[i], words[i]);
}
#define EXPECT(part_id, ...)                                                                                                               \
  expect_words(part_id, (const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))
#define DURABLE(verdict, sequence) verdict_durable(verdict, 0, sequence)
#define REFUSED(verdict, reason, field) verdict_refused(verdict, 0, REASON(reason), field)

static inline uint64_t count_of(enum counter_id id) { return counters_get(node.counters, id); }

static inline void expect_conserved(void)
{
  assert_int_equal(count_of(COUNTER_records_received), count_of(COUNTER_records_accepted) + count_of(COUNTER_records_duplicate) +
                                                           count_of(COUNTER_records_conflict) + count_of(COUNTER_records_invalid) +
                                                           count_of(COUNTER_records_handed_back) + count_of(COUNTER_records_in_flight));
}

/* ---- what is stored, as another process reads it beside the worker ---- */

struct stored {
  uint64_t refused[COUNTER_REASONS]; /* times, by reason */
  uint64_t refused_of_others;        /* not of SUBMITTER at RECEIVED_US */
  uint64_t tallied;
  bool whole; /* all of it could be read */
};

static inline int stored_refused(void *context, const struct store_refused *entry)
{
  struct stored *out = context;
  out->refused[entry->reason % COUNTER_REASONS] += entry->times;
  out->refused_of_others += entry->submitter != SUBMITTER || entry->first_us != RECEIVED_US;
  return 0;
}

static inline int stored_cell(void *context, const struct store_tally_cell *cell)
{
  ((struct stored *)context)->tallied += cell->count;
  return 0;
}

static inline int stored_read(struct stored *out)
{
  struct failure failure = FAILURE_NONE;
  struct store_reader *reader = NULL;
  int status = store_reader_open(&reader, node.shard, &failure);
  if (status == MUSTER_OK)
    status = store_reader_quarantine(reader, stored_refused, out, &failure);
  if (status == MUSTER_OK)
    status = store_reader_tally(reader, stored_cell, out, &failure);
  store_reader_close(reader);
  if (status != MUSTER_OK)
    print_error("%s\n", failure.text);
  return status;
}

static inline struct stored stored_now(void)
{
  struct stored *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_true(shared != MAP_FAILED);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    shared->whole = stored_read(shared) == MUSTER_OK;
    raise(SIGKILL); /* what it inherited from the writer is no leak of its own */
  }
  assert_int_equal(waitpid(child, NULL, 0), child);
  assert_true(shared->whole);
  struct stored out = *shared;
  munmap(shared, sizeof *shared);
  return out;
}

#endif
