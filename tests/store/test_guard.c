/* Damage below the store's own checksums, in LMDB's pages: it is told, whatever it makes LMDB do; and what a fault outside of LMDB ends as. */
#include <sysexits.h>

#include "damage.h"
#include "store/guard.h"

#define SEED UINT64_C(4711)
#define PAGE 4096u
#define ROUNDS 120u

static int setup(void **state)
{
  struct fixture *x = calloc(1, sizeof *x);
  struct failure failure = FAILURE_NONE;
  fixture_make(x);
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, 3000, 50);
  assert_int_equal(store_begin(s), MUSTER_OK);
  for (uint64_t i = 0; i < 40; i++) {
    uint8_t bytes[3000] = {(uint8_t)i};
    store_quarantine(s, bytes, 10 + i % 2 * 2900, 1, 0, &(struct store_receipt){.submitter = (uint32_t)(i / 5)});
  }
  assert_int_equal(store_commit(s, &failure), MUSTER_OK);
  store_close(s);
  *state = x;
  return 0;
}

static void nothing(void *context, const char *sentence)
{
  (void)context;
  assert_non_null(strstr(sentence, "shard 0"));
}

static int cell(void *context, const struct store_tally_cell *c)
{
  (void)context;
  return c->count == 0;
}

static int refused(void *context, const struct store_refused *entry)
{
  (void)context;
  return entry->bytes[0] > 40;
}

static int record(void *context, const struct store_record *r)
{
  (void)context;
  return r->size == 0;
}

/* 1: some call saw the damage, 0: none did. The process lives in either case. */
static int read_all(const struct fixture *x)
{
  struct failure failure = FAILURE_NONE;
  struct store_verify_result result;
  struct store_reader *r;
  int seen = store_verify(x->path, nothing, NULL, NULL, &result, &failure) != MUSTER_OK || result.faults;
  if (store_reader_open(&r, x->path, &failure) != MUSTER_OK)
    return 1;
  (void)store_reader_tally(r, cell, NULL, &failure);
  (void)store_reader_quarantine(r, refused, NULL, &failure);
  (void)store_reader_scan(r, 1, UINT64_MAX, record, NULL, &failure);
  store_reader_close(r);
  return seen || failure.status != MUSTER_OK;
}

static bool tree_page(const uint8_t *page) { return (page[10] & 3) && !(page[10] & 4); } /* branch or leaf, no overflow */

static void damaged_pages_end_in_a_sentence(void **state)
{
  struct fixture *x = *state;
  char data[320];
  struct stat st;
  unsigned seen = 0;
  fixture_file(x, data, "data.mdb");
  assert_int_equal(stat(data, &st), 0);
  const size_t size = (size_t)st.st_size;
  uint8_t *whole = malloc(size), *bad = malloc(size);
  int fd = open(data, O_RDWR | O_CLOEXEC);
  assert_int_equal(pread(fd, whole, size, 0), size);
  print_message("seed %llu\n", (unsigned long long)SEED);
  for (unsigned i = 0; i < ROUNDS; i++) {
    uint64_t random = fixture_mix(SEED + i);
    memcpy(bad, whole, size);
    for (size_t page = 2 * PAGE; page + PAGE <= size; page += PAGE) {
      random = fixture_mix(random);
      if (!tree_page(bad + page) || random % 2)
        continue;
      if (i % 4 == 0)
        memset(bad + page, 0, PAGE);
      for (unsigned flips = 0; flips < 5 && i % 4; flips++) {
        random = fixture_mix(random);
        bad[page + (i % 2 ? random % PAGE : random % 64)] ^= (uint8_t)(1u << (random >> 32) % 8);
      }
    }
    assert_int_equal(pwrite(fd, bad, size, 0), size);
    seen += (unsigned)read_all(x);
  }
  print_message("%u of %u seen\n", seen, ROUNDS);
  assert_true(seen > ROUNDS / 2);
  assert_int_equal(pwrite(fd, whole, size, 0), size);
  close(fd);
  free(whole);
  free(bad);
  assert_int_equal(read_all(x), 0);
}

/* A key whose value, by its node, goes on far behind the end of the file. */
static void a_value_that_passes_the_end_is_told_with_its_place(void **state)
{
  struct fixture *x = *state;
  char data[320];
  uint8_t page[PAGE];
  unsigned made = 0;
  fixture_file(x, data, "data.mdb");
  int fd = open(data, O_RDWR | O_CLOEXEC);
  for (off_t at = 2 * PAGE; pread(fd, page, PAGE, at) == PAGE; at += PAGE) {
    const unsigned nodes = (load_u32(page + 12) & 0xffff) / 2 - 8;
    if (!tree_page(page) || !(page[10] & 2))
      continue;
    for (unsigned n = 0; n < nodes && n < 200; n++) {
      const unsigned node = (unsigned)page[16 + 2 * n] | (unsigned)page[17 + 2 * n] << 8;
      /* lo, hi, flags (1: on pages of its own), size of key; the key is a sequence of this journal */
      if (node + 16 <= PAGE && page[node + 4] == 1 && page[node + 6] == 8 && load_u64(page + node + 8) == 501) {
        page[node + 3] = 0x20; /* half a gigabyte more */
        assert_int_equal(pwrite(fd, page, PAGE, at), PAGE);
        made++;
      }
    }
  }
  close(fd);
  assert_true(made > 0);
  struct fixture_faults faults;
  struct store_verify_result result;
  fixture_verify(x, &faults, &result);
  assert_non_null(strstr(faults.first, "block 11 (from sequence 501): its bytes do not lie within data.mdb"));
  assert_int_equal(result.records, 2950); /* and what follows is read */
  struct store_reader *r;
  struct failure failure = FAILURE_NONE;
  assert_int_equal(store_reader_open(&r, x->path, &failure), MUSTER_OK);
  assert_int_equal(store_reader_scan(r, 480, 40, record, NULL, &failure), MUSTER_ERR_CORRUPT);
  if (!strstr(failure.text, "the block that should hold sequence 501"))
    fail_msg("%s", failure.text);
  store_reader_close(r);
}

/* A page of the map that is not there: 1 where the guard returned a second time. */
static int touch(const volatile uint8_t *bytes, enum store_guard_kind kind)
{
  struct store_guard g;
  if (sigsetjmp(*store_guard_enter(&g, kind), 0))
    return 1;
  (void)*bytes;
  store_guard_leave(&g);
  return 0;
}

static void a_fault_within_the_map_is_a_code_or_a_sentence(void **state)
{
  (void)state;
  char name[] = "/tmp/muster-guard-XXXXXX", said[1024] = "";
  int fd = mkstemp(name), ends[2], status;
  unlink(name);
  assert_int_equal(ftruncate(fd, PAGE), 0);
  const uint8_t *map = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
  store_guard_map(0, map, 4 * PAGE, "/d/shard-0");
  for (unsigned i = 0; i < 3; i++) { /* again and again, nested as well */
    assert_int_equal(touch(map, STORE_GUARD_MAP), 0);
    assert_int_equal(touch(map + PAGE, STORE_GUARD_MAP), 1);
    assert_int_equal(touch(map + PAGE, STORE_GUARD_LMDB), 1);
    assert_int_equal(touch((const volatile uint8_t *)(uintptr_t)16, STORE_GUARD_LMDB), 1);
  }
  fflush(NULL);
  assert_int_equal(pipe(ends), 0);
  pid_t pid = fork();
  if (pid == 0) {
    dup2(ends[1], 2);
    const volatile uint8_t *gone = map + PAGE;
    (void)*gone;
    _exit(0);
  }
  close(ends[1]);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EX_DATAERR);
  assert_true(read(ends[0], said, sizeof said - 1) > 0);
  assert_non_null(strstr(said, "shard /d/shard-0: data.mdb is damaged"));
  close(ends[0]);
  store_guard_map(0, NULL, 0, "");
  munmap((void *)(uintptr_t)map, 4 * PAGE);
  close(fd);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(damaged_pages_end_in_a_sentence, setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(a_value_that_passes_the_end_is_told_with_its_place, setup, fixture_teardown),
      cmocka_unit_test(a_fault_within_the_map_is_a_code_or_a_sentence),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
