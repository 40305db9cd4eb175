#include "ops/preflight.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/durable.h"
#include "core/keys.h"
#include "core/log.h"
#include "core/machine.h"
#include "ops/table.h"
#include "proto/node_id.h"
#include "store/read.h"

#define ADDRESS_SPACE_BESIDE_MAP (2 * LIMIT_GIB) /* code, stacks and batches of a worker */

int ops_preflight_workers(uint32_t asked, const struct ops_shards_survey *survey, uint32_t *workers, struct failure *failure)
{
  uint32_t has = survey->created_with ? survey->created_with : survey->in_use ? survey->shards : 0;
  if (has && asked && asked != has)
    return failure_set(
        failure, MUSTER_ERR_CONFIG,
        "the store was created with %u workers and keeps that number for its life; %u were asked for; leave --workers out or say %u", has,
        asked, has);
  if (!has && asked && survey->directories > asked) /* no shard could be read: directories are all there is to go by */
    return failure_set(failure, MUSTER_ERR_CONFIG,
                       "the store has directories for %u shards, but %u workers were asked for; say --workers %u", survey->directories,
                       asked, survey->directories);
  *workers = has ? has : asked ? asked : survey->directories > PREFLIGHT_WORKERS ? survey->directories : PREFLIGHT_WORKERS;
  return MUSTER_OK;
}

/* One after the other is made durable: a power cut leaves the first ones and no gap, which would be a shard that is missing. */
int ops_preflight_shards(const struct datadir *d, uint32_t workers, uint64_t absent, struct failure *failure)
{
  char store[LIMIT_PATH_BYTES], path[LIMIT_PATH_BYTES];
  datadir_path(d, store, "store");
  int status = durable_sync_folder(store, failure); /* a former start may have ended before it came to that */
  for (uint32_t shard = 0; shard < workers && status == MUSTER_OK; shard++) {
    if (absent >> shard & 1)
      continue;
    datadir_shard_path(d, path, shard);
    if (mkdir(path, 0700) == 0)
      status = durable_sync_folder(store, failure);
    else if (errno != EEXIST)
      status = failure_set_errno(failure, MUSTER_ERR_CREATE, errno, "%s cannot be created", path);
  }
  return status;
}

static int settle_id(const struct datadir *d, const struct ops_shards_survey *survey, struct failure *failure)
{
  uint8_t id[16];
  struct failure cause = FAILURE_NONE;
  int status = node_id_read(d, id, &cause);
  if (status != MUSTER_OK && status != MUSTER_ERR_NOT_FOUND)
    return failure_set(failure, status, "%s", cause.text);
  if (status == MUSTER_OK && survey->created_with && memcmp(id, survey->node_id, sizeof id) != 0)
    return failure_set(
        failure, MUSTER_ERR_CORRUPT,
        "%s/node.id names another node than the store beside it; nothing was changed; if the store is the right one, remove the file",
        d->root);
  if (status == MUSTER_OK)
    return MUSTER_OK;
  if (survey->in_use && !survey->created_with)
    return failure_set(
        failure, MUSTER_ERR_CORRUPT,
        "%s/node.id is missing, and no shard can be read that tells whose store it is; nothing was changed; put the file back, or mend a "
        "shard first",
        d->root);
  if (survey->created_with)
    return node_id_write(d, survey->node_id, failure);
  if (getrandom(id, sizeof id, 0) != (ssize_t)sizeof id)
    return failure_set_errno(failure, MUSTER_ERR_IO, errno, "no random bytes for the node id");
  id[6] = (uint8_t)((id[6] & 0x0f) | 0x40); /* RFC 9562, version 4, variant 10 */
  id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
  return node_id_write(d, id, failure);
}

static int settle_key(const struct datadir *d, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  struct key_pair *pair;
  int status = key_hold(&pair, failure); /* what an ingest will do: where memory cannot be locked, it is told now */
  datadir_path(d, path, "keys/node.key");
  struct failure cause = FAILURE_NONE;
  if (status == MUSTER_OK)
    status = key_read_node(pair, path, &cause);
  if (status == MUSTER_ERR_NOT_FOUND) {
    status = key_generate(pair, "node", failure);
    if (status == MUSTER_OK)
      status = key_write(pair, path, failure);
  } else if (status != MUSTER_OK) {
    failure_set(failure, status, "%s", cause.text); /* where memory could not be locked it is told already */
  }
  key_let_go(pair);
  return status;
}

int ops_preflight_identity(const struct datadir *d, const struct ops_shards_survey *survey, struct failure *failure)
{
  int status = settle_id(d, survey, failure);
  return status == MUSTER_OK ? settle_key(d, failure) : status;
}

uint64_t ops_preflight_descriptors(uint32_t peers) { return (uint64_t)peers + LIMIT_FILES_BESIDE_PEERS; }

int ops_preflight_judge(const struct config *c, rlim_t descriptors, rlim_t address_space, struct failure *failure)
{
  uint64_t needed = ops_preflight_descriptors(c->peers);
  if (descriptors != RLIM_INFINITY && descriptors < needed)
    return failure_set(failure, MUSTER_ERR_CONFIG,
                       "%u peers need %" PRIu64 " open files a process, and the limit is %" PRIu64
                       "; raise the limit (ulimit -Hn) or lower peers in [ingest]",
                       c->peers, needed, (uint64_t)descriptors);
  uint64_t space = c->map_bytes + ADDRESS_SPACE_BESIDE_MAP + (c->workers ? c->index_bytes / c->workers : 0);
  if (address_space != RLIM_INFINITY && address_space < space) {
    return failure_set(failure, MUSTER_ERR_CONFIG,
                       "a shard needs %" PRIu64 " bytes of address space, and the limit is %" PRIu64
                       "; raise the limit (ulimit -v), or lower map_bytes or index_bytes in [store]",
                       space, (uint64_t)address_space);
  }
  return MUSTER_OK;
}

/* Of one process, without its index. */
static uint64_t ingest_bytes(const struct config *c) { return 2 * c->budget_bytes + LIMIT_INGEST_BESIDE_BYTES; }
static uint64_t worker_bytes(const struct config *c)
{
  return LIMIT_WORKER_BYTES + c->ingests * LIMIT_WORKER_INGEST_BYTES(c->dispatch_bytes);
}

uint64_t ops_preflight_beside_index(const struct config *c) { return c->ingests * ingest_bytes(c) + c->workers * worker_bytes(c); }

int ops_preflight_judge_data(const struct config *c, rlim_t data, struct failure *failure)
{
  const uint64_t ingest = ingest_bytes(c), worker = worker_bytes(c) + (c->workers ? c->index_bytes / c->workers : 0);
  const uint64_t needed = (ingest > worker ? ingest : worker) + LIMIT_STACKS_BYTES;
  if (data == RLIM_INFINITY || data >= needed)
    return MUSTER_OK;
  return failure_set(failure, MUSTER_ERR_CONFIG,
                     "a process of this node needs up to %" PRIu64 " bytes of data, and the limit is %" PRIu64
                     "; raise the limit (ulimit -d), or lower budget_bytes in [ingest] or index_bytes in [store]",
                     needed, (uint64_t)data);
}

int ops_preflight_limits(const struct config *c, struct failure *failure)
{
  struct rlimit files, space, data;
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || getrlimit(RLIMIT_AS, &space) != 0 || getrlimit(RLIMIT_DATA, &data) != 0)
    return failure_set_errno(failure, MUSTER_ERR_CONFIG, errno, "the limits of this process cannot be read");
  files.rlim_cur = files.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &files) != 0)
    return failure_set_errno(failure, MUSTER_ERR_CONFIG, errno, "the limit of open files cannot be raised");
  const int status = ops_preflight_judge(c, files.rlim_cur, space.rlim_cur, failure);
  return status == MUSTER_OK ? ops_preflight_judge_data(c, data.rlim_cur, failure) : status;
}

int ops_preflight_index(struct config *c, const struct ops_shards_survey *survey, uint64_t memory_bytes, struct failure *failure)
{
  const uint64_t needed = store_index_bytes_needed(survey->records_most) * c->workers;
  char records[TABLE_NUMBER];
  const uint64_t beside = ops_preflight_beside_index(c), left = memory_bytes > beside ? memory_bytes - beside : 0;
  const bool chosen = c->index_bytes != 0;
  if (!chosen) {
    c->index_bytes = left < memory_bytes / 2 ? left : memory_bytes / 2;
    c->index_bytes = c->index_bytes > needed || !memory_bytes ? c->index_bytes : needed;
  }
  if (!c->index_bytes)
    return failure_set(failure, MUSTER_ERR_CONFIG, "how much memory this machine has cannot be told; set index_bytes in [store]");
  const uint64_t index = c->index_bytes > needed ? c->index_bytes : needed;
  ops_table_number(records, survey->records);
  if (memory_bytes && index + beside > memory_bytes)
    return failure_set(failure, MUSTER_ERR_CONFIG,
                       "this node needs %" PRIu64 " bytes of memory, %" PRIu64
                       " of them for the index%s, and this machine, or its control group, has %" PRIu64
                       "; nothing was changed; lower budget_bytes in [ingest], which counts twice, or index_bytes in [store], which the %s "
                       "records here need "
                       "%" PRIu64 " of, or run the node on a larger machine",
                       index + beside, index, chosen ? " (index_bytes)" : "", memory_bytes, records, needed);
  if (c->index_bytes < needed)
    return failure_set(failure, MUSTER_ERR_CONFIG,
                       "the index of %s records needs %" PRIu64 " bytes of memory, and index_bytes in [store] is %" PRIu64
                       "; nothing was changed; raise it to that at least, and to more for records to come",
                       records, needed, c->index_bytes);
  return MUSTER_OK;
}

int ops_preflight_disk(const struct datadir *d, const struct config *c, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  uint64_t free_bytes = 0;
  datadir_path(d, path, "store");
  const int error = machine_disk_free(path, &free_bytes);
  if (error)
    return failure_set_errno(failure, MUSTER_ERR_IO, error, "how much disk is free below %s cannot be told", path);
  if (free_bytes < c->disk_reserve_bytes)
    log_event(LOG_WARN, "disk.low", "free_bytes=%" PRIu64 " reserve_bytes=%" PRIu64 " answer=BUSY until=\"space is back\"", free_bytes,
              c->disk_reserve_bytes);
  return MUSTER_OK;
}
