#include "ops/deaths.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <sysexits.h>

#include "core/datadir_note.h"
#include "core/hand.h"
#include "ops/shards.h"
#include "store/read.h"

static const char *how_often(enum ops_restart_verdict verdict)
{
  switch (verdict) {
  case RESTART_STARTS_USED_UP: return "5 times in a row before it was ready";
  case RESTART_HOLDING_USED_UP: return "1,000 times within ten minutes with records in hand";
  default: return "100 times within a minute";
  }
}
static_assert(RESTART_STARTS == 5 && RESTART_DEATHS == 100 && RESTART_WINDOW_MS == 60000 && RESTART_HOLDING == 1000 &&
                  RESTART_HOLDING_MS == 600000,
              "the last word says these numbers");

static void give_up(struct node *n, const struct ops_process *p, struct ops_restart_decision decision)
{
  char death[128];
  ops_process_death(p, death, sizeof death);
  n->exit_code = decision.exit_code;
  if (decision.verdict == RESTART_FINAL && p->cause[0])
    snprintf(n->last_word, sizeof n->last_word, "%s cannot run: %s; the node has ended; its data directory stays as it is", p->role,
             p->cause);
  else if (decision.verdict == RESTART_FINAL)
    snprintf(n->last_word, sizeof n->last_word, "%s cannot run (%s): its line of role=%s above says why; the node has ended", p->role,
             death, p->role);
  else
    snprintf(n->last_word, sizeof n->last_word,
             "%s died %s, last by %s%s%s; the node has ended; what is acknowledged is on disk; look at the lines of role=%s above, and at "
             "`muster "
             "verify'",
             p->role, how_often(decision.verdict), death, p->cause[0] ? ": " : "", p->cause, p->role);
  log_event(LOG_ERROR, "node.gives-up", "child=%s deaths=%" PRIu64, p->role, p->restart.deaths);
  ops_supervise_drain(n);
}

/* ---- a shard that is down ---- */

static bool was_made(const struct node *n, uint32_t shard)
{
  char path[LIMIT_PATH_BYTES];
  datadir_shard_path(n->data, path, shard);
  return store_was_created(path);
}

void ops_deaths_init(struct node *n, uint64_t absent, const struct config *config)
{
  ops_outages_init(&n->outages, n->data, n->page);
  uint32_t noted = 0;
  n->made = absent;
  if (datadir_note_read(n->data, &noted, NULL) == MUSTER_OK && noted == n->workers)
    n->made = UINT64_MAX;
  for (uint32_t i = 0; i < n->workers; i++) {
    n->made |= (uint64_t)was_made(n, i) << i;
    n->worker[i].on_due = ops_deaths_start_worker;
  }
  ops_deaths_retune(n, config);
}

void ops_deaths_retune(struct node *n, const struct config *config)
{
  n->opening_ms = config->opening_ms;
  for (uint32_t i = 0; i < n->workers; i++)
    n->worker[i].restart.rarely_ms = config->shard_retry_ms;
}

void ops_deaths_worker_ready(struct node *n, const struct ops_process *p)
{
  n->made |= (uint64_t)was_made(n, p->index) << p->index;
  n->lost &= ~(UINT64_C(1) << p->index);
  n->ready_ms[p->index] = uv_now(&n->loop);
  n->began_ms[p->index] = 0;
  if (!(n->unsteady >> p->index & 1)) /* else it has been ready before, and died all the same; see ops_deaths_look */
    ops_outages_end(&n->outages, p->index);
}

static void note(struct node *n, uint32_t shard, const struct ops_outage *outage)
{
  ops_outages_note(&n->outages, shard, outage);
  ops_supervise_go_on_starting(n);
}

static void note_opening(struct node *n, const struct ops_process *p)
{
  struct ops_outage outage = {.kind = OUTAGE_OPENING};
  const bool stopped = p->state == 'T', said = p->opening[0] != '\0';
  const char *doing = stopped           ? "its worker is stopped by a signal"
                      : said            ? p->opening
                      : p->state == 'D' ? "its worker waits for its disk"
                                        : "its worker runs and has not said how far it is";
  snprintf(outage.cause, sizeof outage.cause, "it has not been opened within %u s: %s%s%s", (n->opening_ms + 999) / 1000, doing,
           stopped && said ? "; it said last: " : "", stopped && said ? p->opening : "");
  note(n, p->index, &outage);
}

void ops_deaths_look(struct node *n)
{
  const uint64_t now_ms = uv_now(&n->loop);
  for (uint32_t i = 0; i < n->workers && n->phase < DRAINING_INGESTS; i++) {
    const struct ops_process *p = &n->worker[i];
    if (p->ready && now_ms - n->ready_ms[i] >= ops_restart_quiet_ms(&p->restart)) {
      n->unsteady &= ~(UINT64_C(1) << i);
      ops_outages_end(&n->outages, i);
    } else if (p->alive && !p->ready && n->began_ms[i] && now_ms - n->began_ms[i] >= n->opening_ms) {
      note_opening(n, p);
    }
  }
}

static enum ops_outage_kind kind_of(const struct ops_process *p)
{
  if (p->failed != MUSTER_OK)
    return ops_outage_kind_of(p->failed);
  if (p->signal)
    return OUTAGE_CRASHING;
  switch (p->exit_status) { /* where its word was not heard */
  case EX_DATAERR: return OUTAGE_DAMAGED;
  case EX_IOERR: return OUTAGE_DISK;
  case EX_NOPERM: return OUTAGE_DENIED;
  case EX_OSERR: return OUTAGE_MEMORY;
  case EX_CONFIG: return OUTAGE_SETTINGS;
  case EX_PROTOCOL: return OUTAGE_VERSION;
  case EX_SOFTWARE: return OUTAGE_CRASHING;
  default: return OUTAGE_OTHER;
  }
}

static void note_death(struct node *n, const struct ops_process *p, const struct ops_restart_decision *decision)
{
  char death[128];
  struct ops_outage outage = {.kind = kind_of(p), .retry_ms = decision->delay_ms};
  char *out = outage.cause;
  ops_process_death(p, death, sizeof death);
  if (decision->looping)
    snprintf(out, OUTAGE_CAUSE_BYTES, "its worker is crash-looping: it gets ready and dies, %" PRIu64 " times so far, last by %s%s%.380s",
             p->restart.deaths, death, p->cause[0] ? ": " : "; look at the log's lines of role=", p->cause[0] ? p->cause : p->role);
  else if (p->cause[0])
    snprintf(out, OUTAGE_CAUSE_BYTES, "%s", p->cause);
  else if (decision->verdict == RESTART_AGAIN || decision->verdict == RESTART_FINAL)
    snprintf(out, OUTAGE_CAUSE_BYTES, "its worker ended with %s; the log's lines of role=%s say why", death, p->role);
  else
    snprintf(out, OUTAGE_CAUSE_BYTES, "its worker died %s, last by %s; look at the log's lines of role=%s", how_often(decision->verdict),
             death, p->role);
  n->began_ms[p->index] = 0;
  n->unsteady |= (uint64_t)p->was_ready << p->index;
  note(n, p->index, &outage);
}

/* Its worker cannot serve, and what that is of concerns no other shard. false: no shard is left. */
static bool lose(struct node *n, const struct ops_process *p)
{
  n->lost |= UINT64_C(1) << p->index;
  return n->lost != UINT64_MAX >> (64 - n->workers);
}

void ops_deaths_start_worker(struct ops_process *p)
{
  struct node *n = p->context;
  char path[LIMIT_PATH_BYTES];
  struct ops_outage outage = {.kind = OUTAGE_MISSING, .retry_ms = p->restart.rarely_ms};
  if (!(n->made >> p->index & 1) || !ops_shards_lacks_data(n->data, p->index)) {
    n->began_ms[p->index] = n->began_ms[p->index] ? n->began_ms[p->index] : uv_now(&n->loop);
    ops_process_start(p);
    return;
  }
  datadir_shard_path(n->data, path, p->index);
  snprintf(p->cause, sizeof p->cause, "shard %u is missing: %.300s holds no data, and this shard was in use; nothing was changed", p->index,
           path);
  if (!lose(n, p) && n->phase < DRAINING_INGESTS) {
    give_up(n, p, (struct ops_restart_decision){.verdict = RESTART_FINAL, .exit_code = EX_DATAERR});
    return;
  }
  snprintf(outage.cause, sizeof outage.cause, "%s", p->cause);
  n->began_ms[p->index] = 0;
  if (n->phase < DRAINING_INGESTS) /* else nobody waits for it any more */
    ops_process_start_after(p, p->restart.rarely_ms);
  note(n, p->index, &outage);
}

static bool had_records_in_hand(const struct node *n, const struct ops_process *p)
{
  char path[LIMIT_PATH_BYTES];
  if (!ops_node_is_worker(n, p))
    return false;
  hand_path(n->data, path, p->index);
  return hand_count(path) > 0;
}

/* Settings are all workers', and judged before the node serves. */
static bool is_contained(const struct node *n, const struct ops_process *p)
{
  const bool settings = p->signal == 0 && p->exit_status == EX_CONFIG && n->phase < SERVING;
  return ops_node_is_worker(n, p) && (n->made >> p->index & 1 || p->restart.was_ready) && !settings;
}

static void on_death_unasked(struct node *n, struct ops_process *p)
{
  char death[128], quoted[160];
  const struct ops_restart_death what = {.exit_status = p->exit_status, .signal = p->signal, .holding = had_records_in_hand(n, p)};
  struct ops_restart_decision decision = ops_restart_died(&p->restart, uv_now(&n->loop), what);
  if (decision.wanting)
    log_event_gated(&n->gate_wanting, LOG_WARN, "child.wanting",
                    "child=%s times=%" PRIu64 " cause=\"no room, or a lock that another process has: its own line says which\" "
                    "retry_ms=%u until=\"it can start\" kept=\"all that was answered\"",
                    p->role, p->restart.wanting, decision.delay_ms);
  else
    log_event(LOG_WARN, "child.died", "child=%s cause=%s was_ready=%d holding=%d deaths=%" PRIu64, p->role,
              log_quote(quoted, sizeof quoted, ops_process_death(p, death, sizeof death)), p->was_ready, what.holding,
              p->restart.deaths + p->restart.strikes);
  const bool over = decision.verdict != RESTART_AGAIN;
  if (over && n->phase >= DRAINING_INGESTS)
    return;
  if (over && (!is_contained(n, p) || !lose(n, p))) {
    give_up(n, p, decision);
    return;
  }
  counters_begin(n->page);
  counters_add(n->page, COUNTER_restarts, 1);
  counters_end(n->page);
  ops_process_start_after(p, decision.delay_ms);
  if (decision.down && ops_node_is_worker(n, p))
    note_death(n, p, &decision);
}

void ops_deaths_died(struct ops_process *p)
{
  struct node *n = p->context;
  bool is_ingest = !ops_node_is_worker(n, p);
  bool asked = n->phase >= DRAINING_WORKERS || (n->phase == DRAINING_INGESTS && is_ingest);
  if (!asked) {
    on_death_unasked(n, p);
    return;
  }
  bool clean = p->exit_status == 0 && p->signal == 0;
  log_event(clean ? LOG_INFO : LOG_WARN, "child.stopped", "child=%s exit_status=%d signal=%d", p->role, p->exit_status, p->signal);
  if (is_ingest && !clean)
    n->cut = true;
  ops_supervise_go_on_draining(n);
}
