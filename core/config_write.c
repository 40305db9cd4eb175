#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/config_key.h"
#include "core/limits.h"

static const struct {
  const char *word;
  uint64_t factor;
} config_sizes[] = {{"TiB", LIMIT_TIB}, {"GiB", LIMIT_GIB}, {"MiB", LIMIT_MIB}, {"KiB", LIMIT_KIB}};

uint64_t config_size_factor(const char *word)
{
  for (size_t i = 0; i < sizeof config_sizes / sizeof config_sizes[0]; i++) {
    if (strcmp(word, config_sizes[i].word) == 0)
      return config_sizes[i].factor;
  }
  return 0;
}

/* A size as people write it, exact: "256 MiB", "1500". */
static const char *config_show_size(char out[32], uint64_t bytes)
{
  for (size_t i = 0; i < sizeof config_sizes / sizeof config_sizes[0]; i++) {
    if (bytes >= config_sizes[i].factor && bytes % config_sizes[i].factor == 0) {
      snprintf(out, 32, "%" PRIu64 " %s", bytes / config_sizes[i].factor, config_sizes[i].word);
      return out;
    }
  }
  snprintf(out, 32, "%" PRIu64, bytes);
  return out;
}

static const char *config_show_number(char out[32], const struct config_key *key, uint64_t value)
{
  if (key->type == CONFIG_SIZE)
    return config_show_size(out, value);
  snprintf(out, 32, "%" PRIu64, value);
  return out;
}

/* With the unit, as people read it. */
static const char *config_show(char out[CONFIG_VALUE_BYTES], const struct config_key *key, uint64_t value)
{
  char number[32];
  const char *unit = key->type == CONFIG_SIZE ? "" : key->unit;
  snprintf(out, CONFIG_VALUE_BYTES, "%s%s%s", config_show_number(number, key, value), unit[0] == '\0' ? "" : " ", unit);
  return out;
}

const char *config_allowed(char out[CONFIG_ALLOWED_BYTES], const struct config_key *key)
{
  char low[32], high[CONFIG_VALUE_BYTES];
  if (key->type == CONFIG_LEVEL)
    snprintf(out, CONFIG_ALLOWED_BYTES, "debug, info, warn, error");
  else if (key->type == CONFIG_LISTEN)
    snprintf(out, CONFIG_ALLOWED_BYTES, "tcp://ADDRESS:PORT (at most %d characters), or none", CONFIG_TEXT_BYTES);
  else
    snprintf(out, CONFIG_ALLOWED_BYTES, "%s to %s", config_show_number(low, key, key->min), config_show(high, key, key->max));
  return out;
}

bool config_describe(const struct config *c, size_t i, struct config_setting *out)
{
  if (i >= config_keys_count)
    return false;
  const struct config_key *key = &config_keys[i];
  *out = (struct config_setting){.section = key->section, .name = key->name, .sentence = key->sentence, .live = key->live};
  config_allowed(out->allowed, key);
  if (key->preset_text != NULL) {
    snprintf(out->value, sizeof out->value, "%s", (const char *)c + key->offset);
    snprintf(out->preset, sizeof out->preset, "%s", key->preset_text);
  } else {
    config_show(out->value, key, config_load_number(c, key));
    config_show(out->preset, key, key->preset);
  }
  return true;
}

int config_write(const struct config *c, FILE *out)
{
  const char *section = "";
  struct config_setting s;
  for (size_t i = 0; config_describe(c, i, &s); i++) {
    if (strcmp(section, s.section) != 0)
      fprintf(out, "%s[%s]\n", section[0] == '\0' ? "" : "\n", s.section);
    section = s.section;
    fprintf(out, "# %s.\n# Allowed: %s. Default: %s. %s.\n%s = %s\n", s.sentence, s.allowed, s.preset,
            s.live ? CONFIG_SAYS_LIVE : CONFIG_SAYS_RESTART, s.name, s.value);
  }
  return ferror(out) || fflush(out) != 0 ? MUSTER_ERR_IO : MUSTER_OK;
}
