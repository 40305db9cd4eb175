/*
 * Drives fuzz_scan.c without libFuzzer, the same way each time: every input follows from the seed and its number alone.
 * It starts from the records of the corpus and from records that protobuf-c packs, and changes them field by field
 * (order, repeats, splices, padded varints, other wire types, unknown fields) and byte by byte (flips, cuts,
 * insertions). Most stay nearly valid, which is where decoders differ.
 *
 *     drive_scan [--seed S] [--count N | --seconds T] [--only NUMBER] CORPUS-FILE...     tries inputs
 *     drive_scan --replay FILE...                                                        tries these files as they are
 */
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core/limits.h"
#include "proto/scan.h"
#include "proto/wire.pb-c.h"
#include "tests/fuzz/fuzz_scan.h"
#include "tests/proto/sample.h"

#define PARTS_MAX 64u
#define CORPUS_MAX 256u
#define INPUT_BYTES_MAX 17000u /* over the largest record, under the room of a wire */

static struct wire corpus[CORPUS_MAX];
static uint32_t corpus_count;
static volatile uint64_t seed, number; /* of the input in work */
static const char *volatile file;      /* in work; NULL when it is an input made here */

/* ---- field by field ---- */

struct part_list {
  uint32_t count;
  struct scan_part part[PARTS_MAX];
};

static void parts_read(struct part_list *list, const struct wire *w)
{
  const uint8_t *p = w->bytes;
  list->count = 0;
  while (list->count < PARTS_MAX && scan_part_next(&list->part[list->count], &p, w->bytes + w->size))
    list->count++;
}

static void part_write(struct wire *out, const struct scan_part *part, struct random *r, uint32_t padded_of_8)
{
#define PADDING(most) (random_below(r, 8) < padded_of_8 ? 1 + random_below(r, most) : 0)
  size_t size = (size_t)(part->end - part->value);
  if (out->size + size + 32 > INPUT_BYTES_MAX)
    return;
  wire_varint(out, (uint64_t)part->number << 3 | part->wire_type, PADDING(6));
  uint64_t value;
  if (part->wire_type == 2)
    wire_varint(out, size, PADDING(6));
  if (part->wire_type == 0 && padded_of_8 > 0 && varint_read(part->value, part->end, &value))
    wire_varint(out, random_below(r, 8) ? value : value | random_next(r) << 32, PADDING(11));
  else
    wire_bytes(out, part->value, size);
#undef PADDING
}

static void parts_change(struct part_list *list, struct part_list *other, struct random *r)
{
  if (list->count == 0)
    return;
  uint32_t i = random_below(r, list->count), j = random_below(r, list->count);
  struct scan_part swap = list->part[i];
  switch (random_below(r, 7)) {
  case 0:
    list->part[i] = list->part[j];
    list->part[j] = swap;
    break;
  case 1: /* twice */
    if (list->count < PARTS_MAX)
      list->part[list->count++] = swap;
    break;
  case 2: list->part[i] = list->part[--list->count]; break;
  case 3: /* from another record, the number kept or not */
    if (other->count > 0) {
      list->part[i] = other->part[random_below(r, other->count)];
      if (random_below(r, 2))
        list->part[i].number = swap.number;
    }
    break;
  case 4: list->part[i].number = 1 + random_below(r, random_below(r, 2) ? 24 : UINT32_C(1) << 29); break;
  case 5: list->part[i].wire_type = random_below(r, 8); break;
  case 6: list->part[i].number = FIELD_ENCOUNTER_ID; break;
  }
}

/* ---- byte by byte ---- */

static void bytes_change(struct wire *w, struct random *r)
{
  static const uint8_t telling[] = {0x00, 0x01, 0x07, 0x0a, 0x0b, 0x10, 0x1f, 0x7f, 0x80, 0x81, 0xc2, 0xe0, 0xed, 0xf4, 0xff};
  if (w->size == 0)
    return;
  uint32_t at = random_below(r, (uint32_t)w->size);
  switch (random_below(r, 6)) {
  case 0: w->bytes[at] ^= (uint8_t)(1u << random_below(r, 8)); break;
  case 1: w->bytes[at] = telling[random_below(r, sizeof telling)]; break;
  case 2: w->bytes[at] = (uint8_t)random_next(r); break;
  case 3: w->size = at; break;
  case 4: /* a byte more */
    if (w->size < INPUT_BYTES_MAX) {
      memmove(w->bytes + at + 1, w->bytes + at, w->size - at);
      w->bytes[at] = telling[random_below(r, sizeof telling)];
      w->size++;
    }
    break;
  case 5: /* a byte less */
    memmove(w->bytes + at, w->bytes + at + 1, w->size - at - 1);
    w->size--;
    break;
  }
}

/* Near the bounds of sizes, where small changes never come. */
static void size_change(struct wire *w, struct random *r)
{
  static uint8_t zeros[INPUT_BYTES_MAX];
  bool unknown = random_below(r, 2);
  size_t limit = unknown ? LIMIT_UNKNOWN_BYTES : LIMIT_RECORD_BYTES, size = limit - 16 + random_below(r, 24);
  if (!unknown)
    size -= w->size;
  if (w->size + size + 8 <= INPUT_BYTES_MAX)
    wire_text(w, unknown ? 18 + random_below(r, 60) : FIELD_SUBJECT_ID, zeros, size);
}

/* ---- one input ---- */

static void record_choose(struct wire *w, struct random *r)
{
  if (corpus_count > 0 && random_below(r, 3) == 0) {
    const struct wire *from = &corpus[random_below(r, corpus_count)];
    w->size = 0;
    wire_bytes(w, from->bytes, from->size);
  } else
    w->size = sample_pack(w->bytes, r, 1 + random_below(r, 8));
}

static void input_make(struct wire *out, struct random *r)
{
  static struct wire first, second;
  static struct part_list list, other;
  record_choose(&first, r);
  record_choose(&second, r);
  parts_read(&list, &first);
  parts_read(&other, &second);
  for (uint32_t changes = random_below(r, 4); changes > 0; changes--)
    parts_change(&list, &other, r);
  out->size = 0;
  uint32_t padded_of_8 = random_below(r, 2) ? 0 : random_below(r, 4);
  for (uint32_t i = 0; i < list.count; i++)
    part_write(out, &list.part[i], r, padded_of_8);
  if (random_below(r, 64) == 0)
    size_change(out, r);
  for (uint32_t changes = random_below(r, 2) ? 0 : random_below(r, 4); changes > 0; changes--)
    bytes_change(out, r);
}

static void input_try(void)
{
  static struct wire input;
  struct random r = {.state = seed ^ number * UINT64_C(0xd1342543de82ef95)};
  input_make(&input, &r);
  LLVMFuzzerTestOneInput(input.bytes, input.size);
}

/* ---- the command ---- */

/* The input that broke a promise can be had again by its number. Called in the handler of a signal that ends the program. */
static void say_where(int signal_number)
{
  char line[512];
  int size = file ? snprintf(line, sizeof line, "drive_scan: broken by %.400s; again: --replay and this file\n", file)
                  : snprintf(line, sizeof line,
                             "drive_scan: broken at seed %llu, input %llu; again: --seed %llu --only %llu (and the same corpus)\n",
                             (unsigned long long)seed, (unsigned long long)number, (unsigned long long)seed, (unsigned long long)number);
  if (write(STDERR_FILENO, line, (size_t)size) != size)
    _exit(71);
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

static void file_read(struct wire *w, const char *path)
{
  FILE *from = fopen(path, "rb");
  if (!from) {
    perror(path);
    exit(66);
  }
  w->size = fread(w->bytes, 1, INPUT_BYTES_MAX, from);
  fclose(from);
}

/* Nothing is proved by inputs that all fail at the first byte: every outcome must have come up. */
static bool every_outcome_came_up(uint64_t tried)
{
  static const struct {
    uint32_t reason;
    const char *name;
  } outcomes[] = {{0, "read"},
                  {MUSTER__V1__REASON__REASON_MALFORMED, "malformed"},
                  {MUSTER__V1__REASON__REASON_WIRE_TYPE, "wire type"},
                  {MUSTER__V1__REASON__REASON_BAD_UTF8, "bad UTF-8"},
                  {MUSTER__V1__REASON__REASON_CONTROL_CHARACTER, "control character"},
                  {MUSTER__V1__REASON__REASON_RECORD_TOO_LARGE, "too large"},
                  {MUSTER__V1__REASON__REASON_TOO_MANY_UNKNOWN_BYTES, "unknown bytes"},
                  {MUSTER__V1__REASON__REASON_UNKNOWN_ENUM_VALUE, "unknown enum value"}};
  bool good = true;
  printf("drive_scan: seed %llu, %llu inputs:", (unsigned long long)seed, (unsigned long long)tried);
  for (unsigned i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++) {
    printf(" %llu %s,", (unsigned long long)fuzz_outcomes[outcomes[i].reason], outcomes[i].name);
    good = good && fuzz_outcomes[outcomes[i].reason] > 0;
  }
  printf(" %llu of the refused taken by protobuf-c\n", (unsigned long long)fuzz_stricter);
  good = good && fuzz_outcomes[0] > tried / 4 && fuzz_stricter > 0;
  return good;
}

struct options {
  uint64_t count, seconds;
  bool replay, only;
};

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
    } else {
      fprintf(stderr, "drive_scan: %s is no option; see the first comment of tests/fuzz/drive_scan.c\n", option);
      exit(64);
    }
  }
  return i;
}

int main(int argc, char **argv)
{
  struct options o = {.count = 200000};
  seed = 1;
  signal(SIGABRT, say_where);
  for (int i = options_read(&o, argc, argv); i < argc && corpus_count < CORPUS_MAX; i++) {
    file = argv[i];
    file_read(&corpus[corpus_count], argv[i]);
    LLVMFuzzerTestOneInput(corpus[corpus_count].bytes, corpus[corpus_count].size);
    corpus_count++;
  }
  file = NULL;
  if (o.replay) {
    printf("drive_scan: %u files, no promise broken\n", corpus_count);
    return 0;
  }
  printf("drive_scan: seed %llu\n", (unsigned long long)seed);
  fflush(stdout);
  if (o.only) {
    input_try();
    return 0;
  }
  time_t end = time(NULL) + (time_t)o.seconds;
  for (number = 0; o.seconds ? number % 1024 || time(NULL) < end : number < o.count; number++)
    input_try();
  if (every_outcome_came_up(number))
    return 0;
  fprintf(stderr, "drive_scan: some outcome never came up, or hardly any record was read: the inputs do not test what they should\n");
  return 1;
}
