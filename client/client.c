#include "client/client.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "proto/batch.h"
#include "proto/vocabulary.h"

enum { PROCESS_MS_MAX = 1000, PROCESS_ROUNDS = 16 };

/* ---- words to the caller ---- */

__attribute__((format(printf, 3, 0))) static int fail_with(struct muster_client *c, int status, const char *format, va_list arguments)
{
  c->failure.status = status;
  vsnprintf(c->failure.text, sizeof c->failure.text, format, arguments);
  return status;
}

int client_fail(struct muster_client *c, int status, const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  fail_with(c, status, format, arguments);
  va_end(arguments);
  return status;
}

int client_end(struct muster_client *c, int status, const char *format, ...)
{
  va_list arguments;
  if (c->final)
    return c->final;
  va_start(arguments, format);
  c->final = fail_with(c, status, format, arguments);
  va_end(arguments);
  c->told_lost = true; /* the failure says it all */
  client_session_close(c);
  return status;
}

void client_notice(struct muster_client *c, const char *format, ...)
{
  char sentence[MUSTER_ERROR_BYTES + CLIENT_ENDPOINT_BYTES];
  va_list arguments;
  if (!c->options.on_notice)
    return;
  va_start(arguments, format);
  vsnprintf(sentence, sizeof sentence, format, arguments);
  va_end(arguments);
  c->options.on_notice(c->options.context, sentence);
}

uint32_t client_jitter(struct muster_client *c, uint32_t range_ms) { return (uint32_t)rand_r(&c->random) % (range_ms + 1); }

/* ---- making and unmaking ---- */

static int options_take(struct muster_client *c, const struct muster_options *o)
{
  struct muster_options *own = &c->options;
  if (o->size == 0 || o->size > sizeof *own)
    return client_fail(c, MUSTER_ERR_USAGE,
                       "the options are not set up with MUSTER_OPTIONS_INIT, or the program was built for a newer library");
  memcpy(own, o, o->size);
  own->batch_records = own->batch_records ? own->batch_records : CLIENT_BATCH_RECORDS;
  own->window_batches = own->window_batches ? own->window_batches : CLIENT_WINDOW;
  own->linger_ms = own->linger_ms ? own->linger_ms : CLIENT_LINGER_MS;
  own->shard_patience_ms = own->shard_patience_ms ? own->shard_patience_ms : CLIENT_PATIENCE_MS;
  if (own->batch_records > LIMIT_BATCH_RECORDS || own->window_batches > LIMIT_BATCHES_IN_FLIGHT)
    return client_fail(c, MUSTER_ERR_USAGE, "a batch has at most %u records, and a window at most %u batches", LIMIT_BATCH_RECORDS,
                       LIMIT_BATCHES_IN_FLIGHT);
  const char *software = own->software ? own->software : "libmuster " MUSTER_VERSION;
  if (strlen(software) > CLIENT_SOFTWARE_BYTES)
    return client_fail(c, MUSTER_ERR_USAGE, "the name of the software has more than %d bytes", CLIENT_SOFTWARE_BYTES);
  strcpy(c->software, software);
  c->batch_records_max = own->batch_records;
  c->message_bytes_max = LIMIT_MESSAGE_BYTES;
  c->answer_timeout_ms = own->answer_timeout_ms ? own->answer_timeout_ms : CLIENT_ANSWER_TIMEOUT_MS;
  c->credit = 1;
  return MUSTER_OK;
}

static int batches_take(struct muster_client *c)
{
  c->batch_count = c->options.window_batches + 1; /* one is being filled while the others are out */
  c->batches = calloc(c->batch_count, sizeof *c->batches);
  if (!c->batches)
    return client_fail(c, MUSTER_ERR_MEMORY, "no memory for a window of %u batches", c->options.window_batches);
  for (uint32_t i = 0; i < c->batch_count; i++)
    link_frame_init_empty(&c->batches[i].records);
  return MUSTER_OK;
}

static int loop_take(struct muster_client *c)
{
  if (uv_loop_init(&c->loop) != 0)
    return client_fail(c, MUSTER_ERR_IO, "no event loop could be made: are there descriptors left?");
  uv_timer_init(&c->loop, &c->timer);
  uv_timer_init(&c->loop, &c->deadline);
  c->timer.data = c->deadline.data = c;
  c->loop_open = true;
  return client_session_open(c);
}

int muster_client_create(struct muster_client **out, const struct muster_options *options, char *error)
{
  *out = NULL;
  struct muster_client *c = calloc(1, sizeof *c);
  if (!c) {
    if (error)
      snprintf(error, MUSTER_ERROR_BYTES, "no memory for a client");
    return MUSTER_ERR_MEMORY;
  }
  if (getrandom(&c->next_id, sizeof c->next_id, 0) != sizeof c->next_id || getrandom(&c->random, sizeof c->random, 0) != sizeof c->random)
    c->next_id = c->random = (unsigned)(uintptr_t)c;
  int status = options_take(c, options);
  if (status == MUSTER_OK)
    status = client_endpoints_init(c, options, &c->failure);
  if (status == MUSTER_OK)
    status = batches_take(c);
  if (status == MUSTER_OK)
    status = loop_take(c);
  if (status != MUSTER_OK) {
    if (error)
      snprintf(error, MUSTER_ERROR_BYTES, "%s", c->failure.text);
    muster_client_destroy(c);
    return status;
  }
  uv_run(&c->loop, UV_RUN_NOWAIT); /* from here on the descriptor of the loop tells */
  *out = c;
  return MUSTER_OK;
}

void muster_client_destroy(struct muster_client *c)
{
  if (!c)
    return;
  assert(!c->inside);
  if (c->loop_open) {
    link_close(c->link);
    uv_close((uv_handle_t *)&c->timer, NULL);
    uv_close((uv_handle_t *)&c->deadline, NULL);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    uv_loop_close(&c->loop);
  }
  for (uint32_t i = 0; c->batches && i < c->batch_count; i++)
    client_batch_finish(&c->batches[i]);
  free(c->batches);
  explicit_bzero(&c->own, sizeof c->own);
  free(c);
}

/* ---- serving the connection ---- */

/* Callbacks run in here and nowhere else. */
static void serve(struct muster_client *c, uv_run_mode mode)
{
  assert(!c->inside); /* a callback must not call its client */
  c->inside = true;
  uv_run(&c->loop, mode);
  c->inside = false;
}

static void deadline_run(uv_timer_t *timer) { (void)timer; }

/* Waits until done says so. timeout_ms 0: for ever. */
static int wait_for(struct muster_client *c, bool (*done)(struct muster_client *c), uint32_t timeout_ms)
{
  int status = MUSTER_OK;
  uv_update_time(&c->loop);
  uint64_t end_ms = uv_now(&c->loop) + timeout_ms;
  if (timeout_ms)
    uv_timer_start(&c->deadline, deadline_run, timeout_ms, 0);
  while (!done(c) && (status = c->final) == MUSTER_OK) {
    if (timeout_ms && uv_now(&c->loop) >= end_ms) {
      status = client_fail(c, MUSTER_ERR_TIMEOUT, "no verdict came within %u ms from %s; what is unanswered may be submitted again",
                           timeout_ms, muster_client_endpoint(c));
      break;
    }
    serve(c, UV_RUN_ONCE);
  }
  uv_timer_stop(&c->deadline);
  return status;
}

/* Sends the full batch, and takes in what has arrived meanwhile. */
static void seal_and_serve(struct muster_client *c)
{
  client_batch_seal(c);
  client_flow_run(c);
  serve(c, UV_RUN_NOWAIT);
}

static bool has_place(struct muster_client *c)
{
  if (!c->filling && !c->final)
    client_batch_open(c);
  return c->filling != NULL;
}

/* A batch to be filled, or why there is none. */
static int place(struct muster_client *c, bool wait)
{
  if (c->filling)
    return MUSTER_OK;
  c->failure = c->final ? c->failure : FAILURE_NONE;
  if (has_place(c))
    return MUSTER_OK;
  if (c->final || c->failure.status == MUSTER_ERR_MEMORY)
    return c->failure.status;
  if (wait)
    return wait_for(c, has_place, c->submit_timeout_ms);
  serve(c, UV_RUN_NOWAIT);
  return has_place(c) ? MUSTER_OK : c->final ? c->final : client_fail(c, MUSTER_ERR_AGAIN, "the window is full");
}

/* ---- submitting ---- */

int client_submit_begin(struct muster_client *c, size_t size, bool wait, uint8_t **room)
{
  if (size == 0 || size > LIMIT_RECORD_BYTES)
    return client_fail(c, size ? MUSTER_ERR_LIMIT : MUSTER_ERR_USAGE, "a record has 1 to %u bytes, not %zu", LIMIT_RECORD_BYTES, size);
  if (c->filling && c->filling->used + varint_size(size) + size > c->message_bytes_max)
    seal_and_serve(c);
  int status = c->final ? c->final : place(c, wait);
  if (status != MUSTER_OK)
    return status;
  struct client_batch *b = c->filling;
  if (b->used + VARINT_BYTES_MAX + size > b->capacity && (status = client_batch_reserve(c, b, VARINT_BYTES_MAX + size)) != MUSTER_OK)
    return status;
  *room = varint_write(b->bytes + b->used, size);
  return MUSTER_OK;
}

void client_submit_end(struct muster_client *c, const uint8_t *end, uint64_t tag)
{
  struct client_batch *b = c->filling;
  b->used = (size_t)(end - b->bytes);
  b->tags[b->count++] = tag;
  c->counts.submitted++;
  if (b->count >= c->batch_records_max)
    seal_and_serve(c);
}

static int submit_record(struct muster_client *c, const void *record, size_t size, uint64_t tag, bool wait)
{
  uint8_t *room;
  int status = client_submit_begin(c, size, wait, &room);
  if (status != MUSTER_OK)
    return status;
  memcpy(room, record, size);
  client_submit_end(c, room + size, tag);
  return MUSTER_OK;
}

int muster_client_submit(struct muster_client *client, const void *record, size_t size, uint64_t tag)
{
  return submit_record(client, record, size, tag, true);
}

int muster_client_try_submit(struct muster_client *client, const void *record, size_t size, uint64_t tag)
{
  return submit_record(client, record, size, tag, false);
}

/* As many whole records from *p on as the batch has room for, in one copy. The step says why it ended; BATCH_RECORD: the batch is full. */
static int take_run(struct muster_client *c, const uint8_t **p, const uint8_t *end, uint64_t tag, uint32_t *taken, enum batch_step *step)
{
  struct client_batch *b = c->filling;
  const uint8_t *start = *p, *q = start;
  uint32_t room = c->batch_records_max > b->count ? c->batch_records_max - b->count : 0, count = 0;
  size_t room_bytes = c->message_bytes_max > b->used ? c->message_bytes_max - b->used : 0; /* a welcome may have lowered the bound */
  struct batch_record record;
  int status = MUSTER_OK;
  *step = BATCH_RECORD;
  while (count < room) {
    const uint8_t *next = q;
    *step = batch_next(&next, end, &record);
    if (*step != BATCH_RECORD)
      break;
    if (record.size > LIMIT_RECORD_BYTES) {
      status = MUSTER_ERR_LIMIT;
      break;
    }
    if ((size_t)(next - start) > room_bytes)
      break;
    __builtin_prefetch(next +
                       8 * (size_t)record.size); /* where the length of a later one is, if sizes are alike: the walk is a chain of loads */
    q = next;
    b->tags[b->count + count++] = tag++;
  }
  if (client_batch_reserve(c, b, (size_t)(q - start)) != MUSTER_OK)
    return MUSTER_ERR_MEMORY;
  memcpy(b->bytes + b->used, start, (size_t)(q - start));
  b->used += (size_t)(q - start);
  b->count += count;
  c->counts.submitted += count;
  *taken = count;
  *p = q;
  return status;
}

int muster_client_submit_stream(struct muster_client *client, const void *stream, size_t size, uint64_t first_tag, uint64_t *taken)
{
  struct muster_client *c = client;
  const uint8_t *p = stream, *end = p + size;
  enum batch_step step = BATCH_RECORD;
  uint64_t total = 0;
  int status = MUSTER_OK;
  while (step == BATCH_RECORD && status == MUSTER_OK && (status = c->final ? c->final : place(c, true)) == MUSTER_OK) {
    uint32_t count = 0;
    status = take_run(c, &p, end, first_tag + total, &count, &step);
    total += count;
    if (step == BATCH_RECORD && status == MUSTER_OK)
      seal_and_serve(c);
  }
  if (c->filling && c->filling->count >= c->batch_records_max)
    seal_and_serve(c);
  if (taken)
    *taken = total;
  size_t at = (size_t)(p - (const uint8_t *)stream);
  if (status == MUSTER_ERR_LIMIT && !c->final)
    return client_fail(c, status, "the record at byte %zu, after %llu records, has more than %u bytes; the records before it were taken",
                       at, (unsigned long long)total, LIMIT_RECORD_BYTES);
  if (status == MUSTER_OK && step != BATCH_END)
    return client_fail(c, MUSTER_ERR_FORMAT, "the stream %s at byte %zu, after %llu records, which were taken",
                       step == BATCH_CUT ? "is cut in the middle of a record" : "has no record length", at, (unsigned long long)total);
  return status;
}

static uint64_t in_flight(const struct muster_client *c)
{
  const struct muster_counts *n = &c->counts;
  return n->submitted - n->accepted - n->duplicate - n->conflict - n->invalid - c->given_back;
}

static bool all_answered(struct muster_client *c) { return in_flight(c) == 0; }

int muster_client_flush(struct muster_client *client, uint32_t timeout_ms)
{
  if (client->filling && client->filling->count > 0 && !client->final)
    seal_and_serve(client);
  return wait_for(client, all_answered, timeout_ms);
}

/* ---- the caller's own loop ---- */

int muster_client_fd(const struct muster_client *client) { return uv_backend_fd(&client->loop); }

int muster_client_process(struct muster_client *client)
{
  struct muster_client *c = client;
  int rounds = 0;
  do
    serve(c, UV_RUN_NOWAIT);
  while (!c->final && uv_backend_timeout(&c->loop) == 0 && ++rounds < PROCESS_ROUNDS);
  if (c->final)
    return c->final;
  int timeout_ms = uv_backend_timeout(&c->loop);
  return timeout_ms >= 0 && timeout_ms < PROCESS_MS_MAX ? timeout_ms : PROCESS_MS_MAX;
}

/* ---- questions ---- */

void muster_client_set_timeout(struct muster_client *client, uint32_t timeout_ms) { client->submit_timeout_ms = timeout_ms; }

void muster_client_counts(const struct muster_client *client, struct muster_counts *out)
{
  *out = client->counts;
  out->in_flight = in_flight(client);
  out->welcomed = client->welcomed_before;
}

const char *muster_client_error(const struct muster_client *client) { return client->failure.text; }
const char *muster_client_endpoint(const struct muster_client *client) { return client->endpoints.list[client->endpoints.current]; }

const char *muster_verdict_name(uint32_t verdict) { return vocabulary_verdict(verdict); }
const char *muster_reason_name(uint32_t reason) { return vocabulary_reason(reason); }
const char *muster_reason_sentence(uint32_t reason) { return vocabulary_reason_sentence(reason); }
const char *muster_version(void) { return MUSTER_VERSION; }
