#include "store/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/durable.h"
#include "core/file.h"
#include "proto/digest.h"
#include "proto/text.h"

#define MANIFEST_END_BYTES (4u + 32u + 1u) /* "end ", the checksum, the end of the line */

static void manifest_path(char *out, const struct store_backup *b, const char *name)
{
  snprintf(out, LIMIT_PATH_BYTES, "%.4000s/%s", b->path, name);
}

static void text_checksum(char out[TEXT_HEX128], const char *text, size_t size)
{
  uint8_t digest[16];
  digest_bytes(digest, text, size);
  text_hex128(out, digest);
}

int store_manifest_add(struct store_backup_shard *s, const struct store_backup_segment *segment)
{
  if (s->segments == s->room) {
    const uint32_t room = s->room ? s->room * 2 : 16;
    struct store_backup_segment *larger = realloc(s->segment, room * sizeof *larger);
    if (!larger)
      return MUSTER_ERR_MEMORY;
    s->segment = larger;
    s->room = room;
  }
  s->segment[s->segments++] = *segment;
  return MUSTER_OK;
}

/* ---- writing ---- */

static void print_shard(FILE *out, uint32_t number, const struct store_backup_shard *s)
{
  char head[TEXT_HEX128], checksum[TEXT_HEX128];
  text_hex128(head, s->head);
  text_hex128(checksum, s->refused_checksum);
  fprintf(out, "shard %" PRIu32 " records %" PRIu64 " head %s refused %" PRIu64 " left %" PRIu64 " bytes %" PRIu64 " checksum %s\n", number,
          s->records, head, s->refused, s->refused_left, s->refused_bytes, checksum);
  for (uint32_t i = 0; i < s->segments; i++) {
    const struct store_backup_segment *g = &s->segment[i];
    text_hex128(head, g->head);
    fprintf(out, "segment %" PRIu32 " run %" PRIu64 " first %" PRIu64 " last %" PRIu64 " bytes %" PRIu64 " head %s\n", number, g->run,
            g->first, g->last, g->bytes, head);
  }
}

/* All lines but the last one, as text of *size bytes, which the caller frees; NULL: no memory. */
static char *print_lines(const struct store_backup *b, size_t *size)
{
  char *text = NULL, node[TEXT_UUID], cut[TEXT_TIME];
  FILE *out = open_memstream(&text, size);
  if (!out)
    return NULL;
  text_uuid(node, b->node_id);
  text_time(cut, b->cut_us);
  fprintf(out, "muster-backup %u\nnode %s\nshards %" PRIu32 "\nrun %" PRIu64 "\ncut %s\n", STORE_BACKUP_FORMAT, node, b->shards, b->run,
          cut);
  for (uint32_t i = 0; i < b->shards; i++)
    print_shard(out, i, &b->shard[i]);
  const bool whole = fflush(out) == 0 && !ferror(out);
  if (fclose(out) == 0 && whole)
    return text;
  free(text);
  return NULL;
}

int store_manifest_write(const struct store_backup *b, struct failure *copy, struct failure *failure)
{
  char end[TEXT_HEX128], path[LIMIT_PATH_BYTES];
  size_t size = 0;
  char *lines = print_lines(b, &size), *text = lines ? realloc(lines, size + MANIFEST_END_BYTES + 1) : NULL;
  if (!text) {
    free(lines);
    return failure_set(failure, MUSTER_ERR_MEMORY, "there is no memory for the manifest");
  }
  text_checksum(end, text, size);
  size += (size_t)sprintf(text + size, "end %s\n", end);
  if (size > LIMIT_MANIFEST_BYTES) {
    free(text);
    return failure_set(failure, MUSTER_ERR_LIMIT,
                       "%s: its manifest would have %zu bytes, and at most %" PRIu64
                       " are ever read; what was sealed before stays as it was; back up into a new directory",
                       b->path, size, LIMIT_MANIFEST_BYTES);
  }
  manifest_path(path, b, STORE_BACKUP_MANIFEST);
  const int status = durable_replace_file(path, text, size, 0600, failure);
  manifest_path(path, b, STORE_BACKUP_MANIFEST ".copy");
  if (status == MUSTER_OK)
    (void)durable_replace_file(path, text, size, 0600, copy);
  free(text);
  return status;
}

/* ---- reading ---- */

static bool parse_hex(uint8_t out[16], const char *text)
{
  for (unsigned i = 0; i < 16; i++) {
    unsigned byte;
    if (sscanf(text + (size_t)i * 2, "%2x", &byte) != 1)
      return false;
    out[i] = (uint8_t)byte;
  }
  return true;
}

static bool parse_shard(struct store_backup *b, const char *line, uint32_t *shard)
{
  char head[TEXT_HEX128], checksum[TEXT_HEX128];
  struct store_backup_shard s = {0};
  uint32_t number;
  if (sscanf(line, "shard %" SCNu32 " records %" SCNu64 " head %32s refused %" SCNu64 " left %" SCNu64 " bytes %" SCNu64 " checksum %32s",
             &number, &s.records, head, &s.refused, &s.refused_left, &s.refused_bytes, checksum) != 7 ||
      number != *shard || number >= b->shards || !parse_hex(s.head, head) || !parse_hex(s.refused_checksum, checksum))
    return false;
  b->shard[number] = s;
  ++*shard;
  return true;
}

/* false: it is none. *status: whether there was memory for it. */
static bool parse_segment(struct store_backup *b, const char *line, uint32_t shards, int *status)
{
  char head[TEXT_HEX128];
  struct store_backup_segment g;
  uint32_t number;
  if (sscanf(line, "segment %" SCNu32 " run %" SCNu64 " first %" SCNu64 " last %" SCNu64 " bytes %" SCNu64 " head %32s", &number, &g.run,
             &g.first, &g.last, &g.bytes, head) != 6 ||
      shards == 0 || number != shards - 1 || g.run > b->run || !parse_hex(g.head, head))
    return false;
  struct store_backup_shard *s = &b->shard[number];
  const uint64_t due = s->segments ? s->segment[s->segments - 1].last + 1 : 1;
  if (due == 0 || g.first != due || g.last < g.first || g.last > s->records || g.run == 0 || g.bytes == 0)
    return false;
  *status = store_manifest_add(s, &g);
  return true;
}

/* MUSTER_ERR_CORRUPT, _MEMORY. */
static int parse_lines(struct store_backup *b, char *text)
{
  int status = MUSTER_OK;
  uint32_t shards = 0;
  char node[TEXT_UUID], cut[TEXT_TIME];
  int used = 0;
  if (sscanf(text, "muster-backup %*u node %36s shards %" SCNu32 " run %" SCNu64 " cut %27s\n%n", node, &b->shards, &b->run, cut, &used) !=
          4 ||
      b->shards > LIMIT_SHARDS || !text_uuid_parse(b->node_id, node, strlen(node)) || !text_time_parse(&b->cut_us, cut, strlen(cut)))
    return MUSTER_ERR_CORRUPT;
  char *rest = NULL;
  for (char *line = strtok_r(text + used, "\n", &rest); line && status == MUSTER_OK; line = strtok_r(NULL, "\n", &rest))
    if (!parse_shard(b, line, &shards) && !parse_segment(b, line, shards, &status))
      return MUSTER_ERR_CORRUPT;
  if (status != MUSTER_OK)
    return status;
  for (uint32_t i = 0; i < b->shards; i++) {
    static const struct store_backup_segment none;
    const struct store_backup_shard *s = &b->shard[i];
    const struct store_backup_segment *last = s->segments ? &s->segment[s->segments - 1] : &none;
    if (last->last != s->records || memcmp(last->head, s->head, sizeof s->head) != 0)
      return MUSTER_ERR_CORRUPT;
  }
  return shards == b->shards && shards > 0 ? MUSTER_OK : MUSTER_ERR_CORRUPT;
}

/* What was read is what would be written, byte by byte: sscanf takes signs, blanks, numbers past their end, and what follows on a line. */
static int compare(const struct store_backup *b)
{
  uint8_t own[16];
  size_t size;
  char *text = print_lines(b, &size);
  if (!text)
    return MUSTER_ERR_MEMORY;
  digest_bytes(own, text, size);
  free(text);
  return memcmp(own, b->checksum, sizeof own) == 0 ? MUSTER_OK : MUSTER_ERR_CORRUPT;
}

/* The whole text of a manifest, its end checked and cut off; NULL with a failure. */
static char *load(const char *path, struct failure *failure)
{
  unsigned version;
  char end[TEXT_HEX128];
  FILE *in = file_open_stream(FILE_OF_PEOPLE, "the manifest", path, LIMIT_MANIFEST_BYTES, failure);
  if (!in)
    return NULL;
  char *text = NULL;
  size_t room = 0;
  const ssize_t size = getdelim(&text, &room, '\0', in);
  const int error = size < 0 && !feof(in) ? errno : 0; /* no memory, or no reading */
  fclose(in);
  if (error)
    failure_set_errno(failure, error == ENOMEM ? MUSTER_ERR_MEMORY : MUSTER_ERR_IO, error, "cannot read %s", path);
  else if (size > 0 && sscanf(text, "muster-backup %u\n", &version) == 1 && version != STORE_BACKUP_FORMAT)
    failure_set(failure, MUSTER_ERR_VERSION, "%s has format %u and this program reads format %u; use the program that wrote it", path,
                version, STORE_BACKUP_FORMAT);
  else if (size > (ssize_t)MANIFEST_END_BYTES && memchr(text, '\0', (size_t)size) == NULL) {
    char *last = text + size - MANIFEST_END_BYTES;
    text_checksum(end, text, (size_t)(last - text));
    if (memcmp(last, "end ", 4) == 0 && memcmp(last + 4, end, 32) == 0 && last[36] == '\n') {
      *last = '\0';
      return text;
    }
  }
  free(text);
  failure_set(failure, MUSTER_ERR_CORRUPT, "%s is cut off or was changed: its last line is not the checksum of the lines before it", path);
  return NULL;
}

int store_manifest_read(struct store_backup *b, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES], copy[LIMIT_PATH_BYTES];
  struct failure found = FAILURE_NONE, ignored = FAILURE_NONE;
  manifest_path(path, b, STORE_BACKUP_MANIFEST);
  manifest_path(copy, b, STORE_BACKUP_MANIFEST ".copy");
  char *text = load(path, &found);
  if (!text && found.status != MUSTER_ERR_CORRUPT && found.status != MUSTER_ERR_VERSION)
    return failure_set(failure, found.status, "%s", found.text);
  if (!text) {
    char *other = load(copy, &ignored);
    free(other);
    return failure_set(
        failure, found.status, "%s%s", found.text,
        other ? "; nothing was changed; manifest.copy beside it is whole: copy that over manifest, and what it lists can be restored"
        : ignored.status == MUSTER_ERR_CORRUPT || ignored.status == MUSTER_ERR_NOT_FOUND
            ? "; nothing was changed; manifest.copy is not whole either"
            : "; nothing was changed; whether manifest.copy is whole could not be told");
  }
  digest_bytes(b->checksum, text, strlen(text));
  int status = parse_lines(b, text);
  free(text);
  if (status == MUSTER_OK)
    status = compare(b);
  if (status == MUSTER_ERR_MEMORY)
    return failure_set(failure, status, "there is no memory for the manifest %s", path);
  return status == MUSTER_OK
             ? status
             : failure_set(failure, status, "%s is no manifest of this format although its checksum is right; nothing was changed", path);
}
