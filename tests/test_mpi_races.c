/* Requests, leases and executors whose end more than one party brings about: each ends
 * once. */
#include "mpi_pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 3, ROUNDS = 200, WINDOW = 16, CORES = 2 };

static struct {
    MPIX_Pool pool;
    MPIX_Lease lease;
    MPIX_Function work;
} with;

static MPI_Request start_work(const int32_t *us, int32_t *out)
{
    MPI_Request request = MPI_REQUEST_NULL;
    MPIX_Iinvoke(with.work, us, 1, MPI_INT32_T, out, 1, MPI_INT32_T, MPIX_ANY_WORKER,
                 with.lease, &request);
    return request;
}

/* ---- cancelling ------------------------------------------------------------------ */

struct thread {
    pthread_t thread;
    int number;
    int cancelled, done, wrong; /* CUnit is for one thread alone */
};

static _Atomic int cancelling; /* threads that are at it */

static void count_end(struct thread *thread, const MPI_Status *status, int32_t in,
                      int32_t out)
{
    int cancelled = -1, count = -1;
    MPI_Test_cancelled(status, &cancelled);
    MPI_Get_count(status, MPI_INT32_T, &count);
    if (cancelled == 1 && count == 0 && out == -1)
        thread->cancelled++;
    else if (cancelled == 0 && count == 1 && out == in)
        thread->done++;
    else
        thread->wrong++;
}

/* Of the requests it starts it cancels two in three, in another order each time;
 * meanwhile the other threads complete them. */
static void *cancel_most(void *arg)
{
    struct thread *thread = arg;
    for (int round = 0; round < ROUNDS; round++) {
        int32_t in[WINDOW], out[WINDOW];
        MPI_Request requests[WINDOW];
        MPI_Status statuses[WINDOW];
        for (int i = 0; i < WINDOW; i++) {
            in[i] = i % 4;
            out[i] = -1;
            requests[i] = start_work(&in[i], &out[i]);
        }
        for (int n = 0; n < WINDOW; n++) {
            int i = (round % 2 ? n : WINDOW - 1 - n);
            if ((i + round + thread->number) % 3 != 0)
                thread->wrong += MPI_Cancel(&requests[i]) != MPI_SUCCESS;
        }
        if (MPI_Waitall(WINDOW, requests, statuses) == MPI_SUCCESS)
            for (int i = 0; i < WINDOW; i++)
                count_end(thread, &statuses[i], in[i], out[i]);
        else
            thread->wrong++;
    }
    cancelling--;
    return NULL;
}

/* Makes progress, for all. */
static void *invoke_meanwhile(void *arg)
{
    struct thread *thread = arg;
    while (cancelling > 0) {
        int32_t in = 1, out = -1;
        int code = MPIX_Invoke(with.work, &in, 1, MPI_INT32_T, &out, 1, MPI_INT32_T,
                               MPIX_ANY_WORKER, with.lease, MPI_STATUS_IGNORE);
        thread->wrong += code != MPI_SUCCESS || out != in;
        thread->done++;
    }
    return NULL;
}

static void test_cancel(void)
{
    struct thread threads[THREADS + 1];
    struct thread all = {0};
    MPIX_Usage usage;
    with.pool = shared_pool();
    with.work = function_load(with.pool, "work");
    with.lease = lease_acquire(with.pool, 2, SETTINGS("slots=1"));
    cancelling = THREADS;
    for (int i = 0; i <= THREADS; i++) {
        threads[i] = (struct thread){.number = i};
        CHECK_FATAL(pthread_create(&threads[i].thread, NULL,
                                   i < THREADS ? cancel_most : invoke_meanwhile,
                                   &threads[i]) == 0);
    }
    for (int i = 0; i <= THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
        CHECK_EQUAL(threads[i].wrong, 0);
        if (i < THREADS)
            CHECK_EQUAL(threads[i].cancelled + threads[i].done, ROUNDS * WINDOW);
        all.cancelled += threads[i].cancelled;
        all.done += threads[i].done;
    }
    CHECK(all.cancelled > 0 && all.done > threads[THREADS].done);
    CHECK_OK(MPIX_Lease_get_usage(with.lease, &usage));
    CHECK_EQUAL(usage.invocations, all.cancelled + all.done);
    CHECK_EQUAL(usage.failures, all.cancelled);
    CHECK_EQUAL(usage.bytes_out, all.done * sizeof(int32_t));
    CHECK_OK(MPIX_Lease_release(&with.lease));
    CHECK_OK(MPIX_Function_free(&with.work));
}

/* ---- releasing ------------------------------------------------------------------- */

/* That the pool has all of its cores, and not one more. */
static void check_cores(MPIX_Function increment)
{
    MPIX_Lease lease = lease_acquire(with.pool, CORES, NULL), more = MPIX_LEASE_NULL;
    int workers = 0;
    MPI_Info info = info_of(SETTINGS("wait_seconds=0"));
    CHECK_OK(MPIX_Lease_get_workers(lease, &workers));
    CHECK_EQUAL(workers, CORES);
    for (int i = 0; i < CORES; i++)
        CHECK(increments(increment, lease, i, i));
    CHECK_CODE(MPIX_Lease_acquire(with.pool, 1, info, &more), MPIX_ERR_NO_RESOURCES,
               "0 free of 2");
    MPI_Info_free(&info);
    CHECK_OK(MPIX_Lease_release(&lease));
}

/* Nothing can be done with a handle to what was released by another. */
static void check_released(MPIX_Lease copy)
{
    MPIX_Lease before = copy;
    MPIX_Usage usage;
    MPI_Request request;
    int workers;
    CHECK_CODE(MPIX_Lease_release(&copy), MPIX_ERR_LEASE, "released");
    CHECK(copy == before);
    CHECK_CODE(MPIX_Lease_get_workers(copy, &workers), MPIX_ERR_LEASE, "released");
    CHECK_CODE(MPIX_Lease_get_usage(copy, &usage), MPIX_ERR_LEASE, "released");
    CHECK_CODE(MPIX_Lease_renew(copy, 1), MPIX_ERR_LEASE, "released");
    CHECK_CODE(MPIX_Iinvoke(with.work, NULL, 0, MPI_BYTE, NULL, 0, MPI_BYTE, 0, copy,
                            &request),
               MPIX_ERR_LEASE, "released");
}

/* With requests outstanding, which end with their result or the lease. */
static void test_release_twice(void)
{
    with.pool = pool_create(MPI_COMM_SELF, SETTINGS("cores=2"));
    with.work = function_load(with.pool, "work");
    MPIX_Function increment = function_load(with.pool, "increment");
    for (int round = 0; round < 3; round++) {
        int32_t us = 5000, out[WINDOW];
        int failed = 0;
        MPI_Request requests[WINDOW];
        with.lease = lease_acquire(with.pool, CORES, SETTINGS("slots=2"));
        MPIX_Lease copy = with.lease;
        for (int i = 0; i < WINDOW; i++)
            requests[i] = start_work(&us, &out[i]);
        CHECK_OK(MPIX_Lease_release(&with.lease));
        CHECK(with.lease == MPIX_LEASE_NULL);
        check_released(copy);
        for (int i = 0; i < WINDOW; i++) {
            int code = MPI_Wait(&requests[i], MPI_STATUS_IGNORE);
            if (code == MPI_SUCCESS)
                CHECK_EQUAL(out[i], us);
            else
                CHECK_CODE(code, MPIX_ERR_LEASE, "released");
            failed += code != MPI_SUCCESS;
        }
        CHECK(failed >= WINDOW - CORES * 2);
        check_cores(increment);
        check_released(copy);
    }
    CHECK_OK(MPIX_Pool_free(&with.pool));
}

/* By several threads at once: one of them does it. */
static void *release(void *arg)
{
    struct thread *thread = arg;
    MPIX_Lease copy = with.lease;
    int code = MPIX_Lease_release(&copy);
    thread->wrong = code != MPI_SUCCESS && error_class(code) != MPIX_ERR_LEASE;
    return NULL;
}

static void test_release_at_once(void)
{
    with.pool = pool_create(MPI_COMM_SELF, SETTINGS("cores=2"));
    MPIX_Function increment = function_load(with.pool, "increment");
    for (int round = 0; round < 20; round++) {
        struct thread threads[THREADS];
        with.lease = lease_acquire(with.pool, CORES, NULL);
        for (int i = 0; i < THREADS; i++)
            CHECK_FATAL(
                pthread_create(&threads[i].thread, NULL, release, &threads[i]) == 0);
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i].thread, NULL);
            CHECK_EQUAL(threads[i].wrong, 0);
        }
    }
    check_cores(increment);
    CHECK_OK(MPIX_Pool_free(&with.pool));
}

/* ---- reaping --------------------------------------------------------------------- */

/* An application may wait for all of its children, and so for our executor. */
static void test_reaped(void)
{
    with.pool = pool_create(MPI_COMM_SELF, SETTINGS("cores=2"));
    with.lease = lease_acquire(with.pool, 1, NULL);
    pid_t executor =
        parent_of(worker_pid(with.lease, function_load(with.pool, "whoami"), 0));
    CHECK_FATAL(parent_of(executor) == getpid());
    CHECK_EQUAL(kill(executor, SIGKILL), 0);
    double start = MPI_Wtime();
    while (waitpid(executor, NULL, WNOHANG) == 0 && patient(start, PATIENCE_SECONDS))
        continue;
    CHECK_EQUAL(parent_of(executor), 0);
    CHECK_OK(MPIX_Pool_free(&with.pool));
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"a request that is cancelled while others make progress ends once",
         test_cancel},
        {"a lease that is released twice is released once", test_release_twice},
        {"a lease that threads release at once is released once", test_release_at_once},
        {"an executor that the application reaps is no trouble", test_reaped},
        {NULL, NULL},
    };
    return mpi_test_main("MPI: races", tests, MPI_THREAD_MULTIPLE, argc, argv);
}
