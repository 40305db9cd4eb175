/* core/file.c: what is no file is refused at once, and no input is written over. A test that waits is a test that fails: SIGALRM ends it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/file.h"
#include "core/limits.h"
#include "core/scratch.h"

static char scratch[SCRATCH_BYTES];

static int setup(void **state)
{
  (void)state;
  scratch_make(scratch);
  alarm(60);
  return 0;
}

static int teardown(void **state)
{
  (void)state;
  scratch_remove(scratch);
  return 0;
}

static void below(char out[LIMIT_PATH_BYTES], const char *name) { snprintf(out, LIMIT_PATH_BYTES, "%s/%s", scratch, name); }

static void refused(enum file_name name, const char *path, int status, const char *why)
{
  struct failure failure = FAILURE_NONE;
  assert_int_equal(file_open(name, "the thing", path, 100, &failure), -1);
  assert_int_equal(failure.status, status);
  assert_non_null(strstr(failure.text, "cannot read the thing "));
  assert_non_null(strstr(failure.text, path));
  assert_non_null(strstr(failure.text, why));
  assert_null(file_open_stream(name, "the thing", path, 100, NULL));
}

static void test_files_are_read(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES], link[LIMIT_PATH_BYTES], text[16];
  struct failure failure = FAILURE_NONE;
  below(path, "plain");
  below(link, "link");
  scratch_write(path, "twelve bytes");
  assert_int_equal(symlink(path, link), 0);
  int fd = file_open(FILE_OF_NODE, "the thing", path, 12, &failure);
  assert_true(fd >= 0);
  assert_int_equal(read(fd, text, sizeof text), 12);
  assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
  close(fd);
  FILE *file = file_open_stream(FILE_OF_PEOPLE, "the thing", link, 12, &failure);
  assert_non_null(file);
  assert_string_equal(fgets(text, sizeof text, file), "twelve bytes");
  fclose(file);
  assert_int_equal(failure.status, MUSTER_OK);
  assert_int_equal(file_open(FILE_OF_PEOPLE, "the thing", path, 11, &failure), -1);
  assert_int_equal(failure.status, MUSTER_ERR_LIMIT);
  assert_non_null(strstr(failure.text, "12 bytes, and at most 11"));
  refused(FILE_OF_NODE, link, MUSTER_ERR_DENIED, "symbolic link");
}

static void test_what_is_no_file_is_refused(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES];
  below(path, "nowhere");
  refused(FILE_OF_PEOPLE, path, MUSTER_ERR_NOT_FOUND, strerror(ENOENT));
  errno = 0;
  file_open(FILE_OF_NODE, "the thing", path, 1, NULL);
  assert_int_equal(errno, ENOENT);
  below(path, "pipe");
  assert_int_equal(mkfifo(path, 0600), 0);
  refused(FILE_OF_PEOPLE, path, MUSTER_ERR_DENIED, "not a regular file");
  refused(FILE_OF_NODE, path, MUSTER_ERR_DENIED, "not a regular file");
  refused(FILE_OF_PEOPLE, "/dev/zero", MUSTER_ERR_DENIED, "not a regular file");
  refused(FILE_OF_PEOPLE, scratch, MUSTER_ERR_DENIED, "not a regular file");
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%.80s/socket", scratch);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  refused(FILE_OF_PEOPLE, address.sun_path, MUSTER_ERR_IO, "");
  close(fd);
}

static void test_an_input_is_never_emptied(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES], name[3][LIMIT_PATH_BYTES];
  FILE *out;
  below(path, "input");
  scratch_write(path, "the only copy");
  memcpy(name[0], path, sizeof path);
  below(name[1], "soft");
  below(name[2], "hard");
  assert_int_equal(symlink(path, name[1]), 0);
  assert_int_equal(link(path, name[2]), 0);
  const char *const inputs[] = {NULL, "no file but a key", path}, *const standard[] = {"-"};
  const int fd = open(path, O_RDONLY | O_CLOEXEC), before = dup(STDIN_FILENO);
  for (unsigned i = 0; i < 3; i++) {
    struct failure failure = FAILURE_NONE;
    struct stat info;
    assert_int_equal(file_create_stream(&out, name[i], inputs, 3, &failure), MUSTER_ERR_USAGE);
    assert_null(out);
    assert_non_null(strstr(failure.text, name[i]));
    dup2(fd, STDIN_FILENO);
    assert_int_equal(file_create_stream(&out, name[i], standard, 1, NULL), MUSTER_ERR_USAGE);
    assert_int_equal(file_check_output(fd, "standard output", standard, 1, NULL), MUSTER_ERR_USAGE);
    dup2(before, STDIN_FILENO);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, 13);
  }
  close(fd);
  close(before);
}

static void test_other_files_are_written(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES], input[LIMIT_PATH_BYTES];
  struct failure failure = FAILURE_NONE;
  struct stat info;
  FILE *out;
  below(input, "input");
  below(path, "output");
  scratch_write(input, "x");
  const char *const inputs[] = {input};
  for (int i = 0; i < 2; i++) { /* made, then emptied */
    assert_int_equal(file_create_stream(&out, path, inputs, 1, &failure), MUSTER_OK);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, 0);
    assert_int_equal(fcntl(fileno(out), F_GETFD), FD_CLOEXEC);
    fputs("written", out);
    fclose(out);
  }
  const char *const device[] = {"/dev/null"};
  assert_int_equal(file_create_stream(&out, "/dev/null", device, 1, &failure), MUSTER_OK);
  fclose(out);
  assert_int_equal(file_create_stream(&out, scratch, inputs, 1, &failure), MUSTER_ERR_CREATE);
  assert_null(out);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_files_are_read, setup, teardown),
      cmocka_unit_test_setup_teardown(test_what_is_no_file_is_refused, setup, teardown),
      cmocka_unit_test_setup_teardown(test_an_input_is_never_emptied, setup, teardown),
      cmocka_unit_test_setup_teardown(test_other_files_are_written, setup, teardown),
  };
  return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
