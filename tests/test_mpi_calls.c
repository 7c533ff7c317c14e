/* The calls: functions, leases, what leases have used, profiling. */
#include "mpi_pool.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

/* A profiling tool's MPIX_Invoke, which takes the weak symbol's place. */
static int intercepted;
int MPIX_Invoke(MPIX_Function function, const void *inbuf, MPI_Count incount,
                MPI_Datatype intype, void *outbuf, MPI_Count outcount,
                MPI_Datatype outtype, int worker, MPIX_Lease lease, MPI_Status *status)
{
    intercepted++;
    return PMPIX_Invoke(function, inbuf, incount, intype, outbuf, outcount, outtype,
                        worker, lease, status);
}

static void test_interposition(void)
{
    MPIX_Pool pool = shared_pool();
    MPIX_Function increment = function_load(pool, "increment");
    MPIX_Lease lease = lease_acquire(pool, 1, NULL);
    int32_t in = 1, out = 0;
    intercepted = 0;
    CHECK_OK(MPIX_Invoke(increment, &in, 1, MPI_INT32_T, &out, 1, MPI_INT32_T, 0, lease,
                         MPI_STATUS_IGNORE));
    CHECK_EQUAL(out, 2);
    CHECK_EQUAL(intercepted, 1);
    CHECK_OK(PMPIX_Invoke(increment, &in, 1, MPI_INT32_T, &out, 1, MPI_INT32_T, 0,
                          lease, MPI_STATUS_IGNORE));
    CHECK_EQUAL(intercepted, 1);
    CHECK_OK(MPIX_Lease_release(&lease));
}

/* Each call is there under both names, both are the same, and one is weak. */
static void test_profiling_names(void)
{
#define NAME(name, parameters) #name,
    static const char *const calls[] = {MPIX_RFAAS_CALLS(NAME)};
#undef NAME
    enum { CALLS = sizeof calls / sizeof calls[0] };
    char name[64], command[5000], line[512];
    Dl_info library = {0};
    int weak = 0, strong = 0;
    for (int i = 0; i < CALLS; i++) {
        snprintf(name, sizeof name, "PMPIX_%s", calls[i]);
        void *first = dlsym(RTLD_DEFAULT, name);
        CHECK(first != NULL);
        CHECK(first == dlsym(RTLD_NEXT, name + 1)); /* behind this program's own */
        CHECK(dladdr(first, &library) != 0);
    }
    snprintf(command, sizeof command, "nm -D '%.4000s'", library.dli_fname);
    FILE *symbols = popen(command, "r");
    CHECK_FATAL(symbols != NULL);
    while (fgets(line, sizeof line, symbols)) {
        weak += strstr(line, " W MPIX_") != NULL;
        strong += strstr(line, " T PMPIX_") != NULL;
    }
    pclose(symbols);
    CHECK_EQUAL(weak, CALLS);
    CHECK_EQUAL(strong, CALLS);
}

/* ---- functions ------------------------------------------------------------------- */

static void test_both_forms(void)
{
    MPIX_Pool pool = shared_pool();
    MPIX_Lease lease = lease_acquire(pool, 1, NULL);
    MPIX_Function reverse =
        function_load(pool, "classic_reverse"); /* after the lease */
    MPIX_Function returns = function_load(pool, "returns");
    char in[6] = "abcde", out[6] = "";
    int32_t value = 321;
    MPI_Status status;
    CHECK_OK(
        MPIX_Invoke(reverse, in, 5, MPI_CHAR, out, 6, MPI_CHAR, 0, lease, &status));
    CHECK(strcmp(out, "edcba") == 0 && strcmp(in, "abcde") == 0);
    CHECK_EQUAL(status.MPI_TAG, 0);
    CHECK_OK(MPIX_Invoke(returns, &value, 1, MPI_INT32_T, NULL, 0, MPI_INT32_T, 0,
                         lease, &status));
    CHECK_EQUAL(status.MPI_TAG, 321);
    CHECK_OK(MPIX_Function_free(&reverse));
    CHECK(reverse == MPIX_FUNCTION_NULL);
    CHECK_OK(MPIX_Function_free(&returns));
    CHECK_OK(MPIX_Lease_release(&lease));
}

/* Freed while its invocations are outstanding: they still end. */
static void test_free_early(void)
{
    MPIX_Pool pool = shared_pool();
    MPIX_Lease lease = lease_acquire(pool, 1, NULL);
    MPIX_Function work = function_load(pool, "work");
    enum { N = 20 };
    int32_t in[N], out[N] = {0};
    MPI_Request requests[N];
    for (int i = 0; i < N; i++) {
        in[i] = 1000 + i;
        CHECK_OK(MPIX_Iinvoke(work, &in[i], 1, MPI_INT32_T, &out[i], 1, MPI_INT32_T, 0,
                              lease, &requests[i]));
    }
    CHECK_OK(MPIX_Function_free(&work));
    CHECK_OK(MPI_Waitall(N, requests, MPI_STATUSES_IGNORE));
    for (int i = 0; i < N; i++)
        CHECK_EQUAL(out[i], in[i]);
    CHECK_OK(MPIX_Lease_release(&lease));
}

static void copy_of_functions(char *path, size_t size)
{
    const char *tmp = getenv("TMPDIR");
    struct stat st;
    snprintf(path, size, "%s/rfaas-functions-XXXXXX", tmp ? tmp : "/tmp");
    int to = mkstemp(path), from = open(functions_path(), O_RDONLY);
    CHECK_FATAL(from >= 0 && to >= 0 && fstat(from, &st) == 0);
    CHECK_EQUAL(sendfile(to, from, NULL, (size_t)st.st_size), st.st_size);
    close(from);
    close(to);
}

/* The library's file goes once it is loaded: executors get its bytes. */
static void test_shipped(void)
{
    MPIX_Pool pool = shared_pool();
    MPIX_Function increment = MPIX_FUNCTION_NULL;
    char path[256];
    copy_of_functions(path, sizeof path);
    /* One byte more, so that no executor knows it by its hash. */
    FILE *file = fopen(path, "a");
    CHECK_FATAL(file != NULL);
    fprintf(file, "%d", mpi_rank);
    fclose(file);
    CHECK_OK(MPIX_Function_load(pool, path, "increment", &increment));
    unlink(path);
    MPIX_Lease lease = lease_acquire(pool, 2, NULL);
    CHECK(increments(increment, lease, 0, 5));
    CHECK(increments(increment, lease, 1, 6));
    CHECK_OK(MPIX_Lease_release(&lease));
    CHECK_OK(MPIX_Function_free(&increment));
}

/* Many functions, freed in another order than loaded. */
static void test_many_functions(void)
{
    enum { N = 100 };
    MPIX_Pool pool = shared_pool();
    MPIX_Function functions[N];
    MPIX_Lease lease = lease_acquire(pool, 1, NULL);
    for (int i = 0; i < N; i++)
        functions[i] = function_load(pool, i % 2 ? "increment" : "returns");
    for (int i = 0; i < N; i += 2)
        CHECK_OK(MPIX_Function_free(&functions[i]));
    for (int i = 1; i < N; i += 2) {
        CHECK(increments(functions[i], lease, 0, i));
        CHECK_OK(MPIX_Function_free(&functions[i]));
    }
    CHECK_OK(MPIX_Lease_release(&lease));
}

/* ---- leases ---------------------------------------------------------------------- */

static int workers_of(MPIX_Lease lease)
{
    int workers = -1;
    CHECK_OK(MPIX_Lease_get_workers(lease, &workers));
    return workers;
}

static void test_workers(void)
{
    MPIX_Pool pool = shared_pool();
    MPIX_Function whoami = function_load(pool, "whoami");
    MPIX_Lease lease = lease_acquire(pool, 3, NULL);
    CHECK_EQUAL(workers_of(lease), 3);
    pid_t pids[3];
    for (int i = 0; i < 3; i++) {
        int32_t who[3] = {0};
        MPI_Status status;
        CHECK_OK(MPIX_Invoke(whoami, NULL, 0, MPI_BYTE, who, 3, MPI_INT32_T, i, lease,
                             &status));
        CHECK_EQUAL(who[0], i);
        CHECK_EQUAL(who[1], 3);
        CHECK_EQUAL(status.MPI_SOURCE, i);
        pids[i] = who[2];
        CHECK(pids[i] != getpid());
    }
    CHECK(pids[0] != pids[1] && pids[1] != pids[2] && pids[0] != pids[2]);
    CHECK_OK(MPIX_Lease_release(&lease));
    CHECK(lease == MPIX_LEASE_NULL);
    double start = MPI_Wtime();
    while ((process_exists(pids[0]) || process_exists(pids[2])) &&
           patient(start, PATIENCE_SECONDS))
        ;
}

/* The least loaded worker gets what any may run. */
static void test_any_worker(void)
{
    MPIX_Pool pool = shared_pool();
    MPIX_Function work = function_load(pool, "work");
    MPIX_Lease lease = lease_acquire(pool, 2, NULL);
    int32_t busy = 200 * 1000, nothing = 0, out[3];
    MPI_Request requests[3];
    MPI_Status statuses[3];
    CHECK_OK(MPIX_Iinvoke(work, &busy, 1, MPI_INT32_T, &out[0], 1, MPI_INT32_T, 0,
                          lease, &requests[0]));
    CHECK_OK(MPIX_Iinvoke(work, &busy, 1, MPI_INT32_T, &out[1], 1, MPI_INT32_T, 0,
                          lease, &requests[1]));
    /* Worker 0 has two, 1 none. */
    CHECK_OK(MPIX_Iinvoke(work, &nothing, 1, MPI_INT32_T, &out[2], 1, MPI_INT32_T,
                          MPIX_ANY_WORKER, lease, &requests[2]));
    CHECK_OK(MPI_Wait(&requests[2], &statuses[2]));
    CHECK_EQUAL(statuses[2].MPI_SOURCE, 1);
    CHECK_OK(MPI_Waitall(2, requests, statuses));
    CHECK_EQUAL(statuses[0].MPI_SOURCE, 0);
    CHECK_OK(MPIX_Lease_release(&lease));
}

static void test_more_than_there_are(void)
{
    MPIX_Pool pool = pool_create(MPI_COMM_SELF, SETTINGS("cores=2"));
    MPIX_Function increment = function_load(pool, "increment");
    MPIX_Lease first = lease_acquire(pool, 1, NULL), second = MPIX_LEASE_NULL;
    double start = MPI_Wtime();
    CHECK_CODE(MPIX_Lease_acquire(pool, 2, MPI_INFO_NULL, &second),
               MPIX_ERR_NO_RESOURCES, "");
    CHECK(MPI_Wtime() - start < PATIENCE_SECONDS);
    CHECK(second == MPIX_LEASE_NULL);
    /* In vain, but for as long as it may. */
    MPI_Info wait = info_of(SETTINGS("wait_seconds=0.3"));
    start = MPI_Wtime();
    CHECK_CODE(MPIX_Lease_acquire(pool, 2, wait, &second), MPIX_ERR_NO_RESOURCES, "");
    CHECK(MPI_Wtime() - start >= 0.3);
    CHECK(second == MPIX_LEASE_NULL);
    MPI_Info_free(&wait);
    /* As many as there are. */
    second = lease_acquire(pool, 5, SETTINGS("min_workers=1"));
    CHECK_EQUAL(workers_of(second), 1);
    CHECK(increments(increment, second, 0, 1));
    CHECK_CODE(MPIX_Invoke(increment, NULL, 0, MPI_INT, NULL, 0, MPI_INT, 1, second,
                           MPI_STATUS_IGNORE),
               MPI_ERR_RANK, "worker 1");
    CHECK_OK(MPIX_Lease_release(&first));
    CHECK_OK(MPIX_Lease_release(&second));
    CHECK_OK(MPIX_Pool_free(&pool));
}

/* Three workers of two cores each don't fit four cores. */
static void test_cores_per_worker(void)
{
    MPIX_Pool pool =
        pool_create(MPI_COMM_SELF, SETTINGS("cores=4", "cores_per_worker=2"));
    MPIX_Lease lease = lease_acquire(pool, 3, SETTINGS("min_workers=1"));
    CHECK_EQUAL(workers_of(lease), 2);
    CHECK_OK(MPIX_Lease_release(&lease));
    lease = lease_acquire(pool, 4, SETTINGS("cores_per_worker=1"));
    CHECK_EQUAL(workers_of(lease), 4);
    CHECK_OK(MPIX_Lease_release(&lease));
    CHECK_OK(MPIX_Pool_free(&pool));
}

/* Shorter than the test, and used only at its end: the library renews it. */
static void test_renewed_by_itself(void)
{
    MPIX_Pool pool = shared_pool();
    MPIX_Function increment = function_load(pool, "increment");
    MPIX_Lease idle = lease_acquire(pool, 1, SETTINGS("lease_seconds=0.5"));
    MPIX_Lease busy = lease_acquire(pool, 1, SETTINGS("lease_seconds=0.5"));
    double start = MPI_Wtime();
    while (MPI_Wtime() - start < 1.2)
        if (!increments(increment, busy, 0, 3))
            break;
    CHECK(increments(increment, busy, 0, 1));
    CHECK(increments(increment, idle, 0, 1));
    CHECK_OK(MPIX_Lease_release(&idle));
    CHECK_OK(MPIX_Lease_release(&busy));
}

static void test_renew(void)
{
    MPIX_Pool pool = shared_pool();
    MPIX_Function forever = function_load(pool, "forever");
    MPIX_Lease lease = lease_acquire(pool, 1, SETTINGS("lease_seconds=600"));
    CHECK_OK(MPIX_Lease_renew(lease, 1000));
    CHECK_CODE(MPIX_Lease_renew(lease, 0), MPI_ERR_ARG, "seconds");
    CHECK_CODE(MPIX_Lease_renew(lease, -1), MPI_ERR_ARG, "seconds");
    CHECK_CODE(MPIX_Lease_renew(lease, (double)NAN), MPI_ERR_ARG, "seconds");
    /* That is its duration from now on: what never returns ends with it. */
    MPI_Request request;
    CHECK_OK(
        MPIX_Iinvoke(forever, NULL, 0, MPI_INT, NULL, 0, MPI_INT, 0, lease, &request));
    double start = MPI_Wtime();
    CHECK_OK(MPIX_Lease_renew(lease, 0.5));
    CHECK_CODE(MPI_Wait(&request, MPI_STATUS_IGNORE), MPIX_ERR_LEASE, "expired");
    double took = MPI_Wtime() - start;
    CHECK(took >= 0.4 && took < 1 + LOSS_SECONDS);
    CHECK_CODE(MPIX_Lease_renew(lease, 10), MPIX_ERR_LEASE, "expired");
    CHECK_OK(MPIX_Lease_release(&lease));
}

static void test_usage(void)
{
    enum { N = 10, US = 2000 };
    MPIX_Pool pool = shared_pool();
    MPIX_Function work = function_load(pool, "work"),
                  returns = function_load(pool, "returns");
    double start = MPI_Wtime();
    MPIX_Lease lease = lease_acquire(pool, 2, SETTINGS("hot_timeout_us=-1"));
    MPIX_Usage usage;
    memset(&usage, 0xff, sizeof usage);
    CHECK_OK(MPIX_Lease_get_usage(lease, &usage));
    CHECK_EQUAL(usage.invocations, 0);
    CHECK_EQUAL(usage.failures, 0);
    CHECK_EQUAL(usage.bytes_in, 0);
    CHECK_EQUAL(usage.bytes_out, 0);
    for (int i = 0; i < N; i++) {
        int32_t us = US, out;
        CHECK_OK(MPIX_Invoke(work, &us, 1, MPI_INT32_T, &out, 1, MPI_INT32_T, i % 2,
                             lease, MPI_STATUS_IGNORE));
    }
    int32_t bad = -1;
    CHECK_CODE(MPIX_Invoke(returns, &bad, 1, MPI_INT32_T, NULL, 0, MPI_INT, 0, lease,
                           MPI_STATUS_IGNORE),
               MPIX_ERR_FUNCTION, "returns");
    CHECK_OK(MPIX_Lease_get_usage(lease, &usage));
    uint64_t whole = (uint64_t)((MPI_Wtime() - start) * 1e9);
    CHECK_EQUAL(usage.invocations, N + 1);
    CHECK_EQUAL(usage.failures, 1);
    CHECK_EQUAL(usage.bytes_in, (N + 1) * sizeof(int32_t));
    CHECK_EQUAL(usage.bytes_out, N * sizeof(int32_t));
    CHECK(usage.execute_ns >= N * US * 1000ull);
    CHECK(usage.hot_ns > 0);
    CHECK(usage.execute_ns + usage.hot_ns <= 2 * whole);
    CHECK(usage.lease_ns > 0 && usage.lease_ns <= 2 * whole);
    CHECK(usage.lease_ns >= usage.execute_ns);
    CHECK_OK(MPIX_Lease_release(&lease));
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"a tool takes the place of a call", test_interposition},
        {"every call has a profiling name", test_profiling_names},
        {"functions of both forms, loaded before and after the lease", test_both_forms},
        {"a function is freed before its invocations end", test_free_early},
        {"a library goes to the executor as bytes", test_shipped},
        {"a hundred functions", test_many_functions},
        {"each worker is a process of its own", test_workers},
        {"any worker is the least loaded one", test_any_worker},
        {"more workers than there are", test_more_than_there_are},
        {"workers of several cores", test_cores_per_worker},
        {"a short lease is renewed, idle or busy", test_renewed_by_itself},
        {"MPIX_Lease_renew sets the duration", test_renew},
        {"usage counts what was done", test_usage},
        {NULL, NULL},
    };
    return mpi_test_main("MPI: calls", tests, MPI_THREAD_SINGLE, argc, argv);
}
