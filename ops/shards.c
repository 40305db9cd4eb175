#include "ops/shards.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool has_data(const struct datadir *d, uint32_t shard)
{
  char path[LIMIT_PATH_BYTES], file[LIMIT_PATH_BYTES + 16];
  datadir_shard_path(d, path, shard);
  snprintf(file, sizeof file, "%s/data.mdb", path);
  return access(file, F_OK) == 0;
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
  if (!has_data(d, shard) || store_reader_open(&reader, path, &ignored) != MUSTER_OK)
    return MUSTER_OK;
  store_reader_facts(reader, &facts);
  store_reader_close(reader);
  out->records += facts.records;
  out->records_most = facts.records > out->records_most ? facts.records : out->records_most;
  if (out->created_with == 0) {
    out->created_with = facts.shards;
    memcpy(out->node_id, facts.node_id, sizeof out->node_id);
  }
  return foreign(path, shard, &facts, out, failure);
}

static int missing(const struct datadir *d, uint32_t shard, const struct ops_shards_survey *s, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  datadir_shard_path(d, path, shard);
  return failure_set(failure, MUSTER_ERR_CORRUPT,
                     "shard %u is missing: %s holds no data, while the other shards hold %" PRIu64
                     " records; nothing was changed; muster restore makes a new data directory from a backup",
                     shard, path, s->records);
}

int ops_shards_survey(const struct datadir *d, struct ops_shards_survey *out, struct failure *failure)
{
  int gap = -1;
  *out = (struct ops_shards_survey){0};
  int status = datadir_count_shards(d, &out->directories, &gap, failure);
  if (status != MUSTER_OK)
    return status;
  for (uint32_t shard = 0; shard < LIMIT_SHARDS; shard++) { /* beyond a gap as well */
    int one = survey_one(d, shard, out, failure);
    status = status == MUSTER_OK ? one : status;
  }
  if (status != MUSTER_OK)
    return status;
  if (gap >= 0)
    return missing(d, (uint32_t)gap, out, failure);
  if (out->directories < out->created_with)
    return missing(d, out->directories, out, failure);
  for (uint32_t shard = 0; shard < out->directories && out->records > 0; shard++)
    if (!has_data(d, shard))
      return missing(d, shard, out, failure);
  return MUSTER_OK;
}

int ops_shards_open_in(struct ops_shards *s, const struct datadir *d, struct failure *failure)
{
  struct ops_shards_survey survey;
  *s = (struct ops_shards){.data = *d};
  s->data.lock_fd = -1; /* the lock, if any, stays the caller's */
  int status = ops_shards_survey(d, &survey, failure);
  if (status != MUSTER_OK)
    return status;
  if (survey.directories == 0)
    return failure_set(failure, MUSTER_ERR_NOT_FOUND, "%s holds no store yet; a node makes it at its first start: muster run --data %s",
                       d->root, d->root);
  for (uint32_t shard = 0; shard < survey.directories && shard < LIMIT_SHARDS; shard++) {
    char path[LIMIT_PATH_BYTES];
    datadir_shard_path(d, path, shard);
    status = store_reader_open(&s->reader[shard], path, failure);
    if (status != MUSTER_OK) {
      s->reader[shard] = NULL;
      ops_shards_close(s);
      return status;
    }
    s->count++;
    store_reader_facts(s->reader[shard], &s->facts[shard]);
    s->records += s->facts[shard].records;
  }
  return MUSTER_OK;
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
