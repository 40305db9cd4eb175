#include "bench/stream.h"

#include <assert.h>
#include <string.h>

#include "muster/status.h"
#include "proto/encounter.pb-c.h"
#include "proto/text.h"

#define BORDER_PATROL MUSTER__V1__COMPONENT__COMPONENT_US_BORDER_PATROL
#define FAMILY MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_FMUA
#define US_PER_DAY INT64_C(86400000000)
#define UNIT_MEMBERS 8u    /* more than a family has; keeps serials of different units apart */
#define RECENT_UNITS 2000u /* a recent resend is of one of so many units */
#define FAULT_SERIAL (UINT64_C(1) << 63)

/* Not published for the Office of Field Operations: an assumption, per mille (bench/profiles/README.md). */
static const struct profile_demographic port_demographics[] = {
    {MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_SINGLE_ADULTS, 620},
    {MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_FMUA, 270},
    {MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_UC_SINGLE_MINORS, 50},
    {MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_ACCOMPANIED_MINORS, 60},
};
#define PORT_DEMOGRAPHICS (sizeof port_demographics / sizeof port_demographics[0])

/* ---- margins ---- */

/* total in proportion to the weights by largest remainder; of equal remainders the first. No part exceeds its weight where total
 * does not exceed their sum. */
static void apportion(uint64_t *parts, const uint64_t *weights, size_t count, uint64_t total)
{
  unsigned __int128 remainders[STREAM_CELLS], sum = 0;
  uint64_t given = 0;
  assert(count <= STREAM_CELLS);
  for (size_t i = 0; i < count; i++)
    sum += weights[i];
  for (size_t i = 0; i < count; i++) {
    unsigned __int128 product = (unsigned __int128)weights[i] * total;
    parts[i] = sum ? (uint64_t)(product / sum) : 0;
    remainders[i] = sum ? product % sum : 0;
    given += parts[i];
  }
  for (; sum && given < total; given++) {
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
      if (remainders[i] > remainders[best])
        best = i;
    parts[best]++;
    remainders[best] = 0;
  }
}

/* A row of a table: total spread over the columns in proportion to what is left of each, and taken from them. */
static void apportion_row(uint64_t *row, uint64_t *columns_left, size_t count, uint64_t total)
{
  apportion(row, columns_left, count, total);
  for (size_t i = 0; i < count; i++)
    columns_left[i] -= row[i];
}

static void cell_add(struct bench_stream *s, uint64_t *cell_totals, int32_t area, int32_t demographic, uint64_t total)
{
  assert(s->cell_count < STREAM_CELLS);
  cell_totals[s->cell_count] = total;
  s->cells[s->cell_count++] = (struct bench_stream_cell){.area = vocabulary_area(area), .demographic = demographic};
}

/* The columns: areas by demographics, with their totals. */
static void cells_fill(struct bench_stream *s, uint64_t *cell_totals)
{
  const struct profile *p = s->options.profile;
  uint64_t weights[STREAM_CELLS] = {0}, areas[STREAM_CELLS], demographics_left[STREAM_CELLS], row[STREAM_CELLS], border_patrol = 0;
  assert(p->area_count <= STREAM_CELLS && p->demographic_count <= STREAM_CELLS);
  for (size_t i = 0; i < p->area_count; i++)
    weights[i] = p->areas[i].encounters;
  apportion(areas, weights, p->area_count, s->options.records);
  for (size_t i = 0; i < p->area_count; i++)
    border_patrol += p->areas[i].component == BORDER_PATROL ? areas[i] : 0;
  for (size_t i = 0; i < p->demographic_count; i++)
    weights[i] = p->demographics[i].encounters;
  apportion(demographics_left, weights, p->demographic_count, border_patrol);
  for (size_t i = 0; i < p->area_count; i++) {
    bool patrol = p->areas[i].component == BORDER_PATROL;
    const struct profile_demographic *demographics = patrol ? p->demographics : port_demographics;
    size_t count = patrol ? p->demographic_count : PORT_DEMOGRAPHICS;
    if (patrol) {
      apportion_row(row, demographics_left, count, areas[i]);
    } else {
      for (size_t d = 0; d < count; d++)
        weights[d] = demographics[d].encounters;
      apportion(row, weights, count, areas[i]);
    }
    for (size_t d = 0; d < count; d++)
      cell_add(s, cell_totals, p->areas[i].area, demographics[d].demographic, row[d]);
  }
}

/* ---- families ---- */

/* Sizes in turn, even turns and odd ones, and what becomes of the members that the last whole turn leaves. */
#define TURN_FAMILIES 4u
#define TURN_MEMBERS 12u
static const uint8_t turn[2][TURN_FAMILIES] = {{2, 3, 2, 5}, {2, 4, 3, 3}};
static const struct {
  uint8_t families, size[3];
} rest[TURN_MEMBERS + 2] = {{0, {0}},    {1, {1}},    {1, {2}},    {1, {3}},    {1, {4}},       {1, {5}},       {2, {3, 3}},
                            {2, {4, 3}}, {2, {4, 4}}, {2, {5, 4}}, {2, {5, 5}}, {3, {4, 4, 3}}, {3, {4, 4, 4}}, {3, {5, 5, 3}}};

struct families {
  uint64_t turns;
  uint64_t rest;
};
/* A single member left over joins the last turn; a cell of one has a family of one here, the others being counted elsewhere. */
static struct families families_of(uint64_t members)
{
  struct families f = {members / TURN_MEMBERS, members % TURN_MEMBERS};
  if (f.rest == 1 && f.turns > 0) {
    f.turns--;
    f.rest += TURN_MEMBERS;
  }
  return f;
}
static uint64_t family_count(uint64_t members)
{
  struct families f = families_of(members);
  return f.turns * TURN_FAMILIES + rest[f.rest].families;
}
static uint32_t family_size(uint64_t members, uint64_t family)
{
  struct families f = families_of(members);
  return family < f.turns * TURN_FAMILIES ? turn[family / TURN_FAMILIES % 2][family % TURN_FAMILIES]
                                          : rest[f.rest].size[family - f.turns * TURN_FAMILIES];
}

/* ---- months and units ---- */

static void month_fill(struct bench_stream *s, struct bench_stream_month *m, const struct profile_month *published)
{
  int32_t year = published->year, next_year = published->month == 12 ? year + 1 : year;
  int32_t first = text_day_from_civil(year, published->month, 1);
  int32_t end = text_day_from_civil(next_year, published->month % 12 + 1, 1);
  m->units = 0;
  for (uint32_t c = 0; c < s->cell_count; c++) {
    m->units += s->cells[c].demographic == FAMILY ? family_count(m->records_of[c]) : m->records_of[c];
    m->units_until[c] = m->units;
  }
  m->start_us = first * US_PER_DAY;
  m->slot_us = m->units ? (uint64_t)((end - first) * US_PER_DAY) / m->units : 0;
  m->unit_first = s->units;
  m->order = permutation_of(m->units, random_mix(s->key ^ (uint64_t)first));
  s->units += m->units;
}

struct unit {
  uint32_t size; /* members */
  uint64_t number;
  const struct bench_stream_cell *cell;
  int64_t time_us;  /* of the first member */
  uint64_t step_us; /* from one member to the next */
};

static struct unit unit_at(const struct bench_stream *s, uint64_t number)
{
  const struct bench_stream_month *m = s->months;
  while (number - m->unit_first >= m->units)
    m++;
  uint64_t slot = number - m->unit_first, place = permutation_at(&m->order, slot);
  uint32_t c = 0;
  while (place >= m->units_until[c])
    c++;
  uint64_t in_cell = place - (c ? m->units_until[c - 1] : 0);
  struct random r = random_of(~s->key ^ number);
  bool family = s->cells[c].demographic == FAMILY;
  return (struct unit){.size = family ? family_size(m->records_of[c], in_cell) : 1,
                       .number = number,
                       .cell = &s->cells[c],
                       .time_us = m->start_us + (int64_t)(slot * m->slot_us + random_below(&r, m->slot_us / 2 + 1)),
                       .step_us = m->slot_us / (2 * UNIT_MEMBERS)};
}

static struct bench_draw draw_of(const struct bench_stream *s, const struct unit *u, uint64_t member)
{
  return (struct bench_draw){.key = s->key,
                             .unit = u->number,
                             .serial = u->number * UNIT_MEMBERS + member,
                             .time_us = u->time_us + (int64_t)(member * u->step_us),
                             .area = u->cell->area,
                             .demographic = u->cell->demographic,
                             .ids_v4 = s->options.ids_v4,
                             .record_bytes = s->options.record_bytes};
}

/* ---- the stream ---- */

static uint64_t lines_of_kind(const struct bench_stream_options *o, uint32_t per_10000)
{
  uint64_t good = 10000 - o->resends_per_10000 - o->faults_per_10000;
  return (uint64_t)(((unsigned __int128)o->records * per_10000 + good / 2) / good);
}

uint64_t bench_stream_lines(const struct bench_stream_options *o)
{
  return o->records + lines_of_kind(o, o->resends_per_10000) + lines_of_kind(o, o->faults_per_10000);
}

/* Another number of records is another stream: no id of the one is in the other. */
static uint64_t key_of(const struct bench_stream_options *o)
{
  uint64_t key = random_mix(o->seed ^ random_mix(o->records));
  for (const char *p = o->profile->name; *p; p++)
    key = random_mix(key + (uint8_t)*p);
  return key;
}

int bench_stream_init(struct bench_stream *s, const struct bench_stream_options *options)
{
  if (options->records < 1 || options->records > STREAM_RECORDS_MAX || options->resends_per_10000 >= 10000 ||
      options->faults_per_10000 >= 10000 - options->resends_per_10000 || options->fault_set & ~BENCH_FAULTS_ALL ||
      options->record_bytes > LIMIT_RECORD_BYTES)
    return MUSTER_ERR_USAGE;
  const struct profile *p = options->profile;
  uint64_t weights[STREAM_CELLS] = {0}, months[STREAM_CELLS], cell_totals[STREAM_CELLS];
  memset(s, 0, sizeof *s);
  s->options = *options;
  if (!s->options.fault_set)
    s->options.fault_set = BENCH_FAULTS_ALL;
  s->key = key_of(options);
  s->random = random_of(s->key + 1);
  s->left[BENCH_RECORD] = options->records;
  s->left[BENCH_RESEND] = lines_of_kind(options, options->resends_per_10000);
  s->left[BENCH_FAULT] = lines_of_kind(options, options->faults_per_10000);
  assert(p->month_count <= STREAM_MONTHS);
  s->month_count = (uint32_t)p->month_count;
  for (size_t i = 0; i < p->month_count; i++)
    weights[i] = p->months[i].encounters;
  apportion(months, weights, p->month_count, options->records);
  cells_fill(s, cell_totals);
  for (size_t i = 0; i < p->month_count; i++) {
    apportion_row(s->months[i].records_of, cell_totals, s->cell_count, months[i]);
    month_fill(s, &s->months[i], &p->months[i]);
  }
  return MUSTER_OK;
}

static size_t make_record(struct bench_stream *s)
{
  struct unit u = unit_at(s, s->unit);
  struct bench_draw draw = draw_of(s, &u, s->member);
  struct bench_encounter e;
  bench_encounter_draw(&e, &draw);
  if (++s->member == u.size) {
    s->unit++;
    s->member = 0;
  }
  return bench_encounter_write(s->bytes, &e);
}

/* Half of the resends are of recent records, half of any that came before: units before the present one, which is at least one. */
static size_t make_resend(struct bench_stream *s)
{
  uint64_t among = random_next(&s->random) & 1 && s->unit > RECENT_UNITS ? RECENT_UNITS : s->unit;
  struct unit u = unit_at(s, s->unit - 1 - random_below(&s->random, among));
  struct bench_draw draw = draw_of(s, &u, random_below(&s->random, u.size));
  struct bench_encounter e;
  bench_encounter_draw(&e, &draw);
  return bench_encounter_write(s->bytes, &e);
}

/* The reasons of the set in turn, on a record of this moment with ids of its own. */
static size_t make_fault(struct bench_stream *s, uint32_t *reason)
{
  uint32_t set = s->options.fault_set, skip = (uint32_t)(s->faults_made % (uint32_t)__builtin_popcount(set));
  for (; skip > 0; skip--)
    set &= set - 1;
  *reason = (uint32_t)__builtin_ctz(set);
  struct unit u = unit_at(s, s->unit < s->units ? s->unit : s->units - 1);
  struct bench_draw draw = draw_of(s, &u, 0);
  draw.serial = FAULT_SERIAL | s->faults_made++;
  struct bench_encounter e;
  bench_encounter_draw(&e, &draw);
  return bench_encounter_write_fault(s->bytes, &e, *reason, random_next(&s->random));
}

bool bench_stream_next(struct bench_stream *s, struct bench_item *item)
{
  uint64_t left = s->left[BENCH_RECORD] + s->left[BENCH_RESEND] + s->left[BENCH_FAULT];
  if (left == 0)
    return false;
  uint64_t at = left > s->left[BENCH_RECORD] ? random_below(&s->random, left) : 0;
  *item = (struct bench_item){.bytes = s->bytes, .kind = BENCH_RECORD};
  if (at >= s->left[BENCH_RECORD] + s->left[BENCH_RESEND])
    item->kind = BENCH_FAULT;
  else if (at >= s->left[BENCH_RECORD] && s->unit > 0)
    item->kind = BENCH_RESEND;
  s->left[item->kind]--;
  switch (item->kind) {
  case BENCH_RECORD: item->size = make_record(s); break;
  case BENCH_RESEND: item->size = make_resend(s); break;
  case BENCH_FAULT: item->size = make_fault(s, &item->reason); break;
  }
  return true;
}
