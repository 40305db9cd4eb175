/*
 * One shard as ingest sees it: which records its worker still owes words for, and what to do when it dies, hangs, or is
 * killed by a record. Decides only; ingest/hop.c moves the bytes. The struct owns the frames of its pieces until their
 * words are there; its memory is taken at start. Process: ingest, one struct a shard.
 *
 * A piece is a part of a batch, or a range of one after halving. All pieces are sent as they come, and sent again when
 * the worker is back after a death. A worker serves all ingests, so being with it when it dies says nothing of a piece:
 * what counts is what the dead worker had in hand, and its successor's WELCOME says that. A piece in hand at two deaths is
 * a suspect: from then on suspects are sent one after the other, everything else waits, and the worker takes each as a
 * group of its own, whatever other ingests send. A suspect that was in hand at a death was there alone, and is halved; a
 * single record to which that happens twice (once could be an accident from outside) is sent as ISOLATE, not to be
 * decoded again. With no suspect left all is as before. A worker that says BYE before it goes has nothing in hand. Finding
 * one poison record among n costs about 4 + log2(n) deaths at most.
 *
 * A piece that has waited for the time-out while the shard said nothing for as long (down, or hung), one that was sent
 * twice as long ago whatever else the shard says, and one whose words do not fit are handed back: their records are
 * answered RETRY, which promises nothing, and late words for them find nobody.
 */
#ifndef MUSTER_INGEST_SHARD_H
#define MUSTER_INGEST_SHARD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/counters.h"
#include "core/limits.h"
#include "core/link.h"
#include "core/log.h"
#include "ingest/pieces.h"
#include "proto/batch.h"

#define INGEST_DOWN_GRACE_MS                                                                                                               \
  1000u /* a worker that is back within this costs submitters nothing; then records for it are told BUSY_SHARD_DOWN */

struct ingest_shard_seam {
  /* Sends head and (PART, SUSPECT, ISOLATE) records; takes the frame over on MUSTER_OK, leaves it on MUSTER_ERR_AGAIN (no room or no connection;
   * ingest_shard_pump will be called). */
  int (*send)(void *context, uint32_t shard, const struct hop_head *head, struct link_frame *records);
  /* Words for a range of a part; the frame may be moved out of. false: they could not be taken for lack of memory, so that the records
   * are to be sent again. */
  bool (*words)(void *context, uint64_t part_id, uint32_t first_record, uint32_t record_count, struct link_frame *words);
  /* The shard began or ceased to serve. */
  void (*serving)(void *context, uint32_t shard, bool serving);
  void *context;
};

struct ingest_shard {
  uint32_t number, shards;
  uint32_t timeout_ms;
  bool connected, serving;
  bool hung;               /* connected, but parts had to be handed back and it has said nothing since */
  bool told_mismatch;      /* the worker's WELCOME did not fit; logged once a connection */
  uint64_t epoch;          /* of the worker that serves */
  uint64_t store_records;  /* as last told */
  uint32_t blocked_reason; /* as last told */
  uint64_t heard_ns;       /* last WELCOME or WORDS, or the start */
  uint64_t down_ns;        /* since when it does not serve; the start at first */
  struct ingest_pieces pieces;
  struct ingest_shard_seam seam;
  struct counters *counters; /* may be NULL */
  struct log_gate gate;
};

int ingest_shard_init(struct ingest_shard *s, uint32_t number, uint32_t shards, uint32_t timeout_ms, const struct ingest_shard_seam *seam,
                      struct counters *counters, uint64_t now_ns);
void ingest_shard_finish(struct ingest_shard *s);

/* Takes a part over: its frame is moved out of. It is sent at once where that is possible. There is room for one
 * part of every batch in flight. */
void ingest_shard_add(struct ingest_shard *s, uint64_t part_id, struct link_frame *records, uint32_t record_count, uint32_t submitter,
                      int64_t received_us, uint64_t now_ns);

void ingest_shard_connected(struct ingest_shard *s);                     /* says HELLO */
void ingest_shard_disconnected(struct ingest_shard *s, uint64_t now_ns); /* the worker is taken for dead */
/* A message of the worker. false: it does not follow the hop's protocol (logged); the piece that it was about, if any, was handed back. */
bool ingest_shard_message(struct ingest_shard *s, struct link_message *message, uint64_t now_ns);
void ingest_shard_pump(struct ingest_shard *s, uint64_t now_ns); /* sends what may be sent now */
void ingest_shard_tick(struct ingest_shard *s, uint64_t now_ns); /* a few times a second: hands back what waited too long */

/* Hung, or not serving for longer than the grace: new records for it are told BUSY_SHARD_DOWN rather than filling the budget. */
bool ingest_shard_is_down(const struct ingest_shard *s, uint64_t now_ns);

#endif
