/* `muster config`: the settings with their meaning, those in force with where each came from, and whether a file of them can be used. */
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "core/datadir_lock.h"
#include "ops/commands.h"
#include "ops/options.h"
#include "ops/settings.h"
#include "ops/table.h"

enum { KEY_DEFAULTS = 256, KEY_CHECK };

struct config_options {
  const char *data, *file;
  bool defaults, check;
  struct ops_settings settings;
};

static const struct argp_option options[] = {
    {"defaults", KEY_DEFAULTS, NULL, 0, "write every setting with its meaning, bounds, unit and default as a file of settings", 0},
    {"check", KEY_CHECK, NULL, 0,
     "say whether FILE can be used, or what is wrong on which line and what is allowed (78); without FILE that of "
     "--config, or that of the running node",
     0},
    {0}};

static const char doc[] =
    "Shows the settings, and where each came from."
    "\v"
    "Without --defaults or --check: the settings of the running node; where none runs, or where --config or another setting is "
    "given, those that `muster run' would have with the same options.\n"
    "\n"
    "Example: muster config --defaults > muster.conf; muster config --check muster.conf";

static error_t parse(int key, char *argument, struct argp_state *state)
{
  struct config_options *o = state->input;
  switch (key) {
  case ARGP_KEY_INIT:
    state->child_inputs[0] = &o->data;
    state->child_inputs[1] = &o->settings;
    return 0;
  case KEY_DEFAULTS: o->defaults = true; return 0;
  case KEY_CHECK: o->check = true; return 0;
  case ARGP_KEY_ARG:
    if (o->file)
      argp_error(state, "one file at a time; \"%s\" is a second one", argument);
    o->file = argument;
    return 0;
  case ARGP_KEY_END:
    if (o->file && !o->check)
      argp_error(state, "\"%s\" is not an option; a file is looked at by --check, and taken by --config", o->file);
    if (o->check && o->defaults)
      argp_error(state, "--check and --defaults are two questions");
    return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_child children[] = {{.argp = &ops_options_data}, {.argp = &ops_settings_argp}, {0}};
static const struct argp argp = {.options = options, .parser = parse, .args_doc = "[FILE]", .doc = doc, .children = children};

static int write_defaults(void)
{
  struct config config;
  config_defaults(&config);
  printf("# The settings of a node, each with its default: muster run --config FILE. A line that is left out has the default.\n\n");
  config_write(&config, stdout);
  return ops_output_finish("config", EX_OK);
}

/* Opens the directory that is named, where one is; running: whether a node runs there. */
static int look_at_node(const struct config_options *o, struct datadir *data, bool *running, struct failure *failure)
{
  char name[LIMIT_PATH_BYTES];
  *running = false;
  if (datadir_name(name, o->data, NULL) != MUSTER_OK)
    return MUSTER_OK;
  struct failure why = FAILURE_NONE;
  const int status = datadir_open(data, name, &why);
  if (status == MUSTER_ERR_NOT_FOUND)
    return MUSTER_OK;
  *running = status == MUSTER_OK && datadir_node_pid(data) != 0;
  return status == MUSTER_OK ? status : failure_set(failure, status, "%s", why.text);
}

static int check_file(struct config_options *o)
{
  static struct ops_settings alone; /* large, and there is one */
  char file[LIMIT_PATH_BYTES] = "";
  struct failure failure = FAILURE_NONE;
  bool running = false;
  struct datadir data;
  alone.file = o->file ? o->file : o->settings.file;
  if (!alone.file && look_at_node(o, &data, &running, &failure) == MUSTER_OK && running &&
      ops_settings_published(&data, &o->settings.asked, &o->settings.origins, file, &failure) == MUSTER_OK && file[0])
    alone.file = file;
  if (failure.status != MUSTER_OK)
    return ops_fail("config", &failure);
  if (!alone.file)
    return ops_complain("config", "name the file: muster config --check FILE; %s",
                        running ? "the running node was started without one" : "no node runs whose file it could be"),
           EX_USAGE;
  if (ops_settings_gather(&alone, &failure) != MUSTER_OK)
    return ops_fail("config", &failure);
  unsigned set = 0;
  struct config_setting setting;
  for (size_t i = 0; config_describe(&alone.asked, i, &setting); i++)
    set += strcmp(alone.origins.of[i], "default") != 0;
  printf("%s: ok, %u setting%s\n", alone.file, set, set == 1 ? "" : "s");
  return ops_output_finish("config", EX_OK);
}

static int show(const struct config *config, const struct config_origins *origins)
{
  struct ops_table table;
  struct config_setting setting;
  char name[64];
  ops_table_init(&table, 3);
  ops_table_cell(&table, 0, "setting");
  ops_table_cell(&table, 1, "value");
  ops_table_cell(&table, 2, "from");
  for (size_t i = 0; config_describe(config, i, &setting); i++) {
    snprintf(name, sizeof name, "%s.%s", setting.section, setting.name);
    ops_table_cell(&table, 0, name);
    ops_table_cell(&table, 1, setting.value);
    ops_table_cell(&table, 2, origins->of[i]);
  }
  ops_table_print(&table, 0, stdout);
  ops_table_finish(&table);
  return ops_output_finish("config", EX_OK);
}

static int show_settings(struct config_options *o)
{
  char file[LIMIT_PATH_BYTES];
  struct failure failure = FAILURE_NONE;
  struct datadir data;
  bool running = false;
  const bool asked = o->settings.file || o->settings.count;
  struct ops_settings *s = &o->settings;
  if (!asked && look_at_node(o, &data, &running, &failure) != MUSTER_OK)
    return ops_fail("config", &failure);
  const int status = running ? ops_settings_published(&data, &s->asked, &s->origins, file, &failure) : ops_settings_gather(s, &failure);
  if (status != MUSTER_OK)
    return ops_fail("config", &failure);
  ops_complain("config",
               running ? "the settings of the running node" : "what `muster run' would have with these options; no running node was asked");
  return show(&s->asked, &s->origins);
}

int ops_config_main(int argc, char **argv)
{
  static struct config_options o; /* large, and there is one */
  ops_options_parse(&argp, argc, argv, &o);
  return o.defaults ? write_defaults() : o.check ? check_file(&o) : show_settings(&o);
}
