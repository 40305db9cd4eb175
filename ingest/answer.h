/*
 * What ingest says to submitters, packed: the first frames (protobuf-c) and the frame of verdict words, whose layout is
 * written directly: tag 0x0A, the length, then the words. Frames are the caller's to send or finish. Pure but for the
 * memory of the frames. Process: ingest.
 */
#ifndef MUSTER_INGEST_ANSWER_H
#define MUSTER_INGEST_ANSWER_H

#include <stdint.h>

#include "core/link.h"
#include "proto/wire.pb-c.h"

#define INGEST_VERSION_MAJOR 1u
#define INGEST_VERSION_MINOR 0u

/* Why a whole batch is not taken in. verdict 0: it is. */
struct ingest_refusal {
  uint32_t verdict; /* Muster__V1__Verdict: BUSY or INVALID */
  uint32_t reason;
  uint32_t retry_after_ms;           /* BUSY */
  uint32_t error_record, error_byte; /* BATCH_STREAM and BATCH_COUNT */
};

/* Packs any message of wire.proto into a frame of exact size; frame must be empty and stays so on MUSTER_ERR_MEMORY. */
int ingest_answer_pack(struct link_frame *frame, const ProtobufCMessage *message);

/* The two frames of an answer to a batch as a whole, appended to a message without frames. */
int ingest_answer_refusal(struct link_message *message, uint64_t batch_id, uint32_t record_count, const struct ingest_refusal *refusal,
                          uint32_t credit);

/* The first frame of an answer that has a word for each record. retry_after_ms 0: not told. */
int ingest_answer_header(struct link_frame *frame, uint64_t batch_id, uint32_t record_count, uint32_t credit, uint32_t retry_after_ms);

/* An empty frame of verdict words: takes the memory, writes tag and length, and points *words at the 8 bytes of the first
 * word (not aligned). */
int ingest_answer_words(struct link_frame *frame, uint32_t record_count, uint8_t **words);

#endif
