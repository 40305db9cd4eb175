#include "tests/fuzz/make_record.h"

#include "core/limits.h"
#include "proto/scan.h"

#define PARTS_MAX 64u

/* ---- field by field ---- */

struct part_list {
  uint32_t count;
  struct scan_part part[PARTS_MAX];
};

static void parts_read(struct part_list *list, const struct wire *w)
{
  const uint8_t *p = w->bytes;
  list->count = 0;
  while (list->count < PARTS_MAX && scan_part_next(&list->part[list->count], &p, w->bytes + w->size))
    list->count++;
}

static void part_write(struct wire *out, const struct scan_part *part, struct random *r, uint32_t padded_of_8)
{
#define PADDING(most) (random_below(r, 8) < padded_of_8 ? 1 + random_below(r, most) : 0)
  size_t size = (size_t)(part->end - part->value);
  if (out->size + size + 32 > FUZZ_BYTES_MAX)
    return;
  wire_varint(out, (uint64_t)part->number << 3 | part->wire_type, PADDING(6));
  uint64_t value;
  if (part->wire_type == 2)
    wire_varint(out, size, PADDING(6));
  if (part->wire_type == 0 && padded_of_8 > 0 && varint_read(part->value, part->end, &value))
    wire_varint(out, random_below(r, 8) ? value : value | random_next(r) << 32, PADDING(11));
  else
    wire_bytes(out, part->value, size);
#undef PADDING
}

static void parts_change(struct part_list *list, struct part_list *other, struct random *r)
{
  if (list->count == 0)
    return;
  uint32_t i = random_below(r, list->count), j = random_below(r, list->count);
  struct scan_part swap = list->part[i];
  switch (random_below(r, 7)) {
  case 0:
    list->part[i] = list->part[j];
    list->part[j] = swap;
    break;
  case 1: /* twice */
    if (list->count < PARTS_MAX)
      list->part[list->count++] = swap;
    break;
  case 2: list->part[i] = list->part[--list->count]; break;
  case 3: /* from another record, the number kept or not */
    if (other->count > 0) {
      list->part[i] = other->part[random_below(r, other->count)];
      if (random_below(r, 2))
        list->part[i].number = swap.number;
    }
    break;
  case 4: list->part[i].number = 1 + random_below(r, random_below(r, 2) ? 24 : UINT32_C(1) << 29); break;
  case 5: list->part[i].wire_type = random_below(r, 8); break;
  case 6: list->part[i].number = FIELD_ENCOUNTER_ID; break;
  }
}

/* ---- the whole ---- */

/* Near the bounds of sizes, where small changes never come. */
static void size_change(struct wire *w, struct random *r)
{
  static uint8_t zeros[FUZZ_BYTES_MAX];
  bool unknown = random_below(r, 2);
  size_t limit = unknown ? LIMIT_UNKNOWN_BYTES : LIMIT_RECORD_BYTES, size = limit - 16 + random_below(r, 24);
  if (!unknown)
    size -= w->size;
  if (w->size + size + 8 <= FUZZ_BYTES_MAX)
    wire_text(w, unknown ? 18 + random_below(r, 60) : FIELD_SUBJECT_ID, zeros, size);
}

static void record_choose(struct wire *w, struct random *r, const struct wire *corpus, uint32_t corpus_count)
{
  if (corpus_count > 0 && random_below(r, 3) == 0) {
    const struct wire *from = &corpus[random_below(r, corpus_count)];
    w->size = 0;
    wire_bytes(w, from->bytes, from->size);
  } else
    w->size = sample_pack(w->bytes, r, 1 + random_below(r, 8));
}

void make_record(struct wire *out, struct random *r, const struct wire *corpus, uint32_t corpus_count)
{
  static struct wire first, second;
  static struct part_list list, other;
  record_choose(&first, r, corpus, corpus_count);
  record_choose(&second, r, corpus, corpus_count);
  parts_read(&list, &first);
  parts_read(&other, &second);
  for (uint32_t changes = random_below(r, 4); changes > 0; changes--)
    parts_change(&list, &other, r);
  out->size = 0;
  uint32_t padded_of_8 = random_below(r, 2) ? 0 : random_below(r, 4);
  for (uint32_t i = 0; i < list.count; i++)
    part_write(out, &list.part[i], r, padded_of_8);
  if (random_below(r, 64) == 0)
    size_change(out, r);
}
