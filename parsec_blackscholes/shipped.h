/* Files that come with the program: its function library and the small input. */
#ifndef BLACKSCHOLES_SHIPPED_H
#define BLACKSCHOLES_SHIPPED_H

#include "problem.h"

#include <limits.h>

/* Finds the file `name`: beside the program, or else in its source directory. */
bool shipped_find(char path[PATH_MAX], const char *name, char *problem);

#endif
