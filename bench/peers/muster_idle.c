/*
 * The ack of single records on an idle node, over ipc, as the client library gives it: one record a batch, the next one sent when
 * the one before has its verdict. The counterpart of `postgresql STREAM CONNINFO N`.
 *
 * `muster_idle STREAM DATA_DIRECTORY N [FIRST]`: N records from number FIRST of the stream, so that each run brings new ones.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <sysexits.h>

#include "bench/peers/peer.h"
#include "muster/client.h"

static const struct peer_facts facts = {
    .name = "muster", .ack = "after fdatasync", .dedup = "for ever", .verdict = "new, known, conflict, invalid", .durable = true};

int main(int argc, char **argv)
{
  struct peer_stream stream;
  struct muster_client *client;
  struct muster_options options = MUSTER_OPTIONS_INIT;
  struct muster_counts counts;
  char error[MUSTER_ERROR_BYTES];
  if (argc < 4 || argc > 5)
    peer_fail(&facts, EX_USAGE, "usage: muster_idle STREAM DATA_DIRECTORY N [FIRST]");
  peer_open_or_fail(&facts, &stream, argv[1]);
  uint64_t count = strtoull(argv[3], NULL, 10), first = argc == 5 ? strtoull(argv[4], NULL, 10) : 0;
  if (count < 1 || count > stream.count || first > stream.count - count)
    peer_fail(&facts, EX_USAGE, "the stream has fewer records than that");
  options.data_directory = argv[2];
  options.batch_records = 1;
  options.window_batches = 1;
  if (muster_client_create(&client, &options, error) != MUSTER_OK)
    peer_fail(&facts, EX_UNAVAILABLE, "%s", error);
  double *took = calloc(count, sizeof *took);
  if (!took || muster_client_submit(client, stream.records[first].bytes, stream.records[first].size, 0) != MUSTER_OK ||
      muster_client_flush(client, 30000) != MUSTER_OK) /* the first brings the connection with it, and is not counted */
    peer_fail(&facts, EX_UNAVAILABLE, "%s", muster_client_error(client));
  for (uint64_t i = 0; i < count; i++) {
    const struct peer_record *r = &stream.records[first + i];
    double start = peer_now_s();
    if (muster_client_submit(client, r->bytes, r->size, i) != MUSTER_OK || muster_client_flush(client, 30000) != MUSTER_OK)
      peer_fail(&facts, EX_UNAVAILABLE, "%s", muster_client_error(client));
    took[i] = peer_now_s() - start;
  }
  muster_client_counts(client, &counts);
  if (counts.accepted + counts.duplicate != count + 1)
    peer_fail(&facts, EX_DATAERR, "%" PRIu64 " of %" PRIu64 " have no good verdict", count + 1 - counts.accepted - counts.duplicate,
              count + 1);
  muster_client_destroy(client);
  peer_report_idle(&facts, took, (uint32_t)count);
  free(took);
  peer_stream_close(&stream);
  return 0;
}
