/*
 * The records that are known to have killed a worker: the keys of their quarantine entries in a small set in memory, so
 * that the same bytes of the same submitter are told from others before they are decoded. Bounded; what does not fit is
 * found out again, by deaths. Inside store/ only; the writer owns the struct.
 */
#ifndef MUSTER_STORE_DEADLY_H
#define MUSTER_STORE_DEADLY_H

#include <stdbool.h>
#include <stdint.h>

#include "store/quarantine.h"

#define STORE_DEADLY_MAX 1024u
#define STORE_DEADLY_SLOTS 4096u

struct store_deadly {
  uint32_t count;
  struct store_deadly_slot {
    bool used, forgotten;
    uint8_t key[STORE_REFUSED_KEY_BYTES];
  } slot[STORE_DEADLY_SLOTS];
};

void store_deadly_add(struct store_deadly *d, const uint8_t key[STORE_REFUSED_KEY_BYTES]);
bool store_deadly_has(const struct store_deadly *d, const uint8_t key[STORE_REFUSED_KEY_BYTES]);
/* What people have dropped is tried again when it comes again. */
void store_deadly_forget(struct store_deadly *d, const uint8_t key[STORE_REFUSED_KEY_BYTES]);
/* Adds those that the quarantine has. An LMDB code. */
int store_deadly_load(struct store_deadly *d, const struct store_env *e, MDB_txn *txn);

#endif
