/* `muster export`: all records in order, shard by shard, from a cursor on; beside a running node it reads in short slices and stops at what was there when it began. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "ops/commands.h"
#include "ops/cursor.h"
#include "ops/options.h"
#include "ops/record.h"
#include "ops/shards.h"

struct export_options {
  const char *data, *from;
  uint64_t limit;
  bool wire;
};

static const struct argp_option options[] = {
    {"from", 'F', "CURSOR", 0, "go on where a former export has stopped, as it has printed it: SHARD:SEQ,SHARD:SEQ,...", 0},
    {"format", 'f', "FORMAT", 0, OPS_RECORD_FORMATS, 0},
    {"limit", 'n', "N", 0, "stop after so many records", 0},
    {0}};

static const char doc[] = "Writes all records in order, shard by shard, to standard output."
                          "\v"
                          "Ends with `next cursor: SHARD:SEQ,...' on standard error, a position for every shard; --from goes on there, and "
                          "writes what has come since as well. Where standard output is a file, all that stands before the cursor is on "
                          "the disk when it is printed. "
                          "`complete' says that all was written that was there when it began.\n"
                          "\n"
                          "Example: muster export --format pb | muster submit --data /var/lib/other -";

static error_t parse(int key, char *argument, struct argp_state *state)
{
  struct export_options *o = state->input;
  switch (key) {
  case ARGP_KEY_INIT: state->child_inputs[0] = &o->data; return 0;
  case 'F': o->from = argument; return 0;
  case 'f': ops_record_take_format(state, argument, &o->wire); return 0;
  case 'n':
    if (!ops_options_number(argument, 1, UINT64_MAX, &o->limit))
      argp_error(state, "--limit is a number of records, from 1");
    return 0;
  case ARGP_KEY_ARG: argp_error(state, "\"%s\" is not an option; a cursor is given by --from", argument); return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_child children[] = {{.argp = &ops_options_data}, {0}};
static const struct argp argp = {.options = options, .parser = parse, .doc = doc, .children = children};

struct writing {
  bool wire;
  uint64_t next; /* sequence behind the last record written */
  struct failure *failure;
};

/* 1: the output is closed or full, stop. */
static int write_record(void *context, const struct store_record *record)
{
  struct writing *w = context;
  const int status = ops_record_write(record, w->wire, w->failure);
  if (status == MUSTER_OK)
    w->next = record->sequence + 1;
  return status != MUSTER_OK ? status : ops_output_broken();
}

/* Writes up to the limit; cursor stands behind what was written, *shard where it stopped, behind the last where nothing is left. */
static int write_all(const struct export_options *o, struct ops_shards *s, struct ops_cursor *cursor, uint32_t *shard,
                     struct failure *failure)
{
  uint64_t left = o->limit ? o->limit : UINT64_MAX;
  for (*shard = 0; *shard < s->count; ++*shard) {
    uint64_t *next = &cursor->next[*shard], records = s->facts[*shard].records;
    if (*next > records) /* read to its end, or OPS_CURSOR_SKIPPED */
      continue;
    if (left == 0)
      return MUSTER_OK;
    uint64_t most = records - *next + 1 < left ? records - *next + 1 : left;
    struct writing w = {.wire = o->wire, .next = *next, .failure = failure};
    int status = store_reader_scan(s->reader[*shard], *next, most, write_record, &w, failure);
    left -= w.next - *next;
    *next = w.next;
    if (status < 0)
      return failure_set(failure, status, "%s", muster_status_text(status));
    if (status > 0 || *next <= records)
      return MUSTER_OK;
  }
  return MUSTER_OK;
}

/* Every shard's position each time, not the last one's alone: a shard that was read to its end has gone on since, and what came after that
 * is still to be read. */
static void print_cursor(const struct ops_shards *s, const struct ops_cursor *cursor, bool complete)
{
  char text[OPS_CURSOR_TEXT];
  const uint32_t skipped = ops_cursor_skipped(cursor, s->count);
  fprintf(stderr, "next cursor: %s\n", ops_cursor_text(text, cursor, s->count));
  if (skipped > 0)
    fprintf(stderr, "not complete: shards before %u were left out, as --from names none of them\n", skipped);
  else if (complete)
    fprintf(stderr, "complete; for what comes later: --from %s\n", text);
}

int ops_export_main(int argc, char **argv)
{
  struct export_options o = {0};
  struct failure failure = FAILURE_NONE;
  struct ops_shards shards;
  struct ops_cursor cursor;
  uint32_t shard = 0;
  ops_options_parse(&argp, argc, argv, &o);
  if (ops_shards_open(&shards, o.data, &failure) != MUSTER_OK)
    return ops_fail("export", &failure);
  int code, parsed = ops_cursor_parse(&cursor, o.from, shards.count, &failure);
  for (uint32_t i = 0; i < shards.count && parsed == MUSTER_OK; i++)
    parsed = ops_cursor_check(&cursor, i, shards.facts[i].records, &failure);
  if (parsed != MUSTER_OK) {
    code = ops_fail("export", &failure);
  } else {
    static char buffer[1 << 18];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    int status = write_all(&o, &shards, &cursor, &shard, &failure);
    code = ops_output_sync("export", EX_OK); /* a cursor that outlives the bytes before it would leave records out */
    const bool written = code == EX_OK && !ops_output_broken();
    if (status != MUSTER_OK)
      code = ops_fail("export", &failure);
    if (written) /* how much of it a reader that went away has seen is not known */
      print_cursor(&shards, &cursor, shard == shards.count);
  }
  ops_shards_close(&shards);
  return code;
}
