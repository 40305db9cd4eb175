#include "ops/menu.h"

#include <string.h>

#include "ops/commands.h"

static const struct ops_menu_command commands[] = {
    {"run", ops_run_main, "start a node: ingest, workers, and the supervisor that keeps them running", MENU_NODE},
    {"status", ops_status_main, "what the node is doing now: rates, shards, credit, and whether every record is accounted for", MENU_NODE},
    {"generate", bench_generate_main, "make a seeded stream of records after a published surge", MENU_RECORDS},
    {"submit", client_submit_main, "send records to a node and tell the verdict on each", MENU_RECORDS},
    {"get", ops_get_main, "show one record with its receipt", MENU_RECORDS},
    {"export", ops_export_main, "write all records in order, from a cursor on", MENU_RECORDS},
    {"quarantine", ops_quarantine_main, "list, show, replay and drop refused records", MENU_RECORDS},
    {"tally", ops_tally_main, "count encounters by the columns of the public data set", MENU_STORE},
    {"verify", ops_verify_main, "read the whole store and say whether each block, sequence and count is right", MENU_STORE},
    {"key", ops_key_main, "make, show, allow, revoke and list the keys of submitters", MENU_KEYS},
    {"ingest", ingest_main, "role: takes batches in and answers them", MENU_ROLES},
    {"worker", worker_main, "role: owns one shard of the store", MENU_ROLES},
};
#define COMMANDS (sizeof commands / sizeof *commands)

static const char *const group_titles[MENU_GROUPS] = {
    [MENU_NODE] = "The node", [MENU_RECORDS] = "Records", [MENU_STORE] = "The store as a whole", [MENU_KEYS] = "Who may submit"};

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

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Insertions, deletions, replacements and swaps of neighbours that turn one word into the other; words are cut to what a command's name can be. */
static size_t edit_distance(const char *a, const char *b)
{
  enum { WORD = 24 };
  size_t rows[3][WORD + 1];
  size_t a_size = strnlen(a, WORD), b_size = strnlen(b, WORD);
  for (size_t j = 0; j <= b_size; j++)
    rows[0][j] = j;
  for (size_t i = 1; i <= a_size; i++) {
    size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
    row[0] = i;
    for (size_t j = 1; j <= b_size; j++) {
      row[j] = least(least(above[j] + 1, row[j - 1] + 1), above[j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = least(row[j], before[j - 2] + 1);
    }
  }
  return rows[a_size % 3][b_size];
}

size_t ops_menu_nearest(const char *word, const char **names, size_t max)
{
  size_t found = 0, word_size = strlen(word);
  for (size_t distance = 0; distance <= 2; distance++)
    for (size_t i = 0; i < COMMANDS && found < max; i++) {
      if (commands[i].group == MENU_ROLES)
        continue;
      bool begins = word_size >= 2 && strncmp(word, commands[i].name, word_size) == 0;
      size_t away = begins ? 0 : edit_distance(word, commands[i].name);
      if (away == distance && (begins || away < strlen(commands[i].name)))
        names[found++] = commands[i].name;
    }
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
        "is not as it should be, 64 usage, 65 data, 66 not found, 69 no node, 70 internal, 73 cannot create, 74 read or write,\n"
        "75 try again, 76 protocol or version, 77 not allowed, 78 configuration.\n",
        out);
}
