/*
 * The directory that a restore makes. Until it is whole it stands beside its name as NAME.restoring, mode 0700, with a
 * file `restored` that says what is restored into it: which backup, as of which manifest, up to where. A restore that was
 * killed is gone on with only by one that would write the very same file, in a directory of this user's that nobody else
 * may enter; so no two restores are ever mixed. The file stays in the data directory, for people. Owner: the command.
 */
#ifndef MUSTER_OPS_RESTORE_PLACE_H
#define MUSTER_OPS_RESTORE_PLACE_H

#include "core/failure.h"
#include "core/limits.h"

struct ops_restore_place {
  char path[LIMIT_PATH_BYTES];           /* the new data directory */
  char temporary[LIMIT_PATH_BYTES + 16]; /* where it is made */
  int fd;                                /* of that, locked; -1 */
};

/* Which directory; nothing is made. MUSTER_ERR_CREATE: there is something. */
int ops_restore_place_name(struct ops_restore_place *p, const char *option, struct failure *failure);
/* Makes the directory or goes on with one, and keeps others out of it. MUSTER_ERR_DENIED: not this user's, open to others, a symbolic link;
 * MUSTER_ERR_CREATE: of another restore, or of none; MUSTER_ERR_LOCKED. Nothing was changed then. */
int ops_restore_place_take(struct ops_restore_place *p, const char *note, struct failure *failure);
/* Makes a directory in it, or finds one there. out: its path, LIMIT_PATH_BYTES + 64. */
int ops_restore_place_folder(const struct ops_restore_place *p, const char *relative, char *out, struct failure *failure);
/* Gives it its name, as the last thing. */
int ops_restore_place_finish(const struct ops_restore_place *p, struct failure *failure);
void ops_restore_place_close(struct ops_restore_place *p);

#endif
