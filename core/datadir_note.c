#include "core/datadir_note.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/durable.h"
#include "core/file.h"

#define NOTE_BYTES 4096 /* far more than a number: what else lies there is named by what it holds */

int datadir_note_read(const struct datadir *d, uint32_t *shards, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES], text[16] = "", *end = text;
  datadir_path(d, path, DATADIR_NOTE);
  FILE *file = file_open_stream(FILE_OF_NODE, "the number of shards", path, NOTE_BYTES, failure);
  if (file == NULL)
    return failure == NULL ? MUSTER_ERR_IO : failure->status;
  const size_t size = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  const unsigned long number = size > 0 && strspn(text, "0123456789") == size - 1 ? strtoul(text, &end, 10) : 0;
  if (number < 1 || number > LIMIT_SHARDS || strcmp(end, "\n") != 0)
    return failure_set(failure, MUSTER_ERR_CORRUPT, "%s does not say how many shards the store has", path);
  *shards = (uint32_t)number;
  return MUSTER_OK;
}

int datadir_note_write(const char *root, uint32_t shards, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES + 32], text[16];
  snprintf(path, sizeof path, "%s/" DATADIR_NOTE, root);
  const int size = snprintf(text, sizeof text, "%" PRIu32 "\n", shards);
  return durable_replace_file(path, text, (uint64_t)size, 0600, failure);
}
