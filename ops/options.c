#include "ops/options.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static error_t parse_data(int key, char *argument, struct argp_state *state)
{
  const char **data = state->input;
  if (key != 'd')
    return ARGP_ERR_UNKNOWN;
  *data = argument;
  return 0;
}

static const struct argp_option data_option[] = {
    {"data", 'd', "DIR", 0, "data directory of the node (default: the environment variable MUSTER_DATA)", 0}, {0}};
const struct argp ops_options_data = {.options = data_option, .parser = parse_data};

/* argp ends the process itself after --help and --version: what they printed is looked at on the way out. */
static const char *parsing; /* the command, while argp may do that */
static void look_at_help(void)
{
  if (parsing && ops_output_finish(parsing, EX_OK) != EX_OK)
    _exit(EX_IOERR);
}

void ops_options_parse(const struct argp *argp, int argc, char **argv, void *input)
{
  argp_program_version = "muster " MUSTER_VERSION;
  argp_err_exit_status = EX_USAGE;
  const char *name = strncmp(argv[0], "muster ", 7) == 0 ? argv[0] + 7 : argv[0];
  static bool looking;
  looking = looking || atexit(look_at_help) == 0;
  parsing = name;
  error_t error = argp_parse(argp, argc, argv, 0, NULL, input);
  parsing = NULL;
  if (error) {
    fprintf(stderr, "%s: %s\n", argv[0], strerror(error));
    exit(error == ENOMEM ? EX_OSERR : EX_USAGE);
  }
}

bool ops_options_number(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
  uint64_t number = 0;
  if (!*text)
    return false;
  for (; *text; text++) {
    if (*text < '0' || *text > '9' || __builtin_mul_overflow(number, UINT64_C(10), &number) ||
        __builtin_add_overflow(number, (uint64_t)(*text - '0'), &number))
      return false;
  }
  if (number < min || number > max)
    return false;
  *value = number;
  return true;
}

void ops_complain(const char *command, const char *format, ...)
{
  va_list list;
  va_start(list, format);
  flockfile(stderr);
  fprintf(stderr, "muster %s: ", command);
  vfprintf(stderr, format, list);
  fputc('\n', stderr);
  funlockfile(stderr);
  va_end(list);
}

int ops_fail(const char *command, const struct failure *failure)
{
  ops_complain(command, "%s", failure->text[0] ? failure->text : muster_status_text(failure->status));
  return muster_status_exit_code(failure->status);
}

static int broken_by; /* errno of the write that failed, as far as somebody looked at once */

bool ops_output_broken(void)
{
  if (!ferror(stdout))
    return false;
  if (!broken_by)
    broken_by = errno;
  return true;
}

/* Whether whoever read standard output has closed it; asked of the kernel, because stdio forgets why a write failed. */
static bool reader_gone(void)
{
  struct pollfd end = {.fd = STDOUT_FILENO, .events = POLLOUT};
  return poll(&end, 1, 0) == 1 && end.revents & POLLERR;
}

int ops_output_finish(const char *command, int code)
{
  errno = broken_by;
  if (fflush(stdout) == 0 && !ferror(stdout))
    return code;
  if (errno == EPIPE || reader_gone())
    return code;
  ops_complain(command, "standard output could not be written: %s; what was printed is incomplete", strerror(errno ? errno : EIO));
  return EX_IOERR;
}
