/*
 * What the tests of salvage share: a shard with blocks of both kinds, on pages of their own and in leaves of LMDB's tree,
 * and its file in memory, to be damaged anywhere and put back. Each test program includes it once.
 */
#ifndef MUSTER_TESTS_STORE_WRECK_H
#define MUSTER_TESTS_STORE_WRECK_H

#include "fixture.h"
#include "store/journal.h"

#define PAGE 4096u
#define RECORDS 600u

static inline int wreck_setup(void **state)
{
  fixture_setup(state);
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  fixture_fill(s, 0, 400, 50);      /* blocks on pages of their own */
  fixture_fill(s, 400, RECORDS, 2); /* blocks in leaves of the tree */
  store_close(s);
  return 0;
}

/* The shard's file in memory, to be changed and put back. */
static inline uint8_t *file_read(const struct fixture *x, size_t *size)
{
  char data[320];
  struct stat st;
  fixture_file(x, data, "data.mdb");
  const int fd = open(data, O_RDONLY | O_CLOEXEC);
  assert_int_equal(fstat(fd, &st), 0);
  uint8_t *bytes = malloc((size_t)st.st_size + 16 * PAGE);
  assert_int_equal(read(fd, bytes, (size_t)st.st_size), st.st_size);
  close(fd);
  *size = (size_t)st.st_size;
  return bytes;
}

static inline void file_write(const struct fixture *x, const uint8_t *bytes, size_t size)
{
  char data[320];
  fixture_file(x, data, "data.mdb");
  const int fd = open(data, O_WRONLY | O_TRUNC | O_CLOEXEC);
  assert_int_equal(write(fd, bytes, size), size);
  close(fd);
}

/* Every place where the id of record n stands: columns first, and bytes, of all copies. */
static inline unsigned flip_id(uint8_t *bytes, size_t size, uint64_t n)
{
  struct fixture_record r;
  unsigned count = 0;
  fixture_record(&r, n, 0);
  for (uint8_t *p = bytes; (p = memmem(p, size - (size_t)(p - bytes), r.id, 16)); p += 16, count++)
    p[3] ^= 4;
  return count;
}

static inline bool is_tree(const uint8_t *page) { return page[10] & 3 && !(page[10] & 4); }

#endif
