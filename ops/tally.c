/* `muster tally`: exact counts in the columns of the public data set, from the tallies that each shard keeps beside its records. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "bench/profile.h"
#include "ops/against.h"
#include "ops/commands.h"
#include "ops/grouping.h"
#include "ops/options.h"
#include "ops/shards.h"
#include "ops/table.h"

enum tally_format { TALLY_TABLE, TALLY_CSV, TALLY_JSON };

struct tally_options {
  const char *data, *by;
  enum tally_format format;
  bool format_given;
  const struct profile *against;
};

static const struct argp_option options[] = {
    {"by", 'b', "COLUMNS", 0,
     "columns with commas between, of: fiscal_year, month, component, land_border_region (region), area_of_responsibility (area), aor_abbv "
     "(abbv), demographic, citizenship, title_of_authority (title), encounter_type (type), day (default: all but day)",
     0},
    {"format", 'f', "FORMAT", 0, "table (default), csv (a header row, the count last), or json (an array of objects)", 0},
    {"against", 'a', "PROFILE", 0, "beside the published figures of a profile; exit 1 where one differs", 0},
    {0}};

static const char doc[] =
    "Counts the encounters in the store by columns of the public data set."
    "\v"
    "Works beside a running node and on a stopped one. Days, months and fiscal years (October begins the next) are UTC.\n"
    "\n"
    "Example: muster tally --by month,component --format csv";

static void parse_format(struct tally_options *o, const char *word, struct argp_state *state)
{
  static const char *const words[] = {[TALLY_TABLE] = "table", [TALLY_CSV] = "csv", [TALLY_JSON] = "json"};
  o->format_given = true;
  for (int i = 0; i < 3; i++)
    if (strcmp(words[i], word) == 0) {
      o->format = (enum tally_format)i;
      return;
    }
  argp_error(state, "--format is table, csv or json");
}

static void parse_profile(struct tally_options *o, const char *name, struct argp_state *state)
{
  char known[200] = "";
  o->against = profile_find(name);
  if (o->against)
    return;
  for (size_t i = 0; profile_at(i); i++)
    snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", profile_at(i)->name);
  argp_error(state, "there is no profile \"%.40s\"; there are: %s", name, known);
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
  struct tally_options *o = state->input;
  switch (key) {
  case ARGP_KEY_INIT: state->child_inputs[0] = &o->data; return 0;
  case 'b': o->by = argument; return 0;
  case 'f': parse_format(o, argument, state); return 0;
  case 'a': parse_profile(o, argument, state); return 0;
  case ARGP_KEY_ARG: argp_error(state, "\"%s\" is not an option; columns are named by --by", argument); return 0;
  case ARGP_KEY_END:
    if (o->against && (o->by || o->format_given))
      argp_error(state, "--against prints its own table, without --by and --format");
    return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_child children[] = {{.argp = &ops_options_data}, {0}};
static const struct argp argp = {.options = options, .parser = parse, .doc = doc, .children = children};

static void print_table(const struct ops_grouping *g)
{
  struct ops_table t;
  ops_table_init(&t, g->columns + 1);
  for (size_t c = 0; c < g->columns; c++)
    ops_table_cell(&t, c, ops_grouping_column(g->by[c]));
  ops_table_cell(&t, g->columns, "encounter_count");
  for (size_t r = 0; r < g->count; r++) {
    char text[GROUPING_TEXT];
    for (size_t c = 0; c < g->columns; c++)
      ops_table_cell(&t, c, ops_grouping_text(g->by[c], g->rows[r].value[c], text));
    ops_table_count(&t, g->columns, g->rows[r].count);
  }
  ops_table_cell(&t, 0, "total");
  ops_table_count(&t, g->columns, g->total);
  ops_table_print(&t, 1, stdout);
  ops_table_finish(&t);
}

static void print_csv(const struct ops_grouping *g)
{
  for (size_t c = 0; c < g->columns; c++)
    printf("%s,", ops_grouping_column(g->by[c]));
  puts("encounter_count");
  for (size_t r = 0; r < g->count; r++) {
    char text[GROUPING_TEXT];
    for (size_t c = 0; c < g->columns; c++) {
      ops_table_csv(ops_grouping_text(g->by[c], g->rows[r].value[c], text), stdout);
      putchar(',');
    }
    printf("%" PRIu64 "\n", g->rows[r].count);
  }
}

/* An array with one object a line. Returns MUSTER_OK or MUSTER_ERR_MEMORY. */
static int print_json(const struct ops_grouping *g)
{
  for (size_t r = 0; r < g->count; r++) {
    json_t *object = json_object();
    for (size_t c = 0; c < g->columns; c++) {
      char text[GROUPING_TEXT];
      int32_t value = g->rows[r].value[c];
      json_object_set_new(object, ops_grouping_column(g->by[c]),
                          g->by[c] == COLUMN_FISCAL_YEAR ? json_integer(value) : json_string(ops_grouping_text(g->by[c], value, text)));
    }
    json_object_set_new(object, "encounter_count", json_integer((json_int_t)g->rows[r].count));
    char *line = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (!line)
      return MUSTER_ERR_MEMORY;
    printf("%s%s", r ? ",\n " : "[", line);
    free(line);
  }
  puts(g->count ? "]" : "[]");
  return MUSTER_OK;
}

static int add_to_grouping(void *context, const struct store_tally_cell *cell) { return ops_grouping_add(context, cell); }

static int add_to_against(void *context, const struct store_tally_cell *cell)
{
  ops_against_add(context, cell);
  return 0;
}

/* All shards at about the same moment: one after the other without a pause; each for itself is exact. */
static int read_all(struct ops_shards *s, int (*each)(void *, const struct store_tally_cell *), void *context, struct failure *failure)
{
  for (uint32_t shard = 0; shard < s->count; shard++) {
    int status = store_reader_tally(s->reader[shard], each, context, failure);
    if (status != MUSTER_OK)
      return failure_set(failure, status, "the tally of shard %u could not be read: %s", shard, muster_status_text(status));
  }
  return MUSTER_OK;
}

static int tally_by(const struct tally_options *o, struct ops_shards *s, struct ops_grouping *g)
{
  struct failure failure = FAILURE_NONE;
  int status = read_all(s, add_to_grouping, g, &failure);
  if (status != MUSTER_OK)
    return ops_fail("tally", &failure);
  ops_grouping_sort(g);
  if (o->format == TALLY_CSV)
    print_csv(g);
  else if (o->format == TALLY_TABLE)
    print_table(g);
  else if (print_json(g) != MUSTER_OK)
    return ops_complain("tally", "not enough memory"), EX_OSERR;
  return ops_output_finish("tally", EX_OK);
}

static int tally_against(const struct tally_options *o, struct ops_shards *s)
{
  struct failure failure = FAILURE_NONE;
  struct ops_against against;
  if (ops_against_init(&against, o->against) != MUSTER_OK)
    return ops_complain("tally", "not enough memory"), EX_OSERR;
  int code;
  if (read_all(s, add_to_against, &against, &failure) != MUSTER_OK)
    code = ops_fail("tally", &failure);
  else
    code = ops_output_finish("tally", ops_against_print(&against, stdout) ? 1 : EX_OK);
  ops_against_finish(&against);
  return code;
}

int ops_tally_main(int argc, char **argv)
{
  struct tally_options o = {0};
  struct failure failure = FAILURE_NONE;
  struct ops_grouping grouping;
  struct ops_shards shards;
  ops_options_parse(&argp, argc, argv, &o);
  if (ops_grouping_init(&grouping, o.by, &failure) != MUSTER_OK || ops_shards_open(&shards, o.data, &failure) != MUSTER_OK)
    return ops_fail("tally", &failure);
  int code = o.against ? tally_against(&o, &shards) : tally_by(&o, &shards, &grouping);
  ops_shards_close(&shards);
  ops_grouping_finish(&grouping);
  return code;
}
