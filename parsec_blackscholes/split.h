/* Who prices which options of a rank: the first ones itself, the last ones its
 * workers. */
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

/* Seconds of one pricing of all options. */
struct pass {
    double total;
    double local;   /* until the rank had priced its own */
    double waiting; /* from then on, for the workers */
};

/* One rank's split, used for any number of passes.
 *
 * first     the options from here on go to workers, in `chunks` chunks of `chunk`
 * offloaded options that workers have priced, in all passes together
 * The rest belongs to split.c. */
struct split {
    const struct part *part;
    struct workers *workers;
    int first, chunk, chunks;
    MPIX_Function function;
    int64_t offloaded;
    int window;
    int outstanding;
    int next;
    int returned;
    int *returned_chunks;
    int *chunk_of;
    int *indices;
    MPI_Request *requests;
    MPI_Status *statuses;
};

/* The rank prices all of its options itself. */
void price_alone(const struct part *part, struct pass *pass, struct progress *progress);

bool split_create(struct split *split, const struct part *part, struct workers *workers,
                  double offload, char *problem);

/* Sends the workers their options and gets as many prices, which are none: what pricing
 * by workers takes at least. */
bool split_transfer(struct split *split, struct pass *pass, char *problem);

/* The rank and its workers price at the same time. What a worker fails to do is
 * priced by the rank; workers->warning then says why. Returns false only if MPI
 * itself fails. */
bool split_price(struct split *split, struct pass *pass, struct progress *progress,
                 char *problem);

void split_free(struct split *split);

#endif
