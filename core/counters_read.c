#include "core/counters_page.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"

#define PAGE_ROLES 256     /* pages that counters_each looks at; a node has fewer than 100 */
#define PAGE_TRIES_BUSY 64 /* reads at once, then with a pause between them: a writer may have lost its turn inside a bracket */
#define PAGE_TRIES_PAUSED 200
#define PAGE_PAUSE_NS 500000

static void counters_copy_histograms(const struct counters_page *page, struct counters_snapshot *out)
{
  for (int i = 0; i < HISTOGRAM_COUNT; i++) {
    out->histogram[i].sum = page_load(&page->histogram[i].sum);
    for (uint32_t k = 0; k < COUNTER_BUCKETS; k++)
      out->histogram[i].bucket[k] = page_load(&page->histogram[i].bucket[k]);
  }
}

static bool counters_copy_row(const struct counters_page_submitter *row, struct counters_submitter *out)
{
  uint64_t words[PAGE_NAME_WORDS], any = 0;
  out->number = (uint32_t)page_load(&row->number);
  for (uint32_t i = 0; i < PAGE_NAME_WORDS; i++)
    words[i] = page_load(&row->name[i]);
  memcpy(out->name, words, sizeof out->name);
  out->name[LIMIT_SUBMITTER_NAME] = '\0';
  for (int i = 0; i < SUBMITTER_COUNT; i++)
    any |= out->value[i] = page_load(&row->value[i]);
  return any != 0;
}

/* The rows that are taken, behind them that of the others; what a race makes of it the second look at sequence throws away. */
static void counters_copy_submitters(const struct counters_page *page, struct counters_snapshot *out)
{
  const uint32_t rows = atomic_load_explicit(&page->rows, memory_order_relaxed);
  out->rows = 0;
  for (uint32_t row = 0; row < rows && row < COUNTER_OTHERS; row++)
    counters_copy_row(&page->submitter[row], &out->submitter[out->rows++]);
  if (!counters_copy_row(&page->submitter[COUNTER_OTHERS], &out->submitter[out->rows]))
    return;
  out->submitter[out->rows].number = UINT32_MAX;
  memcpy(out->submitter[out->rows].name, COUNTER_OTHERS_NAME, sizeof COUNTER_OTHERS_NAME);
  out->rows++;
}

/* One try; false where the writer was inside a bracket meanwhile: then pid and alive are those of one that is or was in it. */
static bool counters_copy(const struct counters_page *page, struct counters_snapshot *out, uint64_t *start_ticks)
{
  const uint64_t before = atomic_load_explicit(&page->sequence, memory_order_acquire);
  out->pid = atomic_load_explicit(&page->pid, memory_order_relaxed);
  *start_ticks = atomic_load_explicit(&page->start_ticks, memory_order_relaxed);
  out->started_us = atomic_load_explicit(&page->started_us, memory_order_relaxed);
  if (before % 2 == 1)
    return false;
  out->state = (enum process_state)atomic_load_explicit(&page->state, memory_order_relaxed);
  out->beat_us = atomic_load_explicit(&page->beat_us, memory_order_relaxed);
  out->since_us = atomic_load_explicit(&page->since_us, memory_order_relaxed);
  out->state_ns = page_load(&page->state_since_ns); /* until it is known whether the process lives */
  for (int i = 0; i < COUNTER_COUNT; i++)
    out->value[i] = page_load(&page->value[i]);
  for (uint32_t i = 0; i < COUNTER_PER * COUNTER_REASONS; i++)
    out->reason[i / COUNTER_REASONS][i % COUNTER_REASONS] = page_load(&page->reason[i / COUNTER_REASONS][i % COUNTER_REASONS]);
  counters_copy_histograms(page, out);
  counters_copy_submitters(page, out);
  atomic_thread_fence(memory_order_acquire); /* no load above is done after the look below */
  return atomic_load_explicit(&page->sequence, memory_order_relaxed) == before;
}

/* By the clock that the kernel counts start times with, which nobody sets. */
static uint64_t counters_uptime_s(uint64_t start_ticks)
{
  struct timespec now;
  const long ticks_per_s = sysconf(_SC_CLK_TCK);
  if (ticks_per_s <= 0 || clock_gettime(CLOCK_BOOTTIME, &now) != 0)
    return 0;
  const uint64_t start_s = start_ticks / (uint64_t)ticks_per_s;
  return (uint64_t)now.tv_sec > start_s ? (uint64_t)now.tv_sec - start_s : 0;
}

static bool counters_copy_patiently(const struct counters_page *page, struct counters_snapshot *out)
{
  uint64_t start_ticks;
  bool copied = false;
  for (int tries = 0; tries < PAGE_TRIES_BUSY && !copied; tries++)
    copied = counters_copy(page, out, &start_ticks);
  out->alive = counters_alive(out->pid, start_ticks, NULL);
  /* A dead writer ends no bracket, so one more look is the last word on it, unless another process has taken the page over. */
  for (int tries = 0; !copied && tries < (out->alive ? PAGE_TRIES_PAUSED : 1); tries++) {
    nanosleep(&(struct timespec){.tv_nsec = PAGE_PAUSE_NS}, NULL);
    copied = counters_copy(page, out, &start_ticks);
    out->alive = counters_alive(out->pid, start_ticks, NULL);
  }
  out->uptime_s = out->alive ? counters_uptime_s(start_ticks) : 0;
  const uint64_t now_ns = clock_monotonic_ns();
  out->state_ns = copied && out->alive && now_ns > out->state_ns ? now_ns - out->state_ns : 0;
  return copied;
}

static int counters_read_page(const struct counters_page *page, const char *path, struct counters_snapshot *out, struct failure *failure)
{
  if (!counters_page_known(page))
    return failure_set(failure, MUSTER_ERR_FORMAT, "%s is not a counter page of this version; its process must be of the same build", path);
  memcpy(out->role, page->role, sizeof out->role);
  if (counters_copy_patiently(page, out))
    return MUSTER_OK;
  const struct counters_snapshot who = {.pid = out->pid, .alive = out->alive, .started_us = out->started_us, .uptime_s = out->uptime_s};
  *out = who;
  memcpy(out->role, page->role, sizeof out->role);
  return failure_set(failure, MUSTER_ERR_AGAIN,
                     "%s: the process with pid %" PRIu32 " %s in the middle of an update; its counts are not shown", path, out->pid,
                     out->alive ? "is held up" : "died");
}

int counters_read(const char *directory, const char *role, struct counters_snapshot *out, struct failure *failure)
{
  *out = (struct counters_snapshot){0};
  char path[LIMIT_PATH_BYTES];
  if (snprintf(path, sizeof path, "%s/%s", directory, role) >= (int)sizeof path)
    return failure_set(failure, MUSTER_ERR_LIMIT, "the path of the counter page of %.30s is too long", role);
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0)
    return failure_set_errno(failure,
                             errno == ENOENT  ? MUSTER_ERR_NOT_FOUND
                             : errno == ELOOP ? MUSTER_ERR_FORMAT
                                              : MUSTER_ERR_IO,
                             errno, "cannot open %s", path);
  struct stat info;
  if (fstat(fd, &info) != 0) {
    const int error = errno;
    close(fd);
    return failure_set_errno(failure, MUSTER_ERR_IO, error, "cannot look at %s", path);
  }
  if (!S_ISREG(info.st_mode) || info.st_size != (off_t)sizeof(struct counters_page)) {
    close(fd);
    return failure_set(failure, MUSTER_ERR_FORMAT, "%s has not the size of a counter page of this version", path);
  }
  const struct counters_page *page = mmap(NULL, sizeof *page, PROT_READ, MAP_SHARED, fd, 0);
  const int error = errno;
  close(fd);
  if (page == MAP_FAILED)
    return failure_set_errno(failure, MUSTER_ERR_MEMORY, error, "cannot map %s", path);
  const int status = counters_read_page(page, path, out, failure);
  munmap((void *)page, sizeof *page);
  return status;
}

static int counters_compare(const void *left, const void *right) { return strcmp(left, right); }

static int counters_list(const char *directory, char roles[PAGE_ROLES][PAGE_ROLE_BYTES], size_t *count, struct failure *failure)
{
  DIR *folder = opendir(directory);
  *count = 0;
  if (folder == NULL)
    return failure_set_errno(failure, errno == ENOENT ? MUSTER_ERR_NOT_FOUND : MUSTER_ERR_IO, errno, "cannot list the counters in %s",
                             directory);
  for (const struct dirent *entry = readdir(folder); entry != NULL && *count < PAGE_ROLES; entry = readdir(folder)) {
    if (counters_role_valid(entry->d_name))
      memcpy(roles[(*count)++], entry->d_name, strlen(entry->d_name) + 1);
  }
  closedir(folder);
  qsort(roles, *count, sizeof roles[0], counters_compare);
  return MUSTER_OK;
}

static bool counters_read_writer(const char *directory, const char *role, struct counters_writer *out)
{
  struct counters_page_head head;
  char path[LIMIT_PATH_BYTES];
  if (snprintf(path, sizeof path, "%s/%s", directory, role) >= (int)sizeof path)
    return false;
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  const bool whole = fd >= 0 && pread(fd, &head, sizeof head, 0) == (ssize_t)sizeof head;
  if (fd >= 0)
    close(fd);
  if (!whole || head.magic != PAGE_MAGIC || strncmp(head.role, role, sizeof head.role) != 0)
    return false;
  *out = (struct counters_writer){.pid = head.pid};
  memcpy(out->role, role, strlen(role) + 1);
  return counters_alive(head.pid, head.start_ticks, &out->certain);
}

int counters_each_writer(const char *directory, void (*each)(void *context, const struct counters_writer *writer), void *context,
                         struct failure *failure)
{
  char roles[PAGE_ROLES][PAGE_ROLE_BYTES];
  size_t count;
  const int status = counters_list(directory, roles, &count, failure);
  for (size_t i = 0; status == MUSTER_OK && i < count; i++) {
    struct counters_writer writer;
    if (counters_read_writer(directory, roles[i], &writer))
      each(context, &writer);
  }
  return status;
}

int counters_each(const char *directory, int (*each)(void *context, const struct counters_snapshot *page), void *context,
                  struct failure *failure)
{
  char roles[PAGE_ROLES][PAGE_ROLE_BYTES];
  size_t count;
  const int listed = counters_list(directory, roles, &count, failure);
  if (listed != MUSTER_OK)
    return listed;
  for (size_t i = 0; i < count; i++) {
    struct counters_snapshot page;
    struct failure why = FAILURE_NONE;
    const int status = counters_read(directory, roles[i], &page, &why);
    if (status == MUSTER_ERR_IO || status == MUSTER_ERR_MEMORY) /* a sum without it would be wrong */
      return failure_set(failure, status, "%s", why.text);
    if (status != MUSTER_OK && status != MUSTER_ERR_AGAIN)
      continue;
    const int answer = each(context, &page);
    if (answer != 0)
      return answer;
  }
  return MUSTER_OK;
}
