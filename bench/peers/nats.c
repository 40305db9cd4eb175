/*
 * NATS JetStream over loopback: a message a record, published asynchronously to a file stream of one replica.
 *
 * Ack:      when the server has written the message to its file: before any fdatasync, which comes on a timer (2 minutes by default, and 2.9 has
 *           no setting to wait for one). A power cut loses what was acknowledged since.
 * Dedup:    within a window of time, by the header Nats-Msg-Id; here 30 minutes, so that it outlasts the run (the default is 2 minutes).
 *           The ids of the window are in memory.
 * Verdict:  yes, the ack says duplicate or not; content is not compared.
 * Settings: 4,096 messages in flight (1,024 was slower by a tenth: the library writes on a timer of 1 ms); the id as 22 characters of base64, which is shorter in the header and in the window's memory than hex; the
 *           client writes when its buffer is full rather than at each message. Acks come to one subscription of the driver, which looks for the
 *           one word that matters: js_PublishMsgAsync parses each ack as JSON and keeps each message, and cost the client more than twice this.
 *           Those of the server stand in bench/peers.py.
 *
 * `nats STREAM URL`
 */
#include <nats/nats.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "bench/peers/peer.h"

static const struct peer_facts facts = {
    .name = "nats", .ack = "before fdatasync (on a timer)", .dedup = "a window of 30 minutes", .verdict = "new or known", .durable = false};

#define WINDOW 4096u
#define ID_TEXT 23 /* 22 characters of base64 and the end */
#define DUPLICATES_NS (INT64_C(30) * 60 * 1000000000)

static void check(natsStatus status, const char *what)
{
  if (status != NATS_OK)
    peer_fail(&facts, EX_UNAVAILABLE, "%s: %s", what, natsStatus_GetText(status));
}

/* Written by the library's thread at each ack. */
static struct {
  pthread_mutex_t lock;
  pthread_cond_t moved;
  uint64_t acknowledged, duplicates;
  bool waiting;
} acks = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

static void on_ack(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *context)
{
  (void)connection, (void)subscription, (void)context;
  const char *data = natsMsg_GetData(message);
  size_t size = (size_t)natsMsg_GetDataLength(message);
  if (!size || memmem(data, size, "\"error\"", 7))
    peer_fail(&facts, EX_UNAVAILABLE, "publish: %.*s", (int)size, size ? data : "");
  pthread_mutex_lock(&acks.lock);
  acks.acknowledged++;
  acks.duplicates += memmem(data, size, "\"duplicate\"", 11) != NULL;
  if (acks.waiting)
    pthread_cond_signal(&acks.moved);
  pthread_mutex_unlock(&acks.lock);
  natsMsg_Destroy(message);
}

/* Waits until at most `most` of `sent` are without an ack. The library's own thread writes what is buffered meanwhile. */
static void wait_for_acks(uint64_t sent, uint64_t most)
{
  pthread_mutex_lock(&acks.lock);
  acks.waiting = true;
  while (sent - acks.acknowledged > most)
    pthread_cond_wait(&acks.moved, &acks.lock);
  acks.waiting = false;
  pthread_mutex_unlock(&acks.lock);
}

static void id_text(char text[ID_TEXT], const uint8_t *id)
{
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  unsigned __int128 value = 0;
  for (unsigned i = 0; i < PEER_ID; i++)
    value = value << 8 | id[i];
  for (unsigned i = 0; i < ID_TEXT - 1; i++, value >>= 6)
    text[i] = digits[value & 63];
  text[ID_TEXT - 1] = '\0';
}

static void publish(natsConnection *c, const char *inbox, const struct peer_record *r)
{
  natsMsg *message;
  char id[ID_TEXT];
  id_text(id, r->id);
  check(natsMsg_Create(&message, "encounter", inbox, (const char *)r->bytes, (int)r->size), "message");
  check(natsMsgHeader_Set(message, "Nats-Msg-Id", id), "header");
  check(natsConnection_PublishMsg(c, message), "publish");
  natsMsg_Destroy(message);
}

int main(int argc, char **argv)
{
  struct peer_stream stream;
  natsOptions *options;
  natsConnection *connection;
  natsSubscription *subscription;
  natsInbox *inbox;
  jsCtx *js;
  jsStreamConfig config;
  jsStreamInfo *info;
  if (argc != 3)
    peer_fail(&facts, EX_USAGE, "usage: nats STREAM URL");
  peer_open_or_fail(&facts, &stream, argv[1]);
  check(natsOptions_Create(&options), "options");
  check(natsOptions_SetURL(options, argv[2]), "options");
  check(natsOptions_SetIOBufSize(options, 1 << 18), "options");
  check(natsConnection_Connect(&connection, options), "connect");
  check(natsConnection_JetStream(&js, connection, NULL), "JetStream");
  check(jsStreamConfig_Init(&config), "stream");
  config.Name = "ENCOUNTERS";
  config.Subjects = (const char *[1]){"encounter"};
  config.SubjectsLen = 1;
  config.Storage = js_FileStorage;
  config.Replicas = 1;
  config.Duplicates = DUPLICATES_NS;
  check(js_AddStream(NULL, js, &config, NULL, NULL), "stream");
  check(natsInbox_Create(&inbox), "inbox");
  check(natsConnection_Subscribe(&subscription, connection, inbox, on_ack, NULL), "subscribe");
  check(natsSubscription_SetPendingLimits(subscription, -1, -1), "subscribe");

  struct peer_result result = {.sent = stream.count};
  peer_clock_start(&result.clock);
  for (uint64_t i = 0; i < stream.count; i++) {
    wait_for_acks(i, WINDOW - 1);
    publish(connection, inbox, &stream.records[i]);
  }
  wait_for_acks(stream.count, 0);
  peer_clock_stop(&result.clock);
  check(js_GetStreamInfo(&info, js, config.Name, NULL, NULL), "stream info");
  result.stored = info->State.Msgs;
  result.acknowledged = acks.acknowledged;
  result.fresh = acks.acknowledged - acks.duplicates;
  peer_report(&facts, &result);
  jsStreamInfo_Destroy(info);
  natsSubscription_Destroy(subscription);
  natsInbox_Destroy(inbox);
  jsCtx_Destroy(js);
  natsConnection_Destroy(connection);
  natsOptions_Destroy(options);
  peer_stream_close(&stream);
  return 0;
}
