/* The tally against a plain count: exact for every mix of days, after every kind of end, with and without a fold on the way. */
#include "fixture.h"
#include "store/tally.h"
#include "store/writer.h"

/* ---- a plain count ---- */

struct plain {
  struct store_tally_cell *cells; /* as they come */
  size_t count, room;
};

static int plain_order(const void *left, const void *right)
{
  const struct store_tally_cell *a = left, *b = right;
  const int64_t keys[][2] = {{a->day, b->day},       {a->component, b->component},     {a->area, b->area},
                             {a->region, b->region}, {a->demographic, b->demographic}, {a->title, b->title},
                             {a->type, b->type}};
  for (unsigned i = 0; i < sizeof keys / sizeof keys[0]; i++)
    if (keys[i][0] != keys[i][1])
      return keys[i][0] < keys[i][1] ? -1 : 1;
  return memcmp(a->citizenship, b->citizenship, 3);
}

static int plain_add(void *context, const struct store_tally_cell *cell)
{
  struct plain *p = context;
  if (p->count == p->room) {
    p->room = p->room ? p->room * 2 : 1024;
    p->cells = realloc(p->cells, p->room * sizeof *p->cells);
  }
  p->cells[p->count++] = *cell;
  return 0;
}

static void plain_gather(struct plain *p)
{
  size_t kept = 0;
  qsort(p->cells, p->count, sizeof *p->cells, plain_order);
  for (size_t i = 0; i < p->count; i++) {
    if (kept && plain_order(&p->cells[kept - 1], &p->cells[i]) == 0)
      p->cells[kept - 1].count += p->cells[i].count;
    else
      p->cells[kept++] = p->cells[i];
  }
  p->count = kept;
}

static void plain_of_records(struct plain *p, uint64_t first, uint64_t last)
{
  for (uint64_t n = first; n < last; n++) {
    struct fixture_record r;
    struct store_tally_cell cell;
    fixture_record(&r, n, 0);
    store_tally_cell_of(&cell, &r.view);
    plain_add(p, &cell);
  }
  plain_gather(p);
}

/* What a reader tells is in ascending order, has no cell twice, and is what the records give; verify counts as many cells. */
static void expect_tally(const struct fixture *x, uint64_t records)
{
  struct plain wanted = {0}, told = {0};
  struct failure failure = FAILURE_NONE;
  struct store_reader *r;
  struct store_verify_result result;
  struct fixture_faults faults;
  plain_of_records(&wanted, 0, records);
  assert_int_equal(store_reader_open(&r, x->path, &failure), MUSTER_OK);
  assert_int_equal(store_reader_tally(r, plain_add, &told, &failure), MUSTER_OK);
  store_reader_close(r);
  assert_int_equal(told.count, wanted.count);
  for (size_t i = 0; i < told.count; i++) {
    assert_int_equal(plain_order(&told.cells[i], &wanted.cells[i]), 0);
    assert_int_equal(told.cells[i].count, wanted.cells[i].count);
  }
  fixture_verify(x, &faults, &result);
  assert_int_equal(result.tally_cells, wanted.count);
  free(wanted.cells);
  free(told.cells);
}

/* ---- tests: a day has 500 records of the fixture, and each part ends within a day, so that the next part meets cells that are there
 * ---- */

static void a_cell_has_the_records_columns(void **state)
{
  (void)state;
  struct store_tally_cell cell;
  uint8_t bytes[128], *p = bytes;
  struct encounter_view view;
  struct scan_fault fault;
  p = fixture_field_number(p, FIELD_ENCOUNTER_TIME, (uint64_t)(18690 * FIXTURE_DAY_US + FIXTURE_DAY_US - 1));
  p = fixture_field_number(p, FIELD_COMPONENT, 2);
  p = fixture_field_number(p, FIELD_AREA_OF_RESPONSIBILITY, 152);
  p = fixture_field_number(p, FIELD_LAND_BORDER_REGION, 3);
  p = fixture_field_number(p, FIELD_DEMOGRAPHIC, 4);
  p = fixture_field_bytes(p, FIELD_CITIZENSHIP, "GTM", 3);
  p = fixture_field_number(p, FIELD_TITLE_OF_AUTHORITY, 42);
  p = fixture_field_number(p, FIELD_ENCOUNTER_TYPE, 3);
  assert_true(scan_encounter(&view, bytes, (size_t)(p - bytes), &fault));
  store_tally_cell_of(&cell, &view);
  assert_int_equal(cell.day, 18690);
  assert_int_equal(cell.component, 2);
  assert_int_equal(cell.area, 152);
  assert_int_equal(cell.region, 3);
  assert_int_equal(cell.demographic, 4);
  assert_int_equal(cell.title, 42);
  assert_int_equal(cell.type, 3);
  assert_string_equal(cell.citizenship, "GTM");
  assert_int_equal(cell.count, 1);
  p = fixture_field_number(bytes, FIELD_ENCOUNTER_TIME, (uint64_t)INT64_C(-1));
  assert_true(scan_encounter(&view, bytes, (size_t)(p - bytes), &fault));
  store_tally_cell_of(&cell, &view);
  assert_int_equal(cell.day, -1);
  assert_string_equal(cell.citizenship, "");
}

static void cells_in_memory_grow_and_stay_exact(void **state)
{
  (void)state;
  struct store_cells c;
  const uint32_t distinct = 50000;
  assert_int_equal(store_cells_init(&c, 64), MUSTER_OK);
  for (uint32_t n = 0; n < 3 * distinct; n++) {
    const struct store_cell cell = {
        .high = fixture_mix(n % distinct) & UINT64_C(0xffffffff00000003), .low = (uint64_t)(n % distinct) << 16, .count = 1};
    assert_int_equal(store_cells_stage(&c, &cell), MUSTER_OK);
  }
  assert_int_equal(store_cells_flush(&c), MUSTER_OK);
  assert_int_equal(c.used, distinct);
  assert_int_equal(store_cells_sort(&c), distinct);
  for (uint32_t i = 0; i < distinct; i++) {
    assert_int_equal(c.slots[i].count, 3);
    assert_true(i == 0 || store_cell_order(&c.slots[i - 1], &c.slots[i]) < 0);
  }
  store_cells_finish(&c);
}

static void small_commits_are_counted(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, 3250, 77);
  store_close(s);
  expect_tally(x, 3250);
  s = fixture_open(x);
  fixture_fill(s, 3250, 3700, 50);
  store_close(s);
  expect_tally(x, 3700);
  fixture_verify_clean(x, 3700);
}

static int fills_and_ends(struct fixture *x)
{
  struct store *s = fixture_open(x);
  fixture_fill(s, 1250, 2630, 100);
  return s->meta.tally_records == 1250 ? 3 : 4; /* nothing was folded since the clean close */
}

/* The database counts up to the last fold; the rest comes from the journal, for a reader as for the next start. */
static void a_sudden_end_loses_no_count(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, 1250, 100);
  store_close(s);
  assert_int_equal(fixture_child(x, fills_and_ends), 3);
  expect_tally(x, 2630);
  fixture_verify_clean(x, 2630);
  s = fixture_open(x);
  fixture_fill(s, 2630, 2730, 100);
  store_close(s);
  expect_tally(x, 2730);
  fixture_verify_clean(x, 2730);
}

static uint64_t folds_by_records;

static int fills_past_a_fold(struct fixture *x)
{
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, folds_by_records, 4999);
  return s->meta.tally_records >= STORE_TALLY_FOLD_RECORDS && s->meta.tally_records < s->meta.records ? 5 : 6;
}

static void a_fold_on_the_way_changes_no_sum(void **state)
{
  struct fixture *x = *state;
  folds_by_records = STORE_TALLY_FOLD_RECORDS + 12000;
  assert_int_equal(fixture_child(x, fills_past_a_fold), 5);
  expect_tally(x, folds_by_records);
  struct store *s = fixture_open(x);
  fixture_fill(s, folds_by_records, folds_by_records + 1000, 500);
  store_close(s);
  expect_tally(x, folds_by_records + 1000);
  fixture_verify_clean(x, folds_by_records + 1000);
}

#ifdef MUSTER_FAULTS
#define FOLD_COMMIT 4999u
#define FOLD_AT "27" /* the commit that folds */
static_assert(27 * FOLD_COMMIT >= STORE_TALLY_FOLD_RECORDS && 26 * FOLD_COMMIT < STORE_TALLY_FOLD_RECORDS, "that one");

static int again_folds(const char *path)
{
  struct fixture x = {.options = {.path = path, .shards = 1, .map_bytes = UINT64_C(1) << 28}};
  fixture_fill(fixture_open(&x), 0, 28 * FOLD_COMMIT, FOLD_COMMIT);
  return 0;
}

/* What the database counts and up to where it does are of one transaction: a death on either side of the commit leaves a sum that is right. */
static void a_kill_at_a_fold_leaves_both_or_neither(void **state)
{
  struct fixture *x = *state;
  static const struct {
    const char *fault;
    uint64_t records;
  } cases[] = {{"store.in-transaction:kill:" FOLD_AT, 26 * FOLD_COMMIT}, {"store.after-commit:kill:" FOLD_AT, 27 * FOLD_COMMIT}};
  for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char said[16];
    assert_true(WIFSIGNALED(fixture_again(cases[i].fault, "folds", x->path, said, sizeof said)));
    expect_tally(x, cases[i].records);
    fixture_verify_clean(x, cases[i].records);
    fixture_remove(x);
    fixture_make(x);
  }
}
#endif

/* Each record a cell of its own: the bound on memory comes first. */
static void too_many_cells_fold_as_well(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  struct failure failure = FAILURE_NONE;
  const uint64_t count = STORE_TALLY_FOLD_CELLS + 5000;
  for (uint64_t n = 0; n < count;) {
    assert_int_equal(store_begin(s), MUSTER_OK);
    for (unsigned i = 0; i < 5000 && n < count; i++, n++) {
      struct fixture_record r;
      fixture_record(&r, n, 0);
      r.view.field[FIELD_ENCOUNTER_TIME].number = (int64_t)(n * 7919 % count) * FIXTURE_DAY_US;
      assert_int_equal(store_append(s, &r.view, r.digest, store_fingerprint(s, r.id), &(struct store_receipt){0}), n + 1);
    }
    assert_int_equal(store_commit(s, &failure), MUSTER_OK);
    assert_int_equal(s->cells.capacity, STORE_TALLY_CAPACITY);
  }
  assert_in_range(s->meta.tally_records, STORE_TALLY_FOLD_CELLS, count);
  store_close(s);
  struct plain told = {0};
  struct store_reader *r;
  assert_int_equal(store_reader_open(&r, x->path, &failure), MUSTER_OK);
  assert_int_equal(store_reader_tally(r, plain_add, &told, &failure), MUSTER_OK);
  store_reader_close(r);
  assert_int_equal(told.count, count);
  for (size_t i = 0; i < count; i++) {
    assert_int_equal(told.cells[i].day, i);
    assert_int_equal(told.cells[i].count, 1);
  }
  free(told.cells);
}

static int stops_at_third(void *context, const struct store_tally_cell *cell)
{
  (void)cell;
  return ++*(int *)context == 3 ? 42 : 0;
}

static void a_walk_may_be_stopped(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  struct failure failure = FAILURE_NONE;
  struct store_reader *r;
  int calls = 0;
  fixture_fill(s, 0, 100, 100);
  store_close(s);
  assert_int_equal(store_reader_open(&r, x->path, &failure), MUSTER_OK);
  assert_int_equal(store_reader_tally(r, stops_at_third, &calls, &failure), 42);
  assert_int_equal(calls, 3);
  store_reader_close(r);
}

int main(int argc, char **argv)
{
#ifdef MUSTER_FAULTS
  if (argc == 3)
    return again_folds(argv[2]);
#else
  (void)argc;
  (void)argv;
#endif
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_cell_has_the_records_columns),
      cmocka_unit_test(cells_in_memory_grow_and_stay_exact),
      cmocka_unit_test_setup_teardown(small_commits_are_counted, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_sudden_end_loses_no_count, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_fold_on_the_way_changes_no_sum, fixture_setup, fixture_teardown),
#ifdef MUSTER_FAULTS
      cmocka_unit_test_setup_teardown(a_kill_at_a_fold_leaves_both_or_neither, fixture_setup, fixture_teardown),
#endif
      cmocka_unit_test_setup_teardown(too_many_cells_fold_as_well, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_walk_may_be_stopped, fixture_setup, fixture_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
