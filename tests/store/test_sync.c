/* The order in which things come to the disk: the system's calls to write and to sync are looked at. The functions below stand in the
 * place of libc's, for LMDB as well. (That a sync that fails stops the store: test_commit.c.) */
#include "fixture.h"
#include "store/env.h"

#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum { CALLS_MAX = 4096 };
enum call { CALL_WRITE, CALL_WRITE_THROUGH, CALL_SYNC, CALL_SYNC_FOLDER };

static struct {
  bool watching;
  unsigned count;
  enum call call[CALLS_MAX]; /* of data.mdb and of folders */
  struct stat folder[2];     /* synced last, and before that */
} seen;

static struct {
  bool short_writes; /* of data.mdb: the half of each is done */
  uint64_t free_bytes;
} full;

int statvfs(const char *path, struct statvfs *out)
{
  (void)path;
  *out = (struct statvfs){.f_bavail = full.free_bytes / 4096, .f_frsize = 4096};
  return 0;
}

static void watch(void)
{
  memset(&seen, 0, sizeof seen);
  seen.watching = true;
}

static void note(enum call call)
{
  assert_true(seen.count < CALLS_MAX);
  seen.call[seen.count++] = call;
}

static bool names_data(int fd, char name[256])
{
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, name, 255);
  name[size > 0 ? size : 0] = '\0';
  return strstr(name, "/data.mdb") != NULL;
}

static void saw_write(int fd)
{
  char name[256];
  if (seen.watching && names_data(fd, name))
    note(fcntl(fd, F_GETFL) & O_DSYNC ? CALL_WRITE_THROUGH : CALL_WRITE);
}

static int saw_sync(int fd, long number)
{
  char name[256];
  struct stat st;
  const bool data = names_data(fd, name);
  if (seen.watching && data)
    note(CALL_SYNC);
  if (seen.watching && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
    note(CALL_SYNC_FOLDER);
    seen.folder[1] = seen.folder[0];
    seen.folder[0] = st;
  }
  return (int)syscall(number, fd);
}

int fdatasync(int fd) { return saw_sync(fd, SYS_fdatasync); }
int fsync(int fd) { return saw_sync(fd, SYS_fsync); }

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at)
{
  char name[256];
  saw_write(fd);
  return syscall(SYS_pwrite64, fd, bytes, full.short_writes && names_data(fd, name) ? size / 2 : size, at);
}

ssize_t write(int fd, const void *bytes, size_t size)
{
  saw_write(fd);
  return syscall(SYS_write, fd, bytes, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
  saw_write(fd);
  return syscall(SYS_writev, fd, parts, count);
}

/* ---- the tests ---- */

static int teardown(void **state)
{
  seen.watching = false;
  fixture_remove(*state);
  free(*state);
  return 0;
}

/* Pages, then a sync, then the page that makes them valid, written through: in any other order a power cut leaves a commit without its
 * pages, or none at all. */
static void a_commit_is_on_the_disk_before_it_is_said(void **state)
{
  struct fixture *x = *state;
  struct store *s = fixture_open(x);
  for (uint64_t commit = 0; commit < 5; commit++) {
    unsigned last_write = 0, last_sync = 0, last_through = 0;
    watch();
    fixture_fill(s, commit * 100, commit * 100 + 100, 100);
    seen.watching = false;
    for (unsigned i = 0; i < seen.count; i++) {
      last_write = seen.call[i] == CALL_WRITE ? i + 1 : last_write;
      last_sync = seen.call[i] == CALL_SYNC ? i + 1 : last_sync;
      last_through = seen.call[i] == CALL_WRITE_THROUGH ? i + 1 : last_through;
    }
    assert_true(last_write > 0);
    assert_true(last_sync > last_write);
    assert_true(last_through > last_sync);
  }
  store_close(s);
}

/* A file whose name is not on the disk is not there after a power cut. */
static void a_new_shard_has_its_names_on_the_disk(void **state)
{
  struct fixture *x = *state;
  char parent[320];
  struct stat own, above;
  watch();
  struct store *s = fixture_open(x);
  seen.watching = false;
  fixture_file(x, parent, "..");
  assert_true(stat(x->path, &own) == 0 && stat(parent, &above) == 0);
  unsigned folders = 0;
  for (unsigned i = 0; i < seen.count; i++)
    folders += seen.call[i] == CALL_SYNC_FOLDER;
  assert_int_equal(folders, 3); /* the shard's after data.mdb, its parent, the shard's after the marker */
  assert_int_equal(seen.folder[0].st_ino, own.st_ino);
  assert_int_equal(seen.folder[1].st_ino, above.st_ino);
  store_close(s);
}

/* The last write on a disk that fills is done in part, and LMDB calls that EIO. A node that is told of a broken disk ends; of a full one it waits. */
static void a_write_that_ends_short_is_a_full_disk_where_nothing_is_free(void **state)
{
  struct fixture *x = *state;
  static const struct {
    uint64_t free_bytes;
    int status;
  } cases[] = {{0, MUSTER_ERR_FULL}, {100 * LIMIT_MIB, MUSTER_ERR_IO}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct failure failure = FAILURE_NONE;
    struct store *s = fixture_open(x);
    assert_int_equal(store_begin(s), MUSTER_OK);
    fixture_put(s, 1000 + i, NULL);
    full.free_bytes = cases[i].free_bytes;
    full.short_writes = true;
    assert_int_equal(store_commit(s, &failure), cases[i].status);
    full.short_writes = false;
    store_close(s);
  }
}

/* LMDB writes there through memory: on a full disk a page without its block is a signal. */
static void the_lock_file_has_its_blocks(void **state)
{
  struct fixture *x = *state;
  char path[320];
  struct stat st;
  struct store *s = fixture_open(x);
  fixture_file(x, path, STORE_FILE_LOCK);
  assert_int_equal(stat(path, &st), 0);
  assert_true(st.st_size >= 8192 && (uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size);
  store_close(s);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_commit_is_on_the_disk_before_it_is_said, fixture_setup, teardown),
      cmocka_unit_test_setup_teardown(a_new_shard_has_its_names_on_the_disk, fixture_setup, teardown),
      cmocka_unit_test_setup_teardown(a_write_that_ends_short_is_a_full_disk_where_nothing_is_free, fixture_setup, teardown),
      cmocka_unit_test_setup_teardown(the_lock_file_has_its_blocks, fixture_setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
