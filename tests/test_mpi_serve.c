/* Pools that change while they are in use: leases that are resized, statistics, ranks
 * that lend their cores while they wait. */
#include "mpi_pool.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

static void no_wait(double seconds)
{
    for (double start = MPI_Wtime(); MPI_Wtime() - start < seconds;)
        continue;
}

/* ---- resizing and statistics ----------------------------------------------------- */

static MPIX_Pool_stats stats_of(MPIX_Pool pool)
{
    MPIX_Pool_stats stats = {0};
    CHECK_OK(MPIX_Pool_get_stats(pool, &stats));
    return stats;
}

static void test_resize(void)
{
    MPIX_Pool pool = shared_pool();
    MPIX_Lease lease = lease_acquire(pool, 1, NULL);
    MPIX_Function increment = function_load(pool, "increment");
    int workers = 0;
    for (int round = 0; round < 2; round++) {
        CHECK_OK(MPIX_Lease_resize(lease, 3, MPI_INFO_NULL));
        CHECK_OK(MPIX_Lease_get_workers(lease, &workers));
        CHECK_EQUAL(workers, 3);
        for (int i = 0; i < 3; i++)
            CHECK(increments(increment, lease, i, i));
        CHECK_OK(MPIX_Lease_resize(lease, 1, MPI_INFO_NULL));
    }
    CHECK_CODE(MPIX_Lease_resize(lease, 0, MPI_INFO_NULL), MPI_ERR_ARG, "to 0 workers");
    CHECK_CODE(MPIX_Lease_resize(MPIX_LEASE_NULL, 1, MPI_INFO_NULL), MPI_ERR_ARG,
               "null");
    MPI_Info info = info_of(SETTINGS("wait_seconds=0")); /* the lease's is longer */
    CHECK_CODE(MPIX_Lease_resize(lease, 1000, info), MPIX_ERR_NO_RESOURCES,
               "asked for 999 workers");
    MPI_Info_free(&info);
    info = info_of(SETTINGS("min_workers=9"));
    CHECK_CODE(MPIX_Lease_resize(lease, 2, info), MPI_ERR_INFO_VALUE, "min_workers=9");
    MPI_Info_free(&info);
    CHECK_OK(MPIX_Lease_release(&lease));
    CHECK_OK(MPIX_Function_free(&increment));
}

static void test_stats(void)
{
    MPIX_Pool pool = pool_create(MPI_COMM_WORLD, SETTINGS("cores=5"));
    MPIX_Pool_stats stats = stats_of(pool);
    CHECK_EQUAL(stats.executors, 1);
    CHECK_EQUAL(stats.cores, 5);
    MPI_Barrier(MPI_COMM_WORLD);
    MPIX_Lease lease = lease_acquire(pool, 1, NULL);
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK_EQUAL(stats_of(pool).leased, (unsigned)mpi_ranks);
    CHECK_EQUAL(stats_of(pool).queued, 0);
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK_OK(MPIX_Lease_release(&lease));
    CHECK_CODE(MPIX_Pool_get_stats(pool, NULL), MPI_ERR_ARG, "null");
    CHECK_CODE(MPIX_Pool_get_stats(MPIX_POOL_NULL, &stats), MPI_ERR_ARG, "null");
    CHECK_OK(MPIX_Pool_free(&pool));
}

/* ---- lending --------------------------------------------------------------------- */

/* A pool whose cores are those of ranks that serve. */
static MPIX_Pool pool_of_ranks(void)
{
    return pool_create(MPI_COMM_WORLD, SETTINGS("executors=none"));
}

/* The rank's own lease waits in the queue, and gets the rank's own core. */
static void test_queued_lease(void)
{
    MPIX_Pool pool = pool_of_ranks();
    MPI_Info info = info_of(SETTINGS("wait_seconds=60"));
    MPIX_Lease lease;
    MPI_Request granted;
    int served = -1;
    CHECK_OK(MPIX_Lease_iacquire(pool, 1, info, &lease, &granted));
    CHECK_OK(MPIX_Pool_serve(pool, &granted, MPI_INFO_NULL, &served));
    CHECK(granted == MPI_REQUEST_NULL);
    CHECK_EQUAL(served, 0);
    CHECK_OK(MPIX_Lease_release(&lease));
    MPI_Info_free(&info);
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK_OK(MPIX_Pool_free(&pool));
}

static void test_nobody_comes(void)
{
    MPIX_Pool pool = pool_of_ranks();
    for (int round = 0; round < 3; round++) {
        MPI_Request barrier;
        int served = -1;
        if (mpi_rank == 0)
            no_wait(0.05 * round);
        CHECK_OK(MPI_Ibarrier(MPI_COMM_WORLD, &barrier));
        CHECK_OK(MPIX_Pool_serve(pool, &barrier, MPI_INFO_NULL, &served));
        CHECK(barrier == MPI_REQUEST_NULL);
        CHECK_EQUAL(served, 0);
    }
    CHECK_OK(MPIX_Pool_free(&pool));
}

/* Ranks other than the first serve until that one sends them a message; returns how many
 * invocations ended there. */
static int serve_until_told(MPIX_Pool pool)
{
    MPI_Request told;
    int served = -1;
    CHECK_OK(MPI_Irecv(NULL, 0, MPI_INT, 0, 5, MPI_COMM_WORLD, &told));
    CHECK_OK(MPIX_Pool_serve(pool, &told, MPI_INFO_NULL, &served));
    CHECK(told == MPI_REQUEST_NULL);
    return served;
}

static void tell_all(void)
{
    for (int rank = 1; rank < mpi_ranks; rank++)
        CHECK_OK(MPI_Send(NULL, 0, MPI_INT, rank, 5, MPI_COMM_WORLD));
}

static void on_alarm(int signal)
{
    (void)signal;
}

/* From now on a signal comes every 20 microseconds; or no more. */
static void alarms(bool wanted)
{
    const struct sigaction action = {.sa_handler = on_alarm};
    const struct timeval period = {.tv_usec = wanted ? 20 : 0};
    const struct itimerval timer = {period, period};
    CHECK_EQUAL(sigaction(SIGALRM, &action, NULL), 0);
    CHECK_EQUAL(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

/* Whatever the application does with signals, in the second round. */
static void test_serve(void)
{
    enum { COUNT = 30 };
    MPIX_Pool pool = pool_of_ranks();
    for (int round = 0; round < 2 && mpi_ranks > 1; round++) {
        int served = 0, all = 0;
        if (mpi_rank > 0) {
            alarms(round > 0);
            served = serve_until_told(pool);
            alarms(false);
        } else {
            MPIX_Function increment = function_load(pool, "increment");
            MPIX_Lease lease =
                lease_acquire(pool, mpi_ranks - 1, SETTINGS("wait_seconds=60"));
            for (int i = 0; i < COUNT; i++)
                CHECK(increments(increment, lease, i % (mpi_ranks - 1), i));
            tell_all();
            CHECK_OK(MPIX_Lease_release(&lease));
            CHECK_OK(MPIX_Function_free(&increment));
        }
        CHECK_OK(MPI_Allreduce(&served, &all, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD));
        CHECK_EQUAL(all, COUNT);
    }
    CHECK_OK(MPIX_Pool_free(&pool));
}

/* The wait is over in the middle of invocations: the ranks go on, and so do these. */
static void test_leaves_in_the_middle(void)
{
    MPIX_Pool pool = pool_of_ranks();
    int32_t us = 1500000, got[4] = {0};
    double told = 0;
    if (mpi_rank > 0) {
        CHECK_EQUAL(serve_until_told(pool), 0);
    } else if (mpi_ranks > 1) {
        MPIX_Function work = function_load(pool, "work");
        int workers = mpi_ranks - 1;
        MPIX_Lease lease = lease_acquire(pool, workers, SETTINGS("wait_seconds=60"));
        MPI_Request requests[4];
        for (int i = 0; i < workers; i++)
            CHECK_OK(MPIX_Iinvoke(work, &us, 1, MPI_INT32_T, &got[i], 1, MPI_INT32_T, i,
                                  lease, &requests[i]));
        told = MPI_Wtime();
        tell_all();
        CHECK_OK(MPI_Waitall(workers, requests, MPI_STATUSES_IGNORE));
        for (int i = 0; i < workers; i++)
            CHECK_EQUAL(got[i], us);
        CHECK(MPI_Wtime() - told >= 1.2);
        CHECK_OK(MPIX_Lease_release(&lease));
        CHECK_OK(MPIX_Function_free(&work));
    }
    CHECK_OK(MPIX_Pool_free(&pool));
}

/* Cores that can't be offered, because this is no executor, are an error at the end of
 * the wait. A lease that is refused meanwhile has an error of its own. */
static void check_not_lent(const char *executor, const char *words)
{
    MPIX_Pool pool = shared_pool();
    MPIX_Lease lease = lease_acquire(pool, 1, NULL), refused;
    MPIX_Function work = function_load(pool, "work");
    MPI_Info info = info_of(SETTINGS("wait_seconds=0.3"));
    MPI_Request waited, refusal;
    int32_t us = 1000000, got = 0;
    int served = 7;
    char real[1024];
    const char *path = getenv("RFAAS_EXECUTOR");
    snprintf(real, sizeof real, "%s", path ? path : "");
    setenv("RFAAS_EXECUTOR", executor, 1);
    CHECK_OK(MPIX_Iinvoke(work, &us, 1, MPI_INT32_T, &got, 1, MPI_INT32_T, 0, lease,
                          &waited));
    CHECK_OK(MPIX_Lease_iacquire(pool, 1000, info, &refused, &refusal));
    CHECK_CODE(MPIX_Pool_serve(pool, &waited, MPI_INFO_NULL, &served),
               MPIX_ERR_NO_RESOURCES, words);
    setenv("RFAAS_EXECUTOR", real, 1);
    CHECK(waited == MPI_REQUEST_NULL);
    CHECK_EQUAL(got, us);
    CHECK_CODE(MPI_Wait(&refusal, MPI_STATUS_IGNORE), MPIX_ERR_NO_RESOURCES, "1000");
    MPI_Info_free(&info);
    CHECK_OK(MPIX_Lease_release(&lease));
    CHECK_OK(MPIX_Function_free(&work));
}

static void test_not_lent(void)
{
    check_not_lent("/nonexistent/executor", "/nonexistent/executor");
    check_not_lent("/bin/true", "ended before it was ready");
}

static void test_bad_arguments(void)
{
    MPIX_Pool pool = shared_pool();
    MPI_Request request = MPI_REQUEST_NULL;
    int served = 7;
    CHECK_CODE(MPIX_Pool_serve(MPIX_POOL_NULL, &request, MPI_INFO_NULL, &served),
               MPI_ERR_ARG, "the pool is null");
    CHECK_CODE(MPIX_Pool_serve(pool, NULL, MPI_INFO_NULL, &served), MPI_ERR_ARG,
               "request");
    CHECK_CODE(MPIX_Pool_serve(pool, &request, MPI_INFO_NULL, NULL), MPI_ERR_ARG,
               "number");
    MPI_Info info = info_of(SETTINGS("cores=many"));
    CHECK_CODE(MPIX_Pool_serve(pool, &request, info, &served), MPI_ERR_INFO_VALUE,
               "cores=many");
    MPI_Info_free(&info);
    CHECK_EQUAL(served, 7);
    CHECK_OK(MPIX_Pool_serve(pool, &request, MPI_INFO_NULL, &served));
    CHECK_EQUAL(served, 0); /* there is nothing to wait for */
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"a lease grows and shrinks", test_resize},
        {"what the pool has can be asked", test_stats},
        {"a lease that waits gets the core of a rank that serves", test_queued_lease},
        {"ranks can serve again and again though nobody comes", test_nobody_comes},
        {"ranks that serve run what others invoke, and know how much", test_serve},
        {"invocations go on when the rank that serves doesn't",
         test_leaves_in_the_middle},
        {"cores that can't be offered are an error", test_not_lent},
        {"bad arguments of serving are refused", test_bad_arguments},
        {NULL, NULL},
    };
    return mpi_test_main("serving", tests, MPI_THREAD_SINGLE, argc, argv);
}
