/* `muster quarantine`: the options of its three verbs. */
#include "ops/quarantine.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "ops/commands.h"
#include "ops/options.h"
#include "proto/text.h"
#include "proto/vocabulary.h"

#define ROWS_DEFAULT 50
#define TIMEOUT_DEFAULT_MS 60000
#define REASONS_OF_RECORDS 100 /* 1 to 99 are of a record */

enum { KEY_BY = 'b', KEY_ROWS = 'n', KEY_PAYLOAD = 'p', KEY_REASON = 'r', KEY_ENDPOINT = 'e', KEY_TIMEOUT = 't' };

struct words {
  struct ops_quarantine_options o;
  const char *verb, *address;
};

static const struct argp_option options[] = {
    {"by", KEY_BY, "WHAT", 0, "list: counts by reason (default) or by submitter", 0},
    {"rows", KEY_ROWS, "N", 0, "list: entries shown after the counts (default: 50; 0: all)", 0},
    {"payload", KEY_PAYLOAD, NULL, 0, "show: the record itself, too", 0},
    {"reason", KEY_REASON, "REASON", 0, "replay: only entries refused for this reason, as TIME_IN_FUTURE", 0},
    {"endpoint", KEY_ENDPOINT, "ENDPOINT", 0, "replay: to this node (default: the one of the data directory)", 0},
    {"timeout", KEY_TIMEOUT, "SECONDS", 0, "replay: wait so long for the verdicts (default: 60)", 0},
    {0}};

static const char doc[] = "Refused records: lists and shows them, and submits them again once the cause is mended."
                          "\v"
                          "  list                 counts and sentences by reason, then the entries; never\n"
                          "                       their content\n"
                          "  show SHARD:NUMBER    one entry; its content only with --payload\n"
                          "  replay               submits entries again, as \"local\"; tells the verdicts\n"
                          "\n"
                          "Entries stay in quarantine after a replay, because verdicts say what happened, and replaying twice is harmless. "
                          "Records that killed a worker are left out unless asked for by --reason KILLED_WORKER.\n"
                          "\n"
                          "Exit code: 65 where some were refused again.\n"
                          "\n"
                          "Example: muster quarantine replay --reason TIME_IN_FUTURE";

uint32_t ops_quarantine_reason(const char *word)
{
  uint64_t number;
  if (ops_options_number(word, 1, REASONS_OF_RECORDS - 1, &number))
    return strcmp(vocabulary_reason((uint32_t)number), "unknown") == 0 ? 0 : (uint32_t)number;
  for (uint32_t reason = 1; reason < REASONS_OF_RECORDS; reason++)
    if (strcmp(word, vocabulary_reason(reason)) == 0 && strcmp(word, "unknown") != 0)
      return reason;
  return 0;
}

static void take_word(struct words *w, const char *argument, struct argp_state *state)
{
  if (!w->verb)
    w->verb = argument;
  else if (!w->address && strcmp(w->verb, "show") == 0)
    w->address = argument;
  else
    argp_error(state, "\"%s\" is one word too many", argument);
}

static void check(struct words *w, struct argp_state *state)
{
  if (!w->verb || (strcmp(w->verb, "list") != 0 && strcmp(w->verb, "show") != 0 && strcmp(w->verb, "replay") != 0))
    argp_error(state, "list, show or replay?");
  if (strcmp(w->verb, "show") == 0 && (!w->address || !text_address_parse(&w->o.shard, &w->o.number, w->address)))
    argp_error(state, "show wants SHARD:NUMBER, as list prints it");
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
static const struct argp argp = {
    .options = options, .parser = parse, .args_doc = "list\nshow SHARD:NUMBER\nreplay", .doc = doc, .children = children};

int ops_quarantine_main(int argc, char **argv)
{
  struct words w = {.o = {.rows = ROWS_DEFAULT, .timeout_ms = TIMEOUT_DEFAULT_MS}};
  struct failure failure = FAILURE_NONE;
  struct ops_shards shards;
  ops_options_parse(&argp, argc, argv, &w);
  if (ops_shards_open(&shards, w.o.data, &failure) != MUSTER_OK)
    return ops_fail("quarantine", &failure);
  int code;
  if (strcmp(w.verb, "list") == 0)
    code = ops_quarantine_list(&w.o, &shards);
  else if (strcmp(w.verb, "show") == 0)
    code = ops_quarantine_show(&w.o, &shards);
  else
    code = ops_quarantine_replay(&w.o, &shards);
  ops_shards_close(&shards);
  return code;
}
