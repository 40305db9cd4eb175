#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/datadir_lock.h"
#include "core/file.h"
#include "core/key_list.h"
#include "core/keys.h"
#include "core/listen.h"
#include "ops/check.h"
#include "ops/endpoints.h"

/* ---- the directory ---- */

/* The nearest folder at or above it that is there. */
static void find_place(struct ops_check *c, const char *name)
{
  snprintf(c->place, sizeof c->place, "%s", name);
  while (access(c->place, F_OK) != 0) {
    char *slash = strrchr(c->place, '/');
    if (!slash) {
      snprintf(c->place, sizeof c->place, ".");
      return;
    }
    slash[slash == c->place ? 1 : 0] = '\0';
    if (slash == c->place)
      return;
  }
}

/* datadir_create makes it, and no parent of it. */
static void check_absent(struct ops_check *c, const char *name, const struct failure *failure)
{
  char parent[LIMIT_PATH_BYTES];
  if (access(name, F_OK) == 0) { /* there, with files of somebody else */
    ops_check_failure(&c->list, "directory", failure);
    return;
  }
  snprintf(parent, sizeof parent, "%s", name);
  size_t size = strlen(parent);
  while (size > 1 && parent[size - 1] == '/')
    parent[--size] = '\0';
  char *slash = strrchr(parent, '/');
  const char *above = !slash ? "." : slash == parent ? "/" : (*slash = '\0', parent);
  if (access(above, F_OK) != 0)
    ops_check_fail(&c->list, "directory", EX_CANTCREAT, "make the folder that it is to lie in", "%s cannot be made: %s is not there", name,
                   above);
  else if (access(above, W_OK | X_OK) != 0)
    ops_check_fail(&c->list, "directory", EX_CANTCREAT, "make it as the user of the node: install -d -m 0700 -o USER DIR",
                   "%s cannot be made: %s may not be written to", name, above);
  else
    ops_check_ok(&c->list, "directory", "%s is not there yet; the first start makes it, mode 0700", name);
}

static void check_file(struct ops_check *c, const char *relative, bool folder)
{
  char path[LIMIT_PATH_BYTES];
  struct stat info;
  datadir_path(&c->data, path, relative);
  if (lstat(path, &info) != 0)
    return; /* made by the first start */
  const bool kind = folder ? S_ISDIR(info.st_mode) : S_ISREG(info.st_mode);
  if (!kind)
    ops_check_fail(&c->list, "permissions", EX_NOPERM, "put back what belongs there", "%s is no %s", path,
                   folder ? "folder" : "regular file");
  else if (info.st_uid != geteuid() || info.st_mode & 077)
    ops_check_fail(&c->list, "permissions", EX_NOPERM,
                   folder ? "chown to the user of the node, and chmod 700" : "chown to the user of the node, and chmod 600",
                   "%s has owner %u and mode %04o", path, (unsigned)info.st_uid, (unsigned)info.st_mode & 07777);
}

/* Owner, mode, and whether each can be read as what it is; no secret is told or kept. */
static void check_keys(struct ops_check *c)
{
  char path[LIMIT_PATH_BYTES];
  struct failure failure = FAILURE_NONE;
  struct key_pair *pair;
  struct key_list *list;
  datadir_path(&c->data, path, "keys/node.key");
  if (key_hold(&pair, NULL) == MUSTER_OK) {
    const int status = key_read_node(pair, path, &failure);
    if (status != MUSTER_OK && status != MUSTER_ERR_NOT_FOUND)
      ops_check_failure(&c->list, "keys", &failure);
    key_let_go(pair);
  }
  failure = FAILURE_NONE;
  datadir_path(&c->data, path, "keys/allow");
  if (key_list_open(&list, path, &failure) != MUSTER_OK) {
    ops_check_failure(&c->list, "keys", &failure);
    return;
  }
  const uint32_t allowed = key_list_allowed(list);
  key_list_close(list);
  if (allowed || strcmp(c->config.listen, "none") == 0)
    ops_check_ok(&c->list, "keys", "%" PRIu32 " may submit over tcp", allowed);
  else
    ops_check_warn(&c->list, "keys", "muster key allow NAME KEY, for each field system", "nobody may submit over tcp");
}

static void check_inside(struct ops_check *c)
{
  static const char *const folders[] = {"store", "keys", "run", NULL}, *const files[] = {"node.id", "keys/node.key", "keys/allow", NULL};
  const size_t before = c->list.count;
  for (size_t i = 0; folders[i]; i++)
    check_file(c, folders[i], true);
  for (size_t i = 0; files[i]; i++)
    check_file(c, files[i], false);
  if (c->list.count == before)
    ops_check_ok(&c->list, "permissions", "%s and what is in it are closed to others", c->data.root);
}

void ops_check_place(struct ops_check *c, const char *option)
{
  char name[LIMIT_PATH_BYTES];
  struct failure failure = FAILURE_NONE;
  c->data.lock_fd = -1;
  if (datadir_name(name, option, &failure) != MUSTER_OK) {
    ops_check_failure(&c->list, "directory", &failure);
    snprintf(c->place, sizeof c->place, ".");
    return;
  }
  find_place(c, name);
  const int status = datadir_open(&c->data, name, &failure);
  c->has_data = status == MUSTER_OK;
  if (status == MUSTER_ERR_NOT_FOUND)
    check_absent(c, name, &failure);
  else if (status != MUSTER_OK)
    ops_check_failure(&c->list, "directory", &failure);
  if (!c->has_data)
    return;
  c->pid = datadir_node_pid(&c->data);
  if (c->pid)
    ops_check_ok(&c->list, "directory", "%s, in use by the node of pid %" PRIu32, c->data.root, c->pid);
  else
    ops_check_ok(&c->list, "directory", "%s, no node runs on it", c->data.root);
  check_inside(c);
}

/* ---- ports ---- */

/* HOST as ZeroMQ takes it: an address, "*", or the name of an interface. No name is looked up. */
static bool find_address(const char *host, const char *port, struct sockaddr_storage *out, socklen_t *size)
{
  char bare[LISTEN_ENDPOINT_BYTES];
  snprintf(bare, sizeof bare, "%s", host[0] == '[' ? host + 1 : host);
  if (host[0] == '[')
    bare[strcspn(bare, "]")] = '\0';
  const struct addrinfo hints = {
      .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
  struct addrinfo *found = NULL;
  if (getaddrinfo(strcmp(bare, "*") == 0 ? "0.0.0.0" : bare, port, &hints, &found) == 0) {
    memcpy(out, found->ai_addr, found->ai_addrlen);
    *size = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
  }
  struct ifaddrs *all = NULL;
  bool have = false;
  if (getifaddrs(&all) != 0)
    return false;
  for (const struct ifaddrs *one = all; one && !have; one = one->ifa_next) {
    if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET || strcmp(one->ifa_name, bare) != 0)
      continue;
    struct sockaddr_in address;
    memcpy(&address, one->ifa_addr, sizeof address);
    address.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
    memcpy(out, &address, sizeof address);
    *size = sizeof address;
    have = true;
  }
  freeifaddrs(all);
  return have;
}

/* 0: it can be bound; else the errno value. Nothing listens there meanwhile. */
static int try_bind(const struct sockaddr_storage *address, socklen_t size)
{
  const int one = 1, fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return errno;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  const int error = bind(fd, (const struct sockaddr *)address, size) == 0 ? 0 : errno;
  close(fd);
  return error;
}

static void check_port(struct ops_check *c, const char *endpoint, const char *held)
{
  char host[LISTEN_ENDPOINT_BYTES], whole[LISTEN_ENDPOINT_BYTES + 1];
  struct sockaddr_storage address;
  socklen_t size = 0;
  snprintf(host, sizeof host, "%s", endpoint + strlen("tcp://"));
  char *colon = strrchr(host, ':');
  *colon = '\0';
  const char *port = colon + 1;
  snprintf(whole, sizeof whole, ":%s\n", port); /* a node tells where it is bound by the address, which "*" is none of */
  if (strcmp(port, "0") == 0) {
    ops_check_ok(&c->list, "ports", "%s: any free port", endpoint);
    return;
  }
  if (!find_address(host, port, &address, &size)) {
    ops_check_fail(&c->list, "ports", EX_CANTCREAT, "name an address of this machine, or one of its interfaces, in node.listen",
                   "%s: this machine has no %s", endpoint, host);
    return;
  }
  const int error = try_bind(&address, size);
  if (error == 0)
    ops_check_ok(&c->list, "ports", "%s is free", endpoint);
  else if (error == EADDRINUSE && strstr(held, whole))
    ops_check_ok(&c->list, "ports", "%s is held by this node", endpoint);
  else
    ops_check_fail(&c->list, "ports", EX_CANTCREAT,
                   error == EADDRINUSE ? "see who holds it (ss -ltnp), or choose another port in node.listen"
                   : error == EACCES   ? "ports below 1024 are for root; choose another port in node.listen"
                                       : "name an address of this machine in node.listen",
                   "%s cannot be bound: %s", endpoint, strerror(error));
}

void ops_check_ports(struct ops_check *c)
{
  static char held[ENDPOINTS_TEXT];
  char endpoint[LISTEN_ENDPOINT_BYTES];
  struct failure failure = FAILURE_NONE;
  if (c->has_data)
    check_keys(c);
  if (strcmp(c->config.listen, "none") == 0) {
    ops_check_ok(&c->list, "ports", "none: the node listens on its socket files only");
    return;
  }
  if (c->pid)
    ops_endpoints_gather(&c->data, c->config.ingests, held);
  for (uint32_t i = 0; i < c->config.ingests; i++) {
    if (listen_endpoint(endpoint, c->config.listen, i, &failure) != MUSTER_OK) {
      ops_check_failure(&c->list, "ports", &failure);
      return;
    }
    check_port(c, endpoint, held);
  }
}
