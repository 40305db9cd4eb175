/*
 * Where each ingest listens, worked out from the one setting (node.listen). Any process; text only, no state.
 */
#ifndef MUSTER_CORE_LISTEN_H
#define MUSTER_CORE_LISTEN_H

#include <stdint.h>

#include "core/failure.h"

#define LISTEN_ENDPOINT_BYTES 512

/* The endpoint of ingest number index: the same address, the port counted up unless it is 0. MUSTER_ERR_CONFIG where there is no port or
 * it passes 65,535. */
int listen_endpoint(char out[LISTEN_ENDPOINT_BYTES], const char *listen, uint32_t index, struct failure *failure);

#endif
