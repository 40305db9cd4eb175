/* Requests to drop refused records: how readers leave them, and how the writer carries them out. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/clock.h"
#include "core/durable.h"
#include "core/fault.h"
#include "store/reader.h"
#include "store/writer.h"

#define DROP_MAGIC UINT64_C(0x31504f5244524d4d) /* "MMRDROP1" */
#define DROP_PREFIX "drop-"
#define DROP_SUFFIX ".request"
#define DROP_AT_ONCE 4u /* requests; the rest waits for the next call, so that no commit of records waits long */

/* As stored, little-endian; the names follow. */
struct drop_header {
  uint64_t checksum; /* XXH3-64 of everything after this field */
  uint64_t magic;
  uint32_t what, count;
};
static_assert(sizeof(struct drop_header) == 24 && sizeof(struct store_refused_name) == 32, "the request is a format");

struct drop_request {
  struct drop_header header;
  struct store_refused_name names[STORE_DROP_ENTRIES_MAX];
};
#define DROP_BYTES(count) (offsetof(struct drop_request, names) + (count) * sizeof(struct store_refused_name))

static uint64_t drop_checksum(const struct drop_request *q, uint32_t count)
{
  return XXH3_64bits((const uint8_t *)q + sizeof q->header.checksum, DROP_BYTES(count) - sizeof q->header.checksum);
}

/* ---- asking ---- */

int store_reader_drop(const struct store_reader *r, enum store_drop what, const struct store_refused_name *names, uint32_t count,
                      char *request, struct failure *failure)
{
  assert(count <= STORE_DROP_ENTRIES_MAX);
  static _Atomic unsigned asked;
  char name[96];
  struct drop_request *q = calloc(1, sizeof *q);
  if (!q)
    return failure_set(failure, MUSTER_ERR_MEMORY, "there is no memory for a request");
  q->header = (struct drop_header){.magic = DROP_MAGIC, .what = what, .count = count};
  memcpy(q->names, names, count * sizeof *names);
  q->header.checksum = drop_checksum(q, count);
  snprintf(name, sizeof name, DROP_PREFIX "%" PRId64 "-%ld-%u" DROP_SUFFIX, clock_wall_us(), (long)getpid(), asked++);
  store_env_path(&r->env, request, name);
  const int status = durable_create_file(request, q, DROP_BYTES(count), 0600, failure);
  free(q);
  return status;
}

/* ---- carrying out ---- */

static bool is_request(const char *name)
{
  const size_t size = strlen(name), suffix = sizeof DROP_SUFFIX - 1;
  return size > suffix && strncmp(name, DROP_PREFIX, sizeof DROP_PREFIX - 1) == 0 && strcmp(name + size - suffix, DROP_SUFFIX) == 0;
}

enum request_state { REQUEST_WHOLE, REQUEST_DAMAGED, REQUEST_WAITS };

/* It waits where it cannot be read now, with errno: whoever has left it was told that it will be done. */
static enum request_state request_read(struct drop_request *q, const char *path)
{
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  const ssize_t size = fd < 0 || FAULT("store.drop-read") ? -1 : read(fd, q, sizeof *q);
  const int error = errno;
  if (fd >= 0)
    close(fd);
  errno = error;
  if (size < 0)
    return error == ELOOP || error == EISDIR ? REQUEST_DAMAGED : REQUEST_WAITS;
  const bool whole = size >= (ssize_t)sizeof q->header && q->header.magic == DROP_MAGIC && q->header.count <= STORE_DROP_ENTRIES_MAX &&
                     (size_t)size == DROP_BYTES(q->header.count) && drop_checksum(q, q->header.count) == q->header.checksum &&
                     (q->header.what == STORE_DROP_ALWAYS || q->header.what == STORE_DROP_STORED);
  return whole ? REQUEST_WHOLE : REQUEST_DAMAGED;
}

static int request_carry_out(struct store *s, const struct drop_request *q, struct store_dropped *out, struct failure *failure)
{
  uint64_t dropped = 0;
  int status = store_begin(s);
  if (status)
    return failure_set(failure, status, "%s", s->failure.text);
  for (uint32_t i = 0; i < q->header.count; i++)
    dropped += store_quarantine_drop(s, &q->names[i], (enum store_drop)q->header.what);
  status = store_commit(s, failure);
  if (status)
    return status;
  (void)FAULT("store.dropped");
  out->requests++;
  out->dropped += dropped;
  out->stayed += q->header.count - dropped;
  return MUSTER_OK;
}

static void request_waits(struct store_dropped *out, int error)
{
  out->waiting++;
  out->waits_for = error;
}

/* One that cannot be removed is carried out again and again, which changes nothing. */
static int request_settle(struct store *s, const char *name, struct store_dropped *out, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  struct drop_request *q = malloc(sizeof *q);
  if (!q) {
    request_waits(out, ENOMEM);
    return MUSTER_OK;
  }
  store_env_path(&s->env, path, name);
  int status = MUSTER_OK;
  const enum request_state state = request_read(q, path);
  if (state == REQUEST_WHOLE)
    status = request_carry_out(s, q, out, failure);
  else if (state == REQUEST_DAMAGED)
    out->damaged++;
  else
    request_waits(out, errno);
  free(q);
  if (!status && state != REQUEST_WAITS)
    unlink(path);
  return status;
}

int store_drop_requested(struct store *s, struct store_dropped *out, struct failure *failure)
{
  *out = (struct store_dropped){0};
  DIR *directory = opendir(s->env.path);
  int status = MUSTER_OK;
  if (!directory)
    out->waits_for = errno;
  for (const struct dirent *d; directory && !status && out->requests + out->damaged < DROP_AT_ONCE && (d = readdir(directory));)
    if (is_request(d->d_name) && strlen(d->d_name) < 96)
      status = request_settle(s, d->d_name, out, failure);
  if (directory)
    closedir(directory);
  return status;
}
