#include "ops/settings.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/durable.h"
#include "core/file.h"
#include "ops/options.h"

enum { KEY_WORKERS = 'w', KEY_INGEST = 'i', KEY_LISTEN = 'l', KEY_CONFIG = 'c', KEY_SET = 's', KEY_LOG = 0x300 };

static const struct argp_option options[] = {
    {"workers", KEY_WORKERS, "N", 0, "workers, each with one shard, 1 to 64; fixed when the store is created (default: as created, or 2)",
     0},
    {"ingest", KEY_INGEST, "N", 0, "ingest processes (default: 1)", 0},
    {"listen", KEY_LISTEN, "ENDPOINT", 0,
     "tcp endpoint of the first ingest, the next has the next port; port 0: any free one; none: no tcp (default: tcp://127.0.0.1:7411)", 0},
    {"config", KEY_CONFIG, "FILE", 0, "settings, as `muster config --defaults' writes them (INI)", 0},
    {"log-level", KEY_LOG, "LEVEL", 0, "debug, info, warn or error", 0},
    {"set", KEY_SET, "SECTION.KEY=VALUE", 0, "one setting, over what the file says; may be given again", 0},
    {0}};

static void keep(struct argp_state *state, const char *where, const char *key, size_t key_size, const char *value)
{
  struct ops_settings *o = state->input;
  if (o->count == SETTINGS_MAX || key_size >= sizeof o->setting[0].key)
    argp_error(state, "%s: too many settings, or a key longer than any there is", where);
  struct ops_setting *s = &o->setting[o->count++];
  *s = (struct ops_setting){.where = where, .value = value};
  memcpy(s->key, key, key_size);
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
  struct ops_settings *o = state->input;
  const char *equals;
  uint64_t workers;
  switch (key) {
  case KEY_WORKERS:
    if (!ops_options_number(argument, 1, LIMIT_SHARDS,
                            &workers)) /* in a file 0 says that the store or the default decides; here one leaves it out */
      argp_error(state, "--workers takes a number from 1 to %u, not \"%s\"", LIMIT_SHARDS, argument);
    keep(state, "--workers", "node.workers", 12, argument);
    return 0;
  case KEY_INGEST: keep(state, "--ingest", "node.ingests", 12, argument); return 0;
  case KEY_LISTEN: keep(state, "--listen", "node.listen", 11, argument); return 0;
  case KEY_LOG: keep(state, "--log-level", "node.log_level", 14, argument); return 0;
  case KEY_CONFIG: o->file = argument; return 0;
  case KEY_SET:
    equals = strchr(argument, '=');
    if (!equals)
      argp_error(state, "--set wants SECTION.KEY=VALUE, as in -s ingest.credit=16");
    keep(state, "--set", argument, (size_t)(equals - argument), equals + 1);
    return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

const struct argp ops_settings_argp = {.options = options, .parser = parse};

int ops_settings_gather(struct ops_settings *s, struct failure *failure)
{
  struct config *config = &s->asked;
  config_defaults(config);
  config_origins_default(&s->origins);
  if (s->file && access(s->file, F_OK) != 0 && errno == ENOENT)
    return failure_set_errno(failure, MUSTER_ERR_NOT_FOUND, errno, "cannot open the settings %s", s->file);
  int status = s->file ? config_read(config, &s->origins, s->file, failure) : MUSTER_OK;
  for (size_t i = 0; i < s->count && status == MUSTER_OK; i++) {
    status = config_set(config, &s->origins, s->setting[i].key, s->setting[i].value, s->setting[i].where, failure);
    if (status == MUSTER_ERR_CONFIG) /* of the command line, not of a file */
      status = failure->status = MUSTER_ERR_USAGE;
  }
  return status;
}

void ops_settings_note_start(struct ops_settings *s, const struct config *config)
{
  struct config_setting asked, is;
  for (size_t i = 0; config_describe(&s->asked, i, &asked); i++) {
    config_describe(config, i, &is);
    char *origin = s->origins.of[i];
    const size_t size = strlen(origin);
    if (strcmp(asked.value, is.value) != 0)
      snprintf(origin + size, sizeof s->origins.of[i] - size, " (%s), worked out at the start", asked.value);
  }
}

/* ---- the run folder ---- */

static int put(const struct datadir *data, const char *name, const char *text, size_t size, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  datadir_path(data, path, name);
  return durable_replace_file(path, text, size, 0600, failure);
}

static int no_memory(struct failure *failure) { return failure_set(failure, MUSTER_ERR_MEMORY, "not enough memory for the settings"); }

static int publish_config(const struct datadir *data, const struct config *config, struct failure *failure)
{
  char *text = NULL;
  size_t size = 0;
  FILE *memory = open_memstream(&text, &size);
  if (!memory)
    return no_memory(failure);
  int status = config_write(config, memory);
  if (fclose(memory) != 0 || status != MUSTER_OK)
    status = no_memory(failure);
  else
    status = put(data, "run/node.conf", text, size, failure);
  free(text);
  return status;
}

/* A line for the file, then one for each setting in the order of the table. */
static int publish_origins(const struct datadir *data, const struct ops_settings *s, struct failure *failure)
{
  char *text = NULL, *full = s->file ? realpath(s->file, NULL) : NULL;
  size_t size = 0;
  struct config_setting setting;
  FILE *memory = open_memstream(&text, &size);
  if (!memory) {
    free(full);
    return no_memory(failure);
  }
  fprintf(memory, "%s\n", full ? full : s->file ? s->file : "");
  for (size_t i = 0; config_describe(&s->asked, i, &setting); i++)
    fprintf(memory, "%s\n", s->origins.of[i]);
  const int status = fclose(memory) != 0 ? no_memory(failure) : put(data, "run/node.from", text, size, failure);
  free(text);
  free(full);
  return status;
}

int ops_settings_publish(const struct datadir *data, const struct config *config, const struct ops_settings *s, struct failure *failure)
{
  const int status = publish_config(data, config, failure);
  return status == MUSTER_OK ? publish_origins(data, s, failure) : status;
}

static void chomp(char *line) { line[strcspn(line, "\n")] = '\0'; }

int ops_settings_published(const struct datadir *data, struct config *config, struct config_origins *origins, char file[LIMIT_PATH_BYTES],
                           struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  struct config_setting setting;
  config_defaults(config);
  datadir_path(data, path, "run/node.conf");
  int status = config_read(config, NULL, path, failure);
  if (status != MUSTER_OK)
    return status;
  datadir_path(data, path, "run/node.from");
  FILE *in = file_open_stream(FILE_OF_NODE, "where the settings came from", path, LIMIT_MIB, failure);
  if (!in)
    return failure ? failure->status : MUSTER_ERR_IO;
  bool whole = fgets(file, LIMIT_PATH_BYTES, in) != NULL;
  for (size_t i = 0; whole && config_describe(config, i, &setting); i++) {
    whole = fgets(origins->of[i], sizeof origins->of[i], in) != NULL;
    chomp(origins->of[i]);
  }
  fclose(in);
  chomp(file);
  return whole ? MUSTER_OK : failure_set(failure, MUSTER_ERR_CONFIG, "%s is not whole; it is written by `muster run'", path);
}
