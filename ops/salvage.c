/* `muster salvage`: every record of every block that is intact, whatever is damaged around it, and what is not there. */
#include <inttypes.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

#include "ops/commands.h"
#include "ops/options.h"
#include "ops/record.h"
#include "ops/shards.h"
#include "ops/table.h"

struct salvage_options {
  const char *data;
  bool wire;
};

static const struct argp_option options[] = {{"format", 'f', "FORMAT", 0, OPS_RECORD_FORMATS, 0}, {0}};

static const char doc[] =
    "Writes all records that can still be read from a damaged store to standard output, shard by shard."
    "\v"
    "For a store that `muster verify' finds damaged and no backup brings back. Every block whose checksum is right is written, also where "
    "the pages that lead to it are lost; nothing that a checksum does not speak for is. Standard error tells which sequences of which "
    "shard "
    "are not there: their owners have to send those records again. Exit 0 where all was written, 65 where some are missing or it is not "
    "known.\n"
    "\n"
    "Certain is a block that an intact one behind it names, or that the store's tree leads to. One of which neither is left, at the end or "
    "in "
    "front of a gap, is written and named: it may be of a commit that did not end, and others may have been acknowledged under its "
    "sequences. "
    "Where two such contradict each other, both are written and named, and a sequence may come twice.\n"
    "\n"
    "Changes nothing. Best with the node stopped; beside a running one where its pages are sound enough, else it refuses (75). Refused "
    "records "
    "(`muster quarantine') are not in the stream. A record that was received and never acknowledged may be.\n"
    "\n"
    "Example: muster salvage --data /var/lib/muster --format pb | muster submit --data /var/lib/new -";

static error_t parse(int key, char *argument, struct argp_state *state)
{
  struct salvage_options *o = state->input;
  switch (key) {
  case ARGP_KEY_INIT: state->child_inputs[0] = &o->data; return 0;
  case 'f': ops_record_take_format(state, argument, &o->wire); return 0;
  case ARGP_KEY_ARG: argp_error(state, "\"%s\" is not an option; the data directory is named by --data", argument); return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_child children[] = {{.argp = &ops_options_data}, {0}};
static const struct argp argp = {.options = options, .parser = parse, .doc = doc, .children = children};

struct salvaging {
  bool wire, beside_node;
  uint32_t shard;
  uint64_t records, lost, uncertain; /* of all shards */
  bool missing;                      /* something is not there, of which the number is not known */
  int code;                          /* of a shard that could not be read for another cause than damage */
  struct failure failure;            /* of the output */
};

/* 1: the output is closed or full, stop. */
static int on_record(void *context, const struct store_record *record)
{
  struct salvaging *s = context;
  const int status = ops_record_write(record, s->wire, &s->failure);
  return status ? status : ops_output_broken();
}

static void on_lost(void *context, uint64_t first, uint64_t last)
{
  const struct salvaging *s = context;
  if (first == last)
    fprintf(stderr, "shard %u: sequence %" PRIu64 " is not there\n", s->shard, first);
  else
    fprintf(stderr, "shard %u: sequences %" PRIu64 " to %" PRIu64 " are not there (%" PRIu64 " records)\n", s->shard, first, last,
            last - first + 1);
}

static void on_uncertain(void *context, uint64_t first, uint64_t last, bool contested)
{
  const struct salvaging *s = context;
  fprintf(stderr, "shard %u: sequence%s %" PRIu64, s->shard, first == last ? "" : "s", first);
  if (first != last)
    fprintf(stderr, " to %" PRIu64, last);
  fputs(contested ? " written, and so is what contradicts it: which of the two was acknowledged is not known\n"
                  : " written: whether that is what was acknowledged is not known, as nothing that would prove it is left\n",
        stderr);
}

/* false: stop. */
static bool salvage_shard(struct salvaging *s, const char *path)
{
  const struct store_salvage how = {
      .shard = s->shard, .beside_node = s->beside_node, .each = on_record, .lost = on_lost, .uncertain = on_uncertain, .context = s};
  struct store_salvage_result result;
  struct failure failure = FAILURE_NONE;
  char records[TABLE_NUMBER], blocks[TABLE_NUMBER];
  const int status = store_salvage(path, &how, &result, &failure);
  s->records += result.records;
  s->lost += result.lost;
  s->uncertain += result.uncertain;
  if (failure.status) {
    ops_complain("salvage", "shard %u cannot be read: %s", s->shard, failure.text);
    s->missing = true;
    if (failure.status != MUSTER_ERR_CORRUPT && s->code == 0)
      s->code = muster_status_exit_code(failure.status);
    return true;
  }
  if (status)
    return false;
  fprintf(stderr, "shard %u: %s records in %s blocks\n", s->shard, ops_table_number(records, result.records),
          ops_table_number(blocks, result.blocks));
  if (!result.end_known) {
    fprintf(stderr, "shard %u: whether there were more records after those is not known: its meta record is lost\n", s->shard);
    s->missing = true;
  }
  return true;
}

static int conclude(struct salvaging *s)
{
  char records[TABLE_NUMBER], lost[TABLE_NUMBER], uncertain[TABLE_NUMBER];
  const int code = ops_output_finish("salvage", EX_OK);
  if (code || s->failure.status)
    return code ? code : ops_fail("salvage", &s->failure);
  ops_table_number(records, s->records);
  if (s->uncertain)
    fprintf(stderr, "of the records that were written, %s are not certain\n", ops_table_number(uncertain, s->uncertain));
  if (s->lost == 0 && !s->missing && !s->uncertain) {
    fprintf(stderr, "salvaged: %s records, all that were stored\n", records);
    return EX_OK;
  }
  fprintf(stderr, "salvaged: %s records; not there: %s%s; nothing was changed\n", records,
          s->lost || !s->missing ? ops_table_number(lost, s->lost) : "",
          s->missing ? s->lost ? ", and what is not known" : "an unknown number" : "");
  return s->code ? s->code : EX_DATAERR;
}

int ops_salvage_main(int argc, char **argv)
{
  struct salvage_options o = {0};
  char path[LIMIT_PATH_BYTES];
  struct datadir data;
  struct ops_shards_survey survey;
  struct failure failure = FAILURE_NONE;
  ops_options_parse(&argp, argc, argv, &o);
  struct salvaging s = {.wire = o.wire};
  if (datadir_name(path, o.data, &failure) != MUSTER_OK || datadir_open(&data, path, &failure) != MUSTER_OK)
    return ops_fail("salvage", &failure);
  if (ops_shards_survey(&data, &survey, &failure) != MUSTER_OK) { /* a shard is missing; the others are written all the same */
    ops_fail("salvage", &failure);
    s.missing = true;
    if (failure.status != MUSTER_ERR_CORRUPT && failure.status != MUSTER_ERR_CONFIG)
      s.code = muster_status_exit_code(failure.status);
  } else if (survey.directories == 0) {
    ops_complain("salvage", "%s holds no store yet; a node makes it at its first start: muster run --data %s", data.root, data.root);
    return EX_NOINPUT;
  }
  s.beside_node = datadir_node_pid(&data) != 0;
  bool going = true;
  for (s.shard = 0; s.shard < LIMIT_SHARDS && going; s.shard++) {
    datadir_shard_path(&data, path, s.shard);
    if (access(path, F_OK) == 0)
      going = salvage_shard(&s, path);
  }
  return conclude(&s);
}
