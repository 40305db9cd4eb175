/*
 * The table of commands: each with its function, one sentence, and its group in the help. The roles that the supervisor
 * starts are in it, too, and are never shown. Constant; every process that is `muster` looks itself up here once, in
 * main.
 */
#ifndef MUSTER_OPS_MENU_H
#define MUSTER_OPS_MENU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum ops_menu_group { MENU_NODE, MENU_RECORDS, MENU_STORE, MENU_KEYS, MENU_PLANNING, MENU_ROLES, MENU_GROUPS };

struct ops_menu_command {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *sentence; /* without a full stop */
  enum ops_menu_group group;
};

const struct ops_menu_command *ops_menu_commands(size_t *count);
const struct ops_menu_command *ops_menu_find(const char *name); /* roles included; NULL where there is none */

/* The names nearest to a mistyped one, nearest first, roles excluded; names has room for max. Returns how many are near enough to be worth a question. */
size_t ops_menu_nearest(const char *word, const char **names, size_t max);

void ops_menu_print(FILE *out);

#endif
