/*
 * Drives a fuzz target without libFuzzer, the same way each time: every input follows from the seed and its number alone.
 * It starts from the corpus, and from what the target makes, and changes some bytes (flips, cuts, insertions, splices,
 * numbers, words of the format). Most inputs stay nearly valid, which is where mistakes are.
 *
 *     drive_NAME [--seed S] [--count N | --seconds T] [--only NUMBER] CORPUS-FILE...     tries inputs
 *     drive_NAME --replay FILE...                                                        tries these files as they are
 *     drive_NAME --only NUMBER --keep FILE CORPUS-FILE...                                writes that input, for found/NAME
 */
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#define CORPUS_MAX 256u
#define INPUT_S_MAX 20u /* an input that takes so long is a finding */

static struct wire corpus[CORPUS_MAX];
static uint32_t corpus_count;
static volatile uint64_t seed, number; /* of the input in work */
static const char *volatile file;      /* in work; NULL when it is an input made here */

/* ---- bytes ---- */

static void block_remove(struct wire *w, size_t at, size_t size)
{
  if (size > w->size - at)
    size = w->size - at;
  memmove(w->bytes + at, w->bytes + at + size, w->size - at - size);
  w->size -= size;
}

static void block_insert(struct wire *w, size_t at, const void *bytes, size_t size)
{
  if (w->size + size > FUZZ_BYTES_MAX)
    return;
  memmove(w->bytes + at + size, w->bytes + at, w->size - at);
  memcpy(w->bytes + at, bytes, size);
  w->size += size;
}

/* A piece of another input, or of this one. */
static void block_splice(struct wire *w, size_t at, struct random *r, const struct wire *other)
{
  static uint8_t piece[FUZZ_BYTES_MAX];
  const struct wire *from = random_below(r, 2) ? other : w;
  if (from->size == 0)
    return;
  const size_t begin = random_below(r, (uint32_t)from->size);
  size_t size = 1 + random_below(r, random_below(r, 2) ? 16 : 256);
  size = size < from->size - begin ? size : from->size - begin;
  memcpy(piece, from->bytes + begin, size);
  if (random_below(r, 2))
    block_remove(w, at, size);
  block_insert(w, at, piece, size);
}

/* A number of 1 to 8 bytes, little-endian, becomes a telling one or one nearby. */
static void number_change(struct wire *w, size_t at, struct random *r)
{
  static const uint64_t telling[] = {0, 1, 2, 127, 128, 255, 256, 10000, 10001, 65535, 65536, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX};
  uint64_t value = 0;
  size_t size = (size_t)1 << random_below(r, 4);
  size = size < w->size - at ? size : w->size - at;
  memcpy(&value, w->bytes + at, size);
  value = random_below(r, 2) ? value + random_below(r, 33) - 16 : telling[random_below(r, sizeof telling / sizeof *telling)];
  memcpy(w->bytes + at, &value, size);
}

static void word_insert(struct wire *w, size_t at, struct random *r)
{
  uint32_t count = 0;
  while (fuzz_target.words && fuzz_target.words[count])
    count++;
  if (count == 0)
    return;
  const char *word = fuzz_target.words[random_below(r, count)];
  block_insert(w, at, word, strlen(word));
}

static void bytes_change(struct wire *w, struct random *r, const struct wire *other)
{
  static const uint8_t telling[] = {0x00, 0x01, 0x07, 0x0a, 0x0b, 0x10, 0x1f, 0x20, 0x7f, 0x80, 0x81, 0xc2, 0xe0, 0xed, 0xf4, 0xff};
  const size_t at = random_below(r, (uint32_t)w->size + 1);
  const uint8_t any = (uint8_t)random_next(r), one = telling[random_below(r, sizeof telling)];
  if (at == w->size || w->size == 0) {
    block_insert(w, at, random_below(r, 2) ? &any : &one, 1);
    return;
  }
  switch (random_below(r, 11)) {
  case 0: w->bytes[at] ^= (uint8_t)(1u << random_below(r, 8)); break;
  case 1: w->bytes[at] = one; break;
  case 2: w->bytes[at] = any; break;
  case 3: w->size = at; break;
  case 4: block_insert(w, at, &one, 1); break;
  case 5: block_remove(w, at, 1); break;
  case 6: block_remove(w, at, 1 + random_below(r, 32)); break;
  case 7: block_splice(w, at, r, other); break;
  case 8: number_change(w, at, r); break;
  case 9: word_insert(w, at, r); break;
  default: w->bytes[at] += (uint8_t)(random_below(r, 2) ? 1 : -1); break;
  }
}

/* ---- one input ---- */

static void input_make(struct wire *out, struct random *r)
{
  static const struct wire nothing;
  const struct wire *one = corpus_count > 0 ? &corpus[random_below(r, corpus_count)] : &nothing;
  const struct wire *other = corpus_count > 0 ? &corpus[random_below(r, corpus_count)] : &nothing;
  out->size = 0;
  if (fuzz_target.make && random_below(r, 4))
    fuzz_target.make(out, r, corpus, corpus_count);
  else
    wire_bytes(out, one->bytes, one->size);
  for (uint32_t changes = random_below(r, 2) ? 0 : 1 + random_below(r, 4); changes > 0; changes--)
    bytes_change(out, r, other);
}

static void input_number(struct wire *input)
{
  struct random r = {.state = seed ^ number * UINT64_C(0xd1342543de82ef95)};
  input_make(input, &r);
}

static void input_try(void)
{
  static struct wire input;
  input_number(&input);
  alarm(INPUT_S_MAX);
  LLVMFuzzerTestOneInput(input.bytes, input.size);
}

/* ---- the command ---- */

/* The input that broke a promise can be had again by its number. Called in the handler of a signal that ends the program. */
static void say_where(int signal_number)
{
  char line[512];
  const char *what = signal_number == SIGALRM ? "takes too long" : "broken";
  int size =
      file ? snprintf(line, sizeof line, "drive_%s: %s by %.400s; again: --replay and this file\n", fuzz_target.name, what, file)
           : snprintf(line, sizeof line, "drive_%s: %s at seed %llu, input %llu; again: --seed %llu --only %llu (and the same corpus)\n",
                      fuzz_target.name, what, (unsigned long long)seed, (unsigned long long)number, (unsigned long long)seed,
                      (unsigned long long)number);
  if (write(STDERR_FILENO, line, (size_t)size) != size)
    _exit(71);
  signal(SIGABRT, SIG_DFL);
  abort();
}

static void file_read(struct wire *w, const char *path)
{
  FILE *from = fopen(path, "rb");
  if (!from) {
    perror(path);
    exit(66);
  }
  w->size = fread(w->bytes, 1, FUZZ_BYTES_MAX, from);
  fclose(from);
}

static int file_keep(const char *path)
{
  static struct wire input;
  input_number(&input);
  FILE *to = fopen(path, "wb");
  const bool kept = to && fwrite(input.bytes, 1, input.size, to) == input.size;
  if (!to || fclose(to) != 0 || !kept) {
    perror(path);
    return 73;
  }
  return 0;
}

/* Nothing is proved by inputs that all fail at the first byte: every outcome must have come up. */
static bool every_outcome_came_up(uint64_t tried)
{
  bool good = true;
  printf("drive_%s: seed %llu, %llu inputs:", fuzz_target.name, (unsigned long long)seed, (unsigned long long)tried);
  for (const struct fuzz_outcome *o = fuzz_target.outcomes; o->name; o++) {
    printf("%s %llu %s", o == fuzz_target.outcomes ? "" : ",", (unsigned long long)o->count, o->name);
    good = good && o->count > 0;
  }
  putchar('\n');
  return good;
}

struct options {
  uint64_t count, seconds;
  bool replay, only;
  const char *keep;
};

static void usage(const char *option)
{
  fprintf(stderr, "drive_%s: %s is no option; see the first comment of tests/fuzz/drive.c\n", fuzz_target.name, option);
  exit(64);
}

/* Returns where the files begin. */
static int options_read(struct options *o, int argc, char **argv)
{
  int i = 1;
  for (; i < argc && argv[i][0] == '-'; i++) {
    const char *option = argv[i];
    if (strcmp(option, "--replay") == 0) {
      o->replay = true;
      continue;
    }
    if (strcmp(option, "--keep") == 0 && i + 1 < argc) {
      o->keep = argv[++i];
      continue;
    }
    uint64_t value = i + 1 < argc ? strtoull(argv[++i], NULL, 10) : 0;
    if (strcmp(option, "--seed") == 0)
      seed = value;
    else if (strcmp(option, "--count") == 0)
      o->count = value;
    else if (strcmp(option, "--seconds") == 0)
      o->seconds = value;
    else if (strcmp(option, "--only") == 0) {
      number = value;
      o->only = true;
    } else
      usage(option);
  }
  return i;
}

/* As they are: valid ones, nearly valid ones, and every finding ever made. */
static void corpus_try(char **paths, int count)
{
  for (int i = 0; i < count && corpus_count < CORPUS_MAX; i++) {
    struct wire *w = &corpus[corpus_count++];
    file = paths[i];
    file_read(w, paths[i]);
    alarm(INPUT_S_MAX);
    LLVMFuzzerTestOneInput(w->bytes, w->size);
  }
  file = NULL;
}

int main(int argc, char **argv)
{
  struct options o = {.count = fuzz_target.short_count};
  seed = 1;
  signal(SIGABRT, say_where);
  signal(SIGALRM, say_where);
  const int files = options_read(&o, argc, argv);
  corpus_try(argv + files, argc - files);
  if (o.keep)
    return file_keep(o.keep);
  if (o.replay) {
    printf("drive_%s: %u files, no promise broken\n", fuzz_target.name, corpus_count);
    return 0;
  }
  printf("drive_%s: seed %llu\n", fuzz_target.name, (unsigned long long)seed);
  fflush(stdout);
  if (o.only) {
    input_try();
    return 0;
  }
  time_t end = time(NULL) + (time_t)o.seconds;
  for (number = 0; o.seconds ? number % 64 || time(NULL) < end : number < o.count; number++)
    input_try();
  if (every_outcome_came_up(number))
    return 0;
  fprintf(stderr, "drive_%s: some outcome never came up: the inputs do not test what they should\n", fuzz_target.name);
  return 1;
}
