/*
 * What the driver of the store and its scenarios share. The driver (drive_store.c) makes a fresh copy of what a scenario
 * begins with, lets one call fail, and runs the scenario in a child; a second child, to which nothing happens, judges what
 * is there. What a child has to say is in the outcome, which lies in shared memory: it is there whatever becomes of it.
 */
#ifndef MUSTER_TESTS_FAULTS_DRIVE_STORE_H
#define MUSTER_TESTS_FAULTS_DRIVE_STORE_H

#include "tests/store/fixture.h"

struct outcome {
  bool fired, finished, told;                       /* told: an error, with a sentence */
  bool done;                                        /* what the scenario is about has said that it is done */
  bool unsure;                                      /* it was told as failed, in words that leave open whether it is done all the same */
  uint64_t acknowledged, attempted;                 /* records, from the first sequence on */
  uint64_t refused_acknowledged, refused_attempted; /* entries of the quarantine, at least and at most */
  uint64_t sealed_runs, sealed_records;             /* of the backup, before anything fails */
  uint64_t until_records;                           /* where a restore ends */
  int64_t until_us;
  char violation[640];
};
extern struct outcome *outcome;

/* Keeps the first sentence; -1. */
int violate(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* An operation that has failed must say so in words, with one of the codes, and may not call it damage: 1, or -1 where it does not. */
int tell(const char *doing, int status, const struct failure *failure);

/* x is a shard in a directory of its own, which is copied and emptied with all that lies in it: x->path is the shard's, others may be beside it. */
struct scenario {
  const char *name;
  void (*make)(struct fixture *x);  /* what it begins with; NULL: an empty shard directory */
  int (*run)(struct fixture *x);    /* 0 right, 1 told, -1 violated */
  void (*check)(struct fixture *x); /* what is there afterwards, and that a clean run goes on; finds violations */
  bool heavy;                       /* fewer runs in the short form */
  bool strict;                      /* no write or sync that the disk has refused can be borne */
};
extern const struct scenario scenarios_of_store[], scenarios_of_backup[]; /* each ends with a NULL name */

/* ---- of scenarios_store.c, for the others ---- */

int do_open(struct fixture *x, struct store **s);
int do_commit(struct store *s, uint64_t count, uint64_t refused); /* appends count records, and refused ones, in one commit */
int do_commits(struct fixture *x, unsigned commits, uint64_t count, uint64_t refused);
int each_record(void *context,
                const struct store_record *record); /* context: how many came, uint64_t; the next one is that of its number */
int each_refused(void *context, const struct store_refused *entry); /* context: how many came, uint64_t */

/* ---- of scenarios_refused.c ---- */

void make_refused(struct fixture *x);
void make_replayable(struct fixture *x); /* records that a rule had refused, and that are good now: those that come next */
int do_refuse(struct fixture *x);
int do_drop(struct fixture *x);
int do_replay(struct fixture *x);

#endif
