#include "ops/grouping.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/text.h"
#include "proto/vocabulary.h"

static const struct {
  const char *name, *alias;
} columns[COLUMNS] = {
    [COLUMN_FISCAL_YEAR] = {"fiscal_year", "year"},
    [COLUMN_MONTH] = {"month", "month"},
    [COLUMN_COMPONENT] = {"component", "component"},
    [COLUMN_REGION] = {"land_border_region", "region"},
    [COLUMN_AREA] = {"area_of_responsibility", "area"},
    [COLUMN_ABBREVIATION] = {"aor_abbv", "abbv"},
    [COLUMN_DEMOGRAPHIC] = {"demographic", "demographic"},
    [COLUMN_CITIZENSHIP] = {"citizenship", "citizenship"},
    [COLUMN_TITLE] = {"title_of_authority", "title"},
    [COLUMN_TYPE] = {"encounter_type", "type"},
    [COLUMN_DAY] = {"day", "day"},
};

const char *ops_grouping_column(enum ops_column column) { return columns[column].name; }

int32_t ops_grouping_fiscal_year(int32_t year, uint32_t month) { return month >= 10 ? year + 1 : year; }

int32_t ops_grouping_value(enum ops_column column, const struct store_tally_cell *cell)
{
  int32_t year;
  uint32_t month, day;
  switch (column) {
  case COLUMN_FISCAL_YEAR: text_civil_from_day(cell->day, &year, &month, &day); return ops_grouping_fiscal_year(year, month);
  case COLUMN_MONTH: text_civil_from_day(cell->day, &year, &month, &day); return year * 12 + (int32_t)month - 1;
  case COLUMN_COMPONENT: return cell->component;
  case COLUMN_REGION: return cell->region;
  case COLUMN_AREA:
  case COLUMN_ABBREVIATION: return cell->area;
  case COLUMN_DEMOGRAPHIC: return cell->demographic;
  case COLUMN_CITIZENSHIP:
    return (int32_t)((uint32_t)(uint8_t)cell->citizenship[0] << 16 | (uint32_t)(uint8_t)cell->citizenship[1] << 8 |
                     (uint32_t)(uint8_t)cell->citizenship[2]);
  case COLUMN_TITLE: return cell->title;
  case COLUMN_TYPE: return cell->type;
  case COLUMN_DAY: return cell->day;
  case COLUMNS: break;
  }
  assert(!"a column");
  return 0;
}

static const char *or_unspecified(const char *text) { return text ? text : "Unspecified"; }

static const char *citizenship_text(int32_t value, char out[GROUPING_TEXT])
{
  uint8_t code[3] = {(uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
  const char *name = vocabulary_citizenship(code);
  if (name[0])
    return name;
  if (value == 0)
    return or_unspecified(NULL);
  snprintf(out, GROUPING_TEXT, "%c%c%c", code[0], code[1], code[2]);
  return out;
}

/* Of the values that are calendar numbers; years are those of a 32-bit day and fit. */
static const char *calendar_text(enum ops_column column, int32_t value, char out[GROUPING_TEXT])
{
  int32_t year;
  uint32_t month, day;
  if (column == COLUMN_FISCAL_YEAR) {
    snprintf(out, GROUPING_TEXT, "%d", value);
  } else if (column == COLUMN_MONTH) {
    int32_t of_year = ((value % 12) + 12) % 12;
    snprintf(out, GROUPING_TEXT, "%04d-%02d", (value - of_year) / 12, of_year + 1);
  } else {
    text_civil_from_day(value, &year, &month, &day);
    snprintf(out, GROUPING_TEXT, "%04d-%02u-%02u", year, month, day);
  }
  return out;
}

const char *ops_grouping_text(enum ops_column column, int32_t value, char out[GROUPING_TEXT])
{
  const struct vocabulary_area *area;
  switch (column) {
  case COLUMN_FISCAL_YEAR:
  case COLUMN_MONTH:
  case COLUMN_DAY: return calendar_text(column, value, out);
  case COLUMN_COMPONENT: return or_unspecified(vocabulary_component(value));
  case COLUMN_REGION: return or_unspecified(vocabulary_region(value));
  case COLUMN_AREA: area = vocabulary_area(value); return or_unspecified(area ? area->name : NULL);
  case COLUMN_ABBREVIATION: area = vocabulary_area(value); return area ? area->abbreviation : "";
  case COLUMN_DEMOGRAPHIC: return or_unspecified(vocabulary_demographic(value));
  case COLUMN_CITIZENSHIP: return citizenship_text(value, out);
  case COLUMN_TITLE: return or_unspecified(vocabulary_title(value));
  case COLUMN_TYPE: return or_unspecified(vocabulary_type(value));
  case COLUMNS: break;
  }
  assert(!"a column");
  return "";
}

/* ---- choosing columns ---- */

static int find_column(const char *word, size_t size)
{
  for (int c = 0; c < COLUMNS; c++)
    if ((strlen(columns[c].name) == size && memcmp(columns[c].name, word, size) == 0) ||
        (strlen(columns[c].alias) == size && memcmp(columns[c].alias, word, size) == 0))
      return c;
  return -1;
}

static int refuse_column(const char *word, size_t size, const char *why, struct failure *failure)
{
  char known[320];
  size_t used = 0;
  for (int c = 0; c < COLUMNS; c++) {
    bool short_name = strcmp(columns[c].name, columns[c].alias) != 0;
    used += (size_t)snprintf(known + used, sizeof known - used, "%s%s%s%s%s", c ? ", " : "", columns[c].name, short_name ? " (" : "",
                             short_name ? columns[c].alias : "", short_name ? ")" : "");
  }
  return failure_set(failure, MUSTER_ERR_USAGE, "\"%.*s\" %s; there are: %s", (int)(size < 40 ? size : 40), word, why, known);
}

int ops_grouping_init(struct ops_grouping *g, const char *list, struct failure *failure)
{
  *g = (struct ops_grouping){0};
  if (!list) {
    for (int c = 0; c < COLUMN_DAY; c++)
      g->by[g->columns++] = (enum ops_column)c;
    return MUSTER_OK;
  }
  for (const char *word = list;; word++) {
    size_t size = strcspn(word, ",");
    int column = find_column(word, size);
    if (column < 0)
      return refuse_column(word, size, "is no column of the tally", failure);
    for (size_t i = 0; i < g->columns; i++)
      if (g->by[i] == (enum ops_column)column)
        return refuse_column(word, size, "is named twice", failure);
    g->by[g->columns++] = (enum ops_column)column;
    word += size;
    if (!*word)
      return MUSTER_OK;
  }
}

void ops_grouping_finish(struct ops_grouping *g)
{
  free(g->rows);
  free(g->slots);
  *g = (struct ops_grouping){0};
}

/* ---- counting ---- */

static size_t hash_of(const struct ops_grouping *g, const struct ops_grouping_row *row)
{
  uint64_t hash = UINT64_C(0x9e3779b97f4a7c15);
  for (size_t i = 0; i < g->columns; i++) {
    hash = (hash ^ (uint32_t)row->value[i]) * UINT64_C(0xff51afd7ed558ccd);
    hash ^= hash >> 32;
  }
  return (size_t)hash;
}

/* The slot of a row, or the free one where it belongs. */
static uint32_t *slot_of(const struct ops_grouping *g, const struct ops_grouping_row *row)
{
  size_t mask = g->slot_count - 1;
  for (size_t i = hash_of(g, row) & mask;; i = (i + 1) & mask)
    if (g->slots[i] == 0 || memcmp(g->rows[g->slots[i] - 1].value, row->value, sizeof row->value) == 0)
      return &g->slots[i];
}

/* Twice the room, so that at most half of the slots are taken. */
static int grow(struct ops_grouping *g)
{
  size_t capacity = g->capacity ? g->capacity * 2 : 512;
  struct ops_grouping_row *rows = reallocarray(g->rows, capacity, sizeof *rows);
  if (!rows)
    return MUSTER_ERR_MEMORY;
  g->rows = rows;
  uint32_t *slots = calloc(capacity * 2, sizeof *slots);
  if (!slots)
    return MUSTER_ERR_MEMORY;
  free(g->slots);
  g->slots = slots;
  g->slot_count = capacity * 2;
  g->capacity = capacity;
  for (size_t i = 0; i < g->count; i++)
    *slot_of(g, &g->rows[i]) = (uint32_t)i + 1;
  return MUSTER_OK;
}

int ops_grouping_add(struct ops_grouping *g, const struct store_tally_cell *cell)
{
  struct ops_grouping_row row = {.count = cell->count};
  if (g->count == g->capacity) {
    int status = grow(g);
    if (status != MUSTER_OK)
      return status;
  }
  for (size_t i = 0; i < g->columns; i++)
    row.value[i] = ops_grouping_value(g->by[i], cell);
  g->total += cell->count;
  uint32_t *slot = slot_of(g, &row);
  if (*slot) {
    g->rows[*slot - 1].count += cell->count;
    return MUSTER_OK;
  }
  g->rows[g->count++] = row;
  *slot = (uint32_t)g->count;
  return MUSTER_OK;
}

/* ---- order ---- */

static int compare_rows(const void *left, const void *right, void *context)
{
  const struct ops_grouping *g = context;
  const struct ops_grouping_row *a = left, *b = right;
  for (size_t i = 0; i < g->columns; i++) {
    if (a->value[i] == b->value[i])
      continue;
    if (g->by[i] != COLUMN_CITIZENSHIP)
      return a->value[i] < b->value[i] ? -1 : 1;
    char a_text[GROUPING_TEXT], b_text[GROUPING_TEXT];
    int order = strcmp(citizenship_text(a->value[i], a_text), citizenship_text(b->value[i], b_text));
    if (order)
      return order;
  }
  return 0;
}

void ops_grouping_sort(struct ops_grouping *g)
{
  if (g->count > 1)
    qsort_r(g->rows, g->count, sizeof *g->rows, compare_rows, g);
}
