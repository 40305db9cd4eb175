/*
 * The front: the two ROUTER links that submitters connect to. ipc is for the same user on the same machine, whom the
 * modes of directory and socket file let in (submitter "local"); tcp is CURVE always, and each of its messages is asked
 * about once more at the allow-list. What may speak goes on to the gate. Who floods loses the connection (ingest/flood.h).
 * The limit of open files and the setting of peers say how many connections may be open: close to that, some of those that have said
 * nothing yet make room (ingest/strangers.h). The doors are shut while a flood is still to be taken, or where that was not fast enough, or there
 * is nobody to make room; ipc has a reserve that tcp cannot use up. The struct owns the links and the handler of handshakes. Process: ingest, one struct.
 */
#ifndef MUSTER_INGEST_FRONT_H
#define MUSTER_INGEST_FRONT_H

#include <uv.h>

#include "core/config.h"
#include "core/listen.h"
#include "core/counters.h"
#include "core/datadir.h"
#include "core/log.h"
#include "ingest/auth.h"
#include "ingest/flood.h"
#include "ingest/gate.h"
#include "ingest/strangers.h"

struct ingest_front {
  struct ingest_gate *gate;
  struct link *link[2]; /* by enum ingest_origin; NULL: not served */
  struct ingest_auth *auth;
  struct counters *counters;    /* may be NULL */
  struct ingest_flood flood[2]; /* as link */
  struct ingest_strangers strangers[2];
  uint32_t connections_max[2]; /* of both links together, at which the door of this one is shut */
  uint32_t connections;
  bool is_shut[2];
  struct log_gate gate_routing_id, gate_flood, gate_strangers, gate_door;
  char endpoint[2][LISTEN_ENDPOINT_BYTES]; /* as bound; "" where not served */
};

/* Binds what config says for this ingest; where anything of it fails, nothing is left bound. MUSTER_ERR_CREATE, _CONFIG, _DENIED,
 * _FORMAT with failure. */
int ingest_front_open(struct ingest_front *f, uv_loop_t *loop, struct ingest_gate *gate, const struct datadir *data,
                      const struct config *config, uint32_t index, struct counters *counters, struct failure *failure);
/* Answers that were handed to ZeroMQ may still go out for linger_ms (see link_context_finish). The loop must run on for the handles. */
void ingest_front_close(struct ingest_front *f, uint32_t linger_ms);

/* Every 100 ms or so: strangers grow older, which no event tells. */
void ingest_front_tick(struct ingest_front *f);
/* The send_answer of ingest_flow_seam. */
int ingest_front_send(struct ingest_front *f, enum ingest_origin origin, struct link_message *message);

#endif
