/*
 * PostgreSQL 15 over loopback, four connections, a batch of 1,000 as one statement on each.
 *
 * Ack:      when the statement's autocommit returns: after the fdatasync of the write-ahead log (synchronous_commit on).
 * Dedup:    for ever: the id is the primary key, INSERT ... ON CONFLICT DO NOTHING.
 * Verdict:  yes, RETURNING names the new ids; content is not compared.
 * Settings: binary arrays through unnest, prepared once: one parse, one plan and one round trip a batch; ids sorted, so that two connections that
 *           have an id in common wait for each other in one order and never deadlock; uuid as the key, 16 bytes compared as such. Those of the
 *           server stand in bench/peers.py.
 *
 * `postgresql STREAM CONNINFO` measures throughput; `postgresql STREAM CONNINFO N` the ack of N single records, one at a time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "bench/peers/peer.h"

static const struct peer_facts facts = {
    .name = "postgresql", .ack = "after fdatasync", .dedup = "for ever", .verdict = "new or known", .durable = true};

#define CONNECTIONS 4
#define OID_UUID 2950
#define OID_UUID_ARRAY 2951
#define OID_BYTEA 17
#define OID_BYTEA_ARRAY 1001
#define ARRAY_HEADER 20 /* dimensions, flags, element type, size, lower bound */

static const char create[] = "create table encounter (id uuid primary key, record bytea not null)";
static const char insert_batch[] =
    "insert into encounter select * from unnest($1::uuid[], $2::bytea[]) on conflict do nothing returning id";
static const char insert_one[] = "insert into encounter values ($1, $2) on conflict do nothing";

/* One connection, with at most one batch on the way. */
struct lane {
  PGconn *connection;
  uint32_t sent; /* records of the batch on the way, 0: idle */
  bool writing;  /* libpq holds bytes that the socket did not take */
  char *ids, *records;
  size_t records_room;
};

static void check(PGconn *c, bool good, const char *what)
{
  if (!good)
    peer_fail(&facts, EX_UNAVAILABLE, "%s: %s", what, PQerrorMessage(c));
}

static PGconn *connect_prepared(const char *target, const char *statement, const Oid types[2])
{
  PGconn *c = PQconnectdb(target);
  check(c, PQstatus(c) == CONNECTION_OK, "connect");
  PGresult *r = PQprepare(c, "put", statement, 2, types);
  check(c, PQresultStatus(r) == PGRES_COMMAND_OK, "prepare");
  PQclear(r);
  return c;
}

static void execute(const char *target, const char *text, uint64_t *number)
{
  PGconn *c = PQconnectdb(target);
  PGresult *r = PQexec(c, text);
  check(c, PQresultStatus(r) == (number ? PGRES_TUPLES_OK : PGRES_COMMAND_OK), text);
  if (number)
    *number = strtoull(PQgetvalue(r, 0, 0), NULL, 10);
  PQclear(r);
  PQfinish(c);
}

/* ---- a batch as two arrays in the binary format ---- */

static char *put_u32(char *p, uint32_t value)
{
  value = htonl(value);
  memcpy(p, &value, sizeof value);
  return p + sizeof value;
}

static char *put_header(char *p, uint32_t type, uint32_t count)
{
  p = put_u32(p, 1);
  p = put_u32(p, 0);
  p = put_u32(p, type);
  p = put_u32(p, count);
  return put_u32(p, 1);
}

static char *put_element(char *p, const uint8_t *bytes, uint32_t size)
{
  p = put_u32(p, size);
  memcpy(p, bytes, size);
  return p + size;
}

static int by_id(const void *a, const void *b)
{
  return memcmp(((const struct peer_record *)a)->id, ((const struct peer_record *)b)->id, PEER_ID);
}

static void lane_send(struct lane *l, const struct peer_record *first, uint32_t count)
{
  struct peer_record sorted[PEER_BATCH];
  size_t bytes = ARRAY_HEADER;
  memcpy(sorted, first, count * sizeof *first);
  qsort(sorted, count, sizeof *sorted, by_id);
  for (uint32_t i = 0; i < count; i++)
    bytes += 4 + sorted[i].size;
  if (bytes > l->records_room) {
    free(l->records);
    l->records = malloc(l->records_room = bytes * 2);
    if (!l->records)
      peer_fail(&facts, EX_OSERR, "no memory");
  }
  char *id = put_header(l->ids, OID_UUID, count), *record = put_header(l->records, OID_BYTEA, count);
  for (uint32_t i = 0; i < count; i++) {
    id = put_element(id, sorted[i].id, PEER_ID);
    record = put_element(record, sorted[i].bytes, sorted[i].size);
  }
  const char *values[2] = {l->ids, l->records};
  int lengths[2] = {(int)(id - l->ids), (int)(record - l->records)}, formats[2] = {1, 1};
  check(l->connection, PQsendQueryPrepared(l->connection, "put", 2, values, lengths, formats, 1) == 1, "send");
  l->sent = count;
  l->writing = true;
}

/* Takes what has come; true when the batch is answered. */
static bool lane_answered(struct lane *l, struct peer_result *result)
{
  PGresult *r;
  check(l->connection, PQconsumeInput(l->connection) == 1, "receive");
  while (!PQisBusy(l->connection)) {
    r = PQgetResult(l->connection);
    if (!r) {
      result->acknowledged += l->sent;
      l->sent = 0;
      return true;
    }
    check(l->connection, PQresultStatus(r) == PGRES_TUPLES_OK, "insert");
    result->fresh += (uint64_t)PQntuples(r);
    PQclear(r);
  }
  return false;
}

static void throughput(const struct peer_stream *stream, const char *target)
{
  static const Oid types[2] = {OID_UUID_ARRAY, OID_BYTEA_ARRAY};
  struct lane lanes[CONNECTIONS] = {0};
  struct pollfd polls[CONNECTIONS];
  struct peer_result result = {.sent = stream->count};
  uint64_t next = 0;
  const struct peer_record *first;
  execute(target, create, NULL);
  for (int i = 0; i < CONNECTIONS; i++) {
    lanes[i].connection = connect_prepared(target, insert_batch, types);
    lanes[i].ids = malloc(ARRAY_HEADER + PEER_BATCH * (4 + PEER_ID));
    if (!lanes[i].ids || PQsetnonblocking(lanes[i].connection, 1))
      peer_fail(&facts, EX_OSERR, "no memory");
  }
  peer_clock_start(&result.clock);
  while (result.acknowledged < stream->count) {
    for (int i = 0; i < CONNECTIONS; i++) {
      struct lane *l = &lanes[i];
      uint32_t count;
      if (!l->sent && (count = peer_batch(stream, next, &first)) > 0) {
        lane_send(l, first, count);
        next++;
      }
      if (l->writing) {
        int left = PQflush(l->connection);
        check(l->connection, left >= 0, "send");
        l->writing = left == 1;
      }
      polls[i] = (struct pollfd){.fd = l->sent ? PQsocket(l->connection) : -1, .events = (short)(POLLIN | (l->writing ? POLLOUT : 0))};
    }
    if (poll(polls, CONNECTIONS, -1) < 0 && errno != EINTR)
      peer_fail(&facts, EX_OSERR, "poll");
    for (int i = 0; i < CONNECTIONS; i++)
      if (polls[i].revents & (POLLIN | POLLHUP | POLLERR))
        lane_answered(&lanes[i], &result);
  }
  peer_clock_stop(&result.clock);
  for (int i = 0; i < CONNECTIONS; i++) {
    PQfinish(lanes[i].connection);
    free(lanes[i].ids);
    free(lanes[i].records);
  }
  execute(target, "select count(*) from encounter", &result.stored);
  peer_report(&facts, &result);
}

static void idle(const struct peer_stream *stream, const char *target, uint32_t count)
{
  static const Oid types[2] = {OID_UUID, OID_BYTEA};
  double *took = calloc(count, sizeof *took);
  if (!took || count < 1 || count > stream->count)
    peer_fail(&facts, EX_USAGE, "the stream has fewer records than that");
  execute(target, "drop table if exists encounter", NULL);
  execute(target, create, NULL);
  PGconn *c = connect_prepared(target, insert_one, types);
  for (uint32_t i = 0; i < count; i++) {
    const struct peer_record *r = &stream->records[i];
    const char *values[2] = {(const char *)r->id, (const char *)r->bytes};
    int lengths[2] = {PEER_ID, (int)r->size}, formats[2] = {1, 1};
    double start = peer_now_s();
    PGresult *answer = PQexecPrepared(c, "put", 2, values, lengths, formats, 1);
    took[i] = peer_now_s() - start;
    check(c, PQresultStatus(answer) == PGRES_COMMAND_OK, "insert");
    if (strcmp(PQcmdTuples(answer), "1") != 0)
      peer_fail(&facts, EX_DATAERR, "a record of the idle ack was there before");
    PQclear(answer);
  }
  PQfinish(c);
  peer_report_idle(&facts, took, count);
  free(took);
}

int main(int argc, char **argv)
{
  struct peer_stream stream;
  if (argc < 3 || argc > 4)
    peer_fail(&facts, EX_USAGE, "usage: postgresql STREAM CONNINFO [N]");
  peer_open_or_fail(&facts, &stream, argv[1]);
  if (argc == 4)
    idle(&stream, argv[2], (uint32_t)strtoul(argv[3], NULL, 10));
  else
    throughput(&stream, argv[2]);
  peer_stream_close(&stream);
  return 0;
}
