/* `muster status`: what the node is doing now, from its counter pages; without a node, what the store holds. */
#include "ops/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#include "core/datadir_lock.h"
#include "core/file.h"
#include "core/machine.h"
#include "ops/commands.h"
#include "ops/options.h"
#include "ops/shards.h"

#define WINDOW_MS 500 /* between the two looks that rates are made of */

struct status_options {
  const char *data;
  bool json;
};

static const struct argp_option options[] = {{"json", 'j', NULL, 0, "one JSON object, with every counter of every process", 0}, {0}};

static const char doc[] = "Shows what the node is doing now: state, rates over half a second, totals since the node was started, shards, "
                          "credit, and whether every record "
                          "is accounted for."
                          "\v"
                          "Exit 1 where a shard is down, with its cause, since when, and what can be done; 69 where no node is running: "
                          "what the store holds is shown "
                          "all the same.\n"
                          "\n"
                          "Example: muster status --json | jq .rates";

static error_t parse(int key, char *argument, struct argp_state *state)
{
  struct status_options *o = state->input;
  switch (key) {
  case ARGP_KEY_INIT: state->child_inputs[0] = &o->data; return 0;
  case 'j': o->json = true; return 0;
  case ARGP_KEY_ARG: argp_error(state, "\"%s\" is not an option; the data directory is named by --data", argument); return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_child children[] = {{.argp = &ops_options_data}, {0}};
static const struct argp argp = {.options = options, .parser = parse, .doc = doc, .children = children};

/* A node that is not ready yet has none, and what lies in their place is none. */
static int read_endpoints(struct ops_status *s, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  struct failure why = FAILURE_NONE;
  datadir_path(&s->data, path, "run/endpoints");
  FILE *file = file_open_stream(FILE_OF_NODE, "the endpoints", path, UINT64_MAX, &why);
  size_t size = file ? fread(s->endpoints, 1, sizeof s->endpoints - 1, file) : 0;
  s->endpoints[size] = '\0';
  if (file)
    fclose(file);
  return why.status == MUSTER_ERR_IO || why.status == MUSTER_ERR_MEMORY ? failure_set(failure, why.status, "%s", why.text) : MUSTER_OK;
}

/* The shards as their workers tell them. */
static void shards_from_pages(struct ops_status *s)
{
  for (size_t i = 0; i < s->after.count; i++) {
    const struct counters_snapshot *page = &s->after.page[i];
    unsigned shard;
    if (sscanf(page->role, "worker-%u", &shard) != 1 || shard >= LIMIT_SHARDS)
      continue;
    s->shard[shard] = (struct ops_status_shard){.records = page->value[COUNTER_store_records],
                                                .file_bytes = page->value[COUNTER_store_bytes],
                                                .free_bytes = page->value[COUNTER_store_free_bytes],
                                                .index_slots = page->value[COUNTER_index_slots],
                                                .index_bytes = page->value[COUNTER_index_bytes],
                                                .quarantined = page->value[COUNTER_quarantine_records],
                                                .disk_free_bytes = page->value[COUNTER_disk_free_bytes],
                                                .serving = page->alive && page->state == PROCESS_SERVING,
                                                .index_records_max = page->value[COUNTER_index_records_max],
                                                .blocked = page->value[COUNTER_store_blocked] != 0,
                                                .index_full = page->value[COUNTER_index_full] != 0};
    if (shard >= s->shards)
      s->shards = shard + 1;
  }
}

/* A shard that fails again and again keeps its note while it serves for a moment. */
static void shards_from_notes(struct ops_status *s)
{
  for (uint32_t shard = 0; shard < LIMIT_SHARDS; shard++) {
    struct ops_outage outage;
    if (!ops_outage_read(&s->data, shard, &outage))
      continue;
    s->shard[shard].down = true;
    s->shard[shard].outage = outage;
    s->shards_down++;
    if (shard >= s->shards)
      s->shards = shard + 1;
  }
}

static int look_at_node(struct ops_status *s, struct failure *failure)
{
  int status = ops_view_take(&s->before, &s->data, failure);
  if (status == MUSTER_OK) {
    nanosleep(&(struct timespec){.tv_nsec = WINDOW_MS * 1000000L}, NULL);
    status = ops_view_take(&s->after, &s->data, failure);
  }
  const struct counters_snapshot *run = status == MUSTER_OK ? ops_view_find(&s->after, "run") : NULL;
  s->state = PROCESS_STARTING;
  if (run && run->alive) {
    s->state = run->state;
    s->uptime_s = run->uptime_s;
    s->restarts = run->value[COUNTER_restarts];
  }
  if (status == MUSTER_OK) {
    ops_view_full_in(&s->before, &s->after, &s->room);
    s->submitters = ops_view_submitters(&s->after, s->submitter);
  }
  shards_from_pages(s);
  shards_from_notes(s);
  return status != MUSTER_OK ? status : read_endpoints(s, failure);
}

static int look_at_store(struct ops_status *s, struct failure *failure)
{
  struct ops_shards shards;
  int status = ops_shards_open_some(&shards, &s->data, failure);
  if (status != MUSTER_OK)
    return status;
  s->shards = shards.count;
  for (uint32_t i = 0; i < shards.count; i++) {
    char path[LIMIT_PATH_BYTES];
    s->shard[i] = (struct ops_status_shard){
        .records = shards.facts[i].records, .file_bytes = shards.facts[i].file_bytes, .quarantined = shards.facts[i].quarantined};
    datadir_shard_path(&s->data, path, i);
    machine_disk_free(path, &s->shard[i].disk_free_bytes); /* shown as 0 where it cannot be told */
    struct failure why = FAILURE_NONE;
    if (shards.reader[i] || ops_shards_why(&shards, i, &why) == MUSTER_ERR_AGAIN)
      continue;
    s->shard[i].down = true;
    s->shard[i].outage.kind = shards.survey.absent >> i & 1 ? OUTAGE_MISSING : ops_outage_kind_of(why.status);
    snprintf(s->shard[i].outage.cause, sizeof s->shard[i].outage.cause, "%s", why.text);
    s->shards_down++;
  }
  ops_shards_close(&shards);
  return MUSTER_OK;
}

static int show(const struct status_options *o, struct ops_status *s)
{
  struct failure failure = FAILURE_NONE;
  char name[LIMIT_PATH_BYTES];
  if (datadir_name(name, o->data, &failure) != MUSTER_OK || datadir_open(&s->data, name, &failure) != MUSTER_OK)
    return ops_fail("status", &failure);
  s->pid = datadir_node_pid(&s->data);
  if ((s->pid ? look_at_node(s, &failure) : look_at_store(s, &failure)) != MUSTER_OK)
    return ops_fail("status", &failure);
  if (!o->json)
    ops_status_print_text(s);
  else if (ops_status_print_json(s) != MUSTER_OK)
    return ops_complain("status", "not enough memory"), EX_OSERR;
  if (!s->pid)
    ops_complain("status", "no node is running on %s; this is what its store holds", s->data.root);
  return ops_output_finish("status", !s->pid ? EX_UNAVAILABLE : s->shards_down ? 1 : EX_OK);
}

int ops_status_main(int argc, char **argv)
{
  struct status_options o = {0};
  ops_options_parse(&argp, argc, argv, &o);
  struct ops_status *s = calloc(1, sizeof *s);
  if (!s)
    return ops_complain("status", "not enough memory"), EX_OSERR;
  int code = show(&o, s);
  free(s);
  return code;
}
