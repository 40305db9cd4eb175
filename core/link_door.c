#include "core/link_door.h"

#include <linux/filter.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SHUT_SUFFIX ".shut" /* may be too long to connect to, which is as well */

static void door_aside(const struct link_door *d, char out[sizeof d->path + sizeof SHUT_SUFFIX])
{
  snprintf(out, sizeof d->path + sizeof SHUT_SUFFIX, "%s%s", d->path, SHUT_SUFFIX);
}

void link_door_init(struct link_door *d, const char *endpoint)
{
  static const char ipc[] = "ipc://";
  *d = (struct link_door){.listener = 0};
  if (strncmp(endpoint, ipc, sizeof ipc - 1) != 0)
    return;
  snprintf(d->path, sizeof d->path, "%s", endpoint + sizeof ipc - 1);
  char aside[sizeof d->path + sizeof SHUT_SUFFIX];
  door_aside(d, aside);
  unlink(aside); /* of a process that was killed */
}

static bool door_filter(const struct link_door *d, bool shut)
{
  struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
  struct sock_fprog program = {.len = 1, .filter = &drop};
  int none = 0;
  if (d->listener <= 0)
    return false;
  return shut ? setsockopt(d->listener, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0
              : setsockopt(d->listener, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof none) == 0;
}

static bool door_rename(const struct link_door *d, bool shut)
{
  char aside[sizeof d->path + sizeof SHUT_SUFFIX];
  door_aside(d, aside);
  return rename(shut ? d->path : aside, shut ? aside : d->path) == 0;
}

void link_door_shut(struct link_door *d, bool shut)
{
  if (d->shut != shut && (d->path[0] ? door_rename(d, shut) : door_filter(d, shut)))
    d->shut = shut;
}

void link_door_finish(struct link_door *d)
{
  if (d->path[0])
    link_door_shut(d, false);
}
