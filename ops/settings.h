/*
 * The settings of a command that takes them: the defaults, then a file, then what its options say; where each came from; and how a running node tells
 * both in its run folder. Any command; the struct is the command's, its texts are those of the command line.
 */
#ifndef MUSTER_OPS_SETTINGS_H
#define MUSTER_OPS_SETTINGS_H

#include <argp.h>
#include <stddef.h>

#include "core/config.h"
#include "core/datadir.h"
#include "core/failure.h"

#define SETTINGS_MAX 64

struct ops_setting {
  const char *where; /* the option, as the message about it names it */
  char key[64];      /* "store.map_bytes" */
  const char *value;
};

struct ops_settings {
  const char *file; /* NULL where none was named */
  struct ops_setting setting[SETTINGS_MAX];
  size_t count;
  struct config asked; /* from here on by ops_settings_gather */
  struct config_origins origins;
};

/* A child for a command's argp, that understands what `muster run` does of settings; its input is a `struct ops_settings *`, zeroed by the caller. */
extern const struct argp ops_settings_argp;

/* Fills asked and origins. MUSTER_ERR_NOT_FOUND (the file), _CONFIG (in it), _USAGE (an option). */
int ops_settings_gather(struct ops_settings *s, struct failure *failure);

/* Says of each setting that is another in config than was asked for (0 workers, 0 index_bytes) that the start has worked it out. Once. */
void ops_settings_note_start(struct ops_settings *s, const struct config *config);
/* For the children and for people: config to run/node.conf, and where it came from to run/node.from. By the supervisor. */
int ops_settings_publish(const struct datadir *data, const struct config *config, const struct ops_settings *s, struct failure *failure);
/* What the running node has published: file is the path of the file it was started with, "" for none. */
int ops_settings_published(const struct datadir *data, struct config *config, struct config_origins *origins, char file[LIMIT_PATH_BYTES],
                           struct failure *failure);

#endif
