/* core/counters.c, counters_write.c and counters_read.c, which only mean something against each other: pages, brackets that no reader sees the inside of,
 * dead writers, totals that outlive them, foreign files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "core/clock.h"
#include "core/counters.h"
#include "core/scratch.h"

static char directory[SCRATCH_BYTES];

static int setup(void **state)
{
  (void)state;
  scratch_make(directory);
  return 0;
}

static int teardown(void **state)
{
  (void)state;
  scratch_remove(directory);
  return 0;
}

static void page_path(char out[SCRATCH_BYTES + 64], const char *role) { snprintf(out, SCRATCH_BYTES + 64, "%s/%s", directory, role); }

/* A process that runs body on a page of that role and says so by a byte after body; it waits for its end unless body ends it. */
static pid_t start_writer_as(const char *role, void (*body)(struct counters *c))
{
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  const pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct counters *c;
    if (counters_create(&c, directory, role, NULL) != MUSTER_OK)
      _exit(1);
    body(c);
    if (write(ends[1], "x", 1) != 1)
      _exit(1);
    for (;;)
      pause();
  }
  close(ends[1]);
  char byte;
  assert_int_equal(read(ends[0], &byte, 1), 1);
  close(ends[0]);
  return pid;
}

static pid_t start_writer(void (*body)(struct counters *c)) { return start_writer_as("worker-0", body); }

static void end_writer(pid_t pid, bool wait)
{
  kill(pid, SIGKILL);
  if (wait) {
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return;
  }
  siginfo_t info;
  assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0); /* dead, and still a zombie */
}

static void test_list(void **state)
{
  (void)state;
  for (int i = 0; i < COUNTER_COUNT; i++) {
    const size_t size = strlen(counter_list[i].name);
    assert_true(size > 0 && strspn(counter_list[i].name, "abcdefghijklmnopqrstuvwxyz_") == size);
    assert_true(strlen(counter_list[i].unit) > 0);
    assert_true(strlen(counter_list[i].sentence) > 10);
    assert_int_not_equal(counter_list[i].sentence[strlen(counter_list[i].sentence) - 1], '.');
    for (int j = 0; j < i; j++)
      assert_string_not_equal(counter_list[i].name, counter_list[j].name);
  }
  assert_string_equal(counter_list[COUNTER_records_received].name, "records_received");
  assert_int_equal(counter_list[COUNTER_records_in_flight].type, COUNTER_GAUGE);
  assert_int_equal(counter_list[COUNTER_commits].type, COUNTER_TOTAL);
}

static void test_write_and_read(void **state)
{
  (void)state;
  struct counters *c;
  struct counters_snapshot page;
  struct failure f = FAILURE_NONE;
  const int64_t before_us = clock_wall_us();
  assert_int_equal(counters_create(&c, directory, "ingest-0", &f), MUSTER_OK);
  assert_int_equal(counters_read(directory, "ingest-0", &page, &f), MUSTER_OK);
  assert_string_equal(page.role, "ingest-0");
  assert_int_equal(page.pid, getpid());
  assert_true(page.alive);
  assert_int_equal(page.state, PROCESS_STARTING);
  assert_true(page.started_us >= before_us && page.started_us <= clock_wall_us());
  assert_int_equal(page.beat_us, page.started_us);
  assert_int_equal(page.since_us, page.started_us);
  for (int i = 0; i < COUNTER_COUNT; i++)
    assert_int_equal(page.value[i], i == COUNTER_process_starts);

  counters_begin(c);
  counters_add(c, COUNTER_records_received, 5);
  counters_add(c, COUNTER_records_received, UINT64_C(1) << 40);
  counters_set(c, COUNTER_credit, 16);
  counters_add(c, COUNTER_records_in_flight, 9);
  counters_subtract(c, COUNTER_records_in_flight, 4);
  counters_add_reason(c, COUNTER_RECORDS, 0, 1);
  counters_add_reason(c, COUNTER_RECORDS, COUNTER_REASONS - 1, 7);
  counters_end(c);
  counters_state(c, PROCESS_SERVING);
  counters_beat(c);
  assert_int_equal(counters_get(c, COUNTER_records_received), (UINT64_C(1) << 40) + 5);
  assert_int_equal(counters_read(directory, "ingest-0", &page, &f), MUSTER_OK);
  assert_int_equal(page.value[COUNTER_records_received], (UINT64_C(1) << 40) + 5);
  assert_int_equal(page.value[COUNTER_credit], 16);
  assert_int_equal(page.value[COUNTER_records_in_flight], 5);
  assert_int_equal(page.value[COUNTER_records_accepted], 0);
  assert_int_equal(page.reason[COUNTER_RECORDS][0], 1);
  assert_int_equal(page.reason[COUNTER_RECORDS][COUNTER_REASONS - 1], 7);
  assert_int_equal(page.state, PROCESS_SERVING);
  assert_true(page.beat_us > page.started_us);

  counters_destroy(c);
  assert_int_equal(counters_read(directory, "ingest-0", &page, &f), MUSTER_OK);
  assert_int_equal(page.state, PROCESS_STOPPED);
  assert_int_equal(page.value[COUNTER_credit], 16);
}

static void test_no_page_counts_nothing(void **state)
{
  (void)state;
  counters_begin(NULL);
  counters_add(NULL, COUNTER_commits, 1);
  counters_subtract(NULL, COUNTER_peers, 1);
  counters_set(NULL, COUNTER_peers, 1);
  counters_add_reason(NULL, COUNTER_BATCHES, 1, 1);
  counters_observe(NULL, HISTOGRAM_batch_ack, 1);
  assert_int_equal(counters_row(NULL, 1, "a"), COUNTER_OTHERS);
  counters_row_add(NULL, 0, SUBMITTER_records_received, 1);
  counters_row_subtract(NULL, 0, SUBMITTER_records_in_flight, 1);
  counters_row_set(NULL, 0, SUBMITTER_credit, 1);
  counters_end(NULL);
  counters_state(NULL, PROCESS_SERVING);
  counters_beat(NULL);
  assert_int_equal(counters_get(NULL, COUNTER_commits), 0);
  counters_destroy(NULL);
}

static void spin(unsigned turns)
{
  for (volatile unsigned i = 0; i < turns; i++)
    continue;
}

/* Until it is killed: three counters of the conservation rule and the last of the page, always in step outside of a bracket. The pauses
 * between brackets are of many lengths, some shorter than a reader's copy and some longer; so are the brackets. */
static void write_in_step(struct counters *c)
{
  const pid_t parent = getpid();
  if (fork() != 0)
    return; /* the parent reports; its child writes on, in the same page, and dies with it */
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent)
    _exit(0);
  for (unsigned turn = 0;; turn++) {
    counters_begin(c);
    counters_add(c, COUNTER_records_received, 3);
    spin(turn % 64 * 16);
    counters_add(c, COUNTER_records_accepted, 2);
    counters_add_reason(c, COUNTER_RECORDS, COUNTER_REASONS - 1, 1);
    counters_observe(c, HISTOGRAM_group_size, 1);
    counters_row_add(c, COUNTER_OTHERS, SUBMITTER_batches_busy, 1); /* the end of the page */
    counters_add(c, COUNTER_records_misrouted, 1);
    counters_end(c);
    spin(turn % 61 * 128);
  }
}

static void test_readers_never_see_inside_a_bracket(void **state)
{
  (void)state;
  const pid_t pid = start_writer(write_in_step);
  struct counters_snapshot page;
  uint64_t last = 0, moved = 0, reads = 0;
  const uint64_t end_ns = clock_monotonic_ns() + UINT64_C(1500000000);
  while (clock_monotonic_ns() < end_ns) {
    const int status = counters_read(directory, "worker-0", &page, NULL);
    assert_true(status == MUSTER_OK || status == MUSTER_ERR_AGAIN);
    if (status != MUSTER_OK)
      continue;
    reads++;
    assert_int_equal(page.value[COUNTER_records_received], page.value[COUNTER_records_misrouted] * 3);
    assert_int_equal(page.value[COUNTER_records_accepted], page.value[COUNTER_records_misrouted] * 2);
    assert_int_equal(page.reason[COUNTER_RECORDS][COUNTER_REASONS - 1], page.value[COUNTER_records_misrouted]);
    assert_int_equal(counters_histogram_count(&page.histogram[HISTOGRAM_group_size]), page.value[COUNTER_records_misrouted]);
    assert_int_equal(page.rows > 0 ? page.submitter[0].value[SUBMITTER_batches_busy] : 0, page.value[COUNTER_records_misrouted]);
    assert_true(page.value[COUNTER_records_received] >= last);
    moved += page.value[COUNTER_records_received] != last;
    last = page.value[COUNTER_records_received];
  }
  end_writer(pid, true);
  assert_true(reads >= 5);
  assert_true(moved >= 5);
}

static void count_one(struct counters *c)
{
  counters_begin(c);
  counters_add(c, COUNTER_commits, 11);
  counters_end(c);
}

static void stay_inside(struct counters *c)
{
  count_one(c);
  counters_begin(c);
  counters_add(c, COUNTER_commits, 1);
}

static void test_dead_writer(void **state)
{
  (void)state;
  struct counters_snapshot page;
  const pid_t pid = start_writer(count_one);
  assert_int_equal(counters_read(directory, "worker-0", &page, NULL), MUSTER_OK);
  assert_true(page.alive);
  assert_int_equal(page.pid, pid);
  end_writer(pid, false);
  assert_int_equal(counters_read(directory, "worker-0", &page, NULL), MUSTER_OK);
  assert_false(page.alive); /* a zombie runs no more */
  assert_int_equal(page.value[COUNTER_commits], 11);
  assert_int_equal(waitpid(pid, NULL, 0), pid);
  assert_int_equal(counters_read(directory, "worker-0", &page, NULL), MUSTER_OK);
  assert_false(page.alive);
}

/* The pid lives, but its process started at another time than the one that wrote the page. */
static void test_reused_pid(void **state)
{
  (void)state;
  char path[SCRATCH_BYTES + 64];
  struct counters_snapshot page;
  const pid_t pid = start_writer(count_one);
  end_writer(pid, true);
  page_path(path, "worker-0");
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  const uint32_t mine = (uint32_t)getpid();
  uint32_t written = 0;
  assert_int_equal(pread(fd, &written, sizeof written, 12), sizeof written);
  assert_int_equal(written, pid); /* where the page keeps it */
  assert_int_equal(pwrite(fd, &mine, sizeof mine, 12), sizeof mine);
  close(fd);
  /* Two processes may start in one clock tick, and this one started before the fork. */
  nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
  assert_int_equal(counters_read(directory, "worker-0", &page, NULL), MUSTER_OK);
  assert_int_equal(page.pid, mine);
  assert_false(page.alive);
}

static void test_writer_inside_a_bracket(void **state)
{
  (void)state;
  struct counters_snapshot page;
  const pid_t pid = start_writer(stay_inside);
  for (int dead = 0; dead <= 1; dead++) {
    struct failure f = FAILURE_NONE;
    const uint64_t start_ns = clock_monotonic_ns();
    assert_int_equal(counters_read(directory, "worker-0", &page, &f), MUSTER_ERR_AGAIN);
    assert_true(clock_monotonic_ns() - start_ns < UINT64_C(5000000000));
    assert_non_null(strstr(f.text, dead ? "died" : "held up"));
    assert_int_equal(page.pid, pid);
    assert_int_equal(page.alive, !dead);
    assert_int_equal(page.value[COUNTER_commits], 0);
    if (!dead)
      end_writer(pid, true);
  }
}

/* Received 11: six answered, one told BUSY, four told nothing yet. Submitter 7 has all of them. */
static void answer_six_of_eleven(struct counters *c)
{
  counters_begin(c);
  const uint32_t row = counters_row(c, 7, "del-rio.station-3");
  counters_add(c, COUNTER_records_received, 11);
  counters_row_add(c, row, SUBMITTER_records_received, 11);
  counters_add(c, COUNTER_records_in_flight, 11);
  counters_row_add(c, row, SUBMITTER_records_in_flight, 11);
  counters_set(c, COUNTER_credit, 16);
  counters_row_set(c, row, SUBMITTER_credit, 16);
  counters_end(c);
  counters_begin(c);
  counters_add(c, COUNTER_records_accepted, 3);
  counters_row_add(c, row, SUBMITTER_records_accepted, 3);
  counters_add(c, COUNTER_records_duplicate, 1);
  counters_row_add(c, row, SUBMITTER_records_duplicate, 1);
  counters_add(c, COUNTER_records_invalid, 1);
  counters_row_add(c, row, SUBMITTER_records_invalid, 1);
  counters_add(c, COUNTER_records_conflict, 1);
  counters_row_add(c, row, SUBMITTER_records_conflict, 1);
  counters_add_reason(c, COUNTER_RECORDS, 12, 1);
  counters_add(c, COUNTER_records_handed_back, 1);
  counters_row_add(c, row, SUBMITTER_records_handed_back, 1);
  counters_add_reason(c, COUNTER_RECORDS, 203, 1);
  counters_subtract(c, COUNTER_records_in_flight, 7);
  counters_row_subtract(c, row, SUBMITTER_records_in_flight, 7);
  counters_observe(c, HISTOGRAM_batch_ack, 5000000);
  counters_set(c, COUNTER_index_growths, 5);
  counters_end(c);
}

/* The verdicts are counted, and the records in flight still. */
static void answer_and_stay_inside(struct counters *c)
{
  answer_six_of_eleven(c);
  counters_begin(c);
  counters_add(c, COUNTER_records_accepted, 4);
}

static void expect_settled(const struct counters_snapshot *page, uint64_t accepted)
{
  assert_int_equal(page->value[COUNTER_records_received], 11);
  assert_int_equal(page->value[COUNTER_records_accepted], accepted);
  assert_int_equal(page->value[COUNTER_records_in_flight], 0);
  assert_int_equal(page->value[COUNTER_records_handed_back], 8 - accepted);
  assert_int_equal(page->value[COUNTER_records_handed_back_died], 7 - accepted);
  assert_int_equal(page->reason[COUNTER_RECORDS][203], 1); /* with the died, all of the records handed back */
  assert_int_equal(page->value[COUNTER_credit], 0);        /* a gauge is of the living */
  assert_int_equal(page->reason[COUNTER_RECORDS][12], 1);
  assert_int_equal(counters_histogram_count(&page->histogram[HISTOGRAM_batch_ack]), 1);
  assert_int_equal(page->histogram[HISTOGRAM_batch_ack].sum, 5000000);
  assert_int_equal(page->rows, 1);
  assert_int_equal(page->submitter[0].number, 7);
  assert_string_equal(page->submitter[0].name, "del-rio.station-3");
  assert_int_equal(page->submitter[0].value[SUBMITTER_records_received], 11);
  assert_int_equal(page->submitter[0].value[SUBMITTER_records_accepted], 3);
  assert_int_equal(page->submitter[0].value[SUBMITTER_records_handed_back], 5);
  assert_int_equal(page->submitter[0].value[SUBMITTER_records_in_flight], 0);
  assert_int_equal(page->submitter[0].value[SUBMITTER_credit], 0);
}

/* Whoever dies takes nothing with him: the next process adds to what he had counted, and what he left in flight is handed back. Of an ingest the whole
 * is what its submitters' rows have, also where it died between the two. */
static void test_totals_go_on_over_a_death(void **state)
{
  (void)state;
  for (int turn = 0; turn < 4; turn++) {
    const bool torn = turn % 2, ingest = turn / 2;
    const char *role = ingest ? "ingest-0" : "worker-0";
    struct counters_snapshot first, page;
    struct counters *c;
    const pid_t pid = start_writer_as(role, torn ? answer_and_stay_inside : answer_six_of_eleven);
    if (!torn)
      assert_int_equal(counters_read(directory, role, &first, NULL), MUSTER_OK);
    end_writer(pid, true);
    assert_int_equal(counters_create(&c, directory, role, NULL), MUSTER_OK);
    assert_int_equal(counters_read(directory, role, &page, NULL), MUSTER_OK);
    assert_int_equal(page.pid, getpid());
    expect_settled(&page, torn && !ingest ? 7 : 3);
    assert_int_equal(page.value[COUNTER_process_starts], 2);
    assert_true(page.since_us < page.started_us);
    if (!torn)
      assert_int_equal(page.since_us, first.since_us);
    counters_begin(c);
    counters_set(c, COUNTER_index_growths, 2); /* as this process knows it */
    assert_int_equal(counters_row(c, 7, "del-rio.station-3"), 0);
    counters_end(c);
    assert_int_equal(counters_get(c, COUNTER_index_growths), 7);
    counters_destroy(c);
    counters_forget(directory, role);
  }
}

static void answer_too_many(struct counters *c)
{
  answer_six_of_eleven(c);
  counters_begin(c);
  counters_row_add(c, 0, SUBMITTER_records_accepted, 100);
  counters_end(c);
}

/* A new run of the node, and totals that cannot be right: begun anew, and the stamp says so. */
static void test_totals_begin_anew_with_a_mark(void **state)
{
  (void)state;
  for (int nonsense = 0; nonsense <= 1; nonsense++) {
    struct counters_snapshot first, page;
    struct counters *c;
    const pid_t pid = start_writer(nonsense ? answer_too_many : answer_six_of_eleven);
    counters_forget(directory, "worker-0"); /* its writer lives: nothing happens */
    assert_int_equal(counters_read(directory, "worker-0", &first, NULL), MUSTER_OK);
    assert_int_equal(first.value[COUNTER_records_received], 11);
    end_writer(pid, true);
    if (!nonsense)
      counters_forget(directory, "worker-0");
    assert_int_equal(counters_create(&c, directory, "worker-0", NULL), MUSTER_OK);
    assert_int_equal(counters_read(directory, "worker-0", &page, NULL), MUSTER_OK);
    assert_true(page.since_us > first.since_us);
    for (int i = 0; i < COUNTER_COUNT; i++)
      assert_int_equal(page.value[i], i == COUNTER_process_starts);
    assert_int_equal(page.reason[COUNTER_RECORDS][12], 0);
    assert_int_equal(counters_histogram_count(&page.histogram[HISTOGRAM_batch_ack]), 0);
    assert_int_equal(page.rows, 0);
    counters_destroy(c);
    counters_forget(directory, "no-such-role");
    char path[SCRATCH_BYTES + 64];
    page_path(path, "worker-0");
    assert_int_equal(unlink(path), 0);
  }
}

static void test_rows_are_bounded(void **state)
{
  (void)state;
  struct counters *c;
  struct counters_snapshot page;
  char name[32];
  assert_int_equal(counters_create(&c, directory, "ingest-0", NULL), MUSTER_OK);
  counters_begin(c);
  for (uint32_t number = 0; number < LIMIT_SUBMITTER_ROWS + 10; number++) {
    snprintf(name, sizeof name, "key-%u", number);
    const uint32_t row = counters_row(c, number, name);
    assert_int_equal(row, number < LIMIT_SUBMITTER_ROWS ? number : COUNTER_OTHERS);
    assert_int_equal(counters_row(c, number, name), row);
    counters_row_add(c, row, SUBMITTER_records_received, 1);
  }
  counters_end(c);
  assert_int_equal(counters_read(directory, "ingest-0", &page, NULL), MUSTER_OK);
  assert_int_equal(page.rows, LIMIT_SUBMITTER_ROWS + 1);
  assert_string_equal(page.submitter[5].name, "key-5");
  assert_int_equal(page.submitter[5].number, 5);
  assert_string_equal(page.submitter[COUNTER_OTHERS].name, COUNTER_OTHERS_NAME);
  assert_int_equal(page.submitter[COUNTER_OTHERS].value[SUBMITTER_records_received], 10);
  counters_destroy(c);
}

static void test_histogram(void **state)
{
  (void)state;
  struct counters *c;
  struct counters_snapshot page;
  const struct counters_histogram *ack = &page.histogram[HISTOGRAM_batch_ack];
  assert_int_equal(counters_create(&c, directory, "ingest-0", NULL), MUSTER_OK);
  counters_begin(c);
  for (uint64_t ms = 1; ms <= 1000; ms++)
    counters_observe(c, HISTOGRAM_batch_ack, ms * 1000000);
  counters_observe(c, HISTOGRAM_group_size, 5);
  counters_observe(c, HISTOGRAM_group_size, UINT64_MAX / 2); /* the last bucket takes what is too large */
  counters_end(c);
  assert_int_equal(counters_read(directory, "ingest-0", &page, NULL), MUSTER_OK);
  assert_int_equal(counters_histogram_count(ack), 1000);
  assert_int_equal(ack->sum, UINT64_C(500500) * 1000000);
  for (int percent = 1; percent <= 100; percent++) { /* never less than the truth, and a quarter more at most */
    const uint64_t told = counters_histogram_quantile(HISTOGRAM_batch_ack, ack, percent / 100.0);
    assert_in_range(told, (uint64_t)percent * 10000000, (uint64_t)percent * 10000000 * 5 / 4 + 1024);
  }
  assert_int_equal(counters_histogram_quantile(HISTOGRAM_group_size, &page.histogram[HISTOGRAM_group_size], 0.5), 5);
  assert_int_equal(page.histogram[HISTOGRAM_group_size].bucket[COUNTER_BUCKETS - 1], 1);
  assert_int_equal(counters_histogram_quantile(HISTOGRAM_group_sync, &page.histogram[HISTOGRAM_group_sync], 0.5), 0);
  counters_destroy(c);
}

static void test_beat_tells_what_is_used(void **state)
{
  (void)state;
  struct counters *c;
  struct counters_snapshot page, later;
  assert_int_equal(counters_create(&c, directory, "worker-0", NULL), MUSTER_OK);
  counters_beat(c);
  assert_int_equal(counters_read(directory, "worker-0", &page, NULL), MUSTER_OK);
  assert_true(page.value[COUNTER_process_cpu_ns] > 0);
  assert_true(page.value[COUNTER_process_resident_bytes] > 65536);
  assert_true(page.value[COUNTER_process_descriptors] >= 3);
  const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  assert_true(fd >= 0);
  for (int beat = 0; beat < 10; beat++) /* descriptors are counted at every tenth where the kernel has no number of them */
    counters_beat(c);
  counters_state(c, PROCESS_SERVING);
  nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
  assert_int_equal(counters_read(directory, "worker-0", &later, NULL), MUSTER_OK);
  close(fd);
  assert_int_equal(later.value[COUNTER_process_descriptors], page.value[COUNTER_process_descriptors] + 1);
  assert_true(later.value[COUNTER_process_cpu_ns] >= page.value[COUNTER_process_cpu_ns]);
  assert_in_range(later.state_ns, 2000000, UINT64_C(60000000000));
  counters_destroy(c);
}

static ino_t inode_of(const char *role)
{
  char path[SCRATCH_BYTES + 64];
  struct stat info;
  page_path(path, role);
  assert_int_equal(stat(path, &info), 0);
  return info.st_ino;
}

/* A full disk, as far as a page is concerned: no file may grow. What a dead process had is enough to start with. */
static void test_restart_needs_no_room(void **state)
{
  (void)state;
  struct counters_snapshot page;
  struct rlimit before, none;
  struct failure f = FAILURE_NONE;
  struct counters *c, *other;
  end_writer(start_writer(stay_inside), true);
  const ino_t inode = inode_of("worker-0");
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  none = before;
  none.rlim_cur = 0;
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
  const int taken = counters_create(&c, directory, "worker-0", &f);
  const int made = counters_create(&other, directory, "worker-1", NULL);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, SIG_DFL);
  if (taken != MUSTER_OK)
    fail_msg("%s", f.text);
  assert_int_not_equal(made, MUSTER_OK);
  assert_int_equal(inode_of("worker-0"), inode);
  assert_int_equal(counters_read(directory, "worker-0", &page, NULL), MUSTER_OK);
  assert_true(page.alive);
  assert_int_equal(page.pid, getpid());
  assert_int_equal(page.state, PROCESS_STARTING);
  assert_int_equal(page.value[COUNTER_commits], 12); /* the one within the bracket, too */
  count_one(c);
  assert_int_equal(counters_read(directory, "worker-0", &page, NULL), MUSTER_OK);
  assert_int_equal(page.value[COUNTER_commits], 23);
  counters_destroy(c);
}

static void count_when_woken(struct counters *c)
{
  if (fork() != 0)
    return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) {
    count_one(c);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  }
}

/* One that only sleeps may wake: what it counts then is not counted as ours. */
static void test_a_living_writer_keeps_its_page(void **state)
{
  (void)state;
  struct counters_snapshot page;
  struct counters *c;
  const pid_t pid = start_writer(count_when_woken);
  const ino_t inode = inode_of("worker-0");
  assert_int_equal(counters_create(&c, directory, "worker-0", NULL), MUSTER_OK);
  assert_int_not_equal(inode_of("worker-0"), inode);
  nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
  assert_int_equal(counters_read(directory, "worker-0", &page, NULL), MUSTER_OK);
  assert_int_equal(page.pid, getpid());
  assert_int_equal(page.value[COUNTER_commits], 0);
  counters_destroy(c);
  end_writer(pid, true);
}

/* Life after life takes the page over while it is read: what is read is of one moment, and nothing becomes less. */
static void test_readers_never_see_two_lives(void **state)
{
  (void)state;
  struct counters_snapshot page;
  struct counters *c;
  uint64_t lives = 0, last = 0, last_pid = 0;
  end_writer(start_writer(count_one), true);
  const pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (pid_t life; (life = fork()) > 0;)
      waitpid(life, NULL, 0);
    if (counters_create(&c, directory, "worker-0", NULL) != MUSTER_OK)
      _exit(1);
    counters_begin(c);
    counters_set(c, COUNTER_commits, (uint64_t)getpid());
    counters_add_reason(c, COUNTER_BATCHES, COUNTER_REASONS - 1, (uint64_t)getpid());
    counters_end(c);
    _exit(0);
  }
  const uint64_t end_ns = clock_monotonic_ns() + UINT64_C(1500000000);
  while (clock_monotonic_ns() < end_ns) {
    if (counters_read(directory, "worker-0", &page, NULL) != MUSTER_OK)
      continue;
    assert_int_equal(page.reason[COUNTER_BATCHES][COUNTER_REASONS - 1] + 11, page.value[COUNTER_commits]);
    assert_true(page.value[COUNTER_commits] >= last);
    last = page.value[COUNTER_commits];
    lives += page.pid != last_pid;
    last_pid = page.pid;
  }
  end_writer(pid, true);
  assert_true(lives >= 5);
}

static void test_foreign_files(void **state)
{
  (void)state;
  char path[SCRATCH_BYTES + 64];
  struct counters_snapshot page;
  struct failure f = FAILURE_NONE;
  assert_int_equal(counters_read(directory, "worker-0", &page, &f), MUSTER_ERR_NOT_FOUND);
  assert_non_null(strstr(f.text, "worker-0"));
  page_path(path, "worker-0");
  scratch_write(path, "short");
  assert_int_equal(counters_read(directory, "worker-0", &page, NULL), MUSTER_ERR_FORMAT);
  struct counters *cut;
  struct stat info;
  assert_int_equal(counters_create(&cut, directory, "worker-2", NULL), MUSTER_OK);
  counters_destroy(cut);
  page_path(path, "worker-2");
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(truncate(path, info.st_size - 8), 0);
  assert_int_equal(counters_read(directory, "worker-2", &page, NULL), MUSTER_ERR_FORMAT);
  page_path(path, "worker-0");
  assert_int_equal(mkdir(strcat(path, "x"), 0700), 0);
  assert_int_equal(counters_read(directory, "worker-0x", &page, NULL), MUSTER_ERR_FORMAT);
  /* Right size: each of magic, version and list must be looked at. */
  static const off_t places[] = {0, 8, 16};
  for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
    struct counters *c;
    assert_int_equal(counters_create(&c, directory, "worker-1", NULL), MUSTER_OK);
    page_path(path, "worker-1");
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, places[i]), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, places[i]), 1);
    assert_int_equal(counters_read(directory, "worker-1", &page, NULL), MUSTER_ERR_FORMAT);
    close(fd);
    counters_destroy(c);
  }
}

static void test_creation_fails(void **state)
{
  (void)state;
  static const char *const bad[] = {"", "../x", "a/b", "Worker", "worker 1", ".hidden", "a-name-that-is-far-too-long"};
  struct counters *c = (struct counters *)&c;
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    assert_int_equal(counters_create(&c, directory, bad[i], NULL), MUSTER_ERR_USAGE);
    assert_null(c);
  }
  char missing[SCRATCH_BYTES + 64];
  page_path(missing, "no");
  struct failure f = FAILURE_NONE;
  assert_int_equal(counters_create(&c, missing, "worker-0", &f), MUSTER_ERR_CREATE);
  assert_non_null(strstr(f.text, missing));
  assert_null(c);
}

struct visit {
  char roles[256];
  unsigned count, stop_at;
};

static int visit_page(void *context, const struct counters_snapshot *page)
{
  struct visit *v = context;
  snprintf(v->roles + strlen(v->roles), sizeof v->roles - strlen(v->roles), "%s%s ", page->role, page->alive ? "" : "!");
  return ++v->count == v->stop_at ? 77 : 0;
}

static void test_each(void **state)
{
  (void)state;
  static const char *const roles[] = {"worker-1", "ingest-0", "run"};
  struct counters *c[3];
  char path[SCRATCH_BYTES + 64];
  end_writer(start_writer(stay_inside), true); /* worker-0 died inside a bracket: still shown, as dead */
  for (int i = 0; i < 3; i++)
    assert_int_equal(counters_create(&c[i], directory, roles[i], NULL), MUSTER_OK);
  page_path(path, "other-file");
  scratch_write(path, "not a page");
  page_path(path, ".worker-9.new");
  scratch_write(path, "not yet a page");
  struct visit v = {.stop_at = 0};
  assert_int_equal(counters_each(directory, visit_page, &v, NULL), MUSTER_OK);
  assert_string_equal(v.roles, "ingest-0 run worker-0! worker-1 ");
  v = (struct visit){.stop_at = 2};
  assert_int_equal(counters_each(directory, visit_page, &v, NULL), 77);
  assert_string_equal(v.roles, "ingest-0 run ");
  for (int i = 0; i < 3; i++)
    counters_destroy(c[i]);
  page_path(path, "no");
  struct failure f = FAILURE_NONE;
  assert_int_equal(counters_each(path, visit_page, &v, &f), MUSTER_ERR_NOT_FOUND);
}

int main(void)
{
#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
  const struct CMUnitTest tests[] = {
      EACH(test_list),
      EACH(test_write_and_read),
      EACH(test_no_page_counts_nothing),
      EACH(test_readers_never_see_inside_a_bracket),
      EACH(test_dead_writer),
      EACH(test_reused_pid),
      EACH(test_writer_inside_a_bracket),
      EACH(test_totals_go_on_over_a_death),
      EACH(test_totals_begin_anew_with_a_mark),
      EACH(test_rows_are_bounded),
      EACH(test_histogram),
      EACH(test_beat_tells_what_is_used),
      EACH(test_restart_needs_no_room),
      EACH(test_a_living_writer_keeps_its_page),
      EACH(test_readers_never_see_two_lives),
      EACH(test_foreign_files),
      EACH(test_creation_fails),
      EACH(test_each),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
