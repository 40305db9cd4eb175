#include "muster/status.h"

#include <stddef.h>
#include <sysexits.h>

struct status_info {
  const char *name;
  const char *text;
  int exit_code;
};

/* By the negated code. A full disk and a lock pass by themselves, so they end as a temporary failure that a caller may retry. */
static const struct status_info status_list[] = {
    [-MUSTER_OK] = {"MUSTER_OK", "all is well", EX_OK},
    [-MUSTER_ERR_USAGE] = {"MUSTER_ERR_USAGE", "an argument is outside what is documented", EX_USAGE},
    [-MUSTER_ERR_MEMORY] = {"MUSTER_ERR_MEMORY", "memory could not be had", EX_OSERR},
    [-MUSTER_ERR_IO] = {"MUSTER_ERR_IO", "a read, write or sync failed", EX_IOERR},
    [-MUSTER_ERR_FULL] = {"MUSTER_ERR_FULL", "the disk, the map, a quota or the budget is full", EX_TEMPFAIL},
    [-MUSTER_ERR_CORRUPT] = {"MUSTER_ERR_CORRUPT", "stored bytes contradict their checksum or their counts", EX_DATAERR},
    [-MUSTER_ERR_FORMAT] = {"MUSTER_ERR_FORMAT", "the input is not what its format says", EX_DATAERR},
    [-MUSTER_ERR_VERSION] = {"MUSTER_ERR_VERSION", "the store or the peer speaks another major version", EX_PROTOCOL},
    [-MUSTER_ERR_NOT_FOUND] = {"MUSTER_ERR_NOT_FOUND", "what was asked for does not exist", EX_NOINPUT},
    [-MUSTER_ERR_DENIED] = {"MUSTER_ERR_DENIED", "the permission, key or owner is not the right one", EX_NOPERM},
    [-MUSTER_ERR_UNAVAILABLE] = {"MUSTER_ERR_UNAVAILABLE", "no node answers there", EX_UNAVAILABLE},
    [-MUSTER_ERR_TIMEOUT] = {"MUSTER_ERR_TIMEOUT", "the time given ran out; resending what is unanswered is right", EX_TEMPFAIL},
    [-MUSTER_ERR_CONFIG] = {"MUSTER_ERR_CONFIG", "the configuration cannot be used", EX_CONFIG},
    [-MUSTER_ERR_LOCKED] = {"MUSTER_ERR_LOCKED", "another process holds it", EX_TEMPFAIL},
    [-MUSTER_ERR_LIMIT] = {"MUSTER_ERR_LIMIT", "it is larger or more than a stated limit", EX_DATAERR},
    [-MUSTER_ERR_AGAIN] = {"MUSTER_ERR_AGAIN", "it would block; poll and call again", EX_TEMPFAIL},
    [-MUSTER_ERR_CREATE] = {"MUSTER_ERR_CREATE", "a file, directory or socket could not be created", EX_CANTCREAT},
    [-MUSTER_ERR_PROTOCOL] = {"MUSTER_ERR_PROTOCOL", "the peer broke the protocol", EX_PROTOCOL},
};

static const struct status_info *status_find(int status)
{
  const int count = (int)(sizeof status_list / sizeof status_list[0]);
  return status <= 0 && status > -count ? &status_list[-status] : NULL;
}

const char *muster_status_name(int status)
{
  const struct status_info *info = status_find(status);
  return info != NULL ? info->name : "unknown";
}

const char *muster_status_text(int status)
{
  const struct status_info *info = status_find(status);
  return info != NULL ? info->text : "the status is none that Muster knows";
}

int muster_status_exit_code(int status)
{
  const struct status_info *info = status_find(status);
  return info != NULL ? info->exit_code : EX_SOFTWARE;
}
