#include "core/listen.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int listen_endpoint(char out[LISTEN_ENDPOINT_BYTES], const char *listen, uint32_t index, struct failure *failure)
{
  const char *colon = strrchr(listen, ':');
  char *end = NULL;
  unsigned long port = colon && colon[1] >= '0' && colon[1] <= '9' ? strtoul(colon + 1, &end, 10) : 0;
  if (strncmp(listen, "tcp://", 6) != 0 || !end || *end || port > 65535)
    return failure_set(failure, MUSTER_ERR_CONFIG, "node.listen: %s is not tcp://ADDRESS:PORT", listen);
  if (port > 0)
    port += index;
  if (port > 65535)
    return failure_set(failure, MUSTER_ERR_CONFIG, "node.listen: ingest %" PRIu32 " would need port %lu; choose a lower port", index, port);
  int size = snprintf(out, LISTEN_ENDPOINT_BYTES, "%.*s:%lu", (int)(colon - listen), listen, port);
  return size < LISTEN_ENDPOINT_BYTES ? MUSTER_OK : failure_set(failure, MUSTER_ERR_CONFIG, "node.listen: %.64s... is too long", listen);
}
