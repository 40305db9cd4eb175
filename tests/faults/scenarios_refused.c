/* Scenarios of refused records: set aside, dropped, and replayed once they are good. */
#include "tests/faults/drive_store.h"

void make_refused(struct fixture *x) { do_commits(x, 3, 10, 8); }

int do_refuse(struct fixture *x) { return do_commits(x, 4, 2, 6); }

static int each_name(void *context, const struct store_refused *entry)
{
  struct store_refused_name **next = context;
  *(*next)++ = entry->name;
  return 0;
}

int do_drop(struct fixture *x)
{
  struct store_refused_name names[64], *next = names;
  struct store_reader *r;
  struct store *s;
  struct store_dropped dropped;
  struct failure failure = FAILURE_NONE;
  char request[LIMIT_PATH_BYTES];
  int status = store_reader_open(&r, x->path, &failure);
  if (!status) {
    status = store_reader_quarantine(r, each_name, &next, &failure);
    if (!status && next - names != 24)
      return violate("%td refused records are listed of 24", next - names);
    if (!status)
      status = store_reader_drop(r, STORE_DROP_ALWAYS, names, 10, request, &failure);
    store_reader_close(r);
  }
  outcome->refused_acknowledged -= 10; /* whether it is asked for is known when the call has returned */
  if (status)
    return tell("drop", status, &failure);
  outcome->refused_attempted -= 10;
  int code = do_open(x, &s);
  if (code)
    return code;
  status = store_drop_requested(s, &dropped, &failure);
  store_close(s);
  if (!status && dropped.damaged)
    return violate("a sound request is called damaged");
  return status ? tell("carrying out", status, &failure) : 0;
}

/* ---- refused records, read and replayed ---- */

#define REPLAYED 12u

struct replayed {
  struct fixture_record record[REPLAYED];
  struct store_refused_name name[REPLAYED];
  uint32_t count;
};

void make_replayable(struct fixture *x)
{
  struct store *s;
  struct failure failure = FAILURE_NONE;
  struct fixture_record r;
  if (do_commits(x, 2, 20, 0) || do_open(x, &s) || store_begin(s))
    return;
  for (uint64_t i = 0; i < REPLAYED; i++) {
    fixture_record(&r, outcome->attempted + i, 0);
    store_quarantine(s, r.bytes, r.size, 7, 0, &(struct store_receipt){.submitter = (uint32_t)(i % 3), .received_us = 5});
  }
  if (store_commit(s, &failure) == MUSTER_OK)
    outcome->refused_acknowledged = outcome->refused_attempted = REPLAYED;
  store_close(s);
}

static int each_replayable(void *context, const struct store_refused *entry)
{
  struct replayed *all = context;
  if (all->count >= REPLAYED)
    return violate("more refused records are listed than there are");
  all->name[all->count++] = entry->name;
  for (uint64_t n = outcome->attempted; n < outcome->attempted + REPLAYED; n++) {
    struct fixture_record r;
    fixture_record(&r, n, 0);
    if (r.size == entry->size && memcmp(r.bytes, entry->bytes, r.size) == 0) {
      all->record[n - outcome->attempted] = r;
      return 0;
    }
  }
  return violate("a refused record is listed that is none of them");
}

static int replay_records(struct fixture *x)
{
  struct store *s;
  int code = do_open(x, &s);
  if (code)
    return code;
  code = do_commit(s, REPLAYED, 0);
  store_close(s);
  return code;
}

/* Asks for what is stored now to be dropped. */
static int replay_drop(struct fixture *x, const struct replayed *all)
{
  struct store_reader *r;
  struct store *s;
  struct store_dropped dropped = {0};
  struct failure failure = FAILURE_NONE;
  char request[LIMIT_PATH_BYTES];
  int status = store_reader_open(&r, x->path, &failure);
  if (status)
    return tell("reader", status, &failure);
  status = store_reader_drop(r, STORE_DROP_STORED, all->name, all->count, request, &failure);
  store_reader_close(r);
  outcome->refused_acknowledged = 0; /* whether it is asked for is known when the call has returned */
  if (status)
    return tell("drop", status, &failure);
  outcome->refused_attempted = 0;
  const int code = do_open(x, &s);
  if (code)
    return code;
  status = store_drop_requested(s, &dropped, &failure);
  store_close(s);
  if (!status && (dropped.damaged || dropped.dropped != REPLAYED))
    return violate("of %u records that are stored now, %llu were dropped", REPLAYED, (unsigned long long)dropped.dropped);
  return status ? tell("carrying out", status, &failure) : 0;
}

int do_replay(struct fixture *x)
{
  struct replayed all = {.count = 0};
  struct store_reader *r;
  struct failure failure = FAILURE_NONE;
  int status = store_reader_open(&r, x->path, &failure);
  if (status)
    return tell("reader", status, &failure);
  status = store_reader_quarantine(r, each_replayable, &all, &failure);
  store_reader_close(r);
  if (outcome->violation[0])
    return -1;
  if (status)
    return tell("listing", status, &failure);
  if (all.count != REPLAYED)
    return violate("%u refused records are listed of %u", all.count, REPLAYED);
  const int code = replay_records(x);
  return code ? code : replay_drop(x, &all);
}
