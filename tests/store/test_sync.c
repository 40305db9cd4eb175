/* The order in which things come to the disk: the system's calls to write and to sync are looked at. The functions below stand in the
 * place of libc's, for LMDB as well. (That a sync that fails stops the store: test_commit.c.) */
#include "fixture.h"

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
  saw_write(fd);
  return syscall(SYS_pwrite64, fd, bytes, size, at);
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

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_commit_is_on_the_disk_before_it_is_said, fixture_setup, teardown),
      cmocka_unit_test_setup_teardown(a_new_shard_has_its_names_on_the_disk, fixture_setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
