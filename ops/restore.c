/* `muster restore`: makes a new data directory from a backup. It is made beside its name and takes it when it is whole and verified, so no
 * node ever starts on half of one; killed, the same command goes on. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/config.h"
#include "core/durable.h"
#include "core/fault.h"
#include "ops/commands.h"
#include "ops/options.h"
#include "ops/shards.h"
#include "ops/table.h"
#include "proto/text.h"
#include "store/backup.h"

#define SUFFIX ".restoring"

struct restore_options {
  const char *data, *directory, *to, *to_time;
  bool no_quarantine;
};

enum { KEY_TO = 256, KEY_TO_TIME, KEY_NO_QUARANTINE };

static const struct argp_option options[] = {
    {"to", KEY_TO, "SHARD:SEQ,...", 0, "end each shard named with that sequence; the others are restored whole", 0},
    {"to-time", KEY_TO_TIME, "TIME", 0, "end each shard before the first record that was received later than TIME (RFC 3339)", 0},
    {"no-quarantine", KEY_NO_QUARANTINE, NULL, 0, "leave the refused records out", 0},
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
    "Example: muster restore /mnt/backup/muster --data /var/lib/muster-new --to-time 2021-03-04T12:00:00Z";

static error_t parse(int key, char *argument, struct argp_state *state)
{
  struct restore_options *o = state->input;
  switch (key) {
  case ARGP_KEY_INIT: state->child_inputs[0] = &o->data; return 0;
  case KEY_TO: o->to = argument; return 0;
  case KEY_TO_TIME: o->to_time = argument; return 0;
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
  char path[LIMIT_PATH_BYTES];           /* the new data directory */
  char temporary[LIMIT_PATH_BYTES + 16]; /* where it is made */
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

static int take_place(struct restoring *r, const char *option, struct failure *failure)
{
  struct stat info;
  int status = datadir_name(r->path, option, failure);
  if (status != MUSTER_OK)
    return status;
  for (size_t size = strlen(r->path); size > 1 && r->path[size - 1] == '/'; size--)
    r->path[size - 1] = '\0';
  snprintf(r->temporary, sizeof r->temporary, "%s" SUFFIX, r->path);
  if (lstat(r->path, &info) == 0)
    return failure_set(failure, MUSTER_ERR_CREATE, "%s exists; nothing was changed; a restore makes a new directory and overwrites nothing",
                       r->path);
  return MUSTER_OK;
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
               faults, faults == 1 ? "" : "s", o->directory, r->path, whole);
  return EX_DATAERR;
}

/* ---- the store ---- */

static int make_folder(const char *path, struct failure *failure)
{
  if (mkdir(path, 0700) == 0 || errno == EEXIST)
    return MUSTER_OK;
  return failure_set_errno(failure, errno == ENOENT ? MUSTER_ERR_CREATE : failure_status(errno, MUSTER_ERR_CREATE), errno,
                           "cannot create the directory %s", path);
}

/* The descriptor that holds the lock of the directory in the making, or -1. */
static int lock_place(const struct restoring *r, struct failure *failure)
{
  if (make_folder(r->temporary, failure) != MUSTER_OK)
    return -1;
  const int fd = open(r->temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0)
    failure_set_errno(failure, MUSTER_ERR_CREATE, errno, "cannot open %s", r->temporary);
  else if (flock(fd, LOCK_EX | LOCK_NB) == 0)
    return fd;
  else
    failure_set(failure, MUSTER_ERR_LOCKED, "another muster restore is writing to %s; nothing was changed", r->temporary);
  if (fd >= 0)
    close(fd);
  return -1;
}

static int restore_shard(struct restoring *r, const struct config *config, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES + 64];
  struct store_verify_result result;
  snprintf(path, sizeof path, "%s/store/shard-%u", r->temporary, r->shard);
  int status = make_folder(path, failure);
  if (status == MUSTER_OK)
    status = store_backup_restore(&r->backup, r->shard, &r->until[r->shard], path, config->map_bytes, &r->records[r->shard], failure);
  if (status == MUSTER_OK)
    status = store_verify(path, on_fault, NULL, NULL, &result, failure);
  if (status == MUSTER_OK && result.faults)
    status = failure_set(failure, MUSTER_ERR_CORRUPT,
                         "what was restored of shard %u is not right; it stays in %s for people to look at, and no node starts there",
                         r->shard, r->temporary);
  return status;
}

/* The name is the last thing: RENAME_NOREPLACE, since somebody may have made the directory meanwhile. */
static int take_name(const struct restoring *r, struct failure *failure)
{
  char parent[LIMIT_PATH_BYTES], store[LIMIT_PATH_BYTES + 32];
  snprintf(store, sizeof store, "%s/store", r->temporary);
  int status = durable_sync_folder(store, failure);
  if (status == MUSTER_OK)
    status = durable_sync_folder(r->temporary, failure);
  if (status != MUSTER_OK)
    return status;
  if (FAULT("restore.name") || renameat2(AT_FDCWD, r->temporary, AT_FDCWD, r->path, RENAME_NOREPLACE) != 0)
    return failure_set_errno(failure, MUSTER_ERR_CREATE, errno, "what was restored is whole and stays in %s: it cannot be named %s",
                             r->temporary, r->path);
  snprintf(parent, sizeof parent, "%s", r->path);
  return durable_sync_folder(dirname(parent), failure);
}

static int restore_all(struct restoring *r, struct failure *failure)
{
  char store[LIMIT_PATH_BYTES + 32];
  struct config config;
  config_defaults(&config);
  const int fd = lock_place(r, failure);
  if (fd < 0)
    return failure->status;
  snprintf(store, sizeof store, "%s/store", r->temporary);
  int status = make_folder(store, failure);
  for (r->shard = 0; r->shard < r->backup.shards && status == MUSTER_OK; r->shard++)
    status = restore_shard(r, &config, failure);
  if (status == MUSTER_OK)
    status = take_name(r, failure);
  close(fd);
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
         ops_table_number(number, records), r->path, node);
}

int ops_restore_main(int argc, char **argv)
{
  static struct restoring r; /* large, and there is one */
  struct restore_options o = {0};
  struct failure failure = FAILURE_NONE;
  ops_options_parse(&argp, argc, argv, &o);
  if (take_place(&r, o.data, &failure) != MUSTER_OK || store_backup_open(&r.backup, o.directory, &failure) != MUSTER_OK)
    return ops_fail("restore", &failure);
  int code = take_until(&r, &o, &failure) == MUSTER_OK ? check_backup(&r, &o, &failure) : ops_fail("restore", &failure);
  if (code == EX_OK && restore_all(&r, &failure) != MUSTER_OK)
    code = ops_fail("restore", &failure);
  else if (code == EX_OK)
    conclude(&r);
  store_backup_close(&r.backup);
  return ops_output_finish("restore", code);
}
