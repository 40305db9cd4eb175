/* The second half of verify: what was counted on the walk over the journal against the tally, the quarantine and meta. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "proto/text.h"
#include "store/quarantine.h"
#include "store/verify.h"

/* ---- the tally ---- */

/* One sentence a day: a cell alone could be one person's. */
struct day {
  int32_t number;
  bool any;
  uint64_t told, counted; /* records: by the tally, by the recount */
  uint64_t wrong;         /* cells */
};

static void day_close(struct store_verify *v, struct day *day)
{
  int32_t year;
  uint32_t month, of_month;
  if (day->any && day->wrong) {
    text_civil_from_day(day->number, &year, &month, &of_month);
    store_verify_fault(v,
                       "the tally of %04" PRId32 "-%02" PRIu32 "-%02" PRIu32 " is wrong in %" PRIu64 " cells: it says %" PRIu64
                       " records, a recount gives %" PRIu64,
                       year, month, of_month, day->wrong, day->told, day->counted);
  }
  *day = (struct day){0};
}

static void day_add(struct store_verify *v, struct day *day, const struct store_cell *of, uint64_t told, uint64_t counted)
{
  if (day->any && day->number != store_cell_day(of))
    day_close(v, day);
  day->any = true;
  day->number = store_cell_day(of);
  day->told += told;
  day->counted += counted;
  day->wrong += told != counted;
}

/* How many of the newer cells the database does not have, from *next on up to the given one (NULL: all that are left). */
static uint64_t newer_alone(const struct store_cells *newer, uint32_t *next, uint32_t count, const struct store_cell *cell)
{
  uint64_t alone = 0;
  for (int order = -1; *next < count && (!cell || (order = store_cell_order(&newer->slots[*next], cell)) <= 0); ++*next)
    alone += order < 0;
  return alone;
}

int store_verify_tally(struct store_verify *v)
{
  struct store_tally_walk walk = {0};
  struct store_cell cell;
  struct day day = {0};
  const uint32_t count = store_cells_sort(&v->cells), newer_count = store_cells_sort(&v->newer);
  uint32_t i = 0, newer = 0;
  int code = store_env_cursor_open(v->txn, v->env.tally, &walk.cursor);
  if (code)
    return code;
  while (!(code = store_tally_walk_next(&walk, &cell))) {
    int order = -1;
    for (; i < count && (order = store_cell_order(&v->cells.slots[i], &cell)) < 0; i++)
      day_add(v, &day, &v->cells.slots[i], 0, v->cells.slots[i].count);
    const bool same = i < count && order == 0;
    day_add(v, &day, &cell, cell.count, same ? v->cells.slots[i].count : 0);
    i += same;
    v->result.tally_cells += 1 + newer_alone(&v->newer, &newer, newer_count, &cell);
  }
  store_env_cursor_close(walk.cursor);
  v->result.tally_cells += newer_alone(&v->newer, &newer, newer_count, NULL);
  for (; code == MDB_NOTFOUND && i < count; i++) /* else the days that could not be read are not wrong, but unknown */
    day_add(v, &day, &v->cells.slots[i], 0, v->cells.slots[i].count);
  day_close(v, &day);
  if (code == MDB_CORRUPTED) {
    v->cut = true;
    int32_t year;
    uint32_t month, of_month;
    text_civil_from_day((int32_t)(walk.day_key ^ 0x80000000u), &year, &month, &of_month);
    if (walk.day_key)
      store_verify_fault(
          v, "the tally has a value that is none, or does not lie within data.mdb: at or behind %04" PRId32 "-%02" PRIu32 "-%02" PRIu32,
          year, month, of_month);
    else
      store_verify_fault(v, "the tally's pages are damaged: none of it can be read");
    return 0;
  }
  return code == MDB_NOTFOUND ? 0 : code;
}

/* ---- the quarantine ---- */

/* Entries come by submitter: its quota is checked when the next one begins. */
struct quota_check {
  bool any;
  uint32_t submitter;
  struct store_quota counted;
  uint64_t submitters;
  uint64_t number; /* of the entry looked at last */
};

static int quota_close(struct store_verify *v, struct quota_check *q)
{
  if (!q->any)
    return 0;
  struct store_quota told = {0};
  uint32_t number = __builtin_bswap32(q->submitter);
  MDB_val key = {.mv_size = sizeof number, .mv_data = &number}, value;
  int code = store_env_get(v->txn, v->env.quota, &key, &value);
  if (code && code != MDB_NOTFOUND)
    return code;
  if (!code && value.mv_size == sizeof told)
    memcpy(&told, value.mv_data, sizeof told);
  if (told.records != q->counted.records || told.bytes != q->counted.bytes)
    store_verify_fault(v,
                       "the quarantine of submitter %" PRIu32 " has %" PRIu64 " entries of %" PRIu64 " bytes and its quota says %" PRIu64
                       " of %" PRIu64,
                       q->submitter, q->counted.records, q->counted.bytes, told.records, told.bytes);
  q->counted = (struct store_quota){0};
  q->submitters++;
  return 0;
}

static int refused_check(struct store_verify *v, struct quota_check *q, const MDB_val *key, const MDB_val *value)
{
  struct store_refused entry;
  if (!store_quarantine_parse(&entry, key, value)) {
    store_verify_fault(v, "the quarantine has an entry that is none");
    return 0;
  }
  if (!store_quarantine_intact(key, value) || entry.number == 0 || entry.number >= v->meta.quarantine_next || entry.times == 0)
    store_verify_fault(v, "quarantine entry %" PRIu64 " is damaged", entry.number);
  if (q->any && q->submitter != entry.submitter) {
    int code = quota_close(v, q);
    if (code)
      return code;
  }
  q->any = true;
  q->number = entry.number;
  q->submitter = entry.submitter;
  q->counted.records++;
  q->counted.bytes += entry.size;
  return 0;
}

int store_verify_quarantine(struct store_verify *v)
{
  struct quota_check quota = {0};
  MDB_cursor *cursor;
  MDB_val key, value;
  size_t quotas = 0;
  int code = store_env_cursor_open(v->txn, v->env.quarantine, &cursor);
  if (code)
    return code;
  do {
    code = store_env_cursor_get(cursor, &key, &value, MDB_NEXT);
    if (code == MDB_CORRUPTED && key.mv_size) {
      store_verify_fault(v, "the quarantine's entry behind number %" PRIu64 " does not lie within data.mdb", quota.number);
      code = 0;
    } else if (!code) {
      v->result.quarantined++;
      code = refused_check(v, &quota, &key, &value);
    }
  } while (!code);
  store_env_cursor_close(cursor);
  if (code == MDB_CORRUPTED) {
    store_verify_fault(v, "the quarantine's pages are damaged: what follows entry %" PRIu64 " cannot be read", quota.number);
    return 0;
  }
  if (code == MDB_NOTFOUND)
    code = quota_close(v, &quota);
  if (!code)
    code = store_env_entries(v->txn, v->env.quota, &quotas);
  if (code)
    return code;
  if (quotas != quota.submitters)
    store_verify_fault(v, "the quarantine has entries of %" PRIu64 " submitters and quotas of %zu", quota.submitters, quotas);
  if (v->result.quarantined != v->meta.quarantined)
    store_verify_fault(v, "the quarantine has %" PRIu64 " entries and meta says %" PRIu64, v->result.quarantined, v->meta.quarantined);
  return 0;
}
