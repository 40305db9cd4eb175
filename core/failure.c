#include "core/failure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A cut at the end of the buffer must not leave half of a UTF-8 character behind. */
static void failure_trim(char *text, size_t length)
{
  size_t start = length;
  while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
    start--;
  if (start == 0)
    return;
  const unsigned char lead = (unsigned char)text[start - 1];
  const size_t wanted = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
  if (lead >= 0xc0 && length - (start - 1) < wanted)
    text[start - 1] = '\0';
}

__attribute__((format(printf, 3, 0))) static size_t failure_write(struct failure *f, int status, const char *format, va_list arguments)
{
  f->status = status;
  const int wanted = vsnprintf(f->text, sizeof f->text, format, arguments);
  if (wanted < 0) {
    f->text[0] = '\0';
    return 0;
  }
  if ((size_t)wanted >= sizeof f->text)
    failure_trim(f->text, sizeof f->text - 1);
  return strlen(f->text);
}

int failure_set(struct failure *f, int status, const char *format, ...)
{
  if (f == NULL || f->status != MUSTER_OK)
    return status;
  const int saved = errno;
  va_list arguments;
  va_start(arguments, format);
  failure_write(f, status, format, arguments);
  va_end(arguments);
  errno = saved;
  return status;
}

int failure_set_errno(struct failure *f, int status, int errno_value, const char *format, ...)
{
  if (f == NULL || f->status != MUSTER_OK)
    return status;
  const int saved = errno;
  va_list arguments;
  va_start(arguments, format);
  const size_t used = failure_write(f, status, format, arguments);
  va_end(arguments);
  char cause[128];
  const char *text = strerror_r(errno_value, cause, sizeof cause); /* the GNU form: it may answer a static text instead */
  const int wanted = snprintf(f->text + used, sizeof f->text - used, ": %s", text);
  if (wanted > 0 && (size_t)wanted >= sizeof f->text - used)
    failure_trim(f->text, sizeof f->text - 1);
  errno = saved;
  return status;
}

int failure_status(int error, int otherwise)
{
  switch (error) {
  case ENOENT:
  case ENOTDIR: return MUSTER_ERR_NOT_FOUND;
  case EACCES:
  case EPERM: return MUSTER_ERR_DENIED;
  case ENOSPC:
  case EDQUOT: return MUSTER_ERR_FULL;
  default: return otherwise;
  }
}
