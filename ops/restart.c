#include "ops/restart.h"

#include <assert.h>
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

static_assert(RESTART_WINDOW_MS / RESTART_STORAGE_MS < RESTART_DEATHS, "storage errors alone never end the node");

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

/* Enters a death into its ring. With the ring full, the slot that comes next holds the one that lies size - 1 deaths back. */
static bool too_often(uint64_t *ring, uint64_t size, uint64_t *count, uint64_t now_ms, uint64_t window_ms)
{
  ring[*count % size] = now_ms;
  ++*count;
  return *count >= size && now_ms - ring[*count % size] < window_ms;
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

struct ops_restart_decision ops_restart_died(struct ops_restart *r, uint64_t now_ms, struct ops_restart_death death)
{
  if (death.signal == 0 && death.exit_status == EX_TEMPFAIL) {
    r->ready = false;
    r->wanting++;
    return (struct ops_restart_decision){.verdict = RESTART_AGAIN, .delay_ms = RESTART_WANTING_MS, .wanting = true};
  }
  if (r->exposed && r->was_ready && death.signal != 0)
    return struck(r, now_ms);
  bool was_ready = r->ready, holding = death.holding && was_ready;
  bool used_up = holding ? too_often(r->holding_ms, RESTART_HOLDING, &r->holding, now_ms, RESTART_HOLDING_MS)
                         : too_often(r->empty_ms, RESTART_DEATHS, &r->empty, now_ms, RESTART_WINDOW_MS);
  r->deaths++;
  r->ready = false;
  if (!was_ready)
    r->failed_starts++;

  int code = code_of(death.exit_status, death.signal);
  if (!was_ready && death.signal == 0 && is_final(death.exit_status))
    return (struct ops_restart_decision){.verdict = RESTART_FINAL, .exit_code = code};
  if (r->failed_starts >= RESTART_STARTS)
    return (struct ops_restart_decision){.verdict = RESTART_STARTS_USED_UP, .exit_code = code};
  if (used_up)
    return (struct ops_restart_decision){.verdict = holding ? RESTART_HOLDING_USED_UP : RESTART_DEATHS_USED_UP, .exit_code = code};
  const bool storage = was_ready && death.signal == 0 && (death.exit_status == EX_IOERR || death.exit_status == EX_DATAERR);
  return (struct ops_restart_decision){.verdict = RESTART_AGAIN, .delay_ms = storage ? RESTART_STORAGE_MS : delay_after(r->failed_starts)};
}
