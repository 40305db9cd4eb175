/*
 * Redis 7 over loopback, 16 connections, a batch of 1,000 as pipelined commands on each.
 *
 * Ack:      each reply leaves after the fdatasync of the append-only file (appendfsync always), one for all commands of a turn of its loop.
 * Dedup:    for ever, as long as every id fits in memory: SET id record NX.
 * Verdict:  yes, OK or nil; content is not compared.
 * Settings: SET ... NX pipelined rather than one Lua call a batch: measured half as fast again, since the script's own work is saved (a script is
 *           one command and the replies are one string, but it makes the same SETs inside). 16 batches in flight, as Muster has, so that one
 *           fdatasync serves many. No snapshots, no rewrite of the file during the run, so that nothing forks. Those of the server stand in
 *           bench/peers.py. All data is in memory: what does not fit is refused.
 *
 * `redis STREAM PORT`
 */
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "bench/peers/peer.h"

static const struct peer_facts facts = {
    .name = "redis", .ack = "after fdatasync", .dedup = "for ever, within memory", .verdict = "new or known", .durable = true};

#define CONNECTIONS 16
#define COMMAND_BYTES 64 /* of a SET beside id and record, at most */

/* One connection, with at most one batch on the way. */
struct lane {
  redisContext *connection;
  uint32_t left; /* replies to come, 0: idle */
  bool writing;  /* hiredis holds bytes that the socket did not take */
};

static struct {
  char *bytes;
  size_t room;
} commands; /* of the batch being written */

static void check(const redisContext *c, bool good, const char *what)
{
  if (!good)
    peer_fail(&facts, EX_UNAVAILABLE, "%s: %s", what, c ? c->errstr : "no memory");
}

static redisContext *connect_to(int port, bool wait)
{
  redisContext *c = redisConnect("127.0.0.1", port);
  check(c, c && !c->err, "connect");
  if (!wait) {
    check(c, fcntl(c->fd, F_SETFL, O_NONBLOCK) == 0, "connect");
    c->flags &= ~REDIS_BLOCK;
  }
  return c;
}

static void lane_send(struct lane *l, const struct peer_record *records, uint32_t count)
{
  size_t need = 0;
  for (uint32_t i = 0; i < count; i++)
    need += COMMAND_BYTES + PEER_ID + records[i].size;
  if (need > commands.room) {
    free(commands.bytes);
    commands.bytes = malloc(commands.room = need * 2);
    check(NULL, commands.bytes != NULL, "send");
  }
  char *p = commands.bytes;
  for (uint32_t i = 0; i < count; i++) { /* the encoding of SET id record NX */
    p = stpcpy(p, "*4\r\n$3\r\nSET\r\n$16\r\n");
    p = mempcpy(p, records[i].id, PEER_ID);
    p += sprintf(p, "\r\n$%u\r\n", records[i].size);
    p = mempcpy(p, records[i].bytes, records[i].size);
    p = stpcpy(p, "\r\n$2\r\nNX\r\n");
  }
  check(l->connection, redisAppendFormattedCommand(l->connection, commands.bytes, (size_t)(p - commands.bytes)) == REDIS_OK, "send");
  l->left = count;
  l->writing = true;
}

static void lane_receive(struct lane *l, struct peer_result *result)
{
  void *answer;
  check(l->connection, redisBufferRead(l->connection) == REDIS_OK, "receive");
  while (l->left) {
    check(l->connection, redisGetReplyFromReader(l->connection, &answer) == REDIS_OK, "receive");
    const redisReply *r = answer;
    if (!r)
      return;
    if (r->type != REDIS_REPLY_STATUS && r->type != REDIS_REPLY_NIL)
      peer_fail(&facts, EX_UNAVAILABLE, "SET: %s", r->type == REDIS_REPLY_ERROR ? r->str : "not understood");
    result->fresh += r->type == REDIS_REPLY_STATUS;
    result->acknowledged++;
    l->left--;
    freeReplyObject(answer);
  }
}

static uint64_t stored(int port)
{
  redisContext *c = connect_to(port, true);
  redisReply *r = redisCommand(c, "DBSIZE");
  check(c, r && r->type == REDIS_REPLY_INTEGER, "DBSIZE");
  uint64_t count = (uint64_t)r->integer;
  freeReplyObject(r);
  redisFree(c);
  return count;
}

int main(int argc, char **argv)
{
  struct peer_stream stream;
  struct lane lanes[CONNECTIONS] = {0};
  struct pollfd polls[CONNECTIONS];
  const struct peer_record *first;
  uint64_t next = 0;
  if (argc != 3)
    peer_fail(&facts, EX_USAGE, "usage: redis STREAM PORT");
  peer_open_or_fail(&facts, &stream, argv[1]);
  int port = atoi(argv[2]);
  for (int i = 0; i < CONNECTIONS; i++)
    lanes[i].connection = connect_to(port, false);
  struct peer_result result = {.sent = stream.count};
  peer_clock_start(&result.clock);
  while (result.acknowledged < stream.count) {
    for (int i = 0; i < CONNECTIONS; i++) {
      struct lane *l = &lanes[i];
      uint32_t count;
      int done = 0;
      if (!l->left && (count = peer_batch(&stream, next, &first)) > 0) {
        lane_send(l, first, count);
        next++;
      }
      if (l->writing) {
        check(l->connection, redisBufferWrite(l->connection, &done) == REDIS_OK, "send");
        l->writing = !done;
      }
      polls[i] = (struct pollfd){.fd = l->left ? l->connection->fd : -1, .events = (short)(POLLIN | (l->writing ? POLLOUT : 0))};
    }
    if (poll(polls, CONNECTIONS, -1) < 0 && errno != EINTR)
      peer_fail(&facts, EX_OSERR, "poll");
    for (int i = 0; i < CONNECTIONS; i++)
      if (polls[i].revents & (POLLIN | POLLHUP | POLLERR))
        lane_receive(&lanes[i], &result);
  }
  peer_clock_stop(&result.clock);
  for (int i = 0; i < CONNECTIONS; i++)
    redisFree(lanes[i].connection);
  result.stored = stored(port);
  peer_report(&facts, &result);
  free(commands.bytes);
  peer_stream_close(&stream);
  return 0;
}
