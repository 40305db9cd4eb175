#include "ops/against.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "muster/status.h"
#include "ops/grouping.h"
#include "ops/table.h"
#include "proto/encounter.pb-c.h"
#include "proto/vocabulary.h"

int ops_against_init(struct ops_against *a, const struct profile *profile)
{
  *a = (struct ops_against){.profile = profile};
  a->months = calloc(profile->month_count + 1, sizeof *a->months);
  a->areas = calloc(profile->area_count + 1, sizeof *a->areas);
  a->demographics = calloc(profile->demographic_count + 1, sizeof *a->demographics);
  if (a->months && a->areas && a->demographics)
    return MUSTER_OK;
  ops_against_finish(a);
  return MUSTER_ERR_MEMORY;
}

void ops_against_finish(struct ops_against *a)
{
  free(a->months);
  free(a->areas);
  free(a->demographics);
  *a = (struct ops_against){0};
}

static size_t month_row(const struct profile *p, const struct store_tally_cell *cell)
{
  int32_t month = ops_grouping_value(COLUMN_MONTH, cell);
  size_t i = 0;
  while (i < p->month_count && p->months[i].year * 12 + (int32_t)p->months[i].month - 1 != month)
    i++;
  return i;
}

/* The published table has one row for all field offices of the border, so they are one here, too. */
static size_t area_row(const struct profile *p, const struct store_tally_cell *cell)
{
  size_t i = 0;
  while (i < p->area_count &&
         !(p->areas[i].area == cell->area || (p->areas[i].area == MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_SOUTHWEST_FIELD_OFFICES &&
                                              cell->component == MUSTER__V1__COMPONENT__COMPONENT_OFFICE_OF_FIELD_OPERATIONS &&
                                              cell->region == MUSTER__V1__LAND_BORDER_REGION__LAND_BORDER_REGION_SOUTHWEST)))
    i++;
  return i;
}

static size_t demographic_row(const struct profile *p, const struct store_tally_cell *cell)
{
  size_t i = 0;
  while (i < p->demographic_count && p->demographics[i].demographic != cell->demographic)
    i++;
  return i;
}

void ops_against_add(struct ops_against *a, const struct store_tally_cell *cell)
{
  a->months[month_row(a->profile, cell)] += cell->count;
  a->areas[area_row(a->profile, cell)] += cell->count;
  if (cell->component == MUSTER__V1__COMPONENT__COMPONENT_US_BORDER_PATROL)
    a->demographics[demographic_row(a->profile, cell)] += cell->count;
  a->total += cell->count;
}

static unsigned add_row(struct ops_table *t, const char *name, uint64_t published, uint64_t stored)
{
  char text[TABLE_NUMBER], mark[TABLE_NUMBER + 16] = "";
  bool more = stored > published;
  ops_table_cell(t, 0, name);
  ops_table_count(t, 1, published);
  ops_table_count(t, 2, stored);
  if (stored != published)
    snprintf(mark, sizeof mark, "differs: %s%s", more ? "+" : "-", ops_table_number(text, more ? stored - published : published - stored));
  ops_table_cell(t, 3, mark);
  return stored != published;
}

static void begin(struct ops_table *t, const char *margin)
{
  ops_table_init(t, 4);
  ops_table_cell(t, 0, margin);
  ops_table_cell(t, 1, "published");
  ops_table_cell(t, 2, "store");
  ops_table_cell(t, 3, "");
}

/* The rest, where there is any, and the sum of the margin. */
static unsigned end(struct ops_table *t, uint64_t published, uint64_t stored, uint64_t rest, FILE *out)
{
  unsigned differ = rest ? add_row(t, "in no published row", 0, rest) : 0;
  add_row(t, "total", published, stored);
  ops_table_print(t, 1, out);
  fputc('\n', out);
  ops_table_finish(t);
  return differ;
}

static unsigned print_months(const struct ops_against *a, FILE *out)
{
  const struct profile *p = a->profile;
  struct ops_table t;
  unsigned differ = 0;
  begin(&t, "month");
  for (size_t i = 0; i < p->month_count; i++) {
    char text[GROUPING_TEXT];
    int32_t month = p->months[i].year * 12 + (int32_t)p->months[i].month - 1;
    differ += add_row(&t, ops_grouping_text(COLUMN_MONTH, month, text), p->months[i].encounters, a->months[i]);
  }
  return differ + end(&t, p->total, a->total, a->months[p->month_count], out);
}

static unsigned print_areas(const struct ops_against *a, FILE *out)
{
  const struct profile *p = a->profile;
  struct ops_table t;
  unsigned differ = 0;
  begin(&t, "area of responsibility");
  for (size_t i = 0; i < p->area_count; i++) {
    char text[GROUPING_TEXT];
    differ += add_row(&t, ops_grouping_text(COLUMN_AREA, p->areas[i].area, text), p->areas[i].encounters, a->areas[i]);
  }
  return differ + end(&t, p->total, a->total, a->areas[p->area_count], out);
}

static unsigned print_demographics(const struct ops_against *a, FILE *out)
{
  const struct profile *p = a->profile;
  struct ops_table t;
  unsigned differ = 0;
  uint64_t published = 0, stored = a->demographics[p->demographic_count];
  begin(&t, "demographic (Border Patrol)");
  for (size_t i = 0; i < p->demographic_count; i++) {
    char text[GROUPING_TEXT];
    differ += add_row(&t, ops_grouping_text(COLUMN_DEMOGRAPHIC, p->demographics[i].demographic, text), p->demographics[i].encounters,
                      a->demographics[i]);
    published += p->demographics[i].encounters;
    stored += a->demographics[i];
  }
  return differ + end(&t, published, stored, a->demographics[p->demographic_count], out);
}

unsigned ops_against_print(const struct ops_against *a, FILE *out)
{
  char published[TABLE_NUMBER], stored[TABLE_NUMBER];
  fprintf(out, "%s\n\n", a->profile->title);
  unsigned differ = print_months(a, out) + print_areas(a, out) + print_demographics(a, out);
  differ += a->total != a->profile->total;
  ops_table_number(published, a->profile->total);
  fprintf(out, "total: %s published, %s in the store\n", published, ops_table_number(stored, a->total));
  if (differ)
    fprintf(out, "%u figure%s differ%s\n", differ, differ == 1 ? "" : "s", differ == 1 ? "s" : "");
  else
    fputs("all figures agree\n", out);
  return differ;
}
