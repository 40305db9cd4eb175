/* Requests to drop refused records: what is named goes and gives its quota back, nothing else does, and a writer that dies on the way
 * leaves either all of a request or none. */
#include "damage.h"
#include "proto/wire.pb-c.h"
#include "store/reader.h"
#include "store/writer.h"

static void refuse(struct store *s, const void *bytes, size_t size, uint32_t submitter)
{
  const struct store_receipt receipt = {.submitter = submitter, .received_us = 1};
  store_quarantine(s, bytes, size, 7, 0, &receipt);
}

static void commit(struct store *s)
{
  struct failure failure = FAILURE_NONE;
  assert_int_equal(store_commit(s, &failure), MUSTER_OK);
}

struct listed {
  struct store_refused_name name[2 * STORE_DROP_ENTRIES_MAX];
  uint32_t submitter[2 * STORE_DROP_ENTRIES_MAX];
  uint32_t count;
};
static struct listed listed;

static int gather(void *context, const struct store_refused *entry)
{
  struct listed *l = context;
  l->name[l->count] = entry->name;
  l->submitter[l->count++] = entry->submitter;
  return 0;
}

static struct listed *list(const struct fixture *x)
{
  struct store_reader *r;
  struct failure failure = FAILURE_NONE;
  listed.count = 0;
  assert_int_equal(store_reader_open(&r, x->path, &failure), MUSTER_OK);
  assert_int_equal(store_reader_quarantine(r, gather, &listed, &failure), MUSTER_OK);
  store_reader_close(r);
  return &listed;
}

static void ask(const struct fixture *x, enum store_drop what, const struct store_refused_name *names, uint32_t count,
                char request[LIMIT_PATH_BYTES])
{
  struct store_reader *r;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(store_reader_open(&r, x->path, &failure), MUSTER_OK);
  assert_int_equal(store_reader_drop(r, what, names, count, request, &failure), MUSTER_OK);
  store_reader_close(r);
  assert_int_equal(access(request, F_OK), 0);
}

static struct store_dropped drop(struct store *s)
{
  struct store_dropped d;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(store_drop_requested(s, &d, &failure), MUSTER_OK);
  return d;
}

static struct store_dropped drop_in(struct fixture *x)
{
  struct store *s = fixture_open(x);
  const struct store_dropped d = drop(s);
  store_close(s);
  return d;
}

static void fill(struct fixture *x, uint32_t entries, uint32_t submitters)
{
  struct store *s = fixture_open(x);
  assert_int_equal(store_begin(s), MUSTER_OK);
  for (uint64_t i = 0; i < entries; i++)
    refuse(s, &i, 8, (uint32_t)i % submitters);
  commit(s);
  store_close(s);
}

static void what_is_named_goes_and_gives_room(void **state)
{
  struct fixture *x = *state;
  char request[LIMIT_PATH_BYTES];
  struct store_facts facts;
  x->options.quarantine_records = 10;
  fill(x, 20, 2);
  struct listed *l = list(x);
  assert_int_equal(l->count, 20);
  const struct store_refused_name gone[] = {l->name[0], l->name[3]};
  ask(x, STORE_DROP_ALWAYS, gone, 2, request);
  struct store *s = fixture_open(x);
  struct store_dropped d = drop(s);
  assert_int_equal(d.requests, 1);
  assert_int_equal(d.dropped, 2);
  assert_int_equal(d.stayed, 0);
  assert_int_equal(access(request, F_OK), -1);
  d = drop(s);
  assert_int_equal(d.requests, 0);
  store_facts(s, &facts);
  assert_int_equal(facts.quarantined, 18);
  assert_int_equal(store_begin(s), MUSTER_OK);
  for (uint64_t i = 100; i < 105; i++)
    refuse(s, &i, 8, l->submitter[0]);
  commit(s);
  store_facts(s, &facts);
  assert_int_equal(facts.quarantined, 20);
  assert_int_equal(facts.quarantine_overflow, 3);
  store_close(s);
  fixture_verify_clean(x, 0);
}

/* To the last one: a submitter without entries has no quota, which verify checks. */
static void all_may_go(void **state)
{
  struct fixture *x = *state;
  char request[LIMIT_PATH_BYTES];
  x->options.quarantine_records = 10000;
  fill(x, 6000, 7);
  struct listed *l = list(x);
  ask(x, STORE_DROP_ALWAYS, l->name, STORE_DROP_ENTRIES_MAX, request);
  ask(x, STORE_DROP_ALWAYS, l->name + STORE_DROP_ENTRIES_MAX, 6000 - STORE_DROP_ENTRIES_MAX, request);
  const struct store_dropped d = drop_in(x);
  assert_int_equal(d.requests, 2);
  assert_int_equal(d.dropped, 6000);
  assert_int_equal(list(x)->count, 0);
  fixture_verify_clean(x, 0);
}

/* The same bytes of the same submitter, refused again after they were dropped, are another entry: an old request is not about it. */
static void an_old_request_drops_nothing_new(void **state)
{
  struct fixture *x = *state;
  char request[LIMIT_PATH_BYTES];
  fill(x, 1, 1);
  const struct store_refused_name old = list(x)->name[0];
  ask(x, STORE_DROP_ALWAYS, &old, 1, request);
  assert_int_equal(drop_in(x).dropped, 1);
  fill(x, 1, 1);
  ask(x, STORE_DROP_ALWAYS, &old, 1, request);
  const struct store_dropped d = drop_in(x);
  assert_int_equal(d.dropped, 0);
  assert_int_equal(d.stayed, 1);
  assert_int_equal(list(x)->count, 1);
  fixture_verify_clean(x, 0);
}

/* Whoever sent the record that was accepted: the same content under the same id is what counts, in whatever encoding. */
static void only_what_is_stored_goes(void **state)
{
  struct fixture *x = *state;
  struct fixture_record same, other, absent;
  char request[LIMIT_PATH_BYTES];
  uint8_t encoded[FIXTURE_RECORD_MAX];
  fixture_record(&same, 0, 0);
  fixture_record(&other, 0, 1);
  fixture_record(&absent, 1, 0);
  /* The disposition first, the id after it. */
  const uint32_t tail = 3;
  memcpy(encoded, same.bytes + same.size - tail, tail);
  memcpy(encoded + tail, same.bytes, same.size - tail);
  struct store *s = fixture_open(x);
  assert_int_equal(store_begin(s), MUSTER_OK);
  refuse(s, same.bytes, same.size, 5);
  refuse(s, encoded, same.size, 6);
  refuse(s, other.bytes, other.size, 7);
  refuse(s, absent.bytes, absent.size, 8);
  refuse(s, "zz", 2, 9);
  fixture_put(s, 0, NULL);
  commit(s);
  store_close(s);
  const struct listed *l = list(x);
  assert_int_equal(l->count, 5);
  ask(x, STORE_DROP_STORED, l->name, 5, request);
  const struct store_dropped d = drop_in(x);
  assert_int_equal(d.dropped, 2);
  assert_int_equal(d.stayed, 3);
  l = list(x);
  assert_int_equal(l->count, 3);
  for (uint32_t i = 0; i < 3; i++)
    assert_int_equal(l->submitter[i], 7 + i);
  fixture_verify_clean(x, 1);
}

static void a_damaged_request_drops_nothing(void **state)
{
  struct fixture *x = *state;
  char request[LIMIT_PATH_BYTES];
  fill(x, 2, 1);
  for (long at = 0; at < 24 + 32; at += 5) {
    ask(x, STORE_DROP_ALWAYS, list(x)->name, 1, request);
    FILE *f = fopen(request, "r+e");
    assert_non_null(f);
    fseek(f, at, SEEK_SET);
    const int byte = getc(f);
    fseek(f, at, SEEK_SET);
    putc(byte ^ 4, f);
    fclose(f);
    const struct store_dropped d = drop_in(x);
    assert_int_equal(d.damaged, 1);
    assert_int_equal(d.dropped, 0);
    assert_int_equal(access(request, F_OK), -1);
  }
  ask(x, STORE_DROP_ALWAYS, list(x)->name, 1, request);
  assert_int_equal(truncate(request, 30), 0);
  assert_int_equal(drop_in(x).damaged, 1);
  assert_int_equal(list(x)->count, 2);
  fixture_verify_clean(x, 0);
}

static void a_damaged_entry_stays_for_verify_to_tell(void **state)
{
  struct fixture *x = *state;
  struct fixture_faults faults;
  struct store_verify_result result;
  char request[LIMIT_PATH_BYTES];
  fill(x, 1, 1);
  const struct store_refused_name name = list(x)->name[0];
  damage_flip(x, DAMAGE_QUARANTINE, 0, sizeof(struct store_refused_header), 1);
  ask(x, STORE_DROP_ALWAYS, &name, 1, request);
  const struct store_dropped d = drop_in(x);
  assert_int_equal(d.dropped, 0);
  assert_int_equal(d.stayed, 1);
  fixture_verify(x, &faults, &result);
  assert_int_equal(faults.count, 1);
}

#ifdef MUSTER_FAULTS
static int drops_and_says(const char *path)
{
  struct fixture x = {.options = {.shards = 1, .map_bytes = UINT64_C(1) << 30, .quarantine_records = 1000, .quarantine_bytes = 1 << 20}};
  snprintf(x.path, sizeof x.path, "%s", path);
  x.options.path = x.path;
  struct store *s = fixture_open(&x);
  struct store_dropped d;
  struct failure failure = FAILURE_NONE;
  const int status = store_drop_requested(s, &d, &failure);
  store_close(s);
  return status ? 3 : 0;
}

/* Killed before the commit, within it, and between it and the removal of the request: the next writer carries the rest out. */
static void an_end_in_the_middle_leaves_all_or_nothing(void **state)
{
  struct fixture *x = *state;
  static const struct {
    const char *fault;
    uint32_t left;
    int code; /* -1: killed */
  } cases[] = {{"store.before-commit:kill", 20, -1},
               {"store.in-transaction:kill", 20, -1},
               {"store.after-commit:kill", 10, -1},
               {"store.dropped:kill", 10, -1},
               {"store.in-transaction:fail", 20, 3}};
  for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char request[LIMIT_PATH_BYTES], output[256];
    fill(x, 20, 2);
    assert_int_equal(list(x)->count, 20);
    ask(x, STORE_DROP_ALWAYS, listed.name, 10, request);
    const int status = fixture_again(cases[i].fault, "drop", x->path, output, sizeof output);
    assert_true(cases[i].code < 0 ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                                  : WIFEXITED(status) && WEXITSTATUS(status) == cases[i].code);
    assert_int_equal(access(request, F_OK), 0);
    assert_int_equal(list(x)->count, cases[i].left);
    fixture_verify_clean(x, 0);
    const struct store_dropped d = drop_in(x);
    assert_int_equal(d.requests, 1);
    assert_int_equal(d.dropped, cases[i].left - 10);
    assert_int_equal(access(request, F_OK), -1);
    assert_int_equal(list(x)->count, 10);
    fixture_verify_clean(x, 0);
  }
}
#endif

/* What people have dropped is tried again: it is not deadly any more, until it kills again. */
static void what_is_dropped_is_not_deadly_any_more(void **state)
{
  struct fixture *x = *state;
  struct failure failure = FAILURE_NONE;
  const struct store_receipt receipt = {.submitter = 9, .received_us = 1};
  const uint8_t first[8] = "first", second[8] = "second";
  char request[LIMIT_PATH_BYTES];
  struct store *s = fixture_open(x);
  assert_int_equal(store_begin(s), MUSTER_OK);
  store_quarantine(s, first, 8, MUSTER__V1__REASON__REASON_KILLED_WORKER, 0, &receipt);
  commit(s);
  store_close(s);
  ask(x, STORE_DROP_ALWAYS, &list(x)->name[0], 1, request);
  s = fixture_open(x);
  assert_int_equal(store_recall_deadly(s, &failure), MUSTER_OK);
  assert_int_equal(store_begin(s), MUSTER_OK);
  store_quarantine(s, second, 8, MUSTER__V1__REASON__REASON_KILLED_WORKER, 0, &receipt);
  commit(s);
  assert_true(store_is_deadly(s, first, 8, 9));
  assert_int_equal(drop(s).dropped, 1);
  assert_false(store_is_deadly(s, first, 8, 9));
  assert_true(store_is_deadly(s, second, 8, 9));
  assert_int_equal(store_begin(s), MUSTER_OK);
  store_quarantine(s, first, 8, MUSTER__V1__REASON__REASON_KILLED_WORKER, 0, &receipt);
  commit(s);
  assert_true(store_is_deadly(s, first, 8, 9));
  store_close(s);
}

int main(int argc, char **argv)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(what_is_named_goes_and_gives_room, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(all_may_go, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(an_old_request_drops_nothing_new, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(only_what_is_stored_goes, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_damaged_request_drops_nothing, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_damaged_entry_stays_for_verify_to_tell, fixture_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(what_is_dropped_is_not_deadly_any_more, fixture_setup, fixture_teardown),
#ifdef MUSTER_FAULTS
      cmocka_unit_test_setup_teardown(an_end_in_the_middle_leaves_all_or_nothing, fixture_setup, fixture_teardown),
#endif
  };
#ifdef MUSTER_FAULTS
  if (argc == 3 && strcmp(argv[1], "drop") == 0)
    return drops_and_says(argv[2]);
#endif
  (void)argc;
  (void)argv;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
