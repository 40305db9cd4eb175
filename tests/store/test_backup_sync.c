/* The order in which a backup comes to the disk: whatever the manifest names is synced, bytes and names, before the manifest has its name. The
 * functions below stand in the place of libc's. (What a power cut leaves of it is tried by tests/faults/powercut.py.) */
#include "copies.h"

#include <errno.h>
#include <sys/syscall.h>

enum { FILES_MAX = 64 };

/* Files and folders of the backup of which something is not on the disk yet: bytes of a file, names in a folder. */
static struct {
  char root[300]; /* "": nobody looks */
  char path[FILES_MAX][400];
  unsigned count;
  unsigned sealed;     /* manifests that took their name */
  char too_early[400]; /* what was not on the disk then */
} unsynced;

static bool is_ours(const char *path, const char *name)
{
  return unsynced.root[0] && strncmp(path, unsynced.root, strlen(unsynced.root)) == 0 && strcmp(name, "/lock") != 0;
}

static void forget(const char *path)
{
  for (unsigned i = 0; i < unsynced.count; i++)
    if (strcmp(unsynced.path[i], path) == 0)
      memcpy(unsynced.path[i], unsynced.path[--unsynced.count], sizeof unsynced.path[0]);
}

static void remember(const char *path)
{
  forget(path);
  assert_true(unsynced.count < FILES_MAX);
  snprintf(unsynced.path[unsynced.count++], sizeof unsynced.path[0], "%s", path);
}

static void folder_of(const char *path, char out[400])
{
  snprintf(out, 400, "%s", path);
  *strrchr(out, '/') = '\0';
}

/* A new name, and a file of which nothing is known to be on the disk. The manifest's own folder is synced after its rename. */
static void saw_new(const char *path, bool file)
{
  char folder[400];
  if (!is_ours(path, path + strlen(unsynced.root)) || strstr(path, "/manifest"))
    return;
  folder_of(path, folder);
  if (strlen(folder) >= strlen(unsynced.root))
    remember(folder);
  if (file)
    remember(path);
}

static void path_of(int fd, char out[400])
{
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, out, 399);
  out[size > 0 ? size : 0] = '\0';
}

static int saw_sync(int fd, long number)
{
  char path[400];
  path_of(fd, path);
  forget(path);
  return (int)syscall(number, fd);
}

int fsync(int fd) { return saw_sync(fd, SYS_fsync); }
int fdatasync(int fd) { return saw_sync(fd, SYS_fdatasync); }

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at)
{
  char path[400];
  path_of(fd, path);
  if (is_ours(path, path + strlen(unsynced.root)))
    remember(path);
  return syscall(SYS_pwrite64, fd, bytes, size, at);
}

int open(const char *path, int flags, ...)
{
  va_list more;
  va_start(more, flags);
  const mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
  va_end(more);
  if (flags & O_CREAT)
    saw_new(path, true);
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

/* A file that cannot be read behind its first block, on a file system that knows no sync_file_range: "": none. */
static char unreadable[400];

ssize_t pread(int fd, void *bytes, size_t size, off_t at)
{
  char path[400];
  path_of(fd, path);
  if (unreadable[0] && strcmp(path, unreadable) == 0 && at > 0) {
    errno = EIO;
    return -1;
  }
  return syscall(SYS_pread64, fd, bytes, size, at);
}

int sync_file_range(int fd, off_t at, off_t size, unsigned flags)
{
  if (!unreadable[0])
    return (int)syscall(SYS_sync_file_range, fd, at, size, flags);
  errno = EINVAL;
  return -1;
}

int mkdir(const char *path, mode_t mode)
{
  saw_new(path, false);
  return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int rename(const char *from, const char *to)
{
  const char *name = strrchr(to, '/');
  if (unsynced.root[0] && name && strcmp(name, "/manifest") == 0) {
    unsynced.sealed++;
    if (unsynced.count && !unsynced.too_early[0])
      snprintf(unsynced.too_early, sizeof unsynced.too_early, "%s", unsynced.path[0]);
    remember(unsynced.root); /* until its folder is synced */
  }
  return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static void what_a_manifest_names_is_on_the_disk_before_it(void **state)
{
  struct world *w = *state;
  fill(w, 0, 30, true);
  snprintf(unsynced.root, sizeof unsynced.root, "%.299s", w->backup);
  for (unsigned run = 0; run < 4; run++) { /* the later ones add to it, and write small segments anew as one */
    unsynced.sealed = 0;
    run_well(w, run == 1 ? SMALL_SEGMENT : 0);
    assert_int_equal(unsynced.sealed, run == 0 ? 2 : 1); /* that it has begun, and that it has ended */
    if (unsynced.too_early[0])
      fail_msg("run %u: %s was not on the disk when the manifest took its name", run, unsynced.too_early);
    if (unsynced.count)
      fail_msg("run %u: %s is not on the disk at its end", run, unsynced.path[0]);
    fill(w, 30 + run * 20, 50 + run * 20, true);
  }
  unsynced.root[0] = '\0';
}

/* Whatever else is called until it is told. */
static void the_cause_of_a_failed_read_is_told(void **state)
{
  struct world *w = *state;
  struct failure failure = FAILURE_NONE;
  fill(w, 0, 20, false);
  run_well(w, 0);
  fill(w, 20, 40, false);
  snprintf(unreadable, sizeof unreadable, "%s", file_of(w, segment_name(w, 0)));
  const int status = run(w, 0, &failure); /* it is to be merged with the new one */
  unreadable[0] = '\0';
  assert_int_equal(status, MUSTER_ERR_IO);
  if (!strstr(failure.text, strerror(EIO)))
    fail_msg("%s", failure.text);
  run_well(w, 0);
  restore_well(w, 40);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      WORLD_TEST(what_a_manifest_names_is_on_the_disk_before_it),
      WORLD_TEST(the_cause_of_a_failed_read_is_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
