#include "store/refused.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/fault.h"
#include "core/file.h"
#include "proto/digest.h"
#include "store/quarantine.h"
#include "store/reader.h"
#include "store/segment.h"

/* As in the file; the record's bytes follow. The header's checksum is 0: the file has one. */
struct refused_entry {
  uint32_t size;
  uint8_t key[STORE_REFUSED_KEY_BYTES];
  struct store_refused_header header;
};
static_assert(sizeof(struct refused_entry) == 72, "the entry of a backup is a format");

/* ---- the file as a whole ---- */

/* Whether it has these bytes and this checksum. MUSTER_ERR_CORRUPT: it has not; MUSTER_ERR_MEMORY; MUSTER_ERR_IO with errno. */
static int hold_against(int fd, const struct store_backup_shard *s)
{
  uint8_t found[16], piece[16384];
  uint64_t bytes = 0;
  ssize_t n;
  struct digest_stream *hash = digest_stream_create();
  if (!hash)
    return MUSTER_ERR_MEMORY;
  while ((n = file_read_at(fd, piece, sizeof piece, bytes)) > 0) {
    digest_stream_add(hash, piece, (size_t)n);
    bytes += (uint64_t)n;
  }
  const int error = errno;
  digest_stream_end(hash, found);
  digest_stream_destroy(hash);
  errno = error;
  if (n < 0)
    return MUSTER_ERR_IO;
  return bytes == s->refused_bytes && memcmp(found, s->refused_checksum, sizeof found) == 0 ? MUSTER_OK : MUSTER_ERR_CORRUPT;
}

/* ---- writing ---- */

struct writing {
  const struct store_backup_job *job;
  uint32_t shard;
  FILE *out;
  struct digest_stream *hash;
  uint64_t entries, bytes;
  uint64_t left; /* out */
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
  digest_stream_add(w->hash, &e, sizeof e);
  digest_stream_add(w->hash, entry->bytes, entry->size);
  w->entries++;
  w->bytes += sizeof e + entry->size;
  return fwrite(&e, sizeof e, 1, w->out) == 1 && fwrite(entry->bytes, 1, entry->size, w->out) == entry->size ? 0 : 1;
}

/* What is damaged of an entry may be its number. */
static void leave_entry(void *context, const struct store_refused *entry)
{
  struct writing *w = context;
  char sentence[256];
  snprintf(sentence, sizeof sentence,
           "shard %" PRIu32 ": refused record %" PRIu32 ":%" PRIu64 " of submitter %" PRIu32
           " is damaged in the store and is not in the backup; run muster verify",
           w->shard, w->shard, entry->number, entry->submitter);
  w->left++;
  w->job->left_out(w->job->context, sentence);
}

/* Entries that no page leads to are left out, too: records do not wait for what was refused. How many they are is told by the shard's total, which
 * is of the last slice: what was refused while the ones before it were copied is among them, and they are at least one. Elsewhere the total says
 * nothing. */
static int copy_entries(struct writing *w, struct store_reader *r, struct failure *failure)
{
  struct failure reading = FAILURE_NONE;
  char sentence[sizeof reading.text + 128];
  if (w->job->no_refused) {
    w->left = r->meta.quarantined;
    return MUSTER_OK;
  }
  const int status = store_reader_quarantine_past(r, write_entry, leave_entry, w, &reading);
  if (status != MUSTER_ERR_CORRUPT)
    return status < 0 ? failure_set(failure, status, "%s", reading.text) : status;
  w->left = r->meta.quarantined > w->entries + w->left ? r->meta.quarantined - w->entries : w->left + 1;
  snprintf(sentence, sizeof sentence, "%s; %" PRIu64 " of %" PRIu64 " refused records of shard %" PRIu32 " are in the backup", reading.text,
           w->entries, r->meta.quarantined, w->shard);
  w->job->left_out(w->job->context, sentence);
  return MUSTER_OK;
}

static int sync_and_read_back(const char *path, int fd, const struct store_backup_shard *s, struct failure *failure)
{
  if (FAULT("refused.flip") && pwrite(fd, "x", 1, 0) != 1) /* as a bad disk does */
    return failure_set_errno(failure, MUSTER_ERR_IO, errno, "cannot write %s", path);
  if (fsync(fd) != 0)
    return failure_set_errno(failure, failure_status(errno, MUSTER_ERR_IO), errno, "cannot sync %s; what was whole of the backup is kept",
                             path);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  const int status = hold_against(fd, s);
  if (status == MUSTER_ERR_MEMORY)
    return failure_set(failure, status, "there is no memory to read refused records");
  if (status == MUSTER_ERR_IO)
    return failure_set_errno(failure, status, errno, "cannot read %s", path);
  return status == MUSTER_OK
             ? status
             : failure_set(failure, status,
                           "%s does not read back as it was written; the disk of the backup is not to be trusted; the store "
                           "was not touched",
                           path);
}

int store_refused_write(struct store_backup *b, uint32_t shard, struct store_reader *r, const struct store_backup_job *job,
                        struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  struct store_backup_shard *s = &b->shard[shard];
  store_segment_refused_path(path, b, shard, b->run + 1);
  unlink(path); /* of a run that did not end */
  const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  struct writing w = {.job = job, .shard = shard, .out = fd < 0 ? NULL : fdopen(fd, "w+"), .hash = digest_stream_create()};
  int status;
  if (!w.out || !w.hash) {
    status = failure_set_errno(failure, failure_status(errno, MUSTER_ERR_CREATE), errno, "cannot create %s", path);
  } else {
    status = copy_entries(&w, r, failure);
    if (status > 0 || (status == MUSTER_OK && fflush(w.out) != 0))
      status = failure_set_errno(failure, failure_status(errno, MUSTER_ERR_IO), errno,
                                 "cannot write %s; what was whole of the backup is kept", path);
  }
  if (status == MUSTER_OK) {
    s->refused = w.entries;
    s->refused_left = w.left;
    s->refused_bytes = w.bytes;
    digest_stream_end(w.hash, s->refused_checksum);
    status = sync_and_read_back(path, fd, s, failure);
  }
  if (w.out)
    fclose(w.out);
  else if (fd >= 0)
    close(fd);
  digest_stream_destroy(w.hash);
  return status;
}

/* ---- reading ---- */

/* 1: an entry was handed out, 0: the file has ended; else what each answered, or MUSTER_ERR_CORRUPT. */
static int read_entry(FILE *in, uint8_t record[LIMIT_MESSAGE_BYTES], uint32_t shard,
                      int (*each)(void *context, const struct store_refused *entry), void *context)
{
  struct refused_entry e;
  struct store_refused entry;
  const size_t head = fread(&e, 1, sizeof e, in);
  if (head < sizeof e)
    return ferror(in) ? MUSTER_ERR_IO : head ? MUSTER_ERR_CORRUPT : 0;
  if (e.size > LIMIT_MESSAGE_BYTES || fread(record, 1, e.size, in) != e.size)
    return ferror(in) ? MUSTER_ERR_IO : MUSTER_ERR_CORRUPT;
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

static int read_failure(const struct store_backup *b, uint32_t shard, const char *path, int status, int error, struct failure *failure)
{
  if (status == MUSTER_ERR_CORRUPT || (status == MUSTER_ERR_IO && error == EIO))
    return failure_set(failure, MUSTER_ERR_CORRUPT, "shard %" PRIu32 ": %s %s; the %" PRIu64 " refused records of this shard are lost",
                       shard, store_segment_name(b, path),
                       status == MUSTER_ERR_IO ? "cannot be read: Input/output error" : "is not the file that the manifest names",
                       b->shard[shard].refused);
  if (status == MUSTER_ERR_MEMORY)
    return failure_set(failure, status, "there is no memory to read refused records");
  return status == MUSTER_ERR_IO ? failure_set_errno(failure, status, error, "cannot read %s", path) : status;
}

int store_refused_read(const struct store_backup *b, uint32_t shard, int (*each)(void *context, const struct store_refused *entry),
                       void *context, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  struct failure opened = FAILURE_NONE;
  store_segment_refused_path(path, b, shard, b->run);
  errno = 0;
  FILE *in = file_open_stream(FILE_OF_NODE, "the quarantine", path, UINT64_MAX, &opened);
  if (!in && !store_segment_is_gone(path, errno))
    return failure_set(failure, opened.status, "%s", opened.text);
  if (!in)
    return failure_set(failure, MUSTER_ERR_CORRUPT, "shard %" PRIu32 ": %s %s; the %" PRIu64 " refused records of this shard are lost",
                       shard, store_segment_name(b, path), opened.status == MUSTER_ERR_NOT_FOUND ? "is missing" : opened.text,
                       b->shard[shard].refused);
  uint8_t *record = malloc(LIMIT_MESSAGE_BYTES);
  int stop = record ? hold_against(fileno(in), &b->shard[shard]) : MUSTER_ERR_MEMORY;
  if (stop == MUSTER_OK)
    while ((stop = read_entry(in, record, shard, each, context)) == 1)
      ;
  const int error = errno;
  fclose(in);
  free(record);
  return stop ? read_failure(b, shard, path, stop, error, failure) : MUSTER_OK;
}
