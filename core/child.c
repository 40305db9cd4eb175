#include "core/child.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"

#define CHILD_LIFELINE_FD 3
#define CHILD_BEAT_MS 1000

static void child_on_term(uv_signal_t *handle, int number)
{
  (void)number;
  struct child *c = handle->data;
  counters_state(c->counters, PROCESS_DRAINING);
  if (c->on_drain != NULL)
    c->on_drain(c->context);
  else
    uv_stop(c->loop);
}

/* The terminal tells the whole group; the supervisor decides and tells its children with SIGTERM. */
static void child_on_interrupt(uv_signal_t *handle, int number)
{
  (void)handle;
  (void)number;
}

static void child_on_beat(uv_timer_t *handle)
{
  const struct child *c = handle->data;
  counters_beat(c->counters);
}

static void child_on_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
  static char told[64]; /* one loop, and the bytes are looked at before the next read */
  (void)handle;
  (void)suggested;
  *buffer = uv_buf_init(told, sizeof told);
}

static int child_read_settings(const struct child *c, struct config *config, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  datadir_path(&c->data, path, "run/node.conf");
  return config_read(config, NULL, path, failure);
}

/* The supervisor has judged what it wrote there. Where it cannot be read all the same, this process goes on as it is. */
static void child_reread(struct child *c)
{
  struct config fresh = c->config;
  struct failure failure = FAILURE_NONE;
  char quoted[512];
  if (child_read_settings(c, &fresh, &failure) != MUSTER_OK) {
    log_event(LOG_ERROR, "child.not-reread", "cause=%s", log_quote(quoted, sizeof quoted, failure.text));
    return;
  }
  config_adopt(&c->config, &fresh);
  log_init_word(c->role, c->config.log_level);
  if (c->on_reread != NULL)
    c->on_reread(c->context);
  log_event(LOG_INFO, "child.reread", "settings=run/node.conf");
}

static void child_on_lifeline(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
  struct child *c = stream->data;
  if (size > 0 && memchr(buffer->base, '\n', (size_t)size) != NULL) /* several lines at once ask for the same */
    child_reread(c);
  if (size >= 0)
    return; /* the supervisor is there */
  uv_read_stop(stream);
  log_event(LOG_WARN, "child.orphan", "cause=\"the supervisor is gone\"");
  if (c->on_orphan != NULL)
    c->on_orphan(c->context);
  else
    uv_stop(c->loop);
}

/* Descriptor 3 may be anything in a process that was started by hand, so the supervisor says in the environment that it is the lifeline. */
static bool child_lifeline_given(void)
{
  const char *said = getenv("MUSTER_LIFELINE");
  struct stat info;
  return said != NULL && strcmp(said, "1") == 0 && fstat(CHILD_LIFELINE_FD, &info) == 0 &&
         (S_ISSOCK(info.st_mode) || S_ISFIFO(info.st_mode));
}

static int child_open_lifeline(struct child *c)
{
  if (!child_lifeline_given())
    return 0;
  const int flags = fcntl(CHILD_LIFELINE_FD, F_GETFD);
  if (flags < 0 || fcntl(CHILD_LIFELINE_FD, F_SETFD, flags | FD_CLOEXEC) < 0)
    return -errno;
  int error = uv_pipe_init(c->loop, &c->lifeline, 0);
  if (error != 0)
    return error;
  c->lifeline.data = c;
  error = uv_pipe_open(&c->lifeline, CHILD_LIFELINE_FD);
  if (error != 0)
    return error;
  c->has_lifeline = true;
  return uv_read_start((uv_stream_t *)&c->lifeline, child_on_allocate, child_on_lifeline);
}

static int child_open_signal(struct child *c, uv_signal_t *handle, uv_signal_cb callback, int number)
{
  const int error = uv_signal_init(c->loop, handle);
  if (error != 0)
    return error;
  handle->data = c;
  return uv_signal_start(handle, callback, number);
}

static int child_open_handles(struct child *c, struct failure *failure)
{
  int error = child_open_signal(c, &c->term, child_on_term, SIGTERM);
  if (error == 0)
    error = child_open_signal(c, &c->interrupt, child_on_interrupt, SIGINT);
  if (error == 0)
    error = uv_timer_init(c->loop, &c->beat);
  if (error == 0) {
    c->beat.data = c;
    error = uv_timer_start(&c->beat, child_on_beat, CHILD_BEAT_MS, CHILD_BEAT_MS);
  }
  if (error == 0)
    error = child_open_lifeline(c);
  if (error == 0)
    return MUSTER_OK;
  return failure_set(failure, MUSTER_ERR_IO, "%s cannot watch signals, time and supervisor: %s", c->role, uv_strerror(error));
}

static int child_open_files(struct child *c, const char *data_path, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  int status = datadir_name(path, data_path, failure);
  if (status == MUSTER_OK)
    status = datadir_open(&c->data, path, failure);
  if (status != MUSTER_OK)
    return status;
  config_defaults(&c->config);
  status = child_read_settings(c, &c->config, failure);
  if (status != MUSTER_OK)
    return status;
  log_init_word(c->role, c->config.log_level);
  datadir_path(&c->data, path, "run/counters");
  return counters_create(&c->counters, path, c->role, failure);
}

int child_init(struct child *c, uv_loop_t *loop, const char *data_path, const char *role, struct failure *failure)
{
  c->loop = loop;
  c->counters = NULL;
  c->data = (struct datadir){.lock_fd = -1};
  c->has_lifeline = false;
  c->opening_ns = 0;
  c->failure = failure;
  memset(&c->lifeline, 0, sizeof c->lifeline); /* data stays NULL until a handle is open: child_finish closes what is open */
  memset(&c->term, 0, sizeof c->term);
  memset(&c->interrupt, 0, sizeof c->interrupt);
  memset(&c->beat, 0, sizeof c->beat);
  snprintf(c->role, sizeof c->role, "%s", role);
  signal(SIGPIPE, SIG_IGN);
  log_init(role, LOG_INFO);
  int status = child_open_files(c, data_path, failure);
  if (status == MUSTER_OK)
    status = child_open_handles(c, failure);
  if (status != MUSTER_OK)
    child_finish(c);
  return status;
}

static void child_say(struct child *c, char *line)
{
  if (!c->has_lifeline)
    return;
  const uv_buf_t buffer = uv_buf_init(line, (unsigned)strlen(line));
  const int put = uv_try_write((uv_stream_t *)&c->lifeline, &buffer, 1);
  if (put != (int)buffer.len)
    log_event(LOG_WARN, "child.unheard", "cause=\"%s\"", put < 0 ? uv_strerror(put) : "cut");
}

void child_opening(struct child *c, const char *format, ...)
{
  char line[160] = CHILD_OPENING;
  const uint64_t now_ns = clock_monotonic_ns();
  va_list arguments;
  if (c->opening_ns && now_ns - c->opening_ns < CHILD_BEAT_MS * UINT64_C(1000000))
    return;
  c->opening_ns = now_ns;
  counters_beat(c->counters);
  va_start(arguments, format);
  vsnprintf(line + sizeof CHILD_OPENING - 1, sizeof line - sizeof CHILD_OPENING, format, arguments);
  va_end(arguments);
  strcat(line, "\n");
  child_say(c, line);
}

void child_ready(struct child *c)
{
  char line[] = CHILD_READY "\n";
  counters_state(c->counters, PROCESS_SERVING);
  child_say(c, line);
}

static void child_say_failure(struct child *c)
{
  char line[sizeof c->failure->text + sizeof CHILD_FAILED + 16];
  if (c->failure == NULL || c->failure->status == MUSTER_OK)
    return;
  snprintf(line, sizeof line, CHILD_FAILED "%d: %s\n", c->failure->status, c->failure->text);
  child_say(c, line);
}

static void child_on_closed(uv_handle_t *handle) { handle->data = NULL; }

static void child_close(uv_handle_t *handle)
{
  if (handle->data != NULL && !uv_is_closing(handle))
    uv_close(handle, child_on_closed);
}

void child_finish(struct child *c)
{
  child_say_failure(c);
  child_close((uv_handle_t *)&c->lifeline);
  child_close((uv_handle_t *)&c->term);
  child_close((uv_handle_t *)&c->interrupt);
  child_close((uv_handle_t *)&c->beat);
  while (c->lifeline.data != NULL || c->term.data != NULL || c->interrupt.data != NULL || c->beat.data != NULL)
    uv_run(c->loop, UV_RUN_NOWAIT);
  c->has_lifeline = false;
  c->failure = NULL;
  counters_destroy(c->counters);
  c->counters = NULL;
  datadir_close(&c->data);
}

/* ---- options ---- */

struct child_parse {
  struct child_place place;
  const char *owner;
  uint32_t limit;
};

static error_t child_parse_option(int key, char *text, struct argp_state *state)
{
  struct child_parse *p = state->input;
  char *end;
  unsigned long number;
  switch (key) {
  case 'd': p->place.data = text; return 0;
  case 'i':
    number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || number >= p->limit)
      argp_error(state, "--index is %s's number, 0 to %" PRIu32, p->owner, p->limit - 1);
    p->place.index = (uint32_t)number;
    return 0;
  case ARGP_KEY_ARG: argp_usage(state); return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

struct child_place child_options(int argc, char **argv, const char *doc, const char *owner, uint32_t limit)
{
  static const struct argp_option options[] = {
      {"data", 'd', "DIR", 0, "Data directory of the node; otherwise MUSTER_DATA", 0},
      {"index", 'i', "N", 0, "Number of the process in its role, from 0", 0},
      {.name = NULL},
  };
  const struct argp argp = {.options = options, .parser = child_parse_option, .doc = doc};
  struct child_parse p = {.owner = owner, .limit = limit};
  argp_parse(&argp, argc, argv, 0, NULL, &p);
  return p.place;
}
