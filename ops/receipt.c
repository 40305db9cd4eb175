#include "ops/receipt.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto/json.h"
#include "proto/scan.h"
#include "proto/text.h"

struct key_list *ops_receipt_names(const struct datadir *d)
{
  char path[LIMIT_PATH_BYTES];
  struct key_list *list = NULL;
  struct failure ignored = FAILURE_NONE;
  datadir_path(d, path, "keys/allow");
  return key_list_open(&list, path, &ignored) == MUSTER_OK ? list : NULL;
}

const char *ops_receipt_submitter(const struct key_list *names, uint32_t number, char out[RECEIPT_NAME])
{
  const struct key_entry *entry = names && number != SUBMITTER_LOCAL ? key_list_by_number(names, number) : NULL;
  if (number == SUBMITTER_LOCAL)
    snprintf(out, RECEIPT_NAME, "local");
  else if (entry)
    snprintf(out, RECEIPT_NAME, "%s", entry->name);
  else
    snprintf(out, RECEIPT_NAME, "#%u", number);
  return out;
}

const char *ops_receipt_time(int64_t time_us, char out[RECEIPT_NAME])
{
  if (!text_time(out, time_us))
    snprintf(out, RECEIPT_NAME, "%" PRId64 " us", time_us);
  return out;
}

json_t *ops_receipt_json(const struct store_record *record, const struct key_list *names, struct failure *failure)
{
  struct encounter_view view;
  struct scan_fault fault;
  char address[TEXT_ADDRESS], received[RECEIPT_NAME], submitter[RECEIPT_NAME], digest[TEXT_HEX128];
  text_address(address, record->shard, record->sequence);
  if (!scan_encounter(&view, record->bytes, record->size, &fault)) {
    failure_set(failure, MUSTER_ERR_CORRUPT, "the stored bytes of %s are no record; nothing was changed; `muster verify' tells more",
                address);
    return NULL;
  }
  text_hex128(digest, record->digest);
  json_t *encounter = json_from_encounter(&view);
  json_t *whole =
      encounter ? json_pack("{s:o, s:{s:s, s:s, s:{s:i, s:s}, s:s}}", "encounter", encounter, "receipt", "address", address, "received",
                            ops_receipt_time(record->received_us, received), "submitter", "number", (int)record->submitter, "name",
                            ops_receipt_submitter(names, record->submitter, submitter), "digest", digest)
                : NULL;
  if (!whole)
    failure_set(failure, MUSTER_ERR_MEMORY, "not enough memory to show %s", address);
  return whole;
}
