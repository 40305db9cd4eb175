#include "core/key_list.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/durable.h"
#include "core/file.h"

enum { NUMBER_MAX = 999999999 }; /* nine digits, and never used again */
enum { LINE_BYTES_MAX = 256, LIST_BYTES_MAX = LIMIT_SUBMITTERS * LINE_BYTES_MAX };

struct key_list {
  char *path;
  struct key_entry *entries; /* LIMIT_SUBMITTERS of them, numbers ascending */
  uint32_t count;
  struct stat seen;       /* the file as last read; all zero: there was none */
  struct failure failure; /* why the list is empty although there is a file */
};

static bool same_file(const struct stat *a, const struct stat *b)
{
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mode == b->st_mode &&
         a->st_uid == b->st_uid && memcmp(&a->st_mtim, &b->st_mtim, sizeof a->st_mtim) == 0 &&
         memcmp(&a->st_ctim, &b->st_ctim, sizeof a->st_ctim) == 0;
}

/* 1 to NUMBER_MAX as it is written; 0 where it is none. */
static uint32_t number_parse(const char *word)
{
  const size_t size = strspn(word, "0123456789");
  return size > 0 && size < 10 && !word[size] && word[0] != '0' ? (uint32_t)strtoul(word, NULL, 10) : 0;
}

/* The last of a name, key or number decides nothing: each may stand once. A word that is cut where its room ends is too long to be right,
 * so that nothing of it is taken for the next. */
static bool line_parse(struct key_list *l, char *line)
{
  struct key_entry *e = &l->entries[l->count];
  char digits[16], state[16], name[64], public_text[64], since[64], rest;
  if (l->count == LIMIT_SUBMITTERS || line[0] < '1' || line[0] > '9' ||
      sscanf(line, "%15s %15s %63s %63s %63s %c", digits, state, name, public_text, since, &rest) != 5)
    return false;
  const uint32_t number = number_parse(digits);
  bool allowed = strcmp(state, "allow") == 0;
  if ((!allowed && strcmp(state, "revoked") != 0) || !key_name_valid(name) || !key_text_valid(public_text) ||
      strlen(since) >= sizeof e->since)
    return false;
  if (number == 0 || (l->count > 0 && number <= l->entries[l->count - 1].number))
    return false;
  if (key_list_by_name(l, name) || key_list_by_public(l, public_text))
    return false;
  *e = (struct key_entry){.number = number, .allowed = allowed};
  strcpy(e->name, name);
  strcpy(e->public_text, public_text);
  strcpy(e->since, since);
  l->count++;
  return true;
}

static int list_parse(struct key_list *l, char *text, size_t size)
{
  unsigned number = 1;
  if (memchr(text, 0, size) || (size > 0 && text[size - 1] != '\n'))
    return failure_set(&l->failure, MUSTER_ERR_FORMAT, "%s: the allow-list is cut or not text; nobody is allowed until it is mended",
                       l->path);
  for (char *line = text, *end; line < text + size; line = end + 1, number++) {
    end = strchr(line, '\n');
    *end = 0;
    if (!line_parse(l, line)) {
      l->count = 0;
      return failure_set(&l->failure, MUSTER_ERR_FORMAT,
                         "%s:%u: not a line of the allow-list (NUMBER allow|revoked NAME PUBLIC TIME, numbers ascending, each name and key "
                         "once); nobody is allowed until it is mended",
                         l->path, number);
    }
  }
  return MUSTER_OK;
}

static int list_read(struct key_list *l, int fd)
{
  if (fstat(fd, &l->seen) != 0)
    return failure_set_errno(&l->failure, MUSTER_ERR_IO, errno, "cannot read the allow-list %s", l->path);
  if (key_check_private(&l->seen, 022, l->path, &l->failure) != MUSTER_OK)
    return l->failure.status;
  size_t size = (size_t)l->seen.st_size;
  char *text = malloc(size + 1);
  if (!text)
    return failure_set(&l->failure, MUSTER_ERR_MEMORY, "no memory to read the allow-list %s", l->path);
  ssize_t got = read(fd, text, size);
  text[size] = 0;
  int status = got == (ssize_t)size
                   ? list_parse(l, text, size)
                   : failure_set_errno(&l->failure, MUSTER_ERR_IO, got < 0 ? errno : 0, "cannot read the allow-list %s", l->path);
  free(text);
  return status;
}

int key_list_refresh(struct key_list *l, struct failure *f)
{
  struct stat st;
  bool there = lstat(l->path, &st) == 0;
  if (there ? same_file(&st, &l->seen) : errno == ENOENT && l->seen.st_ino == 0)
    return l->failure.status == MUSTER_OK ? MUSTER_OK : failure_set(f, l->failure.status, "%s", l->failure.text);
  l->count = 0;
  l->failure = FAILURE_NONE;
  memset(&l->seen, 0, sizeof l->seen);
  struct failure cause = FAILURE_NONE;
  int fd = file_open(FILE_OF_NODE, "the allow-list", l->path, LIST_BYTES_MAX, &cause);
  if (fd >= 0) {
    list_read(l, fd);
    close(fd);
  } else if (cause.status != MUSTER_ERR_NOT_FOUND)
    failure_set(&l->failure, cause.status, "%s", cause.text);
  return l->failure.status == MUSTER_OK ? MUSTER_OK : failure_set(f, l->failure.status, "%s", l->failure.text);
}

int key_list_open(struct key_list **out, const char *path, struct failure *f)
{
  struct key_list *l = calloc(1, sizeof *l);
  *out = NULL;
  if (!l || !(l->path = strdup(path)) || !(l->entries = calloc(LIMIT_SUBMITTERS, sizeof *l->entries))) {
    key_list_close(l);
    return failure_set(f, MUSTER_ERR_MEMORY, "no memory for the allow-list %s", path);
  }
  int status = key_list_refresh(l, f);
  if (status == MUSTER_OK)
    *out = l;
  else
    key_list_close(l);
  return status;
}

void key_list_close(struct key_list *l)
{
  if (!l)
    return;
  free(l->entries);
  free(l->path);
  free(l);
}

uint32_t key_list_count(const struct key_list *l) { return l->count; }

uint32_t key_list_allowed(const struct key_list *l)
{
  uint32_t allowed = 0;
  for (uint32_t i = 0; i < key_list_count(l); i++)
    allowed += key_list_at(l, i)->allowed;
  return allowed;
}

const struct key_entry *key_list_at(const struct key_list *l, uint32_t position)
{
  return position < l->count ? &l->entries[position] : NULL;
}

const struct key_entry *key_list_by_public(const struct key_list *l, const char *public_text)
{
  for (uint32_t i = 0; i < l->count; i++)
    if (strcmp(l->entries[i].public_text, public_text) == 0)
      return &l->entries[i];
  return NULL;
}

const struct key_entry *key_list_by_number(const struct key_list *l, uint32_t number)
{
  for (uint32_t low = 0, high = l->count; low < high;) {
    uint32_t middle = (low + high) / 2;
    if (l->entries[middle].number == number)
      return &l->entries[middle];
    if (l->entries[middle].number < number)
      low = middle + 1;
    else
      high = middle;
  }
  return NULL;
}

const struct key_entry *key_list_by_name(const struct key_list *l, const char *name)
{
  for (uint32_t i = 0; i < l->count; i++)
    if (strcmp(l->entries[i].name, name) == 0)
      return &l->entries[i];
  return NULL;
}

/* ---- changing the file ---- */

static int list_write(const struct key_list *l, struct failure *f)
{
  size_t size = 0;
  char *text = malloc((size_t)(l->count + 1) * LINE_BYTES_MAX);
  if (!text)
    return failure_set(f, MUSTER_ERR_MEMORY, "no memory to write the allow-list %s; it stays as it was", l->path);
  for (uint32_t i = 0; i < l->count; i++) {
    const struct key_entry *e = &l->entries[i];
    size +=
        (size_t)sprintf(text + size, "%u %s %s %s %s\n", e->number, e->allowed ? "allow" : "revoked", e->name, e->public_text, e->since);
  }
  int status = durable_replace_file(l->path, text, size, 0600, f);
  free(text);
  return status;
}

static void stamp(struct key_entry *e)
{
  time_t now = (time_t)(clock_wall_us() / 1000000);
  struct tm tm;
  strftime(e->since, sizeof e->since, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
}

static int change_allow(struct key_list *l, const char *name, const char *public_text, struct failure *f)
{
  struct key_entry *e = (struct key_entry *)key_list_by_name(l, name);
  const struct key_entry *same_key = key_list_by_public(l, public_text);
  if (e && e != same_key)
    return failure_set(f, MUSTER_ERR_USAGE, "%s has another key already; choose another name, names are never reused", name);
  if (same_key && e != same_key)
    return failure_set(f, MUSTER_ERR_USAGE, "this key is in the list as %s; allow it under that name", same_key->name);
  if (e && e->allowed)
    return MUSTER_OK;
  if (!e) {
    if (l->count == LIMIT_SUBMITTERS)
      return failure_set(f, MUSTER_ERR_LIMIT, "the allow-list has %u lines, which is all it can hold", LIMIT_SUBMITTERS);
    uint32_t number = l->count > 0 ? l->entries[l->count - 1].number + 1 : SUBMITTER_LOCAL + 1;
    if (number > NUMBER_MAX)
      return failure_set(f, MUSTER_ERR_LIMIT,
                         "the last line of the allow-list has number %u, and there is none behind it; it stays as it was", NUMBER_MAX);
    e = &l->entries[l->count++];
    *e = (struct key_entry){.number = number};
    strcpy(e->name, name);
    strcpy(e->public_text, public_text);
  }
  e->allowed = true;
  stamp(e);
  return list_write(l, f);
}

static int change_revoke(struct key_list *l, const char *name, const char *public_text, struct failure *f)
{
  struct key_entry *e = (struct key_entry *)key_list_by_name(l, name);
  (void)public_text;
  if (!e)
    return failure_set(f, MUSTER_ERR_NOT_FOUND, "no key is called %s in %s", name, l->path);
  if (!e->allowed)
    return MUSTER_OK;
  e->allowed = false;
  stamp(e);
  return list_write(l, f);
}

typedef int (*change_fn)(struct key_list *l, const char *name, const char *public_text, struct failure *f);

/* Under the lock the list is read afresh; a damaged list is not written over. */
static int change_locked(const char *path, change_fn change, const char *name, const char *public_text, struct failure *f)
{
  char lock_path[LIMIT_PATH_BYTES];
  struct key_list *l;
  if (snprintf(lock_path, sizeof lock_path, "%s.lock", path) >= (int)sizeof lock_path)
    return failure_set(f, MUSTER_ERR_USAGE, "the path of the allow-list is too long");
  int lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0 || flock(lock, LOCK_EX) != 0) {
    int error = errno;
    if (lock >= 0)
      close(lock);
    return failure_set_errno(f, MUSTER_ERR_CREATE, error, "cannot lock the allow-list with %s; it stays as it was", lock_path);
  }
  int status = key_list_open(&l, path, f);
  if (status == MUSTER_OK)
    status = change(l, name, public_text, f);
  key_list_close(l);
  close(lock);
  return status;
}

int key_list_allow(const char *path, const char *name, const char *public_text, struct failure *f)
{
  if (!key_name_valid(name))
    return failure_set(f, MUSTER_ERR_USAGE, "a key's name has 1 to %u of the characters a-z 0-9 . _ -", LIMIT_SUBMITTER_NAME);
  if (!key_text_valid(public_text))
    return failure_set(f, MUSTER_ERR_FORMAT, "this is not a public key, which has 40 characters of Z85");
  return change_locked(path, change_allow, name, public_text, f);
}

int key_list_revoke(const char *path, const char *name, struct failure *f) { return change_locked(path, change_revoke, name, NULL, f); }
