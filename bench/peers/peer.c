#include "bench/peers/peer.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "proto/varint.h"

/* ---- the stream ---- */

#define ID_FIELD 0x0a /* field 1, length-delimited */

/* Counts the records, and notes their places where there is room for them; NULL or what is wrong. */
static const char *walk(const uint8_t *map, size_t size, struct peer_record *records, uint64_t *count)
{
  const uint8_t *p = map, *end = map + size;
  uint64_t n = 0, length;
  while (p < end) {
    p = varint_read(p, end, &length);
    if (!p || length > (uint64_t)(end - p))
      return "the stream breaks within a record";
    if (length < 2 + PEER_ID || length > UINT32_MAX || p[0] != ID_FIELD || p[1] != PEER_ID)
      return "a record does not begin with its id";
    if (records)
      records[n] = (struct peer_record){.bytes = p, .id = p + 2, .size = (uint32_t)length};
    n++;
    p += length;
  }
  *count = n;
  return n ? NULL : "the stream is empty";
}

static const char *stream_map(struct peer_stream *s, const char *path)
{
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (fd < 0 || fstat(fd, &status)) {
    if (fd >= 0)
      close(fd);
    return "the stream cannot be read";
  }
  s->size = (size_t)status.st_size;
  void *map = s->size ? mmap(NULL, s->size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0) : MAP_FAILED;
  close(fd);
  if (map == MAP_FAILED)
    return s->size ? "the stream cannot be mapped" : "the stream is empty";
  s->map = map;
  return NULL;
}

bool peer_stream_open(struct peer_stream *s, const char *path, const char **error)
{
  *s = (struct peer_stream){0};
  const char *wrong = stream_map(s, path);
  if (!wrong)
    wrong = walk(s->map, s->size, NULL, &s->count);
  if (!wrong) {
    s->records = malloc(s->count * sizeof *s->records);
    wrong = s->records ? walk(s->map, s->size, s->records, &s->count) : "no memory for the places of the records";
  }
  if (wrong)
    peer_stream_close(s);
  if (error)
    *error = wrong;
  return !wrong;
}

void peer_stream_close(struct peer_stream *s)
{
  free(s->records);
  if (s->map)
    munmap((void *)(uintptr_t)s->map, s->size);
  *s = (struct peer_stream){0};
}

uint32_t peer_batch(const struct peer_stream *s, uint64_t number, const struct peer_record **first)
{
  uint64_t at = number * PEER_BATCH;
  if (at >= s->count)
    return 0;
  *first = s->records + at;
  return s->count - at < PEER_BATCH ? (uint32_t)(s->count - at) : PEER_BATCH;
}

uint64_t peer_batches(const struct peer_stream *s) { return (s->count + PEER_BATCH - 1) / PEER_BATCH; }

void peer_open_or_fail(const struct peer_facts *facts, struct peer_stream *s, const char *path)
{
  const char *error;
  if (!peer_stream_open(s, path, &error))
    peer_fail(facts, EX_NOINPUT, "%s: %s", path, error);
}

/* ---- the clock ---- */

double peer_now_s(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_now_s(void)
{
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

void peer_clock_start(struct peer_clock *c) { *c = (struct peer_clock){.wall_s = peer_now_s(), .cpu_s = cpu_now_s()}; }

void peer_clock_stop(struct peer_clock *c)
{
  c->wall_s = peer_now_s() - c->wall_s;
  c->cpu_s = cpu_now_s() - c->cpu_s;
}

/* ---- what is said ---- */

static void report_facts(const struct peer_facts *f)
{
  printf("{\"peer\": \"%s\", \"ack\": \"%s\", \"durable\": %s, \"dedup\": \"%s\", \"verdict\": \"%s\"", f->name, f->ack,
         f->durable ? "true" : "false", f->dedup, f->verdict);
}

void peer_report(const struct peer_facts *facts, const struct peer_result *r)
{
  report_facts(facts);
  printf(", \"sent\": %" PRIu64 ", \"acknowledged\": %" PRIu64 ", \"fresh\": %" PRIu64 ", \"stored\": %" PRIu64, r->sent, r->acknowledged,
         r->fresh, r->stored);
  printf(", \"wall_s\": %.4f, \"client_cpu_s\": %.4f, \"records_per_s\": %.0f}\n", r->clock.wall_s, r->clock.cpu_s,
         (double)r->acknowledged / r->clock.wall_s);
}

static int by_value(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

void peer_report_idle(const struct peer_facts *facts, double *took_s, uint32_t count)
{
  qsort(took_s, count, sizeof *took_s, by_value);
  report_facts(facts);
  printf(", \"records\": %u, \"ack_p50_ms\": %.4f, \"ack_p99_ms\": %.4f}\n", count, took_s[count / 2] * 1e3,
         took_s[(count - 1) / 100 * 99] * 1e3);
}

void peer_fail(const struct peer_facts *facts, int code, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "peers: %s: ", facts->name);
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\n");
  va_end(arguments);
  exit(code);
}

/* ---- embedded stores ---- */

struct shard {
  const struct peer_store *store;
  void *handle;
  struct peer_record *records;
  uint64_t count, fresh;
};

static void *shard_run(void *context)
{
  struct shard *s = context;
  for (uint64_t at = 0; at < s->count; at += PEER_GROUP)
    s->fresh += s->store->commit(s->handle, s->records + at, s->count - at < PEER_GROUP ? (uint32_t)(s->count - at) : PEER_GROUP);
  return NULL;
}

static void shards_deal(const struct peer_facts *facts, const struct peer_stream *s, struct shard *shards)
{
  for (unsigned i = 0; i < PEER_SHARDS; i++) {
    shards[i].records = malloc(s->count * sizeof *s->records);
    if (!shards[i].records)
      peer_fail(facts, EX_OSERR, "no memory to deal the records to shards");
  }
  for (uint64_t i = 0; i < s->count; i++) {
    struct shard *to = &shards[s->records[i].id[PEER_ID - 1] % PEER_SHARDS]; /* the end of a UUIDv7 is random */
    to->records[to->count++] = s->records[i];
  }
}

int peer_store_main(int argc, char **argv, const struct peer_facts *facts, const struct peer_store *store)
{
  struct peer_stream stream;
  struct shard shards[PEER_SHARDS] = {0};
  struct peer_result result = {0};
  pthread_t threads[PEER_SHARDS];
  if (argc != 3)
    peer_fail(facts, EX_USAGE, "usage: %s STREAM DIRECTORY", facts->name);
  peer_open_or_fail(facts, &stream, argv[1]);
  shards_deal(facts, &stream, shards);
  for (unsigned i = 0; i < PEER_SHARDS; i++) {
    shards[i].store = store;
    shards[i].handle = store->open(argv[2], i);
  }
  peer_clock_start(&result.clock);
  for (unsigned i = 0; i < PEER_SHARDS; i++)
    if (pthread_create(&threads[i], NULL, shard_run, &shards[i]))
      peer_fail(facts, EX_OSERR, "no thread");
  for (unsigned i = 0; i < PEER_SHARDS; i++)
    pthread_join(threads[i], NULL);
  peer_clock_stop(&result.clock);
  result.sent = result.acknowledged = stream.count;
  for (unsigned i = 0; i < PEER_SHARDS; i++) {
    result.fresh += shards[i].fresh;
    result.stored += store->count(shards[i].handle);
    store->close(shards[i].handle);
    free(shards[i].records);
  }
  peer_stream_close(&stream);
  peer_report(facts, &result);
  return 0;
}
