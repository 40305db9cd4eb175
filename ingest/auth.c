#include "ingest/auth.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "core/key_list.h"
#include "core/limits.h"
#include "core/link.h"
#include "core/log.h"

#define ZAP_ENDPOINT "inproc://zeromq.zap.01"
#define ZAP_VERSION "1.0"
#define ZAP_FIELD_BYTES 256u
#define CURVE_KEY_BYTES 32u

struct ingest_auth {
  void *socket; /* REP */
  uv_poll_t poll;
  struct key_list *list;       /* NULL where it could not be read yet */
  char path[LIMIT_PATH_BYTES]; /* of the list */
  struct counters *counters;
  struct log_gate gate_handshake, gate_message, gate_list;
};

/* One field of a request; longer ones are cut, which makes them match nothing. */
struct zap_field {
  uint8_t bytes[ZAP_FIELD_BYTES];
  size_t size;
};

enum { ZAP_AT_VERSION, ZAP_AT_ID, ZAP_AT_DOMAIN, ZAP_AT_ADDRESS, ZAP_AT_IDENTITY, ZAP_AT_MECHANISM, ZAP_AT_CREDENTIALS, ZAP_FIELDS };

struct zap_request {
  struct zap_field field[ZAP_FIELDS];
  uint32_t count; /* more than ZAP_FIELDS where more came */
};

static bool zap_is(const struct zap_field *field, const char *text)
{
  return field->size == strlen(text) && memcmp(field->bytes, text, field->size) == 0;
}

/* cause is one word for the log, and counted by itself. */
static void auth_count_refused(struct ingest_auth *auth, const char *cause)
{
  const enum counter_id of_cause = strcmp(cause, "unknown") == 0   ? COUNTER_handshakes_refused_unknown
                                   : strcmp(cause, "revoked") == 0 ? COUNTER_handshakes_refused_revoked
                                                                   : COUNTER_handshakes_refused_mechanism;
  counters_begin(auth->counters);
  counters_add(auth->counters, COUNTER_handshakes_refused, 1);
  counters_add(auth->counters, of_cause, 1);
  counters_end(auth->counters);
}

static void auth_count(struct ingest_auth *auth, enum counter_id id)
{
  counters_begin(auth->counters);
  counters_add(auth->counters, id, 1);
  counters_end(auth->counters);
}

/* The list as it is on disk now; NULL or empty where it cannot be used, and nobody is allowed then. The operator has to hear of it. */
static void auth_refresh(struct ingest_auth *auth)
{
  struct failure failure = FAILURE_NONE;
  char text[sizeof failure.text * 2];
  int status = auth->list ? key_list_refresh(auth->list, &failure) : key_list_open(&auth->list, auth->path, &failure);
  if (status != MUSTER_OK)
    log_event_gated(&auth->gate_list, LOG_ERROR, "ingest.allow-list-unusable", "allowed=nobody cause=%s",
                    log_quote(text, sizeof text, failure.text));
}

/* ---- the handshake ---- */

/* The entry that lets this request in, or NULL; *why is one word for the log then. */
static const struct key_entry *zap_decide(struct ingest_auth *auth, const struct zap_request *r, const char **why, char key_text[KEY_TEXT])
{
  const struct zap_field *key = &r->field[ZAP_AT_CREDENTIALS];
  key_text[0] = '\0';
  *why = "mechanism";
  if (r->count != ZAP_FIELDS || !zap_is(&r->field[ZAP_AT_VERSION], ZAP_VERSION) || !zap_is(&r->field[ZAP_AT_DOMAIN], INGEST_ZAP_DOMAIN) ||
      !zap_is(&r->field[ZAP_AT_MECHANISM], "CURVE") || key->size != CURVE_KEY_BYTES ||
      !zmq_z85_encode(key_text, key->bytes, CURVE_KEY_BYTES))
    return NULL;
  auth_refresh(auth);
  const struct key_entry *entry = auth->list ? key_list_by_public(auth->list, key_text) : NULL;
  *why = entry ? "revoked" : "unknown";
  return entry && entry->allowed ? entry : NULL;
}

static void zap_send(void *socket, const void *bytes, size_t size, bool more)
{
  while (zmq_send(socket, bytes, size, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) < 0 && errno == EINTR)
    ;
}

static void zap_answer(struct ingest_auth *auth, const struct zap_request *r)
{
  const char *why, *code = "400", *text = "refused";
  char key_text[KEY_TEXT];
  const struct key_entry *entry = zap_decide(auth, r, &why, key_text);
  if (entry) {
    code = "200";
    text = "OK";
    auth_count(auth, COUNTER_handshakes);
  } else {
    char quoted[2 * KEY_TEXT + 3];
    auth_count_refused(auth, why);
    log_event_gated(&auth->gate_handshake, LOG_WARN, "ingest.handshake-refused", "cause=%s public_key=%s", why,
                    log_quote(quoted, sizeof quoted, key_text));
  }
  zap_send(auth->socket, ZAP_VERSION, strlen(ZAP_VERSION), true);
  zap_send(auth->socket, r->field[ZAP_AT_ID].bytes, r->field[ZAP_AT_ID].size, true);
  zap_send(auth->socket, code, strlen(code), true);
  zap_send(auth->socket, text, strlen(text), true);
  /* The User-Id is the key itself: whatever becomes of the list, it names nobody else. */
  zap_send(auth->socket, key_text, entry ? strlen(key_text) : 0, true);
  zap_send(auth->socket, "", 0, false);
}

/* false: nothing (more) is there. */
static bool zap_receive(void *socket, struct zap_request *r)
{
  memset(r, 0, sizeof *r);
  for (int more = 1; more;) {
    struct zap_field excess, *field = r->count < ZAP_FIELDS ? &r->field[r->count] : &excess;
    int size = zmq_recv(socket, field->bytes, ZAP_FIELD_BYTES, ZMQ_DONTWAIT);
    if (size < 0 && errno == EINTR)
      continue;
    if (size < 0)
      return false;
    field->size = (size_t)size > ZAP_FIELD_BYTES ? ZAP_FIELD_BYTES : (size_t)size;
    r->count++;
    size_t more_size = sizeof more;
    if (zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &more_size) != 0)
      more = 0;
  }
  return true;
}

/* The descriptor is edge-triggered: everything that is there is answered before it is waited for again, until a
 * receive says there is no more. */
static void auth_run(uv_poll_t *handle, int status, int events)
{
  struct ingest_auth *auth = handle->data;
  struct zap_request request;
  (void)status;
  (void)events;
  while (zap_receive(auth->socket, &request))
    zap_answer(auth, &request);
}

/* ---- opening and closing ---- */

static void auth_free(struct ingest_auth *auth)
{
  if (auth->socket)
    zmq_close(auth->socket);
  key_list_close(auth->list);
  free(auth);
}

static void auth_closed(uv_handle_t *handle) { auth_free(handle->data); }

int ingest_auth_open(struct ingest_auth **out, uv_loop_t *loop, const char *allow_path, struct counters *counters, struct failure *failure)
{
  int fd, linger = 0;
  size_t size = sizeof fd;
  *out = NULL;
  struct ingest_auth *auth = calloc(1, sizeof *auth);
  if (!auth)
    return failure_set(failure, MUSTER_ERR_MEMORY, "no memory for the handler of handshakes");
  auth->counters = counters;
  snprintf(auth->path, sizeof auth->path, "%s", allow_path);
  auth_refresh(auth);
  int status = MUSTER_OK;
  auth->socket = link_context() ? zmq_socket(link_context(), ZMQ_REP) : NULL;
  if (!auth->socket || zmq_setsockopt(auth->socket, ZMQ_LINGER, &linger, sizeof linger) != 0 || zmq_bind(auth->socket, ZAP_ENDPOINT) != 0 ||
      zmq_getsockopt(auth->socket, ZMQ_FD, &fd, &size) != 0)
    status = failure_set(failure, MUSTER_ERR_CREATE, "cannot answer handshakes at %s: %s; nobody is let in over tcp", ZAP_ENDPOINT,
                         zmq_strerror(errno));
  if (status == MUSTER_OK && uv_poll_init(loop, &auth->poll, fd) != 0)
    status = failure_set(failure, MUSTER_ERR_IO, "the loop cannot poll the handler of handshakes; nobody is let in over tcp");
  if (status != MUSTER_OK) {
    auth_free(auth);
    return status;
  }
  auth->poll.data = auth;
  uv_poll_start(&auth->poll, UV_READABLE, auth_run);
  *out = auth;
  return MUSTER_OK;
}

void ingest_auth_close(struct ingest_auth *auth)
{
  if (auth)
    uv_close((uv_handle_t *)&auth->poll, auth_closed);
}

/* ---- every message ---- */

bool ingest_auth_allows(struct ingest_auth *auth, const char *user_id, uint32_t *submitter, const char **name)
{
  const struct key_entry *entry = NULL;
  if (auth && user_id) {
    auth_refresh(auth);
    entry = auth->list ? key_list_by_public(auth->list, user_id) : NULL;
  }
  if (entry && entry->allowed) {
    *submitter = entry->number;
    *name = entry->name;
    return true;
  }
  if (auth) {
    auth_count(auth, COUNTER_messages_denied);
    log_event_gated(&auth->gate_message, LOG_WARN, "ingest.message-denied", "submitter=%s cause=%s", entry ? entry->name : "unknown",
                    entry ? "revoked" : "no-entry");
  }
  return false;
}
