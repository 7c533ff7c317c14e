/* What 05_jacobi and 06_matmul have in common: times of ranks alone and with workers,
 * and how they are told. */
#ifndef EXAMPLE_COMPARISON_H
#define EXAMPLE_COMPARISON_H

#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

/* Seconds; of all ranks where nothing else is said.
 *
 * rows, offloaded, workers  of this rank: its rows, those of them that its worker does
 * alone, hybrid             by ranks alone; half by workers
 * transfer                  the same bytes to the workers and back, and no work: the
 *                           hybrid can't be faster
 * difference                largest one from the right result */
struct comparison {
    int rows, offloaded, workers;
    double alone, hybrid, transfer, difference;
};

static inline int compare_times(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Collective. The largest of what the ranks have. */
static inline double largest_of_all(double mine)
{
    double largest;
    MPI_Allreduce(&mine, &largest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    return largest;
}

/* Collective. The median of n times, of the slowest rank. Sorts them. */
static inline double median_of_slowest(double *times, int n)
{
    qsort(times, (size_t)n, sizeof *times, compare_times);
    return largest_of_all(times[n / 2]);
}

/* The larger one of two differences, where that of a NaN is infinite. */
static inline double larger(double old, double difference)
{
    return difference <= old ? old : isnan(difference) ? INFINITY : difference;
}

/* Collective: printed by rank 0. */
static inline void print_comparison(const struct comparison *c)
{
    int rank, mine[] = {c->rows, c->offloaded, c->workers}, sums[3];
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Reduce(mine, sums, 3, MPI_INT, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank != 0)
        return;
    double offload = (double)sums[1] / sums[0];
    double workers = c->alone * offload + c->transfer, own = c->alone * (1 - offload);
    printf("workers             %12d\n", sums[2]);
    printf("offload             %12.3f     of the rows\n", offload);
    printf("alone               %12.3f ms\n", c->alone * 1e3);
    printf("hybrid              %12.3f ms\n", c->hybrid * 1e3);
    printf("transfer floor      %12.3f ms\n", c->transfer * 1e3);
    printf("speed-up            %12.3f     hybrid against alone\n",
           c->alone / c->hybrid);
    printf("bound               %12.3f     of it, by the transfer\n",
           c->alone / fmax(own, workers));
    printf("largest difference  %12.3g     from a plain computation\n", c->difference);
}

#endif
