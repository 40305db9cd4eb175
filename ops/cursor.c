#include "ops/cursor.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int refuse(const char *text, struct failure *failure)
{
  return failure_set(
      failure, MUSTER_ERR_USAGE,
      "\"%.60s\" is no cursor; say SHARD:SEQ as an export has printed it, or several with commas between, ascending by shard", text);
}

int ops_cursor_parse(struct ops_cursor *c, const char *text, uint32_t shards, struct failure *failure)
{
  for (uint32_t i = 0; i < LIMIT_SHARDS; i++)
    c->next[i] = 1;
  if (!text)
    return MUSTER_OK;
  bool first = true;
  uint32_t after = 0; /* the shard behind the one named last */
  for (const char *word = text;; word++) {
    char address[TEXT_ADDRESS];
    uint32_t shard;
    uint64_t sequence;
    size_t size = strcspn(word, ",");
    if (size >= sizeof address)
      return refuse(text, failure);
    memcpy(address, word, size);
    address[size] = '\0';
    if (!text_address_parse(&shard, &sequence, address) || sequence == 0 || sequence == UINT64_MAX || shard >= LIMIT_SHARDS ||
        (!first && shard < after))
      return refuse(text, failure);
    if (shard >= shards)
      return failure_set(
          failure, MUSTER_ERR_FORMAT,
          "the cursor \"%.60s\" names shard %u, and the last shard of this store is %u; nothing was written; a cursor holds for the "
          "store whose export printed it; leave --from out to begin at the first record",
          text, shard, shards - 1);
    for (uint32_t i = after; i < shard; i++)
      c->next[i] = first ? OPS_CURSOR_SKIPPED : 1;
    c->next[shard] = sequence;
    after = shard + 1;
    first = false;
    word += size;
    if (!*word)
      return MUSTER_OK;
  }
}

int ops_cursor_check(const struct ops_cursor *c, uint32_t shard, uint64_t records, struct failure *failure)
{
  const uint64_t next = c->next[shard];
  if (next == OPS_CURSOR_SKIPPED || next <= records + 1)
    return MUSTER_OK;
  return failure_set(
      failure, MUSTER_ERR_FORMAT,
      "the cursor goes on at %u:%" PRIu64 ", and shard %u of this store ends with record %" PRIu64
      "; nothing was written; it is the cursor of another store, or this store is an older copy of its own: look which, and leave "
      "--from out to begin at the first record",
      shard, next, shard, records);
}

const char *ops_cursor_text(char out[OPS_CURSOR_TEXT], const struct ops_cursor *c, uint32_t shards)
{
  size_t used = 0;
  out[0] = '\0';
  for (uint32_t i = 0; i < shards; i++) {
    if (c->next[i] == OPS_CURSOR_SKIPPED)
      continue;
    if (used > 0)
      out[used++] = ',';
    text_address(out + used, i, c->next[i]);
    used += strlen(out + used);
  }
  return out;
}

uint32_t ops_cursor_skipped(const struct ops_cursor *c, uint32_t shards)
{
  uint32_t count = 0;
  while (count < shards && c->next[count] == OPS_CURSOR_SKIPPED)
    count++;
  return count;
}
