#include "core/counters.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/limits.h"

#define PAGE_MAGIC UINT64_C(0x5041474d55535452) /* "RTSUMGAP" in a file of this byte order */
#define PAGE_VERSION 1u
#define PAGE_ROLE_BYTES 24
#define PAGE_ROLES 256     /* pages that counters_each looks at; a node has fewer than 100 */
#define PAGE_TRIES_BUSY 64 /* reads at once, then with a pause between them: a writer may have lost its turn inside a bracket */
#define PAGE_TRIES_PAUSED 200
#define PAGE_PAUSE_NS 500000

/*
 * The file, as one process writes it and any may map it. magic, version, list_hash and role never change after the rename that shows the
 * page. The rest is guarded by sequence: odd inside a bracket, and while a page is taken over from a writer that is dead. All of it is
 * atomic, relaxed between the acquire and release on sequence, so that a read that raced is a defined value that the second look at
 * sequence throws away.
 */
struct counters_page {
  uint64_t magic;
  uint32_t version;
  _Atomic uint32_t pid;
  uint64_t list_hash;           /* of the names: a page of another build has other counters */
  _Atomic uint64_t start_ticks; /* field 22 of /proc/PID/stat: tells the writer from a later process with its pid */
  _Atomic int64_t started_us;
  char role[PAGE_ROLE_BYTES];
  _Alignas(64) _Atomic uint64_t sequence;
  _Atomic uint32_t state;
  _Atomic int64_t beat_us;
  _Atomic uint64_t value[COUNTER_COUNT];
  _Atomic uint64_t reason[COUNTER_REASONS];
};
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "readers map the page read-only, so a load must not write");

struct counters {
  struct counters_page *page;
};

const struct counter_info counter_list[COUNTER_COUNT] = {
#define COUNTER(name, type, unit, sentence) {#name, COUNTER_##type, #unit, sentence},
#include "core/counters.def"
#undef COUNTER
};

static uint64_t counters_list_hash(void)
{
  uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
  for (int i = 0; i < COUNTER_COUNT; i++) {
    for (const char *at = counter_list[i].name;; at++) {
      hash = (hash ^ (uint8_t)*at) * UINT64_C(0x100000001b3);
      if (*at == '\0')
        break;
    }
  }
  return hash ^ COUNTER_REASONS;
}

#define TICKS_UNKNOWN UINT64_MAX /* there is such a process, and the system does not tell now */

/* The start time of a process in clock ticks since boot; 0 where there is none, or it is dead and only not waited for yet. */
static uint64_t counters_start_ticks(uint32_t pid)
{
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%" PRIu32 "/stat", pid);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return errno == ENOENT ? 0 : TICKS_UNKNOWN;
  const ssize_t size = read(fd, text, sizeof text - 1);
  const int error = errno;
  close(fd);
  if (size <= 0)
    return size == 0 || error == ESRCH ? 0 : TICKS_UNKNOWN;
  text[size] = '\0';
  const char *at = strrchr(text, ')'); /* the name before it may hold anything */
  if (at == NULL || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X')
    return 0;
  at++;
  for (int field = 3; field < 22; field++) {
    at = strchr(at + 1, ' ');
    if (at == NULL)
      return 0;
  }
  return strtoull(at, NULL, 10);
}

static bool counters_role_valid(const char *role)
{
  const size_t size = strlen(role);
  return size > 0 && size < PAGE_ROLE_BYTES && strspn(role, "abcdefghijklmnopqrstuvwxyz0123456789-") == size;
}

/* ---- the writer ---- */

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

static bool counters_page_known(const struct counters_page *page)
{
  return page->magic == PAGE_MAGIC && page->version == PAGE_VERSION && page->list_hash == counters_list_hash() &&
         memchr(page->role, '\0', sizeof page->role) != NULL;
}

static bool counters_alive(uint32_t pid, uint64_t start_ticks)
{
  const uint64_t ticks = counters_start_ticks(pid);
  return ticks != 0 && (ticks == start_ticks || ticks == TICKS_UNKNOWN || start_ticks == TICKS_UNKNOWN);
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
                                             atomic_load_explicit(&page->start_ticks, memory_order_relaxed))))
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

/* ---- the readers ---- */

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
  for (int i = 0; i < COUNTER_COUNT; i++)
    out->value[i] = atomic_load_explicit(&page->value[i], memory_order_relaxed);
  for (uint32_t i = 0; i < COUNTER_REASONS; i++)
    out->reason[i] = atomic_load_explicit(&page->reason[i], memory_order_relaxed);
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
  out->alive = counters_alive(out->pid, start_ticks);
  /* A dead writer ends no bracket, so one more look is the last word on it, unless another process has taken the page over. */
  for (int tries = 0; !copied && tries < (out->alive ? PAGE_TRIES_PAUSED : 1); tries++) {
    nanosleep(&(struct timespec){.tv_nsec = PAGE_PAUSE_NS}, NULL);
    copied = counters_copy(page, out, &start_ticks);
    out->alive = counters_alive(out->pid, start_ticks);
  }
  out->uptime_s = out->alive ? counters_uptime_s(start_ticks) : 0;
  return copied;
}

static int counters_read_page(const struct counters_page *page, const char *path, struct counters_snapshot *out, struct failure *failure)
{
  if (!counters_page_known(page))
    return failure_set(failure, MUSTER_ERR_FORMAT, "%s is not a counter page of this version; its process must be of the same build", path);
  memcpy(out->role, page->role, sizeof out->role);
  if (counters_copy_patiently(page, out))
    return MUSTER_OK;
  out->state = 0;
  out->beat_us = 0;
  memset(out->value, 0, sizeof out->value);
  memset(out->reason, 0, sizeof out->reason);
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

int counters_each(const char *directory, int (*each)(void *context, const struct counters_snapshot *page), void *context,
                  struct failure *failure)
{
  DIR *folder = opendir(directory);
  if (folder == NULL)
    return failure_set_errno(failure, errno == ENOENT ? MUSTER_ERR_NOT_FOUND : MUSTER_ERR_IO, errno, "cannot list the counters in %s",
                             directory);
  char roles[PAGE_ROLES][PAGE_ROLE_BYTES];
  size_t count = 0;
  for (const struct dirent *entry = readdir(folder); entry != NULL && count < PAGE_ROLES; entry = readdir(folder)) {
    if (counters_role_valid(entry->d_name))
      memcpy(roles[count++], entry->d_name, strlen(entry->d_name) + 1);
  }
  closedir(folder);
  qsort(roles, count, sizeof roles[0], counters_compare);
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
