/* core/key_list.c: the allow-list through every change, damage and mend. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/key_list.h"
#include "core/key_place.h"

static char *read_file(const char *path)
{
  static char text[100000];
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  text[fread(text, 1, sizeof text - 1, file)] = 0;
  fclose(file);
  return text;
}

static struct key_list *list_open(void)
{
  struct key_list *l;
  struct failure f = FAILURE_NONE;
  if (key_list_open(&l, file_path, &f) != MUSTER_OK)
    fail_msg("%s", f.text);
  return l;
}

static void keys_are_allowed_and_revoked_under_lasting_numbers(void **state)
{
  (void)state;
  struct failure f = FAILURE_NONE;
  struct stat st;
  struct key_pair a = fresh_key("a"), b = fresh_key("b"), c = fresh_key("c");
  struct key_list *l = list_open();
  assert_int_equal(key_list_count(l), 0); /* no file: nobody */
  assert_null(key_list_by_public(l, a.public_text));

  assert_int_equal(key_list_allow(file_path, "a", a.public_text, &f), MUSTER_OK);
  assert_int_equal(key_list_allow(file_path, "b", b.public_text, &f), MUSTER_OK);
  assert_int_equal(stat(file_path, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0600);
  assert_int_equal(key_list_count(l), 0); /* until asked again */
  assert_int_equal(key_list_refresh(l, &f), MUSTER_OK);
  assert_int_equal(key_list_count(l), 2);
  const struct key_entry *e = key_list_by_public(l, b.public_text);
  assert_non_null(e);
  assert_int_equal(e->number, 2); /* 0 is the local user */
  assert_true(e->allowed);
  assert_string_equal(e->name, "b");
  assert_int_equal(strlen(e->since), strlen("2026-01-01T00:00:00Z"));
  assert_ptr_equal(key_list_by_number(l, 2), e);
  assert_ptr_equal(key_list_by_name(l, "b"), e);
  assert_ptr_equal(key_list_at(l, 1), e);
  assert_null(key_list_at(l, 2));
  assert_null(key_list_by_number(l, SUBMITTER_LOCAL));
  assert_null(key_list_by_number(l, 3));

  assert_int_equal(key_list_revoke(file_path, "b", &f), MUSTER_OK);
  assert_int_equal(key_list_refresh(l, &f), MUSTER_OK);
  assert_false(key_list_by_name(l, "b")->allowed);
  assert_true(key_list_by_name(l, "a")->allowed);
  assert_int_equal(key_list_allow(file_path, "c", c.public_text, &f), MUSTER_OK);
  assert_int_equal(key_list_refresh(l, &f), MUSTER_OK);
  assert_int_equal(key_list_by_name(l, "c")->number, 3);
  assert_int_equal(key_list_allow(file_path, "b", b.public_text, &f), MUSTER_OK);
  assert_int_equal(key_list_refresh(l, &f), MUSTER_OK);
  assert_int_equal(key_list_by_name(l, "b")->number, 2); /* its old number */
  assert_true(key_list_by_name(l, "b")->allowed);

  char before[2000];
  strcpy(before, read_file(file_path));
  assert_int_equal(key_list_allow(file_path, "b", b.public_text, &f), MUSTER_OK); /* nothing to change */
  assert_int_equal(key_list_allow(file_path, "b", fresh_key("x").public_text, NULL), MUSTER_ERR_USAGE);
  assert_int_equal(key_list_allow(file_path, "other", b.public_text, NULL), MUSTER_ERR_USAGE);
  assert_int_equal(key_list_allow(file_path, "Bad Name", fresh_key("x").public_text, NULL), MUSTER_ERR_USAGE);
  assert_int_equal(key_list_allow(file_path, "d", "short", NULL), MUSTER_ERR_FORMAT);
  assert_int_equal(key_list_revoke(file_path, "nobody", &f), MUSTER_ERR_NOT_FOUND);
  assert_string_equal(read_file(file_path), before);
  key_list_close(l);
  key_list_close(NULL);
  unlink(file_path);
}

/* Each line is damaged in its own way behind a good one; nobody is allowed then, and everybody again when it is whole. */
static void a_damaged_list_allows_nobody(void **state)
{
  (void)state;
  struct key_pair a = fresh_key("a"), b = fresh_key("b");
  char good[400], second[400], text[1000];
  snprintf(good, sizeof good, "1 allow a %s 2026-01-01T00:00:00Z\n", a.public_text);
  snprintf(second, sizeof second, "2 allow b %s 2026-01-01T00:00:00Z\n", b.public_text);
  const char *formats[] = {"2 allow b %s",                        /* cut */
                           "1 allow b %s 2026-01-01T00:00:00Z\n", /* a number twice */
                           "0 allow b %s 2026-01-01T00:00:00Z\n", /* the local user's */
                           "-2 allow b %s 2026-01-01T00:00:00Z\n",
                           "2 allow a %s 2026-01-01T00:00:00Z\n",   /* a name twice */
                           "2 allowed b %s 2026-01-01T00:00:00Z\n", /* another word */
                           "2 allow B %s 2026-01-01T00:00:00Z\n",
                           "2 allow b x%s 2026-01-01T00:00:00Z\n",
                           "2 allow b %s\n",
                           "2 revokedb %s 2026-01-01T00:00:00Z\n", /* a blank is missing */
                           "123456789allow b %s 2026-01-01T00:00:00Z\n",
                           "1234567890 allow b %s 2026-01-01T00:00:00Z\n",
                           "2 allow b %s 2026-01-01T00:00:00Z more\n",
                           "\n%s"};
  write_file(file_path, good, 0600);
  struct key_list *l = list_open(), *refused;
  for (unsigned i = 0; i < sizeof formats / sizeof *formats; i++) {
    struct failure f = FAILURE_NONE, again = FAILURE_NONE, at_open = FAILURE_NONE;
    int size = snprintf(text, sizeof text, "%s", good);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text + size, sizeof text - (size_t)size, formats[i], b.public_text);
#pragma GCC diagnostic pop
    write_file(file_path, text, 0600);
    assert_int_equal(key_list_refresh(l, &f), MUSTER_ERR_FORMAT);
    assert_non_null(strstr(f.text, file_path));
    assert_int_equal(key_list_count(l), 0);
    assert_null(key_list_by_public(l, a.public_text));
    assert_int_equal(key_list_refresh(l, &again), MUSTER_ERR_FORMAT); /* unchanged, and still told */
    assert_string_equal(again.text, f.text);
    assert_int_equal(key_list_open(&refused, file_path, &at_open), MUSTER_ERR_FORMAT);
    assert_null(refused);
    assert_int_equal(key_list_allow(file_path, "c", fresh_key("c").public_text, NULL), MUSTER_ERR_FORMAT);
    assert_string_equal(read_file(file_path), text); /* a damaged list is not written over */
    write_file(file_path, strcat(strcpy(text, good), second), 0600);
    assert_int_equal(key_list_refresh(l, &f), MUSTER_OK);
    assert_int_equal(key_list_count(l), 2);
  }
  struct failure f = FAILURE_NONE;
  write_file(file_path, good, 0620);
  assert_int_equal(key_list_refresh(l, &f), MUSTER_ERR_DENIED); /* others could write it */
  assert_int_equal(key_list_count(l), 0);
  assert_int_equal(unlink(file_path), 0);
  assert_int_equal(key_list_refresh(l, NULL), MUSTER_OK);
  assert_int_equal(key_list_count(l), 0);
  key_list_close(l);
}

static void a_list_has_an_end(void **state)
{
  (void)state;
  static char text[LIMIT_SUBMITTERS * 120];
  size_t size = 0;
  struct failure f = FAILURE_NONE;
  for (unsigned i = 1; i <= LIMIT_SUBMITTERS; i++)
    size += (size_t)sprintf(text + size, "%u allow s%u 0%04u>}U?@Lns47E1%%kR.o@n%%FcmmsL/@{H8]yf7 2026-01-01T00:00:00Z\n", i, i, i);
  write_file(file_path, text, 0600);
  struct key_list *l = list_open();
  assert_int_equal(key_list_count(l), LIMIT_SUBMITTERS);
  assert_int_equal(key_list_by_number(l, 4000)->number, 4000);
  assert_int_equal(key_list_allow(file_path, "one-more", fresh_key("x").public_text, &f), MUSTER_ERR_LIMIT);
  key_list_close(l);
  unlink(file_path);
}

/* A list whose numbers are used up stays as it is, and can still be read. */
static void numbers_have_an_end(void **state)
{
  (void)state;
  char text[200];
  struct failure f = FAILURE_NONE;
  snprintf(text, sizeof text, "999999999 allow a %s 2026-01-01T00:00:00Z\n", fresh_key("a").public_text);
  write_file(file_path, text, 0600);
  assert_int_equal(key_list_allow(file_path, "one-more", fresh_key("x").public_text, &f), MUSTER_ERR_LIMIT);
  assert_non_null(strstr(f.text, "999999999"));
  assert_string_equal(read_file(file_path), text);
  struct key_list *l = list_open();
  assert_int_equal(key_list_count(l), 1);
  key_list_close(l);
  unlink(file_path);
}

/* Several processes change the list at once: no change is lost and no number is given twice. */
static void changes_at_once_are_all_kept(void **state)
{
  (void)state;
  enum { WRITERS = 4, KEYS = 10 };
  pid_t writers[WRITERS];
  for (unsigned w = 0; w < WRITERS; w++)
    if ((writers[w] = fork()) == 0) {
      for (unsigned k = 0; k < KEYS; k++) {
        char name[32];
        struct key_pair pair;
        snprintf(name, sizeof name, "w%u-k%u", w, k);
        if (key_generate(&pair, name, NULL) != MUSTER_OK || key_list_allow(file_path, name, pair.public_text, NULL) != MUSTER_OK)
          _exit(1);
      }
      _exit(0);
    }
  for (unsigned w = 0; w < WRITERS; w++) {
    int status;
    assert_int_equal(waitpid(writers[w], &status, 0), writers[w]);
    assert_int_equal(status, 0);
  }
  struct key_list *l = list_open();
  assert_int_equal(key_list_count(l), WRITERS * KEYS);
  for (uint32_t i = 0; i < WRITERS * KEYS; i++)
    assert_int_equal(key_list_at(l, i)->number, i + 1);
  key_list_close(l);
  unlink(file_path);
}

static int setup(void **state)
{
  (void)state;
  make_place("allow");
  return 0;
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keys_are_allowed_and_revoked_under_lasting_numbers),
      cmocka_unit_test(a_damaged_list_allows_nobody),
      cmocka_unit_test(a_list_has_an_end),
      cmocka_unit_test(numbers_have_an_end),
      cmocka_unit_test(changes_at_once_are_all_kept),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
