#include "proto/batch.h"

/* Offsets in the head; the last four bytes are zero and free for growth. */
enum {
  AT_KIND = 0,
  AT_VERSION = 4,
  AT_PART_ID = 8,
  AT_EPOCH = 16,
  AT_RECEIVED_US = 24,
  AT_SUBMITTER = 32,
  AT_RECORD_COUNT = 36,
  AT_SHARD = 40,
  AT_SHARDS = 44,
  AT_STORE_RECORDS = 48,
  AT_BLOCKED_REASON = 56,
  AT_FREE = 60
};
static_assert(AT_FREE + sizeof(uint32_t) == HOP_HEAD_BYTES, "the head has no byte that nobody writes");

void hop_head_write(uint8_t out[HOP_HEAD_BYTES], const struct hop_head *head)
{
  store_u32(out + AT_KIND, head->kind);
  store_u32(out + AT_VERSION, HOP_VERSION); /* this executable speaks no other, whatever the caller's struct says */
  store_u64(out + AT_PART_ID, head->part_id);
  store_u64(out + AT_EPOCH, head->epoch);
  store_u64(out + AT_RECEIVED_US, (uint64_t)head->received_us);
  store_u32(out + AT_SUBMITTER, head->submitter);
  store_u32(out + AT_RECORD_COUNT, head->record_count);
  store_u32(out + AT_SHARD, head->shard);
  store_u32(out + AT_SHARDS, head->shards);
  store_u64(out + AT_STORE_RECORDS, head->store_records);
  store_u32(out + AT_BLOCKED_REASON, head->blocked_reason);
  store_u32(out + AT_FREE, 0);
}

bool hop_head_read(struct hop_head *head, const uint8_t *bytes, size_t size)
{
  if (size != HOP_HEAD_BYTES || load_u32(bytes + AT_VERSION) != HOP_VERSION)
    return false;
  *head = (struct hop_head){
      .kind = load_u32(bytes + AT_KIND),
      .version = load_u32(bytes + AT_VERSION),
      .part_id = load_u64(bytes + AT_PART_ID),
      .epoch = load_u64(bytes + AT_EPOCH),
      .received_us = (int64_t)load_u64(bytes + AT_RECEIVED_US),
      .submitter = load_u32(bytes + AT_SUBMITTER),
      .record_count = load_u32(bytes + AT_RECORD_COUNT),
      .shard = load_u32(bytes + AT_SHARD),
      .shards = load_u32(bytes + AT_SHARDS),
      .store_records = load_u64(bytes + AT_STORE_RECORDS),
      .blocked_reason = load_u32(bytes + AT_BLOCKED_REASON),
  };
  return true;
}
