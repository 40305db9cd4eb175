/*
 * The allow-list as a file of any bytes. For any input:
 *
 * - a list that is taken has a line for each entry, NUMBER allow|revoked NAME PUBLIC TIME and nothing else, as a plain
 *   reading says; numbers ascend, each name and each key stands once, and each entry is found by all three;
 * - written out again it is the same list, and what `muster key allow` makes of it is read again, with one key more;
 * - a list that is refused allows nobody, also where a whole one was in force before, and the sentence names its line.
 */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/key_list.h"
#include "core/scratch.h"

enum { TAKEN, REVOKED, SEVERAL, NOBODY, GROWN, REFUSED, CUT, LAST };
static struct fuzz_outcome outcomes[] = {
    [TAKEN] = {"lists", 0},           [REVOKED] = {"revoked keys", 0}, [SEVERAL] = {"lists of several", 0}, [GROWN] = {"grown by a key", 0},
    [NOBODY] = {"without a line", 0}, [REFUSED] = {"refused", 0},      [CUT] = {"cut or no text", 0},       [LAST] = {NULL, 0},
};
static const char *const words[] = {"1 allow ", "2 revoked ", "999999999 ", " 2026-01-01T00:00:00Z\n", "allow", "revoked", " ", "\t",
                                    "\n",       "a",          NULL};

/* Z85 of bytes that were counted up: keys of nobody. */
static const char *const keys[] = {"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7",
                                   "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6", "0000000000000000000000000000000000000000",
                                   "1111111111111111111111111111111111111111"};

static char folder[SCRATCH_BYTES], path[SCRATCH_BYTES + 32];
static int fd = -1;
static struct key_list *standing; /* in force, and asked again after each change of the file */

static void finish(void)
{
  key_list_close(standing);
  scratch_remove(folder);
}

static void file_put(const void *bytes, size_t size)
{
  struct failure f = FAILURE_NONE;
  if (fd < 0) {
    scratch_make(folder);
    atexit(finish);
    snprintf(path, sizeof path, "%s/allow", folder);
    CHECK(key_list_open(&standing, path, &f) == MUSTER_OK && key_list_count(standing) == 0, "%s", f.text);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  }
  /* Within a tick of the kernel's clock two files of a size look the same; people are slower, and the commands make another file. */
  static struct timespec times[2];
  times[1].tv_sec++;
  CHECK(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size && futimens(fd, times) == 0, "%s", path);
}

/* ---- a plain reading ---- */

/* Whether the line has exactly these five words. */
static bool line_is(const char *line, const struct key_entry *e)
{
  char number[16], copy[512], *rest = copy;
  const char *wanted[] = {number, e->allowed ? "allow" : "revoked", e->name, e->public_text, e->since};
  if (strlen(line) >= sizeof copy)
    return false;
  strcpy(copy, line);
  snprintf(number, sizeof number, "%u", e->number);
  unsigned word = 0;
  for (char *found; (found = strsep(&rest, " \t\v\f\r"));) {
    if (*found == '\0')
      continue;
    if (word == 5 || strcmp(found, wanted[word]) != 0)
      return false;
    word++;
  }
  return word == 5;
}

static void check_entries(const struct key_list *l, char *text)
{
  uint32_t at = 0;
  for (char *line; (line = strsep(&text, "\n")) && text;) {
    const struct key_entry *e = key_list_at(l, at);
    CHECK(e, "%u lines and %u entries", at + 1, key_list_count(l));
    CHECK(line_is(line, e), "line %u \"%s\" was read as %u %d %s", at + 1, line, e->number, e->allowed, e->name);
    CHECK(e->number > (at > 0 ? key_list_at(l, at - 1)->number : 0), "number %u behind another", e->number);
    CHECK(key_name_valid(e->name) && key_text_valid(e->public_text), "entry %u", at);
    CHECK(key_list_by_public(l, e->public_text) == e && key_list_by_name(l, e->name) == e && key_list_by_number(l, e->number) == e,
          "entry %u is not found", at);
    outcomes[REVOKED].count += !e->allowed;
    at++;
  }
  CHECK(at == key_list_count(l), "%u lines and %u entries", at, key_list_count(l));
  outcomes[SEVERAL].count += at > 1;
  outcomes[NOBODY].count += at == 0;
}

static bool same_entry(const struct key_entry *a, const struct key_entry *b)
{
  return a->number == b->number && a->allowed == b->allowed && strcmp(a->name, b->name) == 0 &&
         strcmp(a->public_text, b->public_text) == 0 && strcmp(a->since, b->since) == 0;
}

static void check_written(const struct key_list *l)
{
  struct key_list *again;
  struct failure f = FAILURE_NONE;
  char *text;
  size_t size;
  FILE *out = open_memstream(&text, &size);
  for (uint32_t i = 0; i < key_list_count(l); i++) {
    const struct key_entry *e = key_list_at(l, i);
    fprintf(out, "%u %s %s %s %s\n", e->number, e->allowed ? "allow" : "revoked", e->name, e->public_text, e->since);
  }
  fclose(out);
  file_put(text, size);
  CHECK(key_list_open(&again, path, &f) == MUSTER_OK && key_list_count(again) == key_list_count(l), "%s", f.text);
  for (uint32_t i = 0; i < key_list_count(l); i++)
    CHECK(same_entry(key_list_at(l, i), key_list_at(again, i)), "entry %u", i);
  key_list_close(again);
  free(text);
}

/* The command puts another file in the place of the list. */
static void check_grown(const struct key_list *l)
{
  struct key_list *again;
  struct failure f = FAILURE_NONE;
  const uint32_t count = key_list_count(l);
  const int status = key_list_allow(path, "fuzzed", keys[4], &f);
  close(fd);
  fd = open(path, O_RDWR | O_CLOEXEC);
  CHECK(key_list_open(&again, path, NULL) == MUSTER_OK, "the command left a list that nobody can read");
  if (status == MUSTER_OK) {
    const struct key_entry *e = key_list_by_name(again, "fuzzed");
    CHECK(e && e->allowed && key_list_count(again) == count + (key_list_by_name(l, "fuzzed") == NULL), "%u entries became %u", count,
          key_list_count(again));
    outcomes[GROWN].count++;
  } else
    CHECK(key_list_count(again) == count && f.text[0] != '\0', "status %d", status);
  key_list_close(again);
}

/* ---- one input ---- */

static void check_refused(const struct failure *f, char *text, size_t size)
{
  const size_t place = strlen(path);
  uint32_t lines = 1;
  for (size_t i = 0; i < size; i++)
    lines += text[i] == '\n';
  CHECK(f->status == MUSTER_ERR_FORMAT && strstr(f->text, "nobody is allowed"), "status %d, %s", f->status, f->text);
  CHECK(strncmp(f->text, path, place) == 0 && f->text[place] == ':', "%s", f->text);
  if (f->text[place + 1] != ' ') {
    const unsigned long line = strtoul(f->text + place + 1, NULL, 10);
    CHECK(line >= 1 && line <= lines, "of %u lines: %s", lines, f->text);
  } else
    outcomes[CUT].count++;
  outcomes[REFUSED].count++;
}

static void make(struct wire *out, struct random *r, const struct wire *corpus, uint32_t corpus_count)
{
  unsigned number = 0;
  char line[256];
  (void)corpus;
  (void)corpus_count;
  for (uint32_t lines = random_below(r, 5), i = 0; i < lines; i++) {
    number += 1 + random_below(r, random_below(r, 2) ? 3 : 400000000);
    if (random_below(r, 8) == 0 && number < 999999999)
      number = 999999999; /* the last there is */
    const int size =
        snprintf(line, sizeof line, "%u %s intake-%u %s 2026-01-0%uT00:00:00Z\n", number, random_below(r, 3) ? "allow" : "revoked",
                 random_below(r, 8) ? i : 0, keys[random_below(r, 8) ? i % 4 : 0], i + 1);
    wire_bytes(out, line, (size_t)size);
  }
}

const struct fuzz_target fuzz_target = {.name = "keys", .short_count = 8000, .outcomes = outcomes, .words = words, .make = make};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  struct key_list *l;
  struct failure f = FAILURE_NONE, standing_failure = FAILURE_NONE;
  char *text = fuzz_text(data, size);
  file_put(data, size);
  const int status = key_list_open(&l, path, &f);
  CHECK(key_list_refresh(standing, &standing_failure) == status, "a list in force sees \"%s\", a new one \"%s\"", standing_failure.text,
        f.text);
  if (status == MUSTER_OK) {
    outcomes[TAKEN].count++;
    CHECK(key_list_count(standing) == key_list_count(l), "a list in force has %u entries, a new one %u", key_list_count(standing),
          key_list_count(l));
    check_entries(l, text);
    check_written(l);
    if (size % 32 == 1) /* it syncs */
      check_grown(l);
  } else {
    CHECK(!l && key_list_count(standing) == 0, "a damaged list allows %u", key_list_count(standing));
    check_refused(&f, text, size);
  }
  key_list_close(l);
  free(text);
  return 0;
}
