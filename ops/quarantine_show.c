#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "ops/options.h"
#include "ops/quarantine.h"
#include "ops/receipt.h"
#include "ops/table.h"
#include "proto/encounter.pb-c.h"
#include "proto/json.h"
#include "proto/text.h"
#include "proto/vocabulary.h"

#define COMPLAINTS 20u /* damaged entries told one by one; the others are counted */

static const char *field_name(uint32_t field)
{
  const ProtobufCFieldDescriptor *descriptor = protobuf_c_message_descriptor_get_field(&muster__v1__encounter__descriptor, field);
  return descriptor ? descriptor->name : "-";
}

/* ---- list ---- */

struct group {
  uint32_t key; /* reason or submitter */
  uint64_t entries, times;
};
struct listing {
  const struct ops_quarantine_options *o;
  const struct key_list *names;
  struct group *groups;
  size_t count, capacity;
  struct ops_table rows;
  struct store_refused *entry; /* without their bytes */
  uint64_t entries, shown, room;
};

static int add_to_group(struct listing *l, uint32_t key, uint64_t times)
{
  size_t i = 0;
  while (i < l->count && l->groups[i].key != key)
    i++;
  if (i == l->capacity) {
    size_t capacity = l->capacity ? l->capacity * 2 : 32;
    struct group *groups = reallocarray(l->groups, capacity, sizeof *groups);
    if (!groups)
      return MUSTER_ERR_MEMORY;
    l->groups = groups;
    l->capacity = capacity;
  }
  if (i == l->count)
    l->groups[l->count++] = (struct group){.key = key};
  l->groups[i].entries++;
  l->groups[i].times += times;
  return MUSTER_OK;
}

static void add_row(struct listing *l, const struct store_refused *entry)
{
  char address[TEXT_ADDRESS], text[RECEIPT_NAME];
  text_address(address, entry->shard, entry->number);
  ops_table_cell(&l->rows, 0, address);
  ops_table_cell(&l->rows, 1, vocabulary_reason(entry->reason));
  ops_table_cell(&l->rows, 2, field_name(entry->field));
  ops_table_cell(&l->rows, 3, ops_receipt_submitter(l->names, entry->submitter, text));
  ops_table_count(&l->rows, 4, entry->times);
  ops_table_count(&l->rows, 5, entry->size);
  ops_table_cell(&l->rows, 6, ops_receipt_time(entry->first_us, text));
  ops_table_cell(&l->rows, 7, ops_receipt_time(entry->last_us, text));
  l->shown++;
}

static int list_entry(void *context, const struct store_refused *entry)
{
  struct listing *l = context;
  if (l->entries == l->room) {
    uint64_t room = l->room ? l->room * 2 : 256;
    struct store_refused *larger = reallocarray(l->entry, room, sizeof *larger);
    if (!larger)
      return MUSTER_ERR_MEMORY;
    l->entry = larger;
    l->room = room;
  }
  l->entry[l->entries] = *entry;
  l->entry[l->entries++].bytes = NULL;
  return add_to_group(l, l->o->by_submitter ? entry->submitter : entry->reason, entry->times);
}

/* The store keeps them by submitter and content; people read them in the order in which they were first refused. */
static int by_address(const void *left, const void *right)
{
  const struct store_refused *a = left, *b = right;
  return a->shard != b->shard ? (a->shard > b->shard) - (a->shard < b->shard) : (a->number > b->number) - (a->number < b->number);
}

static void add_rows(struct listing *l)
{
  qsort(l->entry, l->entries, sizeof *l->entry, by_address);
  for (uint64_t i = 0; i < l->entries && (l->o->rows == 0 || i < l->o->rows); i++)
    add_row(l, &l->entry[i]);
}

static int most_first(const void *left, const void *right)
{
  const struct group *a = left, *b = right;
  return a->entries != b->entries ? (a->entries < b->entries ? 1 : -1) : a->key < b->key ? -1 : a->key > b->key;
}

static void print_groups(struct listing *l)
{
  struct ops_table t;
  bool by_submitter = l->o->by_submitter;
  if (l->count > 1)
    qsort(l->groups, l->count, sizeof *l->groups, most_first);
  ops_table_init(&t, 4);
  ops_table_cell(&t, 0, by_submitter ? "submitter" : "reason");
  ops_table_cell(&t, 1, "entries");
  ops_table_cell(&t, 2, "times");
  ops_table_cell(&t, 3, "");
  for (size_t i = 0; i < l->count; i++) {
    char name[RECEIPT_NAME];
    const struct group *g = &l->groups[i];
    ops_table_cell(&t, 0, by_submitter ? ops_receipt_submitter(l->names, g->key, name) : vocabulary_reason(g->key));
    ops_table_count(&t, 1, g->entries);
    ops_table_count(&t, 2, g->times);
    ops_table_cell(&t, 3, by_submitter ? "" : vocabulary_reason_sentence(g->key));
  }
  ops_table_print(&t, 0, stdout);
  ops_table_finish(&t);
}

struct reading {
  int (*each)(void *context, const struct store_refused *entry);
  void *context;
  struct ops_quarantine_damage *damage;
};

static int read_entry(void *context, const struct store_refused *entry)
{
  const struct reading *reading = context;
  return reading->each(reading->context, entry);
}

/* What is damaged of an entry may be its number. */
static void pass_damaged(void *context, const struct store_refused *entry)
{
  struct ops_quarantine_damage *damage = ((const struct reading *)context)->damage;
  damage->entries++;
  if (!damage->quiet && damage->entries <= COMPLAINTS)
    ops_complain("quarantine", "entry %u:%" PRIu64 " of submitter %u is damaged in the store and was passed over; run muster verify",
                 entry->shard, entry->number, entry->submitter);
}

int ops_quarantine_each(struct ops_shards *s, int (*each)(void *context, const struct store_refused *entry), void *context,
                        struct ops_quarantine_damage *damage, struct failure *failure)
{
  struct reading reading = {.each = each, .context = context, .damage = damage};
  for (uint32_t shard = 0; shard < s->count; shard++) {
    struct failure why = FAILURE_NONE;
    const int status = s->reader[shard] ? store_reader_quarantine_past(s->reader[shard], read_entry, pass_damaged, &reading, &why)
                                        : ops_shards_why(s, shard, &why);
    if (status == MUSTER_ERR_CORRUPT || !s->reader[shard]) {
      damage->shards++;
      damage->again |= status == MUSTER_ERR_AGAIN;
      if (!damage->quiet)
        ops_complain("quarantine", "%s; %s was passed over", why.text, s->reader[shard] ? "what stands behind that" : "this shard");
    } else if (status < 0) {
      return failure_set(failure, status, "the quarantine of shard %u cannot be read: %s", shard,
                         why.text[0] ? why.text : muster_status_text(status));
    } else if (status > 0) {
      return status;
    }
  }
  return MUSTER_OK;
}

int ops_quarantine_end(const struct ops_quarantine_damage *damage, int code)
{
  char number[TABLE_NUMBER];
  if (damage->entries > COMPLAINTS)
    ops_complain("quarantine", "%s damaged entries in all were passed over", ops_table_number(number, damage->entries));
  if (code != EX_OK || damage->entries + damage->shards == 0)
    return code;
  return damage->again ? EX_TEMPFAIL : 1;
}

int ops_quarantine_list(const struct ops_quarantine_options *o, struct ops_shards *s)
{
  static const char *const headings[] = {"entry", "reason", "field", "submitter", "times", "bytes", "first", "last"};
  struct failure failure = FAILURE_NONE;
  struct key_list *names = ops_receipt_names(&s->data);
  struct listing l = {.o = o, .names = names};
  struct ops_quarantine_damage damage = {0};
  char number[TABLE_NUMBER];
  ops_table_init(&l.rows, 8);
  for (size_t c = 0; c < 8; c++)
    ops_table_cell(&l.rows, c, headings[c]);
  int code = EX_OK;
  if (ops_quarantine_each(s, list_entry, &l, &damage, &failure) != MUSTER_OK) {
    code = ops_fail("quarantine", &failure);
  } else if (l.entries == 0) {
    puts(damage.entries + damage.shards ? "no entry of the quarantine can be read" : "the quarantine is empty");
  } else {
    print_groups(&l);
    add_rows(&l);
    putchar('\n');
    ops_table_print(&l.rows, 0, stdout);
    if (l.shown < l.entries)
      printf("and %s more, by shard and number; --rows 0 shows all\n", ops_table_number(number, l.entries - l.shown));
  }
  code = ops_quarantine_end(&damage, code);
  free(l.groups);
  free(l.entry);
  ops_table_finish(&l.rows);
  key_list_close(names);
  return ops_output_finish("quarantine", code);
}

/* ---- show ---- */

struct showing {
  const struct ops_quarantine_options *o;
  const struct key_list *names;
};

/* Offset, sixteen bytes, and their printable ASCII, for what is no record. */
static void print_bytes(const uint8_t *bytes, uint32_t size)
{
  for (uint32_t at = 0; at < size; at += 16) {
    printf("%08x ", at);
    for (uint32_t i = at; i < at + 16; i++)
      i < size ? printf(" %02x", bytes[i]) : printf("   ");
    fputs("  ", stdout);
    for (uint32_t i = at; i < at + 16 && i < size; i++)
      putchar(bytes[i] < 0x80 && isprint(bytes[i]) ? bytes[i] : '.');
    putchar('\n');
  }
}

static void print_payload(const struct store_refused *entry)
{
  struct encounter_view view;
  struct scan_fault fault;
  json_t *object = scan_encounter(&view, entry->bytes, entry->size, &fault) ? json_from_encounter(&view) : NULL;
  if (object) {
    json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
  } else {
    print_bytes(entry->bytes, entry->size);
  }
  json_decref(object);
}

static int show_entry(void *context, const struct store_refused *entry)
{
  const struct showing *showing = context;
  char text[RECEIPT_NAME], number[TABLE_NUMBER];
  if (entry->shard != showing->o->shard || entry->number != showing->o->number)
    return 0;
  printf("entry      %u:%" PRIu64 "\n", entry->shard, entry->number);
  printf("reason     %s: %s\n", vocabulary_reason(entry->reason), vocabulary_reason_sentence(entry->reason));
  printf("field      %s\n", entry->field ? field_name(entry->field) : "the record as a whole");
  printf("submitter  %s\n", ops_receipt_submitter(showing->names, entry->submitter, text));
  printf("times      %s\n", ops_table_number(number, entry->times));
  printf("first      %s\n", ops_receipt_time(entry->first_us, text));
  printf("last       %s\n", ops_receipt_time(entry->last_us, text));
  printf("bytes      %s\n", ops_table_number(number, entry->size));
  if (showing->o->payload)
    print_payload(entry);
  return 1;
}

int ops_quarantine_show(const struct ops_quarantine_options *o, struct ops_shards *s)
{
  struct failure failure = FAILURE_NONE;
  struct key_list *names = ops_receipt_names(&s->data);
  struct showing showing = {.o = o, .names = names};
  struct ops_quarantine_damage damage = {.quiet = true};
  int status = ops_quarantine_each(s, show_entry, &showing, &damage, &failure);
  key_list_close(names);
  if (status == 0 && damage.entries + damage.shards) {
    ops_complain("quarantine",
                 "there is no entry %u:%" PRIu64 " that can be read, and damaged ones in the store: it may be one of them; run "
                 "muster verify",
                 o->shard, o->number);
    return EX_DATAERR;
  }
  if (status == 0) {
    ops_complain("quarantine", "there is no entry %u:%" PRIu64 "; `muster quarantine list' names those there are", o->shard, o->number);
    return EX_NOINPUT;
  }
  return status < 0 ? ops_fail("quarantine", &failure) : ops_output_finish("quarantine", EX_OK);
}
