/* `muster restore`: makes a new data directory from a backup. It is made beside its name and takes it when it is whole and verified, so no
 * node ever starts on half of one; killed, the same command goes on. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "core/config.h"
#include "core/datadir_note.h"
#include "ops/commands.h"
#include "ops/options.h"
#include "ops/restore_place.h"
#include "ops/settings.h"
#include "ops/table.h"
#include "proto/text.h"
#include "store/backup.h"

struct restore_options {
  const char *data, *directory, *to, *to_time, *config_file, *map_bytes;
  bool no_quarantine;
};

enum { KEY_CONFIG = 'c', KEY_TO = 256, KEY_TO_TIME, KEY_NO_QUARANTINE, KEY_MAP_BYTES };

static const struct argp_option options[] = {
    {"to", KEY_TO, "SHARD:SEQ,...", 0, "end each shard named with that sequence; the others are restored whole", 0},
    {"to-time", KEY_TO_TIME, "TIME", 0, "end each shard before the first record that was received later than TIME (RFC 3339)", 0},
    {"no-quarantine", KEY_NO_QUARANTINE, NULL, 0, "leave the refused records out", 0},
    {"config", KEY_CONFIG, "FILE", 0, "settings of the node that will serve it (INI); map_bytes in [store] counts here", 0},
    {"map-bytes", KEY_MAP_BYTES, "SIZE", 0, "that setting alone: the largest size of a shard's data file, 16MiB to 16TiB (default: 1TiB)",
     0},
    {0}};

static const char doc[] =
    "Makes a data directory from a backup: the same records under the same SHARD:SEQUENCE, receipts, tally and quarantine."
    "\v"
    "--data names the new directory; anything that is there already is left alone and refused. The backup is checked before anything is "
    "written, and "
    "the new store is verified before it takes its name. A damaged backup is refused with the file, the shard and the sequences, and with "
    "the --to "
    "that restores what is whole.\n"
    "\n"
    "The restored node has the id of the old one: never run both. It has no keys: copy keys/ from where they are kept, or the first start "
    "makes a new "
    "key and an empty allow-list. The quarantine is that of the backup's last run, whatever --to and --to-time say.\n"
    "\n"
    "Killed, the same command goes on; one with other options, or of another backup or run, is refused until NEW.restoring is removed. The "
    "file `restored' in the new directory says what it was made from.\n"
    "\n"
    "Example: muster restore /mnt/backup/muster --data /var/lib/muster-new --to-time 2021-03-04T12:00:00Z";

static error_t parse(int key, char *argument, struct argp_state *state)
{
  struct restore_options *o = state->input;
  switch (key) {
  case ARGP_KEY_INIT: state->child_inputs[0] = &o->data; return 0;
  case KEY_TO: o->to = argument; return 0;
  case KEY_TO_TIME: o->to_time = argument; return 0;
  case KEY_CONFIG: o->config_file = argument; return 0;
  case KEY_MAP_BYTES: o->map_bytes = argument; return 0;
  case KEY_NO_QUARANTINE: o->no_quarantine = true; return 0;
  case ARGP_KEY_ARG:
    if (o->directory)
      argp_error(state, "one backup at a time; \"%s\" is a second one; the new data directory is named by --data", argument);
    o->directory = argument;
    return 0;
  case ARGP_KEY_END:
    if (!o->directory)
      argp_error(state, "name the backup, and by --data the directory to be made: muster restore DIR --data NEW");
    return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_child children[] = {{.argp = &ops_options_data}, {0}};
static const struct argp argp = {.options = options, .parser = parse, .doc = doc, .args_doc = "DIR", .children = children};

struct restoring {
  struct store_backup backup;
  struct store_backup_until until[LIMIT_SHARDS];
  struct ops_restore_place place;
  struct config config;
  uint64_t records[LIMIT_SHARDS];
  uint32_t shard; /* in hand */
};

/* ---- what is asked for ---- */

static int take_address(struct restoring *r, const char *word, size_t size, struct failure *failure)
{
  char address[TEXT_ADDRESS];
  uint32_t shard;
  uint64_t sequence;
  snprintf(address, sizeof address, "%.*s", (int)size, word);
  if (size >= sizeof address || !text_address_parse(&shard, &sequence, address))
    return failure_set(failure, MUSTER_ERR_USAGE, "\"%s\" is no SHARD:SEQ; say --to 0:1000,1:990", address);
  if (shard >= r->backup.shards || sequence > r->backup.shard[shard].records)
    return failure_set(failure, MUSTER_ERR_NOT_FOUND, "--to %s is not in the backup: it has %u shards%s%" PRIu64, address, r->backup.shards,
                       shard < r->backup.shards ? ", and the last sequence of that one is " : ", numbered up to ",
                       shard < r->backup.shards ? r->backup.shard[shard].records : r->backup.shards - 1u);
  r->until[shard].records = sequence;
  return MUSTER_OK;
}

static int take_until(struct restoring *r, const struct restore_options *o, struct failure *failure)
{
  int64_t received_us = INT64_MAX;
  if (o->to_time && !text_time_parse(&received_us, o->to_time, strlen(o->to_time)))
    return failure_set(failure, MUSTER_ERR_USAGE, "\"%.60s\" is no time; say --to-time 2021-03-04T12:00:00Z", o->to_time);
  for (uint32_t i = 0; i < LIMIT_SHARDS; i++)
    r->until[i] = (struct store_backup_until){.records = UINT64_MAX, .received_us = received_us, .no_refused = o->no_quarantine};
  int status = MUSTER_OK;
  for (const char *word = o->to; word && *word && status == MUSTER_OK;) {
    const size_t size = strcspn(word, ",");
    status = take_address(r, word, size, failure);
    word += size + (word[size] == ',');
  }
  return status;
}

static int take_settings(struct restoring *r, const struct restore_options *o, struct failure *failure)
{
  static struct ops_settings settings; /* large, and there is one */
  settings.file = o->config_file;
  settings.setting[0] = (struct ops_setting){.where = "--map-bytes", .key = "store.map_bytes", .value = o->map_bytes};
  settings.count = o->map_bytes ? 1 : 0;
  const int status = ops_settings_gather(&settings, failure);
  r->config = settings.asked;
  return status;
}

/* What a restore is told apart by: two that would write the same are the same. NULL: no memory. */
static char *describe(const struct restoring *r, const struct restore_options *o)
{
  char node[TEXT_UUID], time[TEXT_TIME], checksum[TEXT_HEX128], *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  if (!out)
    return NULL;
  text_uuid(node, r->backup.node_id);
  text_time(time, r->backup.cut_us);
  text_hex128(checksum, r->backup.checksum);
  fprintf(out, "muster restore\nnode %s\nbackup run %" PRIu64 ", cut at %s, manifest %s\nquarantine %s\n", node, r->backup.run, time,
          checksum, o->no_quarantine ? "left out" : "restored");
  if (r->until[0].received_us != INT64_MAX) {
    text_time(time, r->until[0].received_us);
    fprintf(out, "records received up to %s\n", time);
  }
  for (uint32_t i = 0; i < r->backup.shards; i++) {
    const uint64_t records = r->backup.shard[i].records;
    fprintf(out, "shard %" PRIu32 " up to sequence %" PRIu64 " of %" PRIu64 "\n", i,
            r->until[i].records < records ? r->until[i].records : records, records);
  }
  const bool whole = !ferror(out);
  if (fclose(out) == 0 && whole)
    return text;
  free(text);
  return NULL;
}

/* ---- the backup ---- */

static void on_fault(void *context, const char *sentence)
{
  (void)context;
  ops_complain("restore", "%s", sentence);
}

/* 0, or the exit code: nothing was written. */
static int check_backup(struct restoring *r, const struct restore_options *o, struct failure *failure)
{
  char whole[LIMIT_SHARDS * TEXT_ADDRESS] = "", address[TEXT_ADDRESS];
  uint64_t faults = 0;
  if (!r->backup.run) {
    ops_complain("restore", "%s was begun and never finished: nothing can be restored from it; the same muster backup goes on with it",
                 o->directory);
    return EX_DATAERR;
  }
  for (uint32_t i = 0; i < r->backup.shards; i++) {
    struct store_backup_found found;
    if (store_backup_check(&r->backup, i, &r->until[i], on_fault, NULL, &found, failure) != MUSTER_OK)
      return ops_fail("restore", failure);
    faults += found.faults;
    text_address(address, i, found.records);
    snprintf(whole + strlen(whole), sizeof whole - strlen(whole), "%s%s", i ? "," : "", address);
  }
  if (!faults)
    return EX_OK;
  ops_complain("restore",
               "the backup is damaged (%" PRIu64
               " fault%s); nothing was written; what is whole is restored by: muster restore %s --data %s --to %s "
               "(and --no-quarantine where that is what is damaged)",
               faults, faults == 1 ? "" : "s", o->directory, r->place.path, whole);
  return EX_DATAERR;
}

/* ---- the store ---- */

static int check_room(const struct restoring *r, struct failure *failure)
{
  for (uint32_t i = 0; i < r->backup.shards; i++) {
    const uint64_t needed = store_backup_bytes(&r->backup, i, &r->until[i]);
    if (needed > r->config.map_bytes)
      return failure_set(failure, MUSTER_ERR_CONFIG,
                         "shard %" PRIu32 " of the backup has %" PRIu64 " bytes, and store.map_bytes is %" PRIu64
                         "; nothing was written; say --map-bytes with more than that, and give the node the same setting",
                         i, needed, r->config.map_bytes);
  }
  return MUSTER_OK;
}

static int restore_shard(struct restoring *r, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES + 64], relative[32];
  struct store_verify_result result;
  snprintf(relative, sizeof relative, "store/shard-%" PRIu32, r->shard);
  int status = ops_restore_place_folder(&r->place, relative, path, failure);
  if (status == MUSTER_OK)
    status = store_backup_restore(&r->backup, r->shard, &r->until[r->shard], path, r->config.map_bytes, &r->records[r->shard], failure);
  if (status == MUSTER_OK)
    status = store_verify(path, on_fault, NULL, NULL, &result, failure);
  if (status == MUSTER_OK && result.faults)
    status = failure_set(failure, MUSTER_ERR_CORRUPT,
                         "what was restored of shard %u is not right; it stays in %s for people to look at, and no node starts there",
                         r->shard, r->place.temporary);
  return status;
}

static int restore_all(struct restoring *r, const struct restore_options *o, struct failure *failure)
{
  char store[LIMIT_PATH_BYTES + 64], *note = describe(r, o);
  if (!note)
    return failure_set(failure, MUSTER_ERR_MEMORY, "there is no memory to restore");
  int status = check_room(r, failure);
  if (status == MUSTER_OK)
    status = ops_restore_place_take(&r->place, note, failure);
  free(note);
  if (status == MUSTER_OK)
    status = ops_restore_place_folder(&r->place, "store", store, failure);
  for (r->shard = 0; r->shard < r->backup.shards && status == MUSTER_OK; r->shard++)
    status = restore_shard(r, failure);
  if (status == MUSTER_OK)
    status = datadir_note_write(r->place.temporary, r->backup.shards, failure);
  if (status == MUSTER_OK)
    status = ops_restore_place_finish(&r->place, failure);
  ops_restore_place_close(&r->place);
  return status;
}

static void conclude(const struct restoring *r)
{
  char node[TEXT_UUID], number[TABLE_NUMBER];
  uint64_t records = 0;
  for (uint32_t i = 0; i < r->backup.shards; i++) {
    printf("shard %u: sequences 1 to %" PRIu64 " of %" PRIu64 "\n", i, r->records[i], r->backup.shard[i].records);
    records += r->records[i];
  }
  text_uuid(node, r->backup.node_id);
  printf("restored and verified: %s records in %s; it is node %s, as the one it was copied from: never run both; keys and allow-list are "
         "not in a "
         "backup: copy them to keys/ before the first start\n",
         ops_table_number(number, records), r->place.path, node);
}

int ops_restore_main(int argc, char **argv)
{
  static struct restoring r; /* large, and there is one */
  struct restore_options o = {0};
  struct failure failure = FAILURE_NONE;
  ops_options_parse(&argp, argc, argv, &o);
  if (ops_restore_place_name(&r.place, o.data, &failure) != MUSTER_OK || store_backup_open(&r.backup, o.directory, &failure) != MUSTER_OK)
    return ops_fail("restore", &failure);
  const bool asked = take_settings(&r, &o, &failure) == MUSTER_OK && take_until(&r, &o, &failure) == MUSTER_OK;
  int code = asked ? check_backup(&r, &o, &failure) : ops_fail("restore", &failure);
  if (code == EX_OK && restore_all(&r, &o, &failure) != MUSTER_OK)
    code = ops_fail("restore", &failure);
  else if (code == EX_OK)
    conclude(&r);
  store_backup_close(&r.backup);
  return ops_output_finish("restore", code);
}
