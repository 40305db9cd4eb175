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

struct counters {
  struct counters_page *page;
};

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
  atomic_store_explicit(&page->beat_us, now_us, memory_order_relaxed);
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

/* The page of a dead writer, begun anew where it lies: on a full disk a process could otherwise not start. NULL: none can be taken. */
static struct counters_page *counters_take_over(const char *path, const char *role)
{
  const int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0)
    return NULL;
  struct counters_page *page = counters_map_former(fd, role);
  if (page != MAP_FAILED) {
    const uint64_t sequence = atomic_load_explicit(&page->sequence, memory_order_relaxed) | 1; /* odd already where it died in a bracket */
    atomic_store_explicit(&page->sequence, sequence, memory_order_relaxed);
    atomic_thread_fence(memory_order_release); /* as in counters_begin */
    for (int i = 0; i < COUNTER_COUNT; i++)
      atomic_store_explicit(&page->value[i], 0, memory_order_relaxed);
    for (uint32_t i = 0; i < COUNTER_REASONS; i++)
      atomic_store_explicit(&page->reason[i], 0, memory_order_relaxed);
    counters_fill(page);
    atomic_store_explicit(&page->sequence, sequence + 1, memory_order_release);
  }
  close(fd); /* with the lock: whoever comes next finds a living writer */
  return page == MAP_FAILED ? NULL : page;
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
  struct counters *c = malloc(sizeof *c);
  if (c == NULL)
    return failure_set(failure, MUSTER_ERR_MEMORY, "no memory for the counters of %s", role);
  c->page = counters_take_over(path, role);
  if (c->page != NULL) {
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

void counters_begin(struct counters *c)
{
  if (c == NULL)
    return;
  const uint64_t sequence = atomic_load_explicit(&c->page->sequence, memory_order_relaxed);
  assert(sequence % 2 == 0 && "a bracket inside a bracket");
  atomic_store_explicit(&c->page->sequence, sequence + 1, memory_order_relaxed);
  atomic_thread_fence(memory_order_release); /* no later store is seen before the odd number */
}

void counters_end(struct counters *c)
{
  if (c == NULL)
    return;
  const uint64_t sequence = atomic_load_explicit(&c->page->sequence, memory_order_relaxed);
  assert(sequence % 2 == 1 && "an end without its begin");
  atomic_store_explicit(&c->page->sequence, sequence + 1, memory_order_release);
}

/* One writer a page: a load and a store are enough, and cheaper than a locked addition. */
static void counters_move(struct counters *c, _Atomic uint64_t *at, uint64_t value)
{
  assert(atomic_load_explicit(&c->page->sequence, memory_order_relaxed) % 2 == 1 && "a counter is changed inside a bracket");
  atomic_store_explicit(at, value, memory_order_relaxed);
}

void counters_add(struct counters *c, enum counter_id id, uint64_t amount)
{
  if (c != NULL)
    counters_move(c, &c->page->value[id], counters_get(c, id) + amount);
}

void counters_subtract(struct counters *c, enum counter_id id, uint64_t amount)
{
  if (c == NULL)
    return;
  assert(counter_list[id].type == COUNTER_GAUGE && counters_get(c, id) >= amount);
  counters_move(c, &c->page->value[id], counters_get(c, id) - amount);
}

void counters_set(struct counters *c, enum counter_id id, uint64_t value)
{
  if (c != NULL)
    counters_move(c, &c->page->value[id], value);
}

void counters_add_reason(struct counters *c, uint32_t reason, uint64_t amount)
{
  if (c == NULL)
    return;
  assert(reason < COUNTER_REASONS);
  _Atomic uint64_t *at = &c->page->reason[reason];
  counters_move(c, at, atomic_load_explicit(at, memory_order_relaxed) + amount);
}

void counters_state(struct counters *c, enum process_state state)
{
  if (c == NULL)
    return;
  counters_begin(c);
  atomic_store_explicit(&c->page->state, state, memory_order_relaxed);
  counters_end(c);
}

void counters_beat(struct counters *c)
{
  if (c == NULL)
    return;
  const int64_t now_us = clock_wall_us();
  counters_begin(c);
  atomic_store_explicit(&c->page->beat_us, now_us, memory_order_relaxed);
  counters_end(c);
}

uint64_t counters_get(const struct counters *c, enum counter_id id)
{
  return c == NULL ? 0 : atomic_load_explicit(&c->page->value[id], memory_order_relaxed);
}
