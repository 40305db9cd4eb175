#include "ops/process.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/child.h"
#include "core/log.h"
#include "core/procstat.h"
#include "ops/family.h"

#define LIFELINE_FD 3
static_assert(FAMILY_FD == LIFELINE_FD + 1, "a child's descriptors stand in a row");

void ops_process_init(struct ops_process *p, uv_loop_t *loop, const char *kind, uint32_t index, const char *executable, const char *data,
                      int family_fd)
{
  *p = (struct ops_process){.kind = kind, .index = index, .executable = executable, .data = data, .family_fd = family_fd, .loop = loop};
  snprintf(p->role, sizeof p->role, "%s-%u", kind, index);
  ops_restart_init(&p->restart);
  uv_timer_init(loop, &p->again);
  p->again.data = p;
}

const char *ops_process_death(const struct ops_process *p, char *out, size_t out_size)
{
  if (p->signal)
    snprintf(out, out_size, "signal %d (%s)", p->signal, strsignal(p->signal));
  else
    snprintf(out, out_size, "exit status %d", p->exit_status);
  return out;
}

static void on_closed(uv_handle_t *handle)
{
  struct ops_process *p = handle->data;
  if (--p->closing == 0)
    p->on_died(p);
}

static void hear_line(struct ops_process *p, const char *line)
{
  const size_t opening = sizeof CHILD_OPENING - 1;
  int status, sentence = 0;
  if (sscanf(line, CHILD_FAILED "%d: %n", &status, &sentence) == 1 && sentence) {
    p->failed = status;
    snprintf(p->cause, sizeof p->cause, "%.*s", (int)sizeof p->cause - 1, line + sentence);
  }
  if (!p->ready && strncmp(line, CHILD_OPENING, opening) == 0)
    snprintf(p->opening, sizeof p->opening, "%.*s", (int)sizeof p->opening - 1, line + opening);
  if (p->ready || strcmp(line, CHILD_READY) != 0)
    return;
  p->ready = true;
  ops_restart_ready(&p->restart, uv_now(p->loop));
  if (p->on_ready)
    p->on_ready(p);
}

/* A line longer than any that a child says is cut. */
static void hear(struct ops_process *p, const char *bytes, size_t size)
{
  for (size_t i = 0; i < size; i++) {
    bool end = bytes[i] == '\n';
    if (!end && p->heard_size < sizeof p->heard - 1)
      p->heard[p->heard_size++] = bytes[i];
    if (!end)
      continue;
    p->heard[p->heard_size] = '\0';
    p->heard_size = 0;
    hear_line(p, p->heard);
  }
}

/* A child that says "ready" and dies at once may be reaped before its word is read: the word still counts, or a record that kills a worker would look
 * like a worker that cannot start. */
static void hear_last_words(struct ops_process *p)
{
  char bytes[sizeof p->heard];
  uv_os_fd_t fd;
  if (uv_fileno((uv_handle_t *)&p->lifeline, &fd) != 0)
    return;
  ssize_t size = read(fd, bytes, sizeof bytes);
  if (size > 0)
    hear(p, bytes, (size_t)size);
}

static void bury(struct ops_process *p, int exit_status, int signal)
{
  p->was_ready = p->ready;
  p->alive = p->ready = false;
  p->exit_status = exit_status;
  p->signal = signal;
  p->closing = 2;
  uv_close((uv_handle_t *)&p->handle, on_closed);
  uv_close((uv_handle_t *)&p->lifeline, on_closed);
}

static void on_exit_of_child(uv_process_t *handle, int64_t exit_status, int signal)
{
  struct ops_process *p = handle->data;
  hear_last_words(p);
  bury(p, (int)exit_status, signal);
}

static void on_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
  static char bytes[64]; /* one loop, and the bytes are used before the next read */
  (void)handle, (void)suggested;
  *buffer = uv_buf_init(bytes, sizeof bytes);
}

static void on_heard(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
  if (size < 0)
    uv_read_stop(stream); /* its end is closed: it is dying, and the exit callback follows */
  else
    hear(stream->data, buffer->base, (size_t)size);
}

static int spawn(struct ops_process *p)
{
  char index[16], role[16], option_data[] = "--data", option_index[] = "--index", name[] = "muster";
  snprintf(index, sizeof index, "%u", p->index);
  snprintf(role, sizeof role, "%s", p->kind);
  char *arguments[] = {name, role, option_data, (char *)(uintptr_t)p->data, option_index, index, NULL};
  uv_stdio_container_t stdio[FAMILY_FD + 1] = {
      [STDIN_FILENO] = {.flags = UV_IGNORE},
      [STDOUT_FILENO] = {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO}, /* what they may print is messages */
      [STDERR_FILENO] = {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
      [LIFELINE_FD] = {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&p->lifeline},
      [FAMILY_FD] = {.flags = UV_INHERIT_FD, .data.fd = p->family_fd}};
  uv_process_options_t options = {
      .exit_cb = on_exit_of_child,
      .file = p->executable,
      .args = arguments,
      /* A session of its own: a signal to the terminal's or the shell's process group reaches the supervisor alone, and it decides who drains when. */
      .flags = UV_PROCESS_DETACHED,
      .stdio_count = FAMILY_FD + 1,
      .stdio = stdio};
  int error = uv_spawn(p->loop, &p->handle, &options);
  if (!error && uv_read_start((uv_stream_t *)&p->lifeline, on_buffer, on_heard) != 0)
    uv_process_kill(&p->handle, SIGKILL); /* one that cannot be heard is of no use; its exit callback follows */
  return error;
}

void ops_process_start(struct ops_process *p)
{
  assert(!p->alive && p->closing == 0);
  p->waiting = false;
  p->stopped_looks = 0;
  p->heard_size = 0;
  p->cause[0] = p->opening[0] = '\0';
  p->failed = MUSTER_OK;
  p->state = 0;
  ops_restart_started(&p->restart);
  uv_pipe_init(p->loop, &p->lifeline, 0);
  p->handle.data = p->lifeline.data = p;
  p->alive = true;
  int error = spawn(p);
  if (error) {
    log_event(LOG_ERROR, "child.spawn-failed", "child=%s error=%s", p->role, uv_err_name(error));
    bury(p, EX_OSERR, 0);
    return;
  }
  log_event(LOG_INFO, "child.started", "child=%s child_pid=%d", p->role, p->handle.pid);
}

static void on_again(uv_timer_t *timer)
{
  struct ops_process *p = timer->data;
  p->waiting = false;
  if (p->on_due)
    p->on_due(p);
  else
    ops_process_start(p);
}

void ops_process_start_after(struct ops_process *p, uint32_t delay_ms)
{
  p->waiting = true;
  uv_timer_start(&p->again, on_again, delay_ms, 0);
}

void ops_process_cancel(struct ops_process *p)
{
  p->waiting = false;
  uv_timer_stop(&p->again);
}

void ops_process_signal(struct ops_process *p, int signal)
{
  if (p->alive && p->closing == 0)
    uv_process_kill(&p->handle, signal);
}

/* Where there is no room, earlier lines wait there unread, and say the same. */
void ops_process_tell(struct ops_process *p)
{
  static char line[] = CHILD_REREAD;
  const uv_buf_t buffer = uv_buf_init(line, sizeof line - 1);
  if (p->alive && p->closing == 0)
    uv_try_write((uv_stream_t *)&p->lifeline, &buffer, 1);
}

uint32_t ops_process_look(struct ops_process *p)
{
  struct procstat stat;
  const bool told = p->alive && p->closing == 0 && procstat_read((uint32_t)p->handle.pid, &stat) == PROCSTAT_TOLD;
  p->state = told ? stat.state : 0;
  const bool stopped = told && stat.state == 'T';
  p->stopped_looks = stopped ? p->stopped_looks + 1 : 0;
  return p->stopped_looks;
}

void ops_process_finish(struct ops_process *p)
{
  assert(!p->alive && !p->waiting);
  uv_close((uv_handle_t *)&p->again, NULL);
}
