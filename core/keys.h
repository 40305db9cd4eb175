/*
 * CURVE keys (RFC of ZeroMQ 26/CURVEZMQ, Z85 text of RFC 32), as pairs in files and in memory. A key file is INI, mode 0600:
 * [key] name, public, secret. A pair whose secret half is used lies in a page of its own; whoever holds it lets it go. Which
 * keys may submit: core/key_list.h. Names are of systems, never of people.
 */
#ifndef MUSTER_CORE_KEYS_H
#define MUSTER_CORE_KEYS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "core/failure.h"
#include "core/limits.h"

#define KEY_TEXT 41 /* 40 characters of Z85 and the end */

struct key_pair {
  char name[LIMIT_SUBMITTER_NAME + 1];
  char public_text[KEY_TEXT];
  char secret_text[KEY_TEXT]; /* never printed, never logged */
};

bool key_name_valid(const char *name);        /* 1 to LIMIT_SUBMITTER_NAME of [a-z0-9._-] */
bool key_text_valid(const char *public_text); /* 40 characters of Z85 that decode */
/* A private file: regular, ours, and closed to others as far as the bits of forbidden go; else MUSTER_ERR_DENIED. */
int key_check_private(const struct stat *st, mode_t forbidden, const char *path, struct failure *f);
int key_generate(struct key_pair *out, const char *name, struct failure *f);
int key_read(struct key_pair *out, const char *path, struct failure *f); /* refuses a file that others can read */
/* The same for the node's own, keys/node.key, which may not be a symbolic link. */
int key_read_node(struct key_pair *out, const char *path, struct failure *f);
/* A public key as people give it to a command: the key itself, or a file: one as `muster key new` writes it, or with just the key on a line. */
int key_public_read(char out[KEY_TEXT], const char *key_or_path, struct failure *f);
int key_write(const struct key_pair *pair, const char *path, struct failure *f); /* 0600; MUSTER_ERR_CREATE where it exists */

/* A place for a pair whose secret half is used: a page of its own that is locked in memory (never written to swap) and left out of core
 * dumps. MUSTER_ERR_CONFIG where the limit of locked memory does not allow a page. */
int key_hold(struct key_pair **out, struct failure *f);
void key_let_go(struct key_pair *held); /* wipes it; NULL is fine */

#endif
