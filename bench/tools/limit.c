/*
 * The bare-LMDB limit of this machine at this minute: WRITERS processes, each appending blocks of the same bytes to an LMDB of
 * its own with a synchronous commit a block, and nothing else: no network, no look at a record, no dedup. What a pipeline that
 * stores the same records does is told as a share of it. Prints one JSON object. A program of its own; it leaves nothing behind.
 *     build/bench/limit DIRECTORY WRITERS BLOCKS BLOCK_RECORDS RECORD_BYTES
 */
#include <limits.h>
#include <lmdb.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAP_BYTES (UINT64_C(1) << 36)
#define WRITERS_MAX 16

static double now_s(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(int code, const char *what)
{
  if (!code)
    return;
  fprintf(stderr, "limit: %s: %s\n", what, mdb_strerror(code));
  _exit(74);
}

/* One process: opens its environment, says that it is ready, and appends when it is told to. */
static void append(const char *directory, long blocks, size_t block_bytes, int ready, int start)
{
  MDB_env *env;
  MDB_txn *txn;
  MDB_dbi dbi;
  char byte = 0, *block = malloc(block_bytes);
  mallopt(M_MMAP_THRESHOLD, 64 << 20); /* as the workers do: the pages of a block are kept from commit to commit */
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  must(!block || mkdir(directory, 0700) ? MDB_PANIC : 0, "a directory and memory for a block");
  memset(block, 'm', block_bytes);
  must(mdb_env_create(&env), "create");
  must(mdb_env_set_mapsize(env, MAP_BYTES), "map size");
  must(mdb_env_open(env, directory, 0, 0600), "open");
  must(mdb_txn_begin(env, NULL, 0, &txn), "begin");
  must(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &dbi), "database");
  must(mdb_txn_commit(txn), "commit");
  if (write(ready, &byte, 1) != 1 || read(start, &byte, 1) != 1)
    _exit(71);
  for (uint64_t i = 0; i < (uint64_t)blocks; i++) {
    MDB_val key = {.mv_size = sizeof i, .mv_data = &i}, value = {.mv_size = block_bytes, .mv_data = block};
    must(mdb_txn_begin(env, NULL, 0, &txn), "begin");
    must(mdb_put(txn, dbi, &key, &value, MDB_APPEND), "put");
    must(mdb_txn_commit(txn), "commit");
  }
  mdb_env_close(env);
  _exit(0);
}

static void remove_shard(const char *directory)
{
  if (chdir(directory) == 0) {
    unlink("data.mdb");
    unlink("lock.mdb");
    rmdir(directory);
  }
}

int main(int argc, char **argv)
{
  long n[4] = {0};
  char absolute[PATH_MAX];
  for (int i = 0; argc == 6 && i < 4; i++)
    n[i] = atol(argv[2 + i]);
  const long writers = n[0], blocks = n[1], block_records = n[2], record_bytes = n[3];
  if (writers < 1 || writers > WRITERS_MAX || blocks < 1 || block_records < 1 || block_records > 100000 || record_bytes < 1 ||
      record_bytes > 16384 || !realpath(argv[1], absolute)) {
    fprintf(stderr, "usage: limit DIRECTORY WRITERS BLOCKS BLOCK_RECORDS RECORD_BYTES\n");
    return 64;
  }
  char directory[WRITERS_MAX][PATH_MAX], byte = 0;
  int ready[2], start[2], status, failed = 0;
  if (pipe(ready) || pipe(start)) {
    perror("limit");
    return 71;
  }
  for (long i = 0; i < writers; i++) {
    snprintf(directory[i], sizeof directory[i], "%.4000s/limit-%d-%ld", absolute, (int)getpid(), i);
    if (fork() == 0)
      append(directory[i], blocks, (size_t)(block_records * record_bytes), ready[1], start[0]);
  }
  close(ready[1]);
  for (long i = 0; i < writers; i++)
    failed |= read(ready[0], &byte, 1) != 1;
  double began = now_s();
  for (long i = 0; i < writers; i++)
    failed |= write(start[1], &byte, 1) != 1;
  while (wait(&status) > 0)
    failed |= status != 0;
  double seconds = now_s() - began;
  for (long i = 0; i < writers; i++)
    remove_shard(directory[i]);
  if (failed)
    return 74;
  double records = (double)(writers * blocks * block_records);
  printf(
      "{\"records\": %.0f, \"seconds\": %.6f, \"records_per_s\": %.0f, \"writers\": %ld, \"block_records\": %ld, \"record_bytes\": %ld}\n",
      records, seconds, records / seconds, writers, block_records, record_bytes);
  return 0;
}
