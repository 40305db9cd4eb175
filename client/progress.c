#include "client/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/clock.h"
#include "ops/table.h"

#define COLUMNS_DEFAULT 80
#define LINE_BYTES 256u
#define SECOND_NS UINT64_C(1000000000)

uint64_t progress_answered(const struct muster_counts *c) { return c->accepted + c->duplicate + c->conflict + c->invalid; }

void progress_init(struct progress *p, bool quiet)
{
  const char *asked = getenv("MUSTER_PROGRESS");
  const char *term = getenv("TERM"), *plain = getenv("NO_COLOR");
  *p = (struct progress){.terminal = isatty(STDERR_FILENO) == 1, .start_ns = clock_monotonic_ns()};
  p->lively = p->terminal && term && term[0] && strcmp(term, "dumb") != 0 && !(plain && plain[0]);
  p->shown = !quiet && (p->terminal || (asked && asked[0] == '1'));
  p->last_ns = p->start_ns;
  p->next_ns = p->start_ns + (p->lively ? SECOND_NS / 4 : SECOND_NS);
}

/* Of the terminal behind standard error, asked each time because people change it. */
static int columns(void)
{
  struct winsize size;
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : COLUMNS_DEFAULT;
}

/* One more count, where the row has room for it as a whole. */
static void add(char line[LINE_BYTES], size_t room, uint64_t count, const char *what)
{
  char part[TABLE_NUMBER + 16], number[TABLE_NUMBER];
  size_t size = strlen(line);
  int more = snprintf(part, sizeof part, "  %s %s", ops_table_number(number, count), what);
  if (size + (size_t)more <= room)
    memcpy(line + size, part, (size_t)more + 1);
}

void progress_show(struct progress *p, const struct muster_counts *c, uint64_t done, uint64_t total)
{
  uint64_t now = clock_monotonic_ns();
  if (!p->shown || now < p->next_ns)
    return;
  p->next_ns = now + (p->lively ? SECOND_NS / 4 : SECOND_NS);
  uint64_t answered = progress_answered(c);
  double rate = (double)(answered - p->last_answered) * 1e9 / (double)(now - p->last_ns);
  p->rate = p->rate > 0 ? p->rate * 0.7 + rate * 0.3 : rate;
  p->last_ns = now;
  p->last_answered = answered;
  char line[LINE_BYTES], number[TABLE_NUMBER], left[TABLE_NUMBER + 8] = "";
  double elapsed = (double)(now - p->start_ns) / 1e9;
  if (total > done && done > 0) {
    char time[TABLE_NUMBER];
    snprintf(left, sizeof left, "  %s left", ops_table_duration(time, (uint64_t)(elapsed * (double)(total - done) / (double)done + 0.5)));
  }
  size_t row = (size_t)columns() - 1; /* one whose last column is filled would go on in the next */
  size_t room = p->terminal && row < LINE_BYTES ? row : LINE_BYTES - 1;
  snprintf(line, room + 1, "%s/s%s", ops_table_number(number, (uint64_t)p->rate), left);
  add(line, room, c->in_flight, "in flight");
  if (c->accepted || !c->duplicate)
    add(line, room, c->accepted, "accepted");
  if (c->duplicate)
    add(line, room, c->duplicate, "duplicate");
  if (c->conflict)
    add(line, room, c->conflict, "conflict");
  if (c->invalid)
    add(line, room, c->invalid, "invalid");
  fprintf(stderr, p->lively ? "\r\x1b[K%s" : "%s\n", line);
  fflush(stderr);
  p->line_open = p->lively;
}

void progress_clear(struct progress *p)
{
  if (p->line_open)
    fputs("\r\x1b[K", stderr);
  p->line_open = false;
}
