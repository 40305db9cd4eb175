/*
 * Requests to drop refused records, as files of any bytes in the directory of a shard that is open. The first byte says
 * whether the checksum is made right, the second how the file is called. Names in it that begin with NAMED stand for an
 * entry that is in the quarantine now. For any input:
 *
 * - a request by a plain reading of the layout is carried out: what is named goes, and nothing else; any other drops
 *   nothing, is counted as damaged, and is gone as well; a file of another name is left alone;
 * - dropped and stayed add up to what was named, and the quarantine's own count follows.
 */
#include "tests/fuzz/asserts.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/scratch.h"
#include "store/store.h"
#include "tests/store/fixture.h"

enum { CARRIED_OUT, DROPPED, STAYED, IF_STORED, DAMAGED, NOT_ASKED, LAST };
static struct fuzz_outcome outcomes[] = {
    [CARRIED_OUT] = {"requests", 0},
    [DROPPED] = {"entries dropped", 0},
    [STAYED] = {"names that stay", 0},
    [IF_STORED] = {"only if stored", 0},
    [DAMAGED] = {"damaged", 0},
    [NOT_ASKED] = {"of another name", 0},
    [LAST] = {NULL, 0},
};
enum { ENTRIES = 6, HEADER = 24, NAME = sizeof(struct store_refused_name), NAMED = 0xee };
#define MAGIC UINT64_C(0x31504f5244524d4d)

static struct fixture fixture;
static struct store *store;
static struct store_refused_name entries[ENTRIES];

static void finish(void)
{
  store_close(store);
  scratch_remove(fixture.path);
}

static void refuse(uint64_t i)
{
  const struct store_receipt receipt = {.submitter = (uint32_t)i % 2, .received_us = 1};
  store_quarantine(store, (const uint8_t *)&i, sizeof i, 7, 0, &receipt);
}

/* An entry's key is that of its bytes and its submitter; its number is the next one where it is new. */
static void entry_name(struct store_refused_name *name, uint64_t i, uint64_t number)
{
  const uint32_t submitter = __builtin_bswap32((uint32_t)i % 2);
  XXH128_canonical_t sum;
  memset(name, 0, sizeof *name);
  memcpy(name->key, &submitter, sizeof submitter);
  XXH128_canonicalFromHash(&sum, XXH3_128bits(&i, sizeof i));
  memcpy(name->key + sizeof submitter, sum.digest, sizeof sum.digest);
  name->number = number;
}

static uint64_t quarantined(void)
{
  struct store_facts facts;
  store_facts(store, &facts);
  return facts.quarantined;
}

/* Every entry is there (again), and is known by its name. */
static void fill(void)
{
  static uint64_t next_number = 1;
  struct failure f = FAILURE_NONE;
  if (!store) {
    fixture_make(&fixture);
    store = fixture_open(&fixture);
    atexit(finish);
  }
  if (quarantined() == ENTRIES)
    return;
  CHECK(store_begin(store) == MUSTER_OK, "begin");
  for (uint64_t i = 0; i < ENTRIES; i++) {
    const uint64_t before = quarantined();
    refuse(i);
    if (quarantined() != before)
      entry_name(&entries[i], i, next_number++);
  }
  CHECK(store_commit(store, &f) == MUSTER_OK && quarantined() == ENTRIES, "%s", f.text);
}

/* ---- a plain reading ---- */

static bool is_request(const uint8_t *bytes, size_t size)
{
  if (size < HEADER || load_u64(bytes + 8) != MAGIC)
    return false;
  const uint32_t what = load_u32(bytes + 16), count = load_u32(bytes + 20);
  return (what == STORE_DROP_ALWAYS || what == STORE_DROP_STORED) && count <= STORE_DROP_ENTRIES_MAX &&
         size == HEADER + (size_t)count * NAME && XXH3_64bits(bytes + 8, size - 8) == load_u64(bytes);
}

static uint32_t names_of_entries(const uint8_t *bytes)
{
  bool seen[ENTRIES] = {false};
  uint32_t found = 0;
  for (uint32_t i = 0; i < load_u32(bytes + 20); i++) {
    struct store_refused_name name;
    memcpy(&name, bytes + HEADER + (size_t)i * NAME, sizeof name);
    for (uint32_t k = 0; k < ENTRIES; k++)
      if (memcmp(name.key, entries[k].key, sizeof name.key) == 0 && name.number == entries[k].number && !seen[k]) {
        seen[k] = true;
        found++;
      }
  }
  return found;
}

/* ---- one input ---- */

static void names_put(uint8_t *bytes, size_t size)
{
  for (size_t at = HEADER; at + NAME <= size; at += NAME)
    if (bytes[at] == NAMED)
      memcpy(bytes + at, &entries[bytes[at + 1] % ENTRIES], NAME);
}

static void try_request(const uint8_t *bytes, size_t size, bool asked, const char *path)
{
  struct store_dropped d;
  struct failure f = FAILURE_NONE;
  const bool right = is_request(bytes, size);
  const uint32_t count = right ? load_u32(bytes + 20) : 0;
  const bool always = right && load_u32(bytes + 16) == STORE_DROP_ALWAYS;
  const uint32_t named = always ? names_of_entries(bytes) : 0; /* none of them is stored */
  CHECK(store_drop_requested(store, &d, &f) == MUSTER_OK, "%s", f.text);
  CHECK(d.requests == (right && asked) && d.damaged == (!right && asked), "%u requests, %u damaged, of %zu bytes", d.requests, d.damaged,
        size);
  CHECK((access(path, F_OK) == 0) == !asked, "the file %s", asked ? "stays" : "is gone");
  CHECK(d.dropped == (asked ? named : 0) && d.stayed == (asked ? count - named : 0), "%llu dropped, %llu stayed, %u named of %u",
        (unsigned long long)d.dropped, (unsigned long long)d.stayed, named, count);
  CHECK(quarantined() == ENTRIES - d.dropped, "%llu are left", (unsigned long long)quarantined());
  outcomes[!asked ? NOT_ASKED : right ? CARRIED_OUT : DAMAGED].count++;
  outcomes[DROPPED].count += d.dropped;
  outcomes[STAYED].count += d.stayed;
  outcomes[IF_STORED].count += right && asked && !always;
}

static void make(struct wire *out, struct random *r, const struct wire *corpus, uint32_t corpus_count)
{
  uint8_t header[HEADER] = {0}, name[NAME] = {NAMED};
  (void)corpus;
  (void)corpus_count;
  const uint32_t count = random_below(r, 5);
  wire_byte(out, random_below(r, 4) == 0); /* a commit syncs: most requests are damaged */
  wire_byte(out, (uint8_t)(random_below(r, 8) ? 0 : random_next(r)));
  store_u64(header + 8, MAGIC);
  store_u32(header + 16, 1 + random_below(r, 2));
  store_u32(header + 20, count);
  wire_bytes(out, header, sizeof header);
  for (uint32_t i = 0; i < count; i++) {
    name[0] = random_below(r, 8) ? NAMED : 1;
    name[1] = (uint8_t)random_below(r, ENTRIES);
    wire_bytes(out, name, sizeof name);
  }
}

const struct fuzz_target fuzz_target = {.name = "drop", .short_count = 15000, .outcomes = outcomes, .make = make};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static const char *const names[] = {"drop-1.request", "drop-.request", "drop-1.request.new", "adrop-1.request", ".request", "drop-1"};
  char path[320];
  if (size < 2)
    return 0;
  fill();
  const unsigned which = data[1] % 8 < 6 ? data[1] % 8 : 0;
  uint8_t *bytes = fuzz_copy(data + 2, size - 2);
  size -= 2;
  names_put(bytes, size);
  if (data[0] & 1 && size >= HEADER) { /* of what the count says, where there is more */
    const uint64_t said = HEADER + (uint64_t)load_u32(bytes + 20) * NAME;
    store_u64(bytes, XXH3_64bits(bytes + 8, (said < size ? said : size) - 8));
  }
  fixture_file(&fixture, path, names[which]);
  const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && close(fd) == 0, "%s", path);
  try_request(bytes, size, which < 2, path);
  unlink(path);
  free(bytes);
  return 0;
}
