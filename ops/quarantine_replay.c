#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "core/limits.h"
#include "muster/client.h"
#include "ops/options.h"
#include "ops/quarantine.h"
#include "ops/table.h"
#include "proto/encounter.pb-c.h"
#include "proto/vocabulary.h"
#include "proto/wire.pb-c.h"

/* The entries, copied out before anything is sent: a reader must be short, and a submit may wait. Their quotas bound them. */
struct replay {
  const struct ops_quarantine_options *o;
  uint8_t *bytes;
  size_t size, capacity;
  struct replayed {
    uint32_t size, shard;
    struct store_refused_name name;
    bool stored; /* the verdict says so */
  } * records;   /* in order; the tag is the place */
  size_t count, records_capacity;
  uint64_t too_large; /* refused for their size: they cannot travel */
  uint64_t refused_again[LIMIT_RECORD_REASONS];
};

static int keep(struct replay *r, const struct store_refused *entry)
{
  if (r->size + entry->size > r->capacity) {
    size_t capacity = (r->size + entry->size) * 2;
    uint8_t *larger = realloc(r->bytes, capacity);
    if (!larger)
      return MUSTER_ERR_MEMORY;
    r->bytes = larger;
    r->capacity = capacity;
  }
  if (r->count == r->records_capacity) {
    size_t capacity = r->records_capacity ? r->records_capacity * 2 : 256;
    struct replayed *larger = reallocarray(r->records, capacity, sizeof *larger);
    if (!larger)
      return MUSTER_ERR_MEMORY;
    r->records = larger;
    r->records_capacity = capacity;
  }
  memcpy(r->bytes + r->size, entry->bytes, entry->size);
  r->size += entry->size;
  r->records[r->count++] = (struct replayed){.size = entry->size, .shard = entry->shard, .name = entry->name};
  return MUSTER_OK;
}

static int gather(void *context, const struct store_refused *entry)
{
  struct replay *r = context;
  bool killed = entry->reason == MUSTER__V1__REASON__REASON_KILLED_WORKER;
  if (r->o->reason ? entry->reason != r->o->reason : killed)
    return 0;
  if (entry->size == 0 || entry->size > LIMIT_RECORD_BYTES) {
    r->too_large++;
    return 0;
  }
  return keep(r, entry);
}

static void on_verdict(void *context, const struct muster_verdict *verdict)
{
  struct replay *r = context;
  if (verdict->verdict == MUSTER_INVALID)
    r->refused_again[verdict->reason < LIMIT_RECORD_REASONS ? verdict->reason : 0]++;
  if ((verdict->verdict == MUSTER_ACCEPTED || verdict->verdict == MUSTER_DUPLICATE) && verdict->tag < r->count)
    r->records[verdict->tag].stored = true;
}

static void on_notice(void *context, const char *sentence)
{
  (void)context;
  ops_complain("quarantine", "%s", sentence);
}

static int submit_all(struct replay *r, struct muster_client *client)
{
  size_t at = 0;
  muster_client_set_timeout(client, r->o->timeout_ms);
  for (size_t i = 0; i < r->count; i++) {
    int status = muster_client_submit(client, r->bytes + at, r->records[i].size, i);
    if (status != MUSTER_OK)
      return status;
    at += r->records[i].size;
  }
  return muster_client_flush(client, r->o->timeout_ms);
}

static void print_counts(const struct replay *r, const struct muster_counts *counts)
{
  char text[5][TABLE_NUMBER];
  printf("replayed %s: %s accepted, %s duplicate, %s conflict, %s invalid\n", ops_table_number(text[0], r->count),
         ops_table_number(text[1], counts->accepted), ops_table_number(text[2], counts->duplicate),
         ops_table_number(text[3], counts->conflict), ops_table_number(text[4], counts->invalid));
  for (uint32_t reason = 0; reason < LIMIT_RECORD_REASONS; reason++)
    if (r->refused_again[reason])
      printf("  %s still %s: %s\n", ops_table_number(text[0], r->refused_again[reason]), vocabulary_reason(reason),
             vocabulary_reason_sentence(reason));
  if (r->too_large)
    printf("%s left out: larger than a record may be\n", ops_table_number(text[0], r->too_large));
}

/* The worker looks for itself whether the record is in its store, so what another node has said drops nothing here. */
static int release(const struct replay *r, struct ops_shards *s)
{
  struct ops_quarantine_names names = {0};
  int status = MUSTER_OK, code = EX_OK;
  for (size_t i = 0; i < r->count && status == MUSTER_OK; i++)
    if (r->records[i].stored)
      status = ops_quarantine_names_add(&names, &(struct store_refused){.shard = r->records[i].shard, .name = r->records[i].name});
  if (status != MUSTER_OK) {
    ops_complain("quarantine", "not enough memory; nothing was dropped; replay again");
    code = EX_OSERR;
  } else if (names.total > 0)
    code = ops_quarantine_ask(s, &names, STORE_DROP_STORED, r->o->timeout_ms);
  ops_quarantine_names_finish(&names);
  return code;
}

static int submit_and_tell(struct replay *r, struct ops_shards *s)
{
  char error[MUSTER_ERROR_BYTES];
  struct muster_client *client;
  struct muster_counts counts;
  struct muster_options options = MUSTER_OPTIONS_INIT;
  options.endpoint = r->o->endpoint;
  options.data_directory = r->o->endpoint ? NULL : s->data.root;
  options.software = "muster-quarantine-replay " MUSTER_VERSION;
  options.on_verdict = on_verdict;
  options.on_notice = on_notice;
  options.context = r;
  int status = muster_client_create(&client, &options, error);
  if (status != MUSTER_OK) {
    ops_complain("quarantine", "%s", error);
    return muster_status_exit_code(status);
  }
  status = submit_all(r, client);
  muster_client_counts(client, &counts);
  print_counts(r, &counts);
  if (status != MUSTER_OK)
    ops_complain("quarantine", "%s; what has no verdict may be replayed again", muster_client_error(client));
  muster_client_destroy(client);
  const int released = release(r, s);
  if (status != MUSTER_OK)
    return muster_status_exit_code(status);
  return counts.conflict + counts.invalid + r->too_large ? EX_DATAERR : released;
}

int ops_quarantine_replay(const struct ops_quarantine_options *o, struct ops_shards *s)
{
  struct failure failure = FAILURE_NONE;
  struct replay r = {.o = o};
  struct ops_quarantine_damage damage = {0};
  int code, status = ops_quarantine_each(s, gather, &r, &damage, &failure);
  if (status != MUSTER_OK) {
    failure_set(&failure, status, "the quarantine cannot be read: %s", muster_status_text(status));
    code = ops_fail("quarantine", &failure);
  } else if (r.count == 0) {
    print_counts(&r, &(struct muster_counts){0});
    code = r.too_large ? EX_DATAERR : EX_OK;
  } else {
    code = submit_and_tell(&r, s);
  }
  free(r.bytes);
  free(r.records);
  return ops_output_finish("quarantine", ops_quarantine_end(&damage, code));
}
