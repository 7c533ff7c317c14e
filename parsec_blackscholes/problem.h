/* What goes wrong.
 *
 * A function that can fail takes a buffer of PROBLEM_SIZE bytes, holding "" as long as
 * all is well, and returns false after it has put a text there. */
#ifndef BLACKSCHOLES_PROBLEM_H
#define BLACKSCHOLES_PROBLEM_H

#include <stdbool.h>

/* Room for a path and a sentence. */
enum { PROBLEM_SIZE = 4096 + 512 };

/* Writes a problem and returns false. */
bool problem_set(char *problem, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
