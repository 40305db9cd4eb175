/*
 * The allow-list: which public keys may submit, under which names and numbers. It is text, one line a key: `NUMBER
 * allow|revoked NAME PUBLIC TIME`; numbers are never reused, so that a stored record's submitter can be named for ever. It is
 * replaced atomically; whoever asks sees the change at the next question (key_list_refresh). Number 0 is "local": the same
 * user over ipc. A missing, unreadable or damaged list allows nobody. Each process that asks opens its own.
 */
#ifndef MUSTER_CORE_KEY_LIST_H
#define MUSTER_CORE_KEY_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include "core/failure.h"
#include "core/keys.h"
#include "core/limits.h"

#define SUBMITTER_LOCAL 0u

struct key_entry {
  uint32_t number;
  bool allowed;
  char name[LIMIT_SUBMITTER_NAME + 1];
  char public_text[KEY_TEXT];
  char since[32]; /* RFC 3339, of the last change */
};

struct key_list; /* the allow-list as last read */
/* path need not exist yet: an empty list, which allows nobody. A damaged one is refused, naming its line; *out is NULL then. */
int key_list_open(struct key_list **out, const char *path, struct failure *f);
void key_list_close(struct key_list *l);
/* Reads the file again if it changed (one stat). On failure the list allows nobody until it is whole again. */
int key_list_refresh(struct key_list *l, struct failure *f);
uint32_t key_list_count(const struct key_list *l);
uint32_t key_list_allowed(const struct key_list *l); /* of them, those that are not revoked */
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
