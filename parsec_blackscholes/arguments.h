/* The command line. */
#ifndef BLACKSCHOLES_ARGUMENTS_H
#define BLACKSCHOLES_ARGUMENTS_H

#include <stdbool.h>

/* offload       part of the options that workers price, 0 to 1
 * workers       to lease, for each rank
 * repeat        how often the pricing is timed
 * generate      number of options to generate into `output`; 0: price
 * from          the input to generate from; NULL: the shipped one
 * input, output file names */
struct arguments {
    double offload;
    int workers;
    int repeat;
    int generate;
    const char *from;
    const char *input;
    const char *output;
};

enum { EXIT_USAGE = 2 };

/* Reads the command line. Returns true if there is something to do; otherwise it has
 * printed, if `print`, what was asked for or is wrong, and *status is the exit
 * status. */
bool arguments_read(struct arguments *arguments, int argc, char **argv, bool print,
                    int *status);

#endif
