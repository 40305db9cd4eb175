/* workers/main.c: the process as the supervisor starts it, spoken to over its socket; what it exits with, and what it leaves for the
 * next one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <uv.h>

#include "core/clock.h"
#include "core/config.h"
#include "core/datadir.h"
#include "core/link.h"
#include "core/scratch.h"
#include "ops/commands.h"
#include "proto/batch.h"
#include "proto/wire.pb-c.h"
#include "workers/records.h"

#define PATIENCE_NS UINT64_C(10000000000)

static const char *program; /* this one */
static struct datadir data;
static uv_loop_t loop;
static struct link *ingest;
static unsigned connected, disconnected;

/* The last message of each kind. */
static struct {
  unsigned count;
  struct hop_head head;
  uint64_t word;
} heard[HOP_BYE + 1];

static void on_message(void *context, struct link *link, struct link_message *m)
{
  struct hop_head head;
  (void)context;
  (void)link;
  assert_true(hop_head_read(&head, link_frame_data(&m->frame[0]), link_frame_size(&m->frame[0])));
  assert_in_range(head.kind, HOP_HELLO, HOP_BYE);
  heard[head.kind].count++;
  heard[head.kind].head = head;
  if (m->frame_count == 2 && link_frame_size(&m->frame[1]) >= 8)
    heard[head.kind].word = load_u64(link_frame_data(&m->frame[1]));
}

static void on_event(void *context, struct link *link, enum link_event event)
{
  (void)context;
  (void)link;
  connected += event == LINK_CONNECTED;
  disconnected += event == LINK_DISCONNECTED;
}

static void wait_for(const unsigned *count, unsigned at_least)
{
  uint64_t start_ns = clock_monotonic_ns();
  while (*count < at_least) {
    uv_run(&loop, UV_RUN_NOWAIT);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_true(clock_monotonic_ns() - start_ns < PATIENCE_NS);
  }
}

static void say(enum hop_kind kind, const struct stream *records)
{
  const struct hop_head head = {
      .kind = kind, .part_id = 42, .record_count = records ? records->count : 0, .shards = 1, .received_us = clock_wall_us()};
  struct link_message m;
  link_message_init(&m);
  m.frame_count = records ? 2 : 1;
  assert_int_equal(link_frame_init(&m.frame[0], HOP_HEAD_BYTES), MUSTER_OK);
  hop_head_write(link_frame_data(&m.frame[0]), &head);
  if (records) {
    assert_int_equal(link_frame_init(&m.frame[1], records->size), MUSTER_OK);
    memcpy(link_frame_data(&m.frame[1]), records->bytes, records->size);
  }
  assert_int_equal(link_send(ingest, &m), MUSTER_OK);
  link_message_finish(&m);
}

static void connect_ingest(void)
{
  struct failure failure = FAILURE_NONE;
  char endpoint[LIMIT_PATH_BYTES];
  const struct link_options o = {.kind = LINK_DEALER,
                                 .queue_messages = 100,
                                 .message_bytes_max = LIMIT_WIRE_BYTES,
                                 .handshake_ms = 1000,
                                 .routing_id = "ingest-0",
                                 .on_message = on_message,
                                 .on_event = on_event};
  datadir_worker_endpoint(&data, endpoint, 0);
  memset(heard, 0, sizeof heard);
  connected = disconnected = 0;
  assert_int_equal(link_open(&ingest, &loop, &o, &failure), MUSTER_OK);
  assert_int_equal(link_connect(ingest, endpoint, &failure), MUSTER_OK);
  wait_for(&connected, 1);
  say(HOP_HELLO, NULL);
  wait_for(&heard[HOP_WELCOME].count, 1);
}

/* ---- the process ---- */

/* A process of its own, as the supervisor starts it: this program, which is a worker where it has arguments. */
static pid_t start_worker(int lifeline)
{
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    if (lifeline >= 0) {
      dup2(lifeline, 3);
      setenv("MUSTER_LIFELINE", "1", 1);
    }
    execl(program, "muster worker", "--data", data.root, "--index=0", NULL);
    _exit(127);
  }
  return child;
}

static int end_of(pid_t child)
{
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int setup(void **state)
{
  struct failure failure = FAILURE_NONE;
  struct config config;
  char directory[SCRATCH_BYTES], path[LIMIT_PATH_BYTES];
  (void)state;
  scratch_make(directory);
  if (datadir_create(&data, directory, &failure) != MUSTER_OK) {
    print_error("%s\n", failure.text);
    return -1;
  }
  config_defaults(&config);
  config.workers = 1;
  config.map_bytes = UINT64_C(1) << 30;
  config.disk_reserve_bytes = 0;
  datadir_path(&data, path, "run/node.conf");
  FILE *file = fopen(path, "we");
  if (!file || config_write(&config, file) != MUSTER_OK || fclose(file) != 0)
    return -1;
  datadir_path(&data, path, "node.id");
  scratch_write(path, "0190a5c2-0000-4000-8000-000000000001\n");
  datadir_shard_path(&data, path, 0);
  if (mkdir(path, 0700) != 0)
    return -1;
  return uv_loop_init(&loop);
}

static int teardown(void **state)
{
  (void)state;
  link_close(ingest);
  ingest = NULL;
  uv_run(&loop, UV_RUN_DEFAULT);
  scratch_remove(data.root);
  datadir_close(&data);
  return uv_loop_close(&loop);
}

static void submit_one(uint32_t verdict)
{
  uint8_t bytes[1024];
  struct stream s = {.bytes = bytes, .capacity = sizeof bytes};
  stream_add_record(&s, record_make(1, 0));
  say(HOP_PART, &s);
  wait_for(&heard[HOP_WORDS].count, 1);
  assert_int_equal(heard[HOP_WORDS].head.part_id, 42);
  assert_true(heard[HOP_WORDS].word == verdict_durable(verdict, 0, 1));
}

static void reconnect_ingest(void)
{
  link_close(ingest);
  uv_run(&loop, UV_RUN_DEFAULT);
  connect_ingest();
}

/* SIGTERM: what has arrived is answered, BYE is said, the next one starts with what was stored, under another epoch. SIGINT is the
 * supervisor's business. */
static void test_serves_and_drains(void **state)
{
  (void)state;
  pid_t worker = start_worker(-1);
  connect_ingest();
  uint64_t epoch = heard[HOP_WELCOME].head.epoch;
  assert_int_equal(heard[HOP_WELCOME].head.store_records, 0);
  kill(worker, SIGINT);
  submit_one(MUSTER__V1__VERDICT__VERDICT_ACCEPTED);
  kill(worker, SIGTERM);
  nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL); /* an ingest that is busy meanwhile still gets to read BYE */
  wait_for(&heard[HOP_BYE].count, 1);
  assert_int_equal(end_of(worker), EX_OK);

  worker = start_worker(-1);
  reconnect_ingest();
  assert_int_equal(heard[HOP_WELCOME].head.store_records, 1);
  assert_true(heard[HOP_WELCOME].head.epoch != epoch);
  submit_one(MUSTER__V1__VERDICT__VERDICT_DUPLICATE);
  kill(worker, SIGTERM);
  assert_int_equal(end_of(worker), EX_OK);
}

/* An ingest that was killed comes back under its old routing id while its dead connection may still be known. */
static void test_ingest_comes_back_under_its_name(void **state)
{
  struct link *former;
  (void)state;
  pid_t worker = start_worker(-1);
  connect_ingest();
  former = ingest;
  connect_ingest();
  submit_one(MUSTER__V1__VERDICT__VERDICT_ACCEPTED);
  link_close(former);
  kill(worker, SIGTERM);
  wait_for(&heard[HOP_BYE].count, 1);
  assert_int_equal(end_of(worker), EX_OK);
}

/* "ready" is said on the lifeline, and its end is the end of the process. */
static void test_lifeline(void **state)
{
  int ends[2];
  char word[6];
  (void)state;
  ingest = NULL;
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  pid_t worker = start_worker(ends[1]);
  close(ends[1]);
  assert_int_equal(read(ends[0], word, sizeof word), sizeof word);
  assert_memory_equal(word, "ready\n", sizeof word);
  close(ends[0]);
  assert_int_equal(end_of(worker), EX_OK);
}

static void test_killed_worker_leaves_what_it_said(void **state)
{
  (void)state;
  pid_t worker = start_worker(-1);
  connect_ingest();
  submit_one(MUSTER__V1__VERDICT__VERDICT_ACCEPTED);
  kill(worker, SIGKILL);
  assert_int_equal(end_of(worker), -SIGKILL);
  worker = start_worker(-1);
  reconnect_ingest();
  submit_one(MUSTER__V1__VERDICT__VERDICT_DUPLICATE);
  kill(worker, SIGTERM);
  assert_int_equal(end_of(worker), EX_OK);
}

static void test_what_it_cannot_start_with(void **state)
{
  char path[LIMIT_PATH_BYTES];
  (void)state;
  ingest = NULL;
  datadir_path(&data, path, "node.id");
  scratch_write(path, "not an id\n");
  assert_int_equal(end_of(start_worker(-1)), EX_DATAERR);
  remove(path);
  assert_int_equal(end_of(start_worker(-1)), EX_NOINPUT);
  datadir_path(&data, path, "run/node.conf");
  scratch_write(path, "[node]\nworkers = many\n");
  assert_int_equal(end_of(start_worker(-1)), EX_CONFIG);
}

int main(int argc, char **argv)
{
  if (argc > 1)
    return worker_main(argc, argv);
  program = argv[0];

  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_serves_and_drains, setup, teardown),
      cmocka_unit_test_setup_teardown(test_ingest_comes_back_under_its_name, setup, teardown),
      cmocka_unit_test_setup_teardown(test_lifeline, setup, teardown),
      cmocka_unit_test_setup_teardown(test_killed_worker_leaves_what_it_said, setup, teardown),
      cmocka_unit_test_setup_teardown(test_what_it_cannot_start_with, setup, teardown),
  };
  int failed = cmocka_run_group_tests_name("worker main", tests, NULL, NULL);
  link_context_finish();
  return failed;
}
