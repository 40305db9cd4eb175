/* `muster run`: the options of the node. Settings come from the defaults, then the file, then the command line; supervise.c does the rest. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/datadir_lock.h"
#include "core/log.h"
#include "core/durable.h"
#include "core/machine.h"
#include "ops/commands.h"
#include "ops/family.h"
#include "ops/options.h"
#include "ops/preflight.h"
#include "ops/settings.h"
#include "ops/supervise.h"

#define SETTINGS_MAX 64
/* The very executable that runs here, even when another was installed meanwhile: all processes of a node are of one version. */
#define OWN_EXECUTABLE "/proc/self/exe"

enum { KEY_WORKERS = 'w', KEY_INGEST = 'i', KEY_LISTEN = 'l', KEY_CONFIG = 'c', KEY_SET = 's', KEY_LOG = 256 };

struct run_options {
  const char *data, *config_file;
  struct ops_setting setting[SETTINGS_MAX];
  size_t settings;
};

static const struct argp_option options[] = {
    {"workers", KEY_WORKERS, "N", 0, "workers, each with one shard, 1 to 64; fixed when the store is created (default: as created, or 2)",
     0},
    {"ingest", KEY_INGEST, "N", 0, "ingest processes (default: 1)", 0},
    {"listen", KEY_LISTEN, "ENDPOINT", 0,
     "tcp endpoint of the first ingest, the next has the next port; port 0: any free one; none: no tcp (default: tcp://127.0.0.1:7411)", 0},
    {"config", KEY_CONFIG, "FILE", 0, "settings, as run/node.conf of a running node shows them all (INI)", 0},
    {"log-level", KEY_LOG, "LEVEL", 0, "debug, info, warn or error", 0},
    {"set", KEY_SET, "SECTION.KEY=VALUE", 0, "one setting, over what the file says; may be given again", 0},
    {0}};

static const char doc[] = "Starts a node: ingest, workers, and the supervisor that keeps them running."
                          "\v"
                          "The data directory is made where it is not there, with mode 0700. One that is there must be empty or a node's, "
                          "and closed to others: chmod 700 DIR.\n"
                          "\n"
                          "Says `muster: ready: ...' on standard error when every process serves. SIGTERM or SIGINT: no more is admitted, "
                          "all in flight is answered, the stores are "
                          "closed, exit 0 within 10 seconds. A second signal ends at once: nothing acknowledged is lost, submitters send "
                          "the rest again, exit 75. SIGHUP is ignored.\n"
                          "\n"
                          "Example: muster run --data /var/lib/muster --workers 2 --listen tcp://0.0.0.0:7411";

static void keep_setting(struct argp_state *state, const char *where, const char *key, size_t key_size, const char *value)
{
  struct run_options *o = state->input;
  if (o->settings == SETTINGS_MAX || key_size >= sizeof o->setting[0].key)
    argp_error(state, "%s: too many settings, or a key longer than any there is", where);
  struct ops_setting *s = &o->setting[o->settings++];
  *s = (struct ops_setting){.where = where, .value = value};
  memcpy(s->key, key, key_size);
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
  struct run_options *o = state->input;
  const char *equals;
  uint64_t workers;
  switch (key) {
  case ARGP_KEY_INIT: state->child_inputs[0] = &o->data; return 0;
  case KEY_WORKERS:
    if (!ops_options_number(argument, 1, LIMIT_SHARDS,
                            &workers)) /* in a file 0 says that the store or the default decides; here one leaves it out */
      argp_error(state, "--workers takes a number from 1 to %u, not \"%s\"", LIMIT_SHARDS, argument);
    keep_setting(state, "--workers", "node.workers", 12, argument);
    return 0;
  case KEY_INGEST: keep_setting(state, "--ingest", "node.ingests", 12, argument); return 0;
  case KEY_LISTEN: keep_setting(state, "--listen", "node.listen", 11, argument); return 0;
  case KEY_LOG: keep_setting(state, "--log-level", "node.log_level", 14, argument); return 0;
  case KEY_CONFIG: o->config_file = argument; return 0;
  case KEY_SET:
    equals = strchr(argument, '=');
    if (!equals)
      argp_error(state, "--set wants SECTION.KEY=VALUE, as in -s ingest.credit=16");
    keep_setting(state, "--set", argument, (size_t)(equals - argument), equals + 1);
    return 0;
  case ARGP_KEY_ARG: argp_error(state, "\"%s\" is not an option; the data directory is named by --data", argument); return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_child children[] = {{.argp = &ops_options_data}, {0}};
static const struct argp argp = {.options = options, .parser = parse, .doc = doc, .children = children};

/* The effective settings, for the children and for people. */
static int write_settings(const struct datadir *data, const struct config *config, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES], *text = NULL;
  size_t size = 0;
  datadir_path(data, path, "run/node.conf");
  FILE *memory = open_memstream(&text, &size);
  if (!memory)
    return failure_set(failure, MUSTER_ERR_MEMORY, "not enough memory for the settings");
  int status = config_write(config, memory);
  if (fclose(memory) != 0 && status == MUSTER_OK)
    status = failure_set(failure, MUSTER_ERR_MEMORY, "not enough memory for the settings");
  else if (status == MUSTER_OK)
    status = durable_replace_file(path, text, size, 0600, failure);
  free(text);
  return status;
}

static void begin_log(const struct config *config)
{
  const int level = log_level_parse(config->log_level);
  log_init("run", level < 0 ? LOG_INFO : (enum log_level)level);
}

/* Everything before the first child: on success the data directory is locked, nothing of a former node runs, it is whole, and says how the node is set. */
static int prepare(const struct run_options *o, struct datadir *data, int *family_fd, struct config *config,
                   struct ops_shards_survey *survey, struct failure *failure)
{
  char name[LIMIT_PATH_BYTES];
  int status = ops_settings_gather(config, o->config_file, o->setting, o->settings, failure);
  if (status == MUSTER_OK)
    begin_log(config);
  if (status == MUSTER_OK)
    status = datadir_name(name, o->data, failure);
  if (status == MUSTER_OK)
    status = datadir_create(data, name, failure);
  if (status == MUSTER_OK)
    status = datadir_lock(data, failure);
  if (status == MUSTER_OK)
    status = ops_family_claim(data, FAMILY_ENDS_MS, family_fd, failure);
  if (status == MUSTER_OK)
    status = datadir_choose_sockets(data, failure);
  if (status == MUSTER_OK)
    status = ops_shards_survey(data, survey, failure);
  if (status == MUSTER_OK && ops_shards_all_absent(survey))
    status = ops_shards_complete(data, survey, failure);
  if (status == MUSTER_OK)
    status = ops_preflight_workers(config->workers, survey, &config->workers, failure);
  if (status == MUSTER_OK)
    status = ops_preflight_index(config, survey, machine_memory_bytes(), failure);
  if (status == MUSTER_OK)
    status = ops_preflight_limits(config, failure);
  if (status == MUSTER_OK)
    status = ops_preflight_identity(data, survey, failure);
  if (status == MUSTER_OK)
    status = ops_preflight_shards(data, config->workers, survey->absent, failure);
  if (status == MUSTER_OK)
    status = write_settings(data, config, failure);
  return status;
}

int ops_run_main(int argc, char **argv)
{
  static struct run_options o; /* large, and there is one */
  struct datadir data = {.lock_fd = -1};
  int family_fd = -1;
  struct config config;
  struct ops_shards_survey survey;
  struct failure failure = FAILURE_NONE;
  ops_options_parse(&argp, argc, argv, &o);
  int status = prepare(&o, &data, &family_fd, &config, &survey, &failure);
  if (status == MUSTER_OK)
    status = ops_preflight_disk(&data, &config, &failure);
  const int code =
      status == MUSTER_OK ? ops_supervise_run(&data, &config, survey.absent, family_fd, OWN_EXECUTABLE) : ops_fail("run", &failure);
  if (family_fd >= 0)
    close(family_fd);
  datadir_close(&data);
  return code;
}
