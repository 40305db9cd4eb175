/*
 * The pieces of one shard: parts of batches, or ranges of parts after halving, each with the frame of its records, in a
 * pool taken at start and in one of three lists. A piece's id on the hop names its entry and its life; lives are counted
 * from a random number, so that an answer to a piece of a former life, or of this ingest's former process (which the
 * worker knew under the same name), finds nobody. The pool owns the frames. Process: ingest, one pool in each
 * ingest_shard.
 */
#ifndef MUSTER_INGEST_PIECES_H
#define MUSTER_INGEST_PIECES_H

#include <stdbool.h>
#include <stdint.h>

#include "core/link.h"

#define INGEST_PIECE_NONE UINT32_MAX

enum ingest_piece_state { INGEST_PIECE_FREE, INGEST_PIECE_WAITING, INGEST_PIECE_SENT };

struct ingest_piece {
  enum ingest_piece_state state;
  bool suspect;                        /* two workers died with it in hand */
  bool isolate;                        /* one record, not to be decoded again */
  bool resend;                         /* its worker died: the next sending is a second one */
  uint32_t deaths;                     /* of workers that had it in hand, until it is a suspect */
  uint32_t deaths_alone;               /* of workers that had nothing else in hand */
  uint64_t life;                       /* of this entry */
  uint64_t part_id;                    /* gather's */
  uint32_t first_record, record_count; /* range of the part */
  uint32_t submitter;
  int64_t received_us;       /* wall clock, of the batch */
  uint64_t entered_ns;       /* monotonic */
  uint64_t sent_ns;          /* monotonic, of the last sending */
  struct link_frame records; /* delimited stream */
  uint32_t next, prev;       /* in its list, or the next free one */
};

struct ingest_piece_list {
  uint32_t first, last, count;
};

struct ingest_pieces {
  struct ingest_piece *piece;
  uint32_t max, free_first;
  uint64_t next_life;
  struct ingest_piece_list suspects, waiting, sent;
};

int ingest_pieces_init(struct ingest_pieces *p); /* MUSTER_OK, MUSTER_ERR_MEMORY, or MUSTER_ERR_IO without random bytes */
void ingest_pieces_finish(struct ingest_pieces *p);

/* An entry in no list, with an empty frame. There is one for a part of every batch in flight, and for what halving adds. */
uint32_t ingest_pieces_take(struct ingest_pieces *p);
void ingest_pieces_free(struct ingest_pieces *p, uint32_t at); /* an entry in no list; its frame is finished */

/* The list that belongs to an entry's state. */
struct ingest_piece_list *ingest_pieces_list(struct ingest_pieces *p, uint32_t at);
void ingest_pieces_insert(struct ingest_pieces *p, uint32_t at, uint32_t before); /* INGEST_PIECE_NONE: at the end */
void ingest_pieces_remove(struct ingest_pieces *p, uint32_t at);

uint64_t ingest_pieces_id(const struct ingest_pieces *p, uint32_t at);
/* The piece of this id in this state; INGEST_PIECE_NONE where it is in another one, or the id is of a former life. */
uint32_t ingest_pieces_find(const struct ingest_pieces *p, uint64_t id, enum ingest_piece_state state);

/* Cuts a waiting suspect of two records or more in two; the second half follows the first in the list. false: no memory, it stays whole. */
bool ingest_pieces_halve(struct ingest_pieces *p, uint32_t at);

#endif
