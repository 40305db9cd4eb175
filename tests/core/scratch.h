/*
 * A directory of its own for a test, below ${TMPDIR:-/tmp}, mode 0700, and its removal with all that is in it. The test owns it.
 */
#ifndef MUSTER_TESTS_CORE_SCRATCH_H
#define MUSTER_TESTS_CORE_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCRATCH_BYTES 512

static inline void scratch_make(char out[SCRATCH_BYTES])
{
  const char *base = getenv("TMPDIR");
  snprintf(out, SCRATCH_BYTES, "%s/muster-test-XXXXXX", base != NULL && base[0] != '\0' ? base : "/tmp");
  if (mkdtemp(out) == NULL) {
    perror(out);
    exit(1);
  }
}

static inline int scratch_remove_one(const char *path, const struct stat *info, int kind, struct FTW *position)
{
  (void)info;
  (void)kind;
  (void)position;
  return remove(path);
}

static inline void scratch_remove(const char *path) { nftw(path, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static inline void scratch_write(const char *path, const char *text)
{
  FILE *file = fopen(path, "we");
  if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0) {
    perror(path);
    exit(1);
  }
}

#endif
