/* 04_errors: what can go wrong, how a program learns of it, and that it goes on.
 *
 *     mpirun -n 2 mpi_examples/04_errors [FUNCTION-LIBRARY]
 */
#include <mpix_rfaas.h>
#include <stdio.h>
#include <string.h>

enum { N = 4 };

static int rank, surprises;

static void check(int code, const char *what)
{
    char text[MPI_MAX_ERROR_STRING];
    int length;
    if (code == MPI_SUCCESS)
        return;
    MPI_Error_string(code, text, &length);
    fprintf(stderr, "04_errors: %s: %s\n", what, text);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* Says how something ended, and whether that is what was expected. The class of a code
 * tells the kind of error, its string who, where and why. */
static void report(const char *what, int code, int expected_class)
{
    char text[MPI_MAX_ERROR_STRING];
    int class, length;
    check(MPI_Error_class(code, &class), "MPI_Error_class");
    check(MPI_Error_string(code, text, &length), "MPI_Error_string");
    if (class != expected_class)
        surprises++;
    printf("rank %d: %s: %s%s\n", rank, what, text,
           class == expected_class ? "" : " (unexpected)");
}

static void load(MPIX_Pool pool, const char *library, const char *name,
                 MPIX_Function *function)
{
    check(MPIX_Function_load(pool, library, name, function), name);
}

/* A function's return value is no error of MPI's: it is in the tag, and what it means
 * is between the function and its caller. */
static void use_return_value(MPIX_Function roots, MPIX_Lease lease)
{
    int in[N] = {1, 4, -9, 16}, out[N];
    MPI_Status status;
    report("roots of 1 4 -9 16",
           MPIX_Invoke(roots, in, N, MPI_INT, out, N, MPI_INT, 0, lease, &status),
           MPI_SUCCESS);
    printf("rank %d: the function returned %d\n", rank, status.MPI_TAG);
    surprises += status.MPI_TAG != 3;
}

/* A crash ends one invocation. Those that wait behind it run on the worker that takes
 * the place of the lost one. */
static void survive_crash(MPIX_Function roots, MPIX_Function crash, MPIX_Lease lease)
{
    int in[N] = {1, 4, 9, 16}, out[3][N] = {{0}}, right[N] = {1, 2, 3, 4};
    MPIX_Function functions[3] = {roots, crash, roots};
    MPI_Request requests[3];
    for (int i = 0; i < 3; i++)
        check(MPIX_Iinvoke(functions[i], in, N, MPI_INT, out[i], N, MPI_INT,
                           MPIX_ANY_WORKER, lease, &requests[i]),
              "MPIX_Iinvoke");
    report("before the crash", MPI_Wait(&requests[0], MPI_STATUS_IGNORE), MPI_SUCCESS);
    report("the crash", MPI_Wait(&requests[1], MPI_STATUS_IGNORE), MPIX_ERR_FUNCTION);
    report("after the crash", MPI_Wait(&requests[2], MPI_STATUS_IGNORE), MPI_SUCCESS);
    surprises += memcmp(out[0], right, sizeof right) != 0;
    surprises += memcmp(out[2], right, sizeof right) != 0;
}

/* More than the buffer holds is not written there, whether the function says so or just
 * does it. */
static void refuse_too_much(MPIX_Function twice, MPIX_Lease lease)
{
    int in[N] = {1, 2, 3, 4}, out[N + 1] = {0, 0, 0, 0, 99};
    report("eight numbers for a buffer of four",
           MPIX_Invoke(twice, in, N, MPI_INT, out, N, MPI_INT, 0, lease,
                       MPI_STATUS_IGNORE),
           MPI_ERR_TRUNCATE);
    surprises += out[N] != 99;
}

/* Here the program has no workers, and would do all by itself. */
static void ask_too_much(MPIX_Pool pool)
{
    MPIX_Lease lease;
    report("a lease on 10000 workers",
           MPIX_Lease_acquire(pool, 10000, MPI_INFO_NULL, &lease),
           MPIX_ERR_NO_RESOURCES);
}

static void work(MPIX_Function roots, MPIX_Lease lease)
{
    int in[N] = {1, 100, 10000, 1000000}, out[N] = {0}, right[N] = {1, 10, 100, 1000};
    report("roots of 1 100 10000 1000000",
           MPIX_Invoke(roots, in, N, MPI_INT, out, N, MPI_INT, 0, lease,
                       MPI_STATUS_IGNORE),
           MPI_SUCCESS);
    printf("rank %d: %d %d %d %d\n", rank, out[0], out[1], out[2], out[3]);
    surprises += memcmp(out, right, sizeof right) != 0;
}

int main(int argc, char **argv)
{
    MPIX_Pool pool;
    MPIX_Function roots, crash, twice;
    MPIX_Lease lease;
    MPI_Info info;
    const char *library = argc > 1 ? argv[1] : FUNCTIONS;

    check(MPI_Init(&argc, &argv), "MPI_Init");
    /* On MPI_COMM_WORLD: a request belongs to no communicator, so that is where MPI
     * looks for the error handler of MPI_Wait and its like. */
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "errhandler");
    check(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
    check(MPIX_Pool_create(MPI_COMM_WORLD, MPI_INFO_NULL, &pool), "MPIX_Pool_create");

    /* A function that isn't there is found out here, not when it is invoked. */
    MPIX_Function missing;
    report("loading a function",
           MPIX_Function_load(pool, library, "no_such_function", &missing),
           MPIX_ERR_FUNCTION);
    load(pool, library, "roots", &roots);
    load(pool, library, "crash", &crash);
    load(pool, library, "twice", &twice);
    ask_too_much(pool);

    check(MPI_Info_create(&info), "MPI_Info_create");
    check(MPI_Info_set(info, "wait_seconds", "60"), "MPI_Info_set");
    check(MPIX_Lease_acquire(pool, 1, info, &lease), "MPIX_Lease_acquire");
    check(MPI_Info_free(&info), "MPI_Info_free");
    use_return_value(roots, lease);
    survive_crash(roots, crash, lease);
    refuse_too_much(twice, lease);
    work(roots, lease);
    check(MPIX_Lease_release(&lease), "MPIX_Lease_release");
    check(MPIX_Pool_free(&pool), "MPIX_Pool_free"); /* and the functions with it */
    check(MPI_Finalize(), "MPI_Finalize");
    if (surprises > 0)
        fprintf(stderr, "04_errors: rank %d: %d surprises\n", rank, surprises);
    return surprises > 0;
}
