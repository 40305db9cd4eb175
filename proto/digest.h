/*
 * What makes two records the same: the content digest is XXH3-128 (seed 0, canonical big-endian form of the hash) of the
 * canonical encoding: fields ascending by number, each known field once, shortest varints; unknown fields behind them
 * keep the bytes of their values (a varint's too), with shortest tags and lengths, sorted by number, equal numbers in
 * their order. Also here: the hashes of an id, so that every process routes and indexes alike. Pure functions; scratch
 * is the caller's. Workers, verify, commands; ingest for digest_shard only.
 */
#ifndef MUSTER_PROTO_DIGEST_H
#define MUSTER_PROTO_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "proto/scan.h"

/* Writes the canonical encoding of a scanned record; out has view->record_size bytes (it is never longer). Returns its size. */
size_t digest_canonical(const struct encounter_view *view, uint8_t *out);
/* XXH3-128 in its canonical (big-endian) form, which is how every checksum and digest of 16 bytes is stored. */
void digest_bytes(uint8_t digest[16], const void *bytes, size_t size);
/* The same of bytes that come piece by piece: create on the heap (NULL: no memory), add, then end, which may be asked at any time. */
struct digest_stream;
struct digest_stream *digest_stream_create(void);
void digest_stream_add(struct digest_stream *s, const void *bytes, size_t size);
void digest_stream_end(const struct digest_stream *s, uint8_t digest[16]);
void digest_stream_destroy(struct digest_stream *s);
/* A canonical record hashes as it stands, another one is re-encoded on the stack first (at most LIMIT_RECORD_BYTES). */
void digest_content(uint8_t digest[16], const struct encounter_view *view);

/* Which shard owns an id: the same in every process and for the life of the store. XXH3-64 of the id, multiplied down to the range. */
uint32_t digest_shard(const uint8_t id[16], uint32_t shards);
/* Where a record without a usable id goes. */
uint32_t digest_shard_of_bytes(const uint8_t *record, size_t size, uint32_t shards);
/* The index fingerprint: XXH3-64 with the store's secret seed, so that nobody outside can make ids collide. */
uint64_t digest_fingerprint(const uint8_t id[16], uint64_t seed);

#endif
