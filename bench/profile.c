#include "bench/profile.h"

#include <string.h>

const struct profile *profile_find(const char *name)
{
  for (size_t i = 0; i < profile_table_count; i++)
    if (strcmp(profile_table[i].name, name) == 0)
      return &profile_table[i];
  return NULL;
}

const struct profile *profile_at(size_t position) { return position < profile_table_count ? &profile_table[position] : NULL; }
