#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ops/options.h"

static void numbers_are_whole_and_in_range(void **state)
{
  (void)state;
  uint64_t value = 7;
  assert_true(ops_options_number("0", 0, 10, &value) && value == 0);
  assert_true(ops_options_number("10", 0, 10, &value) && value == 10);
  assert_true(ops_options_number("18446744073709551615", 0, UINT64_MAX, &value) && value == UINT64_MAX);
  static const char *const bad[] = {"", "11", "-1", "+1", " 1", "1 ", "1e3", "0x1", "18446744073709551616", "99999999999999999999"};
  value = 7;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (ops_options_number(bad[i], 1, 10, &value))
      fail_msg("taken as a number from 1 to 10: \"%s\"", bad[i]);
  assert_false(ops_options_number("18446744073709551616", 0, UINT64_MAX, &value));
  assert_true(value == 7);
}

/* Writes more than stdio holds to out and finishes it, in a process of its own; its complaint goes to err. Returns the exit code. */
static int write_and_finish(int out, int err)
{
  fflush(stdout);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    signal(SIGPIPE, SIG_IGN);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    for (int i = 0; i < 100000 && !ops_output_broken(); i++)
      puts("a line of output");
    _exit(ops_output_finish("tally", 3));
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void a_full_disk_is_told_with_its_cause(void **state)
{
  (void)state;
  int ends[2], full = open("/dev/full", O_WRONLY);
  char text[256] = "";
  assert_true(full >= 0 && pipe(ends) == 0);
  assert_int_equal(write_and_finish(full, ends[1]), 74);
  close(ends[1]);
  assert_true(read(ends[0], text, sizeof text - 1) > 0);
  assert_non_null(strstr(text, "muster tally: standard output could not be written: No space left on device"));
  close(ends[0]);
  close(full);
}

static void a_reader_that_went_away_is_no_fault(void **state)
{
  (void)state;
  int ends[2], complaints[2];
  char text[16];
  assert_true(pipe(ends) == 0 && pipe(complaints) == 0);
  close(ends[0]);
  assert_int_equal(write_and_finish(ends[1], complaints[1]), 3);
  close(complaints[1]);
  assert_int_equal(read(complaints[0], text, sizeof text), 0);
  close(ends[1]);
  close(complaints[0]);
}

static void what_is_written_keeps_the_commands_code(void **state)
{
  (void)state;
  int nowhere = open("/dev/null", O_WRONLY);
  assert_int_equal(write_and_finish(nowhere, STDERR_FILENO), 3);
  close(nowhere);
}

/* ---- mistyped options ---- */

static error_t take(int key, char *argument, struct argp_state *state)
{
  (void)argument;
  if (key == ARGP_KEY_INIT)
    state->child_inputs[0] = state->input;
  return key == 'b' || key == 'q' || key == 256 || key == ARGP_KEY_ARG ? 0 : ARGP_ERR_UNKNOWN;
}

/* The exit code of a command of these words (0: all were taken), and what it said. */
static int parse(char *said, size_t said_size, const char *first, const char *second, const char *third)
{
  static const struct argp_option options[] = {
      {"batch", 'b', "N", 0, "", 0}, {"quiet", 'q', NULL, 0, "", 0}, {"format", 256, "F", 0, "", 0}, {"bare", 'B', NULL, 0, "", 0}, {0}};
  static const struct argp_child children[] = {{.argp = &ops_options_data}, {0}};
  static const struct argp argp = {.options = options, .parser = take, .children = children};
  char *words[] = {strdup("muster try"), strdup(first), strdup(second), strdup(third), NULL};
  const char *data = NULL;
  int ends[2], status, count = third[0] ? 4 : second[0] ? 3 : 2;
  assert_int_equal(pipe(ends), 0);
  fflush(stdout);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    dup2(ends[1], STDERR_FILENO);
    dup2(ends[1], STDOUT_FILENO);
    ops_options_parse(&argp, count, words, &data);
    _exit(0);
  }
  close(ends[1]);
  ssize_t size = read(ends[0], said, said_size - 1);
  said[size > 0 ? size : 0] = '\0';
  while (read(ends[0], words[0], 1) > 0)
    ;
  close(ends[0]);
  for (int i = 0; i < 4; i++)
    free(words[i]);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status));
  return WEXITSTATUS(status);
}

static void a_mistyped_option_finds_its_neighbour(void **state)
{
  (void)state;
  static const struct {
    const char *words[3], *near; /* NULL: all is right */
  } cases[] = {{{"--bach", "3", ""}, "--batch"},    {{"-q", "--bacth=3", ""}, "--batch"},
               {{"-b", "3", "--dat=x"}, NULL},      {{"-qb", "--bach", ""}, NULL},
               {{"--format", "--bach", ""}, NULL},  {{"--", "--bach", ""}, NULL},
               {{"--forma", "--bach", ""}, NULL},   {{"--format=x", "--qiet", ""}, "--quiet"},
               {{"-b3", "--quite", ""}, "--quiet"}, {{"-", "--dtaa", "x"}, "--data"},
               {{"--hepl", "", ""}, "--help"},      {{"word", "--verson", ""}, "--version"}};
  char said[512], question[64];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int code = parse(said, sizeof said, cases[i].words[0], cases[i].words[1], cases[i].words[2]);
    snprintf(question, sizeof question, "did you mean %s?\n", cases[i].near ? cases[i].near : "");
    if (code != (cases[i].near ? 64 : 0) || (cases[i].near && !strstr(said, question)))
      fail_msg("%s %s %s: %d, %s", cases[i].words[0], cases[i].words[1], cases[i].words[2], code, said);
  }
  assert_int_equal(parse(said, sizeof said, "--nothing-like-it", "", ""), 64);
  assert_non_null(strstr(said, "unrecognized"));
  assert_int_equal(parse(said, sizeof said, "--ba", "3", ""), 64); /* batch or bare */
  assert_non_null(strstr(said, "ambiguous"));
  assert_int_equal(parse(said, sizeof said, "--help", "--bach", ""), 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numbers_are_whole_and_in_range),        cmocka_unit_test(a_full_disk_is_told_with_its_cause),
      cmocka_unit_test(a_reader_that_went_away_is_no_fault),   cmocka_unit_test(what_is_written_keeps_the_commands_code),
      cmocka_unit_test(a_mistyped_option_finds_its_neighbour),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
