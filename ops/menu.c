#include "ops/menu.h"

#include <string.h>

#include "ops/commands.h"
#include "ops/nearest.h"

static const struct ops_menu_command commands[] = {
    {"run", ops_run_main, "start a node: ingest, workers, and the supervisor that keeps them running", MENU_NODE},
    {"status", ops_status_main, "what the node is doing now: rates, shards, credit, and whether every record is accounted for", MENU_NODE},
    {"check", ops_check_main, "look over machine, disk, clock, limits, ports and permissions: before a start, and for a ticket", MENU_NODE},
    {"config", ops_config_main, "the settings: with their meaning, in force with where each came from, or a file looked over", MENU_NODE},
    {"reload", ops_reload_main, "have the running node read its settings again, and say what came of each", MENU_NODE},
    {"generate", bench_generate_main, "make a seeded stream of records after a published surge", MENU_RECORDS},
    {"submit", client_submit_main, "send records to a node and tell the verdict on each", MENU_RECORDS},
    {"get", ops_get_main, "show one record with its receipt", MENU_RECORDS},
    {"export", ops_export_main, "write all records in order, from a cursor on", MENU_RECORDS},
    {"quarantine", ops_quarantine_main, "list, show, replay and drop refused records", MENU_RECORDS},
    {"tally", ops_tally_main, "count encounters by the columns of the public data set", MENU_STORE},
    {"verify", ops_verify_main, "read the whole store and say whether each block, sequence and count is right", MENU_STORE},
    {"salvage", ops_salvage_main, "write out what can still be read of a damaged store, and say what is not there", MENU_STORE},
    {"backup", ops_backup_main, "copy all records into a directory, beside the running node; and check such a copy", MENU_STORE},
    {"restore", ops_restore_main, "make a new data directory from a backup, up to a sequence or a time", MENU_STORE},
    {"key", ops_key_main, "make, show, allow, revoke and list the keys of submitters", MENU_KEYS},
    {"bench", bench_bench_main, "put a load of synthetic records on a test node and measure it", MENU_PLANNING},
    {"ingest", ingest_main, "role: takes batches in and answers them", MENU_ROLES},
    {"worker", worker_main, "role: owns one shard of the store", MENU_ROLES},
};
#define COMMANDS (sizeof commands / sizeof *commands)

static const char *const group_titles[MENU_GROUPS] = {[MENU_NODE] = "The node",
                                                      [MENU_RECORDS] = "Records",
                                                      [MENU_STORE] = "The store as a whole",
                                                      [MENU_KEYS] = "Who may submit",
                                                      [MENU_PLANNING] = "Benchmarks"};

const struct ops_menu_command *ops_menu_commands(size_t *count)
{
  *count = COMMANDS;
  return commands;
}

const struct ops_menu_command *ops_menu_find(const char *name)
{
  for (size_t i = 0; i < COMMANDS; i++)
    if (strcmp(commands[i].name, name) == 0)
      return &commands[i];
  return NULL;
}

size_t ops_menu_nearest(const char *word, const char **names, size_t max)
{
  size_t found = 0;
  for (size_t distance = 0; distance < NEAREST_FAR; distance++)
    for (size_t i = 0; i < COMMANDS && found < max; i++)
      if (commands[i].group != MENU_ROLES && ops_nearest(word, commands[i].name) == distance)
        names[found++] = commands[i].name;
  return found;
}

void ops_menu_print(FILE *out)
{
  fputs("Usage: muster COMMAND [OPTION...]\n"
        "Takes in encounter records, keeps exactly one copy of each on disk, and only then says so.\n",
        out);
  for (int group = 0; group < MENU_ROLES; group++) {
    fprintf(out, "\n%s\n", group_titles[group]);
    for (size_t i = 0; i < COMMANDS; i++)
      if ((int)commands[i].group == group)
        fprintf(out, "  %-11s %s\n", commands[i].name, commands[i].sentence);
  }
  fputs("\n`muster help COMMAND` tells the options of a command, with an example; `muster --version` the version.\n"
        "The data directory is named by --data DIR or by MUSTER_DATA. Exit codes are those of sysexits.h: 0 all right, 1 something\n"
        "is not as it should be, 64 usage (a mistake in the command line, its values included), 65 data, 66 not found (a file or\n"
        "directory that the command line names, a record), 69 no node, 70 internal, 73 cannot create (a file is in the way, a port is\n"
        "taken), 74 read or write, 75 try again, 76 protocol or version, 77 not allowed (owner, mode, key), 78 configuration (a mistake\n"
        "in a file of settings).\n",
        out);
}
