/*
 * The quarantine: refused records, kept for people to look at, within a quota per submitter. Key = submitter
 * (big-endian) and XXH3-128 of the bytes, so the same bytes of the same submitter are one entry with a count, however
 * often they come. Entries go into the transaction in hand as they come: what a commit may hold bounds them. A record
 * that killed a worker is kept past a full quota, up to a bound of its own: unknown, it would kill again at each resend.
 * Inside store/ only; the writer owns the struct.
 */
#ifndef MUSTER_STORE_QUARANTINE_H
#define MUSTER_STORE_QUARANTINE_H

#include <lmdb.h>
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/env_call.h"
#include "store/meta.h"
#include "store/store.h"

#define STORE_REFUSED_KEY_BYTES 20u
static_assert(sizeof(((struct store_refused_name *)0)->key) == STORE_REFUSED_KEY_BYTES, "a name holds a key");
#define STORE_QUOTA_DEADLY 64u /* more entries of a submitter, of records that killed a worker */

/* As stored, little-endian; the record's bytes follow. */
struct store_refused_header {
  uint64_t checksum; /* XXH3-64 of this header with 0 here; its seed is the XXH3-64 of the bytes, whose seed is the submitter */
  uint64_t number;
  int64_t first_us, last_us;
  uint64_t times;
  uint32_t reason, field; /* of the last time */
};
static_assert(sizeof(struct store_refused_header) == 48, "the quarantine entry is a format");

/* Of one submitter, as stored in quarantine_meta under its number (big-endian). */
struct store_quota {
  uint64_t records, bytes;
};
static_assert(sizeof(struct store_quota) == 16, "the quota is a format");

struct store_quarantine_limits {
  uint64_t records, bytes; /* per submitter */
};

/* The key of an entry. */
void store_quarantine_key(uint8_t key[STORE_REFUSED_KEY_BYTES], uint32_t submitter, const uint8_t *bytes, size_t size);

/* Keeps or counts one; meta's numbers follow. *kept tells whether anything was written (false: past the quota). An LMDB code. */
int store_quarantine_put(const struct store_env *e, MDB_txn *txn, struct store_meta *meta, const struct store_quarantine_limits *limits,
                         const struct store_refused *entry, bool *kept);

/* Puts an entry where it was, number, times and all; meta's numbers follow. An LMDB code. */
int store_quarantine_restore(const struct store_env *e, MDB_txn *txn, struct store_meta *meta, const struct store_refused *entry);

/* The entry of that key and number, intact; MDB_NOTFOUND where there is none. An LMDB code. */
int store_quarantine_get(const struct store_env *e, MDB_txn *txn, const struct store_refused_name *name, struct store_refused *entry);
/* Removes an entry that get has found, and gives its quota back; meta's numbers follow. An LMDB code. */
int store_quarantine_delete(const struct store_env *e, MDB_txn *txn, struct store_meta *meta, const struct store_refused *entry);

/* Reads an entry; what points into it is valid as long as the value. false: the layout is wrong. */
bool store_quarantine_parse(struct store_refused *entry, const MDB_val *key, const MDB_val *value);
/* Of a parsed entry: whether the key is the one of its bytes and the checksum is right. */
bool store_quarantine_intact(const MDB_val *key, const MDB_val *value);

#endif
