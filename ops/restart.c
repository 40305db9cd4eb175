#include "ops/restart.h"

#include <assert.h>
#include <sysexits.h>

void ops_restart_init(struct ops_restart *r) { *r = (struct ops_restart){.rarely_ms = RESTART_RARELY_MS}; }

void ops_restart_started(struct ops_restart *r) { r->ready = false; }

void ops_restart_ready(struct ops_restart *r, uint64_t now_ms)
{
  r->ready = r->was_ready = true;
  r->ready_ms = now_ms;
  r->failed_starts = r->given_up = 0;
}

uint32_t ops_restart_quiet_ms(const struct ops_restart *r) { return r->rarely_ms < RESTART_QUIET_MS ? r->rarely_ms : RESTART_QUIET_MS; }

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

/* The first of a row waits first_ms, each later one twice as long, up to most_ms. */
static uint32_t doubled(uint64_t first_ms, uint32_t row, uint32_t most_ms)
{
  for (uint32_t i = 1; i < row && first_ms < most_ms; i++)
    first_ms *= 2;
  return first_ms < most_ms ? (uint32_t)first_ms : most_ms;
}

static uint32_t delay_after(uint32_t failed_starts) { return doubled(RESTART_DELAY_MS, failed_starts, RESTART_DELAY_MAX_MS); }

static uint32_t rarer(const struct ops_restart *r, uint32_t row) { return doubled(RESTART_RARER_MS, row, r->rarely_ms); }

/* Enters a death into its ring, by either clock. With the ring full, the slot that comes next holds the one that lies size - 1 deaths back. */
static bool too_often(uint64_t *ring, uint64_t size, uint64_t *count, uint64_t now_ms, uint64_t window_ms)
{
  ring[*count % size] = now_ms;
  ++*count;
  return *count >= size && now_ms - ring[*count % size] < window_ms;
}

/* One that was ready: it may serve for long before the damaged place is asked for again, or before it crashes again, which makes it no new outage. How
 * long it waited, and how long it took to open, say nothing for it. */
static void forget_row(struct ops_restart *r)
{
  if (!r->row || r->served_ms - r->row_served_ms < RESTART_WINDOW_MS)
    return;
  r->row = 0;
  r->looping = false;
}

static struct ops_restart_decision lengthen_row(struct ops_restart *r)
{
  r->row++;
  r->row_served_ms = r->served_ms;
  return (struct ops_restart_decision){
      .verdict = RESTART_AGAIN, .delay_ms = rarer(r, r->row), .down = r->looping || r->row >= RESTART_DOWN, .looping = r->looping};
}

/* delay_ms: where the node goes on without it. */
static struct ops_restart_decision gave_out(struct ops_restart *r, enum ops_restart_verdict verdict, int exit_code)
{
  const bool may_pass = verdict == RESTART_STARTS_USED_UP;
  r->given_up++;
  const uint32_t row = r->given_up > r->row ? r->given_up : r->row;
  return (struct ops_restart_decision){
      .verdict = verdict, .delay_ms = may_pass ? rarer(r, row) : r->rarely_ms, .down = true, .exit_code = exit_code};
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
  const uint64_t life_ms = r->ready ? now_ms - r->ready_ms : 0;
  r->served_ms += life_ms;
  if (r->ready && life_ms >= ops_restart_quiet_ms(r))
    r->wanting_row = 0;
  if (death.signal == 0 && death.exit_status == EX_TEMPFAIL) {
    r->ready = false;
    r->wanting++;
    r->wanting_row++;
    return (struct ops_restart_decision){
        .verdict = RESTART_AGAIN, .delay_ms = RESTART_WANTING_MS, .wanting = true, .down = r->wanting_row >= RESTART_DOWN_WANTING};
  }
  if (r->exposed && r->was_ready && death.signal != 0)
    return struck(r, now_ms);
  const bool was_ready = r->ready, holding = death.holding && was_ready;
  const bool storage = was_ready && death.signal == 0 && (death.exit_status == EX_IOERR || death.exit_status == EX_DATAERR);
  bool often = false;
  if (holding)
    often = too_often(r->holding_ms, RESTART_HOLDING, &r->holding, now_ms, RESTART_HOLDING_MS);
  else if (was_ready && !storage)
    often = too_often(r->empty_ms, r->exposed ? RESTART_DEATHS : RESTART_LOOP, &r->empty, r->exposed ? now_ms : r->served_ms,
                      RESTART_WINDOW_MS);
  forget_row(r);
  r->deaths++;
  r->ready = false;
  if (!was_ready)
    r->failed_starts++;

  int code = code_of(death.exit_status, death.signal);
  if (!was_ready && death.signal == 0 && is_final(death.exit_status))
    return gave_out(r, RESTART_FINAL, code);
  if (r->failed_starts >= RESTART_STARTS)
    return gave_out(r, RESTART_STARTS_USED_UP, code);
  if (often && (holding || r->exposed))
    return gave_out(r, holding ? RESTART_HOLDING_USED_UP : RESTART_DEATHS_USED_UP, code);
  r->looping |= often;
  if (storage || (r->looping && was_ready && !holding))
    return lengthen_row(r);
  return (struct ops_restart_decision){.verdict = RESTART_AGAIN, .delay_ms = delay_after(r->failed_starts)};
}
