#include "core/fault.h"

typedef int fault_translation_unit; /* without MUSTER_FAULTS this file is empty, and ISO C wants a declaration */

#ifdef MUSTER_FAULTS
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define FAULT_RULES 16

enum fault_action { FAULT_KILL, FAULT_STOP, FAULT_FAIL, FAULT_FULL };

/* One part of MUSTER_FAULT. The texts point into a copy of the environment that is kept for the life of the process. */
struct fault_rule {
  const char *point;
  const char *text; /* NULL: any */
  enum fault_action action;
  unsigned long nth; /* hits, from 1; 0: each */
  atomic_ulong hits; /* of this rule */
};

static struct fault_rule fault_rules[FAULT_RULES];
static unsigned fault_rule_count;
static pthread_once_t fault_once = PTHREAD_ONCE_INIT;

/* A mistyped fault would make a test pass that tests nothing, so the process ends. */
static void fault_refuse(const char *rule)
{
  fprintf(stderr, "muster: MUSTER_FAULT: \"%s\" is not point[=text]:kill|stop|fail|full[:nth|:always]\n", rule);
  _exit(EX_CONFIG);
}

static bool fault_parse_nth(const char *word, unsigned long *nth)
{
  if (word == NULL || strcmp(word, "always") == 0) {
    *nth = word == NULL ? 1 : 0;
    return true;
  }
  if (word[0] < '1' || word[0] > '9')
    return false;
  char *end;
  errno = 0;
  *nth = strtoul(word, &end, 10);
  return *end == '\0' && errno == 0;
}

static void fault_parse_rule(char *rule)
{
  static const char *const actions[] = {[FAULT_KILL] = "kill", [FAULT_STOP] = "stop", [FAULT_FAIL] = "fail", [FAULT_FULL] = "full"};
  char original[256];
  snprintf(original, sizeof original, "%s", rule);
  if (fault_rule_count == FAULT_RULES)
    fault_refuse(original);
  struct fault_rule *r = &fault_rules[fault_rule_count];
  char *rest = rule;
  char *point = strsep(&rest, ":");
  const char *action = strsep(&rest, ":");
  r->point = strsep(&point, "=");
  r->text = point;
  size_t which = 0;
  while (action != NULL && which < 4 && strcmp(action, actions[which]) != 0)
    which++;
  if (r->point[0] == '\0' || action == NULL || which == 4 || !fault_parse_nth(rest, &r->nth))
    fault_refuse(original);
  r->action = (enum fault_action)which;
  fault_rule_count++;
}

static void fault_read_environment(void)
{
  const char *given = getenv("MUSTER_FAULT");
  if (given == NULL || given[0] == '\0')
    return;
  char *rest = strdup(given);
  if (rest == NULL)
    abort();
  for (char *rule = strsep(&rest, ","); rule != NULL; rule = strsep(&rest, ","))
    fault_parse_rule(rule);
}

/* A process that is started again after its death must not die again: true for the first that asks about the point. */
static bool fault_first_time(const char *point)
{
  const char *directory = getenv("MUSTER_FAULT_ONCE_DIR");
  if (directory == NULL || directory[0] == '\0')
    return true;
  char path[4096];
  if (snprintf(path, sizeof path, "%s/%s", directory, point) >= (int)sizeof path)
    return false;
  const int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (fd >= 0)
    close(fd);
  return fd >= 0;
}

static bool fault_act(const struct fault_rule *r)
{
  switch (r->action) {
  case FAULT_KILL:
  case FAULT_STOP:
    if (fault_first_time(r->point))
      raise(r->action == FAULT_KILL ? SIGKILL : SIGSTOP);
    return false;
  case FAULT_FAIL: errno = EIO; return true;
  case FAULT_FULL: errno = ENOSPC; return true;
  }
  return false;
}

bool fault_hit(const char *point, const void *text, size_t text_size)
{
  pthread_once(&fault_once, fault_read_environment);
  bool failed = false;
  for (unsigned i = 0; i < fault_rule_count; i++) {
    struct fault_rule *r = &fault_rules[i];
    if (strcmp(r->point, point) != 0)
      continue;
    if (r->text != NULL && (text == NULL || memmem(text, text_size, r->text, strlen(r->text)) == NULL))
      continue;
    const unsigned long hit = atomic_fetch_add(&r->hits, 1) + 1;
    if (r->nth == 0 || r->nth == hit)
      failed |= fault_act(r);
  }
  return failed;
}
#endif
