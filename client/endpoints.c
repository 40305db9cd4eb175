#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/client.h"
#include "core/file.h"

bool client_endpoint_curve(const char *endpoint) { return strncmp(endpoint, "tcp://", 6) == 0; }

static bool endpoint_valid(const char *text)
{
  if (strncmp(text, "ipc://", 6) == 0)
    return text[6] != '\0';
  const char *port = strrchr(text, ':');
  return client_endpoint_curve(text) && port > text + 6 && strspn(port + 1, "0123456789") == strlen(port + 1) && port[1];
}

/* Words of text, each an endpoint. tcp ones without keys are left out where skip_tcp. */
static int list_take(struct client_endpoints *e, const char *text, bool skip_tcp, struct failure *f)
{
  e->count = 0;
  for (const char *p = text + strspn(text, " \t\n"); *p; p += strspn(p, " \t\n")) {
    size_t size = strcspn(p, " \t\n");
    if (e->count == CLIENT_ENDPOINTS_MAX || size >= CLIENT_ENDPOINT_BYTES)
      return failure_set(f, MUSTER_ERR_USAGE, "at most %d endpoints of less than %d characters can be given", CLIENT_ENDPOINTS_MAX,
                         CLIENT_ENDPOINT_BYTES);
    char *to = e->list[e->count];
    memcpy(to, p, size);
    to[size] = '\0';
    p += size;
    if (!endpoint_valid(to))
      return failure_set(f, MUSTER_ERR_USAGE,
                         "%s is no endpoint; one looks like ipc:///var/lib/muster/run/submit.sock or tcp://10.0.0.5:7411", to);
    if (!skip_tcp || !client_endpoint_curve(to))
      e->count++;
  }
  return MUSTER_OK;
}

static int no_node(const struct client_endpoints *e, struct failure *f)
{
  return failure_set(f, MUSTER_ERR_UNAVAILABLE, "no node runs on this data directory: %s is not there (%s); start one with `muster run`",
                     e->file, strerror(errno));
}

/* run/endpoints of the data directory, ipc first. */
static int directory_read(struct client_endpoints *e, struct failure *f)
{
  char text[CLIENT_ENDPOINTS_MAX * 128];
  struct failure cause = FAILURE_NONE;
  FILE *file = file_open_stream(FILE_OF_NODE, "the endpoints", e->file, UINT64_MAX, &cause);
  if (!file)
    return cause.status == MUSTER_ERR_DENIED ? failure_set(f, cause.status, "%s", cause.text) : no_node(e, f);
  text[fread(text, 1, sizeof text - 1, file)] = '\0';
  fclose(file);
  struct client_endpoints fresh = {.tcp_usable = e->tcp_usable};
  int status = list_take(&fresh, text, !e->tcp_usable, f);
  if (status != MUSTER_OK)
    return status;
  if (fresh.count == 0)
    return failure_set(f, MUSTER_ERR_NOT_FOUND, "%s names no endpoint that can be used: for tcp this submitter needs a key file", e->file);
  memcpy(e->list, fresh.list, sizeof e->list);
  e->count = fresh.count;
  return MUSTER_OK;
}

/* The ingests of a node are equal; those who find them through the directory spread over its first kind. */
static uint32_t spread(struct muster_client *c)
{
  uint32_t same = 1;
  while (same < c->endpoints.count && client_endpoint_curve(c->endpoints.list[same]) == client_endpoint_curve(c->endpoints.list[0]))
    same++;
  return client_jitter(c, same - 1);
}

bool client_endpoints_advance(struct muster_client *c)
{
  struct client_endpoints *e = &c->endpoints;
  char before[CLIENT_ENDPOINT_BYTES];
  strcpy(before, e->list[e->current]);
  if (e->from_directory)
    directory_read(e, NULL); /* a node that is just starting has not written it yet: the old list stays */
  e->current = (e->current + 1) % e->count;
  if (e->count > 1 && strcmp(e->list[e->current], before) == 0)
    e->current = (e->current + 1) % e->count;
  return strcmp(e->list[e->current], before) != 0;
}

/* ---- keys ---- */

static int keys_read(struct muster_client *c, const struct muster_options *o, const struct datadir *data, struct failure *f)
{
  char path[LIMIT_PATH_BYTES];
  struct key_pair node;
  if (o->key_file && key_read(&c->own, o->key_file, f) != MUSTER_OK)
    return f->status;
  if (o->server_key) {
    if (!key_text_valid(o->server_key))
      return failure_set(f, MUSTER_ERR_FORMAT, "the server key is not a public key, which has 40 characters of Z85");
    strcpy(c->server_key, o->server_key);
  } else if (data && o->key_file) {
    datadir_path(data, path, "keys/node.key");
    if (key_read_node(&node, path, f) != MUSTER_OK)
      return f->status;
    strcpy(c->server_key, node.public_text);
    explicit_bzero(&node, sizeof node);
  }
  c->endpoints.tcp_usable = c->own.public_text[0] && c->server_key[0];
  return MUSTER_OK;
}

static int needs_keys(const struct muster_client *c, struct failure *f)
{
  for (uint32_t i = 0; i < c->endpoints.count; i++)
    if (client_endpoint_curve(c->endpoints.list[i]) && !c->endpoints.tcp_usable)
      return failure_set(
          f, MUSTER_ERR_USAGE,
          "%s needs two keys: the node's public key (`muster key show` there), and this submitter's key file (`muster key new`)",
          c->endpoints.list[i]);
  return MUSTER_OK;
}

int client_endpoints_init(struct muster_client *c, const struct muster_options *o, struct failure *f)
{
  struct client_endpoints *e = &c->endpoints;
  struct datadir data;
  char root[LIMIT_PATH_BYTES];
  bool with_data = !o->endpoint || o->data_directory;
  if (!o->endpoint && !o->data_directory && !getenv("MUSTER_DATA"))
    return failure_set(f, MUSTER_ERR_USAGE, "no node is named: give an endpoint or a data directory, or set MUSTER_DATA");
  if (with_data && (datadir_name(root, o->data_directory, f) != MUSTER_OK || datadir_open(&data, root, f) != MUSTER_OK))
    return f->status;
  if (with_data)
    datadir_path(&data, e->file, "run/endpoints");
  /* Looked at before the keys: a node that is just starting may not have its own yet. */
  bool node_there = o->endpoint || access(e->file, F_OK) == 0;
  int status = node_there ? keys_read(c, o, with_data ? &data : NULL, f) : no_node(e, f);
  if (status == MUSTER_OK) {
    e->from_directory = !o->endpoint;
    status = o->endpoint ? list_take(e, o->endpoint, false, f) : directory_read(e, f);
  }
  if (with_data)
    datadir_close(&data);
  if (status == MUSTER_OK && e->count == 0)
    status = failure_set(f, MUSTER_ERR_USAGE, "no endpoint is given");
  if (status == MUSTER_OK && !e->from_directory)
    status = needs_keys(c, f);
  if (status == MUSTER_OK && e->from_directory)
    e->current = spread(c);
  return status;
}
