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
#define LIMIT_FILES_SPARE 256u         /* what comes in between a look and the next */
#define LIMIT_FILES_OWN 384u           /* 64 hops of five each, logs, libuv, ZeroMQ's own */
#define LIMIT_FILES_BESIDE_PEERS (LIMIT_CONNECTIONS_WAITING + LIMIT_CONNECTIONS_LOCAL + LIMIT_FILES_SPARE + LIMIT_FILES_OWN)

/* The ring. */
#define LIMIT_SHARDS 64u /* a verdict word has room for 4,096 */
#define LIMIT_INGESTS 16u
#define LIMIT_BATCHES_IN_FLIGHT 4096u  /* of one ingest; its table is taken at start */
#define LIMIT_COMMIT_BYTES (32u << 20) /* record bytes gathered into one block; a commit has one block */
#define LIMIT_COMMIT_RECORDS 65536u
#define LIMIT_SUBMITTERS 4096u /* lines of the allow-list, revoked ones included */

#define LIMIT_SUBMITTER_NAME 48u /* characters of a key's name: [a-z0-9._-] */
#define LIMIT_PATH_BYTES 4096u
#define LIMIT_SOCKET_PATH 107u /* sun_path of Linux, less its end */

static_assert(LIMIT_RECORD_BYTES < LIMIT_MESSAGE_BYTES, "a batch must have room for the largest record");
static_assert(LIMIT_MESSAGE_BYTES < LIMIT_WIRE_BYTES, "an over-sized batch must be readable enough to be refused with a reason");
static_assert(LIMIT_MESSAGE_BYTES + LIMIT_BATCH_RECORDS * 16u < LIMIT_COMMIT_BYTES, "one batch must fit one commit");
static_assert(LIMIT_BATCH_RECORDS < LIMIT_COMMIT_RECORDS, "one batch must fit one commit");
static_assert(LIMIT_SHARDS <= 4096u, "the verdict word has 12 bits for the shard");
static_assert(LIMIT_UNKNOWN_BYTES < LIMIT_RECORD_BYTES, "unknown fields are a part of the record");

#endif
