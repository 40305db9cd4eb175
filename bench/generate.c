/*
 * `muster generate`: the records of a published surge on standard output, as a delimited protobuf stream or as NDJSON.
 * bench/stream.c makes them; here are the options and the writing.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "bench/stream.h"
#include "ops/commands.h"
#include "ops/options.h"
#include "proto/json.h"
#include "proto/scan.h"
#include "proto/varint.h"

#define OUTPUT_BYTES (1u << 20)

struct arguments {
  struct bench_stream_options stream;
  bool ndjson;
  bool list;
};

/* ---- options ---- */

enum { OPTION_DUPLICATES = 256, OPTION_INVALID, OPTION_IDS, OPTION_RECORD_BYTES, OPTION_FORMAT, OPTION_LIST };

static const struct argp_option options[] = {
    {"profile", 'p', "NAME", 0, "The surge to follow (default: the first that --list shows)", 0},
    {"records", 'n', "N", 0, "Distinct valid records; fewer or more than published are in proportion (default: as published)", 0},
    {"seed", 's', "S", 0, "Another seed gives other records with the same totals (default: 1)", 0},
    {"duplicates", OPTION_DUPLICATES, "PCT", 0,
     "So many percent of all output are records sent again, on top of N; up to two decimals (default: 0)", 0},
    {"invalid", OPTION_INVALID, "PCT", 0, "So many percent of all output are records that a node must refuse, on top of N (default: 0)", 0},
    {"ids", OPTION_IDS, "v4|v7", 0, "Version of the encounter ids (default: v7)", 0},
    {"record-bytes", OPTION_RECORD_BYTES, "N", 0,
     "Lengthen the texts of each record, up to 64 bytes each, so that its encoding has N bytes; what cannot get so large comes as near as "
     "it "
     "can, what is larger stays as it is. The ids are the same with and without (default: 0, as drawn: 205 bytes on average)",
     0},
    {"format", OPTION_FORMAT, "pb|ndjson", 0,
     "pb: a delimited protobuf stream; ndjson: one JSON object a line, without those invalid records that have no JSON form (default: pb)",
     0},
    {"list", OPTION_LIST, NULL, 0, "Print the profiles and their totals, and end", 0},
    {0}};

static bool number_parse(const char *text, uint64_t *value)
{
  char *end;
  errno = 0;
  *value = strtoull(text, &end, 10);
  return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
}

/* "12.5" to 1250; at most two decimals, less than 100. */
static bool percent_parse(const char *text, uint32_t *per_10000)
{
  uint32_t value = 0, whole_digits = 0, decimals = 0;
  for (; *text >= '0' && *text <= '9' && whole_digits < 2; whole_digits++)
    value = value * 10 + (uint32_t)(*text++ - '0');
  if (*text == '.')
    for (text++; *text >= '0' && *text <= '9' && decimals < 2; decimals++)
      value = value * 10 + (uint32_t)(*text++ - '0');
  for (; decimals < 2; decimals++)
    value *= 10;
  *per_10000 = value;
  return whole_digits > 0 && *text == '\0';
}

static void profile_choose(struct argp_state *state, const char *name)
{
  struct arguments *a = state->input;
  char known[512] = "";
  a->stream.profile = profile_find(name);
  if (a->stream.profile)
    return;
  for (size_t i = 0; profile_at(i); i++) {
    strncat(known, " ", sizeof known - strlen(known) - 1);
    strncat(known, profile_at(i)->name, sizeof known - strlen(known) - 1);
  }
  argp_error(state, "there is no profile \"%s\"; known are:%s", name, known);
}

static error_t option_parse(int key, char *text, struct argp_state *state)
{
  struct arguments *a = state->input;
  switch (key) {
  case 'p': profile_choose(state, text); return 0;
  case 'n':
    if (!number_parse(text, &a->stream.records) || a->stream.records < 1 || a->stream.records > STREAM_RECORDS_MAX)
      argp_error(state, "--records takes a number from 1 to %" PRIu64 ", not \"%s\"", STREAM_RECORDS_MAX, text);
    return 0;
  case 's':
    if (!number_parse(text, &a->stream.seed))
      argp_error(state, "--seed takes a number of at most 64 bits, not \"%s\"", text);
    return 0;
  case OPTION_DUPLICATES:
  case OPTION_INVALID:
    if (!percent_parse(text, key == OPTION_INVALID ? &a->stream.faults_per_10000 : &a->stream.resends_per_10000))
      argp_error(state, "--%s takes a percentage from 0 to 99.99, not \"%s\"", key == OPTION_INVALID ? "invalid" : "duplicates", text);
    return 0;
  case OPTION_IDS:
    a->stream.ids_v4 = strcmp(text, "v4") == 0;
    if (!a->stream.ids_v4 && strcmp(text, "v7") != 0)
      argp_error(state, "--ids takes v4 or v7, not \"%s\"", text);
    return 0;
  case OPTION_RECORD_BYTES: {
    uint64_t bytes;
    if (!number_parse(text, &bytes) || bytes > LIMIT_RECORD_BYTES)
      argp_error(state, "--record-bytes takes a number from 0 to %u, not \"%s\"", LIMIT_RECORD_BYTES, text);
    a->stream.record_bytes = (uint32_t)bytes;
    return 0;
  }
  case OPTION_FORMAT:
    a->ndjson = strcmp(text, "ndjson") == 0;
    if (!a->ndjson && strcmp(text, "pb") != 0)
      argp_error(state, "--format takes pb or ndjson, not \"%s\"", text);
    return 0;
  case OPTION_LIST: a->list = true; return 0;
  case ARGP_KEY_ARG: argp_error(state, "\"%s\" is too much; everything is said by options", text); return 0;
  case ARGP_KEY_END:
    if (a->stream.resends_per_10000 + a->stream.faults_per_10000 >= 10000)
      argp_error(state, "--duplicates and --invalid together must leave room for records: less than 100 percent");
    return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp argp = {
    .options = options,
    .parser = option_parse,
    .doc = "Make a seeded stream of encounter records on standard output. Every month, area and Border Patrol demographic adds up to the "
           "published figures; the same options give the same bytes on every machine. No record is of a real person.\v"
           "Exit code: 0 written or the reader has gone, 64 wrong options, 74 the output could not be written.\n\n"
           "Ten thousand records, 3 % of the output sent twice, straight to the node:\n\n"
           "Example: muster generate --records 10000 --duplicates 3 | muster submit -",
};

/* ---- output ---- */

struct output {
  size_t used;
  int error;                                                           /* errno of the first failed write */
  uint8_t bytes[OUTPUT_BYTES + BENCH_RECORD_BYTES + VARINT_BYTES_MAX]; /* one more record always fits behind OUTPUT_BYTES */
};

static void output_flush(struct output *out)
{
  for (size_t done = 0; done < out->used && !out->error;) {
    ssize_t n = write(STDOUT_FILENO, out->bytes + done, out->used - done);
    if (n >= 0)
      done += (size_t)n;
    else if (errno != EINTR)
      out->error = errno;
  }
  out->used = 0;
}

static void output_delimited(struct output *out, const struct bench_item *item)
{
  uint8_t *p = varint_write(out->bytes + out->used, item->size);
  memcpy(p, item->bytes, item->size);
  out->used = (size_t)(p + item->size - out->bytes);
}

static int output_append(const char *bytes, size_t size, void *context)
{
  struct output *out = context;
  if (out->used + size >= sizeof out->bytes)
    return -1;
  memcpy(out->bytes + out->used, bytes, size);
  out->used += size;
  return 0;
}

static bool output_json(struct output *out, const struct bench_item *item)
{
  struct encounter_view view;
  struct scan_fault fault;
  json_t *object = scan_encounter(&view, item->bytes, item->size, &fault) ? json_from_encounter(&view) : NULL;
  bool written = object && json_dump_callback(object, output_append, out, JSON_COMPACT) == 0 && output_append("\n", 1, out) == 0;
  json_decref(object);
  return written;
}

static int output_refused(int error)
{
  fprintf(stderr, "muster generate: standard output: %s; what was written so far may end within a record\n", strerror(error));
  return EX_IOERR;
}

static int generate(struct bench_stream *stream, struct output *out, bool ndjson)
{
  struct bench_item item;
  while (!out->error && bench_stream_next(stream, &item)) {
    if (!ndjson) {
      output_delimited(out, &item);
    } else if (!output_json(out, &item)) {
      fputs("muster generate: not enough memory for the JSON form of a record; what was written so far is whole\n", stderr);
      output_flush(out);
      return EX_OSERR;
    }
    if (out->used >= OUTPUT_BYTES)
      output_flush(out);
  }
  output_flush(out);
  return out->error && out->error != EPIPE ? output_refused(out->error) : EX_OK;
}

static int list(void)
{
  for (size_t i = 0; profile_at(i); i++)
    printf("%s\t%" PRIu64 "\t%s\n", profile_at(i)->name, profile_at(i)->total, profile_at(i)->title);
  if (fflush(stdout) == 0 || errno == EPIPE)
    return EX_OK;
  return output_refused(errno);
}

int bench_generate_main(int argc, char **argv)
{
  struct arguments a = {.stream = {.profile = profile_at(0), .seed = 1}};
  ops_options_parse(&argp, argc, argv, &a);
  signal(SIGPIPE, SIG_IGN); /* a reader that has enough is no failure: EPIPE ends the stream */
  if (a.list)
    return list();
  if (!a.ndjson && isatty(STDOUT_FILENO)) {
    fputs("muster generate: standard output is a terminal and protobuf is not for reading; redirect it, or use --format ndjson\n", stderr);
    return EX_USAGE;
  }
  if (a.stream.records == 0)
    a.stream.records = a.stream.profile->total;
  a.stream.fault_set = a.ndjson ? BENCH_FAULTS_WITH_JSON : BENCH_FAULTS_ALL;
  struct bench_stream *stream = malloc(sizeof *stream);
  struct output *out = calloc(1, sizeof *out);
  int code = EX_OSERR;
  if (stream && out && bench_stream_init(stream, &a.stream) == 0)
    code = generate(stream, out, a.ndjson);
  else
    fputs("muster generate: not enough memory\n", stderr);
  free(stream);
  free(out);
  return code;
}
