/*
 * What the drivers of the peers share: the stream of `muster generate` in memory, batches of it, the clock, and the one JSON
 * object that a driver prints for bench/peers.py. The stream is mapped and faulted in, and the place of every record noted,
 * before a clock starts, so that a peer never waits for its client's disk. Each driver is a process of its own; batches may be
 * handed to several threads (peer_batch only reads).
 */
#ifndef MUSTER_BENCH_PEERS_PEER_H
#define MUSTER_BENCH_PEERS_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEER_BATCH 1000u
#define PEER_ID 16u

/* One record; both pointers are into the map and valid until peer_stream_close. */
struct peer_record {
  const uint8_t *bytes;
  const uint8_t *id; /* PEER_ID bytes */
  uint32_t size;     /* of bytes */
};

struct peer_stream {
  const uint8_t *map;
  size_t size;
  struct peer_record *records;
  uint64_t count;
};

/* Maps a delimited stream whose records begin with their id, as `muster generate` writes them. false: error (may be NULL) has one
 * sentence, and there is nothing to close. */
bool peer_stream_open(struct peer_stream *s, const char *path, const char **error);
void peer_stream_close(struct peer_stream *s);

/* Batch number `number` from 0, up to PEER_BATCH records; 0: there is none. */
uint32_t peer_batch(const struct peer_stream *s, uint64_t number, const struct peer_record **first);
uint64_t peer_batches(const struct peer_stream *s);

/* What a figure of this peer means: printed beside it. Plain sentences without quotes. */
struct peer_facts {
  const char *name;
  const char *ack;     /* when it is sent */
  const char *dedup;   /* how long it reaches */
  const char *verdict; /* whether one exists for each record */
  bool durable;        /* the ack comes after an fdatasync of what it acknowledges */
};

struct peer_clock {
  double wall_s, cpu_s; /* once stopped: elapsed, and what this process took of the processors */
};
double peer_now_s(void);
void peer_clock_start(struct peer_clock *c);
void peer_clock_stop(struct peer_clock *c);

/* sent: records sent, resubmissions included; acknowledged: those with an ack; fresh: those that the peer said were new (sent where it does not
 * say); stored: what it has now, asked after the clock stopped. */
struct peer_result {
  uint64_t sent, acknowledged, fresh, stored;
  struct peer_clock clock;
};
void peer_report(const struct peer_facts *facts, const struct peer_result *result);
/* Median and 99th of a hundred of the times of single records, each sent when the one before was acknowledged; sorts them. */
void peer_report_idle(const struct peer_facts *facts, double *took_s, uint32_t count);

/* An embedded store, one instance a shard, each used by one thread. open and the others end the process on any failure (peer_fail). */
struct peer_store {
  void *(*open)(const char *directory, unsigned shard);
  /* One transaction, durable on return, of records that may be there already; how many were new. */
  uint64_t (*commit)(void *store, const struct peer_record *records, uint32_t count);
  uint64_t (*count)(void *store);
  void (*close)(void *store);
};
#define PEER_SHARDS 2u
#define PEER_GROUP 8000u /* records a transaction: the share of a shard in the 16 batches that a submitter of Muster has in flight */
/* The whole of an embedded driver's main: `DRIVER STREAM DIRECTORY`. Records are dealt to shards before the clock starts. */
int peer_store_main(int argc, char **argv, const struct peer_facts *facts, const struct peer_store *store);

/* Says "peers: NAME: sentence" and ends the process with a code of sysexits.h. */
_Noreturn void peer_fail(const struct peer_facts *facts, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Opens the stream of argv[1] or fails. */
void peer_open_or_fail(const struct peer_facts *facts, struct peer_stream *s, const char *path);

#endif
