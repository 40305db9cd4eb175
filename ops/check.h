/*
 * What `muster check` finds: a list of lines, each with a verdict and, where it is not ok, what to do about it. ops/check.c is the command, and the
 * other files look at one thing each: check_machine.c at kernel, clock, memory, limits and libraries, check_disk.c at the data directory's file system,
 * check_place.c at its files and at the ports. Nothing is changed but a scratch file in the data directory, which has no name once it is open.
 * The list is the command's, on its one thread; what judges is apart from what looks, so that a test can hand it any machine.
 */
#ifndef MUSTER_OPS_CHECK_H
#define MUSTER_OPS_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/config.h"
#include "core/datadir.h"
#include "core/failure.h"
#include "ops/shards.h"

enum ops_check_verdict { CHECK_OK, CHECK_WARN, CHECK_FAIL };

#define CHECK_LINES 64
struct ops_check_line {
  enum ops_check_verdict verdict;
  int code; /* of sysexits.h, where it fails */
  const char *area;
  char found[640];
  char remedy[320]; /* "" where the finding says it, or where it is ok */
};
struct ops_check_list {
  struct ops_check_line line[CHECK_LINES];
  size_t count;
};

/* What is looked at. */
struct ops_check {
  struct ops_check_list list;
  struct config config; /* workers and index_bytes as a start would work them out, once memory was looked at */
  struct datadir data;
  bool has_data;                /* the directory is there, and is ours to open */
  uint32_t pid;                 /* of the node that runs there; 0: none */
  char place[LIMIT_PATH_BYTES]; /* the directory, or the nearest one above it that is there */
};

void ops_check_ok(struct ops_check_list *l, const char *area, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* remedy: a sentence without a full stop. */
void ops_check_warn(struct ops_check_list *l, const char *area, const char *remedy, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void ops_check_fail(struct ops_check_list *l, const char *area, int code, const char *remedy, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* A failing operation as a line: its sentence says what to do. */
void ops_check_failure(struct ops_check_list *l, const char *area, const struct failure *failure);

/* ---- the parts, in the order in which they are told ---- */

void ops_check_place(struct ops_check *c, const char *option); /* first: it settles data, place and pid */
void ops_check_kernel(struct ops_check *c);
void ops_check_clock(struct ops_check *c);
void ops_check_limits(struct ops_check *c);
void ops_check_memory(struct ops_check *c);
void ops_check_disk(struct ops_check *c);
void ops_check_ports(struct ops_check *c);
void ops_check_libraries(struct ops_check *c);

/* The text of a file in /proc, cut to the room; "" where there is none. Returns text. */
const char *ops_check_read(const char *path, char *text, size_t size);

/* ---- judgements ---- */

/* type as in mountinfo(5), options those of the mount and of its file system with commas between. */
void ops_check_judge_mount(struct ops_check_list *l, const char *type, const char *options);
/* The line of mountinfo's text that path lies on. False where there is none. */
bool ops_check_find_mount(const char *mountinfo, const char *path, char type[64], char options[512]);
/* The median time of a small fdatasync. volatile_fs: nothing is kept there anyway, as on a tmpfs. */
void ops_check_judge_sync(struct ops_check_list *l, uint64_t median_ns, bool volatile_fs);
void ops_check_judge_space(struct ops_check_list *l, uint64_t free_bytes, uint64_t reserve_bytes);
/* state and status as adjtimex(2) gives them. */
void ops_check_judge_clock(struct ops_check_list *l, int state, int status, long max_error_us);
/* meminfo's and swaps' texts. */
void ops_check_judge_swap(struct ops_check_list *l, const char *swaps);

#endif
