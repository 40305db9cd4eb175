#include "proto/node_id.h"

#include <stdio.h>
#include <string.h>

#include "core/durable.h"
#include "core/file.h"
#include "proto/text.h"

#define NODE_ID_FILE_BYTES 4096

int node_id_read(const struct datadir *data, uint8_t id[16], struct failure *failure)
{
  char path[LIMIT_PATH_BYTES], text[TEXT_UUID + 1] = "";
  datadir_path(data, path, "node.id");
  struct failure cause = FAILURE_NONE;
  FILE *file = file_open_stream(FILE_OF_NODE, "the node's id", path, NODE_ID_FILE_BYTES, &cause);
  if (!file)
    return failure_set(failure, cause.status == MUSTER_ERR_NOT_FOUND ? cause.status : MUSTER_ERR_DENIED, "%s; `muster run' makes it",
                       cause.text);
  bool whole = fgets(text, sizeof text, file) && text_uuid_parse(id, text, strcspn(text, "\n"));
  fclose(file);
  return whole
             ? MUSTER_OK
             : failure_set(failure, MUSTER_ERR_CORRUPT, "%s holds no node id; remove it, `muster run' makes it again from the store", path);
}

int node_id_write(const struct datadir *data, const uint8_t id[16], struct failure *failure)
{
  char path[LIMIT_PATH_BYTES], text[TEXT_UUID + 1];
  datadir_path(data, path, "node.id");
  text_uuid(text, id);
  strcat(text, "\n");
  return durable_replace_file(path, text, strlen(text), 0600, failure);
}
