/* A file that is there whole or not at all.
 *
 * It is written beside its place and moved there at the end; until then a file that
 * stood there stays. The unfinished one has no name where the file system can do that,
 * so nothing remains of it however the program ends; elsewhere its name is removed on
 * failure, on SIGHUP, SIGINT and SIGTERM. What is not a regular file, as /dev/stdout or
 * a pipe, is written to directly.
 *
 * One file at a time. */
#ifndef BLACKSCHOLES_FILE_H
#define BLACKSCHOLES_FILE_H

#include "problem.h"

#include <limits.h>
#include <stddef.h>

/* path       as the user gave it
 * target     the place: path, or what it leads to as a symbolic link
 * temporary  name of the unfinished file; "" while it has none
 * direct     there is no unfinished file
 * is_stdout  what is written goes to where stdout goes */
struct file {
    const char *path;
    char target[PATH_MAX];
    char temporary[PATH_MAX];
    int fd;
    bool direct;
    bool is_stdout;
};

/* A file that isn't open: file_discard does nothing. */
#define FILE_CLOSED ((struct file){.fd = -1})

bool file_create(struct file *file, const char *path, char *problem);

bool file_write(struct file *file, const void *data, size_t size, char *problem);

/* Puts the file in its place and closes it; on failure discards it. */
bool file_finish(struct file *file, char *problem);

/* Closes the file and leaves everything as it was before file_create. */
void file_discard(struct file *file);

#endif
