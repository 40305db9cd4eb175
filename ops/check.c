/* `muster check`: looks over everything that a node stands on, before a start or beside a running one. */
#include "ops/check.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "ops/commands.h"
#include "ops/options.h"
#include "ops/settings.h"

enum { KEY_JSON = 'j' };

struct check_options {
  const char *data;
  bool json;
  struct ops_settings settings;
};

static const struct argp_option options[] = {{"json", KEY_JSON, NULL, 0, "as one JSON object", 0}, {0}};

static const char doc[] =
    "Looks over what a node stands on: kernel, file system and whether it flushes, clock, limits, memory, disk, ports, permissions."
    "\v"
    "Give it the options that `muster run' gets; beside a running node, its settings are taken where none are given. Each line is "
    "ok, warn (the node runs, and something of it is less than it could be) or FAIL (it would not start, or not serve), with the "
    "remedy below. Exit 0 where nothing fails; else the exit code that `muster run' would end with. Nothing is changed; how fast the "
    "disk flushes is measured in a scratch file of 4 KiB blocks, which is gone when it ends.\n"
    "\n"
    "Example: muster check --data /var/lib/muster --config muster.conf";

static error_t parse(int key, char *argument, struct argp_state *state)
{
  struct check_options *o = state->input;
  switch (key) {
  case ARGP_KEY_INIT:
    state->child_inputs[0] = &o->data;
    state->child_inputs[1] = &o->settings;
    return 0;
  case KEY_JSON: o->json = true; return 0;
  case ARGP_KEY_ARG: argp_error(state, "\"%s\" is not an option; the data directory is named by --data", argument); return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_child children[] = {{.argp = &ops_options_data}, {.argp = &ops_settings_argp}, {0}};
static const struct argp argp = {.options = options, .parser = parse, .doc = doc, .children = children};

/* ---- the list ---- */

__attribute__((format(printf, 6, 0))) static void add(struct ops_check_list *l, enum ops_check_verdict verdict, const char *area, int code,
                                                      const char *remedy, const char *format, va_list list)
{
  if (l->count == CHECK_LINES)
    abort(); /* there are fewer questions than that */
  struct ops_check_line *line = &l->line[l->count++];
  *line = (struct ops_check_line){.verdict = verdict, .code = code, .area = area};
  vsnprintf(line->found, sizeof line->found, format, list);
  snprintf(line->remedy, sizeof line->remedy, "%s", remedy);
}

void ops_check_ok(struct ops_check_list *l, const char *area, const char *format, ...)
{
  va_list list;
  va_start(list, format);
  add(l, CHECK_OK, area, EX_OK, "", format, list);
  va_end(list);
}

void ops_check_warn(struct ops_check_list *l, const char *area, const char *remedy, const char *format, ...)
{
  va_list list;
  va_start(list, format);
  add(l, CHECK_WARN, area, EX_OK, remedy, format, list);
  va_end(list);
}

void ops_check_fail(struct ops_check_list *l, const char *area, int code, const char *remedy, const char *format, ...)
{
  va_list list;
  va_start(list, format);
  add(l, CHECK_FAIL, area, code, remedy, format, list);
  va_end(list);
}

void ops_check_failure(struct ops_check_list *l, const char *area, const struct failure *failure)
{
  ops_check_fail(l, area, muster_status_exit_code(failure->status), "", "%s", failure->text);
}

/* ---- telling ---- */

static const char *const words[] = {[CHECK_OK] = "ok", [CHECK_WARN] = "warn", [CHECK_FAIL] = "FAIL"};

static unsigned count_of(const struct ops_check_list *l, enum ops_check_verdict verdict)
{
  unsigned count = 0;
  for (size_t i = 0; i < l->count; i++)
    count += l->line[i].verdict == verdict;
  return count;
}

/* Of the first that fails, since the later ones may follow from it. */
static int exit_code(const struct ops_check_list *l)
{
  for (size_t i = 0; i < l->count; i++)
    if (l->line[i].verdict == CHECK_FAIL)
      return l->line[i].code;
  return EX_OK;
}

static void tell_text(const struct ops_check_list *l)
{
  for (size_t i = 0; i < l->count; i++) {
    const struct ops_check_line *line = &l->line[i];
    printf("%-4s  %-11s  %s\n", words[line->verdict], line->area, line->found);
    if (line->remedy[0])
      printf("%-4s  %-11s  -> %s\n", "", "", line->remedy);
  }
  const unsigned warnings = count_of(l, CHECK_WARN), fails = count_of(l, CHECK_FAIL);
  printf("%zu checks: %u ok, %u warning%s, %u failed\n", l->count, count_of(l, CHECK_OK), warnings, warnings == 1 ? "" : "s", fails);
}

static int tell_json(const struct ops_check_list *l)
{
  json_t *object = json_object(), *lines = json_array();
  for (size_t i = 0; i < l->count; i++) {
    const struct ops_check_line *line = &l->line[i];
    json_t *one = json_object();
    json_object_set_new(one, "verdict", json_string(line->verdict == CHECK_FAIL ? "fail" : words[line->verdict]));
    json_object_set_new(one, "area", json_string(line->area));
    json_object_set_new(one, "found", json_string(line->found));
    json_object_set_new(one, "remedy", json_string(line->remedy));
    json_array_append_new(lines, one);
  }
  json_object_set_new(object, "checks", lines);
  json_object_set_new(object, "warnings", json_integer(count_of(l, CHECK_WARN)));
  json_object_set_new(object, "failed", json_integer(count_of(l, CHECK_FAIL)));
  json_object_set_new(object, "exit_code", json_integer(exit_code(l)));
  const int status = json_dumpf(object, stdout, JSON_INDENT(2));
  putchar('\n');
  json_decref(object);
  return status;
}

/* Those that are given, or else those of the node that runs there. */
static void settle_settings(struct ops_check *c, struct check_options *o)
{
  char file[LIMIT_PATH_BYTES];
  struct failure failure = FAILURE_NONE;
  struct ops_settings *s = &o->settings;
  const bool published = c->pid && !s->file && !s->count;
  const int status =
      published ? ops_settings_published(&c->data, &s->asked, &s->origins, file, &failure) : ops_settings_gather(s, &failure);
  if (status != MUSTER_OK) {
    ops_check_failure(&c->list, "settings", &failure);
    config_defaults(&s->asked);
  } else if (published) {
    ops_check_ok(&c->list, "settings", "those of the running node");
  } else {
    ops_check_ok(&c->list, "settings", "%s%s can be used", s->file ? "" : "the defaults", s->file ? s->file : "");
  }
  c->config = s->asked;
}

int ops_check_main(int argc, char **argv)
{
  static struct check_options o; /* large, and there is one of each */
  static struct ops_check c;
  ops_options_parse(&argp, argc, argv, &o);
  ops_check_place(&c, o.data);
  settle_settings(&c, &o);
  ops_check_kernel(&c);
  ops_check_clock(&c);
  ops_check_limits(&c);
  ops_check_memory(&c);
  ops_check_disk(&c);
  ops_check_ports(&c);
  ops_check_libraries(&c);
  if (!o.json)
    tell_text(&c.list);
  else if (tell_json(&c.list) != 0 && !ops_output_broken())
    return ops_complain("check", "not enough memory"), EX_OSERR;
  return ops_output_finish("check", exit_code(&c.list));
}
