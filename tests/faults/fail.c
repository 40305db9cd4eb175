#include "tests/faults/fail.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

const char *const fail_classes[FAIL_CLASSES] = {"none",   "read",    "write", "sync", "open",  "map",
                                                "socket", "process", "poll",  "file", "memory"};

static const struct {
  const char *name;
  int error;
} hows[] = {{"SHORT", 0},       {"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EINTR", EINTR},
            {"EMFILE", EMFILE}, {"ENOMEM", ENOMEM}, {"EAGAIN", EAGAIN}, {"EACCES", EACCES}};

static struct {
  enum fail_class class;
  unsigned long nth;
  int error;
  bool lasting;
  const char *mark;
  atomic_ulong count;
  atomic_bool fired;
} armed;

void fail_arm(enum fail_class class, unsigned long nth, int error, bool lasting)
{
  armed.class = FAIL_NONE;
  armed.nth = nth;
  armed.error = error;
  armed.lasting = lasting;
  armed.count = 0;
  armed.fired = false;
  armed.class = nth ? class : FAIL_NONE;
}

bool fail_fired(void) { return armed.fired; }

/* Whether this call is the one. By raw calls: nothing of this is to be met by what is below. */
static bool fail_now(enum fail_class class)
{
  if (class != armed.class)
    return false;
  const unsigned long number = atomic_fetch_add(&armed.count, 1) + 1;
  if (number != armed.nth && !(armed.lasting && armed.fired))
    return false;
  if (!armed.fired && armed.mark) {
    const long fd = syscall(SYS_openat, AT_FDCWD, armed.mark, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
      armed.class = FAIL_NONE;
      return false;
    }
    syscall(SYS_close, fd);
  }
  armed.fired = true;
  errno = armed.error;
  return true;
}

static bool fail_word(const char *line, size_t size, const char *role)
{
  const char *word = memchr(line, '\0', size);
  return word && word + 1 < line + size && strcmp(word + 1, role) == 0;
}

/* Before main, and as the loader has set up all libraries. */
__attribute__((constructor)) static void fail_from_environment(void)
{
  const char *role = getenv("FAIL_ROLE"), *name = getenv("FAIL_CLASS"), *nth = getenv("FAIL_NTH"), *how = getenv("FAIL_HOW"),
             *last = getenv("FAIL_LAST");
  char line[512];
  if (!role || !name || !nth || !how)
    return;
  const long fd = syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
  const ssize_t size = syscall(SYS_read, fd, line, sizeof line - 1);
  syscall(SYS_close, fd);
  line[size > 0 ? size : 0] = '\0';
  if (size <= 0 || !fail_word(line, (size_t)size, role))
    return;
  armed.mark = getenv("FAIL_MARK");
  for (int class = FAIL_NONE + 1; class < FAIL_CLASSES; class ++)
    for (size_t i = 0; i < sizeof hows / sizeof *hows; i++)
      if (strcmp(fail_classes[class], name) == 0 && strcmp(hows[i].name, how) == 0)
        fail_arm((enum fail_class) class, strtoul(nth, NULL, 10), hows[i].error, last && *last == '1');
}

/* ---- the calls ---- */

#define REAL(name)                                                                                                                         \
  static __typeof__(name) *real;                                                                                                           \
  if (!real)                                                                                                                               \
  *(void **)&real = dlsym(RTLD_NEXT, #name)

/* A call that answers -1, or whatever stands for it. */
#define CALL(class, failed, type, name, parameters, arguments)                                                                             \
  type name parameters;                                                                                                                    \
  type name parameters                                                                                                                     \
  {                                                                                                                                        \
    REAL(name);                                                                                                                            \
    if (fail_now(class) && armed.error)                                                                                                    \
      return failed;                                                                                                                       \
    return real arguments;                                                                                                                 \
  }

/* One that moves bytes, of which half may be moved; standard error is let through. */
#define MOVE(class, name, parameters, size, arguments)                                                                                     \
  ssize_t name parameters;                                                                                                                 \
  ssize_t name parameters                                                                                                                  \
  {                                                                                                                                        \
    REAL(name);                                                                                                                            \
    if (fd != STDERR_FILENO && fail_now(class)) {                                                                                          \
      if (armed.error)                                                                                                                     \
        return -1;                                                                                                                         \
      size = size > 1 ? size / 2 : size;                                                                                                   \
    }                                                                                                                                      \
    return real arguments;                                                                                                                 \
  }

MOVE(FAIL_READ, read, (int fd, void *out, size_t size), size, (fd, out, size))
MOVE(FAIL_READ, pread, (int fd, void *out, size_t size, off_t at), size, (fd, out, size, at))
MOVE(FAIL_READ, pread64, (int fd, void *out, size_t size, off64_t at), size, (fd, out, size, at))
MOVE(FAIL_READ, readv, (int fd, const struct iovec *pieces, int count), count, (fd, pieces, count))
MOVE(FAIL_READ, __read_chk, (int fd, void *out, size_t size, size_t room), size, (fd, out, size, room))
MOVE(FAIL_READ, __pread_chk, (int fd, void *out, size_t size, off_t at, size_t room), size, (fd, out, size, at, room))

MOVE(FAIL_WRITE, write, (int fd, const void *bytes, size_t size), size, (fd, bytes, size))
MOVE(FAIL_WRITE, pwrite, (int fd, const void *bytes, size_t size, off_t at), size, (fd, bytes, size, at))
MOVE(FAIL_WRITE, pwrite64, (int fd, const void *bytes, size_t size, off64_t at), size, (fd, bytes, size, at))
MOVE(FAIL_WRITE, writev, (int fd, const struct iovec *pieces, int count), count, (fd, pieces, count))
MOVE(FAIL_WRITE, pwritev, (int fd, const struct iovec *pieces, int count, off_t at), count, (fd, pieces, count, at))
CALL(FAIL_WRITE, -1, int, ftruncate, (int fd, off_t size), (fd, size))
CALL(FAIL_WRITE, -1, int, ftruncate64, (int fd, off64_t size), (fd, size))
CALL(FAIL_WRITE, armed.error, int, posix_fallocate, (int fd, off_t from, off_t size), (fd, from, size))

/* What stdio writes by itself is out of reach; that it could not is told here. A stream in memory writes nothing. */
int fflush(FILE *file)
{
  REAL(fflush);
  return file && file != stderr && fileno(file) >= 0 && fail_now(FAIL_WRITE) && armed.error ? EOF : real(file);
}

CALL(FAIL_SYNC, -1, int, fsync, (int fd), (fd))
CALL(FAIL_SYNC, -1, int, fdatasync, (int fd), (fd))
CALL(FAIL_SYNC, -1, int, msync, (void *at, size_t size, int flags), (at, size, flags))
CALL(FAIL_SYNC, -1, int, syncfs, (int fd), (fd))
CALL(FAIL_SYNC, -1, int, sync_file_range, (int fd, off64_t from, off64_t size, unsigned how), (fd, from, size, how))

#define OPEN(name, parameters, arguments)                                                                                                  \
  int name parameters;                                                                                                                     \
  int name parameters                                                                                                                      \
  {                                                                                                                                        \
    REAL(name);                                                                                                                            \
    va_list more;                                                                                                                          \
    va_start(more, flags);                                                                                                                 \
    const mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                                                          \
    va_end(more);                                                                                                                          \
    if (fail_now(FAIL_OPEN) && armed.error)                                                                                                \
      return -1;                                                                                                                           \
    return real arguments;                                                                                                                 \
  }
OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))
CALL(FAIL_OPEN, -1, int, __open_2, (const char *path, int flags), (path, flags))
CALL(FAIL_OPEN, -1, int, __open64_2, (const char *path, int flags), (path, flags))
CALL(FAIL_OPEN, NULL, FILE *, fopen, (const char *path, const char *mode), (path, mode))
CALL(FAIL_OPEN, NULL, FILE *, fdopen, (int fd, const char *mode), (fd, mode))

/* Memory that is taken ahead for speed alone would be most of the time of a run. */
CALL(FAIL_MAP, MAP_FAILED, void *, mmap, (void *at, size_t size, int access, int flags, int fd, off_t from),
     (at, size, access, flags & ~MAP_POPULATE, fd, from))
CALL(FAIL_MAP, MAP_FAILED, void *, mmap64, (void *at, size_t size, int access, int flags, int fd, off64_t from),
     (at, size, access, flags & ~MAP_POPULATE, fd, from))
CALL(FAIL_MAP, -1, int, madvise, (void *at, size_t size, int advice), (at, size, advice))
CALL(FAIL_MAP, -1, int, mlock, (const void *at, size_t size), (at, size))
void *mremap(void *at, size_t size, size_t new_size, int flags, ...)
{
  REAL(mremap);
  va_list more;
  va_start(more, flags);
  void *to = flags & MREMAP_FIXED ? va_arg(more, void *) : NULL;
  va_end(more);
  return fail_now(FAIL_MAP) && armed.error ? MAP_FAILED : real(at, size, new_size, flags, to);
}

MOVE(FAIL_SOCKET, send, (int fd, const void *bytes, size_t size, int flags), size, (fd, bytes, size, flags))
MOVE(FAIL_SOCKET, recv, (int fd, void *out, size_t size, int flags), size, (fd, out, size, flags))
CALL(FAIL_SOCKET, -1, ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
CALL(FAIL_SOCKET, -1, ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
CALL(FAIL_SOCKET, -1, int, socket, (int domain, int type, int protocol), (domain, type, protocol))
CALL(FAIL_SOCKET, -1, int, socketpair, (int domain, int type, int protocol, int ends[2]), (domain, type, protocol, ends))
CALL(FAIL_SOCKET, -1, int, bind, (int fd, const struct sockaddr *to, socklen_t size), (fd, to, size))
CALL(FAIL_SOCKET, -1, int, connect, (int fd, const struct sockaddr *to, socklen_t size), (fd, to, size))
CALL(FAIL_SOCKET, -1, int, listen, (int fd, int backlog), (fd, backlog))
CALL(FAIL_SOCKET, -1, int, accept, (int fd, struct sockaddr *from, socklen_t *size), (fd, from, size))
CALL(FAIL_SOCKET, -1, int, accept4, (int fd, struct sockaddr *from, socklen_t *size, int flags), (fd, from, size, flags))

CALL(FAIL_PROCESS, -1, pid_t, fork, (void), ())
CALL(FAIL_PROCESS, -1, int, pipe2, (int ends[2], int flags), (ends, flags))
CALL(FAIL_PROCESS, armed.error, int, pthread_create, (pthread_t * thread, const pthread_attr_t *how, void *(*body)(void *), void *context),
     (thread, how, body, context))

CALL(FAIL_POLL, -1, int, epoll_create1, (int flags), (flags))
CALL(FAIL_POLL, -1, int, epoll_ctl, (int fd, int what, int of, struct epoll_event *event), (fd, what, of, event))
CALL(FAIL_POLL, -1, int, epoll_wait, (int fd, struct epoll_event *events, int most, int wait_ms), (fd, events, most, wait_ms))
CALL(FAIL_POLL, -1, int, epoll_pwait, (int fd, struct epoll_event *events, int most, int wait_ms, const sigset_t *mask),
     (fd, events, most, wait_ms, mask))
CALL(FAIL_POLL, -1, int, eventfd, (unsigned count, int flags), (count, flags))
CALL(FAIL_POLL, -1, int, timerfd_create, (int clock, int flags), (clock, flags))
CALL(FAIL_POLL, -1, int, poll, (struct pollfd * polled, nfds_t count, int wait_ms), (polled, count, wait_ms))

CALL(FAIL_FILE, -1, int, rename, (const char *from, const char *to), (from, to))
CALL(FAIL_FILE, -1, int, renameat2, (int of, const char *from, int into, const char *to, unsigned how), (of, from, into, to, how))
CALL(FAIL_FILE, -1, int, link, (const char *from, const char *to), (from, to))
CALL(FAIL_FILE, -1, int, unlink, (const char *path), (path))
CALL(FAIL_FILE, -1, int, mkdir, (const char *path, mode_t mode), (path, mode))
CALL(FAIL_FILE, -1, int, flock, (int fd, int how), (fd, how))
CALL(FAIL_FILE, -1, int, fstat, (int fd, struct stat *out), (fd, out))
CALL(FAIL_FILE, -1, int, stat, (const char *path, struct stat *out), (path, out))
CALL(FAIL_FILE, -1, int, lstat, (const char *path, struct stat *out), (path, out))
CALL(FAIL_FILE, -1, off_t, lseek, (int fd, off_t at, int from), (fd, at, from))

/* libc's own, by the names that dlsym does not need memory to find. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void *malloc(size_t size) { return fail_now(FAIL_MEMORY) ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return fail_now(FAIL_MEMORY) ? NULL : __libc_calloc(count, size); }
void *realloc(void *memory, size_t size) { return fail_now(FAIL_MEMORY) ? NULL : __libc_realloc(memory, size); }
void *aligned_alloc(size_t alignment, size_t size) { return fail_now(FAIL_MEMORY) ? NULL : __libc_memalign(alignment, size); }
void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size) { return fail_now(FAIL_MEMORY) ? NULL : __libc_memalign(alignment, size); }
int posix_memalign(void **out, size_t alignment, size_t size)
{
  if (fail_now(FAIL_MEMORY))
    return ENOMEM;
  *out = __libc_memalign(alignment, size);
  return *out ? 0 : ENOMEM;
}
