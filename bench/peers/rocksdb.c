/*
 * RocksDB in process, two shards (a database and a thread each).
 *
 * Ack:      when the write returns: after the fdatasync of its log (sync = true).
 * Dedup:    for ever: each id is looked up before it is put.
 * Verdict:  yes, from that look-up; content is not compared.
 * Settings: a bloom filter of 10 bits in every file and one of whole keys in the memtable, since nearly every look-up misses; filters and indexes
 *           stay open outside the block cache; log files are recycled, so that an fdatasync need not write the file's length; memtables of
 *           256 MiB, four of them; no compression; universal compaction, which writes least; one write of 8,000.
 */
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "bench/peers/peer.h"

static const struct peer_facts facts = {
    .name = "rocksdb", .ack = "after fdatasync", .dedup = "for ever", .verdict = "new or known", .durable = true};

#define SLOTS 16384u /* a power of two, over twice PEER_GROUP */

struct handle {
  rocksdb_t *db;
  rocksdb_options_t *options;
  rocksdb_readoptions_t *read;
  rocksdb_writeoptions_t *write;
  rocksdb_writebatch_t *batch;
  const uint8_t *seen[SLOTS]; /* the ids of this batch: what is not written yet is not found by a look-up */
};

static void check(char *error, const char *what)
{
  if (error)
    peer_fail(&facts, EX_IOERR, "%s: %s", what, error);
}

static rocksdb_options_t *options_make(void)
{
  rocksdb_options_t *o = rocksdb_options_create();
  rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
  rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(10));
  rocksdb_block_based_options_set_block_cache(table, rocksdb_cache_create_lru((size_t)1 << 30));
  rocksdb_block_based_options_set_format_version(table, 5);
  rocksdb_options_set_block_based_table_factory(o, table);
  rocksdb_options_set_create_if_missing(o, 1);
  rocksdb_options_set_recycle_log_file_num(o, 4);
  rocksdb_options_set_write_buffer_size(o, (size_t)256 << 20);
  rocksdb_options_set_max_write_buffer_number(o, 4);
  rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, 0.1);
  rocksdb_options_set_memtable_whole_key_filtering(o, 1);
  rocksdb_options_set_compression(o, rocksdb_no_compression);
  rocksdb_options_optimize_universal_style_compaction(o, (uint64_t)1 << 30);
  rocksdb_options_set_write_buffer_size(o, (size_t)256 << 20); /* the line above sets its own */
  rocksdb_options_set_compression_per_level(o, NULL, 0);
  rocksdb_options_set_compression(o, rocksdb_no_compression);
  rocksdb_options_set_max_background_jobs(o, 2);
  rocksdb_options_set_max_open_files(o, -1);
  return o;
}

static void *rocks_open(const char *directory, unsigned shard)
{
  struct handle *h = calloc(1, sizeof *h);
  char path[4096], *error = NULL;
  if (!h)
    peer_fail(&facts, EX_OSERR, "no memory");
  snprintf(path, sizeof path, "%s/shard-%u.rocksdb", directory, shard);
  h->options = options_make();
  h->db = rocksdb_open(h->options, path, &error);
  check(error, path);
  h->read = rocksdb_readoptions_create();
  h->write = rocksdb_writeoptions_create();
  rocksdb_writeoptions_set_sync(h->write, 1);
  h->batch = rocksdb_writebatch_create();
  return h;
}

/* Notes an id; false where this batch has it already. */
static bool seen_add(struct handle *h, const uint8_t *id)
{
  uint32_t at;
  memcpy(&at, id + PEER_ID - 4, sizeof at); /* random bits of the id; the lowest chose the shard */
  for (at >>= 1;; at++) {
    const uint8_t **slot = &h->seen[at % SLOTS];
    if (!*slot) {
      *slot = id;
      return true;
    }
    if (memcmp(*slot, id, PEER_ID) == 0)
      return false;
  }
}

static bool stored(struct handle *h, const uint8_t *id)
{
  char *error = NULL;
  rocksdb_pinnableslice_t *found = rocksdb_get_pinned(h->db, h->read, (const char *)id, PEER_ID, &error);
  check(error, "get");
  if (found)
    rocksdb_pinnableslice_destroy(found);
  return found != NULL;
}

static uint64_t rocks_commit(void *store, const struct peer_record *records, uint32_t count)
{
  struct handle *h = store;
  uint64_t fresh = 0;
  char *error = NULL;
  memset(h->seen, 0, sizeof h->seen);
  rocksdb_writebatch_clear(h->batch);
  for (uint32_t i = 0; i < count; i++) {
    if (!seen_add(h, records[i].id) || stored(h, records[i].id))
      continue;
    rocksdb_writebatch_put(h->batch, (const char *)records[i].id, PEER_ID, (const char *)records[i].bytes, records[i].size);
    fresh++;
  }
  rocksdb_write(h->db, h->write, h->batch, &error);
  check(error, "write");
  return fresh;
}

static uint64_t rocks_count(void *store)
{
  struct handle *h = store;
  uint64_t n = 0;
  rocksdb_iterator_t *each = rocksdb_create_iterator(h->db, h->read);
  for (rocksdb_iter_seek_to_first(each); rocksdb_iter_valid(each); rocksdb_iter_next(each))
    n++;
  rocksdb_iter_destroy(each);
  return n;
}

static void rocks_close(void *store)
{
  struct handle *h = store;
  rocksdb_writebatch_destroy(h->batch);
  rocksdb_writeoptions_destroy(h->write);
  rocksdb_readoptions_destroy(h->read);
  rocksdb_close(h->db);
  rocksdb_options_destroy(h->options);
  free(h);
}

int main(int argc, char **argv)
{
  static const struct peer_store store = {rocks_open, rocks_commit, rocks_count, rocks_close};
  return peer_store_main(argc, argv, &facts, &store);
}
