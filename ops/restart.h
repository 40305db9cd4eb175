/*
 * When a child that died is started again, and when the node gives up: a state machine of numbers, apart from libuv, so
 * that it can be tested by itself. One for each child, owned by the supervisor. Times are milliseconds of any clock that
 * never goes back.
 *
 * A child that cannot even start is a fault that a restart does not mend. Where the node can go on without it (one shard of several) it is tried
 * again all the same, rarely: what passes by itself heals, and what does not fills no log. One that can start and dies again and again with nothing
 * in hand is crash-looping: it is told as down, and waits twice as long before each start, until it has served for a good while. For that only the
 * time counts that it served, from "ready" to its death: a big shard takes longer to open than a small one, and would seem to die more rarely.
 *
 * A death with records in hand is how a record that kills its worker is found: that costs some 18 deaths within seconds and ends with the record set aside and known, so it must pass, for several records, too. It has a bound of its
 * own, as each record that is set aside so is one that was never read: past it the worker, not the records, is at fault. One that ends
 * with EX_TEMPFAIL lacks what comes back by itself (room on the disk, a lock that a process before it still has): it is
 * tried again for as long as that takes, and counts towards no limit; several in a row that served for no quiet time are told. A worker that was ready and met a storage error
 * (EX_IOERR, EX_DATAERR) meets it again as soon as the same record is sent again: it waits twice as long each time as well, and the other shards
 * serve on. Neither ever ends the node.
 *
 * An ingest is exposed: strangers speak to the library in it before it can judge them, and one who finds a fault there
 * can make it die as often as he likes. That must not end the node, which has workers, other ingests and a store. Once an
 * exposed child has been ready, its deaths by a signal count towards no limit, and only wait longer while they follow one another.
 */
#ifndef MUSTER_OPS_RESTART_H
#define MUSTER_OPS_RESTART_H

#include <stdbool.h>
#include <stdint.h>

#define RESTART_DELAY_MS 20u       /* after "ready", and at first before it */
#define RESTART_DELAY_MAX_MS 1000u /* doubling before "ready" ends here */
#define RESTART_WANTING_MS 1000u   /* after EX_TEMPFAIL */
#define RESTART_RARER_MS                                                                                                                   \
  1000u /* after a storage error or in a crash loop of one that was ready, and after a start that may yet succeed; doubling */
#define RESTART_RARELY_MS 60000u /* where that ends, and after a fault that only people can mend; ops_restart.rarely_ms is set to another */
#define RESTART_DOWN 3u          /* storage errors in a row that are no accident */
#define RESTART_DOWN_WANTING 5u  /* deaths by EX_TEMPFAIL in a row that people should know of */
#define RESTART_STARTS 5u        /* deaths in a row before "ready" that end the node */
#define RESTART_LOOP 10u         /* deaths of one that was ready, with nothing in hand, within RESTART_WINDOW_MS of service: a crash loop */
#define RESTART_DEATHS 100u      /* the same of an exposed child within RESTART_WINDOW_MS by the clock, which end the node */
#define RESTART_WINDOW_MS 60000u
#define RESTART_HOLDING                                                                                                                    \
  1000u /* deaths of one child with records in hand within RESTART_HOLDING_MS that end the node: some 50 records among 10,000 each */
#define RESTART_HOLDING_MS 600000u
#define RESTART_QUIET_MS                                                                                                                   \
  10000u /* without a death for so long, an exposed child waits RESTART_DELAY_MS again, and a shard is up again (or rarely_ms, where that is less) */

struct ops_restart {
  bool exposed;            /* set by the owner after init */
  uint32_t rarely_ms;      /* and this, where it is not to be RESTART_RARELY_MS */
  bool ready;              /* of the present life */
  bool was_ready;          /* some life was */
  uint64_t ready_ms;       /* since when, where it is ready */
  uint64_t served_ms;      /* from "ready" to the death, of all lives before the present one */
  uint32_t struck;         /* deaths in a row that an exposed child was forgiven */
  uint64_t struck_ms;      /* the last of them */
  uint64_t strikes;        /* all of them since the supervisor started */
  uint32_t failed_starts;  /* deaths in a row before "ready" */
  uint64_t deaths;         /* since the supervisor started, strikes and those by EX_TEMPFAIL left out */
  uint64_t wanting;        /* deaths by EX_TEMPFAIL since the supervisor started */
  uint32_t wanting_row;    /* those since a life that served for ops_restart_quiet_ms */
  uint32_t row;            /* storage errors, and deaths in a crash loop, that followed one another; a good while without one begins anew */
  uint64_t row_served_ms;  /* served_ms at the last of them */
  bool looping;            /* some of them were a crash loop */
  uint32_t given_up;       /* verdicts that end it since it was ready last */
  uint64_t empty, holding; /* deaths after "ready" with nothing in hand, and with something */
  uint64_t empty_ms
      [RESTART_DEATHS]; /* a ring of the last deaths, by their number modulo how many are too many; served_ms, of an exposed child the clock */
  uint64_t holding_ms[RESTART_HOLDING];
};

enum ops_restart_verdict {
  RESTART_AGAIN, /* after delay_ms */
  /* The others end the node, or, of a shard that it can go on without, the service of that until it can start: */
  RESTART_FINAL, /* its own message has said why; a new start would say the same */
  RESTART_STARTS_USED_UP,
  RESTART_DEATHS_USED_UP,
  RESTART_HOLDING_USED_UP
};

struct ops_restart_decision {
  enum ops_restart_verdict verdict;
  uint32_t delay_ms; /* until its next start, if there is to be one */
  bool wanting;      /* RESTART_AGAIN after EX_TEMPFAIL */
  bool down;         /* people should know that it does not serve */
  bool looping;      /* because it was ready and dies all the same */
  int exit_code;     /* not RESTART_AGAIN: what the node ends with */
};

void ops_restart_init(struct ops_restart *r);
void ops_restart_started(struct ops_restart *r);
void ops_restart_ready(struct ops_restart *r, uint64_t now_ms);
/* How long one has to serve until what was before is over. */
uint32_t ops_restart_quiet_ms(const struct ops_restart *r);
struct ops_restart_death {
  int exit_status; /* as by exit(3), meaningless where signal is not 0 */
  int signal;
  bool holding; /* it had records in hand */
};
/* Not to be called for a child that was told to end. */
struct ops_restart_decision ops_restart_died(struct ops_restart *r, uint64_t now_ms, struct ops_restart_death death);

#endif
