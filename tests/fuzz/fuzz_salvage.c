/*
 * A shard's data.mdb as salvage reads it, whatever has become of it. A true shard of a few pages is made once; an input is a
 * list of what is done to a copy: bytes changed, pages zeroed, swapped, repeated, the end cut off, whole blocks with
 * right checksums that no shard has written, put where records' bytes lie, the tree destroyed, and a stale block: a commit that did not
 * end has left it, and another took its sequences. For any list:
 *
 * - what is given is what was stored, in order of sequences, each once; of a block that nobody has stored, nothing;
 * - of the stale block nothing is given but what is told as uncertain; only what it contests is given twice, and told both times;
 * - what was given and what was told as lost are apart, and together all that was stored, or it is told that the end is not
 *   known; nothing is lost that lies on pages which were not touched;
 * - nothing is lost of a file that was not changed, and nothing uncertain, with a stale block in it or without. It never ends by a signal, and in bounded time.
 */
#include "tests/fuzz/asserts.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/scratch.h"
#include "proto/digest.h"
#include "store/journal.h"
#include "tests/store/fixture.h"

enum { ALL, SOME, LOST, END_UNKNOWN, FORGED, UNCERTAIN, STALE_DROPPED, STALE_GIVEN, CONTESTED, LAST };
static struct fuzz_outcome outcomes[] = {
    [ALL] = {"all given", 0},
    [SOME] = {"some given", 0},
    [LOST] = {"told as lost", 0},
    [END_UNKNOWN] = {"of an unknown end", 0},
    [FORGED] = {"with forged blocks", 0},
    [UNCERTAIN] = {"told as uncertain", 0},
    [STALE_DROPPED] = {"with a stale block of which nothing is given", 0},
    [STALE_GIVEN] = {"with a stale block that is given", 0},
    [CONTESTED] = {"told as contested", 0},
    [LAST] = {NULL, 0},
};
enum { PAGE = 4096, PAGES_MAX = 64, RECORDS = 66, BLOCKS_MAX = 32, FORGED_MAX = 8, SMALL = 8 };
enum { STALE_FIRST = 31, STALE_LAST = 60, STALE_NUMBER = 1000 }; /* sequences that two blocks claim; the first record of the stale one */
enum { DO_BYTES, DO_BIT, DO_ZERO, DO_SWAP, DO_REPEAT, DO_CUT, DO_FORGE, DO_STALE, DO_UPROOT, DO_HURT, DO_KINDS };

static struct fixture fixture;
static uint8_t whole[PAGES_MAX * PAGE];
static size_t whole_size;
static uint8_t stale[PAGES_MAX * PAGE]; /* the pages of the stale block's value */
static size_t stale_size;
static struct place {
  uint64_t first, last;
  size_t at, size;
  bool value;         /* LMDB has put it there; else it is what an earlier page has left */
} blocks[BLOCKS_MAX]; /* where the true ones lie, copies too */
static uint32_t block_count;

static void finish(void) { scratch_remove(fixture.path); }

static uint32_t short_at(size_t at) { return whole[at] | (uint32_t)whole[at + 1] << 8; }

/* The value of a leaf's node, or one with pages of its own, as lmdb.c lays them out: 16 bytes of header, of which kind and end of the list of nodes. */
static bool is_value(size_t at)
{
  const size_t page = at / PAGE * PAGE;
  if (load_u64(whole + page) != at / PAGE)
    return false;
  if (short_at(page + 10) & 4)
    return at % PAGE == 16;
  for (size_t slot = page + 16; short_at(page + 10) & 2 && slot < page + short_at(page + 12); slot += 2) {
    const size_t node = page + short_at(slot);
    if (node + 8 + short_at(node + 6) == at)
      return true;
  }
  return false;
}

/* By its magic, as a plain search finds them. */
static void find_blocks(void)
{
  static const uint32_t magic = STORE_BLOCK_MAGIC;
  struct store_block_header h;
  for (size_t at = 0; at + sizeof h <= whole_size; at += 2) {
    memcpy(&h, whole + at, sizeof h);
    const size_t size = h.magic == magic ? store_block_size(&h) : 0;
    if (!size || size > whole_size - at || block_count == BLOCKS_MAX)
      continue;
    uint8_t checksum[16];
    digest_bytes(checksum, whole + at + 16, size - 16);
    if (memcmp(checksum, whole + at, sizeof checksum) == 0)
      blocks[block_count++] =
          (struct place){.first = h.first, .last = h.first + h.count - 1, .at = at, .size = size, .value = is_value(at)};
  }
}

static void file_path(char out[320]) { fixture_file(&fixture, out, "data.mdb"); }

static void shard_fill(uint64_t first, uint64_t last, uint64_t per_commit)
{
  struct store *s = fixture_open(&fixture);
  fixture_fill(s, first, last, per_commit);
  store_close(s);
}

static size_t file_read(uint8_t *bytes, size_t room)
{
  char path[320];
  file_path(path);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t size = read(fd, bytes, room);
  CHECK(fd >= 0 && size > 0 && (size_t)size < room && close(fd) == 0, "%s", path);
  return (size_t)size;
}

static void file_write(const uint8_t *bytes, size_t size)
{
  char path[320];
  file_path(path);
  const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && close(fd) == 0, "%s", path);
}

/* A commit of other records under the sequences that come next, of which the file keeps no trace but its block. */
static void stale_make(void)
{
  static uint8_t after[PAGES_MAX * PAGE];
  struct store_block_header h;
  char hint[320];
  const size_t before_size = file_read(whole, sizeof whole);
  shard_fill(STALE_NUMBER, STALE_NUMBER + STALE_LAST - STALE_FIRST + 1, 30);
  const size_t size = file_read(after, sizeof after);
  for (size_t at = 2 * PAGE; at < size && !stale_size; at += PAGE) {
    memcpy(&h, after + at + 16, sizeof h);
    if (h.magic != STORE_BLOCK_MAGIC || h.first != STALE_FIRST)
      continue;
    stale_size = (store_block_size(&h) + 16 + PAGE - 1) / PAGE * PAGE;
    memcpy(stale, after + at, stale_size);
  }
  CHECK(stale_size, "no block of %u", (unsigned)STALE_FIRST);
  file_write(whole, before_size);
  fixture_file(&fixture, hint, "index.hint");
  unlink(hint);
}

static void shard_make_once(void)
{
  if (whole_size)
    return;
  fixture_make(&fixture);
  atexit(finish);
  shard_fill(0, 30, 30); /* blocks on pages of their own */
  stale_make();
  shard_fill(30, 60, 30);
  shard_fill(60, RECORDS, 2); /* blocks in leaves of the tree */
  whole_size = file_read(whole, sizeof whole);
  CHECK(whole_size + stale_size <= sizeof whole, "no room for the stale block");
  find_blocks();
  uint32_t values = 0;
  for (uint32_t i = 0; i < block_count; i++)
    values += blocks[i].value;
  CHECK(values >= 5, "%u blocks, %u of them values", block_count, values);
}

/* ---- what is done to a copy ---- */

struct image {
  uint8_t bytes[PAGES_MAX * PAGE];
  size_t size;
  bool touched[PAGES_MAX];
  bool with_stale;
  struct forged {
    size_t at, size;
    uint8_t bytes[256];
  } forged[FORGED_MAX]; /* put there last, so that nobody has given them a page */
  uint32_t forged_count;
};

static uint8_t *page_of(struct image *m, uint32_t number)
{
  const size_t page = number % (whole_size / PAGE);
  m->touched[page] = true;
  return m->bytes + page * PAGE;
}

/* A block of one record that says of itself what a true one says. It names no block of the shard: who makes it knows no checksum. */
static size_t forge(uint8_t *out, uint64_t first)
{
  const struct store_block_header h = {
      .magic = STORE_BLOCK_MAGIC, .format = STORE_FORMAT, .first = first, .count = 1, .runs = 1, .bytes = SMALL};
  const struct store_block_run run = {.count = 1, .received_us = 1};
  const uint32_t end = SMALL;
  const size_t size = store_block_size(&h);
  memset(out, 0x77, size);
  memcpy(out, &h, sizeof h);
  memset(out + offsetof(struct store_block_header, previous), first == 1 ? 0 : 0x55, 16);
  memcpy(out + sizeof h + 32, &end, sizeof end);
  memcpy(out + sizeof h + 36, &run, sizeof run);
  const uint64_t columns = XXH3_64bits(out + 24, size - SMALL - 24);
  memcpy(out + 16, &columns, sizeof columns);
  digest_bytes(out, out + 16, size - 16);
  return size;
}

/* Into the bytes of a value that has pages of its own, behind its first page: no page of LMDB's begins there. */
static void do_forge(struct image *m, struct fuzz_reader *in)
{
  struct forged *made = &m->forged[m->forged_count];
  const struct place *b = &blocks[fuzz_byte(in) % block_count];
  const uint64_t first = 1 + fuzz_byte(in) % (RECORDS + 4);
  const size_t at = b->at + fuzz_short(in) % b->size;
  if (b->at % PAGE != 16 || at / PAGE == b->at / PAGE || at % PAGE < 16 || m->forged_count == FORGED_MAX)
    return;
  made->size = forge(made->bytes, first);
  made->at = at;
  if (at % PAGE + made->size > PAGE)
    return;
  m->touched[at / PAGE] = true;
  m->forged_count++;
}

/* On pages that the shard has left free: behind its end, with their numbers. */
static void do_stale(struct image *m)
{
  if (m->with_stale || m->size != whole_size)
    return;
  memcpy(m->bytes + whole_size, stale, stale_size);
  store_u64(m->bytes + whole_size, whole_size / PAGE);
  m->size += stale_size;
  m->with_stale = true;
}

/* What leads to the blocks; and those that lie in leaves, too. */
static void do_uproot(struct image *m, bool leaves)
{
  for (size_t page = 0; page < whole_size / PAGE; page++) {
    const uint32_t kind = short_at(page * PAGE + 10);
    const bool numbered = page < 2 || load_u64(whole + page * PAGE) == page;
    if (page < 2 || (numbered && kind & 1 && !(kind & 4)) || (leaves && numbered && kind & 2 && !(kind & 4)))
      memset(page_of(m, (uint32_t)page), 0, PAGE);
    else if (numbered && kind & 2 && !(kind & 4))
      memset(page_of(m, (uint32_t)page), 0xa5, 16);
  }
}

/* Every copy of a true block. */
static void do_hurt(struct image *m, uint64_t first, uint32_t byte)
{
  for (uint32_t i = 0; i < block_count; i++)
    if (blocks[i].first == first) {
      const size_t at = blocks[i].at + 24 + byte % (blocks[i].size - 24);
      page_of(m, (uint32_t)(at / PAGE))[at % PAGE] ^= 4;
    }
}

static void put_forged(struct image *m)
{
  for (uint32_t i = 0; i < m->forged_count; i++) {
    const struct forged *made = &m->forged[i];
    memset(m->bytes + made->at / PAGE * PAGE, 0xa5, 16);
    memcpy(m->bytes + made->at, made->bytes, made->size);
  }
}

static void do_one(struct image *m, struct fuzz_reader *in)
{
  const uint32_t what = fuzz_byte(in) % DO_KINDS, page = fuzz_byte(in);
  uint8_t *p;
  switch (what) {
  case DO_BYTES: {
    const size_t at = fuzz_short(in) % PAGE;
    size_t size = fuzz_byte(in) % 32;
    const uint8_t *from = fuzz_bytes(in, &size);
    p = page_of(m, page);
    memcpy(p + at, from, size < PAGE - at ? size : PAGE - at);
    break;
  }
  case DO_BIT: {
    const uint32_t bit = fuzz_short(in) % (PAGE * 8);
    page_of(m, page)[bit / 8] ^= (uint8_t)(1u << bit % 8);
    break;
  }
  case DO_ZERO: memset(page_of(m, page), 0, PAGE); break;
  case DO_SWAP: {
    uint8_t kept[PAGE], *other = page_of(m, fuzz_byte(in));
    p = page_of(m, page);
    memcpy(kept, p, PAGE);
    memcpy(p, other, PAGE);
    memcpy(other, kept, PAGE);
    break;
  }
  case DO_REPEAT: {
    const uint8_t *from = whole + fuzz_byte(in) % (whole_size / PAGE) * PAGE;
    memcpy(page_of(m, page), from, PAGE);
    break;
  }
  case DO_CUT: {
    const size_t size = (size_t)(fuzz_byte(in) % (whole_size / PAGE)) * PAGE + fuzz_short(in) % PAGE;
    for (size_t i = size / PAGE; i < whole_size / PAGE; i++)
      m->touched[i] = true;
    m->size = size < m->size ? size : m->size;
    break;
  }
  case DO_STALE: do_stale(m); break;
  case DO_UPROOT: do_uproot(m, page % 2); break;
  case DO_HURT: do_hurt(m, blocks[page % block_count].first, fuzz_short(in)); break;
  default: do_forge(m, in); break;
  }
}

/* ---- what salvage makes of it ---- */

struct taken {
  uint64_t next, given, lost, uncertain, contested;
  uint64_t at, twice;     /* the sequence given last; those given a second time */
  uint64_t stale, unsaid; /* records of the stale block, and those of them that are not told as uncertain yet */
  bool with_stale, last_uncertain;
  bool have[RECORDS + 1]; /* the one that was stored */
};

static bool record_is(const struct store_record *record, uint64_t number)
{
  struct fixture_record r;
  fixture_record(&r, number, 0);
  return record->size == r.size && memcmp(record->bytes, r.bytes, r.size) == 0 && memcmp(record->id, r.id, 16) == 0 &&
         record->received_us == (int64_t)(1000 + number / 10);
}

static int on_record(void *context, const struct store_record *record)
{
  struct taken *t = context;
  const uint64_t sequence = record->sequence;
  const bool claimed = t->with_stale && sequence >= STALE_FIRST && sequence <= STALE_LAST;
  CHECK(sequence <= RECORDS && (sequence > t->next || (claimed && (sequence == STALE_FIRST || sequence == t->at + 1))),
        "sequence %llu behind %llu", (unsigned long long)sequence, (unsigned long long)t->next);
  const bool truly = record_is(record, sequence - 1);
  const bool of_stale = claimed && record_is(record, STALE_NUMBER + sequence - STALE_FIRST);
  CHECK(truly || of_stale, "sequence %llu is not what was stored (%u bytes)", (unsigned long long)sequence, record->size);
  CHECK(of_stale || !t->unsaid, "what a commit that did not end has left is given, and not told");
  t->twice += sequence <= t->next;
  t->next = sequence > t->next ? sequence : t->next;
  t->at = sequence;
  t->have[sequence] |= truly;
  t->stale += of_stale;
  t->unsaid += of_stale;
  t->given++;
  return 0;
}

static void on_lost(void *context, uint64_t first, uint64_t last)
{
  struct taken *t = context;
  CHECK(first == t->next + 1 && last >= first && last <= RECORDS, "%llu to %llu are told lost behind %llu", (unsigned long long)first,
        (unsigned long long)last, (unsigned long long)t->next);
  t->next = last;
  t->lost += last - first + 1;
}

static void on_uncertain(void *context, uint64_t first, uint64_t last, bool contested)
{
  struct taken *t = context;
  CHECK(last >= first && last == t->at && (t->unsaid ? t->unsaid == last - first + 1 : t->have[first]), "%llu to %llu are told uncertain",
        (unsigned long long)first, (unsigned long long)last);
  CHECK(!contested || t->with_stale, "%llu to %llu are told contested, and nothing contests them", (unsigned long long)first,
        (unsigned long long)last);
  t->unsaid = 0;
  t->uncertain += last - first + 1;
  t->contested += contested ? last - first + 1 : 0;
  t->last_uncertain = last == RECORDS;
}

/* A value of which no page was touched. */
static bool is_clean(const struct image *m, const struct place *b)
{
  bool clean = b->value;
  for (size_t page = b->at / PAGE; page <= (b->at + b->size - 1) / PAGE; page++)
    clean = clean && !m->touched[page];
  return clean;
}

/* It is given, whatever is beside it. What contests a block is not, where the two behind that are there: each names the one before. */
static void check_untouched(const struct image *m, const struct taken *t)
{
  unsigned behind = 0; /* its values: one for each block */
  for (uint32_t i = 0; i < block_count; i++) {
    if (!is_clean(m, &blocks[i]))
      continue;
    behind |= blocks[i].first == STALE_LAST + 1 ? 1u : blocks[i].first == STALE_LAST + 3 ? 2u : 0;
    for (uint64_t sequence = blocks[i].first; sequence <= blocks[i].last; sequence++)
      CHECK(t->have[sequence], "sequence %llu lies at byte %zu, was not touched, and is not given", (unsigned long long)sequence,
            blocks[i].at);
  }
  CHECK(behind != 3 || !t->stale, "%llu records of a commit that did not end are given, and it is known that it did not",
        (unsigned long long)t->stale);
}

static void try_image(const struct image *m, bool changed)
{
  struct taken t = {.with_stale = m->with_stale};
  struct failure f = FAILURE_NONE;
  struct store_salvage_result result;
  const struct store_salvage how = {.each = on_record, .lost = on_lost, .uncertain = on_uncertain, .context = &t};
  file_write(m->bytes, m->size);
  const int status = store_salvage(fixture.path, &how, &result, &f);
  CHECK(status == f.status, "status %d", status);
  if (status) {
    CHECK(changed && (status == MUSTER_ERR_VERSION || status == MUSTER_ERR_DENIED), "status %d: %s", status, f.text);
    return;
  }
  CHECK(result.records == t.given && result.lost == t.lost && t.given - t.twice + t.lost == t.next && !t.unsaid, "counts");
  CHECK(t.next == RECORDS || !result.end_known, "%llu of %u are accounted for, and the end is called known", (unsigned long long)t.next,
        (unsigned)RECORDS);
  CHECK(result.uncertain == t.uncertain && (result.end_known || !t.have[RECORDS] || t.last_uncertain),
        "nothing names the last block, and it is called certain");
  CHECK(!t.twice || t.contested >= 2 * t.twice, "%llu are given twice, and %llu told as contested", (unsigned long long)t.twice,
        (unsigned long long)t.contested);
  CHECK(changed || (t.given == RECORDS && result.end_known && !t.uncertain && !t.stale), "of a file that was not changed %llu are given",
        (unsigned long long)t.given);
  check_untouched(m, &t);
  outcomes[t.given - t.twice == RECORDS ? ALL : SOME].count++;
  outcomes[LOST].count += t.lost > 0;
  outcomes[END_UNKNOWN].count += !result.end_known;
  outcomes[FORGED].count += m->forged_count > 0;
  outcomes[UNCERTAIN].count += t.uncertain > 0;
  outcomes[STALE_DROPPED].count += m->with_stale && !t.stale;
  outcomes[STALE_GIVEN].count += t.stale > 0;
  outcomes[CONTESTED].count += t.contested > 0;
}

/* ---- one input ---- */

static void make(struct wire *out, struct random *r, const struct wire *corpus, uint32_t corpus_count)
{
  (void)corpus;
  (void)corpus_count;
  if (random_below(r, 3) == 0) { /* few of those that are made by chance come to a point where little decides, or nothing */
    const uint8_t uproot[] = {DO_UPROOT, (uint8_t)random_next(r)}, hurt[] = {DO_HURT, (uint8_t)random_next(r), 1, 2};
    wire_byte(out, DO_STALE);
    wire_byte(out, 0);
    for (size_t i = 0, size = random_below(r, 2) * sizeof uproot; i < size; i++)
      wire_byte(out, uproot[i]);
    for (size_t i = 0, size = random_below(r, 2) * sizeof hurt; i < size; i++)
      wire_byte(out, hurt[i]);
  }
  for (uint32_t steps = random_below(r, 8); steps > 0; steps--) {
    const uint32_t what = random_below(r, 24);
    wire_byte(out, (uint8_t)(what < DO_KINDS ? what : what % 2 ? DO_BIT : DO_FORGE));
    for (unsigned i = 0; i < 4; i++)
      wire_byte(out, (uint8_t)random_next(r));
    if (what == DO_BYTES)
      for (unsigned i = 0; i < 32; i++)
        wire_byte(out, (uint8_t)random_next(r));
  }
}

const struct fuzz_target fuzz_target = {.name = "salvage", .short_count = 450, .outcomes = outcomes, .make = make};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static struct image m;
  struct fuzz_reader in = {.p = data, .end = data + size};
  shard_make_once();
  memset(&m, 0, sizeof m);
  memcpy(m.bytes, whole, whole_size);
  m.size = whole_size;
  for (unsigned steps = 0; in.p < in.end && steps < 64; steps++)
    do_one(&m, &in);
  put_forged(&m);
  bool changed = m.size < whole_size || m.forged_count > 0;
  for (size_t page = 0; page < PAGES_MAX; page++)
    changed |= m.touched[page];
  try_image(&m, changed);
  return 0;
}
