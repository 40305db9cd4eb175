/* `muster verify`: reads everything of every shard and says whether each block, sequence and count is right. */
#include <inttypes.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/clock.h"
#include "ops/commands.h"
#include "ops/options.h"
#include "ops/shards.h"
#include "ops/table.h"

#define PROGRESS_NS UINT64_C(100000000)

struct verifying {
  uint32_t shard;
  bool terminal;
  uint64_t shown_ns;
  struct store_verify_result sum;
  int code; /* of a shard that could not be read for another cause than damage */
};

static const char doc[] =
    "Reads the whole store: checksums, sequences, the chain of commits, columns against bytes, tally against a recount."
    "\v"
    "Works beside a running node and on a stopped one, and changes nothing. Exit 1 where something is wrong, with the exact block.\n"
    "\n"
    "Shards are read one after the other; each takes 28 bytes of memory for each of its records, beside the node's own. Where there is "
    "less, "
    "nothing is read and the number needed is told (exit 71).\n"
    "\n"
    "Example: muster verify --data /var/lib/muster";

static error_t parse(int key, char *argument, struct argp_state *state)
{
  if (key == ARGP_KEY_INIT)
    state->child_inputs[0] = state->input;
  else if (key == ARGP_KEY_ARG)
    argp_error(state, "\"%s\" is not an option; the data directory is named by --data", argument);
  else
    return ARGP_ERR_UNKNOWN;
  return 0;
}

static const struct argp_child children[] = {{.argp = &ops_options_data}, {0}};
static const struct argp argp = {.parser = parse, .doc = doc, .children = children};

static void clear_progress(struct verifying *v)
{
  if (v->shown_ns)
    fputs("\r\033[K", stderr);
  v->shown_ns = 0;
}

static void on_fault(void *context, const char *sentence)
{
  struct verifying *v = context;
  clear_progress(v);
  printf("shard %u: fault: %s\n", v->shard, sentence);
}

static void on_progress(void *context, uint64_t records_read, uint64_t records_total)
{
  struct verifying *v = context;
  uint64_t now_ns = clock_monotonic_ns();
  char read[TABLE_NUMBER], total[TABLE_NUMBER];
  if (!v->terminal || now_ns - v->shown_ns < PROGRESS_NS)
    return;
  v->shown_ns = now_ns;
  fprintf(stderr, "\rshard %u: %s of %s records\033[K", v->shard, ops_table_number(read, records_read),
          ops_table_number(total, records_total));
}

static void add(struct store_verify_result *sum, const struct store_verify_result *one)
{
  sum->blocks += one->blocks;
  sum->records += one->records;
  sum->bytes += one->bytes;
  sum->tally_cells += one->tally_cells;
  sum->quarantined += one->quarantined;
  sum->faults += one->faults;
}

/* Where memory runs out all the same, the system shall end this command and not the node. */
static void yield_to_the_node(void)
{
  FILE *file = fopen("/proc/self/oom_score_adj", "we");
  if (file) {
    fputs("1000", file);
    fclose(file);
  }
}

static void verify_shard(struct verifying *v, const char *path)
{
  struct store_verify_result result = {0};
  struct failure failure = FAILURE_NONE;
  char records[TABLE_NUMBER], blocks[TABLE_NUMBER], bytes[TABLE_NUMBER], cells[TABLE_NUMBER], kept[TABLE_NUMBER], faults[TABLE_NUMBER];
  int status = store_verify(path, on_fault, v, on_progress, &result, &failure);
  clear_progress(v);
  if (status != MUSTER_OK) {
    ops_complain("verify", "shard %u cannot be read: %s", v->shard, failure.text[0] ? failure.text : muster_status_text(status));
    result.faults++;
    if (status != MUSTER_ERR_CORRUPT && v->code == 0)
      v->code = muster_status_exit_code(status);
  } else {
    printf("shard %u: %s records in %s blocks, %s, %s tally cells, %s quarantined: ", v->shard, ops_table_number(records, result.records),
           ops_table_number(blocks, result.blocks), ops_table_bytes(bytes, result.bytes), ops_table_number(cells, result.tally_cells),
           ops_table_number(kept, result.quarantined));
    if (result.faults)
      printf("%s fault%s\n", ops_table_number(faults, result.faults), result.faults == 1 ? "" : "s");
    else
      puts("right");
  }
  add(&v->sum, &result);
}

static int conclude(const struct verifying *v)
{
  char records[TABLE_NUMBER], blocks[TABLE_NUMBER], faults[TABLE_NUMBER];
  ops_table_number(records, v->sum.records);
  ops_table_number(blocks, v->sum.blocks);
  if (v->sum.faults) {
    printf("not right: %s fault%s; %s records in %s blocks were read; nothing was changed\n", ops_table_number(faults, v->sum.faults),
           v->sum.faults == 1 ? "" : "s", records, blocks);
    return ops_output_finish("verify", v->code ? v->code : 1);
  }
  printf("verified: %s records in %s blocks, all right\n", records, blocks);
  return ops_output_finish("verify", EX_OK);
}

int ops_verify_main(int argc, char **argv)
{
  const char *option = NULL;
  char path[LIMIT_PATH_BYTES];
  struct datadir data;
  struct ops_shards_survey survey;
  struct failure failure = FAILURE_NONE;
  struct verifying v = {.terminal = isatty(STDERR_FILENO)};
  ops_options_parse(&argp, argc, argv, &option);
  if (datadir_name(path, option, &failure) != MUSTER_OK || datadir_open(&data, path, &failure) != MUSTER_OK)
    return ops_fail("verify", &failure);
  if (ops_shards_survey(&data, &survey, &failure) != MUSTER_OK ||
      ops_shards_complete(&data, &survey, &failure) != MUSTER_OK) { /* a shard is missing; the others are read all the same */
    ops_fail("verify", &failure);
    v.sum.faults++;
    if (failure.status != MUSTER_ERR_CORRUPT && failure.status != MUSTER_ERR_CONFIG)
      v.code = muster_status_exit_code(failure.status);
  } else if (survey.directories == 0) {
    ops_complain("verify", "%s holds no store yet; a node makes it at its first start: muster run --data %s", data.root, data.root);
    return EX_NOINPUT;
  }
  yield_to_the_node();
  for (v.shard = 0; v.shard < LIMIT_SHARDS; v.shard++) {
    datadir_shard_path(&data, path, v.shard);
    if (access(path, F_OK) == 0)
      verify_shard(&v, path);
  }
  return conclude(&v);
}
