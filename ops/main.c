/* `muster COMMAND ...`: finds the command in the table and becomes it. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "ops/menu.h"
#include "ops/options.h"

static int refuse(const char *word)
{
  const char *near[3];
  size_t count = ops_menu_nearest(word, near, 3);
  fprintf(stderr, "muster: there is no command \"%.40s\"", word);
  for (size_t i = 0; i < count; i++)
    fprintf(stderr, "%s%s", i == 0 ? "; did you mean " : i + 1 == count ? " or " : ", ", near[i]);
  fprintf(stderr, "%s\nTry `muster --help' for all commands.\n", count ? "?" : "");
  return EX_USAGE;
}

/* Commands are called with "muster NAME" as their own name, so that every message and usage line says what was typed. */
static int become(const struct ops_menu_command *command, int argc, char **argv)
{
  char name[64];
  snprintf(name, sizeof name, "muster %s", command->name);
  argv[0] = name;
  return command->run(argc, argv);
}

/* A standard descriptor that came closed would be given to the next file that is opened, and what is printed would be written into that: a
 * store, a lock. So each gets something to stand for it, in ascending order, since open gives the lowest that is free. Standard output is
 * opened for reading, so that writing to it fails as it would have (EBADF) and the command does not say that its output was written. */
static void fill_standard_descriptors(void)
{
  static const int access[] = {[STDIN_FILENO] = O_RDONLY, [STDOUT_FILENO] = O_RDONLY, [STDERR_FILENO] = O_WRONLY};
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", access[fd]) != fd)
      _exit(EX_OSERR); /* there is nowhere to say why */
}

/* libuv ends its process without a word when the kernel refuses it what it cannot do without (a descriptor to watch, a thread), and libzmq
 * may read where no memory was given. Each is to have a last word for people; the process ends all the same. The
 * handler stays until it has spoken: another thread may meet the same. */
static void on_end(int number)
{
  static const char sentence[] =
      "muster: this process ends by a signal: the system refused what it cannot go on without, or it met a mistake of "
      "its own; what was acknowledged stands; do again what has no answer\n";
  const ssize_t said = write(STDERR_FILENO, sentence, sizeof sentence - 1);
  (void)said;
  signal(number, SIG_DFL);
  raise(number); /* it waits until this has returned; one that somebody has sent would not come again by itself */
}

/* Not where somebody, as a sanitizer, has more to say. */
static void say_a_last_word(void)
{
  static const int ends[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
  struct sigaction ours = {.sa_handler = on_end, .sa_flags = 0}, before;
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
    if (sigaction(ends[i], NULL, &before) == 0 && !(before.sa_flags & SA_SIGINFO) && before.sa_handler == SIG_DFL)
      sigaction(ends[i], &ours, NULL);
}

/* jansson leaves a field, or its name, out of what it writes where memory fails, and half of its calls cannot say so. */
static void *json_memory_or_end(size_t size)
{
  void *memory = malloc(size);
  if (memory)
    return memory;
  fputs("muster: not enough memory for JSON; what was printed is incomplete\n", stderr);
  exit(EX_OSERR);
}

int main(int argc, char **argv)
{
  fill_standard_descriptors();
  say_a_last_word();
  json_set_alloc_funcs(json_memory_or_end, free);
  signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of one write, answered where it happens */
  if (argc < 2) {
    ops_menu_print(stderr);
    return EX_USAGE;
  }
  const char *word = argv[1];
  bool help = strcmp(word, "help") == 0;
  if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || (help && argc == 2)) {
    ops_menu_print(stdout);
    return ops_output_finish("help", EX_OK);
  }
  if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
    puts("muster " MUSTER_VERSION);
    return ops_output_finish("version", EX_OK);
  }
  if (help)
    word = argv[2];
  const struct ops_menu_command *command = ops_menu_find(word);
  if (!command)
    return refuse(word);
  if (help) {
    char option[] = "--help", *words[] = {NULL, option, NULL};
    return become(command, 2, words);
  }
  return become(command, argc - 1, argv + 1);
}
