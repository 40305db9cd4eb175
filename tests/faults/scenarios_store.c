/* Scenarios of a shard: start, commit, read, verify, salvage (scenarios_refused.c: those of refused records); and what must be there after each. */
#include "tests/faults/drive_store.h"

/* ---- what is done: 0 right, 1 told, -1 violated ---- */

int do_open(struct fixture *x, struct store **s)
{
  struct failure failure = FAILURE_NONE;
  const int status = store_open(s, &x->options, &failure);
  return status ? tell("open", status, &failure) : 0;
}

static int do_start(struct fixture *x)
{
  struct store *s;
  const int code = do_open(x, &s);
  if (!code)
    store_close(s);
  return code;
}

int do_commit(struct store *s, uint64_t count, uint64_t refused)
{
  struct failure failure = FAILURE_NONE;
  bool bad = store_begin(s) != MUSTER_OK;
  for (uint64_t i = 0; i < count && !bad; i++) {
    struct fixture_record r;
    uint64_t sequence;
    uint8_t digest[16];
    const uint64_t n = outcome->attempted;
    const struct store_receipt receipt = {.submitter = (uint32_t)(n % 3), .received_us = (int64_t)(1000 + n / 10)};
    fixture_record(&r, n, 0);
    const uint64_t fingerprint = store_fingerprint(s, r.id);
    const int found = store_find(s, r.id, fingerprint, &sequence, digest);
    if (found == 1)
      return violate("a new record was found as sequence %llu", (unsigned long long)sequence);
    bad = found < 0 || store_append(s, &r.view, r.digest, fingerprint, &receipt) == 0;
    outcome->attempted += !bad;
  }
  for (uint64_t i = 0; i < refused; i++) {
    uint8_t bytes[3000] = {0};
    const uint64_t n = outcome->refused_attempted++;
    store_u64(bytes, n);
    store_quarantine(s, bytes, n % 2 ? 100 : sizeof bytes, 7, 0, &(struct store_receipt){.submitter = (uint32_t)(n % 3), .received_us = 5});
  }
  const int status = store_commit(s, &failure);
  if (!status && bad)
    return violate("a commit went well behind an error");
  if (!status) {
    outcome->acknowledged += count;
    outcome->refused_acknowledged = outcome->refused_attempted;
    return 0;
  }
  if (store_begin(s) == MUSTER_OK)
    return violate("the shard goes on after a failed commit");
  return tell("commit", status, &failure);
}

int do_commits(struct fixture *x, unsigned commits, uint64_t count, uint64_t refused)
{
  struct store *s;
  int code = do_open(x, &s);
  if (code)
    return code;
  for (unsigned i = 0; i < commits && !code; i++)
    code = do_commit(s, count, refused);
  store_close(s);
  return code;
}

static int do_commit_blocks(struct fixture *x) { return do_commits(x, 5, 40, 0); }
static int do_commit_single(struct fixture *x) { return do_commits(x, 20, 1, 0); }
static int do_growth(struct fixture *x) { return do_commits(x, 4, 6000, 0); }
static int do_fold(struct fixture *x) { return do_commits(x, 2, 700, 0); }

int each_record(void *context, const struct store_record *record)
{
  struct fixture_record r;
  uint64_t *count = context;
  fixture_record(&r, *count, 0);
  if (record->sequence != *count + 1 || record->size != r.size || memcmp(record->bytes, r.bytes, r.size) != 0)
    return violate("sequence %llu is another record than was stored", (unsigned long long)record->sequence);
  ++*count;
  return 0;
}

static int each_cell(void *context, const struct store_tally_cell *cell)
{
  *(uint64_t *)context += cell->count;
  return 0;
}

int each_refused(void *context, const struct store_refused *entry)
{
  (void)entry;
  ++*(uint64_t *)context;
  return 0;
}

/* Scan, search, tally and quarantine: all of it, or an error. */
static int do_read(struct fixture *x)
{
  struct store_reader *r;
  struct failure failure = FAILURE_NONE;
  struct fixture_record last;
  uint64_t records = 0, cells = 0, refused = 0, found = outcome->attempted - 1;
  int status = store_reader_open(&r, x->path, &failure);
  if (status)
    return tell("reader", status, &failure);
  fixture_record(&last, found, 0);
  status = store_reader_scan(r, 1, UINT64_MAX, each_record, &records, &failure);
  if (!status)
    status = store_reader_tally(r, each_cell, &cells, &failure);
  if (!status)
    status = store_reader_quarantine(r, each_refused, &refused, &failure);
  if (!status && (status = store_reader_find(r, last.id, each_record, &found, &failure)) == 0)
    violate("a stored id is not found");
  store_reader_close(r);
  if (outcome->violation[0])
    return -1;
  if (status < 0)
    return tell("reading", status, &failure);
  if (records != outcome->attempted || cells != outcome->attempted || refused != outcome->refused_attempted || found != outcome->attempted)
    return violate("read without an error: %llu records, tally %llu, %llu refused", (unsigned long long)records, (unsigned long long)cells,
                   (unsigned long long)refused);
  return 0;
}

static int do_verify(struct fixture *x)
{
  struct fixture_faults faults = {0};
  struct store_verify_result result;
  struct failure failure = FAILURE_NONE;
  const int status = store_verify(x->path, fixture_report, &faults, NULL, &result, &failure);
  if (faults.count)
    return violate("verify finds damage where a call has failed: %s", faults.first);
  if (!status && result.records != outcome->attempted)
    return violate("verify read %llu records without an error", (unsigned long long)result.records);
  return status ? tell("verify", status, &failure) : 0;
}

static void each_lost(void *context, uint64_t first, uint64_t last) { *(uint64_t *)context += last - first + 1; }

struct salvaged {
  uint64_t next, lost;
};

static int each_salvaged(void *context, const struct store_record *record)
{
  struct salvaged *s = context;
  s->next = record->sequence - 1;
  return each_record(&s->next, record);
}

/* What cannot be read is told as not there: that is its purpose. */
static int do_salvage(struct fixture *x)
{
  struct salvaged s = {0};
  struct store_salvage_result result;
  struct failure failure = FAILURE_NONE;
  const struct store_salvage how = {.each = each_salvaged, .lost = each_lost, .context = &s};
  const int status = store_salvage(x->path, &how, &result, &failure);
  if (status)
    return outcome->violation[0] ? -1 : tell("salvage", status, &failure);
  outcome->done = result.records == outcome->attempted;
  if (result.records + result.lost != outcome->attempted && result.end_known)
    return violate("salvage gave %llu records and told of %llu lost", (unsigned long long)result.records, (unsigned long long)result.lost);
  return 0;
}

/* ---- the shards that the scenarios begin with ---- */

static void make_small(struct fixture *x) { do_commits(x, 5, 40, 0); }
static void make_many(struct fixture *x) { do_commits(x, 2, 65300, 0); } /* 472 short of a fold, which a clean close does before its time */

static void without_hint(struct fixture *x)
{
  char file[320];
  make_small(x);
  fixture_file(x, file, "index.hint");
  unlink(file);
}

/* As after a kill: nothing is folded, and there is no hint. */
static void make_unfolded(struct fixture *x)
{
  struct store *s;
  if (do_open(x, &s) == 0 && do_commit(s, 65500, 0) == 0)
    do_commit(s, 65000, 0);
}

/* As when LMDB's first pages are lost: nothing leads to anything. */
static void make_headless(struct fixture *x)
{
  char file[320];
  static const uint8_t zero[8192];
  make_refused(x);
  fixture_file(x, file, "data.mdb");
  const int fd = open(file, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || pwrite(fd, zero, sizeof zero, 0) != (ssize_t)sizeof zero)
    violate("the shard cannot be damaged");
  close(fd);
}

/* Whatever was asked of it, nothing has been written. */
static void check_headless(struct fixture *x)
{
  outcome->told = false;
  outcome->done = false;
  if (do_salvage(x) || !outcome->done)
    violate("salvage of the same file, without a fault");
}

/* ---- afterwards ---- */

/* Everything acknowledged is there, in its place, whole; what else is there was submitted; and the shard goes on. */
static void check_store(struct fixture *x)
{
  struct failure failure = FAILURE_NONE;
  struct fixture_faults faults = {0};
  struct store_verify_result result;
  struct store_facts facts;
  struct store_dropped dropped;
  struct store *s;
  uint64_t count = 0;
  struct store_reader *r;
  int status = store_open(&s, &x->options, &failure);
  if (status) {
    violate("a clean restart is refused: %s", failure.text);
    return;
  }
  store_drop_requested(s, &dropped, &failure);
  store_facts(s, &facts);
  if (facts.records < outcome->acknowledged || facts.records > outcome->attempted)
    violate("%llu records after a restart, %llu acknowledged, %llu attempted", (unsigned long long)facts.records,
            (unsigned long long)outcome->acknowledged, (unsigned long long)outcome->attempted);
  if (facts.quarantined < outcome->refused_acknowledged || facts.quarantined > outcome->refused_attempted)
    violate("%llu refused records after a restart, %llu to %llu expected", (unsigned long long)facts.quarantined,
            (unsigned long long)outcome->refused_acknowledged, (unsigned long long)outcome->refused_attempted);
  const uint64_t step = facts.records > 1000 ? 97 : 1;
  if (store_begin(s) != MUSTER_OK)
    violate("a clean restart cannot begin");
  for (uint64_t n = 0; n < facts.records; n += step)
    fixture_expect(s, n, n + 1);
  store_commit(s, &failure);
  fixture_fill(s, facts.records, facts.records + 3, 2);
  store_close(s);
  if (store_verify(x->path, fixture_report, &faults, NULL, &result, &failure) || faults.count || result.records != facts.records + 3)
    violate("verify: %llu records of %llu: %s %s", (unsigned long long)result.records, (unsigned long long)facts.records + 3, faults.first,
            failure.text);
  if (store_reader_open(&r, x->path, &failure) || store_reader_scan(r, 1, UINT64_MAX, each_record, &count, &failure) ||
      count != facts.records + 3)
    violate("export: %llu records of %llu: %s", (unsigned long long)count, (unsigned long long)facts.records + 3, failure.text);
}

const struct scenario scenarios_of_store[] = {
    {"create", NULL, do_start, check_store, false, false},
    {"start-with-hint", make_small, do_start, check_store, false, false},
    {"start-without-hint", without_hint, do_start, check_store, false, false},
    {"commit-blocks", make_small, do_commit_blocks, check_store, false, false},
    {"commit-single", make_small, do_commit_single, check_store, false, false},
    {"first-commit", NULL, do_commit_blocks, check_store, false, false},
    {"refuse", make_refused, do_refuse, check_store, false, false},
    {"drop", make_refused, do_drop, check_store, false, false},
    {"replay", make_replayable, do_replay, check_store, true, false},
    {"read", make_refused, do_read, check_store, false, false},
    {"verify", make_refused, do_verify, check_store, false, false},
    {"salvage", make_refused, do_salvage, check_store, false, false},
    {"salvage-headless", make_headless, do_salvage, check_headless, true, false},
    {"index-growth", make_small, do_growth, check_store, true, false},
    {"tally-fold", make_unfolded, do_fold, check_store, true, false},
    {"read-many", make_many, do_read, check_store, true, false},
    {NULL, NULL, NULL, NULL, false, false},
};
