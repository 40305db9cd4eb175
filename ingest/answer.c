#include "ingest/answer.h"

#include "muster/status.h"
#include "proto/varint.h"

#define ANSWER_WORDS_TAG 0x0A /* field 1, length-delimited: Verdicts.word, packed */

int ingest_answer_pack(struct link_frame *frame, const ProtobufCMessage *message)
{
  if (link_frame_init(frame, protobuf_c_message_get_packed_size(message)) != MUSTER_OK) {
    link_frame_init_empty(frame);
    return MUSTER_ERR_MEMORY;
  }
  protobuf_c_message_pack(message, link_frame_data(frame));
  return MUSTER_OK;
}

static void answer_fill(Muster__V1__AnswerHeader *header, uint64_t batch_id, uint32_t record_count, uint32_t credit)
{
  muster__v1__answer_header__init(header);
  header->has_kind = header->has_version_major = header->has_version_minor = 1;
  header->kind = MUSTER__V1__KIND__KIND_ANSWER;
  header->version_major = INGEST_VERSION_MAJOR;
  header->version_minor = INGEST_VERSION_MINOR;
  header->has_batch_id = header->has_record_count = header->has_credit = 1;
  header->batch_id = batch_id;
  header->record_count = record_count;
  header->credit = credit;
}

int ingest_answer_refusal(struct link_message *message, uint64_t batch_id, uint32_t record_count, const struct ingest_refusal *refusal,
                          uint32_t credit)
{
  Muster__V1__AnswerHeader header;
  answer_fill(&header, batch_id, record_count, credit);
  header.has_batch_verdict = header.has_batch_reason = 1;
  header.batch_verdict = (Muster__V1__Verdict)refusal->verdict;
  header.batch_reason = (Muster__V1__Reason)refusal->reason;
  if (refusal->verdict == MUSTER__V1__VERDICT__VERDICT_BUSY) {
    header.has_retry_after_ms = 1;
    header.retry_after_ms = refusal->retry_after_ms;
  }
  if (refusal->reason == MUSTER__V1__REASON__REASON_BATCH_STREAM || refusal->reason == MUSTER__V1__REASON__REASON_BATCH_COUNT) {
    header.has_error_record = header.has_error_byte = 1;
    header.error_record = refusal->error_record;
    header.error_byte = refusal->error_byte;
  }
  int status = ingest_answer_pack(&message->frame[0], &header.base);
  if (status == MUSTER_OK) {
    link_frame_init_empty(&message->frame[1]);
    message->frame_count = 2;
  }
  return status;
}

int ingest_answer_header(struct link_frame *frame, uint64_t batch_id, uint32_t record_count, uint32_t credit, uint32_t retry_after_ms)
{
  Muster__V1__AnswerHeader header;
  answer_fill(&header, batch_id, record_count, credit);
  if (retry_after_ms > 0) {
    header.has_retry_after_ms = 1;
    header.retry_after_ms = retry_after_ms;
  }
  return ingest_answer_pack(frame, &header.base);
}

int ingest_answer_words(struct link_frame *frame, uint32_t record_count, uint8_t **words)
{
  size_t size = (size_t)record_count * 8;
  if (link_frame_init(frame, 1 + varint_size(size) + size) != MUSTER_OK) {
    link_frame_init_empty(frame);
    return MUSTER_ERR_MEMORY;
  }
  uint8_t *p = link_frame_data(frame);
  *p++ = ANSWER_WORDS_TAG;
  *words = varint_write(p, size);
  return MUSTER_OK;
}
