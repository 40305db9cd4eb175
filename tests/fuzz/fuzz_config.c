/*
 * The configuration as a file of any bytes. For any input:
 *
 * - settings that are taken are those that a plain reading of the lines gives, set one by one as the command line does;
 *   written out and read again they are the same;
 * - a refused file changes nothing, and the sentence names the file and a line that it has, in printable characters;
 * - a comment or an empty line more changes nothing.
 */
#include "tests/fuzz/fuzz.h"

#include <ctype.h>
#include <fcntl.h>
#include <unistd.h>

#include "core/config.h"
#include "core/scratch.h"

enum { TAKEN, EMPTY, REFUSED, UNKNOWN, TWICE, BOUNDS, LAST };
static struct fuzz_outcome outcomes[] = {
    [TAKEN] = {"taken", 0},     [EMPTY] = {"without a setting", 0}, [REFUSED] = {"refused", 0}, [UNKNOWN] = {"of unknown names", 0},
    [TWICE] = {"set twice", 0}, [BOUNDS] = {"out of bounds", 0},    [LAST] = {NULL, 0},
};
static const char *const words[] = {"[node]\n",
                                    "[ingest]\n",
                                    "[store]\n",
                                    "[rules]\n",
                                    "workers = 2\n",
                                    "credit = 16 batches\n",
                                    "listen = tcp://127.0.0.1:0\n",
                                    "none",
                                    "log_level = warn\n",
                                    "map_bytes = 1 GiB\n",
                                    "peers: 7\n",
                                    " MiB",
                                    " ; why\n",
                                    "# why\n",
                                    "\n ",
                                    "=",
                                    "\xef\xbb\xbf",
                                    "earliest_year = 1970\n",
                                    "18446744073709551615",
                                    "[nobody]\n",
                                    "[store]\nindex_bytes = 18014398509481985 KiB\n",
                                    "\n\v",
                                    "\f",
                                    "\r",
                                    NULL};

static char folder[SCRATCH_BYTES], path[SCRATCH_BYTES + 32];
static int fd = -1;

static void finish(void) { scratch_remove(folder); }

static void file_put(const void *bytes, size_t size)
{
  if (fd < 0) {
    scratch_make(folder);
    atexit(finish);
    snprintf(path, sizeof path, "%s/muster.conf", folder);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  }
  CHECK(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size, "%s", path);
}

/* What the settings are, as text: the struct has unused bytes behind its texts. */
static char *written(const struct config *c, size_t *size)
{
  char *text;
  FILE *out = open_memstream(&text, size);
  CHECK(config_write(c, out) == MUSTER_OK, "written");
  fclose(out);
  return text;
}

static bool same(const struct config *a, const struct config *b)
{
  size_t a_size, b_size;
  char *a_text = written(a, &a_size), *b_text = written(b, &b_size);
  const bool equal = strcmp(a_text, b_text) == 0;
  free(a_text);
  free(b_text);
  return equal;
}

/* ---- a plain reading ---- */

static char *trim(char *text)
{
  char *end = text + strlen(text);
  while (end > text && isspace((unsigned char)end[-1]))
    *--end = '\0';
  while (isspace((unsigned char)*text))
    text++;
  return text;
}

/* A comment begins with a semicolon that has a blank before it. */
static void cut_comment(char *text)
{
  for (char *p = text; *p; p++)
    if (*p == ';' && p > text && isspace((unsigned char)p[-1])) {
      *p = '\0';
      return;
    }
}

static const char *const sections[] = {"node", "ingest", "store", "rules"};

/* A number with its unit, read with all its digits: no setting goes past 16 TiB. */
static void check_number(const char *value)
{
  static const char units[] = "KMGT";
  unsigned long long number, product;
  const size_t digits = strspn(value, "0123456789");
  if (digits == 0)
    return;
  const char *unit = value + digits + strspn(value + digits, " "), *scale = unit[0] ? strchr(units, unit[0]) : NULL;
  number = strtoull(value, NULL, 10); /* the largest, where it is past that */
  CHECK(!__builtin_mul_overflow(number, scale ? UINT64_C(1024) << 10 * (scale - units) : 1, &product) && product <= UINT64_C(1) << 44,
        "a number past any bound was taken: %s", value);
}

static char seen[1024]; /* keys that were set, each with a semicolon behind it */

/* Sets what a line says. Of a file that was taken, so every line can be read. */
static void line_set(struct config *c, char section[64], char *line)
{
  char key[256];
  struct failure f = FAILURE_NONE;
  line = trim(line + strspn(line, " \t\v\f\r\xef\xbb\xbf"));
  if (line[0] == ';' || line[0] == '#' || line[0] == '\0')
    return;
  if (line[0] == '[') {
    snprintf(section, 64, "%.*s", (int)strcspn(line + 1, "]"), line + 1);
    bool known = false;
    for (unsigned i = 0; i < sizeof sections / sizeof *sections; i++)
      known = known || strcmp(section, sections[i]) == 0;
    CHECK(known, "the section of \"%s\" was taken", line);
    return;
  }
  char *value = line + strcspn(line, "=:");
  CHECK(*value, "a line without a value was taken: %s", line);
  *value++ = '\0';
  value = trim(value);
  if (value[0] == ';')
    value[0] = '\0';
  cut_comment(value);
  snprintf(key, sizeof key, "%s.%s;", section, trim(line));
  CHECK(!strstr(seen, key), "%s was taken twice", key);
  strncat(seen, key, sizeof seen - strlen(seen) - 1);
  key[strlen(key) - 1] = '\0';
  check_number(trim(value));
  CHECK(config_set(c, NULL, key, trim(value), "plain", &f) == MUSTER_OK, "%s", f.text);
  outcomes[TAKEN].count++;
}

static void read_plainly(struct config *c, const uint8_t *data, size_t size)
{
  seen[0] = '\0';
  char section[64] = "", *text = fuzz_text(data, size), *next = text;
  while (next) {
    char *line = strsep(&next, "\n");
    line_set(c, section, line);
  }
  free(text);
}

/* ---- one input ---- */

static uint32_t lines_of(const uint8_t *data, size_t size)
{
  uint32_t lines = 1;
  for (size_t i = 0; i < size; i++)
    lines += data[i] == '\n';
  return lines;
}

static void check_refused(const struct failure *f, const uint8_t *data, size_t size)
{
  const size_t place = strlen(path);
  CHECK(f->status == MUSTER_ERR_CONFIG && strncmp(f->text, path, place) == 0 && f->text[place] == ':', "%s", f->text);
  const unsigned long line = strtoul(f->text + place + 1, NULL, 10);
  CHECK(line >= 1 && line <= lines_of(data, size), "of %u lines: %s", lines_of(data, size), f->text);
  for (const char *p = f->text; *p; p++)
    CHECK((unsigned char)*p >= ' ' && *p != 0x7f, "a control character in: %s", f->text);
  outcomes[REFUSED].count++;
  outcomes[UNKNOWN].count += strstr(f->text, "unknown ") != NULL;
  outcomes[TWICE].count += strstr(f->text, "second time") != NULL;
  outcomes[BOUNDS].count += strstr(f->text, "out of bounds") != NULL;
}

static void check_taken(const struct config *c, const uint8_t *data, size_t size)
{
  struct config plain, again;
  struct failure f = FAILURE_NONE;
  const uint64_t before = outcomes[TAKEN].count;
  config_defaults(&plain);
  read_plainly(&plain, data, size);
  CHECK(same(c, &plain), "another reading than line by line");
  outcomes[EMPTY].count += before == outcomes[TAKEN].count;
  size_t text_size;
  char *text = written(c, &text_size);
  file_put(text, text_size);
  free(text);
  config_defaults(&again);
  CHECK(config_read(&again, NULL, path, &f) == MUSTER_OK && same(c, &again), "written and read again: %s", f.text);
  static const char more[] = "; a comment\n\n\t# another\n";
  uint8_t *longer = malloc(size + sizeof more);
  memcpy(longer, more, sizeof more - 1);
  if (size > 0)
    memcpy(longer + sizeof more - 1, data, size);
  file_put(longer, size + sizeof more - 1);
  free(longer);
  config_defaults(&again);
  CHECK(config_read(&again, NULL, path, &f) == MUSTER_OK && same(c, &again), "behind comments: %s", f.text);
}

const struct fuzz_target fuzz_target = {.name = "config", .short_count = 10000, .outcomes = outcomes, .words = words};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  struct config c, before;
  struct failure f = FAILURE_NONE;
  file_put(data, size);
  config_defaults(&c);
  before = c;
  if (config_read(&c, NULL, path, &f) == MUSTER_OK)
    check_taken(&c, data, size);
  else {
    CHECK(same(&c, &before), "a refused file changed something: %s", f.text);
    check_refused(&f, data, size);
  }
  return 0;
}
