/*
 * CURVE keys (RFC of ZeroMQ 26/CURVEZMQ, Z85 text of RFC 32) and the allow-list. A key file is INI, mode 0600: [key]
 * name, public, secret. The allow-list is text, one line a key: `NUMBER allow|revoked NAME PUBLIC TIME`; numbers are
 * never reused, so that a stored record's submitter can be named for ever. It is replaced atomically; whoever asks sees
 * the change at the next question (key_list_refresh). Number 0 is "local": the same user over ipc. A missing,
 * unreadable or damaged list allows nobody. Names are of systems, never of people.
 */
#ifndef MUSTER_CORE_KEYS_H
#define MUSTER_CORE_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/failure.h"
#include "core/limits.h"

#define KEY_TEXT 41 /* 40 characters of Z85 and the end */
#define SUBMITTER_LOCAL 0u

struct key_pair {
  char name[LIMIT_SUBMITTER_NAME + 1];
  char public_text[KEY_TEXT];
  char secret_text[KEY_TEXT]; /* never printed, never logged */
};

struct key_entry {
  uint32_t number;
  bool allowed;
  char name[LIMIT_SUBMITTER_NAME + 1];
  char public_text[KEY_TEXT];
  char since[32]; /* RFC 3339, of the last change */
};

bool key_name_valid(const char *name);        /* 1 to LIMIT_SUBMITTER_NAME of [a-z0-9._-] */
bool key_text_valid(const char *public_text); /* 40 characters of Z85 that decode */
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

struct key_list; /* the allow-list as last read */
/* path need not exist yet: an empty list, which allows nobody. A damaged one is refused, naming its line; *out is NULL then. */
int key_list_open(struct key_list **out, const char *path, struct failure *f);
void key_list_close(struct key_list *l);
/* Reads the file again if it changed (one stat). On failure the list allows nobody until it is whole again. */
int key_list_refresh(struct key_list *l, struct failure *f);
uint32_t key_list_count(const struct key_list *l);
const struct key_entry *key_list_at(const struct key_list *l, uint32_t position);
/* NULL where unknown. Valid until the next refresh. Revoked entries are found, too: look at allowed. */
const struct key_entry *key_list_by_public(const struct key_list *l, const char *public_text);
const struct key_entry *key_list_by_number(const struct key_list *l, uint32_t number);
const struct key_entry *key_list_by_name(const struct key_list *l, const char *name);
/* Change the file, under a lock beside it. Allowing a revoked key with its old name allows it again under its old number;
 * another key under a used name is MUSTER_ERR_USAGE. Revoke: MUSTER_ERR_NOT_FOUND for an unknown name. */
int key_list_allow(const char *path, const char *name, const char *public_text, struct failure *f);
int key_list_revoke(const char *path, const char *name, struct failure *f);

#endif
