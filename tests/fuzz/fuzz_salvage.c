/*
 * A shard's data.mdb as salvage reads it, whatever has become of it. A true shard of a few pages is made once; an input is a
 * list of what is done to a copy: bytes changed, pages zeroed, swapped, repeated, the end cut off, and whole blocks with
 * right checksums that no shard has written, put where records' bytes lie. For any list:
 *
 * - what is given is what was stored, in order of sequences, each once; of a block that nobody has stored, nothing;
 * - what was given and what was told as lost are apart, and together all that was stored, or it is told that the end is not
 *   known; nothing is lost that lies on pages which were not touched;
 * - nothing is lost of a file that was not changed. It never ends by a signal, and in bounded time.
 */
#include "tests/fuzz/asserts.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/scratch.h"
#include "proto/digest.h"
#include "store/journal.h"
#include "tests/store/fixture.h"

enum { ALL, SOME, LOST, END_UNKNOWN, FORGED, UNCERTAIN, LAST };
static struct fuzz_outcome outcomes[] = {
    [ALL] = {"all given", 0},
    [SOME] = {"some given", 0},
    [LOST] = {"told as lost", 0},
    [END_UNKNOWN] = {"of an unknown end", 0},
    [FORGED] = {"with forged blocks", 0},
    [UNCERTAIN] = {"told as uncertain", 0},
    [LAST] = {NULL, 0},
};
enum { PAGE = 4096, PAGES_MAX = 64, RECORDS = 66, BLOCKS_MAX = 32, FORGED_MAX = 8, SMALL = 8 };
enum { DO_BYTES, DO_BIT, DO_ZERO, DO_SWAP, DO_REPEAT, DO_CUT, DO_FORGE, DO_KINDS };

static struct fixture fixture;
static uint8_t whole[PAGES_MAX * PAGE];
static size_t whole_size;
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

static void shard_make_once(void)
{
  char path[320];
  if (whole_size)
    return;
  fixture_make(&fixture);
  atexit(finish);
  struct store *s = fixture_open(&fixture);
  fixture_fill(s, 0, 60, 30);      /* blocks on pages of their own */
  fixture_fill(s, 60, RECORDS, 2); /* blocks in leaves of the tree */
  store_close(s);
  file_path(path);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t size = read(fd, whole, sizeof whole);
  CHECK(fd >= 0 && size > 0 && (size_t)size < sizeof whole && close(fd) == 0, "%s", path);
  whole_size = (size_t)size;
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
  default: do_forge(m, in); break;
  }
}

/* ---- what salvage makes of it ---- */

struct taken {
  uint64_t next, given, lost, uncertain;
  bool last_uncertain;
  bool have[RECORDS + 1];
};

static int on_record(void *context, const struct store_record *record)
{
  struct taken *t = context;
  struct fixture_record r;
  CHECK(record->sequence > t->next && record->sequence <= RECORDS, "sequence %llu behind %llu", (unsigned long long)record->sequence,
        (unsigned long long)t->next);
  t->next = record->sequence;
  fixture_record(&r, record->sequence - 1, 0);
  CHECK(record->size == r.size && memcmp(record->bytes, r.bytes, r.size) == 0, "sequence %llu is not what was stored (%u bytes)",
        (unsigned long long)record->sequence, record->size);
  CHECK(memcmp(record->id, r.id, 16) == 0 && record->received_us == 1000 + ((int64_t)record->sequence - 1) / 10, "its receipt");
  t->have[record->sequence] = true;
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
  CHECK(!contested && last >= first && last == t->next && t->have[first], "%llu to %llu are told uncertain", (unsigned long long)first,
        (unsigned long long)last);
  t->uncertain += last - first + 1;
  t->last_uncertain = last == RECORDS;
}

/* A value that lies on pages that were not touched is given, whatever is beside it. */
static void check_untouched(const struct image *m, const struct taken *t)
{
  for (uint32_t i = 0; i < block_count; i++) {
    bool clean = blocks[i].value;
    for (size_t page = blocks[i].at / PAGE; page <= (blocks[i].at + blocks[i].size - 1) / PAGE; page++)
      clean = clean && !m->touched[page];
    for (uint64_t sequence = blocks[i].first; clean && sequence <= blocks[i].last; sequence++)
      CHECK(t->have[sequence], "sequence %llu lies at byte %zu, was not touched, and is not given", (unsigned long long)sequence,
            blocks[i].at);
  }
}

static void try_image(const struct image *m, bool changed)
{
  char path[320];
  struct taken t = {0};
  struct failure f = FAILURE_NONE;
  struct store_salvage_result result;
  const struct store_salvage how = {.each = on_record, .lost = on_lost, .uncertain = on_uncertain, .context = &t};
  file_path(path);
  const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  CHECK(fd >= 0 && write(fd, m->bytes, m->size) == (ssize_t)m->size && close(fd) == 0, "%s", path);
  const int status = store_salvage(fixture.path, &how, &result, &f);
  CHECK(status == f.status, "status %d", status);
  if (status) {
    CHECK(changed && (status == MUSTER_ERR_VERSION || status == MUSTER_ERR_DENIED), "status %d: %s", status, f.text);
    return;
  }
  CHECK(result.records == t.given && result.lost == t.lost && t.given + t.lost == t.next, "counts");
  CHECK(t.next == RECORDS || !result.end_known, "%llu of %u are accounted for, and the end is called known", (unsigned long long)t.next,
        (unsigned)RECORDS);
  CHECK(result.uncertain == t.uncertain && (result.end_known || !t.have[RECORDS] || t.last_uncertain),
        "nothing names the last block, and it is called certain");
  CHECK(changed || (t.given == RECORDS && result.end_known && !t.uncertain), "of a file that was not changed %llu are given",
        (unsigned long long)t.given);
  check_untouched(m, &t);
  outcomes[t.given == RECORDS ? ALL : SOME].count++;
  outcomes[LOST].count += t.lost > 0;
  outcomes[END_UNKNOWN].count += !result.end_known;
  outcomes[FORGED].count += m->forged_count > 0;
  outcomes[UNCERTAIN].count += t.uncertain > 0;
}

/* ---- one input ---- */

static void make(struct wire *out, struct random *r, const struct wire *corpus, uint32_t corpus_count)
{
  (void)corpus;
  (void)corpus_count;
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
  try_image(&m, size > 0);
  return 0;
}
