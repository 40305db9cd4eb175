#include "ops/restore_place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/datadir.h"
#include "core/durable.h"
#include "core/fault.h"
#include "core/file.h"

#define PLACE_SUFFIX ".restoring"
#define PLACE_NOTE "restored"

int ops_restore_place_name(struct ops_restore_place *p, const char *option, struct failure *failure)
{
  struct stat info;
  p->fd = -1;
  int status = datadir_name(p->path, option, failure);
  if (status != MUSTER_OK)
    return status;
  for (size_t size = strlen(p->path); size > 1 && p->path[size - 1] == '/'; size--)
    p->path[size - 1] = '\0';
  snprintf(p->temporary, sizeof p->temporary, "%s" PLACE_SUFFIX, p->path);
  if (lstat(p->path, &info) == 0)
    return failure_set(failure, MUSTER_ERR_CREATE, "%s exists; nothing was changed; a restore makes a new directory and overwrites nothing",
                       p->path);
  return MUSTER_OK;
}

/* ---- making it, or going on ---- */

static int refuse_owner(const char *path, struct failure *failure)
{
  return failure_set(failure, MUSTER_ERR_DENIED,
                     "%s is there and is not what a restore of this user makes (a directory of his own, mode 0700, no symbolic link); "
                     "nothing was changed; look who made it, remove it, or name another directory",
                     path);
}

static int make_folder(const char *path, struct failure *failure)
{
  struct stat info;
  if (mkdir(path, 0700) == 0)
    return MUSTER_OK;
  if (errno != EEXIST)
    return failure_set_errno(failure, errno == ENOENT ? MUSTER_ERR_CREATE : failure_status(errno, MUSTER_ERR_CREATE), errno,
                             "cannot create the directory %s", path);
  if (lstat(path, &info) != 0)
    return failure_set_errno(failure, failure_status(errno, MUSTER_ERR_IO), errno, "cannot look at %s", path);
  return S_ISDIR(info.st_mode) && info.st_uid == geteuid() && !(info.st_mode & 077) ? MUSTER_OK : refuse_owner(path, failure);
}

/* Once more by the descriptor, which nobody can exchange. */
static int open_folder(struct ops_restore_place *p, struct failure *failure)
{
  struct stat info;
  p->fd = open(p->temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (p->fd < 0)
    return errno == ELOOP || errno == ENOTDIR
               ? refuse_owner(p->temporary, failure)
               : failure_set_errno(failure, failure_status(errno, MUSTER_ERR_CREATE), errno, "cannot open %s", p->temporary);
  if (fstat(p->fd, &info) != 0)
    return failure_set_errno(failure, MUSTER_ERR_IO, errno, "cannot look at %s", p->temporary);
  if (info.st_uid != geteuid() || info.st_mode & 077)
    return refuse_owner(p->temporary, failure);
  return flock(p->fd, LOCK_EX | LOCK_NB) == 0
             ? MUSTER_OK
             : failure_set(failure, MUSTER_ERR_LOCKED, "another muster restore is writing to %s; nothing was changed", p->temporary);
}

/* The name under which core/durable writes the note, with the pid of a process that was killed. */
static bool is_left_of_note(const char *name)
{
  if (strncmp(name, PLACE_NOTE ".", sizeof PLACE_NOTE) != 0)
    return false;
  const char *pid = name + sizeof PLACE_NOTE;
  const size_t digits = strspn(pid, "0123456789");
  return digits > 0 && strcmp(pid + digits, ".new") == 0;
}

/* Nothing in it but what the making of the note leaves when it is killed, which goes when all was looked at. false: something else. */
static bool is_empty(const struct ops_restore_place *p)
{
  DIR *folder = opendir(p->temporary);
  bool empty = folder != NULL;
  for (const struct dirent *e; empty && (e = readdir(folder));)
    empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || is_left_of_note(e->d_name);
  if (empty)
    rewinddir(folder);
  for (const struct dirent *e; empty && (e = readdir(folder));)
    if (is_left_of_note(e->d_name))
      unlinkat(p->fd, e->d_name, 0);
  if (folder)
    closedir(folder);
  return empty;
}

static int hold_against(const struct ops_restore_place *p, FILE *in, const char *note, struct failure *failure)
{
  char *text = NULL;
  size_t room = 0;
  const ssize_t size = getdelim(&text, &room, '\0', in);
  const int error = size < 0 && !feof(in) ? errno : 0;
  const bool same = size == (ssize_t)strlen(note) && memcmp(text, note, (size_t)size) == 0;
  free(text);
  if (error)
    return failure_set_errno(failure, error == ENOMEM ? MUSTER_ERR_MEMORY : MUSTER_ERR_IO, error, "cannot read %s/" PLACE_NOTE,
                             p->temporary);
  return same ? MUSTER_OK
              : failure_set(failure, MUSTER_ERR_CREATE,
                            "%s was begun by a restore of another backup, another run of it, or with other options (its file " PLACE_NOTE
                            " says which); nothing was changed; give the command that it was begun with, or remove that directory to begin "
                            "anew",
                            p->temporary);
}

static int take_note(const struct ops_restore_place *p, const char *note, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES + 32];
  struct failure opened = FAILURE_NONE;
  snprintf(path, sizeof path, "%s/" PLACE_NOTE, p->temporary);
  FILE *in = file_open_stream(FILE_OF_NODE, "what is restored", path, LIMIT_MIB, &opened);
  if (in) {
    const int status = hold_against(p, in, note, failure);
    fclose(in);
    return status;
  }
  if (opened.status != MUSTER_ERR_NOT_FOUND)
    return failure_set(failure, opened.status, "%s", opened.text);
  if (!is_empty(p))
    return failure_set(failure, MUSTER_ERR_CREATE,
                       "%s is there and was not made by a restore; nothing was changed; look what it is, or name another directory",
                       p->temporary);
  return durable_create_file(path, note, strlen(note), 0600, failure);
}

int ops_restore_place_take(struct ops_restore_place *p, const char *note, struct failure *failure)
{
  int status = make_folder(p->temporary, failure);
  if (status == MUSTER_OK)
    status = open_folder(p, failure);
  return status == MUSTER_OK ? take_note(p, note, failure) : status;
}

int ops_restore_place_folder(const struct ops_restore_place *p, const char *relative, char *out, struct failure *failure)
{
  snprintf(out, LIMIT_PATH_BYTES + 64, "%s/%s", p->temporary, relative);
  return make_folder(out, failure);
}

/* ---- the name ---- */

/* RENAME_NOREPLACE, since somebody may have made the directory meanwhile. */
int ops_restore_place_finish(const struct ops_restore_place *p, struct failure *failure)
{
  char parent[LIMIT_PATH_BYTES], store[LIMIT_PATH_BYTES + 32];
  snprintf(store, sizeof store, "%s/store", p->temporary);
  int status = durable_sync_folder(store, failure);
  if (status == MUSTER_OK)
    status = durable_sync_folder(p->temporary, failure);
  if (status != MUSTER_OK)
    return status;
  if (FAULT("restore.name") || renameat2(AT_FDCWD, p->temporary, AT_FDCWD, p->path, RENAME_NOREPLACE) != 0)
    return failure_set_errno(failure, MUSTER_ERR_CREATE, errno, "what was restored is whole and stays in %s: it cannot be named %s",
                             p->temporary, p->path);
  snprintf(parent, sizeof parent, "%s", p->path);
  return durable_sync_folder(dirname(parent), failure);
}

void ops_restore_place_close(struct ops_restore_place *p)
{
  if (p->fd >= 0)
    close(p->fd);
  p->fd = -1;
}
