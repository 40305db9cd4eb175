/*
 * The inside of the client library: one struct, its loop, and which file does what. client.c is the public interface, but for what
 * takes an encounter as a struct, which is encounter.c. batch.c fills batches and makes what is left of one anew, session.c speaks
 * with the node and moves on to the next endpoint, flow.c decides what is sent when, answer.c reads verdicts, endpoints.c knows
 * where the nodes are. All of it runs inside the caller's calls, on the caller's thread. A batch stays in its place until each of
 * its records has a final verdict or was given back, so memory is bounded by the window.
 */
#ifndef MUSTER_CLIENT_CLIENT_H
#define MUSTER_CLIENT_CLIENT_H

#include <stdbool.h>
#include <uv.h>

#include "core/datadir.h"
#include "core/keys.h"
#include "core/limits.h"
#include "core/link.h"
#include "muster/client.h"

enum {
  CLIENT_ENDPOINTS_MAX = 64,
  CLIENT_ENDPOINT_BYTES = 512,
  CLIENT_BATCH_RECORDS = 1000,
  CLIENT_WINDOW = 16,
  CLIENT_LINGER_MS = 20,
  CLIENT_ANSWER_TIMEOUT_MS = 15000, /* until a welcome says otherwise */
  CLIENT_PATIENCE_MS = 30000,
  CLIENT_OUTAGE_QUIET_MS = 10000, /* an outage is over where so long nobody told of one: more than anybody is asked to wait */
  CLIENT_SOFTWARE_BYTES = 64
};

enum client_batch_state {
  CLIENT_BATCH_FREE,
  CLIENT_BATCH_FILLING, /* takes records */
  CLIENT_BATCH_READY,   /* to be sent as soon as credit and connection allow */
  CLIENT_BATCH_SENT,    /* at the node; at due_ms it is sent again */
  CLIENT_BATCH_WAITING  /* told BUSY or RETRY; at due_ms it is ready again */
};

struct client_batch {
  enum client_batch_state state;
  bool sent_before;
  bool down;      /* each of its records was told BUSY_SHARD_DOWN last */
  uint32_t count; /* records in it, all without a final verdict */
  uint64_t id;    /* of the records as they stand now: another after each change of them */
  uint64_t order; /* of the first sealing: the oldest goes first */
  uint64_t sent_ms, due_ms;
  uint64_t *tags; /* batch_records of them, taken at first use and kept */
  uint8_t *bytes; /* FILLING: the delimited stream, of malloc; handed to the frame when sealed */
  size_t used, capacity;
  struct link_frame records; /* from sealing on */
};

struct client_endpoints {
  char list[CLIENT_ENDPOINTS_MAX][CLIENT_ENDPOINT_BYTES];
  uint32_t count, current;
  bool from_directory; /* read again when the node stays away */
  bool tcp_usable;     /* keys are at hand */
  char file[LIMIT_PATH_BYTES];
};

struct muster_client {
  struct muster_options options; /* defaults filled in; its texts are not kept */
  char software[CLIENT_SOFTWARE_BYTES + 1];
  struct client_endpoints endpoints;
  struct key_pair own; /* tcp */
  char server_key[KEY_TEXT];

  uv_loop_t loop;
  uv_timer_t timer;    /* the next due moment, see client_flow_wake */
  uv_timer_t deadline; /* of a call that waits */
  struct link *link;
  bool loop_open, inside; /* inside: the loop is running, and callbacks with it */

  /* the session */
  bool connected, welcomed, welcomed_before, told_lost;
  uint32_t refused, broken, broken_quickly; /* handshakes in a row */
  uint64_t broken_since_ms, broken_ms;      /* the first and the last of those */
  uint64_t session_due_ms;                  /* while not welcomed: when to try something else */
  uint64_t heard_ms;                        /* the last message of the node */
  uint8_t node_id[16];
  uint32_t credit, batch_records_max, message_bytes_max, answer_timeout_ms;
  uint32_t told_reason; /* of BUSY, in a notice */
  uint64_t told_ms;
  uint64_t down_ms, down_told_ms; /* BUSY_SHARD_DOWN was told first and last in this outage; 0: none */

  /* the batches */
  struct client_batch *batches; /* window_batches + 1 */
  uint32_t batch_count;
  struct client_batch *filling; /* NULL: none is open */
  uint32_t sent;                /* batches in SENT */
  uint64_t next_id, next_order;
  uint64_t filling_due_ms;
  uint64_t wake_ms;
  size_t expected_bytes; /* how large the last batches became */

  struct muster_counts counts;
  uint64_t given_back; /* records */
  uint32_t submit_timeout_ms;
  unsigned random;
  int final; /* a status after which nothing will work any more, or MUSTER_OK */
  struct failure failure;
};

/* client.c */
int client_fail(struct muster_client *c, int status, const char *format, ...) __attribute__((format(printf, 3, 4))); /* the last failure */
int client_end(struct muster_client *c, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));  /* final */
void client_notice(struct muster_client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint32_t client_jitter(struct muster_client *c, uint32_t range_ms); /* 0 to range_ms */
/* A record of that size is to be submitted: *room for it in the batch being filled, behind its length, or why there is none, as
 * muster_client_submit says. Then the room is filled up to its end, and the record is taken. Nothing may come between the two. */
int client_submit_begin(struct muster_client *c, size_t size, bool wait, uint8_t **room);
void client_submit_end(struct muster_client *c, const uint8_t *end, uint64_t tag);

/* batch.c */
int client_batch_open(struct muster_client *c); /* c->filling; MUSTER_ERR_AGAIN where every place is taken, MUSTER_ERR_MEMORY */
int client_batch_reserve(struct muster_client *c, struct client_batch *b, size_t more_bytes); /* room in a filling one */
int client_batch_seal(struct muster_client *c);                                               /* c->filling becomes READY */
void client_batch_free(struct client_batch *b);                                               /* its place is free again */
/* Only the records whose word is not final stay, in their order, under a new id; giving: nor those that are given back. Those are left of
 * them, more than none. */
int client_batch_keep(struct muster_client *c, struct client_batch *b, const uint8_t *words, uint32_t left, bool giving);
void client_batch_finish(struct client_batch *b);
bool client_word_final(uint64_t word);
bool client_word_down(uint64_t word); /* BUSY_SHARD_DOWN */

/* flow.c */
void client_flow_run(struct muster_client *c);                   /* sends what may be sent */
void client_flow_wake(struct muster_client *c, uint64_t due_ms); /* looks at everything again at the latest then */
void client_flow_wait(struct muster_client *c, struct client_batch *b, uint32_t retry_after_ms);
bool client_flow_gives_back(const struct muster_client *c); /* the outage has been waited for long enough */
void client_flow_welcome(struct muster_client *c);          /* whatever is unanswered becomes ready again */
void client_flow_timer(uv_timer_t *timer);

/* session.c */
int client_session_open(struct muster_client *c); /* connects to the current endpoint */
void client_session_close(struct muster_client *c);
void client_session_look(struct muster_client *c);                         /* session_due_ms has come, or the node is silent */
void client_session_next(struct muster_client *c);                         /* a new connection, to the next endpoint if there is one */
void client_session_take(struct muster_client *c, struct link_message *m); /* what the node says */

/* answer.c */
void client_answer_take(struct muster_client *c, struct link_message *m);
void client_answer_give_back(struct muster_client *c, struct client_batch *b); /* all of it; its place is free again */

/* endpoints.c */
int client_endpoints_init(struct muster_client *c, const struct muster_options *o, struct failure *f);
bool client_endpoints_advance(struct muster_client *c); /* true: the current endpoint is another one than before */
bool client_endpoint_curve(const char *endpoint);

#endif
