/*
 * The supply of records against its promises: published margins exactly, every record obeys every rule, families, order in time,
 * ids that are never the same, resends and faults in the share asked for, the same bytes everywhere.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "bench/stream.h"
#include "core/config.h"
#include "muster/status.h"
#include "proto/digest.h"
#include "proto/encounter.pb-c.h"
#include "proto/scan.h"
#include "proto/text.h"
#include "proto/varint.h"
#include "proto/wire.pb-c.h"
#include "workers/rules.h"

#define FAMILY MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_FMUA
#define BORDER_PATROL MUSTER__V1__COMPONENT__COMPONENT_US_BORDER_PATROL
#define NOW_US INT64_C(1640995200000000) /* 2022-01-01 */

static struct rules_context rules;
static struct bench_stream stream;

static struct bench_stream_options options_of(uint64_t records, uint64_t seed)
{
  return (struct bench_stream_options){.profile = profile_find("fy2021-southwest"), .records = records, .seed = seed};
}

static void start(const struct bench_stream_options *options) { assert_int_equal(bench_stream_init(&stream, options), MUSTER_OK); }

static int64_t number(const struct encounter_view *v, enum encounter_field f) { return v->field[f].number; }

static void scan(struct encounter_view *view, const struct bench_item *item)
{
  struct scan_fault fault;
  if (!scan_encounter(view, item->bytes, item->size, &fault))
    fail_msg("a generated record does not scan: reason %u, field %u, byte %u", fault.reason, fault.field, fault.byte);
}

/* ---- margins ---- */

struct margins {
  uint64_t total, months[STREAM_MONTHS], areas[256], demographics[8];
};

static void margins_add(struct margins *m, const struct profile *p, const struct encounter_view *v)
{
  int32_t year;
  uint32_t month, day, i = 0;
  text_civil_from_day(text_day_of(number(v, FIELD_ENCOUNTER_TIME)), &year, &month, &day);
  while (i < p->month_count && (p->months[i].year != year || p->months[i].month != month))
    i++;
  assert_true(i < p->month_count);
  m->total++;
  m->months[i]++;
  m->areas[number(v, FIELD_AREA_OF_RESPONSIBILITY)]++;
  if (number(v, FIELD_COMPONENT) == BORDER_PATROL)
    m->demographics[number(v, FIELD_DEMOGRAPHIC)]++;
}

static void test_full_size_meets_every_published_figure(void **state)
{
  (void)state;
  struct bench_stream_options o = options_of(1734686, 2021);
  const struct profile *p = o.profile;
  struct margins m = {0};
  struct bench_item item;
  struct encounter_view view;
  size_t bytes = 0;
  start(&o);
  while (bench_stream_next(&stream, &item)) {
    scan(&view, &item);
    margins_add(&m, p, &view);
    bytes += item.size;
  }
  assert_int_equal(m.total, 1734686);
  for (size_t i = 0; i < p->month_count; i++)
    assert_int_equal(m.months[i], p->months[i].encounters);
  for (size_t i = 0; i < p->area_count; i++)
    assert_int_equal(m.areas[p->areas[i].area], p->areas[i].encounters);
  for (size_t i = 0; i < p->demographic_count; i++)
    assert_int_equal(m.demographics[p->demographics[i].demographic], p->demographics[i].encounters);
  assert_in_range(bytes / m.total, 200, 260);
}

/* Largest remainder: no margin is a whole record away from its exact share. */
static void check_share(uint64_t got, uint64_t published, uint64_t published_total, uint64_t total)
{
  uint64_t floor = (uint64_t)((unsigned __int128)published * total / published_total);
  bool exact = (unsigned __int128)published * total % published_total == 0;
  assert_in_range(got, floor, floor + !exact);
}

static void test_fewer_and_more_are_in_proportion(void **state)
{
  (void)state;
  static const uint64_t sizes[] = {1, 2, 3, 7, 31, 100, 1000, 17347, 99999};
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    struct bench_stream_options o = options_of(sizes[s], s);
    const struct profile *p = o.profile;
    struct margins m = {0};
    struct bench_item item;
    struct encounter_view view;
    uint64_t border_patrol = 0;
    start(&o);
    while (bench_stream_next(&stream, &item)) {
      scan(&view, &item);
      margins_add(&m, p, &view);
    }
    assert_int_equal(m.total, sizes[s]);
    for (size_t i = 0; i < p->month_count; i++)
      check_share(m.months[i], p->months[i].encounters, p->total, sizes[s]);
    for (size_t i = 0; i < p->area_count; i++) {
      check_share(m.areas[p->areas[i].area], p->areas[i].encounters, p->total, sizes[s]);
      border_patrol += p->areas[i].component == BORDER_PATROL ? m.areas[p->areas[i].area] : 0;
    }
    for (size_t i = 0; i < p->demographic_count; i++)
      check_share(m.demographics[p->demographics[i].demographic], p->demographics[i].encounters, 1659206, border_patrol);
  }
  struct bench_stream_options more = options_of(UINT64_C(1734686) * 100000, 1);
  start(&more);
  uint64_t month = 0;
  for (uint32_t c = 0; c < stream.cell_count; c++)
    month += stream.months[11].records_of[c];
  assert_int_equal(month, UINT64_C(192001) * 100000);
}

/* ---- records ---- */

static void test_every_record_obeys_every_rule(void **state)
{
  (void)state;
  struct bench_stream_options o = options_of(60000, 3);
  struct bench_item item;
  struct encounter_view view;
  unsigned expelled = 0, with_all_fields = 0;
  start(&o);
  while (bench_stream_next(&stream, &item)) {
    scan(&view, &item);
    const struct rule *broken = rules_first_broken(&view, &rules);
    if (broken)
      fail_msg("a generated record breaks %s", broken->name);
    assert_true(view.canonical);
    bool title_42 = number(&view, FIELD_TITLE_OF_AUTHORITY) == MUSTER__V1__TITLE_OF_AUTHORITY__TITLE_42;
    assert_int_equal(title_42, number(&view, FIELD_DISPOSITION) == MUSTER__V1__DISPOSITION__DISPOSITION_TITLE_42_EXPULSION);
    assert_int_equal(encounter_has(&view, FIELD_FAMILY_UNIT_ID), number(&view, FIELD_DEMOGRAPHIC) == FAMILY);
    expelled += title_42;
    with_all_fields += view.present == ((1u << FIELD_COUNT) - 2);
  }
  assert_in_range(expelled, 60000 * 50 / 100, 60000 * 70 / 100);
  assert_in_range(with_all_fields, 60000 * 20 / 100, 60000 * 35 / 100);
}

/* The same records with longer texts: of the size asked for wherever texts of 64 bytes can carry it, never cut, still in order. */
static void test_records_of_a_size(void **state)
{
  (void)state;
  static struct bench_stream plain;
  static const enum encounter_field texts[] = {FIELD_STATION, FIELD_DEVICE, FIELD_OFFICER_REFERENCE};
  static const uint32_t sizes[] = {1, 205, 260, 280, LIMIT_RECORD_BYTES};
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    struct bench_stream_options o = options_of(20000, 3);
    struct bench_item item, drawn;
    struct encounter_view view, before;
    assert_int_equal(bench_stream_init(&plain, &o), MUSTER_OK);
    o.record_bytes = sizes[s];
    start(&o);
    while (bench_stream_next(&stream, &item)) {
      assert_true(bench_stream_next(&plain, &drawn));
      scan(&before, &drawn);
      scan(&view, &item);
      size_t most = drawn.size, size = drawn.size > sizes[s] ? drawn.size : sizes[s];
      assert_int_equal(view.present, before.present);
      for (enum encounter_field f = 1; f < FIELD_COUNT; f++)
        if (encounter_has(&view, f) && f != FIELD_STATION && f != FIELD_DEVICE && f != FIELD_OFFICER_REFERENCE && view.field[f].size == 0)
          assert_int_equal(view.field[f].number, before.field[f].number);
      for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
        const struct scan_value *text = &view.field[texts[t]], *start_of = &before.field[texts[t]];
        assert_in_range(text->size, start_of->size, LIMIT_TEXT_BYTES);
        assert_memory_equal(text->bytes, start_of->bytes, start_of->size);
        most += LIMIT_TEXT_BYTES - start_of->size;
      }
      assert_memory_equal(view.field[FIELD_ENCOUNTER_ID].bytes, before.field[FIELD_ENCOUNTER_ID].bytes, 16);
      assert_int_equal(item.size, size < most ? size : most);
      assert_true(view.canonical);
      const struct rule *broken = rules_first_broken(&view, &rules);
      if (broken)
        fail_msg("a record of %u bytes breaks %s", sizes[s], broken->name);
      assert_true(sizes[s] != 260 || item.size == 260); /* the usual use: every record can be that large */
    }
    assert_false(bench_stream_next(&plain, &drawn));
  }
}

static void test_times_ascend_and_ids_carry_them(void **state)
{
  (void)state;
  struct bench_stream_options o = options_of(50000, 4);
  struct bench_item item;
  struct encounter_view view;
  int64_t before = INT64_MIN;
  start(&o);
  while (bench_stream_next(&stream, &item)) {
    scan(&view, &item);
    int64_t time_us = number(&view, FIELD_ENCOUNTER_TIME), id_ms = 0;
    const uint8_t *id = view.field[FIELD_ENCOUNTER_ID].bytes;
    for (int i = 0; i < 6; i++)
      id_ms = id_ms << 8 | id[i];
    assert_true(time_us >= before);
    assert_int_equal(id_ms, time_us / 1000);
    assert_int_equal(id[6] >> 4, 7);
    assert_int_equal(id[8] >> 6, 2);
    before = time_us;
  }
  o.ids_v4 = true;
  start(&o);
  assert_true(bench_stream_next(&stream, &item));
  scan(&view, &item);
  assert_int_equal(view.field[FIELD_ENCOUNTER_ID].bytes[6] >> 4, 4);
  assert_int_equal(view.field[FIELD_ENCOUNTER_ID].bytes[8] >> 6, 2);
}

static int id_compare(const void *a, const void *b) { return memcmp(a, b, 16); }

static void test_no_id_twice(void **state)
{
  (void)state;
  enum { RECORDS = 100000 };
  uint8_t(*ids)[16] = malloc(2 * (RECORDS + RECORDS / 2) * sizeof *ids);
  assert_non_null(ids);
  size_t count = 0;
  for (int v4 = 0; v4 < 2; v4++) {
    /* The same seed with another number of records is another stream: their ids may meet in one store. */
    for (uint64_t records = RECORDS; records >= RECORDS / 2; records /= 2) {
      struct bench_stream_options o = options_of(records, 5);
      struct bench_item item;
      struct encounter_view view;
      o.ids_v4 = v4;
      start(&o);
      while (bench_stream_next(&stream, &item)) {
        scan(&view, &item);
        memcpy(ids[count++], view.field[FIELD_ENCOUNTER_ID].bytes, 16);
      }
    }
  }
  assert_int_equal(count, 2 * (RECORDS + RECORDS / 2));
  qsort(ids, count, sizeof *ids, id_compare);
  for (size_t i = 1; i < count; i++)
    assert_true(memcmp(ids[i - 1], ids[i], 16) != 0);
  free(ids);
}

/* Members follow each other, two to five, and share what a family shares. */
static void test_families(void **state)
{
  (void)state;
  struct bench_stream_options o = options_of(100000, 6);
  static const enum encounter_field shared[] = {FIELD_AREA_OF_RESPONSIBILITY, FIELD_TITLE_OF_AUTHORITY,
                                                FIELD_ENCOUNTER_TYPE,         FIELD_LATITUDE_E7,
                                                FIELD_LONGITUDE_E7,           FIELD_DISPOSITION};
  struct bench_item item;
  struct encounter_view view, first = {0};
  uint8_t bytes[BENCH_RECORD_BYTES];
  unsigned size = 0, families_of_size[8] = {0};
  start(&o);
  for (bool more = true; more;) {
    more = bench_stream_next(&stream, &item);
    if (more)
      scan(&view, &item);
    bool family = more && number(&view, FIELD_DEMOGRAPHIC) == FAMILY;
    bool same = family && size > 0 && memcmp(view.field[FIELD_FAMILY_UNIT_ID].bytes, first.field[FIELD_FAMILY_UNIT_ID].bytes, 16) == 0;
    if (same) {
      size++;
      for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++)
        assert_int_equal(number(&view, shared[i]), number(&first, shared[i]));
      assert_memory_equal(view.field[FIELD_CITIZENSHIP].bytes, first.field[FIELD_CITIZENSHIP].bytes, 3);
      assert_memory_not_equal(view.field[FIELD_SUBJECT_ID].bytes, first.field[FIELD_SUBJECT_ID].bytes, 16);
      continue;
    }
    assert_in_range(size, 0, 5);
    families_of_size[size]++;
    size = family;
    if (family) {
      memcpy(bytes, item.bytes, item.size);
      scan(&first, &(struct bench_item){.bytes = bytes, .size = item.size});
    }
  }
  for (unsigned i = 2; i <= 5; i++)
    assert_true(families_of_size[i] > 100);
  assert_true(families_of_size[1] < 5); /* only where a cell has a single member */
}

/* ---- resends and faults ---- */

static uint64_t hash_of(const struct bench_item *item)
{
  uint64_t hash = item->size;
  for (size_t i = 0; i < item->size; i++)
    hash = (hash ^ item->bytes[i]) * UINT64_C(0x100000001b3);
  return hash;
}

struct seen {
  uint64_t slot[1u << 17];
};
static bool seen_add(struct seen *s, uint64_t hash)
{
  size_t at = hash & ((1u << 17) - 1);
  for (; s->slot[at]; at = (at + 1) & ((1u << 17) - 1))
    if (s->slot[at] == hash)
      return false;
  s->slot[at] = hash;
  return true;
}

static void test_resends_came_before(void **state)
{
  (void)state;
  static struct bench_stream plain;
  struct bench_stream_options o = options_of(30000, 8);
  assert_int_equal(bench_stream_init(&plain, &o), MUSTER_OK);
  o.resends_per_10000 = 1000;
  o.faults_per_10000 = 500;
  start(&o);
  struct seen *seen = calloc(1, sizeof *seen);
  assert_non_null(seen);
  struct bench_item item, good;
  uint64_t count[3] = {0}, lines = 0;
  while (bench_stream_next(&stream, &item)) {
    count[item.kind]++;
    lines++;
    bool first = item.kind == BENCH_FAULT || seen_add(seen, hash_of(&item));
    assert_int_equal(first, item.kind != BENCH_RESEND);
    if (item.kind != BENCH_RECORD)
      continue;
    /* What is on top does not change the records themselves. */
    assert_true(bench_stream_next(&plain, &good));
    assert_int_equal(good.size, item.size);
    assert_memory_equal(good.bytes, item.bytes, item.size);
  }
  assert_false(bench_stream_next(&plain, &good));
  assert_int_equal(count[BENCH_RECORD], 30000);
  assert_int_equal(count[BENCH_RESEND], (lines * 10 + 50) / 100);
  assert_int_equal(count[BENCH_FAULT], (lines * 5 + 50) / 100);
  assert_int_equal(lines, bench_stream_lines(&o));
  free(seen);
}

static void test_hardly_anything_but_resends(void **state)
{
  (void)state;
  struct bench_stream_options o = options_of(1, 9);
  struct bench_item item;
  uint64_t resends = 0;
  o.resends_per_10000 = 9999;
  start(&o);
  assert_true(bench_stream_next(&stream, &item));
  assert_int_equal(item.kind, BENCH_RECORD);
  for (; bench_stream_next(&stream, &item); resends++)
    assert_int_equal(item.kind, BENCH_RESEND);
  assert_int_equal(resends, 9999);
}

/* A faulty record's id is its own, so that a node that mends and replays it counts it as what it is. */
static void test_faults_have_ids_of_their_own(void **state)
{
  (void)state;
  struct bench_stream_options o = options_of(5000, 10);
  struct bench_item item;
  struct encounter_view view;
  struct seen *seen = calloc(1, sizeof *seen);
  assert_non_null(seen);
  o.ids_v4 = true;
  o.faults_per_10000 = 5000;
  o.fault_set = 1u << MUSTER__V1__REASON__REASON_CITIZENSHIP;
  start(&o);
  while (bench_stream_next(&stream, &item)) {
    scan(&view, &item);
    assert_true(seen_add(seen, load_u64(view.field[FIELD_ENCOUNTER_ID].bytes + 8)));
  }
  free(seen);
}

/* What a node says of the record: the scan first, then the rules; 0 where it is good. */
static uint32_t judge(const struct bench_item *item)
{
  struct encounter_view view;
  struct scan_fault fault;
  if (!scan_encounter(&view, item->bytes, item->size, &fault))
    return fault.reason;
  const struct rule *broken = rules_first_broken(&view, &rules);
  return broken ? broken->reason : 0;
}

static void test_each_fault_is_what_it_says(void **state)
{
  (void)state;
  unsigned made[32] = {0};
  for (uint64_t seed = 0; seed < 4; seed++) {
    struct bench_stream_options o = options_of(2000, seed);
    struct bench_item item;
    o.faults_per_10000 = 5000;
    o.record_bytes = seed % 2 ? 260 : 0;
    start(&o);
    while (bench_stream_next(&stream, &item)) {
      uint32_t expected = item.kind == BENCH_FAULT ? item.reason : 0, said = judge(&item);
      if (said != expected)
        fail_msg("seed %u: made with fault %u, judged %u", (unsigned)seed, expected, said);
      assert_true(item.size <= BENCH_RECORD_BYTES);
      made[expected]++;
    }
  }
  for (uint32_t reason = BENCH_FAULT_FIRST; reason <= BENCH_FAULT_LAST; reason++)
    assert_true(made[reason] > 100);
}

static void test_faults_can_be_chosen(void **state)
{
  (void)state;
  struct bench_stream_options o = options_of(1000, 1);
  struct bench_item item;
  struct encounter_view view;
  o.faults_per_10000 = 5000;
  o.fault_set = BENCH_FAULTS_WITH_JSON;
  start(&o);
  while (bench_stream_next(&stream, &item))
    scan(&view, &item);
  o.fault_set = 1u << MUSTER__V1__REASON__REASON_CITIZENSHIP;
  start(&o);
  while (bench_stream_next(&stream, &item))
    assert_true(item.kind == BENCH_RECORD || item.reason == MUSTER__V1__REASON__REASON_CITIZENSHIP);
}

/* ---- the same everywhere ---- */

static void test_the_same_bytes_on_every_machine(void **state)
{
  (void)state;
  struct bench_stream_options o = options_of(1000, 7);
  struct bench_item item;
  uint64_t hash = 0;
  o.resends_per_10000 = 1000;
  o.faults_per_10000 = 300;
  start(&o);
  while (bench_stream_next(&stream, &item))
    hash = (hash ^ hash_of(&item)) * UINT64_C(0x100000001b3);
  /* Another number here means that every stored stream and every published figure made from it no longer agrees. */
  assert_int_equal(hash, UINT64_C(0xcf7afc924ed76925));
}

/* Another seed: other records, in another order of areas, with resends at other places. */
static void test_seeds_differ(void **state)
{
  (void)state;
  static struct bench_stream other;
  struct bench_stream_options o = options_of(1000, 1), p = options_of(1000, 2);
  struct bench_item a, b;
  struct encounter_view one, two;
  unsigned same_area = 0, same_kind = 0;
  start(&o);
  assert_int_equal(bench_stream_init(&other, &p), MUSTER_OK);
  while (bench_stream_next(&stream, &a) && bench_stream_next(&other, &b)) {
    assert_true(a.size != b.size || memcmp(a.bytes, b.bytes, a.size) != 0);
    scan(&one, &a);
    scan(&two, &b);
    same_area += number(&one, FIELD_AREA_OF_RESPONSIBILITY) == number(&two, FIELD_AREA_OF_RESPONSIBILITY);
  }
  assert_in_range(same_area, 100, 300); /* by chance some 17 % */
  o.resends_per_10000 = p.resends_per_10000 = 5000;
  start(&o);
  assert_int_equal(bench_stream_init(&other, &p), MUSTER_OK);
  while (bench_stream_next(&stream, &a) && bench_stream_next(&other, &b))
    same_kind += a.kind == b.kind;
  assert_in_range(same_kind, 800, 1200);
}

static void test_permutation_is_one(void **state)
{
  (void)state;
  static const uint64_t sizes[] = {1, 2, 3, 4, 5, 16, 17, 1000, 4096, 4097};
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    struct permutation p = permutation_of(sizes[s], 99 + s);
    uint8_t hit[4097] = {0};
    uint64_t stayed = 0, rising = 0, before = 0;
    for (uint64_t i = 0; i < sizes[s]; i++) {
      uint64_t to = permutation_at(&p, i);
      assert_true(to < sizes[s]);
      assert_int_equal(hit[to]++, 0);
      stayed += to == i;
      rising += to > before;
      before = to;
    }
    /* Neighbours go nowhere in particular. */
    if (sizes[s] >= 1000) {
      assert_true(stayed < 20);
      assert_in_range(rising * 100, sizes[s] * 45, sizes[s] * 55);
    }
  }
}

static void test_impossible_options(void **state)
{
  (void)state;
  struct bench_stream_options good = options_of(10, 1), o = good;
  o.records = 0;
  assert_int_equal(bench_stream_init(&stream, &o), MUSTER_ERR_USAGE);
  o.records = STREAM_RECORDS_MAX + 1;
  assert_int_equal(bench_stream_init(&stream, &o), MUSTER_ERR_USAGE);
  o = good;
  o.resends_per_10000 = 10000;
  assert_int_equal(bench_stream_init(&stream, &o), MUSTER_ERR_USAGE);
  o.resends_per_10000 = 5000;
  o.faults_per_10000 = 5000;
  assert_int_equal(bench_stream_init(&stream, &o), MUSTER_ERR_USAGE);
  o = good;
  o.record_bytes = LIMIT_RECORD_BYTES + 1;
  assert_int_equal(bench_stream_init(&stream, &o), MUSTER_ERR_USAGE);
  o = good;
  o.fault_set = 1u << (BENCH_FAULT_LAST + 1);
  assert_int_equal(bench_stream_init(&stream, &o), MUSTER_ERR_USAGE);
}

int main(void)
{
  struct config config;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_permutation_is_one),
      cmocka_unit_test(test_impossible_options),
      cmocka_unit_test(test_the_same_bytes_on_every_machine),
      cmocka_unit_test(test_seeds_differ),
      cmocka_unit_test(test_full_size_meets_every_published_figure),
      cmocka_unit_test(test_fewer_and_more_are_in_proportion),
      cmocka_unit_test(test_every_record_obeys_every_rule),
      cmocka_unit_test(test_records_of_a_size),
      cmocka_unit_test(test_times_ascend_and_ids_carry_them),
      cmocka_unit_test(test_no_id_twice),
      cmocka_unit_test(test_families),
      cmocka_unit_test(test_resends_came_before),
      cmocka_unit_test(test_hardly_anything_but_resends),
      cmocka_unit_test(test_faults_have_ids_of_their_own),
      cmocka_unit_test(test_each_fault_is_what_it_says),
      cmocka_unit_test(test_faults_can_be_chosen),
  };
  config_defaults(&config);
  rules_context_init(&rules, &config);
  rules.now_us = NOW_US;
  return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
