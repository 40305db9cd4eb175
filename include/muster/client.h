/*
 * The client library of Muster: submits encounter records to a node and tells the verdict on each. A whole program, which
 * submits the one encoded Encounter on its standard input to the endpoint of its first argument (a test compiles and runs it):
 *
 *     #include <stdio.h>
 *     #include <muster/client.h>
 *     static void notice(void *context, const char *sentence) { (void)context; fprintf(stderr, "%s\n", sentence); }
 *     static void verdict(void *context, const struct muster_verdict *v) { (void)context; printf("%s", muster_verdict_name(v->verdict));
 *       if (v->verdict == MUSTER_INVALID) printf(": %s, field %u: %s", muster_reason_name(v->reason), v->field, muster_reason_sentence(v->reason));
 *       puts(""); }
 *     int main(int argc, char **argv) {
 *       unsigned char record[16384]; size_t size = fread(record, 1, sizeof record, stdin); char error[MUSTER_ERROR_BYTES];
 *       struct muster_options options = MUSTER_OPTIONS_INIT; struct muster_client *client; struct muster_counts n;
 *       options.endpoint = argc > 1 ? argv[1] : NULL; options.on_verdict = verdict; options.on_notice = notice;
 *       if (muster_client_create(&client, &options, error) != MUSTER_OK) return fprintf(stderr, "%s\n", error), 1;
 *       int status = muster_client_submit(client, record, size, 1); if (status == MUSTER_OK) status = muster_client_flush(client, 10000);
 *       if (status != MUSTER_OK) fprintf(stderr, "%s: %s\n", muster_status_name(status), muster_client_error(client));
 *       muster_client_counts(client, &n); muster_client_destroy(client); return n.accepted + n.duplicate == 1 ? 0 : 1; }
 *
 * A program that makes its records itself needs no encoder: <muster/encounter.h> has the record as a struct, and a whole program too.
 *
 * What it does for its caller: gathers records into batches, keeps as many in flight as the node gives credit for, waits
 * when told BUSY, reconnects with back-off and jitter, moves on to the next endpoint when one stays silent, and resends
 * whatever is unanswered, which is always right. A record's bytes are copied at submit and kept until its final verdict.
 * A shard of the node may be down until somebody mends it. Its records wait and the window fills with them, so in the end nothing is
 * read for the other shards either. With on_given_back they are waited for so long as shard_patience_ms says; then those that the node
 * answers BUSY_SHARD_DOWN are given back without a verdict, and the records of the other shards go on, however many there are.
 *
 * Threads: a client belongs to one thread at a time; it starts none of its own but the two that ZeroMQ has in a
 * process. Callbacks run inside the caller's calls of the submitting functions, _process and _flush, and must not call the
 * same client. Several clients may live in one process, each on a thread of its own.
 */
#ifndef MUSTER_CLIENT_H
#define MUSTER_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include <muster/encounter.h>
#include <muster/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MUSTER_ERROR_BYTES 512

enum muster_verdict_kind {
  MUSTER_ACCEPTED = 1,  /* durable now, first copy */
  MUSTER_DUPLICATE = 2, /* durable before, same id and content */
  MUSTER_CONFLICT = 3,  /* same id, other content is durable */
  MUSTER_INVALID = 4    /* refused; reason and field say why; the node keeps it in quarantine, within a quota */
};

/* The final verdict on one record. BUSY and RETRY never come here: the library sends again. Valid during the callback. */
struct muster_verdict {
  uint64_t tag;     /* as given to muster_client_submit */
  uint32_t verdict; /* enum muster_verdict_kind */
  uint32_t shard;
  uint64_t sequence; /* of the durable record in its shard, from 1; 0 for INVALID */
  uint32_t reason;   /* INVALID: number of wire.proto's Reason; else 0 */
  uint32_t field;    /* INVALID: number of the Encounter field, 0 for the record as a whole */
};

struct muster_options {
  size_t size;                /* sizeof(struct muster_options), set by MUSTER_OPTIONS_INIT; lets the library grow */
  const char *endpoint;       /* one or several, separated by spaces: "ipc:///var/lib/muster/run/submit.sock tcp://10.0.0.5:7411" */
  const char *data_directory; /* instead of endpoint: the node's data directory on this machine; both NULL: MUSTER_DATA */
  const char *server_key;     /* tcp: the node's public key, 40 characters of Z85; NULL with a data directory: read from there */
  const char *key_file;       /* tcp: this submitter's key pair, as `muster key new` writes it */
  const char *software;       /* "name version" for the node's log, at most 64 bytes (proto/README.md); NULL: "libmuster" and its version */
  uint32_t batch_records;     /* records a batch, 1 to 10,000; 0: 1,000 */
  uint32_t window_batches;    /* batches in flight, 1 to 4,096, bounded by the node's credit; 0: 16 */
  uint32_t linger_ms;         /* an unfinished batch is sent after so long in muster_client_process; 0: 20 */
  uint32_t answer_timeout_ms; /* resend after; 0: what the node says */
  void (*on_verdict)(void *context, const struct muster_verdict *verdict); /* may be NULL */
  void (*on_notice)(void *context,
                    const char *sentence); /* "waiting: node is draining", "connected again"; may be NULL; no personal data */
  void *context;
  /* This record's shard stays down: it has no verdict and gets none, may be stored, and may be submitted again. Each record has either
   * one verdict or is given back once. reason: BUSY_SHARD_DOWN. NULL: such records wait like any other that is told BUSY. */
  void (*on_given_back)(void *context, uint64_t tag, uint32_t reason);
  uint32_t shard_patience_ms; /* so long an outage is waited for before anything is given back; 0: 30,000 */
};
#ifdef __cplusplus
#define MUSTER_OPTIONS_INIT                                                                                                                \
  []() -> muster_options {                                                                                                                 \
    muster_options init = {};                                                                                                              \
    init.size = sizeof init;                                                                                                               \
    return init;                                                                                                                           \
  }()
#else
#define MUSTER_OPTIONS_INIT                                                                                                                \
  {                                                                                                                                        \
    .size = sizeof(struct muster_options)                                                                                                  \
  }
#endif

struct muster_counts {
  uint64_t submitted, accepted, duplicate, conflict, invalid; /* records */
  uint64_t in_flight;                                         /* records taken, not finally answered and not given back */
  uint64_t sent_again;                                        /* records sent more than once, for whatever cause */
  uint64_t busy_answers;                                      /* whole batches and records told BUSY */
  uint64_t reconnects;
  uint32_t credit;    /* batches, as last told */
  uint32_t connected; /* 1 while a node's welcome holds; 0 again when its connection is lost */
  uint32_t welcomed;  /* 1 from the first welcome on, whatever came later; while 0, nothing was sent, and so nothing is stored */
};

struct muster_client;

/* Connects in the background; a node that is not there yet is waited for. error (may be NULL) has MUSTER_ERROR_BYTES and
 * receives one sentence. MUSTER_ERR_USAGE, _MEMORY, _IO (no descriptors, a file that cannot be read), _LIMIT (a path too long),
 * _NOT_FOUND (no node in the data directory, no key file), _DENIED (owner or mode of either), _FORMAT (keys). *out is NULL on
 * failure. */
int muster_client_create(struct muster_client **out, const struct muster_options *options, char *error);
/* Gives everything back; unanswered records are forgotten (their outcome is unknown). NULL is fine. */
void muster_client_destroy(struct muster_client *client);

/* Takes one encoded Encounter (1 to 16,384 bytes, copied). Blocks while the window is full, serving the connection meanwhile.
 * MUSTER_ERR_LIMIT (too large), _USAGE (empty), _MEMORY, _TIMEOUT (the window stayed full for the time of
 * muster_client_set_timeout): the record was not taken. A final error ends the client, and every later call answers it:
 * MUSTER_ERR_VERSION or _DENIED (the node will not talk to it), _PROTOCOL, _LIMIT (the node refused a batch as a whole), _MEMORY
 * (a batch could not be sent). What has no verdict then is in an unknown state: submit it again with another client. */
int muster_client_submit(struct muster_client *client, const void *record, size_t size, uint64_t tag);
/* As submit, of an encounter that is encoded on its way into the batch; its texts are not needed behind the call. MUSTER_ERR_LIMIT: a
 * text is too long, muster_client_error names it; _USAGE: the struct is not set up with MUSTER_ENCOUNTER_INIT, or nothing in it is set. */
int muster_client_submit_encounter(struct muster_client *client, const struct muster_encounter *encounter, uint64_t tag);
/* As submit, never blocks: MUSTER_ERR_AGAIN where the window is full. */
int muster_client_try_submit(struct muster_client *client, const void *record, size_t size, uint64_t tag);
/* Takes a whole delimited stream of records, tags counting up from first_tag; taken (may be NULL) receives how many. Blocks
 * as submit does. MUSTER_ERR_FORMAT where the stream breaks, MUSTER_ERR_LIMIT at a record that is too large; what came before
 * it is taken. */
int muster_client_submit_stream(struct muster_client *client, const void *stream, size_t size, uint64_t first_tag, uint64_t *taken);
/* Sends the unfinished batch and serves the connection until every record has its verdict or was given back: MUSTER_OK; or MUSTER_ERR_TIMEOUT after timeout_ms (0: for ever), or a final error as above. May be called again. */
int muster_client_flush(struct muster_client *client, uint32_t timeout_ms);

/* For the caller's own loop: poll fd for reading, and call process when it is readable and at the latest after the milliseconds that process answers (never more than 1,000). Negative: a final error. */
int muster_client_fd(const struct muster_client *client);
int muster_client_process(struct muster_client *client);

void muster_client_set_timeout(struct muster_client *client, uint32_t timeout_ms); /* of submit; 0: for ever (the default) */
void muster_client_counts(const struct muster_client *client, struct muster_counts *out);
const char *muster_client_error(const struct muster_client *client);    /* the last failure's sentence, valid until the next call */
const char *muster_client_endpoint(const struct muster_client *client); /* in use now; valid until the next call */

const char *muster_verdict_name(uint32_t verdict);   /* "ACCEPTED"; static */
const char *muster_reason_name(uint32_t reason);     /* "TIME_IN_FUTURE"; static */
const char *muster_reason_sentence(uint32_t reason); /* one sentence for people; static */
const char *muster_version(void);                    /* "0.1.0" */

#ifdef __cplusplus
}
#endif
#endif
