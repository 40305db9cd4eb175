/*
 * What the fuzz targets share. A target is one file, fuzz_NAME.c: LLVMFuzzerTestOneInput tries one input and holds it
 * against what was promised, and fuzz_target says what a driver should know. libFuzzer or drive.c calls it. A broken
 * promise is printed and ends the program with abort(). What came of the inputs is counted in the target's outcomes, so
 * that a driver can tell whether it tried anything at all.
 */
#ifndef MUSTER_TESTS_FUZZ_FUZZ_H
#define MUSTER_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/proto/sample.h"

#define FUZZ_BYTES_MAX 17000u /* of an input: over the largest record, under the room of a wire */

struct fuzz_outcome {
  const char *name;
  uint64_t count;
};

struct fuzz_target {
  const char *name;
  uint64_t short_count;          /* inputs of the short form: about four seconds under the sanitizers */
  struct fuzz_outcome *outcomes; /* each must come up in a run; ends with a NULL name */
  const char *const *words;      /* that mean something in this format; ends with NULL, may be NULL */
  /* An input that is valid, or nearly, made of nothing or of some of the corpus. NULL: the corpus as it is. The driver changes bytes of it. */
  void (*make)(struct wire *out, struct random *r, const struct wire *corpus, uint32_t corpus_count);
};
extern const struct fuzz_target fuzz_target;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(promise, ...)                                                                                                                \
  do {                                                                                                                                     \
    if (!(promise)) {                                                                                                                      \
      fprintf(stderr, "%s:%d: broken: %s: ", __FILE__, __LINE__, #promise);                                                                \
      fprintf(stderr, __VA_ARGS__);                                                                                                        \
      fputc('\n', stderr);                                                                                                                 \
      abort();                                                                                                                             \
    }                                                                                                                                      \
  } while (0)

/* A copy on the heap, of that very size, so that a sanitizer sees one byte too far. The caller frees it. */
static inline uint8_t *fuzz_copy(const uint8_t *data, size_t size)
{
  uint8_t *exact = malloc(size ? size : 1);
  if (size > 0)
    memcpy(exact, data, size);
  return exact;
}

/* The same with an end, as text. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
  char *text = malloc(size + 1);
  if (size > 0)
    memcpy(text, data, size);
  text[size] = '\0';
  return text;
}

/* An input read from front to back; zeros follow behind its end. */
struct fuzz_reader {
  const uint8_t *p, *end;
};

static inline uint32_t fuzz_byte(struct fuzz_reader *in) { return in->p < in->end ? *in->p++ : 0; }

static inline uint32_t fuzz_short(struct fuzz_reader *in)
{
  const uint32_t low = fuzz_byte(in);
  return low | fuzz_byte(in) << 8;
}

/* At most *size of the bytes that are left; *size becomes how many. */
static inline const uint8_t *fuzz_bytes(struct fuzz_reader *in, size_t *size)
{
  const uint8_t *from = in->p;
  if (*size > (size_t)(in->end - in->p))
    *size = (size_t)(in->end - in->p);
  in->p += *size;
  return from;
}

/* The same as a copy on the heap, which the caller frees. */
static inline uint8_t *fuzz_piece(struct fuzz_reader *in, size_t *size)
{
  const uint8_t *from = fuzz_bytes(in, size);
  return fuzz_copy(from, *size);
}

#endif
