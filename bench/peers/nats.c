/*
 * NATS JetStream over loopback: a message a record, published asynchronously to a file stream of one replica.
 *
 * Ack:      when the server has written the message to its file: before any fdatasync, which comes on a timer (2 minutes by default, and 2.9 has
 *           no setting to wait for one). A power cut loses what was acknowledged since.
 * Dedup:    within a window of time, by the header Nats-Msg-Id; here 30 minutes, so that it outlasts the run (the default is 2 minutes).
 *           The ids of the window are in memory.
 * Verdict:  yes, the ack says duplicate or not; content is not compared.
 * Settings: 4,096 messages in flight (1,024 measured the same within noise); the id as 22 characters of base64, shorter in the header and in the
 *           window's memory than hex. Acks come to one synchronous subscription, and are taken when the window is full until it is half empty, so that
 *           the client's threads do not wake each other at each ack, and are searched for the one word that matters: js_PublishMsgAsync, which
 *           parses each ack and keeps each message, took half as much again of the processors and was slower by a tenth to a quarter. A second stream,
 *           half of the ids to each, gave nothing on two cores. Those of the server stand in bench/peers.py.
 *
 * `nats STREAM URL`
 */
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "bench/peers/peer.h"

static const struct peer_facts facts = {
    .name = "nats", .ack = "before fdatasync (on a timer)", .dedup = "a window of 30 minutes", .verdict = "new or known", .durable = false};

#define WINDOW 4096u
#define ACK_TIMEOUT_MS 60000
#define ID_TEXT 23 /* 22 characters of base64 and the end */
#define DUPLICATES_NS (INT64_C(30) * 60 * 1000000000)

static void check(natsStatus status, const char *what)
{
  if (status != NATS_OK)
    peer_fail(&facts, EX_UNAVAILABLE, "%s: %s", what, natsStatus_GetText(status));
}

/* Takes acks until at most `most` of `sent` are without one. The library's own threads read and write meanwhile. */
static void acks_take(natsSubscription *acks, uint64_t sent, uint64_t most, struct peer_result *result)
{
  while (sent - result->acknowledged > most) {
    natsMsg *ack;
    check(natsSubscription_NextMsg(&ack, acks, ACK_TIMEOUT_MS), "ack");
    const char *data = natsMsg_GetData(ack);
    size_t size = (size_t)natsMsg_GetDataLength(ack);
    if (!size || memmem(data, size, "\"error\"", 7))
      peer_fail(&facts, EX_UNAVAILABLE, "publish: %.*s", (int)size, size ? data : "");
    result->acknowledged++;
    result->fresh += memmem(data, size, "\"duplicate\"", 11) == NULL;
    natsMsg_Destroy(ack);
  }
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
  check(natsConnection_SubscribeSync(&subscription, connection, inbox), "subscribe");
  check(natsSubscription_SetPendingLimits(subscription, -1, -1), "subscribe");

  struct peer_result result = {.sent = stream.count};
  peer_clock_start(&result.clock);
  for (uint64_t i = 0; i < stream.count; i++) {
    if (i - result.acknowledged == WINDOW) /* down to half, so that this thread is not woken for each ack */
      acks_take(subscription, i, WINDOW / 2, &result);
    publish(connection, inbox, &stream.records[i]);
  }
  acks_take(subscription, stream.count, 0, &result);
  peer_clock_stop(&result.clock);
  check(js_GetStreamInfo(&info, js, config.Name, NULL, NULL), "stream info");
  result.stored = info->State.Msgs;
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
