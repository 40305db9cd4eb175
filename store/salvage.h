/*
 * The inside of salvage, shared by its two files: salvage_find.c reads data.mdb page by page and says where blocks are,
 * salvage.c takes what is needed for that from a shard that may be damaged anywhere, and gives out what was found. Nothing
 * here follows a page number that the file tells; a disk that cannot give a page costs what lies on that page. Owner: the
 * caller of store_salvage.
 */
#ifndef MUSTER_STORE_SALVAGE_H
#define MUSTER_STORE_SALVAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/failure.h"
#include "store/journal.h"
#include "store/meta.h"

/* A block that was found, intact. */
struct store_found {
  uint64_t first, last; /* sequences */
  uint64_t at;          /* offset in data.mdb */
  uint32_t size;
  bool placed;    /* where LMDB puts a value: the page says that it is a page, and which one */
  bool trusted;   /* placed, or of one chain with such a one */
  bool certain;   /* its commit has ended: a trusted block names it as the one before, or LMDB's tree leads to it */
  bool contested; /* another one that is kept contradicts it */
  uint8_t checksum[16], previous[16];
};

struct store_finding {
  int fd;              /* of data.mdb */
  uint64_t size;       /* of the file */
  uint32_t page_bytes; /* LMDB's */
  uint32_t shard;
  uint64_t last; /* sequences after it are not looked for: they may be in the middle of being written */

  struct store_found *found; /* in order of sequences, none twice; the owner's to free */
  size_t count, room;
  bool meta_found; /* a meta record was met; the one that counts most */
  struct store_meta meta;

  bool (*led_to)(void *context, const struct store_found *found); /* whether the tree leads to it; NULL: there is no tree to ask */
  void *context;

  /* private */
  uint8_t *block; /* the largest block read so far */
  size_t block_room;
};

/* Finds all blocks, then lets go of those that contradict a certain one. Where nothing that is certain decides, all stay and are contested: a
 * block of a commit that did not end looks like one of a commit that did. head: checksum of the last block as the tree tells it, or NULL. */
int store_find_blocks(struct store_finding *f, const uint8_t *head, struct failure *failure);
/* Reads a found block once more. false: it is not there any more. Valid until the next. */
bool store_found_read(struct store_finding *f, const struct store_found *found, struct store_block *b);
void store_finding_finish(struct store_finding *f);

#endif
