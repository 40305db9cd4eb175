/* `muster get`: one record, by its id or its address, with its receipt. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "core/limits.h"
#include "ops/commands.h"
#include "ops/options.h"
#include "ops/receipt.h"
#include "ops/shards.h"
#include "proto/digest.h"
#include "proto/text.h"
#include "proto/varint.h"

struct get_options {
  const char *data, *what;
  bool wire;
};

static const struct argp_option options[] = {
    {"format", 'f', "FORMAT", 0, "json (default): the record and its receipt; pb: the record alone, as a delimited stream of one", 0}, {0}};

static const char doc[] =
    "Shows one record with its receipt: address, time received, submitter, content digest."
    "\v"
    "ID is the encounter_id as a UUID, SHARD:SEQ an address; sequences start at 1 in each shard. Exit code: 66 where there is none.\n"
    "\n"
    "Example: muster get 0:1";

static error_t parse(int key, char *argument, struct argp_state *state)
{
  struct get_options *o = state->input;
  switch (key) {
  case ARGP_KEY_INIT: state->child_inputs[0] = &o->data; return 0;
  case 'f':
    o->wire = strcmp(argument, "pb") == 0;
    if (!o->wire && strcmp(argument, "json") != 0)
      argp_error(state, "--format is json or pb");
    return 0;
  case ARGP_KEY_ARG:
    if (o->what)
      argp_error(state, "one ID or SHARD:SEQ at a time");
    o->what = argument;
    return 0;
  case ARGP_KEY_END:
    if (!o->what)
      argp_error(state, "which record? ID or SHARD:SEQ");
    return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_child children[] = {{.argp = &ops_options_data}, {0}};
static const struct argp argp = {.options = options, .parser = parse, .args_doc = "ID|SHARD:SEQ", .doc = doc, .children = children};

struct showing {
  bool wire;
  const struct key_list *names;
  struct failure *failure;
};

/* 1 where it was shown, or a negative status. */
static int show(void *context, const struct store_record *record)
{
  const struct showing *showing = context;
  if (showing->wire) {
    uint8_t prefix[VARINT_BYTES_MAX];
    fwrite(prefix, 1, (size_t)(varint_write(prefix, record->size) - prefix), stdout);
    fwrite(record->bytes, 1, record->size, stdout);
    return 1;
  }
  json_t *whole = ops_receipt_json(record, showing->names, showing->failure);
  if (!whole)
    return showing->failure->status;
  int written = json_dumpf(whole, stdout, JSON_INDENT(2));
  json_decref(whole);
  putchar('\n');
  return written == 0 || ops_output_broken() ? 1 : MUSTER_ERR_MEMORY;
}

static int not_found(const char *what, struct failure *failure)
{
  return failure_set(failure, MUSTER_ERR_NOT_FOUND, "there is no record %s in this store", what);
}

static int find_and_show(const struct get_options *o, struct ops_shards *s, struct showing *showing)
{
  uint8_t id[16];
  uint32_t shard;
  uint64_t sequence;
  int status;
  if (text_uuid_parse(id, o->what, strlen(o->what))) {
    shard = digest_shard(id, s->count);
    if (!s->reader[shard])
      return ops_shards_why(s, shard, showing->failure);
    status = store_reader_find(s->reader[shard], id, show, showing, showing->failure);
  } else {
    text_address_parse(&shard, &sequence, o->what);
    if (shard < s->count && !s->reader[shard])
      return ops_shards_why(s, shard, showing->failure);
    if (shard >= s->count || sequence == 0 || sequence > s->facts[shard].records)
      return not_found(o->what, showing->failure);
    status = store_reader_scan(s->reader[shard], sequence, 1, show, showing, showing->failure);
  }
  if (status == 0)
    return not_found(o->what, showing->failure);
  return status > 0 ? MUSTER_OK : failure_set(showing->failure, status, "%s", muster_status_text(status));
}

static bool names_a_record(const char *what)
{
  uint8_t id[16];
  uint32_t shard;
  uint64_t sequence;
  return text_uuid_parse(id, what, strlen(what)) || text_address_parse(&shard, &sequence, what);
}

int ops_get_main(int argc, char **argv)
{
  struct get_options o = {0};
  struct failure failure = FAILURE_NONE;
  struct ops_shards shards = {.data.lock_fd = -1};
  struct datadir data;
  char name[LIMIT_PATH_BYTES];
  ops_options_parse(&argp, argc, argv, &o);
  if (!names_a_record(o.what)) {
    ops_complain("get", "\"%.60s\" is neither an id (a UUID) nor an address (SHARD:SEQ)", o.what);
    return EX_USAGE;
  }
  if (datadir_name(name, o.data, &failure) != MUSTER_OK || datadir_open(&data, name, &failure) != MUSTER_OK ||
      ops_shards_open_some(&shards, &data, &failure) != MUSTER_OK)
    return ops_fail("get", &failure);
  struct key_list *names = ops_receipt_names(&shards.data);
  struct showing showing = {.wire = o.wire, .names = names, .failure = &failure};
  int status = find_and_show(&o, &shards, &showing);
  int code = ops_output_finish("get", EX_OK);
  if (status != MUSTER_OK)
    code = ops_fail("get", &failure);
  key_list_close(names);
  ops_shards_close(&shards);
  return code;
}
