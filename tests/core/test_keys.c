/* core/keys.c: key files that only their owner may read, and what is written into them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/keys.h"
#include "core/key_place.h"

static void names_and_key_texts(void **state)
{
  (void)state;
  char name[LIMIT_SUBMITTER_NAME + 2];
  assert_true(key_name_valid("del-rio_2.intake"));
  assert_false(key_name_valid(""));
  assert_false(key_name_valid("Del Rio"));
  assert_false(key_name_valid("a\nb"));
  memset(name, 'a', sizeof name);
  name[LIMIT_SUBMITTER_NAME + 1] = 0;
  assert_false(key_name_valid(name));
  name[LIMIT_SUBMITTER_NAME] = 0;
  assert_true(key_name_valid(name));

  struct key_pair pair = fresh_key("a");
  assert_true(key_text_valid(pair.public_text));
  assert_true(key_text_valid("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7")); /* from the manual of CURVE */
  assert_false(key_text_valid("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf"));
  assert_false(key_text_valid("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf~"));
  assert_false(key_text_valid("#####>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7")); /* 85^5 - 1 is no 32-bit number */
  assert_true(key_text_valid("%nSc0>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"));  /* 2^32 - 1 */
  assert_false(key_text_valid("%nSc1>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"));
}

static void a_key_is_written_once_and_read_back(void **state)
{
  (void)state;
  struct failure f = FAILURE_NONE;
  struct stat st;
  struct key_pair pair = fresh_key("laredo"), back;
  assert_string_not_equal(fresh_key("laredo").secret_text, pair.secret_text);
  assert_int_equal(key_write(&pair, file_path, &f), MUSTER_OK);
  assert_int_equal(stat(file_path, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0600);
  assert_int_equal(key_read(&back, file_path, &f), MUSTER_OK);
  assert_memory_equal(&back, &pair, sizeof pair);
  struct key_pair other = fresh_key("other");
  assert_int_equal(key_write(&other, file_path, &f), MUSTER_ERR_CREATE);
  assert_non_null(strstr(f.text, file_path));
  assert_int_equal(key_read(&back, file_path, NULL), MUSTER_OK);
  assert_memory_equal(&back, &pair, sizeof pair); /* the first one stands */
  unlink(file_path);
  assert_int_equal(key_generate(&other, "No Name", NULL), MUSTER_ERR_USAGE);
}

/* Killed at the write itself: no half of a key is left under its name, which would keep the node from every later start. */
/* A public key as a word, in a file alone, and in a key file; what names a file is that file, even where the name could be a key. */
static void a_public_key_is_a_word_or_a_file(void **state)
{
  (void)state;
  struct key_pair pair;
  struct failure f = FAILURE_NONE;
  char public_text[KEY_TEXT], path[2 * SCRATCH_BYTES], line[64], could_be_a_key[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN";
  assert_int_equal(key_generate(&pair, "a-system", &f), MUSTER_OK);
  assert_int_equal(key_public_read(public_text, pair.public_text, &f), MUSTER_OK);
  assert_string_equal(public_text, pair.public_text);
  snprintf(path, sizeof path, "%s/alone", directory);
  snprintf(line, sizeof line, "%s\n", pair.public_text);
  write_file(path, line, 0644);
  memset(public_text, 0, sizeof public_text);
  assert_int_equal(key_public_read(public_text, path, &f), MUSTER_OK);
  assert_string_equal(public_text, pair.public_text);
  snprintf(path, sizeof path, "%s/pair", directory);
  assert_int_equal(key_write(&pair, path, &f), MUSTER_OK);
  memset(public_text, 0, sizeof public_text);
  assert_int_equal(key_public_read(public_text, path, &f), MUSTER_OK);
  assert_string_equal(public_text, pair.public_text);

  assert_true(key_text_valid(could_be_a_key));
  assert_int_equal(chdir(directory), 0);
  write_file(could_be_a_key, line, 0644);
  assert_int_equal(key_public_read(public_text, could_be_a_key, &f), MUSTER_OK);
  assert_string_equal(public_text, pair.public_text);

  assert_int_equal(key_public_read(public_text, "no such file, and no key", &f), MUSTER_ERR_NOT_FOUND);
  f = FAILURE_NONE;
  write_file(could_be_a_key, "no key here\n", 0644);
  assert_int_equal(key_public_read(public_text, could_be_a_key, &f), MUSTER_ERR_FORMAT);
}

static void a_writer_that_is_killed_leaves_no_key(void **state)
{
  (void)state;
  struct key_pair pair = fresh_key("laredo"), back;
  char left[sizeof file_path + 32];
  struct stat st;
  int status;
  const pid_t writer = fork();
  assert_true(writer >= 0);
  if (writer == 0) {
    setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){0}); /* SIGXFSZ */
    key_write(&pair, file_path, NULL);
    _exit(0);
  }
  assert_int_equal(waitpid(writer, &status, 0), writer);
  assert_true(WIFSIGNALED(status));
  assert_int_equal(stat(file_path, &st), -1);
  assert_int_equal(key_read(&back, file_path, NULL), MUSTER_ERR_NOT_FOUND);
  assert_int_equal(key_write(&pair, file_path, NULL), MUSTER_OK);
  assert_int_equal(key_read(&back, file_path, NULL), MUSTER_OK);
  assert_memory_equal(&back, &pair, sizeof pair);
  unlink(file_path);
  snprintf(left, sizeof left, "%s.%ld.new", file_path, (long)writer);
  unlink(left);
}

static void a_key_file_that_cannot_be_trusted_is_refused(void **state)
{
  (void)state;
  struct key_pair pair = fresh_key("laredo"), other = fresh_key("other"), back;
  char good[400], text[2 * SCRATCH_BYTES];
  snprintf(good, sizeof good, "[key]\nname = laredo\npublic = %s\nsecret = %s\n", pair.public_text, pair.secret_text);
  assert_int_equal(key_read(&back, file_path, NULL), MUSTER_ERR_NOT_FOUND);
  write_file(file_path, good, 0600);
  assert_int_equal(key_read(&back, file_path, NULL), MUSTER_OK);
  for (mode_t bit = 1; bit <= 040; bit <<= 1) {
    struct failure f = FAILURE_NONE;
    write_file(file_path, good, 0600 | bit);
    assert_int_equal(key_read(&back, file_path, &f), MUSTER_ERR_DENIED);
    assert_non_null(strstr(f.text, "chmod 600"));
  }
  const char *bad[] = {"", "name = laredo\n", "[key]\nname = laredo\nsecret = x\n", NULL, NULL, NULL};
  char mixed[400], twice[500], unknown[500];
  snprintf(mixed, sizeof mixed, "[key]\nname = laredo\npublic = %s\nsecret = %s\n", other.public_text, pair.secret_text);
  snprintf(twice, sizeof twice, "%sname = again\n", good);
  snprintf(unknown, sizeof unknown, "%sextra = 1\n", good);
  bad[3] = mixed;
  bad[4] = twice;
  bad[5] = unknown;
  for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct failure f = FAILURE_NONE;
    write_file(file_path, bad[i], 0600);
    assert_int_equal(key_read(&back, file_path, &f), MUSTER_ERR_FORMAT);
    assert_non_null(strstr(f.text, file_path));
    assert_null(strstr(f.text, pair.secret_text));
    for (unsigned b = 0; b < sizeof back; b++)
      assert_int_equal(((unsigned char *)&back)[b], 0); /* nothing of a secret is left behind */
  }
  snprintf(text, sizeof text, "%s:5", file_path);
  struct failure f = FAILURE_NONE;
  assert_int_equal(key_read(&back, file_path, &f), MUSTER_ERR_FORMAT);
  assert_non_null(strstr(f.text, text)); /* the line is named */
  unlink(file_path);
  assert_int_equal(key_read(&back, directory, NULL), MUSTER_ERR_DENIED); /* a directory is no file */
  char target[2 * SCRATCH_BYTES];
  snprintf(target, sizeof target, "%s.target", file_path);
  write_file(target, good, 0600);
  assert_int_equal(symlink(target, file_path), 0);
  assert_int_equal(key_read(&back, file_path, NULL), MUSTER_OK);
  assert_int_equal(key_read_node(&back, file_path, NULL), MUSTER_ERR_DENIED);
  assert_int_equal(key_read_node(&back, target, NULL), MUSTER_OK);
  unlink(file_path);
  unlink(target);
}

static int setup(void **state)
{
  (void)state;
  make_place("own.key");
  return 0;
}

static unsigned long locked_kib(void)
{
  unsigned long kib = 0;
  char line[256];
  FILE *f = fopen("/proc/self/status", "re");
  while (f && fgets(line, sizeof line, f) && sscanf(line, "VmLck: %lu", &kib) != 1)
    ;
  if (f)
    fclose(f);
  return kib;
}

/* What a process without privileges and without a limit of locked memory is told. */
static int holds_without_a_limit(void)
{
  const struct rlimit none = {0};
  struct key_pair *pair;
  struct failure f = FAILURE_NONE;
  if (setrlimit(RLIMIT_MEMLOCK, &none) != 0 || (getuid() == 0 && setuid(12345) != 0))
    return 1;
  if (key_hold(&pair, &f) != MUSTER_ERR_CONFIG || pair != NULL)
    return 2;
  return strstr(f.text, "locked memory") && strstr(f.text, "limit is 0") ? 0 : 3;
}

static void a_secret_in_use_is_locked_in_memory(void **state)
{
  (void)state;
  struct key_pair *pair;
  struct failure f = FAILURE_NONE;
  int status = 0;
#ifdef __SANITIZE_ADDRESS__
  skip(); /* AddressSanitizer makes mlock do nothing */
#endif
  const unsigned long before = locked_kib();
  assert_int_equal(key_hold(&pair, &f), MUSTER_OK);
  memset(pair, 1, sizeof *pair);
  assert_true(locked_kib() > before);
  key_let_go(pair);
  assert_int_equal(locked_kib(), before);
  key_let_go(NULL);
  fflush(NULL);
  const pid_t pid = fork();
  if (pid == 0)
    _exit(holds_without_a_limit());
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_and_key_texts),
      cmocka_unit_test(a_key_is_written_once_and_read_back),
      cmocka_unit_test(a_public_key_is_a_word_or_a_file),
      cmocka_unit_test(a_writer_that_is_killed_leaves_no_key),
      cmocka_unit_test(a_secret_in_use_is_locked_in_memory),
      cmocka_unit_test(a_key_file_that_cannot_be_trusted_is_refused),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
