#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <protobuf-c/protobuf-c.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <sysexits.h>
#include <unistd.h>
#include <uv.h>
#include <xxhash.h>

#include "core/keys.h"
#include "core/link.h"
#include "core/machine.h"
#include "ops/check.h"
#include "ops/preflight.h"
#include "ops/table.h"
#include "store/read.h"

const char *ops_check_read(const char *path, char *text, size_t size)
{
  FILE *file = fopen(path, "re");
  const size_t got = file ? fread(text, 1, size - 1, file) : 0;
  text[got] = '\0';
  if (file)
    fclose(file);
  return text;
}

/* ---- kernel ---- */

void ops_check_judge_swap(struct ops_check_list *l, const char *swaps)
{
  char device[128];
  const char *line = strchr(swaps, '\n'); /* behind the heading */
  unsigned open = 0;
  for (; line && sscanf(line + 1, "%127s", device) == 1; line = strchr(line + 1, '\n'))
    open += strstr(device, "zram") == NULL && strncmp(device, "/dev/dm-", 8) != 0 && strncmp(device, "/dev/mapper/", 12) != 0;
  if (open)
    ops_check_warn(l, "swap",
                   "encrypt it, or turn it off (swapoff -a): ZeroMQ's copies of the node's secret key, and records, may be written there",
                   "%u swap area%s that may not be encrypted", open, open == 1 ? "" : "s");
  else
    ops_check_ok(l, "swap", "none, or on a mapped device (is it encrypted?) or in memory");
}

void ops_check_kernel(struct ops_check *c)
{
  static char text[16384];
  struct utsname name;
  uname(&name);
  const long page = sysconf(_SC_PAGESIZE);
  ops_check_ok(&c->list, "kernel", "%s %s %s, pages of %ld bytes, %ld processors", name.sysname, name.release, name.machine, page,
               sysconf(_SC_NPROCESSORS_ONLN));
  if (ops_check_read("/proc/sys/vm/overcommit_memory", text, sizeof text)[0] == '2')
    ops_check_warn(&c->list, "kernel",
                   "sysctl vm.overcommit_memory=0, or see that CommitLimit in /proc/meminfo has room for the memory told below",
                   "vm.overcommit_memory is 2: what is reserved counts as used, and a process may be refused memory that is there");
  ops_check_judge_swap(&c->list, ops_check_read("/proc/swaps", text, sizeof text));
}

/* ---- clock ---- */

void ops_check_judge_clock(struct ops_check_list *l, int state, int status, long max_error_us)
{
  if (state == TIME_ERROR || status & STA_UNSYNC)
    ops_check_warn(l, "clock",
                   "run chrony or systemd-timesyncd: receipts carry this clock, and encounters that lie ahead of it are refused",
                   "it is not known to be synchronised");
  else
    ops_check_ok(l, "clock", "synchronised, wrong by at most %ld ms", max_error_us / 1000);
}

void ops_check_clock(struct ops_check *c)
{
  struct timex timex = {.modes = 0};
  const int state = adjtimex(&timex);
  if (state < 0)
    ops_check_warn(&c->list, "clock", "see that it is synchronised, on the host where this is a container",
                   "whether it is synchronised cannot be told: %s", strerror(errno));
  else
    ops_check_judge_clock(&c->list, state, timex.status, timex.maxerror);
}

/* ---- limits ---- */

static void check_core(struct ops_check *c)
{
  struct rlimit core;
  char pattern[256];
  if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur == 0) {
    ops_check_ok(&c->list, "core dumps", "none are written");
    return;
  }
  ops_check_read("/proc/sys/kernel/core_pattern", pattern, sizeof pattern);
  pattern[strcspn(pattern, "\n")] = '\0';
  ops_check_warn(&c->list, "core dumps", "ulimit -c 0, or see that they lie where nobody else reads",
                 "one of a worker would hold records, and go to %s", pattern);
}

static void check_locked(struct ops_check *c)
{
  struct key_pair *pair = NULL;
  struct failure failure = FAILURE_NONE;
  if (key_hold(&pair, &failure) == MUSTER_OK)
    ops_check_ok(&c->list, "limits", "a page can be locked in memory");
  else
    ops_check_failure(&c->list, "limits", &failure);
  key_let_go(pair);
}

void ops_check_limits(struct ops_check *c)
{
  struct rlimit files, space, data;
  struct failure failure = FAILURE_NONE;
  getrlimit(RLIMIT_NOFILE, &files);
  getrlimit(RLIMIT_AS, &space);
  getrlimit(RLIMIT_DATA, &data);
  if (ops_preflight_judge(&c->config, files.rlim_max, space.rlim_cur, &failure) == MUSTER_OK)
    ops_preflight_judge_data(&c->config, data.rlim_cur, &failure);
  if (failure.status != MUSTER_OK)
    ops_check_failure(&c->list, "limits", &failure);
  else
    ops_check_ok(&c->list, "limits",
                 "%" PRIu64 " open files a process of %" PRIu64 " that %u peers may need; no bound of memory in the way",
                 (uint64_t)files.rlim_max, ops_preflight_descriptors(c->config.peers), c->config.peers);
  check_locked(c);
  check_core(c);
}

/* ---- memory ---- */

static void check_available(struct ops_check *c)
{
  const uint64_t available = machine_memory_available_bytes(), most = ops_preflight_beside_index(&c->config) + c->config.index_bytes;
  char has[TABLE_NUMBER], may[TABLE_NUMBER];
  ops_table_bytes(has, available);
  ops_table_bytes(may, most);
  if (c->pid || available >= most)
    ops_check_ok(&c->list, "memory", "this node may come to hold %s, the index full; %s are free now", may, has);
  else
    ops_check_warn(&c->list, "memory", "end what else runs here, or lower index_bytes in [store] or budget_bytes in [ingest]",
                   "this node may come to hold %s, the index full, and %s are free now", may, has);
}

/* As a start works it out, and with its sentences. */
void ops_check_memory(struct ops_check *c)
{
  struct ops_shards_survey survey = {0};
  struct failure failure = FAILURE_NONE;
  int status = c->has_data ? ops_shards_survey(&c->data, &survey, &failure) : MUSTER_OK;
  if (status == MUSTER_OK && survey.absent)
    status = ops_shards_complete(&c->data, &survey, &failure);
  if (status != MUSTER_OK)
    ops_check_failure(&c->list, "store", &failure);
  else if (survey.in_use)
    ops_check_ok(&c->list, "store", "%u shards, %" PRIu64 " records", survey.shards, survey.records);
  else
    ops_check_ok(&c->list, "store", "none yet; the first start makes it");
  failure = FAILURE_NONE;
  status = ops_preflight_workers(c->config.workers, &survey, &c->config.workers, &failure);
  if (status == MUSTER_OK)
    status = ops_preflight_index(&c->config, &survey, machine_memory_bytes(), &failure);
  if (status != MUSTER_OK)
    ops_check_failure(&c->list, "memory", &failure);
  else
    check_available(c);
}

/* ---- libraries ---- */

void ops_check_libraries(struct ops_check *c)
{
  char zmq[32], lmdb[64];
  const bool curve = link_library(zmq);
  store_library(lmdb);
  if (!curve)
    ops_check_fail(&c->list, "libraries", EX_CONFIG, "install one with libsodium, as Debian's is", "ZeroMQ %s has no CURVE, and so no tcp",
                   zmq);
  ops_check_ok(&c->list, "libraries", "muster %s, ZeroMQ %s, LMDB %s, libuv %s, protobuf-c %s, jansson %s, xxHash %u.%u.%u", MUSTER_VERSION,
               zmq, lmdb, uv_version_string(), protobuf_c_version(), jansson_version_str(), XXH_versionNumber() / 10000,
               XXH_versionNumber() / 100 % 100, XXH_versionNumber() % 100);
}
