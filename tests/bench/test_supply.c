/* bench/supply.c: a load's records are whole and valid, its ids different, and what is sent again has the bytes it had. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "bench/supply.h"
#include "proto/batch.h"
#include "proto/scan.h"

#define PLACES (3u * SUPPLY_SET)

static struct supply supply_of(uint32_t resends_per_10000, bool ids_v4, uint64_t seed)
{
  struct supply s;
  struct supply_options o = {.stream = {.profile = profile_at(0), .seed = seed, .ids_v4 = ids_v4}, .resends_per_10000 = resends_per_10000};
  assert_int_equal(supply_init(&s, &o), 0);
  return s;
}

/* Calls each for every place from 0 on, in batches whose ends are not those of the set. */
static void walk(struct supply *s, void (*each)(uint64_t place, const struct batch_record *r, void *context), void *context)
{
  for (uint64_t place = 0; place < PLACES;) {
    uint32_t count = 1000 - (uint32_t)(place % 1000);
    size_t size;
    if (count > PLACES - place)
      count = (uint32_t)(PLACES - place);
    const uint8_t *p = supply_take(s, place, &count, &size), *end = p + size;
    struct batch_record r;
    assert_true(count > 0);
    for (uint32_t i = 0; i < count; i++) {
      assert_int_equal(batch_next(&p, end, &r), BATCH_RECORD);
      each(place + i, &r, context);
    }
    assert_ptr_equal(p, end);
    place += count;
  }
}

struct seen {
  const struct supply *supply;
  uint32_t version;
  uint64_t resends;
  uint8_t (*ids)[16];
  uint64_t used;
};

static void look(uint64_t place, const struct batch_record *r, void *context)
{
  struct seen *seen = context;
  struct encounter_view view;
  struct scan_fault fault;
  assert_true(scan_encounter(&view, r->bytes, r->size, &fault));
  assert_true(view.canonical);
  const uint8_t *id = view.field[FIELD_ENCOUNTER_ID].bytes;
  assert_int_equal(id[6] >> 4, seen->version);
  assert_int_equal(id[8] >> 6, 2);
  if (supply_resend(seen->supply, place))
    seen->resends++;
  else
    memcpy(seen->ids[seen->used++], id, 16);
}

static int by_bytes(const void *a, const void *b) { return memcmp(a, b, 16); }

static void ids_are_different(struct supply *s, uint32_t version, double share)
{
  struct seen seen = {.supply = s, .version = version, .ids = calloc(PLACES, 16)};
  assert_non_null(seen.ids);
  walk(s, look, &seen);
  qsort(seen.ids, seen.used, 16, by_bytes);
  for (uint64_t i = 1; i < seen.used; i++)
    assert_true(memcmp(seen.ids[i - 1], seen.ids[i], 16) != 0);
  double found = (double)seen.resends / (PLACES - SUPPLY_SET);
  assert_true(found >= share * 0.9 && found < share * 1.1 + 1e-9);
  free(seen.ids);
}

static void ids_are_of_their_version_and_different(void **state)
{
  (void)state;
  struct supply s = supply_of(200, false, 1);
  ids_are_different(&s, 7, 0.02);
  supply_finish(&s);
  s = supply_of(0, true, 1);
  ids_are_different(&s, 4, 0);
  supply_finish(&s);
}

/* All that is sent, by the hash of its id: a second time it has the same bytes. */
struct known {
  const struct supply *supply;
  uint8_t (*bytes)[300];
  uint32_t *size;
  uint64_t repeated;
};

static void compare(uint64_t place, const struct batch_record *r, void *context)
{
  struct known *k = context;
  uint64_t slot;
  memcpy(&slot, r->bytes + 10, sizeof slot); /* the second half of the id */
  slot = random_mix(slot) % (2 * PLACES);
  while (k->size[slot] && memcmp(k->bytes[slot] + 2, r->bytes + 2, 16) != 0)
    slot = (slot + 1) % (2 * PLACES);
  assert_in_range(r->size, 18, sizeof *k->bytes);
  if (k->size[slot]) {
    assert_true(supply_resend(k->supply, place));
    assert_int_equal(k->size[slot], r->size);
    assert_memory_equal(k->bytes[slot], r->bytes, r->size);
    k->repeated++;
  } else {
    assert_false(supply_resend(k->supply, place));
    memcpy(k->bytes[slot], r->bytes, r->size);
    k->size[slot] = r->size;
  }
}

static void what_is_sent_again_has_the_bytes_it_had(void **state)
{
  (void)state;
  struct supply s = supply_of(3000, false, 9);
  struct known k = {.supply = &s, .bytes = calloc(2 * PLACES, sizeof *k.bytes), .size = calloc(2 * PLACES, sizeof *k.size)};
  assert_non_null(k.bytes);
  assert_non_null(k.size);
  walk(&s, compare, &k);
  assert_true(k.repeated > PLACES / 10);
  free(k.bytes);
  free(k.size);
  supply_finish(&s);
}

/* Another seed has none of the ids of this one, so that two loads may go into one store. */
static void seeds_share_no_id(void **state)
{
  (void)state;
  struct supply a = supply_of(0, false, 1), b = supply_of(0, false, 2);
  struct seen seen = {.supply = &a, .version = 7, .ids = calloc(2 * PLACES, 16)};
  assert_non_null(seen.ids);
  walk(&a, look, &seen);
  seen.supply = &b;
  walk(&b, look, &seen);
  qsort(seen.ids, seen.used, 16, by_bytes);
  for (uint64_t i = 1; i < seen.used; i++)
    assert_true(memcmp(seen.ids[i - 1], seen.ids[i], 16) != 0);
  free(seen.ids);
  supply_finish(&a);
  supply_finish(&b);
}

/* A record by its fields becomes the bytes that it has in the stream. */
static void fields_make_the_same_bytes(void **state)
{
  (void)state;
  struct supply s = supply_of(2000, false, 4);
  assert_int_equal(supply_fields(&s), 0);
  for (uint64_t place = 0; place < 2 * SUPPLY_SET; place += 97) {
    struct muster_encounter e;
    struct batch_record r;
    uint8_t bytes[MUSTER_ENCOUNTER_BYTES];
    size_t size;
    uint32_t one = 1;
    const uint8_t *p = supply_take(&s, place, &one, &size), *end = p + size;
    assert_int_equal(batch_next(&p, end, &r), BATCH_RECORD);
    supply_encounter(&s, place, &e);
    assert_int_equal(muster_encounter_encode(&e, bytes, sizeof bytes, &size), 0);
    assert_int_equal(size, r.size);
    assert_memory_equal(bytes, r.bytes, size);
  }
  supply_finish(&s);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ids_are_of_their_version_and_different),
      cmocka_unit_test(what_is_sent_again_has_the_bytes_it_had),
      cmocka_unit_test(seeds_share_no_id),
      cmocka_unit_test(fields_make_the_same_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
