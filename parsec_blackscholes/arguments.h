/* The command line. */
#ifndef BLACKSCHOLES_ARGUMENTS_H
#define BLACKSCHOLES_ARGUMENTS_H

#include "command_line.h"

/* schedule      static, dynamic or model
 * offload       part of the options that workers price with static, 0 to 1; 0: no workers
 * workers       to lease, for each rank
 * transfer      time transfers by themselves, too
 * repeat        how often the pricing is timed
 * generate      number of options to generate into `output`; 0: price
 * from          the input to generate from; NULL: the shipped one
 * input, output file names */
struct arguments {
    const char *schedule;
    double offload;
    int workers;
    bool transfer;
    int repeat;
    int generate;
    const char *from;
    const char *input;
    const char *output;
};

/* Reads the command line. Returns true if there is something to do; otherwise it has
 * printed, if `print`, what was asked for or is wrong, and *status is the exit
 * status. */
bool arguments_read(struct arguments *arguments, int argc, char **argv, bool print,
                    int *status);

#endif
