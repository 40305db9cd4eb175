#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading ---- */

static int file_check_input(int fd, const char *what, const char *path, uint64_t most_bytes, struct failure *failure)
{
  struct stat info;
  if (fstat(fd, &info) != 0)
    return failure_set_errno(failure, MUSTER_ERR_IO, errno, "cannot read %s %s", what, path);
  if (!S_ISREG(info.st_mode))
    return failure_set(failure, MUSTER_ERR_DENIED, "cannot read %s %s: it is not a regular file", what, path);
  if ((uint64_t)info.st_size > most_bytes)
    return failure_set(failure, MUSTER_ERR_LIMIT, "cannot read %s %s: it has %" PRIu64 " bytes, and at most %" PRIu64 " may be there", what,
                       path, (uint64_t)info.st_size, most_bytes);
  return MUSTER_OK;
}

int file_open(enum file_name name, const char *what, const char *path, uint64_t most_bytes, struct failure *failure)
{
  /* Without O_NONBLOCK the opening of a pipe waits for its writer. Of a regular file it changes nothing. */
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (name == FILE_OF_NODE ? O_NOFOLLOW : 0));
  if (fd < 0 && errno == ELOOP && name == FILE_OF_NODE) {
    failure_set(failure, MUSTER_ERR_DENIED, "cannot read %s %s: it is a symbolic link, and none is followed here", what, path);
    return -1;
  }
  if (fd < 0) {
    failure_set_errno(failure, failure_status(errno, MUSTER_ERR_IO), errno, "cannot read %s %s", what, path);
    return -1;
  }
  if (file_check_input(fd, what, path, most_bytes, failure) == MUSTER_OK)
    return fd;
  close(fd);
  return -1;
}

FILE *file_open_stream(enum file_name name, const char *what, const char *path, uint64_t most_bytes, struct failure *failure)
{
  const int fd = file_open(name, what, path, most_bytes, failure);
  FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
  if (fd >= 0 && file == NULL) {
    failure_set_errno(failure, MUSTER_ERR_MEMORY, errno, "cannot read %s %s", what, path);
    close(fd);
  }
  return file;
}

ssize_t file_read_at(int fd, void *out, size_t size, uint64_t offset)
{
  size_t have = 0;
  while (have < size) {
    const ssize_t n = pread(fd, (uint8_t *)out + have, size - have, (off_t)(offset + have));
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return -1;
    if (n == 0)
      break;
    have += (size_t)n;
  }
  return (ssize_t)have;
}

/* ---- writing ---- */

static bool file_is_input(const struct stat *output, const char *input)
{
  struct stat info;
  if (input == NULL || (strcmp(input, "-") == 0 ? fstat(STDIN_FILENO, &info) : stat(input, &info)) != 0)
    return false;
  return info.st_dev == output->st_dev && info.st_ino == output->st_ino;
}

int file_check_output(int fd, const char *name, const char *const *inputs, size_t count, struct failure *failure)
{
  struct stat output;
  if (fstat(fd, &output) != 0 || !S_ISREG(output.st_mode)) /* a terminal may well be both */
    return MUSTER_OK;
  for (size_t i = 0; i < count; i++)
    if (file_is_input(&output, inputs[i]))
      return failure_set(failure, MUSTER_ERR_USAGE,
                         "%s is the same file as %s, which is read here; nothing was written to it; name another file", name,
                         strcmp(inputs[i], "-") == 0 ? "standard input" : inputs[i]);
  return MUSTER_OK;
}

/* Looked at before it is emptied, and through the descriptor, so that it is the very file that is looked at. */
int file_create_stream(FILE **out, const char *path, const char *const *inputs, size_t count, struct failure *failure)
{
  struct stat info;
  *out = NULL;
  const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0)
    return failure_set_errno(failure, MUSTER_ERR_CREATE, errno, "cannot write %s", path);
  int status = file_check_output(fd, path, inputs, count, failure);
  if (status == MUSTER_OK && ((fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && ftruncate(fd, 0) != 0) || !(*out = fdopen(fd, "w"))))
    status = failure_set_errno(failure, MUSTER_ERR_CREATE, errno, "cannot write %s", path);
  if (status != MUSTER_OK)
    close(fd);
  return status;
}
