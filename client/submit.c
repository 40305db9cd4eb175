/*
 * `muster submit`: the records of a file or of a pipe, through the client library, until each has its verdict. Running
 * it again is always right: what is stored already is answered DUPLICATE.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "client/progress.h"
#include "client/source.h"
#include "core/clock.h"
#include "core/durable.h"
#include "core/file.h"
#include "core/keys.h"
#include "core/limits.h"
#include "muster/client.h"
#include "ops/commands.h"
#include "ops/options.h"
#include "ops/table.h"

#define SLICE_MS 250u      /* so long a call of the library may take before the progress is looked at */
#define LOOK_MS 50u        /* between two looks for a node that is not there yet */
#define APPEAR_MS 1000u    /* so long a data directory that is not there is waited for */
#define LOOK_RECORDS 1024u /* and so many records may go by */
#define COMPLAINTS 20u     /* bad records told one by one; the others are counted */
#define REASONS LIMIT_REASONS
#define NAME "submit"

struct submit {
  const char *path, *endpoint, *data, *server_key, *key, *verdicts;
  bool ndjson, format_given, quiet;
  uint64_t batch, window, timeout_s, total;

  struct source *source;
  struct muster_client *client;
  struct progress progress;
  FILE *out;         /* of --verdicts */
  int out_error;     /* errno of the first row that could not be written */
  bool verdicts_out; /* they go to standard output, the summary to standard error */
  uint64_t reasons[REASONS];
  uint64_t given_back;      /* records whose shard stayed down */
  uint64_t bad;             /* records of the input that could not be sent */
  bool input_over;          /* nothing is left of the input that could be read */
  uint64_t heard, moved_ns; /* when an answer came last; BUSY is one: the node is there, and says what it waits for */
  char server_key_text[KEY_TEXT];
};

static volatile sig_atomic_t interrupted;
static void on_interrupt(int signal) { interrupted = signal; }

/* ---- options ---- */

enum { OPTION_SERVER_KEY = 256, OPTION_KEY, OPTION_FORMAT, OPTION_VERDICTS, OPTION_TOTAL };

static const struct argp_option options[] = {
    {"endpoint", 'e', "E", 0,
     "Where the node listens: ipc://PATH or tcp://HOST:PORT; several in one argument, separated by spaces, are tried in turn", 0},
    {"server-key", OPTION_SERVER_KEY, "KEY", 0,
     "tcp: the node's public key (40 characters of Z85, from `muster key show`), or a file that has it", 0},
    {"key", OPTION_KEY, "FILE", 0, "tcp: this submitter's key pair, from `muster key new`", 0},
    {"format", OPTION_FORMAT, "pb|ndjson", 0, "pb: a delimited protobuf stream; ndjson: one JSON object a line (default: pb)", 0},
    {"batch", 'b', "N", 0, "Records a batch, 1 to 10000 (default: 1000)", 0},
    {"window", 'w', "N", 0, "Batches in flight, 1 to 4096, within the credit that the node gives (default: 16)", 0},
    {"verdicts", OPTION_VERDICTS, "FILE", 0,
     "Write one line a record as its verdict comes: number in the input (from 1), verdict, address (SHARD:SEQUENCE), reason, field number; "
     "tab separated, with a heading. LEFT_OUT is said of a record that could not be sent (a bad line, too many bytes); one without a line "
     "has no verdict, or was not written down before the command was killed. When the command ends by itself every line is on the disk. "
     "`-`: on standard output, the summary then goes to standard error",
     0},
    {"timeout", 't', "S", 0,
     "Give up after so many seconds without any answer, and wait so long for a shard that is down before its records are left without a "
     "verdict "
     "(default: 30)",
     0},
    {"total", OPTION_TOTAL, "N", 0, "How many records a pipe will bring, so that the time left can be shown", 0},
    {"quiet", 'q', NULL, 0, "No progress line", 0},
    {0}};

static error_t parse(int key, char *text, struct argp_state *state)
{
  struct submit *s = state->input;
  switch (key) {
  case 'e': s->endpoint = text; break;
  case 'b': ops_options_take_number(state, "--batch", text, 1, LIMIT_BATCH_RECORDS, &s->batch); break;
  case 'w': ops_options_take_number(state, "--window", text, 1, LIMIT_BATCHES_IN_FLIGHT, &s->window); break;
  case 't': ops_options_take_number(state, "--timeout", text, 1, 1000000, &s->timeout_s); break;
  case 'q': s->quiet = true; break;
  case OPTION_SERVER_KEY: s->server_key = text; break;
  case OPTION_KEY: s->key = text; break;
  case OPTION_VERDICTS: s->verdicts = text; break;
  case OPTION_TOTAL: ops_options_take_number(state, "--total", text, 1, UINT64_MAX, &s->total); break;
  case OPTION_FORMAT:
    s->format_given = true;
    s->ndjson = strcmp(text, "ndjson") == 0;
    if (!s->ndjson && strcmp(text, "pb") != 0)
      argp_error(state, "--format is pb or ndjson, not %s", text);
    break;
  case ARGP_KEY_INIT: state->child_inputs[0] = &s->data; break;
  case ARGP_KEY_ARG:
    if (s->path)
      argp_error(state, "one FILE at a time; to send several: cat FILE... | muster submit -");
    s->path = text;
    break;
  case ARGP_KEY_END:
    if (!s->path)
      argp_error(state, "which FILE? `-` is standard input");
    break;
  default: return ARGP_ERR_UNKNOWN;
  }
  return 0;
}

static const char doc[] =
    "Submits the records of FILE (`-`: standard input) and waits until each has its verdict: ACCEPTED (durable now), "
    "DUPLICATE (durable before), CONFLICT "
    "(another content under its id is durable) or INVALID (refused, kept in the node's quarantine).\v"
    "Running it again is always right: whatever is stored already is answered DUPLICATE. A node that dies meanwhile "
    "is waited for, and what it left unanswered is sent again. "
    "Without --endpoint the node is found through --data or MUSTER_DATA.\n\n"
    "Exit code: 0 all accepted or duplicate; 65 some record was bad, invalid or in conflict, or FILE holds no records; 66 no such input or "
    "node directory; 69 no node answered at all; 75 "
    "some records have no verdict, and may be stored; 76 protocol or version; 77 key refused.\n\n"
    "Example: muster generate --records 100000 | muster submit -";
static const struct argp_child children[] = {{&ops_options_data, 0, NULL, 0}, {0}};
static const struct argp argp = {options, parse, "FILE|-", doc, children, NULL, NULL};

/* ---- what the library tells ---- */

/* Of a row; printed: what stdio said of it. */
static void note_row(struct submit *s, int printed)
{
  if (printed < 0 && s->out_error == 0)
    s->out_error = errno;
}

static void on_verdict(void *context, const struct muster_verdict *v)
{
  struct submit *s = context;
  const char *name = muster_verdict_name(v->verdict);
  if (v->verdict == MUSTER_INVALID && v->reason < REASONS)
    s->reasons[v->reason]++;
  if (!s->out)
    return;
  if (v->verdict == MUSTER_INVALID)
    note_row(s, fprintf(s->out, "%" PRIu64 "\t%s\t-\t%s\t%" PRIu32 "\n", v->tag, name, muster_reason_name(v->reason), v->field));
  else
    note_row(s, fprintf(s->out, "%" PRIu64 "\t%s\t%" PRIu32 ":%" PRIu64 "\t-\t-\n", v->tag, name, v->shard, v->sequence));
}

static void on_notice(void *context, const char *sentence)
{
  struct submit *s = context;
  if (s->quiet)
    return;
  progress_clear(&s->progress);
  ops_complain(NAME, "%s", sentence);
}

/* A shard may be down until somebody comes. The others go on, and the end of the command tells of these records. */
static void on_given_back(void *context, uint64_t tag, uint32_t reason)
{
  struct submit *s = context;
  (void)tag;
  if (s->given_back++ == 0)
    on_notice(s, "a shard of the node stays down: its records are left without a verdict, the others go on");
  (void)reason;
}

/* Looks at the progress, and shows it. false: no answer came for the whole of the time-out, or somebody interrupted. */
static bool submit_moves(struct submit *s)
{
  struct muster_counts counts;
  muster_client_counts(s->client, &counts);
  uint64_t answered = progress_answered(&counts), now = clock_monotonic_ns();
  uint64_t heard = answered + s->given_back + counts.busy_answers;
  if (heard != s->heard || counts.in_flight == 0) {
    s->heard = heard;
    s->moved_ns = now;
  }
  uint64_t bytes = source_bytes_total(s->source);
  if (s->total)
    progress_show(&s->progress, &counts, answered, s->total);
  else
    progress_show(&s->progress, &counts, source_bytes_used(s->source), bytes);
  return !interrupted && now - s->moved_ns < s->timeout_s * UINT64_C(1000000000);
}

/* ---- the way of the records ---- */

static int submit_record(struct submit *s, const struct source_record *r)
{
  int status;
  while ((status = muster_client_submit(s->client, r->bytes, r->size, r->number)) == MUSTER_ERR_TIMEOUT)
    if (!submit_moves(s))
      return status;
  if (status == MUSTER_OK && r->number % LOOK_RECORDS == 0 && !submit_moves(s))
    return MUSTER_ERR_TIMEOUT;
  return status;
}

static void tell_left_out(struct submit *s, const struct source_record *record)
{
  s->bad++;
  if (s->out)
    note_row(s, fprintf(s->out, "%" PRIu64 "\tLEFT_OUT\t-\t-\t-\n", record->number));
}

/* All records, then the wait for their verdicts. A fault of the input is told at once and remembered in *input_status. */
static int submit_all(struct submit *s, int *input_status)
{
  int status = MUSTER_OK;
  while (!s->input_over && status == MUSTER_OK) {
    struct source_record record;
    struct failure failure = FAILURE_NONE;
    enum source_step step = source_next(s->source, &record, &failure);
    s->input_over = step == SOURCE_END || step == SOURCE_BROKEN;
    switch (step) {
    case SOURCE_RECORD: status = submit_record(s, &record); break;
    case SOURCE_END: break;
    case SOURCE_STOPPED: status = MUSTER_ERR_TIMEOUT; break; /* as where submit_moves has seen it */
    case SOURCE_BAD: tell_left_out(s, &record);              /* fall through */
    case SOURCE_BROKEN:
      *input_status = failure.status;
      if (s->input_over || s->bad <= COMPLAINTS) {
        progress_clear(&s->progress);
        ops_complain(NAME, "%s", failure.text);
      }
      break;
    }
  }
  while (status == MUSTER_OK && (status = muster_client_flush(s->client, SLICE_MS)) == MUSTER_ERR_TIMEOUT && submit_moves(s))
    status = MUSTER_OK;
  return status;
}

/* ---- the last words ---- */

static void print_summary(const struct submit *s, const struct muster_counts *c, uint64_t start_ns)
{
  char t[6][TABLE_NUMBER], left_out[TABLE_NUMBER + 16] = "", unanswered[TABLE_NUMBER + 24] = "";
  FILE *out = s->verdicts_out ? stderr : stdout;
  if (s->bad)
    snprintf(left_out, sizeof left_out, ", %s left out", ops_table_number(t[0], s->bad));
  if (c->in_flight + s->given_back)
    snprintf(unanswered, sizeof unanswered, ", %s without a verdict", ops_table_number(t[0], c->in_flight + s->given_back));
  double seconds = (double)(clock_monotonic_ns() - start_ns) / 1e9;
  fprintf(out, "submitted %s: %s accepted, %s duplicate, %s conflict, %s invalid%s%s%s in %.2f s (%s records/s)\n",
          ops_table_number(t[0], c->submitted), ops_table_number(t[1], c->accepted), ops_table_number(t[2], c->duplicate),
          ops_table_number(t[3], c->conflict), ops_table_number(t[4], c->invalid), left_out, unanswered,
          s->input_over ? "" : ", the rest of the input not read,", seconds,
          ops_table_number(t[5], (uint64_t)((double)progress_answered(c) / (seconds > 0 ? seconds : 1e-9))));
  for (uint32_t reason = 0; reason < REASONS; reason++)
    if (s->reasons[reason])
      fprintf(out, "  %s invalid: %s: %s\n", ops_table_number(t[0], s->reasons[reason]), muster_reason_name(reason),
              muster_reason_sentence(reason));
}

/* It ended before every record had its verdict; MUSTER_OK: all others have theirs, and these were given back. What was sent may be stored, whether an answer came or not; before the first welcome
 * nothing is sent. */
static int submit_end_early(const struct submit *s, const struct muster_counts *c, int status)
{
  char number[TABLE_NUMBER];
  const uint64_t unanswered = c->in_flight + s->given_back;
  const char *rest = s->input_over ? "" : "; the rest of the input was not read";
  if (!c->welcomed && status == MUSTER_ERR_TIMEOUT && !interrupted) {
    ops_complain(NAME,
                 "no node answered within %" PRIu64 " s at %s; start one with `muster run`, or look at --endpoint; nothing was stored",
                 s->timeout_s, muster_client_endpoint(s->client));
    return EX_UNAVAILABLE;
  }
  const char *cause = interrupted                    ? "interrupted"
                      : status == MUSTER_OK          ? "a shard of the node is down (BUSY_SHARD_DOWN); `muster status' there says why"
                      : status == MUSTER_ERR_TIMEOUT ? "no answer came for too long"
                                                     : muster_client_error(s->client);
  if (!c->welcomed)
    ops_complain(NAME, "%s; nothing was sent", cause);
  else if (unanswered == 0)
    ops_complain(NAME, "%s; every record that was sent has its verdict%s; run the same command again", cause, rest);
  else
    ops_complain(NAME, "%s; %s records have no verdict: they may be stored%s; run the same command again, which does no harm", cause,
                 ops_table_number(number, unanswered), rest);
  return interrupted || status == MUSTER_OK ? EX_TEMPFAIL : muster_status_exit_code(status);
}

static int submit_end(struct submit *s, int status, int input_status, uint64_t start_ns)
{
  struct muster_counts c;
  char number[TABLE_NUMBER];
  muster_client_counts(s->client, &c);
  progress_clear(&s->progress);
  if (progress_answered(&c) || s->bad || s->given_back)
    print_summary(s, &c, start_ns);
  if (s->bad > COMPLAINTS)
    ops_complain(NAME, "%s bad records in all were left out", ops_table_number(number, s->bad));
  if (status != MUSTER_OK || s->given_back)
    return submit_end_early(s, &c, status);
  if (input_status == MUSTER_OK && c.submitted == 0 && s->bad == 0) {
    ops_complain(NAME, "there are no records in the input; nothing was done");
    return EX_DATAERR;
  }
  if (input_status != MUSTER_OK)
    return input_status == MUSTER_ERR_IO ? EX_IOERR : EX_DATAERR;
  return c.conflict || c.invalid ? EX_DATAERR : EX_OK;
}

/* ---- opening ---- */

/* The client; a node that is just starting, or is to be started, is waited for. A directory that is not there at all gets a moment only,
 * since `muster run &` in front of this command makes it first of all. */
static int submit_connect(struct submit *s, struct failure *failure)
{
  char error[MUSTER_ERROR_BYTES];
  struct muster_options o = MUSTER_OPTIONS_INIT;
  o.endpoint = s->endpoint;
  o.data_directory = s->data;
  o.server_key = s->server_key ? s->server_key_text : NULL;
  o.key_file = s->key;
  o.software = "muster-submit " MUSTER_VERSION;
  o.batch_records = (uint32_t)s->batch;
  o.window_batches = (uint32_t)s->window;
  o.on_verdict = on_verdict;
  o.on_notice = on_notice;
  o.on_given_back = on_given_back;
  o.shard_patience_ms = (uint32_t)(s->timeout_s * 1000);
  o.context = s;
  uint64_t start_ns = clock_monotonic_ns(), waited_ns = 0;
  int status;
  for (bool told = false; (status = muster_client_create(&s->client, &o, error)) != MUSTER_OK;) {
    waited_ns = clock_monotonic_ns() - start_ns;
    uint64_t limit_ms = status == MUSTER_ERR_UNAVAILABLE ? s->timeout_s * 1000 : status == MUSTER_ERR_NOT_FOUND ? APPEAR_MS : 0;
    if (waited_ns >= limit_ms * UINT64_C(1000000))
      return failure_set(failure, status, "%s; nothing was sent", error);
    if (status == MUSTER_ERR_UNAVAILABLE && !told)
      on_notice(s, "no node is ready on the data directory; waiting for it");
    told = told || status == MUSTER_ERR_UNAVAILABLE;
    usleep(LOOK_MS * 1000);
  }
  muster_client_set_timeout(s->client, SLICE_MS);
  return MUSTER_OK;
}

/* The input may be the only copy of its records, and a key the only one of its kind: neither is written over. */
static int submit_open_verdicts(struct submit *s, struct failure *failure)
{
  const char *const inputs[] = {s->path, s->key, s->server_key};
  const size_t count = sizeof inputs / sizeof *inputs;
  if (!s->verdicts)
    return MUSTER_OK;
  s->verdicts_out = strcmp(s->verdicts, "-") == 0;
  if (!s->verdicts_out)
    return file_create_stream(&s->out, s->verdicts, inputs, count, failure);
  s->out = stdout;
  return file_check_output(STDOUT_FILENO, "standard output", inputs, count, failure);
}

static int submit_open(struct submit *s, struct failure *failure)
{
  int status = s->server_key ? key_public_read(s->server_key_text, s->server_key, failure) : MUSTER_OK;
  if (status == MUSTER_OK)
    status = source_open(&s->source, s->path, s->ndjson, failure);
  if (status == MUSTER_OK && !s->format_given && source_looks_like_json(s->source))
    status = failure_set(failure, MUSTER_ERR_FORMAT, "%s: this looks like JSON: say --format ndjson; nothing was sent", s->path);
  if (status == MUSTER_OK && !s->ndjson)
    status = source_check_stream(s->source, failure);
  if (status != MUSTER_OK)
    return status;
  if ((status = submit_open_verdicts(s, failure)) != MUSTER_OK)
    return status;
  if (s->out)
    fputs("record\tverdict\taddress\treason\tfield\n", s->out);
  return submit_connect(s, failure);
}

/* Whoever reads the rows may throw his records away: they are on the disk before this command ends. */
static int submit_end_verdicts(struct submit *s)
{
  struct failure failure = FAILURE_NONE;
  int status = MUSTER_OK;
  if (fflush(s->out) != 0)
    note_row(s, -1);
  if (s->out_error || ferror(s->out))
    status = failure_set_errno(&failure, MUSTER_ERR_IO, s->out_error ? s->out_error : EIO, "%s could not be written whole", s->verdicts);
  else
    status = durable_sync_output(fileno(s->out), s->verdicts, &failure);
  if (status != MUSTER_OK)
    ops_complain(NAME, "%s; the records were submitted all the same", failure.text);
  fclose(s->out);
  return status;
}

int client_submit_main(int argc, char **argv)
{
  struct submit s = {.batch = 1000, .window = 16, .timeout_s = 30};
  struct failure failure = FAILURE_NONE;
  ops_options_parse(&argp, argc, argv, &s);
  progress_init(&s.progress, s.quiet);
  int code;
  if (submit_open(&s, &failure) != MUSTER_OK) {
    code = ops_fail(NAME, &failure);
  } else {
    struct sigaction stop = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    source_stop_on(s.source, &interrupted);
    int input_status = MUSTER_OK;
    uint64_t start_ns = s.moved_ns = clock_monotonic_ns();
    int status = submit_all(&s, &input_status);
    code = submit_end(&s, status, input_status, start_ns);
  }
  if (s.out && !s.verdicts_out && submit_end_verdicts(&s) != MUSTER_OK)
    code = code == EX_OK ? EX_IOERR : code;
  muster_client_destroy(s.client);
  source_close(s.source);
  return s.verdicts_out ? ops_output_sync(NAME, code) : ops_output_finish(NAME, code);
}
