/*
 * The caller's side of the tests of the client: records with their number inside, and what was heard of each. A number gets
 * exactly one verdict, and it must be the verdict on that record: the fake node's sequence tells.
 */
#ifndef MUSTER_TESTS_CLIENT_HEARD_H
#define MUSTER_TESTS_CLIENT_HEARD_H

#include <cmocka.h>

#include "client/node.h"
#include "muster/client.h"

struct heard {
  uint8_t times[NODE_RECORDS];
  uint64_t wrong; /* told twice, or of another record */
  struct muster_verdict last_invalid;
  char notices[4096];
};

static inline void heard_verdict(void *context, const struct muster_verdict *v)
{
  struct heard *h = context;
  if (v->tag >= NODE_RECORDS || h->times[v->tag]++ || (v->verdict != MUSTER_INVALID && (v->sequence != v->tag + 1 || v->shard != 3)))
    h->wrong++;
  if (v->verdict == MUSTER_INVALID)
    h->last_invalid = *v;
}

static inline void heard_notice(void *context, const char *sentence)
{
  struct heard *h = context;
  size_t used = strlen(h->notices);
  snprintf(h->notices + used, sizeof h->notices - used, "%s\n", sentence);
}

/* Each of the first count numbers got its one verdict, and no other. */
static inline void heard_all(const struct heard *h, uint64_t count)
{
  assert_int_equal(h->wrong, 0);
  for (uint64_t i = 0; i < NODE_RECORDS; i++)
    if (h->times[i] != (i < count))
      fail_msg("record %llu has %u verdicts", (unsigned long long)i, h->times[i]);
}

static inline size_t record_of(uint8_t *out, uint64_t number, size_t size)
{
  memset(out, 'r', size);
  store_u64(out, number);
  return size;
}

static inline void submit_numbers(struct muster_client *c, uint64_t from, uint64_t to)
{
  uint8_t record[40];
  for (uint64_t i = from; i < to; i++)
    if (muster_client_submit(c, record, record_of(record, i, 8 + i % 30), i) != MUSTER_OK)
      fail_msg("submit of %llu: %s", (unsigned long long)i, muster_client_error(c));
}

static inline void flush_all(struct muster_client *c)
{
  if (muster_client_flush(c, 15000) != MUSTER_OK)
    fail_msg("flush: %s", muster_client_error(c));
}

static inline struct muster_options options_for(struct heard *h, const char *endpoint)
{
  struct muster_options o = MUSTER_OPTIONS_INIT;
  memset(h, 0, sizeof *h);
  o.endpoint = endpoint;
  o.on_verdict = heard_verdict;
  o.on_notice = heard_notice;
  o.context = h;
  o.batch_records = 100;
  return o;
}

static inline struct muster_client *client_of(const struct muster_options *o)
{
  struct muster_client *c;
  char error[MUSTER_ERROR_BYTES];
  if (muster_client_create(&c, o, error) != MUSTER_OK)
    fail_msg("%s", error);
  return c;
}

static char directory[200];

static inline int make_directory(void **state)
{
  (void)state;
  const char *tmp = getenv("TMPDIR");
  alarm(120);
  snprintf(directory, sizeof directory, "%s/muster-client-XXXXXX", tmp ? tmp : "/tmp");
  return mkdtemp(directory) ? 0 : -1;
}

static inline int remove_directory(void **state)
{
  (void)state;
  link_context_finish();
  return rmdir(directory); /* fails where a test left something */
}

static inline const char *endpoint_named(const char *name)
{
  static char endpoint[4][300];
  static unsigned next;
  char *out = endpoint[next++ % 4];
  snprintf(out, sizeof endpoint[0], "ipc://%s/%s", directory, name);
  return out;
}

#endif
