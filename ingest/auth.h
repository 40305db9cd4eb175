/*
 * Who may speak over tcp: the ZAP handler (RFC of ZeroMQ 27) of this process, which libzmq asks at every CURVE
 * handshake, and the check of every message afterwards, both from the allow-list as it is on disk at that moment.
 * Everything fails closed: without a handler, a list or an entry nobody is let in, and no mechanism but CURVE is known.
 * It must be open before a tcp endpoint is bound. One a process; all on the loop's thread. Process: ingest.
 */
#ifndef MUSTER_INGEST_AUTH_H
#define MUSTER_INGEST_AUTH_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "core/counters.h"
#include "core/failure.h"

#define INGEST_ZAP_DOMAIN "muster"

struct ingest_auth;

/* allow_path: the allow-list; it need not exist or be whole, nobody is let in until it does and is. counters may be NULL.
 * MUSTER_ERR_CREATE where the context has a handler already. */
int ingest_auth_open(struct ingest_auth **out, uv_loop_t *loop, const char *allow_path, struct counters *counters, struct failure *failure);
void ingest_auth_close(struct ingest_auth *auth); /* freed in a later turn of the loop; NULL is fine */

/* Whether the submitter of this message may (still) speak. user_id is the message's User-Id, NULL where it has none. A denied message is
 * counted and logged. name is valid until the next question. */
bool ingest_auth_allows(struct ingest_auth *auth, const char *user_id, uint32_t *submitter, const char **name);

#endif
