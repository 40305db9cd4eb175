/*
 * One row of the table of settings, for the files that config is made of: core/config.c has the table and reads values, core/config_write.c shows
 * them. Constant. Any process.
 */
#ifndef MUSTER_CORE_CONFIG_KEY_H
#define MUSTER_CORE_CONFIG_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/config.h"
#include "core/limits.h"

#define LIMIT_TIB (LIMIT_GIB * 1024)
#define CONFIG_TEXT_BYTES 160 /* of a value: it must fit the line that libinih reads, with its key */

enum config_type { CONFIG_NUMBER, CONFIG_SIZE, CONFIG_LISTEN, CONFIG_LEVEL };

struct config_key {
  const char *section, *name;
  enum config_type type;
  bool live;            /* a running node takes a new value (muster reload); else it needs a restart */
  size_t offset, width; /* of the member in struct config, bytes */
  uint64_t min, max, preset;
  const char *preset_text;
  const char *unit; /* of a number; may stand after it */
  const char *sentence;
};

extern const struct config_key config_keys[];
extern const size_t config_keys_count;

uint64_t config_load_number(const struct config *c, const struct config_key *key);
/* Bytes that "KiB" and its like stand for; 0 for another word. */
uint64_t config_size_factor(const char *word);
/* What a value may be, as "1000 to 86400000 ms". Returns out. */
const char *config_allowed(char out[CONFIG_ALLOWED_BYTES], const struct config_key *key);

#endif
