/* 05_jacobi: about half of the rows offloaded while halos are exchanged; what it gains.
 *
 *     mpirun -n 2 mpi_examples/05_jacobi [-n SIZE] [-s STEPS] [FUNCTION-LIBRARY]
 *
 * A grid of SIZE x SIZE points, on a cylinder: the first row lies below the last one.
 * It is cut into bands of rows, one for each rank. A step is DEPTH sweeps, and takes as
 * many rows of halo. The same steps are made by the ranks alone, then with a worker for
 * each of them:
 *
 *     DEPTH rows    halo: the last rows of the rank above
 *     DEPTH rows    need the halo: computed last
 *     almost half   a worker, in CHUNKS invocations
 *     the others    this rank, meanwhile
 *     DEPTH rows    need the halo: computed last
 *     DEPTH rows    halo: the first rows of the rank below
 */
#include "05_sweeps.h"
#include "comparison.h"
#include <mpix_rfaas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A worker's chunks: while it computes one, the next comes in. Each costs DEPTH - 1
 * rows that the next computes too. */
enum { CHUNKS = 2, HALOS = 4, REQUESTS = HALOS + CHUNKS };

/* What a rank has to know to make a step. Its rows have the numbers 0 to rows - 1. */
static struct {
    int size, steps;
    int rank, ranks, first, rows;
    int workers, offloaded; /* the worker's rows: DEPTH .. DEPTH + offloaded - 1 */
    MPI_Datatype row;
    MPIX_Pool pool;
    MPIX_Function jacobi, nothing;
    MPIX_Lease lease;
    double *grids[2], *scratch;
} my = {.size = 512, .steps = 10};

static void check(int code, const char *what)
{
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (code == MPI_SUCCESS)
        return;
    MPI_Error_string(code, text, &length);
    fprintf(stderr, "05_jacobi: %s: %s\n", what, text);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static double *row(double *grid, int i)
{
    return grid + (size_t)(DEPTH + i) * (size_t)my.size;
}

static void start_halos(double *grid, MPI_Request requests[HALOS])
{
    MPI_Comm world = MPI_COMM_WORLD;
    int above = (my.rank + my.ranks - 1) % my.ranks, below = (my.rank + 1) % my.ranks;
    enum { UP, DOWN };
    check(MPI_Irecv(row(grid, -DEPTH), DEPTH, my.row, above, DOWN, world, requests),
          "MPI_Irecv");
    check(MPI_Irecv(row(grid, my.rows), DEPTH, my.row, below, UP, world, requests + 1),
          "MPI_Irecv");
    check(MPI_Isend(row(grid, 0), DEPTH, my.row, above, UP, world, requests + 2),
          "MPI_Isend");
    check(MPI_Isend(row(grid, my.rows - DEPTH), DEPTH, my.row, below, DOWN, world,
                    requests + 3),
          "MPI_Isend");
}

/* Rows are contiguous and the grids are memory of the pool, so nothing is copied on the
 * way there. Chunks may read the same rows at the same time. */
static void start_chunks(MPIX_Function function, double *old, double *new,
                         MPI_Request requests[CHUNKS])
{
    for (int i = 0; i < CHUNKS; i++) {
        int begin = DEPTH + my.offloaded * i / CHUNKS;
        int rows = DEPTH + my.offloaded * (i + 1) / CHUNKS - begin;
        requests[i] = MPI_REQUEST_NULL;
        if (rows > 0)
            check(MPIX_Iinvoke(function, row(old, begin - DEPTH), rows + 2 * DEPTH,
                               my.row, row(new, begin), rows, my.row, MPIX_ANY_WORKER,
                               my.lease, &requests[i]),
                  "MPIX_Iinvoke");
    }
}

static void finish(int count, MPI_Request requests[])
{
    MPI_Status statuses[REQUESTS];
    int code = MPI_Waitall(count, requests, statuses);
    if (code == MPI_ERR_IN_STATUS) /* then each status has its own */
        for (int i = 0; i < count; i++)
            check(statuses[i].MPI_ERROR, "chunk or halo");
    check(code, "MPI_Waitall");
    for (int i = 0; i < CHUNKS; i++)
        if (my.offloaded > 0 && statuses[count - CHUNKS + i].MPI_TAG > 0)
            check(MPI_ERR_OTHER, "the function returned an error");
}

static void compute(double *old, double *new, int begin, int end)
{
    sweeps(row(old, begin - DEPTH), row(new, begin), end - begin, my.size, my.scratch);
}

static void step(double *old, double *new)
{
    MPI_Request requests[REQUESTS];
    start_halos(old, requests);
    start_chunks(my.jacobi, old, new, requests + HALOS);
    compute(old, new, DEPTH + my.offloaded, my.rows - DEPTH);
    finish(REQUESTS, requests);
    compute(old, new, 0, DEPTH);
    compute(old, new, my.rows - DEPTH, my.rows);
}

/* The same bytes to the worker and back, and no work: no step can be faster. */
static void transfer(double *old, double *new)
{
    MPI_Request requests[CHUNKS];
    start_chunks(my.nothing, old, new, requests);
    finish(CHUNKS, requests);
}

static double initial(int i, int j)
{
    return (i * 31 + j * 17) % 97 / 97.0;
}

/* Makes the steps. Returns the median of the seconds of one, of the slowest rank. */
static double run(void (*make)(double *old, double *new))
{
    double *times = malloc((size_t)my.steps * sizeof *times), median;
    if (!times)
        check(MPI_ERR_NO_MEM, "malloc");
    make(my.grids[0], my.grids[1]); /* memory is met for the first time */
    for (int i = 0; i < my.rows; i++)
        for (int j = 0; j < my.size; j++)
            row(my.grids[0], i)[j] = initial(my.first + i, j);
    check(MPI_Barrier(MPI_COMM_WORLD), "MPI_Barrier");
    for (int i = 0; i < my.steps; i++) {
        double begin = MPI_Wtime();
        make(my.grids[i % 2], my.grids[(i + 1) % 2]);
        times[i] = MPI_Wtime() - begin;
    }
    median = median_of_slowest(times, my.steps);
    free(times);
    return median;
}

/* The whole grid after all sweeps, plainly: one sweep after the other. The caller frees
 * it. */
static double *run_plainly(void)
{
    int n = my.size;
    double *old = malloc((size_t)n * (size_t)n * sizeof *old);
    double *new = malloc((size_t)n * (size_t)n * sizeof *new);
    if (!old || !new)
        check(MPI_ERR_NO_MEM, "malloc");
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            old[(size_t)i * n + j] = initial(i, j);
    for (int sweep = 0; sweep < my.steps * DEPTH; sweep++) {
        for (int i = 0; i < n; i++) {
            size_t begin = (size_t)i * (size_t)n;
            const double *here = old + begin;
            const double *above = old + (size_t)((i + n - 1) % n) * n;
            const double *below = old + (size_t)((i + 1) % n) * n;
            double *to = new + begin;
            to[0] = here[0];
            for (int j = 1; j < n - 1; j++)
                to[j] = mean(above, here, below, j);
            to[n - 1] = here[n - 1];
        }
        double *swap = old;
        old = new;
        new = swap;
    }
    free(new);
    return old;
}

/* The largest difference of all ranks' results from the plain run's. */
static double compare(const double *plain)
{
    double worst = 0, *result = row(my.grids[my.steps % 2], 0);
    plain += (size_t)my.first * (size_t)my.size;
    for (size_t i = 0; i < (size_t)my.rows * (size_t)my.size; i++)
        worst = larger(worst, fabs(result[i] - plain[i]));
    return largest_of_all(worst);
}

/* One worker, or none: the rank then computes all of its rows itself. */
static void acquire(void)
{
    int code = MPIX_Lease_acquire(my.pool, 1, MPI_INFO_NULL, &my.lease), class;
    check(MPI_Error_class(code, &class), "MPI_Error_class");
    if (class != MPIX_ERR_NO_RESOURCES) {
        check(code, "MPIX_Lease_acquire");
        my.workers = 1;
        my.offloaded = (my.rows - 2 * DEPTH) / 2;
    }
}

static int read_arguments(int argc, char **argv)
{
    int option;
    while ((option = getopt(argc, argv, "n:s:")) != -1) {
        int value = optarg ? atoi(optarg) : 0;
        if (option == 'n' && value > 0 && value <= 32768)
            my.size = value;
        else if (option == 's' && value > 0 && value <= 1000000)
            my.steps = value;
        else
            return 0;
    }
    my.first = (int)((long long)my.size * my.rank / my.ranks);
    my.rows = (int)((long long)my.size * (my.rank + 1) / my.ranks) - my.first;
    return my.size / my.ranks >= 4 * DEPTH;
}

static void set_up(const char *library)
{
    size_t row_size = (size_t)my.size * sizeof(double);
    check(MPI_Type_contiguous(my.size, MPI_DOUBLE, &my.row), "MPI_Type_contiguous");
    check(MPI_Type_commit(&my.row), "MPI_Type_commit");
    check(MPIX_Pool_create(MPI_COMM_WORLD, MPI_INFO_NULL, &my.pool),
          "MPIX_Pool_create");
    check(MPIX_Function_load(my.pool, library, "jacobi", &my.jacobi),
          "MPIX_Function_load");
    check(MPIX_Function_load(my.pool, library, "nothing", &my.nothing),
          "MPIX_Function_load");
    for (int i = 0; i < 2; i++)
        check(MPIX_Pool_alloc_mem((MPI_Aint)((size_t)(my.rows + 2 * DEPTH) * row_size),
                                  my.pool, &my.grids[i]),
              "MPIX_Pool_alloc_mem");
    my.scratch = malloc(3 * DEPTH * row_size);
    if (!my.scratch)
        check(MPI_ERR_NO_MEM, "malloc");
}

/* A worker also has to send its rows back. It gets as many fewer than half as make both
 * sides end together. */
static void share(double alone)
{
    my.offloaded = (int)(my.offloaded / (1 + run(transfer) / alone));
}

static double measure(void)
{
    struct comparison c = {.rows = my.rows};
    double *plain = run_plainly();
    c.alone = run(step);
    c.difference = compare(plain);
    acquire();
    share(c.alone);
    c.workers = my.workers;
    c.offloaded = my.offloaded;
    c.transfer = run(transfer);
    c.hybrid = run(step);
    c.difference = larger(c.difference, compare(plain));
    free(plain);
    if (my.rank == 0)
        printf("size                %12d\n"
               "steps               %12d     of %d sweeps; times are medians\n"
               "ranks               %12d\n",
               my.size, my.steps, DEPTH, my.ranks);
    print_comparison(&c);
    return c.difference;
}

static void clean_up(void)
{
    free(my.scratch);
    for (int i = 0; i < 2; i++)
        check(MPIX_Pool_free_mem(my.pool, my.grids[i]), "MPIX_Pool_free_mem");
    if (my.lease != MPIX_LEASE_NULL)
        check(MPIX_Lease_release(&my.lease), "MPIX_Lease_release");
    check(MPIX_Function_free(&my.jacobi), "MPIX_Function_free");
    check(MPIX_Function_free(&my.nothing), "MPIX_Function_free");
    check(MPIX_Pool_free(&my.pool), "MPIX_Pool_free");
    check(MPI_Type_free(&my.row), "MPI_Type_free");
}

int main(int argc, char **argv)
{
    double difference;
    check(MPI_Init(&argc, &argv), "MPI_Init");
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "errhandler");
    check(MPI_Comm_rank(MPI_COMM_WORLD, &my.rank), "MPI_Comm_rank");
    check(MPI_Comm_size(MPI_COMM_WORLD, &my.ranks), "MPI_Comm_size");
    if (!read_arguments(argc, argv)) {
        if (my.rank == 0)
            fprintf(stderr,
                    "Usage: 05_jacobi [-n SIZE] [-s STEPS] [FUNCTION-LIBRARY]\n"
                    "SIZE: at least %d rows for each rank\n",
                    4 * DEPTH);
        check(MPI_Finalize(), "MPI_Finalize");
        return 2;
    }
    set_up(optind < argc ? argv[optind] : FUNCTIONS);

    difference = measure();
    clean_up();
    check(MPI_Finalize(), "MPI_Finalize");
    return !(difference < 1e-12);
}
