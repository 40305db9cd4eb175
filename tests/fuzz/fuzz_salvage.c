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

enum { ALL, SOME, LOST, END_UNKNOWN, FORGED, UNREAD, LAST };
static struct fuzz_outcome outcomes[] = {
    [ALL] = {"all given", 0},
    [SOME] = {"some given", 0},
    [LOST] = {"told as lost", 0},
    [END_UNKNOWN] = {"of an unknown end", 0},
    [FORGED] = {"with forged blocks", 0},
    [UNREAD] = {"not read", 0},
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
} blocks[BLOCKS_MAX]; /* where the true ones lie, copies too */
static uint32_t block_count;

static void finish(void) { scratch_remove(fixture.path); }

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
      blocks[block_count++] = (struct place){.first = h.first, .last = h.first + h.count - 1, .at = at, .size = size};
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
  fixture_fill(s, 0, 60, 15);      /* blocks on pages of their own */
  fixture_fill(s, 60, RECORDS, 2); /* blocks in leaves of the tree */
  store_close(s);
  file_path(path);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t size = read(fd, whole, sizeof whole);
  CHECK(fd >= 0 && size > 0 && (size_t)size < sizeof whole && close(fd) == 0, "%s", path);
  whole_size = (size_t)size;
  find_blocks();
  CHECK(block_count >= 7, "%u blocks", block_count);
}

/* ---- what is done to a copy ---- */

struct image {
  uint8_t bytes[PAGES_MAX * PAGE];
  size_t size;
  bool touched[PAGES_MAX];
  uint32_t forged;
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
  uint8_t made[256];
  const struct place *b = &blocks[fuzz_byte(in) % block_count];
  const size_t size = forge(made, 1 + fuzz_byte(in) % (RECORDS + 4)), room = b->size - sizeof(struct store_block_header);
  const size_t at = b->at + sizeof(struct store_block_header) + fuzz_short(in) % (room > size ? room - size : 1);
  if (b->at % PAGE != 16 || at / PAGE == b->at / PAGE || at % PAGE + size > PAGE || m->forged == FORGED_MAX)
    return;
  uint8_t *page = page_of(m, (uint32_t)(at / PAGE));
  memset(page, 0xa5, 16); /* that it is none */
  if (at % PAGE < 16)
    return;
  memcpy(page + at % PAGE, made, size);
  m->forged++;
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
  uint64_t next, given, lost;
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

/* A block that lies, with its page's header and list, on pages that were not touched is given, whatever is beside it. */
static void check_untouched(const struct image *m, const struct taken *t)
{
  for (uint32_t i = 0; i < block_count; i++) {
    bool clean = true;
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
  const struct store_salvage how = {.each = on_record, .lost = on_lost, .context = &t};
  file_path(path);
  const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  CHECK(fd >= 0 && write(fd, m->bytes, m->size) == (ssize_t)m->size && close(fd) == 0, "%s", path);
  const int status = store_salvage(fixture.path, &how, &result, &f);
  CHECK(status == f.status, "status %d", status);
  if (status) {
    CHECK(changed && (status == MUSTER_ERR_VERSION || status == MUSTER_ERR_DENIED), "status %d: %s", status, f.text);
    outcomes[UNREAD].count++;
    return;
  }
  CHECK(result.records == t.given && result.lost == t.lost && t.given + t.lost == t.next, "counts");
  CHECK(t.next == RECORDS || !result.end_known, "%llu of %u are accounted for, and the end is called known", (unsigned long long)t.next,
        (unsigned)RECORDS);
  CHECK(changed || (t.given == RECORDS && result.end_known), "of a file that was not changed %llu are given", (unsigned long long)t.given);
  check_untouched(m, &t);
  outcomes[t.given == RECORDS ? ALL : SOME].count++;
  outcomes[LOST].count += t.lost > 0;
  outcomes[END_UNKNOWN].count += !result.end_known;
  outcomes[FORGED].count += m->forged > 0;
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

const struct fuzz_target fuzz_target = {.name = "salvage", .short_count = 2500, .outcomes = outcomes, .make = make};

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
  try_image(&m, size > 0);
  return 0;
}
