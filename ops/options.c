#include "ops/options.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/durable.h"
#include "ops/nearest.h"

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

/* ---- mistyped options ---- */

/* The option that getopt would take a word for: by its long name, or the beginning of just one, where name is given, else by its letter.
 * *near is the name nearest to the word so far, *near_by how near. */
struct option_search {
  const char *name;
  size_t size;
  int letter;
  const struct argp_option *found;
  bool exact;
  unsigned begin_so; /* names that begin with the word */
  const char *near;
  size_t near_by;
};

static void search_option(struct option_search *s, const struct argp_option *option)
{
  if (!s->name) {
    if (option->key == s->letter)
      s->found = option;
    return;
  }
  if (!option->name || s->exact)
    return;
  char word[64];
  snprintf(word, sizeof word, "%.*s", (int)s->size, s->name);
  size_t away = ops_nearest(word, option->name);
  if (away < s->near_by) {
    s->near = option->name;
    s->near_by = away;
  }
  if (strncmp(option->name, s->name, s->size) != 0)
    return;
  s->found = option;
  s->begin_so++;
  s->exact = strlen(option->name) == s->size;
}

static void search_options(struct option_search *s, const struct argp *argp)
{
  for (const struct argp_option *o = argp->options; o && (o->name || o->key || o->doc); o++)
    search_option(s, o);
  for (const struct argp_child *c = argp->children; c && c->argp; c++)
    search_options(s, c->argp);
}

/* How many words `-abc` takes: 2 where the last letter wants the next word. */
static int words_of_letters(const struct argp *argp, const char *letter)
{
  for (; *letter; letter++) {
    struct option_search s = {.letter = *letter};
    search_options(&s, argp);
    if (s.found && s.found->arg)
      return letter[1] ? 1 : 2;
  }
  return 1;
}

/* How many words `--name` takes; 0 where argp ends the process over it. An option that there is not, but one very like it, ends it here. */
static int words_of_name(const struct argp *argp, const char *name, const char *command)
{
  static const struct argp_option own[] = {
      {"help", '?', NULL, 0, NULL, 0}, {"usage", 1, NULL, 0, NULL, 0}, {"version", 'V', NULL, 0, NULL, 0}, {0}};
  static const struct argp argps_own = {.options = own};
  struct option_search s = {.name = name, .size = strcspn(name, "="), .near_by = NEAREST_FAR};
  search_options(&s, argp);
  const struct argp_option *found = s.found;
  search_options(&s, &argps_own);
  if (s.begin_so == 0 && s.near) {
    fprintf(stderr, "%s: there is no option --%.*s; did you mean --%s?\n", command, (int)s.size, s.name, s.near);
    exit(EX_USAGE);
  }
  if (s.begin_so == 0 || s.found != found)
    return 0;
  return found->arg && name[s.size] != '=' ? 2 : 1;
}

/* Goes over the words as getopt will, whose own complaint about an option suggests nothing. */
static void look_for_typos(const struct argp *argp, int argc, char **argv)
{
  int words = 1;
  for (int i = 1; i < argc && words > 0 && strcmp(argv[i], "--") != 0; i += words) {
    const char *word = argv[i];
    words = word[0] != '-' ? 1 : word[1] == '-' ? words_of_name(argp, word + 2, argv[0]) : words_of_letters(argp, word + 1);
  }
}

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
  look_for_typos(argp, argc, argv);
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

void ops_options_take_number(struct argp_state *state, const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
  if (!ops_options_number(text, min, max, value))
    argp_error(state, "%s takes a number from %" PRIu64 " to %" PRIu64 ", not \"%s\"", option, min, max, text);
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

int ops_output_sync(const char *command, int code)
{
  struct failure failure = FAILURE_NONE;
  if (ops_output_finish(command, EX_OK) != EX_OK)
    return EX_IOERR;
  return durable_sync_output(STDOUT_FILENO, "standard output", &failure) == MUSTER_OK ? code : ops_fail(command, &failure);
}
