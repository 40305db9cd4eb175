/*
 * Tables for people: numbers with thousands separators, and rows in columns that are as wide as their widest cell
 * (counted in characters, not bytes). A table takes copies of its cells and prints all at once; its owner is the command
 * that made it, on one thread.
 */
#ifndef MUSTER_OPS_TABLE_H
#define MUSTER_OPS_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TABLE_NUMBER 32 /* room for a number of 64 bits with separators and the end */
#define TABLE_COLUMNS 16

/* "1,734,686". Returns out. */
char *ops_table_number(char out[TABLE_NUMBER], uint64_t number);
/* "12.3 GiB", for people; exact below 1 KiB. Returns out. */
char *ops_table_bytes(char out[TABLE_NUMBER], uint64_t bytes);
/* "3 d 04:05:06" or "04:05:06". Returns out. */
char *ops_table_duration(char out[TABLE_NUMBER], uint64_t seconds);

struct ops_table {
  size_t columns, rows, capacity;
  char **cells;                       /* rows * columns */
  unsigned char right[TABLE_COLUMNS]; /* 1: aligned to the right */
};
void ops_table_init(struct ops_table *t, size_t columns); /* at most TABLE_COLUMNS */
void ops_table_finish(struct ops_table *t);
void ops_table_cell(struct ops_table *t, size_t column, const char *text); /* column 0 begins a row; ends the process (71) without memory */
void ops_table_count(struct ops_table *t, size_t column, uint64_t number); /* with separators, and the column is aligned to the right */
/* The first row is a heading with a rule below it; before the last `totals` rows there is another. */
void ops_table_print(const struct ops_table *t, size_t totals, FILE *out);

/* One field of a CSV file, quoted where RFC 4180 asks for it. */
void ops_table_csv(const char *text, FILE *out);

#endif
