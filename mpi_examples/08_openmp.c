/* 08_openmp: ranks with OpenMP threads, and workers beside them.
 *
 *     mpirun -n 2 mpi_examples/08_openmp [funneled|multiple] [FUNCTION-LIBRARY]
 *
 * With MPI_THREAD_FUNNELED the main thread alone calls MPI: it invokes for all and then
 * computes as the other threads do. With MPI_THREAD_MULTIPLE each thread invokes for
 * itself, on a lease that they share.
 */
#include "08_collatz.h"
#include <mpix_rfaas.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

/* Numbers are dealt with CHUNK at a time. Workers do those from OWN chunks on. */
enum { CHUNK = 1000, CHUNKS = 32, OWN = CHUNKS / 2 };

static struct {
    int rank;
    MPIX_Function count_steps;
    MPIX_Lease lease;
    int64_t numbers[CHUNKS][CHUNK];
    int steps[CHUNKS][CHUNK];
} my;

static void check(int code, const char *what)
{
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (code == MPI_SUCCESS)
        return;
    MPI_Error_string(code, text, &length);
    fprintf(stderr, "08_openmp: %s: %s\n", what, text);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static void compute(int chunk)
{
    for (int i = 0; i < CHUNK; i++)
        my.steps[chunk][i] = collatz(my.numbers[chunk][i]);
}

static void start(int chunk, MPI_Request *request)
{
    check(MPIX_Iinvoke(my.count_steps, my.numbers[chunk], CHUNK, MPI_INT64_T,
                       my.steps[chunk], CHUNK, MPI_INT, MPIX_ANY_WORKER, my.lease,
                       request),
          "MPIX_Iinvoke");
}

static void finish(MPI_Request *request)
{
    MPI_Status status;
    check(MPI_Wait(request, &status), "invocation");
    if (status.MPI_TAG != 0)
        check(MPI_ERR_OTHER, "the function returned an error");
}

/* The main thread goes into the parallel region as number 0 of the team. */
static void compute_funneled(void)
{
    MPI_Request requests[CHUNKS - OWN];
#pragma omp parallel
    {
#pragma omp master
        for (int i = OWN; i < CHUNKS; i++)
            start(i, &requests[i - OWN]);
#pragma omp for schedule(dynamic) nowait
        for (int i = 0; i < OWN; i++)
            compute(i);
#pragma omp master
        for (int i = OWN; i < CHUNKS; i++)
            finish(&requests[i - OWN]);
    }
}

static void compute_multiple(void)
{
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < OWN; i++) {
        MPI_Request request;
        start(OWN + i, &request);
        compute(i);
        finish(&request);
    }
}

/* Workers may share cores with ranks here, so that each rank has one on any machine. */
static void create_pool(MPIX_Pool *pool)
{
    MPI_Info info;
    int ranks;
    char cores[16];
    check(MPI_Comm_size(MPI_COMM_WORLD, &ranks), "MPI_Comm_size");
    snprintf(cores, sizeof cores, "%d", ranks);
    check(MPI_Info_create(&info), "MPI_Info_create");
    check(MPI_Info_set(info, "cores", cores), "MPI_Info_set");
    check(MPIX_Pool_create(MPI_COMM_WORLD, info, pool), "MPIX_Pool_create");
    check(MPI_Info_free(&info), "MPI_Info_free");
}

static int count_wrong(void)
{
    int wrong = 0;
    for (int i = 0; i < CHUNKS; i++)
        for (int j = 0; j < CHUNK; j++)
            wrong += my.steps[i][j] != collatz(my.numbers[i][j]);
    return wrong;
}

int main(int argc, char **argv)
{
    int multiple = argc > 1 && strcmp(argv[1], "multiple") == 0;
    int wanted = multiple ? MPI_THREAD_MULTIPLE : MPI_THREAD_FUNNELED, provided;
    const char *library = argc > 2 ? argv[2] : FUNCTIONS;
    MPIX_Pool pool;
    MPIX_Usage usage;

    check(MPI_Init_thread(&argc, &argv, wanted, &provided), "MPI_Init_thread");
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "errhandler");
    if (provided < wanted)
        check(MPI_ERR_OTHER, "this MPI doesn't have the wanted level of threads");
    check(MPI_Comm_rank(MPI_COMM_WORLD, &my.rank), "MPI_Comm_rank");
    create_pool(&pool);
    check(MPIX_Function_load(pool, library, "count_steps", &my.count_steps),
          "MPIX_Function_load");
    check(MPIX_Lease_acquire(pool, 1, MPI_INFO_NULL, &my.lease), "MPIX_Lease_acquire");
    for (int i = 0; i < CHUNKS * CHUNK; i++)
        my.numbers[i / CHUNK][i % CHUNK] = my.rank * CHUNKS * CHUNK + i + 1;

    if (multiple)
        compute_multiple();
    else
        compute_funneled();

    int wrong = count_wrong();
    check(MPIX_Lease_get_usage(my.lease, &usage), "MPIX_Lease_get_usage");
    printf("rank %d: %d threads, %s, %d chunks, %llu of them by a worker, %d wrong\n",
           my.rank, omp_get_max_threads(), multiple ? "multiple" : "funneled", CHUNKS,
           (unsigned long long)usage.invocations, wrong);
    check(MPIX_Lease_release(&my.lease), "MPIX_Lease_release");
    check(MPIX_Function_free(&my.count_steps), "MPIX_Function_free");
    check(MPIX_Pool_free(&pool), "MPIX_Pool_free");
    check(MPI_Finalize(), "MPI_Finalize");
    return wrong != 0 || usage.invocations != CHUNKS - OWN;
}
