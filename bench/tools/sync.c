/*
 * The median time of an fdatasync on the disk under DIRECTORY, in microseconds: appends blocks of BYTES and syncs each.
 * Printed beside every throughput figure, since an acknowledged record waits for it. A program of its own; it leaves
 * nothing behind.
 *     build/bench/sync DIRECTORY BYTES ROUNDS
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now_us(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
  long bytes = argc == 4 ? atol(argv[2]) : 0, rounds = argc == 4 ? atol(argv[3]) : 0;
  if (bytes < 1 || rounds < 1 || rounds > 100000 || chdir(argv[1])) {
    fprintf(stderr, "usage: sync DIRECTORY BYTES ROUNDS\n");
    return 64;
  }
  char name[] = "sync-XXXXXX";
  int fd = mkstemp(name);
  char *block = malloc((size_t)bytes);
  double *took = calloc((size_t)rounds, sizeof *took);
  if (fd < 0 || !block || !took) {
    perror("sync");
    return 73;
  }
  unlink(name);
  memset(block, 'm', (size_t)bytes);
  for (long i = 0; i < rounds; i++) {
    if (write(fd, block, (size_t)bytes) != bytes) {
      perror("sync: write");
      return 74;
    }
    double start = now_us();
    if (fdatasync(fd)) {
      perror("sync: fdatasync");
      return 74;
    }
    took[i] = now_us() - start;
  }
  qsort(took, (size_t)rounds, sizeof *took, by_value);
  printf("%.0f\n", took[rounds / 2]);
  free(took);
  free(block);
  return 0;
}
