/*
 * `build/bench/micro`: nanoseconds a record of each case, best and median of its rounds. With --count a case goes over
 * so many records once and reads no clock: that run is for callgrind (check.py).
 */
#include "bench/micro/micro.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "core/clock.h"
#include "store/store.h"

#define ROUNDS_MIN 20u
#define ROUNDS_MAX 2000u
#define ROUNDS_NS UINT64_C(300000000) /* a case goes on for so long where it has its rounds */

/* In the order in which a record meets them. */
static const struct micro_case *const cases[] = {
    &micro_scan_id,   &micro_scatter,  &micro_scan,         &micro_unpack, &micro_rules,       &micro_digest, &micro_index_miss,
    &micro_index_hit, &micro_find_hit, &micro_index_insert, &micro_tally,  &micro_block_build, &micro_gather, &micro_counted,
};
#define CASES (sizeof cases / sizeof cases[0])

bool micro_complain(const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  fputs("micro: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  return false;
}

__attribute__((noinline)) uint32_t micro_measured(const struct micro_case *c)
{
  uint32_t done = c->run();
  __asm__ volatile("" : : "r"(done) : "memory"); /* run is called, not jumped to: callgrind must see it come back */
  return done;
}

/* One round. false: it did not do all its work. */
static bool round_run(const struct micro_case *c, uint32_t count)
{
  if (c->prepare)
    c->prepare();
  uint32_t done = micro_measured(c);
  return done == count || micro_complain("%s did %u of %u records", c->name, done, count);
}

static bool count_case(const struct micro_case *c, uint32_t count)
{
  bool right = c->open(count) && round_run(c, count);
  c->close();
  return right;
}

static int by_value(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static bool time_rounds(const struct micro_case *c)
{
  static double took[ROUNDS_MAX];
  uint32_t rounds = 0;
  if (!round_run(c, c->count)) /* warms up */
    return false;
  for (uint64_t begin_ns = clock_monotonic_ns(); rounds < ROUNDS_MAX;) {
    if (c->prepare)
      c->prepare();
    uint64_t start_ns = clock_monotonic_ns();
    uint32_t done = micro_measured(c);
    uint64_t end_ns = clock_monotonic_ns();
    if (done != c->count)
      return micro_complain("%s did %u of %u records", c->name, done, c->count);
    took[rounds++] = (double)(end_ns - start_ns) / c->count;
    if (rounds >= ROUNDS_MIN && end_ns - begin_ns >= ROUNDS_NS)
      break;
  }
  qsort(took, rounds, sizeof took[0], by_value);
  printf("%-14s %9" PRIu32 " %7" PRIu32 " %9.1f %9.1f\n", c->name, c->count, rounds, took[0], took[rounds / 2]);
  fflush(stdout);
  return true;
}

static bool time_case(const struct micro_case *c)
{
  bool right = c->open(c->count) && time_rounds(c);
  c->close();
  return right;
}

/* ---- options ---- */

struct arguments {
  const struct micro_case *only; /* NULL: all */
  uint32_t count;                /* 0: rounds on the clock */
  bool list, build;
};

static const struct argp_option options[] = {{"list", 'l', NULL, 0, "Print name, records of a round, and what it is, of each case", 0},
                                             {"case", 'c', "NAME", 0, "This case alone", 0},
                                             {"count", 'n', "N", 0, "With --case: go over N records once, without a clock", 0},
                                             {"build", 'b', NULL, 0, "Print what this program was compiled with and for", 0},
                                             {0}};

static error_t option_parse(int key, char *text, struct argp_state *state)
{
  struct arguments *a = state->input;
  unsigned long number;
  char *end;
  switch (key) {
  case 'l': a->list = true; return 0;
  case 'b': a->build = true; return 0;
  case 'c':
    for (size_t i = 0; i < CASES; i++)
      if (strcmp(cases[i]->name, text) == 0)
        a->only = cases[i];
    if (!a->only)
      argp_error(state, "there is no case \"%s\"; --list shows them", text);
    return 0;
  case 'n':
    errno = 0;
    number = strtoul(text, &end, 10);
    if (errno || *end || number == 0 || number > UINT32_MAX)
      argp_error(state, "--count takes a number from 1, not \"%s\"", text);
    a->count = (uint32_t)number;
    return 0;
  case ARGP_KEY_ARG: argp_error(state, "\"%s\" is too much; everything is said by options", text); return 0;
  case ARGP_KEY_END:
    if (a->count && !a->only)
      argp_error(state, "--count goes with --case");
    if (a->count && a->count > a->only->count_max)
      argp_error(state, "--count takes at most %" PRIu32 " with %s", a->only->count_max, a->only->name);
    return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp argp = {
    .options = options, .parser = option_parse, .doc = "Nanoseconds a record of what every record pays, best and median of the rounds."};

#if defined(__clang__)
#define COMPILER "clang", __clang_major__
#else
#define COMPILER "gcc", __GNUC__
#endif
#if defined(__x86_64__)
#define MACHINE "x86_64"
#elif defined(__aarch64__)
#define MACHINE "aarch64"
#else
#define MACHINE "another machine"
#endif

int main(int argc, char **argv)
{
  struct arguments a = {0};
  bool right = true;
  argp_parse(&argp, argc, argv, 0, NULL, &a);
  store_process_setup(); /* large frames and blocks stay in the heap, as in ingest and workers */
  if (a.build)
    printf("%s %d, %s, %s\n", COMPILER, MACHINE, MICRO_FLAGS);
  if (a.list)
    for (size_t i = 0; i < CASES; i++)
      printf("%s\t%" PRIu32 "\t%s\n", cases[i]->name, cases[i]->count, cases[i]->sentence);
  if (a.list || a.build)
    return EX_OK;
  if (a.count)
    return count_case(a.only, a.count) ? EX_OK : EX_SOFTWARE;
  printf("%-14s %9s %7s %9s %9s\n", "case", "records", "rounds", "best ns", "median ns");
  for (size_t i = 0; i < CASES; i++)
    if (!a.only || a.only == cases[i])
      right = time_case(cases[i]) && right;
  return right ? EX_OK : EX_SOFTWARE;
}
