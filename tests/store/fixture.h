/*
 * What the store's tests share: a shard in a directory of its own below TMPDIR, and records made from a number, so that
 * a test can say which record it expects. Each test program includes it once; the struct is on the test's stack.
 */
#ifndef MUSTER_TESTS_STORE_FIXTURE_H
#define MUSTER_TESTS_STORE_FIXTURE_H

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/digest.h"
#include "proto/scan.h"
#include "proto/varint.h"
#include "store/store.h"

#define FIXTURE_RECORD_MAX 512
#define FIXTURE_DAY_US INT64_C(86400000000)

struct fixture {
  char path[256];
  struct store_options options;
};

static inline void fixture_make(struct fixture *x)
{
  const char *base = getenv("TMPDIR");
  memset(x, 0, sizeof *x);
  snprintf(x->path, sizeof x->path, "%s/muster-store-XXXXXX", base ? base : "/tmp");
  assert_non_null(mkdtemp(x->path));
  x->options = (struct store_options){
      .path = x->path, .shards = 1, .map_bytes = UINT64_C(1) << 30, .quarantine_records = 1000, .quarantine_bytes = 1 << 20};
}

static inline void fixture_file(const struct fixture *x, char out[320], const char *name) { snprintf(out, 320, "%s/%s", x->path, name); }

static inline void fixture_remove(struct fixture *x)
{
  static const char *const names[] = {"data.mdb", "lock.mdb", "owner.lock", "created", "index.hint", "index.hint.new"};
  char file[320];
  for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
    fixture_file(x, file, names[i]);
    unlink(file);
  }
  assert_int_equal(rmdir(x->path), 0); /* and nothing else was left in it */
}

/* For cmocka: *state is the fixture. */
static inline int fixture_setup(void **state)
{
  struct fixture *x = calloc(1, sizeof *x);
  assert_non_null(x);
  fixture_make(x);
  *state = x;
  return 0;
}

static inline int fixture_teardown(void **state)
{
  fixture_remove(*state);
  free(*state);
  return 0;
}

/* splitmix64: the same numbers from the same seed everywhere. */
static inline uint64_t fixture_mix(uint64_t x)
{
  x += UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
  return x ^ x >> 31;
}

struct fixture_record {
  uint8_t bytes[FIXTURE_RECORD_MAX];
  uint32_t size;
  uint8_t id[16];
  uint8_t digest[16];
  struct encounter_view view;
};

static inline uint8_t *fixture_field_number(uint8_t *p, uint32_t field, uint64_t value)
{
  return varint_write(varint_write(p, field << 3), value);
}

static inline uint8_t *fixture_field_bytes(uint8_t *p, uint32_t field, const void *bytes, size_t size)
{
  p = varint_write(varint_write(p, field << 3 | 2), size);
  memcpy(p, bytes, size);
  return p + size;
}

/* Record number n, about 220 bytes; variant changes its content and not its id. Days, areas, demographics and countries vary with n. */
static inline void fixture_record(struct fixture_record *r, uint64_t n, unsigned variant)
{
  static const char countries[5][4] = {"GTM", "HND", "SLV", "MEX", "ECU"};
  uint8_t subject[16], *p = r->bytes;
  const uint64_t a = fixture_mix(n), b = fixture_mix(~n);
  store_u64(r->id, a);
  store_u64(r->id + 8, b);
  store_u64(subject, b);
  store_u64(subject + 8, a);
  p = fixture_field_bytes(p, FIELD_ENCOUNTER_ID, r->id, 16);
  p = fixture_field_number(p, FIELD_ENCOUNTER_TIME,
                           (uint64_t)((18536 + (int64_t)(n / 500)) * FIXTURE_DAY_US + (int64_t)(a % 86400) * 1000000));
  p = fixture_field_number(p, FIELD_COMPONENT, 1);
  p = fixture_field_number(p, FIELD_AREA_OF_RESPONSIBILITY, 1 + a % 9);
  p = fixture_field_number(p, FIELD_LAND_BORDER_REGION, 2);
  p = fixture_field_number(p, FIELD_DEMOGRAPHIC, 1 + b % 4);
  p = fixture_field_bytes(p, FIELD_CITIZENSHIP, countries[b >> 8 & 3], 3);
  p = fixture_field_number(p, FIELD_TITLE_OF_AUTHORITY, 8);
  p = fixture_field_number(p, FIELD_ENCOUNTER_TYPE, 1);
  p = fixture_field_bytes(p, FIELD_SUBJECT_ID, subject, 16);
  p = fixture_field_bytes(p, FIELD_STATION, "station-of-the-fixture-0123456789-0123456789-0123456789", 55);
  p = fixture_field_bytes(p, FIELD_DEVICE, "device-of-the-fixture-0123456789-0123456789", 43);
  p = fixture_field_bytes(p, FIELD_OFFICER_REFERENCE, "officer-reference-0123456789-0123456789-01234", 45);
  p = fixture_field_number(p, FIELD_DISPOSITION, 1 + variant);
  r->size = (uint32_t)(p - r->bytes);
  struct scan_fault fault;
  assert_true(scan_encounter(&r->view, r->bytes, r->size, &fault));
  digest_content(r->digest, &r->view);
}

static inline struct store *fixture_open(struct fixture *x)
{
  struct store *s = NULL;
  struct failure failure = FAILURE_NONE;
  if (store_open(&s, &x->options, &failure) != MUSTER_OK)
    fail_msg("store_open: %s", failure.text);
  return s;
}

/* Finds or appends record n as the worker does; its sequence. *fresh (may be NULL) tells which. */
static inline uint64_t fixture_put(struct store *s, uint64_t n, bool *fresh)
{
  struct fixture_record r;
  uint8_t digest[16];
  uint64_t sequence = 0;
  const struct store_receipt receipt = {.submitter = (uint32_t)(n % 3), .received_us = (int64_t)(1000 + n / 10)};
  fixture_record(&r, n, 0);
  const uint64_t fingerprint = store_fingerprint(s, r.id);
  const int found = store_find(s, r.id, fingerprint, &sequence, digest);
  assert_in_range(found, 0, 1);
  if (fresh)
    *fresh = !found;
  if (found) {
    assert_memory_equal(digest, r.digest, 16);
    return sequence;
  }
  sequence = store_append(s, &r.view, r.digest, fingerprint, &receipt);
  assert_true(sequence > 0);
  return sequence;
}

/* Appends the records first to last - 1 in commits of so many; all must be new. */
static inline void fixture_fill(struct store *s, uint64_t first, uint64_t last, uint64_t per_commit)
{
  struct failure failure = FAILURE_NONE;
  for (uint64_t n = first; n < last;) {
    assert_int_equal(store_begin(s), MUSTER_OK);
    for (uint64_t end = n + per_commit; n < end && n < last; n++) {
      bool fresh;
      fixture_put(s, n, &fresh);
      assert_true(fresh);
    }
    if (store_commit(s, &failure) != MUSTER_OK)
      fail_msg("store_commit: %s", failure.text);
  }
}

/* Record n is where it was put (sequence n + 1 when filled from 0) or not there at all. */
static inline void fixture_expect(struct store *s, uint64_t n, uint64_t sequence)
{
  struct fixture_record r;
  uint8_t digest[16];
  uint64_t found = 0;
  fixture_record(&r, n, 0);
  assert_int_equal(store_find(s, r.id, store_fingerprint(s, r.id), &found, digest), sequence ? 1 : 0);
  assert_int_equal(found, sequence);
  if (sequence)
    assert_memory_equal(digest, r.digest, 16);
}

static inline void fixture_expect_all(struct store *s, uint64_t count)
{
  struct failure failure = FAILURE_NONE;
  assert_int_equal(store_begin(s), MUSTER_OK);
  for (uint64_t n = 0; n < count; n++)
    fixture_expect(s, n, n + 1);
  fixture_expect(s, count, 0);
  assert_int_equal(store_commit(s, &failure), MUSTER_OK);
}

struct fixture_faults {
  unsigned count;
  char first[512];
};

static inline void fixture_report(void *context, const char *sentence)
{
  struct fixture_faults *f = context;
  if (!f->count++)
    snprintf(f->first, sizeof f->first, "%s", sentence);
}

/* Runs verify; faults are gathered. */
static inline void fixture_verify(const struct fixture *x, struct fixture_faults *faults, struct store_verify_result *result)
{
  struct failure failure = FAILURE_NONE;
  memset(faults, 0, sizeof *faults);
  if (store_verify(x->path, fixture_report, faults, NULL, result, &failure) != MUSTER_OK)
    fail_msg("store_verify: %s", failure.text);
  assert_int_equal(result->faults, faults->count);
}

static inline void fixture_verify_clean(const struct fixture *x, uint64_t records)
{
  struct fixture_faults faults;
  struct store_verify_result result;
  fixture_verify(x, &faults, &result);
  if (faults.count)
    fail_msg("verify: %s", faults.first);
  assert_int_equal(result.records, records);
}

/* Runs body in a child process and kills it where it returns, so nothing is closed or given back; what body returned. */
static inline int fixture_child(struct fixture *x, int (*body)(struct fixture *x))
{
  int status = 0;
  volatile int *answer = mmap(NULL, sizeof *answer, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_true((const volatile void *)answer != MAP_FAILED);
  fflush(NULL);
  const pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    *answer = body(x);
    raise(SIGKILL);
  }
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  const int answered = *answer;
  munmap((void *)(uintptr_t)answer, sizeof *answer);
  return answered;
}

/* Starts this test program anew with MUSTER_FAULT set (a process reads it once) and the given arguments; what it wrote to standard output
 * is gathered. The wait status. */
static inline int fixture_again(const char *fault, const char *role, const char *path, char *output, size_t output_size)
{
  int ends[2], status = 0;
  size_t used = 0;
  fflush(NULL);
  assert_int_equal(pipe(ends), 0);
  const pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    dup2(ends[1], 1);
    close(ends[0]);
    close(ends[1]);
    setenv("MUSTER_FAULT", fault, 1);
    execl("/proc/self/exe", "again", role, path, (char *)NULL);
    _exit(98);
  }
  close(ends[1]);
  for (ssize_t n; (n = read(ends[0], output + used, output_size - 1 - used)) > 0;)
    used += (size_t)n;
  output[used] = '\0';
  close(ends[0]);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return status;
}

#endif
