#include "core/counters_page.h"

#include <string.h>

#include "core/clock.h"
#include "core/log_linear.h"
#include "core/procstat.h"

#define BEATS_A_COUNT 10u /* beats from one count of descriptors to the next, where the kernel has no number of them */

void counters_begin(struct counters *c)
{
  if (c == NULL)
    return;
  const uint64_t sequence = page_load(&c->page->sequence);
  assert(sequence % 2 == 0 && "a bracket inside a bracket");
  page_store(&c->page->sequence, sequence + 1);
  atomic_thread_fence(memory_order_release); /* no later store is seen before the odd number */
}

void counters_end(struct counters *c)
{
  if (c == NULL)
    return;
  const uint64_t sequence = page_load(&c->page->sequence);
  assert(sequence % 2 == 1 && "an end without its begin");
  atomic_store_explicit(&c->page->sequence, sequence + 1, memory_order_release);
}

/* One writer a page: a load and a store are enough, and cheaper than a locked addition. */
static void counters_move(struct counters *c, _Atomic uint64_t *at, uint64_t value)
{
  assert(page_load(&c->page->sequence) % 2 == 1 && "a counter is changed inside a bracket");
  page_store(at, value);
}

void counters_add(struct counters *c, enum counter_id id, uint64_t amount)
{
  if (c != NULL)
    counters_move(c, &c->page->value[id], counters_get(c, id) + amount);
}

void counters_subtract(struct counters *c, enum counter_id id, uint64_t amount)
{
  if (c == NULL)
    return;
  assert(counter_list[id].type == COUNTER_GAUGE && counters_get(c, id) >= amount);
  counters_move(c, &c->page->value[id], counters_get(c, id) - amount);
}

void counters_set(struct counters *c, enum counter_id id, uint64_t value)
{
  if (c != NULL)
    counters_move(c, &c->page->value[id], c->base[id] + value);
}

static void counters_grow(struct counters *c, _Atomic uint64_t *at, uint64_t amount) { counters_move(c, at, page_load(at) + amount); }

void counters_add_reason(struct counters *c, enum counter_per per, uint32_t reason, uint64_t amount)
{
  assert(reason < COUNTER_REASONS);
  if (c != NULL)
    counters_grow(c, &c->page->reason[per][reason], amount);
}

void counters_observe(struct counters *c, enum histogram_id id, uint64_t value)
{
  if (c == NULL)
    return;
  struct counters_page_histogram *h = &c->page->histogram[id];
  const uint32_t bucket = log_linear_bucket(COUNTER_BUCKET_BITS, value >> counters_shift(id));
  counters_grow(c, &h->sum, value);
  counters_grow(c, &h->bucket[bucket < COUNTER_BUCKETS ? bucket : COUNTER_BUCKETS - 1], 1);
}

/* ---- the table of submitters ---- */

uint32_t counters_row(struct counters *c, uint32_t number, const char *name)
{
  if (c == NULL)
    return COUNTER_OTHERS;
  const uint32_t rows = atomic_load_explicit(&c->page->rows, memory_order_relaxed);
  for (uint32_t row = 0; row < rows; row++)
    if (page_load(&c->page->submitter[row].number) == number)
      return row;
  if (rows == COUNTER_OTHERS)
    return COUNTER_OTHERS;
  uint64_t words[PAGE_NAME_WORDS] = {0};
  memcpy(words, name, strnlen(name, LIMIT_SUBMITTER_NAME));
  counters_move(c, &c->page->submitter[rows].number, number);
  for (uint32_t i = 0; i < PAGE_NAME_WORDS; i++)
    counters_move(c, &c->page->submitter[rows].name[i], words[i]);
  atomic_store_explicit(&c->page->rows, rows + 1, memory_order_relaxed);
  return rows;
}

void counters_row_add(struct counters *c, uint32_t row, enum submitter_id id, uint64_t amount)
{
  if (c != NULL)
    counters_grow(c, &c->page->submitter[row].value[id], amount);
}

void counters_row_subtract(struct counters *c, uint32_t row, enum submitter_id id, uint64_t amount)
{
  if (c == NULL)
    return;
  assert(submitter_list[id].type == COUNTER_GAUGE && page_load(&c->page->submitter[row].value[id]) >= amount);
  counters_grow(c, &c->page->submitter[row].value[id], -amount);
}

void counters_row_set(struct counters *c, uint32_t row, enum submitter_id id, uint64_t value)
{
  if (c != NULL)
    counters_move(c, &c->page->submitter[row].value[id], value);
}

/* ---- the process ---- */

void counters_state(struct counters *c, enum process_state state)
{
  if (c == NULL)
    return;
  const uint64_t now_ns = clock_monotonic_ns();
  counters_begin(c);
  atomic_store_explicit(&c->page->state, state, memory_order_relaxed);
  page_store(&c->page->state_since_ns, now_ns);
  counters_end(c);
}

void counters_beat(struct counters *c)
{
  if (c == NULL)
    return;
  const int64_t now_us = clock_wall_us();
  struct procstat_use use;
  procstat_use(&use, c->beats++ % BEATS_A_COUNT == 0);
  counters_begin(c);
  atomic_store_explicit(&c->page->beat_us, now_us, memory_order_relaxed);
  counters_set(c, COUNTER_process_cpu_ns, use.cpu_ns);
  if (use.resident_bytes != 0)
    counters_set(c, COUNTER_process_resident_bytes, use.resident_bytes);
  if (use.descriptors != 0)
    counters_set(c, COUNTER_process_descriptors, use.descriptors);
  counters_end(c);
}

uint64_t counters_get(const struct counters *c, enum counter_id id) { return c == NULL ? 0 : page_load(&c->page->value[id]); }
