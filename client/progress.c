#include "client/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/clock.h"
#include "ops/table.h"

#define COLUMNS_DEFAULT 80
#define SECOND_NS UINT64_C(1000000000)

uint64_t progress_answered(const struct muster_counts *c) { return c->accepted + c->duplicate + c->conflict + c->invalid; }

void progress_init(struct progress *p, bool quiet)
{
  const char *asked = getenv("MUSTER_PROGRESS");
  *p = (struct progress){.terminal = isatty(STDERR_FILENO) == 1, .start_ns = clock_monotonic_ns()};
  p->shown = !quiet && (p->terminal || (asked && asked[0] == '1'));
  p->last_ns = p->start_ns;
  p->next_ns = p->start_ns + SECOND_NS / 4;
}

/* Of the terminal behind standard error, asked each time because people change it. */
static int columns(void)
{
  struct winsize size;
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : COLUMNS_DEFAULT;
}

void progress_show(struct progress *p, const struct muster_counts *c, uint64_t done, uint64_t total)
{
  uint64_t now = clock_monotonic_ns();
  if (!p->shown || now < p->next_ns)
    return;
  p->next_ns = now + (p->terminal ? SECOND_NS / 4 : SECOND_NS);
  uint64_t answered = progress_answered(c);
  double rate = (double)(answered - p->last_answered) * 1e9 / (double)(now - p->last_ns);
  p->rate = p->rate > 0 ? p->rate * 0.7 + rate * 0.3 : rate;
  p->last_ns = now;
  p->last_answered = answered;
  char a[TABLE_NUMBER], b[TABLE_NUMBER], d[TABLE_NUMBER], f[TABLE_NUMBER], r[TABLE_NUMBER], left[TABLE_NUMBER + 8] = "";
  double elapsed = (double)(now - p->start_ns) / 1e9;
  if (total > done && done > 0) {
    char time[TABLE_NUMBER];
    snprintf(left, sizeof left, "  %s left", ops_table_duration(time, (uint64_t)(elapsed * (double)(total - done) / (double)done + 0.5)));
  }
  char line[256];
  snprintf(line, sizeof line, "%s/s%s  %s sent  %s accepted  %s duplicate  %s in flight", ops_table_number(r, (uint64_t)p->rate), left,
           ops_table_number(a, c->submitted), ops_table_number(b, c->accepted), ops_table_number(d, c->duplicate),
           ops_table_number(f, c->in_flight));
  if (p->terminal)
    fprintf(stderr, "\r\x1b[K%.*s", columns() - 1, line); /* one that fills the last column would go on in the next row */
  else
    fprintf(stderr, "%s\n", line);
  fflush(stderr);
  p->line_open = p->terminal;
}

void progress_clear(struct progress *p)
{
  if (p->line_open)
    fputs("\r\x1b[K", stderr);
  p->line_open = false;
}
