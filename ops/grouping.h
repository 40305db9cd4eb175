/*
 * Counts of encounters grouped by columns of the public data set "Nationwide Encounters": cells of the stores' tallies
 * come in, rows go out. Owned by one command for its run. A column's value is a number while it is grouped and becomes
 * its published text only when it is shown.
 */
#ifndef MUSTER_OPS_GROUPING_H
#define MUSTER_OPS_GROUPING_H

#include <stddef.h>
#include <stdint.h>

#include "core/failure.h"
#include "store/read.h"

enum ops_column {
  COLUMN_FISCAL_YEAR,
  COLUMN_MONTH,
  COLUMN_COMPONENT,
  COLUMN_REGION,
  COLUMN_AREA,
  COLUMN_ABBREVIATION,
  COLUMN_DEMOGRAPHIC,
  COLUMN_CITIZENSHIP,
  COLUMN_TITLE,
  COLUMN_TYPE,
  COLUMN_DAY,
  COLUMNS
};
#define GROUPING_TEXT 64

const char *ops_grouping_column(enum ops_column column); /* "land_border_region" */
/* The United States' federal fiscal year of a civil month: October begins the next one. */
int32_t ops_grouping_fiscal_year(int32_t year, uint32_t month);
int32_t ops_grouping_value(enum ops_column column, const struct store_tally_cell *cell);
/* The text of a value, as published; out is used where it is no constant. */
const char *ops_grouping_text(enum ops_column column, int32_t value, char out[GROUPING_TEXT]);

struct ops_grouping_row {
  int32_t value[COLUMNS]; /* by position in `by`; the rest is 0 */
  uint64_t count;
};
struct ops_grouping {
  enum ops_column by[COLUMNS];
  size_t columns;
  struct ops_grouping_row *rows;
  size_t count, capacity;
  uint64_t total;
  uint32_t *slots; /* open addressing: position in rows + 1; 0: free */
  size_t slot_count;
};
/* list: names or short names with commas between; NULL: all but day. MUSTER_ERR_USAGE lists the columns there are. */
int ops_grouping_init(struct ops_grouping *g, const char *list, struct failure *failure);
int ops_grouping_add(struct ops_grouping *g,
                     const struct store_tally_cell *cell); /* MUSTER_OK or MUSTER_ERR_MEMORY; not after ops_grouping_sort */
/* Puts the rows in order, column by column, citizenships by name. */
void ops_grouping_sort(struct ops_grouping *g);
void ops_grouping_finish(struct ops_grouping *g);

#endif
