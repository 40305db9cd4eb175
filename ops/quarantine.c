/* `muster quarantine`: the options of its four verbs. */
#include "ops/quarantine.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "core/limits.h"
#include "ops/commands.h"
#include "ops/options.h"
#include "proto/text.h"
#include "proto/vocabulary.h"

#define ROWS_DEFAULT 50
#define TIMEOUT_DEFAULT_MS 60000

enum {
  KEY_SUBMITTER = 's',
  KEY_STORED = 256,
  KEY_BY = 'b',
  KEY_ROWS = 'n',
  KEY_PAYLOAD = 'p',
  KEY_REASON = 'r',
  KEY_ENDPOINT = 'e',
  KEY_TIMEOUT = 't'
};

struct words {
  struct ops_quarantine_options o;
  const char *verb, *address;
};

static const struct argp_option options[] = {
    {"by", KEY_BY, "WHAT", 0, "list: counts by reason (default) or by submitter", 0},
    {"rows", KEY_ROWS, "N", 0, "list: entries shown after the counts (default: 50; 0: all)", 0},
    {"payload", KEY_PAYLOAD, NULL, 0, "show: the record itself, too", 0},
    {"reason", KEY_REASON, "REASON", 0, "replay, drop: only entries refused for this reason, as TIME_IN_FUTURE", 0},
    {"submitter", KEY_SUBMITTER, "NAME", 0, "drop: only entries of this submitter, by name or number", 0},
    {"stored", KEY_STORED, NULL, 0, "drop: only entries whose record was accepted since, from whomever", 0},
    {"endpoint", KEY_ENDPOINT, "ENDPOINT", 0, "replay: to this node (default: the one of the data directory)", 0},
    {"timeout", KEY_TIMEOUT, "SECONDS", 0, "replay, drop: wait so long for verdicts and workers (default: 60)", 0},
    {0}};

static const char doc[] =
    "Refused records: lists and shows them, submits them again once the cause is mended, and drops what has been judged."
    "\v"
    "  list                 counts and sentences by reason, then the entries by\n"
    "                       shard and number, the oldest first; never their\n"
    "                       content\n"
    "  show SHARD:NUMBER    one entry; its content only with --payload\n"
    "  replay               submits entries again, as \"local\"; tells the\n"
    "                       verdicts, and drops the entries whose record is in\n"
    "                       the store now\n"
    "  drop SHARD:NUMBER    drops one entry\n"
    "  drop                 drops all entries that fit --reason, --submitter and\n"
    "                       --stored, at least one of which is given\n"
    "\n"
    "What is kept counts against its submitter's quota (quarantine_records and quarantine_bytes in [store], for each shard); past it a "
    "refused record is counted and answered, and its bytes are not kept. Replay and drop give room again. Entries are dropped by the "
    "running node within a second; without a node it is done when one starts. Replaying and dropping twice is harmless. "
    "Records that killed a worker are not replayed unless asked for by --reason KILLED_WORKER.\n"
    "\n"
    "What is damaged in the store is named and passed over; muster verify says more.\n"
    "\n"
    "Exit code: 65 where some were refused again, or what is asked for may be damaged; 1 where all went well with what can be read, and "
    "some cannot; 75 where a shard was passed over that could be read a moment later.\n"
    "\n"
    "Example: muster quarantine replay --reason TIME_IN_FUTURE";

uint32_t ops_quarantine_reason(const char *word)
{
  uint64_t number;
  if (ops_options_number(word, 1, LIMIT_RECORD_REASONS - 1, &number))
    return strcmp(vocabulary_reason((uint32_t)number), "unknown") == 0 ? 0 : (uint32_t)number;
  for (uint32_t reason = 1; reason < LIMIT_RECORD_REASONS; reason++)
    if (strcmp(word, vocabulary_reason(reason)) == 0 && strcmp(word, "unknown") != 0)
      return reason;
  return 0;
}

static void take_word(struct words *w, const char *argument, struct argp_state *state)
{
  if (!w->verb)
    w->verb = argument;
  else if (!w->address && (strcmp(w->verb, "show") == 0 || strcmp(w->verb, "drop") == 0))
    w->address = argument;
  else
    argp_error(state, "\"%s\" is one word too many", argument);
}

static void check(struct words *w, struct argp_state *state)
{
  static const char *const verbs[] = {"list", "show", "replay", "drop"};
  size_t i = 0;
  while (i < 4 && w->verb && strcmp(w->verb, verbs[i]) != 0)
    i++;
  if (!w->verb || i == 4)
    argp_error(state, "list, show, replay or drop?");
  w->o.addressed = w->address != NULL;
  if (w->address ? !text_address_parse(&w->o.shard, &w->o.number, w->address) : strcmp(w->verb, "show") == 0)
    argp_error(state, "%s wants SHARD:NUMBER, as list prints it", w->verb);
  if (strcmp(w->verb, "drop") == 0 && !w->address && !w->o.reason && !w->o.submitter && !w->o.stored)
    argp_error(state, "drop what? SHARD:NUMBER, or one or more of --reason, --submitter, --stored");
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
  struct words *w = state->input;
  uint64_t number;
  switch (key) {
  case ARGP_KEY_INIT: state->child_inputs[0] = &w->o.data; return 0;
  case KEY_BY:
    w->o.by_submitter = strcmp(argument, "submitter") == 0;
    if (!w->o.by_submitter && strcmp(argument, "reason") != 0)
      argp_error(state, "--by is reason or submitter");
    return 0;
  case KEY_ROWS:
    if (!ops_options_number(argument, 0, UINT32_MAX, &w->o.rows))
      argp_error(state, "--rows is a number of entries");
    return 0;
  case KEY_PAYLOAD: w->o.payload = true; return 0;
  case KEY_REASON:
    w->o.reason = ops_quarantine_reason(argument);
    if (!w->o.reason)
      argp_error(state, "there is no reason \"%.40s\"; `muster quarantine list' names those that occur", argument);
    return 0;
  case KEY_SUBMITTER: w->o.submitter = argument; return 0;
  case KEY_STORED: w->o.stored = true; return 0;
  case KEY_ENDPOINT: w->o.endpoint = argument; return 0;
  case KEY_TIMEOUT:
    if (!ops_options_number(argument, 1, 86400, &number))
      argp_error(state, "--timeout is a number of seconds, 1 to 86400");
    w->o.timeout_ms = (uint32_t)number * 1000;
    return 0;
  case ARGP_KEY_ARG: take_word(w, argument, state); return 0;
  case ARGP_KEY_END: check(w, state); return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_child children[] = {{.argp = &ops_options_data}, {0}};
static const struct argp argp = {.options = options,
                                 .parser = parse,
                                 .args_doc = "list\nshow SHARD:NUMBER\nreplay\ndrop [SHARD:NUMBER]",
                                 .doc = doc,
                                 .children = children};

/* What cannot be read of the shards hides none of the others. */
static int open_shards(struct ops_shards *s, const char *option, struct failure *failure)
{
  char name[LIMIT_PATH_BYTES];
  struct datadir data;
  int status = datadir_name(name, option, failure);
  if (status == MUSTER_OK)
    status = datadir_open(&data, name, failure);
  return status == MUSTER_OK ? ops_shards_open_some(s, &data, failure) : status;
}

int ops_quarantine_main(int argc, char **argv)
{
  struct words w = {.o = {.rows = ROWS_DEFAULT, .timeout_ms = TIMEOUT_DEFAULT_MS}};
  struct failure failure = FAILURE_NONE;
  struct ops_shards shards;
  ops_options_parse(&argp, argc, argv, &w);
  if (open_shards(&shards, w.o.data, &failure) != MUSTER_OK)
    return ops_fail("quarantine", &failure);
  int code;
  if (strcmp(w.verb, "list") == 0)
    code = ops_quarantine_list(&w.o, &shards);
  else if (strcmp(w.verb, "show") == 0)
    code = ops_quarantine_show(&w.o, &shards);
  else if (strcmp(w.verb, "replay") == 0)
    code = ops_quarantine_replay(&w.o, &shards);
  else
    code = ops_quarantine_drop(&w.o, &shards);
  ops_shards_close(&shards);
  return code;
}
