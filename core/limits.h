/*
 * Every bound of Muster, in one place, with the assertions that hold them together. Bounds that a deployment may choose
 * (budget, credit, peers) have their default and their range here and are read through core/config.h; bounds that are part of
 * the protocol or of the store's format are constants, stated in proto/README.md, and never change within a major version.
 */
#ifndef MUSTER_CORE_LIMITS_H
#define MUSTER_CORE_LIMITS_H

#include <assert.h>
#include <stdint.h>

#define LIMIT_KIB UINT64_C(1024)
#define LIMIT_MIB (LIMIT_KIB * 1024)
#define LIMIT_GIB (LIMIT_MIB * 1024)

/* The record. */
#define LIMIT_RECORD_BYTES 16384u /* one Encounter as it travels, without its length prefix */
#define LIMIT_TEXT_BYTES 64u      /* station, device, officer_reference */
#define LIMIT_UNKNOWN_BYTES 4096u /* tags and values of fields this version does not know, in one record */
#define LIMIT_ID_BYTES 16u        /* encounter_id, subject_id, family_unit_id */

/* The batch. */
#define LIMIT_BATCH_RECORDS 10000u     /* records in one SUBMIT */
#define LIMIT_MESSAGE_BYTES (4u << 20) /* second frame of one SUBMIT */
#define LIMIT_WIRE_BYTES (8u << 20)    /* ZMQ_MAXMSGSIZE: larger frames end the connection unread */
#define LIMIT_HEADER_BYTES 512u        /* first frame of any message */

/* Descriptors of an ingest, beside one for each peer. The first two bound what is accepted before the door is shut (ingest/front.c). */
#define LIMIT_CONNECTIONS_WAITING 128u /* connections that have not proved their key yet, and nobody knows which they are */
#define LIMIT_CONNECTIONS_LOCAL 64u    /* kept for ipc where tcp has taken the others */
#define LIMIT_STRANGER_MS 250u         /* a connection that has said nothing yet has at least so long, however short room is */
#define LIMIT_FILES_SPARE 256u         /* what comes in between a look and the next */
#define LIMIT_FILES_OWN 384u           /* 64 hops of five each, logs, libuv, ZeroMQ's own */
#define LIMIT_FILES_BESIDE_PEERS (LIMIT_CONNECTIONS_WAITING + LIMIT_CONNECTIONS_LOCAL + LIMIT_FILES_SPARE + LIMIT_FILES_OWN)

/* The ring. */
#define LIMIT_SHARDS 64u /* a verdict word has room for 4,096 */
#define LIMIT_INGESTS 16u
#define LIMIT_BATCHES_IN_FLIGHT 4096u  /* of one ingest; its table is taken at start */
#define LIMIT_COMMIT_BYTES (32u << 20) /* record bytes gathered into one block; a commit has one block */
#define LIMIT_COMMIT_RECORDS 65536u
#define LIMIT_MAP_PERCENT 95u    /* of a store's map in use; past it the shard says BUSY */
#define LIMIT_INDEX_PERCENT 95u  /* of the records that an index has room for; past it too, and where one more commit would have no room */
#define LIMIT_SUBMITTERS 4096u   /* lines of the allow-list, revoked ones included */
#define LIMIT_SUBMITTER_ROWS 64u /* submitters that an ingest counts one by one; the others are one row together */
#define LIMIT_PEERS 65535u       /* connections that one ingest may remember */
#define LIMIT_CREDIT 1024u       /* batches in flight on one connection */
#define LIMIT_CREDIT_BYTES                                                                                                                 \
  (256 * LIMIT_KIB) /* a batch of the credit; where a connection's are smaller, it has more of them in proportion */
#define LIMIT_UNLOOKED_BYTES                                                                                                               \
  (16u << 10) /* of answers of a connection that may wait in ZeroMQ, charged to nobody; or one answer, where that is more */

/* Shares of what one ingest holds (bytes, batches, connections that hold something). Of what the others leave, a submitter leaves this part
 * alone, and a connection the other part of its submitter's share; and this part of each pool is only for whoever holds nothing of it. */
#define LIMIT_SUBMITTER_LEAVES 4u  /* a quarter */
#define LIMIT_CONNECTION_LEAVES 8u /* an eighth */
#define LIMIT_KEPT_FREE 16u        /* a sixteenth */

/* What those who are to send again are told to wait. */
#define LIMIT_RETRY_MIN_MS 5u
#define LIMIT_RETRY_MAX_MS 5000u
#define LIMIT_RETRY_UNMEASURED_MS 100u /* before the first batch was answered there is no drain rate */
#define LIMIT_RETRY_OUTAGE_MIN_MS 100u /* a worker is started again 20 ms after its death, and needs a moment */
#define LIMIT_RETRY_DISK_MS 500u       /* a worker looks at its disk at least so often */
#define LIMIT_RETRY_DRAINING_MS 1000u  /* this process goes, and no rate tells when its successor comes */

/* Memory of one ingest: twice its budget and this much beside. It ends itself this much below, which is more than comes in before it looks again. */
#define LIMIT_INGEST_BESIDE_BYTES (256 * LIMIT_MIB)
#define LIMIT_INGEST_WATCH_BYTES (64 * LIMIT_MIB)

/* Memory of a worker beside its index: at rest, and for each ingest twice what that may have at the workers, which is a batch more than
 * ingest.dispatch_bytes: once as it came, once as the pages of a commit. */
#define LIMIT_WORKER_BYTES (42 * LIMIT_MIB)
#define LIMIT_WORKER_INGEST_BYTES(dispatch_bytes) (2 * ((dispatch_bytes) + LIMIT_MESSAGE_BYTES))
#define LIMIT_STACKS_BYTES (96 * LIMIT_MIB) /* of a process's threads, which RLIMIT_DATA counts whole */

#define LIMIT_RECORD_REASONS 100u /* Reasons below it are of a record, which is INVALID for them */
#define LIMIT_REASONS 300u        /* all Reasons are below it */

#define LIMIT_MANIFEST_BYTES (64 * LIMIT_MIB) /* of a backup, written as well as read: segments of some 30 TiB */
#define LIMIT_SUBMITTER_NAME 48u              /* characters of a key's name: [a-z0-9._-] */
#define LIMIT_PATH_BYTES 4096u
#define LIMIT_SOCKET_PATH 107u /* sun_path of Linux, less its end */

static_assert(LIMIT_RECORD_BYTES < LIMIT_MESSAGE_BYTES, "a batch must have room for the largest record");
static_assert(LIMIT_MESSAGE_BYTES < LIMIT_WIRE_BYTES, "an over-sized batch must be readable enough to be refused with a reason");
static_assert(LIMIT_MESSAGE_BYTES + LIMIT_BATCH_RECORDS * 16u < LIMIT_COMMIT_BYTES, "one batch must fit one commit");
static_assert(LIMIT_BATCH_RECORDS < LIMIT_COMMIT_RECORDS, "one batch must fit one commit");
static_assert(LIMIT_INGEST_WATCH_BYTES <= LIMIT_INGEST_BESIDE_BYTES / 2, "an ingest at rest is far from its bound");
static_assert(LIMIT_SUBMITTER_LEAVES > 1 && LIMIT_CONNECTION_LEAVES > 1, "a share is less than the whole");
static_assert(LIMIT_BATCHES_IN_FLIGHT / LIMIT_KEPT_FREE >= 64, "batches are kept for submitters that hold nothing");
static_assert(LIMIT_CREDIT <= LIMIT_BATCHES_IN_FLIGHT / LIMIT_SUBMITTER_LEAVES * (LIMIT_SUBMITTER_LEAVES - 1) / LIMIT_CONNECTION_LEAVES *
                                  (LIMIT_CONNECTION_LEAVES - 1),
              "a connection alone may use its credit");
static_assert(LIMIT_RETRY_MIN_MS <= LIMIT_RETRY_UNMEASURED_MS && LIMIT_RETRY_MIN_MS <= LIMIT_RETRY_OUTAGE_MIN_MS &&
                  LIMIT_RETRY_UNMEASURED_MS <= LIMIT_RETRY_MAX_MS && LIMIT_RETRY_OUTAGE_MIN_MS <= LIMIT_RETRY_MAX_MS &&
                  LIMIT_RETRY_DISK_MS <= LIMIT_RETRY_MAX_MS && LIMIT_RETRY_DRAINING_MS <= LIMIT_RETRY_MAX_MS,
              "every wait that is told lies between the least and the most");
static_assert(LIMIT_SHARDS <= 4096u, "the verdict word has 12 bits for the shard");
static_assert(LIMIT_SUBMITTER_ROWS < LIMIT_SUBMITTERS, "the row of the others has a use");
static_assert(LIMIT_UNKNOWN_BYTES < LIMIT_RECORD_BYTES, "unknown fields are a part of the record");

#endif
