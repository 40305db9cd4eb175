/*
 * The node's endpoints, as clients on this machine find them: each ingest writes its own in run/endpoint-J, one a line;
 * the supervisor gathers them in run/endpoints, those of ipc first. Called by the supervisor alone; text only.
 */
#ifndef MUSTER_OPS_ENDPOINTS_H
#define MUSTER_OPS_ENDPOINTS_H

#include <stddef.h>
#include <stdint.h>

#include "core/datadir.h"
#include "core/failure.h"

#define ENDPOINTS_TEXT 16384 /* of all ingests, with room to spare */

/* Reads the files of all ingests into out, one endpoint a line, ipc before tcp, each kind in the order of the ingests. Returns how many. */
unsigned ops_endpoints_gather(const struct datadir *d, uint32_t ingests, char out[ENDPOINTS_TEXT]);
/* The merge alone: adds to out (text so far) the lines of text that begin with prefix. Returns how many. */
unsigned ops_endpoints_pick(char *out, size_t out_size, const char *text, const char *prefix);
int ops_endpoints_publish(const struct datadir *d, const char *endpoints, struct failure *failure);
/* Removes run/endpoints; with all, the files of the ingests, too. */
void ops_endpoints_remove(const struct datadir *d, int all);

#endif
