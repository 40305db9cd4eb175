#include "ops/table.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

char *ops_table_number(char out[TABLE_NUMBER], uint64_t number)
{
  char digits[24];
  int size = snprintf(digits, sizeof digits, "%" PRIu64, number);
  char *to = out;
  for (int i = 0; i < size; i++) {
    if (i > 0 && (size - i) % 3 == 0)
      *to++ = ',';
    *to++ = digits[i];
  }
  *to = '\0';
  return out;
}

char *ops_table_bytes(char out[TABLE_NUMBER], uint64_t bytes)
{
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double amount = (double)bytes;
  size_t unit = 0;
  while (amount >= 1023.95 && unit + 1 < sizeof units / sizeof *units) {
    amount /= 1024;
    unit++;
  }
  snprintf(out, TABLE_NUMBER, unit ? "%.1f %s" : "%.0f %s", amount, units[unit]);
  return out;
}

char *ops_table_duration(char out[TABLE_NUMBER], uint64_t seconds)
{
  unsigned hour = (unsigned)(seconds / 3600 % 24), minute = (unsigned)(seconds / 60 % 60), second = (unsigned)(seconds % 60);
  if (seconds >= 86400)
    snprintf(out, TABLE_NUMBER, "%" PRIu64 " d %02u:%02u:%02u", seconds / 86400, hour, minute, second);
  else
    snprintf(out, TABLE_NUMBER, "%02u:%02u:%02u", hour, minute, second);
  return out;
}

static void *memory_or_end(void *memory)
{
  if (!memory) {
    fputs("muster: not enough memory for the table\n", stderr);
    exit(EX_OSERR);
  }
  return memory;
}

void ops_table_init(struct ops_table *t, size_t columns)
{
  assert(columns > 0 && columns <= TABLE_COLUMNS);
  *t = (struct ops_table){.columns = columns};
}

void ops_table_finish(struct ops_table *t)
{
  for (size_t i = 0; i < t->rows * t->columns; i++)
    free(t->cells[i]);
  free(t->cells);
  *t = (struct ops_table){0};
}

void ops_table_cell(struct ops_table *t, size_t column, const char *text)
{
  assert(column < t->columns && (column == 0 || t->rows > 0));
  if (column == 0) {
    if (t->rows == t->capacity) {
      t->capacity = t->capacity ? t->capacity * 2 : 32;
      t->cells = memory_or_end(reallocarray(t->cells, t->capacity * t->columns, sizeof *t->cells));
    }
    memset(&t->cells[t->rows * t->columns], 0, t->columns * sizeof *t->cells);
    t->rows++;
  }
  char **cell = &t->cells[(t->rows - 1) * t->columns + column];
  free(*cell);
  *cell = memory_or_end(strdup(text));
}

void ops_table_count(struct ops_table *t, size_t column, uint64_t number)
{
  char text[TABLE_NUMBER];
  t->right[column] = 1;
  ops_table_cell(t, column, ops_table_number(text, number));
}

/* Characters of UTF-8: bytes that do not continue one. */
static size_t characters(const char *text)
{
  size_t count = 0;
  for (; *text; text++)
    count += ((unsigned char)*text & 0xc0) != 0x80;
  return count;
}

static void print_pad(size_t width, int with, FILE *out)
{
  while (width-- > 0)
    putc(with, out);
}

static void print_rule(const struct ops_table *t, const size_t *width, FILE *out)
{
  for (size_t c = 0; c < t->columns; c++) {
    print_pad(c && width[c] ? 2 : 0, ' ', out);
    print_pad(width[c], '-', out);
  }
  putc('\n', out);
}

static void print_row(const struct ops_table *t, size_t row, const size_t *width, FILE *out)
{
  char **cells = &t->cells[row * t->columns];
  size_t last = t->columns; /* behind the last cell that holds something, so that no line ends in blanks */
  while (last > 0 && (!cells[last - 1] || !cells[last - 1][0]))
    last--;
  for (size_t c = 0; c < last; c++) {
    const char *text = cells[c] ? cells[c] : "";
    size_t pad = width[c] - characters(text);
    print_pad(c ? 2 : 0, ' ', out);
    print_pad(t->right[c] ? pad : 0, ' ', out);
    fputs(text, out);
    print_pad(t->right[c] || c + 1 == last ? 0 : pad, ' ', out);
  }
  putc('\n', out);
}

void ops_table_print(const struct ops_table *t, size_t totals, FILE *out)
{
  size_t width[TABLE_COLUMNS] = {0};
  for (size_t i = 0; i < t->rows * t->columns; i++) {
    size_t wide = t->cells[i] ? characters(t->cells[i]) : 0;
    if (wide > width[i % t->columns])
      width[i % t->columns] = wide;
  }
  for (size_t r = 0; r < t->rows; r++) {
    if (r == 1 || (totals && r == t->rows - totals && r > 1))
      print_rule(t, width, out);
    print_row(t, r, width, out);
  }
}

void ops_table_csv(const char *text, FILE *out)
{
  if (!strpbrk(text, ",\"\r\n")) {
    fputs(text, out);
    return;
  }
  putc('"', out);
  for (; *text; text++) {
    if (*text == '"')
      putc('"', out);
    putc(*text, out);
  }
  putc('"', out);
}
