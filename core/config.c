#include "core/config.h"

#include <assert.h>
#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

#include "core/config_key.h"
#include "core/file.h"
#include "core/limits.h"
#include "core/log.h"

#define CONFIG_FILE_BYTES LIMIT_MIB

#define MEMBER(member) offsetof(struct config, member), sizeof(((struct config *)0)->member)
#define NUMBER(section, live, member, min, max, preset, unit, sentence)                                                                    \
  {                                                                                                                                        \
    section, #member, CONFIG_NUMBER, live, MEMBER(member), min, max, preset, NULL, unit, sentence                                          \
  }
#define SIZE(section, live, member, min, max, preset, sentence)                                                                            \
  {                                                                                                                                        \
    section, #member, CONFIG_SIZE, live, MEMBER(member), min, max, preset, NULL, "bytes", sentence                                         \
  }
#define TEXT(section, live, member, type, preset, sentence)                                                                                \
  {                                                                                                                                        \
    section, #member, type, live, MEMBER(member), 0, 0, 0, preset, "", sentence                                                            \
  }
#define LIVE true
#define AT_START false

const struct config_key config_keys[] = {
    NUMBER("node", AT_START, workers, 0, LIMIT_SHARDS, 0, "",
           "Shards, one worker process each, fixed when the store is created; 0: what the store has, or two"),
    NUMBER("node", AT_START, ingests, 1, LIMIT_INGESTS, 1, "", "Ingest processes"),
    TEXT("node", AT_START, listen, CONFIG_LISTEN, "tcp://127.0.0.1:7411",
         "Where the first ingest listens, the next has the next port; none: ipc only; port 0: any"),
    NUMBER("node", LIVE, frozen_ms, 1000, 86400000, 10000, "ms",
           "A worker or ingest that a signal (SIGSTOP) has stopped for so long is killed and started again"),
    TEXT("node", LIVE, log_level, CONFIG_LEVEL, "info", "Lines below this level are not written: debug, info, warn, error"),
    NUMBER("node", LIVE, opening_ms, 1000, 86400000, 30000, "ms",
           "A shard that is not open after so long is told as down and the others serve, while it goes on opening"),
    NUMBER("node", LIVE, shard_retry_ms, 1000, 3600000, 60000, "ms", "A shard that cannot be opened is tried again after so long"),
    SIZE("ingest", AT_START, budget_bytes, LIMIT_WIRE_BYTES, 1024 * LIMIT_GIB, 256 * LIMIT_MIB,
         "Batches held in memory by one ingest; past it submitters are told BUSY"),
    NUMBER("ingest", LIVE, credit, 1, LIMIT_CREDIT, 16, "batches", "Batches in flight on a connection; of small ones more, in proportion"),
    SIZE("ingest", AT_START, dispatch_bytes, 4096, LIMIT_GIB, 4 * LIMIT_MIB,
         "Bytes of batches at the workers at once; the rest wait in fair turns"),
    NUMBER("ingest", AT_START, peers, 1, LIMIT_PEERS, 1024, "peers",
           "Connections that one ingest remembers; one submitter may use three quarters of them at once"),
    NUMBER("ingest", AT_START, handshake_ms, 100, 60000, 5000, "ms", "A connection that has not proved its key by then is closed"),
    NUMBER("ingest", LIVE, shard_timeout_ms, 100, 600000, 8000, "ms",
           "A record whose shard stays silent for so long is handed back as RETRY"),
    NUMBER("ingest", LIVE, answer_timeout_ms, 100, 3600000, 15000, "ms", "A submitter without an answer sends again after so long"),
    SIZE("store", AT_START, map_bytes, 16 * LIMIT_MIB, 16 * LIMIT_TIB, LIMIT_TIB,
         "Largest size of one shard's data file; address space, not disk"),
    SIZE("store", AT_START, index_bytes, 0, 16 * LIMIT_TIB, 0,
         "Memory of the index, all shards together; close to it a shard says BUSY; 0: half of the machine's memory"),
    SIZE("store", LIVE, disk_reserve_bytes, 0, 16 * LIMIT_TIB, 256 * LIMIT_MIB, "With less disk free than this a shard says BUSY"),
    NUMBER("store", LIVE, quarantine_records, 0, 100000000, 10000, "records", "Refused records kept, per submitter and shard"),
    SIZE("store", LIVE, quarantine_bytes, 0, LIMIT_TIB, 16 * LIMIT_MIB, "Bytes of refused records kept, per submitter and shard"),
    NUMBER("rules", LIVE, future_skew_s, 0, 31536000, 300, "s", "An encounter may lie so far ahead of the node's clock"),
    NUMBER("rules", LIVE, earliest_year, 1970, 2100, 2000, "", "An encounter may not lie before this year, UTC"),
};
#define CONFIG_KEYS (sizeof config_keys / sizeof config_keys[0])
const size_t config_keys_count = CONFIG_KEYS;
static_assert(CONFIG_KEYS <= CONFIG_SETTINGS, "each setting has its place among the origins");

static void *config_at(struct config *c, const struct config_key *key) { return (char *)c + key->offset; }

static void config_store_number(struct config *c, const struct config_key *key, uint64_t value)
{
  if (key->width == sizeof(uint32_t))
    *(uint32_t *)config_at(c, key) = (uint32_t)value;
  else
    *(uint64_t *)config_at(c, key) = value;
}

uint64_t config_load_number(const struct config *c, const struct config_key *key)
{
  const void *at = (const char *)c + key->offset;
  return key->width == sizeof(uint32_t) ? *(const uint32_t *)at : *(const uint64_t *)at;
}

void config_origins_default(struct config_origins *origins)
{
  for (size_t i = 0; i < CONFIG_KEYS; i++)
    snprintf(origins->of[i], sizeof origins->of[i], "default");
}

void config_adopt(struct config *running, const struct config *fresh)
{
  for (const struct config_key *key = config_keys; key < config_keys + CONFIG_KEYS; key++)
    if (key->live)
      memcpy(config_at(running, key), (const char *)fresh + key->offset, key->width);
}

void config_defaults(struct config *c)
{
  memset(c, 0, sizeof *c);
  for (const struct config_key *key = config_keys; key < config_keys + CONFIG_KEYS; key++) {
    if (key->preset_text != NULL)
      memcpy(config_at(c, key), key->preset_text, strlen(key->preset_text) + 1);
    else
      config_store_number(c, key, key->preset);
  }
}

/* ---- one value ---- */

/* The factor of the word after a number, 0 where it is none that this key knows. */
static uint64_t config_factor(const struct config_key *key, const char *word)
{
  if (word[0] == '\0' || (key->unit[0] != '\0' && strcmp(word, key->unit) == 0))
    return 1;
  return key->type == CONFIG_SIZE ? config_size_factor(word) : 0;
}

static int config_set_number(struct config *c, const struct config_key *key, const char *text, const char *where, struct failure *failure)
{
  char shown[64], allowed[CONFIG_ALLOWED_BYTES];
  log_quote(shown, sizeof shown, text);
  const size_t digits = strspn(text, "0123456789");
  if (digits == 0)
    return failure_set(failure, MUSTER_ERR_CONFIG, "%s: %s for %s is not a whole number", where, shown, key->name);
  const char *word = text + digits;
  word += strspn(word, " ");
  const uint64_t factor = config_factor(key, word);
  if (factor == 0)
    return failure_set(failure, MUSTER_ERR_CONFIG, "%s: %s for %s has a unit that is none here; allowed: %s", where, shown, key->name,
                       key->type == CONFIG_SIZE ? "bytes, KiB, MiB, GiB, TiB"
                       : key->unit[0] != '\0'   ? key->unit
                                                : "no unit");
  const uint64_t value = strtoull(text, NULL, 10); /* the largest there is where it does not fit, and no bound goes so far */
  if (value > UINT64_MAX / factor || value * factor < key->min || value * factor > key->max) {
    return failure_set(failure, MUSTER_ERR_CONFIG, "%s: %s for %s is out of bounds; allowed: %s", where, shown, key->name,
                       config_allowed(allowed, key));
  }
  config_store_number(c, key, value * factor);
  return MUSTER_OK;
}

/* "tcp://HOST:PORT" or "none". ZeroMQ has the last word on HOST when it binds. */
static bool config_listen_valid(const char *text)
{
  if (strcmp(text, "none") == 0)
    return true;
  static const char scheme[] = "tcp://";
  if (strncmp(text, scheme, sizeof scheme - 1) != 0 || strlen(text) > CONFIG_TEXT_BYTES)
    return false;
  const char *host = text + sizeof scheme - 1, *colon = strrchr(host, ':');
  for (const char *at = host; *at != '\0'; at++) {
    if (*at <= ' ' || *at > '~' || *at == ';')
      return false;
  }
  if (colon == NULL || colon == host)
    return false;
  const size_t digits = strspn(colon + 1, "0123456789");
  return digits > 0 && digits <= 5 && colon[1 + digits] == '\0' && strtoul(colon + 1, NULL, 10) <= 65535;
}

static int config_set_text(struct config *c, const struct config_key *key, const char *text, const char *where, struct failure *failure)
{
  char shown[96], allowed[CONFIG_ALLOWED_BYTES];
  log_quote(shown, sizeof shown, text);
  config_allowed(allowed, key);
  if (key->type == CONFIG_LEVEL && log_level_parse(text) < 0)
    return failure_set(failure, MUSTER_ERR_CONFIG, "%s: %s for %s is no level; allowed: %s", where, shown, key->name, allowed);
  if (key->type == CONFIG_LISTEN && !config_listen_valid(text))
    return failure_set(failure, MUSTER_ERR_CONFIG, "%s: %s for %s is no endpoint; allowed: %s", where, shown, key->name, allowed);
  memcpy(config_at(c, key), text, strlen(text) + 1);
  return MUSTER_OK;
}

static int config_set_key(struct config *c, const struct config_key *key, const char *text, const char *where, struct failure *failure)
{
  return key->preset_text != NULL ? config_set_text(c, key, text, where, failure) : config_set_number(c, key, text, where, failure);
}

static void config_note_origin(struct config_origins *origins, const struct config_key *key, const char *where)
{
  if (origins != NULL)
    snprintf(origins->of[key - config_keys], sizeof origins->of[0], "%s", where);
}

/* ---- finding a key ---- */

static bool config_section_known(const char *section)
{
  for (size_t i = 0; i < CONFIG_KEYS; i++) {
    if (strcmp(config_keys[i].section, section) == 0)
      return true;
  }
  return false;
}

/* All sections, or the keys of one, with commas between. */
static const char *config_list(char out[256], const char *section)
{
  size_t used = 0;
  out[0] = '\0';
  for (size_t i = 0; i < CONFIG_KEYS && used < 256; i++) {
    const struct config_key *key = &config_keys[i];
    if (section != NULL && strcmp(key->section, section) != 0)
      continue;
    if (section == NULL && i > 0 && strcmp(key->section, config_keys[i - 1].section) == 0)
      continue;
    used += (size_t)snprintf(out + used, 256 - used, "%s%s", used > 0 ? ", " : "", section == NULL ? key->section : key->name);
  }
  return out;
}

static int config_refuse_section(const char *section, const char *where, struct failure *failure)
{
  char shown[64], known[256];
  return failure_set(failure, MUSTER_ERR_CONFIG, "%s: unknown section %s; known: %s", where, log_quote(shown, sizeof shown, section),
                     config_list(known, NULL));
}

static const struct config_key *config_find(const char *section, const char *name, const char *where, struct failure *failure)
{
  for (const struct config_key *key = config_keys; key < config_keys + CONFIG_KEYS; key++) {
    if (strcmp(key->section, section) == 0 && strcmp(key->name, name) == 0)
      return key;
  }
  char shown[64], known[256];
  if (!config_section_known(section))
    config_refuse_section(section, where, failure);
  else
    failure_set(failure, MUSTER_ERR_CONFIG, "%s: unknown key %s in [%s]; known: %s", where, log_quote(shown, sizeof shown, name), section,
                config_list(known, section));
  return NULL;
}

int config_set(struct config *c, struct config_origins *origins, const char *key, const char *value, const char *where,
               struct failure *failure)
{
  char section[32];
  const char *dot = strchr(key, '.');
  if (dot == NULL || (size_t)(dot - key) >= sizeof section)
    return failure_set(failure, MUSTER_ERR_CONFIG, "%s: a setting is named section.key, as in node.workers", where);
  memcpy(section, key, (size_t)(dot - key));
  section[dot - key] = '\0';
  const struct config_key *found = config_find(section, dot + 1, where, failure);
  const int status = found == NULL ? MUSTER_ERR_CONFIG : config_set_key(c, found, value, where, failure);
  if (status == MUSTER_OK)
    config_note_origin(origins, found, where);
  return status;
}

/* ---- reading a file ---- */

struct config_reading {
  FILE *file;
  const char *path;
  unsigned line; /* of the line that libinih holds now, from 1 */
  bool seen[CONFIG_KEYS];
  struct config settings;
  struct config_origins *origins; /* may be NULL */
  struct failure failure;
};

static const char *config_where(char out[320], const struct config_reading *r)
{
  const size_t size = strlen(r->path);
  const bool cut = size > 280;
  snprintf(out, 320, "%s%s:%u", cut ? "..." : "", cut ? r->path + size - 280 : r->path, r->line);
  return out;
}

/* libinih is not told of a section until it has a key, so an unknown empty one is found here; one that is not closed, or
 * followed by a key, too, since libinih would go on to the next line. */
static void config_check_section(struct config_reading *r, const char *line)
{
  char section[64], where[320];
  const size_t size = strcspn(line + 1, "]");
  config_where(where, r);
  const char *after = line + 1 + size + (line[1 + size] == ']');
  after += strspn(after, " \t\r\n");
  if (line[1 + size] != ']' || (*after != '\0' && *after != ';')) {
    failure_set(&r->failure, MUSTER_ERR_CONFIG, "%s: neither [section] nor key = value", where);
    return;
  }
  snprintf(section, sizeof section, "%.*s", (int)size, line + 1);
  if (!config_section_known(section))
    config_refuse_section(section, where, &r->failure);
}

/* fgets for libinih, which neither counts lines for the handler nor says where it cut one. Comments are left out, whatever their length;
 * leading blanks, too, since libinih would take an indented line for the continuation of the last value; a byte order mark counts as
 * blank, and so does all that libinih skips, or it would see a section where this has seen none. NULL ends the reading. */
static char *config_read_line(char *out, int size, void *context)
{
  struct config_reading *r = context;
  char *line = NULL, where[320];
  size_t room = 0;
  if (r->failure.status != MUSTER_OK)
    return NULL;
  const ssize_t length = getline(&line, &room, r->file);
  if (length < 0) {
    const int error = errno;
    free(line);
    if (ferror(r->file))
      failure_set_errno(&r->failure, MUSTER_ERR_CONFIG, error, "%s cannot be read", r->path);
    return NULL;
  }
  r->line++;
  const char *start = line + strspn(line, " \t\v\f\r\xef\xbb\xbf");
  if (strlen(line) != (size_t)length)
    failure_set(&r->failure, MUSTER_ERR_CONFIG, "%s: the line holds a zero byte; settings are text", config_where(where, r));
  else if (start[0] == '#' || start[0] == ';')
    start = "\n";
  else if (strlen(start) >= (size_t)size)
    failure_set(&r->failure, MUSTER_ERR_CONFIG, "%s: the line is longer than %d bytes", config_where(where, r), size - 1);
  else if (start[0] == '[')
    config_check_section(r, start);
  if (r->failure.status == MUSTER_OK)
    memcpy(out, start, strlen(start) + 1);
  free(line);
  return r->failure.status == MUSTER_OK ? out : NULL;
}

static int config_take(void *context, const char *section, const char *name, const char *value)
{
  struct config_reading *r = context;
  char where[320];
  config_where(where, r);
  const struct config_key *key = config_find(section, name, where, &r->failure);
  if (key == NULL)
    return 0;
  if (r->seen[key - config_keys]) {
    failure_set(&r->failure, MUSTER_ERR_CONFIG, "%s: %s in [%s] is set a second time", where, name, section);
    return 0;
  }
  r->seen[key - config_keys] = true;
  config_note_origin(r->origins, key, where);
  return config_set_key(&r->settings, key, value, where, &r->failure) == MUSTER_OK;
}

int config_read(struct config *c, struct config_origins *origins, const char *path, struct failure *failure)
{
  struct config_reading r = {.path = path, .settings = *c, .origins = origins, .failure = FAILURE_NONE};
  r.file = file_open_stream(FILE_OF_PEOPLE, "the settings", path, CONFIG_FILE_BYTES, &r.failure);
  if (r.file == NULL)
    return failure_set(failure, MUSTER_ERR_CONFIG, "%s", r.failure.text);
  const int bad_line = ini_parse_stream(config_read_line, &r, config_take, &r);
  fclose(r.file);
  if (bad_line != 0 && r.failure.status == MUSTER_OK) {
    char where[320];
    if (bad_line > 0)
      r.line = (unsigned)bad_line;
    failure_set(&r.failure, MUSTER_ERR_CONFIG, "%s: neither [section] nor key = value", config_where(where, &r));
  }
  if (r.failure.status != MUSTER_OK)
    return failure_set(failure, r.failure.status, "%s", r.failure.text);
  *c = r.settings;
  return MUSTER_OK;
}
