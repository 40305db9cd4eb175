#include "core/hand.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/limits.h"

#define HAND_MAGIC UINT64_C(0x31444e4154534d55) /* with the version of the layout */

/* The file. The kernel keeps what a process wrote into it when the process is killed, in the order of the writes. */
struct hand_page {
  _Atomic uint64_t magic;
  _Atomic uint32_t count; /* of the ids; 0: nothing is in hand */
  uint32_t free;
  _Atomic uint64_t id[HAND_PARTS];
};

struct hand {
  struct hand_page *page;
  bool has_former;
  uint32_t former_count;
  uint64_t former[HAND_PARTS];
};

void hand_path(const struct datadir *data, char *out, uint32_t shard)
{
  char name[32];
  snprintf(name, sizeof name, "run/hand-%" PRIu32, shard);
  datadir_path(data, out, name);
}

/* A file of full size whose blocks exist, so that no later store into the mapping meets a full disk. What exists is not asked for again: where nothing is
 * free, some file systems refuse even what a file has. */
static int hand_make_room(int fd)
{
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
    return EINVAL;
  if (info.st_size == (off_t)sizeof(struct hand_page) && (uint64_t)info.st_blocks * 512 >= sizeof(struct hand_page))
    return 0;
  if (ftruncate(fd, sizeof(struct hand_page)) != 0)
    return errno;
  return posix_fallocate(fd, 0, sizeof(struct hand_page));
}

static void hand_take_over(struct hand *h)
{
  uint32_t count = atomic_load_explicit(&h->page->count, memory_order_relaxed);
  h->has_former = atomic_load_explicit(&h->page->magic, memory_order_relaxed) == HAND_MAGIC;
  h->former_count = h->has_former && count <= HAND_PARTS ? count : 0;
  for (uint32_t i = 0; i < h->former_count; i++)
    h->former[i] = atomic_load_explicit(&h->page->id[i], memory_order_relaxed);
  hand_release(h);
  atomic_store_explicit(&h->page->magic, HAND_MAGIC, memory_order_release);
}

int hand_open(struct hand **out, const char *path, struct failure *failure)
{
  *out = NULL;
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  if (fd < 0)
    return failure_set_errno(failure, errno == ENOSPC ? MUSTER_ERR_FULL : MUSTER_ERR_CREATE, errno, "cannot open %s", path);
  int error = hand_make_room(fd);
  if (error) {
    close(fd);
    return failure_set_errno(failure, error == ENOSPC ? MUSTER_ERR_FULL : MUSTER_ERR_CREATE, error, "cannot take space for %s", path);
  }
  struct hand *h = calloc(1, sizeof *h);
  void *page = h ? mmap(NULL, sizeof *h->page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
  close(fd);
  if (page == MAP_FAILED) {
    free(h);
    return failure_set(failure, MUSTER_ERR_MEMORY, "no memory for %s", path);
  }
  h->page = page;
  hand_take_over(h);
  *out = h;
  return MUSTER_OK;
}

void hand_close(struct hand *h)
{
  if (!h)
    return;
  munmap(h->page, sizeof *h->page);
  free(h);
}

bool hand_has_former(const struct hand *h) { return h && h->has_former; }

const uint64_t *hand_former(const struct hand *h, uint32_t *count)
{
  *count = h ? h->former_count : 0;
  return *count ? h->former : NULL;
}

void hand_put(struct hand *h, uint32_t place, uint64_t id)
{
  assert(place < HAND_PARTS);
  if (h)
    atomic_store_explicit(&h->page->id[place], id, memory_order_relaxed);
}

void hand_hold(struct hand *h, uint32_t count)
{
  assert(count <= HAND_PARTS);
  if (!h)
    return;
  atomic_store_explicit(&h->page->count, count, memory_order_release);
  atomic_signal_fence(memory_order_seq_cst); /* no record is looked at before */
}

void hand_release(struct hand *h)
{
  if (!h)
    return;
  atomic_signal_fence(memory_order_seq_cst);
  atomic_store_explicit(&h->page->count, 0, memory_order_release);
}

uint32_t hand_count(const char *path)
{
  struct {
    uint64_t magic;
    uint32_t count;
  } head = {0};
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0)
    return 0;
  bool known = pread(fd, &head, sizeof head, 0) == (ssize_t)sizeof head && head.magic == HAND_MAGIC && head.count <= HAND_PARTS;
  close(fd);
  return known ? head.count : 0;
}

void hand_forget(const char *path)
{
  const uint64_t nobody = 0;
  int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0)
    return;
  if (pwrite(fd, &nobody, sizeof nobody, 0) != (ssize_t)sizeof nobody)
    unlink(path);
  close(fd);
}
