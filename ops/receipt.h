/*
 * What the store knows beside a record's own bytes, as people read it: who submitted it, when, and the record itself in
 * the JSON form. The names come from the allow-list, where revoked keys stay listed. For the commands that show single
 * records.
 */
#ifndef MUSTER_OPS_RECEIPT_H
#define MUSTER_OPS_RECEIPT_H

#include <jansson.h>
#include <stdint.h>

#include "core/datadir.h"
#include "core/key_list.h"
#include "store/read.h"

#define RECEIPT_NAME 64

/* The allow-list of a data directory for names alone; NULL where it cannot be read, which receipt_submitter bears. Closed by key_list_close. */
struct key_list *ops_receipt_names(const struct datadir *d);
/* "local", the key's name, or "#12" where the list does not tell. Returns out. */
const char *ops_receipt_submitter(const struct key_list *names, uint32_t number, char out[RECEIPT_NAME]);
/* RFC 3339, or the bare number outside the years that it can say. Returns out. */
const char *ops_receipt_time(int64_t time_us, char out[RECEIPT_NAME]);

/* {"encounter": ..., "receipt": ...}: a new reference, or NULL without memory; MUSTER_ERR_CORRUPT in *failure where the stored bytes are no record. */
json_t *ops_receipt_json(const struct store_record *record, const struct key_list *names, struct failure *failure);

#endif
