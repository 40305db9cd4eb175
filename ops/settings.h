/*
 * The settings of a command that takes them: the defaults, then a file, then what its options say. Any command; no state.
 */
#ifndef MUSTER_OPS_SETTINGS_H
#define MUSTER_OPS_SETTINGS_H

#include <stddef.h>

#include "core/config.h"
#include "core/failure.h"

struct ops_setting {
  const char *where; /* the option, as the message about it names it */
  char key[64];      /* "store.map_bytes" */
  const char *value;
};

/* file: NULL where none was named. MUSTER_ERR_NOT_FOUND (the file), _CONFIG (in it), _USAGE (an option). */
int ops_settings_gather(struct config *config, const char *file, const struct ops_setting *settings, size_t count, struct failure *failure);

#endif
