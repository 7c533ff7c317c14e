/* 02_overlap: halo exchange and offloaded work, completed by one MPI_Waitall.
 *
 *     mpirun -n 2 mpi_examples/02_overlap [FUNCTION-LIBRARY]
 *
 * A grid is cut into bands of rows, one for each rank. In each step a rank exchanges
 * its outer rows with its neighbours, a worker computes the upper half of the rows that
 * need no halo, and the rank itself the lower half: all three at the same time.
 *
 *     row 0         halo: last row of the rank above, or fixed
 *     row 1         needs the halo: computed last
 *     2 .. half     a worker
 *     half+1 .. n-1 this rank, meanwhile
 *     row n         needs the halo: computed last
 *     row n+1       halo: first row of the rank below, or fixed
 */
#include "02_stencil.h"
#include <math.h>
#include <mpix_rfaas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64, STEPS = 50 }; /* rows of each rank */

static void check(int code, const char *what)
{
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (code == MPI_SUCCESS)
        return;
    MPI_Error_string(code, text, &length);
    fprintf(stderr, "02_overlap: %s: %s\n", what, text);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* What a rank has to know to make a step. */
static struct {
    int above, below; /* ranks, or MPI_PROC_NULL */
    MPI_Datatype row;
    MPIX_Function function;
    MPIX_Lease lease;
} my;

static void step(double (*old)[COLUMNS], double (*new)[COLUMNS])
{
    const double(*from)[COLUMNS] = (const double(*)[COLUMNS])old;
    MPI_Request requests[5];
    MPI_Status statuses[5];
    MPI_Comm world = MPI_COMM_WORLD;
    int half = ROWS / 2, rows;

    check(MPI_Irecv(old[0], 1, my.row, my.above, 0, world, &requests[0]), "recv");
    check(MPI_Irecv(old[ROWS + 1], 1, my.row, my.below, 0, world, &requests[1]),
          "recv");
    check(MPI_Isend(old[1], 1, my.row, my.above, 0, world, &requests[2]), "send");
    check(MPI_Isend(old[ROWS], 1, my.row, my.below, 0, world, &requests[3]), "send");
    check(MPIX_Iinvoke(my.function, old[1], half + 1, my.row, new[2], half - 1, my.row,
                       MPIX_ANY_WORKER, my.lease, &requests[4]),
          "MPIX_Iinvoke");

    stencil(from + half, new + half + 1, ROWS - 1 - half);

    int code = MPI_Waitall(5, requests, statuses);
    if (code == MPI_ERR_IN_STATUS) /* then each status has its own */
        for (int i = 0; i < 5; i++)
            check(statuses[i].MPI_ERROR, i == 4 ? "invocation" : "halo");
    check(code, "MPI_Waitall");
    check(MPI_Get_count(&statuses[4], my.row, &rows), "MPI_Get_count");
    if (statuses[4].MPI_TAG != 0 || rows != half - 1) {
        fprintf(stderr, "02_overlap: the function returned %d and %d rows\n",
                statuses[4].MPI_TAG, rows);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    stencil(from, new + 1, 1);
    stencil(from + ROWS - 1, new + ROWS, 1);
}

/* A warm spot in the middle, cold edges. */
static void fill(double (*grid)[COLUMNS], int first, int rows, int all_rows)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < COLUMNS; j++)
            grid[i][j] = abs(first + i - all_rows / 2) < 8 && abs(j - COLUMNS / 2) < 8;
}

/* The largest difference of the band, which begins at row `first`, from the same rows
 * of the whole grid, computed without anybody's help. */
static double compare(const double (*band)[COLUMNS], int first, int all_rows)
{
    size_t size = (size_t)(all_rows + 2) * sizeof *band;
    double(*old)[COLUMNS] = malloc(size), (*new)[COLUMNS] = malloc(size);
    double worst = 0;
    if (!old || !new)
        check(MPI_ERR_NO_MEM, "malloc");
    fill(old, 0, all_rows + 2, all_rows + 2);
    memcpy(new, old, size);
    for (int i = 0; i < STEPS; i++) {
        stencil((const double(*)[COLUMNS])old, new + 1, all_rows);
        memcpy(old, new, size);
    }
    for (int i = 1; i <= ROWS; i++)
        for (int j = 0; j < COLUMNS; j++) {
            double difference = fabs(band[i][j] - old[first + i][j]);
            if (!(difference <= worst)) /* so that NaN isn't overlooked */
                worst = difference;
        }
    free(old);
    free(new);
    return worst;
}

/* Offers a core to each rank's worker, even if that makes them share some with ranks.
 * A program that is to gain by it leaves `cores` alone: workers then have cores of
 * their own, and a rank that gets no worker computes all of its rows itself. */
static void create_pool(int ranks, MPIX_Pool *pool)
{
    MPI_Info info;
    char cores[16];
    snprintf(cores, sizeof cores, "%d", ranks);
    check(MPI_Info_create(&info), "MPI_Info_create");
    check(MPI_Info_set(info, "cores", cores), "MPI_Info_set");
    check(MPIX_Pool_create(MPI_COMM_WORLD, info, pool), "MPIX_Pool_create");
    check(MPI_Info_free(&info), "MPI_Info_free");
}

int main(int argc, char **argv)
{
    MPIX_Pool pool;
    MPIX_Usage usage;
    double(*grids[2])[COLUMNS];
    const char *library = argc > 1 ? argv[1] : FUNCTIONS;
    int rank, ranks;

    check(MPI_Init(&argc, &argv), "MPI_Init");
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "errhandler");
    check(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
    check(MPI_Comm_size(MPI_COMM_WORLD, &ranks), "MPI_Comm_size");
    my.above = rank > 0 ? rank - 1 : MPI_PROC_NULL;
    my.below = rank < ranks - 1 ? rank + 1 : MPI_PROC_NULL;
    check(MPI_Type_contiguous(COLUMNS, MPI_DOUBLE, &my.row), "MPI_Type_contiguous");
    check(MPI_Type_commit(&my.row), "MPI_Type_commit");

    create_pool(ranks, &pool);
    check(MPIX_Function_load(pool, library, "step", &my.function),
          "MPIX_Function_load");
    check(MPIX_Lease_acquire(pool, 1, MPI_INFO_NULL, &my.lease), "MPIX_Lease_acquire");
    /* Workers read this memory where it is, and results are written there directly. Any
     * other works too, but is copied once more. */
    for (int i = 0; i < 2; i++) {
        check(MPIX_Pool_alloc_mem((ROWS + 2) * sizeof *grids[i], pool, &grids[i]),
              "MPIX_Pool_alloc_mem");
        fill(grids[i], rank * ROWS, ROWS + 2, ranks * ROWS + 2);
    }

    for (int i = 0; i < STEPS; i++)
        step(grids[i % 2], grids[(i + 1) % 2]);

    double worst =
        compare((const double(*)[COLUMNS])grids[STEPS % 2], rank * ROWS, ranks * ROWS);
    check(MPIX_Lease_get_usage(my.lease, &usage), "MPIX_Lease_get_usage");
    printf("rank %d: %d steps, %llu invocations, largest difference from serial %g\n",
           rank, STEPS, (unsigned long long)usage.invocations, worst);

    for (int i = 0; i < 2; i++)
        check(MPIX_Pool_free_mem(pool, grids[i]), "MPIX_Pool_free_mem");
    check(MPIX_Lease_release(&my.lease), "MPIX_Lease_release");
    check(MPIX_Function_free(&my.function), "MPIX_Function_free");
    check(MPIX_Pool_free(&pool), "MPIX_Pool_free");
    check(MPI_Type_free(&my.row), "MPI_Type_free");
    check(MPI_Finalize(), "MPI_Finalize");
    return !(worst < 1e-12) || usage.invocations != STEPS;
}
