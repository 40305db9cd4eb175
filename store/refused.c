#include "store/refused.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/file.h"
#include "store/quarantine.h"
#include "store/segment.h"

/* As in the file; the record's bytes follow. The header's checksum is 0: the file has one. */
struct refused_entry {
  uint32_t size;
  uint8_t key[STORE_REFUSED_KEY_BYTES];
  struct store_refused_header header;
};
static_assert(sizeof(struct refused_entry) == 72, "the entry of a backup is a format");

struct writing {
  FILE *out;
  XXH3_state_t *hash;
  uint64_t entries, bytes;
};

static int write_entry(void *context, const struct store_refused *entry)
{
  struct writing *w = context;
  struct refused_entry e = {.size = entry->size,
                            .header = {.number = entry->number,
                                       .first_us = entry->first_us,
                                       .last_us = entry->last_us,
                                       .times = entry->times,
                                       .reason = entry->reason,
                                       .field = entry->field}};
  memcpy(e.key, entry->name.key, sizeof e.key);
  XXH3_128bits_update(w->hash, &e, sizeof e);
  XXH3_128bits_update(w->hash, entry->bytes, entry->size);
  w->entries++;
  w->bytes += sizeof e + entry->size;
  return fwrite(&e, sizeof e, 1, w->out) == 1 && fwrite(entry->bytes, 1, entry->size, w->out) == entry->size ? 0 : 1;
}

static void digest(uint8_t out[16], const XXH3_state_t *hash)
{
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(hash));
  memcpy(out, canonical.digest, 16);
}

int store_refused_write(struct store_backup *b, uint32_t shard, uint64_t run, struct store_reader *r, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  store_segment_refused_path(path, b, shard, run);
  unlink(path); /* of a run that did not end */
  const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  struct writing w = {.out = fd < 0 ? NULL : fdopen(fd, "w"), .hash = XXH3_createState()};
  int status = MUSTER_OK;
  if (!w.out || !w.hash) {
    status = failure_set_errno(failure, failure_status(errno, MUSTER_ERR_CREATE), errno, "cannot create %s", path);
  } else {
    XXH3_128bits_reset(w.hash);
    status = store_reader_quarantine(r, write_entry, &w, failure);
    if (status >= 0 && (status > 0 || fflush(w.out) != 0 || fsync(fd) != 0))
      status = failure_set_errno(failure, failure_status(errno, MUSTER_ERR_IO), errno,
                                 "cannot write %s; what was whole of the backup is kept", path);
  }
  if (status == MUSTER_OK) {
    b->shard[shard].refused = w.entries;
    b->shard[shard].refused_bytes = w.bytes;
    digest(b->shard[shard].refused_checksum, w.hash);
  }
  if (w.out)
    fclose(w.out);
  else if (fd >= 0)
    close(fd);
  XXH3_freeState(w.hash);
  return status;
}

/* ---- reading ---- */

static bool is_the_one(FILE *in, const struct store_backup_shard *s)
{
  uint8_t found[16], piece[16384];
  uint64_t bytes = 0;
  XXH3_state_t *hash = XXH3_createState();
  if (!hash)
    return false;
  XXH3_128bits_reset(hash);
  for (size_t n; (n = fread(piece, 1, sizeof piece, in)) > 0; bytes += n)
    XXH3_128bits_update(hash, piece, n);
  digest(found, hash);
  XXH3_freeState(hash);
  return !ferror(in) && bytes == s->refused_bytes && memcmp(found, s->refused_checksum, sizeof found) == 0;
}

/* 1: an entry was handed out, 0: the file has ended; else what each answered, or MUSTER_ERR_CORRUPT. */
static int read_entry(FILE *in, uint8_t record[LIMIT_MESSAGE_BYTES], uint32_t shard,
                      int (*each)(void *context, const struct store_refused *entry), void *context)
{
  struct refused_entry e;
  struct store_refused entry;
  if (fread(&e, sizeof e, 1, in) != 1)
    return feof(in) ? 0 : MUSTER_ERR_CORRUPT;
  if (e.size > LIMIT_MESSAGE_BYTES || fread(record, 1, e.size, in) != e.size)
    return MUSTER_ERR_CORRUPT;
  entry = (struct store_refused){.shard = shard,
                                 .number = e.header.number,
                                 .reason = e.header.reason,
                                 .field = e.header.field,
                                 .submitter = __builtin_bswap32(load_u32(e.key)),
                                 .first_us = e.header.first_us,
                                 .last_us = e.header.last_us,
                                 .times = e.header.times,
                                 .bytes = record,
                                 .size = e.size};
  memcpy(entry.name.key, e.key, sizeof entry.name.key);
  entry.name.number = entry.number;
  const int stop = each(context, &entry);
  return stop ? stop : 1;
}

int store_refused_read(const struct store_backup *b, uint32_t shard, int (*each)(void *context, const struct store_refused *entry),
                       void *context, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  struct failure opened = FAILURE_NONE;
  store_segment_refused_path(path, b, shard, b->run);
  uint8_t *record = malloc(LIMIT_MESSAGE_BYTES);
  FILE *in = record ? file_open_stream(FILE_OF_NODE, "the quarantine", path, UINT64_MAX, &opened) : NULL;
  int stop = record ? MUSTER_ERR_CORRUPT : MUSTER_ERR_MEMORY;
  if (in && is_the_one(in, &b->shard[shard])) {
    rewind(in);
    while ((stop = read_entry(in, record, shard, each, context)) == 1)
      ;
  }
  if (in)
    fclose(in);
  free(record);
  if (stop == MUSTER_ERR_CORRUPT)
    return failure_set(failure, stop, "shard %" PRIu32 ": %s %s; the %" PRIu64 " refused records of this shard are lost", shard,
                       path + strlen(b->path) + 1, access(path, F_OK) != 0 ? "is missing" : "is not the file that the manifest names",
                       b->shard[shard].refused);
  return stop == MUSTER_ERR_MEMORY ? failure_set(failure, stop, "there is no memory to read refused records") : stop;
}
