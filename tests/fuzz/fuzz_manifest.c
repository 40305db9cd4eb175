/*
 * The manifest of a backup as read from its directory, which may have been changed by anybody. The first byte says whether
 * the checksum in the last line is made right, as who can write the file could, and what lies beside it as manifest.copy.
 * For any bytes:
 *
 * - what is believed is consistent: shards as many as it says, each with segments from sequence 1 on without a gap, the
 *   last one and its head those of the shard, of runs that have been; it names no file outside the backup's directory, and
 *   written again it is the very same bytes;
 * - what is refused leaves no segment behind and has a sentence; that the copy is whole is said exactly where it is.
 */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <unistd.h>

#include "core/scratch.h"
#include "proto/digest.h"
#include "proto/text.h"
#include "store/manifest.h"
#include "store/segment.h"

enum { BELIEVED, SEALED, SEGMENTS, REFUSED, REFUSED_SEALED, VERSION, COPY_WHOLE, COPY_BROKEN, LAST };
static struct fuzz_outcome outcomes[] = {
    [BELIEVED] = {"believed", 0},
    [SEALED] = {"believed with a made checksum", 0},
    [SEGMENTS] = {"segments", 0},
    [REFUSED] = {"refused", 0},
    [REFUSED_SEALED] = {"refused with a right checksum", 0},
    [VERSION] = {"of another format", 0},
    [COPY_WHOLE] = {"with a whole copy", 0},
    [COPY_BROKEN] = {"with a broken copy", 0},
    [LAST] = {NULL, 0},
};
enum { FLAG_SEAL = 1, FLAG_COPY = 2, FLAG_COPY_TRUE = 4, END_BYTES = 37 };

static char folder[SCRATCH_BYTES];

static void finish(void) { scratch_remove(folder); }

static void folder_make_once(void)
{
  if (folder[0])
    return;
  scratch_make(folder);
  atexit(finish);
}

static void place(struct store_backup *b, const char *beneath)
{
  memset(b, 0, sizeof *b);
  b->lock_fd = -1;
  snprintf(b->path, sizeof b->path, "%.400s%s", folder, beneath);
}

static void clear(struct store_backup *b)
{
  for (uint32_t i = 0; i < LIMIT_SHARDS; i++)
    free(b->shard[i].segment);
}

static void file_write(const char *name, const void *bytes, size_t size)
{
  char path[SCRATCH_BYTES + 64];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && close(fd) == 0, "%s", path);
}

static size_t file_read(const char *name, void *bytes, size_t room)
{
  char path[SCRATCH_BYTES + 64];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t size = read(fd, bytes, room);
  CHECK(fd >= 0 && size > 0 && close(fd) == 0, "%s", path);
  return (size_t)size;
}

/* The checksum of what is before it, in the last line, where there is one. */
static void seal(char *text, size_t size)
{
  uint8_t digest[16];
  char hex[TEXT_HEX128];
  if (size < END_BYTES || memcmp(text + size - END_BYTES, "end ", 4) != 0)
    return;
  digest_bytes(digest, text, size - END_BYTES);
  text_hex128(hex, digest);
  memcpy(text + size - END_BYTES + 4, hex, 32);
}

/* ---- what was believed ---- */

static void check_shard(const struct store_backup *b, uint32_t number)
{
  static const uint8_t none[16];
  const struct store_backup_shard *s = &b->shard[number];
  uint64_t last = 0;
  for (uint32_t i = 0; i < s->segments; i++) {
    const struct store_backup_segment *g = &s->segment[i];
    char path[LIMIT_PATH_BYTES];
    CHECK(g->first == last + 1 && g->first > 0 && g->last >= g->first, "segment %u of shard %u: %llu to %llu behind %llu", i, number,
          (unsigned long long)g->first, (unsigned long long)g->last, (unsigned long long)last);
    CHECK(g->run > 0 && g->run <= b->run && g->bytes > 0, "segment %u of shard %u: run %llu of %llu, %llu bytes", i, number,
          (unsigned long long)g->run, (unsigned long long)b->run, (unsigned long long)g->bytes);
    store_segment_path(path, b, number, g);
    const char *name = store_segment_name(b, path);
    CHECK(strncmp(path, folder, strlen(folder)) == 0 && !strstr(name, "..") && strncmp(name, "shard-", 6) == 0, "%s", path);
    last = g->last;
    outcomes[SEGMENTS].count++;
  }
  CHECK(last == s->records, "shard %u: the last segment ends with %llu of %llu", number, (unsigned long long)last,
        (unsigned long long)s->records);
  CHECK(memcmp(s->head, s->segments ? s->segment[s->segments - 1].head : none, 16) == 0, "shard %u: its head is not its last segment's",
        number);
}

static void check_believed(struct store_backup *b, const char *text, size_t size)
{
  static uint8_t again[2 * FUZZ_BYTES_MAX];
  struct failure f = FAILURE_NONE;
  CHECK(b->shards > 0 && b->shards <= LIMIT_SHARDS, "%u shards", b->shards);
  for (uint32_t i = 0; i < b->shards; i++)
    check_shard(b, i);
  for (uint32_t i = b->shards; i < LIMIT_SHARDS; i++)
    CHECK(!b->shard[i].segments && !b->shard[i].records, "shard %u of %u", i, b->shards);
  snprintf(b->path, sizeof b->path, "%.400s/again", folder);
  mkdir(b->path, 0700);
  CHECK(store_manifest_write(b, &f, &f) == MUSTER_OK && !f.status, "%s", f.text);
  for (unsigned copy = 0; copy < 2; copy++)
    CHECK(file_read(copy ? "again/manifest.copy" : "again/manifest", again, sizeof again) == size && memcmp(again, text, size) == 0,
          "written again it is other than it was");
}

/* ---- one input ---- */

static uint64_t any_number(struct random *r) { return random_below(r, 8) ? random_below(r, 5000) : random_wide(r); }

static void any_bytes(uint8_t out[16], struct random *r)
{
  store_u64(out, random_next(r));
  store_u64(out + 8, random_next(r));
}

static void make_shard(struct store_backup *b, struct store_backup_shard *s, struct random *r)
{
  for (uint32_t i = random_below(r, 5); b->run && i > 0; i--) {
    struct store_backup_segment g = {.first = s->records + 1, .bytes = 1 + any_number(r), .run = 1 + random_below(r, 3)};
    g.run = g.run < b->run ? g.run : b->run;
    g.last = g.first + (random_below(r, 16) ? random_below(r, 3000) : random_wide(r));
    if (g.last < g.first || g.last > UINT64_MAX - 5000)
      break;
    any_bytes(g.head, r);
    CHECK(store_manifest_add(s, &g) == MUSTER_OK, "no memory");
    s->records = g.last;
    memcpy(s->head, g.head, sizeof s->head);
  }
  s->refused = any_number(r);
  s->refused_left = random_below(r, 3);
  s->refused_bytes = any_number(r);
  any_bytes(s->refused_checksum, r);
}

static size_t true_manifest(struct random *r, void *out, size_t room)
{
  static struct store_backup b;
  struct failure f = FAILURE_NONE;
  place(&b, "");
  any_bytes(b.node_id, r);
  b.shards = 1 + random_below(r, random_below(r, 8) ? 4 : LIMIT_SHARDS);
  b.run = random_below(r, 8) ? 1 + any_number(r) / 2 : 0;
  b.cut_us = (int64_t)(random_next(r) % UINT64_C(4000000000000000));
  for (uint32_t i = 0; i < b.shards; i++)
    make_shard(&b, &b.shard[i], r);
  CHECK(store_manifest_write(&b, &f, &f) == MUSTER_OK && !f.status, "%s", f.text);
  clear(&b);
  return file_read("manifest", out, room);
}

static void make(struct wire *out, struct random *r, const struct wire *corpus, uint32_t corpus_count)
{
  static uint8_t text[FUZZ_BYTES_MAX];
  (void)corpus;
  (void)corpus_count;
  folder_make_once();
  wire_byte(out, (uint8_t)random_below(r, 8));
  const size_t size = true_manifest(r, text, sizeof text - 1);
  if (random_below(r, 16) == 0) /* of a later program */
    text[strlen("muster-backup ")] = (uint8_t)('2' + random_below(r, 8));
  wire_bytes(out, text, size);
}

static const char *const words[] = {"shard ",
                                    "segment ",
                                    " records ",
                                    " run ",
                                    " first ",
                                    " last ",
                                    " bytes ",
                                    " head ",
                                    "\nend ",
                                    "muster-backup 2",
                                    "-1",
                                    "+5",
                                    "  ",
                                    "18446744073709551615",
                                    "00",
                                    " left ",
                                    "0\nsegment 0 run 1 first 0 last 18446744073709551615",
                                    "../",
                                    NULL};

const struct fuzz_target fuzz_target = {.name = "manifest", .short_count = 1500, .outcomes = outcomes, .words = words, .make = make};

/* The text as it is, cut, or a true one. */
static bool write_copy(uint32_t flags, const char *text, size_t size)
{
  static uint8_t whole[FUZZ_BYTES_MAX];
  static size_t whole_size;
  struct random r = {.state = 1};
  if (!whole_size)
    whole_size = true_manifest(&r, whole, sizeof whole);
  if (flags & FLAG_COPY_TRUE)
    file_write("manifest.copy", whole, whole_size);
  else if (flags & FLAG_COPY)
    file_write("manifest.copy", text, size / 2);
  return flags & FLAG_COPY_TRUE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static struct store_backup b;
  char copy[SCRATCH_BYTES + 64];
  struct failure f = FAILURE_NONE;
  if (size == 0)
    return 0;
  folder_make_once();
  const uint32_t flags = *data;
  char *text = fuzz_text(data + 1, --size);
  snprintf(copy, sizeof copy, "%s/manifest.copy", folder);
  unlink(copy);
  const bool copied = write_copy(flags, text, size);
  if (flags & FLAG_SEAL)
    seal(text, size);
  file_write("manifest", text, size);
  place(&b, "");
  const int status = store_manifest_read(&b, &f);
  CHECK(status == f.status, "status %d, %d with the sentence", status, f.status);
  if (status == MUSTER_OK) {
    outcomes[flags & FLAG_SEAL ? SEALED : BELIEVED].count++;
    check_believed(&b, text, size);
  } else {
    CHECK(status == MUSTER_ERR_CORRUPT || status == MUSTER_ERR_VERSION, "status %d", status);
    CHECK(strstr(f.text, "manifest"), "%s", f.text);
    outcomes[status == MUSTER_ERR_VERSION ? VERSION : flags & FLAG_SEAL ? REFUSED_SEALED : REFUSED].count++;
    if (!strstr(f.text, "although its checksum is right")) {
      CHECK((strstr(f.text, "manifest.copy beside it is whole") != NULL) == copied, "%s", f.text);
      outcomes[copied ? COPY_WHOLE : COPY_BROKEN].count++;
    }
  }
  clear(&b);
  free(text);
  return 0;
}
