/*
 * What every call of Muster can answer. MUSTER_OK is 0, every failure is negative. Each code says when it occurs and
 * what state remains, so that a caller can decide without reading the source. Codes are stable: new ones are added at the end.
 */
#ifndef MUSTER_STATUS_H
#define MUSTER_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

enum muster_status {
  MUSTER_OK = 0,
  MUSTER_ERR_USAGE = -1,        /* the caller's argument is outside what is documented; nothing was done */
  MUSTER_ERR_MEMORY = -2,       /* memory could not be had; nothing was done */
  MUSTER_ERR_IO = -3,           /* a read, write or sync failed; what was committed before stands, the rest is not promised */
  MUSTER_ERR_FULL = -4,         /* disk, map, quota or budget is full; nothing was done, try again later */
  MUSTER_ERR_CORRUPT = -5,      /* stored bytes contradict their checksum or their counts; nothing was changed */
  MUSTER_ERR_FORMAT = -6,       /* input is not what its format says; the message tells where */
  MUSTER_ERR_VERSION = -7,      /* a store or a peer speaks another major version */
  MUSTER_ERR_NOT_FOUND = -8,    /* what was asked for does not exist */
  MUSTER_ERR_DENIED = -9,       /* permission, key or owner is not the right one */
  MUSTER_ERR_UNAVAILABLE = -10, /* no node answers there (yet) */
  MUSTER_ERR_TIMEOUT = -11,     /* the time given ran out; unanswered records are in an unknown state, resending is right */
  MUSTER_ERR_CONFIG = -12,      /* the configuration cannot be used; the message names file and line */
  MUSTER_ERR_LOCKED = -13,      /* another process holds it; the message names its pid where it is known */
  MUSTER_ERR_LIMIT = -14,       /* larger or more than a stated limit; nothing was done */
  MUSTER_ERR_AGAIN = -15,       /* would block; poll and call again */
  MUSTER_ERR_CREATE = -16,      /* a file, directory or socket could not be created */
  MUSTER_ERR_PROTOCOL = -17     /* the peer broke proto/README.md */
};

/* The name of a code, as "MUSTER_ERR_IO"; "unknown" for a number that is none. Static storage. */
const char *muster_status_name(int status);

/* One sentence for people, without a full stop. Static storage. */
const char *muster_status_text(int status);

/* The exit code of sysexits.h that a command ends with for this status: 0 for MUSTER_OK, else 64 to 78. */
int muster_status_exit_code(int status);

#ifdef __cplusplus
}
#endif
#endif
