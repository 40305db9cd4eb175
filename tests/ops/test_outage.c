#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "ops/data_root.h"
#include "ops/outage.h"

static struct ops_outages outages;

static void note(uint32_t shard, uint32_t retry_ms, enum ops_outage_kind kind, const char *cause)
{
  struct ops_outage outage = {.retry_ms = retry_ms, .kind = kind};
  snprintf(outage.cause, sizeof outage.cause, "%s", cause);
  ops_outages_note(&outages, shard, &outage);
}

static void a_note_is_there_as_long_as_its_shard_is_down(void **state)
{
  (void)state;
  struct ops_outage noted;
  ops_outages_init(&outages, &data, NULL);
  assert_false(ops_outage_read(&data, 63, &noted));
  note(63, 1000, OUTAGE_FULL, "shard 63: 10% of it, \"quoted\", is gone");
  assert_true(ops_outage_read(&data, 63, &noted));
  assert_string_equal(noted.cause, "shard 63: 10% of it, \"quoted\", is gone");
  assert_int_equal(noted.retry_ms, 1000);
  assert_int_equal(noted.kind, OUTAGE_FULL);
  const int64_t since_us = noted.since_us;
  assert_true(since_us > 0);
  note(63, 60000, OUTAGE_OTHER, ""); /* it is the same outage, with news */
  assert_true(ops_outage_read(&data, 63, &noted));
  assert_true(noted.since_us == since_us);
  assert_int_equal(noted.retry_ms, 60000);
  assert_string_equal(noted.cause, "");
  assert_int_equal(noted.kind, OUTAGE_OTHER);
  note(0, 1, OUTAGE_MISSING, "x");
  assert_int_equal(outages.down, UINT64_C(1) << 63 | 1);
  ops_outages_end(&outages, 63);
  ops_outages_end(&outages, 63);
  assert_false(ops_outage_read(&data, 63, &noted));
  assert_true(ops_outage_read(&data, 0, &noted));
  ops_outages_init(&outages, &data, NULL);
  assert_false(ops_outage_read(&data, 0, &noted));
}

static void a_long_cause_is_kept_and_no_note_is_no_outage(void **state)
{
  (void)state;
  static const char *const wrong[] = {"", "x", "1", "\n", "1 x missing y", "x 1 missing y", "1 1 nonsense y", "1 1"};
  struct ops_outage noted;
  char cause[OUTAGE_CAUSE_BYTES], path[LIMIT_PATH_BYTES];
  memset(cause, 'c', sizeof cause);
  cause[sizeof cause - 1] = '\0';
  ops_outages_init(&outages, &data, NULL);
  note(1, 1000, OUTAGE_DAMAGED, cause);
  assert_true(ops_outage_read(&data, 1, &noted));
  assert_int_equal(strlen(noted.cause), OUTAGE_CAUSE_BYTES - 1);
  datadir_path(&data, path, "run/shard-1.down");
  for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    scratch_write(path, wrong[i]);
    assert_false(ops_outage_read(&data, 1, &noted));
  }
}

/* Whoever reads it at night does the one thing that helps: a full disk is no reason to look for a backup, and a damaged one none to wait. */
static void each_cause_has_its_own_remedy(void **state)
{
  (void)state;
  static const struct {
    int status;
    enum ops_outage_kind kind;
    const char *word;
  } cases[] = {{MUSTER_ERR_NOT_FOUND, OUTAGE_MISSING, "mount its disk"},
               {MUSTER_ERR_CORRUPT, OUTAGE_DAMAGED, "muster salvage"},
               {MUSTER_ERR_FORMAT, OUTAGE_DAMAGED, "muster salvage"},
               {MUSTER_ERR_IO, OUTAGE_DISK, "dmesg"},
               {MUSTER_ERR_FULL, OUTAGE_FULL, "make room"},
               {MUSTER_ERR_LOCKED, OUTAGE_HELD, "wait for the end"},
               {MUSTER_ERR_DENIED, OUTAGE_DENIED, "mode 0700"},
               {MUSTER_ERR_MEMORY, OUTAGE_MEMORY, "memory"},
               {MUSTER_ERR_CONFIG, OUTAGE_SETTINGS, "setting"},
               {MUSTER_ERR_VERSION, OUTAGE_VERSION, "version"},
               {MUSTER_ERR_USAGE, OUTAGE_OTHER, "muster verify"},
               {7, OUTAGE_OTHER, "muster verify"}};
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(ops_outage_kind_of(cases[i].status), cases[i].kind);
    assert_non_null(strstr(ops_outage_remedy(cases[i].kind), cases[i].word));
  }
  for (enum ops_outage_kind kind = 0; kind < OUTAGE_KINDS; kind++)
    for (enum ops_outage_kind other = 0; other < kind; other++) {
      assert_string_not_equal(ops_outage_remedy(kind), ops_outage_remedy(other));
      assert_string_not_equal(ops_outage_word(kind), ops_outage_word(other));
    }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_note_is_there_as_long_as_its_shard_is_down, begin, end),
      cmocka_unit_test_setup_teardown(a_long_cause_is_kept_and_no_note_is_no_outage, begin, end),
      cmocka_unit_test(each_cause_has_its_own_remedy),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
