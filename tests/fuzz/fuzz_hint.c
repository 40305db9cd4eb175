/*
 * The index hint as read from disk. The first byte says whether the checksum at its end is made right, as who can write
 * the file could. The state on disk that it is held against has as many records as its header says, up to a bound. For
 * any bytes:
 *
 * - a hint that is believed as it came is the one that the writer makes of that state, byte by byte, and each record is
 *   found under its fingerprint;
 * - one whose checksum was made right, and is believed, gives an index of exactly its entries, and nothing is read or
 *   written outside the memory of the index;
 * - one that is not believed leaves an empty index, which can be filled at once.
 */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/scratch.h"
#include "store/hint.h"
#include "store/store.h"

enum { BELIEVED, SEALED, REFUSED, REFUSED_SEALED, LAST };
static struct fuzz_outcome outcomes[] = {
    [BELIEVED] = {"believed", 0}, [SEALED] = {"believed with a made checksum", 0},
    [REFUSED] = {"refused", 0},   [REFUSED_SEALED] = {"refused with a right checksum", 0},
    [LAST] = {NULL, 0},
};
enum { RECORDS_MAX = 600, AT_RECORDS = 32, AT_CHAIN = 40, HEADER = 64, ENTRIES = HEADER + 4 * STORE_INDEX_TABLES, SUM = 16 };
#define SEED UINT64_C(0x5eed5eed5eed5eed)

static struct store_env env;
static char path[SCRATCH_BYTES + 32];
static int fd = -1;

static void finish(void) { scratch_remove(env.path); }

static void file_open_once(void)
{
  if (fd >= 0)
    return;
  scratch_make(env.path);
  atexit(finish);
  snprintf(path, sizeof path, "%.500s/" STORE_FILE_HINT, env.path);
  fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

/* splitmix64, as anything that spreads, but over 16 of the tables: to map one costs more than to fill it. Every eighth record shares a fingerprint
 * with the one before. */
static uint64_t fingerprint_of(uint64_t sequence)
{
  uint64_t z = (sequence - (sequence % 8 == 7)) * UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  return (z ^ z >> 31) & ~(UINT64_C(63) << (64 - STORE_INDEX_BITS));
}

static struct store_meta meta_of(uint64_t records)
{
  struct store_meta meta = {.shards = 1, .fingerprint_seed = SEED, .records = records};
  memset(meta.chain, (int)(records % 251), sizeof meta.chain);
  return meta;
}

/* What the writer makes of a state, into a file and back; the size. */
static size_t hint_of(uint64_t records, uint8_t *out)
{
  const struct store_meta meta = meta_of(records);
  const struct store_hint_state state = {.meta = &meta, .fingerprint_mask = UINT64_MAX};
  struct store_index x = {0};
  struct failure f = FAILURE_NONE;
  store_index_init(&x);
  for (uint64_t sequence = 1; sequence <= records; sequence++)
    CHECK(store_index_insert(&x, fingerprint_of(sequence), sequence) == MUSTER_OK, "sequence %llu", (unsigned long long)sequence);
  CHECK(store_hint_write(&env, &state, &x, &f) == MUSTER_OK, "%s", f.text);
  store_index_finish(&x);
  close(fd);
  fd = open(path, O_RDWR | O_CLOEXEC);
  const ssize_t size = pread(fd, out, FUZZ_BYTES_MAX, 0);
  CHECK(size > 0, "%s", path);
  return (size_t)size;
}

static void seal(uint8_t *bytes, size_t size)
{
  XXH128_canonical_t sum;
  if (size < SUM)
    return;
  XXH128_canonicalFromHash(&sum, XXH3_128bits(bytes, size - SUM));
  memcpy(bytes + size - SUM, sum.digest, SUM);
}

/* ---- what was believed ---- */

static uint64_t index_entries(const struct store_index *x)
{
  uint64_t entries = 0;
  for (unsigned i = 0; i < STORE_INDEX_TABLES; i++)
    entries += x->table[i].used;
  return entries;
}

static uint32_t times_found(const struct store_index *x, uint64_t fingerprint, uint64_t sequence)
{
  uint32_t times = 0;
  struct store_index_probe probe = store_index_probe(x, fingerprint);
  for (uint64_t found; (found = store_index_next(&probe));)
    times += found == sequence;
  return times;
}

/* The hint that the writer makes of each state, made once. */
static size_t true_hint(uint64_t records, const uint8_t **out)
{
  static uint8_t *made[RECORDS_MAX + 1];
  static size_t sizes[RECORDS_MAX + 1];
  static uint8_t buffer[FUZZ_BYTES_MAX];
  if (!made[records]) {
    sizes[records] = hint_of(records, buffer);
    made[records] = fuzz_copy(buffer, sizes[records]);
  }
  *out = made[records];
  return sizes[records];
}

static void check_true(const struct store_index *x, uint64_t records, const uint8_t *bytes, size_t size)
{
  const uint8_t *wanted;
  CHECK(true_hint(records, &wanted) == size && memcmp(wanted, bytes, size) == 0, "another hint of %llu records",
        (unsigned long long)records);
  for (uint64_t sequence = 1; sequence <= records; sequence++)
    CHECK(times_found(x, fingerprint_of(sequence), sequence) == 1, "sequence %llu", (unsigned long long)sequence);
}

static void check_sealed(const struct store_index *x, const uint8_t *bytes, size_t size)
{
  for (size_t at = ENTRIES; at + sizeof(struct store_index_slot) + SUM <= size; at += sizeof(struct store_index_slot)) {
    const uint64_t fingerprint = load_u64(bytes + at), sequence = load_u64(bytes + at + 8);
    CHECK(times_found(x, fingerprint, sequence) >= 1, "the entry at byte %zu", at);
  }
}

/* ---- one input ---- */

static void make(struct wire *out, struct random *r, const struct wire *corpus, uint32_t corpus_count)
{
  const uint8_t *hint;
  (void)corpus;
  (void)corpus_count;
  file_open_once();
  const uint64_t records = random_below(r, random_below(r, 2) ? 9 : RECORDS_MAX + 1);
  const size_t size = true_hint(records, &hint);
  wire_byte(out, (uint8_t)random_below(r, 2));
  wire_bytes(out, hint, size);
  if (out->bytes[0] == 0 || random_below(r, 2) || records == 0)
    return;
  if (random_below(r, 4) == 0) { /* the last entry is missing, and the size fits */
    unsigned table = STORE_INDEX_TABLES;
    while (load_u32(out->bytes + 1 + HEADER + 4 * (size_t)(table - 1)) == 0)
      table--;
    uint8_t *entries = out->bytes + 1 + HEADER + 4 * (size_t)(table - 1);
    store_u32(entries, load_u32(entries) - 1);
    out->size -= sizeof(struct store_index_slot);
    return;
  }
  /* One entry of another fingerprint, or in another table than it says; or all of them want the last place of their table. */
  if (random_below(r, 3) == 0)
    for (size_t entry = 1 + ENTRIES; entry + SUM < out->size; entry += sizeof(struct store_index_slot))
      store_u64(out->bytes + entry, load_u64(out->bytes + entry) | UINT64_MAX >> STORE_INDEX_BITS);
  const size_t at = 1 + ENTRIES + sizeof(struct store_index_slot) * random_below(r, (uint32_t)records);
  out->bytes[at + random_below(r, 8)] ^= (uint8_t)(1u << random_below(r, 8));
}

const struct fuzz_target fuzz_target = {.name = "hint", .short_count = 3000, .outcomes = outcomes, .make = make};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  if (size == 0)
    return 0;
  file_open_once();
  const bool sealed = data[0] & 1;
  uint8_t *bytes = fuzz_copy(data + 1, --size);
  if (sealed)
    seal(bytes, size);
  uint64_t records = size >= HEADER ? load_u64(bytes + AT_RECORDS) : 0;
  records = records <= RECORDS_MAX ? records : RECORDS_MAX;
  const uint8_t *ignored;
  true_hint(records, &ignored); /* it goes through the file */
  CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size, "%s", path);
  const struct store_meta meta = meta_of(records);
  const struct store_hint_state state = {.meta = &meta, .fingerprint_mask = UINT64_MAX};
  struct store_index x = {0};
  store_index_init(&x);
  const bool believed = store_hint_load(&env, &state, &x);
  outcomes[believed ? (sealed ? SEALED : BELIEVED) : sealed ? REFUSED_SEALED : REFUSED].count++;
  CHECK(index_entries(&x) == (believed ? records : 0), "%llu entries of %llu records", (unsigned long long)index_entries(&x),
        (unsigned long long)records);
  if (believed && sealed)
    check_sealed(&x, bytes, size);
  else if (believed)
    check_true(&x, records, bytes, size);
  CHECK(store_index_insert(&x, 1, records + 1) == MUSTER_OK && times_found(&x, 1, records + 1) == 1, "goes on");
  store_index_finish(&x);
  free(bytes);
  return 0;
}
