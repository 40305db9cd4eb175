/*
 * What a worker reads of an ingest: up to eight messages of a head and a stream of records, gathered into a group and
 * walked as the worker does. An input is, for each message, the size of its first frame and of its second, and their
 * bytes; the first byte of a message says whether its head is made to fit. For any input:
 *
 * - a head is read only in its one size and version, and written again gives the same bytes but for those that are free;
 * - the group takes a part only within its bounds, and walks exactly the records that a plain reading of the stream
 *   finds, at most as many as the head says; a part that has others is counted as broken, and only that;
 * - each record has the word at its own place, and a word that no record was found for says what it said at first.
 */
#include "tests/fuzz/fuzz.h"

#include "proto/batch.h"
#include "workers/group.h"

enum { HEADS, NO_HEADS, PARTS, NO_PARTS, RECORDS, BROKEN, SEVERAL, LAST };
static struct fuzz_outcome outcomes[] = {
    [HEADS] = {"heads", 0},
    [NO_HEADS] = {"no heads", 0},
    [PARTS] = {"parts", 0},
    [NO_PARTS] = {"parts out of bounds", 0},
    [RECORDS] = {"records", 0},
    [BROKEN] = {"broken streams", 0},
    [SEVERAL] = {"groups of several", 0},
    [LAST] = {NULL, 0},
};
enum { MESSAGES = 8, FLAG_FIT = 1, FREE_AT = 60 };
#define UNKNOWN verdict_refused(6, 0, 250, 0)

struct kept { /* of a part that was taken */
  const uint8_t *stream;
  size_t size;
  uint32_t record_count;
};

/* ---- heads ---- */

static bool try_head(struct hop_head *head, const uint8_t *bytes, size_t size)
{
  uint8_t again[HOP_HEAD_BYTES], wanted[HOP_HEAD_BYTES];
  const bool read = hop_head_read(head, bytes, size);
  CHECK(read == (size == HOP_HEAD_BYTES && load_u32(bytes + 4) == HOP_VERSION), "a head of %zu bytes", size);
  outcomes[read ? HEADS : NO_HEADS].count++;
  if (!read)
    return false;
  memcpy(wanted, bytes, sizeof wanted);
  memset(wanted + FREE_AT, 0, sizeof wanted - FREE_AT);
  hop_head_write(again, head);
  CHECK(memcmp(again, wanted, sizeof again) == 0, "a head that is another one when it is written");
  CHECK(head->kind == load_u32(bytes) && head->part_id == load_u64(bytes + 8) && head->record_count == load_u32(bytes + 36) &&
            head->submitter == load_u32(bytes + 32) && head->shard == load_u32(bytes + 40) && head->shards == load_u32(bytes + 44),
        "a field of the head at another place");
  return true;
}

/* ---- a plain reading of a stream ---- */

/* The next record of a stream; false at its end, and where it breaks. */
static bool plain_next(const uint8_t *bytes, size_t size, size_t *at, size_t *from, size_t *length)
{
  uint64_t value = 0;
  size_t p = *at;
  for (unsigned i = 0;; i++) {
    if (p == size || i == 10 || (i == 9 && bytes[p] > 1))
      return false;
    value |= (uint64_t)(bytes[p] & 0x7f) << (7 * i);
    if (bytes[p++] < 0x80)
      break;
  }
  if (value == 0 || value > size - p)
    return false;
  *from = p;
  *length = (size_t)value;
  *at = p + *length;
  return true;
}

/* ---- a group ---- */

static void check_group(struct group *g, const struct kept *kept)
{
  struct group_cursor cursor;
  struct group_record record;
  uint32_t broken = 0, word = 0;
  group_start(&cursor, g);
  for (uint32_t part = 0; part < g->part_count; part++) {
    size_t at = 0, from, length;
    uint32_t found = 0;
    for (; found < kept[part].record_count && plain_next(kept[part].stream, kept[part].size, &at, &from, &length); found++) {
      CHECK(group_next(&cursor, &record) && record.part == &g->parts[part], "record %u of part %u", found, part);
      CHECK(record.size == length && memcmp(record.bytes, kept[part].stream + from, length) == 0, "record %u of part %u", found, part);
      CHECK(record.word == &g->words[word + found] && *record.word == UNKNOWN, "the word of record %u of part %u", found, part);
      *record.word = verdict_durable(1, 0, part * 100000 + found);
      outcomes[RECORDS].count++;
    }
    broken += found < kept[part].record_count || at != kept[part].size;
    word += kept[part].record_count;
  }
  CHECK(!group_next(&cursor, &record), "a record behind the last one");
  CHECK(cursor.broken_parts == broken && word == g->record_count, "%u broken parts, not %u", cursor.broken_parts, broken);
  outcomes[BROKEN].count += broken;
  outcomes[SEVERAL].count += g->part_count > 1;
  word = 0;
  for (uint32_t part = 0; part < g->part_count; part++)
    for (uint32_t i = 0; i < kept[part].record_count; i++, word++)
      CHECK(g->words[word] == UNKNOWN || g->words[word] == verdict_durable(1, 0, part * 100000 + i), "word %u of part %u", i, part);
}

/* As worker_take does: true where the part joined. */
static bool try_part(struct group *g, const struct hop_head *head, const uint8_t *stream, size_t size)
{
  struct link_message m;
  const bool allowed = head->record_count > 0 && head->record_count <= LIMIT_BATCH_RECORDS && size <= LIMIT_WIRE_BYTES;
  CHECK(group_part_allowed(head->record_count, size) == allowed, "%u records in %zu bytes", head->record_count, size);
  const bool fits = allowed && group_fits(g, head->record_count, size);
  outcomes[fits ? PARTS : NO_PARTS].count++;
  if (!fits)
    return false;
  const uint32_t before = g->record_count;
  link_message_init(&m);
  m.frame_count = 2;
  CHECK(link_frame_init_heap(&m.frame[1], fuzz_copy(stream, size), size) == MUSTER_OK, "a frame");
  const struct group_part *part = group_add(g, head, &m, UNKNOWN);
  CHECK(part->part_id == head->part_id && part->receipt.submitter == head->submitter && part->receipt.received_us == head->received_us &&
            part->isolated == (head->kind == HOP_ISOLATE),
        "a part of another head");
  CHECK(g->record_count == before + head->record_count && g->record_count <= LIMIT_COMMIT_RECORDS && g->bytes <= LIMIT_COMMIT_BYTES,
        "the group's bounds");
  link_message_finish(&m);
  return true;
}

/* ---- inputs ---- */

static void make(struct wire *out, struct random *r, const struct wire *corpus, uint32_t corpus_count)
{
  static struct wire stream;
  uint8_t head[HOP_HEAD_BYTES], record[SAMPLE_BYTES_MAX] = {0};
  (void)corpus;
  (void)corpus_count;
  for (uint32_t messages = 1 + random_below(r, 4); messages > 0; messages--) {
    const uint32_t records = random_below(r, 6);
    stream.size = 0;
    for (uint32_t i = 0; i < records; i++) {
      const size_t size = sample_pack(record, r, 2);
      wire_varint(&stream, size ? size : 1, random_below(r, 16) ? 0 : 3);
      wire_bytes(&stream, record, size ? size : 1);
    }
    const struct hop_head h = {.kind = HOP_PART + random_below(r, 5),
                               .part_id = random_next(r),
                               .record_count = random_below(r, 8) ? records : (uint32_t)random_wide(r),
                               .submitter = random_below(r, 9)};
    hop_head_write(head, &h);
    const uint16_t sizes[] = {HOP_HEAD_BYTES, (uint16_t)stream.size};
    wire_byte(out, FLAG_FIT);
    wire_bytes(out, sizes, sizeof sizes);
    wire_bytes(out, head, sizeof head);
    wire_bytes(out, stream.bytes, stream.size);
  }
}

const struct fuzz_target fuzz_target = {.name = "hop", .short_count = 200000, .outcomes = outcomes, .make = make};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static struct group group;
  struct kept kept[MESSAGES];
  struct fuzz_reader in = {.p = data, .end = data + size};
  if (!group.parts)
    CHECK(group_init(&group) == MUSTER_OK, "a group");
  for (unsigned i = 0; i < MESSAGES && in.p < in.end; i++) {
    struct hop_head head;
    const uint32_t flags = fuzz_byte(&in);
    size_t head_size = fuzz_short(&in), stream_size = fuzz_short(&in);
    if (flags & FLAG_FIT)
      head_size = HOP_HEAD_BYTES;
    uint8_t *bytes = fuzz_piece(&in, &head_size);
    const uint8_t *stream = fuzz_bytes(&in, &stream_size);
    if (flags & FLAG_FIT && head_size == HOP_HEAD_BYTES)
      store_u32(bytes + 4, HOP_VERSION);
    if (try_head(&head, bytes, head_size) && try_part(&group, &head, stream, stream_size))
      kept[group.part_count - 1] = (struct kept){.stream = stream, .size = stream_size, .record_count = head.record_count};
    free(bytes);
  }
  check_group(&group, kept);
  group_clear(&group);
  return 0;
}
