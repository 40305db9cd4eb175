#include "core/counters_page.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"

/* A file of full size whose blocks exist, so that no later store into the mapping meets a full disk. */
static int counters_open_page(const char *path, struct failure *failure)
{
  if (unlink(path) != 0 && errno != ENOENT)
    return failure_set_errno(failure, MUSTER_ERR_CREATE, errno, "cannot replace %s", path);
  const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0)
    return failure_set_errno(failure, MUSTER_ERR_CREATE, errno, "cannot create the counter page %s", path);
  const int error = posix_fallocate(fd, 0, sizeof(struct counters_page));
  if (error == 0)
    return fd;
  close(fd);
  unlink(path);
  return failure_set_errno(failure, error == ENOSPC ? MUSTER_ERR_FULL : MUSTER_ERR_CREATE, error,
                           "cannot take space for the counter page %s", path);
}

/* What is of the process and not of the page. In a bracket, or before anyone sees the page. */
static void counters_fill(struct counters_page *page)
{
  const uint32_t pid = (uint32_t)getpid();
  const int64_t now_us = clock_wall_us();
  atomic_store_explicit(&page->pid, pid, memory_order_relaxed);
  atomic_store_explicit(&page->start_ticks, counters_start_ticks(pid), memory_order_relaxed);
  atomic_store_explicit(&page->started_us, now_us, memory_order_relaxed);
  atomic_store_explicit(&page->state, PROCESS_STARTING, memory_order_relaxed);
  page_store(&page->state_since_ns, clock_monotonic_ns());
  atomic_store_explicit(&page->beat_us, now_us, memory_order_relaxed);
  if (atomic_load_explicit(&page->since_us, memory_order_relaxed) == 0)
    atomic_store_explicit(&page->since_us, now_us, memory_order_relaxed);
  page_store(&page->value[COUNTER_process_starts], page_load(&page->value[COUNTER_process_starts]) + 1);
}

/* The page that path shows, mapped, if this process may begin it anew, else MAP_FAILED. A writer that only sleeps keeps its page, or it would
 * count into ours when it wakes. The blocks are looked at first: where nothing is free, some file systems refuse even what a file has. */
static struct counters_page *counters_map_former(int fd, const char *role)
{
  struct stat info;
  if (flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) ||
      info.st_size != (off_t)sizeof(struct counters_page))
    return MAP_FAILED;
  if ((uint64_t)info.st_blocks * 512 < sizeof(struct counters_page) && posix_fallocate(fd, 0, sizeof(struct counters_page)) != 0)
    return MAP_FAILED;
  struct counters_page *page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (page == MAP_FAILED || (counters_page_known(page) && strcmp(page->role, role) == 0 &&
                             !counters_alive(atomic_load_explicit(&page->pid, memory_order_relaxed),
                                             atomic_load_explicit(&page->start_ticks, memory_order_relaxed), NULL)))
    return page;
  munmap(page, sizeof *page);
  return MAP_FAILED;
}

/* Records answered with a verdict, by the columns of one table of values. */
static uint64_t page_answered(const _Atomic uint64_t *value, unsigned accepted, unsigned duplicate, unsigned conflict, unsigned invalid)
{
  return page_load(&value[accepted]) + page_load(&value[duplicate]) + page_load(&value[conflict]) + page_load(&value[invalid]);
}

static uint64_t page_answered_all(const struct counters_page *page)
{
  return page_answered(page->value, COUNTER_records_accepted, COUNTER_records_duplicate, COUNTER_records_conflict, COUNTER_records_invalid);
}

static uint64_t page_answered_row(const struct counters_page_submitter *row)
{
  return page_answered(row->value, SUBMITTER_records_accepted, SUBMITTER_records_duplicate, SUBMITTER_records_conflict,
                       SUBMITTER_records_invalid);
}

/* Records that were told BUSY or RETRY, whose Reasons are from 200 to 299. */
static uint64_t page_told_back(const struct counters_page *page)
{
  uint64_t sum = 0;
  for (uint32_t reason = 200; reason < COUNTER_REASONS; reason++)
    sum += page_load(&page->reason[COUNTER_RECORDS][reason]);
  return sum;
}

/* Whether the next process may add to these totals: they are of this run of the node, and make sense. */
static bool page_goes_on(const struct counters_page *page)
{
  if (atomic_load_explicit(&page->since_us, memory_order_relaxed) == 0 ||
      atomic_load_explicit(&page->rows, memory_order_relaxed) > COUNTER_OTHERS)
    return false;
  for (uint32_t row = 0; row < COUNTER_ROWS; row++)
    if (page_load(&page->submitter[row].value[SUBMITTER_records_received]) < page_answered_row(&page->submitter[row]))
      return false;
  return page_load(&page->value[COUNTER_records_received]) >= page_answered_all(page) + page_told_back(page);
}

static void page_clear(struct counters_page *page)
{
  atomic_store_explicit(&page->since_us, 0, memory_order_relaxed);
  atomic_store_explicit(&page->rows, 0, memory_order_relaxed);
  for (int i = 0; i < COUNTER_COUNT; i++)
    page_store(&page->value[i], 0);
  for (uint32_t i = 0; i < COUNTER_PER * COUNTER_REASONS; i++)
    page_store(&page->reason[i / COUNTER_REASONS][i % COUNTER_REASONS], 0);
  for (int i = 0; i < HISTOGRAM_COUNT; i++) {
    page_store(&page->histogram[i].sum, 0);
    for (uint32_t k = 0; k < COUNTER_BUCKETS; k++)
      page_store(&page->histogram[i].bucket[k], 0);
  }
  for (uint32_t row = 0; row < COUNTER_ROWS; row++) {
    page_store(&page->submitter[row].number, 0);
    for (uint32_t k = 0; k < PAGE_NAME_WORDS; k++)
      page_store(&page->submitter[row].name[k], 0);
    for (int k = 0; k < SUBMITTER_COUNT; k++)
      page_store(&page->submitter[row].value[k], 0);
  }
}

/* Of an ingest, what both the page and its rows count: where it died in a bracket, the one may have what the other has not, and the rows say whose
 * it is. No reader has seen more, for none sees the inside of a bracket. */
static void page_settle_sums(struct counters_page *page)
{
  static const struct {
    enum counter_id whole;
    enum submitter_id part;
  } sums[] = {{COUNTER_records_received, SUBMITTER_records_received},   {COUNTER_records_accepted, SUBMITTER_records_accepted},
              {COUNTER_records_duplicate, SUBMITTER_records_duplicate}, {COUNTER_records_conflict, SUBMITTER_records_conflict},
              {COUNTER_records_invalid, SUBMITTER_records_invalid},     {COUNTER_batches_busy, SUBMITTER_batches_busy},
              {COUNTER_batches_refused, SUBMITTER_batches_refused}};
  if (counters_who(page->role) != COUNTER_INGEST)
    return;
  for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++) {
    uint64_t sum = 0;
    for (uint32_t row = 0; row < COUNTER_ROWS; row++)
      sum += page_load(&page->submitter[row].value[sums[i].part]);
    page_store(&page->value[sums[i].whole], sum);
  }
}

/* What was in flight when the process died was told nothing, and comes again. Where it died in a bracket a verdict may be counted whose record is in
 * flight still: so it is what has no verdict that counts as handed back, and of that what has no reason, either, that its process took with it. */
static void page_settle(struct counters_page *page)
{
  page_settle_sums(page);
  page_store(&page->value[COUNTER_records_handed_back], page_load(&page->value[COUNTER_records_received]) - page_answered_all(page));
  page_store(&page->value[COUNTER_records_handed_back_died], page_load(&page->value[COUNTER_records_handed_back]) - page_told_back(page));
  for (int i = 0; i < COUNTER_COUNT; i++)
    if (counter_list[i].type == COUNTER_GAUGE)
      page_store(&page->value[i], 0);
  for (uint32_t row = 0; row < COUNTER_ROWS; row++) {
    struct counters_page_submitter *s = &page->submitter[row];
    page_store(&s->value[SUBMITTER_records_handed_back], page_load(&s->value[SUBMITTER_records_received]) - page_answered_row(s));
    page_store(&s->value[SUBMITTER_records_in_flight], 0);
    page_store(&s->value[SUBMITTER_credit], 0);
  }
}

static struct counters_page *counters_open_former(const char *path, const char *role, int *fd)
{
  *fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (*fd < 0)
    return NULL;
  struct counters_page *page = counters_map_former(*fd, role);
  if (page != MAP_FAILED)
    return page;
  close(*fd);
  return NULL;
}

/* As a bracket, on the page of a writer that is dead: the sequence is odd already where it died in one. */
static uint64_t page_take(struct counters_page *page)
{
  const uint64_t sequence = page_load(&page->sequence) | 1;
  page_store(&page->sequence, sequence);
  atomic_thread_fence(memory_order_release); /* as in counters_begin */
  return sequence;
}

static void page_release(struct counters_page *page, uint64_t sequence)
{
  atomic_store_explicit(&page->sequence, sequence + 1, memory_order_release);
}

/* The page of a dead writer, gone on with where it lies: on a full disk a process could otherwise not start. NULL: none can be taken. */
static struct counters_page *counters_take_over(const char *path, const char *role)
{
  int fd;
  struct counters_page *page = counters_open_former(path, role, &fd);
  if (page == NULL)
    return NULL;
  const uint64_t sequence = page_take(page);
  if (page_goes_on(page))
    page_settle(page);
  else
    page_clear(page);
  counters_fill(page);
  page_release(page, sequence);
  close(fd); /* with the lock: whoever comes next finds a living writer */
  return page;
}

void counters_forget(const char *directory, const char *role)
{
  char path[LIMIT_PATH_BYTES];
  int fd;
  snprintf(path, sizeof path, "%s/%s", directory, role);
  struct counters_page *page = counters_open_former(path, role, &fd);
  if (page == NULL)
    return;
  const uint64_t sequence = page_take(page);
  page_clear(page);
  page_release(page, sequence);
  munmap(page, sizeof *page);
  close(fd);
}

static void counters_begin_totals(struct counters *c)
{
  for (int i = 0; i < COUNTER_COUNT; i++)
    c->base[i] = counter_list[i].type == COUNTER_TOTAL ? page_load(&c->page->value[i]) : 0;
}

int counters_create(struct counters **out, const char *directory, const char *role, struct failure *failure)
{
  *out = NULL;
  if (!counters_role_valid(role))
    return failure_set(failure, MUSTER_ERR_USAGE, "\"%.30s\" cannot name a counter page", role);
  char path[LIMIT_PATH_BYTES], temporary[LIMIT_PATH_BYTES];
  snprintf(path, sizeof path, "%s/%s", directory, role);
  if (snprintf(temporary, sizeof temporary, "%s/.%s.new", directory, role) >= (int)sizeof temporary)
    return failure_set(failure, MUSTER_ERR_LIMIT, "the path of the counter page of %s is too long", role);
  struct counters *c = calloc(1, sizeof *c);
  if (c == NULL)
    return failure_set(failure, MUSTER_ERR_MEMORY, "no memory for the counters of %s", role);
  c->page = counters_take_over(path, role);
  if (c->page != NULL) {
    counters_begin_totals(c);
    *out = c;
    return MUSTER_OK;
  }
  const int fd = counters_open_page(temporary, failure);
  if (fd < 0) {
    free(c);
    return fd;
  }
  c->page = mmap(NULL, sizeof *c->page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  int status = MUSTER_OK;
  if (c->page == MAP_FAILED) {
    status = failure_set_errno(failure, MUSTER_ERR_MEMORY, errno, "cannot map the counter page %s", temporary);
  } else {
    c->page->magic = PAGE_MAGIC;
    c->page->version = PAGE_VERSION;
    c->page->list_hash = counters_list_hash();
    memcpy(c->page->role, role, strlen(role) + 1);
    counters_fill(c->page);
    if (rename(temporary, path) != 0) {
      status = failure_set_errno(failure, MUSTER_ERR_CREATE, errno, "cannot rename the counter page to %s", path);
      munmap(c->page, sizeof *c->page);
    }
  }
  close(fd);
  if (status != MUSTER_OK) {
    unlink(temporary);
    free(c);
    return status;
  }
  counters_begin_totals(c);
  *out = c;
  return MUSTER_OK;
}

void counters_destroy(struct counters *c)
{
  if (c == NULL)
    return;
  counters_state(c, PROCESS_STOPPED);
  munmap(c->page, sizeof *c->page);
  free(c);
}
