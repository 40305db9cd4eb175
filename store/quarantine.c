#include "store/quarantine.h"

#include <string.h>
#include <xxhash.h>

#include "proto/digest.h"
#include "proto/varint.h"
#include "proto/wire.pb-c.h"

void store_quarantine_key(uint8_t key[STORE_REFUSED_KEY_BYTES], uint32_t submitter, const uint8_t *bytes, size_t size)
{
  store_u32(key, __builtin_bswap32(submitter));
  digest_bytes(key + 4, bytes, size);
}

static uint64_t refused_checksum(struct store_refused_header header, uint32_t submitter, const uint8_t *bytes, size_t size)
{
  header.checksum = 0;
  return XXH3_64bits_withSeed(&header, sizeof header, XXH3_64bits_withSeed(bytes, size, submitter));
}

/* Puts the checksum into the header, and both parts into the room that LMDB gave. */
static void refused_write(uint8_t *out, struct store_refused_header *header, const struct store_refused *entry)
{
  header->checksum = refused_checksum(*header, entry->submitter, entry->bytes, entry->size);
  memcpy(out, header, sizeof *header);
  if (entry->size)
    memcpy(out + sizeof *header, entry->bytes, entry->size);
}

/* Counts the same bytes once more, in place. A damaged entry is not counted on: a new checksum would hide the damage. */
static int refused_again(const struct store_env *e, MDB_txn *txn, MDB_val *key, const MDB_val *found, const struct store_refused *entry)
{
  struct store_refused_header header;
  if (found->mv_size != sizeof header + entry->size || !store_quarantine_intact(key, found)) /* the key is of the same bytes */
    return MDB_CORRUPTED;
  memcpy(&header, found->mv_data, sizeof header);
  header.times++;
  header.last_us = entry->last_us;
  header.reason = entry->reason;
  header.field = entry->field;
  /* The old value may be on a page that the put replaces: the bytes are taken from the caller, who has the same. */
  MDB_val value = {.mv_size = sizeof header + entry->size};
  int code = store_env_put(txn, e->quarantine, key, &value, MDB_RESERVE);
  if (code)
    return code;
  refused_write(value.mv_data, &header, entry);
  return 0;
}

static int quota_load(const struct store_env *e, MDB_txn *txn, uint32_t submitter, struct store_quota *quota)
{
  uint32_t number = __builtin_bswap32(submitter);
  MDB_val key = {.mv_size = sizeof number, .mv_data = &number}, value;
  *quota = (struct store_quota){0};
  int code = store_env_get(txn, e->quota, &key, &value);
  if (code)
    return code == MDB_NOTFOUND ? 0 : code;
  if (value.mv_size != sizeof *quota)
    return MDB_CORRUPTED;
  memcpy(quota, value.mv_data, sizeof *quota);
  return 0;
}

/* A submitter without entries has no quota. */
static int quota_save(const struct store_env *e, MDB_txn *txn, uint32_t submitter, struct store_quota *quota)
{
  uint32_t number = __builtin_bswap32(submitter);
  MDB_val key = {.mv_size = sizeof number, .mv_data = &number}, value = {.mv_size = sizeof *quota, .mv_data = quota};
  return quota->records ? store_env_put(txn, e->quota, &key, &value, 0) : store_env_del(txn, e->quota, &key);
}

/* Adds an entry under its key, as its header says; the submitter's quota and meta's numbers follow. */
static int refused_add(const struct store_env *e, MDB_txn *txn, struct store_meta *meta, MDB_val *key, struct store_refused_header header,
                       const struct store_refused *entry, struct store_quota *quota)
{
  MDB_val value = {.mv_size = sizeof header + entry->size};
  int code = store_env_put(txn, e->quarantine, key, &value, MDB_RESERVE | MDB_NOOVERWRITE);
  if (code)
    return code;
  refused_write(value.mv_data, &header, entry);
  meta->quarantined++;
  if (meta->quarantine_next <= header.number)
    meta->quarantine_next = header.number + 1;
  quota->records++;
  quota->bytes += entry->size;
  return quota_save(e, txn, entry->submitter, quota);
}

int store_quarantine_put(const struct store_env *e, MDB_txn *txn, struct store_meta *meta, const struct store_quarantine_limits *limits,
                         const struct store_refused *entry, bool *kept)
{
  uint8_t name[STORE_REFUSED_KEY_BYTES];
  store_quarantine_key(name, entry->submitter, entry->bytes, entry->size);
  MDB_val key = {.mv_size = sizeof name, .mv_data = name}, found;
  *kept = true;
  int code = store_env_get(txn, e->quarantine, &key, &found);
  if (code != MDB_NOTFOUND)
    return code ? code : refused_again(e, txn, &key, &found, entry);
  struct store_quota quota;
  code = quota_load(e, txn, entry->submitter, &quota);
  if (code)
    return code;
  uint32_t more = entry->reason == MUSTER__V1__REASON__REASON_KILLED_WORKER ? STORE_QUOTA_DEADLY : 0;
  if (quota.records >= limits->records + more || quota.bytes + entry->size > limits->bytes + (uint64_t)more * LIMIT_RECORD_BYTES) {
    *kept = false;
    return 0;
  }
  const struct store_refused_header header = {.number = meta->quarantine_next,
                                              .first_us = entry->first_us,
                                              .last_us = entry->last_us,
                                              .times = 1,
                                              .reason = entry->reason,
                                              .field = entry->field};
  return refused_add(e, txn, meta, &key, header, entry, &quota);
}

int store_quarantine_restore(const struct store_env *e, MDB_txn *txn, struct store_meta *meta, const struct store_refused *entry)
{
  uint8_t name[STORE_REFUSED_KEY_BYTES];
  struct store_quota quota;
  store_quarantine_key(name, entry->submitter, entry->bytes, entry->size);
  MDB_val key = {.mv_size = sizeof name, .mv_data = name};
  const struct store_refused_header header = {.number = entry->number,
                                              .first_us = entry->first_us,
                                              .last_us = entry->last_us,
                                              .times = entry->times,
                                              .reason = entry->reason,
                                              .field = entry->field};
  const int code = quota_load(e, txn, entry->submitter, &quota);
  return code ? code : refused_add(e, txn, meta, &key, header, entry, &quota);
}

int store_quarantine_get(const struct store_env *e, MDB_txn *txn, const struct store_refused_name *name, struct store_refused *entry)
{
  MDB_val key = {.mv_size = STORE_REFUSED_KEY_BYTES, .mv_data = (void *)(uintptr_t)name->key}, value;
  int code = store_env_get(txn, e->quarantine, &key, &value);
  if (code)
    return code;
  const bool found = store_quarantine_parse(entry, &key, &value) && store_quarantine_intact(&key, &value) && entry->number == name->number;
  return found ? 0 : MDB_NOTFOUND;
}

int store_quarantine_delete(const struct store_env *e, MDB_txn *txn, struct store_meta *meta, const struct store_refused *entry)
{
  struct store_quota quota;
  struct store_refused_name name = entry->name;
  MDB_val key = {.mv_size = STORE_REFUSED_KEY_BYTES, .mv_data = name.key};
  int code = quota_load(e, txn, entry->submitter, &quota);
  if (code)
    return code;
  if (quota.records == 0 || quota.bytes < entry->size || meta->quarantined == 0)
    return MDB_CORRUPTED;
  quota.records--;
  quota.bytes -= entry->size;
  code = store_env_del(txn, e->quarantine, &key);
  if (!code)
    code = quota_save(e, txn, entry->submitter, &quota);
  if (!code)
    meta->quarantined--;
  return code;
}

bool store_quarantine_parse(struct store_refused *entry, const MDB_val *key, const MDB_val *value)
{
  struct store_refused_header header;
  if (key->mv_size != STORE_REFUSED_KEY_BYTES || value->mv_size < sizeof header)
    return false;
  memcpy(&header, value->mv_data, sizeof header);
  *entry = (struct store_refused){.number = header.number,
                                  .reason = header.reason,
                                  .field = header.field,
                                  .submitter = __builtin_bswap32(load_u32(key->mv_data)),
                                  .first_us = header.first_us,
                                  .last_us = header.last_us,
                                  .times = header.times,
                                  .bytes = (const uint8_t *)value->mv_data + sizeof header,
                                  .size = (uint32_t)(value->mv_size - sizeof header)};
  memcpy(entry->name.key, key->mv_data, sizeof entry->name.key);
  entry->name.number = entry->number;
  return true;
}

bool store_quarantine_intact(const MDB_val *key, const MDB_val *value)
{
  uint8_t name[STORE_REFUSED_KEY_BYTES];
  struct store_refused_header header;
  const uint32_t submitter = __builtin_bswap32(load_u32(key->mv_data));
  const uint8_t *bytes = (const uint8_t *)value->mv_data + sizeof header;
  const size_t size = value->mv_size - sizeof header;
  memcpy(&header, value->mv_data, sizeof header);
  store_quarantine_key(name, submitter, bytes, size);
  return memcmp(name, key->mv_data, sizeof name) == 0 && refused_checksum(header, submitter, bytes, size) == header.checksum;
}
