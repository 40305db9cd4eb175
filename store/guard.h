/*
 * What stands between a damaged data.mdb and the end of the process. LMDB trusts its pages: a number in one of them that is
 * wrong makes it read where no file is, which is a signal, and a disk that cannot read a page is a signal as well. Within
 * a guard such a signal, or a failed assertion of LMDB, becomes a code that is returned; outside of one, a fault within the
 * map of a shard ends the process with a sentence that names the shard, and any other is left to whoever handled it before.
 * Guards nest, and belong to the thread and the stack frame that entered them. Inside store/ only.
 */
#ifndef MUSTER_STORE_GUARD_H
#define MUSTER_STORE_GUARD_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum store_guard_kind {
  STORE_GUARD_MAP, /* around code that reads what is mapped: faults within a shard's map */
  STORE_GUARD_LMDB /* around a call of LMDB, which may follow a wrong number to anywhere: every fault */
};

struct store_guard {
  sigjmp_buf place;
  enum store_guard_kind kind;
  struct store_guard *outer;
};

/* Use: `if (sigsetjmp(*store_guard_enter(&g, kind), 0)) return MDB_CORRUPTED;`, the work, store_guard_leave(&g). What the frame changes in
 * between is lost; the guard has been left when the second return comes. */
sigjmp_buf *store_guard_enter(struct store_guard *g, enum store_guard_kind kind);
void store_guard_leave(struct store_guard *g);

/* As a fault within the innermost guard; ends the process where there is none. For LMDB's assertions. */
_Noreturn void store_guard_broken(void);

/* Names a shard's map (slot: of its environment) and sets the handlers. base NULL: no longer mapped. */
void store_guard_map(unsigned slot, const void *base, size_t size, const char *path);

#endif
