#include "ops/outage.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"

const char ops_outage_remedy[] =
    "muster verify says what is damaged; muster salvage writes out what is intact; muster restore makes a new data "
    "directory from a backup";

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
  const int size = snprintf(text, sizeof text, "%" PRId64 " %" PRIu32 " %s\n", outage->since_us, outage->retry_ms, outage->cause);
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
  char path[LIMIT_PATH_BYTES], text[OUTAGE_CAUSE_BYTES + 64];
  int cause = 0;
  path_of(d, path, shard, "");
  FILE *file = file_open_stream(FILE_OF_NODE, "the note of a shard that is down", path, sizeof text - 1, NULL);
  const size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
  text[size] = '\0';
  if (file)
    fclose(file);
  *out = (struct ops_outage){0};
  if (sscanf(text, "%" SCNd64 " %" SCNu32 " %n", &out->since_us, &out->retry_ms, &cause) != 2 || !cause)
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

void ops_outages_note(struct ops_outages *o, uint32_t shard, uint32_t retry_ms, const char *cause)
{
  const uint64_t bit = UINT64_C(1) << shard;
  char quoted[OUTAGE_CAUSE_BYTES * 2];
  struct ops_outage outage = {.retry_ms = retry_ms};
  snprintf(outage.cause, sizeof outage.cause, "%s", cause);
  if (!(o->down & bit)) {
    o->since_us[shard] = clock_wall_us();
    outages_set(o, o->down | bit);
    log_event(LOG_ERROR, "shard.down",
              "shard=%" PRIu32 " cause=%s told=BUSY others=\"are served\" retry_ms=%" PRIu32 " kept=\"all that was answered\" do=\"%s\"",
              shard, log_quote(quoted, sizeof quoted, outage.cause), retry_ms, ops_outage_remedy);
  }
  outage.since_us = o->since_us[shard];
  outage_write(o->data, shard, &outage);
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
