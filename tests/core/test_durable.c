/* core/durable.c: files that are replaced whole or stay as they were. (That a created one is whole: tests/core/test_keys.c.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/durable.h"
#include "core/limits.h"
#include "core/scratch_place.h"

/* In the place of libc's: what was synced, in its order. */
static struct stat synced[8];
static unsigned synced_count;

int fsync(int fd)
{
  assert_true(synced_count < sizeof synced / sizeof synced[0]);
  assert_int_equal(fstat(fd, &synced[synced_count++]), 0);
  return (int)syscall(SYS_fsync, fd);
}

static int setup(void **state)
{
  (void)state;
  synced_count = 0;
  scratch_make(scratch);
  return 0;
}

static void read_all(const char *path, char out[64])
{
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t size = read(fd, out, 63);
  assert_true(size >= 0);
  out[size] = '\0';
  close(fd);
}

static void test_replace_file(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES], text[64];
  below(path, "file");
  assert_int_equal(durable_replace_file(path, "first", 5, 0600, NULL), MUSTER_OK);
  assert_int_equal(mode_of(path), 0600);
  const int old = open(path, O_RDONLY | O_CLOEXEC);
  assert_int_equal(durable_replace_file(path, "the second", 10, 0400, NULL), MUSTER_OK);
  read_all(path, text);
  assert_string_equal(text, "the second");
  assert_int_equal(mode_of(path), 0400);
  assert_int_equal(read(old, text, sizeof text), 5); /* who had it open still reads the old one, whole */
  close(old);
  assert_int_equal(durable_replace_file(path, "", 0, 0600, NULL), MUSTER_OK);
  read_all(path, text);
  assert_string_equal(text, "");
  below(path, "missing/file");
  struct failure f = FAILURE_NONE;
  assert_int_equal(durable_replace_file(path, "x", 1, 0600, &f), MUSTER_ERR_NOT_FOUND);
}

static void test_replace_file_that_fails_keeps_the_old(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES], text[64];
  static const uint8_t large[8192];
  below(path, "file");
  assert_int_equal(durable_replace_file(path, "first", 5, 0600, NULL), MUSTER_OK);
  struct rlimit before, small;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  small = before;
  small.rlim_cur = 4096;
  signal(SIGXFSZ, SIG_IGN);
  struct failure f = FAILURE_NONE;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
  const int status = durable_replace_file(path, large, sizeof large, 0600, &f);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  assert_int_equal(status, MUSTER_ERR_IO);
  assert_non_null(strstr(f.text, "stays as it was"));
  read_all(path, text);
  assert_string_equal(text, "first");
  assert_int_equal(unlink(path), 0);
  assert_int_equal(rmdir(scratch), 0); /* nothing was left beside it */
  assert_int_equal(mkdir(scratch, 0700), 0);
}

static void test_created_only_where_nothing_is(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES], text[64];
  struct failure f = FAILURE_NONE;
  below(path, "file");
  assert_int_equal(durable_create_file(path, "first", 5, 0600, NULL), MUSTER_OK);
  assert_int_equal(mode_of(path), 0600);
  assert_int_equal(durable_create_file(path, "second", 6, 0600, &f), MUSTER_ERR_CREATE);
  read_all(path, text);
  assert_string_equal(text, "first");
  assert_int_equal(unlink(path), 0);
  assert_int_equal(rmdir(scratch), 0); /* nothing was left beside it */
  assert_int_equal(mkdir(scratch, 0700), 0);
}

/* First the bytes, under a name that nobody reads, then the name: after a power cut the file is whole, old or new. */
static void expect_synced(const char *path, off_t size_bytes)
{
  struct stat file, folder;
  assert_int_equal(stat(path, &file), 0);
  assert_int_equal(stat(scratch, &folder), 0);
  assert_int_equal(synced_count, 2);
  assert_int_equal(synced[0].st_ino, file.st_ino);
  assert_int_equal(synced[0].st_size, size_bytes);
  assert_int_equal(synced[1].st_ino, folder.st_ino);
}

static void test_bytes_are_synced_before_their_name(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES];
  below(path, "file");
  synced_count = 0;
  assert_int_equal(durable_create_file(path, "first", 5, 0600, NULL), MUSTER_OK);
  expect_synced(path, 5);
  synced_count = 0;
  assert_int_equal(durable_replace_file(path, "the second", 10, 0600, NULL), MUSTER_OK);
  expect_synced(path, 10);
}

/* What somebody has redirected into a file, its name included; of a pipe there is nothing to sync. */
static void test_output_is_on_the_disk(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES];
  int ends[2];
  below(path, "file");
  const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  assert_int_equal(write(fd, "first", 5), 5);
  synced_count = 0;
  assert_int_equal(durable_sync_output(fd, path, NULL), MUSTER_OK);
  expect_synced(path, 5);
  close(fd);
  assert_int_equal(pipe(ends), 0);
  synced_count = 0;
  assert_int_equal(durable_sync_output(ends[1], "a pipe", NULL), MUSTER_OK);
  assert_int_equal(synced_count, 0);
  close(ends[0]);
  close(ends[1]);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_replace_file, setup, teardown),
      cmocka_unit_test_setup_teardown(test_replace_file_that_fails_keeps_the_old, setup, teardown),
      cmocka_unit_test_setup_teardown(test_created_only_where_nothing_is, setup, teardown),
      cmocka_unit_test_setup_teardown(test_bytes_are_synced_before_their_name, setup, teardown),
      cmocka_unit_test_setup_teardown(test_output_is_on_the_disk, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
