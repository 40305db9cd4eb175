#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/machine.h"
#include "ops/check.h"
#include "ops/table.h"

#define SYNCS 33u                     /* odd, so that there is one in the middle */
#define SYNCS_NS UINT64_C(2000000000) /* a disk that is slow is not asked for longer */
#define BLOCK_BYTES 4096u
#define IMPLAUSIBLE_NS UINT64_C(10000) /* a call into the kernel and back through a file system, and no device */
#define SLOW_NS UINT64_C(50000000)

/* ---- which file system ---- */

/* "\040" and its like, in place. */
static void unescape(char *text)
{
  char *out = text;
  for (const char *in = text; *in; out++) {
    if (in[0] == '\\' && in[1] && in[2] && in[3]) {
      *out = (char)((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0'));
      in += 4;
    } else {
      *out = *in++;
    }
  }
  *out = '\0';
}

static bool lies_below(const char *path, const char *point)
{
  const size_t size = strlen(point);
  if (strcmp(point, "/") == 0)
    return true;
  return strncmp(path, point, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

/* Of two mounts on one point, the later one covers the earlier. */
bool ops_check_find_mount(const char *mountinfo, const char *path, char type[64], char options[512])
{
  size_t best = 0;
  bool found = false;
  for (const char *line = mountinfo; *line; line += strcspn(line, "\n"), line += *line == '\n') {
    char point[1024], mount[256], fs_type[64], super[240];
    if (sscanf(line, "%*s %*s %*s %*s %1023s %255s", point, mount) != 2)
      continue;
    const char *dash = strstr(line, " - ");
    if (!dash || sscanf(dash, " - %63s %*s %239s", fs_type, super) != 2)
      continue;
    unescape(point);
    if (!lies_below(path, point) || (found && strlen(point) < best))
      continue;
    found = true;
    best = strlen(point);
    snprintf(type, 64, "%s", fs_type);
    snprintf(options, 512, "%s,%s", mount, super);
  }
  return found;
}

static bool is_one_of(const char *word, const char *const *list)
{
  for (; *list; list++)
    if (strcmp(word, *list) == 0)
      return true;
  return false;
}

/* Whether a comma-separated list has the word. */
static bool has_option(const char *options, const char *word)
{
  const size_t size = strlen(word);
  for (const char *at = options; *at; at += strcspn(at, ","), at += *at == ',')
    if (strncmp(at, word, size) == 0 && (at[size] == ',' || at[size] == '\0'))
      return true;
  return false;
}

static bool is_volatile(const char *type) { return strcmp(type, "tmpfs") == 0 || strcmp(type, "ramfs") == 0; }

void ops_check_judge_mount(struct ops_check_list *l, const char *type, const char *options)
{
  static const char *const remote[] = {"nfs",  "nfs4",       "cifs",           "smb3",     "9p", "afs",
                                       "ceph", "fuse.sshfs", "fuse.glusterfs", "virtiofs", NULL};
  static const char *const local[] = {"ext4", "xfs", "btrfs", "zfs", "f2fs", "ext3", NULL};
  if (has_option(options, "ro"))
    ops_check_fail(l, "file system", EX_CANTCREAT, "mount it read-write", "%s, mounted read-only (%s)", type, options);
  else if (is_one_of(type, remote))
    ops_check_fail(l, "file system", EX_CONFIG, "put the data directory on a local disk: locks and memory maps are not safe over a network",
                   "%s is not a local file system", type);
  else if (is_volatile(type))
    ops_check_warn(l, "file system", "put the data directory on a disk; here it is good for a trial only",
                   "%s keeps nothing: all that is acknowledged is gone when the machine stops", type);
  else if (has_option(options, "nobarrier") || has_option(options, "barrier=0"))
    ops_check_warn(l, "file system", "mount it with barriers, unless its controller keeps its cache through a power cut",
                   "%s without barriers (%s): what was acknowledged may be lost with the power", type, options);
  else if (has_option(options, "data=writeback"))
    ops_check_warn(l, "file system", "mount it with data=ordered",
                   "%s with data=writeback: a new file may hold old blocks after a power cut", type);
  else if (!is_one_of(type, local))
    ops_check_warn(l, "file system", "see that it honours fdatasync; ext4 and xfs on a local disk do",
                   "%s (%s) is none on which Muster was tried", type, options);
  else
    ops_check_ok(l, "file system", "%s (%s)", type, options);
}

/* ---- does it flush ---- */

void ops_check_judge_sync(struct ops_check_list *l, uint64_t median_ns, bool volatile_fs)
{
  const double ms = (double)median_ns / 1e6;
  if (volatile_fs)
    ops_check_ok(l, "flush", "fdatasync of 4 KiB takes %.3f ms, which says nothing here", ms);
  else if (median_ns < IMPLAUSIBLE_NS)
    ops_check_warn(
        l, "flush",
        "see that the disk honours flushes: no libeatmydata, no cache=unsafe of a virtual machine, no volatile write cache without power",
        "fdatasync of 4 KiB takes %.3f ms: no disk is as fast, so it does not wait for one", ms);
  else if (median_ns > SLOW_NS)
    ops_check_warn(l, "flush", "put the data directory on a faster disk, or one that is less busy",
                   "fdatasync of 4 KiB takes %.1f ms: each verdict waits for two or more", ms);
  else
    ops_check_ok(l, "flush", "fdatasync of 4 KiB takes %.3f ms (median)", ms);
}

static int compare(const void *a, const void *b)
{
  const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
  return left < right ? -1 : left > right;
}

/* Appends, so that the file system has its own to write as well. 0 or an errno value. */
static int time_syncs(int fd, uint64_t *median_ns)
{
  static const char block[BLOCK_BYTES];
  uint64_t took[SYNCS], begun = clock_monotonic_ns();
  unsigned count = 0;
  while (count < SYNCS && (count == 0 || clock_monotonic_ns() - begun < SYNCS_NS)) {
    errno = ENOSPC;
    if (write(fd, block, sizeof block) != (ssize_t)sizeof block)
      return errno;
    const uint64_t before = clock_monotonic_ns();
    if (fdatasync(fd) != 0)
      return errno;
    took[count++] = clock_monotonic_ns() - before;
  }
  qsort(took, count, sizeof *took, compare);
  *median_ns = took[count / 2];
  return 0;
}

/* It has no name from the start on where the file system can do that, and none from the next call on elsewhere. */
static int open_scratch(const char *folder)
{
  int fd = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
  if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
    return fd;
  char path[LIMIT_PATH_BYTES + 32];
  snprintf(path, sizeof path, "%s/.check-XXXXXX", folder);
  fd = mkostemp(path, O_CLOEXEC);
  if (fd >= 0)
    unlink(path);
  return fd;
}

static void check_sync(struct ops_check *c, const char *folder, bool volatile_fs)
{
  uint64_t median_ns = 0;
  const int fd = open_scratch(folder);
  const int error = fd < 0 ? errno : time_syncs(fd, &median_ns);
  if (fd >= 0)
    close(fd);
  if (!error)
    ops_check_judge_sync(&c->list, median_ns, volatile_fs);
  else
    ops_check_fail(&c->list, "flush",
                   error == ENOSPC   ? EX_TEMPFAIL
                   : error == EACCES ? EX_NOPERM
                                     : EX_IOERR,
                   "see what the kernel says of this disk (dmesg), and who may write there",
                   "a scratch file in %s cannot be written and synced: %s", folder, strerror(error));
}

/* ---- space ---- */

void ops_check_judge_space(struct ops_check_list *l, uint64_t free_bytes, uint64_t reserve_bytes)
{
  char free_text[TABLE_NUMBER], reserve[TABLE_NUMBER];
  ops_table_bytes(free_text, free_bytes);
  ops_table_bytes(reserve, reserve_bytes);
  if (free_bytes < reserve_bytes)
    ops_check_fail(l, "disk", EX_TEMPFAIL, "make room, or lower disk_reserve_bytes in [store]",
                   "%s free, below the watermark of %s: every submitter is told BUSY", free_text, reserve);
  else if (free_bytes / 4 < reserve_bytes)
    ops_check_warn(l, "disk", "make room before a surge", "%s free, and at %s submitters are told BUSY", free_text, reserve);
  else
    ops_check_ok(l, "disk", "%s free; at %s submitters are told BUSY", free_text, reserve);
}

/* The store may be a mount of its own. */
void ops_check_disk(struct ops_check *c)
{
  static char text[1 << 16];
  char folder[LIMIT_PATH_BYTES], full[PATH_MAX], type[64] = "", mount[512] = "";
  uint64_t free_bytes = 0;
  snprintf(folder, sizeof folder, "%s", c->place);
  if (c->has_data) {
    datadir_path(&c->data, folder, "store");
    if (access(folder, F_OK) != 0)
      snprintf(folder, sizeof folder, "%s", c->place);
  }
  if (realpath(folder, full) && ops_check_find_mount(ops_check_read("/proc/self/mountinfo", text, sizeof text), full, type, mount))
    ops_check_judge_mount(&c->list, type, mount);
  else
    ops_check_warn(&c->list, "file system", "see that it is a local one that honours fdatasync", "which one %s lies on cannot be told",
                   folder);
  check_sync(c, folder, is_volatile(type));
  const int error = machine_disk_free(folder, &free_bytes);
  if (error)
    ops_check_fail(&c->list, "disk", EX_IOERR, "see what the kernel says of this disk (dmesg)", "how much is free cannot be told: %s",
                   strerror(error));
  else
    ops_check_judge_space(&c->list, free_bytes, c->config.disk_reserve_bytes);
}
