/*
 * The command: its options, formats and exit codes, each run in a process of its own with standard output and error in
 * files or pipes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "bench/stream.h"
#include "ops/commands.h"
#include "proto/batch.h"
#include "proto/json.h"
#include "proto/scan.h"

#define ARGUMENTS 12

static char folder[256];

struct run {
  int code;  /* exit code, or -1 after a signal */
  char *out; /* what it wrote on standard output; to be freed */
  size_t out_size;
  char error[4096];
};

static size_t read_file(const char *name, char **bytes)
{
  char path[512];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  assert_int_equal(fseek(f, 0, SEEK_END), 0);
  size_t size = (size_t)ftell(f);
  rewind(f);
  *bytes = malloc(size + 1);
  assert_non_null(*bytes);
  assert_int_equal(fread(*bytes, 1, size, f), size);
  (*bytes)[size] = '\0';
  fclose(f);
  return size;
}

static int open_in_folder(const char *name)
{
  char path[512];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  assert_true(fd >= 0);
  return fd;
}

/* words: the arguments, separated by spaces. out: where standard output goes; below 0: into the file "out". */
static int command_run(const char *words, int out)
{
  char text[512], name[] = "muster generate", *argv[ARGUMENTS + 1] = {name};
  int argc = 1, own = out < 0 ? open_in_folder("out") : out, error = open_in_folder("error");
  snprintf(text, sizeof text, "%s", words);
  for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
    assert_true(argc < ARGUMENTS);
    argv[argc++] = word;
  }
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    dup2(own, STDOUT_FILENO);
    dup2(error, STDERR_FILENO);
    int code = bench_generate_main(argc, argv);
    fflush(NULL);
    _exit(code);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  close(error);
  if (out < 0)
    close(own);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static struct run run(const char *words)
{
  struct run r = {.code = command_run(words, -1)};
  r.out_size = read_file("out", &r.out);
  char *error;
  read_file("error", &error);
  snprintf(r.error, sizeof r.error, "%s", error);
  free(error);
  return r;
}

/* ---- what it writes ---- */

static void test_delimited_stream(void **state)
{
  (void)state;
  struct run r = run("--profile fy2021-southwest --records 20000 --seed 7 --duplicates 10 --invalid 2.5");
  struct bench_stream_options o = {
      .profile = profile_at(0), .records = 20000, .seed = 7, .resends_per_10000 = 1000, .faults_per_10000 = 250};
  struct bench_stream *stream = malloc(sizeof *stream);
  struct bench_item item;
  struct batch_record record;
  const uint8_t *p = (const uint8_t *)r.out, *end = p + r.out_size;
  assert_int_equal(r.code, 0);
  assert_string_equal(r.error, "");
  assert_non_null(stream);
  assert_int_equal(bench_stream_init(stream, &o), 0);
  while (bench_stream_next(stream, &item)) {
    assert_int_equal(batch_next(&p, end, &record), BATCH_RECORD);
    assert_int_equal(record.size, item.size);
    assert_memory_equal(record.bytes, item.bytes, item.size);
  }
  assert_int_equal(batch_next(&p, end, &record), BATCH_END);
  free(stream);
  free(r.out);
}

static void test_ndjson_is_the_same_records(void **state)
{
  (void)state;
  struct run pb = run("--records 3000 --seed 3 --duplicates 5"), json = run("--records 3000 --seed 3 --duplicates 5 --format ndjson");
  assert_int_equal(json.code, 0);
  const uint8_t *p = (const uint8_t *)pb.out, *end = p + pb.out_size;
  unsigned lines = 0;
  for (char *line = strtok(json.out, "\n"); line; line = strtok(NULL, "\n"), lines++) {
    uint8_t bytes[LIMIT_RECORD_BYTES];
    struct failure failure = FAILURE_NONE;
    struct batch_record record;
    int size = json_to_encounter(bytes, line, strlen(line), &failure);
    assert_int_equal(batch_next(&p, end, &record), BATCH_RECORD);
    assert_int_equal(size, record.size);
    assert_memory_equal(bytes, record.bytes, record.size);
  }
  assert_true(p == end);
  assert_int_equal(lines, 3158);
  free(pb.out);
  free(json.out);
}

static void test_records_of_one_size(void **state)
{
  (void)state;
  struct run r = run("--records 3000 --seed 3 --duplicates 5 --record-bytes 260");
  assert_int_equal(r.code, 0);
  assert_int_equal(r.out_size, 3158 * (2 + 260));
  const uint8_t *p = (const uint8_t *)r.out, *end = p + r.out_size;
  struct batch_record record;
  while (batch_next(&p, end, &record) == BATCH_RECORD)
    assert_int_equal(record.size, 260);
  assert_true(p == end);
  free(r.out);
}

/* Invalid lines, too, are JSON: they are refused by a node, not by whoever reads the file. */
static void test_invalid_ndjson_is_json(void **state)
{
  (void)state;
  struct run r = run("--records 100 --invalid 60 --format ndjson");
  assert_int_equal(r.code, 0);
  for (char *line = strtok(r.out, "\n"); line; line = strtok(NULL, "\n")) {
    uint8_t bytes[LIMIT_RECORD_BYTES];
    struct failure failure = FAILURE_NONE;
    if (json_to_encounter(bytes, line, strlen(line), &failure) <= 0)
      fail_msg("%s", failure.text);
  }
  free(r.out);
}

static void test_published_size_by_default(void **state)
{
  (void)state;
  struct run list = run("--list"), whole = run("");
  const uint8_t *p = (const uint8_t *)whole.out, *end = p + whole.out_size;
  struct batch_record record;
  unsigned records = 0;
  assert_int_equal(list.code, 0);
  assert_true(strncmp(list.out, "fy2021-southwest\t1734686\t", 25) == 0);
  assert_int_equal(whole.code, 0);
  while (batch_next(&p, end, &record) == BATCH_RECORD)
    records++;
  assert_int_equal(records, 1734686);
  free(list.out);
  free(whole.out);
}

/* ---- how it ends ---- */

static void test_wrong_options(void **state)
{
  (void)state;
  static const char *const wrong[][2] = {
      {"--profile fy1999", "known are: fy2021-southwest"},
      {"--records 0", "--records"},
      {"--records -5", "--records"},
      {"--records 12x", "--records"},
      {"--records 9999999999999", "--records"},
      {"--seed x", "--seed"},
      {"--seed 99999999999999999999", "--seed"},
      {"--duplicates 100", "--duplicates"},
      {"--duplicates 1.234", "--duplicates"},
      {"--invalid .5", "--invalid"},
      {"--invalid -1", "--invalid"},
      {"--duplicates 60 --invalid 40", "less than 100"},
      {"--ids v9", "v4 or v7"},
      {"--record-bytes x", "--record-bytes"},
      {"--record-bytes 16385", "--record-bytes"},
      {"--format xml", "pb or ndjson"},
      {"more", "\"more\""},
      {"--nonsense", "nonsense"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    struct run r = run(wrong[i][0]);
    if (r.code != 64 || r.out_size != 0 || !strstr(r.error, wrong[i][1]))
      fail_msg("%s: exit %d, %zu bytes, says %s", wrong[i][0], r.code, r.out_size, r.error);
    free(r.out);
  }
}

static void test_help_has_an_example(void **state)
{
  (void)state;
  struct run r = run("--help");
  assert_int_equal(r.code, 0);
  assert_non_null(strstr(r.out, "Example:"));
  assert_non_null(strstr(r.out, "muster generate --records 10000 --duplicates 3 | muster submit -"));
  static const char *const named[] = {"--profile", "--records",      "--seed",   "--duplicates", "--invalid",
                                      "--ids",     "--record-bytes", "--format", "--list"};
  for (size_t i = 0; i < sizeof named / sizeof named[0]; i++)
    assert_non_null(strstr(r.out, named[i]));
  free(r.out);
}

static void test_a_reader_that_leaves_is_no_failure(void **state)
{
  (void)state;
  int end[2];
  char *error;
  assert_int_equal(pipe(end), 0);
  close(end[0]);
  assert_int_equal(command_run("--records 100000", end[1]), 0);
  close(end[1]);
  assert_int_equal(read_file("error", &error), 0);
  free(error);
}

static void test_a_full_disk_is_one(void **state)
{
  (void)state;
  static const char *const options[] = {"--records 100000", "--records 1", "--list"};
  for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    char *error;
    assert_true(full >= 0);
    assert_int_equal(command_run(options[i], full), 74);
    close(full);
    read_file("error", &error);
    assert_non_null(strstr(error, "standard output"));
    assert_non_null(strstr(error, "No space left"));
    free(error);
  }
}

static int folder_make(void **state)
{
  (void)state;
  const char *parent = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%s/muster-generate-XXXXXX", parent && *parent ? parent : "/tmp");
  return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state)
{
  (void)state;
  static const char *const names[] = {"out", "error"};
  char path[512];
  for (size_t i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    unlink(path);
  }
  return rmdir(folder);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_delimited_stream),          cmocka_unit_test(test_ndjson_is_the_same_records),
      cmocka_unit_test(test_records_of_one_size),       cmocka_unit_test(test_invalid_ndjson_is_json),
      cmocka_unit_test(test_published_size_by_default), cmocka_unit_test(test_wrong_options),
      cmocka_unit_test(test_help_has_an_example),       cmocka_unit_test(test_a_reader_that_leaves_is_no_failure),
      cmocka_unit_test(test_a_full_disk_is_one),
  };
  return cmocka_run_group_tests_name("generate", tests, folder_make, folder_remove);
}
