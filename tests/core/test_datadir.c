/* core/datadir.c: who may use a data directory, and where its sockets live. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/datadir.h"
#include "core/scratch_place.h"

#define LONG_NAME "a-directory-with-a-name-so-long-that-no-socket-below-it-could-be-bound-since-its-address-has-107-bytes-only"

/* The one of the C library, with a note of what was synced: nothing else tells that a name is on the disk. */
static ino_t synced[64];
static size_t synced_count;
int fsync(int fd)
{
  struct stat info;
  if (synced_count < sizeof synced / sizeof synced[0] && fstat(fd, &info) == 0)
    synced[synced_count++] = info.st_ino;
  return (int)syscall(SYS_fsync, fd);
}

static bool was_synced(const char *path)
{
  struct stat info;
  assert_int_equal(stat(path, &info), 0);
  for (size_t i = 0; i < synced_count; i++)
    if (synced[i] == info.st_ino)
      return true;
  return false;
}

static int setup(void **state)
{
  (void)state;
  char made[SCRATCH_BYTES];
  scratch_make(made);
  char *whole = realpath(made, NULL);
  assert_non_null(whole);
  snprintf(scratch, sizeof scratch, "%s", whole);
  free(whole);
  unsetenv("MUSTER_DATA");
  unsetenv("XDG_RUNTIME_DIR");
  return 0;
}

static void test_name(void **state)
{
  (void)state;
  char name[LIMIT_PATH_BYTES], longer[LIMIT_PATH_BYTES];
  struct failure f = FAILURE_NONE;
  assert_int_equal(datadir_name(name, NULL, &f), MUSTER_ERR_USAGE);
  assert_non_null(strstr(f.text, "--data"));
  assert_non_null(strstr(f.text, "MUSTER_DATA"));
  setenv("MUSTER_DATA", "/env", 1);
  assert_int_equal(datadir_name(name, NULL, NULL), MUSTER_OK);
  assert_string_equal(name, "/env");
  assert_int_equal(datadir_name(name, "option", NULL), MUSTER_OK);
  assert_string_equal(name, "option");
  assert_int_equal(datadir_name(name, "", NULL), MUSTER_ERR_USAGE);
  memset(longer, 'x', sizeof longer - 1);
  longer[sizeof longer - 1] = '\0';
  assert_int_equal(datadir_name(name, longer, NULL), MUSTER_ERR_LIMIT);
}

static void test_create_and_open(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES], relative[LIMIT_PATH_BYTES], out[LIMIT_PATH_BYTES], wanted[LIMIT_PATH_BYTES];
  static const char *const folders[] = {"", "store", "keys", "run", "run/counters"};
  struct datadir d, again;
  struct failure f = FAILURE_NONE;
  below(path, "d");
  assert_int_equal(datadir_open(&d, path, &f), MUSTER_ERR_NOT_FOUND);
  assert_non_null(strstr(f.text, path));
  f = FAILURE_NONE;
  assert_int_equal(datadir_create(&d, path, &f), MUSTER_OK);
  assert_string_equal(d.root, path);
  assert_int_equal(d.lock_fd, -1);
  for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
    datadir_path(&d, out, folders[i]);
    assert_int_equal(mode_of(out), 0700);
  }
  below(wanted, "d/run");
  assert_string_equal(d.sockets, wanted);
  assert_int_equal(datadir_create(&d, path, &f), MUSTER_OK); /* and again, on what is there */

  below(relative, "d/../d/");
  assert_int_equal(datadir_open(&again, relative, &f), MUSTER_OK);
  assert_string_equal(again.root, d.root);
  assert_string_equal(again.sockets, d.sockets);
  datadir_shard_path(&d, out, 12);
  below(wanted, "d/store/shard-12");
  assert_string_equal(out, wanted);
  static const struct {
    void (*endpoint)(const struct datadir *d, char *out, uint32_t number);
    uint32_t number;
    const char *name;
  } sockets[] = {
      {datadir_submit_endpoint, 0, "submit.sock"},
      {datadir_submit_endpoint, 3, "submit-3.sock"},
      {datadir_worker_endpoint, 0, "worker-0.sock"},
      {datadir_worker_endpoint, 63, "worker-63.sock"},
  };
  for (size_t i = 0; i < sizeof sockets / sizeof sockets[0]; i++) {
    sockets[i].endpoint(&d, out, sockets[i].number);
    snprintf(wanted, sizeof wanted, "ipc://%.2000s/%s", d.sockets, sockets[i].name);
    assert_string_equal(out, wanted);
  }
  datadir_close(&d);
  datadir_close(&again);
}

/* A store whose directory is gone after a power cut has lost what it acknowledged. */
static void test_names_are_synced(void **state)
{
  (void)state;
  struct datadir d;
  char path[LIMIT_PATH_BYTES];
  below(path, "d");
  synced_count = 0;
  assert_int_equal(datadir_create(&d, path, NULL), MUSTER_OK);
  assert_true(was_synced(path));
  assert_true(was_synced(scratch));
  synced_count = 0; /* a first start may have ended before it came to that */
  assert_int_equal(datadir_create(&d, path, NULL), MUSTER_OK);
  assert_true(was_synced(scratch));
}

static void test_parent_is_not_created(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES];
  struct datadir d;
  struct failure f = FAILURE_NONE;
  below(path, "missing/d");
  assert_int_equal(datadir_create(&d, path, &f), MUSTER_ERR_CREATE);
  assert_non_null(strstr(f.text, path));
  below(path, "missing");
  assert_int_equal(access(path, F_OK), -1);
}

static void test_open_to_others_is_refused(void **state)
{
  (void)state;
  static const unsigned modes[] = {0750, 0705, 0701, 0770, 0710};
  char path[LIMIT_PATH_BYTES];
  struct datadir d;
  below(path, "d");
  assert_int_equal(datadir_create(&d, path, NULL), MUSTER_OK);
  for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
    struct failure f = FAILURE_NONE;
    assert_int_equal(chmod(path, modes[i]), 0);
    assert_int_equal(datadir_open(&d, path, &f), MUSTER_ERR_DENIED);
    assert_non_null(strstr(f.text, "chmod 700"));
    assert_int_equal(datadir_create(&d, path, NULL), MUSTER_ERR_DENIED);
  }
  assert_int_equal(chmod(path, 0700), 0);
  assert_int_equal(datadir_open(&d, path, NULL), MUSTER_OK);
  char run[LIMIT_PATH_BYTES];
  datadir_path(&d, run, "run");
  assert_int_equal(chmod(run, 0755), 0);
  assert_int_equal(datadir_create(&d, path, NULL), MUSTER_ERR_DENIED);
}

static void test_other_owner_is_refused(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES], owner[64], self[64];
  struct datadir d;
  struct failure f = FAILURE_NONE;
  if (geteuid() != 0)
    skip(); /* only root can make one of another user */
  below(path, "d");
  assert_int_equal(mkdir(path, 0700), 0);
  assert_int_equal(chown(path, 54321, 54321), 0);
  snprintf(owner, sizeof owner, "user id 54321,");
  snprintf(self, sizeof self, "user id %u;", (unsigned)geteuid());
  assert_int_equal(datadir_open(&d, path, &f), MUSTER_ERR_DENIED);
  assert_non_null(strstr(f.text, owner));
  assert_non_null(strstr(f.text, self));
  assert_int_equal(datadir_create(&d, path, NULL), MUSTER_ERR_DENIED);
}

static void test_file_in_its_place(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES];
  struct datadir d;
  below(path, "d");
  scratch_write(path, "not a directory");
  assert_int_equal(datadir_open(&d, path, NULL), MUSTER_ERR_NOT_FOUND);
  assert_int_equal(datadir_create(&d, path, NULL), MUSTER_ERR_CREATE);
}

/* Whatever its mode is, nobody is told to change it, and nothing is made in it. */
static void test_foreign_directory_is_left_alone(void **state)
{
  (void)state;
  static const unsigned modes[] = {0755, 0700};
  char path[LIMIT_PATH_BYTES], file[LIMIT_PATH_BYTES], store[LIMIT_PATH_BYTES];
  struct datadir d;
  below(path, "d");
  below(file, "d/somebody's letter");
  below(store, "d/store");
  assert_int_equal(mkdir(path, 0700), 0);
  scratch_write(file, "text");
  for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
    struct failure f = FAILURE_NONE;
    assert_int_equal(chmod(path, modes[i]), 0);
    assert_int_equal(datadir_open(&d, path, &f), MUSTER_ERR_NOT_FOUND);
    assert_non_null(strstr(f.text, path));
    assert_non_null(strstr(f.text, "no Muster node"));
    assert_null(strstr(f.text, "chmod"));
    f = FAILURE_NONE;
    assert_int_equal(datadir_create(&d, path, &f), MUSTER_ERR_CREATE);
    assert_non_null(strstr(f.text, "no Muster node"));
    assert_null(strstr(f.text, "chmod"));
    assert_int_equal(access(store, F_OK), -1);
  }
}

static void test_empty_directory_is_taken(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES], found[LIMIT_PATH_BYTES], advice[LIMIT_PATH_BYTES + 16];
  struct datadir d;
  struct failure f = FAILURE_NONE;
  below(path, "d");
  below(found, "d/lost+found");
  assert_int_equal(mkdir(path, 0700), 0);
  assert_int_equal(mkdir(found, 0700), 0); /* a file system of its own begins with it */
  assert_int_equal(datadir_open(&d, path, NULL), MUSTER_OK);
  assert_int_equal(chmod(path, 0755), 0);
  assert_int_equal(datadir_create(&d, path, &f), MUSTER_ERR_DENIED);
  snprintf(advice, sizeof advice, "chmod 700 %s", path);
  assert_non_null(strstr(f.text, advice));
  assert_int_equal(chmod(path, 0700), 0);
  assert_int_equal(datadir_create(&d, path, NULL), MUSTER_OK);
}

/* /proc says ENOENT to every mkdir, though it is there. */
static void test_the_true_cause_is_told(void **state)
{
  (void)state;
  struct datadir d;
  struct failure f = FAILURE_NONE;
  assert_int_equal(datadir_create(&d, "/proc/muster", &f), MUSTER_ERR_CREATE);
  assert_null(strstr(f.text, "create that first"));
  assert_non_null(strstr(f.text, strerror(ENOENT)));
}

/* By its mode, which root could pass; it may still be read. */
static void test_read_only_mode(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES];
  struct datadir d;
  struct failure f = FAILURE_NONE;
  below(path, "d");
  assert_int_equal(datadir_create(&d, path, NULL), MUSTER_OK);
  assert_int_equal(chmod(path, 0500), 0);
  assert_int_equal(datadir_create(&d, path, &f), MUSTER_ERR_DENIED);
  assert_non_null(strstr(f.text, "0500"));
  assert_int_equal(datadir_open(&d, path, NULL), MUSTER_OK);
  assert_int_equal(chmod(path, 0700), 0);
}

#define CANNOT_MOUNT 99

static int create_on_read_only_mount(const char *path)
{
  if (unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0)
    return CANNOT_MOUNT;
  if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || mount(path, path, NULL, MS_BIND, NULL) != 0 ||
      mount(path, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) != 0)
    return CANNOT_MOUNT;
  struct datadir d;
  struct failure f = FAILURE_NONE;
  if (geteuid() != 0 && geteuid() == 65534)
    return CANNOT_MOUNT; /* the owner's id is not mapped here */
  if (datadir_create(&d, path, &f) != MUSTER_ERR_CREATE)
    return 1;
  if (strstr(f.text, "read-only") == NULL)
    return 2;
  return datadir_open(&d, path, NULL) == MUSTER_OK ? 0 : 3;
}

static void test_read_only_file_system(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES];
  below(path, "d");
  assert_int_equal(mkdir(path, 0700), 0);
  const pid_t pid = fork();
  if (pid == 0)
    _exit(create_on_read_only_mount(path));
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status));
  if (WEXITSTATUS(status) == CANNOT_MOUNT)
    skip();
  assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- sockets ---- */

/* The note of the sockets is a former node's until that has ended: what only creates leaves it as it is. */
static int create_and_choose(struct datadir *d, const char *path, struct failure *failure)
{
  char note[LIMIT_PATH_BYTES + 16];
  struct stat before, after;
  snprintf(note, sizeof note, "%s/run/sockets", path);
  const int was = stat(note, &before);
  const int status = datadir_create(d, path, failure);
  assert_int_equal(stat(note, &after), was);
  assert_true(was != 0 || (before.st_ino == after.st_ino && before.st_size == after.st_size));
  return status == MUSTER_OK ? datadir_choose_sockets(d, failure) : status;
}

static void make_long(struct datadir *d, char path[LIMIT_PATH_BYTES])
{
  below(path, LONG_NAME);
  struct failure f = FAILURE_NONE;
  if (create_and_choose(d, path, &f) != MUSTER_OK)
    fail_msg("%s", f.text);
}

static void assert_fits(const struct datadir *d)
{
  char endpoint[LIMIT_PATH_BYTES];
  datadir_submit_endpoint(d, endpoint, LIMIT_INGESTS);
  assert_true(strlen(endpoint) - strlen("ipc://") <= LIMIT_SOCKET_PATH);
  datadir_worker_endpoint(d, endpoint, LIMIT_SHARDS - 1);
  assert_true(strlen(endpoint) - strlen("ipc://") <= LIMIT_SOCKET_PATH);
}

static void test_sockets_at_the_edge(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES], run[LIMIT_PATH_BYTES + 8], note[LIMIT_PATH_BYTES];
  below(path, "");
  size_t size = strlen(path);
  /* "<root>/run/submit-16.sock" has 107 bytes, then 108. */
  for (size_t root_bytes = 107 - 19; root_bytes <= 107 - 18; root_bytes++) {
    struct datadir d;
    memset(path + size, 'x', root_bytes - size);
    path[root_bytes] = '\0';
    assert_int_equal(create_and_choose(&d, path, NULL), MUSTER_OK);
    assert_fits(&d);
    snprintf(run, sizeof run, "%s/run", path);
    datadir_path(&d, note, "run/sockets");
    if (root_bytes == 107 - 19) {
      assert_string_equal(d.sockets, run);
      assert_int_not_equal(access(note, F_OK), 0);
    } else {
      assert_string_not_equal(d.sockets, run);
      assert_int_equal(access(note, F_OK), 0);
      scratch_remove(d.sockets);
    }
  }
}

static void test_long_path_in_runtime_directory(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES], runtime[LIMIT_PATH_BYTES];
  struct datadir d, found;
  below(runtime, "r");
  assert_int_equal(mkdir(runtime, 0700), 0);
  setenv("XDG_RUNTIME_DIR", runtime, 1);
  make_long(&d, path);
  assert_memory_equal(d.sockets, runtime, strlen(runtime));
  assert_non_null(strstr(d.sockets, "/muster-"));
  assert_int_equal(mode_of(d.sockets), 0700);
  assert_fits(&d);
  /* Found by who has another environment, and kept by who creates again. */
  unsetenv("XDG_RUNTIME_DIR");
  assert_int_equal(datadir_open(&found, path, NULL), MUSTER_OK);
  assert_string_equal(found.sockets, d.sockets);
  assert_int_equal(create_and_choose(&found, path, NULL), MUSTER_OK);
  assert_string_equal(found.sockets, d.sockets);
}

static void test_long_path_without_runtime_directory(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES], prefix[64];
  struct datadir d, found;
  setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
  make_long(&d, path);
  snprintf(prefix, sizeof prefix, "/tmp/muster-%u-", (unsigned)geteuid());
  assert_memory_equal(d.sockets, prefix, strlen(prefix));
  assert_int_equal(mode_of(d.sockets), 0700);
  assert_fits(&d);
  assert_int_equal(datadir_open(&found, path, NULL), MUSTER_OK);
  assert_string_equal(found.sockets, d.sockets);

  /* Gone, as after a restart of the machine: readers look where nobody else can put a socket, and the next node makes it again. */
  char sockets[LIMIT_PATH_BYTES], run[LIMIT_PATH_BYTES];
  memcpy(sockets, d.sockets, sizeof sockets);
  scratch_remove(sockets);
  datadir_path(&d, run, "run");
  assert_int_equal(datadir_open(&found, path, NULL), MUSTER_OK);
  assert_string_equal(found.sockets, run);
  assert_int_equal(create_and_choose(&found, path, NULL), MUSTER_OK);
  assert_string_equal(found.sockets, sockets);

  /* Open to others, or a link: somebody else could answer there. */
  assert_int_equal(chmod(sockets, 0777), 0);
  assert_int_equal(datadir_open(&found, path, NULL), MUSTER_OK);
  assert_string_equal(found.sockets, run);
  assert_int_equal(create_and_choose(&found, path, NULL), MUSTER_ERR_DENIED);
  scratch_remove(sockets);
  assert_int_equal(symlink(scratch, sockets), 0);
  assert_int_equal(create_and_choose(&found, path, NULL), MUSTER_ERR_DENIED);
  assert_int_equal(unlink(sockets), 0);
}

static void test_damaged_note_of_sockets(void **state)
{
  (void)state;
  static const char *const notes[] = {"", "\n", "relative\n", "/tmp", "/nonexistent/x\n"};
  char path[LIMIT_PATH_BYTES], note[LIMIT_PATH_BYTES], run[LIMIT_PATH_BYTES], wanted[LIMIT_PATH_BYTES];
  struct datadir d, found;
  make_long(&d, path);
  memcpy(wanted, d.sockets, sizeof wanted);
  datadir_path(&d, note, "run/sockets");
  datadir_path(&d, run, "run");
  for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++) {
    scratch_write(note, notes[i]);
    assert_int_equal(datadir_open(&found, path, NULL), MUSTER_OK);
    assert_string_equal(found.sockets, run);
    assert_int_equal(create_and_choose(&found, path, NULL), MUSTER_OK);
    assert_string_equal(found.sockets, wanted);
  }
  scratch_remove(wanted);
}

/* A directory that was moved to a shorter path: its sockets are below it again, for everybody. */
static void test_short_path_with_a_note(void **state)
{
  (void)state;
  char path[LIMIT_PATH_BYTES], shorter[LIMIT_PATH_BYTES], run[LIMIT_PATH_BYTES];
  struct datadir d, found;
  make_long(&d, path);
  below(shorter, "d");
  assert_int_equal(rename(path, shorter), 0);
  assert_int_equal(create_and_choose(&found, shorter, NULL), MUSTER_OK);
  datadir_path(&found, run, "run");
  assert_string_equal(found.sockets, run);
  assert_int_equal(datadir_open(&found, shorter, NULL), MUSTER_OK);
  assert_string_equal(found.sockets, run);
  scratch_remove(d.sockets);
}

/* ---- shards and files ---- */

static void test_count_shards(void **state)
{
  (void)state;
  static const char *const ignored[] = {"shard-", "shard-x", "shard-1x", "shard-01", "shard--1", "Shard-1", "shard-0.old"};
  char path[LIMIT_PATH_BYTES];
  struct datadir d;
  uint32_t count = 99;
  int gap = 99;
  below(path, "d");
  assert_int_equal(datadir_create(&d, path, NULL), MUSTER_OK);
  assert_int_equal(datadir_count_shards(&d, &count, &gap, NULL), MUSTER_OK);
  assert_int_equal(count, 0);
  assert_int_equal(gap, -1);
  for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++) {
    snprintf(path, sizeof path, "%.2000s/store/%s", d.root, ignored[i]);
    assert_int_equal(mkdir(path, 0700), 0);
  }
  for (uint32_t shard = 0; shard < 12; shard++) {
    datadir_shard_path(&d, path, shard);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(datadir_count_shards(&d, &count, &gap, NULL), MUSTER_OK);
    assert_int_equal(count, shard + 1);
    assert_int_equal(gap, -1);
  }
  static const uint32_t removed[] = {10, 4, 0};
  for (uint32_t i = 0; i < 3; i++) {
    datadir_shard_path(&d, path, removed[i]);
    assert_int_equal(rmdir(path), 0);
    if (i == 1)
      scratch_write(path, "a file is no shard");
    assert_int_equal(datadir_count_shards(&d, &count, &gap, NULL), MUSTER_OK);
    assert_int_equal(count, 11 - i);
    assert_int_equal(gap, removed[i]);
  }
  struct failure f = FAILURE_NONE;
  datadir_shard_path(&d, path, 20);
  assert_int_equal(symlink(scratch, path), 0);
  assert_int_equal(datadir_count_shards(&d, &count, &gap, &f), MUSTER_ERR_DENIED);
  assert_non_null(strstr(f.text, "shard-20 is a symbolic link"));
  assert_int_equal(unlink(path), 0);
  f = FAILURE_NONE;
  datadir_shard_path(&d, path, LIMIT_SHARDS);
  assert_int_equal(mkdir(path, 0700), 0);
  assert_int_equal(datadir_count_shards(&d, &count, &gap, &f), MUSTER_ERR_FORMAT);
  assert_non_null(strstr(f.text, "shard-64"));
}

int main(void)
{
  const char *base = getenv("TMPDIR");
  if (base != NULL && strlen(base) > 30)
    unsetenv("TMPDIR"); /* sockets must fit below it */
#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
  const struct CMUnitTest tests[] = {
      EACH(test_name),
      EACH(test_create_and_open),
      EACH(test_names_are_synced),
      EACH(test_parent_is_not_created),
      EACH(test_open_to_others_is_refused),
      EACH(test_other_owner_is_refused),
      EACH(test_file_in_its_place),
      EACH(test_foreign_directory_is_left_alone),
      EACH(test_empty_directory_is_taken),
      EACH(test_the_true_cause_is_told),
      EACH(test_read_only_mode),
      EACH(test_read_only_file_system),
      EACH(test_sockets_at_the_edge),
      EACH(test_long_path_in_runtime_directory),
      EACH(test_long_path_without_runtime_directory),
      EACH(test_damaged_note_of_sockets),
      EACH(test_short_path_with_a_note),
      EACH(test_count_shards),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
