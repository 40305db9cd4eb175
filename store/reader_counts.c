/* Readers: the tally and the quarantine. */
#include "store/reader.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "store/journal.h"
#include "store/quarantine.h"
#include "store/tally.h"

#define READER_CELLS 4096u /* slots at first; grows */

/* ---- the tally ---- */

struct tally_merge {
  struct store_cells cells; /* of the records that the database does not count yet, sorted */
  uint32_t next, count;
  int (*each)(void *context, const struct store_tally_cell *cell);
  void *context;
};

static int merge_emit(const struct tally_merge *m, const struct store_cell *cell)
{
  struct store_tally_cell out;
  store_tally_cell_from(&out, cell);
  return m->each(m->context, &out);
}

/* Emits the cells in memory that come before the given one (NULL: all that are left), and adds an equal one to it. */
static int merge_up_to(struct tally_merge *m, struct store_cell *cell)
{
  int stop = 0;
  while (m->next < m->count && !stop) {
    const struct store_cell *own = &m->cells.slots[m->next];
    const int order = cell ? store_cell_order(own, cell) : -1;
    if (order > 0)
      break;
    m->next++;
    if (order == 0) {
      cell->count += own->count;
      break;
    }
    stop = merge_emit(m, own);
  }
  return stop;
}

static int tally_walk(struct store_reader *r, struct tally_merge *m, struct failure *failure)
{
  struct store_tally_walk walk = {.cursor = r->cursor};
  struct store_cell cell;
  int code, stop = 0;
  while (!stop && !(code = store_tally_walk_next(&walk, &cell))) {
    stop = merge_up_to(m, &cell);
    if (!stop)
      stop = merge_emit(m, &cell);
  }
  if (stop)
    return stop;
  if (code != MDB_NOTFOUND)
    return store_env_failure(failure, &r->env, code, "its tally cannot be read; run verify");
  return merge_up_to(m, NULL);
}

/* One snapshot, so that the sum is of one moment; the callback is to gather, not to wait. */
int store_reader_tally(struct store_reader *r, int (*each)(void *context, const struct store_tally_cell *cell), void *context,
                       struct failure *failure)
{
  struct tally_merge m = {.each = each, .context = context};
  if (store_cells_init(&m.cells, READER_CELLS))
    return failure_set(failure, MUSTER_ERR_MEMORY, "there is no memory to count in");
  int status = store_slice_begin(r, r->env.journal, failure);
  if (!status) {
    uint64_t next = r->meta.tally_records + 1;
    int code = store_cells_add_journal(&m.cells, r->cursor, &next, r->meta.records);
    store_env_cursor_close(r->cursor);
    r->cursor = NULL;
    if (!code)
      code = store_env_cursor_open(r->txn, r->env.tally, &r->cursor);
    if (code) {
      status = store_env_journal_failure(failure, &r->env, code, next, "its newest records cannot be counted");
    } else {
      m.count = store_cells_sort(&m.cells);
      status = tally_walk(r, &m, failure);
    }
    store_slice_end(r);
  }
  store_cells_finish(&m.cells);
  return status;
}

/* ---- the quarantine ---- */

/* Copies entries from the key after last on, or from the first one where nothing has begun; both move on. */
static int slice_refused(struct store_reader *r, uint8_t last[STORE_REFUSED_KEY_BYTES], bool *begun, struct failure *failure)
{
  int status = store_slice_begin(r, r->env.quarantine, failure);
  if (status)
    return status;
  MDB_val key = {.mv_size = STORE_REFUSED_KEY_BYTES, .mv_data = last}, value;
  int code = store_env_cursor_get(r->cursor, &key, &value, *begun ? MDB_SET_RANGE : MDB_FIRST);
  if (!code && *begun && key.mv_size == STORE_REFUSED_KEY_BYTES && memcmp(key.mv_data, last, STORE_REFUSED_KEY_BYTES) == 0)
    code = store_env_cursor_get(r->cursor, &key, &value, MDB_NEXT);
  while (!code) {
    if (key.mv_size != STORE_REFUSED_KEY_BYTES || (*begun && memcmp(key.mv_data, last, STORE_REFUSED_KEY_BYTES) <= 0))
      code = MDB_CORRUPTED; /* a tree that turns back would be walked for ever */
    else if (!store_slice_add(r, key.mv_data, key.mv_size, value.mv_data, value.mv_size))
      code = ENOMEM;
    if (code)
      break;
    memcpy(last, key.mv_data, STORE_REFUSED_KEY_BYTES);
    *begun = true;
    if (r->slice_used >= STORE_SLICE_BYTES)
      break;
    code = store_env_cursor_get(r->cursor, &key, &value, MDB_NEXT);
  }
  store_slice_end(r);
  return code && code != MDB_NOTFOUND ? store_env_failure(failure, &r->env, code, "its quarantine cannot be read; run verify") : MUSTER_OK;
}

static int damaged_ends_it(const struct store_reader *r, struct failure *failure)
{
  return failure_set(failure, MUSTER_ERR_CORRUPT, "shard %" PRIu32 ": an entry of the quarantine is damaged; run muster verify",
                     r->meta.shard);
}

int store_reader_quarantine_past(struct store_reader *r, int (*each)(void *context, const struct store_refused *entry),
                                 void (*damaged)(void *context, const struct store_refused *entry), void *context, struct failure *failure)
{
  uint8_t last[STORE_REFUSED_KEY_BYTES];
  bool begun = false;
  for (;;) {
    int stop = slice_refused(r, last, &begun, failure);
    if (stop || !r->slice_used)
      return stop;
    const uint8_t *bytes;
    size_t size;
    for (size_t place = 0; (bytes = store_slice_next(r, &place, &size));) {
      MDB_val key = {.mv_size = STORE_REFUSED_KEY_BYTES, .mv_data = (void *)(uintptr_t)bytes};
      MDB_val value = {.mv_size = size - STORE_REFUSED_KEY_BYTES, .mv_data = (void *)(uintptr_t)(bytes + STORE_REFUSED_KEY_BYTES)};
      struct store_refused entry = {.submitter = __builtin_bswap32(load_u32(bytes))};
      const bool intact = store_quarantine_parse(&entry, &key, &value) && store_quarantine_intact(&key, &value);
      entry.shard = r->meta.shard;
      if (!intact && !damaged)
        return damaged_ends_it(r, failure);
      if (!intact) {
        entry.bytes = NULL;
        entry.size = 0;
        damaged(context, &entry);
        continue;
      }
      stop = each(context, &entry);
      if (stop)
        return stop;
    }
  }
}

int store_reader_quarantine(struct store_reader *r, int (*each)(void *context, const struct store_refused *entry), void *context,
                            struct failure *failure)
{
  return store_reader_quarantine_past(r, each, NULL, context, failure);
}
