/* `muster reload`: the running node reads its settings again and says what came of each. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "core/datadir_lock.h"
#include "ops/commands.h"
#include "ops/options.h"
#include "ops/reread.h"

#define WAIT_MS 10000u
#define LOOK_MS 10u
#define AGAIN_LOOKS 100u /* a node that is only starting hears nothing yet */

static const char doc[] =
    "Has the running node read its settings again: the file and the options that it was started with."
    "\v"
    "What a running node can take over (log level, credit, waiting times, watermark, quotas, rules) is in force at once, in "
    "every process, and nothing in flight is disturbed; `muster config --defaults' says it of each setting. Of the others it is "
    "told that they need a restart. A file with a mistake changes nothing (78). The allow-list needs no reload: it is in "
    "force from the moment it is written. SIGHUP to the process of `muster run' does the same, and tells the log.\n"
    "\n"
    "Example: muster reload --data /var/lib/muster";

static error_t parse(int key, char *argument, struct argp_state *state)
{
  switch (key) {
  case ARGP_KEY_INIT: state->child_inputs[0] = state->input; return 0;
  case ARGP_KEY_ARG: argp_error(state, "\"%s\" is not an option; the node reads the file that it was started with", argument); return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_child children[] = {{.argp = &ops_options_data}, {0}};
static const struct argp argp = {.parser = parse, .doc = doc, .children = children};

/* One reload at a time, so that what is printed is what came of this one. The lock is the directory's own, and ends with this process. */
static int lock_run(const struct datadir *d, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  datadir_path(d, path, "run");
  const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || flock(fd, LOCK_EX) != 0)
    return failure_set_errno(failure, MUSTER_ERR_IO, errno, "%s cannot be locked", path);
  return MUSTER_OK;
}

static int no_node(const struct datadir *d, struct failure *failure)
{
  return failure_set(failure, MUSTER_ERR_UNAVAILABLE, "no node is running on %s; it reads its settings when it is started", d->root);
}

static int ask(const struct datadir *d, struct ops_reread_report *report, struct failure *failure)
{
  int status = ops_reread_report(d, report, failure);
  const uint64_t before = report->number;
  for (unsigned looks = 0; status == MUSTER_OK && looks * LOOK_MS < WAIT_MS; looks++) {
    const uint32_t pid = datadir_node_pid(d);
    if (pid == 0)
      return no_node(d, failure);
    if (looks % AGAIN_LOOKS == 0 && kill((pid_t)pid, SIGHUP) != 0)
      return failure_set_errno(failure, errno == EPERM ? MUSTER_ERR_DENIED : MUSTER_ERR_AGAIN, errno, "the node (pid %" PRIu32 ")", pid);
    nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
    status = ops_reread_report(d, report, failure);
    if (status == MUSTER_OK && report->number > before)
      return MUSTER_OK;
  }
  return status != MUSTER_OK
             ? status
             : failure_set(failure, MUSTER_ERR_TIMEOUT, "the node has not answered within %u s; its log may say why", WAIT_MS / 1000);
}

int ops_reload_main(int argc, char **argv)
{
  static struct ops_reread_report report;
  const char *option = NULL;
  char name[LIMIT_PATH_BYTES];
  struct datadir data;
  struct failure failure = FAILURE_NONE;
  ops_options_parse(&argp, argc, argv, &option);
  int status = datadir_name(name, option, &failure);
  if (status == MUSTER_OK)
    status = datadir_open(&data, name, &failure);
  if (status == MUSTER_OK && datadir_node_pid(&data) == 0)
    status = no_node(&data, &failure);
  if (status == MUSTER_OK)
    status = lock_run(&data, &failure);
  if (status == MUSTER_OK)
    status = ask(&data, &report, &failure);
  if (status != MUSTER_OK)
    return ops_fail("reload", &failure);
  if (report.status != MUSTER_OK) {
    ops_complain("reload", "nothing was changed: %s", report.text);
    return muster_status_exit_code(report.status);
  }
  fputs(report.text, stdout);
  return ops_output_finish("reload", EX_OK);
}
