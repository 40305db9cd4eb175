#include "ops/outage.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"

static const struct {
  const char *word, *remedy;
} kinds[] = {
    [OUTAGE_OTHER] = {"other", "the log's lines of its worker say more; muster verify says whether its data is right"},
    [OUTAGE_MISSING] = {"missing", "mount its disk or move its files back there, and it is taken up by itself; where they are lost, muster "
                                   "restore makes a new data directory from a backup"},
    [OUTAGE_DAMAGED] = {"damaged",
                        "muster verify says what is damaged; muster salvage writes out what is intact; muster restore makes a new "
                        "data directory from a backup"},
    [OUTAGE_DISK] = {"disk-fails",
                     "look at its disk and its mount (dmesg); when the disk is well again it is taken up by itself, and muster "
                     "verify says whether its data is right"},
    [OUTAGE_FULL] = {"disk-full", "make room on its disk, and it is taken up by itself; nothing is damaged"},
    [OUTAGE_HELD] = {"held",
                     "wait for the end of the process that has it, as muster salvage or a former worker, or end that; it is taken up "
                     "by itself"},
    [OUTAGE_DENIED] = {"denied", "give what the cause names back to the user of the node, with mode 0700 for a directory and 0600 for a "
                                 "file, and it is taken up by itself"},
    [OUTAGE_MEMORY] = {"memory",
                       "end what uses up the memory of this machine, or raise the limit of its control group (ulimit -v, -d); it is "
                       "taken up by itself; else start the node with less index_bytes in [store] or budget_bytes in [ingest]"},
    [OUTAGE_SETTINGS] = {"settings", "change the setting that the cause names, and start the node again"},
    [OUTAGE_VERSION] = {"version", "start the node with the version of muster that wrote it; that other one is the right one"},
    [OUTAGE_CRASHING] = {"crashing",
                         "keep the log's lines of its worker: they say how it ends; muster verify says whether its data is right, "
                         "and where it is, another version of muster may serve it"},
    [OUTAGE_OPENING] = {"opening",
                        "it serves by itself as soon as it is open; where nothing moves, look at its disk and its mount (dmesg); a "
                        "worker that a signal has stopped goes on with kill -CONT"},
};
static_assert(sizeof kinds / sizeof *kinds == OUTAGE_KINDS, "each has its words");

const char *ops_outage_word(enum ops_outage_kind kind) { return kinds[kind].word; }
const char *ops_outage_remedy(enum ops_outage_kind kind) { return kinds[kind].remedy; }

enum ops_outage_kind ops_outage_kind_of(int status)
{
  switch (status) {
  case MUSTER_ERR_NOT_FOUND: return OUTAGE_MISSING;
  case MUSTER_ERR_CORRUPT:
  case MUSTER_ERR_FORMAT:
  case MUSTER_ERR_LIMIT: return OUTAGE_DAMAGED;
  case MUSTER_ERR_IO: return OUTAGE_DISK;
  case MUSTER_ERR_FULL: return OUTAGE_FULL;
  case MUSTER_ERR_LOCKED: return OUTAGE_HELD;
  case MUSTER_ERR_DENIED: return OUTAGE_DENIED;
  case MUSTER_ERR_MEMORY: return OUTAGE_MEMORY;
  case MUSTER_ERR_CONFIG: return OUTAGE_SETTINGS;
  case MUSTER_ERR_VERSION: return OUTAGE_VERSION;
  default: return OUTAGE_OTHER;
  }
}

static enum ops_outage_kind kind_by_word(const char *word)
{
  enum ops_outage_kind kind = OUTAGE_OTHER;
  while (kind < OUTAGE_KINDS && strcmp(word, kinds[kind].word) != 0)
    kind++;
  return kind;
}

static void path_of(const struct datadir *d, char *path, uint32_t shard, const char *end)
{
  char name[48];
  snprintf(name, sizeof name, "run/shard-%" PRIu32 ".down%s", shard, end);
  datadir_path(d, path, name);
}

/* Named when it is whole, and not synced: the supervisor waits for no disk, and nothing is lost with it. */
static void outage_write(const struct datadir *d, uint32_t shard, const struct ops_outage *outage)
{
  char path[LIMIT_PATH_BYTES], new[LIMIT_PATH_BYTES], text[OUTAGE_CAUSE_BYTES + 64];
  path_of(d, path, shard, "");
  path_of(d, new, shard, ".new");
  const int size = snprintf(text, sizeof text, "%" PRId64 " %" PRIu32 " %s %s\n", outage->since_us, outage->retry_ms,
                            ops_outage_word(outage->kind), outage->cause);
  const int fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return;
  const bool written = write(fd, text, (size_t)size) == size;
  close(fd);
  if (!written || rename(new, path) != 0)
    unlink(new);
}

bool ops_outage_read(const struct datadir *d, uint32_t shard, struct ops_outage *out)
{
  char path[LIMIT_PATH_BYTES], text[OUTAGE_CAUSE_BYTES + 64], word[16];
  int cause = 0;
  path_of(d, path, shard, "");
  FILE *file = file_open_stream(FILE_OF_NODE, "the note of a shard that is down", path, sizeof text - 1, NULL);
  const size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
  text[size] = '\0';
  if (file)
    fclose(file);
  *out = (struct ops_outage){0};
  if (sscanf(text, "%" SCNd64 " %" SCNu32 " %15s %n", &out->since_us, &out->retry_ms, word, &cause) != 3 || !cause)
    return false;
  out->kind = kind_by_word(word);
  if (out->kind == OUTAGE_KINDS)
    return false;
  snprintf(out->cause, sizeof out->cause, "%.*s", (int)strcspn(text + cause, "\n"), text + cause);
  return true;
}

static void outage_remove(const struct datadir *d, uint32_t shard)
{
  char path[LIMIT_PATH_BYTES];
  path_of(d, path, shard, "");
  unlink(path);
}

/* ---- the supervisor's ---- */

void ops_outages_init(struct ops_outages *o, const struct datadir *data, struct counters *page)
{
  *o = (struct ops_outages){.data = data, .page = page};
  for (uint32_t shard = 0; shard < LIMIT_SHARDS; shard++)
    outage_remove(data, shard);
}

static void outages_set(struct ops_outages *o, uint64_t down)
{
  o->down = down;
  counters_begin(o->page);
  counters_set(o->page, COUNTER_shards_down, (uint64_t)__builtin_popcountll(down));
  counters_end(o->page);
}

static bool is_news(const struct ops_outage *a, const struct ops_outage *b)
{
  return a->kind != b->kind || a->retry_ms != b->retry_ms || strcmp(a->cause, b->cause) != 0;
}

void ops_outages_note(struct ops_outages *o, uint32_t shard, const struct ops_outage *outage)
{
  const uint64_t bit = UINT64_C(1) << shard;
  const bool first = !(o->down & bit);
  struct ops_outage *last = &o->last[shard];
  char quoted[OUTAGE_CAUSE_BYTES * 2];
  if (!first && !is_news(last, outage))
    return;
  if (first || last->kind != outage->kind)
    log_event(LOG_ERROR, "shard.down",
              "shard=%" PRIu32 " kind=%s cause=%s told=BUSY others=\"are served\" retry_ms=%" PRIu32
              " kept=\"all that was answered\" do=\"%s\"",
              shard, ops_outage_word(outage->kind), log_quote(quoted, sizeof quoted, outage->cause), outage->retry_ms,
              ops_outage_remedy(outage->kind));
  if (first)
    o->since_us[shard] = clock_wall_us();
  *last = *outage;
  last->since_us = o->since_us[shard];
  if (first)
    outages_set(o, o->down | bit);
  outage_write(o->data, shard, last);
}

void ops_outages_end(struct ops_outages *o, uint32_t shard)
{
  const uint64_t bit = UINT64_C(1) << shard;
  if (!(o->down & bit))
    return;
  outages_set(o, o->down & ~bit);
  outage_remove(o->data, shard);
  log_event(LOG_INFO, "shard.up", "shard=%" PRIu32, shard);
}
