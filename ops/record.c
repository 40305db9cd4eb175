#include "ops/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/json.h"
#include "proto/scan.h"
#include "proto/varint.h"

void ops_record_take_format(struct argp_state *state, const char *argument, bool *wire)
{
  *wire = strcmp(argument, "pb") == 0;
  if (!*wire && strcmp(argument, "ndjson") != 0)
    argp_error(state, "--format is ndjson or pb");
}

static void write_wire(const struct store_record *record)
{
  uint8_t prefix[VARINT_BYTES_MAX];
  fwrite(prefix, 1, (size_t)(varint_write(prefix, record->size) - prefix), stdout);
  fwrite(record->bytes, 1, record->size, stdout);
}

static int write_line(const struct store_record *record, struct failure *failure)
{
  struct encounter_view view;
  struct scan_fault fault;
  if (!scan_encounter(&view, record->bytes, record->size, &fault))
    return failure_set(failure, MUSTER_ERR_CORRUPT, "the stored bytes of %u:%" PRIu64 " are no record; what came before it is written",
                       record->shard, record->sequence);
  json_t *object = json_from_encounter(&view);
  char *line = object ? json_dumps(object, JSON_COMPACT) : NULL;
  json_decref(object);
  if (!line)
    return failure_set(failure, MUSTER_ERR_MEMORY, "not enough memory");
  puts(line);
  free(line);
  return MUSTER_OK;
}

int ops_record_write(const struct store_record *record, bool wire, struct failure *failure)
{
  if (!wire)
    return write_line(record, failure);
  write_wire(record);
  return MUSTER_OK;
}
