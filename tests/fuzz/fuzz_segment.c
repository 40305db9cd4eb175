/*
 * The files of a backup as a check and a restore read them: segments of blocks, and refused records. A true backup is made
 * once; an input takes the place of one of its files. The first byte says of which, and whether checksums are made right,
 * as who can write the file could. For any bytes:
 *
 * - nothing outside them is read; each block that is believed has a right checksum, continues the one before it in chain
 *   and sequence, and lies whole within the file; with no checksum made right it is the true block of its place;
 * - a check calls so many records whole as the true blocks at the beginning hold, and finds no fault exactly where the file
 *   is the true one;
 * - no refused record is handed out of a file that is not the one of the manifest; of one that is, each lies within it, and
 *   they are as many as a plain reading gives, or the file is refused.
 */
#include "tests/fuzz/asserts.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/scratch.h"
#include "proto/digest.h"
#include "store/backup.h"
#include "store/quarantine.h"
#include "store/refused.h"
#include "store/segment.h"
#include "tests/store/fixture.h"

enum { WHOLE, CUT, PART, NONE, MADE, REFUSED, REFUSED_OTHER, REFUSED_MADE, REFUSED_WRONG, LAST };
static struct fuzz_outcome outcomes[] = {
    [WHOLE] = {"whole segments", 0},
    [CUT] = {"cut off", 0},
    [PART] = {"in part", 0},
    [NONE] = {"not at all", 0},
    [MADE] = {"made blocks believed", 0},
    [REFUSED] = {"refused records", 0},
    [REFUSED_OTHER] = {"files that are another", 0},
    [REFUSED_MADE] = {"made refused records", 0},
    [REFUSED_WRONG] = {"of a wrong layout", 0},
    [LAST] = {NULL, 0},
};
/* A segment is chosen by the bits above FLAG_REFUSED. */
enum {
  FLAG_SEAL = 1,
  FLAG_REFUSED = 2,
  SEGMENTS = 3,
  RECORDS = 42,
  PER_COMMIT = 5,
  ENTRY = 4 + 20 + 48,
  HEADER = sizeof(struct store_block_header)
};

static struct fixture fixture;
static struct store_backup backup;
static char folder[320];
static struct piece {
  char path[LIMIT_PATH_BYTES];
  uint8_t bytes[FUZZ_BYTES_MAX];
  size_t size;
} pieces[SEGMENTS + 1]; /* the last one: refused records */
static uint64_t refused_entries;

static void finish(void)
{
  store_backup_close(&backup);
  scratch_remove(folder);
  scratch_remove(fixture.path);
}

static void piece_write(const struct piece *p, const uint8_t *bytes, size_t size)
{
  const int fd = open(p->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && close(fd) == 0, "%s", p->path);
}

static void piece_read(struct piece *p)
{
  const int fd = open(p->path, O_RDONLY | O_CLOEXEC);
  const ssize_t size = read(fd, p->bytes, sizeof p->bytes);
  CHECK(fd >= 0 && size > 0 && (size_t)size < sizeof p->bytes && close(fd) == 0, "%s", p->path);
  p->size = (size_t)size;
}

static void refuse_some(struct store *s)
{
  uint8_t bytes[300] = {0};
  struct failure f = FAILURE_NONE;
  CHECK(store_begin(s) == MUSTER_OK, "begin");
  for (uint64_t i = 0; i < 7; i++) {
    store_u64(bytes, i);
    store_quarantine(s, bytes, i % 2 ? 9 : sizeof bytes, 7, 0, &(struct store_receipt){.submitter = (uint32_t)i % 3, .received_us = 5});
  }
  CHECK(store_commit(s, &f) == MUSTER_OK, "%s", f.text);
}

static void backup_make_once(void)
{
  struct failure f = FAILURE_NONE;
  struct store_reader *r;
  const struct store_backup_job job = {.share_percent = 100, .segment_bytes = 4000};
  if (folder[0])
    return;
  fixture_make(&fixture);
  snprintf(folder, sizeof folder, "%s.backup", fixture.path);
  atexit(finish);
  struct store *s = fixture_open(&fixture);
  fixture_fill(s, 0, RECORDS, PER_COMMIT);
  refuse_some(s);
  store_close(s);
  CHECK(store_reader_open(&r, fixture.path, &f) == MUSTER_OK, "%s", f.text);
  CHECK(store_backup_create(&backup, folder, &f) == MUSTER_OK && store_backup_run(&backup, &r, 1, &job, &f) == MUSTER_OK, "%s", f.text);
  store_reader_close(r);
  CHECK(backup.shard[0].segments == SEGMENTS, "%u segments", backup.shard[0].segments);
  for (uint32_t i = 0; i < SEGMENTS; i++)
    store_segment_path(pieces[i].path, &backup, 0, &backup.shard[0].segment[i]);
  store_segment_refused_path(pieces[SEGMENTS].path, &backup, 0, backup.run);
  for (uint32_t i = 0; i <= SEGMENTS; i++)
    piece_read(&pieces[i]);
  refused_entries = backup.shard[0].refused;
}

/* ---- segments ---- */

static void any_report(void *context, const char *sentence)
{
  const struct piece *p = context;
  CHECK(strstr(sentence, strrchr(p->path, '/') + 1), "%s", sentence);
}

/* Makes the checksums of all that looks like a block right, each naming the one before it. */
static void seal_blocks(uint8_t *bytes, size_t size, const uint8_t previous[16])
{
  struct store_block_header h;
  for (size_t at = 0; at + HEADER <= size;) {
    memcpy(&h, bytes + at, sizeof h);
    const size_t whole = store_block_size(&h);
    if (!whole || whole > size - at)
      return;
    memcpy(bytes + at + offsetof(struct store_block_header, previous), previous, 16);
    const uint64_t columns = XXH3_64bits(bytes + at + 24, whole - h.bytes - 24);
    memcpy(bytes + at + 16, &columns, sizeof columns);
    digest_bytes(bytes + at, bytes + at + 16, whole - 16);
    previous = bytes + at;
    at += whole;
  }
}

/* Records of the true blocks that the bytes begin with: those of the file, and of the files behind it. *end: where they end. */
static uint64_t true_records(uint32_t number, const uint8_t *bytes, size_t size, size_t *end)
{
  uint64_t records = 0;
  struct store_block_header h;
  *end = 0;
  for (uint32_t i = number; i < SEGMENTS; i++)
    for (size_t at = 0; at < pieces[i].size;) {
      memcpy(&h, pieces[i].bytes + at, sizeof h);
      const size_t whole = store_block_size(&h);
      if (whole > size - *end || memcmp(pieces[i].bytes + at, bytes + *end, whole) != 0)
        return records;
      records += h.count;
      at += whole;
      *end += whole;
    }
  return records;
}

/* Walks over the file; how many records its blocks have. */
static uint64_t walk(uint32_t number, const uint8_t *bytes, size_t size, bool *ended)
{
  struct failure f = FAILURE_NONE;
  struct store_segment_walk w;
  struct store_block b;
  uint64_t records = 0;
  size_t at = 0;
  int more;
  CHECK(store_segment_open(&w, &backup, 0, number, &f) == MUSTER_OK, "%s", f.text);
  uint64_t due = backup.shard[0].segment[number].first;
  uint8_t previous[16], checksum[16];
  memcpy(previous, w.previous, sizeof previous);
  while ((more = store_segment_next(&w, &b)) == 1) {
    CHECK(b.size <= size - at && memcmp(b.base, bytes + at, b.size) == 0, "the block at byte %zu", at);
    digest_bytes(checksum, b.base + 16, b.size - 16);
    CHECK(memcmp(b.base, checksum, 16) == 0 && memcmp(b.header.previous, previous, 16) == 0, "checksum and chain at byte %zu", at);
    CHECK(b.header.first == due && b.header.shard == 0 && b.header.count > 0, "sequence %llu", (unsigned long long)b.header.first);
    const struct store_backup_until half = {.records = due + b.header.count / 2, .received_us = INT64_MAX};
    CHECK(store_segment_wanted(&b, &half) <= b.header.count, "more is wanted than there is");
    memcpy(previous, checksum, sizeof previous);
    due += b.header.count;
    records += b.header.count;
    at += b.size;
    CHECK(w.next == due && w.offset == at, "the walk is elsewhere");
  }
  CHECK(more == 0 || (more == MUSTER_ERR_CORRUPT && w.wrong), "%d", more);
  *ended = more == 0;
  CHECK(!*ended || at == size, "ended at byte %zu of %zu", at, size);
  store_segment_close(&w);
  return records;
}

static void try_segment(uint32_t number, uint8_t *bytes, size_t size, bool sealed)
{
  static const struct store_backup_until all = {.records = UINT64_MAX, .received_us = INT64_MAX};
  struct piece *p = &pieces[number];
  struct failure f = FAILURE_NONE;
  struct store_backup_found found;
  static const uint8_t none[16];
  bool ended;
  size_t end;
  if (sealed)
    seal_blocks(bytes, size, number ? backup.shard[0].segment[number - 1].head : none);
  const bool same = size == p->size && memcmp(bytes, p->bytes, size) == 0;
  const uint64_t right = true_records(number, bytes, size, &end), before = backup.shard[0].segment[number].first - 1;
  piece_write(p, bytes, size);
  const uint64_t believed = walk(number, bytes, size, &ended);
  CHECK(sealed ? believed >= right : believed == right, "%llu records are believed, %llu are true", (unsigned long long)believed,
        (unsigned long long)right);
  CHECK(store_backup_check(&backup, 0, &all, any_report, p, &found, &f) == MUSTER_OK, "%s", f.text);
  CHECK((found.faults == 0) == same, "%llu faults", (unsigned long long)found.faults);
  CHECK(found.records == (same ? RECORDS : before + believed) || (sealed && found.records >= before + right),
        "%llu records are called whole", (unsigned long long)found.records);
  piece_write(p, p->bytes, p->size);
  outcomes[same ? WHOLE : believed > right ? MADE : right == 0 ? NONE : ended || end == size ? CUT : PART].count++;
}

/* ---- refused records ---- */

struct handed {
  uint64_t entries, bytes;
};

static int on_entry(void *context, const struct store_refused *e)
{
  struct handed *h = context;
  uint64_t sum = 0;
  CHECK(e->size <= LIMIT_MESSAGE_BYTES && e->shard == 0 && e->name.number == e->number, "an entry of %u bytes", e->size);
  for (uint32_t i = 0; i < e->size; i++)
    sum += e->bytes[i];
  CHECK(sum <= UINT64_C(255) * e->size, "read");
  h->entries++;
  h->bytes += ENTRY + e->size;
  return 0;
}

/* false: the layout is wrong. */
static bool entries_of(const uint8_t *bytes, size_t size, uint64_t *entries)
{
  *entries = 0;
  for (size_t at = 0; at < size; ++*entries) {
    if (size - at < ENTRY || load_u32(bytes + at) > LIMIT_MESSAGE_BYTES || load_u32(bytes + at) > size - at - ENTRY)
      return false;
    at += ENTRY + load_u32(bytes + at);
  }
  return true;
}

static void try_refused(uint8_t *bytes, size_t size, bool sealed)
{
  struct piece *p = &pieces[SEGMENTS];
  struct failure f = FAILURE_NONE;
  struct handed h = {0};
  struct store_backup_shard *s = &backup.shard[0];
  const struct store_backup_shard before = *s;
  const bool same = size == p->size && memcmp(bytes, p->bytes, size) == 0;
  uint64_t entries;
  const bool right = entries_of(bytes, size, &entries);
  piece_write(p, bytes, size);
  if (sealed) {
    s->refused = entries;
    s->refused_bytes = size;
    digest_bytes(s->refused_checksum, bytes, size);
  }
  const int status = store_refused_read(&backup, 0, on_entry, &h, &f);
  *s = before;
  if (same || sealed) {
    CHECK((status == MUSTER_OK) == right, "status %d: %s", status, f.text);
    CHECK(status || (h.entries == entries && h.bytes == size), "%llu entries of %llu", (unsigned long long)h.entries,
          (unsigned long long)entries);
  } else {
    CHECK(status == MUSTER_ERR_CORRUPT && h.entries == 0, "status %d, %llu entries of another file", status, (unsigned long long)h.entries);
  }
  piece_write(p, p->bytes, p->size);
  outcomes[same ? REFUSED : !sealed ? REFUSED_OTHER : right ? REFUSED_MADE : REFUSED_WRONG].count++;
}

/* ---- one input ---- */

static void make(struct wire *out, struct random *r, const struct wire *corpus, uint32_t corpus_count)
{
  (void)corpus;
  (void)corpus_count;
  backup_make_once();
  const uint32_t which = random_below(r, SEGMENTS + 1);
  wire_byte(out, (uint8_t)(random_below(r, 2) | (which == SEGMENTS ? FLAG_REFUSED : which << 2)));
  const struct piece *p = &pieces[which], *other = &pieces[random_below(r, SEGMENTS + 1)];
  wire_bytes(out, p->bytes, p->size);
  if (random_below(r, 4) == 0) /* swapped, or followed by another */
    out->size = random_below(r, 2) ? 1 : out->size;
  if (random_below(r, 4) == 0)
    wire_bytes(out, other->bytes, other->size < FUZZ_BYTES_MAX - out->size ? other->size : 0);
  if (out->size > 1 && random_below(r, 4) == 0) /* torn */
    out->size = 1 + random_below(r, (uint32_t)out->size);
}

const struct fuzz_target fuzz_target = {.name = "segment", .short_count = 600, .outcomes = outcomes, .make = make};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  if (size == 0)
    return 0;
  backup_make_once();
  const uint32_t flags = *data;
  uint8_t *bytes = fuzz_copy(data + 1, --size);
  if (flags & FLAG_REFUSED)
    try_refused(bytes, size, flags & FLAG_SEAL);
  else
    try_segment((flags >> 2) % SEGMENTS, bytes, size, flags & FLAG_SEAL);
  free(bytes);
  return 0;
}
