#include "mpi_pool.h"

#include <CUnit/Basic.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int mpi_rank, mpi_ranks;

static MPIX_Pool shared = MPIX_POOL_NULL;

/* ---- start and end --------------------------------------------------------------- */

/* Standard output goes into a file without a name; the old one is returned. */
static int output_hold(void)
{
    FILE *file = tmpfile();
    fflush(stdout);
    int before = dup(STDOUT_FILENO);
    if (!file || before < 0 || dup2(fileno(file), STDOUT_FILENO) < 0)
        return -1;
    fclose(file);
    return before;
}

static void output_show(int before)
{
    char buffer[4096];
    ssize_t n;
    fflush(stdout);
    int held = dup(STDOUT_FILENO);
    dup2(before, STDOUT_FILENO);
    printf("\n---- rank %d:\n", mpi_rank);
    fflush(stdout);
    lseek(held, 0, SEEK_SET);
    while ((n = read(held, buffer, sizeof buffer)) > 0)
        if (write(STDOUT_FILENO, buffer, (size_t)n) != n)
            break;
    close(held);
    close(before);
}

int mpi_test_main(const char *suite, const struct test tests[], int level, int argc,
                  char **argv)
{
    int provided, before = -1;
    MPI_Init_thread(&argc, &argv, level, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &mpi_rank);
    MPI_Comm_size(MPI_COMM_WORLD, &mpi_ranks);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    if (provided < level) {
        printf("%s: this MPI has no such thread level: skipped\n", suite);
        MPI_Finalize();
        return 77;
    }
    if (mpi_rank > 0)
        before = output_hold();
    int failed = test_main(suite, tests, argc, argv);
    if (before >= 0 && failed)
        output_show(before);
    MPI_Finalize();
    /* Freeing the pools has reaped the executors. */
    if (shared && waitpid(-1, NULL, WNOHANG) == 0) {
        fprintf(stderr, "%s: rank %d has a child after MPI_Finalize\n", suite,
                mpi_rank);
        failed = 1;
    }
    return failed;
}

/* ---- short forms ----------------------------------------------------------------- */

MPI_Info info_of(const char *const settings[])
{
    MPI_Info info = MPI_INFO_NULL;
    if (!settings)
        return info;
    CHECK_OK(MPI_Info_create(&info));
    for (; *settings; settings++) {
        char key[64];
        const char *value = strchr(*settings, '=');
        CHECK_FATAL(value != NULL);
        snprintf(key, sizeof key, "%.*s", (int)(value - *settings), *settings);
        CHECK_OK(MPI_Info_set(info, key, value + 1));
    }
    return info;
}

static void info_drop(MPI_Info *info)
{
    if (*info != MPI_INFO_NULL)
        MPI_Info_free(info);
}

MPIX_Pool pool_create(MPI_Comm comm, const char *const settings[])
{
    MPIX_Pool pool = MPIX_POOL_NULL;
    MPI_Info info = info_of(settings);
    CHECK_OK(MPIX_Pool_create(comm, info, &pool));
    info_drop(&info);
    CHECK_FATAL(pool != MPIX_POOL_NULL);
    return pool;
}

MPIX_Pool shared_pool(void)
{
    char cores[32];
    if (!shared) {
        snprintf(cores, sizeof cores, "cores=%d", CORES_PER_RANK * mpi_ranks);
        shared = pool_create(MPI_COMM_WORLD, SETTINGS(cores));
    }
    return shared;
}

MPIX_Lease lease_acquire(MPIX_Pool pool, int workers, const char *const settings[])
{
    MPIX_Lease lease = MPIX_LEASE_NULL;
    MPI_Info info = info_of(settings ? settings : SETTINGS("min_workers=0"));
    /* Cores of a lease that has just been released come back when its workers are
     * dead. */
    CHECK_OK(MPI_Info_set(info, "wait_seconds", "20"));
    CHECK_OK(MPIX_Lease_acquire(pool, workers, info, &lease));
    info_drop(&info);
    CHECK_FATAL(lease != MPIX_LEASE_NULL);
    return lease;
}

const char *functions_path(void)
{
    const char *path = getenv("RFAAS_TEST_FUNCTIONS");
    return path ? path : "tests/functions.so";
}

MPIX_Function function_load(MPIX_Pool pool, const char *name)
{
    MPIX_Function function = MPIX_FUNCTION_NULL;
    CHECK_OK(MPIX_Function_load(pool, functions_path(), name, &function));
    CHECK_FATAL(function != MPIX_FUNCTION_NULL);
    return function;
}

bool increments(MPIX_Function increment, MPIX_Lease lease, int worker, int32_t value)
{
    int32_t result = 0;
    MPI_Request request;
    int code = MPIX_Iinvoke(increment, &value, 1, MPI_INT32_T, &result, 1, MPI_INT32_T,
                            worker, lease, &request);
    if (code == MPI_SUCCESS)
        code = MPI_Wait(&request, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS)
        printf("\n    increment on worker %d: %s\n", worker, error_string(code));
    return code == MPI_SUCCESS && result == value + 1;
}

/* ---- errors ---------------------------------------------------------------------- */

int error_class(int code)
{
    int class = -1;
    MPI_Error_class(code, &class);
    return class;
}

const char *error_string(int code)
{
    static char text[MPI_MAX_ERROR_STRING];
    int length;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS)
        snprintf(text, sizeof text, "no string for code %d", code);
    return text;
}

void check_code(int code, int class, const char *words, const char *call,
                const char *file, int line)
{
    char text[512];
#ifndef OPEN_MPI
    if (class <= MPI_ERR_LASTCODE)
        words = ""; /* MPICH has no strings of ours for codes of its own classes */
#endif
    bool right = error_class(code) == class && strstr(error_string(code), words);
    snprintf(text, sizeof text, "%.120s: class %d, not %d; \"%.200s\"; wanted: %s",
             call, error_class(code), class, error_string(code), words);
    CU_assertImplementation(right, (unsigned)line, text, file, "", CU_FALSE);
}

/* ---- time and processes ---------------------------------------------------------- */

bool patient(double start, double seconds)
{
    sched_yield();
    if (MPI_Wtime() - start < seconds)
        return true;
    CU_FAIL("took too long");
    return false;
}

pid_t worker_pid(MPIX_Lease lease, MPIX_Function whoami, int worker)
{
    int32_t who[3] = {-1, -1, 0};
    CHECK_OK(MPIX_Invoke(whoami, NULL, 0, MPI_INT32_T, who, 3, MPI_INT32_T, worker,
                         lease, MPI_STATUS_IGNORE));
    CHECK_EQUAL(who[0], worker);
    return who[2];
}

/* State and parent of a process, from the kernel; false: there is none. */
static bool process_look(pid_t pid, char *state, pid_t *parent)
{
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    size_t n = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[n] = '\0';
    const char *rest = strrchr(line, ')'); /* of the program's name */
    int number = 0;
    if (!rest || sscanf(rest + 1, " %c %d", state, &number) != 2)
        return false;
    *parent = number;
    return true;
}

pid_t parent_of(pid_t pid)
{
    char state;
    pid_t parent;
    return process_look(pid, &state, &parent) ? parent : 0;
}

bool process_exists(pid_t pid)
{
    char state;
    pid_t parent;
    return process_look(pid, &state, &parent) && state != 'Z' && state != 'X';
}
