#include "store/deadly.h"

#include <string.h>

#include "proto/varint.h"
#include "proto/wire.pb-c.h"

static_assert((STORE_DEADLY_SLOTS & (STORE_DEADLY_SLOTS - 1)) == 0 && STORE_DEADLY_MAX < STORE_DEADLY_SLOTS / 2, "a search ends soon");

/* Where the key is, or would be. Its end is a hash already. */
static uint32_t deadly_place(const struct store_deadly *d, const uint8_t key[STORE_REFUSED_KEY_BYTES])
{
  uint32_t at = load_u32(key + STORE_REFUSED_KEY_BYTES - 4) & (STORE_DEADLY_SLOTS - 1);
  while (d->slot[at].used && memcmp(d->slot[at].key, key, STORE_REFUSED_KEY_BYTES) != 0)
    at = (at + 1) & (STORE_DEADLY_SLOTS - 1);
  return at;
}

bool store_deadly_has(const struct store_deadly *d, const uint8_t key[STORE_REFUSED_KEY_BYTES])
{
  const struct store_deadly_slot *slot = &d->slot[deadly_place(d, key)];
  return slot->used && !slot->forgotten;
}

void store_deadly_add(struct store_deadly *d, const uint8_t key[STORE_REFUSED_KEY_BYTES])
{
  struct store_deadly_slot *slot = &d->slot[deadly_place(d, key)];
  slot->forgotten = false;
  if (slot->used || d->count == STORE_DEADLY_MAX)
    return;
  slot->used = true;
  memcpy(slot->key, key, STORE_REFUSED_KEY_BYTES);
  d->count++;
}

void store_deadly_forget(struct store_deadly *d, const uint8_t key[STORE_REFUSED_KEY_BYTES])
{
  struct store_deadly_slot *slot = &d->slot[deadly_place(d, key)];
  slot->forgotten = slot->used;
}

int store_deadly_load(struct store_deadly *d, const struct store_env *e, MDB_txn *txn)
{
  MDB_cursor *cursor;
  MDB_val key, value;
  int code = mdb_cursor_open(txn, e->quarantine, &cursor);
  if (code)
    return code;
  while (d->count < STORE_DEADLY_MAX && (code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
    struct store_refused entry;
    if (store_quarantine_parse(&entry, &key, &value) && entry.reason == MUSTER__V1__REASON__REASON_KILLED_WORKER)
      store_deadly_add(d, key.mv_data);
  }
  mdb_cursor_close(cursor);
  return code == MDB_NOTFOUND ? 0 : code;
}
