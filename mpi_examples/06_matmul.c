/* 06_matmul: a matrix multiplication of which workers do half, and what it gains.
 *
 *     mpirun -n 2 mpi_examples/06_matmul [-n SIZE] [-r REPEAT] [FUNCTION-LIBRARY]
 *
 * c = a b, SIZE x SIZE each. A rank has some rows of a and c, and all of b; a worker
 * computes the lower half of these rows while the rank computes the upper one. What a
 * worker needs lies in one piece of memory:
 *
 *     the rank's rows of a | the worker's rows of a | b
 *                           `---- the input ---------'
 *
 * A worker gets all of its rows in one invocation: each would bring it b once more.
 */
#include "06_multiply.h"
#include "comparison.h"
#include <mpix_rfaas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Rows that are compared with what plain loops give: every so many. */
enum { SAMPLE = 7 };

static struct {
    int size, repeat;
    int rank, ranks, first, rows; /* rows of a and c: first .. first + rows - 1 */
    int workers, own;             /* rows that this rank computes itself */
    MPI_Datatype row;
    MPIX_Pool pool;
    MPIX_Function matmul, nothing;
    MPIX_Lease lease;
    double *a, *b, *c;
} my = {.size = 256, .repeat = 5};

static void check(int code, const char *what)
{
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (code == MPI_SUCCESS)
        return;
    MPI_Error_string(code, text, &length);
    fprintf(stderr, "06_matmul: %s: %s\n", what, text);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static double *row(double *matrix, int i)
{
    return matrix + (size_t)i * (size_t)my.size;
}

static void start(MPIX_Function function, MPI_Request *request)
{
    int rows = my.rows - my.own;
    *request = MPI_REQUEST_NULL;
    if (rows > 0)
        check(MPIX_Iinvoke(function, row(my.a, my.own), rows + my.size, my.row,
                           row(my.c, my.own), rows, my.row, MPIX_ANY_WORKER, my.lease,
                           request),
              "MPIX_Iinvoke");
}

static void finish(MPI_Request *request)
{
    MPI_Status status;
    int given = *request != MPI_REQUEST_NULL;
    check(MPI_Wait(request, &status), "invocation");
    if (given && status.MPI_TAG != 0)
        check(MPI_ERR_OTHER, "the function returned an error");
}

static void multiply_together(void)
{
    MPI_Request request;
    start(my.matmul, &request);
    multiply(my.a, my.b, my.c, my.own, my.size);
    finish(&request);
}

/* The same bytes to the worker and back, and no work: nothing can be faster. */
static void transfer(void)
{
    MPI_Request request;
    start(my.nothing, &request);
    finish(&request);
}

/* The median of `repeat` times, in seconds, of the slowest rank. */
static double run(void (*work)(void))
{
    double *times = malloc((size_t)my.repeat * sizeof *times), median;
    if (!times)
        check(MPI_ERR_NO_MEM, "malloc");
    work(); /* memory is met for the first time */
    memset(my.c, 0xff, (size_t)my.rows * (size_t)my.size * sizeof *my.c); /* NaN */
    for (int i = 0; i < my.repeat; i++) {
        check(MPI_Barrier(MPI_COMM_WORLD), "MPI_Barrier");
        double begin = MPI_Wtime();
        work();
        times[i] = MPI_Wtime() - begin;
    }
    median = median_of_slowest(times, my.repeat);
    free(times);
    return median;
}

/* How far some of the rows are off from what the definition of the product gives. */
static double compare_plainly(double *sums)
{
    double worst = 0;
    for (int i = 0; i < my.rows; i += SAMPLE) {
        memset(sums, 0, (size_t)my.size * sizeof *sums);
        for (int k = 0; k < my.size; k++)
            for (int j = 0; j < my.size; j++)
                sums[j] += row(my.a, i)[k] * row(my.b, k)[j];
        for (int j = 0; j < my.size; j++)
            worst = larger(worst, fabs(row(my.c, i)[j] - sums[j]) / my.size);
    }
    return worst;
}

/* How far all rows are off from those that the ranks have computed alone. */
static double compare(const double *alone)
{
    double worst = 0;
    for (size_t i = 0; i < (size_t)my.rows * (size_t)my.size; i++)
        worst = larger(worst, fabs(my.c[i] - alone[i]) / my.size);
    return worst;
}

/* One worker, or none: the rank then computes all of its rows itself. */
static void acquire(void)
{
    int code = MPIX_Lease_acquire(my.pool, 1, MPI_INFO_NULL, &my.lease), class;
    check(MPI_Error_class(code, &class), "MPI_Error_class");
    if (class != MPIX_ERR_NO_RESOURCES) {
        check(code, "MPIX_Lease_acquire");
        my.workers = 1;
        my.own = (my.rows / TILE + 1) / 2 * TILE;
    }
}

static int read_arguments(int argc, char **argv)
{
    int option;
    while ((option = getopt(argc, argv, "n:r:")) != -1) {
        int value = optarg ? atoi(optarg) : 0;
        if (option == 'n' && value > 0 && value <= 32768 && value % TILE == 0)
            my.size = value;
        else if (option == 'r' && value > 0 && value <= 1000000)
            my.repeat = value;
        else
            return 0;
    }
    int tiles = my.size / TILE;
    my.first = (int)((long long)tiles * my.rank / my.ranks) * TILE;
    my.rows = (int)((long long)tiles * (my.rank + 1) / my.ranks) * TILE - my.first;
    my.own = my.rows;
    return 1;
}

static void allocate(void)
{
    size_t row_size = (size_t)my.size * sizeof(double);
    size_t rows = (size_t)my.rows, size = (size_t)my.size;
    check(MPIX_Pool_alloc_mem((MPI_Aint)((rows + size) * row_size), my.pool, &my.a),
          "MPIX_Pool_alloc_mem");
    my.b = row(my.a, my.rows);
    check(MPIX_Pool_alloc_mem((MPI_Aint)(rows * row_size + 1), my.pool, &my.c),
          "MPIX_Pool_alloc_mem");
    for (int j = 0; j < my.size; j++) {
        for (int i = 0; i < my.rows; i++)
            row(my.a, i)[j] = ((my.first + i) * 31 + j * 17) % 97 / 97.0;
        for (int i = 0; i < my.size; i++)
            row(my.b, i)[j] = (i * 13 + j * 29) % 89 / 89.0;
    }
}

static void set_up(const char *library)
{
    check(MPI_Type_contiguous(my.size, MPI_DOUBLE, &my.row), "MPI_Type_contiguous");
    check(MPI_Type_commit(&my.row), "MPI_Type_commit");
    check(MPIX_Pool_create(MPI_COMM_WORLD, MPI_INFO_NULL, &my.pool),
          "MPIX_Pool_create");
    check(MPIX_Function_load(my.pool, library, "matmul", &my.matmul),
          "MPIX_Function_load");
    check(MPIX_Function_load(my.pool, library, "nothing", &my.nothing),
          "MPIX_Function_load");
    allocate();
}

static void clean_up(void)
{
    check(MPIX_Pool_free_mem(my.pool, my.a), "MPIX_Pool_free_mem");
    check(MPIX_Pool_free_mem(my.pool, my.c), "MPIX_Pool_free_mem");
    if (my.lease != MPIX_LEASE_NULL)
        check(MPIX_Lease_release(&my.lease), "MPIX_Lease_release");
    check(MPIX_Function_free(&my.matmul), "MPIX_Function_free");
    check(MPIX_Function_free(&my.nothing), "MPIX_Function_free");
    check(MPIX_Pool_free(&my.pool), "MPIX_Pool_free");
    check(MPI_Type_free(&my.row), "MPI_Type_free");
}

/* Multiplies alone, then together. Returns how far the results are off. */
static double measure(void)
{
    struct comparison c = {.rows = my.rows};
    size_t bytes = (size_t)my.rows * (size_t)my.size * sizeof(double);
    double *alone = malloc(bytes + 1), *sums = malloc((size_t)my.size * sizeof *sums);
    if (!alone || !sums)
        check(MPI_ERR_NO_MEM, "malloc");
    c.alone = run(multiply_together);
    memcpy(alone, my.c, bytes);
    acquire();
    c.workers = my.workers;
    c.offloaded = my.rows - my.own;
    c.transfer = run(transfer);
    c.hybrid = run(multiply_together);
    c.difference = largest_of_all(larger(compare_plainly(sums), compare(alone)));
    free(alone);
    free(sums);
    if (my.rank == 0)
        printf("size                %12d\n"
               "repeat              %12d     times are medians\n"
               "ranks               %12d\n",
               my.size, my.repeat, my.ranks);
    print_comparison(&c);
    return c.difference;
}

int main(int argc, char **argv)
{
    double worst;
    check(MPI_Init(&argc, &argv), "MPI_Init");
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "errhandler");
    check(MPI_Comm_rank(MPI_COMM_WORLD, &my.rank), "MPI_Comm_rank");
    check(MPI_Comm_size(MPI_COMM_WORLD, &my.ranks), "MPI_Comm_size");
    if (!read_arguments(argc, argv)) {
        if (my.rank == 0)
            fprintf(stderr,
                    "Usage: 06_matmul [-n SIZE] [-r REPEAT] [FUNCTION-LIBRARY]\n"
                    "SIZE: a multiple of %d\n",
                    TILE);
        check(MPI_Finalize(), "MPI_Finalize");
        return 2;
    }
    set_up(optind < argc ? argv[optind] : FUNCTIONS);
    worst = measure();
    clean_up();
    check(MPI_Finalize(), "MPI_Finalize");
    return !(worst < 1e-14);
}
