/* Invocations: their statuses, freeing and cancelling them, long ones and many. */
#include "mpi_pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    MPIX_Pool pool;
    MPIX_Lease lease;
} with;

static void acquire(int workers, const char *const settings[])
{
    with.pool = shared_pool();
    with.lease = lease_acquire(with.pool, workers, settings);
}

static void release(void)
{
    CHECK_OK(MPIX_Lease_release(&with.lease));
}

/* `work` for so many microseconds, which it gives back. */
static MPI_Request work(MPIX_Function function, int32_t *us, int32_t *out, int worker)
{
    MPI_Request request = MPI_REQUEST_NULL;
    CHECK_OK(MPIX_Iinvoke(function, us, 1, MPI_INT32_T, out, 1, MPI_INT32_T, worker,
                          with.lease, &request));
    return request;
}

static int count_of(const MPI_Status *status, MPI_Datatype type)
{
    int count = -77;
    MPI_Get_count(status, type, &count);
    return count;
}

/* ---- statuses -------------------------------------------------------------------- */

static void test_status(void)
{
    acquire(2, NULL);
    MPIX_Function echo = function_load(with.pool, "echo");
    MPIX_Function returns = function_load(with.pool, "returns");
    int32_t in[6] = {1, 2, 3, 4, 5, 6}, out[10], value = 32767;
    MPI_Request request;
    MPI_Status status;
    for (int worker = 0; worker < 2; worker++)
        for (int n = 0; n <= 6; n++) { /* fewer than there is room for */
            memset(out, 0xff, sizeof out);
            CHECK_OK(MPIX_Iinvoke(echo, in, n, MPI_INT32_T, out, 10, MPI_INT32_T,
                                  worker, with.lease, &request));
            CHECK_OK(MPI_Wait(&request, &status));
            CHECK_EQUAL(count_of(&status, MPI_INT32_T), n);
            CHECK_EQUAL(count_of(&status, MPI_BYTE), 4 * n);
            CHECK_EQUAL(status.MPI_SOURCE, worker);
            CHECK_EQUAL(status.MPI_TAG, 0);
            CHECK(memcmp(in, out, (size_t)n * sizeof *in) == 0);
        }
    /* Not a whole number of elements. */
    CHECK_OK(MPIX_Invoke(echo, in, 7, MPI_BYTE, out, 10, MPI_INT32_T, 1, with.lease,
                         &status));
    CHECK_EQUAL(count_of(&status, MPI_INT32_T), MPI_UNDEFINED);
    CHECK_EQUAL(count_of(&status, MPI_BYTE), 7);
    CHECK_EQUAL(status.MPI_SOURCE, 1);
    /* What the function returns. */
    CHECK_OK(MPIX_Invoke(returns, &value, 1, MPI_INT32_T, out, 10, MPI_INT32_T, 0,
                         with.lease, &status));
    CHECK_EQUAL(status.MPI_TAG, 32767);
    CHECK_EQUAL(count_of(&status, MPI_INT32_T), 0);
    release();
}

static void test_nothing(void)
{
    acquire(1, NULL);
    MPIX_Function nothing = function_load(with.pool, "nothing");
    MPI_Status status;
    int32_t out[2] = {8, 9};
    CHECK_OK(MPIX_Invoke(nothing, NULL, 0, MPI_INT, NULL, 0, MPI_INT, MPIX_ANY_WORKER,
                         with.lease, &status));
    CHECK_EQUAL(count_of(&status, MPI_INT), 0);
    CHECK_EQUAL(status.MPI_SOURCE, 0);
    CHECK_OK(MPIX_Invoke(nothing, out, 2, MPI_INT32_T, out, 0, MPI_INT, 0, with.lease,
                         MPI_STATUS_IGNORE));
    CHECK(out[0] == 8 && out[1] == 9);
    release();
}

/* ---- freeing and cancelling ------------------------------------------------------ */

/* Freed requests: the output comes all the same, and lease and pool can be freed. */
static void test_request_free(void)
{
    enum { COUNT = 40 };
    MPIX_Pool pool = pool_create(MPI_COMM_SELF, SETTINGS("cores=2"));
    for (int round = 0; round < 3; round++) {
        MPIX_Function function = function_load(pool, "work");
        MPIX_Function increment = function_load(pool, "increment");
        static volatile int32_t out[COUNT];
        static int32_t in[COUNT];
        with.lease = lease_acquire(pool, 2, SETTINGS("slots=4"));
        for (int i = 0; i < COUNT; i++) {
            out[i] = 0;
            in[i] = 200 + i;
            MPI_Request request =
                work(function, &in[i], (int32_t *)&out[i], MPIX_ANY_WORKER);
            CHECK_OK(MPI_Request_free(&request));
            CHECK(request == MPI_REQUEST_NULL);
        }
        double start = MPI_Wtime();
        for (int i = 0; round == 0 && i < COUNT; i++)
            while (out[i] != in[i] && patient(start, PATIENCE_SECONDS))
                CHECK(increments(increment, with.lease, 0, i));
        if (round < 2) /* with all of them done, or with most of them outstanding */
            CHECK_OK(MPIX_Lease_release(&with.lease));
    }
    CHECK_OK(MPIX_Pool_free(&pool));
}

static bool was_cancelled(const MPI_Status *status)
{
    int cancelled = -1;
    MPI_Test_cancelled(status, &cancelled);
    return cancelled == 1;
}

/* One slot: the first is sent, the second waits here. */
static void test_cancel(void)
{
    acquire(1, SETTINGS("slots=1"));
    MPIX_Function function = function_load(with.pool, "work");
    int32_t in[4] = {100000, 1, 2, 3}, out[4] = {-1, -1, -1, -1};
    MPI_Request requests[4];
    MPI_Status statuses[4];
    MPIX_Usage usage;
    for (int i = 0; i < 4; i++)
        requests[i] = work(function, &in[i], &out[i], i < 2 ? 0 : MPIX_ANY_WORKER);
    CHECK_OK(MPI_Cancel(&requests[0])); /* too late */
    CHECK_OK(MPI_Cancel(&requests[1]));
    CHECK_OK(MPI_Cancel(&requests[2]));
    CHECK_OK(MPI_Cancel(&requests[2])); /* twice is once */
    CHECK_OK(MPI_Waitall(4, requests, statuses));
    CHECK(!was_cancelled(&statuses[0]) && !was_cancelled(&statuses[3]));
    CHECK(was_cancelled(&statuses[1]) && was_cancelled(&statuses[2]));
    CHECK(out[0] == in[0] && out[1] == -1 && out[2] == -1 && out[3] == in[3]);
    CHECK_EQUAL(count_of(&statuses[1], MPI_INT32_T), 0);
    /* One that is over. */
    requests[0] = work(function, &in[1], &out[1], 0);
    double start = MPI_Wtime();
    for (int done = 0; !done && patient(start, PATIENCE_SECONDS);)
        MPI_Request_get_status(requests[0], &done, MPI_STATUS_IGNORE);
    CHECK_OK(MPI_Cancel(&requests[0]));
    CHECK_OK(MPI_Wait(&requests[0], &statuses[0]));
    CHECK(!was_cancelled(&statuses[0]));
    CHECK_EQUAL(out[1], in[1]);
    CHECK_OK(MPIX_Lease_get_usage(with.lease, &usage));
    CHECK(usage.bytes_out == 3 * sizeof(int32_t));
    release();
}

/* Cancelled and freed at once, never waited for. */
static void test_cancel_and_free(void)
{
    acquire(1, SETTINGS("slots=1"));
    MPIX_Function function = function_load(with.pool, "work");
    int32_t in[3] = {50000, 1, 2}, out[3] = {-1, -1, -1};
    MPI_Request requests[3];
    for (int i = 0; i < 3; i++)
        requests[i] = work(function, &in[i], &out[i], 0);
    CHECK_OK(MPI_Cancel(&requests[1]));
    CHECK_OK(MPI_Request_free(&requests[1]));
    CHECK_OK(MPI_Wait(&requests[0], MPI_STATUS_IGNORE));
    CHECK_OK(MPI_Wait(&requests[2], MPI_STATUS_IGNORE));
    CHECK(out[0] == in[0] && out[1] == -1 && out[2] == in[2]);
    release();
}

/* ---- many and long --------------------------------------------------------------- */

/* More than slots: the rest waits here and goes in order, in one queue or both. */
static void test_order(void)
{
    enum { COUNT = 100 };
    acquire(1, SETTINGS("slots=3"));
    MPIX_Function sequence = function_load(with.pool, "sequence");
    int32_t out[COUNT];
    MPI_Request requests[COUNT];
    for (int i = 0; i < COUNT; i++)
        CHECK_OK(MPIX_Iinvoke(sequence, NULL, 0, MPI_INT32_T, &out[i], 1, MPI_INT32_T,
                              i % 7 < 3 ? 0 : MPIX_ANY_WORKER, with.lease,
                              &requests[i]));
    CHECK_OK(MPI_Waitall(COUNT, requests, MPI_STATUSES_IGNORE));
    for (int i = 0; i < COUNT; i++)
        CHECK_EQUAL(out[i], i + 1);
    release();
}

static void test_500_outstanding(void)
{
    enum { COUNT = 500 };
    static int32_t in[COUNT], out[COUNT];
    static MPI_Request requests[COUNT];
    acquire(2, NULL);
    MPIX_Function increment = function_load(with.pool, "increment");
    for (int i = 0; i < COUNT; i++) {
        in[i] = 7 * i;
        CHECK_OK(MPIX_Iinvoke(increment, &in[i], 1, MPI_INT32_T, &out[i], 1,
                              MPI_INT32_T, MPIX_ANY_WORKER, with.lease, &requests[i]));
    }
    CHECK_OK(MPI_Waitall(COUNT, requests, MPI_STATUSES_IGNORE));
    for (int i = 0; i < COUNT; i++)
        CHECK_EQUAL(out[i], in[i] + 1);
    release();
}

/* More than 16 bits can count, a window of them at a time. */
static void test_70000(void)
{
    enum { COUNT = 70000, WINDOW = 50 };
    static int32_t in[WINDOW], out[WINDOW];
    static MPI_Request requests[WINDOW];
    int wrong = 0;
    if (mpi_rank == 0) {
        acquire(1, NULL);
        MPIX_Function increment = function_load(with.pool, "increment");
        for (int i = 0; i < COUNT; i += WINDOW) {
            for (int j = 0; j < WINDOW; j++) {
                in[j] = i + j;
                wrong += MPIX_Iinvoke(increment, &in[j], 1, MPI_INT32_T, &out[j], 1,
                                      MPI_INT32_T, 0, with.lease,
                                      &requests[j]) != MPI_SUCCESS;
            }
            wrong += MPI_Waitall(WINDOW, requests, MPI_STATUSES_IGNORE) != MPI_SUCCESS;
            for (int j = 0; j < WINDOW; j++)
                wrong += out[j] != in[j] + 1;
        }
        release();
    }
    CHECK_EQUAL(wrong, 0);
    MPI_Barrier(MPI_COMM_WORLD);
}

/* A second: MPI_Wait must go on looking all the time. Others' come in meanwhile. */
static void test_long(void)
{
    acquire(2, NULL);
    MPIX_Function function = function_load(with.pool, "work");
    int32_t second = 1000 * 1000, shorter = 300 * 1000, out[3] = {0};
    MPI_Request requests[3];
    double start = MPI_Wtime();
    requests[0] = work(function, &second, &out[0], 0);
    requests[1] = work(function, &shorter, &out[1], 1);
    requests[2] = work(function, &shorter, &out[2], 1);
    CHECK_OK(MPI_Wait(&requests[2], MPI_STATUS_IGNORE));
    CHECK(MPI_Wtime() - start >= 0.6);
    CHECK_OK(MPI_Wait(&requests[0], MPI_STATUS_IGNORE));
    CHECK(MPI_Wtime() - start >= 1);
    CHECK_EQUAL(out[1], shorter); /* not waited for, but there */
    CHECK_OK(MPI_Wait(&requests[1], MPI_STATUS_IGNORE));
    CHECK(out[0] == second && out[2] == shorter);
    release();
}

static void test_long_blocking(void)
{
    acquire(1, NULL);
    MPIX_Function function = function_load(with.pool, "work");
    int32_t us = 500 * 1000, out = 0;
    int token = mpi_rank, left = (mpi_rank + mpi_ranks - 1) % mpi_ranks, received = -1;
    MPI_Request receive, send;
    MPI_Irecv(&received, 1, MPI_INT, left, 0, MPI_COMM_WORLD, &receive);
    MPI_Isend(&token, 1, MPI_INT, (mpi_rank + 1) % mpi_ranks, 0, MPI_COMM_WORLD, &send);
    MPI_Status status;
    double start = MPI_Wtime();
    CHECK_OK(MPIX_Invoke(function, &us, 1, MPI_INT32_T, &out, 1, MPI_INT32_T, 0,
                         with.lease, &status));
    CHECK(MPI_Wtime() - start >= 0.5);
    CHECK_EQUAL(out, us);
    CHECK_EQUAL(count_of(&status, MPI_INT32_T), 1);
    MPI_Wait(&receive, MPI_STATUS_IGNORE);
    MPI_Wait(&send, MPI_STATUS_IGNORE);
    CHECK_EQUAL(received, left);
    release();
}

/* Hot for ever, never hot, and with the time between: all come to the same. */
static void test_hot_and_warm(void)
{
    static const char *const timeouts[] = {"hot_timeout_us=-1", "hot_timeout_us=0",
                                           "hot_timeout_us=50"};
    for (int t = 0; t < 3; t++) {
        acquire(1, SETTINGS(timeouts[t]));
        MPIX_Function increment = function_load(with.pool, "increment");
        for (int i = 0; i < 50; i++) {
            double start = MPI_Wtime();
            CHECK(increments(increment, with.lease, 0, i));
            while (i % 10 == 0 && MPI_Wtime() - start < 0.002)
                ; /* long enough to fall asleep */
        }
        release();
    }
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"a status has count, source and tag", test_status},
        {"nothing in and nothing out", test_nothing},
        {"freed requests deliver, or end with their lease", test_request_free},
        {"MPI_Cancel succeeds on what was not sent", test_cancel},
        {"cancelled and freed", test_cancel_and_free},
        {"more than slots go in order", test_order},
        {"500 outstanding", test_500_outstanding},
        {"70,000 invocations", test_70000},
        {"one that takes a second", test_long},
        {"a long one that blocks", test_long_blocking},
        {"hot and warm workers", test_hot_and_warm},
        {NULL, NULL},
    };
    return mpi_test_main("MPI: invocations", tests, MPI_THREAD_SINGLE, argc, argv);
}
