/* A backup opened, closed, and checked. */
#include "store/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/durable.h"
#include "store/manifest.h"
#include "store/refused.h"
#include "store/segment.h"

#define BACKUP_PATH_MAX 4000u

/* ---- opening ---- */

static int take_path(struct store_backup *b, const char *path, struct failure *failure)
{
  *b = (struct store_backup){.lock_fd = -1};
  if (strlen(path) >= BACKUP_PATH_MAX)
    return failure_set(failure, MUSTER_ERR_LIMIT, "the path of a backup may have %u bytes", BACKUP_PATH_MAX - 1);
  strcpy(b->path, path);
  return MUSTER_OK;
}

/* A reader of a disk that cannot be written to has no lock where none is. */
static int take_lock(struct store_backup *b, bool writing, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  snprintf(path, sizeof path, "%.4000s/lock", b->path);
  b->lock_fd = open(path, writing ? O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW : O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (b->lock_fd < 0 && !writing && errno == ENOENT)
    return MUSTER_OK;
  if (b->lock_fd < 0)
    return failure_set_errno(failure, failure_status(errno, MUSTER_ERR_CREATE), errno, "cannot open %s", path);
  if (flock(b->lock_fd, (writing ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
    return MUSTER_OK;
  return failure_set(failure, MUSTER_ERR_LOCKED,
                     "the backup %s is in use by another muster backup or restore; nothing was changed; wait for its end", b->path);
}

/* Whether nothing but what a first run leaves before its manifest is in the directory. */
static bool is_fresh(const char *path)
{
  DIR *folder = opendir(path);
  bool fresh = folder != NULL;
  for (const struct dirent *e; folder && (e = readdir(folder));) {
    const bool own = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || strcmp(e->d_name, "lock") == 0 ||
                     (strncmp(e->d_name, "manifest.", 9) == 0 && strstr(e->d_name, ".new"));
    fresh = fresh && own;
  }
  if (folder)
    closedir(folder);
  return fresh;
}

static bool has_manifest(const struct store_backup *b)
{
  char path[LIMIT_PATH_BYTES];
  snprintf(path, sizeof path, "%.4000s/" STORE_BACKUP_MANIFEST, b->path);
  return access(path, F_OK) == 0;
}

int store_backup_open(struct store_backup *b, const char *path, struct failure *failure)
{
  struct stat info;
  int status = take_path(b, path, failure);
  if (status == MUSTER_OK && (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)))
    status = failure_set(failure, MUSTER_ERR_NOT_FOUND, "%s is no directory, so no backup is there", path);
  if (status == MUSTER_OK)
    status = take_lock(b, false, failure);
  if (status == MUSTER_OK)
    status = store_manifest_read(b, failure);
  if (status != MUSTER_OK)
    store_backup_close(b);
  return status;
}

/* Its name is to be there after a power cut, too. */
static int sync_parent(const char *path, struct failure *failure)
{
  char parent[LIMIT_PATH_BYTES];
  snprintf(parent, sizeof parent, "%.*s/..", (int)(sizeof parent - 4), path);
  return durable_sync_folder(parent, failure);
}

int store_backup_create(struct store_backup *b, const char *path, struct failure *failure)
{
  int status = take_path(b, path, failure);
  const bool made = status == MUSTER_OK && mkdir(path, 0700) == 0;
  if (status == MUSTER_OK && !made && errno != EEXIST)
    status = failure_set_errno(failure, failure_status(errno, MUSTER_ERR_CREATE), errno, "cannot create the directory %s", path);
  if (made)
    status = sync_parent(path, failure);
  if (status == MUSTER_OK && !has_manifest(b) && !is_fresh(path))
    status = failure_set(failure, MUSTER_ERR_CREATE, "%s is neither empty nor a backup; nothing was changed; name a new directory", path);
  if (status == MUSTER_OK)
    status = take_lock(b, true, failure);
  if (status == MUSTER_OK && has_manifest(b))
    status = store_manifest_read(b, failure);
  if (status != MUSTER_OK)
    store_backup_close(b);
  return status;
}

void store_backup_close(struct store_backup *b)
{
  for (uint32_t i = 0; i < LIMIT_SHARDS; i++)
    free(b->shard[i].segment);
  if (b->lock_fd >= 0)
    close(b->lock_fd);
  *b = (struct store_backup){.lock_fd = -1};
}

/* ---- checking ---- */

struct check {
  const struct store_backup *b;
  uint32_t shard;
  const struct store_backup_until *until;
  void (*report)(void *context, const char *sentence);
  void *context;
  struct store_backup_found *out;
  bool ended; /* until is reached: the rest is not asked for */
};

static void fault(struct check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fault(struct check *c, const char *format, ...)
{
  char sentence[512];
  va_list list;
  va_start(list, format);
  vsnprintf(sentence, sizeof sentence, format, list);
  va_end(list);
  c->out->faults++;
  c->report(c->context, sentence);
}

/* Records before the first fault count as whole, and none after it: the chain is broken there. */
static int check_blocks(struct check *c, const struct store_backup_segment *g, struct store_segment_walk *w, const char *file,
                        struct failure *failure)
{
  struct store_block block;
  int more = 0;
  while (!c->ended && (more = store_segment_next(w, &block)) == 1) {
    const uint32_t wanted = store_segment_wanted(&block, c->until);
    if (!c->out->faults)
      c->out->records += wanted;
    c->ended = wanted < block.header.count || w->next > c->until->records;
  }
  if (c->ended)
    return MUSTER_OK;
  if (more == MUSTER_ERR_MEMORY)
    return failure_set(failure, more, "there is no memory to read the backup's blocks");
  if (more == MUSTER_ERR_IO && w->error != EIO)
    return failure_set_errno(failure, more, w->error, "cannot read %s", file);
  if (more == MUSTER_ERR_IO)
    fault(c, "shard %" PRIu32 ": %s: the block of sequence %" PRIu64 " cannot be read: %s", c->shard, file, w->next, strerror(w->error));
  else if (more < 0)
    fault(c,
          "shard %" PRIu32 ": %s: the block that begins with sequence %" PRIu64 " (byte %" PRIu64 ") %s; sequences %" PRIu64 " to %" PRIu64
          " are not whole",
          c->shard, file, w->next, w->offset, w->wrong, w->next, g->last);
  else if (w->next - 1 < g->last)
    fault(c, "shard %" PRIu32 ": %s: it is cut off at byte %" PRIu64 "; sequences %" PRIu64 " to %" PRIu64 " are missing", c->shard, file,
          w->offset, w->next, g->last);
  else if (w->next - 1 > g->last || w->offset != g->bytes)
    fault(c, "shard %" PRIu32 ": %s: it has more than the manifest says: sequences up to %" PRIu64 " where %" PRIu64 " is the last",
          c->shard, file, w->next - 1, g->last);
  else if (memcmp(w->previous, g->head, sizeof g->head) != 0)
    fault(c, "shard %" PRIu32 ": %s: its last block (up to sequence %" PRIu64 ") is not the one that the manifest names", c->shard, file,
          g->last);
  return MUSTER_OK;
}

static int check_segment(struct check *c, uint32_t number, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  struct failure opened = FAILURE_NONE;
  struct store_segment_walk w;
  const struct store_backup_segment *g = &c->b->shard[c->shard].segment[number];
  store_segment_path(path, c->b, c->shard, g);
  const char *file = store_segment_name(c->b, path);
  errno = 0;
  int status = store_segment_open(&w, c->b, c->shard, number, &opened);
  if (status != MUSTER_OK && !store_segment_is_gone(path, errno))
    return failure_set(failure, status, "%s", opened.text);
  if (status != MUSTER_OK) {
    fault(c, "shard %" PRIu32 ": %s: %s; sequences %" PRIu64 " to %" PRIu64 " are missing", c->shard, file,
          status == MUSTER_ERR_NOT_FOUND ? "the file is missing" : opened.text, g->first, g->last);
    return MUSTER_OK;
  }
  status = check_blocks(c, g, &w, file, failure);
  store_segment_close(&w);
  return status;
}

static int count_refused(void *context, const struct store_refused *entry)
{
  (void)entry;
  ++*(uint64_t *)context;
  return MUSTER_OK;
}

static int check_refused(struct check *c, struct failure *failure)
{
  struct failure found = FAILURE_NONE;
  uint64_t entries = 0;
  const int status = store_refused_read(c->b, c->shard, count_refused, &entries, &found);
  if (status != MUSTER_OK && status != MUSTER_ERR_CORRUPT)
    return failure_set(failure, status, "%s", found.text);
  if (status != MUSTER_OK)
    fault(c, "%s", found.text);
  return MUSTER_OK;
}

int store_backup_check(const struct store_backup *b, uint32_t shard, const struct store_backup_until *until,
                       void (*report)(void *context, const char *sentence), void *context, struct store_backup_found *out,
                       struct failure *failure)
{
  struct check c = {.b = b, .shard = shard, .until = until, .report = report, .context = context, .out = out};
  const struct store_backup_shard *s = &b->shard[shard];
  *out = (struct store_backup_found){0};
  for (uint32_t i = 0; i < s->segments && !c.ended && s->segment[i].first <= until->records; i++)
    if (check_segment(&c, i, failure) != MUSTER_OK)
      return failure->status;
  return b->run && !until->no_refused ? check_refused(&c, failure) : MUSTER_OK;
}
