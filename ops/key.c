/* `muster key`: CURVE keys and the list of those that may submit. Private keys are written to their file and nowhere else. */
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/key_list.h"
#include "ops/commands.h"
#include "ops/options.h"
#include "ops/table.h"
#include "core/datadir.h"

#define WORDS_MAX 3

struct key_options {
  const char *data, *out;
  const char *word[WORDS_MAX]; /* what to do, and its arguments */
  unsigned words;
  const char *dashed; /* a public key that begins like an option; in its place stands key_in_dashes */
};

/* A key is any 40 characters of Z85, so one in 85 begins with a dash and would be taken for an option. */
static char key_in_dashes[] = "(key)";

static const struct argp_option options[] = {{"out", 'o', "FILE", 0, "new: where the key pair goes (default: NAME.key here)", 0}, {0}};

static const char doc[] =
    "Makes keys, and says which of them may submit."
    "\v"
    "  new NAME            make a key pair in a file of mode 0600; print the public\n"
    "                      half\n"
    "  show [FILE]         print the public key of a file, or of the node, alone\n"
    "  allow NAME PUBLIC   let this key, or a key file's, submit over tcp\n"
    "  revoke NAME         refuse it from its next message on\n"
    "  list                all keys, revoked ones included: stored records\n"
    "                      name them for ever\n"
    "\n"
    "NAME is that of a system, never of a person: a-z, 0-9, dot, dash and underscore. A change is seen by a running node at once.\n"
    "\n"
    "Example: muster key allow field-tucson-1 tucson.key";

static error_t parse(int key, char *argument, struct argp_state *state)
{
  struct key_options *o = state->input;
  switch (key) {
  case ARGP_KEY_INIT: state->child_inputs[0] = &o->data; return 0;
  case 'o': o->out = argument; return 0;
  case ARGP_KEY_ARG:
    if (o->words == WORDS_MAX)
      argp_error(state, "too many words");
    o->word[o->words++] = argument == key_in_dashes ? o->dashed : argument;
    return 0;
  case ARGP_KEY_END:
    if (o->words == 0)
      argp_error(state, "new, show, allow, revoke or list?");
    return 0;
  default: return ARGP_ERR_UNKNOWN;
  }
}

static const struct argp_child children[] = {{.argp = &ops_options_data}, {0}};
static const struct argp argp = {.options = options,
                                 .parser = parse,
                                 .args_doc = "new NAME\nshow [FILE]\nallow NAME PUBLIC\nrevoke NAME\nlist",
                                 .doc = doc,
                                 .children = children};

static int refuse_name(const char *name)
{
  ops_complain("key", "\"%.60s\" is no name for a key: 1 to %u of a-z, 0-9, dot, dash and underscore", name, LIMIT_SUBMITTER_NAME);
  return EX_USAGE;
}

/* The path of a file of the data directory, which must exist. */
static int path_in_data(const struct key_options *o, const char *relative, char *path, struct failure *failure)
{
  char name[LIMIT_PATH_BYTES];
  struct datadir data;
  int status = datadir_name(name, o->data, failure);
  if (status == MUSTER_OK)
    status = datadir_open(&data, name, failure);
  if (status == MUSTER_OK)
    datadir_path(&data, path, relative);
  return status;
}

static int key_new(const struct key_options *o)
{
  char path[LIMIT_PATH_BYTES];
  struct key_pair pair;
  struct failure failure = FAILURE_NONE;
  const char *name = o->word[1];
  if (!key_name_valid(name))
    return refuse_name(name);
  snprintf(path, sizeof path, "%s.key", name);
  int status = key_generate(&pair, name, &failure);
  if (status == MUSTER_OK)
    status = key_write(&pair, o->out ? o->out : path, &failure);
  explicit_bzero(pair.secret_text, sizeof pair.secret_text);
  if (status != MUSTER_OK)
    return ops_fail("key", &failure);
  printf("%s %s\n", pair.name, pair.public_text);
  fprintf(stderr, "muster key: the pair is in %s; its private half stays with the submitter; on the node: muster key allow %s '%s'\n",
          o->out ? o->out : path, pair.name, pair.public_text);
  return ops_output_finish("key", EX_OK);
}

static int key_show(const struct key_options *o)
{
  char path[LIMIT_PATH_BYTES];
  struct key_pair pair = {0};
  struct failure failure = FAILURE_NONE;
  int status = MUSTER_OK;
  if (o->words == 1)
    status = path_in_data(o, "keys/node.key", path, &failure);
  if (status == MUSTER_OK)
    status = o->words == 1 ? key_read_node(&pair, path, &failure) : key_read(&pair, o->word[1], &failure);
  explicit_bzero(pair.secret_text, sizeof pair.secret_text);
  if (status != MUSTER_OK)
    return ops_fail("key", &failure);
  puts(pair.public_text); /* alone, so that it can stand in a command line as "$(muster key show)" */
  return ops_output_finish("key", EX_OK);
}

static int key_allow(const struct key_options *o)
{
  char path[LIMIT_PATH_BYTES], public_text[KEY_TEXT];
  struct failure failure = FAILURE_NONE;
  if (!key_name_valid(o->word[1]))
    return refuse_name(o->word[1]);
  int status = key_public_read(public_text, o->word[2], &failure);
  if (status == MUSTER_OK)
    status = path_in_data(o, "keys/allow", path, &failure);
  if (status == MUSTER_OK)
    status = key_list_allow(path, o->word[1], public_text, &failure);
  if (status != MUSTER_OK)
    return ops_fail("key", &failure);
  printf("%s may submit\n", o->word[1]);
  return ops_output_finish("key", EX_OK);
}

static int key_revoke(const struct key_options *o)
{
  char path[LIMIT_PATH_BYTES];
  struct failure failure = FAILURE_NONE;
  if (!key_name_valid(o->word[1]))
    return refuse_name(o->word[1]);
  int status = path_in_data(o, "keys/allow", path, &failure);
  if (status == MUSTER_OK)
    status = key_list_revoke(path, o->word[1], &failure);
  if (status != MUSTER_OK)
    return ops_fail("key", &failure);
  printf("%s is refused from its next message on\n", o->word[1]);
  return ops_output_finish("key", EX_OK);
}

static int key_list_all(const struct key_options *o)
{
  static const char *const headings[] = {"number", "name", "state", "since", "public key"};
  char path[LIMIT_PATH_BYTES];
  struct failure failure = FAILURE_NONE;
  struct key_list *list = NULL;
  struct ops_table t;
  int status = path_in_data(o, "keys/allow", path, &failure);
  if (status == MUSTER_OK)
    status = key_list_open(&list, path, &failure);
  if (status != MUSTER_OK)
    return ops_fail("key", &failure);
  ops_table_init(&t, 5);
  for (size_t c = 0; c < 5; c++)
    ops_table_cell(&t, c, headings[c]);
  for (uint32_t i = 0; i < key_list_count(list); i++) {
    const struct key_entry *entry = key_list_at(list, i);
    ops_table_count(&t, 0, entry->number);
    ops_table_cell(&t, 1, entry->name);
    ops_table_cell(&t, 2, entry->allowed ? "allowed" : "revoked");
    ops_table_cell(&t, 3, entry->since);
    ops_table_cell(&t, 4, entry->public_text);
  }
  if (key_list_count(list) == 0)
    puts("no key is allowed: nobody may submit over tcp; the same user may over ipc");
  else
    ops_table_print(&t, 0, stdout);
  ops_table_finish(&t);
  key_list_close(list);
  return ops_output_finish("key", EX_OK);
}

/* In `allow NAME KEY` the word behind the name is the key, whatever it begins with. */
static void hide_dashed_key(int argc, char **argv, struct key_options *o)
{
  for (int i = 1; i + 2 < argc; i++)
    if (strcmp(argv[i], "allow") == 0 && argv[i + 2][0] == '-' && key_text_valid(argv[i + 2])) {
      o->dashed = argv[i + 2];
      argv[i + 2] = key_in_dashes;
      return;
    }
}

int ops_key_main(int argc, char **argv)
{
  static const struct {
    const char *word;
    unsigned least, most; /* words, itself included */
    int (*run)(const struct key_options *o);
  } verbs[] = {{"new", 2, 2, key_new},
               {"show", 1, 2, key_show},
               {"allow", 3, 3, key_allow},
               {"revoke", 2, 2, key_revoke},
               {"list", 1, 1, key_list_all}};
  struct key_options o = {0};
  hide_dashed_key(argc, argv, &o);
  ops_options_parse(&argp, argc, argv, &o);
  for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
    if (strcmp(verbs[i].word, o.word[0]) == 0 && o.words >= verbs[i].least && o.words <= verbs[i].most)
      return verbs[i].run(&o);
  ops_complain("key", "say new NAME, show [FILE], allow NAME PUBLIC, revoke NAME, or list; `muster key --help' tells more");
  return EX_USAGE;
}
