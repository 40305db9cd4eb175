#include "ops/nearest.h"

#include <string.h>

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Insertions, deletions, replacements and swaps of neighbours that turn one word into the other; words are cut to what a name can be. */
static size_t edit_distance(const char *a, const char *b)
{
  enum { WORD = 24 };
  size_t rows[3][WORD + 1];
  size_t a_size = strnlen(a, WORD), b_size = strnlen(b, WORD);
  for (size_t j = 0; j <= b_size; j++)
    rows[0][j] = j;
  for (size_t i = 1; i <= a_size; i++) {
    size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
    row[0] = i;
    for (size_t j = 1; j <= b_size; j++) {
      row[j] = least(least(above[j] + 1, row[j - 1] + 1), above[j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = least(row[j], before[j - 2] + 1);
    }
  }
  return rows[a_size % 3][b_size];
}

size_t ops_nearest(const char *word, const char *name)
{
  size_t size = strlen(word);
  if (size >= 2 && strncmp(word, name, size) == 0)
    return 0;
  size_t away = edit_distance(word, name);
  return away < NEAREST_FAR && away < strlen(name) ? away : NEAREST_FAR;
}
