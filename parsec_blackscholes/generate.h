/* Makes an input file of any number of options by repeating those of another one. */
#ifndef BLACKSCHOLES_GENERATE_H
#define BLACKSCHOLES_GENERATE_H

#include "problem.h"

/* Writes `count` options to `path`, from the input file `from`, whose options are
 * checked first. Local: one rank calls it. */
bool generate(const char *path, int count, const char *from, bool show_progress,
              char *problem);

#endif
