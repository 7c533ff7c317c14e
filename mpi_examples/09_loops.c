/* 09_loops: a loop over elements, which rank and workers divide between them.
 *
 *     mpirun -n 2 mpi_examples/09_loops [FUNCTION-LIBRARY]
 *
 * Each rank integrates over many intervals by MPIX_Parallel_for, without a word on who
 * does which, and learns from MPIX_Loop_stats who did. */
#include <math.h>
#include <mpix_rfaas.h>
#include <stdio.h>

enum { INTERVALS = 20000, LOOPS = 3 };

static void check(int code, const char *what)
{
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (code == MPI_SUCCESS)
        return;
    MPI_Error_string(code, text, &length);
    fprintf(stderr, "09_loops: %s: %s\n", what, text);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* A worker if one is free. Without one the program is the same, and slower. */
static MPIX_Lease acquire(MPIX_Pool pool)
{
    MPIX_Lease lease;
    int class, code = MPIX_Lease_acquire(pool, 1, MPI_INFO_NULL, &lease);
    if (code == MPI_SUCCESS)
        return lease;
    MPI_Error_class(code, &class);
    if (class != MPIX_ERR_NO_RESOURCES)
        check(code, "MPIX_Lease_acquire");
    return MPIX_LEASE_NULL;
}

/* The largest difference from what the C library says. */
static double compare(const double *ends, const double *integrals)
{
    double worst = 0, factor = sqrt(acos(-1)) / 2;
    for (int i = 0; i < INTERVALS; i++) {
        double difference = fabs(integrals[i] - factor * erf(ends[i]));
        if (!(difference <= worst)) /* so that NaN isn't overlooked */
            worst = difference;
    }
    return worst;
}

int main(int argc, char **argv)
{
    MPIX_Pool pool;
    MPIX_Function integrals_of;
    MPIX_Loop loop;
    double *ends, *integrals, worst = 0;
    int rank;

    check(MPI_Init(&argc, &argv), "MPI_Init");
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "errhandler");
    check(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
    check(MPIX_Pool_create(MPI_COMM_WORLD, MPI_INFO_NULL, &pool), "MPIX_Pool_create");
    check(MPIX_Function_load(pool, argc > 1 ? argv[1] : FUNCTIONS, "integrals",
                             &integrals_of),
          "MPIX_Function_load");
    MPIX_Lease lease = acquire(pool);
    check(MPIX_Pool_alloc_mem(INTERVALS * sizeof *ends, pool, &ends), "memory");
    check(MPIX_Pool_alloc_mem(INTERVALS * sizeof *integrals, pool, &integrals),
          "memory");
    for (int i = 0; i < INTERVALS; i++)
        ends[i] = 3.0 * i / INTERVALS;

    for (int i = 0; i < LOOPS; i++) { /* the first one learns what elements cost */
        check(MPIX_Parallel_for(integrals_of, INTERVALS, ends, MPI_DOUBLE, integrals,
                                MPI_DOUBLE, lease, MPI_INFO_NULL),
              "MPIX_Parallel_for");
        check(MPIX_Loop_stats(integrals_of, &loop), "MPIX_Loop_stats");
        worst = fmax(worst, compare(ends, integrals));
        printf("rank %d, loop %d: %lld here, %lld by workers, difference %g\n", rank, i,
               (long long)loop.local, (long long)loop.offloaded, worst);
    }

    if (lease != MPIX_LEASE_NULL)
        check(MPIX_Lease_release(&lease), "MPIX_Lease_release");
    check(MPIX_Pool_free(&pool), "MPIX_Pool_free");
    check(MPI_Finalize(), "MPI_Finalize");
    return !(worst < 1e-4);
}
