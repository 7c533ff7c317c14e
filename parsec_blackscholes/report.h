/* What rank 0 tells at the end. */
#ifndef BLACKSCHOLES_REPORT_H
#define BLACKSCHOLES_REPORT_H

#include "split.h"

#include <stdio.h>

/* Times in seconds.
 *
 * offload        as asked for; offloaded: part of the options that workers did price
 * alone, hybrid  medians of `repeat` passes; first: the hybrid pass before these
 * error          the largest difference from a reference price, absolute and in
 *                parts of the strike price */
struct report {
    int options, ranks, workers, repeat;
    double offload, offloaded;
    double read, start, write;
    struct pass alone, hybrid, first;
    double error, relative_error;
};

/* Prices that differ by more of the strike price from the reference are wrong. */
#define ERROR_LIMIT 1e-4

/* Returns false if it can't be written. */
bool report_print(const struct report *report, FILE *to);

#endif
