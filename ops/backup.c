/* `muster backup`: copies what a node has stored into a directory of its own, beside the running node, run by run; and checks such a directory. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/datadir_lock.h"
#include "core/clock.h"
#include "ops/commands.h"
#include "ops/options.h"
#include "ops/shards.h"
#include "ops/table.h"
#include "proto/text.h"
#include "store/backup.h"

#define SHARE_PERCENT 10u /* beside a running node, where nothing is said */
#define PROGRESS_NS UINT64_C(100000000)
#define NICE 10 /* the node comes first where processors are short, too */

struct backup_options {
  const char *data, *directory;
  bool incremental, check, no_quarantine;
  uint64_t share;
};

enum { KEY_CHECK = 256, KEY_NO_QUARANTINE };

static const struct argp_option options[] = {
    {"incremental", 'i', NULL, 0, "add to the backup in DIR what has come since; where there is none yet, begin one", 0},
    {"share", 's', "PERCENT", 0,
     "of the time, what reading, writing and syncing may take, 1 to 100; the rest is slept, slice by slice of 4 MiB (default: 10 beside a "
     "running "
     "node, 100 on a stopped one)",
     0},
    {"no-quarantine", KEY_NO_QUARANTINE, NULL, 0, "leave the refused records out", 0},
    {"check", KEY_CHECK, NULL, 0, "back up nothing: read the backup in DIR and say whether all of it is whole; needs no node", 0},
    {0}};

static const char doc[] =
    "Copies all records of a node, with their sequences and receipts, and its quarantine into the directory DIR."
    "\v"
    "Works beside a running node and on a stopped one. Whatever was acknowledged before the command began is in the backup: each shard is "
    "cut at its "
    "last commit when the command opened it. What is written is read back. DIR (mode 0700) holds personal data as the node does.\n"
    "\n"
    "Killed or out of space, nothing that was whole is lost: the same command goes on from there, and a backup that was finished before "
    "stays "
    "as it was until the run has ended.\n"
    "\n"
    "Refused records that are damaged in the store are named and left out; all else is backed up, and the exit code is 1. It is 1 as well "
    "where the backup is whole and its second manifest could not be written. A backup that has lost a file is not gone on with (65).\n"
    "\n"
    "Not in a backup: the node's key and the allow-list (copy DATA/keys, and keep it where secrets are kept), settings, and the index, "
    "which "
    "a start makes anew. `muster restore' makes a data directory from it.\n"
    "\n"
    "Example: muster backup /mnt/backup/muster --incremental --data /var/lib/muster";

static error_t parse(int key, char *argument, struct argp_state *state)
{
  struct backup_options *o = state->input;
  switch (key) {
  case ARGP_KEY_INIT: state->child_inputs[0] = &o->data; return 0;
  case 'i': o->incremental = true; return 0;
  case 's': ops_options_take_number(state, "--share", argument, 1, 100, &o->share); return 0;
  case KEY_CHECK: o->check = true; return 0;
  case KEY_NO_QUARANTINE: o->no_quarantine = true; return 0;
  case ARGP_KEY_ARG:
    if (o->directory)
      argp_error(state, "one directory at a time; \"%s\" is a second one", argument);
    o->directory = argument;
    return 0;
  case ARGP_KEY_END:
    if (!o->directory)
      argp_error(state, "name the directory of the backup: muster backup DIR");
    if (o->check && (o->incremental || o->share || o->no_quarantine))
      argp_error(state, "--check goes alone: it writes nothing");
    return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_child children[] = {{.argp = &ops_options_data}, {0}};
static const struct argp argp = {.options = options, .parser = parse, .doc = doc, .args_doc = "DIR", .children = children};

/* ---- telling ---- */

struct telling {
  bool terminal;
  uint64_t left_out; /* sentences about what it lacks: refused records, the second manifest */
  uint64_t shown_ns;
};

static void on_progress(void *context, uint32_t shard, uint64_t records, uint64_t of)
{
  struct telling *t = context;
  const uint64_t now_ns = clock_monotonic_ns();
  char done[TABLE_NUMBER], all[TABLE_NUMBER];
  if (!t->terminal || now_ns - t->shown_ns < PROGRESS_NS)
    return;
  t->shown_ns = now_ns;
  fprintf(stderr, "\rshard %u: %s of %s records\033[K", shard, ops_table_number(done, records), ops_table_number(all, of));
}

static void clear_progress(struct telling *t)
{
  if (t->shown_ns)
    fputs("\r\033[K", stderr);
  t->shown_ns = 0;
}

static void on_left_out(void *context, const char *sentence)
{
  struct telling *t = context;
  clear_progress(t);
  ops_complain("backup", "%s", sentence);
  t->left_out++;
}

static uint64_t all_records(const struct store_backup *b)
{
  uint64_t records = 0;
  for (uint32_t i = 0; i < b->shards; i++)
    records += b->shard[i].records;
  return records;
}

/* Node and cut, as every command that looks at a backup says them. */
static void print_origin(const struct store_backup *b)
{
  char node[TEXT_UUID], cut[TEXT_TIME];
  text_uuid(node, b->node_id);
  text_time(cut, b->cut_us);
  printf("node %s, %u shard%s, run %" PRIu64 ", cut at %s\n", node, b->shards, b->shards == 1 ? "" : "s", b->run, cut);
}

static void print_shards(const struct store_backup *b)
{
  char records[TABLE_NUMBER], head[TEXT_HEX128];
  for (uint32_t i = 0; i < b->shards; i++) {
    const struct store_backup_shard *s = &b->shard[i];
    text_hex128(head, s->head);
    printf("shard %u: %s records in %u segment%s, chain head %s, %" PRIu64 " refused", i, ops_table_number(records, s->records),
           s->segments, s->segments == 1 ? "" : "s", head, s->refused);
    if (s->refused_left)
      printf(", %" PRIu64 " left out", s->refused_left);
    putchar('\n');
  }
}

/* ---- a run ---- */

static int refuse_second(const struct store_backup *b, struct failure *failure)
{
  char records[TABLE_NUMBER];
  return failure_set(failure, MUSTER_ERR_CREATE,
                     "%s holds a backup of %s records; nothing was changed; --incremental adds to it what has come since", b->path,
                     ops_table_number(records, all_records(b)));
}

static int run(const struct backup_options *o, struct store_backup *b, struct ops_shards *shards, struct telling *telling,
               struct failure *failure)
{
  const uint32_t share = o->share ? (uint32_t)o->share : datadir_node_pid(&shards->data) ? SHARE_PERCENT : 100;
  const struct store_backup_job job = {
      .share_percent = share, .no_refused = o->no_quarantine, .progress = on_progress, .left_out = on_left_out, .context = telling};
  if (b->run && !o->incremental)
    return refuse_second(b, failure);
  if (nice(NICE) == -1) { /* at worst it is as it was */
  }
  const int status = store_backup_run(b, shards->reader, shards->count, &job, failure);
  clear_progress(telling);
  return status;
}

static int back_up(const struct backup_options *o)
{
  static struct store_backup b; /* large, and there is one */
  struct ops_shards shards;
  struct telling telling = {.terminal = isatty(STDERR_FILENO)};
  struct failure failure = FAILURE_NONE;
  char records[TABLE_NUMBER], more[TABLE_NUMBER];
  int status = ops_shards_open(&shards, o->data, &failure);
  if (status != MUSTER_OK)
    return ops_fail("backup", &failure);
  uint64_t before = 0;
  status = store_backup_create(&b, o->directory, &failure);
  if (status == MUSTER_OK) {
    before = all_records(&b);
    status = run(o, &b, &shards, &telling, &failure);
    if (status == MUSTER_OK) {
      print_origin(&b);
      print_shards(&b);
      printf("backed up: %s records, %s of them new and read back as written (--check reads all); not in it: keys, allow-list, settings\n",
             ops_table_number(records, all_records(&b)), ops_table_number(more, all_records(&b) - before));
    }
    store_backup_close(&b);
  }
  ops_shards_close(&shards);
  if (status == MUSTER_OK)
    return ops_output_finish("backup", telling.left_out ? EXIT_FAILURE : EX_OK);
  const int code = ops_fail("backup", &failure);
  if (status == MUSTER_ERR_FULL)
    ops_complain("backup", "with more room the same command goes on; what was sealed before is as it was");
  return code;
}

/* ---- a check ---- */

static void on_fault(void *context, const char *sentence)
{
  (void)context;
  printf("fault: %s\n", sentence);
}

static int check_all(const struct store_backup *b, struct failure *failure)
{
  const struct store_backup_until whole = {.records = UINT64_MAX, .received_us = INT64_MAX};
  char number[TABLE_NUMBER];
  uint64_t faults = 0;
  print_origin(b);
  for (uint32_t i = 0; i < b->shards; i++) {
    struct store_backup_found found;
    int status = store_backup_check(b, i, &whole, on_fault, NULL, &found, failure);
    if (status != MUSTER_OK)
      return ops_fail("backup", failure);
    faults += found.faults;
    printf("shard %u: whole up to sequence %" PRIu64 " of %" PRIu64 "\n", i, found.records, b->shard[i].records);
  }
  if (faults)
    printf("not whole: %s fault%s; nothing was changed; a new backup into another directory is needed, and until it is there muster "
           "restore tells "
           "what of this one can be restored\n",
           ops_table_number(number, faults), faults == 1 ? "" : "s");
  else
    printf("whole: %s records\n", ops_table_number(number, all_records(b)));
  return ops_output_finish("backup", faults ? EX_DATAERR : EX_OK);
}

static int check(const struct backup_options *o)
{
  static struct store_backup b;
  struct failure failure = FAILURE_NONE;
  if (store_backup_open(&b, o->directory, &failure) != MUSTER_OK)
    return ops_fail("backup", &failure);
  int code = EX_DATAERR;
  if (b.run)
    code = check_all(&b, &failure);
  else
    ops_complain("backup", "%s was begun and never finished: nothing can be restored from it; the same muster backup goes on with it",
                 b.path);
  store_backup_close(&b);
  return code;
}

int ops_backup_main(int argc, char **argv)
{
  struct backup_options o = {0};
  ops_options_parse(&argp, argc, argv, &o);
  return o.check ? check(&o) : back_up(&o);
}
