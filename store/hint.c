#include "store/hint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/durable.h"
#include "core/fault.h"
#include "core/file.h"
#include "proto/digest.h"
#include "store/store.h"

#define HINT_MAGIC UINT64_C(0x31544e4948524d4d) /* "MMRHINT1" */
#define HINT_BUFFER_BYTES (1u << 20)
#define HINT_NEW STORE_FILE_HINT ".new"

struct hint_header {
  uint64_t magic;
  uint32_t format, shard;
  uint64_t seed, mask;
  uint64_t records;
  uint8_t chain[16];
  uint32_t tables, entry_bytes;
};
static_assert(sizeof(struct hint_header) == 64, "the hint header is a format");

/* A file read or written from front to back, with the hash of all that passed. */
struct hint_stream {
  int fd;
  bool failed;
  uint8_t *buffer; /* HINT_BUFFER_BYTES; writing only */
  size_t used;
  struct digest_stream *hash;
};

static void hint_header(struct hint_header *h, const struct store_hint_state *state)
{
  *h = (struct hint_header){.magic = HINT_MAGIC,
                            .format = STORE_FORMAT,
                            .shard = state->meta->shard,
                            .seed = state->meta->fingerprint_seed,
                            .mask = state->fingerprint_mask,
                            .records = state->meta->records,
                            .tables = STORE_INDEX_TABLES,
                            .entry_bytes = sizeof(struct store_index_slot)};
  memcpy(h->chain, state->meta->chain, sizeof h->chain);
}

static bool stream_init(struct hint_stream *s, int fd)
{
  *s = (struct hint_stream){.fd = fd, .buffer = malloc(HINT_BUFFER_BYTES), .hash = digest_stream_create()};
  s->failed = fd < 0 || !s->buffer || !s->hash;
  return !s->failed;
}

static void stream_finish(struct hint_stream *s)
{
  if (s->fd >= 0)
    close(s->fd);
  free(s->buffer);
  digest_stream_destroy(s->hash);
}

/* ---- loading ---- */

static bool stream_read_raw(struct hint_stream *s, void *out, size_t size)
{
  for (size_t done = 0; done < size && !s->failed;) {
    ssize_t n = read(s->fd, (uint8_t *)out + done, size - done);
    if (n > 0)
      done += (size_t)n;
    else if (n == 0 || errno != EINTR)
      s->failed = true;
  }
  return !s->failed;
}

static bool stream_read(struct hint_stream *s, void *out, size_t size)
{
  if (!stream_read_raw(s, out, size))
    return false;
  digest_stream_add(s->hash, out, size);
  return true;
}

static bool hint_load_tables(struct hint_stream *s, const uint32_t *entries, struct store_index *x)
{
  size_t room = 0;
  for (unsigned i = 0; i < STORE_INDEX_TABLES; i++)
    room = entries[i] > room ? entries[i] : room;
  struct store_index_slot *slots = malloc(room * sizeof *slots + 1);
  bool whole = slots != NULL;
  for (unsigned i = 0; i < STORE_INDEX_TABLES && whole; i++) {
    whole = stream_read(s, slots, entries[i] * sizeof *slots) && store_index_reserve_table(x, i, entries[i]) == MUSTER_OK;
    for (uint32_t j = 0; j < entries[i] && whole; j++)
      whole = slots[j].sequence && slots[j].fingerprint >> (64 - STORE_INDEX_BITS) == i &&
              store_index_insert(x, slots[j].fingerprint, slots[j].sequence) == MUSTER_OK;
  }
  free(slots);
  return whole;
}

static bool hint_load_stream(struct hint_stream *s, const struct store_hint_state *state, struct store_index *x)
{
  struct hint_header wanted, found;
  uint32_t entries[STORE_INDEX_TABLES];
  struct stat st;
  hint_header(&wanted, state);
  if (!stream_read(s, &found, sizeof found) || memcmp(&wanted, &found, sizeof found) != 0 || !stream_read(s, entries, sizeof entries))
    return false;
  uint64_t total = 0;
  for (unsigned i = 0; i < STORE_INDEX_TABLES; i++)
    total += entries[i];
  /* The size is checked before memory is taken by what an unchecked file says. */
  const uint64_t size = sizeof found + sizeof entries + total * sizeof(struct store_index_slot) + 16;
  if (total != state->meta->records || fstat(s->fd, &st) != 0 || (uint64_t)st.st_size != size)
    return false;
  uint8_t checksum[16], stored[16];
  if (!hint_load_tables(s, entries, x))
    return false;
  digest_stream_end(s->hash, checksum);
  return stream_read_raw(s, stored, sizeof stored) && memcmp(checksum, stored, sizeof stored) == 0;
}

bool store_hint_load(const struct store_env *e, const struct store_hint_state *state, struct store_index *x)
{
  char path[LIMIT_PATH_BYTES];
  struct hint_stream s;
  store_env_path(e, path, STORE_FILE_HINT);
  const bool loaded = stream_init(&s, file_open(FILE_OF_NODE, "the index hint", path, UINT64_MAX, NULL)) && hint_load_stream(&s, state, x);
  stream_finish(&s);
  if (!loaded)
    store_index_finish(x);
  return loaded;
}

/* ---- writing ---- */

static void stream_flush(struct hint_stream *s)
{
  for (size_t done = 0; done < s->used && !s->failed;) {
    ssize_t n = write(s->fd, s->buffer + done, s->used - done);
    if (n >= 0)
      done += (size_t)n;
    else if (errno != EINTR)
      s->failed = true;
  }
  s->used = 0;
}

static void stream_write(struct hint_stream *s, const void *bytes, size_t size)
{
  if (s->used + size > HINT_BUFFER_BYTES) {
    digest_stream_add(s->hash, s->buffer, s->used);
    stream_flush(s);
  }
  memcpy(s->buffer + s->used, bytes, size);
  s->used += size;
}

static void stream_write_end(struct hint_stream *s)
{
  uint8_t checksum[16];
  digest_stream_add(s->hash, s->buffer, s->used);
  stream_flush(s);
  digest_stream_end(s->hash, checksum);
  memcpy(s->buffer, checksum, sizeof checksum);
  s->used = sizeof checksum;
  stream_flush(s);
}

static void hint_write_stream(struct hint_stream *s, const struct store_hint_state *state, const struct store_index *x)
{
  struct hint_header header;
  hint_header(&header, state);
  stream_write(s, &header, sizeof header);
  for (unsigned i = 0; i < STORE_INDEX_TABLES; i++)
    stream_write(s, &x->table[i].used, sizeof x->table[i].used);
  /* Empty slots are left out: a third less to write while a node stops, and loading sweeps the memory in order all the same. */
  for (unsigned i = 0; i < STORE_INDEX_TABLES && !s->failed; i++)
    for (uint32_t j = 0; j < x->table[i].total; j++)
      if (x->table[i].slots[j].sequence)
        stream_write(s, &x->table[i].slots[j], sizeof x->table[i].slots[j]);
  if (FAULT("store.hint-writing"))
    s->failed = true;
  stream_write_end(s);
  if (!s->failed && fsync(s->fd) != 0)
    s->failed = true;
}

int store_hint_write(const struct store_env *e, const struct store_hint_state *state, const struct store_index *x, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES], fresh[LIMIT_PATH_BYTES];
  struct hint_stream s;
  store_env_path(e, path, STORE_FILE_HINT);
  store_env_path(e, fresh, HINT_NEW);
  errno = 0;
  if (stream_init(&s, open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)))
    hint_write_stream(&s, state, x);
  int failed = s.failed ? (errno ? errno : ENOMEM) : 0;
  stream_finish(&s);
  if (!failed && rename(fresh, path) != 0)
    failed = errno;
  if (failed) {
    unlink(fresh);
    return failure_set_errno(failure, store_env_status(failed), failed,
                             "shard %s: the index hint cannot be written; nothing is lost, the next start reads the journal instead",
                             e->path);
  }
  return durable_sync_folder(e->path, failure);
}

int store_hint_remove(const struct store_env *e, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  store_env_path(e, path, STORE_FILE_HINT);
  if (unlink(path) != 0) {
    if (errno == ENOENT)
      return MUSTER_OK;
    return failure_set_errno(failure, MUSTER_ERR_IO, errno, "shard %s: the index hint cannot be removed", e->path);
  }
  return durable_sync_folder(e->path, failure);
}
