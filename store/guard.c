#include "store/guard.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/limits.h"
#include "store/env.h"

static const int guard_signals[] = {SIGBUS, SIGSEGV, SIGFPE};
#define GUARD_SIGNALS (sizeof guard_signals / sizeof guard_signals[0])

static struct sigaction guard_before[GUARD_SIGNALS]; /* who handled them before */
static struct {
  uintptr_t base, size;
  char sentence[LIMIT_PATH_BYTES + 192]; /* ready to be written: a handler may format nothing */
} guard_maps[STORE_ENVIRONMENTS_MAX];
static _Thread_local struct store_guard *guard_top;

sigjmp_buf *store_guard_enter(struct store_guard *g, enum store_guard_kind kind)
{
  g->kind = kind;
  g->outer = guard_top;
  guard_top = g;
  return &g->place;
}

void store_guard_leave(struct store_guard *g) { guard_top = g->outer; }

static _Noreturn void guard_jump(struct store_guard *g)
{
  guard_top = g->outer;
  siglongjmp(g->place, 1);
}

static _Noreturn void guard_end(const char *sentence)
{
  const ssize_t written = write(STDERR_FILENO, sentence, strlen(sentence));
  _exit(written < 0 ? EX_IOERR : EX_DATAERR);
}

_Noreturn void store_guard_broken(void)
{
  if (guard_top)
    guard_jump(guard_top);
  guard_end("muster: a shard's data.mdb is damaged; nothing was changed; muster verify tells which\n");
}

static const char *guard_sentence_at(uintptr_t address)
{
  for (unsigned i = 0; i < STORE_ENVIRONMENTS_MAX; i++)
    if (guard_maps[i].base && address - guard_maps[i].base < guard_maps[i].size)
      return guard_maps[i].sentence;
  return NULL;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
  (void)context;
  const char *sentence = info->si_code > 0 && number != SIGFPE ? guard_sentence_at((uintptr_t)info->si_addr) : NULL;
  /* Only what the processor itself reports: a signal that somebody sent is no damage. */
  if (info->si_code > 0 && guard_top && (sentence || guard_top->kind == STORE_GUARD_LMDB))
    guard_jump(guard_top);
  if (sentence)
    guard_end(sentence);
  for (unsigned i = 0; i < GUARD_SIGNALS; i++)
    if (guard_signals[i] == number)
      sigaction(number, &guard_before[i], NULL);
  if (info->si_code <= 0)
    raise(number); /* else the instruction comes again, and faults again */
}

static void guard_install(void)
{
  struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER}, before;
  for (unsigned i = 0; i < GUARD_SIGNALS; i++)
    if (sigaction(guard_signals[i], &ours, &before) == 0 && before.sa_sigaction != on_fault)
      guard_before[i] = before;
}

void store_guard_map(unsigned slot, const void *base, size_t size, const char *path)
{
  guard_install();
  guard_maps[slot].base = 0;
  snprintf(guard_maps[slot].sentence, sizeof guard_maps[slot].sentence,
           "muster: shard %s: data.mdb is damaged, was cut off while it was read, or cannot be read from its disk; nothing was changed; "
           "muster verify tells more\n",
           path);
  guard_maps[slot].size = size;
  guard_maps[slot].base = (uintptr_t)base;
}
