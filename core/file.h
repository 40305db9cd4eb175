/*
 * Files that somebody names, opened so that nothing but a file is read and nothing that is read is overwritten: a pipe
 * without a writer, a device without an end or a file of any size in the place of a small one is an error with a
 * sentence, at once. Any process; no state.
 */
#ifndef MUSTER_CORE_FILE_H
#define MUSTER_CORE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "core/failure.h"

/* Whose name it is. What people name may be a symbolic link. In the data directory none is followed: the node checks and replaces its
 * files by their names, and would do so to the link or to its target in turns. */
enum file_name { FILE_OF_PEOPLE, FILE_OF_NODE };

/* A descriptor of a regular file of at most so many bytes, or -1, with errno where it could not be opened. what is named in the sentence
 * ("the settings"). MUSTER_ERR_NOT_FOUND, _DENIED (no regular file, too), _LIMIT (too large), _IO. */
int file_open(enum file_name name, const char *what, const char *path, uint64_t most_bytes, struct failure *failure);
/* The same as a stream, or NULL. The caller closes it. */
FILE *file_open_stream(enum file_name name, const char *what, const char *path, uint64_t most_bytes, struct failure *failure);

/* Reads at an offset in full: how much there is, less than size where the file ends. -1 with errno where that much cannot be told. */
ssize_t file_read_at(int fd, void *out, size_t size, uint64_t offset);

/* A stream that writes to the file, made where it is not there and emptied, unless it is one of the inputs under whatever name, link or
 * descriptor: MUSTER_ERR_USAGE then, and it stays as it was; else MUSTER_ERR_CREATE. An input is a path, "-" for standard input; what
 * names no file (NULL, a key) is no input. A pipe or a device is written to as it is. */
int file_create_stream(FILE **out, const char *path, const char *const *inputs, size_t count, struct failure *failure);
/* That question alone, of a descriptor that is open already. */
int file_check_output(int fd, const char *name, const char *const *inputs, size_t count, struct failure *failure);

#endif
