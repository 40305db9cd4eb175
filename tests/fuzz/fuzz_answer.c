/*
 * What a node says to a client, as the client library reads it: up to eight messages of any frames, to a client that has
 * three batches out and one that waits. An input is, for each message, the count of its frames, the size of the first, the
 * size of the second, and their bytes. After each message:
 *
 * - verdicts are told only by an answer that names the batch and its count of records, as protobuf-c reads it; each is the
 *   word at the record's place, all final ones of the batch are told, and no record is told a second one, ever;
 * - what is left of a batch are exactly the records without a verdict, in their order;
 * - a message that ends the client tells no verdict, comes with a sentence, and is the last one that has any effect;
 * - the library's own counts are those of the verdicts, and what it believes to be sent is what is sent.
 */
#include "tests/fuzz/fuzz.h"

#include "client/client.h"
#include "proto/batch.h"
#include "proto/wire.pb-c.h"

enum { TOLD, KEPT, OTHER_FORM, BUSY, AGAIN, LATE, BREACH, REFUSED, WELCOME, IGNORED, LAST };
static struct fuzz_outcome outcomes[] = {
    [TOLD] = {"verdicts", 0},
    [KEPT] = {"batches told in part", 0},
    [OTHER_FORM] = {"verdicts in another form", 0},
    [BUSY] = {"batches told BUSY", 0},
    [AGAIN] = {"told to send again", 0},
    [LATE] = {"answers to nothing", 0},
    [BREACH] = {"breaches", 0},
    [REFUSED] = {"refused batches", 0},
    [WELCOME] = {"welcomes", 0},
    [IGNORED] = {"of kinds to come", 0},
    [LAST] = {NULL, 0},
};
enum { BATCHES = 4, RECORDS = 44, MESSAGES = 8, FIRST_ID = 1000, NEXT_ID = 2000 };
static const uint32_t counts_of[BATCHES] = {1, 3, 33, 7};

static struct muster_client client;
static struct client_batch batches[BATCHES];
static uint64_t tags[BATCHES][RECORDS];

/* What was heard of each record, by its number, which is its tag. */
static struct {
  struct muster_verdict verdict;
  uint32_t times;
} heard[RECORDS];
static uint32_t told_now, notices;

static void on_verdict(void *context, const struct muster_verdict *v)
{
  (void)context;
  CHECK(v->tag < RECORDS, "tag %llu", (unsigned long long)v->tag);
  heard[v->tag].verdict = *v;
  CHECK(++heard[v->tag].times == 1, "record %llu is told again", (unsigned long long)v->tag);
  told_now++;
}

static void on_notice(void *context, const char *sentence)
{
  (void)context;
  CHECK(sentence[0] != '\0', "an empty notice");
  notices++;
}

/* ---- a client without a connection ---- */

static void client_begin(void)
{
  static bool there;
  struct muster_client *c = &client;
  if (!there) {
    uv_loop_init(&c->loop);
    uv_timer_init(&c->loop, &c->timer);
    uv_timer_init(&c->loop, &c->deadline);
    c->timer.data = c;
    there = true;
  }
  c->options = (struct muster_options)MUSTER_OPTIONS_INIT;
  c->options.on_verdict = on_verdict;
  c->options.on_notice = on_notice;
  c->options.batch_records = RECORDS;
  c->options.window_batches = 0; /* nothing is sent: there is no link */
  c->batches = batches;
  c->batch_count = BATCHES;
  c->credit = 1;
  c->batch_records_max = RECORDS;
  c->message_bytes_max = LIMIT_MESSAGE_BYTES;
  c->answer_timeout_ms = CLIENT_ANSWER_TIMEOUT_MS;
  c->endpoints.count = 1;
  strcpy(c->endpoints.list[0], "ipc://nowhere");
  c->welcomed = c->welcomed_before = c->told_lost = c->connected = false;
  c->final = MUSTER_OK;
  c->failure = FAILURE_NONE;
  c->counts = (struct muster_counts){0};
  c->next_id = NEXT_ID;
  c->next_order = BATCHES;
  c->sent = 3;
  c->told_reason = 0;
  c->down_ms = c->down_told_ms = c->given_back = 0;
  memset(heard, 0, sizeof heard);
  notices = 0;
}

/* Each record is its number in two bytes. */
static void batches_begin(void)
{
  uint64_t number = 0;
  for (uint32_t i = 0; i < BATCHES; i++) {
    struct client_batch *b = &batches[i];
    *b = (struct client_batch){.state = i < 3 ? CLIENT_BATCH_SENT : CLIENT_BATCH_WAITING,
                               .sent_before = true,
                               .count = counts_of[i],
                               .id = FIRST_ID + i,
                               .order = i};
    b->tags = tags[i];
    b->bytes = malloc(3 * (size_t)b->count);
    for (uint32_t k = 0; k < b->count; k++, number++) {
      b->tags[k] = number;
      b->bytes[b->used++] = 2;
      b->bytes[b->used++] = (uint8_t)number;
      b->bytes[b->used++] = 'r';
    }
    link_frame_init_empty(&b->records);
    CHECK(link_frame_init_heap(&b->records, b->bytes, b->used) == MUSTER_OK, "a frame");
    b->bytes = NULL;
  }
}

static void batches_end(void)
{
  for (uint32_t i = 0; i < BATCHES; i++) {
    batches[i].tags = NULL; /* not of malloc */
    client_batch_finish(&batches[i]);
  }
}

/* ---- what holds at every moment ---- */

static void check_left(const struct client_batch *b, uint32_t *left)
{
  const uint8_t *p = link_frame_data((struct link_frame *)&b->records), *end = p + link_frame_size(&b->records);
  struct batch_record record;
  CHECK(b->count > 0, "batch %llu is in the window, and has no record", (unsigned long long)b->id);
  for (uint32_t i = 0; i < b->count; i++) {
    CHECK(batch_next(&p, end, &record) == BATCH_RECORD && record.size == 2 && record.bytes[0] == b->tags[i], "record %u of batch %llu", i,
          (unsigned long long)b->id);
    CHECK(heard[b->tags[i]].times == 0, "record %llu has its verdict and is sent again", (unsigned long long)b->tags[i]);
    CHECK(i == 0 || b->tags[i] > b->tags[i - 1], "the order of batch %llu", (unsigned long long)b->id);
  }
  CHECK(p == end, "batch %llu holds more than its %u records", (unsigned long long)b->id, b->count);
  *left += b->count;
}

static void check_client(void)
{
  uint32_t left = 0, told = 0, sent = 0;
  const struct muster_counts *n = &client.counts;
  for (uint32_t i = 0; i < BATCHES; i++) {
    sent += batches[i].state == CLIENT_BATCH_SENT;
    if (batches[i].state != CLIENT_BATCH_FREE)
      check_left(&batches[i], &left);
  }
  for (uint32_t i = 0; i < RECORDS; i++)
    told += heard[i].times;
  CHECK(left + told == RECORDS, "%u records without a verdict, %u with one, of %u", left, told, RECORDS);
  CHECK(n->accepted + n->duplicate + n->conflict + n->invalid == told, "the counts of %u verdicts", told);
  CHECK(client.final != MUSTER_OK || client.sent == sent, "%u batches are sent, not %u", sent, client.sent);
  CHECK(client.credit >= 1 && client.batch_records_max >= 1 && client.batch_records_max <= RECORDS &&
            client.message_bytes_max > LIMIT_RECORD_BYTES,
        "credit %u, %u records, %u bytes", client.credit, client.batch_records_max, client.message_bytes_max);
  CHECK((client.final == MUSTER_OK) || client.failure.text[0] != '\0', "an end without a sentence");
}

/* ---- one message ---- */

static bool word_is(uint64_t word, const struct muster_verdict *v)
{
  if (v->verdict != (word & 15) || v->shard != (word >> 4 & 4095))
    return false;
  if (v->verdict == MUSTER_INVALID)
    return v->reason == (word >> 16 & 0xffff) && v->field == (word >> 32 & 0xffff) && v->sequence == 0;
  return v->sequence == word >> 16 && v->reason == 0;
}

/* Some verdicts were told: the message must say each of them, of this batch as it was before. */
static void check_verdicts(const Muster__V1__AnswerHeader *h, const uint8_t *body, size_t size, const struct client_batch *before,
                           const uint64_t *tags_before)
{
  CHECK(h && h->kind == MUSTER__V1__KIND__KIND_ANSWER && h->has_batch_id && h->record_count == before->count,
        "verdicts from no such answer");
  Muster__V1__Verdicts *v = muster__v1__verdicts__unpack(NULL, size, body);
  CHECK(v && v->n_word == before->count, "%zu words for %u records", v ? v->n_word : 0, before->count);
  uint32_t final = 0;
  for (uint32_t i = 0; i < before->count; i++) {
    const bool is_final = (v->word[i] & 15) >= MUSTER_ACCEPTED && (v->word[i] & 15) <= MUSTER_INVALID;
    CHECK((heard[tags_before[i]].times == 1) == is_final, "record %u with word %llx", i, (unsigned long long)v->word[i]);
    CHECK(!is_final || word_is(v->word[i], &heard[tags_before[i]].verdict), "record %u with word %llx", i, (unsigned long long)v->word[i]);
    final += is_final;
  }
  CHECK(final == told_now, "%u verdicts told, %u final words", told_now, final);
  outcomes[TOLD].count++;
  outcomes[KEPT].count += final < before->count;
  outcomes[OTHER_FORM].count += size != 1 + varint_size(8 * (uint64_t)before->count) + 8 * (uint64_t)before->count;
  muster__v1__verdicts__free_unpacked(v, NULL);
}

static void count_quiet(const Muster__V1__AnswerHeader *h, const struct client_batch *before, bool was_welcomed)
{
  if (client.final != MUSTER_OK)
    outcomes[strstr(client.failure.text, "refused") ? REFUSED : BREACH].count++;
  else if (client.welcomed && !was_welcomed)
    outcomes[WELCOME].count++;
  else if (!h || h->kind != MUSTER__V1__KIND__KIND_ANSWER)
    outcomes[IGNORED].count++;
  else if (!before)
    outcomes[LATE].count++;
  else
    outcomes[h->has_batch_verdict && h->batch_verdict == MUSTER__V1__VERDICT__VERDICT_BUSY ? BUSY : AGAIN].count++;
}

static void try_message(struct link_message *m, const uint8_t *first, size_t first_size, const uint8_t *second, size_t second_size)
{
  uint64_t tags_before[RECORDS];
  struct client_batch before, *named = NULL;
  const int final_before = client.final;
  const bool welcomed = client.welcomed;
  Muster__V1__AnswerHeader *h = muster__v1__answer_header__unpack(NULL, first_size, first);
  for (uint32_t i = 0; h && i < BATCHES; i++)
    if (batches[i].id == h->batch_id && batches[i].state != CLIENT_BATCH_FREE)
      named = &batches[i];
  if (named) {
    before = *named;
    memcpy(tags_before, named->tags, before.count * sizeof *tags_before);
  }
  told_now = 0;
  client_session_take(&client, m);
  if (told_now > 0) {
    CHECK(named && final_before == MUSTER_OK && client.final == MUSTER_OK, "verdicts told by no answer, or beside an end");
    check_verdicts(h, second, second_size, &before, tags_before);
  } else if (final_before == MUSTER_OK)
    count_quiet(h, named, welcomed);
  CHECK(final_before == MUSTER_OK || (client.final == final_before && told_now == 0), "an effect behind the end");
  if (h)
    muster__v1__answer_header__free_unpacked(h, NULL);
}

static void frame_put(struct link_frame *f, const uint8_t *bytes, size_t size)
{
  CHECK(link_frame_init_heap(f, fuzz_copy(bytes, size), size) == MUSTER_OK, "a frame of %zu bytes", size);
}

/* ---- inputs ---- */

static void make_words(struct wire *body, struct random *r, uint32_t count)
{
  uint8_t packed[8 * RECORDS];
  const bool all_final = random_below(r, 2);
  for (uint32_t i = 0; i < count; i++) {
    const uint64_t kind = all_final ? 1 + random_below(r, 4) : random_below(r, 8);
    const uint64_t word = kind >= 4 ? verdict_refused((uint32_t)kind, 3, 1 + random_below(r, 255), random_below(r, 18))
                                    : verdict_durable((uint32_t)kind, 3, 1 + i);
    store_u64(packed + 8 * (size_t)i, word);
  }
  const uint32_t form = random_below(r, 8);
  for (uint32_t i = 0; form == 0 && i < count; i++) { /* not packed: legal, too */
    wire_tag(body, 1, 1);
    wire_bytes(body, packed + 8 * (size_t)i, 8);
  }
  if (form == 0)
    return;
  wire_tag(body, 1, 2);
  wire_varint(body, 8 * (uint64_t)count, form == 1 ? 4 : 0);
  wire_bytes(body, packed, 8 * (size_t)count);
}

static void make_message(struct wire *out, struct random *r)
{
  static struct wire body;
  uint8_t packed[256];
  Muster__V1__AnswerHeader h = MUSTER__V1__ANSWER_HEADER__INIT;
  const uint32_t batch = random_below(r, BATCHES);
  h.has_kind = h.has_version_major = h.has_batch_id = h.has_record_count = h.has_credit = 1;
  h.kind = random_below(r, 16) ? MUSTER__V1__KIND__KIND_ANSWER : (Muster__V1__Kind)random_below(r, 9);
  h.version_major = 1;
  h.batch_id = random_below(r, 8) ? FIRST_ID + batch : random_below(r, 2) ? NEXT_ID + random_below(r, 3) : random_below(r, 3);
  h.record_count = random_below(r, 8) ? counts_of[batch] : random_below(r, random_below(r, 2) ? 1 : RECORDS);
  h.credit = random_below(r, 20);
  if ((h.has_batch_verdict = h.has_batch_reason = random_below(r, 5) == 0)) {
    h.batch_verdict = (Muster__V1__Verdict)random_below(r, 9);
    h.batch_reason = (Muster__V1__Reason)(random_below(r, 2) ? 200 + random_below(r, 6) : 100 + random_below(r, 8));
  }
  h.has_retry_after_ms = random_below(r, 2);
  h.retry_after_ms = random_below(r, 1000);
  body.size = 0;
  if (!h.has_batch_verdict)
    make_words(&body, r, random_below(r, 16) ? counts_of[batch] : random_below(r, RECORDS));
  const size_t size = muster__v1__answer_header__pack(&h, packed);
  wire_byte(out, (uint8_t)(random_below(r, 16) ? 2 : random_below(r, 5)));
  const uint16_t sizes[] = {(uint16_t)size, (uint16_t)body.size};
  wire_bytes(out, sizes, sizeof sizes);
  wire_bytes(out, packed, size);
  wire_bytes(out, body.bytes, body.size);
}

static void make_welcome(struct wire *out, struct random *r)
{
  uint8_t packed[256], node[16] = {(uint8_t)random_below(r, 2)};
  Muster__V1__Welcome w = MUSTER__V1__WELCOME__INIT;
  w.has_kind = w.has_version_major = w.has_accepted = w.has_node_id = w.has_credit = w.has_batch_records_max = w.has_message_bytes_max = 1;
  w.kind = MUSTER__V1__KIND__KIND_WELCOME;
  w.version_major = 1;
  w.accepted = random_below(r, 8) > 0;
  w.node_id = (ProtobufCBinaryData){.len = random_below(r, 8) ? sizeof node : random_below(r, 16), .data = node};
  w.credit = random_below(r, 20);
  w.batch_records_max = (uint32_t)random_wide(r);
  w.message_bytes_max = (uint32_t)random_wide(r);
  const size_t size = muster__v1__welcome__pack(&w, packed);
  const uint16_t sizes[] = {(uint16_t)size, 0};
  wire_byte(out, 1);
  wire_bytes(out, sizes, sizeof sizes);
  wire_bytes(out, packed, size);
}

static void make(struct wire *out, struct random *r, const struct wire *corpus, uint32_t corpus_count)
{
  (void)corpus;
  (void)corpus_count;
  for (uint32_t messages = 1 + random_below(r, 4); messages > 0; messages--)
    (random_below(r, 8) ? make_message : make_welcome)(out, r);
}

const struct fuzz_target fuzz_target = {.name = "answer", .short_count = 300000, .outcomes = outcomes, .make = make};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  struct fuzz_reader in = {.p = data, .end = data + size};
  client_begin();
  batches_begin();
  check_client();
  for (unsigned i = 0; i < MESSAGES && in.p < in.end; i++) {
    struct link_message m;
    link_message_init(&m);
    m.frame_count = 1 + (fuzz_byte(&in) + LINK_FRAMES) % (LINK_FRAMES + 1); /* 1 to one more than there is room for */
    size_t first_size = fuzz_short(&in), second_size = fuzz_short(&in);
    const uint8_t *first = fuzz_bytes(&in, &first_size), *second = fuzz_bytes(&in, &second_size);
    frame_put(&m.frame[0], first, first_size);
    if (m.frame_count > 1)
      frame_put(&m.frame[1], second, second_size);
    try_message(&m, first, first_size, second, m.frame_count > 1 ? second_size : 0);
    link_message_finish(&m);
    check_client();
  }
  batches_end();
  return 0;
}
