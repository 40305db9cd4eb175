/* Where the blocks of a damaged data.mdb are. */
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "store/salvage.h"

/* A page of LMDB: its number, two bytes, its kind, and how full it is or how many pages belong together. */
#define PAGE_HEADER_BYTES 16u
#define PAGE_KIND_AT 10u
#define PAGE_FULL_AT 12u /* where its list of nodes ends, two bytes */
#define PAGE_LEAF 0x02u
#define PAGE_OVERFLOW 0x04u /* a value of its own begins here */
#define NODE_HEADER_BYTES 8u
#define NODE_KEY_SIZE_AT 6u
#define WINDOW_BYTES (1u << 20)

/* What the disk cannot give is zero. */
static void find_read(const struct store_finding *f, uint8_t *out, size_t size, uint64_t at)
{
  const ssize_t got = file_read_at(f->fd, out, size, at);
  const size_t done = got > 0 ? (size_t)got : 0;
  memset(out + done, 0, size - done);
}

/* One unreadable page hides no other one. */
static void find_read_window(const struct store_finding *f, uint8_t *out, size_t size, uint64_t at)
{
  if (file_read_at(f->fd, out, size, at) == (ssize_t)size)
    return;
  for (size_t done = 0; done < size; done += f->page_bytes)
    find_read(f, out + done, size - done < f->page_bytes ? size - done : f->page_bytes, at + done);
}

static bool find_room(struct store_finding *f, size_t size)
{
  if (size <= f->block_room)
    return true;
  uint8_t *larger = realloc(f->block, size);
  if (!larger)
    return false;
  f->block = larger;
  f->block_room = size;
  return true;
}

bool store_found_read(struct store_finding *f, const struct store_found *found, struct store_block *b)
{
  if (!find_room(f, found->size))
    return false;
  find_read(f, f->block, found->size, found->at);
  return store_block_parse(b, f->block, found->size, found->first) && store_block_intact(b) && store_block_columns_intact(b) &&
         memcmp(b->header.checksum, found->checksum, sizeof found->checksum) == 0;
}

static int find_add(struct store_finding *f, const struct store_found *found)
{
  if (f->count == f->room) {
    const size_t room = f->room ? f->room * 2 : 1024;
    struct store_found *larger = reallocarray(f->found, room, sizeof *larger);
    if (!larger)
      return MUSTER_ERR_MEMORY;
    f->found = larger;
    f->room = room;
  }
  f->found[f->count++] = *found;
  return MUSTER_OK;
}

/* ---- one page ---- */

/* The value of a node of a leaf: its offset in the page, its key in *key. 0: there is no such node, or it does not lie within the page. */
static size_t leaf_value(const struct store_finding *f, const uint8_t *page, size_t node, const uint8_t **key, size_t *key_size)
{
  const size_t nodes = ((size_t)page[PAGE_FULL_AT] | (size_t)page[PAGE_FULL_AT + 1] << 8) / 2; /* from the page's header on */
  const size_t slot = PAGE_HEADER_BYTES + node * 2;
  if (node + PAGE_HEADER_BYTES / 2 >= nodes || slot + 2 > f->page_bytes)
    return 0;
  const size_t at = (size_t)page[slot] | (size_t)page[slot + 1] << 8;
  if (at < PAGE_HEADER_BYTES || at + NODE_HEADER_BYTES > f->page_bytes)
    return 0;
  *key_size = (size_t)page[at + NODE_KEY_SIZE_AT] | (size_t)page[at + NODE_KEY_SIZE_AT + 1] << 8;
  *key = page + at + NODE_HEADER_BYTES;
  const size_t value = at + NODE_HEADER_BYTES + *key_size;
  return value < f->page_bytes ? value : 0;
}

/* Whether LMDB has put a value here, and a block of this sequence. What lies within a record is where a submitter has put it. */
static bool is_leaf_value(const struct store_finding *f, const uint8_t *page, size_t offset, uint64_t first)
{
  const uint8_t *key;
  size_t key_size, value;
  for (size_t node = 0; (value = leaf_value(f, page, node, &key, &key_size)); node++)
    if (value == offset)
      return key_size == sizeof first && load_u64(key) == first;
  return false;
}

/* A block whose header lies here in the page. *pages: how many it fills, when it has pages of its own and they say so. */
static int find_block(struct store_finding *f, const uint8_t *page, uint64_t at, size_t offset, size_t *pages)
{
  struct store_block_header h;
  struct store_block b;
  memcpy(&h, page + offset, sizeof h);
  const size_t size = store_block_size(&h), left = f->page_bytes - offset;
  const bool own = offset == PAGE_HEADER_BYTES;
  if (!size || h.shard != f->shard || h.first == 0 || h.first > f->last || h.count - 1 > UINT64_MAX - h.first || (!own && size > left) ||
      size > f->size - at - offset)
    return MUSTER_OK;
  struct store_found found = {.first = h.first, .last = h.first + h.count - 1, .at = at + offset, .size = (uint32_t)size};
  memcpy(found.checksum, h.checksum, sizeof found.checksum);
  memcpy(found.previous, h.previous, sizeof found.previous);
  found.placed = load_u64(page) == at / f->page_bytes &&
                 (page[PAGE_KIND_AT] & PAGE_LEAF ? is_leaf_value(f, page, offset, h.first) : own && page[PAGE_KIND_AT] & PAGE_OVERFLOW);
  if (!find_room(f, size))
    return MUSTER_ERR_MEMORY;
  if (!store_found_read(f, &found, &b))
    return MUSTER_OK;
  if (own && found.placed)
    *pages = (offset + size + f->page_bytes - 1) / f->page_bytes;
  return find_add(f, &found);
}

static void find_meta(struct store_finding *f, const uint8_t *page)
{
  const uint8_t *key;
  size_t key_size, value;
  struct store_meta meta;
  for (size_t node = 0; (value = leaf_value(f, page, node, &key, &key_size)); node++)
    if (key_size == sizeof STORE_META_STATE - 1 && memcmp(key, STORE_META_STATE, key_size) == 0 && f->page_bytes - value >= sizeof meta &&
        store_meta_parse(&meta, page + value, sizeof meta) && (!f->meta_found || meta.records > f->meta.records)) {
      f->meta = meta;
      f->meta_found = true;
    }
}

/* *pages: how many of the pages from here on need no look of their own. */
static int find_in_page(struct store_finding *f, const uint8_t *page, uint64_t at, size_t *pages)
{
  static const uint32_t magic = STORE_BLOCK_MAGIC;
  const size_t before = offsetof(struct store_block_header, magic);
  int status = MUSTER_OK;
  *pages = 1;
  if (load_u64(page) == at / f->page_bytes && page[PAGE_KIND_AT] & PAGE_LEAF)
    find_meta(f, page);
  const uint8_t *p = page + before, *end = page + f->page_bytes;
  while (!status && *pages == 1 && (p = memmem(p, (size_t)(end - p), &magic, sizeof magic))) {
    if (end - p >= (ptrdiff_t)(sizeof(struct store_block_header) - before))
      status = find_block(f, page, at, (size_t)(p - page) - before, pages);
    p += sizeof magic;
  }
  return status;
}

static int find_in_file(struct store_finding *f)
{
  int status = MUSTER_OK;
  const size_t window = WINDOW_BYTES - WINDOW_BYTES % f->page_bytes;
  uint8_t *bytes = malloc(window);
  if (!bytes)
    return MUSTER_ERR_MEMORY;
  for (uint64_t at = 0; at + f->page_bytes <= f->size && !status;) {
    const uint64_t left = f->size - at;
    const size_t size = left < window ? (size_t)left : window;
    size_t pages, offset = 0;
    find_read_window(f, bytes, size, at);
    for (; offset + f->page_bytes <= size && !status; offset += pages * f->page_bytes)
      status = find_in_page(f, bytes + offset, at + offset, &pages);
    at += offset; /* behind the window where its last block is */
  }
  free(bytes);
  return status;
}

/* ---- which to believe ---- */

static int by_sequence(const void *a, const void *b)
{
  const struct store_found *one = a, *other = b;
  if (one->first != other->first)
    return one->first < other->first ? -1 : 1;
  const int same = memcmp(one->checksum, other->checksum, sizeof one->checksum);
  return same ? same : (int)other->placed - (int)one->placed;
}

/* A leaf of LMDB's is written anew with all that is in it, and its former page keeps a copy until it is used again. */
static void drop_copies(struct store_finding *f)
{
  size_t kept = 0;
  for (size_t i = 0; i < f->count; i++)
    if (!kept || f->found[kept - 1].first != f->found[i].first ||
        memcmp(f->found[kept - 1].checksum, f->found[i].checksum, sizeof f->found[i].checksum) != 0)
      f->found[kept++] = f->found[i];
  f->count = kept;
}

static size_t find_first(const struct store_finding *f, uint64_t sequence)
{
  size_t low = 0, high = f->count;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (f->found[middle].first < sequence)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/* Trust begins where LMDB has put a value and at the last block, and goes along the chain: whoever makes a block knows no checksum of ours. */
static void spread_trust(struct store_finding *f, const uint8_t *head)
{
  for (size_t i = 0; i < f->count; i++) {
    struct store_found *one = &f->found[i];
    one->trusted |= one->placed || (head && memcmp(one->checksum, head, sizeof one->checksum) == 0);
    for (size_t j = find_first(f, one->last + 1); one->trusted && j < f->count && f->found[j].first == one->last + 1; j++)
      f->found[j].trusted |= memcmp(f->found[j].previous, one->checksum, sizeof one->checksum) == 0;
  }
  for (size_t i = f->count; i-- > 0;) {
    struct store_found *one = &f->found[i];
    for (size_t j = find_first(f, one->last + 1); j < f->count && f->found[j].first == one->last + 1; j++)
      one->trusted |= f->found[j].trusted && memcmp(f->found[j].previous, one->checksum, sizeof one->checksum) == 0;
  }
}

/* They overlap, or stand side by side and the later one names another as the one before it. */
static bool contradicts(const struct store_found *earlier, const struct store_found *later)
{
  return later->first <= earlier->last ||
         (later->first == earlier->last + 1 && memcmp(later->previous, earlier->checksum, sizeof later->previous) != 0);
}

/* A writer names a block as the one before only when its commit has ended. What it names itself proves nothing: a commit that did not end, and the
 * one that took its place, name the same. */
static void mark_certain(struct store_finding *f, const uint8_t *head)
{
  for (size_t i = 0; i < f->count; i++) {
    struct store_found *one = &f->found[i];
    if (!one->trusted)
      continue;
    one->certain = head && memcmp(one->checksum, head, sizeof one->checksum) == 0;
    for (size_t j = find_first(f, one->last + 1); !one->certain && j < f->count && f->found[j].first == one->last + 1; j++)
      one->certain = f->found[j].trusted && memcmp(f->found[j].previous, one->checksum, sizeof one->checksum) == 0;
    one->certain = one->certain || (f->led_to && f->led_to(f->context, one));
  }
}

/* Bytes that look like a block and are none of the chain: of a commit that did not end, or within a record that somebody has made so. */
static void drop_false(struct store_finding *f)
{
  const struct store_found *certain = NULL;
  for (size_t i = f->count; i-- > 0;) {
    struct store_found *one = &f->found[i];
    if (one->certain)
      certain = one;
    else if (certain && contradicts(one, certain))
      one->trusted = false;
  }
  size_t kept = 0;
  struct store_found last = {0}; /* the certain one that reaches farthest so far */
  for (size_t i = 0; i < f->count; i++) {
    const struct store_found one = f->found[i];
    if (!one.trusted || (!one.certain && last.certain && contradicts(&last, &one)))
      continue;
    if (one.certain && one.last >= last.last)
      last = one;
    f->found[kept++] = one;
  }
  f->count = kept;
}

static void mark_contested(struct store_finding *f)
{
  for (size_t i = 0; i < f->count; i++)
    for (size_t j = i + 1; j < f->count && f->found[j].first <= f->found[i].last + 1; j++)
      if (contradicts(&f->found[i], &f->found[j]))
        f->found[i].contested = f->found[j].contested = true;
}

int store_find_blocks(struct store_finding *f, const uint8_t *head, struct failure *failure)
{
  const int status = find_in_file(f);
  if (status)
    return failure_set(failure, status,
                       "there is no memory to list the blocks of a shard; nothing was changed; salvage a copy on a larger machine");
  if (f->count)
    qsort(f->found, f->count, sizeof *f->found, by_sequence);
  drop_copies(f);
  spread_trust(f, head ? head : f->meta_found ? f->meta.chain : NULL);
  mark_certain(f, head); /* a meta record that the tree does not lead to may be of a commit that did not end */
  drop_false(f);
  mark_contested(f);
  return MUSTER_OK;
}

void store_finding_finish(struct store_finding *f)
{
  free(f->found);
  free(f->block);
  f->found = NULL;
  f->block = NULL;
}
