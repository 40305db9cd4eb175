#include "store/tally.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "muster/status.h"
#include "proto/text.h"
#include "store/env_call.h"

/* On disk: key = day (biased, big-endian); value = rows in ascending order. A row is component, area (big-endian), region,
 * demographic, title, type, citizenship, then 48 bits of count, little-endian: a sequence has 48 bits on the wire, so a count cannot
 * have more. One value a day keeps a fold of mixed days at hundreds of puts. */
#define KEY_BYTES 4u
#define ROW_BYTES 16u

/* ---- cells in memory ---- */

static uint32_t cell_home(const struct store_cells *c, const struct store_cell *cell)
{
  const uint64_t mixed = (cell->high * UINT64_C(0x9e3779b97f4a7c15)) ^ (cell->low * UINT64_C(0xc2b2ae3d27d4eb4f));
  return (uint32_t)((mixed ^ mixed >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> 32) & (c->capacity - 1);
}

static struct store_cell *cells_slot(const struct store_cells *c, const struct store_cell *cell)
{
  uint32_t place = cell_home(c, cell);
  struct store_cell *slot;
  while ((slot = &c->slots[place])->count && (slot->high != cell->high || slot->low != cell->low))
    place = (place + 1) & (c->capacity - 1);
  return slot;
}

int store_cells_init(struct store_cells *c, uint32_t capacity)
{
  assert(capacity && (capacity & (capacity - 1)) == 0);
  *c = (struct store_cells){.slots = calloc(capacity, sizeof *c->slots), .capacity = capacity};
  return c->slots ? MUSTER_OK : MUSTER_ERR_MEMORY;
}

void store_cells_finish(struct store_cells *c)
{
  free(c->slots);
  memset(c, 0, sizeof *c);
}

void store_cells_clear(struct store_cells *c)
{
  if (c->used)
    memset(c->slots, 0, c->capacity * sizeof *c->slots);
  c->used = 0;
}

static int cells_double(struct store_cells *c)
{
  struct store_cells larger;
  if (c->capacity > UINT32_MAX / 2 || store_cells_init(&larger, c->capacity * 2) != MUSTER_OK)
    return MUSTER_ERR_MEMORY;
  for (uint32_t i = 0; i < c->capacity; i++)
    if (c->slots[i].count)
      *cells_slot(&larger, &c->slots[i]) = c->slots[i];
  free(c->slots);
  c->slots = larger.slots;
  c->capacity = larger.capacity;
  return MUSTER_OK;
}

int store_cells_add(struct store_cells *c, const struct store_cell *cell)
{
  struct store_cell *slot = cells_slot(c, cell);
  if (slot->count) {
    slot->count += cell->count;
    return MUSTER_OK;
  }
  if ((uint64_t)c->used * 3 >= (uint64_t)c->capacity * 2) {
    int status = cells_double(c);
    if (status)
      return status;
    slot = cells_slot(c, cell);
  }
  *slot = *cell;
  c->used++;
  return MUSTER_OK;
}

int store_cells_stage(struct store_cells *c, const struct store_cell *cell)
{
  const int status = c->staged_count == STORE_CELLS_STAGED ? store_cells_flush(c) : MUSTER_OK;
  c->staged[c->staged_count++] = *cell;
  return status;
}

int store_cells_flush(struct store_cells *c)
{
  int status = MUSTER_OK;
  for (uint32_t i = 0; i < c->staged_count; i++)
    __builtin_prefetch(&c->slots[cell_home(c, &c->staged[i])], 1);
  for (uint32_t i = 0; i < c->staged_count && !status; i++)
    status = store_cells_add(c, &c->staged[i]);
  c->staged_count = 0;
  return status;
}

static int cell_compare(const void *left, const void *right) { return store_cell_order(left, right); }

uint32_t store_cells_sort(struct store_cells *c)
{
  assert(!c->staged_count);
  uint32_t count = 0;
  for (uint32_t i = 0; i < c->capacity; i++)
    if (c->slots[i].count)
      c->slots[count++] = c->slots[i];
  qsort(c->slots, count, sizeof *c->slots, cell_compare);
  return count;
}

/* ---- between record, cell and the public columns ---- */

static uint64_t field_number(const struct encounter_view *v, enum encounter_field f)
{
  return encounter_has(v, f) ? (uint64_t)v->field[f].number : 0;
}

void store_cell_of(struct store_cell *cell, const struct encounter_view *record)
{
  const int64_t time_us = encounter_has(record, FIELD_ENCOUNTER_TIME) ? record->field[FIELD_ENCOUNTER_TIME].number : 0;
  const uint32_t day = (uint32_t)text_day_of(time_us) ^ 0x80000000u;
  const struct scan_value *country = &record->field[FIELD_CITIZENSHIP];
  uint64_t letters = 0;
  if (encounter_has(record, FIELD_CITIZENSHIP) && country->size == 3)
    letters = (uint64_t)country->bytes[0] << 16 | (uint64_t)country->bytes[1] << 8 | country->bytes[2];
  cell->high = (uint64_t)day << 32 | (field_number(record, FIELD_COMPONENT) & 0xff) << 24 |
               (field_number(record, FIELD_AREA_OF_RESPONSIBILITY) & 0xffff) << 8 | (field_number(record, FIELD_LAND_BORDER_REGION) & 0xff);
  cell->low = (field_number(record, FIELD_DEMOGRAPHIC) & 0xff) << 56 | (field_number(record, FIELD_TITLE_OF_AUTHORITY) & 0xff) << 48 |
              (field_number(record, FIELD_ENCOUNTER_TYPE) & 0xff) << 40 | letters << 16;
  cell->count = 1;
}

void store_tally_cell_from(struct store_tally_cell *out, const struct store_cell *cell)
{
  *out = (struct store_tally_cell){.day = store_cell_day(cell),
                                   .component = (uint8_t)(cell->high >> 24),
                                   .area = (uint16_t)(cell->high >> 8),
                                   .region = (uint8_t)cell->high,
                                   .demographic = (uint8_t)(cell->low >> 56),
                                   .title = (uint8_t)(cell->low >> 48),
                                   .type = (uint8_t)(cell->low >> 40),
                                   .citizenship = {(char)(cell->low >> 32), (char)(cell->low >> 24), (char)(cell->low >> 16), '\0'},
                                   .count = cell->count};
}

void store_tally_cell_of(struct store_tally_cell *cell, const struct encounter_view *record)
{
  struct store_cell packed;
  store_cell_of(&packed, record);
  store_tally_cell_from(cell, &packed);
}

int store_cells_add_journal(struct store_cells *c, MDB_cursor *journal, uint64_t *next, uint64_t last)
{
  while (*next <= last) {
    struct store_block b;
    int code = store_journal_seek(journal, *next, &b);
    if (code)
      return code == MDB_NOTFOUND ? MDB_CORRUPTED : code;
    if (!store_block_intact(&b))
      return MDB_CORRUPTED;
    for (uint32_t i = (uint32_t)(*next - b.header.first); i < b.header.count && *next <= last; i++, ++*next) {
      struct encounter_view view;
      struct scan_fault fault;
      struct store_cell cell;
      uint32_t size = 0;
      const uint8_t *record = store_block_record(&b, i, &size);
      if (!record || !scan_encounter(&view, record, size, &fault))
        return MDB_CORRUPTED;
      store_cell_of(&cell, &view);
      if (store_cells_add(c, &cell))
        return ENOMEM;
    }
  }
  return 0;
}

/* ---- the database ---- */

static void row_write(uint8_t *row, const struct store_cell *cell)
{
  store_u64(row, __builtin_bswap64(cell->high << 32 | cell->low >> 32));
  store_u64(row + 8, cell->count << 16 | __builtin_bswap16((uint16_t)(cell->low >> 16)));
}

static void row_read(const uint8_t *row, uint32_t day_key, struct store_cell *cell)
{
  const uint64_t columns = __builtin_bswap64(load_u64(row)), rest = load_u64(row + 8);
  cell->high = (uint64_t)day_key << 32 | columns >> 32;
  cell->low = columns << 32 | (uint64_t)__builtin_bswap16((uint16_t)rest) << 16;
  cell->count = rest >> 16;
}

/* Merges a day's stored rows with the cells of the same day, both ascending, into out, which has room for all. Returns the bytes
 * written. */
static size_t day_merge(uint8_t *out, const MDB_val *stored, const struct store_cell *cells, uint32_t count)
{
  const uint8_t *row = stored->mv_data, *rows_end = row + stored->mv_size;
  uint8_t *p = out;
  for (uint32_t i = 0; row < rows_end || i < count; p += ROW_BYTES) {
    struct store_cell old = {0};
    if (row < rows_end)
      row_read(row, (uint32_t)(cells->high >> 32), &old);
    const int order = row == rows_end ? 1 : i == count ? -1 : store_cell_order(&old, &cells[i]);
    if (order > 0)
      old = cells[i];
    else if (order == 0)
      old.count += cells[i].count;
    row_write(p, &old);
    row += order <= 0 ? ROW_BYTES : 0;
    i += order >= 0;
  }
  return (size_t)(p - out);
}

static int day_fold(MDB_txn *txn, MDB_dbi tally, const struct store_cell *cells, uint32_t count, uint8_t **scratch, size_t *scratch_bytes)
{
  const uint32_t day_key = __builtin_bswap32((uint32_t)(cells->high >> 32));
  MDB_val key = {.mv_size = KEY_BYTES, .mv_data = (void *)(uintptr_t)&day_key}, value = {0};
  int code = store_env_get(txn, tally, &key, &value);
  if (code == MDB_NOTFOUND)
    value = (MDB_val){.mv_data = (void *)(uintptr_t)&day_key}; /* no rows, somewhere */
  else if (code)
    return code;
  if (value.mv_size % ROW_BYTES)
    return MDB_CORRUPTED;
  const size_t needed = value.mv_size + (size_t)count * ROW_BYTES;
  if (needed > *scratch_bytes) {
    uint8_t *larger = realloc(*scratch, needed * 2);
    if (!larger)
      return ENOMEM;
    *scratch = larger;
    *scratch_bytes = needed * 2;
  }
  value.mv_size = day_merge(*scratch, &value, cells, count);
  value.mv_data = *scratch;
  return store_env_put(txn, tally, &key, &value, 0);
}

int store_tally_fold(struct store_cells *c, MDB_txn *txn, MDB_dbi tally)
{
  const uint32_t count = store_cells_sort(c);
  uint8_t *scratch = NULL;
  size_t scratch_bytes = 0;
  int code = 0;
  for (uint32_t begin = 0, end; begin < count && !code; begin = end) {
    for (end = begin + 1; end < count && c->slots[end].high >> 32 == c->slots[begin].high >> 32;)
      end++;
    code = day_fold(txn, tally, c->slots + begin, end - begin, &scratch, &scratch_bytes);
  }
  free(scratch);
  store_cells_clear(c);
  return code;
}

int store_tally_walk_next(struct store_tally_walk *w, struct store_cell *cell)
{
  while (w->row == w->rows_end) {
    MDB_val key, value;
    int code = store_env_cursor_get(w->cursor, &key, &value, MDB_NEXT);
    if (key.mv_size == KEY_BYTES)
      w->day_key = __builtin_bswap32(load_u32(key.mv_data));
    if (code)
      return code;
    if (key.mv_size != KEY_BYTES || value.mv_size % ROW_BYTES)
      return MDB_CORRUPTED;
    w->row = value.mv_data;
    w->rows_end = w->row + value.mv_size;
  }
  row_read(w->row, w->day_key, cell);
  w->row += ROW_BYTES;
  return 0;
}
