/*
 * What a shard reads from its disk: a block of the journal, or an entry of the quarantine. The first byte says which, and
 * whether the checksums are made right, as who can write the file could. For any bytes:
 *
 * - nothing outside them is read (they lie on the heap, in their exact size);
 * - a block that parses has its columns where a plain reading of the layout has them; each record lies within the
 *   records' bytes or is NULL, the latter exactly where its ends are wrong; receipts are as many as the runs say;
 * - a block or an entry that is intact is not any more once a bit of it is turned.
 */
#include "tests/fuzz/fuzz.h"

#include <xxhash.h>

#include "store/journal.h"
#include "store/quarantine.h"

enum { PARSED, INTACT, COLUMNS, WHOLE, RECORD_NULL, BLOCK_REFUSED, ENTRY, ENTRY_INTACT, ENTRY_REFUSED, LAST };
static struct fuzz_outcome outcomes[] = {
    [PARSED] = {"blocks", 0},
    [INTACT] = {"intact", 0},
    [COLUMNS] = {"with intact columns", 0},
    [WHOLE] = {"whole", 0},
    [RECORD_NULL] = {"records out of bounds", 0},
    [BLOCK_REFUSED] = {"no blocks", 0},
    [ENTRY] = {"entries", 0},
    [ENTRY_INTACT] = {"intact entries", 0},
    [ENTRY_REFUSED] = {"no entries", 0},
    [LAST] = {NULL, 0},
};
enum { FLAG_ENTRY = 1, FLAG_SEAL = 2, FLAG_COLUMNS = 4, HEADER = sizeof(struct store_block_header), COLUMN = 16 + 16 + 4, RUN = 16 };

/* ---- blocks ---- */

static uint64_t read_at(const uint8_t *base, size_t offset, size_t size)
{
  uint64_t value = 0;
  for (size_t i = size; i-- > 0;)
    value = value << 8 | base[offset + i];
  return value;
}

/* Offsets of the header, from the comments in journal.h. */
enum { AT_COLUMNS = 16, AT_MAGIC = 24, AT_FORMAT = 28, AT_FIRST = 32, AT_COUNT = 56, AT_RUNS = 60, AT_BYTES = 64 };

static bool layout_right(const uint8_t *base, size_t size)
{
  if (size < HEADER || read_at(base, AT_MAGIC, 4) != STORE_BLOCK_MAGIC || read_at(base, AT_FORMAT, 4) != STORE_FORMAT)
    return false;
  const uint64_t count = read_at(base, AT_COUNT, 4), runs = read_at(base, AT_RUNS, 4), bytes = read_at(base, AT_BYTES, 4);
  return count > 0 && runs > 0 && runs <= count && HEADER + count * COLUMN + runs * RUN + bytes == size;
}

static void block_seal(uint8_t *base, size_t size, uint32_t flags)
{
  XXH128_canonical_t sum;
  if (!layout_right(base, size))
    return;
  const size_t columns_end = size - read_at(base, AT_BYTES, 4);
  if (flags & FLAG_COLUMNS) {
    const uint64_t columns = XXH3_64bits(base + AT_MAGIC, columns_end - AT_MAGIC);
    memcpy(base + AT_COLUMNS, &columns, sizeof columns);
  }
  XXH128_canonicalFromHash(&sum, XXH3_128bits(base + sizeof sum.digest, size - sizeof sum.digest));
  memcpy(base, sum.digest, sizeof sum.digest);
}

/* true: every record is there. */
static bool check_records(const struct store_block *b)
{
  const uint8_t *end = b->base + b->size, *at = b->bytes;
  const uint8_t *ends = b->base + HEADER + (size_t)b->header.count * 32;
  uint64_t begin = 0, sum = 0;
  bool whole = true;
  for (uint32_t i = 0; i < b->header.count; i++) {
    uint32_t size = 0;
    const uint8_t *record = store_block_record(b, i, &size);
    const uint64_t stop = read_at(ends, (size_t)i * 4, 4);
    const bool right = begin <= stop && stop <= b->header.bytes;
    CHECK((record != NULL) == right, "record %u from %llu to %llu of %u", i, (unsigned long long)begin, (unsigned long long)stop,
          b->header.bytes);
    if (record) {
      CHECK(record == at + begin && size == stop - begin && record + size <= end, "record %u", i);
      for (uint32_t k = 0; k < size; k++)
        sum += record[k];
    }
    CHECK(store_block_id(b, i) == b->base + HEADER + (size_t)i * 16, "id %u", i);
    CHECK(store_block_digest(b, i) == b->base + HEADER + ((size_t)b->header.count + i) * 16, "digest %u", i);
    whole = whole && right;
    begin = stop;
    outcomes[RECORD_NULL].count += !right;
  }
  CHECK(sum <= UINT64_C(255) * b->size * b->header.count, "read");
  return whole;
}

static void check_receipts(const struct store_block *b)
{
  struct store_block_receipts receipts;
  uint32_t submitter;
  int64_t received_us;
  uint64_t wanted = 0, got = 0;
  for (uint32_t i = 0; i < b->header.runs; i++)
    wanted += read_at(b->runs, (size_t)i * RUN, 4);
  const uint64_t most = (uint64_t)b->header.count + 1; /* readers ask once for each record */
  store_block_receipts(&receipts, b);
  while (got < most && store_block_receipt_next(&receipts, &submitter, &received_us))
    got++;
  CHECK(got == (wanted < most ? wanted : most), "%llu receipts of %llu", (unsigned long long)got, (unsigned long long)wanted);
}

static void check_turned_bit(struct store_block *b, uint8_t *base, size_t size)
{
  const size_t bit = (size_t)(XXH3_64bits(base, size) % (size * 8));
  struct store_block turned;
  base[bit / 8] ^= (uint8_t)(1u << bit % 8);
  CHECK(!store_block_parse(&turned, base, size, b->header.first) || !store_block_intact(&turned), "bit %zu is not seen", bit);
  base[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

static void try_block(uint8_t *base, size_t size, uint32_t flags)
{
  struct store_block b;
  if (flags & FLAG_SEAL)
    block_seal(base, size, flags);
  const uint64_t first = size >= HEADER ? read_at(base, AT_FIRST, 8) : 1;
  const bool parsed = store_block_parse(&b, base, size, first);
  CHECK(parsed == layout_right(base, size), "parsed %d", parsed);
  CHECK(!store_block_parse(&(struct store_block){.size = 0}, base, size, first + 1), "under another sequence");
  outcomes[parsed ? PARSED : BLOCK_REFUSED].count++;
  if (!parsed)
    return;
  CHECK(b.bytes + b.header.bytes == base + size && b.base == base && b.size == size, "%u bytes", b.header.bytes);
  CHECK(store_block_holds(&b, first) && store_block_holds(&b, first + b.header.count - 1) && !store_block_holds(&b, first + b.header.count),
        "the sequences of %u", b.header.count);
  outcomes[COLUMNS].count += store_block_columns_intact(&b);
  const bool whole = check_records(&b);
  check_receipts(&b);
  if (!store_block_intact(&b)) {
    CHECK(!(flags & FLAG_SEAL), "sealed and not intact");
    return;
  }
  outcomes[INTACT].count++;
  outcomes[WHOLE].count += whole;
  check_turned_bit(&b, base, size);
}

/* ---- entries of the quarantine ---- */

static void entry_seal(uint8_t *bytes, size_t size)
{
  struct store_refused_header header;
  const uint32_t submitter = __builtin_bswap32(load_u32(bytes));
  const size_t at = STORE_REFUSED_KEY_BYTES + sizeof header;
  store_quarantine_key(bytes, submitter, bytes + at, size - at);
  memcpy(&header, bytes + STORE_REFUSED_KEY_BYTES, sizeof header);
  header.checksum = 0;
  header.checksum = XXH3_64bits_withSeed(&header, sizeof header, XXH3_64bits_withSeed(bytes + at, size - at, submitter));
  memcpy(bytes + STORE_REFUSED_KEY_BYTES, &header, sizeof header);
}

static void try_entry(uint8_t *bytes, size_t size, uint32_t flags)
{
  struct store_refused entry;
  const size_t key_size = size < STORE_REFUSED_KEY_BYTES ? size : STORE_REFUSED_KEY_BYTES;
  const bool right = size >= STORE_REFUSED_KEY_BYTES + sizeof(struct store_refused_header);
  if (right && flags & FLAG_SEAL)
    entry_seal(bytes, size);
  const MDB_val key = {.mv_size = key_size, .mv_data = bytes}, value = {.mv_size = size - key_size, .mv_data = bytes + key_size};
  CHECK(store_quarantine_parse(&entry, &key, &value) == right, "an entry of %zu bytes", size);
  outcomes[right ? ENTRY : ENTRY_REFUSED].count++;
  if (!right)
    return;
  CHECK(entry.bytes + entry.size == bytes + size && memcmp(entry.name.key, bytes, key_size) == 0, "%u bytes", entry.size);
  CHECK(entry.name.number == entry.number && entry.submitter == __builtin_bswap32(load_u32(bytes)), "number %llu",
        (unsigned long long)entry.number);
  const bool intact = store_quarantine_intact(&key, &value);
  CHECK(intact || !(flags & FLAG_SEAL), "sealed and not intact");
  if (!intact)
    return;
  outcomes[ENTRY_INTACT].count++;
  const size_t bit = (size_t)(XXH3_64bits(bytes, size) % (size * 8));
  bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
  CHECK(!store_quarantine_intact(&key, &value), "bit %zu is not seen", bit);
}

/* ---- one input ---- */

static void make(struct wire *out, struct random *r, const struct wire *corpus, uint32_t corpus_count)
{
  struct store_block_header h = {.magic = STORE_BLOCK_MAGIC, .format = STORE_FORMAT, .first = 1 + random_wide(r)};
  uint8_t noise[16];
  uint32_t end = 0;
  (void)corpus;
  (void)corpus_count;
  const uint8_t flags = (uint8_t)((random_below(r, 4) == 0 ? FLAG_ENTRY : 0) | (random_below(r, 2) ? FLAG_SEAL : 0) |
                                  (random_below(r, 2) ? FLAG_COLUMNS : 0));
  wire_byte(out, flags);
  h.count = 1 + random_below(r, 20);
  h.runs = 1 + random_below(r, h.count);
  h.bytes = h.count * random_below(r, 40);
  store_u64(noise, random_next(r));
  store_u64(noise + 8, random_next(r));
  if (flags & FLAG_ENTRY) {
    for (uint32_t i = 0; i < 5 + random_below(r, 4); i++)
      wire_bytes(out, noise, sizeof noise);
    return;
  }
  wire_bytes(out, &h, sizeof h);
  for (uint32_t i = 0; i < 2 * h.count; i++)
    wire_bytes(out, noise, sizeof noise);
  for (uint32_t i = 0; i < h.count; i++) {
    end = random_below(r, 16) ? end + (h.bytes - end) / (h.count - i) : (uint32_t)random_wide(r);
    wire_bytes(out, &end, sizeof end);
    end = end > h.bytes ? h.bytes : end;
  }
  for (uint32_t i = 0; i < h.runs; i++) {
    const struct store_block_run run = {.count = i == 0 ? h.count - h.runs + 1 : 1, .submitter = i, .received_us = 1};
    wire_bytes(out, &run, sizeof run);
  }
  for (uint32_t i = 0; i < h.bytes; i++)
    wire_byte(out, noise[i % 16]);
}

const struct fuzz_target fuzz_target = {.name = "journal", .short_count = 1000000, .outcomes = outcomes, .make = make};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  if (size == 0)
    return 0;
  uint8_t *bytes = fuzz_copy(data + 1, size - 1);
  if (data[0] & FLAG_ENTRY)
    try_entry(bytes, size - 1, data[0]);
  else
    try_block(bytes, size - 1, data[0]);
  free(bytes);
  return 0;
}
