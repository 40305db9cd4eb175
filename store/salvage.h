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
  uint32_t links; /* to others of the chain: what it names as the block before is there, or it is named by the one behind */
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

  /* private */
  uint8_t *block; /* the largest block read so far */
  size_t block_room;
};

/* Finds all blocks, then keeps of those that contradict each other what the chain speaks for. head: checksum of the last block, or NULL. */
int store_find_blocks(struct store_finding *f, const uint8_t *head, struct failure *failure);
/* Reads a found block once more. false: it is not there any more. Valid until the next. */
bool store_found_read(struct store_finding *f, const struct store_found *found, struct store_block *b);
void store_finding_finish(struct store_finding *f);

#endif
