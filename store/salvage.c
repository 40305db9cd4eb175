/* Salvage: what can be had of a shard that may be damaged anywhere, and what is not there. */
#include "store/salvage.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/env.h"
#include "store/guard.h"
#include "store/read.h"

struct salvage {
  struct store_env env;
  MDB_txn *txn; /* the snapshot, where LMDB can be opened */
  MDB_cursor *cursor;
  int owner_fd;   /* shared owner lock: no node writes meanwhile; -1: one does, or there is no lock */
  bool meta_read; /* by LMDB's tree */
  struct store_meta meta;
  struct store_finding finding;
  const struct store_salvage *how;
  struct store_salvage_result *result;
};

/* Whether a node writes to the shard, or will as soon as it has started its worker again. While there is none, none can start. */
static bool salvage_beside_node(struct salvage *s, const char *path)
{
  if (s->how->beside_node)
    return true;
  char owner[LIMIT_PATH_BYTES];
  struct store_env e;
  strcpy(e.path, path); /* its length has been looked at */
  store_env_path(&e, owner, STORE_FILE_OWNER);
  s->owner_fd = open(owner, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  if (s->owner_fd < 0 || flock(s->owner_fd, LOCK_SH | LOCK_NB) == 0)
    return false;
  close(s->owner_fd);
  s->owner_fd = -1;
  return true;
}

/* The snapshot and meta, as far as LMDB can tell of them. */
static bool salvage_open(struct salvage *s, const char *path, struct failure *why)
{
  struct failure no_meta = FAILURE_NONE;
  if (store_env_open(&s->env, path, STORE_ENV_READ, 0, why) || store_env_begin_read(&s->env, &s->txn, why))
    return false;
  s->meta_read =
      store_meta_open(&s->env, s->txn, &no_meta) == MUSTER_OK && store_meta_load(&s->env, s->txn, &s->meta, &no_meta) == MUSTER_OK;
  if (no_meta.status == MUSTER_ERR_VERSION)
    return !failure_set(why, no_meta.status, "%s", no_meta.text);
  return true;
}

static int salvage_open_file(struct salvage *s, const char *path, struct failure *failure)
{
  char data[LIMIT_PATH_BYTES];
  struct store_env e;
  struct stat st;
  strcpy(e.path, path);
  store_env_path(&e, data, STORE_FILE_DATA);
  s->finding.fd = open(data, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  if (s->finding.fd < 0)
    return failure_set_errno(failure, store_env_status(errno), errno, "shard %s: data.mdb cannot be read", path);
  if (fstat(s->finding.fd, &st) != 0 || !S_ISREG(st.st_mode))
    return failure_set(failure, MUSTER_ERR_IO, "shard %s: data.mdb is no file that can be read", path);
  s->finding.size = (uint64_t)st.st_size;
  s->finding.page_bytes = (uint32_t)sysconf(_SC_PAGESIZE); /* LMDB's own choice */
  posix_fadvise(s->finding.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  return MUSTER_OK;
}

static bool salvage_led_to(void *context, const struct store_found *found)
{
  const struct salvage *s = context;
  struct store_block b;
  struct store_guard g;
  if (sigsetjmp(*store_guard_enter(&g, STORE_GUARD_MAP), 0))
    return false;
  const bool led = store_journal_seek(s->cursor, found->first, &b) == 0 && b.header.first == found->first &&
                   memcmp(b.header.checksum, found->checksum, sizeof found->checksum) == 0;
  store_guard_leave(&g);
  return led;
}

static int salvage_begin(struct salvage *s, const char *path, struct failure *failure)
{
  struct failure why = FAILURE_NONE;
  if (strlen(path) >= STORE_PATH_MAX)
    return failure_set(failure, MUSTER_ERR_LIMIT, "a shard's path may have %u bytes", STORE_PATH_MAX - 1);
  const bool beside = salvage_beside_node(s, path), snapshot = salvage_open(s, path, &why);
  if (why.status == MUSTER_ERR_VERSION || why.status == MUSTER_ERR_DENIED)
    return failure_set(failure, why.status, "%s", why.text);
  if (beside && (!snapshot || !s->meta_read))
    return failure_set(
        failure, MUSTER_ERR_LOCKED,
        "shard %s: a node has it in use, and its pages are too damaged to be read beside it; nothing was changed; stop the node first",
        path);
  int status = salvage_open_file(s, path, failure);
  s->finding.shard = s->meta_read ? s->meta.shard : s->how->shard;
  s->finding.last = beside ? s->meta.records : UINT64_MAX;
  if (s->meta_read && store_env_cursor_open(s->txn, s->env.journal, &s->cursor) == 0) {
    s->finding.led_to = salvage_led_to;
    s->finding.context = s;
  }
  return status ? status : store_find_blocks(&s->finding, s->meta_read ? s->meta.chain : NULL, failure);
}

static void salvage_end(struct salvage *s)
{
  if (s->cursor)
    store_env_cursor_close(s->cursor);
  if (s->txn)
    store_env_abort(s->txn);
  store_env_close(&s->env);
  store_finding_finish(&s->finding);
  if (s->finding.fd >= 0)
    close(s->finding.fd);
  if (s->owner_fd >= 0)
    close(s->owner_fd);
}

static void salvage_lost(struct salvage *s, uint64_t first, uint64_t last)
{
  if (first > last)
    return;
  s->result->lost += last - first + 1;
  s->how->lost(s->how->context, first, last);
}

/* *next: the first sequence that was neither given nor told as lost. Of two that contest each other the later one begins before it. */
static int salvage_give(struct salvage *s, const struct store_found *found, uint64_t *next)
{
  struct store_block b;
  uint64_t at = found->first;
  if (!store_found_read(&s->finding, found, &b))
    return MUSTER_OK; /* the next one, or the end, finds it missing */
  salvage_lost(s, *next, found->first - 1);
  const int stop = store_block_each(&b, &at, found->last, s->how->each, s->how->context);
  s->result->records += at - found->first;
  *next = at > *next ? at : *next;
  if (stop && stop != MUSTER_ERR_CORRUPT)
    return stop;
  s->result->blocks += at > found->last;
  if ((!found->certain || found->contested) && at > found->first) {
    s->result->uncertain += at - found->first;
    if (s->how->uncertain)
      s->how->uncertain(s->how->context, found->first, at - 1, found->contested);
  }
  return MUSTER_OK;
}

static int salvage_all(struct salvage *s)
{
  const struct store_finding *f = &s->finding;
  uint64_t next = 1;
  int stop = MUSTER_OK;
  for (size_t i = 0; i < f->count && !stop; i++)
    stop = salvage_give(s, &f->found[i], &next);
  if (stop)
    return stop;
  uint64_t records = s->meta_read ? s->meta.records : 0;
  s->result->end_known = s->meta_read;
  /* One that the tree does not lead to may be of an earlier moment: there were so many at least. */
  if (f->meta_found && f->meta.records > records && f->last == UINT64_MAX) /* beside a node it may be newer than the snapshot */
    records = f->meta.records;
  salvage_lost(s, next, records);
  return MUSTER_OK;
}

int store_salvage(const char *path, const struct store_salvage *how, struct store_salvage_result *out, struct failure *failure)
{
  struct salvage s = {.env.lock_fd = -1, .owner_fd = -1, .finding.fd = -1, .how = how, .result = out};
  *out = (struct store_salvage_result){0};
  int status = salvage_begin(&s, path, failure);
  if (!status)
    status = salvage_all(&s);
  salvage_end(&s);
  return status;
}
