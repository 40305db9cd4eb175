#include "workers/group.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "muster/status.h"

static_assert(LIMIT_WIRE_BYTES <= LIMIT_COMMIT_BYTES, "any part that the link lets in must fit an empty group");

int group_init(struct group *g)
{
  *g = (struct group){.parts = malloc(GROUP_PARTS * sizeof *g->parts), .words = malloc(LIMIT_COMMIT_RECORDS * sizeof *g->words)};
  if (!g->parts || !g->words) {
    group_finish(g);
    return MUSTER_ERR_MEMORY;
  }
  memset(g->parts, 0, GROUP_PARTS * sizeof *g->parts);
  memset(g->words, 0xff, LIMIT_COMMIT_RECORDS * sizeof *g->words);
  return MUSTER_OK;
}

void group_finish(struct group *g)
{
  group_clear(g);
  free(g->parts);
  free(g->words);
  *g = (struct group){.parts = NULL};
}

void group_clear(struct group *g)
{
  for (uint32_t i = 0; i < g->part_count; i++)
    link_frame_finish(&g->parts[i].records);
  g->part_count = g->record_count = 0;
  g->bytes = 0;
}

bool group_part_allowed(uint32_t record_count, size_t bytes)
{
  return record_count > 0 && record_count <= LIMIT_BATCH_RECORDS && bytes <= LIMIT_WIRE_BYTES;
}

bool group_fits(const struct group *g, uint32_t record_count, size_t bytes)
{
  return g->part_count < GROUP_PARTS && record_count <= LIMIT_COMMIT_RECORDS - g->record_count && bytes <= LIMIT_COMMIT_BYTES - g->bytes;
}

struct group_part *group_add(struct group *g, const struct hop_head *head, struct link_message *message, uint64_t word)
{
  assert(group_fits(g, head->record_count, link_frame_size(&message->frame[1])));
  struct group_part *part = &g->parts[g->part_count++];
  *part = (struct group_part){
      .identity_size = message->identity_size,
      .part_id = head->part_id,
      .receipt = {.submitter = head->submitter, .received_us = head->received_us},
      .isolated = head->kind == HOP_ISOLATE,
      .record_count = head->record_count,
      .words = g->words + g->record_count,
  };
  memcpy(part->identity, message->identity, message->identity_size);
  link_frame_init_empty(&part->records);
  link_frame_move(&part->records, &message->frame[1]);
  g->record_count += part->record_count;
  g->bytes += link_frame_size(&part->records);
  for (uint32_t i = 0; i < part->record_count; i++)
    part->words[i] = word;
  return part;
}

void group_start(struct group_cursor *cursor, struct group *g) { *cursor = (struct group_cursor){.group = g}; }

bool group_next(struct group_cursor *c, struct group_record *record)
{
  for (;;) {
    struct group_part *part = c->next_part > 0 ? &c->group->parts[c->next_part - 1] : NULL;
    struct batch_record found;
    if (part && c->next_record < part->record_count && batch_next(&c->at, c->end, &found) == BATCH_RECORD) {
      *record = (struct group_record){.part = part, .bytes = found.bytes, .size = found.size, .word = &part->words[c->next_record++]};
      return true;
    }
    if (part && (c->next_record < part->record_count || c->at != c->end))
      c->broken_parts++;
    if (c->next_part == c->group->part_count)
      return false;
    part = &c->group->parts[c->next_part++];
    c->next_record = 0;
    c->at = link_frame_data(&part->records);
    c->end = c->at + link_frame_size(&part->records);
  }
}
