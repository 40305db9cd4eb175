#include "ops/endpoints.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/durable.h"
#include "core/file.h"

unsigned ops_endpoints_pick(char *out, size_t out_size, const char *text, const char *prefix)
{
  unsigned picked = 0;
  size_t used = strlen(out);
  while (*text) {
    size_t size = strcspn(text, "\n");
    if (size > 0 && strncmp(text, prefix, strlen(prefix)) == 0 && used + size + 2 <= out_size) {
      memcpy(out + used, text, size);
      used += size;
      out[used++] = '\n';
      out[used] = '\0';
      picked++;
    }
    text += size + (text[size] == '\n');
  }
  return picked;
}

static void own_path(const struct datadir *d, char *path, uint32_t ingest)
{
  char name[32];
  snprintf(name, sizeof name, "run/endpoint-%u", ingest);
  datadir_path(d, path, name);
}

/* The text of one ingest; "" where it cannot be read. */
static void read_own(const struct datadir *d, uint32_t ingest, char *text, size_t text_size)
{
  char path[LIMIT_PATH_BYTES];
  own_path(d, path, ingest);
  FILE *file = file_open_stream(FILE_OF_NODE, "an endpoint", path, UINT64_MAX, NULL);
  size_t size = file ? fread(text, 1, text_size - 1, file) : 0;
  text[size] = '\0';
  if (file)
    fclose(file);
}

unsigned ops_endpoints_gather(const struct datadir *d, uint32_t ingests, char out[ENDPOINTS_TEXT])
{
  static const char *const kinds[] = {"ipc://", "tcp://"};
  char text[LIMIT_PATH_BYTES];
  unsigned count = 0;
  out[0] = '\0';
  for (unsigned kind = 0; kind < 2; kind++)
    for (uint32_t ingest = 0; ingest < ingests; ingest++) {
      read_own(d, ingest, text, sizeof text);
      count += ops_endpoints_pick(out, ENDPOINTS_TEXT, text, kinds[kind]);
    }
  return count;
}

int ops_endpoints_publish(const struct datadir *d, const char *endpoints, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES];
  datadir_path(d, path, "run/endpoints");
  return durable_replace_file(path, endpoints, strlen(endpoints), 0600, failure);
}

void ops_endpoints_remove(const struct datadir *d, int all)
{
  char path[LIMIT_PATH_BYTES];
  datadir_path(d, path, "run/endpoints");
  unlink(path);
  for (uint32_t ingest = 0; all && ingest < LIMIT_INGESTS; ingest++) {
    own_path(d, path, ingest);
    unlink(path);
  }
}
