/* Salvage and commits that did not end: what takes whose place, and what is told where nothing decides. */
#include "wreck.h"

#define STALE 1000u /* the first record of its block, which has the sequences of the block that took its place */
#define PLACE 650u  /* the records before that */

/* Which records came under the 50 sequences in question: those of the block that was acknowledged, or of the other one. */
struct claims {
  uint64_t given, truly, stale, uncertain, contested, lost;
};

static int on_claim(void *context, const struct store_record *record)
{
  struct claims *c = context;
  struct fixture_record r;
  c->given++;
  if (record->sequence <= PLACE || record->sequence > PLACE + 50)
    return 0;
  fixture_record(&r, record->sequence - 1, 0);
  const bool truly = record->size == r.size && memcmp(record->bytes, r.bytes, r.size) == 0;
  fixture_record(&r, STALE + record->sequence - 1 - PLACE, 0);
  const bool stale = record->size == r.size && memcmp(record->bytes, r.bytes, r.size) == 0;
  assert_true(truly != stale);
  c->truly += truly;
  c->stale += stale;
  return 0;
}

static void on_claim_lost(void *context, uint64_t first, uint64_t last) { ((struct claims *)context)->lost += last - first + 1; }

static void on_claim_uncertain(void *context, uint64_t first, uint64_t last, bool contested)
{
  struct claims *c = context;
  c->uncertain += last - first + 1;
  c->contested += contested ? last - first + 1 : 0;
}

static struct claims salvage_claims(const struct fixture *x)
{
  struct claims c = {0};
  struct failure failure = FAILURE_NONE;
  struct store_salvage_result result;
  const struct store_salvage how = {.each = on_claim, .lost = on_claim_lost, .uncertain = on_claim_uncertain, .context = &c};
  if (store_salvage(x->path, &how, &result, &failure) != MUSTER_OK)
    fail_msg("salvage: %s", failure.text);
  assert_int_equal(result.records, c.given);
  assert_int_equal(result.uncertain, c.uncertain);
  return c;
}

static void fill_more(struct fixture *x, uint64_t first)
{
  struct store *s = fixture_open(x);
  fixture_fill(s, first, first + 50, 50);
  store_close(s);
}

static void destroy_tree(uint8_t *bytes, size_t size)
{
  memset(bytes, 0, 2 * PAGE);
  for (size_t at = 2 * PAGE; at < size; at += PAGE)
    if (is_tree(bytes + at) && bytes[at + 10] & 1)
      memset(bytes + at, 0, PAGE);
    else if (is_tree(bytes + at))
      memset(bytes + at, 0xa5, 16);
}

/* The file of a shard whose commit of sequences 651 to 700 did not end, was made with other records, and followed by two more; what the first one
 * had written is on pages that nobody has used since. */
static uint8_t *file_with_stale_block(struct fixture *x, size_t *size)
{
  struct store_block_header h;
  size_t before_size, stale_size;
  unsigned made = 0;
  fill_more(x, RECORDS);
  uint8_t *before = file_read(x, &before_size);
  fill_more(x, STALE);
  uint8_t *stale = file_read(x, &stale_size);
  file_write(x, before, before_size);
  char hint[320];
  fixture_file(x, hint, "index.hint");
  unlink(hint);
  for (unsigned i = 0; i < 3; i++)
    fill_more(x, PLACE + i * 50);
  uint8_t *bytes = file_read(x, size);
  for (size_t at = 2 * PAGE; at < stale_size; at += PAGE) {
    memcpy(&h, stale + at + 16, sizeof h);
    if (h.magic != STORE_BLOCK_MAGIC || h.first != PLACE + 1)
      continue;
    const size_t pages = (store_block_size(&h) + 16 + PAGE - 1) / PAGE;
    assert_true(pages < 16);
    memcpy(bytes + *size, stale + at, pages * PAGE);
    store_u64(bytes + *size, *size / PAGE);
    *size += pages * PAGE;
    made++;
  }
  assert_int_equal(made, 1);
  free(before);
  free(stale);
  return bytes;
}

static void a_commit_that_did_not_end_takes_no_place(void **state)
{
  struct fixture *x = *state;
  size_t size;
  uint8_t *bytes = file_with_stale_block(x, &size);
  file_write(x, bytes, size);
  uint8_t *sound = file_read(x, &size);
  struct claims c = salvage_claims(x);
  assert_int_equal(c.given, PLACE + 150);
  assert_int_equal(c.truly, 50);
  assert_int_equal(c.uncertain, 0);

  assert_true(flip_id(bytes, size, PLACE + 60) >= 2); /* the block behind is damaged: the tree tells */
  file_write(x, bytes, size);
  c = salvage_claims(x);
  assert_int_equal(c.given, PLACE + 100);
  assert_int_equal(c.truly, 50);
  assert_int_equal(c.stale, 0);
  assert_int_equal(c.uncertain, 0);
  assert_int_equal(c.lost, 50);

  assert_true(flip_id(bytes, size, PLACE + 10) >= 2); /* and the true one: nothing that is left contradicts the other */
  file_write(x, bytes, size);
  c = salvage_claims(x);
  assert_int_equal(c.stale, 50);
  assert_int_equal(c.uncertain, 50);
  assert_int_equal(c.lost, 50);

  assert_true(flip_id(sound, size, PLACE + 10) >= 2); /* the true one alone: the block behind names another one than what is there */
  file_write(x, sound, size);
  c = salvage_claims(x);
  assert_int_equal(c.truly + c.stale, 0);
  assert_int_equal(c.lost, 50);
  assert_int_equal(c.uncertain, 0);
  free(sound);
  free(bytes);
}

static void what_nothing_decides_is_given_and_told(void **state)
{
  struct fixture *x = *state;
  size_t size;
  uint8_t *bytes = file_with_stale_block(x, &size);
  destroy_tree(bytes, size);
  file_write(x, bytes, size);
  struct claims c = salvage_claims(x); /* the chain alone: the last block has nothing behind it */
  assert_int_equal(c.given, PLACE + 150);
  assert_int_equal(c.truly, 50);
  assert_int_equal(c.uncertain, 50);
  assert_int_equal(c.contested, 0);

  for (unsigned before = 0; before < 2;
       before++) { /* the block behind damaged, then the one before, too: both claims are given, none silently */
    assert_true(flip_id(bytes, size, before ? PLACE - 10 : PLACE + 60) >= 2);
    file_write(x, bytes, size);
    c = salvage_claims(x);
    assert_int_equal(c.truly, 50);
    assert_int_equal(c.stale, 50);
    assert_int_equal(c.contested, 100);
    assert_int_equal(c.lost, before ? 100 : 50);
  }
  free(bytes);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_commit_that_did_not_end_takes_no_place, wreck_setup, fixture_teardown),
      cmocka_unit_test_setup_teardown(what_nothing_decides_is_given_and_told, wreck_setup, fixture_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
