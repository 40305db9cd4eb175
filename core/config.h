/*
 * The settings of a node: one table (core/config.c) with section, key, type, unit, bounds, default and a sentence, read
 * from INI (libinih). An unknown key, a bad unit or a value out of bounds is an error that names file, line and what is
 * allowed. The supervisor writes the effective settings to the run folder, and its children read them there, so that all
 * processes of a node agree.
 */
#ifndef MUSTER_CORE_CONFIG_H
#define MUSTER_CORE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/failure.h"

struct config {
  /* [node] */
  uint32_t workers;   /* shards; 0: two, or what the store was created with */
  uint32_t ingests;   /* ingest processes */
  char listen[256];   /* "tcp://127.0.0.1:7411" of ingest 0, the next has the next port; "none": no tcp; port 0: any free port */
  uint32_t frozen_ms; /* a worker or ingest that a signal has stopped for so long is killed and started again */
  char log_level[8];
  uint32_t opening_ms;     /* a shard that is not open after so long is told as down, and goes on opening */
  uint32_t shard_retry_ms; /* a shard that is down is tried again after so long at the latest */
  /* [ingest] */
  uint64_t budget_bytes;   /* bytes of batches held in memory, per ingest */
  uint64_t dispatch_bytes; /* of batches that may be at the workers at once; the rest wait in fair turns */
  uint32_t credit;         /* batches in flight per connection */
  uint32_t peers;          /* connections that one ingest remembers */
  uint32_t handshake_ms;
  uint32_t shard_timeout_ms;  /* a record whose shard stays silent for so long is handed back as RETRY */
  uint32_t answer_timeout_ms; /* told to clients in the welcome: resend after */
  /* [store] */
  uint64_t map_bytes;          /* per shard, fixed, sparse */
  uint64_t index_bytes;        /* memory of the index, all shards together, each has an equal part; 0: half of the machine's */
  uint64_t disk_reserve_bytes; /* watermark of free disk below which a shard says BUSY */
  uint64_t quarantine_records; /* per submitter and shard */
  uint64_t quarantine_bytes;   /* per submitter and shard */
  /* [rules] */
  uint32_t future_skew_s; /* an encounter may lie so far ahead of the node's clock */
  uint32_t earliest_year; /* and not before 1 January of this year, UTC */
};

void config_defaults(struct config *c);

/* Where each setting came from, by its place in the table: "default", "muster.conf:12", "--workers". The caller's. */
#define CONFIG_SETTINGS 48 /* at most, in the table */
#define CONFIG_ORIGIN_BYTES 400
struct config_origins {
  char of[CONFIG_SETTINGS][CONFIG_ORIGIN_BYTES];
};
void config_origins_default(struct config_origins *origins);

/* Reads an INI file over what is in *c, and where each setting stood into *origins (may be NULL; after a failure, what was read so far).
 * MUSTER_ERR_CONFIG with file and line. */
int config_read(struct config *c, struct config_origins *origins, const char *path, struct failure *failure);
/* Sets one "section.key" from text, as a command-line option does; where: for the message, and its origin, as "--workers". */
int config_set(struct config *c, struct config_origins *origins, const char *key, const char *value, const char *where,
               struct failure *failure);
/* Writes all settings as INI with their sentences as comments; reading it back gives the same struct. */
int config_write(const struct config *c, FILE *out);

#define CONFIG_SAYS_LIVE "A running node takes a new value: muster reload"
#define CONFIG_SAYS_RESTART "A new value needs a restart"

/* One setting as people read it, numbers with their unit; config_describe is false past the last of the table. */
#define CONFIG_VALUE_BYTES 256
#define CONFIG_ALLOWED_BYTES 96
struct config_setting {
  const char *section, *name, *sentence; /* without a full stop */
  bool live;                             /* a running node takes a new value */
  char value[CONFIG_VALUE_BYTES], preset[CONFIG_VALUE_BYTES];
  char allowed[CONFIG_ALLOWED_BYTES];
};
bool config_describe(const struct config *c, size_t i, struct config_setting *out);
/* Takes what is live from fresh, and leaves the rest. */
void config_adopt(struct config *running, const struct config *fresh);

#endif
