#include "ops/shards.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/datadir_note.h"

static_assert(LIMIT_SHARDS <= 64, "a bit for each shard");

bool ops_shards_lacks_data(const struct datadir *d, uint32_t shard)
{
  char path[LIMIT_PATH_BYTES], file[LIMIT_PATH_BYTES + 16];
  datadir_shard_path(d, path, shard);
  snprintf(file, sizeof file, "%s/data.mdb", path);
  return access(file, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

static bool is_there(const struct datadir *d, uint32_t shard)
{
  char path[LIMIT_PATH_BYTES];
  datadir_shard_path(d, path, shard);
  return access(path, F_OK) == 0;
}

/* A shard that cannot belong to the same store as the first that could be read, or lies in the place of another. */
static int foreign(const char *path, uint32_t shard, const struct store_facts *facts, const struct ops_shards_survey *s,
                   struct failure *failure)
{
  const bool other_node = memcmp(facts->node_id, s->node_id, sizeof s->node_id) != 0;
  if (facts->shard == shard && facts->shards == s->created_with && !other_node)
    return MUSTER_OK;
  return failure_set(failure, MUSTER_ERR_CONFIG,
                     "shard %u does not belong here: %s holds shard %u of %u of %s, and the first shard that could be read is one of %u; "
                     "nothing was changed; put this directory's own shard there",
                     shard, path, facts->shard, facts->shards, other_node ? "another node" : "this node", s->created_with);
}

static int survey_one(const struct datadir *d, uint32_t shard, struct ops_shards_survey *out, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  struct store_reader *reader;
  struct store_facts facts;
  struct failure ignored = FAILURE_NONE;
  datadir_shard_path(d, path, shard);
  if (ops_shards_lacks_data(d, shard)) {
    out->in_use |= store_was_created(path);
    return MUSTER_OK;
  }
  const int status = store_reader_open(&reader, path, &ignored);
  out->in_use |= status != MUSTER_OK && status != MUSTER_ERR_NOT_FOUND;
  if (status != MUSTER_OK)
    return MUSTER_OK;
  store_reader_facts(reader, &facts);
  store_reader_close(reader);
  out->in_use |= facts.records > 0;
  out->records += facts.records;
  out->records_most = facts.records > out->records_most ? facts.records : out->records_most;
  if (out->created_with == 0) {
    out->created_with = facts.shards;
    memcpy(out->node_id, facts.node_id, sizeof out->node_id);
  }
  return foreign(path, shard, &facts, out, failure);
}

bool ops_shards_all_absent(const struct ops_shards_survey *s) { return s->shards && s->absent == UINT64_MAX >> (LIMIT_SHARDS - s->shards); }

static int missing(const struct datadir *d, const struct ops_shards_survey *s, uint32_t shard, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  if (ops_shards_all_absent(s)) {
    datadir_path(d, path, "store");
    return failure_set(
        failure, MUSTER_ERR_CORRUPT,
        "the store is missing: %s holds none of its %u shard%s, and this node was in use; nothing was changed; mount it or move "
        "it back there, or muster restore makes a new data directory from a backup",
        path, s->shards, s->shards == 1 ? "" : "s");
  }
  datadir_shard_path(d, path, shard);
  return failure_set(failure, MUSTER_ERR_CORRUPT,
                     "shard %u is missing: %s holds no data, while the other shards hold %" PRIu64
                     " records; nothing was changed; put it back there, or muster restore makes a new data directory from a backup",
                     shard, path, s->records);
}

int ops_shards_complete(const struct datadir *d, const struct ops_shards_survey *s, struct failure *failure)
{
  uint32_t shard = 0;
  if (!s->absent)
    return MUSTER_OK;
  while (!(s->absent >> shard & 1))
    shard++;
  return missing(d, s, shard, failure);
}

/* What the note adds where no shard could be read. */
static int survey_note(const struct datadir *d, struct ops_shards_survey *out, struct failure *failure)
{
  struct failure cause = FAILURE_NONE;
  const int status = datadir_note_read(d, &out->shards, &cause);
  out->in_use |= status != MUSTER_ERR_NOT_FOUND;
  if (status == MUSTER_OK || status == MUSTER_ERR_NOT_FOUND || out->created_with)
    return MUSTER_OK;
  return failure_set(
      failure, status,
      "%s, and no shard can be read that tells; nothing was changed; mount the store or move it back there, and where it is whole, "
      "remove this file",
      cause.text);
}

int ops_shards_survey(const struct datadir *d, struct ops_shards_survey *out, struct failure *failure)
{
  int gap;
  *out = (struct ops_shards_survey){0};
  int status = datadir_count_shards(d, &out->directories, &gap, failure);
  if (status != MUSTER_OK)
    return status;
  for (uint32_t shard = 0; shard < LIMIT_SHARDS; shard++) { /* beyond a gap as well */
    int one = survey_one(d, shard, out, failure);
    status = status == MUSTER_OK ? one : status;
  }
  int noted = survey_note(d, out, failure);
  status = status == MUSTER_OK ? noted : status;
  if (out->created_with)
    out->shards = out->created_with < LIMIT_SHARDS ? out->created_with : LIMIT_SHARDS;
  for (uint32_t shard = 0; shard < LIMIT_SHARDS && !out->created_with; shard++)
    out->shards = is_there(d, shard) && shard >= out->shards ? shard + 1 : out->shards;
  for (uint32_t shard = 0; shard < out->shards; shard++)
    if (ops_shards_lacks_data(d, shard) && (out->in_use || !is_there(d, shard)))
      out->absent |= UINT64_C(1) << shard;
  return status;
}

int ops_shards_why(const struct ops_shards *s, uint32_t shard, struct failure *failure)
{
  struct store_reader *reader;
  char path[LIMIT_PATH_BYTES];
  if (s->survey.absent >> shard & 1)
    return missing(&s->data, &s->survey, shard, failure);
  datadir_shard_path(&s->data, path, shard);
  int status = store_reader_open(&reader, path, failure);
  if (status != MUSTER_OK)
    return status;
  store_reader_close(reader);
  return failure_set(failure, MUSTER_ERR_AGAIN, "shard %u could not be read a moment ago, and can now; say it again", shard);
}

int ops_shards_open_some(struct ops_shards *s, const struct datadir *d, struct failure *failure)
{
  bool some = false;
  *s = (struct ops_shards){.data = *d};
  s->data.lock_fd = -1; /* the lock, if any, stays the caller's */
  int status = ops_shards_survey(d, &s->survey, failure);
  if (status != MUSTER_OK)
    return status;
  if (s->survey.directories == 0 && !s->survey.in_use)
    return failure_set(failure, MUSTER_ERR_NOT_FOUND, "%s holds no store yet; a node makes it at its first start: muster run --data %s",
                       d->root, d->root);
  s->count = s->survey.shards;
  for (uint32_t shard = 0; shard < s->count; shard++) {
    char path[LIMIT_PATH_BYTES];
    struct failure ignored = FAILURE_NONE;
    datadir_shard_path(d, path, shard);
    if (s->survey.absent >> shard & 1 || store_reader_open(&s->reader[shard], path, &ignored) != MUSTER_OK) {
      s->reader[shard] = NULL;
      continue;
    }
    some = true;
    store_reader_facts(s->reader[shard], &s->facts[shard]);
    s->records += s->facts[shard].records;
  }
  if (some)
    return MUSTER_OK;
  status = ops_shards_why(s, 0, failure);
  s->count = 0;
  return status;
}

int ops_shards_open_in(struct ops_shards *s, const struct datadir *d, struct failure *failure)
{
  int status = ops_shards_open_some(s, d, failure);
  for (uint32_t shard = 0; shard < s->count && status == MUSTER_OK; shard++)
    if (!s->reader[shard])
      status = ops_shards_why(s, shard, failure);
  if (status != MUSTER_OK)
    ops_shards_close(s);
  return status;
}

int ops_shards_open(struct ops_shards *s, const char *option, struct failure *failure)
{
  char name[LIMIT_PATH_BYTES];
  struct datadir data;
  *s = (struct ops_shards){.data.lock_fd = -1};
  int status = datadir_name(name, option, failure);
  if (status == MUSTER_OK)
    status = datadir_open(&data, name, failure);
  if (status != MUSTER_OK)
    return status;
  return ops_shards_open_in(s, &data, failure);
}

void ops_shards_close(struct ops_shards *s)
{
  for (uint32_t shard = 0; shard < s->count; shard++)
    store_reader_close(s->reader[shard]);
  s->count = 0;
}
