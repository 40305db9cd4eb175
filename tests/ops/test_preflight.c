#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "core/keys.h"
#include "ops/data_root.h"
#include "ops/preflight.h"
#include "proto/text.h"
#include "store/read.h"

static void the_number_of_workers_is_the_stores(void **state)
{
  (void)state;
  static const struct {
    uint32_t asked, directories, created_with, want; /* want 0: refused */
  } cases[] = {{0, 0, 0, 2}, {5, 0, 0, 5}, {0, 3, 3, 3}, {3, 3, 3, 3}, {2, 3, 3, 0},
               {4, 3, 3, 0}, {4, 2, 0, 4}, {1, 2, 0, 0}, {0, 5, 0, 5}, {0, 1, 0, 2}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct ops_shards_survey survey = {.directories = cases[i].directories, .created_with = cases[i].created_with};
    struct failure failure = FAILURE_NONE;
    uint32_t workers = 99;
    int status = ops_preflight_workers(cases[i].asked, &survey, &workers, &failure);
    if (cases[i].want) {
      assert_int_equal(status, MUSTER_OK);
      assert_int_equal(workers, cases[i].want);
    } else {
      assert_int_equal(status, MUSTER_ERR_CONFIG);
      char asked[8], has[8];
      snprintf(asked, sizeof asked, "%u", cases[i].asked);
      snprintf(has, sizeof has, "%u", cases[i].directories);
      assert_non_null(strstr(failure.text, asked));
      assert_non_null(strstr(failure.text, has));
    }
  }
}

/* A store whose shards cannot be read now is given no more of them: a new shard beside them would make them another store's. */
static void a_store_that_cannot_be_read_keeps_its_number_of_workers(void **state)
{
  (void)state;
  const struct ops_shards_survey survey = {.directories = 1, .shards = 1, .in_use = true};
  struct failure failure = FAILURE_NONE;
  uint32_t workers = 99;
  assert_int_equal(ops_preflight_workers(0, &survey, &workers, &failure), MUSTER_OK);
  assert_int_equal(workers, 1);
  assert_int_equal(ops_preflight_workers(2, &survey, &workers, &failure), MUSTER_ERR_CONFIG);
}

static void an_absent_shard_is_not_made_anew(void **state)
{
  (void)state;
  struct failure failure = FAILURE_NONE;
  char path[LIMIT_PATH_BYTES];
  struct stat info;
  assert_int_equal(ops_preflight_shards(&data, 3, 1u << 1, &failure), MUSTER_OK);
  datadir_shard_path(&data, path, 1);
  assert_int_equal(stat(path, &info), -1);
  datadir_shard_path(&data, path, 2);
  assert_int_equal(stat(path, &info), 0);
}

static void shard_directories_are_private(void **state)
{
  (void)state;
  struct failure failure = FAILURE_NONE;
  char path[LIMIT_PATH_BYTES];
  struct stat info;
  assert_int_equal(ops_preflight_shards(&data, 3, 0, &failure), MUSTER_OK);
  assert_int_equal(ops_preflight_shards(&data, 3, 0, &failure), MUSTER_OK);
  for (uint32_t shard = 0; shard < 3; shard++) {
    datadir_shard_path(&data, path, shard);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
  }
}

static void read_id(char id[TEXT_UUID])
{
  char path[LIMIT_PATH_BYTES];
  datadir_path(&data, path, "node.id");
  FILE *file = fopen(path, "re");
  assert_non_null(file);
  assert_int_equal(fread(id, 1, TEXT_UUID, file), TEXT_UUID);
  fclose(file);
  assert_int_equal(id[TEXT_UUID - 1], '\n');
  id[TEXT_UUID - 1] = '\0';
}

static void the_identity_is_made_once(void **state)
{
  (void)state;
  struct failure failure = FAILURE_NONE;
  struct ops_shards_survey none = {0};
  char first[TEXT_UUID], second[TEXT_UUID], path[LIMIT_PATH_BYTES];
  struct key_pair before, after;
  uint8_t id[16];
  assert_int_equal(ops_preflight_identity(&data, &none, &failure), MUSTER_OK);
  read_id(first);
  assert_true(text_uuid_parse(id, first, strlen(first)));
  datadir_path(&data, path, "keys/node.key");
  assert_int_equal(key_read(&before, path, &failure), MUSTER_OK);
  assert_int_equal(ops_preflight_identity(&data, &none, &failure), MUSTER_OK);
  read_id(second);
  assert_string_equal(first, second);
  assert_int_equal(key_read(&after, path, &failure), MUSTER_OK);
  assert_string_equal(before.public_text, after.public_text);
}

static void the_identity_is_the_stores(void **state)
{
  (void)state;
  struct failure failure = FAILURE_NONE;
  struct ops_shards_survey survey = {.directories = 1, .created_with = 1, .node_id = {1, 2, 3}};
  char text[TEXT_UUID], path[LIMIT_PATH_BYTES];
  uint8_t id[16];
  assert_int_equal(ops_preflight_identity(&data, &survey, &failure), MUSTER_OK);
  read_id(text);
  assert_true(text_uuid_parse(id, text, strlen(text)));
  assert_memory_equal(id, survey.node_id, 16);
  survey.node_id[0] = 9;
  assert_int_equal(ops_preflight_identity(&data, &survey, &failure), MUSTER_ERR_CORRUPT);
  assert_non_null(strstr(failure.text, "another node"));
  datadir_path(&data, path, "node.id");
  scratch_write(path, "not an id\n");
  failure = FAILURE_NONE;
  assert_int_equal(ops_preflight_identity(&data, &survey, &failure), MUSTER_ERR_CORRUPT);
  assert_non_null(strstr(failure.text, "no node id"));
}

/* Another id would make it another node, whose store this is not when it is back. */
static void a_store_in_use_that_cannot_be_read_is_given_no_identity(void **state)
{
  (void)state;
  const struct ops_shards_survey survey = {.directories = 1, .shards = 1, .in_use = true};
  struct failure failure = FAILURE_NONE;
  char path[LIMIT_PATH_BYTES];
  assert_int_equal(ops_preflight_identity(&data, &survey, &failure), MUSTER_ERR_CORRUPT);
  assert_non_null(strstr(failure.text, "node.id is missing"));
  datadir_path(&data, path, "node.id");
  assert_int_not_equal(access(path, F_OK), 0);
}

static void limits_are_judged_with_numbers(void **state)
{
  (void)state;
  struct config config;
  struct failure failure = FAILURE_NONE;
  config_defaults(&config);
  config.peers = 1000;
  rlim_t needed = (rlim_t)ops_preflight_descriptors(1000);
  assert_true(needed > 1000);
  assert_int_equal(ops_preflight_judge(&config, RLIM_INFINITY, RLIM_INFINITY, &failure), MUSTER_OK);
  assert_int_equal(ops_preflight_judge(&config, needed, RLIM_INFINITY, &failure), MUSTER_OK);
  assert_int_equal(ops_preflight_judge(&config, needed - 1, RLIM_INFINITY, &failure), MUSTER_ERR_CONFIG);
  char number[32];
  snprintf(number, sizeof number, "%llu", (unsigned long long)needed);
  assert_non_null(strstr(failure.text, number));
  failure = FAILURE_NONE;
  assert_int_equal(ops_preflight_judge(&config, needed, (rlim_t)config.map_bytes, &failure), MUSTER_ERR_CONFIG);
  assert_non_null(strstr(failure.text, "map_bytes"));
  failure = FAILURE_NONE;
  assert_int_equal(ops_preflight_judge(&config, needed, (rlim_t)(config.map_bytes + 4 * LIMIT_GIB), &failure), MUSTER_OK);
}

static void the_memory_of_the_index_is_judged_with_numbers(void **state)
{
  (void)state;
  struct config config;
  char number[32];
  struct failure failure = FAILURE_NONE;
  /* Two shards of a million at most: what one needs, twice. */
  const struct ops_shards_survey survey = {.records = 1500000, .records_most = 1000000};
  const uint64_t needed = 2 * store_index_bytes_needed(1000000);
  assert_in_range(needed, 2 * 20 * 1000000, 2 * 26 * 1000000);
  config_defaults(&config);
  config.workers = 2;
  assert_int_equal(ops_preflight_index(&config, &survey, 8 * LIMIT_GIB, &failure), MUSTER_OK);
  assert_true(config.index_bytes == 4 * LIMIT_GIB);
  config.index_bytes = 0; /* half would be too little, all is enough */
  const uint64_t beside = ops_preflight_beside_index(&config);
  assert_true(beside == 768 * LIMIT_MIB + 2 * (42 + 16) * LIMIT_MIB);
  assert_int_equal(ops_preflight_index(&config, &survey, needed + beside, &failure), MUSTER_OK);
  assert_true(config.index_bytes == needed);
  config.index_bytes = needed;
  assert_int_equal(ops_preflight_index(&config, &survey, 8 * LIMIT_GIB, &failure), MUSTER_OK);
  assert_int_equal(ops_preflight_index(&config, &survey, 0, &failure), MUSTER_OK); /* not known */
  config.index_bytes = needed - 1;
  assert_int_equal(ops_preflight_index(&config, &survey, 8 * LIMIT_GIB, &failure), MUSTER_ERR_CONFIG);
  snprintf(number, sizeof number, "%llu", (unsigned long long)needed);
  assert_non_null(strstr(failure.text, number));
  assert_non_null(strstr(failure.text, "index_bytes"));
  snprintf(number, sizeof number, "needs %llu", (unsigned long long)(needed + beside));
  for (int chosen = 0; chosen < 2; chosen++) { /* a machine that is too small for what is stored */
    failure = FAILURE_NONE;
    config.index_bytes = chosen ? needed : 0;
    assert_int_equal(ops_preflight_index(&config, &survey, needed + beside - 1, &failure), MUSTER_ERR_CONFIG);
    assert_non_null(strstr(failure.text, number));
  }
  failure = FAILURE_NONE;
  config.index_bytes = 9 * LIMIT_GIB;
  assert_int_equal(ops_preflight_index(&config, &survey, 8 * LIMIT_GIB, &failure), MUSTER_ERR_CONFIG);
  snprintf(number, sizeof number, "needs %llu", (unsigned long long)(9 * LIMIT_GIB + beside));
  assert_non_null(strstr(failure.text, number));
  assert_non_null(strstr(failure.text, "index_bytes"));
  failure = FAILURE_NONE; /* what the other holders need is not the index's */
  config.index_bytes = 2 * LIMIT_GIB - beside + 1;
  assert_int_equal(ops_preflight_index(&config, &survey, 2 * LIMIT_GIB, &failure), MUSTER_ERR_CONFIG);
  config.index_bytes = 0;
  failure = FAILURE_NONE;
  assert_int_equal(ops_preflight_index(&config, &survey, LIMIT_GIB + 4 * LIMIT_MIB, &failure), MUSTER_OK);
  assert_true(config.index_bytes == LIMIT_GIB + 4 * LIMIT_MIB - beside);
  failure = FAILURE_NONE;
  config.index_bytes = 0;
  assert_int_equal(ops_preflight_index(&config, &survey, 0, &failure), MUSTER_ERR_CONFIG);
}

static void a_limit_of_data_is_judged_with_the_number(void **state)
{
  (void)state;
  struct config config;
  struct failure failure = FAILURE_NONE;
  char number[32];
  config_defaults(&config);
  config.workers = 2;
  config.index_bytes = 64 * LIMIT_MIB;
  const uint64_t needed = 768 * LIMIT_MIB + LIMIT_STACKS_BYTES; /* an ingest is the largest */
  assert_int_equal(ops_preflight_judge_data(&config, RLIM_INFINITY, &failure), MUSTER_OK);
  assert_int_equal(ops_preflight_judge_data(&config, needed, &failure), MUSTER_OK);
  assert_int_equal(ops_preflight_judge_data(&config, needed - 1, &failure), MUSTER_ERR_CONFIG);
  snprintf(number, sizeof number, "up to %llu", (unsigned long long)needed);
  assert_non_null(strstr(failure.text, number));
  config.index_bytes = 4 * LIMIT_GIB; /* now a worker is */
  failure = FAILURE_NONE;
  assert_int_equal(ops_preflight_judge_data(&config, 2 * LIMIT_GIB, &failure), MUSTER_ERR_CONFIG);
}

static void a_disk_that_cannot_be_asked_is_told(void **state)
{
  (void)state;
  struct config config;
  char path[LIMIT_PATH_BYTES];
  struct failure failure = FAILURE_NONE;
  config_defaults(&config);
  assert_int_equal(ops_preflight_disk(&data, &config, &failure), MUSTER_OK);
  config.disk_reserve_bytes = UINT64_MAX; /* too little is no failure: the node can be read */
  assert_int_equal(ops_preflight_disk(&data, &config, &failure), MUSTER_OK);
  datadir_path(&data, path, "store");
  assert_int_equal(rmdir(path), 0);
  assert_int_equal(ops_preflight_disk(&data, &config, &failure), MUSTER_ERR_IO);
  assert_non_null(strstr(failure.text, path));
}

static void the_soft_limit_of_descriptors_is_raised(void **state)
{
  (void)state;
  struct config config;
  struct rlimit before, lowered, after;
  struct failure failure = FAILURE_NONE;
  config_defaults(&config);
  config.peers = 1;
  getrlimit(RLIMIT_NOFILE, &before);
  lowered = (struct rlimit){.rlim_cur = 200, .rlim_max = before.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &lowered), 0);
  assert_int_equal(ops_preflight_limits(&config, &failure), MUSTER_OK);
  getrlimit(RLIMIT_NOFILE, &after);
  assert_true(after.rlim_cur == before.rlim_max);
  setrlimit(RLIMIT_NOFILE, &before);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(the_number_of_workers_is_the_stores, begin, end),
      cmocka_unit_test_setup_teardown(shard_directories_are_private, begin, end),
      cmocka_unit_test_setup_teardown(a_store_that_cannot_be_read_keeps_its_number_of_workers, begin, end),
      cmocka_unit_test_setup_teardown(an_absent_shard_is_not_made_anew, begin, end),
      cmocka_unit_test_setup_teardown(the_identity_is_made_once, begin, end),
      cmocka_unit_test_setup_teardown(the_identity_is_the_stores, begin, end),
      cmocka_unit_test_setup_teardown(a_store_in_use_that_cannot_be_read_is_given_no_identity, begin, end),
      cmocka_unit_test_setup_teardown(limits_are_judged_with_numbers, begin, end),
      cmocka_unit_test_setup_teardown(the_memory_of_the_index_is_judged_with_numbers, begin, end),
      cmocka_unit_test(a_limit_of_data_is_judged_with_the_number),
      cmocka_unit_test_setup_teardown(a_disk_that_cannot_be_asked_is_told, begin, end),
      cmocka_unit_test_setup_teardown(the_soft_limit_of_descriptors_is_raised, begin, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
