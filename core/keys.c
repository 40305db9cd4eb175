#include "core/keys.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/durable.h"
#include "core/file.h"
#include "core/link.h"

enum { KEY_TEXT_BYTES_MAX = 256 /* of a file that is written */, KEY_FILE_BYTES_MAX = 65536 /* of one that is read */ };

bool key_name_valid(const char *name)
{
  size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-");
  return size > 0 && size <= LIMIT_SUBMITTER_NAME && !name[size];
}

/* Z85 writes 4 bytes as 5 digits of base 85, most significant first; 85^5 is more than 2^32, so not every text decodes. */
bool key_text_valid(const char *public_text)
{
  static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
  if (strlen(public_text) != KEY_TEXT - 1)
    return false;
  for (unsigned i = 0; i < KEY_TEXT - 1; i += 5) {
    uint64_t value = 0;
    for (unsigned j = 0; j < 5; j++) {
      const char *digit = strchr(digits, public_text[i + j]);
      if (!digit)
        return false;
      value = value * 85 + (uint64_t)(digit - digits);
    }
    if (value > UINT32_MAX)
      return false;
  }
  return true;
}

/* ---- key pairs ---- */

int key_hold(struct key_pair **out, struct failure *f)
{
  *out = NULL;
  void *page = mmap(NULL, sizeof **out, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED)
    return failure_set(f, MUSTER_ERR_MEMORY, "no memory for a key");
  if (mlock(page, sizeof **out) != 0 || madvise(page, sizeof **out, MADV_DONTDUMP) != 0) {
    const int error = errno;
    struct rlimit limit = {0};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    munmap(page, sizeof **out);
    return failure_set_errno(f, MUSTER_ERR_CONFIG, error,
                             "the node's secret key needs a page of locked memory (%ld bytes), and the limit is %llu; raise it (ulimit -l)",
                             sysconf(_SC_PAGESIZE), (unsigned long long)limit.rlim_cur);
  }
  *out = page;
  return MUSTER_OK;
}

void key_let_go(struct key_pair *held)
{
  if (!held)
    return;
  explicit_bzero(held, sizeof *held);
  munmap(held, sizeof *held);
}

int key_generate(struct key_pair *out, const char *name, struct failure *f)
{
  if (!key_name_valid(name))
    return failure_set(f, MUSTER_ERR_USAGE, "a key's name has 1 to %u of the characters a-z 0-9 . _ -", LIMIT_SUBMITTER_NAME);
  memset(out, 0, sizeof *out);
  strcpy(out->name, name);
  if (link_curve_generate(out->public_text, out->secret_text) != MUSTER_OK)
    return failure_set(f, MUSTER_ERR_IO, "no key could be made: this libzmq has no CURVE, or no random numbers");
  return MUSTER_OK;
}

static int take_setting(void *context, const char *section, const char *name, const char *value)
{
  struct key_pair *pair = context;
  char *to = strcmp(name, "name") == 0     ? pair->name
             : strcmp(name, "public") == 0 ? pair->public_text
             : strcmp(name, "secret") == 0 ? pair->secret_text
                                           : NULL;
  size_t room = to == pair->name ? sizeof pair->name : KEY_TEXT;
  if (strcmp(section, "key") != 0 || !to || to[0] || strlen(value) >= room)
    return 0;
  strcpy(to, value);
  return 1;
}

static int parse_pair(struct key_pair *out, FILE *file, const char *path, struct failure *f)
{
  char derived[KEY_TEXT];
  memset(out, 0, sizeof *out);
  int line = ini_parse_file(file, take_setting, out);
  if (line != 0)
    return failure_set(f, MUSTER_ERR_FORMAT, "%s:%d: not a line of a key file, which has [key] and once each name, public and secret", path,
                       line > 0 ? line : 1);
  if (!key_name_valid(out->name) || !key_text_valid(out->public_text) || !key_text_valid(out->secret_text))
    return failure_set(f, MUSTER_ERR_FORMAT, "%s: name, public or secret is missing or not well formed", path);
  if (link_curve_public(derived, out->secret_text) != MUSTER_OK || strcmp(derived, out->public_text) != 0)
    return failure_set(f, MUSTER_ERR_FORMAT, "%s: the public key does not belong to the secret key", path);
  return MUSTER_OK;
}

int key_check_private(const struct stat *st, mode_t forbidden, const char *path, struct failure *f)
{
  if (!S_ISREG(st->st_mode))
    return failure_set(f, MUSTER_ERR_DENIED, "%s is not a regular file", path);
  if (st->st_uid != geteuid())
    return failure_set(f, MUSTER_ERR_DENIED, "%s belongs to user %u, not to this one (%u)", path, st->st_uid, geteuid());
  if (st->st_mode & forbidden)
    return failure_set(f, MUSTER_ERR_DENIED, "%s has mode %04o: others have access to it; take that away with chmod 600", path,
                       st->st_mode & 07777);
  return MUSTER_OK;
}

static int read_pair(struct key_pair *out, enum file_name name, const char *path, struct failure *f)
{
  struct stat st;
  struct failure cause = FAILURE_NONE;
  FILE *file = file_open_stream(name, "the key file", path, KEY_FILE_BYTES_MAX, &cause);
  if (!file)
    return failure_set(f, cause.status, "%s", cause.text);
  int status = fstat(fileno(file), &st) == 0 ? key_check_private(&st, 077, path, f)
                                             : failure_set_errno(f, MUSTER_ERR_IO, errno, "cannot read the key file %s", path);
  if (status == MUSTER_OK)
    status = parse_pair(out, file, path, f);
  if (status != MUSTER_OK)
    explicit_bzero(out, sizeof *out);
  fclose(file);
  return status;
}

int key_read(struct key_pair *out, const char *path, struct failure *f) { return read_pair(out, FILE_OF_PEOPLE, path, f); }
int key_read_node(struct key_pair *out, const char *path, struct failure *f) { return read_pair(out, FILE_OF_NODE, path, f); }

/* Whether the first word of the text is a public key, which may hold any character but blanks and quotes. */
static bool key_word(const char *text, char out[KEY_TEXT])
{
  text += strspn(text, " \t\"");
  size_t size = strcspn(text, " \t\r\n\"");
  if (size >= KEY_TEXT)
    return false;
  memcpy(out, text, size);
  out[size] = '\0';
  return key_text_valid(out);
}

/* A path may have 40 characters, too, and all of them may be of Z85: what names a file is that file. */
int key_public_read(char out[KEY_TEXT], const char *key_or_path, struct failure *f)
{
  struct failure cause = FAILURE_NONE;
  FILE *file = file_open_stream(FILE_OF_PEOPLE, "the public key", key_or_path, KEY_FILE_BYTES_MAX, &cause);
  if (!file && (cause.status == MUSTER_ERR_DENIED || cause.status == MUSTER_ERR_LIMIT))
    return failure_set(f, cause.status, "%s", cause.text);
  if (!file && key_text_valid(key_or_path)) {
    memcpy(out, key_or_path, KEY_TEXT);
    return MUSTER_OK;
  }
  if (!file)
    return failure_set(f, MUSTER_ERR_NOT_FOUND, "%s is neither a public key (40 characters of Z85) nor a file that can be read",
                       strlen(key_or_path) == KEY_TEXT - 1 ? "what was given" /* may be a secret, mistyped */ : key_or_path);
  char line[256];
  bool found = false;
  while (!found && fgets(line, sizeof line, file)) {
    const char *value = strchr(line, '=');
    found = key_word(line, out) || (value && strncmp(line, "secret", 6) != 0 && key_word(value + 1, out));
  }
  explicit_bzero(line, sizeof line);
  fclose(file);
  return found ? MUSTER_OK : failure_set(f, MUSTER_ERR_FORMAT, "no public key is in the file %s", key_or_path);
}

int key_write(const struct key_pair *pair, const char *path, struct failure *f)
{
  char text[KEY_TEXT_BYTES_MAX];
  if (access(path, F_OK) == 0)
    return failure_set(f, MUSTER_ERR_CREATE, "%s exists; a key is never overwritten", path);
  int size = snprintf(text, sizeof text, "[key]\nname = %s\npublic = %s\nsecret = %s\n", pair->name, pair->public_text, pair->secret_text);
  struct failure cause = FAILURE_NONE;
  int status = durable_create_file(path, text, (uint64_t)size, 0600, &cause);
  explicit_bzero(text, sizeof text);
  if (status == MUSTER_OK)
    return MUSTER_OK;
  status = status == MUSTER_ERR_IO || status == MUSTER_ERR_FULL ? status : MUSTER_ERR_CREATE;
  return failure_set(f, status, "the key file could not be made: %s", cause.text);
}
