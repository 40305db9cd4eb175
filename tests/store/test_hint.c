/* The hint: it is believed only whole and of the very state on disk; anything else means a rebuild, never another answer. */
#include "fixture.h"

#define RECORDS 2000u

static int setup(void **state)
{
  fixture_setup(state);
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, RECORDS, 500);
  store_close(s);
  return 0;
}

static uint8_t *file_read(const struct fixture *x, const char *name, size_t *size)
{
  char path[320];
  struct stat st;
  fixture_file(x, path, name);
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  assert_int_equal(fstat(fileno(f), &st), 0);
  *size = (size_t)st.st_size;
  uint8_t *bytes = malloc(*size + 1);
  assert_int_equal(fread(bytes, 1, *size, f), *size);
  fclose(f);
  return bytes;
}

static void file_write(const struct fixture *x, const char *name, const uint8_t *bytes, size_t size)
{
  char path[320];
  fixture_file(x, path, name);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, size, f), size);
  assert_int_equal(fclose(f), 0);
}

static bool hint_there(const struct fixture *x)
{
  char path[320];
  fixture_file(x, path, "index.hint");
  return access(path, F_OK) == 0;
}

/* Opens, looks everything up, closes (which writes a good hint again if the given one was not believed). */
static void expect_rebuilt(struct fixture *x, uint64_t records, bool rebuilt)
{
  struct store_facts facts;
  struct store *s = fixture_open(x);
  store_facts(s, &facts);
  assert_int_equal(facts.rebuilt, rebuilt);
  fixture_expect_all(s, records);
  store_close(s);
}

static void a_whole_hint_is_loaded_and_kept_while_only_reading(void **state)
{
  struct fixture *x = *state;
  size_t size, again;
  uint8_t *hint = file_read(x, "index.hint", &size);
  expect_rebuilt(x, RECORDS, false);
  expect_rebuilt(x, RECORDS, false);
  uint8_t *later = file_read(x, "index.hint", &again);
  assert_int_equal(size, again);
  assert_memory_equal(hint, later, size);
  free(hint);
  free(later);
}

static void an_appended_record_takes_the_hint_away_first(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  assert_true(hint_there(x));
  fixture_expect_all(s, RECORDS);
  assert_true(hint_there(x));
  assert_int_equal(store_begin(s), MUSTER_OK);
  fixture_put(s, RECORDS, NULL);
  assert_false(hint_there(x));
  store_close(s);
  assert_false(hint_there(x));
  expect_rebuilt(x, RECORDS, true);
}

static void a_missing_hint_is_rebuilt(void **state)
{
  struct fixture *x = *state;
  char path[320];
  fixture_file(x, path, "index.hint");
  assert_int_equal(unlink(path), 0);
  expect_rebuilt(x, RECORDS, true);
  expect_rebuilt(x, RECORDS, false);
}

static uint64_t heard_of, heard;
static void on_rebuild(void *context, uint64_t placed, uint64_t records)
{
  (void)context;
  assert_true(placed > heard && placed <= records);
  heard = placed;
  heard_of = records;
}

/* Who waits for a large shard sees it come, block by block up to the last. */
static void a_rebuild_says_how_far_it_is(void **state)
{
  struct fixture *x = *state;
  char path[320];
  fixture_file(x, path, "index.hint");
  x->options.on_rebuild = on_rebuild;
  heard = heard_of = 0;
  store_close(fixture_open(x));
  assert_int_equal(heard, 0); /* nothing is rebuilt */
  assert_int_equal(unlink(path), 0);
  store_close(fixture_open(x));
  assert_int_equal(heard, RECORDS);
  assert_int_equal(heard_of, RECORDS);
}

static void every_flipped_byte_is_seen(void **state)
{
  struct fixture *x = *state;
  size_t size;
  uint8_t *hint = file_read(x, "index.hint", &size);
  for (size_t i = 0; i < size; i += i < 70 ? 5 : i < size - 30 ? 6007 : 9) {
    hint[i] ^= 0x10;
    file_write(x, "index.hint", hint, size);
    hint[i] ^= 0x10;
    expect_rebuilt(x, RECORDS, true);
  }
  file_write(x, "index.hint", hint, size);
  expect_rebuilt(x, RECORDS, false);
  free(hint);
}

static void a_cut_or_lengthened_hint_is_not_believed(void **state)
{
  struct fixture *x = *state;
  size_t size;
  uint8_t *hint = file_read(x, "index.hint", &size);
  const size_t sizes[] = {0, 63, 4000, size / 2, size - 16, size - 1};
  for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    file_write(x, "index.hint", hint, sizes[i]);
    expect_rebuilt(x, RECORDS, true);
  }
  hint[size] = 0;
  file_write(x, "index.hint", hint, size + 1);
  expect_rebuilt(x, RECORDS, true);
  free(hint);
}

static void an_older_hint_is_not_believed(void **state)
{
  struct fixture *x = *state;
  size_t size;
  uint8_t *hint = file_read(x, "index.hint", &size);
  struct store *s = fixture_open(x);
  fixture_fill(s, RECORDS, RECORDS + 10, 10);
  store_close(s);
  file_write(x, "index.hint", hint, size);
  expect_rebuilt(x, RECORDS + 10, true);
  free(hint);
}

/* A data file brought back from a copy and gone on with: as many records as the hint says, but others. Only the chain tells. */
static void a_hint_of_another_history_is_not_believed(void **state)
{
  struct fixture *x = *state;
  size_t data_size, hint_size;
  uint8_t *data = file_read(x, "data.mdb", &data_size);
  struct store *s = fixture_open(x);
  fixture_fill(s, RECORDS, RECORDS + 10, 10);
  store_close(s);
  uint8_t *hint = file_read(x, "index.hint", &hint_size);
  file_write(x, "data.mdb", data, data_size);
  s = fixture_open(x);
  fixture_fill(s, RECORDS + 100, RECORDS + 110, 10);
  store_close(s);
  file_write(x, "index.hint", hint, hint_size);
  struct store_facts facts;
  s = fixture_open(x);
  store_facts(s, &facts);
  assert_true(facts.rebuilt);
  assert_int_equal(store_begin(s), MUSTER_OK);
  fixture_expect(s, RECORDS, 0);
  fixture_expect(s, RECORDS + 100, RECORDS + 1);
  store_close(s);
  free(data);
  free(hint);
}

static void a_hint_of_another_mask_is_not_believed(void **state)
{
  struct fixture *x = *state;
  x->options.fingerprint_mask = UINT64_MAX >> 1;
  expect_rebuilt(x, RECORDS, true);
  expect_rebuilt(x, RECORDS, false);
}

static void an_index_from_a_hint_goes_on_growing(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  fixture_fill(s, RECORDS, 300000, 10000);
  fixture_expect_all(s, 300000);
  store_close(s);
  expect_rebuilt(x, 300000, false);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_whole_hint_is_loaded_and_kept_while_only_reading, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(an_appended_record_takes_the_hint_away_first, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_missing_hint_is_rebuilt, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_rebuild_says_how_far_it_is, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(every_flipped_byte_is_seen, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_cut_or_lengthened_hint_is_not_believed, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(an_older_hint_is_not_believed, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_hint_of_another_history_is_not_believed, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_hint_of_another_mask_is_not_believed, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(an_index_from_a_hint_goes_on_growing, setup, fixture_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
