/* 01_hello: a pool, a lease, a function, one invocation and its status.
 *
 *     mpirun -n 2 mpi_examples/01_hello [FUNCTION-LIBRARY]
 */
#include <mpix_rfaas.h>
#include <stdio.h>
#include <string.h>

static void check(int code, const char *what)
{
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (code == MPI_SUCCESS)
        return;
    MPI_Error_string(code, text, &length);
    fprintf(stderr, "01_hello: %s: %s\n", what, text);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* A lease on one worker. Where ranks outnumber the free cores they take turns: each
 * waits at most a minute for the one before it to release its lease. */
static void acquire(MPIX_Pool pool, MPIX_Lease *lease)
{
    MPI_Info info;
    check(MPI_Info_create(&info), "MPI_Info_create");
    check(MPI_Info_set(info, "wait_seconds", "60"), "MPI_Info_set");
    check(MPIX_Lease_acquire(pool, 1, info, lease), "MPIX_Lease_acquire");
    check(MPI_Info_free(&info), "MPI_Info_free");
}

int main(int argc, char **argv)
{
    MPIX_Pool pool;
    MPIX_Function greet;
    MPIX_Lease lease;
    MPI_Request request;
    MPI_Status status;
    char name[32], expected[64], greeting[128] = "";
    int rank, length;

    check(MPI_Init(&argc, &argv), "MPI_Init");
    /* Errors come back as return values; otherwise MPI would end the job itself. The
     * pool has the error handler of its communicator. */
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN),
          "MPI_Comm_set_errhandler");
    check(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");

    /* Collective: starts a manager in rank 0 and an executor on each node, which
     * offers the cores that no rank has. */
    check(MPIX_Pool_create(MPI_COMM_WORLD, MPI_INFO_NULL, &pool), "MPIX_Pool_create");
    /* A function is a symbol of a shared library. */
    check(MPIX_Function_load(pool, argc > 1 ? argv[1] : FUNCTIONS, "greet", &greet),
          "MPIX_Function_load");
    acquire(pool, &lease);

    /* Input and output are buffers as MPI knows them: address, count, datatype. The
     * request is one like any other. */
    snprintf(name, sizeof name, "rank %d", rank);
    check(MPIX_Iinvoke(greet, name, (MPI_Count)strlen(name), MPI_CHAR, greeting,
                       sizeof greeting - 1, MPI_CHAR, MPIX_ANY_WORKER, lease, &request),
          "MPIX_Iinvoke");
    check(MPI_Wait(&request, &status), "MPI_Wait");

    /* The count is what the function wrote, the source is the worker that ran it, the
     * tag is what the function returned. */
    check(MPI_Get_count(&status, MPI_CHAR, &length), "MPI_Get_count");
    printf("rank %d got \"%s\": %d characters from worker %d, which returned %d\n",
           rank, greeting, length, status.MPI_SOURCE, status.MPI_TAG);

    check(MPIX_Lease_release(&lease), "MPIX_Lease_release");
    check(MPIX_Function_free(&greet), "MPIX_Function_free");
    check(MPIX_Pool_free(&pool), "MPIX_Pool_free");
    check(MPI_Finalize(), "MPI_Finalize");

    snprintf(expected, sizeof expected, "hello rank %d, this is worker 0 of 1", rank);
    return strcmp(greeting, expected) != 0 || length != (int)strlen(expected) ||
           status.MPI_SOURCE != 0 || status.MPI_TAG != 0;
}
