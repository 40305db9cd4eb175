#include "ops/restart.h"

#include <sysexits.h>

void ops_restart_init(struct ops_restart *r) { *r = (struct ops_restart){0}; }

void ops_restart_started(struct ops_restart *r) { r->ready = false; }

void ops_restart_ready(struct ops_restart *r)
{
  r->ready = r->was_ready = true;
  r->failed_starts = 0;
}

/* Wrong data, a port that is taken, another version, no permission, wrong configuration: the next start would find the same. */
static bool is_final(int exit_status)
{
  return exit_status == EX_DATAERR || exit_status == EX_CANTCREAT || exit_status == EX_PROTOCOL || exit_status == EX_NOPERM ||
         exit_status == EX_CONFIG;
}

static int code_of(int exit_status, int signal)
{
  return signal == 0 && exit_status >= EX_DATAERR && exit_status <= EX_CONFIG ? exit_status : EX_SOFTWARE;
}

static uint32_t delay_after(uint32_t failed_starts)
{
  uint32_t delay_ms = RESTART_DELAY_MS;
  for (uint32_t i = 1; i < failed_starts && delay_ms < RESTART_DELAY_MAX_MS; i++)
    delay_ms *= 2;
  return delay_ms < RESTART_DELAY_MAX_MS ? delay_ms : RESTART_DELAY_MAX_MS;
}

/* Strangers can bring it about, so that it says nothing of this child's data or configuration. */
static struct ops_restart_decision struck(struct ops_restart *r, uint64_t now_ms)
{
  if (now_ms - r->struck_ms >= RESTART_QUIET_MS)
    r->struck = 0;
  r->struck++;
  r->struck_ms = now_ms;
  r->strikes++;
  r->ready = false;
  return (struct ops_restart_decision){.verdict = RESTART_AGAIN, .delay_ms = delay_after(r->struck)};
}

struct ops_restart_decision ops_restart_died(struct ops_restart *r, uint64_t now_ms, int exit_status, int signal)
{
  if (signal == 0 && exit_status == EX_TEMPFAIL) {
    r->ready = false;
    r->wanting++;
    return (struct ops_restart_decision){.verdict = RESTART_AGAIN, .delay_ms = RESTART_WANTING_MS, .wanting = true};
  }
  if (r->exposed && r->was_ready && signal != 0)
    return struck(r, now_ms);
  uint64_t *slot = &r->died_ms[r->deaths % RESTART_DEATHS];
  r->deaths++;
  *slot = now_ms;
  /* With the ring full, the slot that comes next holds the death that lies RESTART_DEATHS - 1 deaths back. */
  uint64_t oldest_ms = r->died_ms[r->deaths % RESTART_DEATHS];
  bool too_often = r->deaths >= RESTART_DEATHS && now_ms - oldest_ms < RESTART_WINDOW_MS;
  bool was_ready = r->ready;
  r->ready = false;
  if (!was_ready)
    r->failed_starts++;

  int code = code_of(exit_status, signal);
  if (!was_ready && signal == 0 && is_final(exit_status))
    return (struct ops_restart_decision){.verdict = RESTART_FINAL, .exit_code = code};
  if (r->failed_starts >= RESTART_STARTS)
    return (struct ops_restart_decision){.verdict = RESTART_STARTS_USED_UP, .exit_code = code};
  if (too_often)
    return (struct ops_restart_decision){.verdict = RESTART_DEATHS_USED_UP, .exit_code = code};
  return (struct ops_restart_decision){.verdict = RESTART_AGAIN, .delay_ms = delay_after(r->failed_starts)};
}
