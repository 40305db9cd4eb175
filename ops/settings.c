#include "ops/settings.h"

#include <errno.h>
#include <unistd.h>

int ops_settings_gather(struct config *config, const char *file, const struct ops_setting *settings, size_t count, struct failure *failure)
{
  config_defaults(config);
  if (file && access(file, F_OK) != 0 && errno == ENOENT)
    return failure_set_errno(failure, MUSTER_ERR_NOT_FOUND, errno, "cannot open the settings %s", file);
  int status = file ? config_read(config, file, failure) : MUSTER_OK;
  for (size_t i = 0; i < count && status == MUSTER_OK; i++) {
    status = config_set(config, settings[i].key, settings[i].value, settings[i].where, failure);
    if (status == MUSTER_ERR_CONFIG) /* of the command line, not of a file */
      status = failure->status = MUSTER_ERR_USAGE;
  }
  return status;
}
