#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "proto/batch.h"
#include "proto/wire.pb-c.h"

enum { FIRST_BYTES = 64 * 1024 };

bool client_word_final(uint64_t word)
{
  uint32_t kind = verdict_kind(word);
  return kind >= MUSTER__V1__VERDICT__VERDICT_ACCEPTED && kind <= MUSTER__V1__VERDICT__VERDICT_INVALID;
}

bool client_word_down(uint64_t word)
{
  return verdict_kind(word) == MUSTER__V1__VERDICT__VERDICT_BUSY && verdict_reason(word) == MUSTER__V1__REASON__REASON_BUSY_SHARD_DOWN;
}

static struct client_batch *free_place(struct muster_client *c)
{
  for (uint32_t i = 0; i < c->batch_count; i++)
    if (c->batches[i].state == CLIENT_BATCH_FREE)
      return &c->batches[i];
  return NULL;
}

int client_batch_open(struct muster_client *c)
{
  struct client_batch *b = free_place(c);
  if (!b)
    return MUSTER_ERR_AGAIN;
  if (!b->tags && !(b->tags = malloc(c->options.batch_records * sizeof *b->tags)))
    return client_fail(c, MUSTER_ERR_MEMORY, "no memory for a batch");
  b->used = b->count = 0;
  b->capacity = 0;
  b->bytes = NULL;
  int status = client_batch_reserve(c, b, c->expected_bytes);
  if (status != MUSTER_OK)
    return status;
  b->sent_before = b->down = false;
  b->state = CLIENT_BATCH_FILLING;
  c->filling = b;
  uv_update_time(&c->loop);
  c->filling_due_ms = uv_now(&c->loop) + c->options.linger_ms;
  client_flow_wake(c, c->filling_due_ms);
  return MUSTER_OK;
}

int client_batch_reserve(struct muster_client *c, struct client_batch *b, size_t more_bytes)
{
  size_t need = b->used + more_bytes, capacity = b->capacity ? b->capacity : FIRST_BYTES;
  if (need <= b->capacity)
    return MUSTER_OK;
  while (capacity < need)
    capacity *= 2;
  uint8_t *bytes = realloc(b->bytes, capacity);
  if (!bytes)
    return client_fail(c, MUSTER_ERR_MEMORY, "no memory for a batch of %zu bytes", need);
  b->bytes = bytes;
  b->capacity = capacity;
  return MUSTER_OK;
}

/* The bytes go over to the frame. */
static int make_frame(struct muster_client *c, struct client_batch *b)
{
  int status = link_frame_init_heap(&b->records, b->bytes, b->used);
  b->bytes = NULL;
  b->capacity = 0;
  b->id = c->next_id++;
  if (status != MUSTER_OK)
    return client_end(c, status, "no memory to send a batch; its records have no verdict, submit them again");
  return MUSTER_OK;
}

int client_batch_seal(struct muster_client *c)
{
  struct client_batch *b = c->filling;
  c->filling = NULL;
  c->expected_bytes = b->used + b->used / 8;
  b->order = c->next_order++;
  b->state = CLIENT_BATCH_READY;
  return make_frame(c, b);
}

int client_batch_keep(struct muster_client *c, struct client_batch *b, const uint8_t *words, uint32_t left, bool giving)
{
  const uint8_t *p = link_frame_data(&b->records), *end = p + link_frame_size(&b->records);
  uint32_t kept = 0;
  if (left == b->count)
    return MUSTER_OK; /* the same records: the same batch, under its old id */
  b->used = 0;
  if (client_batch_reserve(c, b, (size_t)(end - p)) != MUSTER_OK)
    return client_end(c, MUSTER_ERR_MEMORY, "no memory to send records again; they have no verdict, submit them again");
  for (uint32_t i = 0; i < b->count; i++) {
    struct batch_record record;
    const uint8_t *from = p;
    batch_next(&p, end, &record); /* cannot fail: the batch was made of whole records */
    uint64_t word = load_u64(words + 8 * (size_t)i);
    if (client_word_final(word) || (giving && client_word_down(word)))
      continue;
    memcpy(b->bytes + b->used, from, (size_t)(p - from));
    b->used += (size_t)(p - from);
    b->tags[kept++] = b->tags[i];
  }
  b->count = left;
  link_frame_finish(&b->records);
  return make_frame(c, b);
}

void client_batch_free(struct client_batch *b)
{
  link_frame_finish(&b->records);
  b->state = CLIENT_BATCH_FREE;
  b->count = 0;
}

void client_batch_finish(struct client_batch *b)
{
  link_frame_finish(&b->records);
  free(b->bytes);
  free(b->tags);
}
