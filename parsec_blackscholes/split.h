/* Pricing by the rank alone, and by the rank together with its workers. */
#ifndef BLACKSCHOLES_SPLIT_H
#define BLACKSCHOLES_SPLIT_H

#include "kernel.h"
#include "progress.h"
#include "workers.h"

/* The options of this rank and where their prices go. */
struct part {
    const struct stock_option *options;
    float *prices;
    int n;
};

/* One pricing of all options; seconds.
 *
 * predicted  what the loop expected at its start; 0: it knew nothing
 * offloaded  options that workers have priced */
struct pass {
    double total, predicted;
    int64_t offloaded;
};

/* The rank prices all of its options itself. */
void price_alone(const struct part *part, struct pass *pass, struct progress *progress);

/* The info for split_price; freed by the caller. `offload`: of static. */
MPI_Info split_terms(const char *schedule, double offload);

/* The rank and its workers run the function at the same time, divided as `terms` say.
 * If that fails, the rank prices all itself, and workers->warning says why. */
void split_price(const struct part *part, struct workers *workers,
                 MPIX_Function function, MPI_Info terms, struct pass *pass,
                 struct progress *progress);

#endif
