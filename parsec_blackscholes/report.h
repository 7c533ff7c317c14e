/* What rank 0 tells at the end. */
#ifndef BLACKSCHOLES_REPORT_H
#define BLACKSCHOLES_REPORT_H

#include "errors.h"
#include "split.h"

#include <stdio.h>

/* Times in seconds.
 *
 * schedule       as asked for
 * offloaded      part of the options that workers did price
 * alone, hybrid  medians of `repeat` passes; first: the hybrid pass before these
 * transfer       likewise, of passes that send and compute nothing; 0: not measured
 * errors         of all ranks */
struct report {
    int options, ranks, workers, repeat;
    const char *schedule;
    double offloaded;
    double read, start, write;
    struct pass alone, hybrid, first, transfer;
    struct errors errors;
};

/* Returns false if it can't be written. */
bool report_print(const struct report *report, FILE *to);

#endif
