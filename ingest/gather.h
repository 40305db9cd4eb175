/*
 * Gathering: the table of batches that this process holds, from admission until the answer has left. A batch has one
 * part a shard; when the words of all parts are there, they are put into the order of the records, counted, and become
 * the answer's second frame. The table is taken at start; per batch only frames are taken, the answer's at admission, so
 * that a batch once taken in can always be answered. The table owns the frames in it. Every change of the counters keeps
 * the conservation rule. Knows nothing of sockets. Process: ingest.
 */
#ifndef MUSTER_INGEST_GATHER_H
#define MUSTER_INGEST_GATHER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/counters.h"
#include "core/limits.h"
#include "core/link.h"
#include "ingest/split.h"

enum ingest_batch_state {
  INGEST_BATCH_FREE,
  INGEST_BATCH_WAITING,    /* for its peer's turn; the parts hold their records */
  INGEST_BATCH_AT_WORKERS, /* the records are the shards' now */
  INGEST_BATCH_ANSWERED    /* header and answer are complete, not yet taken by the socket */
};

struct ingest_part {
  struct link_frame records; /* while WAITING */
  struct link_frame words;   /* as they came from the worker, or put together from ranges */
  uint32_t record_count;     /* 0: the batch has nothing for this shard */
  uint32_t answered;         /* records whose word is there */
  bool refused;              /* no shard was asked: each of its records is told BUSY_SHARD_DOWN, and words stays empty */
};

struct ingest_batch {
  enum ingest_batch_state state;
  uint32_t generation; /* of this slot; another with every batch, so that late words find nobody */
  uint32_t peer;       /* entry in admit's table */
  uint32_t submitter;
  uint64_t batch_id;    /* the client's */
  uint64_t cost_bytes;  /* charged by admit */
  int64_t received_us;  /* wall clock at admission */
  uint32_t row;         /* of its submitter in the counters */
  uint64_t admitted_ns; /* monotonic; dispatched: when it went to the workers */
  uint64_t dispatched_ns, answered_ns;
  uint32_t record_count;
  uint32_t parts_open;
  bool at_workers;                  /* counts against the dispatch bound; a batch that waits for shards that are down does not */
  struct link_frame header, answer; /* until ANSWERED the last record_count bytes of answer hold each record's shard */
};

struct ingest_gather {
  uint32_t shards;
  uint32_t held;              /* batches in the table */
  struct ingest_batch *batch; /* LIMIT_BATCHES_IN_FLIGHT */
  struct ingest_part *part;   /* shards for each batch */
  uint16_t *free_slots;       /* a stack */
  struct counters *counters;  /* may be NULL */
};

int ingest_gather_init(struct ingest_gather *g, uint32_t shards, struct counters *counters);
void ingest_gather_finish(struct ingest_gather *g);

/* What is known of a batch at admission. */
struct ingest_arrival {
  uint32_t peer, submitter;
  uint64_t batch_id, cost_bytes, message_bytes;
  int64_t received_us;
  uint32_t row;
  uint64_t now_ns;
};
/* Takes in what was walked: splits the stream into the parts, counts it, and tells the slot. MUSTER_ERR_FULL or MUSTER_ERR_MEMORY:
 * nothing was done. */
int ingest_gather_open(struct ingest_gather *g, const struct ingest_arrival *arrival, struct ingest_split *split, struct link_frame *stream,
                       uint32_t *slot);

static inline struct ingest_part *ingest_gather_part(struct ingest_gather *g, uint32_t slot, uint32_t shard)
{
  return &g->part[slot * g->shards + shard];
}
/* What a part is called towards its shard: slot, generation and shard in one number. */
uint64_t ingest_gather_part_id(const struct ingest_gather *g, uint32_t slot, uint32_t shard);

enum ingest_words { INGEST_WORDS_LATE, INGEST_WORDS_NO_MEMORY, INGEST_WORDS_TAKEN, INGEST_WORDS_PART_DONE, INGEST_WORDS_BATCH_DONE };
/* Words for record_count records of a part, from its first_record on; the frame (8 bytes a record) may be moved out of. LATE: the batch
 * is of a former life, or the range is not open any more: ignored. NO_MEMORY: not taken, bring them again. Each range is taken once; the
 * shard sees to that. *slot is set in the other cases. */
enum ingest_words ingest_gather_words(struct ingest_gather *g, uint64_t part_id, uint32_t first_record, uint32_t record_count,
                                      struct link_frame *words, uint32_t *slot);

/* Of a batch AT_WORKERS, instead of its words: the part's shard is down, and its records are told so. PART_DONE or BATCH_DONE. Takes no
 * memory. */
enum ingest_words ingest_gather_refuse(struct ingest_gather *g, uint32_t slot, uint32_t shard);

/* How long a submitter is to wait before it sends again what was told BUSY, and what was told RETRY. */
struct ingest_wait {
  uint32_t busy_ms, retry_ms;
};
/* After BATCH_DONE: puts the words in order, counts verdicts and reasons, packs the header. Where some record is BUSY or RETRY the longer
 * wait of those that apply is told. MUSTER_ERR_MEMORY: the header could not be had; counted all the same, the answer is to be dropped. */
int ingest_gather_answer(struct ingest_gather *g, uint32_t slot, uint32_t credit, const struct ingest_wait *wait, uint64_t now_ns);
/* The slot is free again; frames that are still in it are finished. */
void ingest_gather_close(struct ingest_gather *g, uint32_t slot);

#endif
