/*
 * `muster bench`: a load on a node, and what the node made of it, for people on standard output and in full as JSON. bench/load.c is
 * the load; here are the options and the words. What is measured stands beside every figure: a record counts once its verdict is
 * there, and that is after a synchronous commit.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "bench/load.h"
#include "core/file.h"
#include "core/keys.h"
#include "ops/commands.h"
#include "ops/options.h"
#include "ops/table.h"

#define NAME "bench"
#define WINDOW_OPEN 4096u /* an open loop is bounded by the node's credit, not by itself */

struct arguments {
  struct load_options load;
  const char *data, *endpoint, *server_key, *key, *profile, *json;
  char server_key_text[KEY_TEXT];
  uint64_t records, batch, window, seconds, timeout_s;
};

/* ---- options ---- */

enum {
  OPTION_SERVER_KEY = 256,
  OPTION_KEY,
  OPTION_DUPLICATES,
  OPTION_IDS,
  OPTION_SAMPLE,
  OPTION_RECORD_BYTES,
  OPTION_ENCODE,
  OPTION_TIMEOUT,
  OPTION_JSON
};

static const struct argp_option options[] = {
    {"window", 'w', "N", 0, "Closed loop: N batches in flight, the next one as soon as one is answered", 0},
    {"rate", 'r', "N", 0,
     "Open loop: N records a second are due, whether answers come or not; latency counts from the moment a record was due", 0},
    {"records", 'n', "N", 0, "Records in all (default: 1000000)", 0},
    {"seconds", 't', "S", 0, "Open loop: for so long, instead of --records", 0},
    {"batch", 'b', "N", 0, "Records a batch, 1 to 10000 (default: 1000)", 0},
    {"duplicates", OPTION_DUPLICATES, "PCT", 0, "So many percent are records sent again, with the bytes they had (default: 0)", 0},
    {"ids", OPTION_IDS, "v4|v7", 0, "Version of the encounter ids: random, or in the order of time (default: v7)", 0},
    {"record-bytes", OPTION_RECORD_BYTES, "N", 0,
     "Longer texts, so that a record has N bytes, as far as texts may be (default: as drawn, 204 on average)", 0},
    {"encode", OPTION_ENCODE, NULL, 0,
     "Closed loop: the library encodes each record from its fields within the clock, as a field system in C does; else records are encoded "
     "before it starts",
     0},
    {"profile", 'p', "NAME", 0, "The surge whose records are the set (default: fy2021-southwest)", 0},
    {"seed", 's', "S", 0, "Another seed gives other records (default: 1)", 0},
    {"endpoint", 'e', "E", 0, "Where the node listens: ipc://PATH or tcp://HOST:PORT; without it, the node of the data directory", 0},
    {"server-key", OPTION_SERVER_KEY, "KEY", 0, "tcp: the node's public key, or a file that has it", 0},
    {"key", OPTION_KEY, "FILE", 0, "tcp: this submitter's key pair, from `muster key new`", 0},
    {"sample", OPTION_SAMPLE, "N", 0, "Closed loop: a sample every N records; an open loop takes one every second", 0},
    {"timeout", OPTION_TIMEOUT, "S", 0, "Give up after so many seconds without any answer (default: 30)", 0},
    {"json", OPTION_JSON, "FILE", 0, "All of it as one JSON object; `-`: on standard output, in place of the words", 0},
    {0}};

static error_t parse(int key, char *text, struct argp_state *state)
{
  struct arguments *a = state->input;
  struct bench_stream_options *stream = &a->load.supply.stream;
  uint64_t number = 0;
  switch (key) {
  case 'w': ops_options_take_number(state, "--window", text, 1, LIMIT_BATCHES_IN_FLIGHT, &a->window); break;
  case 'r':
    ops_options_take_number(state, "--rate", text, 1, 100000000, &number);
    a->load.rate = (double)number;
    break;
  case 'n': ops_options_take_number(state, "--records", text, 1, STREAM_RECORDS_MAX, &a->records); break;
  case 't': ops_options_take_number(state, "--seconds", text, 1, 1000000, &a->seconds); break;
  case 'b': ops_options_take_number(state, "--batch", text, 1, LIMIT_BATCH_RECORDS, &a->batch); break;
  case 's': ops_options_take_number(state, "--seed", text, 0, UINT64_MAX, &stream->seed); break;
  case 'p': a->profile = text; break;
  case 'e': a->endpoint = text; break;
  case OPTION_SERVER_KEY: a->server_key = text; break;
  case OPTION_KEY: a->key = text; break;
  case OPTION_JSON: a->json = text; break;
  case OPTION_SAMPLE: ops_options_take_number(state, "--sample", text, 1, STREAM_RECORDS_MAX, &a->load.sample_records); break;
  case OPTION_RECORD_BYTES:
    ops_options_take_number(state, "--record-bytes", text, 1, LIMIT_RECORD_BYTES, &number);
    stream->record_bytes = (uint32_t)number;
    break;
  case OPTION_ENCODE: a->load.encode = true; break;
  case OPTION_TIMEOUT: ops_options_take_number(state, "--timeout", text, 1, 1000000, &a->timeout_s); break;
  case OPTION_DUPLICATES:
    ops_options_take_number(state, "--duplicates", text, 0, 99, &number);
    a->load.supply.resends_per_10000 = (uint32_t)number * 100;
    break;
  case OPTION_IDS:
    stream->ids_v4 = strcmp(text, "v4") == 0;
    if (!stream->ids_v4 && strcmp(text, "v7") != 0)
      argp_error(state, "--ids takes v4 or v7, not \"%s\"", text);
    break;
  case ARGP_KEY_INIT: state->child_inputs[0] = &a->data; break;
  case ARGP_KEY_ARG: argp_error(state, "\"%s\" is too much; everything is said by options", text); break;
  case ARGP_KEY_END:
    if ((a->load.rate > 0) == (a->window > 0))
      argp_error(state, "say either --rate N (open loop: how it feels at that rate) or --window N (closed loop: how much it takes)");
    if (a->load.encode && a->load.rate > 0)
      argp_error(state, "--encode goes with --window: what it costs is seen in how much the node takes");
    if (a->seconds && !(a->load.rate > 0))
      argp_error(state, "--seconds goes with --rate; a closed loop has --records");
    stream->profile = profile_find(a->profile);
    if (!stream->profile)
      argp_error(state, "there is no profile \"%s\"; `muster generate --list` shows them", a->profile);
    break;
  default: return ARGP_ERR_UNKNOWN;
  }
  return 0;
}

static const struct argp_child children[] = {{&ops_options_data, 0, NULL, 0}, {0}};
static const struct argp argp = {
    .options = options,
    .parser = parse,
    .children = children,
    .doc = "Puts a load of synthetic records on a node and measures it: durable records a second, and how long a record waits for its "
           "verdict. The records are real ones to the node: do it to a test node, never to one in use.\v"
           "A record counts once it has its verdict, which the node gives after a synchronous commit. The closed loop's latencies are "
           "those of a window of batches; what a user would feel is told by the open loop alone.\n\n"
           "Exit code: 0 every record has its verdict; 65 some verdict was neither ACCEPTED nor DUPLICATE as it should be; 69 no node "
           "answered; 75 some records have no verdict; 76 protocol or version; 77 key refused.\n\n"
           "Example: muster bench --window 16 --records 2000000 --duplicates 2",
};

/* ---- the words ---- */

static double ms(uint64_t ns) { return (double)ns / 1e6; }

static void print_words(const struct arguments *a, const struct load_result *r)
{
  char t[3][TABLE_NUMBER];
  double seconds = (double)r->elapsed_ns / 1e9;
  uint64_t answered = r->latency.count;
  if (a->load.rate > 0)
    printf("open loop, %s records/s due: ", ops_table_number(t[0], (uint64_t)a->load.rate));
  else
    printf("closed loop, %" PRIu64 " batches of %" PRIu64 " in flight: ", a->window, a->batch);
  printf("%s records, %s/s, each with its verdict after a synchronous commit\n", ops_table_number(t[1], answered),
         ops_table_number(t[2], (uint64_t)((double)answered / seconds)));
  printf("latency    p50 %.3f  p90 %.3f  p99 %.3f  p99.9 %.3f  max %.3f ms, %s\n", ms(histogram_quantile(&r->latency, 0.5)),
         ms(histogram_quantile(&r->latency, 0.9)), ms(histogram_quantile(&r->latency, 0.99)), ms(histogram_quantile(&r->latency, 0.999)),
         ms(r->latency.max), a->load.rate > 0 ? "from the moment a record was due" : "from the handing over of a batch");
  printf("stall      %.1f ms: the longest time without a verdict\n", ms(r->stall_ns));
  printf("verdicts   %s accepted, %s duplicate", ops_table_number(t[0], r->counts.accepted), ops_table_number(t[1], r->counts.duplicate));
  printf(", %s conflict, %s invalid; ", ops_table_number(t[0], r->counts.conflict), ops_table_number(t[1], r->counts.invalid));
  printf("%s times told BUSY\n", ops_table_number(t[0], r->counts.busy_answers));
  printf("generator  %.0f %% of a core", 100 * r->cpu_s / seconds);
  if (a->load.rate > 0)
    printf("; a record was offered %.3f ms after its moment at the median, %.3f at p99", ms(histogram_quantile(&r->late, 0.5)),
           ms(histogram_quantile(&r->late, 0.99)));
  putchar('\n');
}

/* Of all buckets those that are not empty: [upper edge in ns, count]. */
static json_t *json_histogram(const struct histogram *h)
{
  json_t *buckets = json_array();
  for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
    if (h->bucket[i])
      json_array_append_new(buckets, json_pack("[I,I]", (json_int_t)histogram_bucket_high(i), (json_int_t)h->bucket[i]));
  return json_pack("{s:I,s:f,s:f,s:f,s:f,s:f,s:f,s:o}", "count", (json_int_t)h->count, "mean_ms", histogram_mean(h) / 1e6, "p50_ms",
                   ms(histogram_quantile(h, 0.5)), "p90_ms", ms(histogram_quantile(h, 0.9)), "p99_ms", ms(histogram_quantile(h, 0.99)),
                   "p999_ms", ms(histogram_quantile(h, 0.999)), "max_ms", ms(h->max), "buckets_ns", buckets);
}

static json_t *json_samples(const struct load_result *r)
{
  json_t *samples = json_array();
  uint64_t records = 0, end_ns = 0;
  for (uint32_t i = 0; i < r->sample_count; i++) {
    const struct load_sample *s = &r->samples[i];
    double seconds = (double)(s->end_ns - end_ns) / 1e9;
    json_array_append_new(samples,
                          json_pack("{s:I,s:f,s:f,s:f,s:f,s:f}", "records", (json_int_t)s->records, "end_s", (double)s->end_ns / 1e9,
                                    "records_per_s", seconds > 0 ? (double)(s->records - records) / seconds : 0.0, "p50_ms", ms(s->p50_ns),
                                    "p99_ms", ms(s->p99_ns), "max_ms", ms(s->max_ns)));
    records = s->records;
    end_ns = s->end_ns;
  }
  return samples;
}

static json_t *json_result(const struct arguments *a, const struct load_result *r)
{
  const struct bench_stream_options *stream = &a->load.supply.stream;
  double seconds = (double)r->elapsed_ns / 1e9;
  json_t *settings = json_pack("{s:s,s:f,s:I,s:I,s:I,s:f,s:I,s:b,s:s,s:s,s:I,s:s}", "loop", a->load.rate > 0 ? "open" : "closed", "rate",
                               a->load.rate, "window", (json_int_t)a->window, "batch", (json_int_t)a->batch, "records",
                               (json_int_t)a->load.records, "duplicates_percent", a->load.supply.resends_per_10000 / 100.0, "record_bytes",
                               (json_int_t)stream->record_bytes, "encode", a->load.encode, "ids", stream->ids_v4 ? "v4" : "v7", "profile",
                               stream->profile->name, "seed", (json_int_t)stream->seed, "version", MUSTER_VERSION);
  json_t *counts =
      json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "submitted", (json_int_t)r->counts.submitted, "accepted",
                (json_int_t)r->counts.accepted, "duplicate", (json_int_t)r->counts.duplicate, "conflict", (json_int_t)r->counts.conflict,
                "invalid", (json_int_t)r->counts.invalid, "busy_answers", (json_int_t)r->counts.busy_answers, "sent_again",
                (json_int_t)r->counts.sent_again, "reconnects", (json_int_t)r->counts.reconnects);
  json_object_set_new(counts, "answers_lost",
                      json_integer((json_int_t)(r->own && r->counts.duplicate > r->resends ? r->counts.duplicate - r->resends : 0)));
  return json_pack("{s:o,s:o,s:f,s:f,s:f,s:f,s:o,s:o,s:o}", "settings", settings, "counts", counts, "seconds", seconds, "records_per_s",
                   (double)r->latency.count / seconds, "worst_stall_ms", ms(r->stall_ns), "generator_cpu_s", r->cpu_s, "latency",
                   json_histogram(&r->latency), "offered_late", json_histogram(&r->late), "samples", json_samples(r));
}

static int write_json(const struct arguments *a, const struct load_result *r)
{
  bool out = strcmp(a->json, "-") == 0;
  struct failure failure = FAILURE_NONE;
  FILE *file = stdout;
  if (!out && file_create_stream(&file, a->json, (const char *[]){a->key, a->server_key}, 2, &failure) != MUSTER_OK)
    return ops_fail(NAME, &failure);
  json_t *object = json_result(a, r);
  bool written = object && json_dumpf(object, file, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0 && fputc('\n', file) != EOF;
  if (!out)
    written = (fclose(file) == 0) && written;
  json_decref(object);
  if (written)
    return EX_OK;
  ops_complain(NAME, "%s could not be written: %s", a->json, strerror(errno));
  return EX_IOERR;
}

/* ---- the run ---- */

static int judge(const struct load_result *r)
{
  const bool whole = r->counts.accepted + r->counts.duplicate == r->counts.submitted;
  if (whole && r->counts.duplicate == r->resends)
    return EX_OK;
  if (whole && r->counts.duplicate > r->resends && r->own) {
    ops_complain(NAME,
                 "%" PRIu64 " records were told DUPLICATE of their own first sending, whose answer was lost: a process of the node or a "
                 "connection went meanwhile; every record is stored once, and the figures hold what that has cost",
                 r->counts.duplicate - r->resends);
    return EX_OK;
  }
  ops_complain(NAME,
               "%" PRIu64 " records were sent again and %" PRIu64 " were told DUPLICATE: other records of this seed are in the store "
               "already, or the node is wrong; take a fresh store or another --seed",
               r->resends, r->counts.duplicate);
  return EX_DATAERR;
}

int bench_bench_main(int argc, char **argv)
{
  struct arguments a = {.load.supply.stream.seed = 1, .profile = "fy2021-southwest", .records = 1000000, .batch = 1000, .timeout_s = 30};
  struct load_result *result = calloc(1, sizeof *result);
  struct failure failure = FAILURE_NONE;
  ops_options_parse(&argp, argc, argv, &a);
  a.load.client = (struct muster_options)MUSTER_OPTIONS_INIT;
  a.load.client.endpoint = a.endpoint;
  a.load.client.data_directory = a.data;
  a.load.client.key_file = a.key;
  a.load.client.software = "muster-bench " MUSTER_VERSION;
  a.load.client.batch_records = (uint32_t)a.batch;
  a.load.client.window_batches = a.load.rate > 0 ? WINDOW_OPEN : (uint32_t)a.window;
  a.load.records = a.seconds ? (uint64_t)(a.load.rate * (double)a.seconds) : a.records;
  a.load.timeout_s = (uint32_t)a.timeout_s;
  int status = result ? MUSTER_OK : failure_set(&failure, MUSTER_ERR_MEMORY, "no memory for the result");
  if (status == MUSTER_OK && a.server_key) {
    status = key_public_read(a.server_key_text, a.server_key, &failure);
    a.load.client.server_key = a.server_key_text;
  }
  if (status == MUSTER_OK)
    status = load_run(result, &a.load, &failure);
  int json_code, code = status == MUSTER_OK ? judge(result) : ops_fail(NAME, &failure);
  if (status == MUSTER_OK && !(a.json && strcmp(a.json, "-") == 0))
    print_words(&a, result);
  if (status == MUSTER_OK && a.json && (json_code = write_json(&a, result)) != EX_OK)
    code = json_code;
  if (result)
    load_finish(result);
  free(result);
  return ops_output_finish(NAME, code);
}
