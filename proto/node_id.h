/*
 * The file node.id of the data directory: the node's 16 bytes as UUID text on a line, made at the first start and never
 * changed. The supervisor writes it, ingests and workers read it. No state.
 */
#ifndef MUSTER_PROTO_NODE_ID_H
#define MUSTER_PROTO_NODE_ID_H

#include <stdint.h>

#include "core/datadir.h"

/* MUSTER_ERR_NOT_FOUND where there is none, _DENIED where it cannot be read, _CORRUPT where it holds no id. */
int node_id_read(const struct datadir *data, uint8_t id[16], struct failure *failure);
int node_id_write(const struct datadir *data, const uint8_t id[16], struct failure *failure);

#endif
