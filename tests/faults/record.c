/*
 * Preloaded into a node and its commands: appends to the log RECORD_LOG what they write below the directory RECORD_ROOT, and what they sync. One
 * write with O_APPEND for each entry, so the entries of all processes stand in one order. A write is logged before it is done and a sync
 * after: at any place of the log, all that may be on the disk stands before it, and what a sync has made durable stood before the sync began.
 * Streams of stdio that write there are seen as well (standard output, what fdopen makes). Stores into mapped memory are not seen (LMDB's are to lock.mdb alone, which says nothing after a power cut), and sync_file_range is not,
 * as it promises nothing. tests/flow/disk.py reads the log.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define ENTRY_MAGIC 0x4543554du
#define PARTS_MAX 1030

enum kind { WRITE = 1, SYNC, WRITE_SYNCED, TRUNCATE, CREATE, MKDIR, RENAME, UNLINK, LINK, FOLDER_SYNC, SYNC_ALL };

struct entry {
  uint32_t magic, kind;
  uint64_t inode;
  uint64_t at;   /* offset of a write, length of a truncation, mode of what is created, where the log ended when a sync began */
  uint64_t mate; /* of a write to a descriptor that syncs each: the same number in its WRITE_SYNCED; else 0 */
  uint64_t size_bytes, size_more_bytes; /* data or path; new path */
};

static int log_fd = -1;
static char root[PATH_MAX];
static size_t root_size;
static _Atomic uint32_t mates;

#define REAL(result, name, ...)                                                                                                            \
  static result (*real_##name)(__VA_ARGS__);                                                                                               \
  if (!real_##name)                                                                                                                        \
  *(void **)&real_##name = dlsym(RTLD_NEXT, #name)

static void begin(void)
{
  const char *log = getenv("RECORD_LOG"), *below = getenv("RECORD_ROOT");
  REAL(int, open64, const char *, int, ...);
  if (!log || !below || !realpath(below, root))
    return;
  root_size = strlen(root);
  const int fd = real_open64(log, O_WRONLY | O_APPEND | O_CLOEXEC);
  log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 200); /* away from the numbers that the node counts on */
  close(fd);
}

static void append(enum kind kind, uint64_t inode, uint64_t at, uint64_t mate, const struct iovec *data, int parts, const char *more)
{
  REAL(ssize_t, writev, int, const struct iovec *, int);
  struct entry e = {.magic = ENTRY_MAGIC, .kind = kind, .inode = inode, .at = at, .mate = mate};
  struct iovec out[PARTS_MAX] = {{&e, sizeof e}};
  int count = 1;
  for (int i = 0; i < parts && count < PARTS_MAX - 1; i++) {
    out[count++] = data[i];
    e.size_bytes += data[i].iov_len;
  }
  if (more) {
    e.size_more_bytes = strlen(more);
    out[count++] = (struct iovec){(void *)(uintptr_t)more, e.size_more_bytes};
  }
  const int error = errno;
  ssize_t put = real_writev(log_fd, out, count > 1024 ? 1024 : count);
  if (put != (ssize_t)(sizeof e + e.size_bytes + e.size_more_bytes))
    abort(); /* a record with a hole would prove nothing */
  errno = error;
}

static uint64_t log_end(void)
{
  struct stat info;
  return fstat(log_fd, &info) == 0 ? (uint64_t)info.st_size : 0;
}

static bool is_below(const char *path) { return strncmp(path, root, root_size) == 0 && path[root_size] == '/'; }

/* Whether the descriptor is of something below the root; its path as well. */
static bool recorded(int fd, struct stat *info, char path[PATH_MAX])
{
  char link[32];
  if (log_fd < 0 || fstat(fd, info) != 0 || (!S_ISREG(info->st_mode) && !S_ISDIR(info->st_mode)))
    return false;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, path, PATH_MAX - 1);
  if (size <= 0)
    return false;
  path[size] = '\0';
  return is_below(path) || strcmp(path, root) == 0;
}

/* The name made absolute, its directory resolved; the last part stays as it is. */
static bool resolved(const char *name, char out[PATH_MAX])
{
  char folder[PATH_MAX], whole[PATH_MAX];
  if (log_fd < 0 || strlen(name) >= sizeof folder)
    return false;
  strcpy(folder, name);
  char *slash = strrchr(folder, '/');
  const char *last = slash ? name + (slash - folder) + 1 : name;
  if (slash)
    slash[slash == folder] = '\0';
  if (!realpath(slash ? folder : ".", whole) || (size_t)snprintf(out, PATH_MAX, "%s/%s", whole, last) >= PATH_MAX)
    return false;
  return is_below(out);
}

static void append_path(enum kind kind, uint64_t inode, uint64_t at, const char *path, const char *more)
{
  const struct iovec name = {(void *)(uintptr_t)path, strlen(path)};
  append(kind, inode, at, 0, &name, 1, more);
}

/* ---- names ---- */

static int opened(int (*call)(const char *, int, ...), const char *name, int flags, mode_t mode)
{
  char path[PATH_MAX];
  struct stat before, info;
  const int error = errno;
  const bool mine = (flags & (O_CREAT | O_TRUNC)) != 0 && resolved(name, path);
  const bool there = mine && lstat(path, &before) == 0;
  errno = error;
  const int fd = call(name, flags, mode);
  if (fd >= 0 && mine && fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
    if (!there)
      append_path(CREATE, info.st_ino, info.st_mode & 07777, path, NULL);
    else if (flags & O_TRUNC)
      append(TRUNCATE, info.st_ino, 0, 0, NULL, 0, NULL);
  }
  return fd;
}

#define OPEN(name)                                                                                                                         \
  int name(const char *path, int flags, ...)                                                                                               \
  {                                                                                                                                        \
    REAL(int, name, const char *, int, ...);                                                                                               \
    va_list more;                                                                                                                          \
    va_start(more, flags);                                                                                                                 \
    const mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                                                                        \
    va_end(more);                                                                                                                          \
    return opened(real_##name, path, flags, mode);                                                                                         \
  }
OPEN(open)
OPEN(open64)

int mkdir(const char *name, mode_t mode)
{
  REAL(int, mkdir, const char *, mode_t);
  char path[PATH_MAX];
  struct stat info;
  const int result = real_mkdir(name, mode);
  if (result == 0 && resolved(name, path) && stat(path, &info) == 0)
    append_path(MKDIR, info.st_ino, info.st_mode & 07777, path, NULL);
  return result;
}

#define TWO_NAMES(name, kind)                                                                                                              \
  int name(const char *from, const char *to)                                                                                               \
  {                                                                                                                                        \
    REAL(int, name, const char *, const char *);                                                                                           \
    char path[PATH_MAX], more[PATH_MAX];                                                                                                   \
    const int result = real_##name(from, to);                                                                                              \
    if (result == 0 && resolved(from, path) && resolved(to, more))                                                                         \
      append_path(kind, 0, 0, path, more);                                                                                                 \
    return result;                                                                                                                         \
  }
TWO_NAMES(rename, RENAME)
TWO_NAMES(link, LINK)

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
  REAL(int, renameat2, int, const char *, int, const char *, unsigned);
  char path[PATH_MAX], more[PATH_MAX];
  const int result = real_renameat2(from_folder, from, to_folder, to, flags);
  if (result == 0 && from_folder == AT_FDCWD && to_folder == AT_FDCWD && resolved(from, path) && resolved(to, more))
    append_path(RENAME, 0, 0, path, more);
  return result;
}

int unlink(const char *name)
{
  REAL(int, unlink, const char *);
  char path[PATH_MAX];
  const int result = real_unlink(name);
  if (result == 0 && resolved(name, path))
    append_path(UNLINK, 0, 0, path, NULL);
  return result;
}

/* ---- bytes ---- */

/* Before a write; the number of one that is synced at once, else 0. */
static uint64_t before_write(int fd, const struct iovec *data, int parts, off_t offset)
{
  char path[PATH_MAX];
  struct stat info;
  const int error = errno;
  uint64_t mate = 0;
  if (recorded(fd, &info, path) && S_ISREG(info.st_mode)) {
    const int flags = fcntl(fd, F_GETFL);
    if (offset < 0)
      offset = flags & O_APPEND ? info.st_size : lseek(fd, 0, SEEK_CUR);
    if (flags & O_DSYNC)
      mate = (uint64_t)getpid() << 32 | ++mates;
    append(WRITE, info.st_ino, (uint64_t)offset, mate, data, parts, NULL);
  }
  errno = error;
  return mate;
}

static ssize_t after_write(int fd, uint64_t mate, ssize_t result)
{
  struct stat info;
  if (mate && result >= 0 && fstat(fd, &info) == 0)
    append(WRITE_SYNCED, info.st_ino, 0, mate, NULL, 0, NULL);
  return result;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
  REAL(ssize_t, write, int, const void *, size_t);
  const uint64_t mate = before_write(fd, &(struct iovec){(void *)(uintptr_t)bytes, size}, 1, -1);
  return after_write(fd, mate, real_write(fd, bytes, size));
}

ssize_t writev(int fd, const struct iovec *data, int parts)
{
  REAL(ssize_t, writev, int, const struct iovec *, int);
  const uint64_t mate = before_write(fd, data, parts, -1);
  return after_write(fd, mate, real_writev(fd, data, parts));
}

#define WRITE_AT(name)                                                                                                                     \
  ssize_t name(int fd, const void *bytes, size_t size, off_t offset)                                                                       \
  {                                                                                                                                        \
    REAL(ssize_t, name, int, const void *, size_t, off_t);                                                                                 \
    const uint64_t mate = before_write(fd, &(struct iovec){(void *)(uintptr_t)bytes, size}, 1, offset);                                    \
    return after_write(fd, mate, real_##name(fd, bytes, size, offset));                                                                    \
  }
WRITE_AT(pwrite)
WRITE_AT(pwrite64)

#define WRITE_PARTS_AT(name)                                                                                                               \
  ssize_t name(int fd, const struct iovec *data, int parts, off_t offset)                                                                  \
  {                                                                                                                                        \
    REAL(ssize_t, name, int, const struct iovec *, int, off_t);                                                                            \
    const uint64_t mate = before_write(fd, data, parts, offset);                                                                           \
    return after_write(fd, mate, real_##name(fd, data, parts, offset));                                                                    \
  }
WRITE_PARTS_AT(pwritev)
WRITE_PARTS_AT(pwritev64)

#define CUT(name)                                                                                                                          \
  int name(int fd, off_t size)                                                                                                             \
  {                                                                                                                                        \
    REAL(int, name, int, off_t);                                                                                                           \
    char path[PATH_MAX];                                                                                                                   \
    struct stat info;                                                                                                                      \
    if (recorded(fd, &info, path))                                                                                                         \
      append(TRUNCATE, info.st_ino, (uint64_t)size, 0, NULL, 0, NULL);                                                                     \
    return real_##name(fd, size);                                                                                                          \
  }
CUT(ftruncate)
CUT(ftruncate64)

/* ---- streams: libc's own write within them cannot be met from here, so those that write below the root write through ours ---- */

static struct stream {
  FILE *file;
  int fd;
} streams[8];

static ssize_t stream_write(void *cookie, const char *bytes, size_t size)
{
  const struct stream *s = cookie;
  const ssize_t put = write(s->fd, bytes, size);
  return put < 0 ? 0 : put;
}

static int stream_close(void *cookie)
{
  struct stream *s = cookie;
  s->file = NULL;
  return close(s->fd);
}

/* NULL: not of a recorded file that is written. */
static FILE *stream_of(int fd, const char *mode)
{
  char path[PATH_MAX];
  struct stat info;
  if (!recorded(fd, &info, path) || !S_ISREG(info.st_mode) || !strpbrk(mode, "wa"))
    return NULL;
  for (struct stream *s = streams; s < streams + sizeof streams / sizeof *streams; s++)
    if (!s->file) {
      s->fd = fd;
      return s->file = fopencookie(s, "w", (cookie_io_functions_t){.write = stream_write, .close = stream_close});
    }
  abort(); /* a record with a hole would prove nothing */
}

FILE *fdopen(int fd, const char *mode)
{
  REAL(FILE *, fdopen, int, const char *);
  FILE *file = stream_of(fd, mode);
  return file ? file : real_fdopen(fd, mode);
}

int fileno(FILE *file)
{
  REAL(int, fileno, FILE *);
  for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
    if (streams[i].file && streams[i].file == file)
      return streams[i].fd;
  return real_fileno(file);
}

__attribute__((constructor)) static void begin_streams(void)
{
  begin();
  FILE *out = stream_of(STDOUT_FILENO, "w");
  if (out)
    stdout = out;
}

/* ---- syncs ---- */

static int synced(int (*call)(int), int fd)
{
  char path[PATH_MAX];
  struct stat info;
  const uint64_t end = log_end();
  const int result = call(fd);
  if (result == 0 && recorded(fd, &info, path)) {
    if (S_ISDIR(info.st_mode))
      append_path(FOLDER_SYNC, info.st_ino, end, path, NULL);
    else
      append(SYNC, info.st_ino, end, 0, NULL, 0, NULL);
  }
  return result;
}

int fsync(int fd)
{
  REAL(int, fsync, int);
  return synced(real_fsync, fd);
}

int fdatasync(int fd)
{
  REAL(int, fdatasync, int);
  return synced(real_fdatasync, fd);
}

int syncfs(int fd)
{
  REAL(int, syncfs, int);
  const uint64_t end = log_end();
  const int result = real_syncfs(fd);
  if (result == 0 && log_fd >= 0)
    append(SYNC_ALL, 0, end, 0, NULL, 0, NULL);
  return result;
}

/* Whoever maps a recorded file to write into it by memory is not seen, so nobody may count on it: a sync of such memory ends the test. */
int msync(void *at, size_t size, int flags)
{
  REAL(int, msync, void *, size_t, int);
  if (log_fd >= 0)
    abort();
  return real_msync(at, size, flags);
}
