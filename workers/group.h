/*
 * A group: the parts that one commit makes durable together, with their records' verdict words. A part's frame is moved
 * in, never copied, and holds the record bytes until the group is cleared; words stand in the order of the records, part
 * behind part, in one array taken at start. Bounds are those of a commit, so whatever fits a group fits a block of the
 * store. A word says RETRY (outcome unknown) until someone writes a verdict, so a record that was never reached is told
 * the truth. Workers only; the struct is the worker's.
 */
#ifndef MUSTER_WORKERS_GROUP_H
#define MUSTER_WORKERS_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/link.h"
#include "proto/batch.h"
#include "store/store.h"

#define GROUP_PARTS 1024u /* parts of one group; also how many messages a turn of the loop takes */

struct group_part {
  uint8_t identity[LINK_IDENTITY_BYTES]; /* of the ingest */
  uint32_t identity_size;
  uint64_t part_id;
  struct store_receipt receipt;
  bool isolated;             /* HOP_ISOLATE: not to be decoded */
  struct link_frame records; /* the delimited stream */
  uint32_t record_count;
  uint64_t *words; /* record_count of them, in the group's array */
};

struct group {
  uint32_t part_count;
  uint32_t record_count;
  uint64_t bytes; /* of the parts' streams */
  struct group_part *parts;
  uint64_t *words;
};

int group_init(struct group *g); /* MUSTER_OK or MUSTER_ERR_MEMORY; pages are faulted in */
void group_finish(struct group *g);
void group_clear(struct group *g); /* gives all frames back */

/* Whether a part of so many records and bytes may join. An empty group takes every part that group_part_allowed allows. */
bool group_fits(const struct group *g, uint32_t record_count, size_t bytes);
bool group_part_allowed(uint32_t record_count, size_t bytes);
/* Joins a part; it must fit. The second frame is moved out of the message. All words of the part become `word`. */
struct group_part *group_add(struct group *g, const struct hop_head *head, struct link_message *message, uint64_t word);

/* Walks the records of all parts in order. */
struct group_cursor {
  struct group *group;
  uint32_t next_part, next_record; /* next_record: of the part before next_part */
  const uint8_t *at, *end;
  uint32_t broken_parts; /* whose stream does not hold exactly record_count records; the missing ones keep their word */
};
struct group_record {
  struct group_part *part;
  const uint8_t *bytes;
  uint32_t size;
  uint64_t *word;
};
void group_start(struct group_cursor *cursor, struct group *g);
bool group_next(struct group_cursor *cursor, struct group_record *record); /* false: no more */

#endif
