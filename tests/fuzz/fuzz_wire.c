/*
 * One message of a submitter through a whole ingest without sockets: gate, admission, split, shards, gather. An input is
 * the count of frames, the size of the first, and the bytes of both. For any input:
 *
 * - exactly one answer leaves, and it is the one that a plain reading of proto/README.md gives: of a hello, a status, a
 *   batch refused for this reason at this record and byte, or a batch that is taken in;
 * - protobuf-c reads headers the same on the gate's small arena as with all the memory there is;
 * - of a batch that is taken in, each record goes to the shard of its id as it came, and gets the word that its worker
 *   said, at its own place;
 * - afterwards nothing is held: budget, slots and what is at the workers are at zero, and the counters agree.
 */
#include "tests/fuzz/asserts.h"

#include "core/log.h"
#include "ingest/node.h"
#include "proto/digest.h"
#include "proto/encounter.pb-c.h"
#include "proto/scan.h"

#define REASON(name) MUSTER__V1__REASON__REASON_##name
enum { SHARDS = 4, HELLO = 1, STATUS, HEADER, VERSION, FRAMES, EMPTY, TOO_MANY, COUNT, STREAM, TAKEN, SEVERAL, LAST };
static struct fuzz_outcome outcomes[] = {
    [0] = {"messages", 0},
    [HELLO] = {"hellos", 0},
    [STATUS] = {"status requests", 0},
    [HEADER] = {"unreadable headers", 0},
    [VERSION] = {"other versions", 0},
    [FRAMES] = {"wrong frames", 0},
    [EMPTY] = {"empty batches", 0},
    [TOO_MANY] = {"too many records", 0},
    [COUNT] = {"wrong counts", 0},
    [STREAM] = {"broken streams", 0},
    [TAKEN] = {"batches taken in", 0},
    [SEVERAL] = {"to several shards", 0},
    [LAST] = {NULL, 0},
};

static struct node *node;

static void finish(void) { stage_counters_finish(node->counters); }

static void node_begin(void)
{
  if (node) {
    node->answer_first = node->answer_end = 0;
    memset(node->part_first, 0, sizeof node->part_first);
    memset(node->part_end, 0, sizeof node->part_end);
    return;
  }
  log_init("fuzz", LOG_ERROR + 1);
  node = node_create();
  node->config.workers = SHARDS;
  node_start(node);
  atexit(finish);
}

/* ---- what a plain reading gives ---- */

struct expected {
  uint32_t kind; /* Muster__V1__Kind of the answer */
  uint32_t reason, error_record, error_byte;
  bool accepted; /* of a hello */
  uint64_t batch_id;
  uint32_t record_count;
};

static bool read_varint(const uint8_t *data, size_t size, size_t *at, uint64_t *value, bool *cut)
{
  *value = 0;
  for (unsigned i = 0; i < 10; i++) {
    *cut = *at == size;
    if (*cut)
      return false;
    const uint8_t byte = data[(*at)++];
    if (i == 9 && (byte & 0x7f) > 1)
      return false;
    *value |= (uint64_t)(byte & 0x7f) << (7 * i);
    if (byte < 0x80)
      return true;
  }
  return false;
}

static void expect_stream(struct expected *e, const uint8_t *data, size_t size)
{
  size_t at = 0;
  uint32_t records = 0;
  for (;; records++) {
    size_t start = at;
    uint64_t length;
    bool cut;
    e->error_record = records;
    e->error_byte = (uint32_t)start;
    if (at == size) {
      e->reason = records == e->record_count ? 0 : REASON(BATCH_COUNT);
      return;
    }
    if (!read_varint(data, size, &at, &length, &cut) || length == 0 || length > size - at) {
      e->reason = REASON(BATCH_STREAM);
      return;
    }
    if (records == e->record_count) {
      e->reason = REASON(BATCH_COUNT);
      return;
    }
    at += (size_t)length;
  }
}

static void expect_submit(struct expected *e, uint32_t frames, const uint8_t *first, size_t first_size, const uint8_t *second, size_t size,
                          bool fits)
{
  Muster__V1__SubmitHeader *h = muster__v1__submit_header__unpack(NULL, first_size, first);
  e->kind = MUSTER__V1__KIND__KIND_ANSWER;
  e->batch_id = h && h->has_batch_id ? h->batch_id : 0;
  e->record_count = h && h->has_record_count ? h->record_count : 0;
  if (!fits)
    e->reason = REASON(BATCH_VERSION);
  else if (!h || !h->has_batch_id || !h->has_record_count)
    e->reason = REASON(BATCH_HEADER);
  else if (frames != 2)
    e->reason = REASON(BATCH_FRAMES);
  else if (h->record_count > LIMIT_BATCH_RECORDS)
    e->reason = REASON(BATCH_TOO_MANY_RECORDS);
  else if (h->record_count == 0 || size == 0)
    e->reason = REASON(BATCH_EMPTY);
  else
    expect_stream(e, second, size);
  if (h)
    muster__v1__submit_header__free_unpacked(h, NULL);
}

static void expect(struct expected *e, uint32_t frames, const uint8_t *first, size_t first_size, const uint8_t *second, size_t size)
{
  Muster__V1__Header *h = frames > 0 && first_size <= LIMIT_HEADER_BYTES ? muster__v1__header__unpack(NULL, first_size, first) : NULL;
  *e = (struct expected){.kind = MUSTER__V1__KIND__KIND_ANSWER, .reason = REASON(BATCH_HEADER)};
  if (!h || !h->has_kind || !h->has_version_major) {
    if (h)
      muster__v1__header__free_unpacked(h, NULL);
    return;
  }
  const bool fits = h->version_major == 1;
  if (h->kind == MUSTER__V1__KIND__KIND_HELLO) {
    Muster__V1__Hello *hello = muster__v1__hello__unpack(NULL, first_size, first);
    e->accepted = fits;
    if (frames != 1 || (fits && !hello))
      e->reason = hello ? REASON(BATCH_FRAMES) : REASON(BATCH_HEADER);
    else
      *e = (struct expected){.kind = MUSTER__V1__KIND__KIND_WELCOME, .accepted = fits};
    if (hello)
      muster__v1__hello__free_unpacked(hello, NULL);
  } else if (h->kind == MUSTER__V1__KIND__KIND_STATUS_REQUEST) {
    if (!fits || frames != 1)
      e->reason = fits ? REASON(BATCH_FRAMES) : REASON(BATCH_VERSION);
    else
      *e = (struct expected){.kind = MUSTER__V1__KIND__KIND_STATUS};
  } else if (h->kind == MUSTER__V1__KIND__KIND_SUBMIT)
    expect_submit(e, frames, first, first_size, second, size, fits);
  muster__v1__header__free_unpacked(h, NULL);
}

/* ---- the workers ---- */

/* Each record of the stream is the next one of its shard's part; words are given by its place in the batch. */
static void check_parts(const uint8_t *stream, size_t size)
{
  const uint8_t *p = stream, *at[SHARDS], *end[SHARDS];
  struct batch_record record, part;
  uint32_t with = 0;
  for (uint32_t shard = 0; shard < SHARDS; shard++) {
    CHECK(node_parts(node, shard) <= 1, "%u parts", node_parts(node, shard));
    struct link_frame *f = node_parts(node, shard) ? &node->part[shard][0].records : NULL;
    at[shard] = f ? link_frame_data(f) : NULL;
    end[shard] = f ? at[shard] + link_frame_size(f) : NULL;
    with += f != NULL;
  }
  for (uint32_t i = 0; batch_next(&p, stream + size, &record) == BATCH_RECORD; i++) {
    const uint8_t *id = scan_encounter_id(record.bytes, record.size);
    const uint32_t shard = id ? digest_shard(id, SHARDS) : digest_shard_of_bytes(record.bytes, record.size, SHARDS);
    struct encounter_view view;
    struct scan_fault fault;
    Muster__V1__Encounter *e = muster__v1__encounter__unpack(NULL, record.size, record.bytes);
    /* Of what the scan refuses and protobuf-c reads, the id may be another one, or none: its worker refuses it wherever it goes. */
    if (e && e->has_encounter_id && e->encounter_id.len == 16 && scan_encounter(&view, record.bytes, record.size, &fault))
      CHECK(digest_shard(e->encounter_id.data, SHARDS) == shard, "the id of record %u", i);
    if (e)
      muster__v1__encounter__free_unpacked(e, NULL);
    CHECK(at[shard] && batch_next(&at[shard], end[shard], &part) == BATCH_RECORD && part.size == record.size &&
              memcmp(part.bytes, record.bytes, part.size) == 0,
          "record %u at shard %u", i, shard);
  }
  for (uint32_t shard = 0; shard < SHARDS; shard++)
    CHECK(at[shard] == end[shard], "shard %u has more than its records", shard);
  outcomes[SEVERAL].count += with > 1;
}

/* The k-th word of a shard names shard and k. */
static void work(uint32_t shard)
{
  static uint64_t words[LIMIT_BATCH_RECORDS];
  if (node_parts(node, shard) == 0)
    return;
  struct node_part *part = &node->part[shard][node->part_first[shard]++];
  const uint32_t count = part->head.record_count;
  CHECK(part->head.kind == HOP_PART && part->head.shard == shard && part->head.shards == SHARDS && count > 0, "the head of a part");
  for (uint32_t k = 0; k < count; k++)
    words[k] = verdict_durable(MUSTER__V1__VERDICT__VERDICT_ACCEPTED, shard, k + 1);
  const struct hop_head head = {.kind = HOP_WORDS, .epoch = 7, .part_id = part->head.part_id, .record_count = count};
  link_frame_finish(&part->records);
  node_tell(node, shard, &head, words, (size_t)count * 8);
}

static void check_words(struct link_frame *body, const uint8_t *stream, size_t size)
{
  uint64_t of_shard[SHARDS] = {0};
  const uint8_t *p = stream;
  struct batch_record record;
  Muster__V1__Verdicts *v = stage_verdicts(body);
  size_t i = 0;
  for (; batch_next(&p, stream + size, &record) == BATCH_RECORD; i++) {
    const uint8_t *id = scan_encounter_id(record.bytes, record.size);
    const uint32_t shard = id ? digest_shard(id, SHARDS) : digest_shard_of_bytes(record.bytes, record.size, SHARDS);
    CHECK(i < v->n_word && v->word[i] == verdict_durable(MUSTER__V1__VERDICT__VERDICT_ACCEPTED, shard, ++of_shard[shard]),
          "the word of record %zu", i);
  }
  CHECK(i == v->n_word, "%zu words for %zu records", v->n_word, i);
  muster__v1__verdicts__free_unpacked(v, NULL);
}

/* ---- the answer ---- */

static void count_expected(const struct expected *e)
{
  static const struct {
    uint32_t reason, outcome;
  } of[] = {{REASON(BATCH_HEADER), HEADER},
            {REASON(BATCH_VERSION), VERSION},
            {REASON(BATCH_FRAMES), FRAMES},
            {REASON(BATCH_EMPTY), EMPTY},
            {REASON(BATCH_TOO_MANY_RECORDS), TOO_MANY},
            {REASON(BATCH_COUNT), COUNT},
            {REASON(BATCH_STREAM), STREAM},
            {0, TAKEN}};
  outcomes[0].count++;
  if (e->kind != MUSTER__V1__KIND__KIND_ANSWER)
    outcomes[e->kind == MUSTER__V1__KIND__KIND_WELCOME ? HELLO : STATUS].count++;
  else
    for (unsigned i = 0; i < sizeof of / sizeof *of; i++)
      outcomes[of[i].outcome].count += of[i].reason == e->reason;
}

static void check_answer(const struct expected *e, struct link_message *m, const uint8_t *stream, size_t size)
{
  Muster__V1__AnswerHeader *h = stage_header(&m->frame[0]);
  CHECK(m->frame_count == 2 && h->batch_id == e->batch_id && h->record_count == e->record_count, "batch %llu of %u, not %llu of %u",
        (unsigned long long)h->batch_id, h->record_count, (unsigned long long)e->batch_id, e->record_count);
  const uint32_t reason = h->has_batch_reason ? (uint32_t)h->batch_reason : 0;
  CHECK(reason == e->reason && h->has_batch_verdict == (reason != 0), "reason %u, not %u", reason, e->reason);
  CHECK(h->credit >= 1 && h->credit <= LIMIT_CREDIT, "credit %u", h->credit);
  if (reason == 0)
    check_words(&m->frame[1], stream, size);
  else
    CHECK(h->batch_verdict == MUSTER__V1__VERDICT__VERDICT_INVALID && link_frame_size(&m->frame[1]) == 0, "verdict %d", h->batch_verdict);
  const bool place = reason == REASON(BATCH_STREAM) || reason == REASON(BATCH_COUNT);
  CHECK(h->has_error_record == place && h->has_error_byte == place, "a place for reason %u", reason);
  CHECK(!place || (h->error_record == e->error_record && h->error_byte == e->error_byte), "record %u, byte %u, not record %u, byte %u",
        h->error_record, h->error_byte, e->error_record, e->error_byte);
  muster__v1__answer_header__free_unpacked(h, NULL);
}

static void check_reply(const struct expected *e, struct link_message *m)
{
  const size_t size = link_frame_size(&m->frame[0]);
  const uint8_t *data = link_frame_data(&m->frame[0]);
  if (e->kind == MUSTER__V1__KIND__KIND_WELCOME) {
    Muster__V1__Welcome *w = muster__v1__welcome__unpack(NULL, size, data);
    CHECK(w && m->frame_count == 1 && w->kind == MUSTER__V1__KIND__KIND_WELCOME && w->accepted == e->accepted && w->session == NODE_SESSION,
          "a welcome");
    muster__v1__welcome__free_unpacked(w, NULL);
  } else {
    Muster__V1__Status *s = muster__v1__status__unpack(NULL, size, data);
    CHECK(s && m->frame_count == 1 && s->kind == MUSTER__V1__KIND__KIND_STATUS && s->shards == SHARDS && s->batches_in_flight == 0,
          "a status");
    muster__v1__status__free_unpacked(s, NULL);
  }
}

static void check_rest(void)
{
  const struct ingest_admit *a = &node->flow.admit;
  CHECK(a->used_bytes == 0 && a->held_batches == 0 && a->at_workers_bytes == 0 && node->flow.gather.held == 0,
        "%llu bytes, %u batches are held", (unsigned long long)a->used_bytes, a->held_batches);
  stage_conserved(node->counters);
}

/* ---- inputs ---- */

static void make(struct wire *out, struct random *r, const struct wire *corpus, uint32_t corpus_count)
{
  static struct wire stream;
  uint8_t packed[128], record[SAMPLE_BYTES_MAX];
  Muster__V1__SubmitHeader h = MUSTER__V1__SUBMIT_HEADER__INIT;
  const uint32_t records = random_below(r, 12);
  (void)corpus;
  (void)corpus_count;
  stream.size = 0;
  for (uint32_t i = 0; i < records; i++) {
    const size_t size = sample_pack(record, r, 4 + random_below(r, 5));
    wire_varint(&stream, size, random_below(r, 16) ? 0 : random_below(r, 12));
    wire_bytes(&stream, record, size);
  }
  static const Muster__V1__Kind kinds[] = {MUSTER__V1__KIND__KIND_HELLO, MUSTER__V1__KIND__KIND_STATUS_REQUEST};
  h.has_kind = h.has_version_major = h.has_batch_id = h.has_record_count = 1;
  h.kind = random_below(r, 8) ? MUSTER__V1__KIND__KIND_SUBMIT : kinds[random_below(r, 2)];
  h.version_major = random_below(r, 16) ? 1 : (uint32_t)random_wide(r);
  h.batch_id = random_next(r);
  h.record_count = random_below(r, 8) ? records : (uint32_t)random_wide(r);
  size_t size = h.kind == MUSTER__V1__KIND__KIND_SUBMIT ? muster__v1__submit_header__pack(&h, packed) : 4;
  if (h.kind != MUSTER__V1__KIND__KIND_SUBMIT)
    memcpy(packed, (const uint8_t[]){8, (uint8_t)h.kind, 16, 1}, 4);
  wire_byte(out, h.kind == MUSTER__V1__KIND__KIND_SUBMIT && random_below(r, 16) ? 2 : 1);
  const uint16_t padded = (uint16_t)(size + (random_below(r, 8) ? 0 : 2 * random_below(r, 250)));
  wire_bytes(out, &padded, sizeof padded);
  wire_bytes(out, packed, size);
  for (; size < padded; size += 2)
    wire_bytes(out, (const uint8_t[]){0x78, 1}, 2); /* a field of a later version */
  if (out->bytes[0] == 2 && out->size + stream.size < FUZZ_BYTES_MAX)
    wire_bytes(out, stream.bytes, stream.size);
}

const struct fuzz_target fuzz_target = {.name = "wire", .short_count = 150000, .outcomes = outcomes, .make = make};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  struct fuzz_reader in = {.p = data, .end = data + size};
  struct expected e;
  node_begin();
  const uint32_t frames = fuzz_byte(&in) % (LINK_FRAMES + 2);
  size_t first_size = fuzz_short(&in), second_size = FUZZ_BYTES_MAX;
  uint8_t *first = fuzz_piece(&in, &first_size);
  uint8_t *second = fuzz_piece(&in, &second_size);
  expect(&e, frames, first, first_size, second, frames > 1 ? second_size : 0);
  count_expected(&e);
  const uint64_t received = counters_get(node->counters, COUNTER_records_received);
  node_receive(node, 'a', frames, first, first_size, second, second_size);
  const bool taken = e.kind == MUSTER__V1__KIND__KIND_ANSWER && e.reason == 0;
  CHECK(node_answers(node) == !taken, "%u answers at once", node_answers(node));
  CHECK(counters_get(node->counters, COUNTER_records_received) - received == (taken ? e.record_count : 0), "taken in, or not");
  if (taken)
    check_parts(second, second_size);
  for (uint32_t shard = 0; shard < SHARDS; shard++)
    work(SHARDS - 1 - shard);
  CHECK(node_answers(node) == 1, "%u answers", node_answers(node));
  struct link_message *m = node_take(node, 'a');
  if (e.kind == MUSTER__V1__KIND__KIND_ANSWER)
    check_answer(&e, m, second, second_size);
  else
    check_reply(&e, m);
  link_message_finish(m);
  check_rest();
  free(first);
  free(second);
  return 0;
}
