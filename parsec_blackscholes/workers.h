/* The workers that this rank leases, and the memory that they reach without a copy.
 *
 * What can't be had is no error: without pool or lease there are no workers, memory is
 * ordinary memory, and `warning` says why. */
#ifndef BLACKSCHOLES_WORKERS_H
#define BLACKSCHOLES_WORKERS_H

#include "problem_mpi.h"

#include <mpix_rfaas.h>
#include <stddef.h>

/* price    the function that prices; nothing: the one that only sends as much back
 * count    workers granted, 0 without a lease
 * option   datatype of one struct stock_option
 * warning  what couldn't be had, "" as long as all could */
struct workers {
    MPIX_Pool pool;
    MPIX_Lease lease;
    MPIX_Function price, nothing;
    MPI_Datatype option;
    int count;
    char warning[PROBLEM_SIZE];
};

#define WORKERS_NONE ((struct workers){.option = MPI_DATATYPE_NULL})

/* Collective over MPI_COMM_WORLD: creates the pool. */
void workers_start(struct workers *workers);

/* Leases up to `wanted` workers and loads the functions, `nothing` only for the sake of
 * measuring transfers. */
void workers_lease(struct workers *workers, int wanted, bool transfer);

/* NULL and a problem if there is no memory. Freed by workers_free_memory; before
 * workers_end. */
void *workers_allocate(struct workers *workers, size_t size, char *problem);
void workers_free_memory(struct workers *workers, void *memory);

/* Collective: gives all back. */
void workers_end(struct workers *workers);

#endif
