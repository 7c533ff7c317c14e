/* A part of an input file: the lines that begin in one of `parts` equal pieces of it.
 * So every rank reads its own options, and no rank has to hold them all. */
#ifndef BLACKSCHOLES_INPUT_H
#define BLACKSCHOLES_INPUT_H

#include "kernel.h"
#include "problem.h"
#include "progress.h"

#include <sys/types.h>

/* path        as the user gave it
 * count       options in the file, as its first line says
 * begin, end  the bytes of this part
 * size        of this part, in lines
 * first       options before this part; set by the caller. Option i of the file, from 0,
 *             stands on line i + 2 */
struct input {
    const char *path;
    int fd;
    int count;
    off_t begin, end;
    int64_t size;
    int64_t first;
};

/* Opens the file, reads its first line, finds the part and counts its lines. */
bool input_open(struct input *in, const char *path, int part, int parts, char *problem);

/* Compares the file's first line with the lines that all parts have together. */
bool input_check_count(const struct input *in, int64_t lines, char *problem);

/* Reads the part: `size` options and reference prices. */
bool input_read(const struct input *in, struct stock_option *options, float *references,
                struct progress *progress, char *problem);

void input_close(struct input *in);

/* Reads up to n bytes at an offset, fewer only at the end of the file. -1: a
 * problem. */
ssize_t input_bytes(const struct input *in, void *buffer, size_t n, off_t offset,
                    char *problem);

#endif
