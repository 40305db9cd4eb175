#include "ops/reread.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/durable.h"
#include "core/file.h"
#include "core/key_list.h"
#include "ops/deaths.h"

static void report_path(const struct datadir *d, char path[LIMIT_PATH_BYTES]) { datadir_path(d, path, "run/reload"); }

/* The ingests read the list by themselves at the next message after it has changed; here it is only told whether they can. */
static void tell_keys(const struct node *n, FILE *out)
{
  char path[LIMIT_PATH_BYTES];
  struct key_list *list;
  struct failure failure = FAILURE_NONE;
  datadir_path(n->data, path, "keys/allow");
  if (key_list_open(&list, path, &failure) != MUSTER_OK) {
    fprintf(out, "keys: nobody is allowed: %s\n", failure.text);
    return;
  }
  const uint32_t allowed = key_list_allowed(list);
  fprintf(out, "keys: %" PRIu32 " allowed, %" PRIu32 " revoked; the list is in force from the moment it is written\n", allowed,
          key_list_count(list) - allowed);
  key_list_close(list);
}

/* A setting that a start works out from others (workers, index_bytes) is told as changed where what was asked for is. */
static void tell_settings(const struct node *n, const struct config *asked, FILE *out)
{
  struct config_setting was, is, before;
  unsigned changed = 0, waiting = 0;
  for (size_t i = 0; config_describe(&n->config, i, &was); i++) {
    config_describe(asked, i, &is);
    config_describe(&n->settings->asked, i, &before);
    if (strcmp(was.value, is.value) == 0 || (!is.live && strcmp(before.value, is.value) == 0))
      continue;
    if (is.live)
      fprintf(out, "%s.%s: %s, was %s\n", is.section, is.name, is.value, was.value);
    else
      fprintf(out, "%s.%s: %s needs a restart; %s is in force\n", is.section, is.name, is.value, was.value);
    changed += is.live;
    waiting += !is.live;
  }
  fprintf(out, "settings: %u changed, %u wait%s for a restart\n", changed, waiting, waiting == 1 ? "s" : "");
}

static void adopt(struct node *n)
{
  log_init_word("run", n->config.log_level);
  n->frozen_ms = n->config.frozen_ms;
  ops_deaths_retune(n, &n->config);
  for (uint32_t i = 0; i < n->workers; i++)
    ops_process_tell(&n->worker[i]);
  for (uint32_t i = 0; i < n->ingests; i++)
    ops_process_tell(&n->ingest[i]);
}

/* What is not live came from where it did at the start, whatever the file says by now. */
static void keep_origins(struct ops_settings *fresh, const struct ops_settings *old)
{
  struct config_setting setting;
  for (size_t i = 0; config_describe(&fresh->asked, i, &setting); i++)
    if (!setting.live)
      memcpy(fresh->origins.of[i], old->origins.of[i], sizeof fresh->origins.of[i]);
}

/* All that can fail comes first. asked stays what the node was started with for what is not live: each reload tells of it until the restart. */
static int reread(struct node *n, FILE *out, struct failure *failure)
{
  struct ops_settings *fresh = malloc(sizeof *fresh);
  struct config next = n->config, asked = n->settings->asked;
  if (!fresh)
    return failure_set(failure, MUSTER_ERR_MEMORY, "not enough memory for the settings");
  *fresh = *n->settings;
  int status = ops_settings_gather(fresh, failure);
  if (status == MUSTER_OK) {
    config_adopt(&next, &fresh->asked);
    keep_origins(fresh, n->settings);
    status = ops_settings_publish(n->data, &next, fresh, failure);
  }
  if (status == MUSTER_OK) {
    tell_settings(n, &fresh->asked, out);
    tell_keys(n, out);
    n->settings->origins = fresh->origins;
    config_adopt(&asked, &fresh->asked);
    n->settings->asked = asked;
    n->config = next;
    adopt(n);
  }
  free(fresh);
  return status;
}

static void publish(const struct node *n, const char *text)
{
  char path[LIMIT_PATH_BYTES], quoted[512];
  struct failure failure = FAILURE_NONE;
  report_path(n->data, path);
  if (durable_replace_file(path, text, strlen(text), 0600, &failure) != MUSTER_OK)
    log_event(LOG_ERROR, "node.reload-untold", "error=%s", log_quote(quoted, sizeof quoted, failure.text));
}

void ops_reread(struct node *n)
{
  static char text[REREAD_TEXT_BYTES], told[REREAD_TEXT_BYTES - 64];
  char quoted[1024];
  struct failure failure = FAILURE_NONE;
  int status = MUSTER_ERR_AGAIN;
  memset(told, 0, sizeof told);
  FILE *out = fmemopen(told, sizeof told - 1, "w");
  if (!out)
    failure_set(&failure, MUSTER_ERR_MEMORY, "not enough memory for the settings");
  else if (n->phase >= DRAINING_INGESTS)
    failure_set(&failure, status, "the node is ending");
  else
    reread(n, out, &failure);
  if (out)
    fclose(out);
  status = failure.status;
  snprintf(text, sizeof text, "%" PRIu64 " %d\n%s", ++n->rereads, status, status == MUSTER_OK ? told : failure.text);
  publish(n, text);
  if (status == MUSTER_OK)
    log_event(LOG_INFO, "node.reloaded", "number=%" PRIu64, n->rereads);
  else
    log_event(LOG_ERROR, "node.not-reloaded", "cause=%s", log_quote(quoted, sizeof quoted, failure.text));
}

void ops_reread_forget(const struct datadir *d)
{
  char path[LIMIT_PATH_BYTES];
  report_path(d, path);
  unlink(path);
}

int ops_reread_report(const struct datadir *d, struct ops_reread_report *out, struct failure *failure)
{
  char path[LIMIT_PATH_BYTES], text[REREAD_TEXT_BYTES];
  struct failure why = FAILURE_NONE;
  int begins = 0;
  *out = (struct ops_reread_report){0};
  report_path(d, path);
  FILE *file = file_open_stream(FILE_OF_NODE, "the report of a reload", path, LIMIT_MIB, &why);
  if (!file)
    return why.status == MUSTER_ERR_NOT_FOUND ? MUSTER_OK : failure_set(failure, why.status, "%s", why.text);
  const size_t size = fread(text, 1, sizeof text - 1, file);
  text[size] = '\0';
  fclose(file);
  if (sscanf(text, "%" SCNu64 " %d%n", &out->number, &out->status, &begins) < 2 || text[begins] != '\n')
    return failure_set(failure, MUSTER_ERR_FORMAT, "%s is not what the node writes there", path);
  memcpy(out->text, text + begins + 1, size - (size_t)begins);
  return MUSTER_OK;
}
