/* `muster run`: the options of the node. Settings come from the defaults, then the file, then the command line; supervise.c does the rest. */
#include <signal.h>
#include <sysexits.h>

#include "core/datadir_lock.h"
#include "core/log.h"
#include "core/machine.h"
#include "ops/commands.h"
#include "ops/family.h"
#include "ops/options.h"
#include "ops/preflight.h"
#include "ops/settings.h"
#include "ops/supervise.h"

/* The very executable that runs here, even when another was installed meanwhile: all processes of a node are of one version. */
#define OWN_EXECUTABLE "/proc/self/exe"

struct run_options {
  const char *data;
  struct ops_settings settings;
};

static const char doc[] = "Starts a node: ingest, workers, and the supervisor that keeps them running."
                          "\v"
                          "The data directory is made where it is not there, with mode 0700. One that is there must be empty or a node's, "
                          "and closed to others: chmod 700 DIR.\n"
                          "\n"
                          "Says `muster: ready: ...' on standard error when every process serves. SIGTERM or SIGINT: no more is admitted, "
                          "all in flight is answered, the stores are "
                          "closed, exit 0 within 10 seconds. A second signal ends at once: nothing acknowledged is lost, submitters send "
                          "the rest again, exit 75. SIGHUP: the settings are read again, as `muster reload' tells.\n"
                          "\n"
                          "Example: muster run --data /var/lib/muster --workers 2 --listen tcp://0.0.0.0:7411";

static error_t parse(int key, char *argument, struct argp_state *state)
{
  struct run_options *o = state->input;
  switch (key) {
  case ARGP_KEY_INIT:
    state->child_inputs[0] = &o->data;
    state->child_inputs[1] = &o->settings;
    return 0;
  case ARGP_KEY_ARG: argp_error(state, "\"%s\" is not an option; the data directory is named by --data", argument); return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_child children[] = {{.argp = &ops_options_data}, {.argp = &ops_settings_argp}, {0}};
static const struct argp argp = {.parser = parse, .doc = doc, .children = children};

/* Everything before the first child: on success the data directory is locked, nothing of a former node runs, it is whole, and says how the node is set. */
static int prepare(struct run_options *o, struct datadir *data, int *family_fd, struct config *config, struct ops_shards_survey *survey,
                   struct failure *failure)
{
  char name[LIMIT_PATH_BYTES];
  int status = ops_settings_gather(&o->settings, failure);
  *config = o->settings.asked;
  if (status == MUSTER_OK)
    log_init_word("run", config->log_level);
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
  ops_settings_note_start(&o->settings, config);
  if (status == MUSTER_OK)
    status = ops_settings_publish(data, config, &o->settings, failure);
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
  signal(SIGHUP, SIG_IGN); /* until the supervisor listens: a reload that comes early asks again */
  int status = prepare(&o, &data, &family_fd, &config, &survey, &failure);
  if (status == MUSTER_OK)
    status = ops_preflight_disk(&data, &config, &failure);
  const int code = status == MUSTER_OK ? ops_supervise_run(&data, &config, &o.settings, survey.absent, family_fd, OWN_EXECUTABLE)
                                       : ops_fail("run", &failure);
  if (family_fd >= 0)
    close(family_fd);
  datadir_close(&data);
  return code;
}
